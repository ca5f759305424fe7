//! The hand-over of a Redis Cluster's shards in virtual time: ended and continued at every record, disturbed, and
//! played by the models as by real servers.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod conformance;
mod faults;
mod matrix;

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_rehearsal::redis::stage::Stage;

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
    records
        .iter()
        .skip(records.len().saturating_sub(8))
        .map(|record| format!("{} {:?}", record.seq, record.entry))
        .collect()
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

async fn assert_whole(stage: &Stage, context: &str) {
    assert_eq!(
        stage.flaws().await,
        Vec::<String>::new(),
        "{context}: {:#?}",
        tail(stage)
    );
}

async fn assert_moved_once(stage: &Stage, context: &str) {
    assert_whole(stage, context).await;
    assert_eq!(stage.promotions(), [3, 4, 5], "{context}");
}
