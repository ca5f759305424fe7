//! What a person sees when a command cannot do its work.

use ferriswheel_plan::diagnostic::Diagnostic;

use crate::exit::Exit;

/// A command ended without doing its work.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What is wrong, with code, evidence and fix.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// Bad input or a missing prerequisite.
    pub fn input(message: impl Into<String>) -> Self {
        Self::one(Exit::Usage, "FW0001", message)
    }

    /// Something that no other code describes.
    pub fn unexpected(error: &dyn std::error::Error) -> Self {
        let mut failure = Self::one(Exit::Unexpected, "FW0002", error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failure.diagnostics[0].evidence.push(cause.to_string());
            source = cause.source();
        }
        failure
    }

    /// A refusal with its diagnostics.
    pub fn refused(exit: Exit, diagnostics: Vec<Diagnostic>) -> Self {
        Self { exit, diagnostics }
    }

    /// One diagnostic.
    pub fn one(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            diagnostics: vec![Diagnostic {
                code: code.to_owned(),
                message: message.into(),
                subject: String::new(),
                evidence: Vec::new(),
                fix: String::new(),
                place: None,
            }],
        }
    }

    /// What to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        if let Some(last) = self.diagnostics.last_mut() {
            last.fix = fix.into();
        }
        self
    }

    /// What was seen.
    #[must_use]
    pub fn evidence(mut self, evidence: impl Into<String>) -> Self {
        if let Some(last) = self.diagnostics.last_mut() {
            last.evidence.push(evidence.into());
        }
        self
    }
}

/// A diagnostic as text, for stderr.
pub fn render(diagnostic: &Diagnostic) -> String {
    let mut text = format!("error[{}]: {}\n", diagnostic.code, diagnostic.message);
    if !diagnostic.subject.is_empty() {
        let place = diagnostic
            .place
            .map(|p| format!(":{}:{}", p.line, p.column))
            .unwrap_or_default();
        text.push_str(&format!("  --> {}{place}\n", diagnostic.subject));
    }
    for line in &diagnostic.evidence {
        text.push_str(&format!("  seen: {line}\n"));
    }
    if !diagnostic.fix.is_empty() {
        text.push_str(&format!("  fix:  {}\n", diagnostic.fix));
    }
    text
}
