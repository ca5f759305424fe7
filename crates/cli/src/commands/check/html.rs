//! The report as a page that prints: a summary that fits on one sheet, then every finding.

use std::collections::BTreeMap;
use std::fmt::Write;

use ferriswheel_analysis::findings::{Finding, Report, Severity};

use crate::stdout::visible;

/// Owners named in the summary.
const OWNERS: usize = 12;

const STYLE: &str = "\
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24}\
h1{margin:0 0 .2rem}h2{margin:1.6rem 0 .4rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #d7dce1}\
td.n{text-align:right;width:4rem}code,pre{font:12px/1.4 ui-monospace,monospace}\
pre{background:#f3f5f7;padding:.5rem;white-space:pre-wrap;overflow-wrap:anywhere}\
details{border-bottom:1px solid #d7dce1;padding:.35rem 0}summary{cursor:pointer}\
.breaks,.blocks{color:#a40e26;font-weight:600}.stale-source,.warning{color:#8a5300;font-weight:600}\
.later,.info{color:#45515e}.muted{color:#5b6672}\
@media print{body{margin:0;max-width:none;font-size:11px}.all{break-before:page}details{break-inside:avoid}}\
@media (prefers-color-scheme:dark){body{background:#14171a;color:#e4e7ea}th,td,details{border-color:#343a41}\
pre{background:#1e2226}.breaks,.blocks{color:#ff8a94}.stale-source,.warning{color:#f0b45e}.muted,.later,.info{color:#a3adb8}}";

/// The page; it needs no other file.
pub fn html(report: &Report) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Upgrade to {target}: findings</title><style>{STYLE}</style></head><body>\n\
         <h1>Upgrade to {target}</h1>\n<p class=\"muted\">{verdict}</p>\n",
        target = escape(&report.target),
        verdict = verdict(report),
    );
    summary(&mut text, report);
    if !report.practices.is_empty() {
        text.push_str("<h2>The ten practices for databases</h2>\n<table>\n");
        for practice in &report.practices {
            let _ = writeln!(
                text,
                "<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td><td class=\"muted\">{}</td></tr>",
                practice.number,
                escape(practice.title),
                super::text::verdict(practice.verdict),
                escape(&practice.why)
            );
        }
        text.push_str("</table>\n");
    }
    if !report.findings.is_empty() {
        text.push_str("<div class=\"all\">\n");
        for severity in Severity::ALL {
            let findings: Vec<&Finding> = of(report, severity).collect();
            if findings.is_empty() {
                continue;
            }
            let name = severity.name();
            let _ = writeln!(
                text,
                "<h2 class=\"{name}\">{name} ({})</h2>",
                findings.len()
            );
            let open = if severity <= Severity::Blocks {
                " open"
            } else {
                ""
            };
            for finding in findings {
                one(&mut text, finding, open);
            }
        }
        text.push_str("</div>\n");
    }
    if !report.accepted.is_empty() {
        text.push_str("<h2>Accepted</h2>\n<table><tr><th>code</th><th>object</th><th>until</th><th>reason</th></tr>\n");
        for accepted in &report.accepted {
            let _ = writeln!(
                text,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                accepted.finding.code,
                escape(&super::formats::subject(&accepted.finding)),
                escape(&accepted.expires),
                escape(&accepted.reason)
            );
        }
        text.push_str("</table>\n");
    }
    if !report.skipped.is_empty() {
        let _ = write!(
            text,
            "<h2>Not read ({})</h2>\n<table>\n",
            report.skipped.len()
        );
        for skipped in &report.skipped {
            let _ = writeln!(
                text,
                "<tr><td><code>{}</code></td><td>{}</td></tr>",
                escape(&skipped.file),
                escape(&skipped.reason)
            );
        }
        text.push_str("</table>\n");
    }
    text.push_str("</body></html>\n");
    text
}

fn of(report: &Report, severity: Severity) -> impl Iterator<Item = &Finding> {
    report
        .findings
        .iter()
        .filter(move |finding| finding.severity == severity)
}

fn verdict(report: &Report) -> String {
    let grave = report
        .findings
        .iter()
        .filter(|finding| finding.severity <= Severity::Blocks)
        .count();
    match grave {
        0 => "Nothing found that breaks at the target or stops the upgrade.".to_owned(),
        1 => "One finding has to be dealt with before the upgrade.".to_owned(),
        n => format!("{n} findings have to be dealt with before the upgrade."),
    }
}

/// What each severity and each owner has to do: the sheet to print.
fn summary(text: &mut String, report: &Report) {
    let mut codes: BTreeMap<(Severity, &str), usize> = BTreeMap::new();
    let mut owners: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for finding in &report.findings {
        *codes.entry((finding.severity, finding.code)).or_default() += 1;
        let column = match finding.severity {
            Severity::Breaks | Severity::Blocks => 0,
            Severity::StaleSource | Severity::Warning => 1,
            Severity::Later | Severity::Info => 2,
        };
        if let Some(count) = owners.entry(&finding.owner).or_default().get_mut(column) {
            *count += 1;
        }
    }
    text.push_str(
        "<table><tr><th>severity</th><th>code</th><th>what</th><td class=\"n\">count</td></tr>\n",
    );
    for ((severity, code), count) in codes {
        let title = super::PAGES.title(code);
        let name = severity.name();
        let _ = writeln!(
            text,
            "<tr><td class=\"{name}\">{name}</td><td><code>{code}</code></td><td>{}</td><td class=\"n\">{count}</td></tr>",
            escape(title)
        );
    }
    text.push_str("</table>\n");
    let mut owners: Vec<(&str, [usize; 3])> = owners.into_iter().collect();
    owners.sort_by_key(|(owner, counts)| (std::cmp::Reverse(*counts), *owner));
    if owners.is_empty() {
        return;
    }
    text.push_str("<h2>Who acts</h2>\n<table><tr><th>owner</th><td class=\"n\">must</td><td class=\"n\">should</td><td class=\"n\">may</td></tr>\n");
    for (owner, [must, should, may]) in owners.iter().take(OWNERS) {
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td class=\"n\">{must}</td><td class=\"n\">{should}</td><td class=\"n\">{may}</td></tr>",
            escape(owner)
        );
    }
    text.push_str("</table>\n");
    if owners.len() > OWNERS {
        let _ = writeln!(
            text,
            "<p class=\"muted\">and {} more</p>",
            owners.len() - OWNERS
        );
    }
}

fn one(text: &mut String, finding: &Finding, open: &str) {
    let _ = write!(
        text,
        "<details{open}><summary><code>{}</code> <b>{}</b> {}</summary><p class=\"muted\">{}:{} &middot; {}</p><ul>",
        finding.code,
        escape(&super::formats::subject(finding)),
        escape(&finding.message),
        escape(&finding.source.file),
        finding.source.line,
        escape(&finding.owner)
    );
    for evidence in &finding.evidence {
        let _ = write!(
            text,
            "<li>{}: {}</li>",
            escape(evidence.class),
            escape(&evidence.detail)
        );
    }
    let _ = writeln!(text, "</ul><pre>{}</pre></details>", escape(&finding.fix));
}

fn escape(text: &str) -> String {
    visible(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
