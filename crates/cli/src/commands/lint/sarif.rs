//! SARIF 2.1.0, for code hosts.

use ferriswheel_analysis::lint::{Report, Severity};
use serde_json::json;

use crate::sarif;

/// The report in this form.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
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
                        "artifactLocation": { "uri": sarif::uri(&finding.file) },
                        "region": { "startLine": finding.line, "startColumn": finding.column },
                    }
                }],
            })
        })
        .collect();
    let codes = report.findings.iter().map(|finding| finding.code);
    sarif::document(super::PAGES, codes, &results, &report.skipped)
}
