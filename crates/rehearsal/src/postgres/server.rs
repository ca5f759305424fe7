//! The hand-over's trait [`Server`], spoken by a modelled server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::lsn::Lsn;
use ferriswheel_actuators::databases::postgres::server::{
    Follower, LastRecord, OpenTransaction, Server, ServerError, Status, Upstream,
};

use super::Postgres;
use super::disk::Kind;
use super::process::{Phase, Process, Receiver};
use crate::world::World;

/// The process that holds a session. A dead one does nothing any more, and never returns.
pub type Alive = Arc<AtomicBool>;

/// One round trip inside the cluster.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// A checkpoint outside the window.
const CHECKPOINT: Duration = Duration::from_millis(20);

/// Lets a round trip pass, and hangs for ever in a dead process.
pub(super) async fn pass(alive: &Alive) {
    tokio::time::sleep(ROUND_TRIP).await;
    if !alive.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
}

/// A session with a modelled server.
pub struct ModelServer {
    world: World,
    pod: String,
    alive: Alive,
    /// The start of the server that the session belongs to.
    session: Mutex<Option<String>>,
}

impl ModelServer {
    /// Not connected yet.
    pub fn new(world: World, pod: &str, alive: Alive) -> Self {
        Self {
            world,
            pod: pod.to_owned(),
            alive,
            session: Mutex::default(),
        }
    }

    /// Asks over the session; a session with another start of the server is broken.
    async fn ask<R>(
        &self,
        ask: impl FnOnce(&mut Postgres, Duration) -> Result<R, ServerError>,
    ) -> Result<R, ServerError> {
        pass(&self.alive).await;
        self.thaw().await;
        let session = self
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.world.with(|world| {
            let now = world.now();
            let process = world.postgres.processes.get(&self.pod);
            match process {
                Some(process) if process.runs() && Some(&process.started) == session.as_ref() => {
                    ask(&mut world.postgres, now)
                }
                _ => Err(self.disconnected("the session is broken")),
            }
        })
    }

    /// A frozen server answers when it goes on.
    async fn thaw(&self) {
        loop {
            let left = self.world.with(|world| {
                let until = world
                    .postgres
                    .processes
                    .get(&self.pod)
                    .map_or(Duration::ZERO, |process| process.frozen);
                until.saturating_sub(world.now())
            });
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn disconnected(&self, cause: &str) -> ServerError {
        ServerError::Disconnected {
            server: self.pod.clone(),
            cause: cause.to_owned(),
        }
    }

    fn refused(&self, sqlstate: &str, message: &str) -> ServerError {
        ServerError::Sql {
            server: self.pod.clone(),
            sqlstate: sqlstate.to_owned(),
            message: message.to_owned(),
        }
    }

    async fn within<R>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<R, ServerError>>,
    ) -> Result<R, ServerError> {
        tokio::time::timeout(deadline, work)
            .await
            .unwrap_or_else(|_| {
                Err(ServerError::Timeout {
                    server: self.pod.clone(),
                    after: deadline,
                })
            })
    }
}

impl ModelServer {
    /// Commits a row, as a client with a session of its own would.
    ///
    /// # Errors
    /// 25006 on a standby, and whatever ends a session.
    pub async fn write(&self, deadline: Duration) -> Result<Lsn, ServerError> {
        self.commit(Kind::Write, deadline).await
    }

    async fn commit(&self, kind: Kind, deadline: Duration) -> Result<Lsn, ServerError> {
        let refusal = match kind {
            Kind::Write => {
                self.refused("25006", "cannot execute INSERT in a read-only transaction")
            }
            // It has no class of its own in PostgreSQL.
            _ => self.refused("XX000", "cannot make new WAL entries during recovery"),
        };
        let commit = async {
            let entry = self
                .ask(|postgres, _| {
                    let process = postgres.processes.get(&self.pod);
                    if !process.is_some_and(Process::is_primary) {
                        return Err(refusal);
                    }
                    postgres
                        .append(&self.pod, kind)
                        .ok_or_else(|| self.disconnected("it is gone"))
                })
                .await?;
            loop {
                let done = self
                    .ask(|postgres, _| Ok(postgres.is_synchronous_at(&self.pod, &entry)))
                    .await?;
                if done {
                    return Ok(Lsn(entry.end));
                }
            }
        };
        self.within(deadline, commit).await
    }
}

/// Role and positions of a running server.
pub fn status(postgres: &Postgres, pod: &str) -> Option<Status> {
    let process = postgres.processes.get(pod).filter(|p| p.runs())?;
    let disk = postgres.disk_of(pod)?;
    let replayed = |pod: &str| -> Option<Lsn> {
        let process = postgres.processes.get(pod)?;
        let disk = postgres.disk_of(pod)?;
        let end = process
            .replayed
            .checked_sub(1)
            .and_then(|last| disk.log.get(last))
            .map_or(0, |entry| entry.end);
        Some(Lsn(end))
    };
    let followers = postgres
        .followers(pod)
        .into_iter()
        .map(|follower| Follower {
            name: follower.to_owned(),
            streaming: true,
            flush: postgres.disk_of(follower).map(|disk| Lsn(disk.end())),
            replay: replayed(follower),
            sync_state: if postgres.synchronous > 0 || disk.required.as_deref() == Some(follower) {
                "quorum".to_owned()
            } else {
                "async".to_owned()
            },
        })
        .collect();
    let standby = process.in_recovery;
    Some(Status {
        in_recovery: standby,
        timeline: disk.timeline(),
        flush: (!standby).then(|| Lsn(disk.end())),
        receive: postgres.received(pod).filter(|_| standby).map(Lsn),
        replay: if standby { replayed(pod) } else { None },
        streaming_from: (standby && process.receiver == Receiver::Streaming)
            .then(|| disk.upstream.as_ref().map(|up| up.host.clone()))
            .flatten(),
        followers,
        started: process.started.clone(),
    })
}

#[async_trait]
impl Server for ModelServer {
    fn name(&self) -> &str {
        &self.pod
    }

    async fn status(&self, deadline: Duration) -> Result<Status, ServerError> {
        self.within(
            deadline,
            self.ask(|postgres, _| {
                status(postgres, &self.pod).ok_or_else(|| self.disconnected("it is gone"))
            }),
        )
        .await
    }

    async fn reconnect(&self, deadline: Duration) -> Result<Status, ServerError> {
        let open = async {
            pass(&self.alive).await;
            self.thaw().await;
            let started =
                self.world
                    .with(|world| match world.postgres.processes.get(&self.pod) {
                        Some(process) if process.runs() => Ok(process.started.clone()),
                        Some(process) => Err(ServerError::NotReady {
                            server: self.pod.clone(),
                            cause: match process.phase {
                                Phase::Starting { .. } => "the database system is starting up",
                                _ => "the database system is shutting down",
                            }
                            .to_owned(),
                        }),
                        None => Err(self.disconnected("connection refused")),
                    })?;
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
            Ok(())
        };
        self.within(deadline, open).await?;
        self.status(deadline).await
    }

    async fn checkpoint(&self, deadline: Duration) -> Result<(), ServerError> {
        tokio::time::sleep(CHECKPOINT).await;
        self.within(
            deadline,
            self.ask(|postgres, _| {
                if postgres
                    .processes
                    .get(&self.pod)
                    .is_some_and(|p| p.is_primary())
                {
                    postgres.append(&self.pod, Kind::Checkpoint);
                }
                Ok(())
            }),
        )
        .await
    }

    async fn arm_standby(&self, upstream: &Upstream) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.upstream = Some(upstream.clone());
                disk.standby_signal = true;
            }
            Ok(())
        })
        .await
    }

    async fn disarm_standby(&self) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            let standby = postgres
                .processes
                .get(&self.pod)
                .is_some_and(|p| p.in_recovery);
            if !standby && let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.standby_signal = false;
                disk.upstream = None;
            }
            Ok(())
        })
        .await
    }

    async fn is_armed(&self) -> Result<bool, ServerError> {
        self.ask(|postgres, _| {
            Ok(postgres
                .disk_of(&self.pod)
                .is_some_and(|disk| disk.standby_signal && disk.upstream.is_some()))
        })
        .await
    }

    async fn follow(&self, upstream: &Upstream) -> Result<(), ServerError> {
        self.ask(|postgres, now| {
            postgres.follow(now, &self.pod, upstream.clone());
            Ok(())
        })
        .await
    }

    async fn arm_promotion(&self) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.quick_retry = true;
            }
            Ok(())
        })
        .await
    }

    async fn disarm_promotion(&self) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.trigger = false;
                disk.quick_retry = false;
            }
            Ok(())
        })
        .await
    }

    async fn ensure_slots(&self, names: &[String]) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.slots.extend(names.iter().cloned());
            }
            Ok(())
        })
        .await
    }

    async fn drop_slots(&self, names: &[String]) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            let active: Vec<String> = postgres
                .followers(&self.pod)
                .into_iter()
                .filter_map(|pod| postgres.disk_of(pod)?.upstream.as_ref()?.slot.clone())
                .collect();
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.slots
                    .retain(|slot| active.contains(slot) || !names.contains(slot));
            }
            Ok(())
        })
        .await
    }

    async fn require_standby(&self, standby: &str) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.required.get_or_insert_with(|| standby.to_owned());
            }
            Ok(())
        })
        .await
    }

    async fn release_standby(&self) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            if let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.required = None;
            }
            Ok(())
        })
        .await
    }

    async fn stop_fast(&self) -> Result<(), ServerError> {
        self.ask(|postgres, now| {
            postgres.stop(now, &self.pod);
            Ok(())
        })
        .await
    }

    async fn stop_armed(&self) -> Result<(), ServerError> {
        if self.is_armed().await? {
            return self.stop_fast().await;
        }
        Err(ServerError::Sql {
            server: self.pod.clone(),
            // external_routine_exception: the program ended with an error.
            sqlstate: "38000".to_owned(),
            message: "it is not armed".to_owned(),
        })
    }

    async fn last_record(&self, since: Lsn) -> Result<LastRecord, ServerError> {
        self.ask(|postgres, _| {
            let gone = || self.disconnected("it is gone");
            let unreadable = || ServerError::Unexpected {
                server: self.pod.clone(),
                what: "no record after the given position".to_owned(),
            };
            let process = postgres.processes.get(&self.pod).ok_or_else(gone)?;
            let disk = postgres.disk_of(&self.pod).ok_or_else(gone)?;
            // A primary knows what it replayed only if it was a standby in this life.
            let (replayed, reached) = match (process.in_recovery, process.promoted_at) {
                (true, _) => (process.replayed, process.replayed),
                (false, promoted) => (promoted.unwrap_or(0), disk.log.len()),
            };
            let end = |length: usize| {
                let last = length.checked_sub(1)?;
                disk.log.get(last).map(|entry| entry.end)
            };
            if end(reached).is_none_or(|end| since.0 >= end) {
                return Err(self.refused("22023", "WAL start LSN must be less than current LSN"));
            }
            let entry = replayed
                .checked_sub(1)
                .and_then(|last| disk.log.get(last))
                .filter(|entry| entry.end > since.0)
                .ok_or_else(unreadable)?;
            let receive = if process.in_recovery {
                postgres.received(&self.pod).unwrap_or(0)
            } else {
                entry.end
            };
            Ok(LastRecord {
                start: Lsn(entry.start),
                end: Lsn(entry.end),
                shutdown_checkpoint: entry.kind == Kind::Shutdown,
                receive: Lsn(receive),
                replay: Lsn(entry.end),
            })
        })
        .await
    }

    async fn promote(&self) -> Result<(), ServerError> {
        self.ask(|postgres, _| {
            let standby = postgres
                .processes
                .get(&self.pod)
                .is_some_and(|p| p.in_recovery && p.promoting.is_none());
            if standby && let Some(disk) = postgres.disk_of_mut(&self.pod) {
                disk.trigger = true;
            }
            Ok(())
        })
        .await
    }

    async fn commit_marker(&self, _: &str, deadline: Duration) -> Result<Lsn, ServerError> {
        self.commit(Kind::Marker, deadline).await
    }

    async fn open_transactions(&self) -> Result<Vec<OpenTransaction>, ServerError> {
        self.ask(|postgres, _| {
            Ok(postgres
                .clients
                .idle_in_transaction
                .iter()
                .map(|pooler| OpenTransaction {
                    pid: 4_711,
                    user: "app".to_owned(),
                    application: pooler.clone(),
                    state: "idle in transaction".to_owned(),
                    // Younger than any budget, so that only PAUSE finds it.
                    age_ms: 100,
                })
                .collect())
        })
        .await
    }
}
