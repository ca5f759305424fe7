//! A diagnosis in the making.

use super::{Certainty, Diagnosis, Symptom};
use crate::findings::{Evidence, ObjectRef, Place};
use crate::manifest::Object;

/// Longer pieces of evidence are cut: an event may quote a whole page.
const LONGEST: usize = 400;

/// A diagnosis in the making.
pub(crate) struct Case {
    diagnosis: Diagnosis,
}

impl Case {
    /// A cause that the evidence leaves no doubt about.
    pub(crate) fn certain(
        code: &'static str,
        symptom: Symptom,
        object: &Object,
        cause: impl Into<String>,
    ) -> Self {
        Self::of(
            code,
            symptom,
            object.reference(),
            object.place(),
            cause.into(),
        )
    }

    /// A cause that would explain it.
    pub(crate) fn likely(
        code: &'static str,
        symptom: Symptom,
        object: &Object,
        cause: impl Into<String>,
    ) -> Self {
        let mut case = Self::certain(code, symptom, object, cause);
        case.diagnosis.certainty = Certainty::Likely;
        case
    }

    /// A cause that no object stands for.
    pub(crate) fn of(
        code: &'static str,
        symptom: Symptom,
        object: ObjectRef,
        source: Place,
        cause: String,
    ) -> Self {
        Self {
            diagnosis: Diagnosis {
                code,
                symptom,
                certainty: Certainty::Certain,
                object,
                source,
                cause,
                evidence: Vec::new(),
                next: Vec::new(),
                avoid: String::new(),
            },
        }
    }

    /// What it rests on.
    pub(crate) fn saw(mut self, class: &'static str, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(LONGEST) {
            detail.truncate(end);
            detail.push_str(" ...");
        }
        self.diagnosis.evidence.push(Evidence { class, detail });
        self
    }

    /// The same for several.
    pub(crate) fn saw_all(
        self,
        class: &'static str,
        details: impl IntoIterator<Item = String>,
    ) -> Self {
        details
            .into_iter()
            .fold(self, |case, detail| case.saw(class, detail))
    }

    /// A command to run next.
    pub(crate) fn next(mut self, command: impl Into<String>) -> Self {
        self.diagnosis.next.push(command.into());
        self
    }

    /// What not to do.
    pub(crate) fn avoid(mut self, text: impl Into<String>) -> Self {
        self.diagnosis.avoid = text.into();
        self
    }

    pub(crate) fn done(self) -> Diagnosis {
        self.diagnosis
    }
}
