//! Nouns and decisions: the world as observed, what the user wants, the plan that follows.
//!
//! Everything here is pure: no clock, no random, no client, no task. The same input gives the
//! same bytes. Time arrives as data (`observed_at`), order is always the order of a `BTreeMap`.
//!
//! What this crate must not know: how a step is carried out, how a server is spoken to, where a
//! plan is stored. Those are `engine` and `actuators`.

pub mod diagnostic;
pub mod ids;
pub mod plan;
pub mod policy;
pub mod step;
pub mod version;
pub mod world;
