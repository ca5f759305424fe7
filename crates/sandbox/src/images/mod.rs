//! The image catalogue: what a name such as `postgres:15` means on this machine.
//!
//! An image is a view of the host's file system: a program of an installed package, the user, the environment and the
//! stop signal of the public image of that name, and the few files that the public image has and the host has not.
//! [`Catalogue::resolve`] is pure; [`Catalogue::pull`] also looks whether the packages are there.
//!
//! This module does not know how a container's root is built and runs nothing.

mod account;
mod catalogue;
mod database;
mod kafka;
mod mariadb;
mod memcached;
mod mongodb;
mod plain;
mod redis;
mod reference;

use std::fmt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

pub use catalogue::Catalogue;
pub use reference::Reference;

/// How to run an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The catalogue's name of it, `postgres:15`; several references lead to one name.
    pub name: String,
    /// Program and first arguments; a container's `command` replaces it and `cmd`.
    pub entrypoint: Vec<String>,
    /// Further arguments; a container's `args` replaces them.
    pub cmd: Vec<String>,
    /// Environment, in the image's order; a container's `env` overrides it by name.
    pub env: Vec<(String, String)>,
    /// `user[:group]`, names or numbers; none is root.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: PathBuf,
    /// What the kubelet sends first when it stops a container.
    pub stop_signal: Signal,
    /// Files placed into the container's root, over what the host has there.
    pub files: Vec<ImageFile>,
    /// Directories of the host shown read-only at another place: programs that live in the cache.
    pub mounts: Vec<ImageMount>,
    /// Host directories that the container sees empty: their contents belong to the host's own servers and people.
    pub hidden: Vec<PathBuf>,
    /// Directories made in the container's own layer, after `hidden`.
    pub directories: Vec<ImageDirectory>,
    /// Directories that are volumes of the image: when the pod mounts nothing there, an empty one is mounted, so that
    /// data has the durability of the node's disk and not that of the container's layer.
    pub volumes: Vec<PathBuf>,
    /// Ports that the server listens on by default.
    pub exposed: Vec<u16>,
    /// What must be on the host.
    pub requires: Vec<Requirement>,
}

/// A file of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Path in the container.
    pub path: PathBuf,
    /// Permission bits; the owner is root.
    pub mode: u32,
    /// Contents.
    pub contents: Vec<u8>,
}

/// A path of the host at a path of the container, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageMount {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
}

/// A directory of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDirectory {
    /// Path in the container.
    pub path: PathBuf,
    /// `user:group` as numbers, so that it does not depend on the host's accounts.
    pub owner: String,
    /// Permission bits.
    pub mode: u32,
}

/// Something on the host that an image runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Path on the host.
    pub path: PathBuf,
    /// The package that has it.
    pub package: String,
    /// The command that installs it.
    pub install: String,
}

impl Requirement {
    fn debian(path: impl AsRef<Path>, package: &str) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            package: package.to_owned(),
            install: format!("apt-get install -y {package}"),
        }
    }

    fn script(path: impl AsRef<Path>, package: &str, script: &str) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            package: package.to_owned(),
            install: format!("scripts/{script}"),
        }
    }
}

/// The catalogue has no such image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("find image {image:?} in this sandbox's catalogue: it has {}", .known.join(", "))]
pub struct Unknown {
    /// The reference as it was given.
    pub image: String,
    /// The names that there are.
    pub known: Vec<String>,
}

/// Why an image cannot be used, worded for `ErrImagePull`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// Not in the catalogue.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// In the catalogue, but the host lacks a package.
    #[error("{0}")]
    Missing(Missing),
}

/// What the host lacks for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The image.
    pub image: String,
    /// Everything that is missing.
    pub requirements: Vec<Requirement>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pull image {:?}:", self.image)?;
        let mut commands: Vec<&str> = Vec::new();
        for requirement in &self.requirements {
            write!(
                f,
                " {} of {} is missing;",
                requirement.path.display(),
                requirement.package
            )?;
            if !commands.contains(&requirement.install.as_str()) {
                commands.push(&requirement.install);
            }
        }
        write!(f, " run: {}", commands.join(" && "))
    }
}
