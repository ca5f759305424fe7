//! How a run gets there: each strategy orders the steps, nothing else.

pub mod ferris_wheel;
pub(crate) mod hand_over;
pub(crate) mod sequence;

use crate::plan::Peak;
use crate::step::Step;

/// The steps of a strategy, and what they need at their highest point.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Highest need.
    pub peak: Peak,
}
