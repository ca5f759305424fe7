//! Which API versions a target serves.
//!
//! The table is generated (see `cargo xtask deprecations`): lifecycle tags joined with the schema of
//! each minor. A removal that a schema shows is a fact; one that only a tag promises is a plan, and
//! says so.

mod grade;
mod notes;
mod row;
mod table;
mod target;
mod usage;

pub(crate) use grade::grade;
pub use notes::{Note, note};
pub use row::{Basis, Component, Row};
pub use table::{COMPONENTS, NEWEST, OLDEST, ROWS};
pub use target::{Target, TargetError};
pub use usage::{Usage, Witness};
pub(crate) use usage::{
    audited, findings as of_usages, holds as holds_usages, read as read_usages,
};

/// What a minor does with a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Served, and nothing is known against it.
    Served,
    /// Served, with a warning; no minor is known in which it goes.
    Deprecated,
    /// Served; goes in this minor.
    Later(u32),
    /// Not served any more since this minor.
    Gone(u32),
    /// Not served before this minor.
    NotYet(u32),
}

impl Row {
    /// What `minor` does with it.
    pub fn standing(&self, minor: u32) -> Standing {
        match (self.introduced, self.removed, self.deprecated) {
            (_, Some(removed), _) if removed <= minor => Standing::Gone(removed),
            (Some(introduced), _, _) if introduced > minor => Standing::NotYet(introduced),
            (_, Some(removed), _) => Standing::Later(removed),
            (_, None, Some(deprecated)) if deprecated <= minor => Standing::Deprecated,
            _ => Standing::Served,
        }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// What to use instead at `minor`: of the kind that the project names, the most stable version
    /// that this minor serves.
    pub fn replacement_at(&self, minor: u32) -> Option<(String, &'static str)> {
        let mut group = self.group;
        let mut kind = self.kind;
        if let Some((api, named)) = self.replacement {
            (group, _) = split(api);
            kind = named;
        }
        ROWS.iter()
            .filter(|row| row.kind == kind && row.group == group)
            .filter(|row| (row.group, row.version) != (self.group, self.version))
            .filter(|row| {
                matches!(
                    row.standing(minor),
                    Standing::Served | Standing::Deprecated | Standing::Later(_)
                )
            })
            .max_by_key(|row| stability(row.version))
            .map(|row| (row.api(), row.kind))
    }
}

/// The row of a kind of Kubernetes itself.
pub fn row(api: &str, kind: &str) -> Option<&'static Row> {
    let (group, version) = split(api);
    ROWS.binary_search_by(|row| (row.kind, row.group, row.version).cmp(&(kind, group, version)))
        .ok()
        .and_then(|at| ROWS.get(at))
}

/// The row of a kind of a component that the table knows.
pub fn component(api: &str, kind: &str) -> Option<&'static Component> {
    let (group, version) = split(api);
    COMPONENTS
        .iter()
        .find(|row| row.group == group && row.version == version && row.kind == kind)
}

/// May the table have something to say about this kind, whatever the target?
pub(crate) fn concerns(api: &str, kind: &str) -> bool {
    row(api, kind).is_some_and(|row| {
        row.removed.is_some() || row.deprecated.is_some() || row.introduced > Some(OLDEST)
    }) || component(api, kind).is_some()
}

fn split(api: &str) -> (&str, &str) {
    api.split_once('/').unwrap_or(("", api))
}

/// `v1` above `v1beta2` above `v1beta1` above `v1alpha3`, and `v2` above `v1`.
fn stability(version: &str) -> (u32, u32, u32) {
    let digits = |text: &str| text.parse().unwrap_or(0);
    let text = version.trim_start_matches('v');
    if let Some((major, n)) = text.split_once("beta") {
        (1, digits(major), digits(n))
    } else if let Some((major, n)) = text.split_once("alpha") {
        (0, digits(major), digits(n))
    } else {
        (2, digits(text), 0)
    }
}
