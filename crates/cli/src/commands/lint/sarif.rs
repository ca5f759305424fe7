//! SARIF 2.1.0, for code hosts.

use std::fmt::Write;

use ferriswheel_analysis::lint::{Report, Severity};
use serde_json::json;

/// The report in this form.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut codes: Vec<&str> = report.findings.iter().map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<_> = codes
        .iter()
        .map(|code| {
            let page = super::page(code).unwrap_or_default();
            let title = page.lines().next().unwrap_or_default();
            let title = title.split_once(": ").map_or(title, |(_, title)| title);
            json!({
                "id": code,
                "shortDescription": { "text": title },
                "help": { "text": page, "markdown": page },
            })
        })
        .collect();
    let results: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.code,
                "level": match finding.severity {
                    Severity::Harms | Severity::Fails => "error",
                    Severity::Misleads => "warning",
                },
                "message": { "text": format!("{}. Instead: {}", finding.message, finding.fix) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(&finding.file) },
                        "region": { "startLine": finding.line, "startColumn": finding.column },
                    }
                }],
            })
        })
        .collect();
    let notes: Vec<_> = report
        .skipped
        .iter()
        .map(|skipped| {
            json!({
                "level": "error",
                "message": { "text": format!("{}: {}", skipped.file, skipped.reason) },
            })
        })
        .collect();
    serde_json::to_string_pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ferriswheel",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "invocations": [{
                "executionSuccessful": report.skipped.is_empty(),
                "toolExecutionNotifications": notes,
            }],
            "results": results,
        }],
    }))
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let mut text = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
