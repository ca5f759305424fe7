//! A client as an application has it: it asks the cache, loads what it does not find, and changes keys now and then.

use std::sync::Arc;

use async_trait::async_trait;

use super::pool::{KEYS, Pool};
use super::tally::Found;
use super::wire::{Wire, Wrong};
use crate::accounting::ledger::{Outcome, Sequence};
use crate::system::{Client, Trouble, WriteKey};

/// Of so many requests one changes its key. A cache is read more than it is written.
const CHANGES: u64 = 8;

/// Seconds that a value stays. 1 h: what a run leaves behind goes by itself, and every key is set anew long before.
const STAYS: u32 = 3_600;

/// What is asked of the server of a key.
#[derive(Clone, Copy)]
enum Request<'a> {
    Get,
    Set(&'a str),
}

pub(super) struct CacheClient {
    pool: Arc<Pool>,
    writers: usize,
    /// By server, with its generation.
    wires: Vec<Option<(u64, Wire)>>,
}

impl CacheClient {
    pub(super) fn new(pool: Arc<Pool>, writers: usize) -> Self {
        let wires = pool.servers.iter().map(|_| None).collect();
        Self {
            pool,
            writers: writers.max(1),
            wires,
        }
    }

    /// Asks the server of a key. One that hangs up or does not answer leaves the ring, and the request goes to the server
    /// that has the key then: once, for all of them do what is asked any number of times.
    async fn on_ring(
        &mut self,
        key: &str,
        request: Request<'_>,
    ) -> Result<Option<String>, Trouble> {
        let mut sent = 0;
        let mut last = None;
        // Each turn takes a server off the ring, or ends.
        for _ in 0..=self.pool.servers.len() {
            let Some((server, generation)) = self.pool.server_of(key) else {
                break;
            };
            let mut wire = match self.wire(server, generation).await {
                Ok(wire) => wire,
                Err(wrong) => {
                    self.pool.leaves(server, generation);
                    last = Some(wrong);
                    continue;
                }
            };
            let answer = match request {
                Request::Get => wire.get(key).await,
                Request::Set(value) => wire.set(key, value, STAYS).await.map(|()| None),
            };
            match answer {
                Ok(answer) => {
                    self.wires[server] = Some((generation, wire));
                    return Ok(answer);
                }
                Err(Wrong::Refused(said)) => {
                    self.wires[server] = Some((generation, wire));
                    return Err(refused(&said));
                }
                Err(wrong) => {
                    self.pool.leaves(server, generation);
                    self.pool.tally(|tally, _| tally.failed_over += 1);
                    last = Some(wrong);
                    sent += 1;
                    if sent > 1 {
                        break;
                    }
                }
            }
        }
        Err(nobody(last))
    }

    /// A connection that stands, taken out until its request has been answered.
    async fn wire(&mut self, server: usize, generation: u64) -> Result<Wire, Wrong> {
        if let Some((of, wire)) = self.wires[server].take()
            && of == generation
        {
            if wire.is_closed() {
                return Err(Wrong::Broken(std::io::ErrorKind::ConnectionReset.into()));
            }
            return Ok(wire);
        }
        let (host, port) = &self.pool.servers[server];
        Wire::connect(host, *port, self.pool.connect, self.pool.deadline).await
    }

    async fn set(&mut self, number: usize) -> Result<(), Trouble> {
        let (key, value) = (self.pool.key(number), self.pool.value(number));
        self.on_ring(&key, Request::Set(&value)).await.map(drop)
    }

    /// Puts these keys into the cache.
    pub(super) async fn warm(
        &mut self,
        numbers: impl Iterator<Item = usize>,
    ) -> Result<(), Trouble> {
        for number in numbers {
            self.set(number).await?;
        }
        Ok(())
    }

    /// Asks for a key, and puts it into the cache if it is not there.
    async fn get(&mut self, number: usize) -> Result<(), Trouble> {
        let key = self.pool.key(number);
        let current = self.pool.value(number);
        let answer = self.on_ring(&key, Request::Get).await;
        let found = match &answer {
            Ok(Some(value)) if *value == current => Found::Current,
            Ok(Some(_)) => Found::Wrong,
            Ok(None) => Found::Nothing,
            Err(_) => Found::Unanswered,
        };
        self.pool.tally(|tally, now| {
            tally.asked(now, found);
            if let (Found::Wrong, Ok(Some(value))) = (found, &answer) {
                let told = || format!("{key} is {value:?} and was changed to {current:?}");
                tally.example.get_or_insert_with(told);
            }
        });
        match answer? {
            Some(_) if found == Found::Current => Ok(()),
            _ => self.set(number).await,
        }
    }
}

#[async_trait]
impl Client for CacheClient {
    /// One request of an application. The keys of a writer are its own, one after the other.
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble> {
        let own = KEYS / self.writers.max(1);
        let turn = key.seq;
        let at = usize::try_from(turn).unwrap_or(0) % own.max(1);
        let number = (at * self.writers + key.writer) % KEYS;
        self.get(number).await?;
        // Another key each time round: the number of keys is no multiple of what is skipped.
        let round = turn / u64::try_from(own.max(1)).unwrap_or(1);
        if (turn + round).is_multiple_of(CHANGES) {
            self.pool.change(number);
            self.set(number).await?;
        }
        Ok(())
    }

    async fn highest(
        &mut self,
        _: &str,
        _: usize,
        _: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        Err(Trouble {
            kind: "no readers".to_owned(),
            detail: "every client of a cache reads; there are no others".to_owned(),
            outcome: Outcome::Refused,
            broken: false,
            hopeless: true,
        })
    }

    fn is_closed(&self) -> bool {
        false
    }
}

fn refused(said: &str) -> Trouble {
    Trouble {
        kind: said.split(' ').next().unwrap_or_default().to_owned(),
        detail: said.to_owned(),
        outcome: Outcome::Refused,
        broken: false,
        hopeless: false,
    }
}

fn nobody(last: Option<Wrong>) -> Trouble {
    let detail = match last {
        Some(Wrong::Late) => "no server answered in time".to_owned(),
        Some(Wrong::Broken(error)) => format!("no server answered: {error}"),
        Some(Wrong::Refused(said)) => said,
        None => "no server is on the ring".to_owned(),
    };
    Trouble {
        kind: "no server".to_owned(),
        detail,
        outcome: Outcome::Refused,
        broken: false,
        hopeless: false,
    }
}
