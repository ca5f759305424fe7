//! Images without state: shells, this binary, the parts of a cluster.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::{Image, ImageDirectory, ImageFile, ImageMount, Requirement, account};

/// Debian's default for a user's programs and an administrator's.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Places of the host that belong to its people and its own servers. No image shows them.
const HIDDEN: [&str; 16] = [
    "/home",
    "/root",
    "/srv",
    "/etc/etcd",
    "/etc/haproxy",
    "/etc/patroni",
    "/etc/pgbouncer",
    "/etc/postgresql",
    "/etc/redis",
    "/var/lib/etcd",
    "/var/lib/postgresql",
    "/var/lib/redis",
    "/var/log/pgbouncer",
    "/var/log/postgresql",
    "/var/log/redis",
    "/var/spool",
];

/// An image with nothing but the host's programs.
pub(super) fn base(name: &str) -> Image {
    Image {
        name: name.to_owned(),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        env: vec![("PATH".to_owned(), PATH.to_owned())],
        user: None,
        workdir: PathBuf::from("/"),
        stop_signal: Signal::SIGTERM,
        files: Vec::new(),
        mounts: Vec::new(),
        hidden: HIDDEN.map(PathBuf::from).into(),
        // root's home is hidden as the host's, but an image has one.
        directories: vec![ImageDirectory {
            path: PathBuf::from("/root"),
            owner: "0:0".to_owned(),
            mode: 0o700,
        }],
        volumes: Vec::new(),
        exposed: Vec::new(),
        requires: Vec::new(),
    }
}

/// `debian`, `busybox`, `alpine`: a shell over the host's programs.
pub(super) fn shell(name: &str) -> Image {
    Image {
        cmd: vec!["sh".to_owned()],
        ..base(name)
    }
}

/// `pause`: does nothing until it is told to stop.
pub(super) fn pause() -> Image {
    Image {
        entrypoint: vec!["sleep".to_owned(), "infinity".to_owned()],
        stop_signal: Signal::SIGKILL,
        ..base("pause")
    }
}

/// This program.
pub(super) fn ferriswheel(binary: &Path) -> Image {
    let target = PathBuf::from("/usr/local/bin/ferriswheel");
    Image {
        entrypoint: vec!["ferriswheel".to_owned()],
        user: Some(format!("{0}:{0}", account::NONROOT)),
        files: account::files(),
        mounts: vec![ImageMount {
            source: binary.to_owned(),
            target,
        }],
        requires: vec![Requirement {
            path: binary.to_owned(),
            package: "ferriswheel".to_owned(),
            install: "cargo build --release -p ferriswheel-cli".to_owned(),
        }],
        ..base("ferriswheel")
    }
}

/// CoreDNS as built with the control plane. As root: the runtime gives no file capabilities, and port 53 is privileged.
pub(super) fn coredns(control_plane: &Path) -> Image {
    let source = control_plane.join("coredns");
    Image {
        entrypoint: vec!["/coredns".to_owned()],
        exposed: vec![53],
        requires: vec![control_plane_program(&source)],
        mounts: vec![ImageMount {
            source,
            target: PathBuf::from("/coredns"),
        }],
        ..base("coredns")
    }
}

/// etcd as built with the control plane.
pub(super) fn etcd(control_plane: &Path) -> Image {
    let source = control_plane.join("etcd");
    Image {
        entrypoint: vec!["/usr/local/bin/etcd".to_owned()],
        exposed: vec![2379, 2380],
        requires: vec![control_plane_program(&source)],
        mounts: vec![ImageMount {
            source,
            target: PathBuf::from("/usr/local/bin/etcd"),
        }],
        directories: vec![
            ImageDirectory {
                path: PathBuf::from("/root"),
                owner: "0:0".to_owned(),
                mode: 0o700,
            },
            ImageDirectory {
                path: PathBuf::from("/var/etcd"),
                owner: "0:0".to_owned(),
                mode: 0o700,
            },
            ImageDirectory {
                path: PathBuf::from("/var/lib/etcd"),
                owner: "0:0".to_owned(),
                mode: 0o700,
            },
        ],
        ..base("etcd")
    }
}

/// Debian's HAProxy. SIGUSR1, its soft stop, as in the public image: sessions end by themselves.
pub(super) fn haproxy() -> Image {
    Image {
        entrypoint: vec!["docker-entrypoint.sh".to_owned()],
        cmd: ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
            .map(str::to_owned)
            .into(),
        user: Some("haproxy".to_owned()),
        stop_signal: Signal::SIGUSR1,
        files: {
            let mut files = account::files();
            files.push(ImageFile {
                path: PathBuf::from("/usr/local/bin/docker-entrypoint.sh"),
                mode: 0o755,
                contents: include_bytes!("haproxy/docker-entrypoint.sh").to_vec(),
            });
            files
        },
        directories: vec![
            ImageDirectory {
                path: PathBuf::from("/root"),
                owner: "0:0".to_owned(),
                mode: 0o700,
            },
            ImageDirectory {
                path: PathBuf::from("/var/lib/haproxy"),
                owner: "99:99".to_owned(),
                mode: 0o755,
            },
            ImageDirectory {
                path: PathBuf::from("/usr/local/etc/haproxy"),
                owner: "0:0".to_owned(),
                mode: 0o755,
            },
        ],
        requires: vec![Requirement::debian("/usr/sbin/haproxy", "haproxy")],
        ..base("haproxy")
    }
}

fn control_plane_program(path: &Path) -> Requirement {
    Requirement {
        path: path.to_owned(),
        package: "the control plane's programs".to_owned(),
        install: "ferriswheel sandbox build".to_owned(),
    }
}
