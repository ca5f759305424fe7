//! The modelled PostgreSQL against the real one: the same commands, the same answers.
//!
//! A scene is a file in `scenes/`: commands to named servers and poolers, through the traits by
//! which the hand-over speaks to them, each with its answer. The model plays every scene in
//! virtual time, PostgreSQL 15 and 18 with PgBouncer play it on real processes. Roles, timelines,
//! the order of positions, streaming and the class of every error are answers; values of positions
//! and times are not.
//!
//! With `FERRISWHEEL_BLESS=1` the answers of PostgreSQL 15 are written into the scenes, to be read
//! in review. The real server is right; where the model keeps another answer, the scene says why.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken assumption fails the test"
)]

mod model;
mod real;
mod scene;
mod stage;

use std::collections::BTreeSet;

use ferriswheel_testbed::template::Version;
use futures::StreamExt;

use model::{ModelStage, Wrong};
use real::RealStage;
use scene::{Scene, Side};

/// Scenes that are played at once on real servers: most of their time is waiting.
const AT_ONCE: usize = 4;

fn virtual_time<F: Future>(run: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

fn play_on_model(scene: &Scene, wrong: Option<Wrong>) -> Vec<String> {
    virtual_time(async {
        let stage = ModelStage::new(scene.shape, wrong).await;
        scene.play(&stage, Side::Model).await
    })
}

fn assert_as_written(others: &[String]) {
    assert!(
        others.is_empty(),
        "answers are not as written:\n{}",
        others.join("\n")
    );
}

#[test]
fn the_model_answers_as_written() {
    let scenes = Scene::all();
    let others: Vec<String> = scenes
        .iter()
        .flat_map(|scene| play_on_model(scene, None))
        .collect();
    assert_as_written(&others);
}

async fn play_on_real(version: Version, side: Side) {
    let only = std::env::var("FERRISWHEEL_SCENE").ok();
    let scenes = Scene::all();
    let chosen = scenes
        .iter()
        .filter(|scene| only.as_ref().is_none_or(|only| scene.name.contains(only)));
    let others: Vec<Vec<String>> = futures::stream::iter(chosen)
        .map(|scene| async move {
            let stage = RealStage::new(scene.shape, version).await;
            let mut others = scene.play(&stage, side).await;
            if !others.is_empty() {
                others.push(stage.logs());
            }
            others
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert_as_written(&others.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_15_answers_as_written() {
    play_on_real(Version::Fifteen, Side::Fifteen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_18_answers_as_written() {
    play_on_real(Version::Eighteen, Side::Eighteen).await;
}

/// The comparison can fail: every model that is wrong on purpose gives itself away in the scene
/// that is about what it does wrong.
#[test]
fn a_wrong_model_gives_itself_away() {
    let scenes = Scene::all();
    for (wrong, about) in Wrong::ALL {
        let scene = scenes
            .iter()
            .find(|scene| scene.name == about)
            .unwrap_or_else(|| panic!("no scene {about}"));
        let others = play_on_model(scene, Some(wrong));
        assert!(
            !others.is_empty(),
            "{wrong:?} answers all of {about} as written"
        );
    }
}

/// Everything that a hand-over can ask is asked in some scene.
#[test]
fn every_command_is_in_a_scene() {
    let all = [
        "connect",
        "status",
        "followers",
        "positions",
        "checkpoint",
        "arm-standby",
        "disarm-standby",
        "is-armed",
        "follow",
        "arm-promotion",
        "disarm-promotion",
        "ensure-slots",
        "drop-slots",
        "require-standby",
        "release-standby",
        "stop",
        "last-record",
        "promote",
        "commit",
        "transactions",
        "pooler",
    ];
    let scenes = Scene::all();
    let asked: BTreeSet<&str> = scenes.iter().flat_map(Scene::commands).collect();
    for command in all {
        assert!(asked.contains(command), "no scene asks `{command}`");
    }
}
