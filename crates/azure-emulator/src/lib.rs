//! Azure Resource Manager as AKS documents it.
//!
//! Speaks the wire protocol of the real service (paths, api-versions, long-running operations, eTags, error codes)
//! so that the az CLI and Microsoft's SDKs work against it, and acts on a cluster through two doors only: a
//! Kubernetes client and the [`Machines`] behind the pools.
//!
//! # What is there
//! Login (service principal, federated service account), metadata, subscription, region, quota; the managed cluster
//! with its control-plane upgrade; node pools: create, scale, settings, delete, machines, `deleteMachines`, upgrade
//! profiles, abort; faults on purpose at `/_faults` ([`Fault`]). What is not there is refused with the code
//! `NotSupportedByEmulator`, above all the rolling upgrade of an existing pool.
//!
//! # Where the vendor's pages are silent
//! - The zone of the next node is the one with the fewest nodes, the seed decides among equals.
//! - A scale-down takes cordoned nodes first, then the highest instance of the fullest zone, and drains them.
//! - An eTag changes when a request is accepted and again when its operation ends.
//! - Operations on different pools run side by side; the cluster's own excludes them all. A delete preempts.
//! - A PUT without labels, taints or tags removes them; other absent properties stay.
//! - A pool's deletion neither cordons nor drains, but fails while a budget holds one of its pods, unless
//!   `ignore-pod-disruption-budget=true`.

mod build;
pub mod clock;
mod drain;
mod emulator;
mod error;
pub mod machines;
mod nodes;
mod pool_put;
mod quota;
mod random;
mod routes;
pub mod seed;
mod sizes;
mod state;
mod throttle;
mod versions;
mod work;

pub use clock::{Clock, SystemClock};
pub use emulator::{Emulator, SeedError};
pub use machines::{Machine, MachineError, MachineSpec, Machines, Mode, Taint};
pub use seed::{PoolSeed, Seed, Timings};
pub use throttle::{Bucket, Fault, Limits};
