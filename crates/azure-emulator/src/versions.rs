//! Kubernetes versions: what the region offers, what may follow what, and the skew between nodes and control plane.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

/// How many minor versions a node pool may lag behind its control plane.
///
/// Source: AKS "supported Kubernetes versions" (three minors from 1.28 on). Two other pages of the vendor still say
/// two; the wider rule is the current one.
pub(crate) const POOL_SKEW: u32 = 3;

/// A full version, `1.36.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text
            .split('.')
            .map(|part| part.parse::<u32>().map_err(|_| ()));
        let version = Self {
            major: parts.next().ok_or(())??,
            minor: parts.next().ok_or(())??,
            patch: parts.next().ok_or(())??,
        };
        if parts.next().is_some() {
            Err(())
        } else {
            Ok(version)
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the region offers, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue(Vec<Version>);

impl Catalogue {
    /// Reads the offer; `Err` names the text that is no version.
    pub(crate) fn new(versions: &[String]) -> Result<Self, String> {
        let mut parsed = versions
            .iter()
            .map(|text| text.parse().map_err(|()| text.clone()))
            .collect::<Result<Vec<Version>, _>>()?;
        parsed.sort();
        parsed.dedup();
        Ok(Self(parsed))
    }

    pub(crate) fn offers(&self, version: Version) -> bool {
        self.0.contains(&version)
    }

    /// Resolves what a user wrote: a full version, or `1.36` for the newest patch of that minor. An alias of the
    /// version that already runs stays where it is: sending it again does not pick a newer patch.
    pub(crate) fn resolve(&self, wanted: &str, current: Option<Version>) -> Option<Version> {
        if let Ok(version) = wanted.parse() {
            return Some(version);
        }
        let (major, minor) = wanted.split_once('.')?;
        let (major, minor) = (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?);
        if let Some(current) = current.filter(|c| c.major == major && c.minor == minor) {
            return Some(current);
        }
        self.0
            .iter()
            .rev()
            .find(|v| v.major == major && v.minor == minor)
            .copied()
    }

    /// What a control plane at `from` may be upgraded to: newer patches of its minor and any patch of the next.
    pub(crate) fn upgrades(&self, from: Version) -> Vec<Version> {
        let next = |v: &&Version| {
            v.major == from.major && (v.minor == from.minor || v.minor == from.minor + 1)
        };
        self.0
            .iter()
            .filter(|v| **v > from)
            .filter(next)
            .copied()
            .collect()
    }

    /// What a node pool at `from` may be upgraded to under that control plane.
    pub(crate) fn pool_upgrades(&self, from: Version, control_plane: Version) -> Vec<Version> {
        self.0
            .iter()
            .filter(|v| **v > from && **v <= control_plane)
            .copied()
            .collect()
    }

    /// The body of `locations/{location}/kubernetesVersions`: the key is `values`, not `value`.
    pub(crate) fn to_json(&self) -> Value {
        let mut minors: BTreeMap<(u32, u32), Vec<Version>> = BTreeMap::new();
        for version in &self.0 {
            minors
                .entry((version.major, version.minor))
                .or_default()
                .push(*version);
        }
        // AKS's default is the minor before the newest one.
        let default = minors
            .keys()
            .rev()
            .nth(1)
            .or_else(|| minors.keys().next_back())
            .copied();
        let values: Vec<Value> = minors
            .iter()
            .map(|(minor, patches)| {
                let patch_versions: serde_json::Map<String, Value> = patches
                    .iter()
                    .map(|patch| {
                        let upgrades: Vec<String> = self
                            .upgrades(*patch)
                            .iter()
                            .map(ToString::to_string)
                            .collect();
                        (patch.to_string(), json!({ "upgrades": upgrades }))
                    })
                    .collect();
                let mut value = json!({
                    "version": format!("{}.{}", minor.0, minor.1),
                    "capabilities": {"supportPlan": ["KubernetesOfficial", "AKSLongTermSupport"]},
                    "patchVersions": patch_versions,
                });
                if default == Some(*minor) {
                    value["isDefault"] = json!(true);
                }
                value
            })
            .collect();
        json!({ "values": values })
    }
}

/// Why a node pool's version does not go with the control plane's, in the vendor's words; `None` if it does.
pub(crate) fn incompatible(pool: Version, control_plane: Version) -> Option<String> {
    let head = format!(
        "Node pool version {pool} and control plane version {control_plane} are incompatible."
    );
    let tail = "For more information, please check https://aka.ms/aks/UpgradeVersionRules";
    if pool.minor > control_plane.minor {
        return Some(format!(
            "{head} Minor version of node pool version {} is bigger than control plane version {}. {tail}",
            pool.minor, control_plane.minor
        ));
    }
    if pool > control_plane {
        return Some(format!(
            "{head} Node pool version is bigger than control plane version. {tail}"
        ));
    }
    if control_plane.minor - pool.minor > POOL_SKEW {
        return Some(format!(
            "{head} Minor version of node pool cannot be more than {POOL_SKEW} versions less than control plane's \
             version. {tail}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Catalogue, Version, incompatible};

    fn catalogue() -> Catalogue {
        let offer = ["1.34.7", "1.34.8", "1.35.3", "1.35.4", "1.36.2", "1.36.3"].map(str::to_owned);
        Catalogue::new(&offer).unwrap()
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn texts(versions: &[Version]) -> Vec<String> {
        versions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_control_plane_moves_one_minor_at_a_time() {
        assert_eq!(
            texts(&catalogue().upgrades(version("1.34.7"))),
            ["1.34.8", "1.35.3", "1.35.4"]
        );
        assert_eq!(texts(&catalogue().upgrades(version("1.36.3"))), [""; 0]);
    }

    #[test]
    fn a_pool_never_passes_its_control_plane() {
        let upgrades = catalogue().pool_upgrades(version("1.35.4"), version("1.36.2"));
        assert_eq!(texts(&upgrades), ["1.36.2"]);
        assert!(incompatible(version("1.36.3"), version("1.36.2")).is_some());
        assert!(incompatible(version("1.33.1"), version("1.36.2")).is_none());
        assert!(incompatible(version("1.32.1"), version("1.36.2")).is_some());
    }

    #[test]
    fn an_alias_sent_again_does_not_move() {
        assert_eq!(
            catalogue().resolve("1.35", Some(version("1.35.3"))),
            Some(version("1.35.3"))
        );
        assert_eq!(
            catalogue().resolve("1.35", Some(version("1.34.7"))),
            Some(version("1.35.4"))
        );
        assert_eq!(catalogue().resolve("1.40", None), None);
    }
}
