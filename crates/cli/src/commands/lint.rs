//! `ferriswheel lint`: what is wrong in the commands of a runbook.

mod sarif;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ferriswheel_analysis::findings::Skipped;
use ferriswheel_analysis::lint::{self, Finding, MAX_FILE, Report, Severity};

use crate::Output;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pages::{Pages, pages};
use crate::stdout::{outln, people, visible};

/// Find mistakes in the commands of runbooks, scripts and pipelines; runs nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel lint docs/upgrade.md scripts/*.sh .github/workflows/upgrade.yaml
  ferriswheel lint --fail-on harms --write lint.sarif docs/upgrade.md
  ferriswheel lint --explain FWL106

A comment `# ferriswheel: allow FWL010 because ...` on a line, or before it, accepts a finding.")]
pub struct LintArgs {
    /// Shell scripts, Markdown with blocks of code, YAML of pipelines; - for standard input
    #[arg(value_name = "FILE", required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// Exit with 30 when there is a finding of these severities
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "harms,fails,misleads",
        value_name = "SEVERITY"
    )]
    fail_on: Vec<FailOn>,
    /// Write the findings to a file too: .json or .sarif
    #[arg(long, value_name = "FILE")]
    write: Vec<PathBuf>,
    /// Show the page of a finding's code, and nothing else
    #[arg(long, value_name = "CODE")]
    explain: Option<String>,
}

/// A severity, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Loses data or stops the service
    Harms,
    /// Is refused, or never ends
    Fails,
    /// Proves less than it seems to
    Misleads,
    /// Never
    None,
}

impl FailOn {
    fn severity(self) -> Option<Severity> {
        Some(match self {
            Self::Harms => Severity::Harms,
            Self::Fails => Severity::Fails,
            Self::Misleads => Severity::Misleads,
            Self::None => return None,
        })
    }
}

/// Carries out `lint`.
#[expect(clippy::print_stderr, reason = "counts and skipped files are notes")]
pub fn run(args: &LintArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    if let Some(code) = &args.explain {
        return PAGES.explain(code);
    }
    let forms = args
        .write
        .iter()
        .map(|path| match path.extension()?.to_str()? {
            "json" => Some((path, false)),
            "sarif" => Some((path, true)),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            Failure::input("the form of a file to write is not known by its name")
                .fix("end it with .json or .sarif")
        })?;
    let mut report = Report::default();
    for path in &args.files {
        let mut one = read(path)?;
        report.findings.append(&mut one.findings);
        report.skipped.append(&mut one.skipped);
    }
    let json = serde_json::to_string(&report).map_err(|e| Failure::unexpected(&e))?;
    for (path, is_sarif) in forms {
        let text = if is_sarif {
            sarif::render(&report).map_err(|e| Failure::unexpected(&e))?
        } else {
            json.clone()
        };
        std::fs::write(path, text).map_err(|e| {
            Failure::input(format!("{} cannot be written: {e}", path.display()))
                .fix("check the directory and its permissions")
        })?;
    }
    match output {
        Output::Json => outln!("{json}"),
        Output::Text => people(&text(&report.findings))?,
    }
    if !quiet {
        eprint!("{}", visible(&notes(&report, args.files.len())));
    }
    Ok(verdict(&report, &args.fail_on))
}

/// A file that cannot be read is bad input: a pipeline must not pass because of it.
fn verdict(report: &Report, fail_on: &[FailOn]) -> Exit {
    let fatal: BTreeSet<Severity> = fail_on.iter().filter_map(|one| one.severity()).collect();
    if report
        .findings
        .iter()
        .any(|finding| fatal.contains(&finding.severity))
    {
        Exit::Refused
    } else if report.skipped.is_empty() {
        Exit::Done
    } else {
        Exit::Usage
    }
}

fn read(path: &Path) -> Result<Report, Failure> {
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    };
    // A byte more than is allowed, so that the linter sees that it is too large.
    let limit = MAX_FILE as u64 + 1;
    let mut bytes = Vec::new();
    let taken = if is_stdin {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    Ok(match taken {
        Ok(_) => lint::lint(&name, &bytes),
        Err(e) => Report {
            skipped: vec![Skipped {
                file: name,
                reason: format!("cannot be read: {e}"),
            }],
            ..Report::default()
        },
    })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(
            text,
            "{}:{}:{}: {}[{}] {}\n    instead: {}",
            finding.file,
            finding.line,
            finding.column,
            finding.severity.name(),
            finding.code,
            finding.message,
            finding.fix
        );
    }
    text
}

fn notes(report: &Report, files: usize) -> String {
    let mut text = String::new();
    for skipped in &report.skipped {
        let _ = writeln!(text, "skipped {}: {}", skipped.file, skipped.reason);
    }
    let count = |severity| {
        let all = report.findings.iter();
        all.filter(|finding| finding.severity == severity).count()
    };
    let counts: Vec<String> = Severity::ALL
        .iter()
        .map(|severity| format!("{} {}", count(*severity), severity.name()))
        .collect();
    let _ = writeln!(
        text,
        "{} findings ({}) in {files} files, {} skipped",
        report.findings.len(),
        counts.join(", "),
        report.skipped.len()
    );
    text
}

/// Codes of findings with their pages.
const PAGES: Pages = pages![
    "lint":
    "FWL001", "FWL002", "FWL003", "FWL010", "FWL011", "FWL012", "FWL013", "FWL014", "FWL015",
    "FWL100", "FWL101", "FWL102", "FWL103", "FWL104", "FWL105", "FWL106", "FWL107", "FWL108",
    "FWL109", "FWL110", "FWL111", "FWL112", "FWL113", "FWL114", "FWL115", "FWL116", "FWL200",
    "FWL201", "FWL202", "FWL203", "FWL204", "FWL205", "FWL206", "FWL207", "FWL208", "FWL209",
    "FWL300", "FWL301", "FWL302", "FWL303", "FWL400", "FWL401", "FWL402", "FWL403", "FWL500",
    "FWL501", "FWL502", "FWL503", "FWL504", "FWL505", "FWL506", "FWL507", "FWL508", "FWL600",
    "FWL601", "FWL602", "FWL700", "FWL701", "FWL800", "FWL801", "FWL802", "FWL803"
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_of_its_own() {
        let codes: Vec<&str> = PAGES.0.iter().map(|(code, _)| *code).collect();
        let rules: Vec<&str> = lint::codes::ALL.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, rules);
        for ((code, severity), (_, page)) in lint::codes::ALL.iter().zip(PAGES.0) {
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
            let severity = format!("\nSeverity: {}\n", severity.name());
            for part in [&severity, "## What it means", "## What to write instead"] {
                assert!(page.contains(part), "{code} has no {part}");
            }
        }
    }
}
