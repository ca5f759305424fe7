//! What a machine boots from, and its boot: its files, its namespaces, its PID 1.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ferriswheel_azure_emulator::MachineSpec;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::control_plane::Keys;
use super::machines::{Error, send};
use crate::binaries::Binaries;
use crate::internal::{InitConfig, ProgramConfig, SUBCOMMAND};
use crate::kubelet::config::{Capacity, NodeConfig, ServerIdentity, Taint};
use crate::network::{self, API_SERVER, DNS_SERVICE, DOMAIN, POD_CIDR, Seat};
use crate::state::{StateDir, write, write_json};

/// What all machines of a sandbox have in common.
pub(super) struct Maker {
    pub(super) state: StateDir,
    pub(super) binary: PathBuf,
    pub(super) binaries: Binaries,
    pub(super) keys: Arc<Keys>,
}

/// A machine that was powered on.
pub(super) struct Running {
    /// Its PID 1.
    pub(super) pid: u32,
    /// True once everything in it has ended.
    pub(super) ended: watch::Receiver<bool>,
}

impl Maker {
    /// Powers a machine on and plugs it in.
    pub(super) async fn power_on(
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
        if let Err(error) = network::plug_in(seat) {
            // Nobody would know of it.
            send(pid, Signal::SIGKILL);
            return Err(error.into());
        }
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
    binary: &Path,
    init: &Path,
    log: &Path,
    seat: Seat,
) -> Result<std::process::Child, Error> {
    // The network first: what sets it up is still a process of the outer namespaces, and not the new PID 1.
    unshare(CloneFlags::CLONE_NEWNET)?;
    network::set_up_node(seat, std::process::id())?;
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
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
