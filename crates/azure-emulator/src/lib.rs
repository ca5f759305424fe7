//! Azure Resource Manager as AKS documents it.
//!
//! Speaks the wire protocol of the real service (paths, api-versions, long-running operations, eTags, error codes)
//! so that the az CLI and Microsoft's SDKs work against it, and acts on a cluster through two doors only: a
//! Kubernetes client and the [`Machines`] behind the pools.

pub mod clock;
pub mod machines;
pub mod seed;

pub use clock::{Clock, SystemClock};
pub use machines::{Machine, MachineError, MachineSpec, Machines, Mode, Taint};
pub use seed::{PoolSeed, Seed, Timings};
