//! What was read, as a diagnosis asks for it: objects in relation, events by their object, the time, and the names that
//! commands need.

use std::collections::BTreeMap;

use serde_json::Value;

use super::LookedAt;
use super::time::instant;
use crate::manifest::Object;
use crate::resilience::scene::{Budget, Pod, Scene, namespace};
use crate::resilience::values::{flag, has, int, list, text};

/// Label of a node's pool; older clusters have the short one alone.
const POOL: [&str; 2] = [
    "/metadata/labels/kubernetes.azure.com~1agentpool",
    "/metadata/labels/agentpool",
];

/// What was read.
pub(crate) struct Ward<'a> {
    pub scene: Scene<'a>,
    pub events: Vec<Event<'a>>,
    by_object: BTreeMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    by_node: BTreeMap<&'a str, Vec<usize>>,
    by_namespace: BTreeMap<&'a str, Vec<usize>>,
    /// When it was, in seconds since 1970-01-01.
    pub now: Option<i64>,
    /// Resource group and name of the cluster, as commands need them.
    pub cluster: String,
}

/// Something that happened.
pub(crate) struct Event<'a> {
    pub object: &'a Object,
    pub reason: &'a str,
    pub message: &'a str,
    pub is_warning: bool,
    /// How often.
    pub count: i64,
    /// Kind, namespace and name of what it happened to.
    pub about: (&'a str, &'a str, &'a str),
    last: Option<i64>,
}

impl<'a> Ward<'a> {
    pub(crate) fn of(objects: &'a [Object], now: Option<i64>) -> Self {
        let scene = Scene::of(objects);
        let taken = scene
            .kind("SnapshotIndex")
            .first()
            .and_then(|(_, index)| instant(text(index, "/takenAt")?));
        let events: Vec<Event<'a>> = scene
            .kind("Event")
            .iter()
            .map(|(object, body)| event(object, body))
            .collect();
        let mut by_object: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (i, event) in events.iter().enumerate() {
            by_object.entry(event.about).or_default().push(i);
        }
        let (mut by_node, mut by_namespace) = (BTreeMap::new(), BTreeMap::new());
        for (i, pod) in scene.pods.iter().enumerate() {
            let within: &'a str = namespace(pod.object);
            let of_namespace: &mut Vec<usize> = by_namespace.entry(within).or_default();
            of_namespace.push(i);
            if let Some(node) = pod.node() {
                let of_node: &mut Vec<usize> = by_node.entry(node).or_default();
                of_node.push(i);
            }
        }
        let cluster = scene
            .kind("ManagedCluster")
            .first()
            .map(|(object, body)| azure_names(object, body));
        Self {
            events,
            by_object,
            by_node,
            by_namespace,
            now: taken.or(now),
            cluster: cluster
                .unwrap_or_else(|| "--resource-group GROUP --cluster-name CLUSTER".to_owned()),
            scene,
        }
    }

    /// What happened to an object, the latest last.
    pub(crate) fn events_of(&self, kind: &str, object: &Object) -> Vec<&Event<'a>> {
        let key = (kind, namespace(object), &*object.name);
        let mut found: Vec<&Event<'a>> = self
            .by_object
            .get(&key)
            .into_iter()
            .flatten()
            .filter_map(|at| self.events.get(*at))
            .collect();
        found.sort_by_key(|event| event.last);
        found
    }

    /// The latest event of an object with one of these reasons.
    pub(crate) fn latest(
        &self,
        kind: &str,
        object: &Object,
        reasons: &[&str],
    ) -> Option<&Event<'a>> {
        self.events_of(kind, object)
            .into_iter()
            .rfind(|event| reasons.contains(&event.reason))
    }

    /// Nodes that take no pods: what a drain has begun with.
    pub(crate) fn cordoned(&self) -> impl Iterator<Item = (&'a Object, &'a Value)> {
        self.scene
            .kind("Node")
            .iter()
            .copied()
            .filter(|(_, body)| flag(body, "/spec/unschedulable") == Some(true))
    }

    /// Pods of a node that a drain evicts.
    pub(crate) fn evictable(&self, node: &str) -> impl Iterator<Item = (usize, &Pod<'a>)> {
        self.numbered(self.by_node.get(node))
            .filter(|(_, pod)| is_evictable(pod))
    }

    /// Pods of a namespace that are not over.
    pub(crate) fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Pod<'a>> {
        self.numbered(self.by_namespace.get(namespace))
            .map(|(_, pod)| pod)
            .filter(|pod| !pod.is_finished())
    }

    fn numbered(&self, which: Option<&Vec<usize>>) -> impl Iterator<Item = (usize, &Pod<'a>)> {
        let which = which.map_or(&[][..], Vec::as_slice);
        which
            .iter()
            .filter_map(|at| Some((*at, self.scene.pods.get(*at)?)))
    }

    /// Budgets that cover a pod.
    pub(crate) fn budgets(&self, pod: usize) -> Vec<&Budget<'a>> {
        self.scene
            .budgets
            .iter()
            .filter(|budget| budget.pods.contains(&pod))
            .collect()
    }

    /// How long ago a time was, in seconds.
    pub(crate) fn since(&self, time: Option<&str>) -> Option<i64> {
        Some(self.now? - instant(time?)?)
    }

    /// How much of each kind there was.
    pub(crate) fn looked_at(&self, texts: usize) -> Vec<LookedAt> {
        let count = |kind: &str| self.scene.kind(kind).len();
        let of = |what, count| LookedAt { what, count };
        vec![
            of("error texts", texts),
            of("Azure operations", count("Operation") + count("Activity")),
            of(
                "clusters and pools in Azure",
                count("ManagedCluster") + count("AgentPool"),
            ),
            of("nodes", count("Node")),
            of("pods", self.scene.pods.len()),
            of("budgets", self.scene.budgets.len()),
            of("events", self.events.len()),
        ]
    }
}

impl Event<'_> {
    /// For people.
    pub(crate) fn words(&self) -> String {
        let (kind, within, name) = self.about;
        let within = if within.is_empty() {
            String::new()
        } else {
            format!("{within}/")
        };
        let count = if self.count > 1 {
            format!(" ({} times)", self.count)
        } else {
            String::new()
        };
        format!(
            "{kind} {within}{name}: {}: {}{count}",
            self.reason,
            self.message.trim()
        )
    }
}

fn event<'a>(object: &'a Object, body: &'a Value) -> Event<'a> {
    // Of the core's form, or of events.k8s.io's.
    let about = |field: &str| {
        text(body, &format!("/involvedObject/{field}"))
            .or_else(|| text(body, &format!("/regarding/{field}")))
            .unwrap_or_default()
    };
    let last = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .iter()
    .find_map(|path| instant(text(body, path)?));
    Event {
        object,
        reason: text(body, "/reason").unwrap_or_default(),
        message: text(body, "/message")
            .or_else(|| text(body, "/note"))
            .unwrap_or_default(),
        is_warning: text(body, "/type") == Some("Warning"),
        count: int(body, "/series/count")
            .or_else(|| int(body, "/count"))
            .unwrap_or(1),
        about: (about("kind"), about("namespace"), about("name")),
        last,
    }
}

/// `--resource-group prod-rg --cluster-name prod`, out of the cluster's id.
fn azure_names(object: &Object, body: &Value) -> String {
    let id = text(body, "/id").unwrap_or_default();
    let lower = id.to_ascii_lowercase();
    let group = lower
        .find("/resourcegroups/")
        .and_then(|at| id.get(at + "/resourcegroups/".len()..))
        .and_then(|rest| rest.split('/').next())
        .unwrap_or("GROUP");
    format!("--resource-group {group} --cluster-name {}", object.name)
}

/// Pool of a node.
pub(crate) fn pool(body: &Value) -> Option<&str> {
    POOL.iter().find_map(|path| text(body, path))
}

/// A drain leaves what a DaemonSet makes, what the kubelet makes of a file, and what is over.
fn is_evictable(pod: &Pod<'_>) -> bool {
    let daemon = pod
        .facts
        .controller
        .is_some_and(|(kind, _)| kind == "DaemonSet");
    let mirror = has(
        pod.body,
        "/metadata/annotations/kubernetes.io~1config.mirror",
    );
    !daemon && !mirror && !pod.is_finished()
}

/// A condition of a node or a pod, as (status, reason, message, since).
pub(crate) fn condition<'a>(body: &'a Value, kind: &str) -> Option<Condition<'a>> {
    let found = list(body, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == Some(kind))?;
    Some(Condition {
        status: text(found, "/status").unwrap_or("Unknown"),
        reason: text(found, "/reason").unwrap_or_default(),
        message: text(found, "/message").unwrap_or_default(),
        since: text(found, "/lastTransitionTime"),
    })
}

/// A condition of an object.
pub(crate) struct Condition<'a> {
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    pub since: Option<&'a str>,
}

/// `shop/web-0`.
pub(crate) fn short(object: &Object) -> String {
    match namespace(object) {
        "" => object.name.to_string(),
        within => format!("{within}/{}", object.name),
    }
}

/// `-n shop web-0`, for kubectl.
pub(crate) fn named(object: &Object) -> String {
    match namespace(object) {
        "" => object.name.to_string(),
        within => format!("-n {within} {}", object.name),
    }
}
