//! Each code with an input that has the finding and one that has not.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::codes;
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::findings::{Finding, Report, Severity};
use ferriswheel_analysis::manifest::{Reading, Want, read};

fn report(targets: &[&str], files: &[(&str, &[u8])]) -> Report {
    let mut reading = Reading::default();
    for (name, bytes) in files {
        reading.append(read(name, bytes, Want::Names));
    }
    check(
        reading,
        &Target::parse(targets.iter().copied()).expect("a target"),
        &Scope::API_VERSIONS,
    )
}

fn findings(target: &str, text: &str) -> Vec<Finding> {
    let report = report(&[target], &[("a.yaml", text.as_bytes())]);
    assert_eq!(report.skipped, []);
    report.findings
}

fn only(target: &str, text: &str) -> Finding {
    let mut all = findings(target, text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

const BUDGET: &str = "\
# kept by the shop
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata:
  name: web
  namespace: shop
spec:
  selector: { matchLabels: { app: web } }
";

#[test]
fn an_old_manifest_breaks() {
    let finding = only("1.36", BUDGET);
    assert_eq!(finding.code, codes::NOT_SERVED);
    assert_eq!(finding.severity, Severity::Breaks);
    assert_eq!(
        (finding.source.file.as_str(), finding.source.line),
        ("a.yaml", 3)
    );
    assert_eq!(finding.deprecated_in.as_deref(), Some("1.21"));
    assert_eq!(finding.removed_in.as_deref(), Some("1.25"));
    assert_eq!(finding.replacement.as_deref(), Some("policy/v1"));
    assert_eq!(finding.object.namespace.as_deref(), Some("shop"));
    assert!(finding.fix.contains("selector"), "{}", finding.fix);
    // The fix, applied, clears it.
    assert_eq!(
        findings("1.36", &BUDGET.replace("policy/v1beta1", "policy/v1")),
        []
    );
}

#[test]
fn the_same_manifest_works_until_then() {
    let finding = only("1.24", BUDGET);
    assert_eq!(finding.code, codes::GOES_LATER);
    assert_eq!(finding.severity, Severity::Later);
    assert_eq!(only("1.25", BUDGET).severity, Severity::Breaks);
}

#[test]
fn the_replacement_is_one_that_the_target_serves() {
    let flow = "apiVersion: flowcontrol.apiserver.k8s.io/v1beta1\nkind: FlowSchema\nmetadata:\n  name: a\n";
    let to = |target| only(target, flow).replacement;
    assert_eq!(
        to("1.26").as_deref(),
        Some("flowcontrol.apiserver.k8s.io/v1beta3")
    );
    assert_eq!(
        to("1.32").as_deref(),
        Some("flowcontrol.apiserver.k8s.io/v1")
    );
    let gone = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: a\n";
    assert_eq!(only("1.36", gone).replacement, None);
}

const LIVE: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
  uid: 6f0d
  labels:
    argocd.argoproj.io/instance: shop
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"autoscaling/v2beta2","kind":"HorizontalPodAutoscaler"}
  managedFields:
  - apiVersion: autoscaling/v2beta2
    manager: kubectl-client-side-apply
    operation: Update
    time: "2024-01-01T00:00:00Z"
"#;

#[test]
fn a_live_object_with_a_stale_source_does_not_break() {
    let finding = only("1.36", LIVE);
    assert_eq!(finding.code, codes::STALE_APPLY);
    assert_eq!(finding.severity, Severity::StaleSource);
    assert_eq!(finding.object.api_version, "autoscaling/v2beta2");
    assert_eq!(finding.owner, "Argo CD application shop");
    let classes: Vec<&str> = finding.evidence.iter().map(|e| e.class).collect();
    assert_eq!(
        classes,
        ["last-applied", "live-object", "schema", "managed-fields"]
    );
    assert_eq!(findings("1.36", &LIVE.replace("v2beta2", "v2")), []);
}

#[test]
fn a_client_that_writes_an_old_version_is_named() {
    let text = LIVE
        .lines()
        .filter(|line| !line.contains("last-applied") && !line.contains("{\"api"))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("kubectl-client-side-apply", "scaler");
    let text = text.replace("  annotations:\n", "");
    let finding = only("1.36", &text);
    assert_eq!(finding.code, codes::STALE_WRITER);
    assert_eq!(finding.severity, Severity::StaleSource);
    assert_eq!(finding.owner, "client scaler");
    assert!(
        finding.evidence[0].detail.contains("2024-01-01"),
        "{finding:#?}"
    );
    assert_eq!(findings("1.25", &text), []);
}

#[test]
fn what_is_deprecated_without_an_end_is_to_know() {
    let text =
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TLSRoute\nmetadata:\n  name: a\n";
    let finding = only("1.36", text);
    assert_eq!(
        (finding.code, finding.severity),
        (codes::DEPRECATED, Severity::Info)
    );
    assert_eq!(
        findings(
            "1.36",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
        ),
        []
    );
}

#[test]
fn what_comes_later_is_told() {
    let text = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata:\n  name: a\n";
    let finding = only("1.29", text);
    assert_eq!(
        (finding.code, finding.severity),
        (codes::NOT_YET, Severity::Warning)
    );
    assert_eq!(findings("1.30", text), []);
}

#[test]
fn embedded_objects_are_not_objects() {
    let text = r#"
apiVersion: apps/v1
kind: ControllerRevision
metadata: { name: a }
data: { apiVersion: extensions/v1beta1, kind: DaemonSet, metadata: { name: x } }
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: a
spec:
  source:
    helm:
      values: |
        apiVersion: policy/v1beta1
        kind: PodSecurityPolicy
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
data:
  x.yaml: |
    apiVersion: extensions/v1beta1
    kind: Ingress
    metadata:
      name: x
"#;
    assert_eq!(findings("1.36", text), []);
}

#[test]
fn components_are_judged_by_their_own_release_or_definition() {
    let text = "apiVersion: cert-manager.io/v1alpha2\nkind: Certificate\nmetadata:\n  name: a\n";
    let finding = only("1.36", text);
    assert_eq!(finding.severity, Severity::Breaks);
    assert_eq!(finding.removed_in.as_deref(), Some("1.6"));
    let file: &[(&str, &[u8])] = &[("a.yaml", text.as_bytes())];
    let at = |release| report(&["1.36", release], file).findings.remove(0).severity;
    assert_eq!(at("cert-manager=1.5"), Severity::Later);
    assert_eq!(at("cert-manager=1.6"), Severity::Breaks);
    // A definition that still serves it is better evidence than a release.
    let defined = format!(
        "{text}---\n{}",
        crd(
            "cert-manager.io",
            "Certificate",
            "v1alpha2",
            true,
            false,
            ""
        )
    );
    assert_eq!(only("1.36", &defined).severity, Severity::Later);
    assert_eq!(findings("1.36", &text.replace("v1alpha2", "v1")), []);
}

fn crd(group: &str, kind: &str, old: &str, served: bool, deprecated: bool, tail: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.{group}
spec:
  group: {group}
  names: {{ kind: {kind}, plural: things }}
  scope: Namespaced
  versions:
  - {{ name: {old}, served: {served}, storage: false, deprecated: {deprecated} }}
  - {{ name: v1, served: true, storage: true }}
{tail}"
    )
}

#[test]
fn custom_objects_are_held_against_their_definition() {
    let thing = "---\napiVersion: example.test/v1alpha1\nkind: Thing\nmetadata:\n  name: a\n";
    let with = |served, deprecated| {
        findings(
            "1.36",
            &format!(
                "{}{thing}",
                crd("example.test", "Thing", "v1alpha1", served, deprecated, "")
            ),
        )
    };
    let unserved = with(false, false);
    assert_eq!(
        (unserved[0].code, unserved[0].severity),
        (codes::CUSTOM_NOT_SERVED, Severity::Breaks)
    );
    assert_eq!(unserved[0].replacement.as_deref(), Some("example.test/v1"));
    let old = with(true, true);
    assert_eq!(
        (old[0].code, old[0].severity),
        (codes::CUSTOM_DEPRECATED, Severity::Later)
    );
    assert_eq!(with(true, false), []);
}

#[test]
fn stored_versions_that_are_going_are_told() {
    let status = "status:\n  storedVersions: [v1alpha1, v1]\n";
    let live = |served| {
        crd("example.test", "Thing", "v1alpha1", served, false, status)
            .replace("metadata:\n", "metadata:\n  uid: x\n")
    };
    let finding = only("1.36", &live(false));
    assert_eq!(
        (finding.code, finding.severity),
        (codes::STORED_VERSION, Severity::Warning)
    );
    assert_eq!(findings("1.36", &live(true)), []);
    // The next release of the operator drops the version.
    let next = crd("example.test", "Thing", "v1beta1", true, false, "");
    let finding = only("1.36", &format!("{}---\n{next}", live(true)));
    assert_eq!(
        (finding.code, finding.severity),
        (codes::STORED_VERSION, Severity::Blocks)
    );
}

#[test]
fn a_release_of_helm_is_judged_by_its_newest_revision() {
    let record =
        |revision, status, manifest: &str| helm::secret("shop", revision, status, manifest);
    let old = record(1, "superseded", BUDGET);
    let new = record(2, "deployed", &BUDGET.replace("v1beta1", "v1"));
    let failed = record(3, "failed", BUDGET);
    assert_eq!(
        findings("1.36", &format!("{old}---\n{new}---\n{failed}")),
        []
    );
    let finding = only("1.36", &record(1, "deployed", BUDGET));
    assert_eq!(
        (finding.code, finding.severity),
        (codes::STALE_RELEASE, Severity::StaleSource)
    );
    assert_eq!(finding.owner, "Helm release prod/shop");
    // What no version serves any more is gone from the cluster too.
    let gone = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: a\n";
    assert_eq!(
        only("1.36", &record(1, "deployed", gone)).severity,
        Severity::Breaks
    );
}

#[test]
fn the_metric_of_the_api_server_is_read() {
    let text = r#"# HELP apiserver_requested_deprecated_apis Gauge
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.32",resource="flowschemas",subresource="",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="networking.k8s.io",removed_release="1.37",resource="ipaddresses",subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="poddisruptionbudgets",subresource="",version="v1beta1"} 0
apiserver_request_total{code="200",group="flowcontrol.apiserver.k8s.io",resource="flowschemas",verb="PATCH",version="v1beta3"} 40
apiserver_request_total{code="201",group="flowcontrol.apiserver.k8s.io",resource="flowschemas",verb="POST",version="v1beta3"} 2
"#;
    let all = findings("1.36", text);
    let found: Vec<_> = all
        .iter()
        .map(|f| (f.code, f.severity, f.removed_in.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (codes::STILL_CALLED, Severity::Breaks, Some("1.32")),
            (codes::STILL_CALLED, Severity::Later, Some("1.37")),
        ]
    );
    assert_eq!(all[0].object.kind, "FlowSchema");
    assert_eq!(
        all[0].replacement.as_deref(),
        Some("flowcontrol.apiserver.k8s.io/v1")
    );
    assert!(
        all[0].evidence[0].detail.contains("42 requests"),
        "{:?}",
        all[0].evidence
    );
}

#[test]
fn an_audit_log_names_the_caller() {
    let event = |deprecated: &str| {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"update","user":{{"username":"system:serviceaccount:a:b"}},"userAgent":"old/1.2","objectRef":{{"resource":"cronjobs","namespace":"shop","name":"load","apiGroup":"batch","apiVersion":"v1beta1"}},"requestReceivedTimestamp":"2026-01-02T03:04:05Z","annotations":{{"k8s.io/deprecated":"{deprecated}","k8s.io/removed-release":"1.25"}}}}"#
        )
    };
    let finding = only("1.36", &format!("{}\n{}\n", event("true"), event("true")));
    assert_eq!(
        (finding.code, finding.severity),
        (codes::STILL_CALLED, Severity::Breaks)
    );
    assert_eq!(finding.owner, "client system:serviceaccount:a:b (old/1.2)");
    assert_eq!(finding.evidence.len(), 2);
    assert_eq!(findings("1.36", &event("false")), []);
}

#[test]
fn the_refusal_of_aks_is_read() {
    let text = r#"{"error": {"code": "ValidationError", "subcode": "UpgradeBlockedOnDeprecatedAPIUsage", "message": "Control Plane upgrade is blocked due to recent usage of a Kubernetes API deprecated in the specified version. Usage details: 1 error occurred: * usage has been detected on API flowcontrol.apiserver.k8s.io.prioritylevelconfigurations.v1beta1, and was recently seen at: 2026-03-23 20:57:18 +0000 UTC, which will be removed in 1.26"}}"#;
    let finding = only("1.36", text);
    assert_eq!(
        (finding.code, finding.severity),
        (codes::REFUSED_BY_AKS, Severity::Blocks)
    );
    assert_eq!(finding.object.kind, "PriorityLevelConfiguration");
    assert_eq!(finding.removed_in.as_deref(), Some("1.26"));
    assert!(
        finding.evidence[0].detail.contains("2026-03-23 20:57:18"),
        "{:?}",
        finding.evidence
    );
    assert!(finding.fix.contains("12 hours"), "{}", finding.fix);
    // The verb of a watcher is not the version.
    let watched = only("1.36", &text.replace("v1beta1, and", "v1beta1.watch, and"));
    assert_eq!(
        watched.object.api_version,
        "flowcontrol.apiserver.k8s.io/v1beta1"
    );
}

#[test]
fn every_code_is_tested_here() {
    let text = include_str!("checks.rs");
    for name in [
        "NOT_SERVED",
        "STALE_APPLY",
        "STALE_RELEASE",
        "STALE_WRITER",
        "GOES_LATER",
        "DEPRECATED",
        "NOT_YET",
        "STORED_VERSION",
        "CUSTOM_NOT_SERVED",
        "CUSTOM_DEPRECATED",
        "STILL_CALLED",
        "REFUSED_BY_AKS",
    ] {
        assert!(text.contains(&format!("codes::{name}")), "{name}");
    }
    let deprecations = codes::ALL.iter().filter(|code| code.starts_with("FWD0"));
    // Those of behaviour have fixtures: tests/resilience.rs.
    assert_eq!(deprecations.filter(|code| **code < "FWD020").count(), 12);
}

#[path = "support/helm.rs"]
mod helm;
