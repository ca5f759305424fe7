//! The rounds of one system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::sleep;

use super::results::{Round, leaders, measured};
use super::system::{self, Act, Facts, Method, Scene, System};
use crate::error::{Error, Result, unexpected};
use crate::ferriswheel::{self, Prepared};
use crate::judge::Judge;
use crate::program::{self, Kubectl};
use crate::results::{Failure, Stage};
use crate::runner::forget_names_soon;
use crate::sandbox::Sandbox;

/// A script that restarts every member one after the other, with its own sleeps; each waits for two minutes at most.
const SCRIPT: Duration = Duration::from_secs(900);

/// A wheel of three members, each of which waits until others find it or until it is refilled: minutes.
const WHEEL: Duration = Duration::from_secs(1_800);

/// Everything that stands in the sandbox.
pub struct Runner {
    // Before the sandbox, which ends with it.
    judge: Judge,
    system: Box<dyn System>,
    sandbox: Sandbox,
    kubectl: Kubectl,
    scripts: PathBuf,
    /// When the round before ended, or the database was made.
    ended: Instant,
    /// Its machines are upgraded: there is no other wheel in this sandbox.
    upgraded: bool,
}

impl Runner {
    /// Puts the database and the judge into the sandbox.
    ///
    /// # Errors
    /// Something does not come up.
    pub async fn up(sandbox: Sandbox, facts: &Facts, repository: &Path) -> Result<Self> {
        let kubectl = Kubectl::find(sandbox.state().join("kubeconfig"))?;
        forget_names_soon(&kubectl).await?;
        tracing::info!("{}: the example", facts.title);
        let system = system::up(facts, &kubectl, repository).await?;
        let judge = Judge::start(&kubectl, &system.password().await?).await?;
        Ok(Self {
            judge,
            system,
            sandbox,
            kubectl,
            scripts: repository.join("bench").join(facts.key),
            ended: Instant::now(),
            upgraded: false,
        })
    }

    /// The method needs a sandbox whose machines are old, and these are not.
    pub fn is_spent_for(&self, method: &Method) -> bool {
        self.upgraded && method.act == Act::Wheel
    }

    /// Version of the servers, with their name.
    ///
    /// # Errors
    /// They do not answer.
    pub async fn server(&self) -> Result<String> {
        self.system.server().await
    }

    /// One round. A failure is part of the answer.
    pub async fn round(&mut self, method: &'static Method, number: u32) -> Round {
        let clock = Instant::now();
        let mut round = Round {
            method: method.key.to_owned(),
            number,
            began: Timestamp::now(),
            acted: None,
            act_s: None,
            whole_s: None,
            took_s: 0.0,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            failure: None,
            certificate: None,
            windows: BTreeMap::new(),
            said: None,
        };
        if let Err((stage, error)) = self.carry_out(method, &mut round).await {
            round.failure = Some(Failure {
                stage,
                detail: error.to_string(),
            });
        }
        self.ended = Instant::now();
        round.took_s = clock.elapsed().as_secs_f64();
        round
    }

    /// Whole, and nothing of the round before counts any more; a script may have moved a leader there and back, so every
    /// round leaves something.
    async fn rested(&self) -> Result<Scene> {
        let scene = self.system.whole().await?;
        let rest = self
            .system
            .facts()
            .rest
            .saturating_sub(self.ended.elapsed());
        if rest.is_zero() {
            return Ok(scene);
        }
        sleep(rest).await;
        self.system.settled().await
    }

    async fn carry_out(
        &mut self,
        method: &'static Method,
        round: &mut Round,
    ) -> Result<(), (Stage, Error)> {
        let at = |stage| move |error| (stage, error);
        let subject = format!("{} {}", method.key, round.number);
        let before = self.rested().await.map_err(at(Stage::Preparation))?;
        round.before = leaders(&before);
        let plan = if method.act.is_ours() {
            let plan = self.plan(method, &subject).await;
            Some(plan.map_err(at(Stage::Preparation))?)
        } else {
            None
        };
        let mut clients = self.system.clients();
        clients.subject = subject;
        let begun = self.judge.begin(clients).await;
        begun.map_err(at(Stage::Preparation))?;

        self.upgraded |= method.act == Act::Wheel;
        round.acted = Some(Timestamp::now());
        let clock = Instant::now();
        let acted = self.act(method, &before, plan.as_ref(), round).await;
        round.act_s = Some(clock.elapsed().as_secs_f64());
        // What the clients saw counts also when the act reports a failure. They go on until the database is whole: a
        // leader that comes back with less than it had would be seen.
        let ended = Instant::now();
        let back = self.judge.writes_are_back().await;
        let after = self.system.settled().await;
        round.whole_s = Some(ended.elapsed().as_secs_f64());
        let members = after.as_ref().map(|after| after.members.clone());
        // Without a member to look at, whoever the clients reach is.
        let members = members.unwrap_or_default();
        let cleared = self.system.facts().cleared;
        let certificate = self.judge.finish(members, cleared).await;
        round.certificate = certificate.as_ref().ok().map(|c| measured(c, &before));
        if let Some(plan) = &plan {
            let measured = round.certificate.as_ref();
            round.windows = self.system.windows(&before, plan, measured);
        }

        acted.map_err(at(Stage::Act))?;
        back.map_err(at(Stage::Outcome))?;
        let after = after.map_err(at(Stage::Outcome))?;
        round.after = leaders(&after);
        if method.act.is_ours() {
            let outcome = self.system.outcome(&before, &after).await;
            outcome.map_err(at(Stage::Outcome))?;
        }
        certificate.map_err(at(Stage::Measurement))?;
        Ok(())
    }

    async fn plan(&self, method: &Method, subject: &str) -> Result<Prepared> {
        let database = self.system.spec();
        let spec = if method.act == Act::Wheel {
            ferriswheel::wheel(&self.sandbox, &database)
        } else {
            ferriswheel::hand_over(&self.sandbox, None, &database)
        };
        ferriswheel::plan(&self.sandbox, &subject.replace(' ', "-"), &spec).await
    }

    async fn act(
        &self,
        method: &Method,
        before: &Scene,
        plan: Option<&Prepared>,
        round: &mut Round,
    ) -> Result<()> {
        match method.act {
            Act::Ferriswheel | Act::Wheel => {
                let plan = plan.ok_or_else(|| unexpected("there is no plan"))?;
                if method.act == Act::Wheel {
                    ferriswheel::apply_within(&self.sandbox, plan, WHEEL).await
                } else {
                    ferriswheel::apply(&self.sandbox, plan).await
                }
            }
            Act::Page(name) | Act::Script(name) => {
                let mut script = self.kubectl.script(&self.scripts.join(name), &[]);
                let shards = || before.shards.values();
                let leaders = shards().map(|shard| shard.leader.as_str());
                let followers = shards()
                    .flat_map(|shard| &shard.followers)
                    .map(String::as_str);
                let members = before.members.iter().map(|member| member.name.as_str());
                script
                    .env("LEADERS", leaders.collect::<Vec<_>>().join(" "))
                    .env("FOLLOWERS", followers.collect::<Vec<_>>().join(" "))
                    .env("MEMBERS", members.collect::<Vec<_>>().join(" "))
                    // For harm that no kubectl does.
                    .env("FERRISWHEEL", &self.sandbox.ferriswheel)
                    .env("FERRISWHEEL_STATE", self.sandbox.work.join("state"))
                    .env("SANDBOX", &self.sandbox.name);
                // Its own status says nothing: the page's does not look at the outcome of a step.
                let ended = program::run(script, None, SCRIPT).await?;
                round.said = Some(ended.tail);
                Ok(())
            }
            Act::Nothing(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                Ok(())
            }
        }
    }
}
