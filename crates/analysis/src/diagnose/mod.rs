//! Why an upgrade is stuck, slow, failed or hurting: causes with their evidence, the next command, and what not to do.
//!
//! Asked of the same objects as the checks (a cluster's answers, a dump), of what Azure Resource Manager says of its
//! operations, and of error texts that somebody copied. A check says what would go wrong; this says what does.
//!
//! # Invariants
//! - A cause names what it rests on. What the input does not show is not concluded: without nodes nothing is said of
//!   drains, without events nothing of what happened.
//! - No command that it names loses data or overrides a budget; those that would are named in `avoid`.
//! - The same input gives the same bytes: the time is passed in, or read from the snapshot.
//!
//! # Source
//! AKS's error codes and their meanings: Microsoft's support pages on failed upgrades, and the API of 2026-08-01.

mod azure;
mod case;
pub mod codes;
mod drain;
mod errors;
mod known;
mod names;
mod pods;
mod slow;
mod time;
mod ward;
mod webhooks;

use serde::Serialize;

use crate::findings::{Evidence, ObjectRef, Place, Skipped};
use crate::manifest::Reading;
use case::Case;
use ward::Ward;

pub use azure::Text;
pub use time::instant;

/// The contract's name. Its JSON Schema is `docs/diagnosis.v1.schema.json`.
pub const SCHEMA: &str = "ferriswheel.diagnosis.v1";

/// A whole answer.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Causes, the surest first.
    pub diagnoses: Vec<Diagnosis>,
    /// What there was to look at, and what there was not: an empty list of causes means no more than this.
    pub looked_at: Vec<LookedAt>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
}

/// A kind of evidence, and how much of it there was.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LookedAt {
    /// Such as `events`.
    pub what: &'static str,
    /// How many.
    pub count: usize,
}

/// One cause.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Diagnosis {
    /// Stable code with a page under `docs/diagnoses`.
    pub code: &'static str,
    /// What it explains.
    pub symptom: Symptom,
    /// How sure it is.
    pub certainty: Certainty,
    /// What it is about.
    pub object: ObjectRef,
    /// Where that was read.
    pub source: Place,
    /// What is wrong.
    pub cause: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// The next commands, in their order.
    pub next: Vec<String>,
    /// What not to do.
    pub avoid: String,
}

/// What a person notices.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Symptom {
    /// AKS refused or ended the operation.
    Refused,
    /// A node does not drain.
    StuckDrain,
    /// It takes longer than it should.
    Slow,
    /// Requests fail.
    Errors,
    /// Names are not resolved.
    Names,
}

impl Symptom {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Refused,
        Self::StuckDrain,
        Self::Slow,
        Self::Errors,
        Self::Names,
    ];
}

/// How sure a cause is.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// The evidence leaves no other reading.
    Certain,
    /// It would explain the symptom; something else may too.
    Likely,
}

/// Every cause that the input shows.
///
/// `texts` are errors as AKS, `az` or somebody's terminal printed them. `now` is in seconds since 1970-01-01; a
/// snapshot's own time comes before it.
pub fn diagnose(mut reading: Reading, texts: &[Text], now: Option<i64>) -> Report {
    let usages = std::mem::take(&mut reading.usages);
    let ward = Ward::of(&reading.objects, now);
    let mut cases: Vec<Case> = Vec::new();
    azure::check(&ward, texts, &usages, &mut cases);
    drain::check(&ward, &mut cases);
    webhooks::check(&ward, &mut cases);
    slow::check(&ward, &mut cases);
    errors::check(&ward, &mut cases);
    names::check(&ward, &mut cases);
    let looked_at = ward.looked_at(texts.len());
    let mut diagnoses: Vec<Diagnosis> = cases.into_iter().map(Case::done).collect();
    diagnoses.sort_by(|a, b| {
        let key = |d: &Diagnosis| (d.certainty, d.symptom, d.code);
        (key(a), &a.object, &a.source, &a.cause).cmp(&(key(b), &b.object, &b.source, &b.cause))
    });
    diagnoses.dedup();
    let mut skipped = reading.skipped;
    skipped.sort();
    Report {
        schema: SCHEMA,
        diagnoses,
        looked_at,
        skipped,
    }
}
