//! Modelled PostgreSQL servers: roles, positions, streaming, promotion, loss.
//!
//! # Guarantees
//! - A log is a list of records; a standby streams only from a server whose log continues its own.
//! - A commit is acknowledged when the synchronous standbys that the set wants have it.
//! - A clean shutdown writes its checkpoint, sends it to every connected standby and exits then.
//! - A killed server has its log, its standbys may lack the tail.
//!
//! Pure: time comes in with [`Postgres::tick`].

pub mod clients;
pub mod pooler;
pub mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::server::Upstream;

use clients::Clients;

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

/// `wal_retrieve_retry_interval` of a server that is armed for promotion.
const QUICK_RETRY: Duration = Duration::from_millis(10);

/// A receiver that was told to restart connects after this time.
const RECEIVER_RESTART: Duration = Duration::from_millis(2);

/// A trigger within this time after the end of a stream is lost.
const TRIGGER_LOST: Duration = Duration::from_millis(5);

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's commit.
    Write,
    /// A transactional message.
    Marker,
    /// An online checkpoint.
    Checkpoint,
    /// The checkpoint of a clean shutdown.
    Shutdown,
    /// The first record of a timeline.
    EndOfRecovery,
}

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unique: two logs that share a record share everything before it.
    pub id: u64,
    /// Start position.
    pub start: u64,
    /// End position.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
    /// Timeline.
    pub timeline: u32,
}

/// A data directory.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Holds a database.
    pub initialised: bool,
    /// The log.
    pub log: Vec<Entry>,
    /// `standby.signal` lies there.
    pub standby_signal: bool,
    /// `primary_conninfo` and `primary_slot_name`.
    pub upstream: Option<Upstream>,
    /// Physical slots.
    pub slots: BTreeSet<String>,
    /// `wal_retrieve_retry_interval` is short.
    pub quick_retry: bool,
    /// The promotion's trigger file.
    pub trigger: bool,
}

impl Disk {
    /// End of the log.
    pub fn end(&self) -> u64 {
        self.log.last().map_or(0, |entry| entry.end)
    }

    /// Timeline of the end of the log.
    pub fn timeline(&self) -> u32 {
        self.log.last().map_or(1, |entry| entry.timeline)
    }

    /// The other log begins with all of this one.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        match self.log.len().checked_sub(1) {
            None => true,
            Some(last) => other.log.get(last).map(|e| e.id) == Some(self.log[last].id),
        }
    }
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Starting up.
    Starting {
        /// Until then.
        until: Duration,
    },
    /// Accepts connections.
    Running,
    /// A fast shutdown is under way; sessions are gone.
    Stopping {
        /// The shutdown checkpoint is written then.
        until: Duration,
        /// It is written.
        written: bool,
    },
}

/// The stream of a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// Up.
    Streaming,
    /// Sleeping before the next try.
    Waiting {
        /// Until then.
        until: Duration,
    },
}

/// A server process.
#[derive(Clone, Debug)]
pub struct Process {
    /// UID of its pod.
    pub uid: String,
    /// Its disk.
    pub disk: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// It is a standby.
    pub in_recovery: bool,
    /// Names this start.
    pub started: String,
    /// Records replayed.
    pub replayed: usize,
    /// Its stream, for a standby.
    pub receiver: Receiver,
    /// The promotion is done then.
    pub promoting: Option<Duration>,
    /// It does nothing until then (SIGSTOP).
    pub frozen: Duration,
    /// What its kubelet was told of its readiness.
    announced: bool,
}

/// What changes from moment to moment.
#[derive(Clone, Copy)]
struct Glance {
    phase: Phase,
    in_recovery: bool,
    receiver: Receiver,
    promoting: Option<Duration>,
}

impl Process {
    /// Accepts connections.
    pub fn runs(&self) -> bool {
        self.phase == Phase::Running
    }

    /// A primary that takes writes.
    pub fn is_primary(&self) -> bool {
        self.runs() && !self.in_recovery
    }

    fn sends(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }
}

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

    /// A container starts.
    pub fn start(&mut self, now: Duration, pod: &str, uid: &str, disk: &str) {
        self.serial += 1;
        let found = self.disks.entry(disk.to_owned()).or_default();
        let clean = found
            .log
            .last()
            .is_some_and(|entry| entry.kind == Kind::Shutdown);
        let more = match (found.initialised, clean || found.standby_signal) {
            (false, _) => self.timing.clone,
            (true, false) => self.timing.crash_recovery,
            (true, true) => Duration::ZERO,
        };
        self.processes.insert(
            pod.to_owned(),
            Process {
                uid: uid.to_owned(),
                disk: disk.to_owned(),
                phase: Phase::Starting {
                    until: now + self.timing.start + more,
                },
                in_recovery: true,
                started: format!("start {}", self.serial),
                replayed: 0,
                receiver: Receiver::Waiting { until: now },
                promoting: None,
                frozen: Duration::ZERO,
                announced: false,
            },
        );
    }

    /// The fast-shutdown signal.
    pub fn stop(&mut self, now: Duration, pod: &str) {
        let shutdown = self.timing.shutdown;
        let Some(process) = self.processes.get_mut(pod) else {
            return;
        };
        match process.phase {
            Phase::Stopping { .. } => {}
            Phase::Starting { .. } => self.exit(pod),
            Phase::Running => {
                process.phase = Phase::Stopping {
                    until: now + shutdown,
                    written: false,
                };
            }
        }
    }

    /// The process is gone at once.
    pub fn kill(&mut self, pod: &str) {
        self.processes.remove(pod);
        self.clients.server_lost(pod);
    }

    /// Does nothing for a while.
    pub fn freeze(&mut self, pod: &str, until: Duration) {
        if let Some(process) = self.processes.get_mut(pod) {
            process.frozen = until;
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
        self.processes.get(pod).map(|process| Glance {
            phase: process.phase,
            in_recovery: process.in_recovery,
            receiver: process.receiver,
            promoting: process.promoting,
        })
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

    /// Standbys that stream from a server, by pod.
    pub fn followers(&self, pod: &str) -> Vec<&str> {
        self.processes
            .iter()
            .filter(|(_, process)| {
                process.runs() && process.in_recovery && process.receiver == Receiver::Streaming
            })
            .filter(|(name, _)| self.upstream_of(name).as_deref() == Some(pod))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Pod that a server's connection string leads to.
    pub fn upstream_of(&self, pod: &str) -> Option<String> {
        let host = &self.disk_of(pod)?.upstream.as_ref()?.host;
        host.split('.').next().map(str::to_owned)
    }

    /// Enough standbys have everything up to a record.
    pub fn is_synchronous_at(&self, pod: &str, entry: &Entry) -> bool {
        let have = self
            .followers(pod)
            .into_iter()
            .filter(|follower| {
                self.processes.get(*follower).is_some_and(|process| {
                    process.replayed.checked_sub(1).is_some_and(|last| {
                        self.disks
                            .get(&process.disk)
                            .and_then(|disk| disk.log.get(last))
                            .is_some_and(|replayed| replayed.end >= entry.end)
                    })
                })
            })
            .count();
        have >= self.synchronous
    }

    /// Something is going on that needs small steps of time.
    pub fn is_busy(&self) -> bool {
        self.processes
            .values()
            .any(|process| !process.runs() || process.promoting.is_some())
            || self.disks.values().any(|disk| disk.trigger)
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

    fn life(&mut self, now: Duration, pod: &str) {
        let Some(process) = self.glance(pod) else {
            return;
        };
        match process.phase {
            Phase::Starting { until } if until <= now => self.comes_up(now, pod),
            Phase::Stopping { until, written } if until <= now => {
                if process.in_recovery {
                    self.exit(pod);
                } else if !written {
                    self.append(pod, Kind::Shutdown);
                    if let Some(process) = self.processes.get_mut(pod) {
                        process.phase = Phase::Stopping {
                            until,
                            written: true,
                        };
                    }
                } else if self.everybody_has_all(pod) {
                    self.exit(pod);
                }
            }
            _ => {}
        }
    }

    fn everybody_has_all(&self, pod: &str) -> bool {
        let end = self.disk_of(pod).map_or(0, Disk::end);
        self.followers(pod)
            .into_iter()
            .filter(|follower| {
                self.processes
                    .get(*follower)
                    .is_some_and(|p| p.frozen == Duration::ZERO)
            })
            .all(|follower| self.disk_of(follower).map_or(0, Disk::end) >= end)
    }

    fn exit(&mut self, pod: &str) {
        if let Some(process) = self.processes.remove(pod) {
            self.clients.server_lost(pod);
            self.exits.push(process.uid);
        }
    }

    fn comes_up(&mut self, now: Duration, pod: &str) {
        let initialised = self.disk_of(pod).is_some_and(|disk| disk.initialised);
        if !initialised && self.bootstrap && self.primaries().is_empty() {
            if let Some(disk) = self.disk_of_mut(pod) {
                disk.initialised = true;
            }
        } else if !initialised && !self.clone_from_primary(pod) {
            // The entrypoint waits for a primary.
            if let Some(process) = self.processes.get_mut(pod) {
                process.phase = Phase::Starting {
                    until: now + Duration::from_secs(1),
                };
            }
            return;
        }
        let (standby, length) = self
            .disk_of(pod)
            .map_or((true, 0), |disk| (disk.standby_signal, disk.log.len()));
        if let Some(process) = self.processes.get_mut(pod) {
            process.phase = Phase::Running;
            process.in_recovery = standby;
            process.replayed = length;
            process.receiver = Receiver::Waiting { until: now };
        }
        if !standby {
            self.append(pod, Kind::Checkpoint);
        }
    }

    fn clone_from_primary(&mut self, pod: &str) -> bool {
        let Some(primary) = self.primaries().first().map(|name| (*name).to_owned()) else {
            return false;
        };
        let slot = pod.replace('-', "_");
        let log = match self.disk_of_mut(&primary) {
            Some(disk) => {
                disk.slots.insert(slot.clone());
                disk.log.clone()
            }
            None => return false,
        };
        let Some(disk) = self.disk_of_mut(pod) else {
            return false;
        };
        *disk = Disk {
            initialised: true,
            log,
            standby_signal: true,
            upstream: Some(Upstream {
                host: format!("{primary}.pg.db.svc.cluster.local"),
                port: 5432,
                slot: Some(slot),
                application_name: pod.to_owned(),
            }),
            ..Disk::default()
        };
        true
    }

    fn receive(&mut self, now: Duration, pod: &str, before: &BTreeMap<String, usize>) {
        let Some(process) = self.glance(pod) else {
            return;
        };
        if process.phase != Phase::Running || !process.in_recovery {
            return;
        }
        let fits = self.upstream_of(pod).filter(|up| self.may_stream(pod, up));
        let retry = match self.disk_of(pod) {
            Some(disk) if disk.quick_retry => QUICK_RETRY,
            _ => self.timing.retry,
        };
        let received = self.disk_of(pod).map_or(0, |disk| disk.log.len());
        let receiver = match (process.receiver, &fits) {
            (Receiver::Streaming, Some(up)) => {
                let there = before.get(up).copied().unwrap_or(0);
                if there > received {
                    let new: Vec<Entry> = self
                        .disk_of(up)
                        .and_then(|disk| disk.log.get(received..there))
                        .map(<[Entry]>::to_vec)
                        .unwrap_or_default();
                    if let Some(disk) = self.disk_of_mut(pod) {
                        disk.log.extend(new);
                    }
                }
                Receiver::Streaming
            }
            (Receiver::Streaming, None) => Receiver::Waiting { until: now + retry },
            (Receiver::Waiting { until }, _) if until > now => process.receiver,
            (Receiver::Waiting { .. }, Some(up))
                if self.processes.get(up).is_some_and(Process::runs) =>
            {
                Receiver::Streaming
            }
            (Receiver::Waiting { .. }, _) => Receiver::Waiting { until: now + retry },
        };
        if let Some(process) = self.processes.get_mut(pod) {
            process.receiver = receiver;
            process.replayed = received;
        }
    }

    /// The upstream has the slot, and its log continues the standby's.
    fn may_stream(&self, pod: &str, upstream: &str) -> bool {
        let (Some(mine), Some(theirs)) = (self.disk_of(pod), self.disk_of(upstream)) else {
            return false;
        };
        let slot = mine.upstream.as_ref().and_then(|up| up.slot.as_ref());
        self.processes.get(upstream).is_some_and(Process::sends)
            && slot.is_none_or(|slot| theirs.slots.contains(slot))
            && mine.is_prefix_of(theirs)
    }

    fn promotion(&mut self, now: Duration, pod: &str) {
        let (took, retry) = (self.timing.promotion, self.timing.retry);
        let Some(process) = self.glance(pod) else {
            return;
        };
        if process.phase != Phase::Running || !process.in_recovery {
            return;
        }
        let Some(disk) = self.disk_of_mut(pod) else {
            return;
        };
        match process.promoting {
            Some(until) if until <= now => {
                disk.standby_signal = false;
                self.append(pod, Kind::EndOfRecovery);
                self.promotions.push(pod.to_owned());
                if let Some(process) = self.processes.get_mut(pod) {
                    process.in_recovery = false;
                    process.promoting = None;
                }
            }
            Some(_) => {}
            None if disk.trigger => {
                // A trigger that comes while the receiver ends is lost to a startup process that
                // goes to sleep; a later one wakes it.
                let asleep = !disk.quick_retry
                    && matches!(process.receiver, Receiver::Waiting { until }
                        if until.saturating_sub(now) + TRIGGER_LOST > retry);
                if !asleep {
                    disk.trigger = false;
                    if let Some(process) = self.processes.get_mut(pod) {
                        process.promoting = Some(now + took);
                    }
                }
            }
            None => {}
        }
    }

    /// A standby follows another upstream from now on.
    pub fn follow(&mut self, now: Duration, pod: &str, upstream: Upstream) {
        if let Some(disk) = self.disk_of_mut(pod) {
            disk.upstream = Some(upstream);
        }
        if let Some(process) = self.processes.get_mut(pod)
            && process.in_recovery
        {
            process.receiver = Receiver::Waiting {
                until: now + RECEIVER_RESTART,
            };
        }
    }
}
