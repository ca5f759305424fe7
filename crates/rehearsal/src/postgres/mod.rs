//! Modelled PostgreSQL servers: roles, positions, streaming, promotion, loss.
//!
//! # Guarantees
//! - A log is a list of records; a standby streams only from a server whose log continues its own.
//! - A commit is acknowledged when the synchronous standbys that the set wants have it.
//! - A clean shutdown writes its checkpoint, sends it to every connected standby and exits then.
//! - A killed server has its log, its standbys may lack the tail.
//!
//! # Source
//! The same commands get the same answers from PostgreSQL 15 and 18: `tests/conformance`, where
//! every difference that is kept is stated in the scene that meets it. What no command shows there
//! and is simpler here: a frozen standby has none of what was on its way to it (a real one finds
//! it in its socket), a follower's replayed position is known to its upstream at once (a real one
//! tells it with its next reply, up to 10 s later), a receiver calls itself streaming only when it
//! is (a real one already while it asks), and a log has no segments that could be gone.
//!
//! Pure: time comes in with [`Postgres::tick`].

pub mod clients;
pub mod disk;
mod life;
pub mod pooler;
pub mod process;
pub mod server;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use clients::Clients;
use disk::{Disk, Entry, Kind};
use process::{Glance, Phase, Process, Receiver};

/// How long things take inside a server.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From exec to accepting connections.
    pub start: Duration,
    /// More of it when the last shutdown was not clean.
    pub crash_recovery: Duration,
    /// Cloning an empty member from the primary.
    pub clone: Duration,
    /// From the fast-shutdown signal to the shutdown checkpoint.
    pub shutdown: Duration,
    /// From the noticed trigger to the first commit.
    pub promotion: Duration,
    /// `wal_retrieve_retry_interval` by default.
    pub retry: Duration,
}

impl Default for Timing {
    /// Orders of magnitude as measured on real servers; `retry` is PostgreSQL's default.
    fn default() -> Self {
        Self {
            start: Duration::from_millis(300),
            crash_recovery: Duration::from_millis(200),
            clone: Duration::from_secs(2),
            shutdown: Duration::from_millis(15),
            promotion: Duration::from_millis(10),
            retry: Duration::from_secs(5),
        }
    }
}

/// `wal_sender_timeout` by default: a stopping primary gives a standby up that says nothing.
const WAL_SENDER_TIMEOUT: Duration = Duration::from_secs(60);

/// The servers of one set with their clients.
#[derive(Debug)]
pub struct Postgres {
    /// How long things take.
    pub timing: Timing,
    /// Standbys that must have a commit before it is acknowledged (`ANY n`); 0: asynchronous.
    pub synchronous: usize,
    /// Data directories by disk.
    pub disks: BTreeMap<String, Disk>,
    /// Running processes by pod name.
    pub processes: BTreeMap<String, Process>,
    /// The clients.
    pub clients: Clients,
    /// The set is being made: its first member makes an empty database instead of cloning.
    pub bootstrap: bool,
    exits: Vec<String>,
    serial: u64,
    /// Promotions so far, by pod.
    pub promotions: Vec<String>,
}

impl Postgres {
    /// No servers yet.
    pub fn new(timing: Timing, synchronous: usize) -> Self {
        Self {
            timing,
            synchronous,
            disks: BTreeMap::new(),
            processes: BTreeMap::new(),
            clients: Clients::default(),
            bootstrap: false,
            exits: Vec::new(),
            serial: 0,
            promotions: Vec::new(),
        }
    }

    /// A process whose readiness changed, by UID of its pod, told once.
    pub fn readiness_news(&mut self) -> Option<(String, bool)> {
        let process = self
            .processes
            .values_mut()
            .find(|process| process.announced != (process.phase == Phase::Running))?;
        process.announced = process.phase == Phase::Running;
        Some((process.uid.clone(), process.announced))
    }

    fn glance(&self, pod: &str) -> Option<Glance> {
        self.processes.get(pod).map(Process::glance)
    }

    /// Pods whose process has exited since the last call, by UID.
    pub fn take_exits(&mut self) -> Vec<String> {
        std::mem::take(&mut self.exits)
    }

    /// The data directory of a running process.
    pub fn disk_of(&self, pod: &str) -> Option<&Disk> {
        self.disks.get(&self.processes.get(pod)?.disk)
    }

    /// The data directory of a running process, to change.
    pub fn disk_of_mut(&mut self, pod: &str) -> Option<&mut Disk> {
        self.disks.get_mut(&self.processes.get(pod)?.disk)
    }

    /// Pods that take writes.
    pub fn primaries(&self) -> Vec<&str> {
        self.processes
            .iter()
            .filter(|(_, process)| process.is_primary())
            .map(|(pod, _)| pod.as_str())
            .collect()
    }

    /// Writes a record on a primary.
    pub fn append(&mut self, pod: &str, kind: Kind) -> Option<Entry> {
        self.serial += 1;
        let id = self.serial;
        let timeline = match kind {
            Kind::EndOfRecovery => self.disk_of(pod)?.timeline() + 1,
            _ => self.disk_of(pod)?.timeline(),
        };
        let disk = self.disk_of_mut(pod)?;
        let start = disk.end();
        let entry = Entry {
            id,
            start,
            end: start + 114,
            kind,
            timeline,
        };
        disk.log.push(entry);
        let length = disk.log.len();
        if let Some(process) = self.processes.get_mut(pod) {
            process.replayed = length;
        }
        Some(entry)
    }

    /// Something is going on that needs small steps of time.
    pub fn is_busy(&self) -> bool {
        self.processes
            .values()
            .any(|process| !process.runs() || process.promoting.is_some())
            || self.disks.values().any(|disk| disk.trigger)
    }

    /// When something changes by itself, if nobody asks for anything; now: at the next tick.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        self.processes
            .iter()
            .filter_map(|(pod, process)| self.due_of(now, pod, process))
            .min()
    }

    fn due_of(&self, now: Duration, pod: &str, process: &Process) -> Option<Duration> {
        if process.frozen > now {
            return Some(process.frozen);
        }
        match process.phase {
            Phase::Starting { until }
            | Phase::Stopping {
                until,
                written: false,
            } => return Some(until),
            Phase::Stopping { .. } => return Some(now),
            Phase::Running if !process.in_recovery => return None,
            Phase::Running => {}
        }
        let disk = self.disk_of(pod)?;
        if process.promoting.is_some() || disk.trigger {
            return Some(now);
        }
        let level = process.replay_paused || process.replayed == disk.log.len();
        match process.receiver {
            Receiver::Waiting { until } if level => Some(until),
            Receiver::Streaming if level && process.fed => {
                let quiet = self.upstream_of(pod).is_some_and(|upstream| {
                    self.may_stream(pod, &upstream)
                        && self.disk_of(&upstream).map(|disk| disk.log.len())
                            == Some(disk.log.len())
                });
                (!quiet).then_some(now)
            }
            _ => Some(now),
        }
    }

    /// Lets everything happen that is due.
    pub fn tick(&mut self, now: Duration) {
        let names: Vec<String> = self.processes.keys().cloned().collect();
        // What upstreams had before this moment: nothing travels in no time.
        let before: BTreeMap<String, usize> = names
            .iter()
            .filter_map(|name| Some((name.clone(), self.disk_of(name)?.log.len())))
            .collect();
        for name in &names {
            let thawed = self
                .processes
                .get(name)
                .is_some_and(|process| process.frozen <= now);
            if thawed {
                self.life(now, name);
                self.receive(now, name, &before);
                self.promotion(now, name);
            }
        }
    }
}
