//! The hand-over of a MariaDB set in virtual time: ended and continued at every record and every moment, disturbed,
//! and played by the models as by real servers.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod conformance;
mod faults;
mod matrix;

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_plan::step::StepKind;
use ferriswheel_rehearsal::mariadb::stage::{Clients, Stage};

/// Both ways by which clients find the primary.
const WAYS: [Clients; 2] = [Clients::ByService, Clients::ByName];

fn virtual_time<F: Future>(run: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

fn tail(stage: &Stage) -> Vec<String> {
    let records = stage.records();
    let last = records.iter().skip(records.len().saturating_sub(6));
    let mut lines: Vec<String> = last
        .map(|record| format!("{} {:?}", record.seq, record.entry))
        .collect();
    if let Some(window) = stage.windows().last() {
        lines.extend(window.lines());
    }
    lines
}

/// Number of the member that the plan hands over to.
fn successor(stage: &Stage) -> usize {
    let mut to = stage
        .plan
        .body
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::HandOver { to, .. } => Some(to),
            _ => None,
        });
    to.next()
        .unwrap()
        .name
        .rsplit('-')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Applies the plan until it is finished. A person clears nothing here.
async fn carry_on(stage: &Stage, context: &str) {
    for _ in 0..4 {
        match stage.drive(Fault::None).await.unwrap() {
            Outcome::Finished => return,
            Outcome::Stopped { .. } => {}
            Outcome::Aborted => panic!("{context}: nobody gave it up"),
        }
    }
    panic!("{context}: it never finished: {:#?}", tail(stage));
}

async fn assert_moved_once(stage: &Stage, context: &str) {
    let flaws = stage.flaws().await;
    assert_eq!(flaws, Vec::<String>::new(), "{context}: {:#?}", tail(stage));
    assert_eq!(
        stage.led(),
        [0, successor(stage)],
        "{context}: {:#?}",
        tail(stage)
    );
}
