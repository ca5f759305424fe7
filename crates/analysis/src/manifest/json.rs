//! JSON: `kubectl get -o json`, `kubectl cluster-info dump`, streams of objects.
//!
//! A whole dump as one tree would take ten times its text. So a list is walked, and its objects become
//! trees one at a time, which validates them; what stands around them is validated without them. Where
//! any of that fails the whole text is validated first, and says where it is broken.

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
        if let Some((length, found)) = valid(context, trimmed, || counted.line(text, at)) {
            reading.append(found);
            at += length;
            first = false;
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

/// What the object at the start of a text gives, with its length; nothing where it is not valid.
/// `line` is asked once.
fn valid(context: &Context, text: &str, line: impl FnOnce() -> u32) -> Option<(usize, Reading)> {
    let outline = Outline::of(text)?;
    let part = |(from, to): (usize, usize)| text.get(from..to);
    let string = |name: &str| {
        let found = outline.fields.iter().find(|(key, _)| *key == name)?;
        serde_json::from_str::<String>(part(found.1)?).ok()
    };
    let mut reading = Reading::default();
    let line = context.base_line + line();
    let kind = string("kind").unwrap_or_default();
    let Some((place, items)) = outline.items.filter(|_| kind.ends_with("List")) else {
        let value = serde_json::from_str(part((0, outline.end))?).ok()?;
        context.take_nested(value, line, &[], 1, None, &mut reading);
        return Some((outline.end, reading));
    };
    let around = format!("{}[]{}", part((0, place.0))?, part((place.1, outline.end))?);
    serde_json::from_str::<IgnoredAny>(&around).ok()?;
    let api = string("apiVersion").unwrap_or_default();
    let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
    let inherited = of.map(|of| (api.as_str(), of));
    let mut counted = Lines::default();
    for item in items {
        let value = serde_json::from_str(part(item)?).ok()?;
        let line = line + counted.line(text, item.0) - 1;
        context.take_nested(value, line, &[], 1, inherited, &mut reading);
    }
    Some((outline.end, reading))
}

/// Where a part of a text is.
type Place = (usize, usize);

/// Where the parts of an object are, if it looks like one: what is between them nobody has read yet.
struct Outline<'a> {
    fields: Vec<(&'a str, Place)>,
    /// The list of items, and each of them.
    items: Option<(Place, Vec<Place>)>,
    end: usize,
}

impl<'a> Outline<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let mut outline = Self {
            fields: Vec::new(),
            items: None,
            end: 0,
        };
        let mut walk = Walk {
            bytes: text.as_bytes(),
            at: 0,
        };
        if walk.next() != Some(b'{') {
            return None;
        }
        loop {
            if walk.peek() != Some(b'"') {
                return None;
            }
            let key = walk.at;
            walk.string();
            let name = text.get(key + 1..walk.at.checked_sub(1)?)?;
            if walk.next() != Some(b':') {
                return None;
            }
            let first = walk.peek()?;
            let start = walk.at;
            if name == "items" && first == b'[' {
                let items = walk.array()?;
                // Of two lists one is lost to some readers: which one the other path tells.
                if outline.items.is_some() {
                    return None;
                }
                outline.items = Some(((start, walk.at), items));
            } else {
                walk.value();
            }
            outline.fields.push((name, (start, walk.at)));
            match walk.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return None,
            }
        }
        outline.end = walk.at;
        Some(outline)
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

    /// Steps over an array, and says where its elements are.
    fn array(&mut self) -> Option<Vec<Place>> {
        let mut found = Vec::new();
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Some(found);
        }
        loop {
            self.space();
            let start = self.at;
            self.value();
            found.push((start, self.at));
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Some(found),
                _ => return None,
            }
        }
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

    /// Both ways of reading say the same of any text, however broken.
    #[test]
    fn what_is_walked_is_what_is_validated() {
        let context = Context {
            file: "a.json".into(),
            want: super::super::Want::Bodies,
            origin: super::super::Origin::Manifest,
            base_line: 0,
        };
        let whole = "{\"kind\": \"PodList\", \"apiVersion\": \"v1\",\n \"items\": [\n  {\"metadata\": {\"name\": \"a,]}\"}},\n  \
                     {\"metadata\": {\"name\": \"b\"}, \"x\": [1, {}]}\n ], \"more\": {\"k\": \"v\\\"\"}} ";
        let mut texts: Vec<String> = (0..whole.len())
            .map(|end| whole[..end].to_owned())
            .collect();
        // Each byte once gone and once doubled: broken in every way that one byte can.
        for (at, c) in whole.char_indices() {
            texts.push(format!("{}{}", &whole[..at], &whole[at + 1..]));
            texts.push(format!("{}{c}{}", &whole[..at], &whole[at..]));
        }
        let mut read = 0;
        for text in texts {
            let trimmed = text.trim_start();
            let mut values = serde_json::Deserializer::from_str(trimmed).into_iter::<IgnoredAny>();
            let is_valid = matches!(values.next(), Some(Ok(_))) && trimmed.starts_with('{');
            let mut expected = Reading::default();
            let end = values.byte_offset();
            if is_valid {
                take(&context, &trimmed[..end], 1, &mut expected);
            }
            match valid(&context, trimmed, || 1) {
                Some((length, found)) => {
                    assert!(is_valid, "{text}");
                    assert_eq!(length, end, "{text}");
                    assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{text}");
                    read += found.objects.len();
                }
                None => assert!(!is_valid || trimmed.starts_with("{}"), "{text}"),
            }
        }
        assert!(read > 20, "{read}");
    }

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
