//! The modelled servers and pooler, and models that are wrong on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::pooler::Pooler;
use ferriswheel_actuators::databases::postgres::server::{Server, ServerError, Upstream};
use ferriswheel_model::cluster::{Cluster, Timing};
use ferriswheel_rehearsal::postgres::clients::{self, INTERVAL};
use ferriswheel_rehearsal::postgres::disk::{Entry, Kind};
use ferriswheel_rehearsal::postgres::pooler::ModelPooler;
use ferriswheel_rehearsal::postgres::process::{Phase, Receiver};
use ferriswheel_rehearsal::postgres::server::{Alive, ModelServer};
use ferriswheel_rehearsal::postgres::{self, Postgres};
use ferriswheel_rehearsal::world::{Inner, World};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::stage::{Reply, Shape, Stage};

const POOLER: &str = "pgbouncer";

/// Longer than anything in a scene takes.
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// A model that is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A promotion brings along what the candidate never received.
    LosesNothing,
    /// A fast stop waits for no standby.
    StopsAlone,
    /// A standby streams from a server whose log does not continue its own.
    FollowsAnybody,
    /// A standby takes writes.
    WritesAnywhere,
    /// `standby.signal` is not read at the start.
    StartsAsItWas,
    /// A PAUSE does not wait for a transaction.
    PausesAtOnce,
    /// A commit waits for nobody.
    CommitsAlone,
}

impl Wrong {
    /// Each with the scene that is about it.
    pub const ALL: [(Self, &str); 7] = [
        (Self::LosesNothing, "promotion-of-a-lagging-candidate"),
        (Self::StopsAlone, "fast-stop-with-a-connected-standby"),
        (Self::FollowsAnybody, "diverged-old-primary"),
        (Self::WritesAnywhere, "writes-on-a-standby"),
        (Self::StartsAsItWas, "armed-before-the-stop"),
        (Self::PausesAtOnce, "pause-waits-for-a-transaction"),
        (Self::CommitsAlone, "synchronous-commit"),
    ];
}

pub struct ModelStage {
    world: World,
    servers: Vec<ModelServer>,
    clients: Vec<ModelServer>,
    pooler: ModelPooler,
    /// Rows by the id of their record.
    rows: Mutex<BTreeMap<u64, u32>>,
    /// Acknowledged writes and errors before the write that is asked about.
    before: Mutex<(u64, usize)>,
    wrong: Option<Wrong>,
}

fn pod(n: usize) -> String {
    format!("pg-{n}")
}

impl ModelStage {
    pub async fn new(shape: Shape, wrong: Option<Wrong>) -> Self {
        let mut servers = Postgres::new(postgres::Timing::default(), 0);
        servers.bootstrap = true;
        let inner = Inner::new(Cluster::new(Timing::default()), servers, "pg-0");
        let world = World::new(inner);
        let alive: Alive = Arc::new(AtomicBool::new(true));
        let server = |n| ModelServer::new(world.clone(), &pod(n), Arc::clone(&alive));
        let stage = Self {
            servers: (0..shape.members).map(server).collect(),
            clients: (0..shape.members).map(server).collect(),
            pooler: ModelPooler::new(world.clone(), POOLER, Arc::clone(&alive)),
            world: world.clone(),
            rows: Mutex::default(),
            before: Mutex::default(),
            wrong,
        };
        for n in 0..shape.members {
            stage.start(n).await;
            while !world.with(|inner| inner.postgres.processes[&pod(n)].runs()) {
                sleep(Duration::from_millis(10)).await;
            }
            world.with(|inner| inner.postgres.bootstrap = false);
        }
        if shape.pooler {
            stage.start_pooler().await;
        }
        // Longer than a receiver needs to connect.
        sleep(Duration::from_secs(1)).await;
        let synchronous = usize::from(shape.synchronous && wrong != Some(Wrong::CommitsAlone));
        world.with(|inner| inner.postgres.synchronous = synchronous);
        stage
    }

    fn with_postgres<R>(&self, look: impl FnOnce(&mut Postgres, Duration) -> R) -> R {
        self.world.with(|inner| {
            let now = inner.now();
            look(&mut inner.postgres, now)
        })
    }

    fn go_wrong(&self, wrong: Wrong, command: &[&str], postgres: &mut Postgres) {
        let log_of = |postgres: &Postgres, pod: &str| {
            let disk = postgres.disk_of(pod).or_else(|| postgres.disks.get(pod));
            disk.map(|disk| disk.log.clone()).unwrap_or_default()
        };
        match (wrong, command) {
            (Wrong::LosesNothing, ["promote", candidate]) => {
                let log = log_of(postgres, "pg-0");
                postgres.disk_of_mut(candidate).unwrap().log = log;
            }
            (Wrong::StopsAlone, ["stop", primary]) => {
                let followers: Vec<String> = postgres
                    .followers(primary)
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                for follower in followers {
                    let process = postgres.processes.get_mut(&follower).unwrap();
                    process.receiver = Receiver::Waiting { until: FOR_EVER };
                }
            }
            (Wrong::FollowsAnybody, ["start", pod]) => {
                let upstream = postgres.disks[*pod].upstream.clone();
                if let Some(upstream) = upstream {
                    let host = upstream.host.split('.').next().unwrap();
                    let log = log_of(postgres, host);
                    postgres.disks.get_mut(*pod).unwrap().log = log;
                }
            }
            (Wrong::WritesAnywhere, ["write", pod, _]) => {
                let process = postgres.processes.get_mut(*pod).unwrap();
                process.in_recovery = false;
            }
            (Wrong::StartsAsItWas, ["start", pod]) => {
                postgres.disks.get_mut(*pod).unwrap().standby_signal = false;
            }
            (Wrong::PausesAtOnce, ["pooler", "pause", ..]) => {
                postgres.clients.idle_in_transaction = None;
            }
            _ => {}
        }
    }

    /// Lets the clients write for a while.
    async fn let_write(&self, long: Duration) -> Reply {
        let (acked, errors) = *self.before.lock().await;
        let mut left = long;
        while !left.is_zero() {
            self.world.with(|inner| inner.probing = true);
            sleep(INTERVAL).await;
            let reply = self.world.with(|inner| {
                inner.probing = false;
                let clients = &inner.postgres.clients;
                if clients.errors.len() > errors {
                    Reply::Error
                } else if clients.acked > acked {
                    Reply::Ok
                } else {
                    Reply::Held
                }
            });
            if reply != Reply::Held {
                return reply;
            }
            left = left.saturating_sub(INTERVAL);
        }
        Reply::Held
    }
}

#[async_trait]
impl Stage for ModelStage {
    fn server(&self, n: usize) -> &dyn Server {
        &self.servers[n]
    }

    fn pooler(&self) -> &dyn Pooler {
        &self.pooler
    }

    fn upstream(&self, follower: usize, upstream: usize) -> Upstream {
        Upstream {
            host: format!("{}.pg", pod(upstream)),
            port: 5432,
            slot: Some(format!("pg_{follower}")),
            application_name: pod(follower),
        }
    }

    async fn before(&self, command: &[&str]) {
        if let Some(wrong) = self.wrong {
            self.with_postgres(|postgres, _| self.go_wrong(wrong, command, postgres));
        }
    }

    async fn write(&self, n: usize, row: u32, deadline: Duration) -> Result<(), ServerError> {
        self.clients[n].reconnect(deadline).await?;
        let answer = self.clients[n].write(deadline).await;
        // Unanswered is not unwritten.
        let last = self.with_postgres(|postgres, _| {
            let log = &postgres.disk_of(&pod(n))?.log;
            log.iter()
                .rev()
                .find(|e| e.kind == Kind::Write)
                .map(|e| e.id)
        });
        if let Some(id) = last {
            self.rows.lock().await.entry(id).or_insert(row);
        }
        answer.map(|_| ())
    }

    async fn rows(&self, n: usize) -> Result<Vec<u32>, ServerError> {
        self.clients[n].reconnect(Duration::from_secs(5)).await?;
        let rows = self.rows.lock().await;
        Ok(self.with_postgres(|postgres, _| {
            let process = &postgres.processes[&pod(n)];
            let log = &postgres.disk_of(&pod(n)).unwrap().log;
            // On a primary nobody sees a row whose commit waits for a standby; what it replayed as
            // a standby waits for nobody.
            let replayed = process.promoted_at.unwrap_or(0);
            let is_over = |(at, entry): &(usize, &Entry)| {
                process.in_recovery || *at < replayed || postgres.is_synchronous_at(&pod(n), entry)
            };
            let mut rows: Vec<u32> = log[..process.replayed]
                .iter()
                .enumerate()
                .filter(is_over)
                .filter_map(|(_, entry)| rows.get(&entry.id).copied())
                .collect();
            rows.sort_unstable();
            rows
        }))
    }

    async fn slots(&self, n: usize) -> Result<Vec<String>, ServerError> {
        self.clients[n].reconnect(Duration::from_secs(5)).await?;
        Ok(self.with_postgres(|postgres, _| {
            let slots = &postgres.disk_of(&pod(n)).unwrap().slots;
            slots.iter().cloned().collect()
        }))
    }

    fn runs(&self, n: usize) -> bool {
        self.with_postgres(|postgres, _| postgres.processes.contains_key(&pod(n)))
    }

    async fn kill(&self, n: usize) {
        self.with_postgres(|postgres, _| postgres.kill(&pod(n)));
    }

    async fn start(&self, n: usize) {
        self.with_postgres(|postgres, now| postgres.start(now, &pod(n), &pod(n), &pod(n)));
    }

    async fn start_held(&self, n: usize) {
        self.start(n).await;
        self.with_postgres(|postgres, _| {
            let process = postgres.processes.get_mut(&pod(n)).unwrap();
            process.phase = Phase::Starting { until: FOR_EVER };
        });
    }

    async fn let_start(&self, n: usize) {
        self.with_postgres(|postgres, now| {
            let process = postgres.processes.get_mut(&pod(n)).unwrap();
            process.phase = Phase::Starting { until: now };
        });
    }

    async fn freeze(&self, n: usize) {
        self.with_postgres(|postgres, _| postgres.freeze(&pod(n), FOR_EVER));
    }

    async fn thaw(&self, n: usize) {
        self.with_postgres(|postgres, now| postgres.freeze(&pod(n), now));
    }

    async fn pause_replay(&self, n: usize, paused: bool) {
        self.with_postgres(|postgres, _| {
            postgres.processes.get_mut(&pod(n)).unwrap().replay_paused = paused;
        });
    }

    async fn aim(&self, n: usize) {
        self.world.with(|inner| inner.pooler_file = pod(n));
    }

    async fn kill_pooler(&self) {
        self.with_postgres(|postgres, _| postgres.clients.pooler_lost(POOLER));
    }

    async fn start_pooler(&self) {
        self.world.with(|inner| {
            let pooler = clients::Pooler {
                uid: format!("{POOLER} {:?}", inner.now()),
                aimed: inner.pooler_file.clone(),
                paused: false,
                held_since: None,
            };
            let poolers = &mut inner.postgres.clients.poolers;
            poolers.insert(POOLER.to_owned(), pooler);
        });
        // As on the other side, its console is open when it has started.
        self.pooler.reconnect(Duration::from_secs(5)).await.unwrap();
    }

    async fn begin(&self) {
        self.with_postgres(|postgres, _| {
            postgres.clients.idle_in_transaction = Some(POOLER.to_owned());
        });
    }

    async fn commit(&self) -> Reply {
        let open = self.with_postgres(|postgres, _| postgres.clients.idle_in_transaction.take());
        if open.is_some() {
            Reply::Ok
        } else {
            Reply::Error
        }
    }

    async fn client(&self, wait: Duration) -> Reply {
        let before = self
            .with_postgres(|postgres, _| (postgres.clients.acked, postgres.clients.errors.len()));
        *self.before.lock().await = before;
        self.let_write(wait).await
    }

    async fn held_client(&self, wait: Duration) -> Reply {
        self.let_write(wait).await
    }
}
