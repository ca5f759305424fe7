//! A practice AKS on this machine.
