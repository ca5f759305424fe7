//! The machines of the cluster: each a process tree in namespaces of its own.
//!
//! A machine is a seat on the network, a directory (its local disk) and, while it is powered on, a PID 1 whose end is
//! the end of everything in it. Faults act on machines: a crash is SIGKILL to that PID 1, a freeze is SIGSTOP to the
//! whole tree, a partition is its link down.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_azure_emulator::{Machine, MachineError, MachineSpec, Machines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use super::boot::{Maker, Running};
use super::control_plane;
use crate::liveness::{descendants, read_stat};
use crate::network::{self, MAX_MACHINES, Seat};

/// SIGKILL to a PID 1 ends a namespace of some dozens of processes in milliseconds, longer only while one of them
/// waits for a disk.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// Passes over a tree until no process of it runs. Each pass stops what the one before saw being born, so a handful
/// is enough unless something forks without end.
const FREEZE_PASSES: u32 = 50;

/// What can be done to a machine could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such machine.
    #[error("find machine {0}")]
    Unknown(String),
    /// A machine with this name exists.
    #[error("create machine {0}: it exists already")]
    Exists(String),
    /// Every seat is taken.
    #[error("find a free address: {MAX_MACHINES} machines exist")]
    Full,
    /// The machine is not in the state that this needs.
    #[error("machine {name} is {state:?}")]
    State {
        /// Its name.
        name: String,
        /// Its state.
        state: Power,
    },
    /// A file could not be written.
    #[error("write the files of a machine")]
    Io(#[from] io::Error),
    /// The network could not be set up.
    #[error("connect a machine")]
    Network(#[from] network::Error),
    /// Its keys could not be made.
    #[error("make the keys of a machine")]
    Keys(#[from] control_plane::Error),
    /// A certificate could not be made.
    #[error("make the certificate of a machine")]
    Certificate(#[from] crate::certificates::Error),
    /// Namespaces were refused.
    #[error("open the namespaces of a machine")]
    Namespaces(#[from] nix::Error),
    /// It did not end.
    #[error("see the end of machine {0}")]
    Alive(String),
    /// The thread that starts it ended without a word.
    #[error("start machine {0}")]
    Thread(String),
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Running.
    On,
    /// Crashed or switched off; its disk is still there.
    Off,
    /// Every process stopped where it stood.
    Frozen,
}

/// A machine as `status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Name of the node.
    pub name: String,
    /// Name of the node pool.
    pub pool: String,
    /// Zone, `1`.
    pub zone: Option<String>,
    /// Version of its kubelet.
    pub version: String,
    /// Address.
    pub address: String,
    /// Whether it runs.
    pub power: Power,
    /// Its link is down.
    pub partitioned: bool,
    /// Its PID 1 in the sandbox's process namespace.
    pub pid: Option<u32>,
}

struct Tree {
    spec: MachineSpec,
    seat: Seat,
    machine_id: String,
    running: Option<Running>,
    frozen: bool,
    partitioned: bool,
}

impl Tree {
    /// A machine that ended by itself is off, whatever was last asked of it.
    fn power(&self) -> Power {
        match &self.running {
            Some(running) if !*running.ended.borrow() => {
                if self.frozen {
                    Power::Frozen
                } else {
                    Power::On
                }
            }
            _ => Power::Off,
        }
    }
}

/// Starts and ends machines.
pub(crate) struct Yard {
    maker: Maker,
    kubernetes_version: String,
    trees: Mutex<Trees>,
    /// Told whenever a machine is gone for good: its disks are free then.
    pub(crate) gone: Notify,
}

#[derive(Default)]
struct Trees {
    by_name: BTreeMap<String, Tree>,
    last_seat: u8,
}

impl Trees {
    /// The next free seat. The one given up last is used last: old addresses linger in other machines' tables.
    fn seat(&mut self) -> Result<Seat, Error> {
        for _ in 0..MAX_MACHINES {
            self.last_seat = self.last_seat % MAX_MACHINES + 1;
            let seat = Seat(self.last_seat);
            if self.by_name.values().all(|tree| tree.seat != seat) {
                return Ok(seat);
            }
        }
        Err(Error::Full)
    }

    fn get(&mut self, name: &str) -> Result<&mut Tree, Error> {
        self.by_name
            .get_mut(name)
            .ok_or_else(|| Error::Unknown(name.to_owned()))
    }
}

impl Yard {
    pub(crate) fn new(maker: Maker, kubernetes_version: String) -> Self {
        Self {
            maker,
            kubernetes_version,
            trees: Mutex::default(),
            gone: Notify::new(),
        }
    }

    /// Names of all machines, on or off.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.trees.lock().await.by_name.keys().cloned().collect()
    }

    /// Every machine.
    pub(crate) async fn status(&self) -> Vec<MachineStatus> {
        let trees = self.trees.lock().await;
        trees
            .by_name
            .iter()
            .map(|(name, tree)| MachineStatus {
                name: name.clone(),
                pool: tree.spec.pool.clone(),
                zone: tree.spec.zone.clone(),
                version: tree.spec.kubernetes_version.clone(),
                address: tree.seat.address().to_string(),
                power: tree.power(),
                partitioned: tree.partitioned,
                pid: match tree.power() {
                    Power::Off => None,
                    _ => tree.running.as_ref().map(|running| running.pid),
                },
            })
            .collect()
    }

    /// Creates a machine and powers it on.
    async fn add(&self, spec: MachineSpec) -> Result<(), Error> {
        let name = spec.node_name.clone();
        // The seat is taken under the lock, the machine started outside it: the machines of a pool start together.
        let (seat, machine_id) = {
            let mut trees = self.trees.lock().await;
            if trees.by_name.contains_key(&name) {
                return Err(Error::Exists(name));
            }
            let seat = trees.seat()?;
            let machine_id = Uuid::new_v4().simple().to_string();
            let tree = Tree {
                spec: spec.clone(),
                seat,
                machine_id: machine_id.clone(),
                running: None,
                frozen: false,
                partitioned: false,
            };
            trees.by_name.insert(name.clone(), tree);
            (seat, machine_id)
        };
        let started = self.maker.power_on(&spec, seat, &machine_id).await;
        let mut trees = self.trees.lock().await;
        match started {
            Ok(running) => {
                if let Some(tree) = trees.by_name.get_mut(&name) {
                    tree.running = Some(running);
                }
                Ok(())
            }
            Err(error) => {
                trees.by_name.remove(&name);
                drop(trees);
                network::unplug(seat);
                Err(error)
            }
        }
    }

    /// Ends a machine and deletes its disk.
    async fn remove(&self, name: &str) -> Result<(), Error> {
        let mut trees = self.trees.lock().await;
        let Some(tree) = trees.by_name.get_mut(name) else {
            return Ok(());
        };
        end(name, tree).await?;
        let seat = tree.seat;
        let directory = self.maker.state.nodes().join(name);
        let cleaned = tokio::task::spawn_blocking(move || {
            network::unplug(seat);
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await;
        match cleaned {
            Ok(done) => done?,
            Err(_) => return Err(Error::Alive(name.to_owned())),
        }
        trees.by_name.remove(name);
        drop(trees);
        // A permit, not a wake-up: the disk controller may be in the middle of a pass.
        self.gone.notify_one();
        Ok(())
    }

    /// SIGKILL to everything on the machine; its disk and its attachments stay.
    pub(crate) async fn crash(&self, name: &str) -> Result<(), Error> {
        let mut trees = self.trees.lock().await;
        let tree = trees.get(name)?;
        end(name, tree).await?;
        network::unplug(tree.seat);
        Ok(())
    }

    /// Powers a machine on that is off: a new boot of the same machine, with its disk.
    pub(crate) async fn boot(&self, name: &str) -> Result<(), Error> {
        let mut trees = self.trees.lock().await;
        let tree = trees.get(name)?;
        if tree.power() != Power::Off {
            return Err(Error::State {
                name: name.to_owned(),
                state: tree.power(),
            });
        }
        let (spec, seat, machine_id) = (tree.spec.clone(), tree.seat, tree.machine_id.clone());
        network::unplug(seat);
        tree.running = Some(self.maker.power_on(&spec, seat, &machine_id).await?);
        tree.frozen = false;
        tree.partitioned = false;
        Ok(())
    }

    /// Stops every process of the machine where it stands.
    pub(crate) async fn freeze(&self, name: &str) -> Result<(), Error> {
        self.signal_tree(name, true).await
    }

    /// Lets a frozen machine go on.
    pub(crate) async fn thaw(&self, name: &str) -> Result<(), Error> {
        self.signal_tree(name, false).await
    }

    async fn signal_tree(&self, name: &str, freeze: bool) -> Result<(), Error> {
        let mut trees = self.trees.lock().await;
        let tree = trees.get(name)?;
        let wanted = if freeze { Power::On } else { Power::Frozen };
        let (Some(running), true) = (&tree.running, tree.power() == wanted) else {
            return Err(Error::State {
                name: name.to_owned(),
                state: tree.power(),
            });
        };
        let root = running.pid;
        let done = tokio::task::spawn_blocking(move || {
            if freeze {
                freeze_tree(root);
            } else {
                for pid in descendants(root) {
                    send(pid, Signal::SIGCONT);
                }
            }
        })
        .await;
        done.map_err(|_| Error::Thread(name.to_owned()))?;
        tree.frozen = freeze;
        Ok(())
    }

    /// Takes the machine's link down or up.
    pub(crate) async fn partition(&self, name: &str, down: bool) -> Result<(), Error> {
        let mut trees = self.trees.lock().await;
        let tree = trees.get(name)?;
        network::set_link(tree.seat, !down)?;
        if !down {
            // The kernel drops routes with the link they lead to.
            network::plug_in(tree.seat)?;
        }
        tree.partitioned = down;
        Ok(())
    }
}

/// Kills a machine's PID 1 and waits until the kernel has ended the rest.
async fn end(name: &str, tree: &mut Tree) -> Result<(), Error> {
    if let Some(running) = &mut tree.running {
        if !*running.ended.borrow() {
            send(running.pid, Signal::SIGKILL);
        }
        let ended = running.ended.wait_for(|ended| *ended);
        if tokio::time::timeout(END_DEADLINE, ended).await.is_err() {
            return Err(Error::Alive(name.to_owned()));
        }
    }
    tree.running = None;
    tree.frozen = false;
    Ok(())
}

fn freeze_tree(root: u32) {
    for _ in 0..FREEZE_PASSES {
        let running: Vec<u32> = descendants(root)
            .into_iter()
            .filter(|pid| {
                read_stat(*pid).is_some_and(|stat| !matches!(stat.state, 'T' | 't' | 'Z'))
            })
            .collect();
        if running.is_empty() {
            return;
        }
        for pid in running {
            send(pid, Signal::SIGSTOP);
        }
    }
}

/// A process that ended meanwhile needs no signal.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

#[async_trait]
impl Machines for Yard {
    async fn create(&self, machine: MachineSpec) -> Result<(), MachineError> {
        self.add(machine).await.map_err(|error| match error {
            Error::Full => MachineError::NoCapacity(error.to_string()),
            other => MachineError::Failed(crate::error_chain(&other)),
        })
    }

    async fn delete(&self, node_name: &str) -> Result<(), MachineError> {
        self.remove(node_name)
            .await
            .map_err(|error| MachineError::Failed(crate::error_chain(&error)))
    }

    async fn list(&self) -> Result<Vec<Machine>, MachineError> {
        let trees = self.trees.lock().await;
        Ok(trees
            .by_name
            .iter()
            .map(|(name, tree)| Machine {
                node_name: name.clone(),
                pool: tree.spec.pool.clone(),
                zone: tree.spec.zone.clone(),
                instance_id: tree.spec.instance_id,
                address: Some(tree.seat.address().to_string()),
            })
            .collect())
    }

    async fn upgrade_control_plane(&self, version: &str) -> Result<(), MachineError> {
        if version == self.kubernetes_version {
            return Ok(());
        }
        Err(MachineError::Failed(format!(
            "this sandbox runs a control plane of version {}; there are no programs of version {version}",
            self.kubernetes_version
        )))
    }
}
