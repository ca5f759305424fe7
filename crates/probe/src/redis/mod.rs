//! Redis Cluster and Valkey Cluster over RESP.
//!
//! A write is `HINCRBY KEY SEQ 1`: a command that was carried out twice leaves a 2 and is found as a
//! duplicate. A hundred sequences of a writer share a key, which keeps a day of writes small; the
//! keys of a writer are chosen to lie in the slots of one shard, all over them, so that a shard that
//! does not answer holds up its own writers and no others.
//!
//! The slots are those of the start. If shards take slots from each other during a run, the
//! examination says so and judges nothing.

mod client;
mod examine;
mod keys;
pub(crate) mod node;
mod seeds;
mod slots;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

pub use seeds::{Seeds, SeedsError};

use client::ClusterClient;
use node::Login;
use slots::Layout;

use crate::config::RunConfig;
use crate::judge::MemberEvidence;
use crate::run::StartError;
use crate::secret::Password;
use crate::system::{Client, Examination, Prepared, RunNames, System, Trouble};

/// A cluster behind the addresses of some of its nodes.
pub(crate) struct Redis {
    seeds: Arc<Seeds>,
    read_seeds: Arc<Seeds>,
    login: Login,
    layout: OnceLock<Arc<Layout>>,
    written: OnceLock<Written>,
}

/// What a run has written, for whoever removes it.
struct Written {
    identity: String,
    run: String,
}

impl Redis {
    /// Takes the addresses apart.
    pub(crate) fn new(config: &RunConfig, password: Option<&Password>) -> Result<Self, StartError> {
        let parse = |text: &str, what| {
            Seeds::parse(text)
                .map(Arc::new)
                .map_err(|source| StartError::Address {
                    what,
                    source: Box::new(source),
                })
        };
        let seeds = parse(&config.dsn, "read the clients' address")?;
        let read_seeds = match &config.read_dsn {
            Some(text) => parse(text, "read the readers' address")?,
            None => Arc::clone(&seeds),
        };
        Ok(Self {
            login: Login {
                user: seeds.user.clone(),
                password: password.cloned(),
                tls: seeds.tls,
                connect_deadline: config.connect_deadline(),
                deadline: config.statement_deadline(),
            },
            seeds,
            read_seeds,
            layout: OnceLock::new(),
            written: OnceLock::new(),
        })
    }

    async fn client(&self, seeds: &Arc<Seeds>) -> Result<ClusterClient, Trouble> {
        ClusterClient::open(
            Arc::clone(seeds),
            self.login.clone(),
            self.layout.get().cloned(),
        )
        .await
    }

    fn layout(&self) -> Option<Arc<Layout>> {
        self.layout.get().cloned()
    }
}

#[async_trait]
impl System for Redis {
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble> {
        let mut client = self.client(&self.seeds).await?;
        let layout = client.layout()?;
        let key = keys::identity(names.identity);
        client.run(&key, &["SADD", &key, names.run]).await?;
        let known = client.run(&key, &["SCARD", &key]).await?;
        let known: u64 = node::text_of(&known)
            .and_then(|count| count.parse().ok())
            .unwrap_or(1);
        let shards = layout.names();
        let _ = self.layout.set(Arc::new(layout));
        let _ = self.written.set(Written {
            identity: names.identity.to_owned(),
            run: names.run.to_owned(),
        });
        Ok(Prepared {
            earlier_probes: known.saturating_sub(1),
            shards,
        })
    }

    async fn connect(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(self.client(&self.seeds).await?))
    }

    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(self.client(&self.read_seeds).await?))
    }

    async fn examine(&self, what: &Examination<'_>) -> Vec<MemberEvidence> {
        let Some(layout) = self.layout() else {
            return Vec::new();
        };
        examine::Visit {
            seeds: &self.seeds,
            login: &self.login,
            layout: &layout,
            what,
        }
        .run()
        .await
    }

    async fn drop_everything(&self) -> Result<(), Trouble> {
        let (Some(layout), Some(written)) = (self.layout(), self.written.get()) else {
            return Ok(());
        };
        let mut client = self.client(&self.seeds).await?;
        // Every bucket up to the first that is not there: buckets of a writer have no holes but for
        // those in which every write failed, which a few more tries pass.
        for writer in 0.. {
            let mut absent = 0;
            let mut any = false;
            let mut bucket = 0;
            while absent < HOLES {
                let key = keys::of_bucket(&written.run, writer, bucket, &layout);
                let gone = client.run(&key, &["UNLINK", &key]).await?;
                if node::text_of(&gone).as_deref() == Some("1") {
                    any = true;
                    absent = 0;
                } else {
                    absent += 1;
                }
                bucket += 1;
            }
            if !any {
                break;
            }
        }
        let key = keys::identity(&written.identity);
        client.run(&key, &["UNLINK", &key]).await.map(drop)
    }
}

/// Buckets in a row that may be absent. Ten thousand writes of one writer that all failed end a run
/// in another way.
const HOLES: u32 = 100;
