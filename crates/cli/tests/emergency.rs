//! `ferriswheel emergency` through the real binary.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_dump_alone_never_says_begin() {
    let root = tempfile::tempdir().expect("a directory");
    let set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: m, namespace: db }\nspec:\n  replicas: 3\n  \
               template: { spec: { containers: [ { name: m, image: \"redis:7\" } ] } }\n";
    std::fs::write(root.path().join("m.yaml"), set).expect("a file");
    let spec = include_str!("../../../examples/redis/upgrade.yaml");
    std::fs::write(root.path().join("spec.yaml"), spec).expect("a file");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
            .arg("emergency")
            .args(arguments)
            .current_dir(root.path())
            // No cluster is near, whatever this machine has.
            .env("KUBECONFIG", root.path().join("none"))
            .env("HOME", root.path())
            .env_remove("FERRISWHEEL_SANDBOX")
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let base = ["--from", "m.yaml", "--target", "1.36"];
    let (code, stdout, notes) = run(&base);
    assert_eq!(code, 30, "{notes}");
    assert!(
        stdout.contains("skipped StatefulSet db/m: no backup with m in its name"),
        "{stdout}"
    );
    assert!(stdout.ends_with("do not begin yet\n"), "{stdout}");

    // Servers that cannot be asked are skipped with the reason; the rest is told all the same.
    let (code, stdout, notes) =
        run(&[&base[..], &["--spec", "spec.yaml", "--output", "json"]].concat());
    assert_eq!(code, 30, "{notes}");
    let list: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(list["schema"], "ferriswheel.emergency.v1");
    assert_eq!(list["looks"][1]["what"], "the servers and the plan");
    assert!(list["looks"][1]["skipped"].is_string(), "{list}");
    let items = list["items"].as_array().expect("items");
    let lag = items
        .iter()
        .find(|item| item["part"] == "lag")
        .expect("an item");
    assert_eq!(lag["state"], "skipped");
    assert!(items.iter().any(|item| item["part"] == "pattern"));

    assert_eq!(run(&["--from", "none", "--target", "1.36"]).0, 2);
    // Of an input without objects nothing is known, least of all that it is well.
    std::fs::write(root.path().join("cut.json"), "{\"kind\": [").expect("a file");
    let (code, stdout, notes) = run(&["--from", "cut.json", "--target", "1.36"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        notes.contains("nothing was read: cut.json: line 1: "),
        "{notes}"
    );
    assert_eq!(run(&[&base[..], &["--out", "plan.json"]].concat()).0, 2);
}
