//! `--fix`: converted manifests in a directory of their own.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use ferriswheel_analysis::convert::{Change, convert};
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::findings::{Finding, Fixed, Severity};

use crate::failure::Failure;

/// Converts every file with a finding about a version, and writes what has changed below `into`.
///
/// # Guarantees
/// No file that was read is written to.
pub fn fix(findings: &[Finding], target: &Target, into: &Path) -> Result<Vec<Fixed>, Failure> {
    let files: BTreeSet<&str> = findings
        .iter()
        .filter(|finding| matches!(finding.severity, Severity::Breaks | Severity::Later))
        .map(|finding| finding.source.file.as_str())
        .filter(|file| *file != "<stdin>" && !file.contains('!'))
        .collect();
    let mut fixed = Vec::new();
    for file in files {
        // Packaged charts and what is no text were read as something else.
        let Ok(text) = std::fs::read_to_string(file) else {
            continue;
        };
        let converted = convert(&text, target);
        if converted.done.is_empty() && converted.left.is_empty() {
            continue;
        }
        let output = match &converted.text {
            Some(text) => Some(write(Path::new(file), into, text)?),
            None => None,
        };
        fixed.push(Fixed {
            file: file.to_owned(),
            output: output.map(|path| path.display().to_string()),
            converted: converted.done,
            by_hand: converted.left,
        });
    }
    Ok(fixed)
}

fn write(source: &Path, into: &Path, text: &str) -> Result<PathBuf, Failure> {
    let below: PathBuf = source
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    let path = into.join(below);
    let same = match (source.canonicalize(), path.canonicalize()) {
        (Ok(source), Ok(path)) => source == path,
        _ => false,
    };
    if same {
        return Err(Failure::input(format!(
            "{} would be written over its source",
            path.display()
        ))
        .fix("say --fix with a directory of its own, and copy from there what you want"));
    }
    let parent = path.parent().unwrap_or(into);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|e| {
            Failure::input(format!("{} cannot be written: {e}", path.display()))
                .fix("check the directory and its permissions")
        })?;
    Ok(path)
}

/// What was done, for people.
pub fn notes(fixed: &[Fixed]) -> String {
    let mut text = String::new();
    let name = |change: &Change| {
        let object = &change.object;
        let namespace = object
            .namespace
            .as_ref()
            .map_or(String::new(), |n| format!("{n}/"));
        format!(
            "{} {} {namespace}{}",
            object.api_version, object.kind, object.name
        )
    };
    for one in fixed {
        match &one.output {
            Some(output) => {
                let _ = writeln!(text, "fix: {} -> {output}", one.file);
            }
            None => {
                let _ = writeln!(text, "fix: {}: nothing that can be done by rule", one.file);
            }
        }
        for change in &one.converted {
            let to = change.to.as_deref().unwrap_or_default();
            let notes = if change.notes.is_empty() {
                String::new()
            } else {
                format!(" ({})", change.notes.join("; "))
            };
            let _ = writeln!(
                text,
                "  line {}: {} -> {to}{notes}",
                change.line,
                name(change)
            );
        }
        for change in &one.by_hand {
            let _ = writeln!(
                text,
                "  line {}: {} by hand: {}",
                change.line,
                name(change),
                change.notes.join("; ")
            );
        }
    }
    if fixed.is_empty() {
        text.push_str("fix: nothing to convert\n");
    }
    text
}
