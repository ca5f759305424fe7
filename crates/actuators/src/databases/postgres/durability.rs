//! A standby that commits wait for during a hand-over, and how that is taken back exactly.
//!
//! What was set before is written into the value itself, as the name of a second standby that
//! nobody ever has. So whoever finds the value, after whatever crash, can take it back, and nobody
//! mistakes it for the owner's.

use std::fmt::Write as _;

pub use ferriswheel_plan::databases::postgres::TEMPORARY_STANDBY;

/// What postgresql.auto.conf said of `synchronous_standby_names` before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Unset,
    /// This.
    Set(String),
}

/// The value with which a commit waits for one standby, that one.
///
/// # Source
/// `synchronous_standby_names`: names in double quotes may hold any character but the quote, and
/// `ANY 1` is satisfied by whichever of them there is.
pub fn requiring(standby: &str, before: &Before) -> String {
    let before = match before {
        Before::Unset => "unset".to_owned(),
        Before::Set(value) => {
            let mut text = String::from("set.");
            for byte in value.bytes() {
                // Writing into a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    };
    format!("ANY 1 (\"{standby}\", \"{TEMPORARY_STANDBY}{before}\")")
}

/// What was set before a value of [`requiring`]; `None` for anybody else's value.
pub fn before(value: &str) -> Option<Before> {
    let (_, rest) = value.split_once(TEMPORARY_STANDBY)?;
    let (code, _) = rest.split_once('"')?;
    if code == "unset" {
        return Some(Before::Unset);
    }
    let hex = code.strip_prefix("set.")?;
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok().map(Before::Set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_before_can_be_read_out_of_the_value() {
        for value in [
            Before::Unset,
            Before::Set(String::new()),
            Before::Set("FIRST 1 (\"pg-2\", s'2)".to_owned()),
        ] {
            let text = requiring("pg-1", &value);
            assert!(text.starts_with("ANY 1 (\"pg-1\", "), "{text}");
            assert_eq!(before(&text), Some(value));
        }
    }

    #[test]
    fn the_owners_values_are_not_ours() {
        for text in ["", "*", "ANY 1 (\"pg-1\", \"pg-2\")", "ferriswheel"] {
            assert_eq!(before(text), None, "{text}");
        }
    }
}
