//! The rules in the forms that somebody reads.
//!
//! # Source
//! PrometheusRule, ServiceMonitor and PodMonitor: API reference of the Prometheus operator. Azure:
//! `prometheusRuleGroups` of Microsoft.AlertsManagement, API 2023-03-01; its durations are ISO 8601,
//! it takes one workspace, and its monitors differ from the operator's in their group alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::metrics::{METRICS, Source, named};
use super::{Alert, Group, Watched};
use crate::generate::{Content, File, Generated, metadata};

/// Where Azure's rules live.
#[derive(Clone, Debug)]
pub struct Azure {
    /// Region.
    pub location: String,
    /// Resource id of the Azure Monitor workspace.
    pub workspace: String,
    /// Name of the cluster, whose data alone the rules judge.
    pub cluster: String,
    /// Resource id of an action group; nothing is notified without one.
    pub action_group: Option<String>,
}

/// A rule file of Prometheus.
pub fn rule_file(groups: &[Group]) -> Generated {
    Generated::of(File {
        name: "rules.yaml".to_owned(),
        about: vec!["For rule_files of prometheus.yml; promtool check rules rules.yaml".to_owned()],
        content: Content::Rules(json!({ "groups": community(groups) })),
    })
}

/// The operator's object.
pub fn prometheus_rule(groups: &[Group], namespace: &str) -> Generated {
    let mut made = Generated::of(File {
        name: "prometheus-rule.yaml".to_owned(),
        about: vec!["For the Prometheus operator; kubectl apply -f FILE".to_owned()],
        content: Content::Kubernetes(vec![json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata("ferriswheel", Some(namespace)),
            "spec": { "groups": community(groups) },
        })]),
    });
    made.notes.push(
        "a Prometheus reads the objects that its ruleSelector picks; Azure's managed Prometheus reads none: --form azure".to_owned(),
    );
    made
}

fn community(groups: &[Group]) -> Vec<Value> {
    let rule = |alert: &Alert| {
        json!({
            "alert": alert.name,
            "expr": alert.expression,
            "for": format!("{}m", alert.minutes),
            "labels": { "severity": alert.severity.name() },
            "annotations": { "summary": alert.summary, "description": alert.action },
        })
    };
    groups
        .iter()
        .map(|group| {
            let rules: Vec<Value> = group.alerts.iter().map(rule).collect();
            json!({ "name": group.name, "rules": rules })
        })
        .collect()
}

/// Rule groups of Azure's managed Prometheus.
pub fn azure_rules(groups: &[Group], azure: &Azure) -> Generated {
    let rule = |alert: &Alert| {
        let mut rule = json!({
            "alert": alert.name,
            "enabled": true,
            "expression": alert.expression,
            "for": format!("PT{}M", alert.minutes),
            "severity": alert.severity.azure(),
            "labels": { "severity": alert.severity.name() },
            "annotations": { "summary": alert.summary, "description": alert.action },
            // Gone for ten minutes is over; shorter, and a flapping one is told of twice.
            "resolveConfiguration": { "autoResolved": true, "timeToResolve": "PT10M" },
        });
        if let (Some(group), Some(fields)) = (&azure.action_group, rule.as_object_mut()) {
            fields.insert("actions".to_owned(), json!([{ "actionGroupId": group }]));
        }
        rule
    };
    let resources: Vec<Value> = groups
        .iter()
        .map(|group| {
            let rules: Vec<Value> = group.alerts.iter().map(rule).collect();
            json!({
                "type": "Microsoft.AlertsManagement/prometheusRuleGroups",
                "apiVersion": "2023-03-01",
                "name": format!("{}-{}", group.name, azure.cluster),
                "location": azure.location,
                "properties": {
                    "description": "Upgrades under databases",
                    "enabled": true,
                    "clusterName": azure.cluster,
                    "scopes": [azure.workspace],
                    "interval": "PT1M",
                    "rules": rules,
                },
            })
        })
        .collect();
    let mut made = Generated::of(File {
        name: "azure-rules.json".to_owned(),
        about: vec![
            "az deployment group create --resource-group RG --template-file azure-rules.json"
                .to_owned(),
        ],
        content: Content::Arm(json!({
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "resources": resources,
        })),
    });
    made.notes = keep(groups);
    if azure.action_group.is_none() {
        made.notes.push(
            "no action group is named: alerts fire and nobody is told (--action-group)".to_owned(),
        );
    }
    made
}

/// What the add-on of Azure leaves out unless it is told to keep it.
fn keep(groups: &[Group]) -> Vec<String> {
    let known: BTreeMap<&str, Source> = METRICS.iter().copied().collect();
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for name in groups
        .iter()
        .flat_map(|group| &group.alerts)
        .flat_map(|alert| named(&alert.expression))
    {
        let target = match known.get(name.as_str()) {
            Some(Source::KubeStateMetrics) => "kubestate",
            Some(Source::Kubelet) => "kubelet",
            Some(Source::NodeExporter) => "nodeexporter",
            // Scraped by a monitor, which keeps everything.
            _ => continue,
        };
        wanted.entry(target).or_default().insert(name);
    }
    let mut notes = vec![
        "Azure's add-on keeps a minimal set of metrics. Add these to default-targets-metrics-keep-list of the ConfigMap \
         kube-system/ama-metrics-settings-configmap, beside what is there:"
            .to_owned(),
    ];
    for (target, names) in wanted {
        let names: Vec<String> = names.into_iter().collect();
        notes.push(format!("{target} = \"{}\"", names.join("|")));
    }
    notes
}

/// Monitors of the exporters beside the databases, in the groups of the operator and of Azure.
///
/// `places` says in which namespaces a system runs. The exporter is a container of the database's pods
/// with a port named `metrics`, and their labels have the system's name under `app.kubernetes.io/name`,
/// unless `labels` says otherwise.
pub fn monitors(
    places: &BTreeMap<Watched, BTreeSet<String>>,
    labels: &BTreeMap<String, String>,
    port: &str,
    services: bool,
) -> Generated {
    let mut objects = Vec::new();
    for (watched, namespaces) in places {
        for namespace in namespaces {
            for group in ["monitoring.coreos.com/v1", "azmonitoring.coreos.com/v1"] {
                objects.push(monitor(*watched, namespace, labels, port, services, group));
            }
        }
    }
    let mut made = Generated::default();
    if objects.is_empty() {
        return made;
    }
    made.files.push(File {
        name: "monitors.yaml".to_owned(),
        about: vec![
            "Apply those of the group that is there: monitoring.coreos.com (the operator) or azmonitoring.coreos.com".to_owned(),
            "(Azure's managed Prometheus); kubectl api-resources tells".to_owned(),
        ],
        content: Content::Kubernetes(objects),
    });
    made.notes.push(format!(
        "see that the pods have these labels and a port named {port}, where their exporter listens: --selector, --port"
    ));
    made
}

fn monitor(
    watched: Watched,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    port: &str,
    services: bool,
    group: &str,
) -> Value {
    let mut wanted = Map::new();
    if labels.is_empty() {
        wanted.insert("app.kubernetes.io/name".to_owned(), json!(watched.name()));
    }
    for (key, value) in labels {
        wanted.insert(key.clone(), json!(value));
    }
    let (kind, endpoints) = if services {
        ("ServiceMonitor", "endpoints")
    } else {
        ("PodMonitor", "podMetricsEndpoints")
    };
    let mut spec = json!({
        "selector": { "matchLabels": wanted },
        "namespaceSelector": { "matchNames": [namespace] },
        endpoints: [{ "port": port, "path": "/metrics", "interval": "30s" }],
    });
    // Limits that Azure's add-on asks for: without them it takes no labels of its own length.
    if let (true, Some(fields)) = (group.starts_with("azmonitoring"), spec.as_object_mut()) {
        fields.insert("labelLimit".to_owned(), json!(63));
        fields.insert("labelNameLengthLimit".to_owned(), json!(511));
        fields.insert("labelValueLengthLimit".to_owned(), json!(1023));
    }
    json!({
        "apiVersion": group,
        "kind": kind,
        "metadata": metadata(&format!("ferriswheel-{}", watched.name()), Some(namespace)),
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::monitoring::groups;

    fn azure() -> Azure {
        Azure {
            location: "eastus".to_owned(),
            workspace: "/subscriptions/s/resourceGroups/r/providers/microsoft.monitor/accounts/w"
                .to_owned(),
            cluster: "aks-prod".to_owned(),
            action_group: Some(
                "/subscriptions/s/resourceGroups/r/providers/microsoft.insights/actionGroups/a"
                    .to_owned(),
            ),
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let groups = groups(&Watched::ALL, None);
        let community = prometheus_rule(&groups, "monitoring");
        let Content::Kubernetes(objects) = &community.files[0].content else {
            panic!("objects");
        };
        let arm = azure_rules(&groups, &azure());
        let Content::Arm(template) = &arm.files[0].content else {
            panic!("a template");
        };
        let of = |list: &Value, expression: &str| -> Vec<(String, String)> {
            let rules = list.as_array().unwrap().iter();
            rules
                .map(|rule| {
                    (
                        rule["alert"].as_str().unwrap().to_owned(),
                        rule[expression].as_str().unwrap().to_owned(),
                    )
                })
                .collect()
        };
        let ours = objects[0]["spec"]["groups"].as_array().unwrap();
        let theirs = template["resources"].as_array().unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(
                of(&ours["rules"], "expr"),
                of(&theirs["properties"]["rules"], "expression")
            );
            // Azure takes at most 20 rules a group.
            assert!(theirs["properties"]["rules"].as_array().unwrap().len() <= 20);
            for rule in theirs["properties"]["rules"].as_array().unwrap() {
                let length = rule["for"].as_str().unwrap();
                assert!(
                    length.starts_with("PT") && length.ends_with('M'),
                    "{length}"
                );
                assert!(rule["actions"][0]["actionGroupId"].is_string());
            }
        }
        assert!(
            arm.notes
                .iter()
                .any(|note| note.starts_with("kubestate = \"")),
            "{:?}",
            arm.notes
        );
    }

    #[test]
    fn names_are_used_once() {
        let groups = groups(&Watched::ALL, None);
        let mut names: Vec<&str> = groups
            .iter()
            .flat_map(|g| &g.alerts)
            .map(|a| a.name)
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn monitors_come_in_both_groups() {
        let places = BTreeMap::from([(Watched::Postgres, BTreeSet::from(["db".to_owned()]))]);
        for (services, kind) in [(true, "ServiceMonitor"), (false, "PodMonitor")] {
            let made = monitors(&places, &BTreeMap::new(), "metrics", services);
            let Content::Kubernetes(objects) = &made.files[0].content else {
                panic!("objects");
            };
            let apis: Vec<&str> = objects
                .iter()
                .map(|o| o["apiVersion"].as_str().unwrap())
                .collect();
            assert_eq!(
                apis,
                ["monitoring.coreos.com/v1", "azmonitoring.coreos.com/v1"]
            );
            assert!(objects.iter().all(|o| o["kind"] == kind));
        }
    }
}
