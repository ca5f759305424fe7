//! One client per database system.

pub mod postgres;
