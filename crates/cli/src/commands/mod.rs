//! One file per verb.

pub mod agent;
