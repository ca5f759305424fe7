//! Files of a ConfigMap, Secret, downward or projected volume, replaced all at once.
//!
//! # Guarantees
//! A reader sees either all old or all new files: they lie in a directory of their own, `..data` is a link to it that
//! is replaced by a rename, and what the pod opens are links through `..data`.
//!
//! # Source
//! `pkg/volume/util/atomic_writer.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Content and permission bits by path inside the volume.
pub(super) type Payload = BTreeMap<PathBuf, File>;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Owner, where it is not root.
    pub uid: Option<u32>,
}

const DATA: &str = "..data";

/// Brings a volume to the payload; true if anything changed.
pub(super) fn write(volume: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    fs::create_dir_all(volume)?;
    let data = volume.join(DATA);
    let before = fs::read_link(&data).ok();
    if let Some(before) = &before
        && current(&volume.join(before))? == content(payload)
    {
        return Ok(false);
    }
    let stamp = jiff::Timestamp::now()
        .strftime("..%Y_%m_%d_%H_%M_%S")
        .to_string();
    let fresh = (0..)
        .map(|n: u32| PathBuf::from(format!("{stamp}.{n}")))
        .find(|name| !volume.join(name).exists())
        .unwrap_or_else(|| PathBuf::from(&stamp));
    let directory = volume.join(&fresh);
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let target = directory.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        let readable = if group.is_some() { 0o440 } else { 0 };
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode | readable))?;
        chown(&target, file.uid, group)?;
    }
    let next = volume.join("..data_tmp");
    let _ = fs::remove_file(&next);
    symlink(&fresh, &next)?;
    fs::rename(&next, &data)?;

    let visible: BTreeSet<PathBuf> = payload
        .keys()
        .filter_map(|p| p.components().next())
        .map(|c| PathBuf::from(c.as_os_str()))
        .collect();
    for name in &visible {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let name = PathBuf::from(entry?.file_name());
        if !name.to_string_lossy().starts_with("..") && !visible.contains(&name) {
            fs::remove_file(volume.join(name))?;
        }
    }
    if let Some(before) = before {
        fs::remove_dir_all(volume.join(before))?;
    }
    Ok(true)
}

fn content(payload: &Payload) -> BTreeMap<PathBuf, Vec<u8>> {
    payload
        .iter()
        .map(|(path, file)| (path.clone(), file.content.clone()))
        .collect()
}

fn current(directory: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(inside) = pending.pop() {
        for entry in fs::read_dir(directory.join(&inside))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                pending.push(path);
            } else {
                let bytes = fs::read(directory.join(&path))?;
                found.insert(path, bytes);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File {
            content: text.as_bytes().to_vec(),
            mode: 0o644,
            uid: None,
        };
        files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), file(text)))
            .collect()
    }

    #[test]
    fn files_appear_change_and_disappear_through_one_link() {
        let volume = tempfile::tempdir().unwrap();
        let volume = volume.path();
        assert!(write(volume, &payload(&[("a", "1"), ("deep/b", "2")]), None).unwrap());
        assert_eq!(fs::read_to_string(volume.join("deep/b")).unwrap(), "2");
        let first = fs::read_link(volume.join("..data")).unwrap();
        assert!(!write(volume, &payload(&[("a", "1"), ("deep/b", "2")]), None).unwrap());

        assert!(write(volume, &payload(&[("a", "3")]), None).unwrap());
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
        assert!(!volume.join("deep").exists());
        assert!(!volume.join(first).exists());
    }
}
