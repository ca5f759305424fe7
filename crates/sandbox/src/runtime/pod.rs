//! A pod's namespaces and its link, from the node's side.

use super::spec::PodSpec;
use super::{Error, Runtime, stages};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// The node's bridge, which all its pods hang on.
pub const BRIDGE: &str = "cbr0";

/// 20 s: a pause process needs some 20 ms; a machine that needs a thousand times that is lost.
const START: Duration = Duration::from_secs(20);

/// A running pause process.
#[derive(Debug)]
pub struct Pod {
    /// As it was asked for.
    pub spec: PodSpec,
    pause: Child,
    pid: i32,
}

impl Pod {
    /// Opens the namespaces and connects them to the node.
    ///
    /// # Errors
    /// The pause process ended early, or a network command failed.
    pub async fn start(runtime: &Runtime, spec: PodSpec) -> Result<Self, Error> {
        let seconds = START.as_secs();
        tokio::time::timeout(START, Self::launch(runtime, spec))
            .await
            .map_err(|_| Error::Timeout {
                what: "a pod",
                seconds,
            })?
    }

    async fn launch(runtime: &Runtime, spec: PodSpec) -> Result<Self, Error> {
        let directory = runtime.root.join("sandboxes");
        tokio::fs::create_dir_all(&directory)
            .await
            .map_err(|e| Error::io("make the sandboxes' directory", e))?;
        let file = directory.join(format!("{}.json", spec.id));
        let text = serde_json::to_vec(&spec).map_err(Error::Encode)?;
        tokio::fs::write(&file, text)
            .await
            .map_err(|e| Error::io("write a pod's description", e))?;

        let mut pause = Command::new(&runtime.binary)
            .args(["sandbox-internal", stages::POD])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::io("start a pause process", e))?;
        let pid = pause
            .id()
            .and_then(|p| i32::try_from(p).ok())
            .ok_or(Error::NotRunning)?;
        let (stdin, stdout) = (pause.stdin.take(), pause.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(Error::NotRunning);
        };
        let mut lines = BufReader::new(stdout).lines();
        loop {
            match lines
                .next_line()
                .await
                .map_err(|e| Error::io("hear from a pause process", e))?
                .as_deref()
            {
                Some("link") => {
                    let link = link(&spec.id);
                    ip(&format!(
                        "link add {link} type veth peer name eth0 netns {pid}\nlink set {link} master {BRIDGE} up\n"
                    ))
                    .await?;
                    stdin
                        .write_all(b"g")
                        .await
                        .map_err(|e| Error::io("answer a pause process", e))?;
                }
                Some("up") => break,
                Some(_) => {}
                None => return Err(Error::Start("the pause process ended early".to_owned())),
            }
        }
        Ok(Self { spec, pause, pid })
    }

    /// The process whose namespaces containers join.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Ends the pause process; the kernel takes the link with the namespace.
    pub async fn stop(mut self, runtime: &Runtime) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = self.pause.wait().await;
        let _ = tokio::fs::remove_file(
            runtime
                .root
                .join("sandboxes")
                .join(format!("{}.json", self.spec.id)),
        )
        .await;
    }
}

/// Ends what an agent that died left running, and removes what is left of its containers.
///
/// # Errors
/// The machine's disk is not usable.
pub async fn clear(runtime: &Runtime) -> Result<(), Error> {
    let mut ended = 0_u32;
    for entry in std::fs::read_dir("/proc")
        .map_err(|e| Error::io("list processes", e))?
        .flatten()
    {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        let root = runtime.root.as_os_str().as_encoded_bytes();
        let ours = match words.as_slice() {
            [_, _, role, file, ..] if *role == stages::SHIM.as_bytes() => file.starts_with(root),
            [name, ..] => name
                .strip_prefix(stages::PAUSE.as_bytes())
                .is_some_and(|f| f.starts_with(root)),
            [] => false,
        };
        if ours {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            ended += 1;
        }
    }
    if ended > 0 {
        tracing::warn!(ended, "an agent before this one left processes");
    }
    for name in ["containers", "sandboxes"] {
        match tokio::fs::remove_dir_all(runtime.root.join(name)).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("clear the machine's disk", error)),
        }
    }
    Ok(())
}

/// The same for the same address: whoever talked to the last pod with it need not learn anew.
pub(super) fn hardware_address(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// 15 characters are allowed in a link's name.
fn link(id: &str) -> String {
    let tail: String = id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(11)
        .collect();
    format!("veth{tail}")
}

/// Makes the bridge, if it is not there, with the pods' gateway on it.
///
/// # Errors
/// A network command failed.
pub async fn ensure_bridge(gateway: Ipv4Addr, prefix: u8) -> Result<(), Error> {
    if !std::path::Path::new("/sys/class/net").join(BRIDGE).exists()
        && ip(&format!("link show {BRIDGE}\n")).await.is_err()
    {
        ip(&format!("link add {BRIDGE} type bridge\n")).await?;
    }
    // With an address of its own the bridge keeps it; else it takes over a port's, which changes as pods come and go,
    // and every pod's knowledge of its gateway with it.
    let mac = hardware_address(gateway);
    ip(&format!(
        "link set {BRIDGE} address {mac}\naddress replace {gateway}/{prefix} dev {BRIDGE}\nlink set {BRIDGE} up\n"
    ))
    .await?;
    // Pods are each other's neighbours on the bridge, yet must pass the node for Services to see both directions:
    // the node must not advise the short way.
    for name in ["all", BRIDGE] {
        let file = format!("/proc/sys/net/ipv4/conf/{name}/send_redirects");
        tokio::fs::write(&file, "0")
            .await
            .map_err(|e| Error::io(file, e))?;
    }
    tokio::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        .await
        .map_err(|e| Error::io("switch forwarding on", e))
}

async fn ip(commands: &str) -> Result<(), Error> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::io("run ip (Debian: apt-get install iproute2)", e))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(commands.as_bytes())
            .await
            .map_err(|e| Error::io("talk to ip", e))?;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|e| Error::io("wait for ip", e))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::Network(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}
