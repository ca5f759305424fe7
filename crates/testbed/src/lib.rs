//! Real PostgreSQL sets with a real PgBouncer, and real Redis clusters, MongoDB and MariaDB sets, Memcached pools and
//! Kafka, on loopback addresses, for tests only.
//!
//! Nothing here is a stand-in: the servers are Debian's PostgreSQL 15 or PostgreSQL 18 with their
//! default durability, Debian's Redis 7.0 or Valkey 9 with an append-only file, and a member is started again by somebody, as a kubelet does, where a test
//! wants that. What is missing makes a test fail with the command that installs it.
//!
//! Must not know: plans, the engine, Kubernetes. A set is processes and files, gone with the value
//! that holds it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests use it, and a test that fails says where"
)]

pub mod authority;
pub mod death;
pub mod kafka;
pub mod mariadb;
pub mod memcached;
pub mod mongodb;
pub mod patroni;
pub mod program;
pub mod redis;
pub mod set;
pub mod template;
pub mod writers;
