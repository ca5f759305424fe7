//! The mount namespace of a container, built by its own PID 1 just before it executes the server.
//!
//! Everything after `pivot_root` is done with paths of the new root, so that a link such as `/var/run` in it leads
//! where the container will see it lead.

use super::spec::{ContainerSpec, Directory, Launch, Mount, SpecFile};
use super::users;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Where the old root hangs while the new one is furnished.
const OLD_ROOT: &str = "/.host-root";

/// File systems of the host that hold programs and data. The overlay's lower layer is one file system only, so a
/// separate `/usr` or `/home` is bound in beside it, read-only.
const DISK_FILE_SYSTEMS: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "virtiofs", "9p",
];

/// 64 MiB: what the usual runtimes give a container as shared memory when the pod says nothing.
const SHARED_MEMORY: &str = "mode=1777,size=64m";

/// Builds the root and moves into it. Mount, network and PID namespaces are already the container's.
pub(super) fn enter(launch: &Launch) -> io::Result<()> {
    let directory = &launch.directory;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|e| failed("make mounts private", e))?;
    let disks = host_disks(directory)?;

    let (upper, work, root) = (
        directory.join("upper"),
        directory.join("work"),
        directory.join("root"),
    );
    // volatile: a container's own layer is thrown away with it, so nothing is gained by syncing it; volumes are
    // bind mounts and keep their full durability.
    let options = format!(
        "lowerdir=/,upperdir={},workdir={},volatile",
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(|e| failed("mount the container's root", e))?;
    let old = root.join(OLD_ROOT.trim_start_matches('/'));
    fs::create_dir_all(&old)?;
    std::env::set_current_dir(&root)?;
    pivot_root(".", old.as_path()).map_err(|e| failed("change root", e))?;
    std::env::set_current_dir("/")?;

    for disk in disks {
        bind(&Mount {
            source: disk.clone(),
            target: disk,
            read_only: true,
        })?;
    }
    kernel_file_systems()?;
    devices(launch.container.process.tty)?;
    scratch(directory)?;
    furnish(&launch.container, directory)?;

    umount2(OLD_ROOT, MntFlags::MNT_DETACH).map_err(|e| failed("leave the host's root", e))?;
    fs::remove_dir(OLD_ROOT)?;
    if launch.container.read_only_root {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .map_err(|e| failed("make the root read-only", e))?;
    }
    Ok(())
}

fn host_disks(own: &Path) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (target, kind) = (PathBuf::from(fields.next()?), fields.next()?);
            let wanted =
                DISK_FILE_SYSTEMS.contains(&kind) && target != Path::new("/") && target.is_dir();
            (wanted && !own.starts_with(&target)).then_some(target)
        })
        .collect())
}

fn kernel_file_systems() -> io::Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fs::create_dir_all("/proc")?;
    mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>)
        .map_err(|e| failed("mount /proc", e))?;
    // The kernel's switches are the machine's, not the container's.
    for path in ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"] {
        if Path::new(path).exists() {
            mount(
                Some(path),
                path,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )
            .and_then(|()| {
                let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | plain;
                mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
            })
            .map_err(|e| failed(path, e))?;
        }
    }
    fs::create_dir_all("/sys")?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        plain | MsFlags::MS_RDONLY,
        None::<&str>,
    )
    .map_err(|e| failed("mount /sys", e))
}

fn devices(tty: bool) -> io::Result<()> {
    fs::create_dir_all("/dev")?;
    mount(
        Some("tmpfs"),
        "/dev",
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755,size=65536k"),
    )
    .map_err(|e| failed("mount /dev", e))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = PathBuf::from("/dev").join(name);
        bind(&Mount {
            source: target.clone(),
            target,
            read_only: false,
        })?;
    }
    fs::create_dir("/dev/pts")?;
    let options = Some("newinstance,ptmxmode=0666,mode=620,gid=5");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, options)
        .map_err(|e| failed("mount /dev/pts", e))?;
    fs::create_dir("/dev/shm")?;
    mount(
        Some("shm"),
        "/dev/shm",
        Some("tmpfs"),
        flags | MsFlags::MS_NODEV,
        Some(SHARED_MEMORY),
    )
    .map_err(|e| failed("mount /dev/shm", e))?;
    for (link, target) in [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, link)?;
    }
    if tty {
        symlink("/proc/self/fd/0", "/dev/console")?;
    }
    Ok(())
}

/// `/run` and `/tmp` of the host are not the image's.
fn scratch(directory: &Path) -> io::Result<()> {
    fs::create_dir_all("/run")?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755,size=64m"),
    )
    .map_err(|e| failed("mount /run", e))?;
    fs::create_dir("/run/lock")?;
    let source = directory.join("tmp");
    bind(&Mount {
        source,
        target: PathBuf::from("/tmp"),
        read_only: false,
    })?;
    fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777))
}

fn furnish(container: &ContainerSpec, directory: &Path) -> io::Result<()> {
    for (index, path) in container.hidden.iter().enumerate() {
        if path.is_dir() {
            let source = directory.join("hidden").join(index.to_string());
            let old = Path::new(OLD_ROOT).join(source.strip_prefix("/").unwrap_or(&source));
            fs::create_dir_all(old)?;
            bind(&Mount {
                source,
                target: path.clone(),
                read_only: false,
            })?;
        }
    }
    for Directory { path, owner, mode } in &container.directories {
        fs::create_dir_all(path)?;
        let (uid, gid) = users::owner(owner)?;
        chown(path, Some(uid), Some(gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
    }
    for SpecFile {
        path,
        mode,
        contents,
    } in &container.files
    {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Replaced, not written through: it may be a link on the host.
        let _ = fs::remove_file(path);
        fs::write(path, contents)?;
        fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
    }
    for mount in &container.mounts {
        bind(mount)?;
    }
    let source = directory.join("termination-log");
    bind(&Mount {
        source,
        target: container.termination_message_path.clone(),
        read_only: false,
    })
}

/// Shows a path of the old root in the new one, creating the place for it.
fn bind(spec: &Mount) -> io::Result<()> {
    let source = Path::new(OLD_ROOT).join(spec.source.strip_prefix("/").unwrap_or(&spec.source));
    let what = || {
        format!(
            "mount {} at {}",
            spec.source.display(),
            spec.target.display()
        )
    };
    let is_directory = fs::metadata(&source)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", what())))?
        .is_dir();
    if is_directory {
        fs::create_dir_all(&spec.target)?;
    } else if !spec.target.exists() {
        if let Some(parent) = spec.target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(&spec.target)?;
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(
        Some(&source),
        &spec.target,
        None::<&str>,
        flags,
        None::<&str>,
    )
    .map_err(|e| failed(&what(), e))?;
    if spec.read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(
            None::<&str>,
            &spec.target,
            None::<&str>,
            flags,
            None::<&str>,
        )
        .map_err(|e| failed(&what(), e))?;
    }
    Ok(())
}

fn failed(what: &str, errno: nix::errno::Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
