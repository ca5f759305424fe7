//! Redis Cluster and Valkey Cluster: sessions, facts, and the hand-over of one shard.
//!
//! [`server::Server`] says what a hand-over needs in the words of the domain; [`wire`] speaks it
//! over RESP; the rehearsal implements it by models. [`window`] knows only the trait.
//!
//! # Source
//! The behaviour of the servers is that of `cluster.c` of Redis 7.0 and of the commands' reference
//! pages; what was measured is in docs/patterns/redis.md.

pub mod cluster;
pub mod facts;
pub mod order;
pub mod record;
pub mod server;
pub mod session;
pub mod slot;
pub mod window;
pub mod wire;
