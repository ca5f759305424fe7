//! Each check of resilience, held against a directory of `tests/resilience`: `fails.yaml` has the
//! finding, `passes.yaml` has not, and the finding's patches, applied, clear it. A finding that no
//! patch can clear (a pod has to become ready, a node has to come) has `fixed.yaml`: the world after
//! its fix.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::codes;
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::findings::{Finding, Patch, PatchKind, Report, Severity};
use ferriswheel_analysis::manifest::{Want, read};
use ferriswheel_analysis::resilience::{Settings, days};
use serde_json::{Value, json};

fn findings(name: &str, text: &str) -> Vec<Finding> {
    let report = report(name, text, Want::Checks);
    assert_eq!(report, self::report(name, text, Want::Bodies), "{name}");
    assert_eq!(report.skipped, [], "{name}");
    report.findings
}

fn report(name: &str, text: &str, want: Want) -> Report {
    let reading = read(name, text.as_bytes(), want);
    let scope = Scope {
        api_versions: false,
        resilience: Some(Settings {
            today: days(2026, 11, 21),
            minor: 36,
            ..Settings::default()
        }),
        drain: None,
    };
    check(reading, &Target::parse(["1.36"]).expect("a target"), &scope)
}

fn directories() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resilience");
    let mut all: Vec<(String, PathBuf)> = std::fs::read_dir(root)
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            (
                name.split('-').next().unwrap_or_default().to_owned(),
                path.clone(),
            )
        })
        .collect();
    all.sort();
    all
}

fn text(directory: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(name)).ok()
}

fn codes_of(findings: &[Finding]) -> BTreeSet<&'static str> {
    findings.iter().map(|finding| finding.code).collect()
}

/// Applies patches to the objects of a text.
fn apply(text: &str, patches: &[&Patch]) -> String {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let is = |object: &Value, patch: &Patch| {
        let get = |path: &str| object.pointer(path).and_then(Value::as_str);
        get("/kind") == Some(&patch.object.kind)
            && get("/metadata/name") == Some(&patch.object.name)
            && get("/metadata/namespace") == patch.object.namespace.as_deref()
    };
    for patch in patches {
        match patch.kind {
            PatchKind::Create => objects.push(patch.body.clone()),
            PatchKind::Delete => {
                let before = objects.len();
                objects.retain(|object| !is(object, patch));
                assert!(objects.len() < before, "nothing to delete: {patch:?}");
            }
            PatchKind::Json => {
                let object = objects.iter_mut().find(|object| is(object, patch));
                let object = object.unwrap_or_else(|| panic!("nothing to patch: {patch:?}"));
                let operations: json_patch::Patch =
                    serde_json::from_value(patch.body.clone()).expect("operations");
                json_patch::patch(object, &operations).expect("a patch that applies");
            }
        }
    }
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

#[test]
fn every_check_fails_passes_and_is_cleared_by_its_fix() {
    let mut wrong = Vec::new();
    for (code, directory) in directories() {
        let name = directory.display().to_string();
        let Some(bad) = text(&directory, "fails.yaml") else {
            wrong.push(format!("{name}: no fails.yaml"));
            continue;
        };
        let all = findings("fails.yaml", &bad);
        let found: Vec<&Finding> = all.iter().filter(|finding| finding.code == code).collect();
        if found.is_empty() {
            wrong.push(format!("{name}: fails.yaml has {:?}", codes_of(&all)));
            continue;
        }
        for finding in &found {
            if finding.evidence.is_empty() || finding.fix.is_empty() || finding.owner.is_empty() {
                wrong.push(format!("{name}: no evidence, fix or owner: {finding:#?}"));
            }
        }
        match text(&directory, "passes.yaml") {
            None => wrong.push(format!("{name}: no passes.yaml")),
            Some(good) => {
                if codes_of(&findings("passes.yaml", &good)).contains(code.as_str()) {
                    wrong.push(format!("{name}: passes.yaml has it too"));
                }
            }
        }
        let patches: Vec<&Patch> = found.iter().flat_map(|finding| &finding.patches).collect();
        let unpatched = found.iter().any(|finding| finding.patches.is_empty());
        let after = match (text(&directory, "fixed.yaml"), unpatched) {
            (Some(fixed), true) => fixed,
            (None, false) => apply(&bad, &patches),
            (Some(_), false) => {
                wrong.push(format!("{name}: fixed.yaml, and there is a patch"));
                continue;
            }
            (None, true)
                if found
                    .iter()
                    .all(|finding| finding.severity == Severity::Info) =>
            {
                continue;
            }
            (None, true) => {
                wrong.push(format!("{name}: neither a patch nor fixed.yaml"));
                continue;
            }
        };
        let left = findings("after.yaml", &after);
        if codes_of(&left).contains(code.as_str()) {
            wrong.push(format!(
                "{name}: the fix does not clear it: {:?}\n{after}",
                left.iter()
                    .filter(|f| f.code == code)
                    .map(|f| &f.message)
                    .collect::<Vec<_>>()
            ));
        }
        // A fix that blocks what did not block before is none.
        let grave = |findings: &[Finding]| -> BTreeSet<&'static str> {
            let grave = findings
                .iter()
                .filter(|finding| finding.severity <= Severity::Blocks);
            grave.map(|finding| finding.code).collect()
        };
        let new: Vec<_> = grave(&left).difference(&grave(&all)).copied().collect();
        if !new.is_empty() {
            wrong.push(format!("{name}: the fix makes {new:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_directory() {
    let have: BTreeSet<String> = directories().into_iter().map(|(code, _)| code).collect();
    let want: BTreeSet<String> = codes::ALL
        .iter()
        .filter(|code| {
            code.starts_with("FWR")
                || code.starts_with("FWA")
                || code.starts_with("FWB")
                || (**code >= "FWD020" && code.starts_with("FWD"))
        })
        .map(|code| (*code).to_owned())
        .collect();
    assert_eq!(have, want);
}
