//! `ferriswheel diagnose` through the real binary.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

#[path = "support/schema.rs"]
mod schema;

fn diagnose(directory: &Path, arguments: &[&str]) -> (i32, Output) {
    let output = Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
        .arg("diagnose")
        .args(arguments)
        .current_dir(directory)
        // Nobody's cluster is asked.
        .env("KUBECONFIG", directory.join("none"))
        .env_remove("FERRISWHEEL_SANDBOX")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .output()
        .expect("the binary starts");
    (output.status.code().unwrap_or(-1), output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    schema::holds(
        include_str!("../../../docs/diagnosis.v1.schema.json"),
        &report,
    );
    report
}

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../analysis/tests/diagnosis");
    root.join(name)
}

const REFUSED: &str = "(UpgradeFailed) Drain node n1 failed when evicting pod pg-0 failed with Too Many Requests error. PDB debug \
                       info: shop/pg-0 blocked by pdb pg with 0 unready pods.";

#[test]
fn an_error_is_a_text_a_file_or_what_a_dump_holds() {
    let root = tempfile::tempdir().expect("a directory");
    let (code, output) = diagnose(root.path(), &["--error", REFUSED]);
    assert_eq!(code, 30, "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(
        shown.starts_with(
            "Refused or ended by AKS (1)\n  FWT001 Error  <error>:1\n    the drain of node n1 "
        ),
        "{shown}"
    );
    assert!(
        shown.contains("\n    next: kubectl get pdb -n shop"),
        "{shown}"
    );
    assert!(
        shown.contains("\n    not:  do not use forceUpgrade"),
        "{shown}"
    );
    let notes = text(&output.stderr);
    assert!(
        notes.starts_with("diagnose: looked at 1 error texts, "),
        "{notes}"
    );

    std::fs::write(root.path().join("log"), format!("deploying\n{REFUSED}\n")).expect("a file");
    let (code, output) = diagnose(root.path(), &["--error", "log", "--output", "json"]);
    assert_eq!(code, 30);
    let report = json(&output);
    assert_eq!(report["diagnoses"][0]["code"], "FWT001");
    assert_eq!(report["diagnoses"][0]["source"]["file"], "log");

    let dump = fixture("FWT001-pool/fails.yaml");
    let (code, output) = diagnose(
        root.path(),
        &[
            "--from",
            dump.to_str().expect("a path"),
            "--output",
            "json",
            "--quiet",
        ],
    );
    assert_eq!((code, text(&output.stderr).as_str()), (30, ""));
    assert_eq!(json(&output)["diagnoses"][0]["object"]["kind"], "AgentPool");
}

#[test]
fn the_cause_of_a_stuck_drain_and_no_cause_at_all() {
    let root = tempfile::tempdir().expect("a directory");
    let of = |name: &str| {
        let path = fixture(name);
        diagnose(
            root.path(),
            &["--from", path.to_str().expect("a path"), "--output", "json"],
        )
    };
    let (code, output) = of("FWT101-zero/fails.yaml");
    assert_eq!(code, 30);
    let report = json(&output);
    let first = &report["diagnoses"][0];
    assert_eq!(first["code"], "FWT101");
    assert_eq!(first["symptom"], "stuck-drain");
    assert_eq!(first["certainty"], "certain");
    assert_eq!(first["object"]["name"], "pg");
    let (code, output) = of("FWT101-zero/passes.yaml");
    assert_eq!(code, 0);
    let report = json(&output);
    assert_eq!(report["diagnoses"], json!([]));
    let count = |what: &str| {
        let all = report["looked_at"].as_array().expect("a list").iter();
        all.clone()
            .find(|looked| looked["what"] == what)
            .map(|looked| looked["count"].clone())
    };
    assert_eq!(
        (count("nodes"), count("pods")),
        (Some(json!(3)), Some(json!(3)))
    );
}

#[test]
fn pages_and_bad_input() {
    let root = tempfile::tempdir().expect("a directory");
    let (code, output) = diagnose(root.path(), &["--explain", "fwt101"]);
    assert_eq!(code, 0);
    assert!(text(&output.stdout).starts_with("# FWT101: "));
    std::fs::write(root.path().join("bytes"), b"\xff\xfe").expect("a file");
    for bad in [
        &["--explain", "FWT999"][..],
        &["--from", "missing"],
        &["--error", "bytes"],
        // No cluster is configured.
        &[],
        &["--error", "x", "--live"],
        &["--cluster", "one-word"],
    ] {
        let (code, output) = diagnose(root.path(), bad);
        assert_eq!(code, 2, "{bad:?}: {}", text(&output.stdout));
    }
}
