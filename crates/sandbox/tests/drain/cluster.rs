//! The real cluster: a sandbox of this test's own, its API and its kubectl.

use std::path::PathBuf;
use std::process::Stdio;

use kube::{Client, Config};
use serde_json::Value;

use super::DEADLINE;

pub(super) struct Sandbox {
    state: tempfile::TempDir,
    kubectl: PathBuf,
}

impl Sandbox {
    pub(super) fn up() -> Self {
        let kubectl = match ferriswheel_sandbox::binaries::find() {
            Ok(binaries) => binaries.kubectl,
            Err(missing) => panic!("{missing}"),
        };
        let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let sandbox = Self { state, kubectl };
        let up = sandbox
            .sandbox("up")
            .args(["--pool", "name=syspool,mode=System,count=1,zones=1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&up.stderr);
        assert!(up.status.success(), "{said}");
        sandbox
    }

    fn sandbox(&self, verb: &str) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ferriswheel-sandbox"));
        command
            .env("FERRISWHEEL_STATE", self.state.path())
            .args([verb, "--name", "drain"]);
        command
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.path().join("sandboxes/drain/kubeconfig")
    }

    pub(super) async fn api(&self) -> Real {
        let file = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options)
            .await
            .unwrap();
        Real {
            client: Client::try_from(config).unwrap(),
            kubectl: self.kubectl.clone(),
            kubeconfig: self.kubeconfig(),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let down = self.sandbox("down").output().unwrap();
        if !down.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

/// The real cluster.
#[derive(Clone)]
pub(super) struct Real {
    pub(super) client: Client,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Real {
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> kube::Result<Value> {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(bytes)
            .unwrap();
        self.client.request::<Value>(request).await
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.call("GET", path, "application/json", &Value::Null)
            .await
            .unwrap()
    }

    pub(super) async fn create(&self, path: &str, body: Value) {
        self.call("POST", path, "application/json", &body)
            .await
            .unwrap();
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> kube::Result<Value> {
        self.call(
            "PATCH",
            path,
            "application/strategic-merge-patch+json",
            body,
        )
        .await
    }

    pub(super) async fn drain(&self, node: &str, patience: u64) -> (bool, String) {
        let timeout = format!("--timeout={patience}s");
        let mut command = tokio::process::Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args([
                "drain",
                node,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                "--force",
                &timeout,
            ])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output())
            .await
            .unwrap()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.success(), said.concat())
    }
}
