//! Controllers that put a pod in the place of another.

use super::{PodState, Run};
use crate::drain::world::{ControllerId, Phase, PodId, Replaces};

impl Run<'_> {
    pub(super) fn reconcile(&mut self, id: ControllerId) {
        let about = &self.world.controllers[id.at()];
        match about.replaces {
            Replaces::PerNode | Replaces::Never => {}
            Replaces::AtOnce => {
                while self.controllers[id.at()].active < about.replicas {
                    let Some(origin) = self.controllers[id.at()].owed.pop_front() else {
                        // Pods that were missing from the beginning are not this drain's.
                        break;
                    };
                    self.replace(id, origin, self.pods[origin.at()].ordinal);
                }
            }
            Replaces::Numbered | Replaces::InOrder => {
                for ordinal in 0..about.replicas {
                    let there = self.controllers[id.at()].numbered[ordinal as usize];
                    let made = match there {
                        Some(pod) => pod,
                        None => {
                            let owed = &mut self.controllers[id.at()].owed;
                            let pods = &self.pods;
                            let found = owed
                                .iter()
                                .position(|origin| pods[origin.at()].ordinal == ordinal);
                            let Some(origin) = found.and_then(|at| owed.remove(at)) else {
                                if about.replaces == Replaces::InOrder {
                                    return;
                                }
                                continue;
                            };
                            self.replace(id, origin, ordinal)
                        }
                    };
                    let pod = &self.pods[made.at()];
                    let ready = pod.phase == Phase::Ready && !pod.terminating;
                    if about.replaces == Replaces::InOrder && !ready {
                        return;
                    }
                }
            }
        }
    }

    fn replace(&mut self, controller: ControllerId, origin: PodId, ordinal: u32) -> PodId {
        let shape = self.pods[origin.at()].shape;
        self.outcome.origins.push(origin);
        self.enter(PodState {
            shape,
            controller: Some(controller),
            ordinal,
            node: None,
            phase: Phase::Pending,
            terminating: false,
            gone: false,
            origin,
            drain: None,
        })
    }
}
