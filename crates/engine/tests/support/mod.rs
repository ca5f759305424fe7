//! A small world with steps that take time, break in the middle and must happen once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{
    Ack, ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn,
};
use ferriswheel_plan::ids::{DatabaseName, PoolName};
use ferriswheel_plan::plan::{Body, Peak, Plan};
use ferriswheel_plan::step::{Gate, Guard, Step, StepId, StepKind, Undo};
use serde_json::json;

/// A plan of `steps` steps; the third one has a gate, every one a guard.
pub fn plan(steps: u32) -> Plan {
    let policy = serde_json::from_value(json!({
        "apiVersion": "ferriswheel.dev/v1alpha1", "kind": "Upgrade",
        "metadata": {"name": "scripted"},
        "spec": {
            "cluster": {"subscription": "s", "resourceGroup": "g", "name": "c"},
            "target": {"kubernetesVersion": "1.36.3"},
            "strategy": {"ferrisWheel": {}},
            "databases": []
        }
    }))
    .unwrap();
    Plan::seal(Body {
        name: "scripted".to_owned(),
        parent: None,
        rollback: None,
        observed_at: "2026-11-21T00:00:00Z".parse().unwrap(),
        cluster: "c".to_owned(),
        target: Some("1.36.3".parse().unwrap()),
        world_digest: String::new(),
        peak: Peak {
            extra_nodes: 0,
            extra_replicas: 0,
            fewest_members: 0,
            if_a_member_crashes: String::new(),
        },
        policy,
        promises: Vec::new(),
        warnings: Vec::new(),
        steps: (1..=steps).map(step).collect(),
    })
    .unwrap()
}

fn step(id: u32) -> Step {
    Step {
        id: StepId(id),
        title: format!("step {id}"),
        kind: StepKind::StopAgents {
            database: DatabaseName::new(format!("db{id}")),
        },
        guards: vec![Guard::NoOperation {
            pool: PoolName::new(format!("pool{id}")),
        }],
        gate: (id == 3).then(|| Gate {
            name: "three".to_owned(),
            question: "Go on?".to_owned(),
        }),
        undo: Undo::Nothing,
        soak_ms: 1_000,
        deadline_ms: 60_000,
        expected_ms: 5_000,
        expected_stall_ms: None,
    }
}

/// What became of a step's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Between two halves: nothing but settling helps.
    Half,
    /// Asked for; it appears after so many looks.
    Coming(u32),
    /// There.
    There,
}

#[derive(Default)]
struct Inner {
    effects: BTreeMap<StepId, Effect>,
    begun: BTreeMap<StepId, u32>,
    guard_refusals: u32,
    errors: BTreeMap<StepId, Vec<ActError>>,
    unknown_looks: u32,
    parts: BTreeMap<StepId, u32>,
}

/// The world. It outlives its drivers.
#[derive(Default)]
pub struct World {
    inner: Mutex<Inner>,
}

impl World {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next guards do not hold.
    pub fn refuse_guards(&self, times: u32) {
        self.inner().guard_refusals = times;
    }

    /// The next looks get no answer.
    pub fn silence(&self, looks: u32) {
        self.inner().unknown_looks = looks;
    }

    /// The next act of a step fails like this.
    pub fn fail(&self, step: u32, error: ActError) {
        self.inner()
            .errors
            .entry(StepId(step))
            .or_default()
            .push(error);
    }

    /// A step takes so many acts, each of which is done when it is taken.
    pub fn in_parts(&self, step: u32, parts: u32) {
        self.inner().parts.insert(StepId(step), parts);
    }

    /// Acts that a step in parts still takes.
    pub fn parts_left(&self, step: u32) -> u32 {
        self.inner().parts.get(&StepId(step)).copied().unwrap_or(0)
    }

    /// The effect is there without anybody's act.
    pub fn done_already(&self, step: u32) {
        self.inner().effects.insert(StepId(step), Effect::There);
    }

    /// How often the effect of each step began: more than once means that it was done twice.
    pub fn begun(&self) -> BTreeMap<StepId, u32> {
        self.inner().begun.clone()
    }

    /// Steps whose effect is there.
    pub fn there(&self) -> usize {
        self.inner()
            .effects
            .values()
            .filter(|effect| **effect == Effect::There)
            .count()
    }
}

fn on(step: StepId, reason: &str) -> WaitingOn {
    WaitingOn {
        object: format!("object {step}"),
        reason: reason.to_owned(),
        clears: "time passes".to_owned(),
    }
}

#[async_trait]
impl Actuator for World {
    async fn observe(&self, step: &Step) -> Observed {
        let mut inner = self.inner();
        if inner.unknown_looks > 0 {
            inner.unknown_looks -= 1;
            return Observed::Unknown("no answer".to_owned());
        }
        match inner.effects.get(&step.id).copied() {
            None => Observed::Ready,
            Some(Effect::Half) => Observed::NotReady(on(step.id, "half-done")),
            Some(Effect::Coming(0)) => {
                inner.effects.insert(step.id, Effect::There);
                Observed::Done(Evidence::one("there"))
            }
            Some(Effect::Coming(n)) => {
                inner.effects.insert(step.id, Effect::Coming(n - 1));
                Observed::InFlight(on(step.id, "coming"))
            }
            Some(Effect::There) => Observed::Done(Evidence::one("there")),
        }
    }

    async fn check(&self, _: &Guard) -> Result<(), WaitingOn> {
        let mut inner = self.inner();
        if inner.guard_refusals > 0 {
            inner.guard_refusals -= 1;
            return Err(on(StepId(0), "the guard does not hold"));
        }
        Ok(())
    }

    async fn act(&self, step: &Step, _: &OperationKey) -> Result<Ack, ActError> {
        {
            let mut inner = self.inner();
            if let Some(error) = inner.errors.get_mut(&step.id).and_then(Vec::pop) {
                return Err(error);
            }
            if let Some(left) = inner.parts.get_mut(&step.id).filter(|left| **left > 1) {
                *left -= 1;
                return Ok(Ack {
                    evidence: Evidence::one("a part"),
                });
            }
            if inner.effects.contains_key(&step.id) {
                // Asked again: found by observation, nothing happens twice.
                return Ok(Ack::default());
            }
            *inner.begun.entry(step.id).or_default() += 1;
            inner.effects.insert(step.id, Effect::Half);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.inner().effects.insert(step.id, Effect::Coming(2));
        Ok(Ack {
            evidence: Evidence::one("taken"),
        })
    }

    async fn settle(&self, step: &Step, _: &OperationKey) -> Result<Evidence, ActError> {
        let mut inner = self.inner();
        if inner.effects.get(&step.id) == Some(&Effect::Half) {
            inner.effects.remove(&step.id);
            if let Some(begun) = inner.begun.get_mut(&step.id) {
                *begun -= 1;
            }
        }
        Ok(Evidence::one("whole"))
    }
}
