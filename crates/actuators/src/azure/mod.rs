//! A thin client for Azure Resource Manager.
//!
//! Resources are read and put back as the JSON that came, edited, never through a type that drops
//! what it does not know. Long-running operations follow `Azure-AsyncOperation` before `Location`,
//! verbatim, and obey `Retry-After`. Every call has a deadline; nothing is retried here: the error
//! says what may happen next ([`ArmError::class`]) and the engine, which observes first, decides.
//!
//! The module knows nothing of steps and plans.

pub mod client;
pub mod credentials;
pub mod dump;
pub mod error;
mod operation;
mod request;

pub use client::{ArmClient, ArmSettings, Resource};
pub use credentials::Login;
pub use error::{ArmError, Class};
