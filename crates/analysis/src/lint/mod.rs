//! What is wrong in the commands of an upgrade: shell scripts, Markdown with blocks of code, and the
//! YAML of pipelines, ConfigMaps and containers.
//!
//! A file becomes scripts ([`markdown`], [`yaml`]), a script becomes calls ([`shell`], on a parser of
//! the shell), and the rules ask the calls. Commands that no rule knows are left alone.
//!
//! What this must not know: where bytes come from, and what the cluster looks like. Nothing is run.

use std::collections::BTreeSet;

use serde::Serialize;

mod az;
pub mod codes;
mod kubectl;
mod markdown;
mod rules;
mod shell;
mod text;
mod wrappers;
mod yaml;

use crate::findings::Skipped;
use shell::Commands;
use text::{Found, Place, Script};

/// The contract's name.
pub const SCHEMA: &str = "ferriswheel.lint.v1";

/// Largest file that is read. A runbook of this size would be some eight thousand lines; more is
/// another kind of file. The parser takes some 150 bytes for a byte of it.
pub const MAX_FILE: usize = 512 << 10;

/// Findings that one file may have. A file with more is not read by a person.
const MAX_FINDINGS: usize = 1_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Done as written it loses data or stops the service.
    Harms,
    /// It is refused, or it never ends.
    Fails,
    /// It seems to prove something that it does not.
    Misleads,
}

impl Severity {
    /// All, the gravest first.
    pub const ALL: [Self; 3] = [Self::Harms, Self::Fails, Self::Misleads];

    /// As in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Harms => "harms",
            Self::Fails => "fails",
            Self::Misleads => "misleads",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Stable code with a page under `docs/lint`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Why it is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

/// A whole answer.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Mistakes, by place.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            findings: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shell,
    Markdown,
    Yaml,
}

fn kind(file: &str, text: &str) -> Kind {
    let end = file.rsplit_once('.').map_or("", |(_, end)| end);
    match end.to_ascii_lowercase().as_str() {
        "md" | "markdown" | "mdx" => Kind::Markdown,
        "yaml" | "yml" => Kind::Yaml,
        "sh" | "bash" | "zsh" | "ksh" => Kind::Shell,
        _ if text.starts_with("#!") => Kind::Shell,
        _ if text
            .lines()
            .any(|line| line.trim_start().starts_with("```")) =>
        {
            Kind::Markdown
        }
        _ => Kind::Shell,
    }
}

/// A file as the rules see it.
#[derive(Default)]
pub(crate) struct Runbook<'a> {
    /// The file's text.
    text: &'a str,
    /// Scripts.
    scripts: Vec<Script>,
    /// What they run.
    commands: Commands,
    /// YAML that is not only scripts, with its first line.
    yaml: Vec<(String, Place)>,
    /// Blocks of JSON.
    json: Vec<(String, Place)>,
    /// The file is Markdown.
    is_page: bool,
}

/// Where rules put what they find.
#[derive(Default)]
struct Findings {
    found: BTreeSet<(Place, codes::Rule, String, String)>,
}

impl Findings {
    fn push(
        &mut self,
        rule: codes::Rule,
        place: Place,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if self.found.len() < MAX_FINDINGS {
            self.found.insert((place, rule, message.into(), fix.into()));
        }
    }
}

/// Reads a file and says what is wrong in it.
///
/// # Guarantees
/// The same bytes give the same report, in the order of the file. Memory is bounded by a small
/// multiple of [`MAX_FILE`].
pub fn lint(file: &str, bytes: &[u8]) -> Report {
    let mut report = Report::default();
    let text = match readable(bytes) {
        Ok(text) => text,
        Err(reason) => {
            report.skipped.push(Skipped {
                file: file.to_owned(),
                reason,
            });
            return report;
        }
    };
    let mut findings = Findings::default();
    let book = read(file, text, &mut findings);
    rules::ask(&book, &mut findings);
    if book.commands.full {
        report.skipped.push(Skipped {
            file: file.to_owned(),
            reason: format!(
                "more than {} commands: those after them were not looked at",
                shell::MAX_CALLS
            ),
        });
    }
    let allowed = allowed(&book);
    report.findings = findings
        .found
        .into_iter()
        .filter(|(place, (code, _), ..)| !allowed.contains(&(place.line, (*code).to_owned())))
        .map(|(place, (code, severity), message, fix)| Finding {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            code,
            severity,
            message,
            fix,
        })
        .collect();
    report
}

fn readable(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > MAX_FILE {
        return Err(format!("larger than {} KiB: not a runbook", MAX_FILE >> 10));
    }
    if bytes.contains(&0) {
        return Err("not a text: it has a zero byte".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("not UTF-8: line {line}, save it as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn read<'a>(file: &str, text: &'a str, findings: &mut Findings) -> Runbook<'a> {
    let mut book = Runbook {
        text,
        ..Runbook::default()
    };
    let first = Place { line: 1, column: 1 };
    match kind(file, text) {
        Kind::Shell => {
            let mut script = Script::new(Found::Program);
            for (index, line) in text.lines().enumerate() {
                script.push(
                    line,
                    Place {
                        line: text::line(index),
                        column: 1,
                    },
                );
            }
            book.scripts.push(script);
        }
        Kind::Markdown => {
            let page = markdown::read(text);
            book.is_page = true;
            book.scripts = page.scripts;
            for (text, place) in &page.yaml {
                book.scripts.extend(yaml::scripts(text, *place));
            }
            book.scripts
                .sort_by_key(|script| script.lines.first().copied());
            book.yaml = page.yaml;
            book.json = page.json;
            for (place, first) in page.strays {
                findings.push(
                    codes::OUTSIDE,
                    place,
                    format!(
                        "this fence closes nothing: the commands from line {first} on are shown as prose, and what follows as code"
                    ),
                    format!("open the block before line {first} with ```bash"),
                );
            }
        }
        Kind::Yaml => {
            book.scripts = yaml::scripts(text, first);
            book.yaml.push((text.to_owned(), first));
        }
    }
    let mut index = 0;
    while index < book.scripts.len() {
        let Some(script) = book.scripts.get(index) else {
            break;
        };
        if script.found == Found::Guess && !rules::speaks_of_known(script) {
            index += 1;
            continue;
        }
        let broken = shell::read(script, index, &mut book.commands);
        if let Some(broken) = broken
            && script.found != Found::Guess
        {
            findings.push(
                codes::UNREADABLE,
                broken.place,
                format!("the shell cannot read this: {}", broken.reason),
                "close what is open; the commands before this place were read",
            );
        }
        index += 1;
    }
    documents(&mut book);
    book
}

/// Objects that are written in scripts (`kubectl apply -f - <<EOF`) have scripts too.
fn documents(book: &mut Runbook<'_>) {
    let inputs: Vec<(String, Place, usize)> = book
        .commands
        .calls
        .iter()
        .filter(|call| call.name() == "kubectl" && !call.inner)
        .filter_map(|call| {
            let (text, place) = call.input.clone()?;
            Some((text, place, call.script))
        })
        .collect();
    for (text, place, _) in inputs {
        for script in yaml::scripts(&text, place) {
            let index = book.scripts.len();
            shell::read(&script, index, &mut book.commands);
            book.scripts.push(script);
        }
        book.yaml.push((text, place));
    }
}

/// Lines with a comment `ferriswheel: allow FWL010` on them or before them.
fn allowed(book: &Runbook<'_>) -> BTreeSet<(u32, String)> {
    let mut lines = BTreeSet::new();
    for (place, said) in &book.commands.comments {
        let Some(codes) = said.strip_prefix("ferriswheel: allow ") else {
            continue;
        };
        for code in codes
            .split([' ', ','])
            .filter(|word| word.starts_with("FWL"))
        {
            lines.insert((place.line, code.to_owned()));
            lines.insert((place.line + 1, code.to_owned()));
        }
    }
    lines
}

/// The name that differs in the fewest letters, if it differs in few.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Names are short; a long word is no misspelt name.
    let limit = name.chars().take(64).count() / 3;
    let name = name.get(..64).unwrap_or(name);
    known
        .map(|one| (strsim::osa_distance(name, one), one))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, one)| one)
}
