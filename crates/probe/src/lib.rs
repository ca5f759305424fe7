//! The judge: writers and readers over the wire protocol, loss and gap accounting, certificates.
//!
//! # What it does
//! Writers insert unique keys (run, writer, sequence), one a transaction, and never send a key
//! twice whose outcome is unknown. Each database system is one module ([`postgres`], [`redis`], [`mongodb`],
//! [`mariadb`], [`memcached`], [`kafka`])
//! behind one interface. Each attempt has one of three outcomes: acknowledged, refused, or indeterminate (sent,
//! and the reply never came). At the end every key is looked up on the leader and on every
//! member, and the [`judge`] turns that into a [`certificate::Certificate`].
//!
//! # Guarantees
//! - An acknowledgement is stamped inside the ledger's lock, so the order of the stamps is the
//!   order of the acknowledgements and a gap is never under-reported by a race.
//! - An error counts when the client saw one, whatever a reconnect does later.
//! - Memory is bounded: two bits a key, one byte-sized cell a time bucket, a fixed histogram.
//! - The password lives in [`secret::Password`], which neither prints nor serialises.
//!
//! # What it must not know
//! Plans, engines, Kubernetes, Azure: it shares no code with what it judges.

pub mod accounting;
pub mod certificate;
pub mod config;
pub mod controls;
pub mod judge;
pub mod kafka;
pub mod mariadb;
pub mod memcached;
pub mod mongodb;
pub mod postgres;
mod reader;
pub mod redis;
pub mod run;
pub mod secret;
pub mod serve;
pub mod system;
pub mod timeline;
mod tls;
mod writer;
