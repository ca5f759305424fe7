//! The machines of the cluster: each a process tree in namespaces of its own.
//!
//! A machine is a seat on the network, a directory (its local disk) and, while it is powered on, a PID 1 whose end is
//! the end of everything in it. Faults act on machines: a crash is SIGKILL to that PID 1, a freeze is SIGSTOP to the
//! whole tree, a partition is its link down.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_azure_emulator::{Machine, MachineError, MachineSpec, Machines};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, oneshot, watch};
use uuid::Uuid;

use super::control_plane::{self, Keys};
use crate::binaries::Binaries;
use crate::internal::{InitConfig, ProgramConfig, SUBCOMMAND};
use crate::kubelet::config::{Capacity, NodeConfig, ServerIdentity, Taint};
use crate::liveness::{descendants, read_stat};
use crate::network::{self, API_SERVER, DNS_SERVICE, DOMAIN, MAX_MACHINES, POD_CIDR, Seat};
use crate::state::{StateDir, write, write_json};

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

struct Running {
    pid: u32,
    ended: watch::Receiver<bool>,
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
    state: StateDir,
    binary: PathBuf,
    binaries: Binaries,
    keys: Arc<Keys>,
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
    pub(crate) fn new(
        state: StateDir,
        binary: PathBuf,
        binaries: Binaries,
        keys: Arc<Keys>,
        kubernetes_version: String,
    ) -> Self {
        Self {
            state,
            binary,
            binaries,
            keys,
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
        let started = self.power_on(&spec, seat, &machine_id).await;
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
        let directory = self.state.nodes().join(name);
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
        self.gone.notify_waiters();
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
        tree.running = Some(self.power_on(&spec, seat, &machine_id).await?);
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

    async fn power_on(
        &self,
        spec: &MachineSpec,
        seat: Seat,
        machine_id: &str,
    ) -> Result<Running, Error> {
        let init = self.write_files(spec, seat, machine_id)?;
        let (told, tell) = oneshot::channel();
        let (ended, watch_end) = watch::channel(false);
        let binary = self.binary.clone();
        let log = self.state.logs().join(format!("{}.log", spec.node_name));
        let name = spec.node_name.clone();
        // A thread of its own: namespaces belong to threads, and this one is never used for anything else.
        std::thread::Builder::new()
            .name("machine".to_owned())
            .spawn(move || match enter_and_start(&binary, &init, &log, seat) {
                Ok(mut child) => {
                    let _ = told.send(Ok(child.id()));
                    let status = child.wait();
                    tracing::info!(name, ?status, "machine ended");
                    ended.send_replace(true);
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            })?;
        let pid = tell
            .await
            .map_err(|_| Error::Thread(spec.node_name.clone()))??;
        network::plug_in(seat)?;
        Ok(Running {
            pid,
            ended: watch_end,
        })
    }

    /// Writes what the machine boots from; gives the configuration of its PID 1.
    fn write_files(
        &self,
        spec: &MachineSpec,
        seat: Seat,
        machine_id: &str,
    ) -> Result<PathBuf, Error> {
        let name = &spec.node_name;
        let directory = self.state.nodes().join(name);
        let address = IpAddr::V4(seat.address());
        let server =
            self.keys
                .authority
                .server(&format!("system:node:{name}"), &[name], &[address])?;
        let kubeconfig = directory.join("kubeconfig");
        let identity = ServerIdentity {
            cert: directory.join("server.crt"),
            key: directory.join("server.key"),
            client_ca: self.keys.ca_file(),
        };
        write(&identity.cert, server.cert.as_bytes(), false)?;
        write(&identity.key, server.key.as_bytes(), true)?;
        let user = format!("system:node:{name}");
        let text = self
            .keys
            .kubeconfig(API_SERVER, &user, Some("system:nodes"))?;
        write(&kubeconfig, text.as_bytes(), true)?;
        let root_dir = directory.join("disk");
        std::fs::create_dir_all(&root_dir)?;
        let mut labels = spec.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        let config = NodeConfig {
            node_name: name.clone(),
            pool: spec.pool.clone(),
            mode: spec.mode.label().to_owned(),
            zone: spec
                .zone
                .as_ref()
                .map(|zone| format!("{}-{zone}", spec.region)),
            region: spec.region.clone(),
            instance_type: spec.vm_size.clone(),
            provider_id: spec.provider_id.clone(),
            kubelet_version: format!("v{}", spec.kubernetes_version),
            node_image_version: spec.node_image_version.clone(),
            labels,
            taints: spec
                .taints
                .iter()
                .map(|taint| Taint {
                    key: taint.key.clone(),
                    value: taint.value.clone(),
                    effect: taint.effect.clone(),
                })
                .collect(),
            node_ip: seat.address(),
            pod_cidr: seat.pod_cidr(),
            cluster_dns: DNS_SERVICE,
            cluster_domain: DOMAIN.to_owned(),
            kubeconfig,
            root_dir,
            disks_dir: self.state.disks(),
            capacity: Capacity {
                cpu: spec.cpus,
                memory_bytes: spec.memory_mib * 1024 * 1024,
                pods: spec.max_pods,
            },
            server: identity,
            ferriswheel_binary: self.binary.clone(),
            boot_id: Uuid::new_v4().to_string(),
            machine_id: machine_id.to_owned(),
        };
        let config_file = directory.join("node.json");
        write_json(&config_file, &config)?;
        let init = InitConfig {
            hostname: name.clone(),
            programs: vec![
                ProgramConfig {
                    argv: vec![
                        self.binary.display().to_string(),
                        SUBCOMMAND.to_owned(),
                        "node-agent".to_owned(),
                        config_file.display().to_string(),
                    ],
                    log: Some(self.state.logs().join(format!("{name}-agent.log"))),
                    restart: true,
                },
                ProgramConfig {
                    argv: self.proxy_argv(name),
                    log: Some(self.state.logs().join(format!("{name}-kube-proxy.log"))),
                    restart: true,
                },
            ],
        };
        let file = directory.join("init.json");
        write_json(&file, &init)?;
        Ok(file)
    }

    /// kube-proxy as it runs in a network namespace: the conntrack settings are the host's and not writable there.
    fn proxy_argv(&self, node: &str) -> Vec<String> {
        let kubeconfig = self.keys.kubeconfig_file("proxy");
        let mut argv = vec![self.binaries.proxy.display().to_string()];
        argv.extend(
            [
                "--proxy-mode=nftables",
                "--conntrack-max-per-core=0",
                "--conntrack-min=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
                "--metrics-bind-address=127.0.0.1:10249",
                "--healthz-bind-address=127.0.0.1:10256",
            ]
            .map(str::to_owned),
        );
        argv.push(format!("--cluster-cidr={POD_CIDR}"));
        argv.push(format!("--hostname-override={node}"));
        argv.push(format!("--kubeconfig={}", kubeconfig.display()));
        argv
    }
}

/// Opens a machine's namespaces on this thread and starts its PID 1.
fn enter_and_start(
    binary: &std::path::Path,
    init: &std::path::Path,
    log: &std::path::Path,
    seat: Seat,
) -> Result<std::process::Child, Error> {
    // The network first: what sets it up is still a process of the outer namespaces, and not the new PID 1.
    unshare(CloneFlags::CLONE_NEWNET)?;
    network::set_up_node(seat, std::process::id())?;
    unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )?;
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)?;
    Ok(Command::new(binary)
        .args([SUBCOMMAND, "init"])
        .arg(init)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .spawn()?)
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
fn send(pid: u32, signal: Signal) {
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
