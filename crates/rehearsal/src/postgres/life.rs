//! How a server starts, stops and ends.

use std::time::Duration;

use ferriswheel_actuators::databases::postgres::server::Upstream;

use super::disk::{Disk, Kind};
use super::process::{Phase, Process, Receiver};
use super::{Postgres, WAL_SENDER_TIMEOUT};

impl Postgres {
    /// A container starts.
    pub fn start(&mut self, now: Duration, pod: &str, uid: &str, disk: &str) {
        self.serial += 1;
        let found = self.disks.entry(disk.to_owned()).or_default();
        let more = match (found.initialised, found.shut_down || found.standby_signal) {
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
                replay_paused: false,
                promoted_at: None,
                receiver: Receiver::Waiting { until: now },
                fed: false,
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

    pub(super) fn life(&mut self, now: Duration, pod: &str) {
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
                    if let Some(disk) = self.disk_of_mut(pod) {
                        disk.shut_down = true;
                    }
                    if let Some(process) = self.processes.get_mut(pod) {
                        process.phase = Phase::Stopping {
                            until,
                            written: true,
                        };
                    }
                } else if self.everybody_has_all(pod) || until + WAL_SENDER_TIMEOUT <= now {
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
        let (standby, length, recovers) = match self.disk_of_mut(pod) {
            None => (true, 0, false),
            Some(disk) => {
                let recovers = !std::mem::take(&mut disk.shut_down) && !disk.standby_signal;
                (disk.standby_signal, disk.log.len(), recovers)
            }
        };
        if let Some(process) = self.processes.get_mut(pod) {
            process.phase = Phase::Running;
            process.in_recovery = standby;
            process.replayed = length;
            process.receiver = Receiver::Waiting { until: now };
        }
        // After a clean shutdown a start writes nothing.
        if recovers {
            self.append(pod, Kind::Shutdown);
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
}
