//! `ferriswheel advise` through the real binary.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use ferriswheel_plan::policy;
use serde_json::Value;

fn advise(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
        .arg("advise")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn example(system: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/{system}/cluster"))
}

#[test]
fn the_spec_that_is_written_is_one_that_plan_reads() {
    let root = tempfile::tempdir().expect("a directory");
    let from = example("postgres");
    let from = from.to_str().expect("a path");
    let all = [
        "--from",
        from,
        "--target",
        "1.36.3",
        "--write",
        "upgrade.yaml",
    ];
    let (code, stdout, notes) = advise(root.path(), &all);
    assert_eq!(code, 0, "{notes}");
    assert!(
        stdout.contains("StatefulSet db/pg is PostgreSQL: ferrisWheel (ferriswheel plan)"),
        "{stdout}"
    );
    assert!(
        stdout.contains("behind db/pgbouncer, reached by db/pg-primary"),
        "{stdout}"
    );
    assert!(stdout.contains("docs/benchmarks.md"), "{stdout}");
    assert!(notes.contains("put in: spec.cluster"), "{notes}");
    let text = std::fs::read_to_string(root.path().join("upgrade.yaml")).expect("a file");
    let spec = policy::parse("upgrade.yaml", &text).expect("a spec");
    assert_eq!(spec.spec.databases.len(), 1);
    // A spec that somebody has edited is not replaced.
    assert_eq!(advise(root.path(), &all).0, 2);

    let cluster = ["--cluster", "s/r/c"];
    let (code, stdout, _) = advise(
        root.path(),
        &[
            &["--from", from, "--target", "1.36", "--output", "json"],
            &cluster[..],
        ]
        .concat(),
    );
    assert_eq!(code, 0);
    let advice: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(advice["schema"], "ferriswheel.advice.v1");
    let text = advice["spec"]["text"].as_str().expect("a text");
    let spec = policy::parse("spec", text).expect("a spec");
    assert_eq!(spec.spec.cluster.name, "c");
    assert_eq!(spec.spec.strategy.name(), "handOver");
}

#[test]
fn what_plan_does_not_carry_gets_no_spec() {
    let root = tempfile::tempdir().expect("a directory");
    let kafka = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: m, namespace: db }\nspec:\n  replicas: 3\n  \
                 template: { spec: { containers: [ { name: m, image: \"kafka:3\" } ] } }\n";
    std::fs::write(root.path().join("m.yaml"), kafka).expect("a file");
    let all = ["--from", "m.yaml", "--target", "1.36.3"];
    let (code, stdout, _) = advise(root.path(), &all);
    assert_eq!(code, 0);
    assert!(stdout.contains("brokerRotation (by people)"), "{stdout}");
    assert!(stdout.contains("not measured here"), "{stdout}");
    let (code, _, refusal) = advise(root.path(), &[&all[..], &["--write", "s.yaml"]].concat());
    assert_eq!(code, 30, "{refusal}");
    assert!(!root.path().join("s.yaml").exists());
    assert_eq!(
        advise(root.path(), &["--from", "m.yaml", "--target", "9"]).0,
        2
    );
    assert_eq!(
        advise(root.path(), &["--from", "none", "--target", "1.36"]).0,
        2
    );
}
