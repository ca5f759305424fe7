//! Addresses and links.
//!
//! One bridge carries the control plane and every node; a node is a network namespace with one link to it and a
//! bridge of its own for its pods. Pod ranges are routed through the outer namespace, as AKS does with kubenet.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::program;

/// The bridge of the outer namespace.
pub const BRIDGE: &str = "fwbr0";
/// Link-layer address of that bridge.
///
/// Left to itself a bridge takes the lowest address of its ports, which changes as machines come and go; whoever has a
/// pod on another machine then sends to an address that nobody has, for five seconds and more.
///
/// # Source
/// Linux, `br_stp_recalculate_bridge_id`; a locally administered address as IEEE 802 has them.
const BRIDGE_ADDRESS: &str = "02:fe:00:00:00:01";
/// Address of the control plane on it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 224, 0, 1);
/// The API server inside the sandbox.
pub const API_SERVER: &str = "https://10.224.0.1:6443";
/// Azure Resource Manager as pods reach it; the host has a port of its own.
pub const ARM: &str = "https://10.224.0.1";
/// Range of Services.
pub const SERVICE_CIDR: &str = "10.0.0.0/16";
/// The Service `kubernetes`.
pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The Service `kube-dns`.
pub const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// Range of all pods.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// Domain of the cluster.
pub const DOMAIN: &str = "cluster.local";
/// Most machines at one time: one octet numbers both the node's address and its pod range.
pub const MAX_MACHINES: u8 = 250;

/// `ip` ends in milliseconds; ten seconds means that the machine is not well.
const DEADLINE: Duration = Duration::from_secs(10);

/// A link, an address or a route could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ip` refused.
    #[error("set up links")]
    Ip(#[from] program::Error),
    /// A kernel setting could not be written.
    #[error("write {path}")]
    Setting {
        /// Below `/proc/sys/net`.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The addresses of one machine, all derived from its number (1..=250).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub u8);

impl Seat {
    /// Address of eth0. The first three belong to the control plane.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 224, 0, self.0 + 3)
    }

    /// Pod range.
    #[must_use]
    pub fn pod_cidr(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }

    /// Address of the node's own bridge.
    #[must_use]
    pub fn pod_gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.0, 1)
    }

    /// The outer end of the node's link.
    #[must_use]
    pub fn link(self) -> String {
        format!("fwn{}", self.0)
    }
}

fn batch(commands: &str) -> Result<(), Error> {
    program::run("ip", &["-batch", "-"], commands, DEADLINE)?;
    Ok(())
}

fn setting(path: &str, value: &str) -> Result<(), Error> {
    fs::write(format!("/proc/sys/net/{path}"), value).map_err(|source| Error::Setting {
        path: path.to_owned(),
        source,
    })
}

/// Sets up the outer namespace; runs inside it.
///
/// # Errors
/// `ip` or the kernel refuses.
pub fn set_up_outer() -> Result<(), Error> {
    // The addresses 10.0.0.0/16 and 10.244.0.0/16 must not lead out even when no node answers for them.
    batch(&format!(
        "link set lo up\n\
         link add {BRIDGE} address {BRIDGE_ADDRESS} type bridge forward_delay 0\n\
         addr add {GATEWAY}/16 dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         route add unreachable {POD_CIDR}\n"
    ))?;
    setting("ipv4/ip_forward", "1")?;
    // Nodes are neighbours on the bridge, but their pods are routed: a redirect would teach them a short cut that
    // bypasses a partition.
    for name in ["all", "default", BRIDGE] {
        setting(&format!("ipv4/conf/{name}/send_redirects"), "0")?;
    }
    Ok(())
}

/// Sets up a node's namespace; runs inside it, on a thread of the process `outer` that has entered it. Leaves the
/// outer end of the link down.
///
/// # Errors
/// `ip` or the kernel refuses.
pub fn set_up_node(seat: Seat, outer: u32) -> Result<(), Error> {
    let (link, address, gateway) = (seat.link(), seat.address(), seat.pod_gateway());
    batch(&format!(
        "link set lo up\n\
         link add eth0 type veth peer name {link} netns {outer}\n\
         addr add {address}/16 dev eth0\n\
         link set eth0 up\n\
         route add default via {GATEWAY}\n\
         link add cbr0 type bridge forward_delay 0\n\
         addr add {gateway}/24 dev cbr0\n\
         link set cbr0 up\n"
    ))?;
    setting("ipv4/ip_forward", "1")?;
    for name in ["all", "default", "eth0", "cbr0"] {
        setting(&format!("ipv4/conf/{name}/send_redirects"), "0")?;
        setting(&format!("ipv4/conf/{name}/accept_redirects"), "0")?;
    }
    Ok(())
}

/// Plugs the node in; runs in the outer namespace.
///
/// # Errors
/// `ip` refuses.
pub fn plug_in(seat: Seat) -> Result<(), Error> {
    let (link, address, pods) = (seat.link(), seat.address(), seat.pod_cidr());
    batch(&format!(
        "link set {link} master {BRIDGE} up\n\
         route replace {pods} via {address}\n"
    ))
}

/// Takes away what a node leaves in the outer namespace; its link may be gone with it already.
pub fn unplug(seat: Seat) {
    for command in [
        format!("link del {}\n", seat.link()),
        format!("route del {}\n", seat.pod_cidr()),
        // A later machine with this address has another link-layer address.
        format!("neigh flush to {}\n", seat.address()),
    ] {
        if let Err(error) = batch(&command) {
            tracing::debug!(%error, command, "nothing to take away");
        }
    }
}

/// Cuts or restores the node's link.
///
/// # Errors
/// `ip` refuses.
pub fn set_link(seat: Seat, up: bool) -> Result<(), Error> {
    let state = if up { "up" } else { "down" };
    batch(&format!("link set {} {state}\n", seat.link()))
}
