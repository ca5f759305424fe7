//! Looks at the set from the side while a run goes on: fewest members, moves of the primary.
//!
//! It asks the servers themselves, not the engine, and changes nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// Primaries in the order in which they were seen.
    pub primaries: Vec<String>,
    /// Timelines seen on primaries.
    pub timelines: BTreeSet<u32>,
}

impl Seen {
    /// A process that is killed takes what it saw with it: the ends of the run show a move that
    /// nobody lived to tell.
    pub fn fill_in(&mut self, before: Option<String>, after: Option<String>) {
        if self.primaries.is_empty() {
            self.primaries.extend(before);
        }
        if self.primaries.len() == 1 {
            self.primaries
                .extend(after.filter(|after| self.primaries.last() != Some(after)));
        }
    }

    /// How often the primary moved from one member to another.
    pub fn moves(&self) -> usize {
        self.primaries.len().saturating_sub(1)
    }
}

/// A look that goes on until it is stopped.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Starts to look.
    pub fn start(world: Arc<World>, database: DatabaseName) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                if let Ok(census) = world.census(&database).await {
                    let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.looks += 1;
                    let fewest = seen.fewest_members.unwrap_or(u32::MAX).min(census.members);
                    seen.fewest_members = Some(fewest);
                    if let Some((primary, timeline)) = census.primary {
                        if seen.primaries.last() != Some(&primary) {
                            seen.primaries.push(primary);
                        }
                        seen.timelines.insert(timeline);
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { seen, task }
    }

    /// Stops and says what was seen.
    pub fn stop(self) -> Seen {
        self.task.abort();
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn a_move_that_nobody_saw_is_counted_once() {
        let some = |name: &str| Some(name.to_owned());
        let mut seen = Seen::default();
        seen.fill_in(some("pg-0"), some("pg-1"));
        assert_eq!(seen.moves(), 1);
        seen.fill_in(some("pg-0"), some("pg-2"));
        assert_eq!(seen.moves(), 1, "a run that is over is not told again");
        let mut stayed = Seen::default();
        stayed.fill_in(some("pg-0"), some("pg-0"));
        assert_eq!(stayed.moves(), 0);
    }
}
