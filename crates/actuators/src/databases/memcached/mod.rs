//! Memcached: sessions in the text protocol, facts, and where a key belongs.
//!
//! # Source
//! The protocol is `doc/protocol.txt` of Memcached 1.6; the ring is libmemcached's weighted ketama
//! (`libmemcached/hosts.cc`), held to a real client in this module's tests.

pub mod facts;
pub mod leftovers;
pub mod ring;
pub mod session;
