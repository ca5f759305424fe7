//! The only crate that touches the outside: Kubernetes, Azure Resource Manager, databases.
//!
//! [`collect`] takes the snapshot that plans are made from; [`world::World`] observes and acts for
//! each kind of step; [`agent`] is the process that runs a hand-over window from inside the
//! cluster.

pub mod agent;
pub mod arm_read;
pub mod azure;
pub mod collect;
pub mod databases;
pub mod dial;
pub mod http;
pub mod kubernetes;
pub mod steps;
pub mod systems;
pub mod world;
