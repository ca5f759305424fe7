//! The driver against a scripted world: crashes, lost replies, stolen runs, people's requests.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_engine::actuator::ActError;
use ferriswheel_engine::clock::{Clock, VirtualClock};
use ferriswheel_engine::driver::{DriveError, Driver, Listener, Outcome};
use ferriswheel_engine::events::{Events, Silent};
use ferriswheel_engine::faults::{Fault, FaultyActuator, FaultyJournal};
use ferriswheel_engine::journal::memory::MemoryJournal;
use ferriswheel_engine::journal::{AppendError, Journal};
use ferriswheel_engine::record::{Entry, Record, Request, Stop};
use ferriswheel_engine::state::State;
use ferriswheel_engine::status::{Phase, StepPhase, status};
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepId;
use support::{World, plan};

const STEPS: u32 = 4;

struct Bench {
    plan: Plan,
    world: World,
    journal: MemoryJournal,
    clock: VirtualClock,
}

impl Bench {
    fn new() -> Self {
        let plan = plan(STEPS);
        let clock = VirtualClock::new(plan.body.observed_at);
        Self {
            plan,
            world: World::default(),
            journal: MemoryJournal::default(),
            clock,
        }
    }

    fn approved() -> Self {
        let bench = Self::new();
        bench.ask(Request::Approve {
            gate: "three".to_owned(),
            by: "test".to_owned(),
        });
        bench
    }

    fn ask(&self, request: Request) {
        self.journal
            .append(&self.plan.id, 0, self.clock.now(), Entry::Asked { request })
            .unwrap();
    }

    async fn run_with(&self, fault: Fault) -> Result<Outcome, DriveError> {
        let journal = FaultyJournal::new(&self.journal, fault);
        let actuator = FaultyActuator::new(&self.world, fault);
        Driver {
            plan: &self.plan,
            actuator: &actuator,
            journal: &journal,
            clock: &self.clock,
            listener: &Silent,
        }
        .run()
        .await
    }

    async fn run(&self) -> Result<Outcome, DriveError> {
        self.run_with(Fault::None).await
    }

    fn names(&self) -> Vec<&'static str> {
        self.journal
            .after(0)
            .unwrap()
            .iter()
            .map(|record| record.entry.name())
            .collect()
    }

    fn assert_whole(&self, context: &str) {
        let records = self.journal.after(0).unwrap();
        let state = State::replay(&records).unwrap();
        assert!(
            state.over && !state.aborted,
            "{context}: {:?}",
            self.names()
        );
        assert_eq!(self.world.there(), 4, "{context}");
        for (step, begun) in self.world.begun() {
            assert_eq!(begun, 1, "{context}: step {step} was done {begun} times");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_step_is_announced_observed_and_verified() {
    let bench = Bench::approved();
    assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
    bench.assert_whole("plain");
    let names = bench.names();
    assert_eq!(
        names[..8],
        [
            "asked", "driving", "started", "acting", "acted", "waiting", "verified", "started"
        ]
    );
    let view = status(&bench.plan, &bench.journal.after(0).unwrap()).unwrap();
    assert_eq!(view.phase, Phase::Finished);
    assert_eq!(view.left_ms, 0);
    assert!(
        view.steps
            .iter()
            .all(|s| s.phase == StepPhase::Verified && s.acts == 1)
    );
}

/// Hears a request between two acts of one step.
struct Asking<'b>(&'b Bench, Request);

impl Listener for Asking<'_> {
    fn record(&self, record: &Record, _: &State) {
        if matches!(
            record.entry,
            Entry::Acted {
                step: StepId(2),
                ..
            }
        ) {
            self.0.ask(self.1.clone());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_of_many_acts_is_paused_and_given_up_between_two_of_them() {
    let bench = Bench::approved();
    bench.world.in_parts(2, 4);
    let run = async |request: Request| {
        Driver {
            plan: &bench.plan,
            actuator: &bench.world,
            journal: &bench.journal,
            clock: &bench.clock,
            listener: &Asking(&bench, request),
        }
        .run()
        .await
        .unwrap()
    };
    match run(Request::Pause).await {
        Outcome::Stopped { step, how } => assert_eq!((step.id, how), (StepId(2), Stop::Paused)),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.world.parts_left(2), 3);
    bench.ask(Request::Resume);
    assert_eq!(run(Request::Abort).await, Outcome::Aborted);
    assert_eq!(bench.world.parts_left(2), 2);

    let whole = Bench::approved();
    whole.world.in_parts(2, 4);
    assert_eq!(whole.run().await.unwrap(), Outcome::Finished);
    whole.assert_whole("in parts");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_already_is_skipped() {
    let bench = Bench::approved();
    bench.world.done_already(2);
    assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
    assert!(!bench.world.begun().contains_key(&StepId(2)));
    assert!(bench.names().contains(&"found"));
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_record_ends_in_the_same_world() {
    let bench = Bench::approved();
    bench.run().await.unwrap();
    let last = bench.journal.after(0).unwrap().len();
    let mut crashed_after = BTreeSet::new();
    for n in 2..=last {
        let bench = Bench::approved();
        let n = u64::try_from(n).unwrap();
        let first = bench.run_with(Fault::CrashAfterRecord(n)).await;
        assert!(first.is_err(), "record {n} was written");
        crashed_after.insert(*bench.names().last().unwrap());
        assert_eq!(
            bench.run().await.unwrap(),
            Outcome::Finished,
            "after record {n}"
        );
        bench.assert_whole(&format!("crash after record {n}"));
    }
    let written: BTreeSet<_> = bench.names().into_iter().skip(1).collect();
    assert_eq!(
        crashed_after, written,
        "a kind of record without a crash after it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_killed_at_any_time_is_continued() {
    for ms in (0..40_000).step_by(250) {
        let bench = Bench::approved();
        let killed = tokio::time::timeout(Duration::from_millis(ms), bench.run()).await;
        assert_eq!(
            bench.run().await.unwrap(),
            Outcome::Finished,
            "killed after {ms} ms"
        );
        bench.assert_whole(&format!("killed after {ms} ms"));
        if killed.is_ok() {
            return;
        }
    }
    panic!("the run never ended by itself");
}

#[tokio::test(start_paused = true)]
async fn an_act_repeated_or_unanswered_does_no_harm() {
    for n in 1..=u64::from(STEPS) {
        for fault in [
            Fault::ActRepeated(n),
            Fault::ReplyLost(n),
            Fault::RequestLost(n),
        ] {
            let bench = Bench::approved();
            assert_eq!(
                bench.run_with(fault).await.unwrap(),
                Outcome::Finished,
                "{fault:?}"
            );
            bench.assert_whole(&format!("{fault:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_drivers_the_older_is_fenced() {
    let bench = Bench::approved();
    bench.run().await.unwrap();
    let last = bench.journal.after(0).unwrap().len();
    for n in 2..last {
        let bench = Bench::approved();
        let n = u64::try_from(n).unwrap();
        let fenced = bench.run_with(Fault::StolenAfterRecord(n)).await;
        assert!(
            matches!(
                fenced,
                Err(DriveError::Append(AppendError::Conflict { .. }))
            ),
            "after record {n}: {fenced:?}"
        );
        assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
        bench.assert_whole(&format!("stolen after record {n}"));
    }
}

#[tokio::test(start_paused = true)]
async fn two_live_drivers_come_to_one_end() {
    for head_start in (0..20_000).step_by(700) {
        let bench = Bench::approved();
        let second = async {
            tokio::time::sleep(Duration::from_millis(head_start)).await;
            bench.run().await
        };
        let (first, second) = tokio::join!(bench.run(), second);
        assert_eq!(
            second.unwrap(),
            Outcome::Finished,
            "head start {head_start} ms"
        );
        if let Ok(outcome) = first {
            assert_eq!(outcome, Outcome::Finished);
        }
        let state = State::replay(&bench.journal.after(0).unwrap()).unwrap();
        assert!(state.over);
        assert_eq!(bench.world.there(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_waits_for_a_person() {
    let bench = Bench::new();
    let stopped = bench.run().await.unwrap();
    assert!(
        matches!(&stopped, Outcome::Stopped { how: Stop::Gate { name }, .. } if name == "three"),
        "{stopped:?}"
    );
    assert_eq!(
        bench.world.begun().len(),
        2,
        "nothing behind the gate was touched"
    );
    bench.ask(Request::Approve {
        gate: "three".to_owned(),
        by: "test".to_owned(),
    });
    assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
}

#[tokio::test(start_paused = true)]
async fn pause_and_abort_are_honoured_where_nothing_is_under_way() {
    for ms in (0..20_000).step_by(300) {
        let bench = Bench::approved();
        let ask = async {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            bench.ask(Request::Pause);
        };
        let (outcome, ()) = tokio::join!(bench.run(), ask);
        match outcome.unwrap() {
            Outcome::Finished => return,
            Outcome::Stopped {
                how: Stop::Paused, ..
            } => {}
            other => panic!("{other:?}"),
        }
        let begun = bench.world.begun().len();
        assert_eq!(
            bench.world.there(),
            begun,
            "paused after {ms} ms in the middle of a step"
        );
        bench.ask(Request::Abort);
        assert_eq!(bench.run().await.unwrap(), Outcome::Aborted);
        assert_eq!(bench.run().await.unwrap(), Outcome::Aborted, "and stays so");
        assert_eq!(bench.world.there(), begun);
    }
    panic!("the run never ended by itself");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_does_not_hold_is_waited_for_with_its_reason() {
    let bench = Bench::approved();
    bench.world.refuse_guards(3);
    bench.world.silence(2);
    assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
    let waits = bench
        .names()
        .iter()
        .take_while(|name| **name != "acting")
        .filter(|name| **name == "waiting")
        .count();
    assert_eq!(
        waits,
        2,
        "one for the silence, one for the guard: {:?}",
        bench.names()
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_beyond_its_deadline_stops_with_the_reason() {
    let bench = Bench::approved();
    bench.world.refuse_guards(u32::MAX);
    let Outcome::Stopped {
        how: Stop::Failed { code, cause },
        ..
    } = bench.run().await.unwrap()
    else {
        panic!("it did not stop");
    };
    assert_eq!(code, "FW0401");
    assert!(cause.contains("the guard does not hold"), "{cause}");
    bench.world.refuse_guards(0);
    assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
    bench.assert_whole("after the deadline");
}

#[tokio::test(start_paused = true)]
async fn failures_are_classed_by_what_may_happen_next() {
    type Expected = fn(&Stop) -> bool;
    let cases: [(ActError, Expected); 3] = [
        (
            ActError::Replan {
                expected: "a".to_owned(),
                found: "b".to_owned(),
            },
            |stop| matches!(stop, Stop::Diverged { .. }),
        ),
        (
            ActError::AskHuman {
                code: "FW0".to_owned(),
                cause: "undone".to_owned(),
            },
            |stop| matches!(stop, Stop::NeedsPerson { .. }),
        ),
        (
            ActError::Fatal {
                code: "FW0".to_owned(),
                cause: "no".to_owned(),
            },
            |stop| matches!(stop, Stop::Failed { .. }),
        ),
    ];
    for (error, expected) in cases {
        let bench = Bench::approved();
        bench.world.fail(2, error.clone());
        let Outcome::Stopped { how, .. } = bench.run().await.unwrap() else {
            panic!("{error:?} did not stop the run");
        };
        assert!(expected(&how), "{error:?} led to {how:?}");
        assert_eq!(bench.run().await.unwrap(), Outcome::Finished);
        bench.assert_whole(&error.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn progress_says_step_reason_and_time_left() {
    let bench = Bench::approved();
    bench.run().await.unwrap();
    let mut events = Events::of(&bench.plan);
    let mut state = State::default();
    let records = bench.journal.after(0).unwrap();
    let mut seen = Vec::new();
    for (index, record) in records.iter().enumerate() {
        state = state.apply(record).unwrap();
        let event = events.event(record, &state);
        // Whoever asks where the run stands hears the same as whoever listens.
        let view = status(&bench.plan, &records[..=index]).unwrap();
        assert_eq!(
            (view.left_ms, view.waiting),
            (event.left_ms, event.waiting.clone())
        );
        seen.push(event);
    }
    assert!(
        seen.windows(2).all(|two| two[1].left_ms <= two[0].left_ms),
        "the time left never grows"
    );
    assert_eq!(seen.first().map(|event| event.left_ms), Some(20_000));
    assert_eq!(seen.last().map(|event| event.left_ms), Some(0));
    let waiting = seen.iter().find_map(|event| event.waiting.clone()).unwrap();
    assert_eq!(waiting.reason, "coming");
    let title = seen.iter().find_map(|event| event.title.clone());
    assert_eq!(title.as_deref(), Some("step 1"));
}
