//! The run as a Job inside the cluster, with exactly the rights of `examples/in-cluster`; and the hand-over of a set
//! without a pooler, whose clients come by the Service or by a list of hosts.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::checklist;
use crate::support::{self, Practice, root, succeeded, until};

/// The Job's own account.
const ACCOUNT: &str = "--as=system:serviceaccount:db:ferriswheel";

/// The pods of the Job that carries a plan out.
const PODS: &str = "batch.kubernetes.io/job-name=ferriswheel";

#[test]
fn a_job_carries_a_plan_out_and_direct_clients_lose_nothing() {
    let practice = Practice::up("incluster", &[]);
    practice.example();
    checklist::of_a_live_cluster(&practice);
    a_job_on_a_machine_that_its_plan_retires_is_refused(&practice);
    a_job_whose_pod_is_lost_goes_on(&practice);
    direct_clients_see_errors_and_lose_nothing(&practice);
}

fn a_job_on_a_machine_that_its_plan_retires_is_refused(practice: &Practice) {
    let spec = practice.spec("upgrade.yaml", &[]);
    practice.plan(spec.clone());
    // In the zone of a System node, so that the claim made here serves the run that follows.
    let job = read("job.yaml").replace(
        "nodeSelector: { kubernetes.azure.com/mode: system }",
        "nodeSelector: { workload: database, topology.kubernetes.io/zone: eastus-1 }",
    );
    let job = job.replace(
        "tolerations: [{ key: CriticalAddonsOnly, operator: Exists }]",
        "tolerations: [{ key: workload, operator: Exists }]",
    );
    assert!(job.contains("workload: database") && job.contains("key: workload"));
    let examples = practice.path().join("doomed");
    std::fs::create_dir(&examples).unwrap();
    std::fs::write(examples.join("job.yaml"), job).unwrap();
    for file in ["rbac.yaml", "up.sh"] {
        std::fs::copy(in_cluster().join(file), examples.join(file)).unwrap();
    }
    start(practice, &examples, &spec.with_extension("json"));
    wait(practice, "Failed", "job/ferriswheel");
    let log = practice.kubectl(&["-n", "db", "logs", "job/ferriswheel"]);
    assert!(log.contains("FW0413"), "{log}");
    // Refused for good: no second Pod tried it again.
    assert_eq!(job_status(practice)["failed"], 1);
}

fn a_job_whose_pod_is_lost_goes_on(practice: &Practice) {
    let spec = practice.spec(
        "hand-over.yaml",
        &[
            ("handOver: {}", "handOver: { to: pg-1, soakSeconds: 0 }"),
            // What a busy machine adds is not what this test is about.
            ("writeStall: 1s", "writeStall: 5s"),
        ],
    );
    let run = practice.plan(spec.clone());
    start(practice, &in_cluster(), &spec.with_extension("json"));
    may_do_no_more_than_it_must(practice);
    run.wait_for_moment("rehearsed");
    let pod = practice.kubectl(&["-n", "db", "get", "pods", "-l", PODS, "-o", "name"]);
    practice.kubectl(&[
        "-n",
        "db",
        "delete",
        pod.trim(),
        "--force",
        "--grace-period=0",
    ]);
    wait(practice, "Complete", "job/ferriswheel");
    let log = practice.kubectl(&["-n", "db", "logs", "job/ferriswheel"]);
    assert!(log.contains("taken by driver 2"), "{log}");

    practice.kubectl(&["apply", "-f", text(&in_cluster().join("results.yaml"))]);
    wait(practice, "Complete", "job/ferriswheel-results");
    let result =
        |what: &str| practice.kubectl(&["-n", "db", "logs", "job/ferriswheel-results", "-c", what]);
    let report: Value = serde_json::from_str(&result("summary")).unwrap();
    assert_eq!(report["state"], "done", "{report}\n{log}");
    assert_eq!(report["summary"]["primary_moves"], 1, "{report}\n{log}");
    let certificate = &report["summary"]["certificate"];
    println!("as a Job: {certificate}");
    assert_eq!(certificate["verdict"], "pass", "{certificate}\n{log}");
    assert_eq!(certificate["acked_lost"], 0, "{certificate}\n{log}");
    assert_eq!(certificate["errors"], 0, "{certificate}\n{log}");
    assert!(result("report").contains("No acknowledged write was lost"));
    let journal = result("journal");
    let records: Vec<Value> = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let drivers = records
        .iter()
        .filter(|r| r["entry"]["is"] == "driving")
        .count();
    assert_eq!(drivers, 2, "{journal}");
    practice.assert_settled_on("pg-1");
}

/// The rights that the Job runs with, asked of the API server.
fn may_do_no_more_than_it_must(practice: &Practice) {
    let allowed = |question: &[&str]| {
        let mut all = vec!["auth", "can-i", ACCOUNT];
        all.extend(question);
        let output = practice.kubectl_output(&all);
        support::text(&output.stdout).trim() == "yes"
    };
    let evict = "--subresource=eviction";
    assert!(allowed(&["create", "pods", evict, "-n", "kube-system"]));
    assert!(allowed(&["patch", "statefulsets/pg", "-n", "db"]));
    for beyond in [
        &["*", "*"][..],
        &["delete", "nodes"],
        &["delete", "pods", "-n", "kube-system"],
        &["get", "secrets", "-n", "kube-system"],
        &["create", "pods", "--subresource=exec", "-n", "kube-system"],
        &["create", "pods", "--subresource=portforward", "-n", "db"],
        &["patch", "statefulsets/other", "-n", "db"],
        &["patch", "configmaps/pg-config", "-n", "db"],
        &["create", "rolebindings", "-n", "db"],
    ] {
        assert!(!allowed(beyond), "the account may {beyond:?}");
    }
}

fn direct_clients_see_errors_and_lose_nothing(practice: &Practice) {
    // The kubelet would delay the next start of a server that has just been restarted, and the name servers would keep
    // the old address of its new pod for half a minute.
    practice.kubectl(&["-n", "db", "delete", "pod", "pg-0"]);
    practice.wait_until_whole();
    practice.kubectl(&[
        "-n",
        "kube-system",
        "rollout",
        "restart",
        "deployment/coredns",
    ]);
    practice.kubectl(&[
        "-n",
        "kube-system",
        "rollout",
        "status",
        "deployment/coredns",
        "--timeout=120s",
    ]);

    let spec = practice.spec(
        "hand-over.yaml",
        &[
            ("handOver: {}", "handOver: { to: pg-2, soakSeconds: 0 }"),
            ("        poolers: [db/pgbouncer]\n", ""),
            ("        errors: 0\n", ""),
            ("writeStall: 1s", "writeStall: 10s"),
        ],
    );
    // Said beforehand: that clients see errors, for how long, and what would avoid it.
    let plan = spec.with_extension("json");
    let shown = practice.run(&[
        "plan",
        spec.to_str().unwrap(),
        "--sandbox",
        practice.name(),
        "--out",
        text(&plan),
    ]);
    let (out, err) = (support::text(&shown.stdout), support::text(&shown.stderr));
    assert!(shown.status.success(), "{out}\n{err}");
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Clients connect directly"), "{out}");
    assert!(
        words.contains("errors for about") && words.contains("FW0180"),
        "{out}"
    );

    // The run's own probe comes by the Service; this one by the list of hosts.
    practice.kubectl_apply(BY_HOSTS);
    practice.kubectl(&[
        "-n",
        "db",
        "wait",
        "--for=condition=Ready",
        "pod/by-hosts",
        "--timeout=120s",
    ]);
    let applied = practice.run(&["apply", text(&plan), "--sandbox", practice.name(), "--yes"]);
    succeeded("apply", applied);
    practice.kubectl(&["-n", "db", "exec", "by-hosts", "--", "kill", "-TERM", "1"]);
    practice.kubectl(&[
        "-n",
        "db",
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/by-hosts",
        "--timeout=120s",
    ]);
    let by_hosts = practice.kubectl(&["-n", "db", "logs", "by-hosts"]);
    // Its notes are in the log too.
    let json = by_hosts.find('{').map(|at| &by_hosts[at..]);
    let by_hosts: Value = json
        .and_then(|json| serde_json::Deserializer::from_str(json).into_iter().next())
        .unwrap_or_else(|| panic!("no certificate: {by_hosts}"))
        .unwrap();
    let report: Value =
        serde_json::from_str(&practice.ok(&["report", "--output", "json"])).unwrap();
    let by_service = &report["summary"]["certificate"];
    for (way, certificate) in [("Service", by_service), ("list of hosts", &by_hosts)] {
        println!("by the {way}: {certificate}");
        assert_eq!(certificate["verdict"], "pass", "{way}: {certificate}");
        assert_eq!(certificate["acked_lost"], 0, "{way}: {certificate}");
        assert_eq!(certificate["phantoms"], 0, "{way}: {certificate}");
        assert!(
            certificate["longest_ack_gap_ms"].as_f64().is_some(),
            "{way}: {certificate}"
        );
        // Every writer's connection was cut: each saw it, and each is counted.
        let errors = certificate["errors"].as_u64().unwrap();
        let writers = certificate["writers"].as_u64().unwrap();
        assert!(errors >= writers, "{way}: {certificate}");
    }
    assert_eq!(report["summary"]["primary_moves"], 1, "{report}");
    assert_eq!(practice.primaries(), ["pg-2"]);
    let labelled = practice.kubectl(&[
        "-n",
        "db",
        "get",
        "pods",
        "-l",
        "app=pg,role=primary",
        "-o",
        "name",
    ]);
    assert_eq!(labelled.trim(), "pod/pg-2");
}

/// A probe of its own beside the run's, in another database of the same servers.
const BY_HOSTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: by-hosts, namespace: db }
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  nodeSelector: { kubernetes.azure.com/mode: system }
  tolerations: [{ key: CriticalAddonsOnly, operator: Exists }]
  containers:
    - name: probe
      image: ferriswheel:0.1.0
      args:
        - probe
        - postgres
        - --dsn=host=pg-0.pg,pg-1.pg,pg-2.pg port=5432 user=postgres dbname=postgres target_session_attrs=read-write
        - --members=pg-0=pg-0.pg:5432,pg-1=pg-1.pg:5432,pg-2=pg-2.pg:5432
        - --password-file=/secret/password
        - --until-signal
        - --limit-errors=any
        - --limit-write-stall=10s
        - --output=json
        - --quiet
      volumeMounts: [{ name: secret, mountPath: /secret, readOnly: true }]
  volumes: [{ name: secret, secret: { secretName: pg-superuser } }]
"#;

fn in_cluster() -> PathBuf {
    root().join("examples/in-cluster")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(in_cluster().join(file)).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a user types: `up.sh`, with the identity that the sandbox's Azure knows.
fn start(practice: &Practice, examples: &Path, plan: &Path) {
    let directory = practice.path().join("sandboxes").join(practice.name());
    let azure = Command::new(root().join("scripts/azure-for-sandbox.sh"))
        .arg(directory.join("sandbox.json"))
        .output()
        .unwrap();
    let file = practice.path().join("azure.env");
    std::fs::write(&file, succeeded("azure-for-sandbox.sh", azure)).unwrap();
    let output = Command::new(examples.join("up.sh"))
        .arg(plan)
        .arg(file)
        .arg(directory.join("azure/ca.crt"))
        .env(
            "KUBECTL",
            format!(
                "{} sandbox kubectl --name {} --",
                env!("CARGO_BIN_EXE_ferriswheel"),
                practice.name()
            ),
        )
        .env("FERRISWHEEL_STATE", practice.path())
        .output()
        .unwrap();
    succeeded("examples/in-cluster/up.sh", output);
}

fn job_status(practice: &Practice) -> Value {
    let json = practice.kubectl(&["-n", "db", "get", "job/ferriswheel", "-o", "json"]);
    serde_json::from_str::<Value>(&json).unwrap()["status"].clone()
}

/// Waits until a Job has ended, and in this way.
fn wait(practice: &Practice, condition: &str, job: &str) {
    let ended = until(&format!("the end of {job}"), || {
        let json = practice.kubectl(&["-n", "db", "get", job, "-o", "json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let conditions = json["status"]["conditions"].as_array()?.clone();
        let ended = conditions
            .iter()
            .find(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True");
        ended.map(|c| c["type"].clone())
    });
    if ended != condition {
        let output = practice.kubectl_output(&["-n", "db", "logs", job, "--all-containers"]);
        eprintln!("{}", support::text(&output.stdout));
    }
    assert_eq!(ended, condition, "{job}");
}
