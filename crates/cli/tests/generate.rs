//! `ferriswheel generate` through the real binary.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn generate(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
        .arg("generate")
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

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web, namespace: shop }\nspec:\n  replicas: 3\n  \
                   selector: { matchLabels: { app: web } }\n  template:\n    metadata: { labels: { app: web } }\n    spec:\n      \
                   containers: [ { name: web, image: \"team/web:1\", ports: [ { containerPort: 8080 } ] } ]\n";

#[test]
fn files_streams_and_refusals() {
    let root = tempfile::tempdir().expect("a directory");
    let lone = WEB
        .replace("replicas: 3", "replicas: 1")
        .replace("web", "lone");
    std::fs::write(root.path().join("a.yaml"), format!("{WEB}---\n{lone}")).expect("a file");
    let run = |arguments: &[&str]| generate(root.path(), arguments);

    // stdout is what kubectl takes; what is left out is a note.
    let (code, stdout, notes) = run(&["budgets", "--from", "a.yaml"]);
    assert_eq!(code, 0, "{notes}");
    assert!(stdout.contains("kind: PodDisruptionBudget"), "{stdout}");
    assert!(
        notes.contains("left out: Deployment shop/lone: a single pod"),
        "{notes}"
    );

    let (code, stdout, _) = run(&["budgets", "--from", "a.yaml", "--output", "json"]);
    assert_eq!(code, 0);
    let made: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(made["schema"], "ferriswheel.generated.v1");
    let budget = &made["files"][0]["content"]["kubernetes"][0];
    assert_eq!(budget["metadata"]["name"], "web");
    assert_eq!(made["left_out"][0]["object"], "Deployment shop/lone");

    // What is asked for by name is not read from an input: one of the two would be ignored.
    for own in [
        ["--name", "web"],
        ["--selector", "app=web"],
        ["--members", "3"],
        ["--database", "redis"],
    ] {
        let (code, _, refusal) = run(&[&["budgets", "--from", "a.yaml"], &own[..]].concat());
        assert_eq!(code, 2, "{own:?}: {refusal}");
        assert!(refusal.contains("cannot be used with"), "{refusal}");
    }
    assert_eq!(run(&["probes", "--target", "1.36"]).0, 2);

    // Several patches are several files.
    let probes = ["probes", "--from", "a.yaml", "--target", "1.36"];
    let (code, stdout, refusal) = run(&probes);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(refusal.contains("say --out DIR"), "{refusal}");
    let out = [&probes[..], &["--out", "patches"]].concat();
    let (code, stdout, _) = run(&out);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("probes-shop-deployment-web.yaml"),
        "{stdout}"
    );
    let patch =
        std::fs::read_to_string(root.path().join("patches/probes-shop-deployment-web.yaml"))
            .expect("a file");
    assert!(
        patch.starts_with("# kubectl -n shop patch deployment web "),
        "{patch}"
    );
    // Nothing is replaced.
    let (code, _, refusal) = run(&out);
    assert_eq!(code, 2);
    assert!(refusal.contains("nothing is replaced"), "{refusal}");

    let pool = |name: &str| {
        run(&[
            "node-pool",
            "--resource-group",
            "rg",
            "--cluster",
            "c",
            "--name",
            name,
            "--zones",
            "1,2,3",
        ])
    };
    let (code, stdout, _) = pool("statefulpool");
    assert_eq!(code, 0);
    assert!(stdout.contains("az aks nodepool add"), "{stdout}");
    let (code, _, refusal) = pool("stateful-pool");
    assert_eq!(code, 2);
    assert!(refusal.contains("statefulpool"), "{refusal}");

    let (code, stdout, _) = run(&[
        "monitoring",
        "--form",
        "dashboard",
        "--databases",
        "postgres",
    ]);
    assert_eq!(code, 0);
    let board: Value = serde_json::from_str(&stdout).expect("JSON and nothing else");
    assert_eq!(board["title"], "Upgrades under databases");
    assert_eq!(run(&["monitoring", "--form", "azure"]).0, 2);
    assert_eq!(run(&["monitoring", "--form", "monitors"]).0, 2);
    assert_eq!(run(&["security-scan", "--image", "trivy:latest"]).0, 2);
    assert_eq!(run(&["feature-check", "--target", "1.99"]).0, 2);
    assert_eq!(run(&["job", "a.yaml"]).0, 2);
    assert_eq!(run(&[]).0, 2);
}
