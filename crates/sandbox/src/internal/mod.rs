//! The roles that this program plays inside a sandbox.
//!
//! Namespaces are entered by a process that executes itself again, so that no step needs a fork of a running
//! program: `<binary> sandbox-internal <role> <json file>`.

mod init;
mod outer;

use std::path::Path;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

pub(crate) use init::{InitConfig, ProgramConfig};
pub(crate) use outer::{OuterConfig, OuterReport};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "sandbox-internal";

/// Plays one role and ends with it.
///
/// # Assumptions
/// Called first thing in `main`, before any thread is started: some roles change the namespaces of the process.
#[must_use]
pub fn run_internal(role: &str, file: &Path) -> ExitCode {
    match role {
        "outer" => finish(role, outer::run(file)),
        "init" => match init::run(file) {
            Ok(code) => ExitCode::from(code),
            Err(error) => finish(role, Err(error)),
        },
        "daemon" => finish(role, with_runtime(crate::daemon::run(file))),
        "node-agent" => finish(role, with_runtime(node_agent(file))),
        other if let Some(index) = other.strip_prefix(init::PROGRAM) => {
            finish(role, init::run_program(index, file))
        }
        other => match crate::runtime::run_stage(other, file) {
            Some(Ok(code)) => ExitCode::from(code),
            Some(Err(error)) => finish(role, Err(error.into())),
            None => finish(role, Err(format!("unknown internal role '{other}'").into())),
        },
    }
}

type RoleResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn node_agent(file: &Path) -> RoleResult<()> {
    let config = crate::kubelet::NodeConfig::read(file)?;
    crate::kubelet::run(config, std::future::pending()).await?;
    Ok(())
}

/// Runs an asynchronous role. Two workers: the work is waiting, and the machine belongs to the databases.
fn with_runtime(role: impl Future<Output = RoleResult<()>>) -> RoleResult<()> {
    // A provider that is installed already is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("FERRISWHEEL_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(role)
}

/// Reports how a role ended. Standard error is the role's log file.
fn finish(role: &str, result: RoleResult<()>) -> ExitCode {
    use std::io::Write;
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "{role}: {}",
                crate::error_chain(error.as_ref())
            );
            ExitCode::FAILURE
        }
    }
}
