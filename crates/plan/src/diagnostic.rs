//! Refusals as values: a code, the evidence, the fix.

use std::fmt;

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

impl Diagnostic {
    /// A diagnostic without evidence yet.
    pub fn new(code: &str, subject: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            subject: subject.to_string(),
            evidence: Vec::new(),
            fix: String::new(),
            place: None,
        }
    }

    /// Adds what was seen.
    #[must_use]
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Says where in the file.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.subject, self.message)?;
        if !self.evidence.is_empty() {
            write!(f, " (seen: {})", self.evidence.join("; "))?;
        }
        if !self.fix.is_empty() {
            write!(f, "; fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// What a look at the world found: reasons to refuse, and things to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a finding that nobody reads protects nobody"]
pub struct Findings {
    /// Each of them stops the plan.
    pub refusals: Vec<Diagnostic>,
    /// They are shown with the plan.
    pub warnings: Vec<Diagnostic>,
}

impl Findings {
    /// Adds a reason to refuse.
    pub fn refuse(&mut self, diagnostic: Diagnostic) {
        self.refusals.push(diagnostic);
    }

    /// Adds something to know.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        self.warnings.push(diagnostic);
    }

    /// Takes over the findings of another look.
    pub fn absorb(&mut self, other: Self) {
        self.refusals.extend(other.refusals);
        self.warnings.extend(other.warnings);
    }
}

/// There is no plan, for all of these reasons at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("plan: {} refused for {} reason(s), {} first", name, diagnostics.len(),
        diagnostics.first().map_or("", |d| d.code.as_str()))]
pub struct Refusal {
    /// Name of the run that was asked for.
    pub name: String,
    /// Why; never empty.
    pub diagnostics: Vec<Diagnostic>,
}
