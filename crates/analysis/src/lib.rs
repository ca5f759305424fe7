//! What would go wrong: checks and simulation over the world snapshot.
