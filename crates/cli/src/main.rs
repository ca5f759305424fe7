//! The `ferriswheel` binary.
fn main() {}
