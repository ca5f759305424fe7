//! The Service that follows the primary: which pod has the labels that it selects by.
//!
//! # Invariants
//! - Whoever gets the labels gets them before the other loses them: a Service without a member refuses
//!   everybody. The two requests follow each other at once, with nothing read between them, so that
//!   kube-proxy, which writes its rules at most once a second, mostly sees both changes as one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use ferriswheel_plan::policy::MariadbSpec;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::databases::mariadb::window::Route;
use crate::kubernetes::request;
use crate::world::{AskError, MemberPod, World, role_labels};

/// The labels of a set's Service.
pub(super) struct Labels {
    kube: kube::Client,
    labels: BTreeMap<String, String>,
    old: MemberPod,
    candidate: MemberPod,
}

impl Labels {
    pub(super) async fn of(
        world: &World,
        spec: &MariadbSpec,
        old: &MemberPod,
        candidate: &MemberPod,
    ) -> Result<Self, AskError> {
        let labels = match &spec.service {
            Some(service) => role_labels(world.kube(), &spec.stateful_set, service)
                .await?
                .ok_or_else(|| AskError::Absent {
                    what: format!("service {service}"),
                })?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            kube: world.kube(),
            labels,
            old: old.clone(),
            candidate: candidate.clone(),
        })
    }

    async fn give(&self, to: &MemberPod, from: &MemberPod) -> Result<(), String> {
        let told = async {
            let lost = self
                .labels
                .keys()
                .map(|key| (key.clone(), "replica".to_owned()))
                .collect();
            self.write(to, &self.labels).await?;
            self.write(from, &lost).await?;
            Ok::<_, AskError>(())
        };
        told.await.map_err(|e| e.line())
    }

    async fn write(
        &self,
        member: &MemberPod,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), AskError> {
        let pod = &member.pod;
        let pods: Api<Pod> = Api::namespaced(self.kube.clone(), &pod.namespace);
        // Another pod of the same name is refused.
        let patch = json!({"metadata": {"uid": member.uid.as_str(), "labels": labels}});
        request(
            format!("label {pod}"),
            pods.patch(&pod.name, &PatchParams::default(), &Patch::Merge(&patch)),
        )
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Route for Labels {
    fn is_there(&self) -> bool {
        !self.labels.is_empty()
    }

    async fn to_candidate(&self) -> Result<(), String> {
        self.give(&self.candidate, &self.old).await
    }

    async fn to_old(&self) -> Result<(), String> {
        self.give(&self.old, &self.candidate).await
    }
}
