//! Each diagnosis, held against a directory of `tests/diagnosis`: `fails` has the cause, `passes` has not. A `.yaml` is
//! what servers answered, a `.txt` an error as somebody copied it.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ferriswheel_analysis::diagnose::{Diagnosis, Report, Text, codes, diagnose, instant};
use ferriswheel_analysis::lint;
use ferriswheel_analysis::manifest::{Reading, Want, read};

fn report(path: &Path) -> Report {
    let text = std::fs::read_to_string(path).expect("a fixture");
    let name = path.file_name().expect("a name").to_string_lossy();
    let now = instant("2026-11-21T12:00:00Z");
    if path.extension().is_some_and(|end| end == "txt") {
        let name = "<error>".to_owned();
        return diagnose(Reading::default(), &[Text { name, text }], now);
    }
    diagnose(read(&name, text.as_bytes(), Want::Diagnosis), &[], now)
}

fn directories() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnosis");
    let mut all: Vec<(String, PathBuf)> = std::fs::read_dir(root)
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            let code = name.split('-').next().unwrap_or_default().to_owned();
            (code, path.clone())
        })
        .collect();
    all.sort();
    all
}

fn of(directory: &Path, which: &str) -> Report {
    let text = directory.join(format!("{which}.txt"));
    let path = if text.exists() {
        text
    } else {
        directory.join(format!("{which}.yaml"))
    };
    let report = report(&path);
    assert_eq!(report.skipped, [], "{}", path.display());
    report
}

fn codes_of(report: &Report) -> BTreeSet<&'static str> {
    report.diagnoses.iter().map(|found| found.code).collect()
}

#[test]
fn every_cause_is_found_where_it_is_and_nowhere_else() {
    let mut wrong = Vec::new();
    for (code, directory) in directories() {
        let name = directory.display().to_string();
        let bad = of(&directory, "fails");
        let found: Vec<&Diagnosis> = bad.diagnoses.iter().filter(|d| d.code == code).collect();
        if found.is_empty() {
            wrong.push(format!("{name}: fails has {:?}", codes_of(&bad)));
        }
        for diagnosis in found {
            if diagnosis.evidence.is_empty()
                || diagnosis.next.is_empty()
                || diagnosis.avoid.is_empty()
            {
                wrong.push(format!(
                    "{name}: no evidence, next or avoid: {diagnosis:#?}"
                ));
            }
        }
        let good = of(&directory, "passes");
        if codes_of(&good).contains(code.as_str()) {
            wrong.push(format!("{name}: passes has it too: {:#?}", good.diagnoses));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_directory() {
    let have: BTreeSet<String> = directories().into_iter().map(|(code, _)| code).collect();
    let want: BTreeSet<String> = codes::ALL.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(have, want);
}

/// What people are told to type is held to the same rules as what they write themselves.
#[test]
fn the_next_commands_pass_the_linter() {
    let mut commands = BTreeSet::new();
    for (_, directory) in directories() {
        for diagnosis in of(&directory, "fails").diagnoses {
            commands.extend(diagnosis.next);
        }
    }
    let typed: Vec<&String> = commands
        .iter()
        .filter(|command| {
            ["kubectl ", "az "]
                .iter()
                .any(|start| command.starts_with(start))
        })
        .collect();
    assert!(typed.len() > 20, "{typed:#?}");
    let mut wrong = Vec::new();
    for command in typed {
        // Words in capitals stand for names.
        let script = format!("set -e\n{}\n", command.replace("POOL", "pool"));
        for finding in lint::lint("next.sh", script.as_bytes()).findings {
            wrong.push(format!(
                "{command}\n  {}: {}",
                finding.code, finding.message
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_error_says_what_the_budget_and_the_pods_were() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnosis/FWT001-message");
    let report = of(&directory, "fails");
    let [found] = report.diagnoses.as_slice() else {
        panic!("{:#?}", report.diagnoses)
    };
    assert_eq!(
        found.cause,
        "the drain of node aks-db-12345678-vmss000001 ended at its timeout: budget pg held pod shop/pg-0; all its pods were \
         ready, so it never lets one go"
    );
    assert!(found.avoid.contains("forceUpgrade"), "{}", found.avoid);
    assert_eq!(found.next[1], "kubectl describe pod -n shop pg-0");
}

#[test]
fn the_same_input_gives_the_same_answer_and_nothing_of_nothing() {
    let empty = diagnose(Reading::default(), &[], None);
    assert_eq!(empty.diagnoses, []);
    assert!(empty.looked_at.iter().all(|looked| looked.count == 0));
    for (_, directory) in directories() {
        assert_eq!(of(&directory, "fails"), of(&directory, "fails"));
    }
}
