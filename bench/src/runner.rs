//! The rounds: prepare, let the writers go, act, wait until writes are back, judge.
//!
//! # Invariants
//! - Every round that was begun is in the results, also one that failed.
//! - What a method leaves behind is put right before the next round and not during one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferriswheel_probe::certificate::Certificate;
use ferriswheel_probe::config::{MemberAddress, RunConfig};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::error::{Error, Result, unexpected};
use crate::ferriswheel::{self, Prepared};
use crate::judge::{Judge, secret};
use crate::method::Method;
use crate::patroni::Patroni;
use crate::program::{self, Kubectl};
use crate::results::{Failure, Measured, Round, Stage};
use crate::sandbox::Sandbox;
use crate::set::{self, Member, Set};

/// Two System nodes for poolers, etcd, HAProxy and the probe; four for databases, because the how-to scripts need a
/// fourth member. All at the control plane's version: nothing is upgraded here.
pub const POOLS: [&str; 2] = [
    "name=syspool,mode=System,count=2,version=1.36.3,zones=1+2",
    "name=dbpool,mode=User,count=4,version=1.36.3,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
];

/// A script of the how-to page: a clone, ten seconds of its own sleep, a slow stop.
const SCRIPT: Duration = Duration::from_secs(180);

/// Patroni's answer to a switchover.
const SWITCHOVER: Duration = Duration::from_secs(90);

/// Everything that stands in the sandbox.
pub struct Runner {
    sandbox: Sandbox,
    kubectl: Kubectl,
    repository: PathBuf,
    judge: Judge,
    set: Set,
    patroni_30: Option<Patroni>,
    patroni_41: Option<Patroni>,
}

/// What an act needs.
struct Stage0 {
    /// Connection string of the clients.
    dsn: String,
    /// Whom the judge looks at; empty: whoever the clients reach.
    members: Vec<MemberAddress>,
    /// The primary.
    from: String,
    /// Who shall be it, if that is known.
    to: Option<String>,
    plan: Option<Prepared>,
}

impl Runner {
    /// Puts into the sandbox what these methods need.
    ///
    /// # Errors
    /// Something does not come up.
    pub async fn up(sandbox: Sandbox, repository: &Path, methods: &[Method]) -> Result<Self> {
        let kubectl = Kubectl::find(sandbox.state().join("kubeconfig"))?;
        forget_names_soon(&kubectl).await?;
        tracing::info!("the example cluster");
        let set = Set::up(&kubectl, repository).await?;
        let password = secret(&kubectl, set::NAMESPACE, "pg-application", "password").await?;
        let judge = Judge::start(&kubectl, &password).await?;
        let patroni = async |namespace, image, wanted: fn(Method) -> bool| {
            if !methods.iter().any(|method| wanted(*method)) {
                return Ok(None);
            }
            tracing::info!(image, "Patroni");
            Patroni::up(&kubectl, repository, namespace, image, &password)
                .await
                .map(Some)
        };
        Ok(Self {
            patroni_30: patroni("patroni-30", "patroni:3.0", Method::is_patroni_30).await?,
            patroni_41: patroni("patroni-41", "patroni:4.1", Method::is_patroni_41).await?,
            sandbox,
            kubectl,
            repository: repository.to_owned(),
            judge,
            set,
        })
    }

    /// Version of the servers.
    ///
    /// # Errors
    /// They do not answer.
    pub async fn postgres_version(&self) -> Result<String> {
        self.set.version().await
    }

    /// One hand-over. A failure is part of the answer.
    pub async fn round(&mut self, method: Method, number: u32) -> Round {
        let clock = Instant::now();
        let mut round = Round {
            method,
            number,
            began: Timestamp::now(),
            acted: None,
            act_s: None,
            took_s: 0.0,
            from: None,
            failure: None,
            certificate: None,
            window: None,
        };
        if let Err((stage, error)) = self.carry_out(method, number, &mut round).await {
            round.failure = Some(Failure {
                stage,
                detail: error.to_string(),
            });
            if !method.is_patroni() {
                self.set.is_spoilt();
            }
        }
        if matches!(method, Method::SeedQuick | Method::SeedControlled) {
            self.set.is_spoilt();
        }
        round.took_s = clock.elapsed().as_secs_f64();
        round
    }

    async fn carry_out(
        &mut self,
        method: Method,
        number: u32,
        round: &mut Round,
    ) -> Result<(), (Stage, Error)> {
        let at = |stage| move |error| (stage, error);
        let stage = self
            .prepare(method, number)
            .await
            .map_err(at(Stage::Preparation))?;
        round.from = Some(stage.from.clone());
        let mut clients = RunConfig::new(&stage.dsn);
        clients.subject = format!("{} {number}", method.key());
        self.judge
            .begin(clients)
            .await
            .map_err(at(Stage::Preparation))?;

        round.acted = Some(Timestamp::now());
        let clock = Instant::now();
        let acted = self.act(method, &stage).await;
        round.act_s = Some(clock.elapsed().as_secs_f64());
        if let Some(plan) = &stage.plan {
            round.window = ferriswheel::window(&self.sandbox, plan);
        }
        // What the clients saw counts also when the act reports a failure.
        let back = self.judge.writes_are_back().await;
        let moved = self.moved(method, &stage).await;
        let certificate: Result<Certificate> = self.judge.finish(stage.members, false).await;
        round.certificate = certificate.as_ref().ok().map(Measured::from);

        acted.map_err(at(Stage::Act))?;
        back.map_err(at(Stage::Outcome))?;
        if !moved.map_err(at(Stage::Outcome))? {
            return Err((Stage::Outcome, unexpected("the primary did not move")));
        }
        certificate.map_err(at(Stage::Measurement))?;
        Ok(())
    }

    async fn prepare(&mut self, method: Method, number: u32) -> Result<Stage0> {
        match method {
            Method::Pooled | Method::PooledInside | Method::Direct => {
                let pooled = method != Method::Direct;
                let (primary, standbys) = if pooled {
                    self.set.whole_with_poolers().await?
                } else {
                    self.set.whole().await?
                };
                // The next one by number: the one that was the primary longest ago, and the other one only rejoined.
                let to = standbys
                    .first()
                    .ok_or_else(|| unexpected("there is no standby"))?;
                let round = format!("{}-{number}", method.key());
                let spec = ferriswheel::postgres(&self.sandbox, &to.name, pooled);
                let plan = ferriswheel::plan(&self.sandbox, &round, &spec).await?;
                self.set.is_moved();
                let members = all(&primary, &standbys);
                Ok(Stage0 {
                    dsn: if pooled {
                        "host=pgbouncer.db.svc.cluster.local port=6432 user=app dbname=app"
                            .to_owned()
                    } else {
                        set::multi_host(&members)
                    },
                    members: set::addresses(&members),
                    from: primary.name,
                    to: Some(to.name.clone()),
                    plan: Some(plan),
                })
            }
            Method::SeedQuick | Method::SeedControlled => {
                let (primary, _) = if method == Method::SeedControlled {
                    let found = self.set.whole_and_original().await?;
                    // The other script brings its fourth member itself.
                    self.set.grow().await?;
                    found
                } else {
                    self.set.whole().await?
                };
                Ok(Stage0 {
                    dsn: "host=pg-primary.db.svc.cluster.local port=5432 user=app dbname=app"
                        .to_owned(),
                    // They leave standbys on another timeline and a primary that was deleted: only the one that the
                    // clients reach can be asked what is there.
                    members: Vec::new(),
                    from: primary.name,
                    to: None,
                    plan: None,
                })
            }
            Method::Patroni30
            | Method::Patroni41
            | Method::Patroni30Haproxy
            | Method::Patroni41Haproxy => {
                let patroni = self.patroni(method)?;
                let (members, leader) = patroni.whole().await?;
                Ok(Stage0 {
                    dsn: match method {
                        Method::Patroni30 | Method::Patroni41 => set::multi_host(&members),
                        _ => patroni.by_haproxy(),
                    },
                    members: set::addresses(&members),
                    from: leader,
                    to: None,
                    plan: None,
                })
            }
        }
    }

    async fn act(&self, method: Method, stage: &Stage0) -> Result<()> {
        let plan = || {
            stage
                .plan
                .as_ref()
                .ok_or_else(|| unexpected("there is no plan"))
        };
        match method {
            Method::Pooled | Method::Direct => ferriswheel::apply(&self.sandbox, plan()?).await,
            Method::PooledInside => {
                ferriswheel::apply_inside(&self.sandbox, &self.kubectl, &self.repository, plan()?)
                    .await
            }
            Method::SeedQuick => self.script("seed-quick.sh", &stage.from).await,
            Method::SeedControlled => {
                self.script("seed-controlled-failover.sh", &stage.from)
                    .await
            }
            Method::Patroni30
            | Method::Patroni41
            | Method::Patroni30Haproxy
            | Method::Patroni41Haproxy => {
                let switchover = self.patroni(method)?.switchover();
                program::succeed(switchover, None, SWITCHOVER)
                    .await
                    .map(drop)
            }
        }
    }

    async fn script(&self, name: &str, primary: &str) -> Result<()> {
        let path = self.repository.join("bench/postgres").join(name);
        let mut script = self.kubectl.script(&path, &[]);
        script
            .env("NAMESPACE", set::NAMESPACE)
            .env("PRIMARY", primary)
            .env("CANDIDATE", "pg-3");
        // Their own status says nothing: neither looks at the outcome of a step.
        program::run(script, None, SCRIPT).await.map(drop)
    }

    async fn moved(&self, method: Method, stage: &Stage0) -> Result<bool> {
        if method.is_patroni() {
            return Ok(self.patroni(method)?.leader().await? != stage.from);
        }
        let to = stage.to.as_deref().unwrap_or("pg-3");
        self.set.is_primary(to).await
    }

    fn patroni(&self, method: Method) -> Result<&Patroni> {
        if method.is_patroni_30() {
            self.patroni_30.as_ref()
        } else {
            self.patroni_41.as_ref()
        }
        .ok_or_else(|| unexpected("that Patroni was not started"))
    }
}

fn all(primary: &Member, standbys: &[Member]) -> Vec<Member> {
    let mut members = vec![primary.clone()];
    members.extend_from_slice(standbys);
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// Name servers that keep an answer for a second instead of half a minute: rounds recreate pods within seconds, which
/// no cluster does, and a member that looks for its primary at an old address would only make the preparation longer.
/// Within a round of PostgreSQL no address changes.
///
/// # Errors
/// The name servers do not come back.
pub async fn forget_names_soon(kubectl: &Kubectl) -> Result<()> {
    let namespace = "kube-system";
    let mut map = kubectl.get(namespace, &["configmap", "coredns"]).await?;
    let file = map["data"]["Corefile"]
        .as_str()
        .ok_or_else(|| unexpected("coredns has no Corefile"))?
        .replace("ttl 30", "ttl 1")
        .replace("cache 30", "cache 1");
    map["data"]["Corefile"] = file.into();
    kubectl.apply(namespace, &map.to_string()).await?;
    let restart = ["rollout", "restart", "deployment/coredns"];
    kubectl.call(namespace, &restart).await?;
    let limit = Duration::from_secs(90);
    let wait = ["rollout", "status", "deployment/coredns", "--timeout=80s"];
    kubectl.call_within(namespace, &wait, limit).await?;
    // kube-proxy's rules follow the endpoints within its own batch.
    sleep(Duration::from_secs(2)).await;
    Ok(())
}
