//! The index of diagnostics: one page a code, one line a page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const INDEX: &str = "docs/errors/README.md";

/// Groups of codes, by their first three characters after `FW`.
const GROUPS: [(&str, &str); 12] = [
    ("00", "Of every command"),
    ("010", "The spec"),
    (
        "01",
        "Before anything is touched: refusals and warnings of a plan",
    ),
    ("02", "The hand-over"),
    ("03", "Acts on the cluster"),
    ("04", "The run and its journal"),
    ("05", "Redis and Valkey"),
    ("06", "MongoDB replica sets"),
    ("07", "MariaDB"),
    ("08", "Kafka"),
    ("10", "Memcached"),
    ("11", "PostgreSQL under Patroni"),
];

/// Writes the index.
pub fn write(root: &Path) -> Result<()> {
    let text = index(&pages(root)?);
    fs::write(root.join(INDEX), text).with_context(|| format!("write {INDEX}"))
}

/// Every code in the source has its page, every page is used, the index is current.
pub fn check(root: &Path) -> Result<()> {
    let pages = pages(root)?;
    let used = codes_in(&root.join("crates"))?;
    let mut wrong = Vec::new();
    for (code, place) in &used {
        if !pages.contains_key(code) {
            wrong.push(format!("{code} ({}) has no page", place.display()));
        }
    }
    for code in pages.keys() {
        if !used.contains_key(code) {
            wrong.push(format!("the page of {code} belongs to no code"));
        }
    }
    let found = fs::read_to_string(root.join(INDEX)).unwrap_or_default();
    if found != index(&pages) {
        wrong.push(format!("{INDEX} is not current: cargo xtask errors"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("pages of diagnostics:\n  {}", wrong.join("\n  "))
}

/// Titles by code.
fn pages(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    let directory = root.join("docs/errors");
    for entry in fs::read_dir(&directory).context("read docs/errors")? {
        let path = entry?.path();
        let Some(code) = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .filter(|stem| is_code(stem))
        else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let title = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .and_then(|line| line.strip_prefix(code))
            .and_then(|line| line.strip_prefix(": "))
            .with_context(|| format!("{code}: the first line is not `# {code}: title`"))?;
        pages.insert(code.to_owned(), title.to_owned());
    }
    Ok(pages)
}

fn index(pages: &BTreeMap<String, String>) -> String {
    let group = |code: &str| {
        GROUPS
            .iter()
            .filter(|(prefix, _)| code[2..].starts_with(prefix))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or("Others", |(_, title)| *title)
    };
    let mut text = String::from(
        "# Diagnostics\n\nEach refusal, warning and stop has a code, the evidence and the fix. \
         Written by `cargo xtask errors` from the pages beside it.\n",
    );
    let mut last = "";
    for (code, title) in pages {
        let here = group(code);
        if here != last {
            text.push_str(&format!("\n## {here}\n\n"));
            last = here;
        }
        text.push_str(&format!("- [{code}]({code}.md) {title}\n"));
    }
    text
}

/// Codes in the sources of the crates, with a file that has each. Tests do not count: they may
/// speak of a code that nobody gives.
fn codes_in(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    let skipped: BTreeSet<&str> = ["tests", "target", "node_modules"].into();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                if !skipped.contains(name) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                for code in codes(&text) {
                    found.entry(code).or_insert_with(|| path.clone());
                }
            }
        }
    }
    Ok(found)
}

/// Quoted codes outside of comments.
fn codes(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| is_code(word))
        .map(str::to_owned)
}

fn is_code(text: &str) -> bool {
    text.strip_prefix("FW")
        .is_some_and(|digits| digits.len() == 4 && digits.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_codes_count_and_comments_do_not() {
        let text = "// \"FW0999\"\nlet a = \"FW0123\"; // see FW0124\nx(\"FW12\", \"FW0125\")";
        assert_eq!(codes(text).collect::<Vec<_>>(), ["FW0123", "FW0125"]);
    }

    #[test]
    fn the_index_is_grouped() {
        let pages = [("FW0101", "spec"), ("FW0110", "plan"), ("FW0201", "window")]
            .into_iter()
            .map(|(code, title)| (code.to_owned(), title.to_owned()))
            .collect();
        let text = index(&pages);
        assert!(
            text.contains("## The spec\n\n- [FW0101](FW0101.md) spec\n\n## Before"),
            "{text}"
        );
        assert!(
            text.ends_with("## The hand-over\n\n- [FW0201](FW0201.md) window\n"),
            "{text}"
        );
    }
}
