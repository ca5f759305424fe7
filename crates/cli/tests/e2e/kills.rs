//! The program is killed while it hands a primary over, and applied again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::Practice;
use crate::support::runs::{Run, place, was_killed};

/// Records about a step that a driver comes to only once, or again because it was killed.
const ONCE_A_STEP: [&str; 7] = [
    "started", "found", "acting", "acted", "notTaken", "settled", "verified",
];

/// Some 30 records, and a life for each look at something that takes its time.
const MOST_LIVES: u32 = 400;

#[test]
fn a_killed_driver_leaves_nothing_that_the_next_one_does_not_finish() {
    let practice = Practice::up("kills", &[]);
    practice.example();
    killed_wherever_it_goes(&practice, "pg-1");
    practice.refresh_members();
    killed_twice_inside_the_window(&practice, "pg-2");
    practice.refresh_members();
    killed_again_and_again(&practice, "pg-0");
}

fn settled(practice: &Practice, run: &Run<'_>, primary: &str) {
    run.assert_moved_once();
    practice.assert_settled_on(primary);
}

fn killed_wherever_it_goes(practice: &Practice, to: &str) {
    let run = practice.plan_hand_over(to);
    let steps: Vec<u64> = (1..=run.step("certify")).collect();
    let crashed = killed_after_every_record(&run, &steps);
    let hand_over = run.step("handOver");
    for name in ["started", "acting", "settled", "acted", "verified"] {
        assert!(crashed.contains(&format!("{hand_over}:{name}")), "{name}");
    }
    settled(practice, &run, to);
}

/// SIGKILL right after every record about the run itself and about these steps. Of what a driver writes again because it
/// was killed (it takes the run, acts), only the first is one to be killed after, or it would never come further; that
/// it waits it is killed after each time. Where it was killed.
pub fn killed_after_every_record(run: &Run<'_>, steps: &[u64]) -> BTreeSet<String> {
    let waits: BTreeSet<String> = steps.iter().map(|step| format!("{step}:waiting")).collect();
    let once: BTreeSet<String> = steps
        .iter()
        .flat_map(|step| ONCE_A_STEP.map(|name| format!("{step}:{name}")))
        .chain(["driving", "finished"].map(str::to_owned))
        .collect();
    let mut left = once.clone();
    let mut crashed = BTreeSet::new();
    let mut lives = 1;
    loop {
        let mut command = run.command();
        let places: Vec<_> = left.iter().chain(&waits).cloned().collect();
        command.env("FERRISWHEEL_CRASH_AFTER", places.join(","));
        let output = command.output().unwrap();
        if !was_killed(&output) {
            run.finished(output);
            break;
        }
        lives += 1;
        assert!(lives < MOST_LIVES, "it never ends\n{}", run.story());
        let place = run.last_place();
        assert!(
            left.remove(&place) || waits.contains(&place),
            "killed at {place}\n{}",
            run.story()
        );
        crashed.insert(place);
    }
    println!("{}: {lives} lives", run.id());
    let places: Vec<String> = run.records().iter().map(place).collect();
    let mut seen = BTreeSet::new();
    for (at, place) in places.iter().enumerate() {
        if !once.contains(place) && !waits.contains(place) {
            continue;
        }
        let ended_a_life = places.get(at + 1).is_none_or(|next| next == "driving");
        assert!(
            ended_a_life || seen.contains(place),
            "nobody was killed after {place}, record {}\n{}",
            at + 1,
            run.story()
        );
        seen.insert(place.clone());
    }
    assert_eq!(seen, crashed, "{}", run.story());
    crashed
}

/// The window is open, its clients are held, the old primary stops: the driver is killed, and so
/// is the next one that looks at the open window.
fn killed_twice_inside_the_window(practice: &Practice, to: &str) {
    let run = practice.plan_hand_over(to);
    let mut first = run.start_held("stopSent", 2_500);
    run.wait_until_held();
    std::thread::sleep(Duration::from_millis(13));
    first.kill().unwrap();
    first.wait().unwrap();
    let before = run.records().len();
    let mut second = run.start();
    // It has taken the run and says that it waits for the window.
    crate::support::until("the next driver's look", || {
        let records = run.records();
        let waits = records[before..]
            .iter()
            .any(|record| record["entry"]["is"] == "waiting");
        waits.then_some(())
    });
    std::thread::sleep(Duration::from_millis(39));
    second.kill().unwrap();
    second.wait().unwrap();
    run.finish();
    settled(practice, &run, to);
}

/// Lives of odd lengths, each about a third longer than the one before: in milliseconds, 13 times
/// a prime, so that no two end at the same distance from anything periodic.
const LIVES: [u64; 11] = [31, 43, 59, 79, 103, 139, 181, 241, 317, 421, 563];

fn killed_again_and_again(practice: &Practice, to: &str) {
    let run = practice.plan_hand_over(to);
    let mut killed = 0;
    for life in LIVES {
        let mut child = run.start();
        let end = Instant::now() + Duration::from_millis(13 * life);
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_some() {
            run.finished(child.wait_with_output().unwrap());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    assert!(killed > 3, "it was over after {killed} lives");
    run.finish();
    settled(practice, &run, to);
}
