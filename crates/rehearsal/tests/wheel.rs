//! The whole wheel on the model, in virtual time.

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_rehearsal::runner::Rehearsal;
use ferriswheel_rehearsal::scenario::Choices;
use ferriswheel_rehearsal::story::story;

#[tokio::test(start_paused = true)]
async fn the_wheel_turns() {
    let rehearsal = Rehearsal::new(Choices::default()).unwrap();
    let outcome = rehearsal.drive(Fault::None).await.unwrap();
    let story = story(&rehearsal, &outcome, &mut Default::default());
    assert_eq!(outcome, Outcome::Finished, "{story}");
    assert_eq!(rehearsal.flaws().await, Vec::<String>::new(), "{story}");
    assert_eq!(rehearsal.client_errors(), Vec::<String>::new());
    assert_eq!(rehearsal.promotions().len(), 1, "the primary moves once");
}
