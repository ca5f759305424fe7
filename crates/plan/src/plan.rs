//! The plan: immutable, complete, with no choices left.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{DatabaseName, NodeName, PlanId, PoolName};
use crate::policy::Limits;
use crate::step::{NodeIdentity, Step, StepId};
use crate::version::KubernetesVersion;

/// Format of the plan file.
pub const SCHEMA: &str = "ferriswheel.plan.v1";

/// A finished plan. Its id is the digest of everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `ferriswheel.plan.v1`.
    pub schema: String,
    /// Digest of the content below.
    pub id: PlanId,
    /// Content.
    pub body: Body,
}

/// What a plan says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Name from the spec's metadata.
    pub name: String,
    /// Plan that this one continues or undoes.
    pub parent: Option<PlanId>,
    /// When the world was observed.
    pub observed_at: Timestamp,
    /// ARM id of the cluster.
    pub cluster: String,
    /// Target version, if machines are replaced.
    pub target: Option<KubernetesVersion>,
    /// Digest of the part of the world that the plan rests on; `apply` recomputes it before the
    /// first act and refuses a changed one.
    pub world_digest: String,
    /// What the run needs at most at one time, approved with the plan.
    pub peak: Peak,
    /// The spec in force, defaults filled in, without secrets.
    pub policy: crate::policy::Upgrade,
    /// Databases with the promise that holds for each.
    pub promises: Vec<Promise>,
    /// Things that the reader should know and that do not stop the run.
    pub warnings: Vec<String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What it takes back, if it is a rollback of its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
}

/// What a rollback rests on, and what becomes of each step of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The former primaries take over again.
    pub hand_back: bool,
    /// Machines that the run made and that are still there.
    pub machines: Vec<NodeIdentity>,
    /// Pools that the run made and that are still there.
    pub pools: Vec<PoolName>,
    /// Nodes that somebody else has cordoned, before the run or since, and that stay so.
    pub cordoned_by_others: Vec<NodeName>,
    /// Every step of the run that was begun and has something to take back, newest first.
    pub fates: Vec<Fate>,
}

/// What becomes of a step of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// The step, in the parent's plan.
    pub step: StepId,
    /// Its title.
    pub title: String,
    /// What becomes of it.
    pub becomes: Becomes,
}

/// What becomes of a step's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Becomes {
    /// These steps of the rollback take it back.
    TakenBack(Vec<StepId>),
    /// Nothing of it is left already; how that shows.
    AsBefore(String),
    /// It stays as it is; why.
    Stays(String),
}

/// Extra capacity at the highest point of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Machines beyond today's.
    pub extra_nodes: u32,
    /// Replicas beyond today's.
    pub extra_replicas: u32,
    /// Fewest members in any set at any time when nothing fails.
    pub fewest_members: u32,
    /// What a crash at the worst moment costs.
    pub if_a_member_crashes: String,
}

/// What the run promises for a database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Database.
    pub database: DatabaseName,
    /// Limits that decide the verdict.
    pub limits: Limits,
    /// Which loss promise holds and why.
    pub durability: String,
    /// What clients see during the hand-over.
    pub clients: String,
}

impl Plan {
    /// Seals a body: the id is its digest.
    pub fn seal(body: Body) -> Result<Self, serde_json::Error> {
        let id = digest(&body)?;
        Ok(Self {
            schema: SCHEMA.to_owned(),
            id,
            body,
        })
    }

    /// The run whose marks the world carries: a rollback works on what its parent made.
    pub fn run(&self) -> &PlanId {
        match (&self.body.rollback, &self.body.parent) {
            (Some(_), Some(parent)) => parent,
            _ => &self.id,
        }
    }

    /// Whether the id still matches the content: an edited plan is refused.
    pub fn is_intact(&self) -> Result<bool, serde_json::Error> {
        Ok(self.schema == SCHEMA && digest(&self.body)? == self.id)
    }
}

fn digest(body: &Body) -> Result<PlanId, serde_json::Error> {
    let bytes = serde_json::to_vec(body)?;
    let hash = Sha256::digest(&bytes);
    // 16 hex digits: short enough to type, long enough that two plans of one cluster never meet.
    let hex: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(PlanId::new(hex))
}
