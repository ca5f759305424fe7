//! The members of a set: its pods, their count, and the Service that selects some of them.

use std::collections::BTreeMap;
use std::time::Duration;

use ferriswheel_plan::ids::{DatabaseName, NodeName, ObjectRef, Uid};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{AskError, World};
use crate::dial::Target;
use crate::kubernetes::{find, read, request};

/// A member's pod as it is now.
#[derive(Clone, Debug)]
pub struct MemberPod {
    /// The pod.
    pub pod: ObjectRef,
    /// UID.
    pub uid: Uid,
    /// Node.
    pub node: Option<NodeName>,
    /// Address.
    pub ip: Option<String>,
    /// Ready.
    pub ready: bool,
    /// How long it has been; `None` if it is not, or does not say since when.
    pub ready_for: Option<Duration>,
    /// Being deleted.
    pub terminating: bool,
}

impl MemberPod {
    /// Its server, at this port.
    pub(crate) fn target(&self, port: u16) -> Target {
        Target {
            pod: self.pod.clone(),
            ip: self.ip.clone(),
            port,
        }
    }
}

/// A count of the members of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Members whose pod is Ready and whose server answers.
    pub members: u32,
    /// Who leads the set, or each shard, with the number of its reign (timeline, epoch); none, if
    /// nobody can be told.
    pub leaders: BTreeMap<String, u64>,
}

impl World {
    /// The set itself.
    pub(crate) async fn stateful_set(&self, set: &ObjectRef) -> Result<StatefulSet, AskError> {
        stateful_set(self.kube(), set).await
    }

    /// The pods of a set, by ordinal.
    pub(crate) async fn members(&self, set: &ObjectRef) -> Result<Vec<MemberPod>, AskError> {
        members(&self.outside.kube, set).await
    }

    /// Counts the members of a database's set, by asking each server.
    pub async fn census(&self, database: &DatabaseName) -> Result<Census, AskError> {
        let system = crate::systems::of(self, database)?;
        let standing = system.standing(None).await?;
        let alive = standing
            .stands
            .iter()
            .filter(|stand| stand.member.ready && stand.answers)
            .count();
        let leaders = standing.leaders.iter();
        Ok(Census {
            members: u32::try_from(alive).unwrap_or(u32::MAX),
            leaders: leaders
                .map(|(pod, reign)| (pod.name.clone(), *reign))
                .collect(),
        })
    }
}

/// The pods of a set, by ordinal.
pub async fn members(client: &kube::Client, set: &ObjectRef) -> Result<Vec<MemberPod>, AskError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &set.namespace);
    let list = request(
        format!("list the pods of {set}"),
        pods.list(&ListParams::default()),
    )
    .await?;
    let mut members: Vec<(u32, MemberPod)> = list
        .items
        .iter()
        .filter(|pod| {
            pod.owner_references()
                .iter()
                .any(|owner| owner.kind == "StatefulSet" && owner.name == set.name)
        })
        .filter_map(|pod| {
            let name = pod.name_any();
            let ordinal = name.rsplit('-').next()?.parse().ok()?;
            let status = pod.status.as_ref();
            Some((
                ordinal,
                MemberPod {
                    pod: ObjectRef::new(&set.namespace, name),
                    uid: Uid::new(pod.uid().unwrap_or_default()),
                    node: pod
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.node_name.as_deref())
                        .map(NodeName::new),
                    ip: status.and_then(|s| s.pod_ip.clone()),
                    ready: read::is_ready(pod),
                    ready_for: read::ready_since(pod).and_then(|since| {
                        Duration::try_from(Timestamp::now().duration_since(since)).ok()
                    }),
                    terminating: pod.metadata.deletion_timestamp.is_some(),
                },
            ))
        })
        .collect();
    members.sort_by_key(|(ordinal, _)| *ordinal);
    Ok(members.into_iter().map(|(_, member)| member).collect())
}

async fn stateful_set(kube: kube::Client, set: &ObjectRef) -> Result<StatefulSet, AskError> {
    let sets: Api<StatefulSet> = Api::namespaced(kube, &set.namespace);
    find(format!("read {set}"), sets.get_opt(&set.name))
        .await?
        .ok_or_else(|| AskError::Absent {
            what: format!("stateful set {set}"),
        })
}

/// What a Service asks for beyond the labels that all members of a set have; `None` if there is no
/// such Service.
pub(crate) async fn role_labels(
    kube: kube::Client,
    set: &ObjectRef,
    service: &ObjectRef,
) -> Result<Option<BTreeMap<String, String>>, AskError> {
    let services: Api<Service> = Api::namespaced(kube.clone(), &service.namespace);
    let Some(found) = find(
        format!("read service {service}"),
        services.get_opt(&service.name),
    )
    .await?
    else {
        return Ok(None);
    };
    let set = stateful_set(kube, set).await?;
    let common = set.spec.selector.match_labels.unwrap_or_default();
    let selector = found
        .spec
        .and_then(|spec| spec.selector)
        .unwrap_or_default();
    Ok(Some(
        selector
            .into_iter()
            .filter(|(key, value)| common.get(key) != Some(value))
            .collect(),
    ))
}
