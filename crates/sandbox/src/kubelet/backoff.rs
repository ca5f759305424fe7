//! The crash back-off of a container.
//!
//! # Source
//! `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`doBackOff`) and `client-go/util/flowcontrol/backoff.go`: the
//! first restart is immediate and leaves an entry of 10 s behind; each further one waits until that long after the
//! last end and doubles the entry, up to 5 minutes. An end more than twice the maximum after the last start forgets
//! the entry. How the container ended does not matter: a clean exit counts.

use jiff::{SignedDuration, Timestamp};

/// 10 s: `kubelet.go`, `containerBackOffPeriod`'s start.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// 5 min: `MaxContainerBackOff`.
const LONGEST: SignedDuration = SignedDuration::from_secs(300);

/// The back-off of one container of one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    entry: Option<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// The delay in force and its end, if the container that ended at `ended` must wait now.
    pub(super) fn waiting(
        &self,
        ended: Timestamp,
        now: Timestamp,
    ) -> Option<(SignedDuration, Timestamp)> {
        let entry = self.live(ended)?;
        let until = ended + entry.delay;
        (now < until).then_some((entry.delay, until))
    }

    /// Notes a restart at `now` of a container that ended at `ended`.
    pub(super) fn restarted(&mut self, ended: Timestamp, now: Timestamp) {
        let delay = self
            .live(ended)
            .map_or(FIRST, |entry| (entry.delay * 2).min(LONGEST));
        self.entry = Some(Entry {
            delay,
            updated: now,
        });
    }

    fn live(&self, ended: Timestamp) -> Option<Entry> {
        self.entry
            .filter(|entry| ended.duration_since(entry.updated) <= LONGEST * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_next_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = 0;
        let mut delays = Vec::new();
        for _ in 0..8 {
            let ended = at(now);
            if let Some((delay, until)) = backoff.waiting(ended, ended) {
                delays.push(delay.as_secs());
                assert!(backoff.waiting(ended, until).is_none());
                now += delay.as_secs();
            }
            backoff.restarted(ended, at(now));
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_forget_it() {
        let mut backoff = Backoff::default();
        backoff.restarted(at(0), at(0));
        backoff.restarted(at(10), at(20));
        assert!(backoff.waiting(at(20 + 600), at(20 + 600)).is_some());
        assert!(backoff.waiting(at(20 + 601), at(20 + 601)).is_none());
    }
}
