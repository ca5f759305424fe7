//! What the benchmark asks of a database system. Each system is one module that answers it, and one directory
//! `bench/NAME` with the scripts that its rivals are.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_probe::config::{MemberAddress, RunConfig};
use serde_json::Value;

use super::example::Example;
use super::kafka::Kafka;
use super::mariadb::Mariadb;
use super::memcached::Memcached;
use super::mongodb::Mongodb;
use super::redis::Redis;
use super::window::Window;
use crate::error::{Result, unexpected};
use crate::ferriswheel::Prepared;
use crate::program::Kubectl;
use crate::results::Measured;

/// What is known of a system before anything runs.
#[derive(Debug)]
pub struct Facts {
    /// On the command line, of its section and of its raw data.
    pub key: &'static str,
    /// In the text.
    pub title: &'static str,
    /// What a part with a leader of its own is called.
    pub shard: &'static str,
    /// In the order of the table.
    pub methods: &'static [Method],
    /// The pools that its sandbox has.
    pub pools: &'static [&'static str],
    /// What Ferriswheel is held against; reported, not asserted.
    pub goals: Goals,
    /// How the agent's record of a hand-over is read.
    pub way: Way,
    /// How long after a round something of it still stands in the way of the next one.
    pub rest: Duration,
    /// Name of the database in the spec, and so in the names of the records.
    pub database: &'static str,
    /// What the judge wrote is removed after each round, or rounds would leave more and more to be moved.
    pub cleared: bool,
}

/// A way to move the leaders.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// On the command line and in the raw data.
    pub key: &'static str,
    /// In the table.
    pub title: &'static str,
    /// What is done.
    pub act: Act,
    /// How often, unless the command line says otherwise: 10, and 3 where a round takes minutes.
    pub rounds: u32,
}

/// What is done in a round.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// `ferriswheel apply` of a `handOver` plan.
    Ferriswheel,
    /// `ferriswheel apply` of a `ferrisWheel` plan, for systems that have no hand-over alone: every machine is replaced,
    /// which a sandbox goes through once.
    Wheel,
    /// The how-to page's script, which Ferriswheel is compared with.
    Page(&'static str),
    /// Another script of `bench/NAME`.
    Script(&'static str),
    /// Nothing for so many seconds, about as long as Ferriswheel takes: the longest gap is then the machine's own.
    Nothing(u64),
}

impl Act {
    /// Ferriswheel's own.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ferriswheel | Self::Wheel)
    }
}

/// Limits of Ferriswheel's rounds.
#[derive(Debug)]
pub struct Goals {
    /// Median and highest of the longest gap of a shard, in milliseconds; `None`: what a cache promises is its hit-rate.
    pub gap_ms: Option<(f64, f64)>,
    /// Clients that do as its documentation says see no error. Where connections have to be cut, errors are reported alone.
    pub no_error: bool,
    /// Its median is so many times shorter than that of the method with this key, where that is a goal.
    pub times_better: Option<(f64, &'static str)>,
}

/// Moments of the agent's record.
#[derive(Debug)]
pub struct Way {
    /// The first that counts: all others are told from it.
    pub opened: &'static str,
    /// On the way of a client's write: the moment that ends each phase, and the phase.
    pub phases: &'static [(&'static str, &'static str)],
    /// Beside it: a later moment, from the end of the way.
    pub beside: &'static [(&'static str, &'static str)],
}

/// A database as it is between rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// Shards by the names that the certificate gives them; the only one, of a database without shards, by any name. None
    /// where the certificate's parts are the judge's own.
    pub shards: BTreeMap<String, Shard>,
    /// Everybody, for the judge.
    pub members: Vec<MemberAddress>,
}

/// Pods of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Takes its writes; nobody's name where all do.
    pub leader: String,
    /// Follow it.
    pub followers: Vec<String>,
}

/// A database in the sandbox.
#[async_trait(?Send)]
pub trait System {
    /// Known before.
    fn facts(&self) -> &'static Facts;

    /// Version of the servers, with their name.
    ///
    /// # Errors
    /// They do not answer.
    async fn server(&self) -> Result<String>;

    /// Password of the clients; where nobody asks for one, any text.
    ///
    /// # Errors
    /// It is not there.
    async fn password(&self) -> Result<String> {
        Ok("nobody-asks".to_owned())
    }

    /// How clients reach it.
    fn clients(&self) -> RunConfig;

    /// Its entry in a spec.
    fn spec(&self) -> Value;

    /// Waits until every member agrees with every other one.
    ///
    /// # Errors
    /// They do not.
    async fn settled(&self) -> Result<Scene>;

    /// Where it is.
    fn example(&self) -> &Example;

    /// What Ferriswheel's act had to bring about.
    ///
    /// # Errors
    /// What is not so.
    async fn outcome(&self, before: &Scene, after: &Scene) -> Result<()> {
        moved(before, after)
    }

    /// The agent's records, by the names of their shards; where a shard is moved several times, `SHARD/` and which.
    fn windows(
        &self,
        before: &Scene,
        plan: &Prepared,
        _measured: Option<&Measured>,
    ) -> BTreeMap<String, Window> {
        let facts = self.facts();
        before
            .shards
            .iter()
            .filter_map(|(name, shard)| {
                let record = plan.record(facts.database, &shard.leader)?;
                Some((name.clone(), Window::read(&record, &facts.way)?))
            })
            .collect()
    }

    /// The same as [`System::settled`] before a round, when nothing is left of the one before; a database that does not
    /// become so is made anew.
    ///
    /// # Errors
    /// It does not become whole.
    async fn whole(&self) -> Result<Scene> {
        let refreshed = async {
            self.example().refresh().await?;
            self.settled().await
        };
        match refreshed.await {
            Ok(scene) => Ok(scene),
            Err(error) => {
                tracing::warn!(%error, "the database is made anew");
                self.example().rebuild().await?;
                self.settled().await
            }
        }
    }
}

/// Each leader is one of the shard's followers of before.
fn moved(before: &Scene, after: &Scene) -> Result<()> {
    for (name, old) in &before.shards {
        let now = after.shards.get(name).map(|shard| &shard.leader);
        if now.is_none_or(|now| !old.followers.contains(now)) {
            return Err(unexpected(format!(
                "{name} did not move from {}",
                old.leader
            )));
        }
    }
    Ok(())
}

/// Systems that can be measured.
pub const ALL: [&Facts; 5] = [
    &super::redis::FACTS,
    &super::mongodb::FACTS,
    &super::mariadb::FACTS,
    &super::kafka::FACTS,
    &super::memcached::FACTS,
];

/// Puts the example of a system into the sandbox.
///
/// # Errors
/// It does not come up.
pub async fn up(facts: &Facts, kubectl: &Kubectl, repository: &Path) -> Result<Box<dyn System>> {
    match facts.key {
        "redis" => Ok(Box::new(Redis::up(kubectl, repository).await?)),
        "mongodb" => Ok(Box::new(Mongodb::up(kubectl, repository).await?)),
        "mariadb" => Ok(Box::new(Mariadb::up(kubectl, repository).await?)),
        "kafka" => Ok(Box::new(Kafka::up(kubectl, repository).await?)),
        "memcached" => Ok(Box::new(Memcached::up(kubectl, repository).await?)),
        other => Err(unexpected(format!("no system {other}"))),
    }
}
