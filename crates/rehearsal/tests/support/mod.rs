//! What the tests that end and continue runs on the model have in common.

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_rehearsal::runner::Rehearsal;

pub(crate) fn virtual_time<F: Future>(run: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

/// Applies the plan until it is finished. A person clears nothing here: a stop that only says
/// "try again" must go away by trying again.
pub(crate) async fn carry_on(rehearsal: &Rehearsal, context: &str) {
    for _ in 0..4 {
        match rehearsal.drive(Fault::None).await.unwrap() {
            Outcome::Finished => return,
            Outcome::Stopped { .. } => {}
            Outcome::Aborted => panic!("{context}: nobody gave it up"),
        }
    }
    panic!("{context}: it never finished: {:?}", tail(rehearsal));
}

pub(crate) fn tail(rehearsal: &Rehearsal) -> Vec<String> {
    let records = rehearsal.records();
    records
        .iter()
        .skip(records.len().saturating_sub(8))
        .map(|record| format!("{} {:?}", record.seq, record.entry))
        .collect()
}
