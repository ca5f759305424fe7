//! The hand-over's other branches, and a crash of the driver after every record of each.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::record::Moment;
use ferriswheel_actuators::databases::record::Named;
use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_engine::record::{Request, Stop};
use ferriswheel_rehearsal::agents::{AgentFaults, DieAt};
use ferriswheel_rehearsal::runner::Rehearsal;
use ferriswheel_rehearsal::scenario::Choices;
use ferriswheel_rehearsal::world::World;

fn virtual_time<F: Future>(run: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

/// Does something once, when the agent notes a moment.
fn at(moment: &'static str, act: impl Fn(&World) + Send + Sync + 'static) -> AgentFaults {
    let done = AtomicUsize::new(0);
    AgentFaults {
        die_at: None,
        hook: Some(Arc::new(move |world: &World, noted: &Moment| {
            if noted.name() == moment && done.fetch_add(1, Ordering::SeqCst) == 0 {
                act(world);
            }
        })),
    }
}

/// A branch: its fault, how often the primary may have been promoted in the end, whether clients
/// may see errors, and the code under which the run asks for a person.
struct Branch {
    name: &'static str,
    fault: fn() -> AgentFaults,
    prepare: fn(&World),
    relieve: fn(&World),
    promotions: &'static [&'static str],
    errors: bool,
    code: Option<&'static str>,
}

fn nothing(_: &World) {}

fn kill(world: &World, pod: &str) {
    world.with(|inner| {
        inner.watch.server_killed = true;
        inner.cluster.kill_container(pod);
    });
}

fn a_pooler(world: &World) -> String {
    world.with(|inner| {
        inner
            .postgres
            .clients
            .poolers
            .keys()
            .next()
            .unwrap()
            .clone()
    })
}

const BRANCHES: &[Branch] = &[
    Branch {
        name: "idle in transaction",
        fault: AgentFaults::default,
        prepare: |world| {
            let pooler = a_pooler(world);
            world.with(|inner| inner.postgres.clients.idle_in_transaction = Some(pooler));
        },
        relieve: |world| world.with(|inner| inner.postgres.clients.idle_in_transaction = None),
        promotions: &["pg-1"],
        errors: false,
        code: Some("FW0202"),
    },
    Branch {
        name: "the candidate's name leads to where it was",
        fault: AgentFaults::default,
        prepare: |world| world.with(|inner| inner.stale_names_until = Duration::MAX),
        relieve: |world| world.with(|inner| inner.stale_names_until = Duration::ZERO),
        promotions: &["pg-1"],
        errors: false,
        code: Some("FW0212"),
    },
    Branch {
        // It is back as soon as the old primary, and fetches from it what it lacked.
        name: "candidate killed between stop and promote, back at once",
        fault: || at("stopSent", |world| kill(world, "db/pg-1")),
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-1"],
        errors: false,
        code: None,
    },
    Branch {
        name: "candidate killed between stop and promote",
        fault: || {
            at("stopSent", |world| {
                world.with(|inner| {
                    inner.watch.server_killed = true;
                    inner.cluster.kill_container_again("db/pg-1");
                });
            })
        },
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-0", "pg-1"],
        errors: false,
        code: Some("FW0206"),
    },
    Branch {
        name: "old primary killed before it is looked at",
        fault: || at("pauseSent", |world| kill(world, "db/pg-0")),
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-0", "pg-1"],
        errors: false,
        code: Some("FW0204"),
    },
    Branch {
        name: "old primary killed instead of stopped",
        fault: || at("paused", |world| kill(world, "db/pg-0")),
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-0", "pg-1"],
        errors: false,
        code: Some("FW0205"),
    },
    Branch {
        name: "old primary killed in its shutdown",
        fault: || at("stopSent", |world| kill(world, "db/pg-0")),
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-0", "pg-1"],
        errors: false,
        code: Some("FW0205"),
    },
    Branch {
        name: "candidate frozen before promotion",
        fault: || {
            at("proven", |world| {
                world.with(|inner| {
                    let until = inner.now() + Duration::from_millis(200);
                    inner.postgres.freeze("pg-1", until);
                });
            })
        },
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-1"],
        errors: false,
        code: None,
    },
    Branch {
        name: "pooler killed while paused",
        fault: || {
            at("paused", |world| {
                let pooler = a_pooler(world);
                world.with(|inner| inner.cluster.kill_container(&format!("db/{pooler}")));
            })
        },
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-1"],
        errors: true,
        code: None,
    },
    Branch {
        name: "other standby killed in the window",
        fault: || at("stopSent", |world| kill(world, "db/pg-2")),
        prepare: nothing,
        relieve: nothing,
        promotions: &["pg-1"],
        errors: false,
        code: None,
    },
];

/// What a whole run of a branch left, and which kinds of records it wrote.
struct Ran {
    names: Vec<&'static str>,
}

/// Drives a branch to its end; a person who is asked clears what the branch says and lets the
/// kubelet forget the restarts.
async fn run(branch: &Branch, first: Fault) -> Ran {
    let mut rehearsal = Rehearsal::new(Choices::default()).unwrap();
    rehearsal.faults = (branch.fault)();
    (branch.prepare)(&rehearsal.world);
    let context = format!("{}, {first:?}", branch.name);
    let mut codes = BTreeSet::new();
    let mut fault = first;
    for life in 0.. {
        assert!(life < 12, "{context}: it never finished");
        match rehearsal.drive(std::mem::take(&mut fault)).await {
            Ok(Outcome::Finished) => break,
            Ok(Outcome::Stopped { step, how }) => match how {
                Stop::NeedsPerson { code, .. } => {
                    codes.insert(code);
                    (branch.relieve)(&rehearsal.world);
                    tokio::time::sleep(Duration::from_secs(601)).await;
                }
                Stop::Failed { .. } => {}
                other => panic!("{context}: step {} {other:?}", step.id),
            },
            Ok(Outcome::Aborted) => panic!("{context}: nobody gave it up"),
            Err(_) => assert_eq!(life, 0, "{context}: the driver broke by itself"),
        }
    }
    let records = rehearsal.records();
    assert_eq!(
        rehearsal.flaws().await,
        Vec::<String>::new(),
        "{context}: {records:#?}"
    );
    let promotions = rehearsal.promotions();
    assert_eq!(promotions, branch.promotions, "{context}: {codes:?}");
    if !branch.errors {
        assert_eq!(rehearsal.client_errors(), Vec::<String>::new(), "{context}");
    }
    if matches!(first, Fault::None) {
        let expected: BTreeSet<_> = branch.code.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!(codes, expected, "{context}");
    }
    Ran {
        names: records.iter().map(|record| record.entry.name()).collect(),
    }
}

#[test]
fn every_branch_ends_whole_and_with_its_reason() {
    for branch in BRANCHES {
        virtual_time(run(branch, Fault::None));
    }
}

#[test]
fn a_crash_after_any_record_of_any_branch_is_continued() {
    let written: Mutex<BTreeSet<&str>> = Mutex::default();
    let crashed: Mutex<BTreeSet<&str>> = Mutex::default();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (written, crashed) = (&written, &crashed);
            scope.spawn(move || {
                for branch in BRANCHES.iter().skip(half).step_by(2) {
                    let names = virtual_time(run(branch, Fault::None)).names;
                    written.lock().unwrap().extend(names.iter().copied());
                    let mut places: Vec<usize> = hand_over_records(&names, branch).collect();
                    // And once for each kind that only other steps wrote.
                    let inside: BTreeSet<_> = places.iter().map(|at| names[*at]).collect();
                    let mut others = BTreeSet::new();
                    places
                        .extend((0..names.len()).filter(|at| {
                            !inside.contains(names[*at]) && others.insert(names[*at])
                        }));
                    for n in places {
                        crashed.lock().unwrap().insert(names[n]);
                        let n = u64::try_from(n).unwrap() + 1;
                        virtual_time(run(branch, Fault::CrashAfterRecord(n)));
                    }
                }
            });
        }
    });
    assert_eq!(
        crashed.into_inner().unwrap(),
        written.into_inner().unwrap(),
        "a kind of record without a crash after it"
    );
}

/// Records of the hand-over: from the one that begins its step to the one that begins the next.
fn hand_over_records(names: &[&str], branch: &Branch) -> std::ops::Range<usize> {
    const HAND_OVER: usize = 12;
    let begins: Vec<usize> = (0..names.len())
        .filter(|at| names[*at] == "started")
        .collect();
    assert!(begins.len() > HAND_OVER, "{}", branch.name);
    begins[HAND_OVER - 1]..begins[HAND_OVER] + 1
}

#[test]
fn an_agent_that_dies_at_any_moment_leaves_nobody_waiting() {
    let moments = 16;
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for moment in (1..=moments).skip(half).step_by(2) {
                    virtual_time(agent_dies(moment));
                }
            });
        }
    });
}

async fn agent_dies(moment: usize) {
    let mut rehearsal = Rehearsal::new(Choices::default()).unwrap();
    rehearsal.faults.die_at = Some(DieAt {
        task: "agent",
        moment,
    });
    let context = format!("agent dies at moment {moment}");
    for life in 0.. {
        assert!(life < 6, "{context}: it never finished");
        match rehearsal.drive(Fault::None).await.unwrap() {
            Outcome::Finished => break,
            Outcome::Stopped { .. } => {
                tokio::time::sleep(Duration::from_secs(601)).await;
            }
            Outcome::Aborted => panic!("{context}"),
        }
    }
    assert_eq!(rehearsal.flaws().await, Vec::<String>::new(), "{context}");
    assert_eq!(rehearsal.client_errors(), Vec::<String>::new(), "{context}");
}

/// An agent that dies before the window has armed the old primary; a run that is given up then
/// must not leave it so.
#[tokio::test(start_paused = true)]
async fn a_run_given_up_after_a_lost_agent_leaves_no_armed_primary() {
    let mut rehearsal = Rehearsal::new(Choices::default()).unwrap();
    rehearsal.faults.die_at = Some(DieAt {
        task: "agent",
        moment: 4,
    });
    let armed = || {
        rehearsal
            .world
            .with(|inner| inner.postgres.disk_of("pg-0").unwrap().standby_signal)
    };
    let give_up = async {
        while !armed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rehearsal.ask(Request::Abort).unwrap();
    };
    let (outcome, ()) = tokio::join!(rehearsal.drive(Fault::None), give_up);
    assert_eq!(outcome.unwrap(), Outcome::Aborted);
    assert!(
        !armed(),
        "the next start of the primary would be a standby's"
    );
    assert_eq!(rehearsal.promotions(), Vec::<String>::new());
    assert_eq!(rehearsal.client_errors(), Vec::<String>::new());
}
