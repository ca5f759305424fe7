//! The only crate that touches the outside: Kubernetes, Azure, databases.
