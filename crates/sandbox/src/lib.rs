//! A practice AKS on this machine.
//!
//! A real control plane, node agents that run real servers, disks in zones and the Azure emulator over TLS. An honest
//! opponent: it knows nothing of plans, engines or actuators.
//!
//! # How it is built
//! A sandbox is one process tree whose root is PID 1 of its own process, mount, network, IPC and host name
//! namespaces: SIGKILL to that one process ends everything. Its two ports on the host are listening sockets that the
//! daemon inside inherited, so no process stands outside. A machine is the same again, one level down. Programs enter
//! namespaces by executing themselves: whoever offers this crate's commands passes
//! `sandbox-internal <role> <file>` to [`run_internal`] first thing in `main`.

pub mod binaries;
mod certificates;
pub mod command;
mod daemon;
pub mod host;
pub mod images;
mod internal;
pub mod kubelet;
mod liveness;
mod network;
pub mod pools;
mod program;
pub mod runtime;
pub mod state;

pub use daemon::{MachineStatus, Power, Running, Status};
pub use internal::{SUBCOMMAND, run_internal};
pub use liveness::ProcessId;

/// An error with all its causes, on one line.
#[must_use]
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
