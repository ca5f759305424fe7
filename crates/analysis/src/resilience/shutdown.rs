//! Shutdown: how long a pod takes to go, and whether it may finish.
//!
//! `terminationGracePeriodSeconds` holds the preStop hook too: the kubelet starts the clock before the
//! hook, and a hook that is still running at the end leaves the process two seconds.

use serde_json::{Value, json};

use super::Settings;
use super::databases;
use super::draft::{Draft, Edit};
use super::scene::{Makes, Scene, Workload, namespace};
use super::select::Selector;
use super::values::{at, has, int, list, text, texts};
use crate::codes;
use crate::findings::{Finding, Severity};

/// What a pod gets when it says nothing.
const DEFAULT_GRACE: i64 = 30;
/// First minor in which `preStop.sleep` is on by default.
const SLEEP_SINCE: u32 = 30;
/// kube-proxy and load balancers have heard of an endpoint's end by then.
const ENDPOINTS: i64 = 5;

pub(crate) fn check(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        // A drain leaves the pods of a DaemonSet where they are.
        if workload.makes == Makes::DaemonSet {
            continue;
        }
        findings.extend(grace(workload, settings));
        findings.extend(hook(workload));
    }
    unannounced(scene, settings, findings);
}

fn grace(workload: &Workload<'_>, settings: &Settings) -> Option<Finding> {
    let path = workload.path("/terminationGracePeriodSeconds");
    let grace = int(workload.body, &path)?;
    if grace == 0 {
        return Some(
            Draft::new(
                codes::NO_GRACE,
                Severity::Warning,
                workload.object,
                "terminationGracePeriodSeconds is 0: the process is killed without a word, and its endpoint lives on for a while",
            )
            .saw("workload", "terminationGracePeriodSeconds 0")
            .fix("leave it time to finish")
            .change(workload.object, Edit::of(workload.body).set(&path, DEFAULT_GRACE))
            .done(),
        );
    }
    if grace < settings.drain_timeout {
        return None;
    }
    let minutes = (grace + 60).div_euclid(60) + i64::from((grace + 60) % 60 != 0);
    let hook = longest_hook(workload).map_or(String::new(), |(_, seconds)| {
        format!(", of which preStop sleeps {seconds} s")
    });
    Some(
        Draft::new(
            codes::LONG_GRACE,
            Severity::Blocks,
            workload.object,
            format!(
                "a pod may take {grace} s to go{hook}, and the drain of a node is given up after {} s",
                settings.drain_timeout
            ),
        )
        .saw("workload", format!("terminationGracePeriodSeconds {grace}"))
        .saw("drain-timeout", format!("{} s", settings.drain_timeout))
        .fix(format!(
            "raise the pool's drain timeout (az aks nodepool update --drain-timeout {minutes}, and check --drain-timeout \
             {minutes}m), or where the software is done sooner shorten the grace"
        ))
        .change(
            workload.object,
            Edit::of(workload.body).set(&path, (settings.drain_timeout - 60).max(1)),
        )
        .done(),
    )
}

/// A hook that leaves the process no time.
fn hook(workload: &Workload<'_>) -> Option<Finding> {
    let path = workload.path("/terminationGracePeriodSeconds");
    let grace = int(workload.body, &path).unwrap_or(DEFAULT_GRACE);
    let (name, seconds) = longest_hook(workload)?;
    if seconds < grace || grace == 0 {
        return None;
    }
    Some(
        Draft::new(
            codes::HOOK_OUTLASTS,
            Severity::Warning,
            workload.object,
            format!(
                "preStop of {name} sleeps {seconds} s and the grace is {grace} s with the hook in it: the process is killed \
                 instead of asked to stop"
            ),
        )
        .saw("workload", format!("preStop {seconds} s, terminationGracePeriodSeconds {grace}"))
        .fix("give the process its own time after the hook")
        .change(workload.object, Edit::of(workload.body).set(&path, seconds + DEFAULT_GRACE))
        .done(),
    )
}

/// The container whose hook sleeps longest, and how long.
fn longest_hook<'a>(workload: &Workload<'a>) -> Option<(&'a str, i64)> {
    list(workload.pod(), "/spec/containers")
        .iter()
        .filter_map(|container| Some((text(container, "/name").unwrap_or("?"), slept(container)?)))
        .max_by_key(|(_, seconds)| *seconds)
}

/// Seconds that a hook sleeps, as far as it says so.
fn slept(container: &Value) -> Option<i64> {
    let hook = at(container, "/lifecycle/preStop")?;
    if let Some(seconds) = int(hook, "/sleep/seconds") {
        return Some(seconds);
    }
    let command = texts(hook, "/exec/command").join(" ");
    let mut words = command.split(|c: char| c.is_whitespace() || ";&|()".contains(c));
    let mut total = None;
    while let Some(word) = words.next() {
        if word.rsplit('/').next() == Some("sleep") {
            let seconds = words
                .find(|word| !word.is_empty())
                .and_then(super::values::seconds)?;
            total = Some(total.unwrap_or(0) + seconds);
        }
    }
    total
}

/// Behind a Service, and gone before the Service knows.
fn unannounced(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    let mut seen = std::collections::BTreeSet::new();
    for (service, body) in scene.kind("Service") {
        let selector = Selector::plain(at(body, "/spec/selector"));
        for workload in scene.picked(namespace(service), &selector) {
            let waits = list(workload.pod(), "/spec/containers")
                .iter()
                .any(|container| has(container, "/lifecycle/preStop"));
            let served = workload.makes.scales() && databases::of(workload).is_none();
            if waits
                || !served
                || !seen.insert((
                    workload.namespace(),
                    &workload.object.kind,
                    &workload.object.name,
                ))
            {
                continue;
            }
            let Some((path, _)) = workload
                .containers()
                .find(|(_, container)| !list(container, "/ports").is_empty())
            else {
                continue;
            };
            let hook = if settings.minor >= SLEEP_SINCE {
                json!({ "sleep": { "seconds": ENDPOINTS } })
            } else {
                json!({ "exec": { "command": ["sleep", ENDPOINTS.to_string()] } })
            };
            findings.push(
                Draft::new(
                    codes::NO_HOOK,
                    Severity::Info,
                    workload.object,
                    format!(
                        "behind Service {} and without a preStop hook: a process that stops at once refuses connections that are \
                         still sent to it",
                        service.name
                    ),
                )
                .saw("service", format!("{} selects {}", service.name, selector.describe()))
                .fix("wait until the endpoint's end is known everywhere, then stop")
                .change(
                    workload.object,
                    Edit::of(workload.body).set(&format!("{path}/lifecycle/preStop"), hook),
                )
                .done(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_in_hooks() {
        let of = |hook: Value| slept(&json!({ "lifecycle": { "preStop": hook } }));
        assert_eq!(of(json!({"sleep": {"seconds": 7}})), Some(7));
        assert_eq!(
            of(json!({"exec": {"command": ["/bin/sleep", "15"]}})),
            Some(15)
        );
        assert_eq!(
            of(json!({"exec": {"command": ["sh", "-c", "sleep 5; nginx -s quit; sleep 10s"]}})),
            Some(15)
        );
        assert_eq!(
            of(json!({"exec": {"command": ["nginx", "-s", "quit"]}})),
            None
        );
    }
}
