//! Memcached pools, as clients with a ketama ring use them in front of a backend.
//!
//! A cache promises nothing about what it holds, so that a run looks nothing up afterwards: it asks for keys that it knows,
//! loads from a modelled backend what it does not find, changes keys as it goes, and counts what it found, what it had to
//! load, and every value that was not its key's current one. Each key is one client's alone, so that an old value is the
//! servers' doing (or the ring's) and never a race of two clients.

mod address;
mod client;
mod pool;
mod ring;
pub(crate) mod tally;
mod wire;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

pub use address::{AddressError, Servers};

use client::CacheClient;
use pool::{KEYS, Pool};
use tally::percent;
use wire::{Wire, Wrong};

use crate::certificate::{CacheRecord, CacheServer};
use crate::config::RunConfig;
use crate::judge::MemberEvidence;
use crate::run::StartError;
use crate::system::{Client, Examination, Prepared, RunNames, System, Trouble};

/// A request without an answer for this long is given up, whatever the configuration allows. 1 s: who waits longer for a
/// cache than for its backend has none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Points that the hit-rate may be below the share of the servers that are left: the keys of one second are not spread as
/// evenly as all.
const POINTS: f64 = 5.0;

/// A pool behind the names of its servers.
pub(crate) struct Memcached {
    servers: Servers,
    writers: usize,
    min_hit_rate: Option<f64>,
    connect: Duration,
    deadline: Duration,
    running: OnceLock<Running>,
}

struct Running {
    pool: Arc<Pool>,
    looking: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Memcached {
    /// Takes the addresses apart.
    pub(crate) fn new(config: &RunConfig) -> Result<Self, StartError> {
        let servers = Servers::parse(&config.dsn).map_err(|source| StartError::Address {
            what: "read the servers' addresses",
            source: Box::new(source),
        })?;
        Ok(Self {
            servers,
            writers: config.writers,
            min_hit_rate: config.min_hit_rate,
            connect: config.connect_deadline().min(PATIENCE),
            // As patient as its limit: a machine that stalls is no member that left.
            deadline: config
                .statement_deadline()
                .min(Duration::from_millis(config.limits.write_stall_ms).max(PATIENCE)),
            running: OnceLock::new(),
        })
    }

    async fn version_of(&self, host: &str, port: u16) -> Result<String, Wrong> {
        let mut wire = Wire::connect(host, port, self.connect, self.deadline).await?;
        wire.version().await
    }

    /// Deletes the run's keys on one server.
    async fn forget(&self, pool: &Pool, host: &str, port: u16) -> Result<(), Wrong> {
        let mut wire = Wire::connect(host, port, self.connect, self.deadline).await?;
        for number in 0..KEYS {
            wire.delete(&pool.key(number)).await?;
        }
        Ok(())
    }

    fn pool(&self) -> Result<Arc<Pool>, Trouble> {
        match self.running.get() {
            Some(running) => Ok(Arc::clone(&running.pool)),
            None => Err(Trouble::deadline("prepare", self.deadline)),
        }
    }
}

#[async_trait]
impl System for Memcached {
    /// Every server answers, and the cache is warm: what is missed afterwards was lost.
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble> {
        let pool = Arc::new(Pool::new(
            self.servers.0.clone(),
            names.run,
            self.connect,
            self.deadline,
        ));
        let mut client = CacheClient::new(Arc::clone(&pool), self.writers);
        client.warm(0..KEYS).await?;
        if let Some(server) = pool.seats().iter().position(|seat| !seat.on) {
            return Err(Trouble {
                kind: "no server".to_owned(),
                detail: format!("{} does not answer", pool.servers[server].0),
                ..Trouble::deadline("connect", self.connect)
            });
        }
        // Counting begins here, and not with the warm-up.
        let pool = Arc::new(Pool::new(
            self.servers.0.clone(),
            names.run,
            self.connect,
            self.deadline,
        ));
        let looking = tokio::spawn(Arc::clone(&pool).look_for_the_missing());
        let _ = self.running.set(Running { pool, looking });
        Ok(Prepared::default())
    }

    async fn connect(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(CacheClient::new(self.pool()?, self.writers)))
    }

    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble> {
        self.connect().await
    }

    /// Whether each server answers; there is nothing to look up.
    async fn examine(&self, _: &Examination<'_>) -> Vec<MemberEvidence> {
        let mut members = Vec::new();
        for (host, port) in &self.servers.0 {
            let mut evidence = MemberEvidence {
                name: format!("{host}:{port}"),
                ..MemberEvidence::default()
            };
            match self.version_of(host, *port).await {
                Ok(version) => evidence.position = Some(format!("version {version}")),
                Err(wrong) => evidence.problem = Some(format!("it does not answer: {wrong:?}")),
            }
            members.push(evidence);
        }
        members
    }

    fn cache(&self) -> Option<CacheRecord> {
        let pool = &self.running.get()?.pool;
        let shares = pool.shares();
        let most = shares.iter().copied().fold(0.0, f64::max);
        let servers = pool
            .servers
            .iter()
            .zip(&shares)
            .zip(pool.seats())
            .map(|(((host, port), share), seat)| CacheServer {
                name: format!("{host}:{port}"),
                share: *share,
                left: seat.left,
            })
            .collect();
        let bound = self.min_hit_rate.unwrap_or(100.0 - most - POINTS);
        Some(pool.tally(|tally, now| {
            tally.advance(now);
            CacheRecord {
                keys: KEYS as u64,
                gets: tally.gets,
                hits: tally.hits,
                loads: tally.loads,
                hit_rate: percent(tally.hits, tally.gets),
                lowest: tally.lowest().cloned(),
                bound: (bound * 100.0).round() / 100.0,
                remaining_share: ((100.0 - most) * 100.0).round() / 100.0,
                most_loads_a_second: tally.most_loads(),
                wrong_values: tally.wrong,
                wrong_example: tally.example.clone(),
                failed_over: tally.failed_over,
                counted_from: pool.anchor,
                servers,
            }
        }))
    }

    async fn drop_everything(&self) -> Result<(), Trouble> {
        let pool = self.pool()?;
        for (host, port) in &pool.servers {
            if let Err(wrong) = self.forget(&pool, host, *port).await {
                tracing::warn!(host, ?wrong, "keys of the probe stay until they are old");
            }
        }
        Ok(())
    }
}
