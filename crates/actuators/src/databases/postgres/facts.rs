//! What a server says of itself, for the snapshot.
