//! MariaDB.

use std::path::PathBuf;

use super::{Image, ImageFile, Requirement, account, database, plain};

/// Where the image keeps its data.
const DATA: &str = "/var/lib/mysql";

/// Debian's MariaDB 10.11.
pub(super) fn mariadb_10_11() -> Image {
    let owner = format!("{0}:{0}", account::MYSQL);
    let mut files = account::with("mysql", account::MYSQL, DATA);
    files.push(ImageFile {
        path: PathBuf::from("/etc/mysql/my.cnf"),
        mode: 0o644,
        contents: include_bytes!("mariadb/my.cnf").to_vec(),
    });
    for (path, text) in [
        (
            "/usr/local/bin/docker-entrypoint.sh",
            &include_bytes!("mariadb/docker-entrypoint.sh")[..],
        ),
        ("/usr/local/bin/gosu", include_bytes!("postgres/gosu")),
    ] {
        files.push(database::executable(path, text));
    }
    let mut base = plain::base("mariadb:10.11");
    // Debian's own configuration listens on the loopback address only.
    base.hidden.push(PathBuf::from("/etc/mysql"));
    Image {
        entrypoint: vec!["docker-entrypoint.sh".to_owned()],
        cmd: vec!["mariadbd".to_owned()],
        requires: vec![Requirement::debian("/usr/sbin/mariadbd", "mariadb-server")],
        volumes: vec![PathBuf::from(DATA)],
        directories: database::directories(&[
            ("/root", "0:0", 0o700),
            ("/etc/mysql/conf.d", "0:0", 0o755),
            ("/docker-entrypoint-initdb.d", "0:0", 0o755),
            ("/run/mysqld", &owner, 0o1777),
            (DATA, &owner, 0o755),
        ]),
        files,
        exposed: vec![3306],
        ..base
    }
}
