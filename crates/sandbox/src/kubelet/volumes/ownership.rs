//! `fsGroup`: the volume belongs to the pod's group.
//!
//! # Source
//! `pkg/volume/volume_linux.go`: group owner, read and write for the group, set-group-id and search on directories.

use k8s_openapi::api::core::v1::PodSecurityContext;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

const READ_WRITE: u32 = 0o660;
const DIRECTORY: u32 = 0o2110;

/// Applies the pod's group to a volume that it may write.
pub(super) fn apply(volume: &Path, context: &PodSecurityContext) -> io::Result<()> {
    let Some(group) = context.fs_group.and_then(|g| u32::try_from(g).ok()) else {
        return Ok(());
    };
    let root = fs::metadata(volume)?;
    let fits =
        root.gid() == group && root.mode() & (READ_WRITE | DIRECTORY) == READ_WRITE | DIRECTORY;
    if fits && context.fs_group_change_policy.as_deref() == Some("OnRootMismatch") {
        return Ok(());
    }
    let mut pending = vec![volume.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path)?;
        lchown(&path, None, Some(group))?;
        if meta.is_symlink() {
            continue;
        }
        let mut mode = meta.mode() | READ_WRITE;
        if meta.is_dir() {
            mode |= DIRECTORY;
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
    }
    Ok(())
}
