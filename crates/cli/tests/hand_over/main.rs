//! Hand-overs on real servers, through the program, while it is killed or something else breaks.
//!
//! The tests run side by side, each in a sandbox of its own: most of their time is waiting.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that fails says where, and what it saw"
)]

mod faults;
mod kills;
#[path = "../support/mod.rs"]
mod support;
mod variants;
