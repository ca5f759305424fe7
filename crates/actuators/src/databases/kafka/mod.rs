//! Kafka clusters in KRaft mode: sessions, facts, and how leaderships are led away and given back.
//!
//! [`server::Server`] says what a roll needs in the words of the domain; [`wire`] speaks it over the
//! Kafka protocol, on one connection with one broker, through whatever reaches the pod. [`drain`] and
//! [`give_back`] know only the trait.
//!
//! # Source
//! The behaviour of the brokers is that of `ReplicationControlManager`, `PartitionChangeBuilder` and
//! `KafkaApis` of Kafka 3.9 and 4.x; what was measured is in docs/patterns/kafka.md.

pub mod drain;
pub mod facts;
pub mod give_back;
pub mod ledger;
pub mod order;
pub mod pace;
pub mod record;
pub mod server;
pub mod session;
pub mod wire;
