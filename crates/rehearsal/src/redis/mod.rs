//! Modelled servers of a Redis Cluster behind the trait of the drivers, and a hand-over of every shard through them.
//!
//! Modelled is what a hand-over can meet: roles, replication and what it loses, everybody's own picture of the
//! cluster, elections with their epochs and their pause between two votes, clients that are held and redirected,
//! servers that stand still or end. Not modelled: the detection of failures (nobody is away for
//! `cluster-node-timeout`), slots that move between shards, and what a full synchronisation takes.
//!
//! # Source
//! `cluster.c` of Redis 7.0; what the models answer is held against real servers in `tests/redis`.

pub mod clients;
pub mod cluster;
pub mod server;
pub mod stage;
