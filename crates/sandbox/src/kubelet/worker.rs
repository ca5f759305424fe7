//! One pod on this node, from its arrival to its end.
//!
//! # Guarantees
//! * Init containers run one after another, sidecars before what follows them, then the containers.
//! * What a container does is noticed when a kubelet would: at the next relist, see [`RELIST`].
//! * A pod that is to end gets its grace period, then is removed from the API when nothing of it is left here.

use super::events::Events;
use super::probes::{Kind, Verdict};
use super::publish::Publisher;
use super::registry::Entry;
use super::slot::Slot;
use super::status::{self, Facts, Role, Seen};
use super::volumes::Volumes;
use super::{Shared, fields::Place};
use crate::runtime::Pod as Sandbox;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// 1 s: a kubelet learns of starts and ends by listing its containers once a second (`genericPlegRelistPeriod`), so
/// an end is noticed 0 to 1 s later. The lists' times are the agent's, shared by all its pods; here they are computed
/// instead of made, so that an idle node does nothing.
pub(super) const RELIST: Duration = Duration::from_secs(1);
/// 60 s and up to a half more, by pod: `syncFrequency` with its jitter. ConfigMaps and Secrets reach running pods
/// then, or when the pod itself is changed.
const RESYNC: Duration = Duration::from_secs(60);
/// 10 s: a pod whose containers could not be started for a passing reason is tried again then (`backOffPeriod`).
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// What the worker hears from its own tasks.
#[derive(Debug)]
pub(super) enum Signal {
    /// A container ended.
    Ended,
}

/// The state of one pod.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) updates: watch::Receiver<Update>,
    pub(super) entry: Arc<Entry>,
    pub(super) slots: Vec<Slot>,
    pub(super) volumes: Volumes,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) pod_ip: Option<Ipv4Addr>,
    pub(super) signals: (mpsc::Sender<Signal>, mpsc::Receiver<Signal>),
    pub(super) verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    pub(super) ended: Option<(&'static str, String)>,
    pub(super) over: bool,
    conditions: Vec<PodCondition>,
    start_time: Timestamp,
    relist_at: Option<Instant>,
    resync_at: Instant,
    pub(super) volumes_due: bool,
    pub(super) mount_failures: u32,
    wake: Option<Instant>,
}

/// The newest word on a pod.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// It is wanted as it stands there, perhaps to end.
    Pod(Arc<Pod>),
    /// It is gone from the API.
    Gone(Arc<Pod>),
}

impl Update {
    pub(super) fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Pod(pod) | Self::Gone(pod) => pod,
        }
    }
}

/// Runs a pod to its end.
pub(super) async fn run(shared: Arc<Shared>, updates: watch::Receiver<Update>) {
    let pod = Arc::clone(updates.borrow().pod());
    let (namespace, name, uid) = identity(&pod);
    let entry = shared.registry.add(&namespace, &name, Arc::clone(&pod));
    let publisher = Publisher::start(Arc::clone(&shared.cluster), &pod);
    if pod
        .status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .is_some_and(|p| matches!(p, "Succeeded" | "Failed"))
    {
        // Its work was done before this agent lived: only its removal is left.
        wait_for_end(updates).await;
        publisher.finish().await;
        shared.registry.remove(&namespace, &name, &uid);
        return;
    }
    let mut worker = Worker::new(Arc::clone(&shared), pod, updates, entry);
    worker.live(&publisher).await;
    worker.terminate(&publisher).await;
    worker.clean_up().await;
    publisher.finish().await;
    shared.registry.remove(&namespace, &name, &uid);
    let _ = tokio::fs::remove_dir_all(worker.log_directory()).await;
}

fn identity(pod: &Pod) -> (String, String, String) {
    let meta = &pod.metadata;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    (text(&meta.namespace), text(&meta.name), text(&meta.uid))
}

impl Worker {
    fn new(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        updates: watch::Receiver<Update>,
        entry: Arc<Entry>,
    ) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.iter().flatten().map(|c| {
            let role = if c.restart_policy.as_deref() == Some("Always") {
                Role::Sidecar
            } else {
                Role::Init
            };
            Slot::new(c, role)
        });
        let mut slots: Vec<Slot> = init
            .chain(spec.containers.iter().map(|c| Slot::new(c, Role::Main)))
            .collect();
        let status = pod.status.clone().unwrap_or_default();
        let before = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses);
        for line in before.flatten() {
            if let Some(slot) = slots.iter_mut().find(|s| s.name() == line.name) {
                slot.remember(line);
            }
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let volumes = Volumes::new(&shared.config.root_dir.join("pods").join(&uid));
        Self {
            volumes,
            slots,
            sandbox: None,
            pod_ip: None,
            signals: mpsc::channel(64),
            verdicts: mpsc::channel(64),
            ended: None,
            over: false,
            conditions: status.conditions.unwrap_or_default(),
            start_time: status.start_time.map_or_else(Timestamp::now, |t| t.0),
            relist_at: None,
            resync_at: Instant::now() + resync_period(&uid),
            volumes_due: true,
            mount_failures: 0,
            wake: None,
            shared,
            pod,
            updates,
            entry,
        }
    }

    pub(super) fn events(&self) -> &Events {
        &self.shared.events
    }

    pub(super) fn directory(&self) -> PathBuf {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        self.shared.config.root_dir.join("pods").join(uid)
    }

    pub(super) fn log_directory(&self) -> PathBuf {
        let (namespace, name, uid) = identity(&self.pod);
        self.shared
            .config
            .root_dir
            .join("log/pods")
            .join(format!("{namespace}_{name}_{uid}"))
    }

    pub(super) fn place(&self) -> Place {
        let config = &self.shared.config;
        Place {
            node_ip: config.node_ip,
            pod_ip: self.pod_ip,
            cpu: config.capacity.cpu,
            memory_bytes: config.capacity.memory_bytes,
        }
    }

    pub(super) fn policy(&self) -> &str {
        self.pod
            .spec
            .as_ref()
            .and_then(|s| s.restart_policy.as_deref())
            .unwrap_or("Always")
    }

    /// Until the pod is to end.
    async fn live(&mut self, publisher: &Publisher) {
        loop {
            if self.is_ending() {
                return;
            }
            self.wake = None;
            let ending = wait_for_end(self.updates.clone());
            tokio::select! {
                biased;
                () = ending => continue,
                () = self.sync(publisher) => {}
            }
            let timers = [
                self.wake,
                self.relist_at,
                Some(self.resync_at).filter(|_| !self.over),
            ];
            let next = timers.into_iter().flatten().min();
            tokio::select! {
                changed = self.updates.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_update();
                    if self.is_contradicted() {
                        publisher.again();
                    }
                }
                Some(Signal::Ended) = self.signals.1.recv() => self.expect_relist(),
                Some(verdict) = self.verdicts.1.recv() => self.judge(&verdict),
                () = until(next) => self.tick().await,
            }
        }
    }

    pub(super) fn take_update(&mut self) {
        let update = self.updates.borrow_and_update().clone();
        // A kubelet looks at a pod's volumes again when labels, annotations or the spec change, not
        // when its own word on the pod's status comes back.
        let (old, new) = (&self.pod, update.pod());
        self.volumes_due |= old.metadata.annotations != new.metadata.annotations
            || old.metadata.labels != new.metadata.labels
            || old.spec != new.spec;
        self.pod = Arc::clone(new);
        self.entry.set_pod(Arc::clone(&self.pod));
    }

    /// The API has another word on a condition of ours: the node-lifecycle controller takes `Ready` away from the pods
    /// of a node that was silent, and it is for the node to give it back.
    fn is_contradicted(&self) -> bool {
        let there = self
            .pod
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        there.into_iter().any(|theirs| {
            self.conditions
                .iter()
                .any(|ours| ours.type_ == theirs.type_ && ours.status != theirs.status)
        })
    }

    fn is_ending(&self) -> bool {
        ends(&self.updates.borrow())
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.relist_at.is_some_and(|at| at <= now) {
            self.relist_at = None;
            self.relist().await;
        }
        if self.resync_at <= now {
            let uid = self.pod.metadata.uid.clone().unwrap_or_default();
            self.resync_at = now + resync_period(&uid);
            self.volumes_due = true;
        }
    }

    /// Something happened that the next relist will show.
    pub(super) fn expect_relist(&mut self) {
        if self.relist_at.is_none() {
            let elapsed = self.shared.began.elapsed().as_nanos();
            let next = (elapsed / RELIST.as_nanos() + 1) * RELIST.as_nanos();
            let next = Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
            self.relist_at = Some(self.shared.began + next);
        }
    }

    async fn relist(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.look().await && matches!(slot.seen, Seen::Running { .. }) {
                slot.newly_running();
                self.start_probes(index);
            }
        }
    }

    pub(super) fn judge(&mut self, verdict: &Verdict) {
        let current = |s: &Slot| s.live().is_some_and(|c| c.spec.id == verdict.id);
        let Some(index) = self.slots.iter().position(current) else {
            return;
        };
        if verdict.kind != Kind::Readiness && self.is_ending() {
            return;
        }
        let slot = &mut self.slots[index];
        match (verdict.kind, verdict.good) {
            (Kind::Readiness, good) => slot.ready = good,
            (Kind::Startup, true) => {
                slot.started = true;
                self.start_probes(index);
            }
            (Kind::Liveness, true) => {}
            (Kind::Startup | Kind::Liveness, false) => {
                slot.condemned = Some(verdict.id.clone());
                let which = if verdict.kind == Kind::Startup {
                    "startup"
                } else {
                    "liveness"
                };
                let message = format!(
                    "Container {} failed {which} probe, will be restarted",
                    slot.name()
                );
                let name = slot.name().to_owned();
                self.shared
                    .events
                    .pod(&self.pod, Some(&name), false, "Killing", message);
            }
        }
    }

    /// Brings the pod nearer to what it should be. Sets [`Self::wake`] if time alone will change something.
    async fn sync(&mut self, publisher: &Publisher) {
        if self.over {
            return;
        }
        self.publish(publisher);
        if self.past_deadline() {
            self.ended = Some((
                "DeadlineExceeded",
                "Pod was active on the node longer than the specified deadline".to_owned(),
            ));
            self.wind_up(publisher).await;
            return;
        }
        if !self.sync_volumes().await {
            self.publish(publisher);
            return;
        }
        if self.sandbox.is_none() && !self.open_sandbox().await {
            self.publish(publisher);
            return;
        }
        if self.sync_containers().await {
            self.wind_up(publisher).await;
        }
        self.publish(publisher);
    }

    /// All of the pod's work is done: what is left is ended, the pod stays for whoever wants to read it.
    async fn wind_up(&mut self, publisher: &Publisher) {
        let grace = self.grace();
        self.stop_all(publisher, grace).await;
        self.over = true;
        self.close_sandbox().await;
        if let Err(error) = self.volumes.release(&self.shared.attachments).await {
            tracing::warn!(%error, "volumes not released yet");
        }
        self.publish(publisher);
    }

    fn past_deadline(&mut self) -> bool {
        let Some(seconds) = self
            .pod
            .spec
            .as_ref()
            .and_then(|s| s.active_deadline_seconds)
        else {
            return false;
        };
        let left =
            (self.start_time + SignedDuration::from_secs(seconds)).duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => {
                self.wake_in(left);
                false
            }
            _ => true,
        }
    }

    pub(super) fn wake_in(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    /// Hands the status of now to the publisher and keeps its conditions' times.
    pub(super) fn publish(&mut self, publisher: &Publisher) {
        let init = self.slots.iter().any(|s| s.role != Role::Main);
        let initial = if init {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        let lines: Vec<_> = self.slots.iter().map(|s| s.line(initial)).collect();
        let running = self.slots.iter().any(|s| !matches!(s.seen, Seen::Nothing));
        let facts = Facts {
            pod: &self.pod,
            node_ip: self.shared.config.node_ip,
            // Known to the world when a kubelet's list first shows a container of the pod.
            pod_ip: self.pod_ip.filter(|_| running || self.relist_at.is_none()),
            lines: &lines,
            over: self.over,
            ended: self
                .ended
                .as_ref()
                .map(|(reason, message)| (*reason, message.as_str())),
            before: &self.conditions,
            start_time: self.start_time,
        };
        let status = status::patch(&facts);
        let conditions =
            serde_json::from_value::<Vec<PodCondition>>(status["status"]["conditions"].clone());
        if let Ok(conditions) = conditions {
            self.conditions = conditions;
        }
        publisher.publish(status);
    }
}

fn ends(update: &Update) -> bool {
    match update {
        Update::Gone(_) => true,
        Update::Pod(pod) => pod.metadata.deletion_timestamp.is_some(),
    }
}

async fn wait_for_end(mut updates: watch::Receiver<Update>) {
    if updates.wait_for(ends).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Spread by the pod's UID, so that the pods of a node do not ask all at once.
fn resync_period(uid: &str) -> Duration {
    let spread: u64 = uid.bytes().map(u64::from).sum::<u64>() % 30;
    RESYNC + Duration::from_secs(spread)
}
