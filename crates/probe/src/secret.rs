//! A password that cannot leak by accident.
//!
//! It has no `Serialize`, no `Display`, and a `Debug` that says only that it is set.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::system::SystemKind;

/// The password of the database user.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the secret file {}", path.display())]
pub struct SecretError {
    /// File that was asked for.
    pub path: PathBuf,
    /// Cause.
    #[source]
    pub source: std::io::Error,
}

impl Password {
    /// Takes over a password that is already in memory.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a password from a file; trailing line ends do not belong to it.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        std::fs::read_to_string(path)
            .map(|text| Self(text.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|source| SecretError {
                path: path.to_owned(),
                source,
            })
    }

    /// From the file if one is named, else from the variable that the system's own clients read,
    /// else none.
    ///
    /// # Errors
    /// As [`Password::from_file`].
    pub fn resolve(file: Option<&Path>, system: SystemKind) -> Result<Option<Self>, SecretError> {
        match file {
            Some(path) => Self::from_file(path).map(Some),
            None => Ok(std::env::var(system.password_variable())
                .ok()
                .filter(|p| !p.is_empty())
                .map(Self)),
        }
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares without revealing by timing how long the common prefix is.
    pub(crate) fn matches(&self, offered: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), offered.as_bytes());
        let mut differs = u8::from(a.len() != b.len());
        for (i, byte) in b.iter().enumerate() {
            differs |= byte ^ a.get(i).copied().unwrap_or(0);
        }
        differs == 0 && !a.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text() {
        assert_eq!(
            format!("{:?}", Password::new("hunter2")),
            "Password(redacted)"
        );
    }

    #[test]
    fn comparison_is_exact_and_an_empty_secret_matches_nothing() {
        let secret = Password::new("abc");
        assert!(secret.matches("abc"));
        assert!(!secret.matches("ab"));
        assert!(!secret.matches("abcd"));
        assert!(!Password::new("").matches(""));
    }
}
