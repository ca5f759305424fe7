//! Conversions: what comes out is served at the target, means the same, and loses nothing silently.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::convert::{Converted, convert};
use ferriswheel_analysis::deprecations::{Note, ROWS, Target, note};
use ferriswheel_analysis::manifest::{Want, read};
use serde_json::Value;

fn target() -> Target {
    Target::parse(["1.36"]).expect("a target")
}

fn converted(text: &str) -> Converted {
    convert(text, &target())
}

fn findings(text: &str) -> usize {
    let reading = read("a.yaml", text.as_bytes(), Want::Names);
    assert_eq!(reading.skipped, [], "{text}");
    check(reading, &target(), &Scope::API_VERSIONS)
        .findings
        .len()
}

fn first(text: &str) -> Value {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    all.into_iter().next().expect("a document")
}

#[test]
fn a_change_of_version_alone_keeps_every_other_byte() {
    let text = "# head\n---\n# of the shop\nkind: CronJob\napiVersion: batch/v1beta1   # old\nmetadata:\n    name: a\nspec: {schedule: \"* * * * *\"}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n...\n";
    let found = converted(text);
    assert_eq!(
        found.text.as_deref(),
        Some(text.replace("batch/v1beta1", "batch/v1").as_str())
    );
    assert_eq!((found.done.len(), found.left.len()), (1, 0));
    assert_eq!(found.done[0].line, 4);
    // And with carriage returns.
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(
        converted(&crlf).text,
        Some(crlf.replace("batch/v1beta1", "batch/v1"))
    );
    assert_eq!(converted("apiVersion: v1\nkind: Service\n").text, None);
}

#[test]
fn an_ingress_gets_its_new_fields() {
    let text = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\nspec:\n  backend: {serviceName: d, servicePort: http}\n  rules:\n  - host: h\n    http:\n      paths:\n      - {path: /, backend: {serviceName: s, servicePort: 80}}\n      - {path: /x, pathType: Exact, backend: {serviceName: s, servicePort: \"8080\"}}\n";
    let found = converted(text);
    let new = found.text.expect("converted");
    assert_eq!(findings(&new), 0);
    let value = first(&new);
    let at = |path: &str| value.pointer(path).cloned().unwrap_or(Value::Null);
    assert_eq!(at("/apiVersion"), "networking.k8s.io/v1");
    assert_eq!(at("/spec/defaultBackend/service/port/name"), "http");
    assert_eq!(at("/spec/rules/0/http/paths/0/backend/service/name"), "s");
    assert_eq!(
        at("/spec/rules/0/http/paths/0/backend/service/port/number"),
        80
    );
    assert_eq!(
        at("/spec/rules/0/http/paths/0/pathType"),
        "ImplementationSpecific"
    );
    assert_eq!(at("/spec/rules/0/http/paths/1/pathType"), "Exact");
    assert_eq!(
        at("/spec/rules/0/http/paths/1/backend/service/port/number"),
        8080
    );
    assert_eq!(at("/spec/backend"), Value::Null);
}

#[test]
fn a_budget_with_an_empty_selector_is_left_and_said() {
    let with = |selector: &str| {
        converted(&format!(
            "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {{name: a}}\nspec:\n  maxUnavailable: 1\n{selector}"
        ))
    };
    for empty in ["  selector: {}\n", "  selector: {matchLabels: {}}\n"] {
        let found = with(empty);
        assert_eq!(found.text, None);
        assert!(
            found.left[0].notes[0].contains("matches every pod"),
            "{:?}",
            found.left
        );
    }
    assert_eq!(with("").done.len(), 1);
    assert_eq!(with("  selector: {matchLabels: {a: b}}\n").done.len(), 1);
}

#[test]
fn metrics_of_an_autoscaler_name_their_targets() {
    let text = "apiVersion: autoscaling/v2beta1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec:\n  maxReplicas: 3\n  scaleTargetRef: {kind: Deployment, name: a}\n  metrics:\n  - {type: Resource, resource: {name: cpu, targetAverageUtilization: 50}}\n  - {type: Pods, pods: {metricName: p, targetAverageValue: 10}}\n  - {type: Object, object: {target: {kind: Ingress, name: i}, metricName: r, targetValue: 2k}}\n  - {type: External, external: {metricName: q, metricSelector: {matchLabels: {a: b}}, targetValue: 30}}\n";
    let new = converted(text).text.expect("converted");
    let value = first(&new);
    let at = |path: &str| {
        value
            .pointer(&format!("/spec/metrics{path}"))
            .cloned()
            .unwrap_or(Value::Null)
    };
    assert_eq!(value["apiVersion"], "autoscaling/v2");
    assert_eq!(at("/0/resource/target/averageUtilization"), 50);
    assert_eq!(at("/1/pods/metric/name"), "p");
    assert_eq!(at("/1/pods/target/type"), "AverageValue");
    assert_eq!(at("/2/object/describedObject/name"), "i");
    assert_eq!(at("/2/object/target/value"), "2k");
    assert_eq!(at("/3/external/metric/selector/matchLabels/a"), "b");
}

#[test]
fn old_defaults_are_written_out() {
    let text = "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  rollbackTo: {revision: 1}\n  template:\n    metadata: {labels: {app: a}}\n    spec: {containers: [{name: a, image: a}]}\n";
    let value = first(&converted(text).text.expect("converted"));
    assert_eq!(
        value.pointer("/spec/selector/matchLabels/app"),
        Some(&Value::from("a"))
    );
    assert_eq!(
        value.pointer("/spec/strategy/rollingUpdate/maxUnavailable"),
        Some(&Value::from(1))
    );
    assert_eq!(value.pointer("/spec/rollbackTo"), None);
    let set = text
        .replace("extensions/v1beta1", "apps/v1beta1")
        .replace("Deployment", "StatefulSet");
    let value = first(&converted(&set).text.expect("converted"));
    assert_eq!(
        value.pointer("/spec/updateStrategy/type"),
        Some(&Value::from("OnDelete"))
    );
}

#[test]
fn a_webhook_is_converted_only_when_its_effects_are_known() {
    let with = |effects: &str| {
        converted(&format!(
            "apiVersion: admissionregistration.k8s.io/v1beta1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: a}}\nwebhooks:\n- name: a.b.c\n  clientConfig: {{url: https://x}}\n{effects}"
        ))
    };
    assert!(with("").left[0].notes[0].contains("sideEffects"));
    let value = first(&with("  sideEffects: None\n").text.expect("converted"));
    assert_eq!(
        value.pointer("/webhooks/0/failurePolicy"),
        Some(&Value::from("Ignore"))
    );
    assert_eq!(
        value.pointer("/webhooks/0/timeoutSeconds"),
        Some(&Value::from(30))
    );
}

#[test]
fn lists_json_and_what_stays() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: batch/v1beta1, kind: CronJob, metadata: {name: a}}\n- {apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: b}}\n";
    let found = converted(list);
    assert_eq!((found.done.len(), found.left.len()), (1, 1));
    assert!(found.text.expect("converted").contains("batch/v1\n"));
    let json = r#"{"apiVersion":"batch/v1beta1","kind":"CronJob","metadata":{"name":"a"}}"#;
    let value: Value =
        serde_json::from_str(&converted(json).text.expect("converted")).expect("JSON");
    assert_eq!(value["apiVersion"], "batch/v1");
    // What a cluster answered has its source elsewhere; what is no YAML is not touched.
    let live = "apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: a, uid: x}\n";
    assert_eq!(converted(live).text, None);
    assert_eq!(
        converted("apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: {{ .x }}\n").text,
        None
    );
}

/// Notes and rules say the same of every row of the table.
#[test]
fn what_a_finding_promises_is_what_the_rules_do() {
    let newest = Target::parse(["1.37"]).expect("a target");
    let mut wrong = Vec::new();
    for row in ROWS
        .iter()
        .filter(|row| row.removed.is_some_and(|minor| minor <= newest.minor))
    {
        let Some((to, kind)) = row.replacement_at(newest.minor) else {
            continue;
        };
        if kind != row.kind {
            continue;
        }
        let promised = !matches!(note(&row.api(), row.kind), Note::ByHand(_));
        let text = format!(
            "apiVersion: {}\nkind: {}\nmetadata: {{name: a}}\nspec:\n  template: {{metadata: {{labels: {{a: b}}}}}}\n",
            row.api(),
            row.kind
        );
        let done = convert(&text, &newest).done.len() == 1;
        if promised != done {
            wrong.push(format!(
                "{} {} to {to}: promised {promised}, done {done}",
                row.api(),
                row.kind
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
