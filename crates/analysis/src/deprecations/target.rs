//! What an upgrade goes to.

use std::collections::BTreeMap;

use thiserror::Error;

use super::table::{COMPONENTS, NEWEST, ROWS};

/// The oldest target that the table can judge: the first minor in which a kind went away.
const OLDEST_TARGET: u32 = 16;

/// A minor of Kubernetes, and releases of components where they are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The minor of Kubernetes 1.x.
    pub minor: u32,
    /// Releases of components, by name. A component that is not named goes to its newest release.
    pub components: BTreeMap<String, (u32, u32)>,
}

/// A target that cannot be judged.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// Not `1.MINOR`, `v1.MINOR.PATCH` or `COMPONENT=MAJOR.MINOR`.
    #[error("read the target {0:?}: it is not like 1.36, v1.36.2 or cert-manager=1.16")]
    Syntax(String),
    /// Outside of what the table covers.
    #[error("judge the target 1.{minor}: the table covers 1.{oldest} to 1.{newest}")]
    Range {
        /// What was asked for.
        minor: u32,
        /// First minor covered.
        oldest: u32,
        /// Last minor covered.
        newest: u32,
    },
    /// A component that the table does not have.
    #[error("judge {name:?}: the table knows {known}")]
    Component {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No version of Kubernetes at all.
    #[error("find the version of Kubernetes in the target: say --target 1.36")]
    NoKubernetes,
}

impl Target {
    /// Reads `1.36` and any number of `COMPONENT=1.6`.
    ///
    /// # Errors
    /// A target that the table cannot judge is refused rather than answered with nothing found.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, TargetError> {
        let mut minor = None;
        let mut components = BTreeMap::new();
        for text in texts {
            let syntax = || TargetError::Syntax(text.to_owned());
            match text.split_once('=') {
                None | Some(("k8s" | "kubernetes", _)) => {
                    let version = text.rsplit('=').next().unwrap_or(text);
                    let (major, asked) = major_minor(version).ok_or_else(syntax)?;
                    if major != 1 || minor.is_some() {
                        return Err(syntax());
                    }
                    let newest = Self::newest();
                    if !(OLDEST_TARGET..=newest).contains(&asked) {
                        return Err(TargetError::Range {
                            minor: asked,
                            oldest: OLDEST_TARGET,
                            newest,
                        });
                    }
                    minor = Some(asked);
                }
                Some((name, version)) => {
                    if !COMPONENTS.iter().any(|row| row.component == name) {
                        let known: std::collections::BTreeSet<&str> =
                            COMPONENTS.iter().map(|row| row.component).collect();
                        let known: Vec<&str> = known.into_iter().collect();
                        return Err(TargetError::Component {
                            name: name.to_owned(),
                            known: known.join(", "),
                        });
                    }
                    components.insert(name.to_owned(), major_minor(version).ok_or_else(syntax)?);
                }
            }
        }
        let minor = minor.ok_or(TargetError::NoKubernetes)?;
        Ok(Self { minor, components })
    }

    /// The newest minor that the table says anything about: schemas up to [`NEWEST`], plans beyond.
    pub fn newest() -> u32 {
        ROWS.iter()
            .filter_map(|row| row.removed)
            .max()
            .unwrap_or(NEWEST)
            .max(NEWEST)
    }

    /// Does the target lie beyond the newest schema, where only plans are known?
    pub fn is_planned(&self) -> bool {
        self.minor > NEWEST
    }
}

/// `1.36`, `v1.36`, `1.36.2`, `1.36.2-gke.1`.
fn major_minor(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    match parts.next() {
        Some(patch) if !patch.starts_with(|c: char| c.is_ascii_digit()) => None,
        _ => Some((major, minor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for text in ["1.36", "v1.36", "1.36.2", "v1.36.0", "k8s=v1.36.0"] {
            assert_eq!(Target::parse([text]).map(|t| t.minor), Ok(36), "{text}");
        }
        let with = Target::parse(["1.36", "cert-manager=v1.16.2"]).expect("a target");
        assert_eq!(with.components["cert-manager"], (1, 16));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for text in ["2.0", "1", "latest", "1.x", "", "1.36.x"] {
            assert!(
                matches!(Target::parse([text]), Err(TargetError::Syntax(_))),
                "{text}"
            );
        }
        for text in ["1.15", "1.99"] {
            assert!(
                matches!(Target::parse([text]), Err(TargetError::Range { .. })),
                "{text}"
            );
        }
        assert!(matches!(
            Target::parse(["1.36", "mixer=1.2"]),
            Err(TargetError::Component { .. })
        ));
        assert_eq!(Target::parse([]), Err(TargetError::NoKubernetes));
    }
}
