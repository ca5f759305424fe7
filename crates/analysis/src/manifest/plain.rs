//! Trees of plain documents, without a parser.
//!
//! Almost every document of a repository is plain (see [`super::scan`]), and a parser of all of YAML
//! takes most of a check's time for them. So a plain document is read here, line by line. Nothing is
//! guessed: a scalar whose type takes more than a look, a folded or continued one, and whatever else
//! is not plainly one thing gives nothing, and the parser reads that document.
//!
//! Invariant: what is read here is what the parser reads.

use memchr::{memchr, memchr_iter};
use serde_json::{Map, Value};

use super::scalar::{self, Split};

/// Deeper than any object of the API but a few definitions; what nests deeper is for the parser, and
/// for its limit.
const MAX_DEPTH: usize = 40;

/// A key on one line has 1,024 characters at most in YAML.
const MAX_KEY: usize = 1_000;

/// The tree of a document that the scan calls plain, with this many nodes at most; nothing where the
/// parser must tell.
pub(super) fn tree(text: &str, nodes: usize) -> Option<Value> {
    if !is_simple(text) {
        return None;
    }
    let mut reader = Reader {
        text,
        at: 0,
        next: None,
        nodes,
        depth: 0,
    };
    let first = reader.peek()?;
    if first.column != 0 {
        return None;
    }
    let value = reader.block(0)?;
    reader.peek().is_none().then_some(value)
}

/// Has it no character that may be a line break or a blank beside `\n` and the space?
fn is_simple(text: &str) -> bool {
    let bytes = text.as_bytes();
    let odd = |c: char| {
        matches!(
            c,
            '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    memchr(b'\t', bytes).is_none()
        && memchr(0x7f, bytes).is_none()
        && memchr_iter(b'\r', bytes).all(|at| bytes.get(at + 1) == Some(&b'\n'))
        && (text.is_ascii() || !text.contains(odd))
}

/// A line with content.
#[derive(Clone, Copy)]
struct Line<'a> {
    column: usize,
    /// From there, without blanks at the end.
    rest: &'a str,
    /// Where the line after it starts.
    end: usize,
}

struct Reader<'a> {
    text: &'a str,
    /// Start of the first line that is not read.
    at: usize,
    /// The next line with content, once it was looked for.
    next: Option<Line<'a>>,
    /// Nodes that may still come.
    nodes: usize,
    depth: usize,
}

/// Where a value stands: after a key or after a dash, in that column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Key(usize),
    Dash(usize),
}

impl Under {
    fn column(self) -> usize {
        match self {
            Self::Key(column) | Self::Dash(column) => column,
        }
    }
}

impl<'a> Reader<'a> {
    /// The line at an offset, without its break; and where the next one starts.
    fn line(&self, at: usize) -> Option<(&'a str, usize)> {
        let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
        let length = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let line = rest.get(..length)?;
        let end = (at + length + 1).min(self.text.len());
        Some((line.strip_suffix('\r').unwrap_or(line), end))
    }

    fn peek(&mut self) -> Option<Line<'a>> {
        if self.next.is_none() {
            let mut at = self.at;
            while let Some((line, end)) = self.line(at) {
                let rest = line.trim_ascii_start();
                if rest.is_empty() || rest.starts_with('#') {
                    at = end;
                    continue;
                }
                self.next = Some(Line {
                    column: line.len() - rest.len(),
                    rest: rest.trim_ascii_end(),
                    end,
                });
                break;
            }
        }
        self.next
    }

    fn pass(&mut self) {
        if let Some(line) = self.next.take() {
            self.at = line.end;
        }
    }

    /// One node more.
    fn count(&mut self) -> Option<()> {
        self.nodes = self.nodes.checked_sub(1)?;
        Some(())
    }

    /// The mapping or sequence whose first line is next.
    fn block(&mut self, column: usize) -> Option<Value> {
        let line = self.peek()?;
        if scalar::dash(line.rest).is_some() {
            self.sequence(column, None)
        } else {
            self.mapping(column, None)
        }
    }

    fn deeper(&mut self) -> Option<()> {
        self.count()?;
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    /// A mapping in this column; `first` is the rest of the line on which it starts after a dash.
    fn mapping(&mut self, column: usize, first: Option<&'a str>) -> Option<Value> {
        self.deeper()?;
        let mut fields = Map::new();
        let mut inline = first;
        loop {
            let rest = match inline.take() {
                Some(rest) => rest,
                None => match self.peek() {
                    Some(line) if line.column > column => return None,
                    Some(line) if line.column == column => {
                        if scalar::dash(line.rest).is_some() {
                            return None;
                        }
                        line.rest
                    }
                    _ => break,
                },
            };
            self.pass();
            let Split::Key(key, value) = scalar::split_key(rest) else {
                return None;
            };
            self.count()?;
            (key.len() <= MAX_KEY).then_some(())?;
            let key = if rest.starts_with(['"', '\'']) {
                (!key.contains('\'')).then(|| key.to_owned())?
            } else {
                match resolve(key)? {
                    Value::String(key) => key,
                    _ => return None,
                }
            };
            let value = self.value(Under::Key(column), value)?;
            fields.insert(key, value);
        }
        self.depth -= 1;
        Some(Value::Object(fields))
    }

    /// A sequence with its dashes in this column; `first` as for a mapping.
    fn sequence(&mut self, column: usize, first: Option<&'a str>) -> Option<Value> {
        self.deeper()?;
        let mut entries = Vec::new();
        let mut inline = first;
        loop {
            let rest = match inline.take() {
                Some(rest) => rest,
                None => match self.peek() {
                    Some(line) if line.column > column => return None,
                    Some(line) if line.column == column && scalar::dash(line.rest).is_some() => {
                        line.rest
                    }
                    _ => break,
                },
            };
            self.pass();
            let inner = scalar::dash(rest)?;
            let at = column + rest.len() - inner.len();
            let nested = !(inner.is_empty() || inner.starts_with('#'));
            entries.push(if nested && scalar::dash(inner).is_some() {
                self.sequence(at, Some(inner))?
            } else if nested && matches!(scalar::split_key(inner), Split::Key(..)) {
                self.mapping(at, Some(inner))?
            } else {
                self.value(Under::Dash(column), inner)?
            });
        }
        self.depth -= 1;
        Some(Value::Array(entries))
    }

    /// What follows a key or a dash, on its line or below it.
    fn value(&mut self, under: Under, text: &'a str) -> Option<Value> {
        let parent = under.column();
        let first = text.bytes().next().filter(|first| *first != b'#');
        let Some(first) = first else {
            return match self.peek() {
                Some(line) if line.column > parent => self.block(line.column),
                Some(line)
                    if under == Under::Key(line.column) && scalar::dash(line.rest).is_some() =>
                {
                    self.sequence(parent, None)
                }
                _ => {
                    self.count()?;
                    Some(Value::Null)
                }
            };
        };
        self.count()?;
        let value = match first {
            b'|' => return self.literal(parent, text),
            b'>' => return None,
            b'"' | b'\'' => {
                let end = scalar::quoted(text)?;
                scalar::nothing_after(text.get(end..)?)?;
                Value::String(unquoted(text.get(..end)?)?)
            }
            b'[' | b'{' => self.flow(text)?,
            _ => {
                scalar::is_plain(text).then_some(())?;
                resolve(scalar::before_comment(text))?
            }
        };
        // A line below it that belongs to it: the parser puts them together.
        match self.peek() {
            Some(line) if line.column > parent => None,
            _ => Some(value),
        }
    }

    /// `[]`, `{}`, or a list of scalars.
    fn flow(&mut self, text: &str) -> Option<Value> {
        scalar::simple_flow(text)?;
        let text = scalar::before_comment(text);
        match text {
            "[]" => return Some(Value::Array(Vec::new())),
            "{}" => return Some(Value::Object(Map::new())),
            _ => {}
        }
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        let mut entries = Vec::new();
        for item in inside.split(',') {
            self.count()?;
            let item = item.trim_ascii();
            entries.push(if item.starts_with(['"', '\'']) {
                Value::String(unquoted(item)?)
            } else {
                resolve(item)?
            });
        }
        Some(Value::Array(entries))
    }

    /// A literal block scalar below a key or dash in column `parent`.
    fn literal(&mut self, parent: usize, header: &str) -> Option<Value> {
        let strip = match scalar::before_comment(header) {
            "|" => false,
            "|-" => true,
            _ => return None,
        };
        let mut content = String::new();
        // Length up to the last line that is not empty.
        let mut kept = 0;
        let mut column = None;
        while let Some((line, end)) = self.line(self.at) {
            let indent = line.len() - line.trim_ascii_start().len();
            let blank = indent == line.len();
            let from = match column {
                Some(column) if blank || indent >= column => column,
                None if blank => 0,
                None if indent > parent => {
                    column = Some(indent);
                    indent
                }
                _ => break,
            };
            // A last line without a break: whether one counts is for the parser to tell.
            if end == self.text.len() && !self.text.ends_with('\n') {
                return None;
            }
            if column.is_some() {
                let own = line.get(from..).unwrap_or_default();
                content.push_str(own);
                if !own.is_empty() {
                    kept = content.len();
                }
            }
            content.push('\n');
            self.at = end;
        }
        column?;
        content.truncate(if strip { kept } else { kept + 1 });
        Some(Value::String(content))
    }
}

/// The text between quotes. In single ones two stand for one; escapes in double ones are not here.
fn unquoted(text: &str) -> Option<String> {
    let inside = text.get(1..text.len().checked_sub(1)?)?;
    Some(if text.starts_with('\'') && inside.contains('\'') {
        inside.replace("''", "'")
    } else {
        inside.to_owned()
    })
}

/// What a plain scalar is, where a look tells.
fn resolve(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    let second = bytes.get(1).copied();
    let is_text = match *bytes.first()? {
        b'a'..=b'z' | b'A'..=b'Z' => match text {
            "true" => return Some(Value::Bool(true)),
            "false" => return Some(Value::Bool(false)),
            "null" => return Some(Value::Null),
            _ => !scalar::is_other(text),
        },
        b'/' | b'_' | b'$' | b'(' => true,
        // An option of a program, or a path.
        b'-' => second.is_some_and(|b| b.is_ascii_alphabetic() || b == b'-'),
        b'.' => {
            second.is_some_and(|b| b == b'/' || (b.is_ascii_alphabetic() && !b"iInN".contains(&b)))
        }
        b'0'..=b'9' => match number(bytes) {
            Some(number) => return Some(Value::from(number)),
            None => is_no_number(bytes),
        },
        _ => false,
    };
    is_text.then(|| Value::String(text.to_owned()))
}

/// A whole number as people write one.
fn number(bytes: &[u8]) -> Option<u64> {
    // Longer ones may not fit, and what begins with a zero is octal to some.
    if bytes.len() > 18 || (bytes.len() > 1 && bytes.first() == Some(&b'0')) {
        return None;
    }
    bytes.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(sum * 10 + u64::from(digit))
    })
}

/// Is it plainly no number, although it starts with a digit: `250m`, `10.0.0.1`?
fn is_no_number(bytes: &[u8]) -> bool {
    let prefixed =
        bytes.first() == Some(&b'0') && bytes.get(1).is_some_and(|b| b"xXoObB".contains(b));
    let foreign = |byte: &u8| !(byte.is_ascii_digit() || b".eE+-_".contains(byte));
    let dots = memchr_iter(b'.', bytes).count();
    !prefixed
        && (bytes.iter().any(foreign)
            || (dots > 1 && bytes.iter().all(|b| b.is_ascii_digit() || *b == b'.')))
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
