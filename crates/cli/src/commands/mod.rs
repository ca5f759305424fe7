//! One file per verb.

pub mod advise;
pub mod agent;
pub mod apply;
pub mod check;
pub mod diagnose;
pub mod emergency;
pub mod generate;
pub mod life;
pub mod lint;
pub mod plan;
pub mod probe;
pub mod report;
pub mod rollback;
pub mod sandbox;
pub mod snapshot;
pub mod status;
