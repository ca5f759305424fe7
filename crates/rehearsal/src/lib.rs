//! Binds model, engine and actuators together in virtual time.
//!
//! A modelled cluster with modelled PostgreSQL servers, poolers and clients implements the
//! engine's actuator; beside it a modelled Redis Cluster and a modelled MariaDB set do, for their hand-overs. The
//! hand-over's window and its recovery are the real ones: they speak to the modelled servers through
//! the traits of the drivers. Nothing here opens a socket, so that with
//! tokio's paused clock a run of minutes takes milliseconds.

pub mod actuator;
pub mod agents;
mod hand_over;
pub mod invariants;
pub mod mariadb;
pub mod postgres;
pub mod redis;
pub mod runner;
pub mod scenario;
pub mod story;
pub mod world;
