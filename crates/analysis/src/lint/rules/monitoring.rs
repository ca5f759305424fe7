//! Alerts and dashboards that stand beside the commands.

use serde_json::Value;

use crate::lint::text::Place;
use crate::lint::{Findings, Runbook, codes};
use crate::manifest::pieces;

/// Panels and targets that are looked at.
const MAX_PANELS: usize = 1_000;

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for (text, place) in &book.yaml {
        alerts(book, text, *place, found);
    }
    for (text, place) in &book.json {
        dashboard(text, *place, found);
    }
}

/// The place of the first line from a line on that has a text.
fn line_of(text: &str, from: usize, part: &str, first: Place) -> Place {
    let found = text
        .lines()
        .enumerate()
        .skip(from)
        .find_map(|(index, line)| Some((index, line.find(part)?)));
    let (index, column) = found.unwrap_or((from, 0));
    Place {
        line: first.line + crate::lint::text::line(index) - 1,
        column: first.column + crate::lint::text::column(column) - 1,
    }
}

/// Is the runbook about AKS, and does it not bring its own operator?
fn is_managed(book: &Runbook<'_>) -> bool {
    let of_aks = book.text.contains("az aks ") || book.text.contains("azure-kubernetes-service");
    let small = book.text.to_ascii_lowercase();
    let own = [
        "prometheus-operator",
        "prometheus operator",
        "kube-prometheus",
    ];
    of_aks && !own.iter().any(|name| small.contains(name))
}

fn alerts(book: &Runbook<'_>, text: &str, first: Place, found: &mut Findings) {
    if !text.contains("monitoring.coreos.com/") && !text.contains("alert:") {
        return;
    }
    for piece in pieces(text) {
        let before = text.get(..piece.at).unwrap_or_default();
        let from = before.matches('\n').count();
        let Some(document) = piece.parse() else {
            continue;
        };
        let version = document.pointer("/apiVersion").and_then(Value::as_str);
        let kind = document.pointer("/kind").and_then(Value::as_str);
        let of_operator = version.is_some_and(|v| v.starts_with("monitoring.coreos.com/"));
        if of_operator && is_managed(book) {
            found.push(
                codes::NOT_READ,
                line_of(text, from, "monitoring.coreos.com/", first),
                format!("Azure managed Prometheus does not read {} of monitoring.coreos.com: it is applied and nothing happens", kind.unwrap_or("objects")),
                "rules are Microsoft.AlertsManagement/prometheusRuleGroups, monitors are of azmonitoring.coreos.com/v1; or say that a Prometheus operator is installed",
            );
        }
        let groups = document
            .pointer("/spec/groups")
            .or_else(|| document.pointer("/groups"))
            .and_then(Value::as_array);
        let rules = groups
            .into_iter()
            .flatten()
            .filter_map(|group| group.pointer("/rules")?.as_array())
            .flatten()
            .take(MAX_PANELS);
        for rule in rules {
            let word = |name: &str| rule.pointer(name).and_then(Value::as_str);
            if let (Some(name), Some(expression)) = (word("/alert"), word("/expr")) {
                let place = line_of(text, from, &format!("alert: {name}"), first);
                alert(name, expression, place, found);
            }
        }
    }
}

fn alert(name: &str, expression: &str, place: Place, found: &mut Findings) {
    let small = name.to_ascii_lowercase();
    if small.contains("evict") && !expression.contains("evict") && expression.contains("restarts") {
        found.push(
            codes::OTHER_ALERT,
            place,
            format!("{name} counts restarts of containers: an eviction that is refused restarts nothing"),
            "alert on what is meant: kube_poddisruptionbudget_status_pod_disruptions_allowed == 0 while nodes are cordoned, or 429 on evictions in apiserver_request_total",
        );
    }
    let is_rate = (small.contains("errorrate")
        || small.contains("error_rate")
        || small.contains("errorratio"))
        && expression.contains("rate(")
        && expression.contains("5..")
        && !outside_of_strings(expression).contains('/');
    let threshold = expression
        .rsplit_once('>')
        .and_then(|(_, value)| value.trim().parse::<f64>().ok());
    if is_rate && threshold.is_some_and(|value| value <= 1.0) {
        found.push(
            codes::NO_RATIO,
            place,
            format!("{name} compares errors a second with a share: one error in two minutes of a busy service fires it, and all of a quiet service's errors do not"),
            "divide by all requests: sum(rate(...{status=~\"5..\"}[5m])) / sum(rate(...[5m])) > 0.01",
        );
    }
}

fn outside_of_strings(text: &str) -> String {
    text.split('"').step_by(2).collect()
}

fn dashboard(text: &str, first: Place, found: &mut Findings) {
    if !text.contains("\"panels\"") {
        return;
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let panels = value
        .pointer("/dashboard/panels")
        .or_else(|| value.pointer("/panels"))
        .and_then(Value::as_array);
    let wrong = panels.into_iter().flatten().take(MAX_PANELS).any(|panel| {
        let targets = panel.pointer("/targets").and_then(Value::as_array);
        targets
            .into_iter()
            .flatten()
            .any(|target| !target.is_object())
    });
    if wrong {
        found.push(
            codes::NO_DASHBOARD,
            line_of(text, 0, "\"targets\"", first),
            "a target is an object with an expression and a data source: Grafana shows nothing of a list of names",
            "write {\"refId\": \"A\", \"expr\": \"...\", \"datasource\": {...}} for each, and a type and a gridPos for each panel",
        );
    }
}
