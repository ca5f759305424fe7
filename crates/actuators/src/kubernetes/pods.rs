//! Pods of this binary: the agents and the probe.
