//! Storyboards: a scene in a few lines, its story on one screen.
//!
//! A scene is a file in `tests/storyboards/`; its story lies beside it as `.out`. With
//! `FERRISWHEEL_BLESS=1` the stories are written anew, to be read in review.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken assumption fails the test"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferriswheel_engine::faults::Fault;
use ferriswheel_engine::record::Request;
use ferriswheel_rehearsal::runner::Rehearsal;
use ferriswheel_rehearsal::scenario::Choices;
use ferriswheel_rehearsal::story::story;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/storyboards")
}

/// Plays one scene, a command a line.
async fn play(script: &str) -> String {
    let mut choices = Choices::default();
    let mut stage: Option<Rehearsal> = None;
    let mut text = String::new();
    let mut told = BTreeSet::new();
    for line in script.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        writeln!(text, "> {line}").unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["set", "asynchronous"] => choices.synchronous = 0,
            ["set", "no-seat"] => choices.extra_seat = false,
            ["set", "no-pooler"] => choices.pooled = false,
            ["set", "approve-hand-over"] => choices.approve_hand_over = true,
            ["plan"] => match Rehearsal::new(choices) {
                Ok(rehearsal) => {
                    let peak = &rehearsal.plan.body.peak;
                    writeln!(
                        text,
                        "{} steps, at most {} extra nodes and {} extra replicas, never fewer than {} members",
                        rehearsal.plan.body.steps.len(),
                        peak.extra_nodes,
                        peak.extra_replicas,
                        peak.fewest_members
                    )
                    .unwrap();
                    stage = Some(rehearsal);
                }
                Err(e) => writeln!(text, "{e:?}").unwrap(),
            },
            ["apply", rest @ ..] => {
                let rehearsal = stage.as_ref().expect("a scene plans before it applies");
                let fault = match rest {
                    ["crash-after", n] => Fault::CrashAfterRecord(n.parse().unwrap()),
                    ["lose-reply", n] => Fault::ReplyLost(n.parse().unwrap()),
                    [] => Fault::None,
                    other => panic!("unknown fault {other:?}"),
                };
                match rehearsal.drive(fault).await {
                    Ok(outcome) => text.push_str(&story(rehearsal, &outcome, &mut told)),
                    Err(_) => {
                        let records = rehearsal.records();
                        let last = &records.last().unwrap().entry;
                        let step = last.step().map_or(0, |step| step.0);
                        writeln!(
                            text,
                            "the process ended after `{}` of step {step}",
                            last.name()
                        )
                        .unwrap();
                    }
                }
            }
            ["approve", gate] => {
                let rehearsal = stage.as_ref().expect("a scene plans before it approves");
                rehearsal
                    .ask(Request::Approve {
                        gate: (*gate).to_owned(),
                        by: "storyboard".to_owned(),
                    })
                    .unwrap();
            }
            ["wait", seconds] => {
                tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
            }
            ["client", "idle-in-transaction"] => {
                let rehearsal = stage
                    .as_ref()
                    .expect("a scene plans before its clients act");
                rehearsal.world.with(|inner| {
                    let pooler = inner.postgres.clients.poolers.keys().next().cloned();
                    inner.postgres.clients.idle_in_transaction = pooler;
                });
            }
            ["client", "commits"] => {
                let rehearsal = stage
                    .as_ref()
                    .expect("a scene plans before its clients act");
                rehearsal
                    .world
                    .with(|inner| inner.postgres.clients.idle_in_transaction = None);
            }
            ["flaws"] => {
                let rehearsal = stage.as_ref().expect("a scene plans first");
                let flaws = rehearsal.flaws().await;
                if flaws.is_empty() {
                    text.push_str("the world is whole\n");
                }
                for flaw in flaws {
                    writeln!(text, "{flaw}").unwrap();
                }
            }
            other => panic!("unknown command {other:?}"),
        }
    }
    text
}

#[test]
fn every_scene_tells_its_story() {
    let bless = std::env::var_os("FERRISWHEEL_BLESS").is_some();
    let mut scenes: Vec<PathBuf> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "scene")
        })
        .collect();
    scenes.sort();
    assert!(!scenes.is_empty(), "no scenes in {}", directory().display());
    for scene in scenes {
        let script = std::fs::read_to_string(&scene).unwrap();
        let told = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(play(&script));
        let golden = scene.with_extension("out");
        if bless {
            std::fs::write(&golden, &told).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            told,
            expected,
            "{} tells another story; FERRISWHEEL_BLESS=1 writes it anew",
            scene.display()
        );
    }
}
