//! A thin client for Azure Resource Manager.
//!
//! Resources are read and put back as the JSON that came, edited, never through a type that drops
//! what it does not know. Long-running operations follow `Azure-AsyncOperation` before `Location`,
//! verbatim, and obey `Retry-After`.

pub mod client;
pub mod credentials;
pub mod error;

pub use client::{ArmClient, ArmSettings, Resource};
pub use credentials::Login;
pub use error::ArmError;
