//! Schemas and tags into rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

/// Group, version, kind.
pub type Gvk = (String, String, String);

/// Which minors serve what.
#[derive(Clone, Debug, Default)]
pub struct Served(pub BTreeMap<Gvk, BTreeSet<u32>>);

impl Served {
    /// `group/version kind minors` a line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut served = BTreeMap::new();
        for line in lines(text) {
            let [api, kind, minors] = columns(line)?;
            served.insert(gvk(api, kind), ranges(minors)?);
        }
        Ok(Self(served))
    }

    /// The lines that `parse` reads.
    pub fn render(&self) -> String {
        let mut text = String::from("# group/version\tkind\tminors of 1.x whose schema has it\n");
        for ((group, version, kind), minors) in &self.0 {
            let _ = writeln!(text, "{}\t{kind}\t{}", api(group, version), compact(minors));
        }
        text
    }

    /// The newest minor with a schema.
    pub fn newest(&self) -> u32 {
        self.0.values().flatten().copied().max().unwrap_or_default()
    }

    fn oldest(&self) -> u32 {
        self.0.values().flatten().copied().min().unwrap_or_default()
    }

    /// As if nothing after `minor` had been published.
    #[cfg(test)]
    pub fn until(&self, minor: u32) -> Self {
        let mut earlier = self.clone();
        for minors in earlier.0.values_mut() {
            minors.retain(|m| *m <= minor);
        }
        earlier.0.retain(|_, minors| !minors.is_empty());
        earlier
    }
}

/// What a release says of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub introduced: Option<u32>,
    pub deprecated: Option<u32>,
    pub removed: Option<u32>,
    pub replacement: Option<Gvk>,
}

/// What each release says of each kind.
#[derive(Clone, Debug, Default)]
pub struct Tags(pub BTreeMap<Gvk, BTreeMap<u32, Tag>>);

impl Tags {
    /// `group/version kind introduced deprecated removed replacement releases` a line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tags: BTreeMap<Gvk, BTreeMap<u32, Tag>> = BTreeMap::new();
        for line in lines(text) {
            let [
                api,
                kind,
                introduced,
                deprecated,
                removed,
                instead,
                releases,
            ] = columns(line)?;
            let tag = Tag {
                introduced: minor(introduced)?,
                deprecated: minor(deprecated)?,
                removed: minor(removed)?,
                replacement: match instead {
                    "-" => None,
                    text => {
                        let (api, kind) = text.split_once(' ').context("replacement")?;
                        Some(gvk(api, kind))
                    }
                },
            };
            let of_kind = tags.entry(gvk(api, kind)).or_default();
            for release in ranges(releases)? {
                of_kind.insert(release, tag.clone());
            }
        }
        Ok(Self(tags))
    }

    /// The lines that `parse` reads.
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# group/version\tkind\tintroduced\tdeprecated\tremoved\treplacement\treleases of 1.x that say so\n",
        );
        for ((group, version, kind), by_release) in &self.0 {
            let mut said: BTreeMap<&Tag, BTreeSet<u32>> = BTreeMap::new();
            for (release, tag) in by_release {
                said.entry(tag).or_default().insert(*release);
            }
            let mut said: Vec<_> = said.into_iter().collect();
            said.sort_by_key(|(_, releases)| releases.first().copied());
            for (tag, releases) in said {
                let instead = tag
                    .replacement
                    .as_ref()
                    .map_or("-".into(), |(g, v, k)| format!("{} {k}", api(g, v)));
                let _ = writeln!(
                    text,
                    "{}\t{kind}\t{}\t{}\t{}\t{instead}\t{}",
                    api(group, version),
                    shown(tag.introduced),
                    shown(tag.deprecated),
                    shown(tag.removed),
                    compact(&releases)
                );
            }
        }
        text
    }

    /// As if a release had not been published.
    #[cfg(test)]
    pub fn without(&self, minor: u32) -> Self {
        self.only(|release| release != minor)
    }

    /// As if nothing after a release had been published.
    #[cfg(test)]
    pub fn without_after(&self, minor: u32) -> Self {
        self.only(|release| release <= minor)
    }

    #[cfg(test)]
    fn only(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = self.clone();
        for by_release in kept.0.values_mut() {
            by_release.retain(|release, _| keep(*release));
        }
        kept.0.retain(|_, by_release| !by_release.is_empty());
        kept
    }
}

/// What the table says of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub group: String,
    pub version: String,
    pub kind: String,
    /// First minor that serves it.
    pub introduced: Option<u32>,
    pub deprecated: Option<u32>,
    /// First minor that does not serve it any more.
    pub removed: Option<u32>,
    pub replacement: Option<Gvk>,
    /// What the removal rests on.
    pub basis: Basis,
    /// The release that the row comes from.
    pub release: u32,
}

/// What a removal rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Two schemas: one has it, the next has not.
    Schema,
    /// A lifecycle tag alone.
    Tag,
}

/// Joins the facts.
///
/// A schema beats a tag wherever there is one: alpha kinds go earlier than their tags promise, and
/// tags of what has gone already are no longer kept up.
pub fn rows(served: &Served, tags: &Tags) -> Result<Vec<Row>> {
    let (oldest, newest) = (served.oldest(), served.newest());
    let keys: BTreeSet<&Gvk> = served.0.keys().chain(tags.0.keys()).collect();
    let mut rows = Vec::new();
    for key in keys {
        let by_release = tags.0.get(key);
        let latest = by_release.and_then(BTreeMap::last_key_value);
        let tag = latest.map(|(_, tag)| tag.clone()).unwrap_or_default();
        let minors = served.0.get(key);
        let (introduced, removed, basis, release) = match minors {
            Some(minors) => {
                let (Some(first), Some(last)) = (minors.first(), minors.last()) else {
                    continue;
                };
                // A schema of the first minor says nothing about the minors before it.
                let introduced = if *first > oldest {
                    Some(*first)
                } else {
                    tag.introduced
                };
                if *last < newest {
                    (introduced, Some(last + 1), Basis::Schema, last + 1)
                } else {
                    // A tag that should have taken effect and has not is wrong.
                    let planned = tag.removed.filter(|removed| *removed > newest);
                    let release = latest.map_or(newest, |(release, _)| *release);
                    (introduced, planned, Basis::Tag, release)
                }
            }
            None => {
                // Older than the first schema, or never served at all (configuration files).
                let Some((release, _)) = latest else { continue };
                match tag.removed {
                    Some(removed) if removed <= oldest => {
                        (tag.introduced, Some(removed), Basis::Tag, *release)
                    }
                    _ => continue,
                }
            }
        };
        rows.push(Row {
            group: key.0.clone(),
            version: key.1.clone(),
            kind: key.2.clone(),
            introduced,
            deprecated: tag.deprecated.filter(|d| removed.is_none_or(|r| *d <= r)),
            removed,
            replacement: tag
                .replacement
                .clone()
                .filter(|instead| serves(served, tags, instead, removed.unwrap_or(newest)))
                .or_else(|| {
                    (removed.is_some() || tag.deprecated.is_some())
                        .then(|| successor(served, key, removed.unwrap_or(newest)))
                        .flatten()
                }),
            basis,
            release,
        });
    }
    if rows.is_empty() {
        bail!("the gathered facts are empty");
    }
    Ok(rows)
}

/// Is a replacement there when it is needed, as far as anybody can know?
fn serves(served: &Served, tags: &Tags, instead: &Gvk, at: u32) -> bool {
    served.0.get(instead).map_or_else(
        || tags.0.contains_key(instead),
        |minors| {
            minors
                .last()
                .is_some_and(|last| *last >= at.min(served.newest()))
        },
    )
}

/// The most stable version of the same kind that the minor serves.
fn successor(served: &Served, of: &Gvk, at: u32) -> Option<Gvk> {
    let at = at.clamp(served.oldest(), served.newest());
    served
        .0
        .iter()
        .filter(|((group, version, kind), minors)| {
            *group == of.0 && *kind == of.2 && *version != of.1 && minors.contains(&at)
        })
        .map(|(key, _)| key)
        .filter(|key| stability(&key.1) > stability(&of.1))
        .max_by_key(|key| stability(&key.1))
        .cloned()
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

/// The source of the table.
pub fn render(rows: &[Row], components: &str, served: &Served) -> Result<String> {
    let mut text = String::from(
        "//! What each minor serves. Written by `cargo xtask deprecations`; do not edit.\n\n\
         use super::row::{Basis, Component, Row};\n\n",
    );
    let _ = writeln!(
        text,
        "/// The oldest minor with a schema.\npub const OLDEST: u32 = {};\n\
         /// The newest minor with a schema.\npub const NEWEST: u32 = {};\n",
        served.oldest(),
        served.newest()
    );
    text.push_str(
        "/// Sorted by kind, group and version.\n#[rustfmt::skip]\npub const ROWS: &[Row] = &[\n",
    );
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (&row.kind, &row.group, &row.version));
    for row in sorted {
        let instead = row.replacement.as_ref().map_or("None".into(), |(g, v, k)| {
            format!("Some(({:?}, {k:?}))", api(g, v))
        });
        let _ = writeln!(
            text,
            "    Row {{ kind: {:?}, group: {:?}, version: {:?}, introduced: {:?}, deprecated: {:?}, removed: {:?}, replacement: {instead}, basis: Basis::{:?}, release: {} }},",
            row.kind,
            row.group,
            row.version,
            row.introduced,
            row.deprecated,
            row.removed,
            row.basis,
            row.release
        );
    }
    text.push_str("];\n\n/// APIs of others. Sorted by kind, group and version.\n#[rustfmt::skip]\npub const COMPONENTS: &[Component] = &[\n");
    let mut of_others = Vec::new();
    for line in lines(components) {
        let [component, api, kinds, deprecated, removed, instead, source] = columns(line)?;
        let (group, version) = api.split_once('/').context("group/version")?;
        for kind in kinds.split(',') {
            let instead = match instead {
                "-" => "None".to_owned(),
                text => format!("Some({text:?})"),
            };
            let release = |text: &str| -> Result<String> {
                if text == "-" {
                    return Ok("None".into());
                }
                let (major, minor) = text.split_once('.').context("a release is MAJOR.MINOR")?;
                Ok(format!(
                    "Some(({}, {}))",
                    major.parse::<u32>()?,
                    minor.parse::<u32>()?
                ))
            };
            of_others.push((
                kind.to_owned(),
                api.to_owned(),
                format!(
                    "    Component {{ kind: {kind:?}, group: {group:?}, version: {version:?}, component: {component:?}, deprecated: {}, removed: {}, replacement: {instead}, source: {source:?} }},\n",
                    release(deprecated)?,
                    release(removed)?,
                ),
            ));
        }
    }
    of_others.sort();
    for (_, _, line) in of_others {
        text.push_str(&line);
    }
    text.push_str("];\n");
    Ok(text)
}

/// `apps/v1`, or `v1` for the core group.
pub fn api(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

fn gvk(api: &str, kind: &str) -> Gvk {
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    (group.to_owned(), version.to_owned(), kind.to_owned())
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn columns<const N: usize>(line: &str) -> Result<[&str; N]> {
    let found: Vec<&str> = line.split('\t').collect();
    found
        .try_into()
        .map_err(|_| anyhow::anyhow!("{line:?} has not {N} columns"))
}

fn minor(text: &str) -> Result<Option<u32>> {
    match text.strip_prefix("1.") {
        Some(minor) => Ok(Some(minor.parse().context("a minor")?)),
        None => Ok(None),
    }
}

fn shown(minor: Option<u32>) -> String {
    minor.map_or("-".into(), |minor| format!("1.{minor}"))
}

/// `25-31,33`.
fn ranges(text: &str) -> Result<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<u32>().context("a range")?..=last.parse().context("a range")?);
    }
    Ok(all)
}

fn compact(minors: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for minor in minors {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *minor => *last = *minor,
            _ => parts.push((*minor, *minor)),
        }
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    parts.join(",")
}
