//! What runs on the host for a moment: starting, asking and ending a sandbox. Nothing here outlives a command.

pub mod build;
mod down;
mod preflight;
mod request;
mod up;

pub use down::{DownError, Ended, down};
pub use preflight::Refusal;
pub use request::{RequestError, SandboxStatus, status};
pub use up::{UpError, UpOptions, Upped, up};

pub(crate) use request::ask;
