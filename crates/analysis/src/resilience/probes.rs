//! Probes: does anybody know when a pod may have traffic again.

use serde_json::{Value, json};

use super::databases;
use super::draft::{Draft, Edit};
use super::scene::{Makes, Scene, Workload};
use super::values::{has, int, list, text};
use crate::codes;
use crate::findings::{Finding, Severity};

const HANDLERS: [&str; 4] = ["httpGet", "tcpSocket", "grpc", "exec"];

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        if !workload.makes.serves() || workload.makes == Makes::Naked {
            continue;
        }
        findings.extend(unready(workload));
        findings.extend(lifeless(workload));
        findings.extend(same(workload));
        findings.extend(lost_ports(workload));
    }
}

/// Names of containers that have a port and not this probe, with their paths.
fn without<'a>(workload: &Workload<'a>, probe: &str) -> Vec<(String, &'a Value, &'a Value)> {
    workload
        .containers()
        .filter_map(|(path, container)| {
            let port = tcp_port(container)?;
            (!has(container, &format!("/{probe}"))).then_some((path, container, port))
        })
        .collect()
}

fn tcp_port(container: &Value) -> Option<&Value> {
    let ports = list(container, "/ports").iter();
    let mut tcp =
        ports.filter(|port| text(port, "/protocol").is_none_or(|protocol| protocol == "TCP"));
    tcp.find_map(|port| port.get("containerPort"))
}

fn names(containers: &[(String, &Value, &Value)]) -> String {
    let names = containers
        .iter()
        .filter_map(|(_, container, _)| text(container, "/name"));
    names.collect::<Vec<_>>().join(", ")
}

fn unready(workload: &Workload<'_>) -> Option<Finding> {
    let found = without(workload, "readinessProbe");
    if found.is_empty() {
        return None;
    }
    let mut edit = Edit::of(workload.body);
    for (path, _, port) in &found {
        let probe = json!({ "tcpSocket": { "port": port }, "periodSeconds": 5 });
        edit = edit.set(&format!("{path}/readinessProbe"), probe);
    }
    Some(
        Draft::new(
            codes::NO_READINESS,
            Severity::Warning,
            workload.object,
            format!(
                "no readiness probe ({}): a pod counts as healthy and gets traffic before it can serve, so a budget lets the \
                 next one go too early",
                names(&found)
            ),
        )
        .saw("workload", format!("{} has a port and no readinessProbe", names(&found)))
        .fix("add a readiness probe that asks the service itself; a connection to its port is the least")
        .change(workload.object, edit)
        .done(),
    )
}

fn lifeless(workload: &Workload<'_>) -> Option<Finding> {
    let found = without(workload, "livenessProbe");
    // A database that is restarted because it was slow is worse off.
    if found.is_empty() || databases::of(workload).is_some() {
        return None;
    }
    let mut edit = Edit::of(workload.body);
    for (path, _, port) in &found {
        let probe =
            json!({ "tcpSocket": { "port": port }, "periodSeconds": 10, "failureThreshold": 6 });
        edit = edit.set(&format!("{path}/livenessProbe"), probe);
    }
    Some(
        Draft::new(
            codes::NO_LIVENESS,
            Severity::Info,
            workload.object,
            format!(
                "no liveness probe ({}): a process that hangs after it lost a connection in the upgrade stays so",
                names(&found)
            ),
        )
        .saw("workload", format!("{} has a port and no livenessProbe", names(&found)))
        .fix("add a liveness probe that fails long after the readiness probe does")
        .change(workload.object, edit)
        .done(),
    )
}

/// A liveness probe that asks what the readiness probe asks, as impatiently.
fn same(workload: &Workload<'_>) -> Option<Finding> {
    let patience = |probe: &Value| {
        int(probe, "/periodSeconds").unwrap_or(10) * int(probe, "/failureThreshold").unwrap_or(3)
    };
    let found: Vec<(String, &Value, i64)> = workload
        .containers()
        .filter_map(|(path, container)| {
            let ready = container.get("readinessProbe")?;
            let alive = container.get("livenessProbe")?;
            let equal = HANDLERS
                .iter()
                .all(|handler| ready.get(handler) == alive.get(handler));
            let period = int(alive, "/periodSeconds").unwrap_or(10).max(1);
            (equal && patience(alive) <= patience(ready)).then(|| {
                (
                    path,
                    container,
                    (patience(ready) * 3).div_euclid(period).max(3) + 1,
                )
            })
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let mut edit = Edit::of(workload.body);
    for (path, _, threshold) in &found {
        edit = edit.set(
            &format!("{path}/livenessProbe/failureThreshold"),
            *threshold,
        );
    }
    let named: Vec<&str> = found
        .iter()
        .filter_map(|(_, container, _)| text(container, "/name"))
        .collect();
    Some(
        Draft::new(
            codes::SAME_PROBES,
            Severity::Warning,
            workload.object,
            format!(
                "liveness and readiness ask the same with the same patience ({}): what is only busy is killed, and all pods at \
                 once when what they depend on fails over",
                named.join(", ")
            ),
        )
        .saw("workload", "the handlers are equal, and liveness gives up no later than readiness")
        .fix("let liveness fail three times as late, or ask it for the process alone")
        .change(workload.object, edit)
        .done(),
    )
}

/// A probe of a port that the container does not name.
fn lost_ports(workload: &Workload<'_>) -> Option<Finding> {
    let mut edit = Edit::of(workload.body);
    let mut lost = Vec::new();
    for (path, container) in workload.containers() {
        let ports = list(container, "/ports");
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            for handler in ["httpGet", "tcpSocket"] {
                let at = format!("/{probe}/{handler}/port");
                let Some(port) = text(container, &at) else {
                    continue;
                };
                let known = ports.iter().any(|known| text(known, "/name") == Some(port));
                if known || port.parse::<u16>().is_ok() {
                    continue;
                }
                lost.push(format!(
                    "{} of {} asks port {port:?}",
                    probe,
                    text(container, "/name").unwrap_or("?")
                ));
                if let Some(first) = tcp_port(container) {
                    edit = edit.set(&format!("{path}{at}"), first.clone());
                }
            }
        }
    }
    if lost.is_empty() {
        return None;
    }
    Some(
        Draft::new(
            codes::PROBE_PORT,
            Severity::Warning,
            workload.object,
            format!(
                "a probe asks a port that the container does not name: it always fails ({})",
                lost.join("; ")
            ),
        )
        .saw("workload", lost.join("; "))
        .fix("name the port in the container, or ask its number")
        .change(workload.object, edit)
        .done(),
    )
}
