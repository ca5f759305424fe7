//! What was read, put in relation: which budget covers which workload, which pods are whose.
//!
//! Invariants: an object that a cluster answered with stands before the manifest it came from (both
//! in the input are one object). Two files that hold an object of the same name are two variants of
//! one object, never two objects: nothing is concluded from their meeting.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::brief::Facts;
use super::select::{Labels, Selector, labels};
use super::values::{at, int, list, text};
use crate::manifest::{Object, Origin};

/// What was read, in relation.
pub(crate) struct Scene<'a> {
    /// Whatever makes pods, and pods that nobody makes.
    pub workloads: Vec<Workload<'a>>,
    /// Pods of a cluster, or of manifests.
    pub pods: Vec<Pod<'a>>,
    /// Disruption budgets.
    pub budgets: Vec<Budget<'a>>,
    by_kind: BTreeMap<&'a str, Vec<(&'a Object, &'a Value)>>,
    /// Objects by kind, namespace and name.
    by_name: BTreeMap<(&'a str, &'a str, &'a str), (&'a Object, &'a Value)>,
    /// Workloads by namespace and a label of their pods.
    by_label: BTreeMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    by_namespace: BTreeMap<&'a str, Vec<usize>>,
}

/// Kinds that make pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Makes {
    Deployment,
    StatefulSet,
    ReplicaSet,
    ReplicationController,
    Rollout,
    DaemonSet,
    Job,
    CronJob,
    /// A pod that nobody makes again.
    Naked,
}

/// Whatever makes pods.
pub(crate) struct Workload<'a> {
    pub object: &'a Object,
    pub body: &'a Value,
    pub makes: Makes,
    /// Path of the pod's template; empty for a pod.
    pub template: &'static str,
    /// Its pods, where the input has them.
    pub pods: Vec<usize>,
    /// Budgets that cover it.
    pub budgets: Vec<usize>,
    /// What scales it.
    pub scaler: Option<(&'a Object, &'a Value)>,
}

/// A pod.
pub(crate) struct Pod<'a> {
    pub object: &'a Object,
    /// The whole of it; `null` where the input was read for its facts alone.
    pub body: &'a Value,
    /// What checks ask about it.
    pub facts: Facts<'a>,
    /// The workload that makes it, where the input has it.
    pub workload: Option<usize>,
}

/// A disruption budget with what it covers.
pub(crate) struct Budget<'a> {
    pub object: &'a Object,
    pub body: &'a Value,
    pub selector: Selector<'a>,
    /// Workloads whose pods it covers.
    pub workloads: Vec<usize>,
    /// Pods that it covers.
    pub pods: Vec<usize>,
}

impl Makes {
    fn of(api: &str, kind: &str) -> Option<(Self, &'static str)> {
        Some(match kind {
            "Deployment" => (Self::Deployment, "/spec/template"),
            "StatefulSet" => (Self::StatefulSet, "/spec/template"),
            "ReplicaSet" => (Self::ReplicaSet, "/spec/template"),
            "ReplicationController" => (Self::ReplicationController, "/spec/template"),
            "Rollout" if api.starts_with("argoproj.io/") => (Self::Rollout, "/spec/template"),
            "DaemonSet" => (Self::DaemonSet, "/spec/template"),
            "Job" => (Self::Job, "/spec/template"),
            "CronJob" => (Self::CronJob, "/spec/jobTemplate/spec/template"),
            "Pod" => (Self::Naked, ""),
            _ => return None,
        })
    }

    /// Has it a scale, which the controller of budgets asks for?
    pub(crate) fn scales(self) -> bool {
        !matches!(
            self,
            Self::DaemonSet | Self::Job | Self::CronJob | Self::Naked
        )
    }

    /// Is it meant to run for ever?
    pub(crate) fn serves(self) -> bool {
        !matches!(self, Self::Job | Self::CronJob)
    }
}

impl<'a> Workload<'a> {
    /// The pod's template, or the pod.
    pub(crate) fn pod(&self) -> &'a Value {
        at(self.body, self.template).unwrap_or(&Value::Null)
    }

    /// Labels of its pods.
    pub(crate) fn labels(&self) -> Labels<'a> {
        labels(self.pod(), "/metadata/labels")
    }

    /// The path of a field of the pod's spec in the object.
    pub(crate) fn path(&self, field: &str) -> String {
        format!("{}/spec{field}", self.template)
    }

    /// Containers with their paths in the object.
    pub(crate) fn containers(&self) -> impl Iterator<Item = (String, &'a Value)> {
        let base = self.path("/containers");
        list(self.pod(), "/spec/containers")
            .iter()
            .enumerate()
            .map(move |(i, container)| (format!("{base}/{i}"), container))
    }

    /// How many pods it is asked for, when nothing scales it.
    pub(crate) fn replicas(&self) -> Option<i64> {
        match self.makes {
            Makes::Naked => Some(1),
            makes if makes.scales() => Some(int(self.body, "/spec/replicas").unwrap_or(1)),
            _ => None,
        }
    }

    /// The fewest pods that it may be asked for.
    pub(crate) fn fewest(&self) -> Option<i64> {
        match self.scaler {
            Some((_, scaler)) => Some(int(scaler, "/spec/minReplicas").unwrap_or(1)),
            None => self.replicas(),
        }
    }

    /// The most pods that it may be asked for.
    pub(crate) fn most(&self) -> Option<i64> {
        match self.scaler {
            Some((_, scaler)) => int(scaler, "/spec/maxReplicas"),
            None => self.replicas(),
        }
    }

    /// `Deployment shop/web`.
    pub(crate) fn name(&self) -> String {
        full_name(self.object)
    }

    pub(crate) fn namespace(&self) -> &'a str {
        namespace(self.object)
    }
}

/// `Deployment shop/web`.
pub(crate) fn full_name(object: &Object) -> String {
    match &object.namespace {
        Some(namespace) => format!("{} {namespace}/{}", object.kind, object.name),
        None => format!("{} {}", object.kind, object.name),
    }
}

/// The namespace, or nothing where the manifest leaves it to who applies it.
pub(crate) fn namespace(object: &Object) -> &str {
    object.namespace.as_deref().unwrap_or_default()
}

impl<'a> Pod<'a> {
    pub(crate) fn labels(&self) -> Labels<'a> {
        self.facts.labels
    }

    pub(crate) fn node(&self) -> Option<&'a str> {
        self.facts.node
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.facts.ready
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.facts.leaving
    }

    /// Succeeded or failed: it needs nobody, and no budget holds it.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.facts.phase, Some("Succeeded" | "Failed"))
    }
}

impl<'a> Scene<'a> {
    pub(crate) fn of(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut scene = Self {
            workloads: Vec::new(),
            pods: Vec::new(),
            budgets: Vec::new(),
            by_kind: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_label: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
        };
        let objects: Vec<(&Object, &Value)> = objects
            .into_iter()
            .filter_map(|object| match (&object.body, &object.brief) {
                (Some(body), _) => Some((object, &**body)),
                (None, Some(_)) => Some((object, &Value::Null)),
                (None, None) => None,
            })
            .collect();
        let live: BTreeSet<(&str, &str, &str)> = objects
            .iter()
            .filter(|(object, _)| object.origin == Origin::Live)
            .map(|(object, _)| identity(object))
            .collect();
        for (object, body) in objects {
            if object.origin != Origin::Live && live.contains(&identity(object)) {
                continue;
            }
            let kind: &str = &object.kind;
            scene.by_kind.entry(kind).or_default().push((object, body));
            // Of two of the same name the first one counts.
            let names = (kind, namespace(object), &*object.name);
            scene.by_name.entry(names).or_insert((object, body));
            scene.take(object, body);
        }
        scene.relate();
        scene
    }

    fn take(&mut self, object: &'a Object, body: &'a Value) {
        if &*object.kind == "PodDisruptionBudget" {
            self.budgets.push(Budget {
                object,
                body,
                selector: Selector::of(at(body, "/spec/selector")),
                workloads: Vec::new(),
                pods: Vec::new(),
            });
            return;
        }
        let Some((makes, template)) = Makes::of(&object.api, &object.kind) else {
            return;
        };
        let controller = if makes == Makes::Naked {
            let facts = match &object.brief {
                Some(brief) => brief.facts(),
                None => Facts::of(body),
            };
            let controller = facts.controller;
            self.pods.push(Pod {
                object,
                body,
                facts,
                workload: None,
            });
            controller
        } else {
            controller(body)
        };
        // What another object makes is judged there.
        if controller.is_some() {
            return;
        }
        let at = self.workloads.len();
        let workload = Workload {
            object,
            body,
            makes,
            template,
            pods: Vec::new(),
            budgets: Vec::new(),
            scaler: None,
        };
        let namespace = workload.namespace();
        self.by_namespace.entry(namespace).or_default().push(at);
        for (key, value) in workload.labels().into_iter().flatten() {
            if let Some(value) = value.as_str() {
                let place = (namespace, key.as_str(), value);
                self.by_label.entry(place).or_default().push(at);
            }
        }
        self.workloads.push(workload);
    }

    fn relate(&mut self) {
        self.relate_pods();
        for (i, budget) in self.budgets.iter_mut().enumerate() {
            let within = namespace(budget.object);
            let candidates = match budget.selector.handle() {
                Some((key, value)) => self.by_label.get(&(within, key, value)),
                None => self.by_namespace.get(within),
            };
            for at in candidates.into_iter().flatten() {
                let Some(workload) = self.workloads.get_mut(*at) else {
                    continue;
                };
                if budget.selector.picks(workload.labels()) {
                    budget.workloads.push(*at);
                    workload.budgets.push(i);
                }
            }
        }
        let mut by_namespace: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, budget) in self.budgets.iter().enumerate() {
            let within = namespace(budget.object);
            by_namespace.entry(within).or_default().push(i);
        }
        for (i, pod) in self.pods.iter().enumerate() {
            let budgets = by_namespace.get(namespace(pod.object));
            for at in budgets.into_iter().flatten() {
                if let Some(budget) = self.budgets.get_mut(*at)
                    && budget.selector.picks(pod.labels())
                {
                    budget.pods.push(i);
                }
            }
        }
        self.relate_scalers();
    }

    fn relate_pods(&mut self) {
        let mut found = BTreeMap::new();
        for (i, workload) in self.workloads.iter().enumerate() {
            let key = (
                workload.namespace(),
                &*workload.object.kind,
                &*workload.object.name,
            );
            found.insert(key, i);
        }
        // Who owns a ReplicaSet or a Job.
        let mut above: BTreeMap<(&str, &str, &str), (&str, &str)> = BTreeMap::new();
        for kind in ["ReplicaSet", "Job"] {
            for (object, body) in self.by_kind.get(kind).into_iter().flatten() {
                if let Some(owner) = controller(body) {
                    above.insert((namespace(object), kind, &object.name), owner);
                }
            }
        }
        for (i, pod) in self.pods.iter_mut().enumerate() {
            let within = namespace(pod.object);
            let direct = pod.facts.controller.unwrap_or(("Pod", &pod.object.name));
            let top = match above.get(&(within, direct.0, direct.1)) {
                Some(owner) => *owner,
                // A dump without ReplicaSets: the name of one is its Deployment's and a hash.
                None if direct.0 == "ReplicaSet" => {
                    let hash = pod.labels().and_then(|all| all.get("pod-template-hash"));
                    let hash = hash.and_then(Value::as_str);
                    let name = hash.and_then(|hash| direct.1.strip_suffix(hash));
                    let name = name.and_then(|name| name.strip_suffix('-'));
                    name.map_or(direct, |name| ("Deployment", name))
                }
                None => direct,
            };
            if let Some(at) = found.get(&(within, top.0, top.1)) {
                pod.workload = Some(*at);
                if let Some(workload) = self.workloads.get_mut(*at) {
                    workload.pods.push(i);
                }
            }
        }
    }

    fn relate_scalers(&mut self) {
        let mut scalers: BTreeMap<(&str, &str, &str), (&Object, &Value)> = BTreeMap::new();
        for (object, body) in self.kind("HorizontalPodAutoscaler") {
            if let (Some(kind), Some(name)) = (
                text(body, "/spec/scaleTargetRef/kind"),
                text(body, "/spec/scaleTargetRef/name"),
            ) {
                scalers.insert((namespace(object), kind, name), (*object, *body));
            }
        }
        for workload in &mut self.workloads {
            let key = (
                workload.namespace(),
                &*workload.object.kind,
                &*workload.object.name,
            );
            workload.scaler = scalers.get(&key).copied();
        }
    }

    /// Objects of a kind.
    pub(crate) fn kind(&self, kind: &str) -> &[(&'a Object, &'a Value)] {
        self.by_kind.get(kind).map_or(&[], Vec::as_slice)
    }

    /// An object by its names.
    pub(crate) fn get(
        &self,
        kind: &str,
        within: &str,
        name: &str,
    ) -> Option<(&'a Object, &'a Value)> {
        self.by_name.get(&(kind, within, name)).copied()
    }

    /// Workloads of a namespace that a selector picks.
    pub(crate) fn picked(&self, within: &str, selector: &Selector<'_>) -> Vec<&Workload<'a>> {
        let candidates = match selector.handle() {
            Some((key, value)) => self.by_label.get(&(within, key, value)),
            None => self.by_namespace.get(within),
        };
        candidates
            .into_iter()
            .flatten()
            .filter_map(|at| self.workloads.get(*at))
            .filter(|workload| selector.picks(workload.labels()))
            .collect()
    }
}

/// Kind, namespace and name: two objects that agree in them are one. The group is left out, because
/// the same Deployment was once served by three.
fn identity(object: &Object) -> (&str, &str, &str) {
    (&object.kind, namespace(object), &object.name)
}

/// Kind and name of the controller of an object.
pub(crate) fn controller(body: &Value) -> Option<(&str, &str)> {
    let owner = list(body, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    Some((text(owner, "/kind")?, text(owner, "/name")?))
}
