//! Disks: attached to this node before they are mounted, detached when no pod here uses them any more.
//!
//! The attachment is a VolumeAttachment object, as the attach-detach controller would create it; whether and when the
//! disk is attached is decided elsewhere.

use crate::kubelet::cluster::{CallError, Cluster, call};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// 200 ms: looked at only while a disk is on its way, which takes seconds.
const LOOK: Duration = Duration::from_millis(200);
/// 2 min: `podAttachAndMountTimeout` is 2 min 3 s; then the pod's start fails and is tried again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a disk is not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The attachment failed.
    #[error("AttachVolume.Attach failed for volume {volume:?} : {message}")]
    Failed {
        /// The PersistentVolume.
        volume: String,
        /// What the driver said.
        message: String,
    },
    /// The attachment took too long.
    #[error("timed out waiting for the condition")]
    Patience,
}

/// The disks attached to this node, by PersistentVolume, with the number of pods that use each.
#[derive(Debug)]
pub(crate) struct Attachments {
    cluster: Arc<Cluster>,
    node: String,
    users: Mutex<BTreeMap<String, u32>>,
}

impl Attachments {
    pub(crate) fn new(cluster: Arc<Cluster>, node: String) -> Self {
        Self {
            cluster,
            node,
            users: Mutex::default(),
        }
    }

    /// Notes one more user. Each must be taken back with [`Self::release`].
    pub(crate) fn claim(&self, volume: &str) {
        *self
            .users
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(volume.to_owned())
            .or_default() += 1;
    }

    /// Another node that holds the disk now, if any.
    pub(crate) async fn elsewhere(&self, volume: &str) -> Option<String> {
        let api: Api<VolumeAttachment> = Api::all(self.cluster.client());
        let all = call(api.list(&ListParams::default())).await.ok()?;
        let same =
            |a: &VolumeAttachment| a.spec.source.persistent_volume_name.as_deref() == Some(volume);
        all.items
            .into_iter()
            .find(|a| same(a) && a.spec.node_name != self.node)
            .map(|a| a.spec.node_name)
    }

    /// Asks for the disk and waits until it is attached.
    pub(crate) async fn attach(
        &self,
        volume: &str,
        handle: &str,
        driver: &str,
    ) -> Result<(), AttachError> {
        let name = self.name(handle, driver);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let api: Api<VolumeAttachment> = Api::all(self.cluster.client());
            match call(api.get_opt(&name)).await? {
                None => {
                    let wanted: VolumeAttachment = serde_json::from_value(serde_json::json!({
                        "metadata": {"name": name},
                        "spec": {"attacher": driver, "nodeName": self.node, "source": {"persistentVolumeName": volume}},
                    }))
                    .map_err(|e| CallError::from(kube::Error::SerdeError(e)))?;
                    match call(api.create(&PostParams::default(), &wanted)).await {
                        Ok(_) => {}
                        Err(error) if error.is_conflict() => {}
                        Err(error) => return Err(error.into()),
                    }
                    continue;
                }
                // The last user's detachment is still under way: its end is awaited, then the disk is asked for anew.
                Some(found) if found.metadata.deletion_timestamp.is_some() => {}
                Some(found) => {
                    let status = found.status.unwrap_or_default();
                    if status.attached {
                        return Ok(());
                    }
                    if let Some(message) = status.attach_error.and_then(|e| e.message) {
                        return Err(AttachError::Failed {
                            volume: volume.to_owned(),
                            message,
                        });
                    }
                }
            }
            if tokio::time::Instant::now() > deadline {
                return Err(AttachError::Patience);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Gives up one use; the last one detaches the disk.
    pub(crate) async fn release(
        &self,
        volume: &str,
        handle: &str,
        driver: &str,
    ) -> Result<(), AttachError> {
        let last = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let count = users.get(volume).copied().unwrap_or_default();
            if count > 1 {
                users.insert(volume.to_owned(), count - 1)
            } else {
                users.remove(volume)
            };
            count <= 1
        };
        if !last {
            return Ok(());
        }
        let api: Api<VolumeAttachment> = Api::all(self.cluster.client());
        match call(api.delete(&self.name(handle, driver), &DeleteParams::default())).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                self.claim(volume);
                Err(error.into())
            }
        }
    }

    /// Detaches what a former boot of this machine left attached and no pod here wants any more.
    pub(crate) async fn detach_unused(&self, wanted: &BTreeSet<String>) -> Result<(), CallError> {
        let api: Api<VolumeAttachment> = Api::all(self.cluster.client());
        let all = call(api.list(&ListParams::default())).await?;
        for attachment in all.items.iter().filter(|a| a.spec.node_name == self.node) {
            let volume = attachment
                .spec
                .source
                .persistent_volume_name
                .as_deref()
                .unwrap_or_default();
            let used = self
                .users
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(volume);
            let name = attachment.metadata.name.as_deref().unwrap_or_default();
            if !used && !wanted.contains(volume) {
                tracing::info!(
                    volume,
                    "detached: no pod here uses it since the machine booted"
                );
                match call(api.delete(name, &DeleteParams::default())).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The attach-detach controller's name: the same for the same disk, driver and node.
    fn name(&self, handle: &str, driver: &str) -> String {
        let digest = Sha256::digest(format!("{handle}{driver}{}", self.node));
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        format!("csi-{hex}")
    }
}
