//! Generated things and checks of the tree.
fn main() {}
