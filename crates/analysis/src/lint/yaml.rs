//! Scripts in YAML: steps of pipelines, what containers run, scripts in ConfigMaps.
//!
//! Read line by line and not by a parser: templates that are no YAML have scripts too, and every
//! line keeps its place. What this does not see is a script in a quoted scalar over many lines.

use super::text::{Found, Place, Script, column, indent, line};

/// How a line names what follows it.
struct Entry<'a> {
    /// Columns before the key, with the mark of a list.
    depth: usize,
    key: &'a str,
    value: &'a str,
    /// Where the value starts.
    at: usize,
    item: bool,
}

fn entry(text: &str) -> Option<Entry<'_>> {
    let mut depth = indent(text);
    let mut rest = text.get(depth..)?;
    let mut item = false;
    while let Some(after) = rest.strip_prefix("- ") {
        let spaces = indent(after);
        depth += 2 + spaces;
        rest = after.get(spaces..)?;
        item = true;
    }
    if rest.is_empty() || rest.starts_with('#') {
        return None;
    }
    let (key, value) = match rest.split_once(':') {
        Some((key, value))
            if (value.is_empty() || value.starts_with(' ')) && !key.contains([' ', '{', '[']) =>
        {
            (key.trim_matches(['"', '\'']), value)
        }
        _ => ("", rest),
    };
    let trimmed = value.trim();
    Some(Entry {
        depth,
        key,
        value: trimmed,
        at: text.len() - value.trim_start().len(),
        item,
    })
}

fn is_block(value: &str) -> bool {
    let value = value.split(" #").next().unwrap_or_default().trim();
    value.starts_with(['|', '>'])
        && value[1..]
            .chars()
            .all(|c| matches!(c, '-' | '+' | '0'..='9'))
}

/// What the value of a key runs as.
fn runs(key: &str) -> Option<Found> {
    match key {
        // GitHub runs `bash -e`, GitLab stops at the first line that fails.
        "run" | "script" | "before_script" | "after_script" => Some(Found::Step),
        "bash" | "inlineScript" => Some(Found::Program),
        _ if key.ends_with(".sh") || key.ends_with("-script") || key.ends_with("_script") => {
            Some(Found::Program)
        }
        _ => None,
    }
}

/// The scripts of a text whose first line stands at a place.
pub(super) fn scripts(text: &str, first: Place) -> Vec<Script> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    // Keys that hold what is being read, with their columns.
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut after_dash_c = false;
    let mut at = 0;
    while let Some(text) = lines.get(at) {
        let index = at;
        at += 1;
        let Some(entry) = entry(text) else { continue };
        while open.last().is_some_and(|(depth, _)| {
            if entry.item {
                *depth + 2 > entry.depth
            } else {
                *depth >= entry.depth
            }
        }) {
            open.pop();
        }
        let parent = open.last().map_or("", |(_, key)| key.as_str()).to_owned();
        let kind = if entry.key.is_empty() {
            let listed = entry.item && after_dash_c && matches!(&*parent, "command" | "args");
            after_dash_c = entry.item
                && entry.value.trim_matches(['"', '\'']).starts_with('-')
                && entry.value.trim_matches(['"', '\'']).ends_with('c');
            if listed {
                Some(Found::Program)
            } else if entry.item {
                runs(&parent)
            } else {
                None
            }
        } else {
            after_dash_c = false;
            runs(entry.key)
        };
        if is_block(entry.value) {
            let start = at;
            // A list's text is deeper than its mark, a key's deeper than the key.
            let outer = if entry.key.is_empty() || entry.item {
                entry.depth.saturating_sub(2)
            } else {
                entry.depth
            };
            while lines
                .get(at)
                .is_some_and(|text| text.trim().is_empty() || indent(text) > outer)
            {
                at += 1;
            }
            if let Some(kind) = kind {
                found.push(scalar(&lines, start, at, first, kind));
            }
            continue;
        }
        if !entry.key.is_empty() && entry.value.is_empty() {
            open.push((entry.depth, entry.key.to_owned()));
            continue;
        }
        let place = Place {
            line: first.line + line(index) - 1,
            column: first.column + column(entry.at) - 1,
        };
        if matches!(entry.key, "command" | "args") && entry.value.starts_with('[') {
            if let Ok(words) = serde_json::from_str::<Vec<String>>(entry.value)
                && let Some(flag) = words.iter().position(|word| word == "-c")
                && let Some(text) = words.get(flag + 1)
            {
                let mut script = Script::new(Found::Program);
                for text in text.lines() {
                    script.push(text, place);
                }
                found.push(script);
            }
        } else if let Some(kind) = kind
            && !entry.value.starts_with(['[', '{', '&', '*'])
        {
            let mut script = Script::new(kind);
            let text = entry.value.trim_matches('"');
            script.push(&expressions(text), place);
            found.push(script);
        }
    }
    found
}

fn scalar(lines: &[&str], start: usize, end: usize, first: Place, kind: Found) -> Script {
    let body = lines.get(start..end).unwrap_or_default();
    let cut = body
        .iter()
        .find(|text| !text.trim().is_empty())
        .map_or(0, |text| indent(text));
    let mut script = Script::new(kind);
    for (offset, text) in body.iter().enumerate() {
        script.push(
            &expressions(text.get(cut..).unwrap_or_default()),
            Place {
                line: first.line + line(start + offset) - 1,
                column: first.column + column(cut) - 1,
            },
        );
    }
    script
}

/// `${{ ... }}` is put in before the shell reads the line. The same number of characters keeps the
/// columns.
fn expressions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${{") {
        let Some(length) = rest.get(start..).and_then(|from| from.find("}}")) else {
            break;
        };
        out.push_str(rest.get(..start).unwrap_or_default());
        let inside = rest.get(start..start + length + 2).unwrap_or_default();
        out.push_str("$EXPRESSION");
        out.extend(std::iter::repeat_n(
            '_',
            inside.chars().count().saturating_sub("$EXPRESSION".len()),
        ));
        rest = rest.get(start + length + 2..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_containers_and_config_maps() {
        let text = "jobs:\n  a:\n    steps:\n      - name: x\n        run: |\n          kubectl a\n            b\n      - run: kubectl \
                    ${{ env.X }}\n---\nspec:\n  containers:\n  - command:\n    - /bin/bash\n    - -c\n    - |\n      set -e\n  \
                    - command: [\"sh\", \"-c\", \"sleep 15\"]\n---\ndata:\n  up.sh: |\n    curl x\n  note: |\n    curl y\n---\n\
                    deploy:\n  script:\n    - kubectl c\n    - |\n      kubectl d\n";
        let found = scripts(text, Place { line: 1, column: 1 });
        let texts: Vec<(&str, u32, u32)> = found
            .iter()
            .map(|s| (s.text.as_str(), s.lines[0].line, s.lines[0].column))
            .collect();
        assert_eq!(
            texts,
            [
                ("kubectl a\n  b\n", 6, 11),
                ("kubectl $EXPRESSION_\n", 8, 14),
                ("set -e\n", 16, 7),
                ("sleep 15\n", 17, 14),
                ("curl x\n", 21, 5),
                ("kubectl c\n", 27, 7),
                ("kubectl d\n", 29, 7),
            ]
        );
    }
}
