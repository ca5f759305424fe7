//! The HTML report of a run: one self-contained file, no script, nothing fetched.
//!
//! Input is what the run left: the certificate and the timeline of the probe, the plan, and what
//! happened to each step. Any part may be missing; the report says so instead of guessing. All
//! text of the outside world is escaped by the template engine.

mod cache;
mod chart;
mod plan;
mod svg;
mod view;
mod words;

use ferriswheel_probe::certificate::Certificate;
use ferriswheel_probe::timeline::Timeline;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything a report shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Input {
    /// What the report is about, e.g. the plan's name; the certificate's subject when empty.
    pub title: String,
    /// When the report was made.
    pub generated: Option<Timestamp>,
    /// The judgement.
    pub certificate: Option<Certificate>,
    /// The curve.
    pub timeline: Option<Timeline>,
    /// The plan and what happened to it.
    pub plan: Option<PlanView>,
}

/// A plan as people read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanView {
    /// Its id.
    pub id: String,
    /// Strategy, in the spec's word.
    pub strategy: String,
    /// How the run stands: `done`, `running`, `rolled back`, ...
    pub state: String,
    /// Other facts worth a line each, e.g. `primary moves` and `1`.
    pub facts: Vec<Fact>,
    /// The steps in order.
    pub steps: Vec<StepView>,
}

/// A name and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A step and what happened to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepView {
    /// Position, from 1.
    pub number: u32,
    /// One line.
    pub title: String,
    /// What became of it.
    pub status: StepStatus,
    /// When it was taken up.
    pub started: Option<Timestamp>,
    /// When it was verified, skipped or given up.
    pub finished: Option<Timestamp>,
    /// Expected duration in milliseconds.
    pub expected_ms: Option<u64>,
    /// Expected stall of writes in milliseconds, for the step that stalls them.
    pub expected_stall_ms: Option<u64>,
    /// What proves the result, one line each.
    pub evidence: Vec<String>,
    /// Why it waits, was skipped, or failed.
    pub reason: Option<String>,
    /// How it could be taken back, in words.
    pub undo: Option<String>,
    /// Moments inside the step, e.g. the sub-steps of a hand-over.
    pub moments: Vec<Moment>,
}

/// A named instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What happened.
    pub name: String,
    /// When.
    pub at: Timestamp,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not yet taken up.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// Waits for a condition or an approval.
    Waiting,
    /// Done and verified.
    Done,
    /// Was already true.
    Skipped,
    /// Given up; resumable.
    Failed,
    /// Taken back.
    RolledBack,
    /// A person is needed.
    Stuck,
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template does not fit the data: a bug.
    #[error("render the report")]
    Template(#[from] minijinja::Error),
    /// A part cannot be embedded as JSON: a bug.
    #[error("embed the certificate in the report")]
    Json(#[from] serde_json::Error),
}

/// Renders the report.
///
/// # Errors
/// Only for a bug in the template.
pub fn render(input: &Input) -> Result<String, RenderError> {
    let page = view::Page::of(input)?;
    let mut environment = minijinja::Environment::new();
    // The name ends in .html, which turns escaping on.
    environment.add_template("report.html", include_str!("template.html"))?;
    let template = environment.get_template("report.html")?;
    Ok(template.render(minijinja::value::Serde(&page))?)
}

#[cfg(test)]
mod tests;
