//! `ferriswheel check` through the real binary.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

mod drain;
mod input;
#[path = "../support/schema.rs"]
mod schema;

fn check(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        // Nobody's cluster is asked.
        .env("KUBECONFIG", directory.join("none"))
        .env_remove("FERRISWHEEL_SANDBOX")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that refuses its arguments reads nothing.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the binary ends")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const OLD: &str = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata:\n  name: web\n  namespace: shop\n";
const NEW: &str =
    "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: web\n  namespace: shop\n";

fn repository() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &[u8]| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    };
    write("m/a.yaml", format!("{NEW}---\n{OLD}").as_bytes());
    write(
        "m/deep/b.json",
        br#"{"apiVersion":"v1","kind":"List","items":[
 {"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h","uid":"1","annotations":
  {"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"autoscaling/v2beta2\",\"kind\":\"HorizontalPodAutoscaler\"}"}}}]}"#,
    );
    write("m/broken.yaml", b"a: [1\n");
    write("m/notes.txt", b"hello\n");
    write("m/.git/config", b"x\n");
    write("good/a.yaml", NEW.as_bytes());
    root
}

#[test]
fn findings_exit_codes_and_the_contract() {
    let root = repository();
    let run = |arguments: &[&str]| check(root.path(), arguments, "");
    let all = ["--from", "m", "--target", "1.36", "--only", "apis"];

    let json = run(&[&all[..], &["--output", "json"]].concat());
    assert_eq!(code(&json), 30, "{}", text(&json.stderr));
    let report: Value = serde_json::from_slice(&json.stdout).expect("one document");
    schema::holds(
        include_str!("../../../../docs/findings.v1.schema.json"),
        &report,
    );
    let found: Vec<(&str, &str, &str, u64)> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|f| {
            let text = |value: &'static str| f.pointer(value).and_then(Value::as_str).unwrap_or("");
            let line = f["source"]["line"].as_u64().unwrap_or(0);
            (text("/code"), text("/severity"), text("/source/file"), line)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("FWD001", "breaks", "m/a.yaml", 7),
            ("FWD002", "stale-source", "m/deep/b.json", 2)
        ]
    );
    let skipped: Vec<&str> = report["skipped"]
        .as_array()
        .expect("skipped")
        .iter()
        .filter_map(|s| s["file"].as_str())
        .collect();
    assert_eq!(skipped, ["m/.git", "m/broken.yaml", "m/notes.txt"]);
    // The same input gives the same bytes.
    assert_eq!(
        run(&[&all[..], &["--output", "json"]].concat()).stdout,
        json.stdout
    );

    let shown = run(&all);
    let shown_text = text(&shown.stdout);
    assert_eq!(code(&shown), 30);
    assert!(
        shown_text.starts_with("Breaks at 1.36 (1)\n  whoever keeps m/a.yaml\n"),
        "{shown_text}"
    );
    assert!(
        shown_text.contains("FWD001 PodDisruptionBudget shop/web  m/a.yaml:7"),
        "{shown_text}"
    );
    assert!(
        text(&shown.stderr).contains("3 objects in 3 files, 3 skipped:"),
        "{}",
        text(&shown.stderr)
    );

    assert_eq!(code(&run(&["--from", "good", "--target", "1.36"])), 0);
    assert_eq!(code(&run(&[&all[..], &["--fail-on", "none"]].concat())), 0);
    assert_eq!(
        code(&run(&[&all[..], &["--fail-on", "stale-source"]].concat())),
        30
    );
    assert_eq!(
        code(&run(&[
            "--from", "good", "--from", "m/a.yaml", "--target", "1.24"
        ])),
        0
    );
    for bad in [
        &["--from", "missing", "--target", "1.36"][..],
        &["--from", "m", "--target", "latest"],
        &["--from", "m", "--target", "1.99"],
        &["--from", "m"],
        &["--target", "1.36"],
        &["--from", "m", "--target", "1.36", "--write", "x.doc"],
        &["--explain", "FWD999"],
    ] {
        assert_eq!(code(&run(bad)), 2, "{bad:?}");
    }
    let page = run(&["--explain", "fwd001"]);
    assert_eq!(code(&page), 0);
    assert!(
        text(&page.stdout).starts_with("# FWD001: "),
        "{}",
        text(&page.stdout)
    );
}

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: main, image: web }] }
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: web, namespace: shop }
spec: { minAvailable: 2, selector: { matchLabels: { app: web } } }
";

fn json(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    schema::holds(
        include_str!("../../../../docs/findings.v1.schema.json"),
        &report,
    );
    report
}

fn codes(report: &Value) -> Vec<&str> {
    let all = report["findings"].as_array().expect("findings");
    all.iter()
        .filter_map(|finding| finding["code"].as_str())
        .collect()
}

#[test]
fn resilience_and_the_baseline() {
    let root = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| {
        let all = ["--from", "-", "--target", "1.36", "--output", "json"];
        check(root.path(), &[&all[..], arguments].concat(), WEB)
    };
    let first = run(&[]);
    assert_eq!(code(&first), 30, "{}", text(&first.stderr));
    let report = json(&first);
    assert_eq!(codes(&report)[0], "FWR021");
    assert_eq!(report["findings"][0]["patches"][0]["type"], "json");
    let fix = report["findings"][0]["fix"].as_str().unwrap_or_default();
    assert!(
        fix.contains("kubectl patch -n shop poddisruptionbudget web"),
        "{fix}"
    );
    assert_eq!(code(&run(&["--only", "apis"])), 0);

    // Accepted, then over.
    let accept = |day: &str| {
        let arguments = [
            "--write-baseline",
            "b.json",
            "--reason",
            "known",
            "--expires",
            day,
        ];
        run(&arguments)
    };
    assert_eq!(code(&accept("2999-12-31")), 30);
    let accepted = run(&["--baseline", "b.json"]);
    assert_eq!(code(&accepted), 0, "{}", text(&accepted.stderr));
    let report = json(&accepted);
    assert_eq!(codes(&report), Vec::<&str>::new());
    assert_eq!(report["accepted"][0]["reason"], "known");
    accept("2020-01-01");
    let over = run(&["--baseline", "b.json"]);
    assert_eq!(code(&over), 30);
    let last = json(&over)["findings"][0]["evidence"]
        .as_array()
        .and_then(|e| e.last().cloned());
    assert_eq!(last.expect("evidence")["class"], "baseline");
    for bad in [
        "{}",
        r#"{"schema":"ferriswheel.baseline.v1","accepted":[{"code":"FWR021","reason":" ","expires":"2999-01-01"}]}"#,
    ] {
        std::fs::write(root.path().join("bad.json"), bad).expect("a file");
        assert_eq!(code(&run(&["--baseline", "bad.json"])), 2, "{bad}");
    }

    let shown = check(
        root.path(),
        &["--from", "-", "--target", "1.36", "--write", "r.html"],
        WEB,
    );
    assert!(
        text(&shown.stdout).starts_with("Blocks the upgrade (1)\n  whoever keeps <stdin>\n"),
        "{}",
        text(&shown.stdout)
    );
    let page = std::fs::read_to_string(root.path().join("r.html")).expect("a page");
    assert!(
        page.contains("One finding has to be dealt with") && page.contains("&lt;stdin&gt;"),
        "{page}"
    );
}

#[test]
fn converted_manifests_go_to_a_directory_of_their_own() {
    let root = repository();
    let run = |arguments: &[&str]| {
        let all = ["--only", "apis", "--target", "1.36", "--output", "json"];
        check(root.path(), &[&all[..], arguments].concat(), "")
    };
    let fixed = run(&["--from", "m", "--fix", "out"]);
    let report = json(&fixed);
    assert_eq!(report["fixed"][0]["converted"][0]["to"], "policy/v1");
    let read = |name: &str| std::fs::read_to_string(root.path().join(name)).expect("a file");
    assert_eq!(read("out/m/a.yaml"), format!("{NEW}---\n{NEW}"));
    assert_eq!(read("m/a.yaml"), format!("{NEW}---\n{OLD}"));
    assert_eq!(code(&run(&["--from", "out"])), 0);
    // Never over a source.
    let over = run(&["--from", "m", "--fix", "."]);
    assert_eq!(code(&over), 2, "{}", text(&over.stderr));
    assert_eq!(read("m/a.yaml"), format!("{NEW}---\n{OLD}"));
}

#[test]
fn standard_input_and_other_forms() {
    let root = tempfile::tempdir().expect("a directory");
    let odd = OLD.replace("name: web", "name: \"a<b|c&d\"");
    let output = check(
        root.path(),
        &[
            "--from", "-", "--target", "v1.36.2", "--quiet", "--write", "f.sarif", "--write",
            "f.xml", "--write", "f.md", "--write", "f.json",
        ],
        &odd,
    );
    assert_eq!(code(&output), 30, "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    assert!(
        text(&output.stdout).contains("<stdin>:1"),
        "{}",
        text(&output.stdout)
    );
    let file = |name: &str| std::fs::read_to_string(root.path().join(name)).expect("a report");
    let sarif: Value = serde_json::from_str(&file("f.sarif")).expect("SARIF is JSON");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "FWD001");
    assert_eq!(result["level"], "error");
    assert_eq!(
        result["locations"][0]["physicalLocation"]["region"]["startLine"],
        1
    );
    assert_eq!(
        sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"],
        "FWD001"
    );
    let junit = file("f.xml");
    assert!(
        junit.contains("tests=\"1\" failures=\"1\" skipped=\"0\""),
        "{junit}"
    );
    assert!(junit.contains("a&lt;b|c&amp;d"), "{junit}");
    assert!(file("f.md").contains("a&lt;b\\|c&d"), "{}", file("f.md"));
    let report: Value = serde_json::from_str(&file("f.json")).expect("JSON");
    assert_eq!(report["schema"], "ferriswheel.findings.v1");
}

#[test]
fn what_was_not_read_is_in_sarif_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = check(
        directory.path(),
        &[
            "--from", "-", "--target", "1.36", "--quiet", "--write", "f.sarif",
        ],
        "apiVersion: [\n",
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let sarif = std::fs::read_to_string(directory.path().join("f.sarif")).expect("written");
    let sarif: Value = serde_json::from_str(&sarif).expect("SARIF is JSON");
    let run = &sarif["runs"][0]["invocations"][0];
    assert_eq!(run["executionSuccessful"], false, "{run}");
    let said = run["toolExecutionNotifications"][0]["message"]["text"].to_string();
    assert!(said.contains("not readable YAML"), "{said}");
}
