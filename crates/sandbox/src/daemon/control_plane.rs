//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their keys, their flags, their start.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::components::Components;
use crate::binaries::Binaries;
use crate::certificates::{self, Authority, Pair};
use crate::network::{API_SERVER, DOMAIN, GATEWAY, KUBERNETES_SERVICE, POD_CIDR, SERVICE_CIDR};
use crate::state::{StateDir, write};

/// The controllers that a cluster of this kind needs. Without nodeipam, route and cloud controllers (a machine brings
/// its pod range), attach-detach (the disk controller's) and what nobody here creates objects for: each one less is
/// less to do for an idle control plane.
const CONTROLLERS: &str = "serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller,\
namespace-controller,garbage-collector-controller,pod-garbage-collector-controller,node-lifecycle-controller,\
taint-eviction-controller,deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,\
job-controller,cronjob-controller,disruption-controller,endpointslice-controller,endpoints-controller,\
endpointslice-mirroring-controller,resourcequota-controller,horizontal-pod-autoscaler-controller,\
persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller,\
ttl-after-finished-controller,clusterrole-aggregation-controller";

/// From the start of etcd to a ready API. Measured: 2.2 s idle, 5 s on a busy machine; a minute is a machine that
/// compiles something large next to it.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// How often readiness is looked at while the API server starts.
const READY_POLL: Duration = Duration::from_millis(50);

/// The control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be written.
    #[error("write the keys of the control plane")]
    Io(#[from] io::Error),
    /// A certificate could not be made.
    #[error("make the keys of the control plane")]
    Certificate(#[from] certificates::Error),
    /// Our own kubeconfig was refused.
    #[error("read the administrator's kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client could be made.
    #[error("make a client for the API server")]
    Client(#[source] kube::Error),
    /// The API did not become ready.
    #[error("see a ready API within {} s (logs in {logs})", READY_DEADLINE.as_secs())]
    NotReady {
        /// Where the logs are.
        logs: PathBuf,
        /// The last answer.
        #[source]
        source: Box<kube::Error>,
    },
}

/// The authority of the cluster and what was issued at the start.
pub(crate) struct Keys {
    pub(crate) authority: Authority,
    pki: PathBuf,
}

impl Keys {
    /// Makes every key and writes them below `pki`.
    pub(crate) fn make(state: &StateDir) -> Result<Self, Error> {
        let pki = state.pki();
        let authority = Authority::new("ferriswheel-sandbox-ca")?;
        write(
            &pki.join("ca.crt"),
            authority.certificate().as_bytes(),
            false,
        )?;
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            &format!("kubernetes.default.svc.{DOMAIN}"),
            "localhost",
        ];
        let addresses = [KUBERNETES_SERVICE, Ipv4Addr::LOCALHOST, GATEWAY].map(IpAddr::V4);
        let keys = Self { authority, pki };
        keys.store(
            "apiserver",
            &keys
                .authority
                .server("kube-apiserver", &names, &addresses)?,
        )?;
        keys.store(
            "apiserver-kubelet-client",
            &keys
                .authority
                .client("kube-apiserver-kubelet-client", Some("system:masters"))?,
        )?;
        let (private, public) = certificates::signing_keys()?;
        write(&keys.pki.join("sa.key"), private.as_bytes(), true)?;
        write(&keys.pki.join("sa.pub"), public.as_bytes(), false)?;
        for (file, user, group) in [
            ("admin", "ferriswheel-admin", Some("system:masters")),
            ("controller-manager", "system:kube-controller-manager", None),
            ("scheduler", "system:kube-scheduler", None),
            ("proxy", "system:kube-proxy", None),
        ] {
            let text = keys.kubeconfig(API_SERVER, user, group)?;
            write(&keys.kubeconfig_file(file), text.as_bytes(), true)?;
        }
        Ok(keys)
    }

    /// A kubeconfig with a client certificate of its own.
    pub(crate) fn kubeconfig(
        &self,
        server: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<String, Error> {
        let pair = self.authority.client(user, group)?;
        let ca = STANDARD.encode(self.authority.certificate());
        let cert = STANDARD.encode(&pair.cert);
        let key = STANDARD.encode(&pair.key);
        Ok(format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: sandbox\n  \
               cluster:\n    \
                 server: {server}\n    \
                 certificate-authority-data: {ca}\n\
             users:\n\
             - name: sandbox\n  \
               user:\n    \
                 client-certificate-data: {cert}\n    \
                 client-key-data: {key}\n\
             contexts:\n\
             - name: sandbox\n  \
               context:\n    \
                 cluster: sandbox\n    \
                 user: sandbox\n\
             current-context: sandbox\n"
        ))
    }

    /// A kubeconfig that was written at the start.
    pub(crate) fn kubeconfig_file(&self, name: &str) -> PathBuf {
        self.pki.join(format!("{name}.kubeconfig"))
    }

    /// The authority's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.pki.join("ca.crt")
    }

    fn store(&self, name: &str, pair: &Pair) -> io::Result<()> {
        write(
            &self.pki.join(format!("{name}.crt")),
            pair.cert.as_bytes(),
            false,
        )?;
        write(
            &self.pki.join(format!("{name}.key")),
            pair.key.as_bytes(),
            true,
        )
    }
}

/// Starts the four programs, all at once: each waits for what it needs.
pub(crate) fn start(
    components: &mut Components,
    binaries: &Binaries,
    keys: &Keys,
    state: &StateDir,
) {
    let file = |name: &str| keys.pki.join(name).display().to_string();
    let etcd = state.root().join("etcd").display().to_string();
    components.start(
        "etcd",
        &binaries.etcd,
        flags(&[
            ("name", "sandbox"),
            ("data-dir", &etcd),
            ("listen-client-urls", "http://127.0.0.1:2379"),
            ("advertise-client-urls", "http://127.0.0.1:2379"),
            ("listen-peer-urls", "http://127.0.0.1:2380"),
            ("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
            ("initial-cluster", "sandbox=http://127.0.0.1:2380"),
            // The cluster's records need not outlive a power failure of this machine; the databases' do.
            ("unsafe-no-fsync", "true"),
            ("logger", "zap"),
            ("log-level", "warn"),
        ]),
    );
    let gateway = GATEWAY.to_string();
    components.start(
        "kube-apiserver",
        &binaries.apiserver,
        flags(&[
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("bind-address", "0.0.0.0"),
            ("secure-port", "6443"),
            ("advertise-address", &gateway),
            ("service-cluster-ip-range", SERVICE_CIDR),
            ("tls-cert-file", &file("apiserver.crt")),
            ("tls-private-key-file", &file("apiserver.key")),
            ("client-ca-file", &file("ca.crt")),
            ("kubelet-certificate-authority", &file("ca.crt")),
            (
                "kubelet-client-certificate",
                &file("apiserver-kubelet-client.crt"),
            ),
            ("kubelet-client-key", &file("apiserver-kubelet-client.key")),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-account-key-file", &file("sa.pub")),
            ("service-account-signing-key-file", &file("sa.key")),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            ("allow-privileged", "true"),
            // Long enough for a demo's story, short enough for etcd to stay small.
            ("event-ttl", "1h"),
            ("profiling", "false"),
        ]),
    );
    let kubeconfig = |name: &str| keys.kubeconfig_file(name).display().to_string();
    components.start(
        "kube-controller-manager",
        &binaries.controller_manager,
        flags(&[
            ("kubeconfig", &kubeconfig("controller-manager")),
            ("bind-address", "127.0.0.1"),
            ("leader-elect", "false"),
            ("use-service-account-credentials", "true"),
            ("root-ca-file", &file("ca.crt")),
            ("service-account-private-key-file", &file("sa.key")),
            ("cluster-cidr", POD_CIDR),
            ("controllers", CONTROLLERS),
            ("kube-api-qps", "500"),
            ("kube-api-burst", "500"),
            ("node-monitor-grace-period", "40s"),
            ("profiling", "false"),
        ]),
    );
    components.start(
        "kube-scheduler",
        &binaries.scheduler,
        flags(&[
            ("kubeconfig", &kubeconfig("scheduler")),
            ("bind-address", "127.0.0.1"),
            ("leader-elect", "false"),
            ("kube-api-qps", "500"),
            ("kube-api-burst", "500"),
            ("profiling", "false"),
        ]),
    );
}

fn flags(flags: &[(&str, &str)]) -> Vec<String> {
    flags
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

/// A client with the identity of a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client, Error> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let kubeconfig = Kubeconfig::from_yaml(&text)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // The client's own retries sit on a refused eviction (429) for minutes.
    config.default_retry = false;
    Client::try_from(config).map_err(Error::Client)
}

/// Returns once the API is ready.
pub(crate) async fn wait_ready(client: &Client, logs: &Path) -> Result<(), Error> {
    let until = tokio::time::Instant::now() + READY_DEADLINE;
    loop {
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .map_err(|source| Error::Client(kube::Error::HttpError(source)))?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(source) if tokio::time::Instant::now() >= until => {
                return Err(Error::NotReady {
                    logs: logs.to_owned(),
                    source: Box::new(source),
                });
            }
            Err(_) => tokio::time::sleep(READY_POLL).await,
        }
    }
}
