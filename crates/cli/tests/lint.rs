//! `ferriswheel lint` through the real binary.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

#[path = "support/schema.rs"]
mod schema;

fn lint(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
        .arg("lint")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn findings_exit_codes_and_forms() {
    let root = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &[u8]| {
        std::fs::write(root.path().join(name), text).expect("a file");
    };
    write(
        "bad.md",
        b"# A\n\n```bash\nkubectl logs -l app=a | grep ERROR\n```\n",
    );
    write("good.sh", b"set -e\nkubectl logs -l app=a --tail=-1\n");
    write("other.sh", b"\xff\xfe");
    let run = |arguments: &[&str]| {
        let output = lint(root.path(), arguments);
        (output.status.code().unwrap_or(-1), output)
    };

    let (code, output) = run(&["bad.md", "good.sh"]);
    assert_eq!(code, 30);
    let stdout = text(&output.stdout);
    assert!(
        stdout.starts_with("bad.md:4:1: misleads[FWL108] "),
        "{stdout}"
    );
    assert!(
        stdout.contains("\n    instead: add `--tail=-1`"),
        "{stdout}"
    );
    let notes = text(&output.stderr);
    assert_eq!(
        notes,
        "1 findings (0 harms, 0 fails, 1 misleads) in 2 files, 0 skipped\n"
    );

    assert_eq!(run(&["--fail-on", "harms,fails", "bad.md"]).0, 0);
    assert_eq!(run(&["good.sh"]).0, 0);

    // What cannot be read does not pass.
    let (_, output) = run(&["--output", "json", "bad.md", "other.sh"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    schema::holds(include_str!("../../../docs/lint.v1.schema.json"), &report);
    assert_eq!(report["skipped"][0]["file"], "other.sh");
    let (code, output) = run(&["good.sh", "other.sh", "none.sh"]);
    assert_eq!(code, 2);
    let notes = text(&output.stderr);
    assert!(
        notes.contains("skipped other.sh: not UTF-8: line 1"),
        "{notes}"
    );
    assert!(
        notes.contains("skipped none.sh: cannot be read: "),
        "{notes}"
    );

    let (code, output) = run(&["--output", "json", "--write", "a.sarif", "bad.md"]);
    assert_eq!(code, 30);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    schema::holds(include_str!("../../../docs/lint.v1.schema.json"), &report);
    assert_eq!(report["schema"], "ferriswheel.lint.v1");
    assert_eq!(report["findings"][0]["line"], 4);
    let sarif = std::fs::read(root.path().join("a.sarif")).expect("a file");
    let sarif: Value = serde_json::from_slice(&sarif).expect("one document");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "FWL108");
    let region = &result["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (&region["startLine"], &region["startColumn"]),
        (&4.into(), &1.into())
    );

    let (code, output) = run(&["--explain", "fwl106"]);
    assert_eq!(code, 0);
    assert!(text(&output.stdout).starts_with("# FWL106: the scale-down removes"));
    assert_eq!(run(&["--explain", "FWL999"]).0, 2);
    assert_eq!(run(&[]).0, 2);
}
