//! Node agents: the kubelets of the sandbox.

pub mod config;

pub use config::NodeConfig;
