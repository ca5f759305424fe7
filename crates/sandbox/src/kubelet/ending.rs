//! How containers and pods end: preStop, the stop signal, the grace period, the kill.

use super::action::Action;
use super::publish::Publisher;
use super::status::Role;
use super::worker::{Signal, Worker};
use k8s_openapi::api::core::v1::Probe;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// 30 s: `terminationGracePeriodSeconds` where the pod says nothing.
const GRACE: i64 = 30;
/// 2 s: what a container gets after its preStop hook, however long that took (`minimumGracePeriodInSeconds`).
const LEAST: Duration = Duration::from_secs(2);
/// 1 s: the shortest grace that a kubelet gives, also where the API says 0.
const SHORTEST: i64 = 1;

impl Worker {
    /// The grace period in force: the deletion's, else the pod's.
    pub(super) fn grace(&self) -> Duration {
        let spec = self
            .pod
            .spec
            .as_ref()
            .and_then(|s| s.termination_grace_period_seconds)
            .unwrap_or(GRACE);
        let asked = self
            .pod
            .metadata
            .deletion_timestamp
            .as_ref()
            .and(self.pod.metadata.deletion_grace_period_seconds);
        let seconds = asked.unwrap_or(spec).max(SHORTEST);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
    }

    /// Ends a container that a probe has condemned.
    pub(super) async fn end_condemned(&mut self, index: usize) {
        let slot = &self.slots[index];
        let Some(id) = slot.condemned.clone() else {
            return;
        };
        let container = Arc::clone(&slot.container);
        let own = |p: &Option<Probe>| p.as_ref().and_then(|p| p.termination_grace_period_seconds);
        let probe = if slot.started {
            own(&container.liveness_probe)
        } else {
            own(&container.startup_probe)
        };
        let grace = probe
            .and_then(|s| u64::try_from(s).ok())
            .map_or_else(|| self.grace(), Duration::from_secs);
        if self.slots[index].live().is_some_and(|c| c.spec.id == id) {
            self.kill(index, grace, true).await;
        }
        self.slots[index].condemned = None;
    }

    /// preStop, signal, grace, kill: one container, to its end. A kill is known at once, not at the next relist.
    pub(super) async fn kill(&mut self, index: usize, grace: Duration, hook: bool) {
        if let Some(work) = self.killing(index, grace, hook) {
            work.await;
        }
        self.slots[index].look().await;
    }

    fn killing(
        &mut self,
        index: usize,
        grace: Duration,
        hook: bool,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let target = self.target(index);
        let slot = &mut self.slots[index];
        let run = Arc::clone(slot.live()?);
        let lifecycle = slot.container.lifecycle.as_ref();
        let action = lifecycle
            .and_then(|l| l.pre_stop.as_ref())
            .and_then(Action::of_handler)
            .filter(|_| hook);
        let signal = slot.stop_signal();
        let (events, pod, name) = (
            self.shared.events.clone(),
            Arc::clone(&self.pod),
            slot.container.name.clone(),
        );
        Some(async move {
            let begun = Instant::now();
            if let Some(action) = action {
                let result = tokio::select! {
                    result = action.run(&target, &run, grace) => result,
                    () = tokio::time::sleep(grace) => Err("grace period is over".to_owned()),
                    _ = run.ended() => return,
                };
                if let Err(why) = result {
                    events.pod(
                        &pod,
                        Some(&name),
                        true,
                        "FailedPreStopHook",
                        format!("PreStopHook failed: {why}"),
                    );
                }
            }
            let left = grace.saturating_sub(begun.elapsed()).max(LEAST.min(grace));
            run.stop(signal, left).await;
        })
    }

    /// Ends the pod's containers, then its sidecars from the last to the first.
    pub(super) async fn stop_all(&mut self, publisher: &Publisher, grace: Duration) {
        let begun = Instant::now();
        let by_role = |worker: &Self, sidecars: bool| -> Vec<usize> {
            (0..worker.slots.len())
                .filter(|i| (worker.slots[*i].role == Role::Sidecar) == sidecars)
                .collect()
        };
        let mains = by_role(self, false);
        self.stop_some(publisher, &mains, grace).await;
        for index in by_role(self, true).into_iter().rev() {
            let left = grace.saturating_sub(begun.elapsed()).max(LEAST.min(grace));
            self.stop_some(publisher, &[index], left).await;
        }
    }

    async fn stop_some(&mut self, publisher: &Publisher, indices: &[usize], grace: Duration) {
        let mut tasks = JoinSet::new();
        let begun = Instant::now();
        for index in indices {
            if let Some(work) = self.killing(*index, grace, true) {
                let name = self.slots[*index].name().to_owned();
                self.events().pod(
                    &self.pod,
                    Some(&name),
                    false,
                    "Killing",
                    format!("Stopping container {name}"),
                );
                tasks.spawn(work);
            }
        }
        let mut deadline = None;
        while !tasks.is_empty() {
            tokio::select! {
                _ = tasks.join_next() => {}
                // A second deletion may shorten the grace period, never lengthen it.
                Ok(()) = self.updates.changed() => {
                    self.take_update();
                    let shorter = self.grace();
                    if shorter < grace {
                        let at = begun.checked_add(shorter).unwrap_or(begun).max(Instant::now());
                        deadline = Some(deadline.map_or(at, |d: Instant| d.min(at)));
                    }
                }
                Some(Signal::Ended) = self.signals.1.recv() => {}
                // Readiness is still asked for; it is what takes a pod out of its Services in time.
                Some(verdict) = self.verdicts.1.recv() => {
                    self.judge(&verdict);
                    self.publish(publisher);
                }
                () = async { match deadline { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {
                    deadline = None;
                    for index in indices {
                        if let Some(run) = self.slots[*index].live() {
                            run.signal(nix::sys::signal::Signal::SIGKILL);
                        }
                    }
                }
            }
        }
        for index in indices {
            self.slots[*index].look().await;
        }
    }

    /// Ends everything of the pod and says so.
    pub(super) async fn terminate(&mut self, publisher: &Publisher) {
        self.take_update();
        for slot in &mut self.slots {
            slot.condemned = None;
        }
        if !self.over {
            let grace = self.grace();
            self.stop_all(publisher, grace).await;
            self.over = true;
            self.close_sandbox().await;
        }
        self.publish(publisher);
    }
}
