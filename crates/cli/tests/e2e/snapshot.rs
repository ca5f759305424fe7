//! What the checks need of a real cluster, read with the rights that the example gives and no others.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ferriswheel_plan::plan::Plan;
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
    what_is_generated_is_accepted(&practice, &out);
}

/// Everything that `generate` writes for Kubernetes, by the API server's own judgement.
fn what_is_generated_is_accepted(practice: &Practice, dump: &Path) {
    let dump = dump.to_str().unwrap();
    let directory = practice.path().join("generated");
    let made = |what: &str, arguments: &[&str]| {
        let into = directory.join(what);
        let mut all = vec!["generate"];
        all.extend(arguments);
        all.extend(["--quiet", "--out", into.to_str().unwrap()]);
        let written = practice.ok(&all);
        assert_ne!(written, "", "{what}: nothing is written");
        into
    };
    practice.kubectl(&["create", "namespace", "db"]);
    install_monitoring_kinds(practice);
    // A service and a database, whose pods find no node: only what they are asked for matters.
    let workloads = practice.path().join("workloads.yaml");
    std::fs::write(
        &workloads,
        workload("Deployment", "web", "team/web:1") + &workload("StatefulSet", "redis", "redis:7"),
    )
    .unwrap();
    let workloads = workloads.to_str().unwrap();
    practice.kubectl(&["apply", "-f", workloads]);
    let plan = practice.path().join("hand-over.json");
    std::fs::write(&plan, sealed_plan()).unwrap();
    let rights = "default/default:list:configmaps";
    let image = "trivy.test/trivy:0.58.1";
    let redis = ["--databases", "redis", "--namespace", "db"];
    for (what, arguments) in [
        (
            "budgets",
            &["budgets", "--from", dump, "--from", workloads][..],
        ),
        ("storage", &["storage-class", "--from", dump]),
        (
            "features",
            &["feature-check", "--target", "1.36", "--right", rights],
        ),
        ("scan", &["security-scan", "--image", image]),
        (
            "job",
            &[
                "job",
                plan.to_str().unwrap(),
                "--tenant",
                "t",
                "--client-id",
                "c",
            ],
        ),
        (
            "rule",
            &[&["monitoring", "--form", "prometheus-rule"], &redis[..]].concat(),
        ),
        (
            "pods",
            &[&["monitoring", "--form", "monitors"], &redis[..]].concat(),
        ),
        (
            "services",
            &[
                &["monitoring", "--form", "monitors", "--services"],
                &redis[..],
            ]
            .concat(),
        ),
    ] {
        let into = made(what, arguments);
        practice.kubectl(&["apply", "--dry-run=server", "-f", into.to_str().unwrap()]);
    }
    // Patches are applied to what they are for.
    let into = made(
        "probes",
        &["probes", "--from", workloads, "--target", "1.36"],
    );
    let mut patched = 0;
    for file in std::fs::read_dir(&into).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let words: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
        // `# kubectl -n NAMESPACE patch KIND NAME ...`
        let [_, _, "-n", namespace, "patch", kind, name, ..] = words[..] else {
            panic!("{text}");
        };
        let file = format!("--patch-file={}", path.display());
        practice.kubectl(&[
            "-n",
            namespace,
            "patch",
            kind,
            name,
            "--type=strategic",
            &file,
            "--dry-run=server",
        ]);
        patched += 1;
    }
    assert_eq!(patched, 2);
}

fn workload(kind: &str, name: &str, image: &str) -> String {
    let labels = json!({ "app": name });
    let object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "namespace": "db" },
        "spec": {
            "replicas": 3, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": {
                "nodeSelector": { "nowhere": "true" },
                "containers": [{ "name": name, "image": image, "ports": [{ "containerPort": 6379 }] }],
            } },
        },
    });
    format!("---\n{object}\n")
}

/// The monitors' and rules' kinds, with the fields that the operator's own definitions require.
fn install_monitoring_kinds(practice: &Practice) {
    let endpoints = |key: &str| {
        json!({
            "type": "object", "required": ["selector", key],
            "properties": {
                "selector": { "type": "object", "properties": {
                    "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
                } },
                "namespaceSelector": { "type": "object", "properties": {
                    "matchNames": { "type": "array", "items": { "type": "string" } },
                } },
                key: { "type": "array", "items": { "type": "object", "properties": {
                    "port": { "type": "string" },
                    "path": { "type": "string" },
                    "interval": { "type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$" },
                } } },
                "labelLimit": { "type": "integer" },
                "labelNameLengthLimit": { "type": "integer" },
                "labelValueLengthLimit": { "type": "integer" },
            },
        })
    };
    let rules = json!({
        "type": "object",
        "properties": { "groups": { "type": "array", "items": {
            "type": "object", "required": ["name"],
            "properties": {
                "name": { "type": "string", "minLength": 1 },
                "rules": { "type": "array", "items": {
                    "type": "object", "required": ["expr"],
                    "properties": {
                        "alert": { "type": "string" },
                        "expr": { "x-kubernetes-int-or-string": true },
                        "for": { "type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$" },
                        "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                        "annotations": { "type": "object", "additionalProperties": { "type": "string" } },
                    },
                } },
            },
        } } },
    });
    let mut all = Vec::new();
    let (pods, services) = (endpoints("podMetricsEndpoints"), endpoints("endpoints"));
    for (group, kind, spec) in [
        ("monitoring.coreos.com", "PrometheusRule", &rules),
        ("monitoring.coreos.com", "PodMonitor", &pods),
        ("monitoring.coreos.com", "ServiceMonitor", &services),
        ("azmonitoring.coreos.com", "PodMonitor", &pods),
        ("azmonitoring.coreos.com", "ServiceMonitor", &services),
    ] {
        let singular = kind.to_ascii_lowercase();
        let plural = format!("{singular}s");
        all.push(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": singular },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "required": ["spec"], "properties": { "spec": spec },
                } } }],
            },
        }));
    }
    practice
        .kubectl_apply(&json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string());
    practice.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "--all",
    ]);
}

/// A plan as `plan` writes them; its steps do not matter here.
fn sealed_plan() -> String {
    let body = json!({
        "name": "n", "parent": null, "observed_at": "2026-01-01T00:00:00Z", "cluster": "c",
        "target": null, "world_digest": "d", "promises": [], "warnings": [], "steps": [],
        "peak": {"extra_nodes": 0, "extra_replicas": 0, "fewest_members": 3, "if_a_member_crashes": ""},
        "policy": {"apiVersion": "ferriswheel.dev/v1alpha1", "kind": "Upgrade", "metadata": {"name": "n"},
            "spec": {"cluster": {"subscription": "s", "resourceGroup": "r", "name": "c"},
                "target": { "kubernetesVersion": "1.36.3" }, "strategy": { "ferrisWheel": {} },
                "databases": [{ "name": "sessions", "redis": { "statefulSet": "db/redis" } }]}},
    });
    let plan = Plan::seal(serde_json::from_value(body).unwrap()).unwrap();
    serde_json::to_string(&plan).unwrap()
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

    let parts = |command: &[&str], input: &[&str], parts: &[&str]| {
        let said = practice.ok(&[command, input, &["--output", "json", "--quiet"]].concat());
        let document: Value = serde_json::from_str(&said).unwrap();
        let parts = parts.iter().map(|part| document[part].clone());
        parts.collect::<Vec<Value>>()
    };
    let advise = ["advise", "--target", "1.36.3"];
    let advised = ["cluster", "databases", "first", "priority"];
    let live = parts(&advise, &["--sandbox", name], &advised);
    assert_eq!(live, parts(&advise, &["--from", dump], &advised));
    assert_ne!(live[0], Value::Null);
    let class = ["generate", "storage-class"];
    let live = parts(&class, &["--live", "--sandbox", name], &["files"]);
    assert_eq!(live, parts(&class, &["--from", dump], &["files"]));
    assert!(live[0].to_string().contains("eastus-1"), "{live:?}");
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
