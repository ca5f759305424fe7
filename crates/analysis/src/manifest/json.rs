//! JSON: `kubectl get -o json`, `kubectl cluster-info dump`, streams of objects.
//!
//! A whole dump as one tree would take ten times its text. So the text is validated first (which
//! bounds its depth too), then walked, and the objects of a list become trees one at a time.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Context, Reading, newlines};

/// What `kubectl cluster-info dump` writes around the logs between its lists.
const LOGS_START: &str = "==== START logs";
const LOGS_END: &str = "==== END logs";

/// Reads a stream of values. Says false when the text is no JSON from its start, so that it may
/// still be YAML in flow style.
pub(super) fn read(context: &Context, text: &str, reading: &mut Reading) -> bool {
    let mut at = 0;
    let mut counted = Lines::default();
    let mut first = true;
    while let Some(rest) = text.get(at..) {
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.is_empty() {
            break;
        }
        if trimmed.starts_with(LOGS_START) {
            // Logs are not objects, and may contain anything.
            let Some(end) = trimmed.find(LOGS_END) else {
                break;
            };
            let after = trimmed.get(end..).unwrap_or_default();
            at += end + after.find('\n').unwrap_or(after.len());
            continue;
        }
        let mut values = serde_json::Deserializer::from_str(trimmed).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let end = at + values.byte_offset();
                let line = context.base_line + counted.line(text, at);
                take(
                    context,
                    text.get(at..end).unwrap_or_default(),
                    line,
                    reading,
                );
                at = end;
                first = false;
            }
            Some(Err(e))
                if first && !e.to_string().starts_with("recursion limit") && !e.is_eof() =>
            {
                return false;
            }
            Some(Err(e)) => {
                let start = context.base_line + counted.line(text, at);
                let line = start + u32::try_from(e.line()).unwrap_or(1).saturating_sub(1);
                reading.skip(&context.file, format!("line {line}: {}", explain(&e)));
                return true;
            }
            None => break,
        }
    }
    true
}

fn explain(e: &serde_json::Error) -> String {
    if e.to_string().starts_with("recursion limit") {
        "nested too deeply".to_owned()
    } else if e.is_eof() {
        "the JSON ends in the middle: the file is cut off".to_owned()
    } else {
        let text = e.to_string();
        let end = text.find(" at line ").unwrap_or(text.len());
        format!("not JSON: {}", text.get(..end).unwrap_or(&text))
    }
}

/// Takes one valid value: items of a list one by one.
fn take(context: &Context, text: &str, line: u32, reading: &mut Reading) {
    let fields = members(text);
    let field = |name: &str| {
        let found = fields.iter().find(|(key, _, _)| *key == name);
        found.map(|(_, start, end)| (*start, text.get(*start..*end).unwrap_or_default()))
    };
    let string =
        |name: &str| field(name).and_then(|(_, text)| serde_json::from_str::<String>(text).ok());
    let items = string("kind")
        .filter(|kind| kind.ends_with("List"))
        .and_then(|kind| Some((kind, field("items")?)))
        .filter(|(_, (_, items))| items.starts_with('['));
    let Some((kind, (start, items))) = items else {
        return one(context, text, line, None, reading);
    };
    let api = string("apiVersion").unwrap_or_default();
    let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
    let inherited = of.map(|of| (api.as_str(), of));
    let mut counted = Lines::default();
    for (from, to) in elements(items) {
        let line = line + counted.line(text, start + from) - 1;
        one(
            context,
            items.get(from..to).unwrap_or_default(),
            line,
            inherited,
            reading,
        );
    }
}

fn one(
    context: &Context,
    text: &str,
    line: u32,
    inherited: Option<(&str, &str)>,
    reading: &mut Reading,
) {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => context.take_nested(value, line, &[], 1, inherited, reading),
        Err(e) => reading.skip(&context.file, format!("line {line}: {}", explain(&e))),
    }
}

/// Line numbers of ascending offsets, counted once.
#[derive(Default)]
struct Lines {
    at: usize,
    line: u32,
}

impl Lines {
    fn line(&mut self, text: &str, offset: usize) -> u32 {
        let passed = text.as_bytes().get(self.at..offset).unwrap_or_default();
        self.line += newlines(passed);
        self.at = offset;
        self.line + 1
    }
}

/// Keys of an object with where their values are. The text is valid JSON.
fn members(text: &str) -> Vec<(&str, usize, usize)> {
    let mut found = Vec::new();
    let mut walk = Walk {
        bytes: text.as_bytes(),
        at: 0,
    };
    if walk.next() != Some(b'{') {
        return found;
    }
    while walk.peek() == Some(b'"') {
        let key = walk.at;
        walk.string();
        let name = text
            .get(key + 1..walk.at.saturating_sub(1))
            .unwrap_or_default();
        if walk.next() != Some(b':') {
            break;
        }
        walk.space();
        let start = walk.at;
        walk.value();
        found.push((name, start, walk.at));
        if walk.next() != Some(b',') {
            break;
        }
        walk.space();
    }
    found
}

/// Where the elements of an array are. The text is valid JSON.
fn elements(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut walk = Walk {
        bytes: text.as_bytes(),
        at: 0,
    };
    if walk.next() != Some(b'[') {
        return found;
    }
    while let Some(byte) = walk.peek() {
        if byte == b']' {
            break;
        }
        let start = walk.at;
        walk.value();
        found.push((start, walk.at));
        if walk.next() != Some(b',') {
            break;
        }
        walk.space();
    }
    found
}

/// Steps over valid JSON.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(rest) = self.bytes.get(self.at..) {
            let Some(next) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return;
            };
            self.at += next;
            if self.bytes.get(self.at) == Some(&b'"') {
                self.at += 1;
                return;
            }
            self.at += 2;
        }
    }

    fn value(&mut self) {
        let mut depth = 0_u32;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.string();
                    if depth == 0 {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return;
                    }
                }
                b',' if depth == 0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_finds_members_and_elements() {
        let text = r#"{ "a" : [1, "x]\"", {"b": []}] , "c": "}", "d": 1.5e3 }"#;
        let found: Vec<(&str, &str)> = members(text)
            .into_iter()
            .map(|(key, from, to)| (key, text[from..to].trim()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", r#"[1, "x]\"", {"b": []}]"#),
                ("c", r#""}""#),
                ("d", "1.5e3")
            ]
        );
        let array = found[0].1;
        let parts: Vec<&str> = elements(array)
            .into_iter()
            .map(|(a, b)| &array[a..b])
            .collect();
        assert_eq!(parts, ["1", r#""x]\"""#, r#"{"b": []}"#]);
    }
}
