//! A pod's life: it appears, runs, becomes ready, stops and is gone, and who is told of it.

use super::{Due, PodState, Run};
use crate::drain::budget::Size;
use crate::drain::world::{ControllerId, Phase, PodId, ShapeId};

impl Run<'_> {
    /// A pod appears.
    pub(super) fn enter(&mut self, pod: PodState) -> PodId {
        let id = PodId::next(self.pods.len());
        let shape = &self.world.shapes[pod.shape.at()];
        let size = self.size(pod.controller);
        for budget in &self.over[pod.shape.at()] {
            let count = &mut self.budgets[budget.at()].count;
            count.add(size, self.world);
            if pod.phase == Phase::Ready && !pod.terminating {
                count.healthy(true);
            }
            self.moved.insert(*budget);
            self.selected[budget.at()].push(id);
        }
        if let Some(controller) = pod.controller {
            let state = &mut self.controllers[controller.at()];
            if !pod.terminating && pod.phase != Phase::Finished {
                state.active += 1;
            }
            if let Some(place) = state.numbered.get_mut(pod.ordinal as usize) {
                *place = Some(id);
            }
        }
        match pod.node {
            Some(node) if pod.phase == Phase::Finished => {
                self.finished.entry(node).or_default().push(id);
            }
            Some(node) => {
                self.seats.sit(
                    self.world,
                    id,
                    pod.shape,
                    pod.controller,
                    node,
                    !pod.terminating,
                );
            }
            None if !pod.terminating && pod.phase == Phase::Pending => {
                self.seats.wants(id, pod.shape);
            }
            _ => {}
        }
        if pod.terminating {
            self.plan(shape.stop, Due::Gone(id));
        } else if pod.node.is_some() && pod.phase == Phase::Pending {
            self.plan(shape.start, Due::Runs(id));
        }
        self.pods.push(pod);
        id
    }

    fn size(&self, controller: Option<ControllerId>) -> Size {
        let Some(id) = controller else {
            return Size::Unmanaged;
        };
        match self.world.controllers.get(id.at()) {
            None => Size::Unmanaged,
            Some(controller) => controller.scale.map_or(Size::Missing, Size::Of),
        }
    }

    /// Step 1.
    pub(super) fn happen(&mut self, due: Due) {
        match due {
            Due::NodeUp(node) => {
                self.seats
                    .set_node(self.world, node, true, true, false, false);
                if self.buffers.remove(&node) {
                    self.returning -= 1;
                    self.hands += 1;
                }
            }
            Due::Gone(pod) => self.gone(pod),
            Due::Runs(id) => {
                let world = self.world;
                let pod = &mut self.pods[id.at()];
                if pod.terminating {
                    return;
                }
                pod.phase = Phase::Unready;
                if let Some(ready) = world.shapes[pod.shape.at()].ready {
                    self.plan(ready, Due::Ready(id));
                }
            }
            Due::Ready(id) => {
                let pod = &mut self.pods[id.at()];
                if pod.terminating {
                    return;
                }
                pod.phase = Phase::Ready;
                let (shape, controller) = (pod.shape, pod.controller);
                self.count_healthy(shape, true);
                self.dirty.extend(controller);
            }
            Due::Soaked(_) | Due::Check(_) | Due::Late(_) | Due::Evict(..) => {}
        }
    }

    fn count_healthy(&mut self, shape: ShapeId, more: bool) {
        for budget in &self.over[shape.at()] {
            self.budgets[budget.at()].count.healthy(more);
            self.moved.insert(*budget);
        }
    }

    fn gone(&mut self, id: PodId) {
        let pod = &mut self.pods[id.at()];
        pod.gone = true;
        let (shape, controller, node, drain) = (pod.shape, pod.controller, pod.node, pod.drain);
        let (ordinal, phase, origin) = (pod.ordinal as usize, pod.phase, pod.origin);
        if let Some(node) = node
            && phase != Phase::Finished
        {
            self.seats.leaves(self.world, id, node);
        }
        let size = self.size(controller);
        for budget in &self.over[shape.at()] {
            self.budgets[budget.at()].count.remove(size, self.world);
            self.moved.insert(*budget);
        }
        if let Some(controller) = controller {
            let state = &mut self.controllers[controller.at()];
            if let Some(place) = state.numbered.get_mut(ordinal)
                && *place == Some(id)
            {
                *place = None;
                state.owed.push_back(origin);
            }
            self.dirty.insert(controller);
        }
        if let Some(drain) = drain {
            self.drains[drain].left.remove(&id);
            self.check.insert(drain);
        }
    }

    /// A pod begins to stop.
    pub(super) fn stop(&mut self, id: PodId) {
        let world = self.world;
        let pod = &mut self.pods[id.at()];
        if pod.terminating {
            return;
        }
        pod.terminating = true;
        let (shape, controller, node) = (pod.shape, pod.controller, pod.node);
        let (phase, origin) = (pod.phase, pod.origin);
        if phase == Phase::Ready {
            self.count_healthy(shape, false);
        }
        if let Some(node) = node
            && phase != Phase::Finished
        {
            self.seats.stops(world, id, node);
        }
        if let Some(controller) = controller
            && phase != Phase::Finished
        {
            let state = &mut self.controllers[controller.at()];
            state.active -= 1;
            if state.numbered.is_empty() {
                state.owed.push_back(origin);
            }
            self.dirty.insert(controller);
        }
        // Nothing of a finished pod is left to stop.
        let stop = match phase {
            Phase::Finished => 1,
            _ => world.shapes[shape.at()].stop,
        };
        self.plan(stop, Due::Gone(id));
    }
}
