//! Pure accounting: who wrote what, what came of it, when, and how long it took.
//!
//! Nothing here knows a clock or a server: instants are durations since the run began, given by
//! the caller, so every rule is tested without either.

pub mod errors;
pub mod gaps;
pub mod histogram;
pub mod ledger;
pub mod presence;
pub mod recorder;

pub use recorder::{Failure, ReadTally, Recorder};
