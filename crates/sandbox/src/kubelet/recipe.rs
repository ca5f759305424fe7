//! What the node agent needs of an image.

use super::config::NodeConfig;
use crate::binaries;
use crate::images::{Catalogue, ImageDirectory, ImageFile, ImageMount};
use crate::runtime::spec::{Directory, Mount, SpecFile};
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
    /// Programs of the host at the image's places.
    pub mounts: Vec<Mount>,
    pub hidden: Vec<PathBuf>,
    pub directories: Vec<Directory>,
    pub files: Vec<SpecFile>,
    pub volumes: Vec<PathBuf>,
}

/// Looks an image up; the text of a failure is for the container's status.
pub(super) fn find(image: &str, config: &NodeConfig) -> Result<Recipe, String> {
    let catalogue = Catalogue::new(
        binaries::cache(),
        binaries::build_dir(),
        &config.ferriswheel_binary,
    );
    let image = catalogue.pull(image).map_err(|e| e.to_string())?;
    let mount = |m: ImageMount| Mount {
        source: m.source,
        target: m.target,
        read_only: true,
    };
    let file = |f: ImageFile| SpecFile {
        path: f.path,
        mode: f.mode,
        contents: f.contents,
    };
    let directory = |d: ImageDirectory| Directory {
        path: d.path,
        owner: d.owner,
        mode: d.mode,
    };
    Ok(Recipe {
        id: format!("catalogue://{}", image.name),
        entrypoint: image.entrypoint,
        cmd: image.cmd,
        env: image.env.into_iter().collect(),
        user: image.user,
        workdir: image.workdir,
        stop_signal: image.stop_signal,
        mounts: image.mounts.into_iter().map(mount).collect(),
        hidden: image.hidden,
        directories: image.directories.into_iter().map(directory).collect(),
        files: image.files.into_iter().map(file).collect(),
        volumes: image.volumes,
    })
}
