//! Pools that take the members over: one per old pool and zone, because AKS does not let anybody
//! choose the zone of the next machine of a pool with several.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{PoolName, Zone};
use crate::scope::Scope;
use crate::version::KubernetesVersion;
use crate::world::{Node, Pool, Snapshot};

/// Longest pool name that AKS accepts for Linux.
const LONGEST: usize = 12;

/// The new pools by old pool and zone.
#[derive(Debug)]
pub struct Layout {
    places: BTreeMap<(PoolName, Zone), NewPool>,
}

/// A pool at the target version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPool {
    /// Name.
    pub name: PoolName,
    /// Pool whose settings it takes over.
    pub like: PoolName,
    /// Its only zone.
    pub zone: Zone,
    /// Machines that it has already, from an earlier run.
    pub machines: u32,
}

impl Layout {
    /// Chooses pools. The same world gives the same names; a pool that an earlier run left, fit
    /// for the purpose, is used again.
    pub fn choose(world: &Snapshot, scope: &Scope<'_>) -> Self {
        let mut wanted: BTreeSet<(PoolName, Zone)> = BTreeSet::new();
        for node in scope.nodes.values() {
            wanted.extend(node.zone.clone().map(|zone| (node.pool.clone(), zone)));
        }
        let Some(target) = scope.target else {
            return Self {
                places: BTreeMap::new(),
            };
        };
        let mut taken = BTreeSet::new();
        let mut places = BTreeMap::new();
        for (old, zone) in wanted {
            let Some(like) = world.pools.get(&old) else {
                continue;
            };
            let (name, machines) = names(&old, &zone, target)
                .find_map(|name| {
                    if taken.contains(&name) {
                        return None;
                    }
                    match world.pools.get(&name) {
                        None => Some((name, 0)),
                        Some(pool) if fits(pool, like, &zone, target) => Some((name, pool.count)),
                        Some(_) => None,
                    }
                })
                .unwrap_or_else(|| (old.clone(), 0));
            taken.insert(name.clone());
            places.insert(
                (old.clone(), zone.clone()),
                NewPool {
                    name,
                    like: old,
                    zone,
                    machines,
                },
            );
        }
        Self { places }
    }

    /// The pool that takes over from an old one in a zone.
    pub fn place(&self, old: &PoolName, zone: &Zone) -> Option<&NewPool> {
        self.places.get(&(old.clone(), zone.clone()))
    }

    /// Whether a pool is one of the new ones.
    pub fn contains(&self, pool: &PoolName) -> bool {
        self.places.values().any(|place| place.name == *pool)
    }

    /// All new pools.
    pub fn iter(&self) -> impl Iterator<Item = &NewPool> {
        self.places.values()
    }
}

fn fits(pool: &Pool, like: &Pool, zone: &Zone, target: KubernetesVersion) -> bool {
    pool.kubernetes_version == target
        && pool.zones == [zone.clone()]
        && pool.system == like.system
        && pool.vm_size == like.vm_size
        && pool.node_labels == like.node_labels
        && pool.node_taints == like.node_taints
}

/// Candidates for a name, the plainest first: `dbpool` becomes `dbpool36z1`, at 1.37 `dbpool37z1`.
///
/// # Source
/// AKS: lower-case letters and digits, a letter first, at most 12 characters on Linux.
fn names(old: &PoolName, zone: &Zone, target: KubernetesVersion) -> impl Iterator<Item = PoolName> {
    let base: String = stem(old.as_str());
    let short: String = zone
        .as_str()
        .rsplit('-')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        // Azure's zones have one digit; a longer text is cut so that the name stays legal.
        .take(2)
        .collect();
    let mark = format!("{}z{short}", target.minor % 100);
    std::iter::once(String::new())
        .chain(('b'..='y').map(String::from))
        .chain((2..=99).map(|n| format!("z{n}")))
        .map(move |tail| {
            let room = LONGEST.saturating_sub(mark.len() + tail.len());
            let base: String = base.chars().take(room).collect();
            PoolName::new(format!("{base}{mark}{tail}"))
        })
}

/// The name without what an earlier run put behind it.
fn stem(name: &str) -> String {
    let legal: String = name
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        .collect();
    let stem = strip(&legal).unwrap_or(&legal);
    if stem.starts_with(|c: char| c.is_ascii_lowercase()) {
        stem.to_owned()
    } else {
        format!("p{stem}")
    }
}

/// `dbpool36z1b` is `dbpool` for us.
fn strip(name: &str) -> Option<&str> {
    let head = name.trim_end_matches(|c: char| ('b'..='y').contains(&c));
    let head = if name.len() - head.len() <= 1 {
        head
    } else {
        name
    };
    let (stem, zone) = head.rsplit_once('z')?;
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let cut = stem.len().checked_sub(2)?;
    (digits(zone)
        && zone.len() <= 2
        && cut > 0
        && stem.is_char_boundary(cut)
        && digits(&stem[cut..]))
    .then(|| &stem[..cut])
}

/// Nodes of a pool that could take a member: Ready and schedulable.
pub(crate) fn usable(node: &Node) -> bool {
    node.ready && !node.unschedulable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(old: &str, zone: &str) -> String {
        names(&old.into(), &zone.into(), "1.36.3".parse().unwrap())
            .next()
            .unwrap()
            .to_string()
    }

    #[test]
    fn names_are_legal_and_do_not_grow() {
        assert_eq!(first("dbpool", "eastus-1"), "dbpool36z1");
        assert_eq!(first("dbpool35z1", "eastus-1"), "dbpool36z1");
        assert_eq!(first("dbpool35z1b", "eastus-1"), "dbpool36z1");
        assert_eq!(first("averylongname", "eastus-3"), "averylon36z3");
        assert_eq!(first("z1", "eastus-3"), "z136z3");
        assert_eq!(first("a35z1", "westeurope-2"), "a36z2");
    }

    #[test]
    fn every_candidate_is_legal_and_distinct() {
        let all: Vec<_> = names(
            &"averylongname".into(),
            &"eastus-1".into(),
            "1.36.3".parse().unwrap(),
        )
        .collect();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        for name in all {
            let name = name.as_str();
            assert!(name.len() <= LONGEST, "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
                "{name}"
            );
        }
    }
}
