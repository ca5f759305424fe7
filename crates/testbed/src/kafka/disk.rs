//! A member's disk made like another's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::template::own;

/// Copies a directory of files and of directories with files.
pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            // A snapshot is read-only; so is its copy.
            let mode = entry.metadata().unwrap().permissions().mode();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Gives a directory and everything in it to the servers' user.
pub(super) async fn own_all(path: &Path) {
    own(path).await;
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            Box::pin(own_all(&entry.unwrap().path())).await;
        }
    }
}
