//! Two jobs that run again and again: does the target version still suit what runs here, and has
//! anything that runs a hole that is known and closed.
//!
//! What a published runbook does here: `kubectl auth can-i --as=service-account:...` (no such user),
//! `kubectl api-versions | grep v1.30` (lists groups, never releases), `kubectl top` with a flag of the
//! wire format, and a scanner without account, rights, restart policy and pinned version.
//!
//! # Source
//! `trivy kubernetes`: its reference page. Impersonation: the API server asks for `impersonate` on
//! `serviceaccounts` of the account's namespace.

use serde_json::{Value, json};

use super::{Content, File, Generated, metadata};

const SNAPSHOT_RBAC: &str = include_str!("../../../../examples/snapshot/rbac.yaml");

/// Runs at these minutes past the hour: not at the full hour, when everybody's jobs run.
const MINUTE: u8 = 17;

/// Names of what is made.
const FEATURES: &str = "ferriswheel-feature-check";
const SCAN: &str = "ferriswheel-security-scan";

/// A right that an account must have at the target too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Namespace of the account.
    pub namespace: String,
    /// Account.
    pub account: String,
    /// Verb.
    pub verb: String,
    /// Resource, with its group if it has one.
    pub resource: String,
}

/// The text is no right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "read the right {0:?}: it is written NAMESPACE/ACCOUNT:VERB:RESOURCE, such as shop/web:list:configmaps"
)]
pub struct NotARight(String);

impl std::str::FromStr for Right {
    type Err = NotARight;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || NotARight(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let (who, verb, resource) = match (parts.next(), parts.next(), parts.next()) {
            (Some(who), Some(verb), Some(resource)) => (who, verb, resource),
            _ => return Err(fail()),
        };
        let (namespace, account) = who.split_once('/').ok_or_else(fail)?;
        let good = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/'))
        };
        if [namespace, account, verb, resource]
            .iter()
            .all(|part| good(part))
        {
            Ok(Self {
                namespace: namespace.to_owned(),
                account: account.to_owned(),
                verb: verb.to_owned(),
                resource: resource.to_owned(),
            })
        } else {
            Err(fail())
        }
    }
}

/// What the check of features is told.
#[derive(Clone, Debug)]
pub struct Features {
    /// Namespace of the job.
    pub namespace: String,
    /// Minor of Kubernetes to go to.
    pub minor: u32,
    /// Image of this program.
    pub image: String,
    /// Image of kubectl; it needs no shell.
    pub kubectl: String,
    /// Rights to ask for.
    pub rights: Vec<Right>,
}

/// Every night: what the target would break of what runs now, whether the API server is ready, whether
/// admission lets a pod in, and whether accounts may do what they must.
pub fn feature_check(wish: &Features) -> Generated {
    let mut objects = account(FEATURES, &wish.namespace);
    objects.extend(snapshot_rights(&wish.namespace));
    objects.extend(own_rights(wish));
    objects.push(features_job(wish));
    let mut made = Generated::of(File {
        name: "feature-check.yaml".to_owned(),
        about: vec![
            "Fails when the target would break something: kubectl logs names it, the alert JobFailed tells of it".to_owned(),
        ],
        content: Content::Kubernetes(objects),
    });
    made.notes.push(format!(
        "run it now: kubectl -n {} create job --from=cronjob/{FEATURES} {FEATURES}-now",
        wish.namespace
    ));
    made
}

fn account(name: &str, namespace: &str) -> Vec<Value> {
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, Some(namespace)) }),
    ]
}

/// What `snapshot` may read, for this account.
#[expect(
    clippy::expect_used,
    reason = "the manifest is compiled in, and a test reads it"
)]
fn snapshot_rights(namespace: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(SNAPSHOT_RBAC).expect("the example is YAML");
    let mut rules = all
        .into_iter()
        .find(|object| object["kind"] == "ClusterRole")
        .map(|role| role["rules"].clone())
        .unwrap_or_default();
    // Helm's records are Secrets, and the right cannot be limited to them: a job that runs every night
    // does without.
    if let Some(rules) = rules.as_array_mut() {
        rules.retain(|rule| rule["resources"] != json!(["secrets"]));
    }
    cluster_rights(FEATURES, namespace, &rules)
}

fn cluster_rights(name: &str, namespace: &str, rules: &Value) -> Vec<Value> {
    let bound = format!("{name}-{namespace}");
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata(&bound, None),
            "rules": rules,
        }),
        binding(
            "ClusterRoleBinding",
            "ClusterRole",
            &bound,
            None,
            name,
            namespace,
        ),
    ]
}

fn binding(
    kind: &str,
    role: &str,
    name: &str,
    within: Option<&str>,
    account: &str,
    namespace: &str,
) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata(name, within),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
    })
}

/// To try a Deployment in its own namespace, and to ask in the name of the accounts that were named.
fn own_rights(wish: &Features) -> Vec<Value> {
    let mut objects = Vec::new();
    let mut add = |name: &str, within: &str, rules: Value| {
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata(name, Some(within)),
            "rules": rules,
        }));
        objects.push(binding(
            "RoleBinding",
            "Role",
            name,
            Some(within),
            FEATURES,
            &wish.namespace,
        ));
    };
    // Asked for with dry-run alone; the right itself cannot be limited to that.
    add(
        FEATURES,
        &wish.namespace,
        json!([{ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create"] }]),
    );
    let mut namespaces: Vec<&str> = wish
        .rights
        .iter()
        .map(|right| right.namespace.as_str())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for within in namespaces {
        let mut accounts: Vec<&str> = wish
            .rights
            .iter()
            .filter(|right| right.namespace == within)
            .map(|right| right.account.as_str())
            .collect();
        accounts.sort_unstable();
        accounts.dedup();
        add(
            &format!("{FEATURES}-asks"),
            within,
            json!([{ "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": accounts, "verbs": ["impersonate"] }]),
        );
    }
    objects
}

fn features_job(wish: &Features) -> Value {
    let target = format!("1.{}", wish.minor);
    let dump = json!([{ "name": "scratch", "mountPath": "/scratch" }]);
    let kubectl = |name: &str, args: Value| container(name, &wish.kubectl, &args, &json!([]));
    let mut containers = vec![
        container(
            "api-versions-and-resilience",
            &wish.image,
            &json!([
                "check",
                "--from",
                "/scratch/dump",
                "--target",
                target,
                "--fail-on",
                "breaks,blocks"
            ]),
            &dump,
        ),
        kubectl("ready", json!(["get", "--raw", "/readyz"])),
        kubectl(
            "admission",
            json!([
                "create",
                "deployment",
                "feature-check",
                "--image=registry.k8s.io/pause:3.10",
                "--dry-run=server",
                format!("--namespace={}", wish.namespace)
            ]),
        ),
    ];
    for (i, right) in wish.rights.iter().enumerate() {
        // The whole name of the user; anything shorter is a user that nobody is.
        let who = format!(
            "--as=system:serviceaccount:{}:{}",
            right.namespace, right.account
        );
        containers.push(kubectl(
            &format!("right-{}", i + 1),
            json!([
                "auth",
                "can-i",
                right.verb,
                right.resource,
                who,
                format!("--namespace={}", right.namespace)
            ]),
        ));
    }
    let mut pod = pod(FEATURES, &json!(containers));
    if let Some(fields) = pod.as_object_mut() {
        fields.insert(
            "initContainers".to_owned(),
            json!([container(
                "snapshot",
                &wish.image,
                &json!(["snapshot", "--out", "/scratch/dump"]),
                &dump
            )]),
        );
        // The dump of a large cluster; plain text of ConfigMaps is in it, and it goes with the pod.
        fields.insert(
            "volumes".to_owned(),
            json!([{ "name": "scratch", "emptyDir": { "sizeLimit": "2Gi" } }]),
        );
    }
    cron(
        FEATURES,
        &wish.namespace,
        &format!("{MINUTE} 3 * * *"),
        1800,
        &pod,
    )
}

/// What the scan is told.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Namespace of the job.
    pub namespace: String,
    /// Image of trivy, with its version.
    pub image: String,
    /// Hours between two scans.
    pub hours: u8,
}

/// A scan that would not be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScanError {
    /// The image may be another one tomorrow.
    #[error("run the image {0}: name its version or digest, so that a scan can be made again")]
    Unpinned(String),
    /// A day has to be a multiple, or the last interval of it is shorter.
    #[error("scan every {0} hours: choose 1, 2, 3, 4, 6, 8, 12 or 24")]
    Hours(u8),
}

/// Images of what runs, against the list of known holes; only those with a fix count.
///
/// # Errors
/// The image is not pinned, or the interval does not divide a day.
pub fn security_scan(wish: &Scan) -> Result<Generated, ScanError> {
    let last = wish.image.rsplit('/').next().unwrap_or_default();
    if !wish.image.contains("@sha256:") && (!last.contains(':') || last.ends_with(":latest")) {
        return Err(ScanError::Unpinned(wish.image.clone()));
    }
    if wish.hours == 0 || wish.hours > 24 || 24 % wish.hours != 0 {
        return Err(ScanError::Hours(wish.hours));
    }
    let read = json!([
        { "apiGroups": [""], "resources": ["namespaces", "nodes", "pods", "replicationcontrollers"], "verbs": ["get", "list"] },
        { "apiGroups": ["apps"], "resources": ["daemonsets", "deployments", "replicasets", "statefulsets"], "verbs": ["get", "list"] },
        { "apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": ["get", "list"] },
    ]);
    let mut objects = account(SCAN, &wish.namespace);
    objects.extend(cluster_rights(SCAN, &wish.namespace, &read));
    let scratch = json!([{ "name": "scratch", "mountPath": "/tmp" }]);
    let args = json!([
        "kubernetes",
        "--report=summary",
        "--scanners=vuln",
        "--severity=HIGH,CRITICAL",
        "--ignore-unfixed",
        // It would start privileged pods on every node.
        "--disable-node-collector",
        "--exclude-owned",
        "--exit-code=1",
        "--timeout=50m",
        "--no-progress",
        "--cache-dir=/tmp/trivy",
    ]);
    let mut pod = pod(
        SCAN,
        &json!([container("trivy", &wish.image, &args, &scratch)]),
    );
    if let Some(fields) = pod.as_object_mut() {
        fields.insert(
            "volumes".to_owned(),
            json!([{ "name": "scratch", "emptyDir": { "sizeLimit": "8Gi" } }]),
        );
    }
    let hours = match wish.hours {
        24 => "2".to_owned(),
        1 => "*".to_owned(),
        hours => format!("*/{hours}"),
    };
    objects.push(cron(
        SCAN,
        &wish.namespace,
        &format!("{MINUTE} {hours} * * *"),
        3600,
        &pod,
    ));
    let mut made = Generated::of(File {
        name: "security-scan.yaml".to_owned(),
        about: vec![
            "Fails when an image that runs has a hole with a known fix: kubectl logs has the list"
                .to_owned(),
        ],
        content: Content::Kubernetes(objects),
    });
    made.notes.extend([
        "it reads images from their registries: the pods' pull secrets are not given to it; let its account pull (AcrPull)".to_owned(),
        "it judges images, not nodes: those are patched by the node image (kubectl get nodes -L kubernetes.azure.com/node-image-version)".to_owned(),
    ]);
    Ok(made)
}

fn container(name: &str, image: &str, args: &Value, mounts: &Value) -> Value {
    let mut container = json!({
        "name": name,
        "image": image,
        "args": args,
        "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "1Gi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
    });
    if let (Some(fields), Some(false)) = (
        container.as_object_mut(),
        mounts.as_array().map(Vec::is_empty),
    ) {
        fields.insert("volumeMounts".to_owned(), mounts.clone());
    }
    container
}

fn pod(account: &str, containers: &Value) -> Value {
    json!({
        "serviceAccountName": account,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": containers,
    })
}

fn cron(name: &str, namespace: &str, schedule: &str, deadline: u32, pod: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(name, Some(namespace)),
        "spec": {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            // The next one waits for the next time instead of running beside this one.
            "concurrencyPolicy": "Forbid",
            // Missed by more than ten minutes is skipped, not made up for all at once.
            "startingDeadlineSeconds": 600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": { "spec": {
                // A failure is a finding: trying again finds the same.
                "backoffLimit": 0,
                "activeDeadlineSeconds": deadline,
                "template": { "metadata": { "labels": { "app.kubernetes.io/name": name } }, "spec": pod },
            } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(made: &Generated) -> Vec<Value> {
        match &made.files[0].content {
            Content::Kubernetes(objects) => objects.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn wish() -> Features {
        Features {
            namespace: "ops".to_owned(),
            minor: 36,
            image: "ferriswheel:0.1.0".to_owned(),
            kubectl: "registry.k8s.io/kubectl:v1.36.0".to_owned(),
            rights: vec!["shop/web:list:configmaps".parse().unwrap()],
        }
    }

    #[test]
    fn whatever_is_mounted_is_a_volume_of_the_pod() {
        let scan = Scan {
            namespace: "ops".to_owned(),
            image: "trivy.test/trivy:0.58.1".to_owned(),
            hours: 12,
        };
        for made in [feature_check(&wish()), security_scan(&scan).unwrap()] {
            let all = objects(&made);
            let job = all.iter().find(|o| o["kind"] == "CronJob").unwrap();
            let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
            let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let volumes: Vec<Value> = list(&pod["volumes"])
                .into_iter()
                .map(|volume| volume["name"].clone())
                .collect();
            let containers = [list(&pod["containers"]), list(&pod["initContainers"])].concat();
            let mounts = containers.iter().flat_map(|one| list(&one["volumeMounts"]));
            let mounted: Vec<Value> = mounts.map(|mount| mount["name"].clone()).collect();
            assert!(!mounted.is_empty());
            assert!(mounted.iter().all(|name| volumes.contains(name)), "{pod}");
        }
    }

    #[test]
    fn accounts_are_asked_for_by_their_whole_name() {
        let made = feature_check(&wish());
        let all = objects(&made);
        let job = all.iter().find(|o| o["kind"] == "CronJob").unwrap();
        let containers =
            job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"].to_string();
        assert!(
            containers.contains("--as=system:serviceaccount:shop:web"),
            "{containers}"
        );
        // May ask in that name and in no other; may read no Secret.
        let asks = all
            .iter()
            .find(|o| o["kind"] == "Role" && o["metadata"]["namespace"] == "shop")
            .unwrap();
        assert_eq!(asks["rules"][0]["resourceNames"], json!(["web"]));
        let text = json!(all).to_string();
        assert!(!text.contains("\"secrets\""), "{text}");
        assert!("shop:web".parse::<Right>().is_err());
        assert!("shop/web:list:$(x)".parse::<Right>().is_err());
    }

    #[test]
    fn a_scan_has_an_account_and_a_pinned_image() {
        let scan = |image: &str, hours| {
            security_scan(&Scan {
                namespace: "ops".to_owned(),
                image: image.to_owned(),
                hours,
            })
        };
        let all = objects(&scan("ghcr.io/aquasecurity/trivy:0.58.1", 6).unwrap());
        let job = all.iter().find(|o| o["kind"] == "CronJob").unwrap();
        assert_eq!(job["spec"]["schedule"], "17 */6 * * *");
        let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(pod["serviceAccountName"], SCAN);
        assert!(all.iter().any(|o| o["kind"] == "ServiceAccount"));
        for image in ["trivy", "aquasec/trivy:latest", "registry.test:5000/trivy"] {
            assert!(
                matches!(scan(image, 6), Err(ScanError::Unpinned(_))),
                "{image}"
            );
        }
        assert!(scan("r.test/trivy@sha256:ab", 24).is_ok());
        assert_eq!(scan("trivy:1", 5), Err(ScanError::Hours(5)));
    }
}
