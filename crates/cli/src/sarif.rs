//! SARIF 2.1.0, for code hosts: what is the same for every command that finds something in files.

use std::collections::BTreeSet;
use std::fmt::Write;

use ferriswheel_analysis::findings::Skipped;
use serde_json::{Value, json};

use crate::pages::Pages;

/// The document: the rules of the codes that were found, the results, and what was not read.
pub fn document<'a>(
    pages: Pages,
    codes: impl Iterator<Item = &'a str>,
    results: &[Value],
    skipped: &[Skipped],
) -> Result<String, serde_json::Error> {
    let codes: BTreeSet<&str> = codes.collect();
    let rule = |code: &&str| {
        let page = pages.find(code).unwrap_or_default();
        json!({
            "id": code,
            "shortDescription": { "text": pages.title(code) },
            "help": { "text": page, "markdown": page },
        })
    };
    let note = |skipped: &Skipped| {
        json!({
            "level": "error",
            "message": { "text": format!("{}: {}", skipped.file, skipped.reason) },
        })
    };
    serde_json::to_string_pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ferriswheel",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(rule).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": skipped.is_empty(),
                "toolExecutionNotifications": skipped.iter().map(note).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    }))
}

/// A path as a relative reference: everything that such a reference gives a meaning is escaped.
///
/// `!` is kept: a dump names the member of an archive behind it.
pub fn uri(path: &str) -> String {
    let mut text = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
