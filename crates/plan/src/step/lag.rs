//! A bound of replication lag.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a replica may be behind, in the unit in which its servers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lag {
    /// Bytes of the log.
    #[serde(rename = "max_lag_bytes")]
    Bytes(u64),
    /// Milliseconds.
    #[serde(rename = "max_lag_ms")]
    Millis(u64),
    /// Points that the hit-rate of a cache's member is below the others'.
    #[serde(rename = "max_lag_points")]
    Points(u64),
}

impl Lag {
    /// So many bytes are within it. A bound of another unit holds for nobody.
    pub fn holds_bytes(self, behind: u64) -> bool {
        matches!(self, Self::Bytes(most) if behind <= most)
    }

    /// A hit-rate so many points below the others' is within it. A bound of another unit holds for nobody.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a bound of at most a hundred points"
    )]
    pub fn holds_points(self, behind: f64) -> bool {
        matches!(self, Self::Points(most) if behind <= most as f64)
    }

    /// So many milliseconds are within it. A bound of another unit holds for nobody.
    pub fn holds_millis(self, behind: u64) -> bool {
        matches!(self, Self::Millis(most) if behind <= most)
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} KiB", bytes / 1024),
            Self::Millis(ms) => write!(f, "{ms} ms"),
            Self::Points(points) => write!(f, "{points} points"),
        }
    }
}
