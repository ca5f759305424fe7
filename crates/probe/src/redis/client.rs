//! A client as applications have it: it knows which node serves which slot, follows redirections,
//! and asks for the slots anew when it was sent elsewhere.
//!
//! A redirection says that nothing was done, so the key may be sent to the other node. Any other
//! outcome ends the attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use redis::Value;

use super::keys;
use super::node::{Login, Node, Reply, text_of};
use super::seeds::Seeds;
use super::slots::{self, Layout, Served, slot_of};
use crate::accounting::ledger::{Outcome, Sequence};
use crate::system::{Client, Trouble, WriteKey};

/// Redirections that one attempt follows. 16, as other clients do: while roles change two nodes may
/// send a client to each other for some milliseconds.
const HOPS: usize = 16;

/// After this many redirections the client waits a little before it goes on: two nodes that do not
/// know yet what happened agree within some milliseconds.
const PATIENT_HOPS: usize = 3;
const BETWEEN_HOPS: std::time::Duration = std::time::Duration::from_millis(5);

type Address = (String, u16);

/// A client of the cluster.
pub(crate) struct ClusterClient {
    seeds: Arc<Seeds>,
    login: Login,
    layout: Option<Arc<Layout>>,
    served: Vec<Served>,
    nodes: BTreeMap<Address, Node>,
    /// Where the slots are to be asked for before the next command.
    stale: Option<Address>,
}

impl ClusterClient {
    /// Asks the first seed that answers for the slots.
    pub(crate) async fn open(
        seeds: Arc<Seeds>,
        login: Login,
        layout: Option<Arc<Layout>>,
    ) -> Result<Self, Trouble> {
        let mut client = Self {
            seeds,
            login,
            layout,
            served: Vec::new(),
            nodes: BTreeMap::new(),
            stale: None,
        };
        client.learn().await?;
        Ok(client)
    }

    /// The shards, when every slot has a leader.
    pub(crate) fn layout(&self) -> Result<Layout, Trouble> {
        let layout = Layout::of(&self.served);
        if layout.is_whole() {
            Ok(layout)
        } else {
            Err(Trouble {
                kind: "slots".to_owned(),
                detail: "some slots have no leader".to_owned(),
                outcome: Outcome::Refused,
                broken: false,
                hopeless: false,
            })
        }
    }

    /// Every node that the slots name, leaders first.
    pub(crate) fn members(&self) -> Vec<(Address, String)> {
        let leaders = self.served.iter().map(|range| &range.leader);
        let replicas = self.served.iter().flat_map(|range| &range.replicas);
        let mut members: Vec<(Address, String)> = Vec::new();
        for place in leaders.chain(replicas) {
            if !members.iter().any(|(_, id)| *id == place.id) {
                members.push(((place.host.clone(), place.port), place.id.clone()));
            }
        }
        members
    }

    /// Runs a command on the leader of a key.
    pub(crate) async fn run(&mut self, key: &str, words: &[&str]) -> Result<Value, Trouble> {
        if let Some(at) = self.stale.take() {
            // Of no use to whoever waits for this command: a failure shows with the next one.
            let _ = self.learn_from(&at).await;
        }
        let slot = slot_of(key);
        let mut at = match self.leader_of(slot) {
            Some(address) => address,
            None => {
                self.learn().await?;
                self.leader_of(slot).ok_or_else(|| Trouble {
                    kind: "slots".to_owned(),
                    detail: format!("slot {slot} has no leader"),
                    outcome: Outcome::Refused,
                    broken: false,
                    hopeless: false,
                })?
            }
        };
        let mut asking = false;
        for hop in 0..HOPS {
            if hop >= PATIENT_HOPS {
                tokio::time::sleep(BETWEEN_HOPS).await;
            }
            let reply = match self.call(&at, asking, words).await {
                Ok(reply) => reply,
                Err(trouble) => {
                    self.nodes.remove(&at);
                    if trouble.broken {
                        // Somebody else may know who serves these slots now. The client lives on.
                        let _ = self.learn().await;
                    }
                    return Err(Trouble {
                        broken: false,
                        ..trouble
                    });
                }
            };
            let to = match reply {
                Reply::Value(value) => return Ok(value),
                Reply::Moved(to) => {
                    asking = false;
                    to
                }
                Reply::Ask(to) => {
                    asking = true;
                    to
                }
            };
            let next = address(&to, &at).ok_or_else(|| Trouble {
                kind: "redirection".to_owned(),
                detail: format!("sent to {to:?}"),
                outcome: Outcome::Refused,
                broken: false,
                hopeless: false,
            })?;
            if !asking {
                self.moved(slot, &next);
                self.stale = Some(next.clone());
            }
            at = next;
        }
        Err(Trouble {
            kind: "redirections".to_owned(),
            detail: format!("{HOPS} redirections without an end"),
            outcome: Outcome::Refused,
            broken: false,
            hopeless: false,
        })
    }

    async fn call(&mut self, at: &Address, asking: bool, words: &[&str]) -> Result<Reply, Trouble> {
        let node = self.node(at).await?;
        if asking {
            node.call(&["ASKING"]).await.map_err(|trouble| Trouble {
                outcome: Outcome::Refused,
                ..trouble
            })?;
        }
        node.call(words).await
    }

    async fn node(&mut self, at: &Address) -> Result<&Node, Trouble> {
        if self.nodes.get(at).is_none_or(Node::is_closed) {
            self.nodes.remove(at);
            let node = Node::open(&at.0, at.1, &self.login).await?;
            self.nodes.insert(at.clone(), node);
        }
        self.nodes.get(at).ok_or_else(|| Trouble {
            kind: "connect".to_owned(),
            detail: "no connection".to_owned(),
            outcome: Outcome::Refused,
            broken: true,
            hopeless: false,
        })
    }

    fn leader_of(&self, slot: u16) -> Option<Address> {
        self.served
            .iter()
            .find(|range| (range.from..=range.to).contains(&slot))
            .map(|range| (range.leader.host.clone(), range.leader.port))
    }

    /// All slots of a leader have moved, as far as is known.
    fn moved(&mut self, slot: u16, to: &Address) {
        let Some(before) = self.leader_of(slot) else {
            return;
        };
        for range in &mut self.served {
            if (&range.leader.host, range.leader.port) == (&before.0, before.1) {
                range.leader.host.clone_from(&to.0);
                range.leader.port = to.1;
            }
        }
    }

    /// Asks whoever is known, the seeds first, for the slots.
    async fn learn(&mut self) -> Result<(), Trouble> {
        let known = self.members().into_iter().map(|(address, _)| address);
        let places: Vec<Address> = self.seeds.nodes.iter().cloned().chain(known).collect();
        let mut last = None;
        for at in places {
            match self.learn_from(&at).await {
                Ok(()) => return Ok(()),
                Err(trouble) => last = Some(trouble),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::deadline("connect", self.login.connect_deadline)))
    }

    async fn learn_from(&mut self, at: &Address) -> Result<(), Trouble> {
        let value = match self.node(at).await?.value(&["CLUSTER", "SLOTS"]).await {
            Ok(value) => value,
            Err(trouble) => {
                self.nodes.remove(at);
                return Err(trouble);
            }
        };
        let mut served = slots::parse(&value).unwrap_or_default();
        if served.is_empty() {
            return Err(Trouble {
                kind: "slots".to_owned(),
                detail: format!("{}:{} knows of no slots", at.0, at.1),
                outcome: Outcome::Refused,
                broken: false,
                hopeless: false,
            });
        }
        // A node that does not know its own address means the one that was asked.
        for range in &mut served {
            for place in std::iter::once(&mut range.leader).chain(&mut range.replicas) {
                if place.host.is_empty() {
                    place.host.clone_from(&at.0);
                }
            }
        }
        self.served = served;
        Ok(())
    }
}

/// `HOST:PORT`, with the host that was asked where none is named.
fn address(text: &str, asked: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() { &asked.0 } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

#[async_trait]
impl Client for ClusterClient {
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble> {
        let Some(layout) = self.layout.clone() else {
            return Err(no_layout());
        };
        let name = keys::of(key.run, key.writer, key.seq, &layout);
        let field = key.seq.to_string();
        self.run(&name, &["HINCRBY", &name, &field, "1"])
            .await
            .map(drop)
    }

    async fn highest(
        &mut self,
        run: &str,
        writer: usize,
        promised: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        let Some(layout) = self.layout.clone() else {
            return Err(no_layout());
        };
        let Some(promised) = promised else {
            return Ok(None);
        };
        let name = keys::of(run, writer, promised, &layout);
        let found = self
            .run(&name, &["HGET", &name, &promised.to_string()])
            .await?;
        Ok(text_of(&found).map(|_| promised))
    }

    fn is_closed(&self) -> bool {
        false
    }
}

fn no_layout() -> Trouble {
    Trouble {
        kind: "slots".to_owned(),
        detail: "the run was not prepared".to_owned(),
        outcome: Outcome::Refused,
        broken: false,
        hopeless: true,
    }
}
