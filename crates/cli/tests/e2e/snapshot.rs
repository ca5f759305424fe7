//! What the checks need of a real cluster, read with the rights that the example gives and no others.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Practice, root, text};

/// A password in every place where a snapshot could come across one.
const HUSH: &str = "mellon";

#[test]
fn a_snapshot_has_what_the_checks_need_and_nothing_secret() {
    let system = "name=syspool,mode=System,count=1,zones=1";
    let practice = Practice::up("snapshot", &["--pool", system]);
    practice.kubectl_apply(
        "apiVersion: v1\nkind: Secret\nmetadata: { name: plain }\nstringData: { word: mellon }\n",
    );
    install_release(&practice);
    practice.kubectl(&["apply", "-f", rbac().to_str().unwrap()]);
    let kubeconfig = as_account(&practice);
    let out = practice.path().join("dump");
    let arguments = [
        "snapshot",
        "--out",
        out.to_str().unwrap(),
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ];
    let said = practice.ok(&[&arguments[..], &["--output", "json"]].concat());
    let index: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        index["notRead"],
        json!({}),
        "the example's rights are too few"
    );
    for kind in [
        "nodes",
        "pods",
        "deployments.apps",
        "poddisruptionbudgets.policy",
        "secrets",
    ] {
        assert!(index["objects"][kind].as_u64() > Some(0), "{kind}: {index}");
    }
    for file in std::fs::read_dir(&out).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in [HUSH, "bWVsbG9u"] {
            assert!(!text.contains(word), "{} has a password", path.display());
        }
    }
    // Never mixed with another.
    let again = practice.run(&arguments);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));

    let checked = practice.run(&[
        "check",
        "--from",
        out.to_str().unwrap(),
        "--target",
        "1.36",
        "--output",
        "json",
    ]);
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["skipped"], json!([]), "check reads all of it");
    let findings = report["findings"].as_array().unwrap();
    let stale = findings
        .iter()
        .find(|finding| finding["object"]["apiVersion"] == "policy/v1beta1")
        .unwrap_or_else(|| panic!("the release's manifest is not judged: {report}"));
    assert_eq!(stale["object"]["name"], "shop", "{stale}");
}

fn rbac() -> PathBuf {
    root().join("examples/snapshot/rbac.yaml")
}

/// A release as Helm records it: values with a password, a Secret among its manifests, and a
/// budget at a version that is gone.
fn install_release(practice: &Practice) {
    let manifest = "---\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata:\n  name: shop\n\
                    ---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: shop\nstringData:\n  word: mellon\n";
    let record = json!({
        "name": "shop", "namespace": "default", "version": 1, "info": { "status": "deployed" },
        "manifest": manifest, "config": { "password": HUSH },
    });
    let inner = filtered("gzip", &["-c"], record.to_string().as_bytes());
    let inner = filtered("base64", &["-w0"], &inner);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": { "name": "sh.helm.release.v1.shop.v1", "labels": { "owner": "helm" } },
        "stringData": { "release": text(&inner) },
    });
    practice.kubectl_apply(&secret.to_string());
}

fn filtered(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// The practice cluster's kubeconfig with the account's token instead of the administrator's key.
fn as_account(practice: &Practice) -> PathBuf {
    let token = practice.kubectl(&["create", "token", "ferriswheel-snapshot"]);
    let shown = practice.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&shown).unwrap();
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let path = practice.path().join("account.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}
