//! Azure Resource Manager as AKS documents it.
//!
//! Speaks the wire protocol of the real service (paths, api-versions, long-running operations, eTags, error codes)
//! so that the az CLI and Microsoft's SDKs work against it, and acts on a cluster through two doors only: a
//! Kubernetes client and the [`Machines`] behind the pools.

pub mod clock;
mod emulator;
mod error;
pub mod machines;
mod nodes;
mod pool_put;
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
