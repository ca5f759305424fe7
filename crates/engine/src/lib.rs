//! Durable execution of a plan.
//!
//! The journal is written before the act; after a crash the driver observes first and never
//! repeats blindly. This crate knows nothing of Kubernetes, Azure or databases: it drives an
//! [`actuator::Actuator`].

pub mod actuator;
pub mod clock;
pub mod driver;
pub mod events;
pub mod faults;
pub mod journal;
pub mod record;
pub mod state;
pub mod status;
