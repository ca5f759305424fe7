//! The wire protocol as a client meets it: long-running operations, eTags, refusals, limits and faults.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken assumption fails the test"
)]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod pools;
mod requests;
mod upgrades;
