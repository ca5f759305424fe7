//! MariaDB with asynchronous GTID replication: sessions, facts, and the hand-over.
//!
//! [`server::Server`] says what a hand-over needs in the words of the domain; [`wire`] speaks it in
//! SQL, on sessions with one server, through whatever reaches the pod. [`window`] knows only the
//! trait.
//!
//! # Source
//! The client/server protocol, GTID, `FLUSH TABLES WITH READ LOCK` and `read_only` pages of MariaDB's
//! documentation; what was measured is in docs/patterns/mariadb.md.

pub mod facts;
pub mod order;
pub mod prepare;
pub mod record;
pub mod recover;
pub mod server;
pub mod session;
pub mod window;
pub mod wire;
