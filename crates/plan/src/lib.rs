//! Nouns and decisions: the world as observed, what the user wants, the plan that follows.
//!
//! Everything here is pure: no clock, no random, no client, no task. The same input gives the
//! same bytes. Time arrives as data (`observed_at`), order is always the order of a `BTreeMap`.
//!
//! What this crate must not know: how a step is carried out, how a server is spoken to, where a
//! plan is stored. Those are `engine` and `actuators`.

pub mod check;
pub mod codes;
pub mod databases;
pub mod diagnostic;
pub mod diff;
pub mod digest;
pub mod display;
pub mod estimates;
pub mod ids;
pub mod layout;
pub mod plan;
pub mod planner;
pub mod platform;
pub mod policy;
pub mod rollback;
pub mod safety;
pub mod scope;
pub mod step;
pub mod strategies;
pub mod version;
pub mod world;
