//! Real servers and a real pooler.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::pooler::Pooler;
use ferriswheel_actuators::databases::postgres::server::{Server, ServerError, Upstream};
use ferriswheel_actuators::databases::postgres::session::{Rows, Session};
use ferriswheel_actuators::databases::postgres::wire::ConnInfoTemplate;
use ferriswheel_actuators::dial::{Direct, Target};
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_testbed::set::{Set, Wanted};
use ferriswheel_testbed::template::Version;
use nix::sys::signal::{Signal, kill};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::stage::{Reply, Shape, Stage};

const STATEMENT: Duration = Duration::from_secs(20);

type Written = JoinHandle<(Client, bool)>;

pub struct RealStage {
    set: Set,
    shape: Shape,
    servers: Vec<Box<dyn Server>>,
    sessions: Vec<Session>,
    pooler: Box<dyn Pooler>,
    holder: Mutex<Option<Client>>,
    writer: Mutex<Option<Client>>,
    held: Mutex<Option<Written>>,
}

impl RealStage {
    pub async fn new(shape: Shape, version: Version) -> Self {
        let set = Set::of(Wanted {
            version,
            members: shape.members,
            pooler: shape.pooler,
            restart: None,
        })
        .await;
        let reach = set.reach();
        let template = ConnInfoTemplate::default();
        let servers = (0..shape.members)
            .map(|n| reach.server(&set.member(n), &template))
            .collect();
        let sessions = (0..shape.members)
            .map(|n| {
                let member = set.member(n);
                let target = Target {
                    pod: ObjectRef::new(&member.namespace, &member.name),
                    ip: Some(member.ip.clone()),
                    port: member.port,
                };
                let superuser = set.superuser();
                Session::new(
                    &member.name,
                    target,
                    Arc::new(Direct),
                    superuser,
                    "postgres",
                )
            })
            .collect();
        let stage = Self {
            pooler: reach.pooler(&set.pooler()),
            set,
            shape,
            servers,
            sessions,
            holder: Mutex::default(),
            writer: Mutex::default(),
            held: Mutex::default(),
        };
        if shape.pooler {
            // Its login is no part of any answer.
            *stage.writer.lock().await = stage.set.client().await.ok();
        }
        if shape.synchronous {
            for n in 0..shape.members {
                for sql in [
                    "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'",
                    "SELECT pg_reload_conf()",
                ] {
                    stage.sql(n, sql, STATEMENT).await.unwrap();
                }
            }
        }
        stage
    }

    pub fn logs(&self) -> String {
        self.set.logs()
    }

    async fn sql(&self, n: usize, sql: &str, deadline: Duration) -> Result<Rows, ServerError> {
        self.sessions[n].open(deadline).await?;
        self.sessions[n].run(sql, deadline).await
    }

    async fn gone(&self, runs: impl Fn() -> bool) {
        while runs() {
            sleep(Duration::from_millis(2)).await;
        }
    }
}

#[async_trait]
impl Stage for RealStage {
    fn server(&self, n: usize) -> &dyn Server {
        self.servers[n].as_ref()
    }

    fn pooler(&self) -> &dyn Pooler {
        self.pooler.as_ref()
    }

    fn upstream(&self, follower: usize, upstream: usize) -> Upstream {
        // A member that the set does not have: nobody answers to its name.
        let (host, port) = if upstream < self.shape.members {
            let member = self.set.member(upstream);
            (member.host, member.port)
        } else {
            (format!("pg-{upstream}.pg"), 5432)
        };
        let follower = self.set.member(follower);
        Upstream {
            host,
            port,
            slot: follower.slot,
            application_name: follower.name,
        }
    }

    async fn write(&self, n: usize, row: u32, deadline: Duration) -> Result<(), ServerError> {
        let sql = format!("INSERT INTO rows VALUES ({row})");
        self.sql(n, &sql, deadline).await.map(|_| ())
    }

    async fn rows(&self, n: usize) -> Result<Vec<u32>, ServerError> {
        let rows = self
            .sql(n, "SELECT n FROM rows ORDER BY n", STATEMENT)
            .await?;
        Ok(rows
            .iter()
            .map(|row| row[0].as_ref().unwrap().parse().unwrap())
            .collect())
    }

    async fn slots(&self, n: usize) -> Result<Vec<String>, ServerError> {
        let sql = "SELECT slot_name FROM pg_replication_slots ORDER BY 1";
        let rows = self.sql(n, sql, STATEMENT).await?;
        Ok(rows.into_iter().filter_map(|row| row[0].clone()).collect())
    }

    fn runs(&self, n: usize) -> bool {
        self.set.runs(n)
    }

    async fn kill(&self, n: usize) {
        self.set.signal_family(n, Signal::SIGKILL);
        self.gone(|| self.set.runs(n)).await;
    }

    async fn start(&self, n: usize) {
        self.set.start_member(n);
    }

    async fn start_held(&self, n: usize) {
        self.set.start_member_held(n);
    }

    async fn let_start(&self, _: usize) {
        self.set.let_start();
    }

    async fn freeze(&self, n: usize) {
        self.set.signal_family(n, Signal::SIGSTOP);
    }

    async fn thaw(&self, n: usize) {
        self.set.signal_family(n, Signal::SIGCONT);
    }

    async fn pause_replay(&self, n: usize, paused: bool) {
        let verb = if paused { "pause" } else { "resume" };
        let sql = format!("SELECT pg_wal_replay_{verb}()");
        self.sql(n, &sql, STATEMENT).await.unwrap();
    }

    async fn aim(&self, n: usize) {
        self.set.aim_pooler(n);
    }

    async fn kill_pooler(&self) {
        kill(self.set.pooler_pid(), Signal::SIGKILL).unwrap();
        self.gone(|| self.set.pooler_runs()).await;
    }

    async fn start_pooler(&self) {
        self.set.start_pooler();
        for _ in 0..1_500 {
            // PgBouncer's console answers even while its servers do not.
            if self.pooler.reconnect(STATEMENT).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the pooler does not answer:\n{}", self.set.logs());
    }

    async fn begin(&self) {
        let client = self.set.client().await.unwrap();
        client.simple_query("BEGIN").await.unwrap();
        client.simple_query("SELECT 1").await.unwrap();
        *self.holder.lock().await = Some(client);
    }

    async fn commit(&self) -> Reply {
        let client = self.holder.lock().await.take();
        let client = client.expect("a client that began");
        match client.simple_query("COMMIT").await {
            Ok(_) => Reply::Ok,
            Err(_) => Reply::Error,
        }
    }

    async fn client(&self, wait: Duration) -> Reply {
        let client = match self.writer.lock().await.take() {
            Some(client) if !client.is_closed() => client,
            _ => match timeout(STATEMENT, self.set.client()).await {
                Ok(Ok(client)) => client,
                Ok(Err(_)) => return Reply::Error,
                Err(_) => return Reply::Held,
            },
        };
        let write = tokio::spawn(async move {
            let sql = "SELECT pg_logical_emit_message(true, 'conformance', 'client')";
            let good = client.simple_query(sql).await.is_ok();
            (client, good)
        });
        *self.held.lock().await = Some(write);
        self.reply(wait).await
    }

    async fn held_client(&self, wait: Duration) -> Reply {
        self.reply(wait).await
    }
}

impl RealStage {
    async fn reply(&self, wait: Duration) -> Reply {
        let mut held = self.held.lock().await;
        // Whoever has its answer already waits for none.
        let Some(write) = held.as_mut() else {
            return Reply::Error;
        };
        match timeout(wait, write).await {
            Err(_) => Reply::Held,
            Ok(answer) => {
                *held = None;
                let (client, good) = answer.unwrap();
                *self.writer.lock().await = Some(client);
                if good { Reply::Ok } else { Reply::Error }
            }
        }
    }
}
