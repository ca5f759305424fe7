//! What one application's clients know together: who is on the ring, what they found, and what the backend has.
//!
//! A server that hangs up or does not answer leaves the ring at once, for all clients, and is asked for in the
//! background until it answers: no client waits for it. This is what proxies (mcrouter) and clients that eject hosts do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::ring::Ring;
use super::tally::Tally;
use super::wire::Wire;

/// Keys of a run. 4,000: four clients come by each of them every two to three seconds, so that what a member loses is
/// missed for longer than the second over which a hit-rate is taken.
pub(super) const KEYS: usize = 4_000;

/// Between two questions to servers that left the ring.
const LOOK_FOR: Duration = Duration::from_millis(200);

/// A server as the clients see it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seat {
    pub(super) on: bool,
    /// Counts its returns: a connection of an earlier one is of no use.
    pub(super) generation: u64,
    /// How often it left.
    pub(super) left: u64,
}

pub(super) struct Pool {
    pub(super) servers: Vec<(String, u16)>,
    pub(super) ring: Ring,
    seats: Mutex<Vec<Seat>>,
    tally: Mutex<Tally>,
    /// Name of the run, which its keys carry.
    pub(super) run: String,
    /// Version of each key's value at the backend. A key is one client's alone: whatever it finds that is not this, is old.
    backend: Vec<AtomicU64>,
    began: Instant,
    pub(super) anchor: Timestamp,
    pub(super) connect: Duration,
    pub(super) deadline: Duration,
}

impl Pool {
    pub(super) fn new(
        servers: Vec<(String, u16)>,
        run: &str,
        connect: Duration,
        deadline: Duration,
    ) -> Self {
        let seat = Seat {
            on: true,
            ..Seat::default()
        };
        Self {
            ring: Ring::of(&servers),
            seats: Mutex::new(vec![seat; servers.len()]),
            tally: Mutex::default(),
            run: run.to_owned(),
            backend: (0..KEYS).map(|_| AtomicU64::new(1)).collect(),
            began: Instant::now(),
            anchor: Timestamp::now(),
            connect,
            deadline,
            servers,
        }
    }

    pub(super) fn key(&self, number: usize) -> String {
        format!("ferriswheel:{}:{number}", self.run)
    }

    /// The key's value at the backend: loading it takes no time here, and is counted.
    pub(super) fn value(&self, number: usize) -> String {
        let version = self
            .backend
            .get(number)
            .map_or(0, |version| version.load(Ordering::Relaxed));
        format!("{number}={version}")
    }

    /// The key changes at the backend.
    pub(super) fn change(&self, number: usize) {
        if let Some(version) = self.backend.get(number) {
            version.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn tally<R>(&self, change: impl FnOnce(&mut Tally, Duration) -> R) -> R {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed();
        change(&mut tally, now)
    }

    pub(super) fn seats(&self) -> Vec<Seat> {
        self.with_seats(|seats| seats.to_vec())
    }

    fn with_seats<R>(&self, change: impl FnOnce(&mut [Seat]) -> R) -> R {
        change(&mut self.seats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server of a key among those on the ring, with its generation.
    pub(super) fn server_of(&self, key: &str) -> Option<(usize, u64)> {
        self.with_seats(|seats| {
            let there = |server: usize| seats.get(server).is_some_and(|seat| seat.on);
            let server = self.ring.server_of(key, there)?;
            Some((server, seats.get(server)?.generation))
        })
    }

    /// It hung up or did not answer, in this generation.
    pub(super) fn leaves(&self, server: usize, generation: u64) {
        self.with_seats(|seats| {
            if let Some(seat) = seats.get_mut(server)
                && seat.on
                && seat.generation == generation
            {
                seat.on = false;
                seat.left += 1;
                tracing::info!(server = self.servers[server].0, "left the ring");
            }
        });
    }

    fn returns(&self, server: usize) {
        self.with_seats(|seats| {
            if let Some(seat) = seats.get_mut(server) {
                seat.on = true;
                seat.generation += 1;
                tracing::info!(server = self.servers[server].0, "is on the ring again");
            }
        });
    }

    /// Share of the keys that each server has when all are there, in percent.
    pub(super) fn shares(&self) -> Vec<f64> {
        let mut counts = vec![0_u64; self.servers.len()];
        for number in 0..KEYS {
            let home = self.ring.server_of(&self.key(number), |_| true);
            if let Some(count) = home.and_then(|home| counts.get_mut(home)) {
                *count += 1;
            }
        }
        let all = KEYS as u64;
        counts
            .into_iter()
            .map(|count| super::tally::percent(count, all))
            .collect()
    }

    /// Looks for servers that left, for as long as the run lasts.
    pub(super) async fn look_for_the_missing(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_FOR).await;
            let missing: Vec<usize> = self
                .seats()
                .iter()
                .enumerate()
                .filter(|(_, seat)| !seat.on)
                .map(|(server, _)| server)
                .collect();
            for server in missing {
                if self.answers(server).await {
                    self.returns(server);
                }
            }
        }
    }

    async fn answers(&self, server: usize) -> bool {
        let Some((host, port)) = self.servers.get(server) else {
            return false;
        };
        match Wire::connect(host, *port, self.connect, self.deadline).await {
            Ok(mut wire) => wire.version().await.is_ok(),
            Err(_) => false,
        }
    }
}
