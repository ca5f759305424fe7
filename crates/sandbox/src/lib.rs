//! A practice AKS on this machine.
//!
//! A real control plane, node agents that run real servers, disks in zones and the Azure emulator over TLS. An honest
//! opponent: it knows nothing of plans, engines or actuators.

pub mod images;
pub mod kubelet;
pub mod runtime;
