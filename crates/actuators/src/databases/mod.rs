//! One client per database system.

pub mod postgres;
pub mod redis;
