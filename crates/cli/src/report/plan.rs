//! The plan's table, and where its steps stand under the curve.

use jiff::Timestamp;
use serde::Serialize;

use super::chart::{Curve, Flag, Span};
use super::words::{clock, dash, lasting, since, time_of_day};
use super::{Input, PlanView, StepStatus, StepView};

#[derive(Debug, Serialize)]
pub(super) struct PlanTable {
    id: String,
    strategy: String,
    state: String,
    facts: Vec<(String, String)>,
    steps: Vec<StepRow>,
}

#[derive(Debug, Serialize)]
struct StepRow {
    number: u32,
    title: String,
    class: &'static str,
    status: &'static str,
    sign: &'static str,
    started: String,
    offset: String,
    took: String,
    expected: String,
    evidence: Vec<String>,
    reason: Option<String>,
    undo: Option<String>,
    moments: Vec<(String, String)>,
}

pub(super) fn plan_table(plan: &PlanView, anchor: Option<Timestamp>) -> PlanTable {
    PlanTable {
        id: plan.id.clone(),
        strategy: plan.strategy.clone(),
        state: plan.state.clone(),
        facts: plan
            .facts
            .iter()
            .map(|f| (f.name.clone(), f.value.clone()))
            .collect(),
        steps: plan
            .steps
            .iter()
            .map(|step| step_row(step, anchor))
            .collect(),
    }
}

fn step_row(step: &StepView, anchor: Option<Timestamp>) -> StepRow {
    let (class, status, sign) = describe(step.status);
    let took = step.started.zip(step.finished).map(|(a, b)| since(a, b));
    StepRow {
        number: step.number,
        title: step.title.clone(),
        class,
        status,
        sign,
        started: step.started.map(time_of_day).unwrap_or_default(),
        offset: step
            .started
            .zip(anchor)
            .map(|(at, anchor)| since(anchor, at))
            .filter(|ms| *ms >= 0.0)
            .map(clock)
            .unwrap_or_default(),
        took: took.map_or_else(dash, lasting),
        expected: step
            .expected_ms
            .map(|ms| lasting(ms as f64))
            .unwrap_or_default(),
        evidence: step.evidence.clone(),
        reason: step.reason.clone(),
        undo: step.undo.clone(),
        moments: step
            .moments
            .iter()
            .map(|m| {
                let from = step.started.unwrap_or(m.at);
                (
                    m.name.clone(),
                    format!("+{}", lasting(since(from, m.at).max(0.0))),
                )
            })
            .collect(),
    }
}

/// Style, word and sign of a status. The sign carries the meaning where colour is not seen.
const fn describe(status: StepStatus) -> (&'static str, &'static str, &'static str) {
    match status {
        StepStatus::Pending => ("pending", "not started", "\u{25cb}"),
        StepStatus::Running => ("running", "under way", "\u{25b6}"),
        StepStatus::Waiting => ("waiting", "waiting", "\u{23f8}"),
        StepStatus::Done => ("done", "done", "\u{2713}"),
        StepStatus::Skipped => ("skipped", "was already so", "\u{2013}"),
        StepStatus::Failed => ("failed", "failed", "\u{2717}"),
        StepStatus::RolledBack => ("rolledback", "taken back", "\u{21a9}"),
        StepStatus::Stuck => ("stuck", "stuck", "!"),
    }
}

pub(super) fn spans(plan: &PlanView, anchor: Timestamp, stop_ms: f64) -> Vec<Span> {
    plan.steps
        .iter()
        .filter_map(|step| {
            let from_ms = since(anchor, step.started?);
            let to_ms = step.finished.map_or(stop_ms, |at| since(anchor, at));
            // Before the first write and after the last there is no curve to stand under.
            (to_ms > 0.0 && from_ms < stop_ms).then(|| Span {
                number: step.number,
                title: step.title.clone(),
                class: if step.expected_stall_ms.is_some() && step.status == StepStatus::Done {
                    "stalling"
                } else {
                    describe(step.status).0
                },
                from_ms,
                to_ms,
            })
        })
        .collect()
}

/// Moments for the zoom: those of the step that spans the longest gap and the probe's own marks.
pub(super) fn flags(input: &Input, curve: &Curve<'_>) -> (Vec<Flag>, Option<(f64, f64)>) {
    let anchor = curve.timeline.anchor;
    let mut flags: Vec<Flag> = curve
        .timeline
        .marks
        .iter()
        .map(|mark| Flag {
            name: mark.name.clone(),
            at_ms: mark.at_ms as f64,
        })
        .collect();
    let moments = input
        .plan
        .iter()
        .flat_map(|plan| &plan.steps)
        .flat_map(|step| &step.moments);
    flags.extend(moments.map(|m| Flag {
        name: m.name.clone(),
        at_ms: since(anchor, m.at),
    }));
    let focus = curve.longest().and_then(|gap| {
        let steps = input.plan.iter().flat_map(|plan| &plan.steps);
        let holding = steps.filter_map(|step| {
            let (from, to) = (since(anchor, step.started?), since(anchor, step.finished?));
            (from <= gap.from_ms && to >= gap.to_ms && !step.moments.is_empty()).then_some(step)
        });
        let times: Vec<f64> = holding
            .flat_map(|step| &step.moments)
            .map(|m| since(anchor, m.at))
            .collect();
        let first = times.iter().copied().reduce(f64::min)?;
        let last = times.iter().copied().reduce(f64::max)?;
        Some((first.min(gap.from_ms), last.max(gap.to_ms)))
    });
    (flags, focus)
}
