//! Managed disks: provisioned in the zone of their first consumer, attached to one machine at a time, deleted when
//! their claim lets go of them.
//!
//! One level-triggered pass over claims, volumes and attachments; any change of any of them causes one. A disk is a
//! directory, named by the last segment of its volume handle.
//!
//! # Guarantees
//! * An attachment is reported attached only while no other attachment of the same disk exists, and not before the
//!   attach delay has passed.
//! * The attachments of a machine are removed when the machine is deleted, not when it crashes or falls silent.
//! * A disk that is attached is never deleted.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::addons::DISK_DRIVER;
use super::machines::Yard;

/// Set by the volume binder on a claim that a provisioner should serve.
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Set by the scheduler on a claim that waits for its first consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Set on a volume by whoever made it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The zone of a node for this driver.
const ZONE: &str = "topology.disk.csi.azure.com/zone";
/// Holds a deleted attachment until the disk is detached; the name that the external attacher uses.
const FINALIZER: &str = "external-attacher/disk-csi-azure-com";

/// Pause after a failed pass. The next event may be far away.
const RETRY: Duration = Duration::from_millis(500);

/// An attach or a detach on AKS takes some seconds and at times minutes; a second shows the same order of events.
pub const ATTACH_DELAY: Duration = Duration::from_secs(1);

/// Something could not be done; the next pass tries again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("talk to the API server")]
    Kube(#[from] kube::Error),
    #[error("make or delete the directory of a disk")]
    Io(#[from] io::Error),
    #[error("describe a volume")]
    Object(#[from] serde_json::Error),
}

/// Provisions, attaches, detaches and deletes disks.
pub(crate) struct Disks {
    client: Client,
    directory: PathBuf,
    /// Prefix of volume handles: the resource group of the machines.
    group: String,
    yard: Arc<Yard>,
    delay_ms: AtomicU64,
    changed: Arc<Notify>,
}

struct Stores {
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
    attachments: Store<VolumeAttachment>,
}

impl Disks {
    pub(crate) fn new(
        client: Client,
        directory: PathBuf,
        group: String,
        yard: Arc<Yard>,
        delay: Duration,
    ) -> Self {
        Self {
            client,
            directory,
            group,
            yard,
            delay_ms: AtomicU64::new(millis(delay)),
            changed: Arc::new(Notify::new()),
        }
    }

    /// Attaches that begin from now on take this long.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(millis(delay), Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The delay in force.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    /// Works for as long as the daemon lives.
    pub(crate) async fn run(self: Arc<Self>) {
        let stores = Stores {
            claims: follow(Api::all(self.client.clone()), &self.changed),
            volumes: follow(Api::all(self.client.clone()), &self.changed),
            attachments: follow(Api::all(self.client.clone()), &self.changed),
        };
        let mut seen: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let again = match self.pass(&stores, &mut seen).await {
                Ok(again) => again,
                Err(error) => {
                    tracing::warn!(error = crate::error_chain(&error), "disks: trying again");
                    Some(Instant::now() + RETRY)
                }
            };
            let timer = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.yard.gone.notified() => {}
                () = timer => {}
            }
        }
    }

    /// Does everything that can be done now; gives the time at which something more can be done.
    async fn pass(
        &self,
        stores: &Stores,
        seen: &mut BTreeMap<String, Instant>,
    ) -> Result<Option<Instant>, Error> {
        for claim in stores.claims.state() {
            self.provision(&claim, stores).await?;
        }
        for volume in stores.volumes.state() {
            self.delete_released(&volume, stores).await?;
        }
        self.attach(&stores.attachments.state(), seen).await
    }

    async fn provision(&self, claim: &PersistentVolumeClaim, stores: &Stores) -> Result<(), Error> {
        let Some(spec) = &claim.spec else {
            return Ok(());
        };
        let annotations = claim.annotations();
        let (Some(class), Some(uid), Some(namespace)) =
            (&spec.storage_class_name, claim.uid(), claim.namespace())
        else {
            return Ok(());
        };
        if spec.volume_name.is_some()
            || claim.metadata.deletion_timestamp.is_some()
            || annotations.get(PROVISIONER).map(String::as_str) != Some(DISK_DRIVER)
        {
            return Ok(());
        }
        let name = format!("pvc-{uid}");
        if stores
            .volumes
            .find(|volume| volume.name_any() == name)
            .is_some()
        {
            return Ok(());
        }
        let Some(class) = Api::<StorageClass>::all(self.client.clone())
            .get_opt(class)
            .await?
        else {
            return Ok(());
        };
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = match annotations.get(SELECTED_NODE) {
            Some(node) => nodes.get_opt(node).await?,
            None if waits => return Ok(()),
            None => nodes
                .list(&kube::api::ListParams::default())
                .await?
                .items
                .into_iter()
                .next(),
        };
        let Some(node) = node else { return Ok(()) };
        let zone = node.labels().get(ZONE).cloned().unwrap_or_default();
        let directory = self.directory.join(&name);
        tokio::fs::create_dir_all(&directory).await?;
        let storage = spec
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref())
            .and_then(|requests| requests.get("storage"))
            .map_or("1Gi", |quantity| quantity.0.as_str());
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "annotations": {PROVISIONED_BY: DISK_DRIVER},
            },
            "spec": {
                "capacity": {"storage": storage},
                "accessModes": spec.access_modes,
                "volumeMode": spec.volume_mode,
                "persistentVolumeReclaimPolicy": class.reclaim_policy,
                "storageClassName": class.name_any(),
                "mountOptions": class.mount_options,
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": namespace, "name": claim.name_any(), "uid": uid,
                    "resourceVersion": claim.resource_version(),
                },
                "csi": {
                    "driver": DISK_DRIVER,
                    "volumeHandle": format!("{}/providers/Microsoft.Compute/disks/{name}", self.group),
                    "fsType": "ext4",
                    "volumeAttributes": class.parameters,
                },
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": ZONE, "operator": "In", "values": [zone]},
                ]}]}},
            },
        }))?;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        match volumes.create(&PostParams::default(), &volume).await {
            Ok(_) => {
                tracing::info!(name, zone, "disk created");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete_released(
        &self,
        volume: &PersistentVolume,
        stores: &Stores,
    ) -> Result<(), Error> {
        let name = volume.name_any();
        let Some(spec) = &volume.spec else {
            return Ok(());
        };
        let released = volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Released");
        let attached = stores
            .attachments
            .find(|a| a.spec.source.persistent_volume_name.as_deref() == Some(name.as_str()))
            .is_some();
        if !released
            || attached
            || volume.metadata.deletion_timestamp.is_some()
            || spec.persistent_volume_reclaim_policy.as_deref() != Some("Delete")
            || volume.annotations().get(PROVISIONED_BY).map(String::as_str) != Some(DISK_DRIVER)
        {
            return Ok(());
        }
        match tokio::fs::remove_dir_all(self.directory.join(&name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        ignore_gone(volumes.delete(&name, &DeleteParams::default()).await)?;
        tracing::info!(name, "disk deleted");
        Ok(())
    }

    async fn attach(
        &self,
        attachments: &[Arc<VolumeAttachment>],
        seen: &mut BTreeMap<String, Instant>,
    ) -> Result<Option<Instant>, Error> {
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        let machines = self.yard.names().await;
        let now = Instant::now();
        let ours = || {
            attachments
                .iter()
                .filter(|a| a.spec.attacher == DISK_DRIVER)
        };
        seen.retain(|name, _| ours().any(|a| a.name_any() == *name));
        let mut again: Option<Instant> = None;
        for attachment in ours() {
            let name = attachment.name_any();
            let gone = !machines.contains(&attachment.spec.node_name);
            if attachment.metadata.deletion_timestamp.is_some() {
                if attachment.finalizers().iter().any(|f| f == FINALIZER) {
                    let patch = json!({"metadata": {"finalizers": null}});
                    ignore_gone(
                        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                            .await,
                    )?;
                }
                continue;
            }
            if gone {
                tracing::info!(
                    name,
                    node = attachment.spec.node_name,
                    "machine gone; disk detached"
                );
                ignore_gone(api.delete(&name, &DeleteParams::default()).await)?;
                continue;
            }
            if attachment
                .status
                .as_ref()
                .is_some_and(|status| status.attached)
            {
                continue;
            }
            let disk = &attachment.spec.source.persistent_volume_name;
            let older = ours().any(|other| {
                other.spec.source.persistent_volume_name == *disk
                    && other.name_any() != name
                    && (other.status.as_ref().is_some_and(|status| status.attached)
                        || (
                            other.metadata.creation_timestamp.as_ref().map(|t| t.0),
                            other.name_any(),
                        ) < (
                            attachment.metadata.creation_timestamp.as_ref().map(|t| t.0),
                            name.clone(),
                        ))
            });
            if older {
                // The delay starts when the disk is free.
                seen.remove(&name);
                continue;
            }
            let due = *seen.entry(name.clone()).or_insert(now) + self.delay();
            if due > now {
                again = Some(again.map_or(due, |at| at.min(due)));
                continue;
            }
            let finalizer = json!({"metadata": {"finalizers": [FINALIZER]}});
            ignore_gone(
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&finalizer))
                    .await,
            )?;
            let status = json!({"status": {"attached": true}});
            ignore_gone(
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
                    .await,
            )?;
            tracing::info!(name, node = attachment.spec.node_name, "disk attached");
        }
        Ok(again)
    }
}

/// An object that went away meanwhile needs nothing more.
fn ignore_gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps a store of all objects of a kind and tells of every change.
fn follow<K>(api: Api<K>, changed: &Arc<Notify>) -> Store<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let changed = Arc::clone(changed);
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    tokio::spawn(stream.for_each(move |event| {
        match event {
            Ok(_) => changed.notify_one(),
            Err(error) => tracing::debug!(%error, "watch interrupted"),
        }
        std::future::ready(())
    }));
    store
}
