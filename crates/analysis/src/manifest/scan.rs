//! The fast look at YAML: documents, names, and whether the text is plain block YAML.
//!
//! Plain means: block mappings and sequences with consistent indentation, keys and values on one
//! line (plain, quoted, or an empty or simple flow), block scalars, continued plain scalars, and
//! comments. Anything else makes a document not plain, and a real parser must read it. The scan may
//! call plain text not plain, never the other way round.

use memchr::memchr;

use super::scalar::{
    Split, before_comment, comment, dash, is_plain, nothing_after, quoted, scalar, simple_flow,
    split_key,
};

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

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
