//! The index of findings: one page a code, one line a page, grouped by family.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

const INDEX: &str = "docs/checks/README.md";
const CODES: &str = "crates/analysis/src/codes.rs";

/// Families, by the start of their codes. The longest start counts.
const FAMILIES: [(&str, &str); 14] = [
    ("FWA", "State of AKS"),
    ("FWB", "Best practices"),
    ("FWD", "API versions"),
    ("FWR00", "Probes"),
    ("FWR01", "Replicas"),
    ("FWR02", "Disruption budgets"),
    ("FWR03", "Disruption budgets"),
    ("FWR04", "Spread and rollouts"),
    ("FWR05", "Shutdown"),
    ("FWR06", "Pods and volumes"),
    ("FWR07", "Webhooks"),
    ("FWR08", "Capacity"),
    ("FWR09", "Connections"),
    ("FWS", "Drain simulation"),
];

/// What stands around the list.
const HEAD: &str = "\
# Findings

What `ferriswheel check` reports. `ferriswheel check --explain CODE` prints a page. The list is written by
`cargo xtask checks` from the pages beside it.
";
const TAIL: &str = "
## Severities

| severity | meaning |
|---|---|
| `breaks` | at the target this object is no longer served |
| `blocks` | the upgrade cannot finish while this is so |
| `stale-source` | the object is well; what it is made from is not |
| `later` | served at the target, goes in a later release |
| `warning` | hurts, stops nothing |
| `info` | to know |

`--output json` is a contract: [findings.v1.schema.json](../findings.v1.schema.json). Where a fix can be said exactly, a
finding has `patches`: operations of RFC 6902 on an object, an object to create, or one to delete; all of a finding's patches
together clear it. They are written for the object as it was read: change its source, not the cluster alone.

## Accepting a finding

`--write-baseline FILE --reason TEXT --expires DAY` writes what is found now; `--baseline FILE` takes it out of the findings
until that day and lists it under `accepted`. An entry says `code`, `reason`, `expires`, and as much of `kind`, `namespace`,
`name` and `file` as it is meant for. After the day the finding counts again, with the entry as evidence.

## Converting manifests

`--fix DIR` writes every file with an object that the target does not serve, or that a later release drops, below DIR, and
never over a file that was read. Where only the version changes, every other byte stays. Where fields change, the document is
written anew, with the defaults of the old version written out where the new one has others. What is left to people is named
with the reason.
";

/// Writes the index.
pub fn write(root: &Path) -> Result<()> {
    fs::write(root.join(INDEX), index(&pages(root)?)).with_context(|| format!("write {INDEX}"))
}

/// Every code has its page with its parts, every page its code, the index is current.
pub fn check(root: &Path) -> Result<()> {
    let pages = pages(root)?;
    let source = fs::read_to_string(root.join(CODES)).with_context(|| CODES.to_owned())?;
    let codes: Vec<&str> = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| is_code(word))
        .collect();
    let mut wrong = Vec::new();
    for code in &codes {
        match pages.get(*code) {
            None => wrong.push(format!("{code} has no page")),
            Some((_, text)) => {
                for part in ["\nSeverity: ", "\n## What it means\n", "\n## What to do\n"] {
                    if !text.contains(part) {
                        wrong.push(format!("the page of {code} has no {:?}", part.trim()));
                    }
                }
            }
        }
    }
    for code in pages.keys() {
        if !codes.contains(&code.as_str()) {
            wrong.push(format!("the page of {code} belongs to no code"));
        }
    }
    if fs::read_to_string(root.join(INDEX)).unwrap_or_default() != index(&pages) {
        wrong.push(format!("{INDEX} is not current: cargo xtask checks"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("pages of findings:\n  {}", wrong.join("\n  "))
}

/// Titles and texts by code.
fn pages(root: &Path) -> Result<BTreeMap<String, (String, String)>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(root.join("docs/checks")).context("read docs/checks")? {
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
            .and_then(|line| line.strip_prefix(&format!("# {code}: ")))
            .with_context(|| format!("{code}: the first line is not `# {code}: title`"))?;
        pages.insert(code.to_owned(), (title.to_owned(), text.clone()));
    }
    Ok(pages)
}

fn index(pages: &BTreeMap<String, (String, String)>) -> String {
    let family = |code: &str| {
        FAMILIES
            .iter()
            .filter(|(start, _)| code.starts_with(start))
            .max_by_key(|(start, _)| start.len())
            .map_or("Others", |(_, title)| *title)
    };
    let mut text = HEAD.to_owned();
    let mut last = "";
    for (code, (title, _)) in pages {
        let here = family(code);
        if here != last {
            text.push_str(&format!("\n## {here}\n\n"));
            last = here;
        }
        text.push_str(&format!("- [{code}]({code}.md) {title}\n"));
    }
    text.push_str(TAIL);
    text
}

/// `FWD001`: two letters of the project, one of the family, three digits.
fn is_code(text: &str) -> bool {
    text.strip_prefix("FW").is_some_and(|rest| {
        let mut chars = rest.chars();
        chars.next().is_some_and(|c| c.is_ascii_uppercase())
            && rest.len() == 4
            && chars.all(|c| c.is_ascii_digit())
    })
}
