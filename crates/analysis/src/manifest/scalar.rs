//! One line of plain block YAML: keys, quotes, comments, simple flows, and what is not plain text.
//!
//! A word may be held for something else than text, and a text for not plain, never the other way
//! round. It knows nothing of documents and indentation.

use memchr::{memchr, memchr_iter};

/// Words that some YAML reads as something else than text.
const OTHER: [&str; 10] = [
    "null", "~", "true", "false", "yes", "no", "on", "off", "y", "n",
];

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
pub(super) fn comment(text: &str) -> Option<usize> {
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
pub(super) fn scalar(value: &str) -> Option<&str> {
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
