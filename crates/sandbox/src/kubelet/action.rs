//! What probes and lifecycle hooks do: run a program, ask over HTTP, open a connection, or wait.

use crate::runtime::spec::Process;
use crate::runtime::{Container as Runtime, collect};
use k8s_openapi::api::core::v1::{
    Container, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// 10 KiB: `maxRespBodyLength` and the exec probe's limit of what is kept of an answer.
const KEPT: usize = 10 * 1024;

/// Where a container is reached.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub pod_ip: Ipv4Addr,
    pub ports: BTreeMap<String, u16>,
}

impl Target {
    /// The addresses of a container's named ports.
    pub(super) fn of(container: &Container, pod_ip: Ipv4Addr) -> Self {
        let port = |p: &k8s_openapi::api::core::v1::ContainerPort| {
            Some((p.name.clone()?, u16::try_from(p.container_port).ok()?))
        };
        Self {
            pod_ip,
            ports: container.ports.iter().flatten().filter_map(port).collect(),
        }
    }

    fn port(&self, port: &IntOrString) -> Option<u16> {
        match port {
            IntOrString::Int(n) => u16::try_from(*n).ok(),
            IntOrString::String(name) => {
                self.ports.get(name).copied().or_else(|| name.parse().ok())
            }
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Exec(Vec<String>),
    Http(HTTPGetAction),
    Tcp(TCPSocketAction),
    Sleep(Duration),
}

impl Action {
    pub(super) fn of_probe(probe: &Probe) -> Option<Self> {
        if let Some(exec) = &probe.exec {
            return Some(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        if let Some(http) = &probe.http_get {
            return Some(Self::Http(http.clone()));
        }
        probe.tcp_socket.clone().map(Self::Tcp)
    }

    pub(super) fn of_handler(handler: &LifecycleHandler) -> Option<Self> {
        if let Some(exec) = &handler.exec {
            return Some(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        if let Some(http) = &handler.http_get {
            return Some(Self::Http(http.clone()));
        }
        let sleep = handler
            .sleep
            .as_ref()
            .map(|s| Self::Sleep(Duration::from_secs(u64::try_from(s.seconds).unwrap_or(0))));
        sleep.or_else(|| handler.tcp_socket.clone().map(Self::Tcp))
    }

    /// Does it; the text says why it failed.
    pub(super) async fn run(
        &self,
        target: &Target,
        instance: &Runtime,
        timeout: Duration,
    ) -> Result<(), String> {
        match self {
            Self::Exec(argv) => {
                let process = Process {
                    argv: argv.clone(),
                    tty: false,
                    ..instance.spec.process.clone()
                };
                let output = collect(instance, process, timeout, KEPT)
                    .await
                    .map_err(|e| e.to_string())?;
                let text = String::from_utf8_lossy(&output.text).into_owned();
                match output.code {
                    Some(0) => Ok(()),
                    Some(_) => Err(text),
                    None => Err(format!(
                        "command timed out: {:?} timed out after {}s",
                        argv.join(" "),
                        timeout.as_secs()
                    )),
                }
            }
            Self::Http(http) => get(http, target, timeout).await,
            Self::Tcp(tcp) => {
                let port = target
                    .port(&tcp.port)
                    .ok_or_else(|| format!("couldn't find port: {:?}", tcp.port))?;
                let host = tcp
                    .host
                    .clone()
                    .filter(|h| !h.is_empty())
                    .unwrap_or_else(|| target.pod_ip.to_string());
                let connect = tokio::net::TcpStream::connect((host.as_str(), port));
                match tokio::time::timeout(timeout, connect).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(format!("dial tcp {host}:{port}: connect: {error}")),
                    Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
                }
            }
            Self::Sleep(duration) => {
                tokio::time::sleep((*duration).min(timeout)).await;
                Ok(())
            }
        }
    }
}

async fn get(http: &HTTPGetAction, target: &Target, timeout: Duration) -> Result<(), String> {
    let port = target
        .port(&http.port)
        .ok_or_else(|| format!("couldn't find port: {:?}", http.port))?;
    let host = http
        .host
        .clone()
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| target.pod_ip.to_string());
    let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = http.path.as_deref().unwrap_or("/");
    let url = format!("{scheme}://{host}:{port}/{}", path.trim_start_matches('/'));
    // A probe does not judge certificates, keeps no connection and follows no redirect: 3xx is good.
    let client = reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent("kube-probe/1.36")
        .build()
        .map_err(|e| e.to_string())?;
    let mut request = client.get(&url);
    for header in http.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let answer = request.send().await.map_err(|e| {
        let why = if e.is_timeout() {
            "context deadline exceeded".to_owned()
        } else {
            cause(&e)
        };
        format!("Get {url:?}: {why}")
    })?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!(
            "HTTP probe failed with statuscode: {}",
            status.as_u16()
        ))
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    deepest.to_string()
}
