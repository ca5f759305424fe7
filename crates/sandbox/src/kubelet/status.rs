//! The status of a pod, computed from what is known of its containers.
//!
//! # Source
//! `pkg/kubelet/kubelet_pods.go` (`getPhase`, `generateAPIPodStatus`) and `pkg/kubelet/status/generate.go`.

use super::node::seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodCondition};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// What kind of container it is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Sidecar,
    Main,
}

/// The state of a container, as the agent has last seen it.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen {
    #[default]
    Nothing,
    Running {
        id: String,
        since: Timestamp,
    },
    Ended(Box<ContainerStateTerminated>),
}

/// One container, for the status.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub name: String,
    pub image: String,
    pub image_id: String,
    pub role: Role,
    pub seen: Seen,
    pub last: Option<Box<ContainerStateTerminated>>,
    pub waiting: Option<(String, String)>,
    /// What it waits for before its first run: other containers, or its own making.
    pub initial: &'static str,
    pub restarts: i32,
    pub started: bool,
    pub ready: bool,
}

/// Everything that the status is made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub pod: &'a Pod,
    pub node_ip: Ipv4Addr,
    pub pod_ip: Option<Ipv4Addr>,
    pub lines: &'a [Line],
    /// Nothing of the pod runs or will run any more.
    pub over: bool,
    /// The pod was ended for a reason of its own, with a message.
    pub ended: Option<(&'a str, &'a str)>,
    pub before: &'a [PodCondition],
    pub start_time: Timestamp,
}

impl Line {
    fn running(&self) -> bool {
        matches!(self.seen, Seen::Running { .. })
    }

    fn succeeded(&self) -> bool {
        matches!(&self.seen, Seen::Ended(end) if end.exit_code == 0)
    }

    fn initialized(&self) -> bool {
        match self.role {
            Role::Init => self.succeeded(),
            Role::Sidecar => self.started,
            Role::Main => true,
        }
    }

    fn is_ready(&self) -> bool {
        match self.role {
            Role::Init => self.succeeded(),
            Role::Sidecar | Role::Main => self.running() && self.started && self.ready,
        }
    }

    fn status(&self) -> Value {
        let mut last = self.last.clone();
        let (state, id) = match (&self.seen, &self.waiting) {
            (Seen::Running { id, since }, _) => (
                json!({"running": {"startedAt": seconds(*since)}}),
                container_id(id),
            ),
            (Seen::Ended(end), Some((reason, message))) => {
                last = Some(end.clone());
                (
                    waiting(reason, message),
                    end.container_id.clone().unwrap_or_default(),
                )
            }
            (Seen::Ended(end), None) => (
                json!({"terminated": end}),
                end.container_id.clone().unwrap_or_default(),
            ),
            (Seen::Nothing, Some((reason, message))) => (waiting(reason, message), String::new()),
            (Seen::Nothing, None) => (waiting(self.initial, ""), String::new()),
        };
        let mut status = json!({
            "name": self.name, "image": self.image, "imageID": self.image_id,
            "state": state, "ready": self.is_ready(), "restartCount": self.restarts,
            "started": self.running() && self.started,
        });
        if !id.is_empty() {
            status["containerID"] = Value::String(id);
        }
        status["lastState"] = last.map_or_else(|| json!({}), |end| json!({"terminated": end}));
        status
    }
}

/// A container's id as it stands in a status.
pub(super) fn container_id(id: &str) -> String {
    format!("ferriswheel://{id}")
}

fn waiting(reason: &str, message: &str) -> Value {
    if message.is_empty() {
        json!({"waiting": {"reason": reason}})
    } else {
        json!({"waiting": {"reason": reason, "message": message}})
    }
}

/// The phase. It turns to `Succeeded` or `Failed` only when nothing of the pod runs any more.
pub(super) fn phase(facts: &Facts<'_>) -> &'static str {
    let phase = outlook(facts);
    if facts.over || !matches!(phase, "Succeeded" | "Failed") {
        return phase;
    }
    let ran = |l: &Line| l.role == Role::Main && !matches!(l.seen, Seen::Nothing);
    if facts.lines.iter().any(ran) {
        "Running"
    } else {
        "Pending"
    }
}

/// The phase that the containers' states lead to.
fn outlook(facts: &Facts<'_>) -> &'static str {
    let policy = facts
        .pod
        .spec
        .as_ref()
        .and_then(|s| s.restart_policy.as_deref())
        .unwrap_or("Always");
    if facts.ended.is_some() {
        return "Failed";
    }
    let mains: Vec<&Line> = facts
        .lines
        .iter()
        .filter(|l| l.role == Role::Main)
        .collect();
    let pending_init = facts.lines.iter().any(|l| {
        let restarting = l.role == Role::Sidecar && matches!(l.seen, Seen::Ended(_));
        !(l.initialized() || restarting)
    });
    let failed_init = facts
        .lines
        .iter()
        .any(|l| l.role == Role::Init && matches!(&l.seen, Seen::Ended(end) if end.exit_code != 0));
    if failed_init && policy == "Never" {
        return "Failed";
    }
    let ran = |l: &&&Line| matches!(l.seen, Seen::Ended(_)) || l.last.is_some();
    let running = mains.iter().filter(|l| l.running()).count();
    let stopped = mains.iter().filter(|l| !l.running()).filter(ran).count();
    let waiting = mains.len() - running - stopped;
    if facts.over {
        let all_good = mains.iter().all(|l| l.succeeded());
        return if all_good && !mains.is_empty() {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if pending_init && running + stopped == 0 {
        return "Pending";
    }
    if waiting > 0 {
        return "Pending";
    }
    if running > 0 {
        return "Running";
    }
    match policy {
        "Always" => "Running",
        _ if mains.iter().all(|l| l.succeeded()) => "Succeeded",
        "Never" => "Failed",
        _ => "Running",
    }
}

/// The status as a strategic merge patch, without conditions that belong to others.
pub(super) fn patch(facts: &Facts<'_>) -> Value {
    let phase = phase(facts);
    let of = |init: bool| -> Vec<Value> {
        facts
            .lines
            .iter()
            .filter(|l| (l.role != Role::Main) == init)
            .map(Line::status)
            .collect()
    };
    let generation = facts.pod.metadata.generation;
    let mut status = json!({
        "phase": phase,
        "conditions": conditions(facts, phase),
        "hostIP": facts.node_ip.to_string(),
        "hostIPs": [{"$patch": "replace"}, {"ip": facts.node_ip.to_string()}],
        "startTime": seconds(facts.start_time),
        "containerStatuses": of(false),
        "observedGeneration": generation,
    });
    let init = of(true);
    if !init.is_empty() {
        status["initContainerStatuses"] = Value::Array(init);
    }
    if let Some(ip) = facts.pod_ip {
        status["podIP"] = Value::String(ip.to_string());
        status["podIPs"] = json!([{"$patch": "replace"}, {"ip": ip.to_string()}]);
    }
    if let Some((reason, message)) = facts.ended {
        status["reason"] = reason.into();
        status["message"] = message.into();
    }
    json!({"metadata": {"uid": facts.pod.metadata.uid}, "status": status})
}

fn conditions(facts: &Facts<'_>, phase: &str) -> Vec<Value> {
    let terminal = matches!(phase, "Succeeded" | "Failed");
    let unready: Vec<&str> = facts
        .lines
        .iter()
        .filter(|l| l.role != Role::Init && !l.is_ready())
        .map(|l| l.name.as_str())
        .collect();
    let uninitialized: Vec<&str> = facts
        .lines
        .iter()
        .filter(|l| !l.initialized() && l.role != Role::Main)
        .map(|l| l.name.as_str())
        .collect();
    let started = facts.lines.iter().any(|l| {
        l.role == Role::Main
            && (l.running() || l.last.is_some() || matches!(l.seen, Seen::Ended(_)))
    });

    let bad = |reason: &str, message: String| (false, Some(reason.to_owned()), Some(message));
    let good = || (true, None, None);
    let containers = if terminal {
        (
            false,
            Some(
                if phase == "Succeeded" {
                    "PodCompleted"
                } else {
                    "PodFailed"
                }
                .to_owned(),
            ),
            None,
        )
    } else if unready.is_empty() {
        good()
    } else {
        bad(
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        )
    };
    let gates = facts
        .pod
        .spec
        .iter()
        .flat_map(|s| s.readiness_gates.iter().flatten());
    let open = |kind: &str| {
        facts
            .pod
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten())
            .any(|c| c.type_ == kind && c.status == "True")
    };
    let closed: Vec<&str> = gates
        .map(|g| g.condition_type.as_str())
        .filter(|g| !open(g))
        .collect();
    let ready = if containers.0 && !closed.is_empty() {
        let list: Vec<String> = closed
            .iter()
            .map(|g| format!("corresponding condition of pod readiness gate {g:?} does not exist."))
            .collect();
        bad("ReadinessGatesNotReady", list.join(", "))
    } else {
        containers.clone()
    };
    let initialized = if uninitialized.is_empty() || started || (terminal && phase == "Succeeded") {
        let reason = (phase == "Succeeded").then(|| "PodCompleted".to_owned());
        (true, reason, None)
    } else {
        bad(
            "ContainersNotInitialized",
            format!(
                "containers with incomplete status: [{}]",
                uninitialized.join(" ")
            ),
        )
    };
    let network = (facts.pod_ip.is_some() && !facts.over, None, None);
    [
        ("PodReadyToStartContainers", network),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
    ]
    .into_iter()
    .map(|(kind, (status, reason, message))| {
        let status = if status { "True" } else { "False" };
        let same = facts.before.iter().find(|c| c.type_ == kind && c.status == status);
        let since = same.and_then(|c| c.last_transition_time.as_ref()).map_or_else(Timestamp::now, |t| t.0);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastProbeTime": null,
            "lastTransitionTime": seconds(since), "observedGeneration": facts.pod.metadata.generation,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(role: Role, seen: Seen) -> Line {
        let started = matches!(seen, Seen::Running { .. });
        Line {
            name: "c".into(),
            image: "i".into(),
            image_id: "i".into(),
            role,
            seen,
            last: None,
            waiting: None,
            initial: "ContainerCreating",
            restarts: 0,
            started,
            ready: started,
        }
    }

    fn ended(code: i32) -> Seen {
        Seen::Ended(Box::new(ContainerStateTerminated {
            exit_code: code,
            ..ContainerStateTerminated::default()
        }))
    }

    fn running() -> Seen {
        Seen::Running {
            id: "x".into(),
            since: Timestamp::now(),
        }
    }

    fn of(policy: &str, over: bool, lines: &[Line]) -> &'static str {
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"restartPolicy": policy, "containers": []}}))
                .unwrap();
        phase(&Facts {
            pod: &pod,
            node_ip: Ipv4Addr::LOCALHOST,
            pod_ip: None,
            lines,
            over,
            ended: None,
            before: &[],
            start_time: Timestamp::now(),
        })
    }

    #[test]
    fn phases_follow_policy_and_states() {
        use Role::{Init, Main, Sidecar};
        assert_eq!(of("Always", false, &[line(Main, Seen::Nothing)]), "Pending");
        assert_eq!(
            of(
                "Always",
                false,
                &[line(Init, running()), line(Main, Seen::Nothing)]
            ),
            "Pending"
        );
        assert_eq!(of("Always", false, &[line(Main, running())]), "Running");
        assert_eq!(of("Always", false, &[line(Main, ended(0))]), "Running");
        assert_eq!(of("Never", true, &[line(Main, ended(0))]), "Succeeded");
        assert_eq!(of("Never", true, &[line(Main, ended(1))]), "Failed");
        assert_eq!(
            of(
                "Never",
                false,
                &[line(Sidecar, running()), line(Main, ended(0))]
            ),
            "Running"
        );
        assert_eq!(of("OnFailure", false, &[line(Main, ended(1))]), "Running");
        assert_eq!(
            of(
                "Never",
                true,
                &[line(Init, ended(1)), line(Main, Seen::Nothing)]
            ),
            "Failed"
        );
        assert_eq!(
            of(
                "Always",
                false,
                &[line(Sidecar, running()), line(Main, running())]
            ),
            "Running"
        );
        assert_eq!(of("Always", true, &[line(Main, ended(0))]), "Succeeded");
        assert_eq!(of("Always", true, &[line(Main, ended(137))]), "Failed");
    }
}
