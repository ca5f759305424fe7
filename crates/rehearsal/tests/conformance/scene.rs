//! A scene: commands with the answers that both sides must give.
//!
//! ```text
//! # What the scene is about.
//! members 2
//! synchronous
//!
//! commit pg-0 => ok
//! until status pg-1 => standby timeline 1 from pg-0
//! never status pg-2 => standby timeline 2 from pg-1
//! clients write => held
//!   the model answers error: the reason why this difference is known and kept
//! ```
//!
//! A command that ends with `briefly` does not wait long for its answer: for what must wait.
//! `until` asks again until the answer is as written, `never` asks for a second and must not get
//! it. An indented line states a difference that is known, with its reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::lsn::Lsn;
use ferriswheel_actuators::databases::postgres::server::{ServerError, Status};
use tokio::time::{Instant, sleep};

use crate::stage::{Reply, Shape, Stage};

/// Deadline of what answers at once on any healthy server: a busy disk takes seconds for a sync.
const STATEMENT: Duration = Duration::from_secs(20);

/// Asked `briefly`: what has no answer in this time waits.
const BRIEFLY: Duration = Duration::from_millis(500);

/// `until` gives up: the slowest thing in a scene is a receiver whose start got lost while its primary was away; a standby
/// asks for another one 15 s later (seen on a loaded machine).
const GIVE_UP: Duration = Duration::from_secs(60);

/// `never` looks on for this long: a hundred times what streaming needs to begin.
const LOOK_ON: Duration = Duration::from_secs(1);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Model,
    Fifteen,
    Eighteen,
}

impl Side {
    const ALL: [Self; 3] = [Self::Model, Self::Fifteen, Self::Eighteen];

    fn name(self) -> &'static str {
        match self {
            Self::Model => "the model",
            Self::Fifteen => "PostgreSQL 15",
            Self::Eighteen => "PostgreSQL 18",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Once,
    Until,
    Never,
}

struct Line {
    number: usize,
    mode: Mode,
    command: String,
    answer: String,
    known: Vec<(Side, String)>,
}

impl Line {
    fn answer_of(&self, side: Side) -> &str {
        self.known
            .iter()
            .find(|(of, _)| *of == side)
            .map_or(&self.answer, |(_, answer)| answer)
    }
}

pub struct Scene {
    pub name: String,
    pub shape: Shape,
    path: PathBuf,
    lines: Vec<Line>,
}

impl Scene {
    /// Every scene of the directory, by name.
    pub fn all() -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/scenes");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let all: Vec<Self> = paths.iter().map(|path| Self::read(path)).collect();
        assert!(!all.is_empty(), "no scenes in {}", directory.display());
        all
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut shape = Shape::default();
        let mut lines: Vec<Line> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            let fail = |what: &str| -> ! { panic!("{name}:{number}: {what}: {line}") };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with(' ') {
                let stated = Side::ALL.iter().find_map(|side| {
                    let rest = line.trim().strip_prefix(side.name())?;
                    rest.strip_prefix(" answers ")?
                        .split_once(": ")
                        .map(|(answer, _)| (*side, answer.to_owned()))
                });
                let Some(stated) = stated else {
                    fail("not a known difference with its reason")
                };
                match lines.last_mut() {
                    Some(of) if of.answer != stated.1 => of.known.push(stated),
                    _ => fail("no difference"),
                }
                continue;
            }
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["members", n] => shape.members = n.parse().unwrap(),
                ["synchronous"] => shape.synchronous = true,
                ["pooler"] => shape.pooler = true,
                words => {
                    let Some((_, answer)) = line.split_once(" => ") else {
                        fail("no answer")
                    };
                    let (mode, skip) = match words[0] {
                        "until" => (Mode::Until, 1),
                        "never" => (Mode::Never, 1),
                        _ => (Mode::Once, 0),
                    };
                    let command = words[skip..]
                        .iter()
                        .take_while(|word| **word != "=>")
                        .copied()
                        .collect::<Vec<_>>()
                        .join(" ");
                    lines.push(Line {
                        number,
                        mode,
                        command,
                        answer: answer.to_owned(),
                        known: Vec::new(),
                    });
                }
            }
        }
        assert!(shape.members > 0, "{name} has no members");
        Self {
            name,
            shape,
            path: path.to_owned(),
            lines,
        }
    }

    /// First words of its commands.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter_map(|line| line.command.split(' ').next())
    }

    /// Plays it; what was answered otherwise than written, one line each.
    pub async fn play(&self, stage: &dyn Stage, side: Side) -> Vec<String> {
        let mut player = Player {
            stage,
            shape: self.shape,
            marks: BTreeMap::new(),
        };
        let mut others = Vec::new();
        let mut answers = Vec::new();
        player.connect().await;
        for line in &self.lines {
            let words: Vec<&str> = line.command.split(' ').collect();
            let wanted = line.answer_of(side);
            stage.before(&words).await;
            let (good, got) = match line.mode {
                Mode::Once => {
                    let got = player.ask(&words).await;
                    (got == wanted, got)
                }
                Mode::Until => player.until(&words, wanted, GIVE_UP).await,
                Mode::Never => {
                    let (seen, got) = player.until(&words, wanted, LOOK_ON).await;
                    (!seen, got)
                }
            };
            if !good {
                others.push(format!(
                    "{}:{}: {} => {wanted}\n    but {} answers {got}",
                    self.name,
                    line.number,
                    line.command,
                    side.name()
                ));
            }
            answers.push(got);
        }
        if side == Side::Fifteen && std::env::var_os("FERRISWHEEL_BLESS").is_some() {
            self.bless(&answers);
        }
        others
    }

    /// Writes the answers of a real server into the scene, to be read in review.
    fn bless(&self, answers: &[String]) {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let mut text: Vec<String> = text.lines().map(str::to_owned).collect();
        for (line, answer) in self.lines.iter().zip(answers) {
            if line.mode == Mode::Once {
                let (command, _) = text[line.number - 1].split_once(" => ").unwrap();
                text[line.number - 1] = format!("{command} => {answer}");
            }
        }
        std::fs::write(&self.path, text.join("\n") + "\n").unwrap();
    }
}

struct Player<'a> {
    stage: &'a dyn Stage,
    shape: Shape,
    marks: BTreeMap<String, Lsn>,
}

impl Player<'_> {
    /// Opens all sessions, as a hand-over does before its window.
    async fn connect(&self) {
        for n in 0..self.shape.members {
            let server = self.stage.server(n);
            let status = server.reconnect(STATEMENT).await.unwrap();
            assert_eq!(status.in_recovery, n > 0, "{}", server.name());
        }
        if self.shape.pooler {
            self.stage.pooler().reconnect(STATEMENT).await.unwrap();
        }
    }

    async fn until(&self, words: &[&str], wanted: &str, limit: Duration) -> (bool, String) {
        let end = Instant::now() + limit;
        loop {
            let got = self.look(words).await;
            if got == wanted || Instant::now() >= end {
                return (got == wanted, got);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ask(&mut self, words: &[&str]) -> String {
        if let ["mark", name, pod] = words {
            let status = self.stage.server(member(pod)).status(STATEMENT).await;
            let status = status.unwrap_or_else(|e| panic!("mark {name}: {e}"));
            let position = status.flush.or(status.replay).unwrap_or_default();
            self.marks.insert((*name).to_owned(), position);
            return "ok".to_owned();
        }
        if self.happen(words).await {
            return "done".to_owned();
        }
        self.look(words).await
    }

    /// What the owner of the set does to it. `false`: it is not that.
    async fn happen(&self, words: &[&str]) -> bool {
        let stage = self.stage;
        match words {
            ["kill", "pooler"] => stage.kill_pooler().await,
            ["kill", pod] => stage.kill(member(pod)).await,
            ["start", "pooler"] => stage.start_pooler().await,
            ["start", pod, "held"] => stage.start_held(member(pod)).await,
            ["start", pod] => stage.start(member(pod)).await,
            ["let-start", pod] => stage.let_start(member(pod)).await,
            ["freeze", pod] => stage.freeze(member(pod)).await,
            ["thaw", pod] => stage.thaw(member(pod)).await,
            ["pause-replay", pod] => stage.pause_replay(member(pod), true).await,
            ["resume-replay", pod] => stage.pause_replay(member(pod), false).await,
            ["aim", pod] => stage.aim(member(pod)).await,
            ["client", "begin"] => stage.begin().await,
            _ => return false,
        }
        true
    }

    async fn look(&self, words: &[&str]) -> String {
        let stage = self.stage;
        let server = |pod: &str| stage.server(member(pod));
        let (words, deadline) = match words {
            [words @ .., "briefly"] => (words, BRIEFLY),
            words => (words, STATEMENT),
        };
        match words {
            ["connect", pod] => plain(server(pod).reconnect(STATEMENT).await.map(|_| ())),
            ["status", pod] => told(server(pod).status(STATEMENT).await, role),
            ["followers", pod] => told(server(pod).status(STATEMENT).await, followers),
            ["positions"] => self.positions().await,
            ["checkpoint", pod] => plain(server(pod).checkpoint(STATEMENT).await),
            ["arm-standby", pod, upstream] => {
                let upstream = stage.upstream(member(pod), member(upstream));
                plain(server(pod).arm_standby(&upstream).await)
            }
            ["disarm-standby", pod] => plain(server(pod).disarm_standby().await),
            ["is-armed", pod] => told(server(pod).is_armed().await, |armed| {
                if armed { "yes" } else { "no" }.to_owned()
            }),
            ["follow", pod, upstream] => {
                let upstream = stage.upstream(member(pod), member(upstream));
                plain(server(pod).follow(&upstream).await)
            }
            ["arm-promotion", pod] => plain(server(pod).arm_promotion().await),
            ["disarm-promotion", pod] => plain(server(pod).disarm_promotion().await),
            ["ensure-slots", pod, names @ ..] => {
                plain(server(pod).ensure_slots(&owned(names)).await)
            }
            ["drop-slots", pod, names @ ..] => plain(server(pod).drop_slots(&owned(names)).await),
            ["require-standby", pod, standby] => plain(server(pod).require_standby(standby).await),
            ["release-standby", pod] => plain(server(pod).release_standby().await),
            ["slots", pod] => told(stage.slots(member(pod)).await, |slots| list(&slots)),
            ["stop", pod] => match server(pod).stop_fast().await {
                // The reply races with the end of the session.
                Ok(()) | Err(ServerError::Disconnected { .. } | ServerError::NotReady { .. }) => {
                    "sent".to_owned()
                }
                Err(e) => class(&e),
            },
            ["last-record", pod, "since", mark] => {
                let since = self.marks[*mark];
                told(server(pod).last_record(since).await, |record| {
                    let what = match (record.shutdown_checkpoint, record.proves_clean_end()) {
                        (true, true) => "a clean end",
                        (true, false) => "a shutdown checkpoint that proves nothing",
                        (false, _) => "another record",
                    };
                    what.to_owned()
                })
            }
            ["promote", pod] => plain(server(pod).promote().await),
            ["commit", pod] => plain(
                server(pod)
                    .commit_marker("conformance", deadline)
                    .await
                    .map(|_| ()),
            ),
            ["transactions", pod] => told(server(pod).open_transactions().await, |open| {
                list(&open.into_iter().map(|t| t.state).collect::<Vec<_>>())
            }),
            ["write", pod, row] => plain(
                stage
                    .write(member(pod), row.parse().unwrap(), deadline)
                    .await,
            ),
            ["rows", pod] => told(stage.rows(member(pod)).await, |rows| {
                list(&rows.iter().map(u32::to_string).collect::<Vec<_>>())
            }),
            ["runs", pod] => if stage.runs(member(pod)) { "yes" } else { "no" }.to_owned(),
            ["pooler", "connect"] => plain(stage.pooler().reconnect(STATEMENT).await),
            ["pooler", "pause"] => plain(stage.pooler().pause(deadline).await),
            ["pooler", "resume"] => plain(stage.pooler().resume(STATEMENT).await),
            ["pooler", "reload"] => plain(stage.pooler().reload(STATEMENT).await),
            ["pooler", "entries"] => told(stage.pooler().entries(STATEMENT).await, |entries| {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        let host = entry.host.as_deref().unwrap_or_default();
                        let paused = if entry.paused { " paused" } else { "" };
                        format!("{} at {}{paused}", entry.name, first_label(host))
                    })
                    .collect();
                list(&entries)
            }),
            ["client", "commit"] => reply(stage.commit().await),
            ["clients", "write"] => reply(stage.client(deadline).await),
            ["clients", "answer"] => reply(stage.held_client(deadline).await),
            other => panic!("unknown command {other:?}"),
        }
    }

    /// Positions of all that answer, the furthest first.
    async fn positions(&self) -> String {
        let mut seen: Vec<(Lsn, String)> = Vec::new();
        for n in 0..self.shape.members {
            let server = self.stage.server(n);
            let Ok(status) = server.status(STATEMENT).await else {
                continue;
            };
            let named = [
                ("flush", status.flush),
                ("receive", status.receive),
                ("replay", status.replay),
            ];
            for (what, position) in named {
                if let Some(position) = position {
                    seen.push((position, format!("{} {what}", server.name())));
                }
            }
        }
        seen.sort_by(|(a, x), (b, y)| b.cmp(a).then(x.cmp(y)));
        let mut text = String::new();
        let mut last = None;
        for (position, name) in seen {
            match last {
                None => {}
                Some(before) if before == position => text.push_str(" = "),
                Some(_) => text.push_str(" > "),
            }
            text.push_str(&name);
            last = Some(position);
        }
        text
    }
}

fn member(pod: &str) -> usize {
    pod.strip_prefix("pg-")
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("`{pod}` is not a member"))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

fn plain(answer: Result<(), ServerError>) -> String {
    told(answer, |()| "ok".to_owned())
}

fn told<T>(answer: Result<T, ServerError>, tell: impl FnOnce(T) -> String) -> String {
    answer.map_or_else(|e| class(&e), tell)
}

/// The class of an error, or the SQLSTATE of a refusal.
fn class(error: &ServerError) -> String {
    match error {
        ServerError::Disconnected { .. } => "disconnected".to_owned(),
        ServerError::NotReady { .. } => "not ready".to_owned(),
        ServerError::Timeout { .. } => "no answer".to_owned(),
        ServerError::Sql { sqlstate, .. } => sqlstate.clone(),
        ServerError::Unexpected { .. } => "unreadable".to_owned(),
    }
}

fn reply(reply: Reply) -> String {
    match reply {
        Reply::Ok => "ok",
        Reply::Held => "held",
        Reply::Error => "error",
    }
    .to_owned()
}

fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

fn role(status: Status) -> String {
    let role = if status.in_recovery {
        "standby"
    } else {
        "primary"
    };
    let from = status
        .streaming_from
        .as_deref()
        .map(|host| format!(" from {}", first_label(host)))
        .unwrap_or_default();
    format!("{role} timeline {}{from}", status.timeline)
}

fn followers(status: Status) -> String {
    let mut all: Vec<String> = status
        .followers
        .iter()
        .map(|follower| {
            let state = if follower.streaming {
                ""
            } else {
                " not streaming"
            };
            format!("{} {}{state}", follower.name, follower.sync_state)
        })
        .collect();
    all.sort();
    list(&all)
}
