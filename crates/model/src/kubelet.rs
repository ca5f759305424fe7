//! What kubelets do: attach disks, start, restart and stop containers.

use std::time::Duration;

use crate::cluster::{Cluster, Event};
use crate::objects::{Behaviour, Container, Signal};

/// A container that ran this long starts again without delay.
///
/// # Source
/// The kubelet forgets a container's back-off after twice its longest delay (5 min).
const BACKOFF_FORGOTTEN: Duration = Duration::from_secs(600);

/// The longest delay of the kubelet's back-off.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

impl Cluster {
    /// Whoever plays an application says whether it is ready. Unknown UIDs are ignored: the pod
    /// is gone.
    pub fn set_ready(&mut self, uid: &str, ready: bool) {
        let Some((_, pod)) = self.pod_by_uid(uid) else {
            return;
        };
        let ready = ready && pod.container == Container::Running;
        if pod.ready != ready {
            pod.ready = ready;
            self.settle();
        }
    }

    /// Whoever plays an application says that its process has exited. Nothing happens if no pod has
    /// the UID.
    pub fn container_exited(&mut self, uid: &str) {
        if self.pod_by_uid(uid).is_some() {
            self.exited(uid);
            self.settle();
        }
    }

    /// Gives the disk of one placed pod to its node, when no other node has it.
    pub(crate) fn attach_disks(&mut self) -> bool {
        let attach = self.timing.attach;
        let waiting = self.pods.iter().find_map(|(name, pod)| {
            if pod.container != Container::Waiting || pod.terminating {
                return None;
            }
            let node = pod.node.clone()?;
            let disk = self.claims.get(pod.claim.as_ref()?)?.disk.clone()?;
            let free = self.disks.get(&disk)?.attached.is_none();
            free.then(|| (name.clone(), pod.uid.clone(), disk, node))
        });
        let Some((name, uid, disk, node)) = waiting else {
            return false;
        };
        if let Some(disk) = self.disks.get_mut(&disk) {
            disk.attached = Some(node);
        }
        if let Some(pod) = self.pods.get_mut(&name) {
            pod.container = Container::Attaching;
        }
        self.plan(attach, Event::Attached { uid });
        true
    }

    pub(crate) fn attached(&mut self, uid: &str) {
        let start = self.timing.start;
        let Some((_, pod)) = self.pod_by_uid(uid) else {
            return;
        };
        if pod.container == Container::Attaching {
            pod.container = Container::Starting;
            let uid = uid.to_owned();
            self.plan(start, Event::Started { uid });
        }
    }

    pub(crate) fn container_starts(&mut self, uid: &str) {
        let (now, ready) = (self.now, self.timing.ready);
        let Some((name, pod)) = self.pod_by_uid(uid) else {
            return;
        };
        if pod.container != Container::Starting || pod.terminating {
            return;
        }
        pod.container = Container::Running;
        pod.started_at = Some(now);
        let (behaviour, claim) = (pod.behaviour, pod.claim.clone());
        let uid = uid.to_owned();
        match behaviour {
            Behaviour::Plain => self.plan(ready, Event::PlainReady { uid }),
            Behaviour::Application => {
                let disk = claim.and_then(|claim| self.claims.get(&claim)?.disk.clone());
                self.signals.push(Signal::Start {
                    pod: name,
                    uid,
                    disk,
                });
            }
        }
    }

    /// Sends the stop signal to a pod's container; the pod goes when it has exited.
    pub(crate) fn stop_pod(&mut self, name: &str) {
        let (stop, grace) = (self.timing.stop, self.timing.grace);
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        if pod.terminating {
            return;
        }
        pod.terminating = true;
        pod.ready = false;
        let uid = pod.uid.clone();
        match (pod.container, pod.behaviour) {
            (Container::Running, Behaviour::Application) => {
                self.signals.push(Signal::Stop {
                    pod: name.to_owned(),
                    uid: uid.clone(),
                });
                self.plan(grace, Event::Killed { uid });
            }
            (Container::Running, Behaviour::Plain) => self.plan(stop, Event::PlainExit { uid }),
            _ => self.exited(&uid),
        }
    }

    /// The process is gone: the pod goes, or its container starts again.
    pub(crate) fn exited(&mut self, uid: &str) {
        let (now, start, backoff) = (self.now, self.timing.start, self.timing.backoff);
        let Some((name, pod)) = self.pod_by_uid(uid) else {
            return;
        };
        if pod.terminating {
            self.remove_pod(&name);
            return;
        }
        if pod.container != Container::Running {
            return;
        }
        let ran = now.saturating_sub(pod.started_at.unwrap_or(now));
        pod.restarts = if ran >= BACKOFF_FORGOTTEN {
            1
        } else {
            pod.restarts + 1
        };
        // The first restart is immediate, the second delayed by the back-off, which then doubles.
        let delay = match pod.restarts {
            1 => Duration::ZERO,
            n => backoff
                .saturating_mul(1_u32 << (n - 2).min(8))
                .min(LONGEST_BACKOFF),
        };
        pod.container = Container::Starting;
        pod.ready = false;
        let uid = uid.to_owned();
        self.plan(start + delay, Event::Started { uid });
    }

    /// Ends a container without asking.
    pub(crate) fn kill(&mut self, uid: &str) {
        let Some((name, pod)) = self.pod_by_uid(uid) else {
            return;
        };
        if pod.container == Container::Running && pod.behaviour == Behaviour::Application {
            let uid = uid.to_owned();
            self.signals.push(Signal::Killed { pod: name, uid });
        }
        self.exited(uid);
    }

    /// A container's process is killed from outside (a crash, the out-of-memory killer).
    pub fn kill_container(&mut self, pod: &str) {
        if let Some(uid) = self.pods.get(pod).map(|pod| pod.uid.clone()) {
            self.kill(&uid);
            self.settle();
        }
    }

    /// As [`Self::kill_container`], for a container that was restarted shortly before: the
    /// kubelet's back-off delays its next start.
    pub fn kill_container_again(&mut self, pod: &str) {
        if let Some(found) = self.pods.get_mut(pod) {
            found.restarts = found.restarts.max(1);
        }
        self.kill_container(pod);
    }

    pub(crate) fn remove_pod(&mut self, name: &str) {
        let detach = self.timing.detach;
        let Some(pod) = self.pods.remove(name) else {
            return;
        };
        let disk = pod
            .claim
            .and_then(|claim| self.claims.get(&claim)?.disk.clone());
        if let Some(disk) = disk
            && self
                .disks
                .get(&disk)
                .is_some_and(|found| found.attached == pod.node && pod.node.is_some())
        {
            self.plan(detach, Event::Detached { disk });
        }
    }
}
