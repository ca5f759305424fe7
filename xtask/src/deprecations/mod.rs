//! The table of API versions: which release serves what, what goes when, and what to use instead.
//!
//! Two steps, because a check must not need the network. `gather` reads the published sources and
//! writes what they say into `crates/analysis/data`; `write` joins these files into the table that
//! is compiled in. The join is pure: the same files give the same bytes.
//!
//! - `served.tsv`: kinds in the OpenAPI schema of each minor (the `kubernetes-validate` package).
//! - `tags.tsv`: lifecycle tags of `k8s.io/api`, `k8s.io/apiextensions-apiserver` and
//!   `k8s.io/kube-aggregator`, with the releases that say so: tags change between releases.
//! - `components.tsv`: APIs that are not Kubernetes' own. Written by hand, each row with its source.

mod gather;
mod join;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub use gather::{discovery, gather};
pub use join::{Served, Tags};

/// Where the gathered facts are.
const DATA: &str = "crates/analysis/data";
/// What is compiled in.
const TABLE: &str = "crates/analysis/src/deprecations/table.rs";

/// Writes the table from the gathered facts.
pub fn write(root: &Path) -> Result<()> {
    fs::write(root.join(TABLE), build(root)?).with_context(|| format!("write {TABLE}"))
}

/// The table is what the gathered facts give.
pub fn check(root: &Path) -> Result<()> {
    let found = fs::read_to_string(root.join(TABLE)).unwrap_or_default();
    if found == build(root)? {
        return Ok(());
    }
    bail!("{TABLE} is not current: cargo xtask deprecations")
}

fn build(root: &Path) -> Result<String> {
    let (served, tags) = facts(root)?;
    let components = read(root, "components.tsv")?;
    join::render(&join::rows(&served, &tags)?, &components, &served)
}

fn facts(root: &Path) -> Result<(Served, Tags)> {
    Ok((
        Served::parse(&read(root, "served.tsv")?)?,
        Tags::parse(&read(root, "tags.tsv")?)?,
    ))
}

fn read(root: &Path, name: &str) -> Result<String> {
    let path = root.join(DATA).join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What goes in a minor, as the table says it.
    fn going(rows: &[join::Row], minor: u32) -> BTreeSet<String> {
        rows.iter()
            .filter(|row| row.removed == Some(minor))
            .map(|row| format!("{row:?}"))
            .collect()
    }

    #[test]
    fn a_held_back_minor_is_reproduced_from_the_others_and_its_schema() {
        let root = crate::root();
        let (served, tags) = facts(&root).expect("gathered facts");
        let whole = join::rows(&served, &tags).expect("rows");
        let mut all = 0;
        for minor in 26..=served.newest() {
            let held_back = join::rows(&served, &tags.without(minor)).expect("rows");
            let gone: BTreeSet<_> = going(&whole, minor);
            let again: BTreeSet<_> = going(&held_back, minor);
            // What the release's own tags add is only which release said so last.
            assert_eq!(gone.len(), again.len(), "1.{minor}: {gone:#?} {again:#?}");
            all += gone.len();
        }
        assert!(all >= 40, "{all} kinds went since 1.26");
    }

    #[test]
    fn a_schema_alone_moves_the_minor_in_which_a_kind_goes() {
        let root = crate::root();
        let (served, tags) = facts(&root).expect("gathered facts");
        let before = join::rows(&served.until(33), &tags.without_after(33)).expect("rows");
        let after = join::rows(&served.until(34), &tags.without_after(33)).expect("rows");
        let removed = |rows: &[join::Row]| {
            rows.iter()
                .find(|row| {
                    row.group == "resource.k8s.io"
                        && row.version == "v1alpha3"
                        && row.kind == "ResourceClaim"
                })
                .and_then(|row| row.removed)
        };
        // Its tag promised 1.37 while it was served; the schema of 1.34 has it no more.
        assert_ne!(removed(&before), Some(34));
        assert_eq!(removed(&after), Some(34));
    }
}
