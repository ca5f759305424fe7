//! Where the time of a hand-over goes, from the agent's record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::results::Measured;

/// The moments of a window, in milliseconds after PAUSE was sent (without a pooler: after the window opened).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Wall clock of the first.
    pub opened: Timestamp,
    /// Each moment when it happened first.
    pub moments_ms: BTreeMap<String, f64>,
}

/// The way of a hand-over: what ends with each moment. A moment that a record lacks is part of the next one.
const WAY: [(&str, &str); 6] = [
    ("paused", "PAUSE"),
    ("proven", "stop and proof"),
    ("promoted", "promotion"),
    ("reloaded", "RELOAD"),
    ("resumed", "RESUME"),
    ("repointed", "other standbys re-pointed, beside"),
];

/// Before the window: the last acknowledged write until it opens.
const BEFORE: &str = "last write before";
/// After it: until the next acknowledged write.
const AFTER: &str = "first write after";
/// Beside the way: until a write of the agent's own commits on the new primary.
const COMMIT: &str = "first commit, beside";

/// Names of the phases in their order.
pub const PHASES: [&str; 9] = [
    BEFORE, WAY[0].1, WAY[1].1, WAY[2].1, WAY[3].1, WAY[4].1, AFTER, COMMIT, WAY[5].1,
];

#[derive(Deserialize)]
struct Record {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    at_us: u64,
    wall: Timestamp,
    moment: Moment,
}

#[derive(Deserialize)]
struct Moment {
    is: String,
}

impl Window {
    /// Reads a record; none if no window was opened.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let record: Record = serde_json::from_slice(bytes).ok()?;
        let opened = record.entries.iter().find(|e| e.moment.is == "pauseSent")?;
        let mut moments_ms = BTreeMap::new();
        for entry in &record.entries {
            let sign = if entry.at_us < opened.at_us {
                -1.0
            } else {
                1.0
            };
            let distance = entry.at_us.abs_diff(opened.at_us);
            #[expect(clippy::cast_precision_loss, reason = "minutes in microseconds")]
            let ms = sign * distance as f64 / 1e3;
            moments_ms.entry(entry.moment.is.clone()).or_insert(ms);
        }
        Some(Self {
            opened: opened.wall,
            moments_ms,
        })
    }

    /// Whether the longest gap is the window's and not another stall of the same round.
    pub fn holds_longest_gap(&self, measured: &Measured) -> bool {
        let Some((from, to)) = self.gap(measured) else {
            return false;
        };
        let closed = self.at("resumed").or(self.at("promoted")).unwrap_or(0.0);
        from <= closed && to >= 0.0
    }

    /// The longest gap in milliseconds after the window opened.
    fn gap(&self, measured: &Measured) -> Option<(f64, f64)> {
        let at = measured.longest_ack_gap_at?;
        let from = at.duration_since(self.opened).as_secs_f64() * 1e3;
        Some((from, from + measured.longest_ack_gap_ms?))
    }

    fn at(&self, moment: &str) -> Option<f64> {
        self.moments_ms.get(moment).copied()
    }

    /// How long each phase took, in milliseconds. Before and after only where the longest gap is the window's.
    pub fn phases(&self, measured: Option<&Measured>) -> BTreeMap<&'static str, f64> {
        let mut phases = BTreeMap::new();
        let mut last = 0.0;
        for (moment, phase) in &WAY[..5] {
            if let Some(at) = self.at(moment) {
                phases.insert(*phase, at - last);
                last = at;
            }
        }
        if let Some(promoted) = self.at("promoted") {
            for (moment, phase) in [("committed", COMMIT), WAY[5]] {
                if let Some(at) = self.at(moment) {
                    phases.insert(phase, at - promoted);
                }
            }
        }
        let gap = measured
            .filter(|m| self.holds_longest_gap(m))
            .and_then(|m| self.gap(m));
        if let Some((from, to)) = gap {
            phases.insert(BEFORE, -from);
            phases.insert(AFTER, to - last);
        }
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_of_a_gap_add_up_to_it() {
        let record = br#"{"key":"k","outcome":null,"entries":[
            {"at_us":1000,"wall":"2026-01-01T00:00:00.000Z","moment":{"is":"oldArmed"}},
            {"at_us":5000,"wall":"2026-01-01T00:00:00.004Z","moment":{"is":"pauseSent"}},
            {"at_us":9000,"wall":"2026-01-01T00:00:00.008Z","moment":{"is":"paused"}},
            {"at_us":30000,"wall":"2026-01-01T00:00:00.029Z","moment":{"is":"proven","start":"0/0"}},
            {"at_us":80000,"wall":"2026-01-01T00:00:00.079Z","moment":{"is":"promoted","triggers":1}},
            {"at_us":81000,"wall":"2026-01-01T00:00:00.080Z","moment":{"is":"resumed"}},
            {"at_us":85000,"wall":"2026-01-01T00:00:00.084Z","moment":{"is":"committed","lsn":"0/0"}}]}"#;
        let window = Window::read(record).unwrap();
        assert_eq!(window.at("oldArmed"), Some(-4.0));
        let measured = Measured {
            longest_ack_gap_at: Some("2026-01-01T00:00:00.003Z".parse().unwrap()),
            longest_ack_gap_ms: Some(80.0),
            ..Measured::default()
        };
        assert!(window.holds_longest_gap(&measured));
        let mut phases = window.phases(Some(&measured));
        assert_eq!(phases.remove(COMMIT), Some(5.0));
        // RELOAD was not noted: it is part of RESUME.
        assert_eq!(phases[WAY[4].1], 1.0);
        assert!(
            (phases.values().sum::<f64>() - 80.0).abs() < 1e-6,
            "{phases:?}"
        );

        let elsewhere = Measured {
            longest_ack_gap_at: Some("2026-01-01T00:00:01Z".parse().unwrap()),
            ..measured
        };
        assert!(!window.holds_longest_gap(&elsewhere));
        assert!(!window.phases(Some(&elsewhere)).contains_key(AFTER));
    }
}
