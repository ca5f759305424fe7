//! Users of the images, with the numbers that the public images have.
//!
//! A volume remembers numbers, and manifests name them (`runAsUser: 999`): an image must not depend on which number the
//! host's package happened to give its user.

use std::path::PathBuf;

use super::ImageFile;

/// `postgres` of the public PostgreSQL images built on Debian.
pub(super) const POSTGRES: u32 = 999;
/// `redis` and `valkey` of the public images of those names built on Debian: the same number, so no image has more than
/// one of them.
pub(super) const REDIS: u32 = 999;
/// `mongodb` of the public image.
pub(super) const MONGODB: u32 = 999;
/// `mysql` of the public image.
pub(super) const MYSQL: u32 = 999;
/// `memcache` of the public image.
pub(super) const MEMCACHE: u32 = 11211;
/// `appuser` of the public Kafka image.
pub(super) const KAFKA: u32 = 1000;
/// `nonroot` of the distroless images.
pub(super) const NONROOT: u32 = 65532;

/// `/etc/passwd` and `/etc/group` of every image that names a user.
pub(super) fn files() -> Vec<ImageFile> {
    with("postgres", POSTGRES, "/var/lib/postgresql")
}

/// The same, where the server's user is another one.
pub(super) fn with(user: &str, number: u32, home: &str) -> Vec<ImageFile> {
    let passwd = format!(
        "root:x:0:0:root:/root:/bin/bash\n\
         daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         bin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
         www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
         haproxy:x:99:99::/var/lib/haproxy:/usr/sbin/nologin\n\
         {user}:x:{number}:{number}::{home}:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
         nonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n"
    );
    let group = format!(
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nwww-data:x:33:\nhaproxy:x:99:\n{user}:x:{number}:\n\
         nogroup:x:65534:\nnonroot:x:{NONROOT}:\n"
    );
    [("/etc/passwd", passwd), ("/etc/group", group)]
        .map(|(path, contents)| ImageFile {
            path: PathBuf::from(path),
            mode: 0o644,
            contents: contents.into_bytes(),
        })
        .into()
}
