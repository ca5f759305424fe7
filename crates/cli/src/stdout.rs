//! Standard output, where data goes: for a reader who may have seen enough.

use std::borrow::Cow;
use std::fmt;
use std::io::{ErrorKind, Write as _};

use crate::exit::Exit;
use crate::failure::Failure;

/// Prints, and gives up the command when nobody reads (`ferriswheel journal | head`).
///
/// # Errors
/// [`Exit::ReaderGone`] without a word, because that is no defect; else the output cannot be
/// written, on a full disk for example.
pub fn print(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_fmt(text)
        .and_then(|()| stdout.flush())
        .map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => Failure::refused(Exit::ReaderGone, Vec::new()),
            _ => Failure::unexpected(&e),
        })
}

/// [`print`] of text for people. Names come from files that anybody wrote, and a terminal does what
/// control characters say.
///
/// # Errors
/// Those of [`print`].
pub fn people(text: &str) -> Result<(), Failure> {
    print(format_args!("{}", visible(text)))
}

/// The text with its control characters replaced, the ends of lines and tabs aside.
pub fn visible(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(acts) {
        Cow::Owned(text.replace(acts, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// [`print`] of formatted text.
macro_rules! out {
    ($($text:tt)*) => { $crate::stdout::print(format_args!($($text)*))? };
}

/// [`out!`] with an end of line.
macro_rules! outln {
    ($($text:tt)*) => { $crate::stdout::out!("{}\n", format_args!($($text)*)) };
}

pub(crate) use {out, outln};
