//! One file per strategy: the order of the steps, and nothing else.

pub mod ferris_wheel;
