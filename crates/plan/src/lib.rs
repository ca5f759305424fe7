//! World snapshot, policy, steps and the planner: pure decisions.
