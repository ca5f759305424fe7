//! A Kubernetes cluster in memory and in virtual time.
//!
//! A discrete-event model: nodes, pods, stateful sets with ordinals and claims, disruption
//! budgets and eviction, disks bound to zones, machine pools. Time is a number that the caller
//! moves with [`cluster::Cluster::advance`]; the same calls give the same cluster.
//!
//! # Invariants
//! [`invariants`] looks at every state that the model passes through; what it finds is kept in
//! [`cluster::Cluster::violations`].
//!
//! What this crate must not know: plans, drivers, databases. A container that is an application
//! (a database server) is told to start and to stop by [`objects::Signal`]s, and whoever plays it
//! answers with readiness and exits.

pub mod cluster;
mod controllers;
pub mod drain;
mod eviction;
pub mod invariants;
mod kubelet;
pub mod objects;
mod pools;

pub use cluster::{Cluster, Timing};
pub use eviction::Eviction;
pub use pools::{POOL_LABEL, PoolError};
