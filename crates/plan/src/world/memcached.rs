//! A Memcached pool as its servers show it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Asked;
use crate::ids::ObjectRef;

/// A pool of Memcached servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memcached {
    /// The set that carries it.
    pub stateful_set: ObjectRef,
    /// Members by pod name.
    pub members: BTreeMap<String, MemcachedMember>,
}

/// A member that was asked.
pub type MemcachedMember = Asked<MemcachedFacts>;

/// What a server said (`stats`, `stats settings`), twice, a moment apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemcachedFacts {
    /// `version`.
    pub version: String,
    /// Since its start.
    pub uptime_seconds: u64,
    /// Keys that it has (`curr_items`).
    pub items: u64,
    /// Bytes that they take (`bytes`).
    pub bytes: u64,
    /// Bytes that it may use (`limit_maxbytes`).
    pub max_bytes: u64,
    /// What it counted since its start.
    pub ever: MemcachedCounts,
    /// What it counted between the two looks.
    pub lately: MemcachedCounts,
    /// Time between the two looks, in milliseconds.
    pub window_ms: u64,
    /// Its keys can be listed (`lru_crawler metadump`).
    pub dump_enabled: bool,
}

/// What a server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemcachedCounts {
    /// Keys that were asked for (`cmd_get`).
    pub gets: u64,
    /// Keys that it had (`get_hits`).
    pub hits: u64,
    /// Keys that went although they were not old (`evictions`).
    pub evictions: u64,
}

/// Fewer questions than these make no hit-rate.
///
/// 100: one more or less is a point.
const ENOUGH: u64 = 100;

impl MemcachedCounts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            gets: self.gets + other.gets,
            hits: self.hits + other.hits,
            evictions: self.evictions + other.evictions,
        }
    }

    /// What was counted since `earlier`; everything, if the counting began anew.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        if self.gets < earlier.gets {
            return self;
        }
        Self {
            gets: self.gets - earlier.gets,
            hits: self.hits.saturating_sub(earlier.hits),
            evictions: self.evictions.saturating_sub(earlier.evictions),
        }
    }

    /// Percent of the questions that found their key; `None`: too few were asked to say.
    pub fn hit_rate(self) -> Option<f64> {
        (self.gets >= ENOUGH).then(|| percent(self.hits, self.gets))
    }
}

/// A part of a whole, in percent.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts far below 2^52, and a rate is read to a tenth"
)]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

/// What the absence of one member costs a pool, as the members' counts say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Absence {
    /// Hit-rate of all now, in percent.
    pub now: f64,
    /// Hit-rate right after the member left, before the others have its keys, in percent.
    pub lowest: f64,
    /// Loads from the backend then, a second; `None`: the time is not known.
    pub loads_a_second: Option<u64>,
}

impl Absence {
    /// Of the member that costs the most among those that were asked `window_ms` apart. `None`: too few questions were
    /// asked to say.
    pub fn worst(counts: &[MemcachedCounts], window_ms: Option<u64>) -> Option<Self> {
        let all = counts
            .iter()
            .fold(MemcachedCounts::default(), |all, one| all.and(*one));
        let now = all.hit_rate()?;
        let gone = counts.iter().map(|one| one.hits).max()?;
        let left = all.hits.saturating_sub(gone);
        Some(Self {
            now,
            lowest: percent(left, all.gets),
            loads_a_second: window_ms
                .filter(|ms| *ms > 0)
                .map(|ms| all.gets.saturating_sub(left) * 1_000 / ms),
        })
    }
}
