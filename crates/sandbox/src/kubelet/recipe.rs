//! What the node agent needs of an image.

use super::config::NodeConfig;
use crate::runtime::spec::{Directory, Mount};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How to run an image.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub id: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub workdir: PathBuf,
    pub stop_signal: Signal,
    /// Files of the image.
    pub mounts: Vec<Mount>,
    pub hidden: Vec<PathBuf>,
    pub directories: Vec<Directory>,
    pub volumes: Vec<PathBuf>,
}

/// Looks an image up; the text of a failure is for the container's status.
pub(super) fn find(image: &str, config: &NodeConfig) -> Result<Recipe, String> {
    let _ = config;
    Err(format!("no image {image}"))
}
