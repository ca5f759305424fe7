//! The order of replicas from before a run, in an annotation of the set: it outlives the process, the
//! machine that it ran on and the pods, a person sees it, and the run may write it without a right
//! beyond those that it has.

use async_trait::async_trait;
use ferriswheel_plan::databases::kafka::ANNOTATION;
use ferriswheel_plan::ids::ObjectRef;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::databases::kafka::ledger::{Homes, Ledger, NotKept};
use crate::kubernetes::{RequestError, request};

/// Times that a write is tried again which somebody else came before.
const TRIES: usize = 5;

/// Longest record. All annotations of an object together may have 256 KiB.
const LONGEST: usize = 200 * 1024;

/// The annotation of one set.
pub(super) struct Annotation {
    sets: Api<StatefulSet>,
    set: ObjectRef,
}

impl Annotation {
    pub(super) fn new(kube: Client, set: &ObjectRef) -> Self {
        Self {
            sets: Api::namespaced(kube, &set.namespace),
            set: set.clone(),
        }
    }

    async fn found(&self) -> Result<(Homes, Option<String>), NotKept> {
        let what = format!("read {}", self.set);
        let set = request(what, self.sets.get(&self.set.name)).await;
        let set = set.map_err(|e| not_kept(&e))?;
        let homes = match set.annotations().get(ANNOTATION) {
            None => Homes::default(),
            Some(text) => Homes::from_text(text)
                .map_err(|e| NotKept(format!("the annotation {ANNOTATION}: {e}")))?,
        };
        Ok((homes, set.resource_version()))
    }

    /// Writes what is made of what is there, unless somebody else has written meanwhile.
    async fn change(&self, change: impl Fn(Homes) -> Option<Homes> + Sync) -> Result<(), NotKept> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (homes, version) = self.found().await?;
            let value = match change(homes) {
                None => None,
                Some(homes) => {
                    let text = homes.to_text()?;
                    if text.len() > LONGEST {
                        return Err(NotKept(format!(
                            "{} bytes are more than the set's annotations may have",
                            text.len()
                        )));
                    }
                    Some(text)
                }
            };
            let patch = json!({"metadata": {
                "resourceVersion": version,
                "annotations": {ANNOTATION: value},
            }});
            let what = format!("annotate {}", self.set);
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            let patched = self.sets.patch(&self.set.name, &params, &patch);
            match request(what, patched).await {
                Ok(_) => return Ok(()),
                Err(e) if e.is_conflict() && tried < TRIES => {}
                Err(e) => return Err(not_kept(&e)),
            }
        }
    }
}

fn not_kept(error: &RequestError) -> NotKept {
    NotKept(crate::databases::session::chain(error))
}

#[async_trait]
impl Ledger for Annotation {
    async fn read(&self) -> Result<Homes, NotKept> {
        Ok(self.found().await?.0)
    }

    async fn keep(&self, more: &Homes) -> Result<(), NotKept> {
        self.change(|mut homes| {
            homes.merge(more);
            Some(homes)
        })
        .await
    }

    async fn forget(&self, given: &Homes) -> Result<(), NotKept> {
        self.change(|mut homes| {
            homes.remove(given);
            (!homes.is_empty()).then_some(homes)
        })
        .await
    }
}
