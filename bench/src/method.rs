//! The methods and how they are written on the command line.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way to move a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Ferriswheel from outside the cluster, clients behind PgBouncer.
    Pooled,
    /// Ferriswheel as a Job inside the cluster, clients behind PgBouncer.
    PooledInside,
    /// Ferriswheel, clients connect to the members.
    Direct,
    /// The quick script of a how-to page.
    SeedQuick,
    /// The controlled failover of the same page.
    SeedControlled,
    /// Debian's Patroni, clients with all members in their connection string.
    Patroni30,
    /// Patroni of PyPI, the same.
    Patroni41,
    /// Debian's Patroni, clients by HAProxy.
    Patroni30Haproxy,
    /// Patroni of PyPI, clients by HAProxy.
    Patroni41Haproxy,
}

impl Method {
    /// All, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Pooled,
        Self::PooledInside,
        Self::Direct,
        Self::SeedQuick,
        Self::SeedControlled,
        Self::Patroni30,
        Self::Patroni41,
        Self::Patroni30Haproxy,
        Self::Patroni41Haproxy,
    ];

    /// On the command line and in the raw data.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::PooledInside => "pooled-inside",
            Self::Direct => "direct",
            Self::SeedQuick => "seed-quick",
            Self::SeedControlled => "seed-controlled",
            Self::Patroni30 => "patroni30",
            Self::Patroni41 => "patroni41",
            Self::Patroni30Haproxy => "patroni30-haproxy",
            Self::Patroni41Haproxy => "patroni41-haproxy",
        }
    }

    /// In the table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pooled => "Ferriswheel, pooled, from outside",
            Self::PooledInside => "Ferriswheel, pooled, as a Job inside",
            Self::Direct => "Ferriswheel, no pooler",
            Self::SeedQuick => "how-to page, quick script",
            Self::SeedControlled => "how-to page, controlled failover",
            Self::Patroni30 => "Patroni 3.0.2, multi-host",
            Self::Patroni41 => "Patroni 4.1.5, multi-host",
            Self::Patroni30Haproxy => "Patroni 3.0.2, HAProxy",
            Self::Patroni41Haproxy => "Patroni 4.1.5, HAProxy",
        }
    }

    /// Ours.
    pub const fn is_ferriswheel(self) -> bool {
        matches!(self, Self::Pooled | Self::PooledInside | Self::Direct)
    }

    /// One of Patroni's rows.
    pub const fn is_patroni(self) -> bool {
        self.is_patroni_30() || self.is_patroni_41()
    }

    /// Debian's.
    pub const fn is_patroni_30(self) -> bool {
        matches!(self, Self::Patroni30 | Self::Patroni30Haproxy)
    }

    /// Of PyPI.
    pub const fn is_patroni_41(self) -> bool {
        matches!(self, Self::Patroni41 | Self::Patroni41Haproxy)
    }
}

/// A method, and for how many rounds if not for as many as the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub method: Method,
    /// How often.
    pub rounds: Option<u32>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, rounds) = match text.split_once(':') {
            Some((key, rounds)) => (
                key,
                Some(
                    rounds
                        .parse()
                        .map_err(|_| format!("{rounds:?} is no number of rounds"))?,
                ),
            ),
            None => (text, None),
        };
        let known: Vec<&str> = Method::ALL.iter().map(|m| m.key()).collect();
        Method::ALL
            .into_iter()
            .find(|method| method.key() == key)
            .map(|method| Self { method, rounds })
            .ok_or_else(|| format!("choose from {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_is_written_as_it_is_stored() {
        for method in Method::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.key());
            let wanted: Wanted = format!("{}:3", method.key()).parse().unwrap();
            assert_eq!((wanted.method, wanted.rounds), (method, Some(3)));
        }
        assert!("pool".parse::<Wanted>().unwrap_err().contains("pooled"));
        assert!("pooled:x".parse::<Wanted>().is_err());
    }
}
