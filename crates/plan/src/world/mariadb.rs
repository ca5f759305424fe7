//! A MariaDB set with asynchronous replication, as observed: each server's own answers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::PrimaryService;
use crate::ids::ObjectRef;
use crate::world::Asked;

/// A set whose members are the pods of one stateful set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mariadb {
    /// The set that carries it.
    pub stateful_set: ObjectRef,
    /// Members by pod name.
    pub members: BTreeMap<String, MariadbMember>,
    /// The Service of the spec that leads to the primary; `None` if the spec names none.
    pub service: Option<PrimaryService>,
    /// User that applications write as.
    pub application: String,
}

/// One server.
pub type MariadbMember = Asked<MariadbFacts>;

/// What a server says of itself, in one session of reading statements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MariadbFacts {
    /// `@@version`.
    pub version: String,
    /// `@@server_id`.
    pub server_id: u64,
    /// `@@gtid_domain_id`.
    pub domain: u64,
    /// `@@read_only`.
    pub read_only: bool,
    /// `@@log_bin`.
    pub log_bin: bool,
    /// `@@log_slave_updates`.
    pub log_slave_updates: bool,
    /// `@@gtid_strict_mode`.
    pub strict: bool,
    /// `@@wsrep_on`.
    pub wsrep_on: bool,
    /// A member of a MySQL group (`group_replication_group_name`).
    pub group: bool,
    /// `@@rpl_semi_sync_master_enabled`.
    pub semi_sync_source: bool,
    /// `@@rpl_semi_sync_slave_enabled`.
    pub semi_sync_replica: bool,
    /// `@@gtid_binlog_state`: by domain and server, the last transaction in the binary log.
    pub binlog_state: GtidState,
    /// `@@gtid_binlog_pos`.
    pub binlog_pos: GtidPosition,
    /// `@@gtid_slave_pos`.
    pub slave_pos: GtidPosition,
    /// Seconds for which the binary log is kept; 0: until somebody removes it.
    pub binlog_kept_seconds: u64,
    /// Bytes after which the binary log is removed; 0: no limit.
    pub binlog_kept_bytes: u64,
    /// Filters of the binary log itself (`binlog_do_db`, `binlog_ignore_db`).
    pub binlog_filters: Vec<String>,
    /// From whom it copies.
    pub sources: Vec<MariadbSource>,
    /// The longest open transaction or running statement of a client.
    pub longest: Option<MariadbActivity>,
    /// Transactions prepared by XA and left open.
    pub prepared: u32,
    /// Somebody holds or waits for a lock over the whole server: a backup, or
    /// `FLUSH TABLES WITH READ LOCK`.
    pub locked: Option<String>,
    /// Directory of the data.
    pub directory: String,
    /// User of the session.
    pub user: String,
    /// Rights of the procedure that this user lacks.
    pub forbidden: Vec<String>,
    /// Users that `read_only` does not hold back, by name without a host.
    pub unfenced_users: Vec<String>,
}

/// A replication connection as its replica tells it (`SHOW ALL SLAVES STATUS`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MariadbSource {
    /// Name of the connection; empty for the usual one.
    pub connection: String,
    /// Host of the source.
    pub host: String,
    /// Port of the source.
    pub port: u16,
    /// `Slave_IO_Running`: `Yes`, `No`, `Connecting`.
    pub receives: String,
    /// `Slave_SQL_Running`.
    pub applies: String,
    /// `Using_Gtid`: `No`, `Slave_Pos`, `Current_Pos`.
    pub gtid: String,
    /// `Seconds_Behind_Master`; `None` while it does not run.
    pub behind_seconds: Option<u64>,
    /// `SQL_Delay`.
    pub delay_seconds: u64,
    /// Last errors.
    pub errors: Vec<String>,
    /// Filters (`Replicate_Do_DB` and the like) that are set.
    pub filters: Vec<String>,
}

impl MariadbSource {
    /// Both threads run.
    pub fn runs(&self) -> bool {
        self.receives == "Yes" && self.applies == "Yes"
    }

    /// The pod that its host names: the first label.
    pub fn pod(&self) -> &str {
        self.host.split('.').next().unwrap_or_default()
    }
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MariadbActivity {
    /// User.
    pub user: String,
    /// Number of the session.
    pub session: u64,
    /// Since when, in milliseconds.
    pub ms: u64,
    /// The statement; `None` between two statements of a transaction.
    pub statement: Option<String>,
}

impl MariadbFacts {
    /// It copies from nobody.
    pub fn leads(&self) -> bool {
        self.sources.is_empty()
    }
}

/// A global position: by domain, the server and the sequence number of the last transaction.
///
/// # Source
/// `D-S-N[,D-S-N...]` of MariaDB's global transaction identifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GtidPosition(pub BTreeMap<u64, (u64, u64)>);

/// By domain and server, the last transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GtidState(pub Vec<Gtid>);

/// One global transaction identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gtid {
    /// Domain.
    pub domain: u64,
    /// Server that first wrote it.
    pub server: u64,
    /// Number in its domain.
    pub sequence: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl fmt::Display for GtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (domain, (server, sequence))) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

impl GtidState {
    /// Reads what a server writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let read = |part: &str| {
            let mut numbers = part.split('-').map(str::parse);
            let gtid = Gtid {
                domain: numbers.next()?.ok()?,
                server: numbers.next()?.ok()?,
                sequence: numbers.next()?.ok()?,
            };
            numbers.next().is_none().then_some(gtid)
        };
        parts.map(read).collect::<Option<Vec<_>>>().map(Self)
    }

    /// The last transaction of a server in a domain.
    pub fn of(&self, domain: u64, server: u64) -> Option<u64> {
        let mut found = self.0.iter();
        found
            .find(|gtid| gtid.domain == domain && gtid.server == server)
            .map(|gtid| gtid.sequence)
    }
}

impl GtidPosition {
    /// Reads what a server writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let gtids = GtidState::parse(text)?.0;
        let by_domain = gtids
            .iter()
            .map(|gtid| (gtid.domain, (gtid.server, gtid.sequence)));
        let position: BTreeMap<_, _> = by_domain.collect();
        (position.len() == gtids.len()).then_some(Self(position))
    }

    /// Whoever is here has everything that whoever is there has.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(domain, (_, theirs))| self.0.get(domain).is_some_and(|(_, ours)| ours >= theirs))
    }

    /// Transactions that this one is ahead, over all domains.
    pub fn ahead_of(&self, other: &Self) -> u64 {
        self.0
            .iter()
            .map(|(domain, (_, ours))| {
                let theirs = other.0.get(domain).map_or(0, |(_, number)| *number);
                ours.saturating_sub(theirs)
            })
            .sum()
    }

    /// The position that has everything of both.
    pub fn with(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (domain, theirs) in &other.0 {
            let ours = all.0.entry(*domain).or_insert(*theirs);
            if theirs.1 > ours.1 {
                *ours = *theirs;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{GtidPosition, GtidState};

    fn position(text: &str) -> GtidPosition {
        GtidPosition::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn positions_are_read_as_servers_write_them() {
        assert_eq!(position("0-101-7,1-5-9").to_string(), "0-101-7,1-5-9");
        assert_eq!(position(""), GtidPosition::default());
        for wrong in ["0-101", "a-b-c", "0-1-2-3", "0-1-2,0-2-3"] {
            assert_eq!(GtidPosition::parse(wrong), None, "{wrong}");
        }
        // Several servers of one domain are a state and no position.
        let state = GtidState::parse("0-101-7,0-102-9").unwrap();
        assert_eq!((state.of(0, 101), state.of(0, 103)), (Some(7), None));
    }

    #[test]
    fn a_position_covers_what_it_is_not_behind_of_in_any_domain() {
        let there = position("0-101-7,1-5-9");
        assert!(position("0-102-8,1-5-9").covers(&there));
        assert!(!position("0-102-8").covers(&there));
        assert!(!position("0-101-6,1-5-9").covers(&there));
        assert!(there.covers(&GtidPosition::default()));
        assert_eq!(position("0-102-9,1-5-9").ahead_of(&there), 2);
        assert_eq!(position("0-102-9").with(&there), position("0-102-9,1-5-9"));
    }
}
