//! What the runtime is asked to run. These types are also the files handed from one stage to the next.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A pod's shared namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodSpec {
    /// Name used for the link and the files; unique on the node.
    pub id: String,
    /// Host name inside the pod.
    pub hostname: String,
    /// The pod's network, or none for the node's own.
    pub network: Option<PodNetwork>,
}

/// The pod's end of its link.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PodNetwork {
    /// The pod's address; a host address, so that neighbours are reached through the node and Services see each packet.
    pub address: Ipv4Addr,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
}

/// One container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique id, 64 hexadecimal digits as other runtimes use.
    pub id: String,
    /// Directories and files placed into the root, outermost target first.
    pub mounts: Vec<Mount>,
    /// Host directories that the container must see empty.
    pub hidden: Vec<PathBuf>,
    /// Directories made in the container's own layer before the program runs.
    pub directories: Vec<Directory>,
    /// Files put into the container's own layer.
    pub files: Vec<SpecFile>,
    /// The root refuses writes outside mounts.
    pub read_only_root: bool,
    /// The program.
    pub process: Process,
    /// Keep standard input open for attach.
    pub stdin: bool,
    /// Where standard output and error are kept, in the CRI's format.
    pub log_path: PathBuf,
    /// Where in the container a last message may be left, and the file behind it.
    pub termination_message_path: PathBuf,
}

/// A program with everything that decides how it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, created when missing.
    pub cwd: PathBuf,
    /// Who it runs as.
    pub user: User,
    /// Standard streams are a terminal.
    pub tty: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
}

/// Who a program runs as; names are looked up in the container's own files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct User {
    /// The image's `user[:group]`, each a name or a number; empty is root.
    pub image: Option<String>,
    /// Overrides the image's user.
    pub uid: Option<u32>,
    /// Overrides the image's group.
    pub gid: Option<u32>,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// A directory or file of the node, seen in the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Path on the node.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Refuse writes.
    pub read_only: bool,
}

/// A directory of the image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Directory {
    /// Path in the container.
    pub path: PathBuf,
    /// `user[:group]`, names or numbers.
    pub owner: String,
    /// Permission bits.
    pub mode: u32,
}

/// A file of the image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpecFile {
    /// Path in the container.
    pub path: PathBuf,
    /// Permission bits; the owner is root.
    pub mode: u32,
    /// Contents.
    pub contents: Vec<u8>,
}

/// What the shim is told beside the container itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The pause process whose namespaces are joined.
    pub pause: i32,
    /// Directory with the layer (`upper`, `work`, `root`), `events` and `exit.json`.
    pub directory: PathBuf,
    /// The container.
    pub container: ContainerSpec,
}

/// A program to run beside a container's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Join {
    /// The container's PID 1, as the node sees it.
    pub pid: i32,
    /// The program.
    pub process: Process,
}

/// How the container's PID 1 ended, as the shim saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExitFile {
    /// Exit status, or 128 and the signal's number.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}
