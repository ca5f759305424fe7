//! What the machine must have before anything is started.

use std::path::Path;

use crate::binaries::{self, Binaries, Missing};

/// The machine lacks something; the text names the command to run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not root.
    #[error("open namespaces: this needs root; run `sudo {command}`")]
    NotRoot {
        /// The same command.
        command: String,
    },
    /// A program of the system is missing.
    #[error("find {program}: run `apt-get install -y {package}`")]
    Package {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A part of the kernel is missing.
    #[error("find {what} in this kernel: {path} is missing")]
    Kernel {
        /// The part.
        what: &'static str,
        /// Where it would show.
        path: &'static str,
    },
    /// Programs of the control plane are missing.
    #[error(transparent)]
    Binaries(#[from] Missing),
}

/// Programs of the system by package.
const PACKAGES: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];

const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Refuses to start what cannot work.
pub(super) fn check() -> Result<Binaries, Refusal> {
    require_root()?;
    for (program, package) in PACKAGES {
        let found = DIRECTORIES
            .iter()
            .any(|directory| Path::new(directory).join(program).exists());
        if !found {
            return Err(Refusal::Package { program, package });
        }
    }
    for (what, path) in [
        ("network namespaces", "/proc/self/ns/net"),
        ("process namespaces", "/proc/self/ns/pid"),
    ] {
        if !Path::new(path).exists() {
            return Err(Refusal::Kernel { what, path });
        }
    }
    Ok(binaries::find()?)
}

/// Namespaces, mounts and links are root's.
pub(super) fn require_root() -> Result<(), Refusal> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Err(Refusal::NotRoot { command })
}
