//! One screen about a run: what each step was, what it took, what shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::status::{StepPhase, status};
use ferriswheel_plan::step::StepId;

use crate::runner::Rehearsal;

/// The story of a rehearsal since it was told last: `told` remembers the steps that are over.
pub fn story(rehearsal: &Rehearsal, outcome: &Outcome, told: &mut BTreeSet<StepId>) -> String {
    let mut left = 0;
    let mut text = String::new();
    let records = rehearsal.records();
    // Writing into a String cannot fail.
    match status(&rehearsal.plan, &records) {
        Err(e) => {
            let _ = writeln!(text, "the journal contradicts itself: {e}");
        }
        Ok(view) => {
            for step in view.steps {
                if step.phase == StepPhase::Pending {
                    left += 1;
                    continue;
                }
                if told.contains(&step.id) {
                    continue;
                }
                if step.finished.is_some() {
                    told.insert(step.id);
                }
                let word = match step.phase {
                    StepPhase::Pending => "-",
                    StepPhase::Observing => "waits",
                    StepPhase::Acting => "acting",
                    StepPhase::Skipped => "skipped",
                    StepPhase::Verified => "done",
                };
                let took = match (step.started, step.finished) {
                    (Some(from), Some(to)) => {
                        format!("{:.1} s", to.duration_since(from).as_secs_f64())
                    }
                    _ => String::new(),
                };
                let _ = writeln!(text, "{:>2} {word:<7} {took:>7}  {}", step.id, step.title);
                if let Some(fact) = step.evidence.0.first() {
                    let _ = writeln!(text, "{:19}{fact}", "");
                }
            }
        }
    }
    if left > 0 {
        let _ = writeln!(text, "{left} steps are left");
    }
    let _ = match outcome {
        Outcome::Finished => writeln!(text, "finished"),
        Outcome::Aborted => writeln!(text, "given up"),
        Outcome::Stopped { how, .. } => writeln!(text, "stopped: {how:?}"),
    };
    rehearsal.world.with(|world| {
        let clients = &world.postgres.clients;
        let _ = writeln!(
            text,
            "primary moves {}, fewest members {}, client errors {}, broken promises {}",
            world.postgres.promotions.len(),
            world.watch.fewest.unwrap_or(0),
            clients.errors.len(),
            world.watch.broken.len(),
        );
        let _ = writeln!(
            text,
            "clients held at most {} ms, longest gap between acknowledged writes {} ms",
            world.watch.held.as_millis(),
            clients.longest_gap.as_millis()
        );
    });
    text
}
