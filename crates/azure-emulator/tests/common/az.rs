//! The real az CLI with a configuration directory of its own.
//!
//! `az` is taken from `FERRISWHEEL_AZ`, or from the cache where `scripts/install-az.sh` puts it; it is installed if it is
//! missing, and the test fails, naming the command, if that does not work.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

/// One az command. Starting its interpreter takes a second or two on an idle machine; the rest is room for a busy one.
const COMMAND: Duration = Duration::from_secs(180);

pub struct Az {
    program: PathBuf,
    config_dir: PathBuf,
    ca_file: PathBuf,
}

impl Az {
    /// The az CLI, trusting one authority, with its files below `dir`.
    pub async fn new(dir: &Path, ca_file: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            program: program().await?,
            config_dir: dir.join("azure-cli"),
            ca_file: ca_file.to_owned(),
        })
    }

    async fn raw(&self, line: &str) -> anyhow::Result<std::process::Output> {
        let words = line.split_whitespace();
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .args(["--output", "json", "--only-show-errors"])
            .env("AZURE_CONFIG_DIR", &self.config_dir)
            .env("REQUESTS_CA_BUNDLE", &self.ca_file)
            .env("AZURE_CORE_COLLECT_TELEMETRY", "false")
            .env("AZURE_CORE_INSTANCE_DISCOVERY", "false")
            .env("AZURE_CORE_CHECK_FOR_UPDATES", "false")
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND, command.output()).await;
        output
            .with_context(|| format!("az {line}: no answer within {COMMAND:?}"))?
            .context("failed to start az")
    }

    /// Runs a command that must succeed and gives its JSON.
    pub async fn ok(&self, line: &str) -> anyhow::Result<Value> {
        let output = self.raw(line).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "az {line}: {}\n{stderr}",
            output.status
        );
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("az {line}: not JSON"))
    }

    /// Runs a command that must be refused and gives what it says.
    #[allow(dead_code, reason = "not every test has something refused")]
    pub async fn refused(&self, line: &str) -> anyhow::Result<String> {
        let output = self.raw(line).await?;
        ensure!(!output.status.success(), "az {line}: succeeded");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Finds az or installs it.
async fn program() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("FERRISWHEEL_AZ") {
        let path = PathBuf::from(given);
        ensure!(
            path.is_file(),
            "FERRISWHEEL_AZ={} is no file",
            path.display()
        );
        return Ok(path);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/install-az.sh");
    let output = Command::new("sh")
        .arg(&script)
        .stderr(Stdio::inherit())
        .output()
        .await?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !output.status.success() || !path.is_file() {
        bail!("the Azure CLI is missing and could not be installed; run: sh scripts/install-az.sh");
    }
    Ok(path)
}
