//! Blocks of code in Markdown, also in pages whose fences do not match.
//!
//! A renderer that meets a closing fence without an opening one takes it for an opening one: the
//! commands before it are prose, and the prose after it is code. People still copy those commands,
//! so they are read, and the page is told.

use super::text::{Found, Place, Script, column, indent, line};

/// What a page holds.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Scripts in the order of the page.
    pub scripts: Vec<Script>,
    /// Blocks of YAML: their text, and the index of their first line.
    pub yaml: Vec<(String, Place)>,
    /// Blocks of JSON.
    pub json: Vec<(String, Place)>,
    /// Fences that close nothing, with the first line of the commands before them.
    pub strays: Vec<(Place, u32)>,
}

/// A fence: its character, its length, the columns before it and what stands after it.
struct Fence<'a> {
    mark: char,
    length: usize,
    indent: usize,
    info: &'a str,
}

/// The fence that a line is.
fn fence(text: &str) -> Option<Fence<'_>> {
    let rest = text.trim_start_matches([' ', '>']);
    let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = rest.chars().take_while(|c| *c == mark).count();
    let info = rest.get(length..)?.trim();
    (length >= 3 && !(mark == '`' && info.contains('`'))).then_some(Fence {
        mark,
        length,
        indent: text.len() - rest.len(),
        info,
    })
}

/// What is in a block, by its first word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Shell,
    Session,
    Yaml,
    Json,
    Unknown,
    Other,
}

fn language(info: &str) -> Language {
    let word = info
        .trim_start_matches(['{', '.', ' '])
        .split([' ', ',', '{', '}', '-'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match word.as_str() {
        "" => Language::Unknown,
        "bash" | "sh" | "shell" | "zsh" | "ksh" | "azurecli" => Language::Shell,
        "console" | "shellsession" | "terminal" | "session" => Language::Session,
        "yaml" | "yml" => Language::Yaml,
        "json" => Language::Json,
        _ => Language::Other,
    }
}

/// Reads a page.
pub(super) fn read(text: &str) -> Page {
    let lines: Vec<&str> = text.lines().collect();
    let mut page = Page::default();
    let mut at = 0;
    let mut prose = 0;
    while let Some(opening) = lines.get(at) {
        let Some(open) = fence(opening) else {
            at += 1;
            continue;
        };
        let mut end = at + 1;
        let mut stray = false;
        while let Some(next) = lines.get(end) {
            if let Some(fence) = fence(next)
                && fence.mark == open.mark
            {
                if fence.info.is_empty() && fence.length >= open.length {
                    break;
                }
                // Code may hold fences, but not of the same length in a block without a language.
                stray |= open.info.is_empty() && fence.length == open.length;
            }
            end += 1;
        }
        if stray {
            commands_before(&lines, prose, at, &mut page);
            at += 1;
            prose = at;
            continue;
        }
        block(&lines, at, end, &open, &mut page);
        at = end + 1;
        prose = at;
    }
    page
}

/// The text of a block, each line without the columns of its fence.
fn block(lines: &[&str], start: usize, end: usize, open: &Fence<'_>, page: &mut Page) {
    let language = language(open.info);
    if language == Language::Other {
        return;
    }
    let mut script = Script::new(if language == Language::Unknown {
        Found::Guess
    } else {
        Found::Block
    });
    let mut in_command = false;
    for (index, text) in lines.iter().enumerate().take(end).skip(start + 1) {
        let cut = text
            .char_indices()
            .take(open.indent)
            .take_while(|(_, c)| matches!(c, ' ' | '>'))
            .count();
        let mut cut = cut.min(text.len());
        let mut rest = text.get(cut..).unwrap_or_default();
        let mut kept = true;
        if language == Language::Session {
            let prompt = ["$ ", "# ", "% "].iter().find(|p| rest.starts_with(**p));
            kept = in_command || prompt.is_some();
            if prompt.is_some() && !in_command {
                cut += 2;
                rest = rest.get(2..).unwrap_or_default();
            }
            in_command = kept && rest.trim_end().ends_with('\\');
        } else if language == Language::Unknown && rest.starts_with("$ ") {
            cut += 2;
            rest = rest.get(2..).unwrap_or_default();
        }
        let place = Place {
            line: line(index),
            column: column(cut),
        };
        let shell = matches!(
            language,
            Language::Shell | Language::Session | Language::Unknown
        );
        match (kept, shell) {
            (false, _) => script.push("", place),
            (true, true) => script.push(&placeholders(rest), place),
            (true, false) => script.push(rest, place),
        }
    }
    let first = Place {
        line: line(start + 1),
        column: column(open.indent),
    };
    match language {
        Language::Yaml => page.yaml.push((script.text, first)),
        Language::Json => page.json.push((script.text, first)),
        _ => page.scripts.push(script),
    }
}

/// Documentation writes `<name>` where a person puts a value; a shell would redirect. The same
/// number of characters keeps the columns.
pub(super) fn placeholders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let (before, after) = rest.split_at(start);
        out.push_str(before);
        let name = after.get(1..).unwrap_or_default();
        let end = name
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ' | '.')))
            .unwrap_or(name.len());
        let inside = name.get(..end).unwrap_or_default();
        let is_name = inside.starts_with(|c: char| c.is_ascii_alphabetic())
            && inside.ends_with(|c: char| c.is_ascii_alphanumeric())
            && name.get(end..).is_some_and(|rest| {
                rest.starts_with('>') && !rest[1..].starts_with(|c: char| c.is_ascii_alphanumeric())
            });
        if is_name {
            out.push('_');
            out.push_str(&inside.replace(' ', "_"));
            out.push('_');
            rest = name.get(end + 1..).unwrap_or_default();
        } else {
            out.push('<');
            rest = name;
        }
    }
    out.push_str(rest);
    out
}

/// The lines before a fence that closes nothing, as far up as they can be commands.
fn commands_before(lines: &[&str], from: usize, stray: usize, page: &mut Page) {
    let is_prose = |text: &str| {
        let text = text.trim_start();
        ["##", "**", ">", "|", "- ", "* ", "<", "---", "!", "[", "1."]
            .iter()
            .any(|start| text.starts_with(start))
    };
    let mut first = stray;
    while first > from && lines.get(first - 1).is_some_and(|text| !is_prose(text)) {
        first -= 1;
    }
    while first < stray && lines.get(first).is_some_and(|text| text.trim().is_empty()) {
        first += 1;
    }
    let mut script = Script::new(Found::Prose);
    for (index, text) in lines.iter().enumerate().take(stray).skip(first) {
        let cut = indent(text);
        script.push(
            &placeholders(text.trim_start()),
            Place {
                line: line(index),
                column: column(cut),
            },
        );
    }
    page.strays.push((
        Place {
            line: line(stray),
            column: 1,
        },
        line(first),
    ));
    page.scripts.push(script);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_sessions_and_placeholders() {
        let page = read(
            "1. x\n   ```bash\n   kubectl get <pod name> -o wide\n   ```\n\n```console\n$ az x \\\n  --y\nout\n```\n\
             > ```sh\n> a\n> ```\n\n```python\nimport x\n```\n~~~\n```bash\n~~~\n",
        );
        let texts: Vec<&str> = page.scripts.iter().map(|s| s.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "kubectl get _pod_name_ -o wide\n",
                "az x \\\n  --y\n\n",
                "a\n",
                "```bash\n"
            ]
        );
        assert_eq!(
            page.scripts[0].place(1, 9),
            Place {
                line: 3,
                column: 12
            }
        );
        assert_eq!(page.scripts[1].place(1, 1), Place { line: 7, column: 3 });
        assert_eq!(
            placeholders("a <in>out <x> '<y-z>'"),
            "a <in>out _x_ '_y-z_'"
        );
    }

    #[test]
    fn a_fence_that_closes_nothing_is_no_opening() {
        let page = read("**Done:** x\n\naz a\n```\n\n## Next\n\n```bash\nkubectl b\n```\n");
        let texts: Vec<(&str, Found)> = page
            .scripts
            .iter()
            .map(|s| (s.text.as_str(), s.found))
            .collect();
        assert_eq!(
            texts,
            [("az a\n", Found::Prose), ("kubectl b\n", Found::Block)]
        );
        assert_eq!(page.strays, [(Place { line: 4, column: 1 }, 3)]);
    }
}
