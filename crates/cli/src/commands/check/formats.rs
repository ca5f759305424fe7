//! A report for other programs: SARIF for code hosts, JUnit for pipelines, Markdown for reviews, HTML
//! for print.

use std::fmt::Write;
use std::path::Path;

use ferriswheel_analysis::findings::{Finding, Report, Severity};
use serde_json::json;

use crate::sarif;
use crate::stdout::visible;

/// The form that a file name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `ferriswheel.findings.v1`.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// JUnit XML.
    Junit,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
}

impl Form {
    /// By the end of the name.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "sarif" => Some(Self::Sarif),
            "xml" => Some(Self::Junit),
            "md" => Some(Self::Markdown),
            "html" => Some(Self::Html),
            _ => None,
        }
    }

    /// The report in this form.
    pub fn render(self, report: &Report) -> Result<String, serde_json::Error> {
        match self {
            Self::Json => serde_json::to_string_pretty(report),
            Self::Sarif => as_sarif(report),
            Self::Junit => Ok(junit(report)),
            Self::Markdown => Ok(markdown(report)),
            Self::Html => Ok(super::html::html(report)),
        }
    }
}

/// Does it stop an upgrade?
fn is_grave(severity: Severity) -> bool {
    matches!(severity, Severity::Breaks | Severity::Blocks)
}

pub(super) fn subject(finding: &Finding) -> String {
    let object = &finding.object;
    let namespace = object
        .namespace
        .as_ref()
        .map_or(String::new(), |n| format!("{n}/"));
    format!("{} {namespace}{}", object.kind, object.name)
}

fn as_sarif(report: &Report) -> Result<String, serde_json::Error> {
    let results: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.code,
                "level": match finding.severity {
                    Severity::Breaks | Severity::Blocks => "error",
                    Severity::StaleSource | Severity::Warning => "warning",
                    Severity::Later | Severity::Info => "note",
                },
                "message": { "text": format!("{}: {}. {}", subject(finding), finding.message, finding.fix) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": sarif::uri(&finding.source.file) },
                        "region": { "startLine": finding.source.line },
                    }
                }],
                "partialFingerprints": {
                    "object/v1": format!(
                        "{}:{}:{}:{}",
                        finding.code, finding.object.api_version, subject(finding), finding.source.file
                    ),
                },
            })
        })
        .collect();
    let codes = report.findings.iter().map(|finding| finding.code);
    sarif::document(super::PAGES, codes, &results, &report.skipped)
}

fn junit(report: &Report) -> String {
    let grave = report
        .findings
        .iter()
        .filter(|finding| is_grave(finding.severity));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"ferriswheel check {}\" \
         tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
        xml(&report.target),
        report.findings.len() + report.skipped.len(),
        grave.count(),
        report.skipped.len()
    );
    for finding in &report.findings {
        let _ = write!(
            text,
            "    <testcase classname=\"{}\" name=\"{} {}:{}\">",
            finding.code,
            xml(&subject(finding)),
            xml(&finding.source.file),
            finding.source.line
        );
        let element = if is_grave(finding.severity) {
            "failure"
        } else {
            "system-out"
        };
        let attributes = if is_grave(finding.severity) {
            format!(
                " type=\"{}\" message=\"{}\"",
                finding.severity.name(),
                xml(&finding.message)
            )
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "<{element}{attributes}>{}: {}\nfix: {}</{element}></testcase>",
            finding.severity.name(),
            xml(&finding.message),
            xml(&finding.fix)
        );
    }
    for skipped in &report.skipped {
        let _ = writeln!(
            text,
            "    <testcase classname=\"skipped\" name=\"{}\"><skipped message=\"{}\"/></testcase>",
            xml(&skipped.file),
            xml(&skipped.reason)
        );
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write these.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

fn markdown(report: &Report) -> String {
    let mut text = format!("# Upgrade to {}: findings\n", report.target);
    for severity in Severity::ALL {
        let findings: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .collect();
        if findings.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## {} ({})\n\n| code | object | where | owner | what | fix |\n|---|---|---|---|---|---|\n",
            severity.name(),
            findings.len()
        );
        for finding in findings {
            let _ = writeln!(
                text,
                "| {} | {} | {}:{} | {} | {} | {} |",
                finding.code,
                cell(&subject(finding)),
                cell(&finding.source.file),
                finding.source.line,
                cell(&finding.owner),
                cell(&finding.message),
                cell(&finding.fix)
            );
        }
    }
    if report.findings.is_empty() {
        text.push_str("\nNothing found.\n");
    }
    if !report.practices.is_empty() {
        text.push_str("\n## The ten practices for databases\n\n| | practice | kept | why |\n|---|---|---|---|\n");
        for practice in &report.practices {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                practice.number,
                practice.title,
                super::text::verdict(practice.verdict),
                cell(&practice.why)
            );
        }
    }
    if !report.skipped.is_empty() {
        text.push_str("\n## Not read\n\n| file | reason |\n|---|---|\n");
        for skipped in &report.skipped {
            let _ = writeln!(
                text,
                "| {} | {} |",
                cell(&skipped.file),
                cell(&skipped.reason)
            );
        }
    }
    text
}

fn cell(text: &str) -> String {
    visible(text)
        .replace('|', "\\|")
        .replace('\n', " ")
        .replace('<', "&lt;")
}
