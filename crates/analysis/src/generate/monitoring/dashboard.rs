//! A Grafana dashboard that imports: its data source is asked for, ids are unique, panels do not lie
//! over one another.
//!
//! # Source
//! Grafana's dashboard JSON model, schema version 39; older ones are migrated on import.

use serde_json::{Value, json};

use super::Watched;

/// Width of Grafana's grid.
const WIDTH: u32 = 24;
/// Panels of a row.
const COLUMNS: u32 = 2;
/// Height of a panel.
const HEIGHT: u32 = 8;

struct Panel {
    title: &'static str,
    unit: &'static str,
    lines: Vec<(&'static str, &'static str)>,
}

fn panel(title: &'static str, unit: &'static str, lines: &[(&'static str, &'static str)]) -> Panel {
    Panel {
        title,
        unit,
        lines: lines.to_vec(),
    }
}

/// The dashboard.
pub fn dashboard(watched: &[Watched]) -> Value {
    let mut panels = Vec::new();
    let mut top = 0;
    let mut id = 0;
    let mut rows = vec![("Upgrade", upgrade())];
    rows.extend(watched.iter().map(|one| (one.name(), database(*one))));
    for (title, row) in rows {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "h": 1, "w": WIDTH, "x": 0, "y": top },
        }));
        top += 1;
        for (i, panel) in (0..).zip(&row) {
            id += 1;
            let x = (i % COLUMNS) * (WIDTH / COLUMNS);
            let y = top + (i / COLUMNS) * HEIGHT;
            panels.push(one(id, panel, x, y));
        }
        let count = u32::try_from(row.len()).unwrap_or_default();
        top += count.div_ceil(COLUMNS) * HEIGHT;
    }
    json!({
        "__inputs": [{
            "name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource",
            "pluginId": "prometheus", "pluginName": "Prometheus",
        }],
        "__requires": [
            { "type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0" },
            { "type": "panel", "id": "timeseries", "name": "Time series", "version": "" },
        ],
        "title": "Upgrades under databases",
        "uid": "ferriswheel-upgrades",
        "tags": ["ferriswheel", "upgrade"],
        "schemaVersion": 39,
        "version": 1,
        "id": null,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "timezone": "",
        "annotations": { "list": [] },
        "links": [],
        "templating": { "list": [{
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "current": { "text": "${DS_PROMETHEUS}", "value": "${DS_PROMETHEUS}" },
            "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "",
        }] },
        "panels": panels,
    })
}

fn one(id: u32, panel: &Panel, x: u32, y: u32) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let targets: Vec<Value> = ('A'..='Z')
        .zip(&panel.lines)
        .map(|(letter, (expression, legend))| {
            json!({ "refId": letter.to_string(), "datasource": source, "expr": expression, "legendFormat": legend, "range": true })
        })
        .collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": { "h": HEIGHT, "w": WIDTH / COLUMNS, "x": x, "y": y },
        "fieldConfig": {
            "defaults": { "unit": panel.unit, "min": 0, "custom": { "drawStyle": "line", "fillOpacity": 10 } },
            "overrides": [],
        },
        "options": {
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        },
        "targets": targets,
    })
}

fn upgrade() -> Vec<Panel> {
    vec![
        panel(
            "Nodes by version",
            "short",
            &[(
                "count by (kubelet_version) (kube_node_info)",
                "{{kubelet_version}}",
            )],
        ),
        panel(
            "Nodes that take no new pods, and nodes that are not Ready",
            "short",
            &[
                ("sum(kube_node_spec_unschedulable)", "cordoned"),
                (
                    "sum(kube_node_status_condition{condition=\"Ready\", status=\"true\"} == bool 0)",
                    "not Ready",
                ),
            ],
        ),
        panel(
            "Evictions that each budget allows",
            "short",
            &[(
                "kube_poddisruptionbudget_status_pod_disruptions_allowed",
                "{{namespace}}/{{poddisruptionbudget}}",
            )],
        ),
        panel(
            "Members missing from sets",
            "short",
            &[(
                "kube_statefulset_replicas - kube_statefulset_status_replicas_ready",
                "{{namespace}}/{{statefulset}}",
            )],
        ),
        panel(
            "Pods that wait for a place",
            "short",
            &[(
                "sum by (namespace) (kube_pod_status_phase{phase=\"Pending\"})",
                "{{namespace}}",
            )],
        ),
        panel(
            "Restarts of containers",
            "short",
            &[(
                "sum by (namespace) (increase(kube_pod_container_status_restarts_total[10m]))",
                "{{namespace}}",
            )],
        ),
    ]
}

fn database(watched: Watched) -> Vec<Panel> {
    match watched {
        Watched::Postgres => vec![
            panel(
                "Members that accept writes (1 is right)",
                "short",
                &[(
                    "sum by (namespace, job) (1 - pg_replication_is_replica)",
                    "{{namespace}}/{{job}}",
                )],
            ),
            panel(
                "Bytes that replicas are behind",
                "bytes",
                &[(
                    "pg_stat_replication_pg_wal_lsn_diff",
                    "{{application_name}}",
                )],
            ),
        ],
        Watched::Redis => vec![
            panel(
                "Slots that nobody serves",
                "short",
                &[(
                    "max by (namespace, job) (redis_cluster_slots_fail)",
                    "{{namespace}}/{{job}}",
                )],
            ),
            panel(
                "Link to the primary",
                "short",
                &[("redis_master_link_up", "{{instance}}")],
            ),
        ],
        Watched::Mongodb => vec![panel(
            "Members by state (1 primary, 2 secondary)",
            "short",
            &[(
                "max by (namespace, job, member_idx) (mongodb_rs_members_state)",
                "{{member_idx}}",
            )],
        )],
        Watched::Kafka => vec![panel(
            "Partitions that lack a replica",
            "short",
            &[(
                "sum by (namespace, job) (kafka_topic_partition_under_replicated_partition)",
                "{{namespace}}/{{job}}",
            )],
        )],
        Watched::Elasticsearch => vec![panel(
            "Shards on their way, and shards that are nowhere",
            "short",
            &[
                (
                    "max by (namespace, job) (elasticsearch_cluster_health_relocating_shards)",
                    "relocating {{job}}",
                ),
                (
                    "max by (namespace, job) (elasticsearch_cluster_health_unassigned_shards)",
                    "unassigned {{job}}",
                ),
            ],
        )],
        Watched::Mysql => vec![panel(
            "Seconds that replicas are behind",
            "s",
            &[("mysql_slave_status_seconds_behind_master", "{{instance}}")],
        )],
        Watched::Memcached => vec![panel(
            "Servers that answer",
            "short",
            &[("memcached_up", "{{instance}}")],
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_has_what_an_import_needs() {
        let board = dashboard(&Watched::ALL);
        // At the top, not inside `dashboard`: that is the form of the API, not of an import.
        assert!(board.get("dashboard").is_none());
        assert_eq!(board["id"], Value::Null);
        assert!(board["schemaVersion"].as_u64() >= Some(30));
        assert_eq!(board["__inputs"][0]["pluginId"], "prometheus");
        assert_eq!(board["templating"]["list"][0]["type"], "datasource");
        let panels = board["panels"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().unwrap()));
            let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(of("x") + of("w") <= u64::from(WIDTH));
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    assert!(cells.insert((x, y)), "{} lies over another", panel["title"]);
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty());
            let refs: BTreeSet<&str> = targets
                .iter()
                .map(|t| t["refId"].as_str().unwrap())
                .collect();
            assert_eq!(refs.len(), targets.len());
            // A target is an object with an expression, never the expression itself.
            assert!(
                targets
                    .iter()
                    .all(|t| t["expr"].as_str().is_some_and(|e| !e.is_empty()))
            );
        }
    }
}
