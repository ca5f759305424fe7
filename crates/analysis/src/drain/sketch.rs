//! What a drain depends on of an object, as small as it can be kept.
//!
//! A dump of 100,000 pods takes gigabytes as trees. So of each object only the fields that matter are
//! kept, as text: one entry for each path. What all pods of a template share is the same text in all
//! of them.

use serde_json::{Map, Value, json};

use crate::resilience::values::{escape, flag, has, int, list, quantity, text, texts};

/// A kubelet waits this long where a pod does not say.
const GRACE: u64 = 30;
/// A process that is asked to stop does so within this time: what servers and runtimes take as a rule.
/// The check of grace periods (FWR05x) looks at the worst case.
const EXIT: u64 = 5;
/// A container without a request counts for the scheduler's scores as 100m and 200Mi.
const UNREQUESTED: (u64, u64) = (100, 200 << 20);
/// Longer than this is no start but a pod that became ready again.
const LONGEST_START: u64 = 1_800;

/// What is kept of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sketch {
    /// A pod.
    Pod(Box<PodSketch>),
    /// Another object: a JSON object of its fields by their paths.
    Fields(Box<str>),
}

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSketch {
    /// Where it is.
    pub(super) node: Option<Box<str>>,
    /// Group, kind and name of its controller.
    pub(super) owner: Option<(Box<str>, Box<str>, Box<str>)>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub(super) phase: Box<str>,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    pub(super) mirror: bool,
    /// From its place on a node until it was ready, in seconds, where it was ready at once.
    pub(super) started_in: Option<u64>,
    /// Claims that it mounts.
    pub(super) claims: Vec<Box<str>>,
    /// Its labels, as JSON.
    pub(super) labels: Box<str>,
    /// Everything else, as JSON by path.
    pub(super) template: Box<str>,
}

/// Fields that are kept of kinds other than pods.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "CustomResourceDefinition",
        &["/spec/group", "/spec/names/kind", "/spec/versions"],
    ),
    ("DaemonSet", &[]),
    ("Deployment", &["/spec/replicas", "/metadata/uid"]),
    ("Job", &["/spec/parallelism"]),
    ("Namespace", &["/metadata/labels"]),
    (
        "Node",
        &[
            "/metadata/labels",
            "/spec/taints",
            "/spec/unschedulable",
            "/status/allocatable",
        ],
    ),
    (
        "PersistentVolume",
        &[
            "/metadata/labels",
            "/spec/nodeAffinity/required/nodeSelectorTerms",
        ],
    ),
    ("PersistentVolumeClaim", &["/spec/volumeName"]),
    (
        "PodDisruptionBudget",
        &[
            "/metadata/ownerReferences",
            "/metadata/generation",
            "/spec",
            "/status",
        ],
    ),
    (
        "ReplicaSet",
        &["/spec/replicas", "/metadata/ownerReferences"],
    ),
    ("ReplicationController", &["/spec/replicas"]),
    (
        "StatefulSet",
        &[
            "/spec/replicas",
            "/spec/podManagementPolicy",
            "/spec/ordinals/start",
        ],
    ),
];

/// Fields of a pod's spec that decide where it may be, and that its template gives.
const PLACE: &[&str] = &[
    "/spec/nodeSelector",
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution",
    "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
    "/spec/tolerations",
    "/spec/topologySpreadConstraints",
];

/// Is the kind one that a drain depends on?
pub(crate) fn wants(kind: &str) -> bool {
    kind == "Pod" || FIELDS.binary_search_by_key(&kind, |(kind, _)| kind).is_ok()
}

/// What a drain depends on of an object, if of anything.
pub(crate) fn sketch(kind: &str, value: &Value) -> Option<Sketch> {
    if kind == "Pod" {
        return Some(Sketch::Pod(Box::new(pod(value))));
    }
    let at = FIELDS.binary_search_by_key(&kind, |(kind, _)| kind).ok()?;
    let (_, paths) = FIELDS.get(at)?;
    let mut fields = pick(value, paths);
    if kind == "Node" {
        fields.insert("virtual".to_owned(), json!(is_virtual(value)));
    }
    Some(Sketch::Fields(Value::Object(fields).to_string().into()))
}

/// A node that is no machine: nobody drains or reimages it.
fn is_virtual(value: &Value) -> bool {
    text(value, "/metadata/labels/type") == Some("virtual-kubelet")
}

fn pick(value: &Value, paths: &[&str]) -> Map<String, Value> {
    let found = paths
        .iter()
        .filter_map(|path| Some(((*path).to_owned(), value.pointer(path)?.clone())));
    found.filter(|(_, value)| !value.is_null()).collect()
}

fn pod(value: &Value) -> PodSketch {
    let owned = |text: Option<&str>| text.map(Into::into);
    let owner = list(value, "/metadata/ownerReferences")
        .iter()
        .find(|owner| flag(owner, "/controller") == Some(true));
    let owner = owner.and_then(|owner| {
        let group = text(owner, "/apiVersion")?
            .split_once('/')
            .map_or("", |(group, _)| group);
        Some((
            group.into(),
            text(owner, "/kind")?.into(),
            text(owner, "/name")?.into(),
        ))
    });
    let mut template = pick(value, PLACE);
    if let Some(spreads) = template.get_mut("/spec/topologySpreadConstraints") {
        match_keys(spreads, value);
    }
    resources(value, &mut template);
    template.insert("ports".to_owned(), ports(value));
    template.insert("stop".to_owned(), json!(stop(value)));
    template.insert("probe".to_owned(), json!(probe(value)));
    let labels = value.pointer("/metadata/labels").cloned();
    PodSketch {
        node: owned(text(value, "/spec/nodeName").filter(|node| !node.is_empty())),
        owner,
        phase: text(value, "/status/phase").unwrap_or("Pending").into(),
        ready: condition(value, "Ready").is_some_and(|(is, _)| is),
        terminating: has(value, "/metadata/deletionTimestamp"),
        mirror: has(value, "/metadata/annotations/kubernetes.io~1config.mirror"),
        started_in: started_in(value),
        claims: claims(value),
        labels: labels.unwrap_or_else(|| json!({})).to_string().into(),
        template: Value::Object(template).to_string().into(),
    }
}

/// Spreads may name labels of the pod by their keys alone.
fn match_keys(spreads: &mut Value, pod: &Value) {
    for spread in spreads.as_array_mut().into_iter().flatten() {
        let keys: Vec<String> = texts(spread, "/matchLabelKeys")
            .into_iter()
            .map(str::to_owned)
            .collect();
        for key in keys {
            let path = format!("/metadata/labels/{}", escape(&key));
            let known = list(spread, "/labelSelector/matchExpressions");
            let merged = known.iter().any(|about| text(about, "/key") == Some(&key));
            let (Some(own), false) = (text(pod, &path), merged) else {
                continue;
            };
            let about = json!({"key": key, "operator": "In", "values": [own]});
            let selector = spread
                .get_mut("labelSelector")
                .and_then(Value::as_object_mut);
            let all = selector.map(|selector| {
                selector
                    .entry("matchExpressions")
                    .or_insert_with(|| json!([]))
            });
            if let Some(all) = all.and_then(Value::as_array_mut) {
                all.push(about);
            }
        }
    }
}

/// Is a condition true, and since when?
fn condition<'a>(value: &'a Value, kind: &str) -> Option<(bool, Option<&'a str>)> {
    let found = list(value, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == Some(kind))?;
    Some((
        text(found, "/status") == Some("True"),
        text(found, "/lastTransitionTime"),
    ))
}

fn started_in(value: &Value) -> Option<u64> {
    let calm = list(value, "/status/containerStatuses")
        .iter()
        .all(|container| int(container, "/restartCount") == Some(0));
    let (ready, at) = condition(value, "Ready")?;
    let (placed, since) = condition(value, "PodScheduled")?;
    let took = instant(at?)?.checked_sub(instant(since?)?)?;
    let took = u64::try_from(took).ok()?;
    (calm && ready && placed && took <= LONGEST_START).then_some(took)
}

/// Seconds since 1970 of `2026-11-21T16:59:21Z`, the only form that the API server writes.
fn instant(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Days of the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2).div_euclid(5)
        + day
        - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn claims(value: &Value) -> Vec<Box<str>> {
    let name = text(value, "/metadata/name").unwrap_or_default();
    list(value, "/spec/volumes")
        .iter()
        .filter_map(|volume| {
            if let Some(claim) = text(volume, "/persistentVolumeClaim/claimName") {
                return Some(claim.into());
            }
            has(volume, "/ephemeral")
                .then(|| format!("{name}-{}", text(volume, "/name").unwrap_or_default()).into())
        })
        .collect()
}

/// What a pod asks of a node, as kube-scheduler adds it up, and what counts as its load.
///
/// # Source
/// `PodRequests` in `k8s.io/component-helpers/resource`.
fn resources(value: &Value, into: &mut Map<String, Value>) {
    let of = |container: &Value| -> Amounts {
        let requests = container.pointer("/resources/requests");
        amounts(requests)
    };
    let mut all = Amounts::new();
    let mut load = (0, 0);
    for container in list(value, "/spec/containers") {
        let asked = of(container);
        load.0 += asked.get("cpu").copied().unwrap_or(UNREQUESTED.0);
        load.1 += asked.get("memory").copied().unwrap_or(UNREQUESTED.1);
        add(&mut all, &asked);
    }
    let (mut before, mut peak) = (Amounts::new(), Amounts::new());
    for container in list(value, "/spec/initContainers") {
        let asked = of(container);
        if text(container, "/restartPolicy") == Some("Always") {
            load.0 += asked.get("cpu").copied().unwrap_or(UNREQUESTED.0);
            load.1 += asked.get("memory").copied().unwrap_or(UNREQUESTED.1);
            add(&mut all, &asked);
            add(&mut before, &asked);
            most(&mut peak, &before);
        } else {
            let mut with = before.clone();
            add(&mut with, &asked);
            most(&mut peak, &with);
        }
    }
    most(&mut all, &peak);
    // Requests of the pod as a whole stand above those of its containers.
    for (name, amount) in amounts(value.pointer("/spec/resources/requests")) {
        all.insert(name, amount);
    }
    add(&mut all, &amounts(value.pointer("/spec/overhead")));
    into.insert("requests".to_owned(), json!(all));
    into.insert("load".to_owned(), json!([load.0, load.1]));
}

type Amounts = std::collections::BTreeMap<String, u64>;

/// Cores in thousandths, everything else in its own unit; both rounded up.
pub(super) fn amounts(value: Option<&Value>) -> Amounts {
    let given = value.and_then(Value::as_object);
    given
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let thousandths = quantity(value)?;
            let amount = match name.as_str() {
                "cpu" => thousandths,
                _ => thousandths.div_euclid(1000) + i128::from(thousandths.rem_euclid(1000) > 0),
            };
            Some((name.clone(), u64::try_from(amount).ok()?))
        })
        .collect()
}

fn add(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*amount);
    }
}

fn most(peak: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = peak.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

fn ports(value: &Value) -> Value {
    let host = flag(value, "/spec/hostNetwork") == Some(true);
    let mut found = Vec::new();
    for container in list(value, "/spec/containers") {
        for port in list(container, "/ports") {
            let number = int(port, "/hostPort").or_else(|| {
                let number = int(port, "/containerPort");
                number.filter(|_| host)
            });
            if let Some(number) = number.filter(|number| *number > 0) {
                let address = text(port, "/hostIP").unwrap_or_default();
                let protocol = text(port, "/protocol").unwrap_or("TCP");
                found.push(json!([protocol, address, number]));
            }
        }
    }
    Value::Array(found)
}

/// Seconds from the deletion until the pod is gone.
fn stop(value: &Value) -> u64 {
    let grace = int(value, "/spec/terminationGracePeriodSeconds");
    let grace = grace.map_or(GRACE, |grace| u64::try_from(grace).unwrap_or(0));
    let hooks = list(value, "/spec/containers")
        .iter()
        .filter_map(|container| {
            let hook = container.pointer("/lifecycle/preStop")?;
            if let Some(seconds) = int(hook, "/sleep/seconds") {
                return u64::try_from(seconds).ok();
            }
            let command = texts(hook, "/exec/command");
            match command.as_slice() {
                [program, seconds] if program.rsplit('/').next() == Some("sleep") => {
                    seconds.parse().ok()
                }
                // What else a hook does may take as long as it is given.
                [_, ..] => Some(grace),
                [] => None,
            }
        });
    (hooks.max().unwrap_or(0) + EXIT).min(grace)
}

/// Seconds until a probe can first succeed.
fn probe(value: &Value) -> u64 {
    let seconds = |path: &str, container: &Value, default: i64| {
        let value = int(container, path).unwrap_or(default);
        u64::try_from(value).unwrap_or(0)
    };
    list(value, "/spec/containers")
        .iter()
        .map(|container| match container.pointer("/readinessProbe") {
            Some(probe) => {
                seconds("/initialDelaySeconds", probe, 0) + seconds("/periodSeconds", probe, 10)
            }
            None => 1,
        })
        .max()
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_sorted() {
        assert!(FIELDS.is_sorted_by_key(|(kind, _)| kind));
    }

    #[test]
    fn seconds_of_a_date() {
        assert_eq!(instant("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(instant("2000-02-29T12:00:01Z"), Some(951_825_601));
        assert_eq!(instant("2026-11-21T16:59:21Z"), Some(1_795_280_361));
        assert_eq!(instant("yesterday"), None);
    }

    #[test]
    fn requests_as_the_scheduler_adds_them_up() {
        let asks = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = asks("200m");
        sidecar["restartPolicy"] = json!("Always");
        let pod = json!({"spec": {
            "containers": [asks("100m"), {}],
            "initContainers": [asks("1"), sidecar, asks("900m")],
            "overhead": {"cpu": "50m"},
        }});
        let mut found = Map::new();
        resources(&pod, &mut found);
        // The last init container runs beside the sidecar: 1100m, more than 100m + 200m.
        assert_eq!(found["requests"], json!({"cpu": 1_150}));
        assert_eq!(found["load"], json!([400, 3 * (200 << 20)]));
    }

    #[test]
    fn how_long_a_pod_stops() {
        let of = |hook: Value, grace: u64| {
            stop(&json!({"spec": {
                "terminationGracePeriodSeconds": grace,
                "containers": [{"lifecycle": {"preStop": hook}}],
            }}))
        };
        assert_eq!(of(json!({"sleep": {"seconds": 10}}), 30), 15);
        assert_eq!(of(json!({"exec": {"command": ["sleep", "10"]}}), 12), 12);
        assert_eq!(
            of(json!({"exec": {"command": ["sh", "-c", "drain"]}}), 60),
            60
        );
        assert_eq!(of(json!(null), 30), 5);
        assert_eq!(of(json!(null), 0), 0);
    }
}
