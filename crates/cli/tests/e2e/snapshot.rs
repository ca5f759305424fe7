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

    the_live_cluster_says_the_same(&practice);
    an_eviction_that_budgets_hold_is_explained(&practice);
}

/// With the resource manager's side too, which a sandbox names by itself.
fn the_live_cluster_says_the_same(practice: &Practice) {
    // Nothing may change between the two.
    settled(practice, "coredns-pdb");
    let out = practice.path().join("whole");
    let dump = out.to_str().unwrap();
    let name = practice.name();
    let said = practice.ok(&[
        "snapshot",
        "--out",
        dump,
        "--sandbox",
        name,
        "--output",
        "json",
    ]);
    let index: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(index["notRead"], json!({}), "{index}");
    assert_eq!(index["objects"]["arm.agentPools"], 1, "{index}");
    let check = |input: &[&str]| {
        // Two minors up, so that what ARM says of the cluster is a finding.
        let all = ["check", "--target", "1.38", "--output", "json", "--quiet"];
        let output = practice.run(&[&all[..], input].concat());
        assert_eq!(output.status.code(), Some(30), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["skipped"], json!([]));
        let findings = report["findings"].as_array().unwrap().iter();
        findings
            .map(|finding| {
                let finding = finding.to_string();
                finding.replace("<cluster>/", &format!("{dump}/"))
            })
            .collect::<Vec<String>>()
    };
    let (live, dumped) = (check(&["--sandbox", name]), check(&["--from", dump]));
    assert!(
        live.iter().any(|finding| finding.contains("FWA003")),
        "{live:#?}"
    );
    assert!(
        live.iter()
            .any(|finding| finding.contains("policy/v1beta1"))
    );
    assert_eq!(live, dumped);
}

/// The name servers run, and a budget has counted them.
fn settled(practice: &Practice, budget: &str) {
    let wait = |what: &[&str]| {
        practice.kubectl(&[what, &["-n", "kube-system", "--timeout=120s"]].concat());
    };
    wait(&["rollout", "status", "deployment/coredns"]);
    let budget = format!("pdb/{budget}");
    wait(&["wait", "--for=jsonpath={.status.currentHealthy}=2", &budget]);
}

/// A node is drained by hand, and no pod of the name servers may go.
fn an_eviction_that_budgets_hold_is_explained(practice: &Practice) {
    practice.kubectl_apply(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: { name: names, namespace: kube-system }\n\
         spec: { maxUnavailable: 0, selector: { matchLabels: { k8s-app: kube-dns } } }\n",
    );
    let nodes = practice.kubectl(&["get", "nodes", "-o", "name"]);
    let node = nodes.trim();
    practice.kubectl(&["cordon", node]);
    settled(practice, "names");
    // The cluster's own budget is there too: no eviction can ever succeed.
    let drain = |expected: &str| {
        let refused = practice.kubectl_output(&[
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=1s",
        ]);
        let told = text(&refused.stderr);
        assert!(
            !refused.status.success() && told.contains(expected),
            "{told}"
        );
    };
    drain("more than one PodDisruptionBudget");
    diagnosed(practice, "FWT103", "coredns");
    practice.kubectl(&[
        "delete",
        "pdb",
        "-n",
        "kube-system",
        "--field-selector=metadata.name!=names",
    ]);
    drain("disruption budget");
    diagnosed(practice, "FWT101", "names");
    practice.kubectl(&["uncordon", node]);
}

/// The cause of this code is found in the live cluster.
fn diagnosed(practice: &Practice, code: &str, object: &str) {
    let said = practice.run(&[
        "diagnose",
        "--sandbox",
        practice.name(),
        "--output",
        "json",
        "--quiet",
    ]);
    assert_eq!(said.status.code(), Some(30), "{}", text(&said.stderr));
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let all = report["diagnoses"].as_array().unwrap();
    let found = all
        .iter()
        .find(|found| found["code"] == code)
        .unwrap_or_else(|| panic!("no {code}: {report:#}"));
    let name = found["object"]["name"].as_str().unwrap();
    assert!(name.starts_with(object), "{found:#}");
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
