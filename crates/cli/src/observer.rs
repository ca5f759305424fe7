//! Looks at the set from the side while a run goes on: fewest members, moves of the primary.
//!
//! It asks the servers themselves, not the engine, and changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ferriswheel_actuators::world::World;
use ferriswheel_plan::ids::DatabaseName;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// Pause between two looks: a restart of a member takes a second or two and must be seen.
const LOOK: Duration = Duration::from_millis(500);

/// What was seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Looks with an answer.
    pub looks: u64,
    /// Fewest members that answered and were the primary or streamed from it.
    pub fewest_members: Option<u32>,
    /// Primaries in the order in which they were seen to begin: first those that led already.
    pub primaries: Vec<String>,
    /// Those that led when they were last seen.
    #[serde(default)]
    pub leading: BTreeSet<String>,
    /// How many lead at a time: one of a set, one of each shard of a cluster.
    #[serde(default)]
    pub shards: usize,
    /// Timelines (of clusters: epochs) seen on primaries.
    pub timelines: BTreeSet<u64>,
}

impl Seen {
    /// These lead now. A look at which somebody's answer was missing says nothing.
    pub fn see(&mut self, leaders: BTreeSet<String>) {
        if leaders.is_empty() || leaders.len() < self.shards {
            return;
        }
        if self.primaries.is_empty() {
            self.shards = leaders.len();
        }
        self.primaries
            .extend(leaders.difference(&self.leading).cloned());
        self.leading = leaders;
    }

    /// Adds what a later life of the run has seen.
    pub fn go_on(&mut self, later: Self) {
        self.looks += later.looks;
        self.fewest_members = match (self.fewest_members, later.fewest_members) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        // What happened while no process of the run was alive shows as a change of those that led
        // first afterwards.
        let (first, moved) = later
            .primaries
            .split_at(later.shards.min(later.primaries.len()));
        self.see(first.iter().cloned().collect());
        self.primaries.extend_from_slice(moved);
        if !later.leading.is_empty() {
            self.leading = later.leading;
        }
        self.timelines.extend(later.timelines);
    }

    /// A process that is killed right away has not seen anything: the ends of the run show a move that
    /// nobody lived to tell.
    pub fn fill_in(&mut self, before: BTreeSet<String>, after: BTreeSet<String>) {
        if self.primaries.is_empty() {
            self.see(before);
        }
        if self.moves() == 0 {
            self.see(after);
        }
    }

    /// How often a primary moved from one member to another.
    pub fn moves(&self) -> usize {
        self.primaries.len().saturating_sub(self.shards.max(1))
    }
}

/// What one life of a run has seen of a database so far, as it is kept for the life after it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Life {
    /// Seconds since it began.
    pub took_s: f64,
    /// What it saw.
    pub seen: Seen,
}

/// A look that goes on until it is stopped.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    kept: PathBuf,
}

impl Observer {
    /// Starts to look. What was seen is kept in a file after every look, because a process that is killed cannot tell.
    pub fn start(world: Arc<World>, database: DatabaseName, directory: &Path) -> Self {
        let kept = kept(directory, &database);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (shared, path, began) = (Arc::clone(&seen), kept.clone(), Instant::now());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(census) = world.census(&database).await {
                    let life = {
                        let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.looks += 1;
                        let fewest = seen.fewest_members.unwrap_or(u32::MAX).min(census.members);
                        seen.fewest_members = Some(fewest);
                        seen.timelines.extend(census.leaders.values());
                        seen.see(census.leaders.into_keys().collect());
                        Life {
                            took_s: began.elapsed().as_secs_f64(),
                            seen: seen.clone(),
                        }
                    };
                    if let Err(e) = keep(&path, &life) {
                        tracing::warn!(path = %path.display(), error = %e, "what was seen could not be kept");
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { seen, task, kept }
    }

    /// Stops and says what was seen.
    pub async fn stop(self) -> Seen {
        self.task.abort();
        // Until it has ended it may still keep something. That it was ended is no error.
        let _ = self.task.await;
        // It is told now; a file that stays would be told twice, and says less than nothing if it cannot be removed.
        let _ = std::fs::remove_file(&self.kept);
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What a life that was killed has left of a database, taken away.
pub fn left_by_the_dead(directory: &Path, database: &DatabaseName) -> Option<Life> {
    let path = kept(directory, database);
    let life = serde_json::from_slice(&std::fs::read(&path).ok()?).ok();
    std::fs::remove_file(&path).ok()?;
    life
}

fn kept(directory: &Path, database: &DatabaseName) -> PathBuf {
    directory.join(format!("seen-{database}.json"))
}

/// Whole or not at all: the process may end in the middle.
fn keep(path: &Path, life: &Life) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(life)?)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Seen;

    fn led_by(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_move_that_nobody_saw_is_counted_once() {
        let mut seen = Seen::default();
        seen.fill_in(led_by(&["pg-0"]), led_by(&["pg-1"]));
        assert_eq!(seen.moves(), 1);
        seen.fill_in(led_by(&["pg-0"]), led_by(&["pg-2"]));
        assert_eq!(seen.moves(), 1, "a run that is over is not told again");
        let mut stayed = Seen::default();
        stayed.fill_in(led_by(&["pg-0"]), led_by(&["pg-0"]));
        assert_eq!(stayed.moves(), 0);
    }

    #[test]
    fn each_shard_is_counted_by_itself() {
        let mut seen = Seen::default();
        seen.see(led_by(&["r-0", "r-1", "r-2"]));
        // One of them does not answer, then two say that they lead one shard for a moment.
        seen.see(led_by(&["r-1", "r-2"]));
        seen.see(led_by(&["r-0", "r-1", "r-2", "r-3"]));
        seen.see(led_by(&["r-1", "r-2", "r-3"]));
        assert_eq!(seen.moves(), 1);
        let mut later = Seen::default();
        later.see(led_by(&["r-2", "r-3", "r-4"]));
        later.see(led_by(&["r-3", "r-4", "r-5"]));
        seen.go_on(later);
        assert_eq!(seen.moves(), 3, "{seen:?}");
        seen.go_on(Seen::default());
        assert_eq!(seen.moves(), 3);
    }
}
