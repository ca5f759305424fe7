//! Image references as people write them in manifests.

use std::fmt;

/// The part of a reference that the catalogue goes by: the repository's last path component and the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `postgres` of `docker.io/library/postgres:15.4-bookworm@sha256:...`.
    pub repository: String,
    /// `15.4-bookworm`; `latest` when there is none.
    pub tag: String,
}

impl Reference {
    /// Reads a reference. Registry, path and digest are dropped: the catalogue has one thing by each name.
    #[must_use]
    pub fn parse(image: &str) -> Self {
        let named = image.split_once('@').map_or(image, |(name, _digest)| name);
        // The last component only: a registry's port is not a tag.
        let last = named
            .rsplit_once('/')
            .map_or(named, |(_registry, last)| last);
        let (repository, tag) = last.split_once(':').unwrap_or((last, "latest"));
        Self {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        }
    }

    /// The leading components of the tag as numbers: 15 and 4 of `15.4-bookworm`, 18 of `v18`.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        let version = self.tag.trim_start_matches('v');
        let end = version
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(version.len());
        version
            .get(..end)
            .unwrap_or_default()
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_component_and_the_tag_count() {
        for (image, repository, tag, numbers) in [
            ("postgres", "postgres", "latest", vec![]),
            ("postgres:15", "postgres", "15", vec![15]),
            (
                "docker.io/library/postgres:15.4-bookworm",
                "postgres",
                "15.4-bookworm",
                vec![15, 4],
            ),
            ("localhost:5000/postgres", "postgres", "latest", vec![]),
            (
                "registry:5000/team/coredns:v1.13.1@sha256:00ff",
                "coredns",
                "v1.13.1",
                vec![1, 13, 1],
            ),
            ("pgbouncer@sha256:00ff", "pgbouncer", "latest", vec![]),
            ("", "", "latest", vec![]),
        ] {
            let reference = Reference::parse(image);
            assert_eq!(
                (reference.repository.as_str(), reference.tag.as_str()),
                (repository, tag),
                "{image}"
            );
            assert_eq!(reference.numbers(), numbers, "{image}");
        }
    }
}
