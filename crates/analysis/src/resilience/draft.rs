//! A finding in the making: what is wrong, what it rests on, and the patch that clears it.

use serde_json::{Value, json};

use super::values::at;
use crate::findings::{Evidence, Finding, Patch, PatchKind, Severity};
use crate::manifest::Object;

/// Longer patches are told to machines only: nobody reads them on a line.
const MAX_COMMAND: usize = 600;

/// A finding in the making.
pub(crate) struct Draft {
    finding: Finding,
}

impl Draft {
    pub(crate) fn new(
        code: &'static str,
        severity: Severity,
        object: &Object,
        message: impl Into<String>,
    ) -> Self {
        Self {
            finding: Finding {
                code,
                severity,
                object: object.reference(),
                source: object.place(),
                deprecated_in: None,
                removed_in: None,
                replacement: None,
                evidence: Vec::new(),
                owner: object.owner(),
                message: message.into(),
                fix: String::new(),
                patches: Vec::new(),
            },
        }
    }

    /// What it rests on.
    pub(crate) fn saw(mut self, class: &'static str, detail: impl Into<String>) -> Self {
        self.finding.evidence.push(Evidence {
            class,
            detail: detail.into(),
        });
        self
    }

    /// What clears it, in words.
    pub(crate) fn fix(mut self, text: impl Into<String>) -> Self {
        self.finding.fix = text.into();
        self
    }

    /// Who must act, when it is not who keeps the object.
    pub(crate) fn owner(mut self, owner: impl Into<String>) -> Self {
        self.finding.owner = owner.into();
        self
    }

    /// A change of an object that clears it.
    pub(crate) fn change(mut self, object: &Object, edit: Edit<'_>) -> Self {
        if !edit.operations.is_empty() {
            self.finding.patches.push(Patch {
                kind: PatchKind::Json,
                object: object.reference(),
                body: Value::Array(edit.operations),
            });
        }
        self
    }

    /// An object whose coming clears it.
    pub(crate) fn create(mut self, object: Value) -> Self {
        self.finding.patches.push(Patch {
            kind: PatchKind::Create,
            object: reference(&object),
            body: object,
        });
        self
    }

    /// An object whose going clears it.
    pub(crate) fn delete(mut self, object: &Object) -> Self {
        self.finding.patches.push(Patch {
            kind: PatchKind::Delete,
            object: object.reference(),
            body: Value::Null,
        });
        self
    }

    pub(crate) fn done(mut self) -> Finding {
        let Finding { patches, fix, .. } = &mut self.finding;
        for patch in patches {
            if let Some(command) = patch.short_command(MAX_COMMAND) {
                fix.push_str("; ");
                fix.push_str(&command);
            }
        }
        self.finding
    }
}

fn reference(object: &Value) -> crate::findings::ObjectRef {
    let of = |path: &str| {
        let found = object.pointer(path).and_then(Value::as_str);
        found.map(str::to_owned)
    };
    crate::findings::ObjectRef {
        api_version: of("/apiVersion").unwrap_or_default(),
        kind: of("/kind").unwrap_or_default(),
        namespace: of("/metadata/namespace"),
        name: of("/metadata/name").unwrap_or_default(),
    }
}

/// Operations of RFC 6902 on one object.
pub(crate) struct Edit<'a> {
    body: &'a Value,
    operations: Vec<Value>,
}

impl<'a> Edit<'a> {
    pub(crate) fn of(body: &'a Value) -> Self {
        Self {
            body,
            operations: Vec::new(),
        }
    }

    /// Sets a field; parents that are missing come with it. Two fields below the same missing
    /// parent must be set as one.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut value = value.into();
        let mut place = path;
        while let Some((parent, last)) = place.rsplit_once('/') {
            if parent.is_empty() || at(self.body, parent).is_some_and(|p| !p.is_null()) {
                break;
            }
            let key = last.replace("~1", "/").replace("~0", "~");
            value = json!({ key: value });
            place = parent;
        }
        // `add` at an index of a list puts it before the entry that is there.
        let operation = if at(self.body, place).is_some() {
            "replace"
        } else {
            "add"
        };
        self.operations
            .push(json!({ "op": operation, "path": place, "value": value }));
        self
    }

    /// Adds to the end of a list, which may be missing.
    pub(crate) fn push(self, path: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if at(self.body, path).is_some_and(Value::is_array) {
            self.set(&format!("{path}/-"), value)
        } else {
            self.set(path, json!([value]))
        }
    }

    /// Takes a field away, if it is there.
    pub(crate) fn remove(mut self, path: &str) -> Self {
        if at(self.body, path).is_some() {
            self.operations
                .push(json!({ "op": "remove", "path": path }));
        }
        self
    }
}
