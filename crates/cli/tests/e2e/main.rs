//! Upgrades, hand-overs and rollbacks on real servers, through the program, while it is killed or something else breaks.
//!
//! One program for all of them: they run side by side, each in a sandbox of its own, and most of their time is waiting.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that fails says where, and what it saw"
)]

mod checklist;
mod faults;
mod in_cluster;
mod kafka;
mod kills;
mod mariadb;
mod memcached;
mod mongodb;
mod redis;
mod snapshot;
mod support;
mod variants;
mod wheel;
