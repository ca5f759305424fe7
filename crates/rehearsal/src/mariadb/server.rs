//! A modelled server behind the driver's trait.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::mariadb::order::Member;
use ferriswheel_actuators::databases::mariadb::server::{
    Clients, Link, Server, ServerError, Since, Source, Status,
};
use ferriswheel_plan::world::{GtidPosition, MariadbSource};
use tokio::time::{Instant, sleep};

use super::set::{Set, server_of};

/// A statement on its way to a server, or its answer back.
const TRIP: Duration = Duration::from_micros(500);

/// A pause between two looks at a server that stands still, or has not got there yet.
const STANDING: Duration = Duration::from_millis(1);

/// Port of clients.
pub const PORT: u16 = 3_306;

/// `ER_LOCK_WAIT_TIMEOUT`.
const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// `ER_SLAVE_MUST_STOP`.
const MUST_STOP: u16 = 1198;

/// A set whose time is tokio's.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Mutex<Set>>,
    /// What its time was, and when.
    origin: (Duration, Instant),
}

impl Shared {
    /// From now on.
    pub fn new(set: Set) -> Self {
        Self {
            origin: (set.now(), Instant::now()),
            inner: Arc::new(Mutex::new(set)),
        }
    }

    /// Brings the set up to the present and looks at it or changes it.
    pub fn with<R>(&self, look: impl FnOnce(&mut Set) -> R) -> R {
        let mut set = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, since) = self.origin;
        set.advance(then + since.elapsed());
        look(&mut set)
    }
}

/// Name of a member's pod.
pub fn name(n: usize) -> String {
    format!("mariadb-{n}")
}

/// A member as others find it.
pub fn member(n: usize) -> Member {
    Member {
        name: name(n),
        host: format!("{}.mariadb.shop.svc.cluster.local", name(n)),
        port: PORT,
    }
}

/// The member that somebody is led to by name.
fn number(set: &Set, of: &Member) -> Option<usize> {
    (0..set.nodes.len()).find(|n| member(*n).is_at(&of.host, of.port))
}

/// From whom a member copies, as it tells it.
pub fn sources(set: &Set, n: usize) -> Vec<MariadbSource> {
    let told = set.nodes[n].source.iter().map(|source| {
        let yes = |runs: bool| if runs { "Yes" } else { "No" }.to_owned();
        let linked = set.copies(n) || source.error.is_some();
        MariadbSource {
            connection: String::new(),
            host: member(source.of).host,
            port: PORT,
            receives: if source.started && !linked {
                "Connecting".to_owned()
            } else {
                yes(source.started && source.error.is_none())
            },
            applies: yes(source.started),
            gtid: if source.current {
                "Current_Pos"
            } else {
                "Slave_Pos"
            }
            .to_owned(),
            behind_seconds: set.copies(n).then_some(0),
            delay_seconds: 0,
            errors: source.error.iter().cloned().collect(),
            filters: Vec::new(),
        }
    });
    told.collect()
}

/// Two sessions with a server: one to ask and act by, one that holds the lock.
pub struct ModelServer {
    set: Shared,
    n: usize,
    name: String,
    /// The process that the session is with; 0: none is open.
    life: AtomicU32,
    /// The session of the lock; 0: none is open.
    lock: AtomicU64,
}

/// The process that held the sessions is gone: its connections are closed.
impl Drop for ModelServer {
    fn drop(&mut self) {
        let lock = self.lock.load(Ordering::SeqCst);
        if lock != 0 {
            self.set.with(|set| set.release(self.n, lock));
        }
    }
}

impl ModelServer {
    /// Sessions that are not open yet.
    pub fn new(set: Shared, n: usize) -> Self {
        Self {
            set,
            n,
            name: name(n),
            life: AtomicU32::new(0),
            lock: AtomicU64::new(0),
        }
    }

    fn disconnected(&self, cause: &str) -> ServerError {
        ServerError::Disconnected {
            server: self.name.clone(),
            cause: cause.to_owned(),
        }
    }

    fn refused(&self, code: u16, message: &str) -> ServerError {
        ServerError::Refused {
            server: self.name.clone(),
            code,
            message: message.to_owned(),
        }
    }

    /// Waits until the process answers, within the deadline.
    async fn reached(&self, deadline: Duration, life: Option<u32>) -> Result<u32, ServerError> {
        let end = Instant::now() + deadline;
        sleep(TRIP).await;
        loop {
            let (runs, frozen, now) = self.set.with(|set| {
                let node = &set.nodes[self.n];
                (node.runs, node.frozen, node.life)
            });
            if !runs || life.is_some_and(|life| life != now) {
                self.life.store(0, Ordering::SeqCst);
                return Err(self.disconnected("the connection was closed"));
            }
            if !frozen {
                return Ok(now);
            }
            if Instant::now() >= end {
                self.life.store(0, Ordering::SeqCst);
                return Err(ServerError::Timeout {
                    server: self.name.clone(),
                    after: deadline,
                });
            }
            sleep(STANDING.min(end - Instant::now())).await;
        }
    }

    async fn ask<R>(
        &self,
        deadline: Duration,
        look: impl FnOnce(&mut Set, usize) -> Result<R, ServerError> + Send,
    ) -> Result<R, ServerError> {
        let life = self.life.load(Ordering::SeqCst);
        if life == 0 {
            return Err(self.disconnected("no session is open"));
        }
        self.reached(deadline, Some(life)).await?;
        let answer = self.set.with(|set| look(set, self.n));
        sleep(TRIP).await;
        answer
    }

    /// A statement that changes something. Without an answer in time it lies in the server's socket, and is carried out
    /// when the server goes on.
    async fn tell(
        &self,
        deadline: Duration,
        act: impl Fn(&mut Set, usize) + Send + Sync + Clone + 'static,
    ) -> Result<(), ServerError> {
        let told = act.clone();
        let answer = self
            .ask(deadline, move |set, n| {
                told(set, n);
                Ok(())
            })
            .await;
        if matches!(answer, Err(ServerError::Timeout { .. })) {
            let n = self.n;
            self.set
                .with(|set| set.leave_unread(n, Box::new(move |set| act(set, n))));
        }
        answer
    }

    fn led(&self, source: &Source) -> Result<usize, ServerError> {
        let of = self.set.with(|set| number(set, &source.member));
        of.ok_or_else(|| ServerError::Unexpected {
            server: self.name.clone(),
            what: format!("{} is not of the set", source.member.host),
        })
    }
}

#[async_trait]
impl Server for ModelServer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let open = self.life.load(Ordering::SeqCst);
        let now = self
            .set
            .with(|set| set.nodes[self.n].runs.then_some(set.nodes[self.n].life));
        if now == Some(open) {
            return Ok(());
        }
        let life = self.reached(deadline, None).await?;
        sleep(TRIP).await;
        self.life.store(life, Ordering::SeqCst);
        Ok(())
    }

    async fn status(&self, deadline: Duration) -> Result<Status, ServerError> {
        self.ask(deadline, |set, n| {
            let sources = sources(set, n);
            Ok(Status {
                server_id: server_of(n),
                read_only: set.nodes[n].read_only,
                binlog: set.binlog(n),
                applied: set.applied(n),
                link: (!sources.is_empty()).then(|| Link {
                    retry_seconds: Some(1),
                    tls: Vec::new(),
                }),
                sources,
            })
        })
        .await
    }

    async fn reaches(
        &self,
        position: &GtidPosition,
        within: Duration,
    ) -> Result<bool, ServerError> {
        let end = Instant::now() + within;
        loop {
            let reached = self
                .ask(within, |set, n| Ok(set.applied(n).covers(position)))
                .await?;
            if reached || Instant::now() >= end {
                return Ok(reached);
            }
            sleep(STANDING).await;
        }
    }

    async fn lock(&self, patience: Duration, hold: Duration) -> Result<GtidPosition, ServerError> {
        self.open(patience).await?;
        let session = self
            .ask(patience, |set, n| Ok(set.ask_for_lock(n, hold)))
            .await?;
        self.lock.store(session, Ordering::SeqCst);
        let end = Instant::now() + patience;
        loop {
            let held = self
                .ask(patience, |set, n| {
                    Ok(set.holds(n, session).then(|| set.binlog(n)))
                })
                .await?;
            if let Some(position) = held {
                return Ok(position);
            }
            if Instant::now() >= end {
                self.lock.store(0, Ordering::SeqCst);
                self.set.with(|set| set.release(self.n, session));
                return Err(self.refused(
                    LOCK_WAIT_TIMEOUT,
                    "Lock wait timeout exceeded; try restarting transaction",
                ));
            }
            sleep(STANDING).await;
        }
    }

    async fn unlock(&self, deadline: Duration) -> Result<(), ServerError> {
        self.open(deadline).await?;
        let session = self.lock.swap(0, Ordering::SeqCst);
        self.tell(deadline, move |set, n| set.release(n, session))
            .await
    }

    async fn close_locked(&self, deadline: Duration) -> Result<(), ServerError> {
        let session = self.lock.load(Ordering::SeqCst);
        let closed = self
            .ask(deadline, |set, n| {
                let holds = set.holds(n, session);
                set.nodes[n].read_only |= holds;
                Ok(holds)
            })
            .await;
        if matches!(closed, Err(ServerError::Timeout { .. })) {
            let n = self.n;
            let close = move |set: &mut Set| set.nodes[n].read_only = true;
            self.set.with(|set| set.leave_unread(n, Box::new(close)));
        }
        if closed? {
            Ok(())
        } else {
            Err(self.disconnected("the session of the lock is gone"))
        }
    }

    async fn close_writes(&self, deadline: Duration) -> Result<(), ServerError> {
        self.tell(deadline, |set, n| set.nodes[n].read_only = true)
            .await
    }

    async fn open_writes(&self, deadline: Duration) -> Result<(), ServerError> {
        self.tell(deadline, |set, n| set.nodes[n].read_only = false)
            .await
    }

    async fn promote(&self, deadline: Duration) -> Result<(), ServerError> {
        self.tell(deadline, |set, n| {
            set.nodes[n].source = None;
            set.nodes[n].read_only = false;
        })
        .await
    }

    async fn detach(&self, deadline: Duration) -> Result<(), ServerError> {
        self.tell(deadline, |set, n| set.nodes[n].source = None)
            .await
    }

    async fn aim(&self, source: &Source, deadline: Duration) -> Result<(), ServerError> {
        let of = self.led(source)?;
        let runs = self
            .ask(deadline, |set, n| {
                let source = &set.nodes[n].source;
                Ok(source.as_ref().is_some_and(|source| source.started))
            })
            .await?;
        if runs {
            return Err(self.refused(
                MUST_STOP,
                "This operation cannot be performed as you have a running replica",
            ));
        }
        self.tell(deadline, move |set, n| {
            set.change_source(n, of, false, true);
        })
        .await
    }

    async fn follow(
        &self,
        source: &Source,
        since: Since,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let of = self.led(source)?;
        self.tell(deadline, move |set, n| {
            if since == Since::Everything {
                let log = set.nodes[n].log.last().map(|last| last.server);
                let number = set.nodes[n].log.len() as u64;
                let applied = set.nodes[n].applied;
                set.nodes[n].applied = [log.map(|server| (server, number)), applied]
                    .into_iter()
                    .flatten()
                    .max_by_key(|(_, number)| *number);
            }
            set.change_source(n, of, true, false);
        })
        .await
    }

    async fn cut_clients(&self, which: Clients, deadline: Duration) -> Result<usize, ServerError> {
        self.ask(deadline, |set, n| Ok(set.cut(n, which == Clients::Waiting)))
            .await
    }

    async fn quiet(&self, deadline: Duration) -> Result<(), ServerError> {
        self.life.store(0, Ordering::SeqCst);
        self.open(deadline).await
    }
}
