//! Kubernetes objects as the world's nouns. Pure.

use std::collections::BTreeMap;

use ferriswheel_plan::ids::{NodeName, ObjectRef, PoolName, Uid, Zone};
use ferriswheel_plan::version::KubernetesVersion;
use ferriswheel_plan::world;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ContainerStatus, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

/// Label that names a node's pool.
pub const POOL_LABEL: &str = "kubernetes.azure.com/agentpool";
/// Label that names a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Namespace and name.
pub fn reference(meta: &ObjectMeta) -> ObjectRef {
    ObjectRef::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn uid(meta: &ObjectMeta) -> Uid {
    Uid::new(meta.uid.clone().unwrap_or_default())
}

fn owner(references: Option<&Vec<OwnerReference>>) -> Option<world::Owner> {
    references?
        .iter()
        .find(|reference| reference.controller == Some(true))
        .map(|reference| world::Owner {
            kind: reference.kind.clone(),
            name: reference.name.clone(),
        })
}

/// A node; `None` if its kubelet's version cannot be read.
pub fn node(node: &Node) -> Option<world::Node> {
    let status = node.status.as_ref()?;
    let info = status.node_info.as_ref()?;
    let labels = node.labels().clone();
    let spec = node.spec.clone().unwrap_or_default();
    let kubelet_version: KubernetesVersion = info.kubelet_version.parse().ok()?;
    Some(world::Node {
        uid: uid(&node.metadata),
        boot_id: info.boot_id.clone(),
        pool: labels.get(POOL_LABEL).map(PoolName::new),
        zone: labels.get(ZONE_LABEL).map(Zone::new),
        kubelet_version,
        ready: status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True"),
        unschedulable: spec.unschedulable.unwrap_or(false),
        labels,
        taints: spec
            .taints
            .iter()
            .flatten()
            .map(|t| {
                let value = t.value.clone().unwrap_or_default();
                format!("{}={value}:{}", t.key, t.effect)
            })
            .collect(),
    })
}

/// Name of a node.
pub fn node_name(node: &Node) -> NodeName {
    NodeName::new(node.name_any())
}

/// A pod.
pub fn pod(pod: &Pod) -> world::Pod {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let statuses: BTreeMap<&str, &ContainerStatus> = status
        .container_statuses
        .iter()
        .flatten()
        .map(|s| (s.name.as_str(), s))
        .collect();
    world::Pod {
        uid: uid(&pod.metadata),
        node: spec.node_name.clone().map(NodeName::new),
        owner: owner(pod.metadata.owner_references.as_ref()),
        labels: pod.labels().clone(),
        phase: status.phase.clone().unwrap_or_default(),
        ready: is_ready(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        claims: claims(&spec),
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        local_data: spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| volume.empty_dir.is_some()),
        containers: spec
            .containers
            .iter()
            .map(|c| container(&c.name, c.image.as_deref(), statuses.get(c.name.as_str())))
            .collect(),
    }
}

/// Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Since when it has been Ready; `None` if it is not, or does not say.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let mut ready = conditions.filter(|c| c.type_ == "Ready" && c.status == "True");
    Some(ready.next()?.last_transition_time.as_ref()?.0)
}

/// Pods that an eviction does not concern: daemons come back at once, mirrors and finished pods
/// hold nothing.
pub fn stays_on_node(pod: &Pod) -> bool {
    let daemon = pod
        .owner_references()
        .iter()
        .any(|reference| reference.kind == "DaemonSet");
    let mirror = pod
        .annotations()
        .contains_key("kubernetes.io/config.mirror");
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    daemon || mirror || matches!(phase, Some("Succeeded" | "Failed"))
}

fn claims(spec: &PodSpec) -> Vec<String> {
    spec.volumes
        .iter()
        .flatten()
        .filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
        .collect()
}

fn container(
    name: &str,
    image: Option<&str>,
    status: Option<&&ContainerStatus>,
) -> world::Container {
    let state = status.and_then(|s| s.state.as_ref());
    let last = status.and_then(|s| s.last_state.as_ref());
    world::Container {
        name: name.to_owned(),
        image: image.unwrap_or_default().to_owned(),
        restarts: status.map_or(0, |s| u32::try_from(s.restart_count).unwrap_or(0)),
        started_at: state
            .and_then(|s| s.running.as_ref())
            .and_then(|running| running.started_at.as_ref())
            .map(|time| time.0),
        waiting: state
            .and_then(|s| s.waiting.as_ref())
            .and_then(|waiting| waiting.reason.clone()),
        last_finished_at: last
            .and_then(|s| s.terminated.as_ref())
            .and_then(|terminated| terminated.finished_at.as_ref())
            .map(|time| time.0),
    }
}

/// A stateful set, with the texts of the ConfigMaps that its template mounts.
pub fn stateful_set(
    set: &StatefulSet,
    config_texts: &BTreeMap<String, Vec<String>>,
) -> Option<world::StatefulSet> {
    let spec = &set.spec;
    let status = set.status.clone().unwrap_or_default();
    let template = spec.template.spec.clone().unwrap_or_default();
    let mut entrypoint_text = Vec::new();
    for container in template
        .init_containers
        .iter()
        .flatten()
        .chain(&template.containers)
    {
        entrypoint_text.extend(container.command.iter().flatten().cloned());
        entrypoint_text.extend(container.args.iter().flatten().cloned());
    }
    for volume in template.volumes.iter().flatten() {
        if let Some(name) = volume.config_map.as_ref().map(|map| map.name.as_str())
            && let Some(texts) = config_texts.get(name)
        {
            entrypoint_text.extend(texts.iter().cloned());
        }
    }
    Some(world::StatefulSet {
        uid: uid(&set.metadata),
        replicas: u32::try_from(spec.replicas.unwrap_or(1)).ok()?,
        ready_replicas: u32::try_from(status.ready_replicas.unwrap_or(0)).ok()?,
        current_revision: status.current_revision.unwrap_or_default(),
        update_revision: status.update_revision.unwrap_or_default(),
        selector: spec.selector.match_labels.clone().unwrap_or_default(),
        service_name: spec.service_name.clone().unwrap_or_default(),
        claim_templates: spec
            .volume_claim_templates
            .iter()
            .flatten()
            .map(ResourceExt::name_any)
            .collect(),
        node_requirements: node_requirements(&template),
        one_per_node: one_per_node(&template),
        tolerations: template
            .tolerations
            .iter()
            .flatten()
            .map(|t| match (&t.key, &t.operator) {
                (None, _) => "*".to_owned(),
                (Some(key), Some(operator)) if operator == "Exists" => {
                    format!("{key}:{}", t.effect.clone().unwrap_or_default())
                }
                (Some(key), _) => format!(
                    "{key}={}:{}",
                    t.value.clone().unwrap_or_default(),
                    t.effect.clone().unwrap_or_default()
                ),
            })
            .collect(),
        termination_grace_seconds: template
            .termination_grace_period_seconds
            .and_then(|s| u64::try_from(s).ok())
            .unwrap_or(30),
        entrypoint_text,
        labels: set.labels().clone(),
        annotations: set.annotations().clone(),
        owner: owner(set.metadata.owner_references.as_ref()),
    })
}

fn node_requirements(template: &PodSpec) -> BTreeMap<String, Vec<String>> {
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in template.node_selector.iter().flatten() {
        wanted.entry(key.clone()).or_default().push(value.clone());
    }
    let terms = template
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .map(|selector| selector.node_selector_terms.as_slice())
        .unwrap_or_default();
    for expression in terms
        .iter()
        .flat_map(|term| term.match_expressions.iter().flatten())
        .filter(|expression| expression.operator == "In")
    {
        wanted
            .entry(expression.key.clone())
            .or_default()
            .extend(expression.values.iter().flatten().cloned());
    }
    wanted
}

fn one_per_node(template: &PodSpec) -> bool {
    template
        .affinity
        .as_ref()
        .and_then(|a| a.pod_anti_affinity.as_ref())
        .and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .is_some_and(|terms| {
            terms
                .iter()
                .any(|term| term.topology_key == "kubernetes.io/hostname")
        })
}

/// A disruption budget.
pub fn budget(budget: &PodDisruptionBudget) -> world::Budget {
    let spec = budget.spec.clone().unwrap_or_default();
    let status = budget.status.clone().unwrap_or_default();
    let text = |value: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString| match value {
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(n) => n.to_string(),
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(s) => s.clone(),
    };
    world::Budget {
        selector: spec
            .selector
            .and_then(|selector| selector.match_labels)
            .unwrap_or_default(),
        disruptions_allowed: status.disruptions_allowed.unwrap_or(0),
        current_healthy: status.current_healthy.unwrap_or(0),
        desired_healthy: status.desired_healthy.unwrap_or(0),
        expected_pods: status.expected_pods.unwrap_or(0),
        max_unavailable: spec.max_unavailable.as_ref().map(text),
        min_available: spec.min_available.as_ref().map(text),
    }
}

/// A claim with its disk.
pub fn claim(
    claim: &PersistentVolumeClaim,
    volumes: &BTreeMap<String, PersistentVolume>,
) -> world::Claim {
    let spec = claim.spec.clone().unwrap_or_default();
    let volume = spec
        .volume_name
        .as_ref()
        .and_then(|name| volumes.get(name))
        .and_then(|volume| volume.spec.as_ref());
    world::Claim {
        uid: uid(&claim.metadata),
        volume: spec.volume_name.clone(),
        zone: volume.and_then(zone_of),
        storage_class: spec.storage_class_name.clone(),
        reclaim_policy: volume.and_then(|v| v.persistent_volume_reclaim_policy.clone()),
        labels: claim.labels().clone(),
    }
}

fn zone_of(volume: &k8s_openapi::api::core::v1::PersistentVolumeSpec) -> Option<Zone> {
    volume
        .node_affinity
        .as_ref()?
        .required
        .as_ref()?
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_expressions.iter().flatten())
        .find(|expression| {
            expression.key == ZONE_LABEL || expression.key == "topology.disk.csi.azure.com/zone"
        })
        .and_then(|expression| expression.values.as_ref()?.first())
        .map(Zone::new)
}
