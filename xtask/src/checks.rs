//! The index of findings: one page a code, one line a page, grouped by family.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Pages in one directory, of the codes in one file.
struct Index {
    pages: &'static str,
    codes: &'static str,
    /// Families, by the start of their codes. The longest start counts.
    families: &'static [(&'static str, &'static str)],
    /// What every page has.
    parts: [&'static str; 3],
    head: &'static str,
    tail: &'static str,
}

/// What `check`, `lint` and `diagnose` report.
const INDICES: [Index; 3] = [
    Index {
        pages: "docs/checks",
        codes: "crates/analysis/src/codes.rs",
        families: &FAMILIES,
        parts: ["\nSeverity: ", "\n## What it means\n", "\n## What to do\n"],
        head: HEAD,
        tail: TAIL,
    },
    Index {
        pages: "docs/lint",
        codes: "crates/analysis/src/lint/codes.rs",
        families: &LINT_FAMILIES,
        parts: [
            "\nSeverity: ",
            "\n## What it means\n",
            "\n## What to write instead\n",
        ],
        head: LINT_HEAD,
        tail: LINT_TAIL,
    },
    Index {
        pages: "docs/diagnoses",
        codes: "crates/analysis/src/diagnose/codes.rs",
        families: &DIAGNOSIS_FAMILIES,
        parts: [
            "\n## What it means\n",
            "\n## What to do\n",
            "\n## What not to do\n",
        ],
        head: DIAGNOSIS_HEAD,
        tail: "",
    },
];

const DIAGNOSIS_FAMILIES: [(&str, &str); 5] = [
    ("FWT0", "Refused or ended by AKS"),
    ("FWT1", "A drain is stuck"),
    ("FWT2", "It takes long"),
    ("FWT3", "Requests fail"),
    ("FWT4", "Names are not resolved"),
];

const DIAGNOSIS_HEAD: &str = "\
# Diagnoses

What `ferriswheel diagnose` reports ([how](../diagnose.md)). `ferriswheel diagnose --explain CODE` prints a page. The list is
written by `cargo xtask checks` from the pages beside it.
";

const LINT_FAMILIES: [(&str, &str); 11] = [
    ("FWL0", "Pages and scripts"),
    ("FWL01", "Habits of scripts"),
    ("FWL1", "kubectl"),
    ("FWL2", "az"),
    ("FWL3", "redis-cli, valkey-cli"),
    ("FWL4", "mongosh"),
    ("FWL5", "psql, pg_ctl, pg_restore, PgBouncer"),
    ("FWL6", "Kafka"),
    ("FWL7", "curl on Elasticsearch and OpenSearch"),
    ("FWL8", "Alerts and dashboards"),
    ("FWL9", "Others"),
];

const LINT_HEAD: &str = "\
# Mistakes in runbooks

What `ferriswheel lint FILE...` reports of shell scripts, Markdown with blocks of code, and the YAML of pipelines, ConfigMaps
and containers. `ferriswheel lint --explain CODE` prints a page. The list is written by `cargo xtask checks` from the pages
beside it.
";
const LINT_TAIL: &str = "
## Severities

| severity | meaning |
|---|---|
| `harms` | done as written it loses data or stops the service |
| `fails` | it is refused, or it never ends |
| `misleads` | it seems to prove something that it does not |

Exit codes: 0 nothing found, 2 a file could not be read, 30 a finding of `--fail-on` (all severities, unless said otherwise).
`--output json` is a contract: [lint.v1.schema.json](../lint.v1.schema.json); `--write FILE.sarif` is for code hosts.

## Accepting a finding

A comment `# ferriswheel: allow FWL010 because ...` on the line of the finding, or on the line before it.

## What is not seen

Commands whose words are made of variables, functions that hide a command, scripts in languages other than the shell,
quoted YAML scalars over many lines. Commands that no rule knows are left alone. A script or function of your own with check,
verify, wait or sync in its name counts as a look at replication.
";

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

/// Writes the indices.
pub fn write(root: &Path) -> Result<()> {
    for of in &INDICES {
        let file = format!("{}/README.md", of.pages);
        let text = index(of, &pages(root, of.pages)?);
        fs::write(root.join(&file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

/// Every code has its page with its parts, every page its code, the indices are current.
pub fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for of in &INDICES {
        check_one(root, of, &mut wrong)?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("pages of findings:\n  {}", wrong.join("\n  "))
}

fn check_one(root: &Path, of: &Index, wrong: &mut Vec<String>) -> Result<()> {
    let pages = pages(root, of.pages)?;
    let source = fs::read_to_string(root.join(of.codes)).with_context(|| of.codes.to_owned())?;
    let codes: Vec<&str> = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| is_code(word))
        .collect();
    for code in &codes {
        match pages.get(*code) {
            None => wrong.push(format!("{code} has no page")),
            Some((_, text)) => {
                for part in of.parts {
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
    let file = format!("{}/README.md", of.pages);
    if fs::read_to_string(root.join(&file)).unwrap_or_default() != index(of, &pages) {
        wrong.push(format!("{file} is not current: cargo xtask checks"));
    }
    Ok(())
}

/// Titles and texts by code.
fn pages(root: &Path, directory: &str) -> Result<BTreeMap<String, (String, String)>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(root.join(directory)).with_context(|| format!("read {directory}"))? {
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

fn index(of: &Index, pages: &BTreeMap<String, (String, String)>) -> String {
    let family = |code: &str| {
        of.families
            .iter()
            .filter(|(start, _)| code.starts_with(start))
            .max_by_key(|(start, _)| start.len())
            .map_or("Others", |(_, title)| *title)
    };
    let mut text = of.head.to_owned();
    let mut last = "";
    for (code, (title, _)) in pages {
        let here = family(code);
        if here != last {
            text.push_str(&format!("\n## {here}\n\n"));
            last = here;
        }
        text.push_str(&format!("- [{code}]({code}.md) {title}\n"));
    }
    text.push_str(of.tail);
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
