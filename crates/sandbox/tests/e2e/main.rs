//! Whole sandboxes, seen as a user sees them: their life, their pods, the real kubectl and the real az.
//!
//! One program for all of them: they run side by side, each in a sandbox of its own, and most of their time is waiting.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails says where, and what it saw"
)]

mod az;
mod example;
mod kubectl;
mod lifecycle;
mod pods;
mod support;
