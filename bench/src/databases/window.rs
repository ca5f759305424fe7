//! Where the time of a shard's hand-over goes, from the agent's record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::system::Way;
use crate::results::Share;

/// The moments of a hand-over, in milliseconds after the first that clients notice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Wall clock of the first.
    pub opened: Timestamp,
    /// Each moment when it happened first.
    pub moments_ms: BTreeMap<String, f64>,
}

/// Before the way: the last acknowledged write until it begins.
pub const BEFORE: &str = "last write before";
/// After it: until the next acknowledged write.
pub const AFTER: &str = "first write after";

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
    /// Where several parts are handed over in one record.
    #[serde(default)]
    partition: Option<String>,
}

impl Window {
    /// Reads a record; none if nothing was asked for.
    pub fn read(bytes: &[u8], way: &Way) -> Option<Self> {
        let record: Record = serde_json::from_slice(bytes).ok()?;
        Self::of(&record.entries, way)
    }

    /// Reads a record of partitions that were moved one after the other; of one that was moved twice the last time.
    pub fn moves(bytes: &[u8], way: &Way) -> BTreeMap<String, Self> {
        let record: Option<Record> = serde_json::from_slice(bytes).ok();
        let mut parts: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for entry in record.into_iter().flat_map(|record| record.entries) {
            let Some(partition) = entry.moment.partition.clone() else {
                continue;
            };
            let part = parts.entry(partition).or_default();
            if entry.moment.is == way.opened {
                part.clear();
            }
            part.push(entry);
        }
        let windows = parts.into_iter();
        windows
            .filter_map(|(partition, entries)| Some((partition, Self::of(&entries, way)?)))
            .collect()
    }

    fn of(entries: &[Entry], way: &Way) -> Option<Self> {
        let opened = entries.iter().find(|e| e.moment.is == way.opened)?;
        let mut moments_ms = BTreeMap::new();
        for entry in entries {
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

    fn at(&self, moment: &str) -> Option<f64> {
        self.moments_ms.get(moment).copied()
    }

    /// The end of the way.
    fn last(&self, way: &Way) -> f64 {
        let mut moments = way.phases.iter().rev();
        moments.find_map(|(name, _)| self.at(name)).unwrap_or(0.0)
    }

    /// The shard's longest gap in milliseconds after the way began, if the two meet: else it is another stall of the
    /// same round.
    pub fn gap(&self, share: &Share, way: &Way) -> Option<(f64, f64)> {
        let at = share.longest_ack_gap_at?;
        let from = at.duration_since(self.opened).as_secs_f64() * 1e3;
        let to = from + share.longest_ack_gap_ms?;
        (from <= self.last(way) && to >= 0.0).then_some((from, to))
    }

    /// How long each phase took, in milliseconds; before and after only where the longest gap is the hand-over's.
    pub fn phases(&self, share: Option<&Share>, way: &Way) -> BTreeMap<&'static str, f64> {
        let mut phases = BTreeMap::new();
        let mut last = 0.0;
        for (moment, phase) in way.phases {
            if let Some(at) = self.at(moment) {
                phases.insert(*phase, at - last);
                last = at;
            }
        }
        for (moment, phase) in way.beside {
            if let Some(at) = self.at(moment) {
                phases.insert(*phase, at - last);
            }
        }
        if let Some((from, to)) = share.and_then(|share| self.gap(share, way)) {
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
        let way = Way {
            opened: "asked",
            phases: &[("accepted", "accepts"), ("flipped", "flips")],
            beside: &[("followed", "follows")],
        };
        let record = br#"{"key":"k","outcome":null,"entries":[
            {"at_us":1000,"wall":"2026-01-01T00:00:00.000Z","moment":{"is":"prompt","slowest_us":9}},
            {"at_us":5000,"wall":"2026-01-01T00:00:00.004Z","moment":{"is":"asked"}},
            {"at_us":6000,"wall":"2026-01-01T00:00:00.005Z","moment":{"is":"accepted"}},
            {"at_us":25000,"wall":"2026-01-01T00:00:00.024Z","moment":{"is":"flipped"}},
            {"at_us":45000,"wall":"2026-01-01T00:00:00.044Z","moment":{"is":"followed"}}]}"#;
        let window = Window::read(record, &way).unwrap();
        assert_eq!(window.at("prompt"), Some(-4.0));
        let share = Share {
            longest_ack_gap_at: Some("2026-01-01T00:00:00.003Z".parse().unwrap()),
            longest_ack_gap_ms: Some(44.0),
            ..Share::default()
        };
        let mut phases = window.phases(Some(&share), &way);
        assert_eq!(phases.remove("follows"), Some(20.0));
        assert!((phases[BEFORE] - 1.0).abs() < 1e-6, "{phases:?}");
        assert!((phases.values().sum::<f64>() - 44.0).abs() < 1e-6);

        let elsewhere = Share {
            longest_ack_gap_at: Some("2026-01-01T00:00:01Z".parse().unwrap()),
            ..share
        };
        assert!(!window.phases(Some(&elsewhere), &way).contains_key(AFTER));
        assert!(Window::read(br#"{"entries":[]}"#, &way).is_none());
    }

    #[test]
    fn partitions_of_one_record_have_a_window_each() {
        let way = Way {
            opened: "reordered",
            phases: &[("elected", "elects"), ("agreed", "all name it")],
            beside: &[],
        };
        let record = br#"{"key":"k","outcome":null,"entries":[
            {"at_us":1000,"wall":"2026-01-01T00:00:00.000Z","moment":{"is":"ready","partitions":2}},
            {"at_us":2000,"wall":"2026-01-01T00:00:00.001Z","moment":{"is":"reordered","partition":"a-0"}},
            {"at_us":5000,"wall":"2026-01-01T00:00:00.004Z","moment":{"is":"elected","partition":"a-0"}},
            {"at_us":9000,"wall":"2026-01-01T00:00:00.008Z","moment":{"is":"agreed","partition":"a-0","leader":1}},
            {"at_us":20000,"wall":"2026-01-01T00:00:00.019Z","moment":{"is":"reordered","partition":"a-1"}},
            {"at_us":21000,"wall":"2026-01-01T00:00:00.020Z","moment":{"is":"faltered","reason":{"notReady":"x"}}},
            {"at_us":30000,"wall":"2026-01-01T00:00:00.029Z","moment":{"is":"reordered","partition":"a-1"}},
            {"at_us":31000,"wall":"2026-01-01T00:00:00.030Z","moment":{"is":"elected","partition":"a-1"}}]}"#;
        let windows = Window::moves(record, &way);
        assert_eq!(windows.len(), 2);
        let phases = windows["a-0"].phases(None, &way);
        let wanted = BTreeMap::from([("elects", 3.0), ("all name it", 4.0)]);
        assert_eq!(phases, wanted);
        let again = windows["a-1"].phases(None, &way);
        assert_eq!(again, BTreeMap::from([("elects", 1.0)]));
        let second: Timestamp = "2026-01-01T00:00:00.029Z".parse().unwrap();
        assert_eq!(windows["a-1"].opened, second);
        assert!(Window::moves(b"no record", &way).is_empty());
    }
}
