//! The volumes of a pod.
//!
//! # Guarantees
//! * A disk is mounted only while it is attached to this node, and detached only after the pod's processes ended.
//! * ConfigMap, Secret, downward and projected volumes follow their sources, all files of a volume at once, at the
//!   pod's next sync; a `subPath` mount keeps what it was started with.

mod atomic;
mod attach;
mod ownership;
mod payload;

pub(super) use attach::Attachments;

use super::cluster::{CallError, call};
use super::config::NodeConfig;
use super::env::EnvError;
use super::fields::Place;
use super::objects::Objects;
use attach::AttachError;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, Volume,
};
use kube::api::Api;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Directories of a machine that hold its own data: a `hostPath` below them is on the machine's own disk and goes
/// with it. Other host paths (`/etc`, `/lib`, `/dev`) are the host's.
const MACHINE_OWN: &[&str] = &[
    "/var", "/mnt", "/opt", "/srv", "/home", "/data", "/tmp", "/root",
];

/// Why a volume is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeError {
    /// A source is missing.
    #[error(transparent)]
    Source(#[from] EnvError),
    /// The disk is not attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The API server did not say.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file or a mount failed.
    #[error("{0}")]
    Setup(String),
}

impl From<std::io::Error> for VolumeError {
    fn from(error: std::io::Error) -> Self {
        Self::Setup(error.to_string())
    }
}

impl VolumeError {
    /// The event's reason.
    pub(super) fn reason(&self) -> &'static str {
        if matches!(self, Self::Attach(_)) {
            "FailedAttachVolume"
        } else {
            "FailedMount"
        }
    }
}

/// What volumes are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub pod: &'a Pod,
    pub place: &'a Place,
    pub config: &'a NodeConfig,
    pub objects: &'a Objects,
    pub attachments: &'a Attachments,
}

impl Context<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// A volume that containers can mount.
#[derive(Clone, Debug)]
pub(super) struct Mounted {
    pub path: PathBuf,
    pub read_only: bool,
}

/// The volumes of one pod.
#[derive(Debug)]
pub(super) struct Volumes {
    directory: PathBuf,
    mounted: BTreeMap<String, Mounted>,
    tmpfs: Vec<PathBuf>,
    disks: BTreeMap<String, Disk>,
    tokens: payload::Tokens,
}

#[derive(Clone, Debug)]
struct Disk {
    handle: String,
    driver: String,
}

/// Something to tell about a volume.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    /// Another node still has the disk.
    Elsewhere { volume: String },
    /// The disk came.
    Attached { volume: String },
}

impl Volumes {
    /// Volumes below the pod's directory.
    pub(super) fn new(pod_directory: &Path) -> Self {
        Self {
            directory: pod_directory.join("volumes"),
            mounted: BTreeMap::new(),
            tmpfs: Vec::new(),
            disks: BTreeMap::new(),
            tokens: payload::Tokens::default(),
        }
    }

    /// A volume by its name in the pod.
    pub(super) fn get(&self, name: &str) -> Option<&Mounted> {
        self.mounted.get(name)
    }

    /// Makes what is missing and brings the rest up to date. May be dropped at any await and called again.
    pub(super) async fn sync(
        &mut self,
        context: &Context<'_>,
        notice: impl Fn(Notice),
    ) -> Result<(), VolumeError> {
        for volume in context
            .pod
            .spec
            .iter()
            .flat_map(|s| s.volumes.iter().flatten())
        {
            if let Some(payload) = payload::gather(context, &mut self.tokens, volume).await? {
                let path = self.place("projected", &volume.name);
                let group = group(context.pod);
                let target = path.clone();
                blocking(move || atomic::write(&target, &payload, group)).await?;
                self.mounted.entry(volume.name.clone()).or_insert(Mounted {
                    path,
                    read_only: true,
                });
            } else if !self.mounted.contains_key(&volume.name) {
                let mounted = self.make(context, volume, &notice).await?;
                self.mounted.insert(volume.name.clone(), mounted);
            }
        }
        Ok(())
    }

    async fn make(
        &mut self,
        context: &Context<'_>,
        volume: &Volume,
        notice: &impl Fn(Notice),
    ) -> Result<Mounted, VolumeError> {
        if let Some(source) = &volume.empty_dir {
            return self.empty_dir(context, &volume.name, source).await;
        }
        if let Some(source) = &volume.host_path {
            let path = host_path(context.config, &source.path);
            let kind = source.type_.clone().unwrap_or_default();
            let target = path.clone();
            blocking(move || ready_host_path(&target, &kind)).await?;
            return Ok(Mounted {
                path,
                read_only: false,
            });
        }
        match claim_of(context.pod, volume) {
            Some((claim, read_only)) => self.disk(context, &claim, read_only, notice).await,
            None => Err(VolumeError::Setup(format!(
                "volume {:?} is of a kind that this node does not know",
                volume.name
            ))),
        }
    }

    async fn empty_dir(
        &mut self,
        context: &Context<'_>,
        name: &str,
        source: &EmptyDirVolumeSource,
    ) -> Result<Mounted, VolumeError> {
        let path = self.place("empty-dir", name);
        fs::create_dir_all(&path)?;
        if source.medium.as_deref() == Some("Memory") && !self.tmpfs.contains(&path) {
            let limit = source
                .size_limit
                .as_ref()
                .and_then(|q| super::quantity::milli(&q.0))
                .map(|m| m / 1000);
            let options = limit.map_or_else(
                || "mode=0777".to_owned(),
                |bytes| format!("mode=0777,size={bytes}"),
            );
            mount(
                Some("tmpfs"),
                &path,
                Some("tmpfs"),
                MsFlags::empty(),
                Some(options.as_str()),
            )
            .map_err(|e| VolumeError::Setup(format!("mount a tmpfs: {e}")))?;
            self.tmpfs.push(path.clone());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        own(context.pod, &path).await?;
        Ok(Mounted {
            path,
            read_only: false,
        })
    }

    async fn disk(
        &mut self,
        context: &Context<'_>,
        claim: &str,
        read_only: bool,
        notice: &impl Fn(Notice),
    ) -> Result<Mounted, VolumeError> {
        let client = context.objects.cluster.client();
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(client.clone(), context.namespace());
        let bound = call(claims.get(claim)).await?;
        let name = bound
            .spec
            .and_then(|s| s.volume_name)
            .filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| {
            VolumeError::Setup(format!("persistentvolumeclaim {claim:?} is not bound"))
        })?;
        let volumes: Api<PersistentVolume> = Api::all(client);
        let spec = call(volumes.get(&name)).await?.spec.unwrap_or_default();
        if let Some(path) = spec
            .host_path
            .map(|h| h.path)
            .or(spec.local.map(|l| l.path))
        {
            let path = host_path(context.config, &path);
            fs::create_dir_all(&path)?;
            return Ok(Mounted { path, read_only });
        }
        let csi = spec.csi.ok_or_else(|| {
            VolumeError::Setup(format!("persistent volume {name:?} is not a CSI volume"))
        })?;
        if !self.disks.contains_key(&name) {
            context.attachments.claim(&name);
            self.disks.insert(
                name.clone(),
                Disk {
                    handle: csi.volume_handle.clone(),
                    driver: csi.driver.clone(),
                },
            );
            if context.attachments.elsewhere(&name).await.is_some() {
                notice(Notice::Elsewhere {
                    volume: name.clone(),
                });
            }
        }
        context
            .attachments
            .attach(&name, &csi.volume_handle, &csi.driver)
            .await?;
        notice(Notice::Attached {
            volume: name.clone(),
        });
        let segment = csi.volume_handle.rsplit('/').next().unwrap_or_default();
        let path = context.config.disks_dir.join(segment);
        if segment.is_empty() || !path.is_dir() {
            return Err(VolumeError::Setup(format!(
                "MountVolume.MountDevice failed for volume {name:?} : no disk {segment:?}"
            )));
        }
        if !read_only {
            own(context.pod, &path).await?;
        }
        Ok(Mounted {
            path,
            read_only: read_only || csi.read_only == Some(true),
        })
    }

    /// Unmounts and detaches. The pod's processes have ended.
    pub(super) async fn release(&mut self, attachments: &Attachments) -> Result<(), VolumeError> {
        self.mounted.clear();
        for path in self.tmpfs.drain(..) {
            if let Err(error) = umount2(&path, MntFlags::MNT_DETACH) {
                tracing::warn!(path = %path.display(), %error, "not unmounted");
            }
        }
        while let Some((name, disk)) = self.disks.pop_first() {
            if let Err(error) = attachments.release(&name, &disk.handle, &disk.driver).await {
                self.disks.insert(name, disk);
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.directory
            .join(format!("kubernetes.io~{kind}"))
            .join(name)
    }
}

fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.clone(), source.read_only == Some(true))),
        (None, Some(_)) => {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            Some((format!("{pod}-{}", volume.name), false))
        }
        (None, None) => None,
    }
}

/// The PersistentVolumes that a pod's claims are bound to.
pub(super) async fn disks_of(objects: &Objects, pod: &Pod) -> Result<Vec<String>, CallError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        if let Some((claim, _)) = claim_of(pod, volume) {
            let api: Api<PersistentVolumeClaim> =
                Api::namespaced(objects.cluster.client(), namespace);
            let bound = call(api.get_opt(&claim)).await?;
            found.extend(bound.and_then(|c| c.spec).and_then(|s| s.volume_name));
        }
    }
    Ok(found)
}

fn group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    context.fs_group.and_then(|g| u32::try_from(g).ok())
}

async fn own(pod: &Pod, path: &Path) -> Result<(), VolumeError> {
    let Some(context) = pod.spec.as_ref().and_then(|s| s.security_context.clone()) else {
        return Ok(());
    };
    let path = path.to_owned();
    blocking(move || ownership::apply(&path, &context)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, VolumeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| VolumeError::Setup(e.to_string()))?
        .map_err(VolumeError::from)
}

fn host_path(config: &NodeConfig, path: &str) -> PathBuf {
    let path = Path::new(path);
    if MACHINE_OWN.iter().any(|own| path.starts_with(own)) {
        config
            .root_dir
            .join("host")
            .join(path.strip_prefix("/").unwrap_or(path))
    } else {
        path.to_owned()
    }
}

fn ready_host_path(path: &Path, kind: &str) -> std::io::Result<()> {
    let wrong = |what: &str| {
        std::io::Error::other(format!(
            "hostPath type check failed: {} is not a {what}",
            path.display()
        ))
    };
    match kind {
        "" | "DirectoryOrCreate" => {
            if !path.exists() {
                fs::create_dir_all(path)?;
            }
            Ok(())
        }
        "Directory" if !path.is_dir() => Err(wrong("directory")),
        "FileOrCreate" => {
            if !path.exists() {
                fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                fs::File::create(path)?;
            }
            Ok(())
        }
        "File" if !path.is_file() => Err(wrong("file")),
        _ => Ok(()),
    }
}
