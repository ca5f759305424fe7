//! MongoDB replica sets: sessions, facts, and the hand-over.
//!
//! [`server::Server`] says what a hand-over needs in the words of the domain; [`wire`] speaks it over
//! OP_MSG, on one connection with one server, through whatever reaches the pod. [`window`] knows only
//! the trait.
//!
//! # Source
//! The behaviour of the servers is that of `replication_coordinator_impl.cpp`,
//! `topology_coordinator.cpp` and `bgsync.cpp` of MongoDB 6.0 and of the commands' reference pages;
//! what was measured is in docs/patterns/mongodb.md.

pub mod facts;
pub mod order;
pub mod parting;
pub mod record;
pub mod scram;
pub mod server;
pub mod session;
pub mod window;
pub mod wire;
