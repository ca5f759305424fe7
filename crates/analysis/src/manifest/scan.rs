//! The fast look at YAML: documents, names, and whether the text is plain block YAML.
//!
//! Plain means: block mappings and sequences with consistent indentation, keys and values on one
//! line (plain, quoted, or an empty or simple flow), block scalars, continued plain scalars, and
//! comments. Anything else makes a document not plain, and a real parser must read it. The scan may
//! call plain text not plain, never the other way round.

use memchr::{memchr, memchr_iter};

/// One document of a stream.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// Its text.
    pub text: &'a str,
    /// Line of the text's start, from 1.
    pub first: u32,
    /// Line of its first content.
    pub line: u32,
    /// Is it plain?
    pub plain: bool,
    /// What the scan saw; complete only when plain.
    pub head: Head<'a>,
}

/// What the scan keeps of a document.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    pub api: Option<&'a str>,
    pub kind: Option<&'a str>,
    pub name: Option<&'a str>,
    pub namespace: Option<&'a str>,
    /// It has what only an API server gives.
    pub live: bool,
    /// It carries the source of an apply, or says whose it is.
    pub applied: bool,
    /// It may be a record of Helm.
    pub helm: bool,
    /// Lines of the entries of `items`; a hint.
    pub items: Vec<u32>,
}

/// Words that some YAML reads as something else than text.
const OTHER: [&str; 10] = [
    "null", "~", "true", "false", "yes", "no", "on", "off", "y", "n",
];

/// Deeper nesting is left to the parser, which refuses it.
const MAX_DEPTH: usize = 64;

/// Splits a stream and looks at each document. Documents without content are left out.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    let mut scan = Scan::new(0, 1);
    let (mut at, mut number) = (0, 0);
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let length = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let next = at + length + 1;
        let line = rest.get(..length).unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        number += 1;
        match marker(line) {
            Some(Marker::Start(content)) => {
                scan.finish(text, at, &mut found);
                if content {
                    // `--- text` on one line: the parser gets the marker too.
                    scan = Scan::new(at, number);
                    scan.plain = false;
                    scan.line = number;
                } else {
                    scan = Scan::new(next.min(text.len()), number + 1);
                }
            }
            Some(Marker::End) => {
                scan.finish(text, at, &mut found);
                scan = Scan::new(next.min(text.len()), number + 1);
            }
            None => scan.take(line, number),
        }
        at = next;
    }
    scan.finish(text, text.len(), &mut found);
    found
}

enum Marker {
    /// `---`, with content on the same line or not.
    Start(bool),
    /// `...`
    End,
}

fn marker(line: &str) -> Option<Marker> {
    let bytes = line.as_bytes();
    if !(bytes.starts_with(b"---") || bytes.starts_with(b"...")) {
        return None;
    }
    let rest = line.get(3..)?;
    if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    if bytes.starts_with(b"...") {
        return Some(Marker::End);
    }
    let rest = rest.trim();
    Some(Marker::Start(!(rest.is_empty() || rest.starts_with('#'))))
}

struct Level {
    indent: usize,
    sequence: bool,
}

/// What the last line allows the next one to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// Only something at a level that is already there.
    Nothing,
    /// A deeper block: the last key or dash has no value yet.
    Pending,
    /// A continuation of a plain scalar, deeper than this column.
    Plain(usize),
}

/// A block scalar that is open.
#[derive(Clone, Copy)]
struct Block {
    /// Column of its key or dash.
    parent: usize,
    /// Column of its first line, once that was seen.
    content: Option<usize>,
    /// Widest blank line before that: wider than the first line is not allowed.
    blank: usize,
}

struct Scan<'a> {
    start: usize,
    first: u32,
    line: u32,
    plain: bool,
    levels: Vec<Level>,
    after: After,
    /// Inside a block scalar.
    block: Option<Block>,
    /// Where the dashes of `items` stand.
    item_column: Option<usize>,
    /// Is the last value one that the head keeps?
    kept: bool,
    /// The keys at depth one and two that are open.
    keys: [&'a str; 2],
    head: Head<'a>,
}

impl<'a> Scan<'a> {
    fn new(start: usize, first: u32) -> Self {
        Self {
            start,
            first,
            line: 0,
            plain: true,
            levels: Vec::new(),
            after: After::Nothing,
            block: None,
            item_column: None,
            kept: false,
            keys: ["", ""],
            head: Head::default(),
        }
    }

    fn finish(&mut self, text: &'a str, end: usize, found: &mut Vec<Document<'a>>) {
        if self.line == 0 {
            return;
        }
        found.push(Document {
            text: text.get(self.start..end).unwrap_or_default(),
            first: self.first,
            line: self.line,
            plain: self.plain,
            head: std::mem::take(&mut self.head),
        });
    }

    fn take(&mut self, line: &'a str, number: u32) {
        let bytes = line.as_bytes();
        let indent = bytes.iter().take_while(|b| **b == b' ').count();
        let rest = line.get(indent..).unwrap_or_default().trim_ascii_end();
        if !self.plain && self.line != 0 {
            // What stands inside an entry stands deeper than its dash.
            if self.item_column == Some(indent) && dash(rest).is_some() {
                self.head.items.push(number);
            }
            return;
        }
        if let Some(block) = self.block.as_mut() {
            match block.content {
                _ if rest.is_empty() => {
                    block.blank = block.blank.max(indent);
                    return;
                }
                Some(content) if indent >= content => return,
                None if indent > block.parent => {
                    block.content = Some(indent);
                    if block.blank > indent {
                        self.plain = false;
                    }
                    return;
                }
                _ => self.block = None,
            }
        }
        if rest.is_empty() {
            return;
        }
        if rest.starts_with('#') {
            if let After::Plain(_) = self.after {
                self.after = After::Nothing;
            }
            return;
        }
        if self.line == 0 && indent == 0 && rest.starts_with('%') {
            return;
        }
        if self.line == 0 {
            self.line = number;
        }
        if self.content(indent, rest, number).is_none() {
            self.plain = false;
        }
    }

    /// Takes a line with content. Nothing means: not plain.
    fn content(&mut self, column: usize, rest: &'a str, number: u32) -> Option<()> {
        if let Some(inner) = dash(rest) {
            if let After::Plain(parent) = self.after
                && column > parent
            {
                return None;
            }
            self.enter_sequence(column)?;
            if self.levels.len() == 2 && self.keys[0] == "items" {
                self.item_column = Some(column);
                self.head.items.push(number);
            }
            return self.entry(column, rest.len() - inner.len(), inner);
        }
        match split_key(rest) {
            Split::Key(key, value) => {
                if let After::Plain(parent) = self.after
                    && column > parent
                {
                    return None;
                }
                self.enter_mapping(column)?;
                self.key(column, key, value)
            }
            Split::None => {
                let parent = match self.after {
                    After::Plain(parent) => parent,
                    After::Pending => self.levels.last()?.indent,
                    After::Nothing => return None,
                };
                // A kept value that goes on is the parser's to put together.
                // And metadata that is a text is a file cut off in its first key.
                let cut = self.levels.len() == 1 && self.keys[0] == "metadata";
                if column <= parent || !is_plain(rest) || self.kept || cut {
                    return None;
                }
                self.after = plain_then(parent, rest);
                Some(())
            }
            Split::Odd => None,
        }
    }

    /// The inside of a sequence's entry, `offset` columns after its dash.
    fn entry(&mut self, dash_at: usize, offset: usize, inner: &'a str) -> Option<()> {
        if inner.is_empty() || inner.starts_with('#') {
            self.after = After::Pending;
            return Some(());
        }
        let column = dash_at + offset;
        if let Some(deeper) = dash(inner) {
            self.push(column, true)?;
            return self.entry(column, inner.len() - deeper.len(), deeper);
        }
        match split_key(inner) {
            Split::Key(key, value) => {
                self.push(column, false)?;
                self.key(column, key, value)
            }
            Split::None => self.value(dash_at, inner),
            Split::Odd => None,
        }
    }

    fn push(&mut self, indent: usize, sequence: bool) -> Option<()> {
        if self.levels.len() >= MAX_DEPTH {
            return None;
        }
        self.levels.push(Level { indent, sequence });
        Some(())
    }

    /// Leaves deeper levels. Says whether there were any.
    fn leave(&mut self, column: usize) -> bool {
        let before = self.levels.len();
        while self
            .levels
            .last()
            .is_some_and(|level| level.indent > column)
        {
            self.levels.pop();
        }
        before != self.levels.len()
    }

    fn enter_sequence(&mut self, column: usize) -> Option<()> {
        let left = self.leave(column);
        match self.levels.last() {
            None => (column == 0 && !left).then_some(())?,
            Some(level) if level.indent == column && level.sequence => return Some(()),
            // Below a key a sequence may stand at the key's own column.
            Some(_) => (self.after == After::Pending && !left).then_some(())?,
        }
        self.push(column, true)
    }

    fn enter_mapping(&mut self, column: usize) -> Option<()> {
        let mut left = self.leave(column);
        if let [.., below, last] = self.levels.as_slice()
            && last.sequence
            && last.indent == column
            && !below.sequence
            && below.indent == column
        {
            self.levels.pop();
            left = true;
        }
        match self.levels.last() {
            None => (column == 0 && !left).then_some(())?,
            Some(level) if level.indent == column => return (!level.sequence).then_some(()),
            Some(_) => (self.after == After::Pending && !left).then_some(())?,
        }
        self.push(column, false)
    }

    fn key(&mut self, column: usize, key: &'a str, value: &'a str) -> Option<()> {
        self.note(key, value)?;
        self.value(column, value)
    }

    /// Keeps what checks ask for.
    fn note(&mut self, key: &'a str, value: &'a str) -> Option<()> {
        self.kept = false;
        match self.levels.len() {
            1 => {
                self.keys = [key, ""];
                let kept = match key {
                    "apiVersion" => &mut self.head.api,
                    "kind" => &mut self.head.kind,
                    "type" => {
                        self.head.helm |= scalar(value) == Some("helm.sh/release.v1");
                        return Some(());
                    }
                    _ => return Some(()),
                };
                if kept.is_some() {
                    return None;
                }
                *kept = Some(scalar(value)?);
                self.kept = true;
            }
            2 if self.keys[0] == "metadata" => {
                self.keys[1] = key;
                self.kept = matches!(key, "name" | "generateName" | "namespace");
                match key {
                    "name" => self.head.name = Some(scalar(value)?),
                    "generateName" if self.head.name.is_none() => {
                        self.head.name = Some(scalar(value)?);
                    }
                    "namespace" => self.head.namespace = Some(scalar(value)?),
                    "uid" | "resourceVersion" | "managedFields" => self.head.live = true,
                    _ => {}
                }
            }
            3 if self.keys[0] == "metadata" => match (self.keys[1], key) {
                (
                    "annotations",
                    "kubectl.kubernetes.io/last-applied-configuration" | "kapp.k14s.io/original",
                ) => {
                    self.head.applied = true;
                }
                ("labels", "owner") => self.head.helm |= scalar(value) == Some("helm"),
                _ => {}
            },
            _ => {}
        }
        Some(())
    }

    /// A value on the line of its key or dash, which stands at `parent`.
    fn value(&mut self, parent: usize, value: &'a str) -> Option<()> {
        self.after = After::Nothing;
        let Some(first) = value.bytes().next() else {
            self.after = After::Pending;
            return Some(());
        };
        match first {
            b'#' => self.after = After::Pending,
            b'|' | b'>' => {
                let header = before_comment(value.get(1..)?).trim();
                matches!(header, "" | "-" | "+").then_some(())?;
                self.block = Some(Block {
                    parent,
                    content: None,
                    blank: 0,
                });
            }
            b'"' | b'\'' => {
                let end = quoted(value)?;
                nothing_after(value.get(end..)?)?;
            }
            b'[' | b'{' => simple_flow(value)?,
            _ => {
                is_plain(value).then_some(())?;
                self.after = plain_then(parent, value);
            }
        }
        Some(())
    }
}

/// What may follow a plain scalar: a comment ends it.
fn plain_then(parent: usize, text: &str) -> After {
    if comment(text).is_some() {
        After::Nothing
    } else {
        After::Plain(parent)
    }
}

/// The inside of a sequence's entry, if the text is one.
pub(super) fn dash(text: &str) -> Option<&str> {
    match text.strip_prefix('-')? {
        "" => Some(""),
        rest => rest
            .strip_prefix(' ')
            .map(|rest| rest.trim_start_matches(' ')),
    }
}

/// A line's text, as far as it is `key: value`.
pub(super) enum Split<'a> {
    /// A key, of quotes what is between them, and the text after the colon.
    Key(&'a str, &'a str),
    /// It is none.
    None,
    /// The parser must tell.
    Odd,
}

/// Splits `key: value`.
pub(super) fn split_key(text: &str) -> Split<'_> {
    let Some(first) = text.bytes().next() else {
        return Split::None;
    };
    if matches!(first, b'"' | b'\'') {
        let Some(end) = quoted(text) else {
            return Split::Odd;
        };
        let rest = text.get(end..).unwrap_or_default();
        return match rest.strip_prefix(':') {
            Some(value) if value.is_empty() || value.starts_with(' ') => {
                let key = text.get(1..end - 1).unwrap_or_default();
                Split::Key(key, value.trim_start_matches(' '))
            }
            _ => Split::None,
        };
    }
    if !may_start(text) {
        return Split::None;
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(next) = bytes.get(at..).and_then(|rest| memchr(b':', rest)) {
        let colon = at + next;
        match bytes.get(colon + 1) {
            None | Some(b' ') => {
                let key = text.get(..colon).unwrap_or_default();
                if comment(key).is_some() {
                    return Split::None;
                }
                if memchr(b'{', key.as_bytes()).is_some() && key.contains("{{") {
                    return Split::Odd;
                }
                let value = text.get(colon + 1..).unwrap_or_default();
                return Split::Key(key.trim_ascii_end(), value.trim_start_matches(' '));
            }
            Some(b'\t') => return Split::Odd,
            Some(_) => at = colon + 1,
        }
    }
    Split::None
}

/// May a plain scalar start like this?
fn may_start(text: &str) -> bool {
    let mut bytes = text.bytes();
    match bytes.next() {
        None => false,
        Some(b'-' | b'?' | b':') => bytes.next().is_some_and(|b| b != b' ' && b != b'\t'),
        Some(first) => !matches!(
            first,
            b',' | b'['
                | b']'
                | b'{'
                | b'}'
                | b'#'
                | b'&'
                | b'*'
                | b'!'
                | b'|'
                | b'>'
                | b'\''
                | b'"'
                | b'%'
                | b'@'
                | b'`'
                | b'\t'
        ),
    }
}

/// Where ` #` begins a comment.
fn comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // A searcher for two bytes would be made anew for each line, which takes longer than the line.
    memchr_iter(b'#', bytes)
        .filter_map(|at| at.checked_sub(1))
        .find(|before| bytes.get(*before) == Some(&b' '))
}

/// What stands before a comment.
pub(super) fn before_comment(text: &str) -> &str {
    let end = comment(text).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().trim_ascii_end()
}

/// Is the whole text one plain scalar, with a comment after it at most?
pub(super) fn is_plain(text: &str) -> bool {
    let text = before_comment(text);
    may_start(text)
        && !text.ends_with(':')
        && !memchr_iter(b':', text.as_bytes())
            .any(|at| matches!(text.as_bytes().get(at + 1), Some(b' ' | b'\t')))
}

/// Where a quoted scalar at the start of the text ends, if it ends there and holds no escapes.
pub(super) fn quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    let mut at = 1;
    loop {
        let rest = bytes.get(at..)?;
        let next = at + memchr(quote, rest)?;
        if quote == b'"' {
            // An escape may hide the quote, and its validity is the parser's to judge.
            let inside = bytes.get(1..next)?;
            return (!inside.contains(&b'\\')).then_some(next + 1);
        }
        if bytes.get(next + 1) != Some(&b'\'') {
            return Some(next + 1);
        }
        at = next + 2;
    }
}

/// Nothing where more than a comment comes after a quoted scalar.
pub(super) fn nothing_after(rest: &str) -> Option<()> {
    let after = rest.trim_ascii_start();
    let is_apart = after.len() < rest.len();
    (after.is_empty() || (is_apart && after.starts_with('#'))).then_some(())
}

/// `[]`, `{}`, or a list of scalars without anything that needs a parser.
pub(super) fn simple_flow(text: &str) -> Option<()> {
    let text = before_comment(text);
    if matches!(text, "[]" | "{}") {
        return Some(());
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside
        .split(',')
        .all(|item| {
            let item = item.trim_ascii();
            if item.starts_with('"') || item.starts_with('\'') {
                quoted(item) == Some(item.len())
            } else {
                is_plain(item) && !item.contains(['[', ']', '{', '}'])
            }
        })
        .then_some(())
}

/// Is it a word that some YAML reads as something else than text?
pub(super) fn is_other(text: &str) -> bool {
    // None of them is longer.
    text.len() <= 5 && OTHER.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A scalar's text without quotes and comment; nothing where the parser must tell.
fn scalar(value: &str) -> Option<&str> {
    if value.starts_with(['"', '\'']) {
        let end = quoted(value)?;
        nothing_after(value.get(end..)?)?;
        let inside = value.get(1..end - 1)?;
        return (!inside.contains('\'')).then_some(inside);
    }
    let text = before_comment(value);
    // What YAML reads as something else than text is the parser's to tell.
    let other = is_other(text)
        || text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    (is_plain(value) && !other).then_some(text)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
