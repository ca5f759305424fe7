//! How a standby streams, and how it becomes a primary.

use std::collections::BTreeMap;
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::server::Upstream;

use super::Postgres;
use super::disk::{Entry, Kind};
use super::process::{Phase, Process, Receiver};

/// `wal_retrieve_retry_interval` of a server that is armed for promotion.
const QUICK_RETRY: Duration = Duration::from_millis(10);

/// A receiver that was told to restart connects after this time.
const RECEIVER_RESTART: Duration = Duration::from_millis(2);

/// A trigger within this time after the end of a stream is lost.
const TRIGGER_LOST: Duration = Duration::from_millis(5);

impl Postgres {
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
        // Flushed, not replayed: `synchronous_commit` is `on`.
        let has = |follower: &&str| {
            self.disk_of(follower)
                .is_some_and(|disk| disk.end() >= entry.end)
        };
        let have: Vec<&str> = self.followers(pod).into_iter().filter(has).collect();
        let required = self.disk_of(pod).and_then(|disk| disk.required.as_deref());
        have.len() >= self.synchronous && required.is_none_or(|standby| have.contains(&standby))
    }

    /// The received position of a standby.
    ///
    /// # Source
    /// `RequestXLogStreaming` rounds down to the start of a segment, so that a standby that was
    /// started again shows less as received than as replayed until its upstream answers.
    pub fn received(&self, pod: &str) -> Option<u64> {
        let fed = self.processes.get(pod)?.fed;
        let disk = self.disk_of(pod)?;
        Some(if fed { disk.end() } else { disk.segment() })
    }

    pub(super) fn receive(&mut self, now: Duration, pod: &str, before: &BTreeMap<String, usize>) {
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
                if let Some(process) = self.processes.get_mut(pod) {
                    process.fed = true;
                }
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
            if !process.replay_paused {
                process.replayed = received;
            }
        }
    }

    /// The upstream has the slot, and its log continues the standby's.
    pub(super) fn may_stream(&self, pod: &str, upstream: &str) -> bool {
        let (Some(mine), Some(theirs)) = (self.disk_of(pod), self.disk_of(upstream)) else {
            return false;
        };
        let slot = mine.upstream.as_ref().and_then(|up| up.slot.as_ref());
        self.processes.get(upstream).is_some_and(Process::sends)
            && slot.is_none_or(|slot| theirs.slots.contains(slot))
            && mine.is_prefix_of(theirs)
    }

    pub(super) fn promotion(&mut self, now: Duration, pod: &str) {
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
                let replayed = disk.log.len();
                self.append(pod, Kind::EndOfRecovery);
                self.promotions.push(pod.to_owned());
                if let Some(process) = self.processes.get_mut(pod) {
                    process.promoted_at = Some(replayed);
                    process.replay_paused = false;
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
