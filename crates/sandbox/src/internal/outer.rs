//! The first stage: binds the sandbox's two ports on the host, opens the outer namespaces and starts their PID 1.
//!
//! The listening sockets stay in the host's network namespace while everything that serves them lives inside: they
//! travel to the daemon as its standard input and output, which is the one way to inherit a descriptor without
//! `unsafe`. So no process of the sandbox remains outside.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use super::{RoleResult, SUBCOMMAND};
use crate::liveness::ProcessId;

/// Written by `sandbox up`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OuterConfig {
    /// The program that plays the roles.
    pub(crate) binary: PathBuf,
    /// Configuration of the PID 1 to start.
    pub(crate) init: PathBuf,
    /// Where the identity of that PID 1 and the two ports are written.
    pub(crate) report: PathBuf,
    /// Log of PID 1 and the daemon.
    pub(crate) log: PathBuf,
    /// Name of the sandbox; visible in the process table.
    pub(crate) name: String,
}

/// What the first stage did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct OuterReport {
    /// PID 1 of the sandbox as the host sees it.
    pub(crate) init: ProcessId,
    /// Port of the Kubernetes API on 127.0.0.1.
    pub(crate) api_port: u16,
    /// Port of Azure Resource Manager on 127.0.0.1.
    pub(crate) arm_port: u16,
}

pub(super) fn run(file: &Path) -> RoleResult<()> {
    let config: OuterConfig = serde_json::from_slice(&std::fs::read(file)?)?;
    nix::unistd::setsid()?;
    let api = TcpListener::bind(("127.0.0.1", 0))?;
    let arm = TcpListener::bind(("127.0.0.1", 0))?;
    let api_port = api.local_addr()?.port();
    let arm_port = arm.local_addr()?.port();
    let log = File::options()
        .create(true)
        .append(true)
        .open(&config.log)?;
    unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )?;
    // A clean environment: a proxy variable of the user's shell would lead every client inside astray.
    let mut child = Command::new(&config.binary)
        .args([SUBCOMMAND, "init"])
        .arg(&config.init)
        .env_clear()
        .envs(clean_environment())
        .env("FERRISWHEEL_SANDBOX", &config.name)
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(api)))
        .stdout(Stdio::from(OwnedFd::from(arm)))
        .stderr(Stdio::from(log))
        .spawn()?;
    let reported = report(&config.report, child.id(), api_port, arm_port);
    if reported.is_err() {
        // Nobody would know of it.
        child.kill()?;
    }
    reported
}

fn report(path: &Path, child: u32, api_port: u16, arm_port: u16) -> RoleResult<()> {
    let init = ProcessId::of(child).ok_or("the sandbox's PID 1 ended at once")?;
    let report = OuterReport {
        init,
        api_port,
        arm_port,
    };
    crate::state::write_json(path, &report)?;
    Ok(())
}

/// Variables that every process of a sandbox starts with.
fn clean_environment() -> Vec<(&'static str, String)> {
    let mut environment = vec![
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
        ("HOME", crate::state::home().display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
    ];
    for passed in [
        "FERRISWHEEL_CACHE",
        "FERRISWHEEL_LOG",
        "KUBEBUILDER_ASSETS",
        "RUST_BACKTRACE",
    ] {
        if let Ok(value) = std::env::var(passed) {
            environment.push((passed, value));
        }
    }
    environment
}
