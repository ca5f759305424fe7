//! Refusals as values: a code, the evidence, the fix.

use serde::{Deserialize, Serialize};

/// Something that a person must know before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable code (`FW0123`), with a page in `docs/errors/`.
    pub code: String,
    /// What is wrong, one line.
    pub message: String,
    /// Object or place that it is about.
    pub subject: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What to do.
    pub fix: String,
    /// Place in a file, when there is one.
    pub place: Option<Place>,
}

/// A place in a file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}
