//! Memcached.

use super::{Image, Requirement, account, database, plain};

/// Debian's Memcached 1.6.
pub(super) fn memcached_1_6() -> Image {
    let mut files = account::with("memcache", account::MEMCACHE, "/nonexistent");
    files.push(database::executable(
        "/usr/local/bin/docker-entrypoint.sh",
        include_bytes!("memcached/docker-entrypoint.sh"),
    ));
    Image {
        entrypoint: vec!["docker-entrypoint.sh".to_owned()],
        cmd: vec!["memcached".to_owned()],
        user: Some("memcache".to_owned()),
        requires: vec![Requirement::debian("/usr/bin/memcached", "memcached")],
        files,
        exposed: vec![11211],
        ..plain::base("memcached:1.6")
    }
}
