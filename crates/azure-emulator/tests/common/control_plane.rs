//! A real API server for tests: etcd and kube-apiserver, and nothing else.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Request;
use serde_json::json;
use tokio::process::{Child, Command};

/// etcd and kube-apiserver on free ports of 127.0.0.1.
pub struct ControlPlane {
    pub client: kube::Client,
    _etcd: Child,
    _apiserver: Child,
    _dir: tempfile::TempDir,
}

impl ControlPlane {
    pub async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let certificates = crate::common::Certificates::new(dir.path())?;
        let (etcd_port, peer_port, api_port) = (free_port()?, free_port()?, free_port()?);
        let (etcd_url, peer_url) = (
            format!("http://127.0.0.1:{etcd_port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        let etcd = Command::new(binary("etcd")?)
            .args([
                "--data-dir",
                &text(&dir.path().join("etcd")),
                "--unsafe-no-fsync",
                "--log-level",
                "error",
            ])
            .args([
                "--listen-client-urls",
                &etcd_url,
                "--advertise-client-urls",
                &etcd_url,
            ])
            .args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let tokens = dir.path().join("tokens.csv");
        std::fs::write(&tokens, "practice,admin,admin,system:masters\n")?;
        let log = std::fs::File::create(dir.path().join("apiserver.log"))?;
        let mut apiserver = Command::new(binary("kube-apiserver")?)
            .args([
                "--etcd-servers",
                &etcd_url,
                "--secure-port",
                &api_port.to_string(),
            ])
            .args([
                "--bind-address",
                "127.0.0.1",
                "--advertise-address",
                "127.0.0.1",
            ])
            .args([
                "--endpoint-reconciler-type",
                "none",
                "--service-cluster-ip-range",
                "10.0.0.0/16",
            ])
            .args(["--tls-cert-file", &text(&certificates.certificate_file)])
            .args(["--tls-private-key-file", &text(&certificates.key_file)])
            .args([
                "--service-account-key-file",
                &text(&certificates.public_key_file),
            ])
            .args([
                "--service-account-signing-key-file",
                &text(&certificates.key_file),
            ])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args([
                "--token-auth-file",
                &text(&tokens),
                "--authorization-mode",
                "RBAC",
            ])
            .args([
                "--disable-admission-plugins",
                "ServiceAccount,TaintNodesByCondition",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let kubeconfig: kube::config::Kubeconfig = serde_json::from_value(json!({
            "current-context": "practice",
            "clusters": [{"name": "practice", "cluster": {
                "server": format!("https://127.0.0.1:{api_port}"), "certificate-authority": certificates.ca_file,
            }}],
            "users": [{"name": "admin", "user": {"token": "practice"}}],
            "contexts": [{"name": "practice", "context": {"cluster": "practice", "user": "admin"}}],
        }))?;
        let mut config = kube::Config::from_custom_kubeconfig(
            kubeconfig,
            &kube::config::KubeConfigOptions::default(),
        )
        .await?;
        config.default_retry = false;
        let client = kube::Client::try_from(config)?;
        for _ in 0..300 {
            if client
                .request_text(Request::get("/readyz").body(Vec::new())?)
                .await
                .is_ok()
            {
                return Ok(Self {
                    client,
                    _etcd: etcd,
                    _apiserver: apiserver,
                    _dir: dir,
                });
            }
            if apiserver.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(dir.path().join("apiserver.log")).unwrap_or_default();
        anyhow::bail!("the API server does not become ready:\n{log}")
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Picked free; etcd and the API server bind it a moment later.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let root = std::env::var_os("KUBEBUILDER_ASSETS")
        .map(PathBuf::from)
        .or_else(|| {
            let cache = std::env::var_os("FERRISWHEEL_CACHE").map(PathBuf::from);
            let cache = cache.or_else(|| {
                Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/ferriswheel"))
            });
            Some(cache?.join("bin/1.36.3"))
        });
    let path = root.context("HOME is not set")?.join(name);
    ensure!(
        path.is_file(),
        "{} is missing; run: ferriswheel sandbox build",
        path.display()
    );
    Ok(path)
}
