//! Versions and the rules between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Kubernetes version with its patch level (`1.36.3`); a leading `v` is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

impl KubernetesVersion {
    /// How many minors `self` is behind `other`; negative when ahead.
    pub fn minors_behind(self, other: Self) -> i64 {
        i64::from(other.minor) - i64::from(self.minor)
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The text is not a version with three numbers.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a Kubernetes version such as 1.36.3")]
pub struct NotAVersion(String);

impl FromStr for KubernetesVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = semver::Version::parse(text.trim_start_matches('v'))
            .map_err(|_| NotAVersion(text.to_owned()))?;
        let part = |n: u64| u32::try_from(n).map_err(|_| NotAVersion(text.to_owned()));
        Ok(Self {
            major: part(parsed.major)?,
            minor: part(parsed.minor)?,
            patch: part(parsed.patch)?,
        })
    }
}

impl Serialize for KubernetesVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KubernetesVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
