//! One container of a pod over time: its runs, what was seen of them, and when it may run again.

use super::backoff::Backoff;
use super::probes::Probes;
use super::recipe::Recipe;
use super::status::{Line, Role, Seen, container_id};
use crate::runtime::{Container as Runtime, Exit};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;

/// 4 KiB: the longest termination message.
const MESSAGE: usize = 4096;
/// 80 lines or 2 KiB: what `FallbackToLogsOnError` takes of the log.
const FALLBACK: (usize, usize) = (80, 2048);

/// 255: what runtimes report for a container that went down with its machine.
const UNKNOWN: i32 = 255;

/// A container of a pod.
#[derive(Debug)]
pub(super) struct Slot {
    pub container: Arc<Container>,
    pub role: Role,
    /// The newest run, running or ended.
    pub current: Option<Arc<Runtime>>,
    pub recipe: Option<Recipe>,
    pub seen: Seen,
    pub last: Option<Box<ContainerStateTerminated>>,
    pub restarts: i32,
    /// Restarts as they will be counted once the newest run is seen.
    pub next_restarts: i32,
    pub backoff: Backoff,
    /// The image could not be had: tried again then.
    pub pull: Option<(Backoff, Timestamp)>,
    pub waiting: Option<(String, String)>,
    pub started: bool,
    pub ready: bool,
    pub probes: Option<Probes>,
    /// A probe condemned the run with this id.
    pub condemned: Option<String>,
}

impl Slot {
    pub(super) fn new(container: &Container, role: Role) -> Self {
        Self {
            container: Arc::new(container.clone()),
            role,
            current: None,
            recipe: None,
            seen: Seen::Nothing,
            last: None,
            restarts: 0,
            next_restarts: 0,
            backoff: Backoff::default(),
            pull: None,
            waiting: None,
            started: false,
            ready: false,
            probes: None,
            condemned: None,
        }
    }

    /// Takes over what the API knows of runs before this boot of the machine: they are over, how is unknown. An init
    /// container runs again, as its pod's namespaces are new.
    pub(super) fn remember(&mut self, before: &ContainerStatus) {
        self.restarts = before.restart_count;
        self.next_restarts = before.restart_count;
        let state = before.state.clone().unwrap_or_default();
        let last = before
            .last_state
            .as_ref()
            .and_then(|s| s.terminated.clone());
        self.last = last.map(Box::new);
        let Some(id) = before
            .container_id
            .clone()
            .filter(|_| self.role != Role::Init)
        else {
            return;
        };
        let unknown = || ContainerStateTerminated {
            container_id: Some(id.clone()),
            exit_code: UNKNOWN,
            reason: Some("Unknown".to_owned()),
            started_at: state.running.as_ref().and_then(|r| r.started_at.clone()),
            finished_at: Some(Time(Timestamp::now())),
            ..ContainerStateTerminated::default()
        };
        let end = match (&state.terminated, &state.waiting, &self.last) {
            (Some(end), ..) => end.clone(),
            // Between two runs: the last one's end is known.
            (None, Some(_), Some(last)) => last.as_ref().clone(),
            _ => unknown(),
        };
        self.seen = Seen::Ended(Box::new(end));
    }

    pub(super) fn name(&self) -> &str {
        &self.container.name
    }

    /// The run that goes on now, whatever was seen of it.
    pub(super) fn live(&self) -> Option<&Arc<Runtime>> {
        self.current.as_ref().filter(|c| c.exit().is_none())
    }

    /// Takes over what is true now; true if that was news.
    pub(super) async fn look(&mut self) -> bool {
        let Some(current) = self.current.clone() else {
            return false;
        };
        let id = &current.spec.id;
        match current.exit() {
            None if self.sees_running(id) => return false,
            None => {
                self.turn_to(id);
                self.seen = Seen::Running {
                    id: id.clone(),
                    since: current.started_at,
                };
            }
            Some(_) if self.sees_end_of(id) => return false,
            Some(exit) => {
                self.turn_to(id);
                self.seen = Seen::Ended(Box::new(self.end(&current, &exit).await));
                self.started = false;
                self.ready = false;
                self.probes = None;
                self.condemned = None;
            }
        }
        self.waiting = None;
        true
    }

    /// A run is seen for the first time: the one before becomes history.
    fn turn_to(&mut self, run: &str) {
        if self.sees_running(run) {
            return;
        }
        if let Seen::Ended(end) = &self.seen {
            self.last = Some(end.clone());
        }
        self.restarts = self.next_restarts;
    }

    fn sees_running(&self, run: &str) -> bool {
        matches!(&self.seen, Seen::Running { id, .. } if id == run)
    }

    fn sees_end_of(&self, run: &str) -> bool {
        matches!(&self.seen, Seen::Ended(end) if end.container_id.as_deref() == Some(container_id(run).as_str()))
    }

    async fn end(&self, run: &Runtime, exit: &Exit) -> ContainerStateTerminated {
        let mut message = run.termination_message().await;
        let fall_back =
            self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if message.is_empty() && exit.code != 0 && fall_back {
            message = last_lines(
                &tokio::fs::read_to_string(&run.spec.log_path)
                    .await
                    .unwrap_or_default(),
            )
            .into_bytes();
        }
        message.truncate(MESSAGE);
        ContainerStateTerminated {
            container_id: Some(container_id(&run.spec.id)),
            exit_code: exit.code,
            signal: None,
            reason: Some(if exit.code == 0 { "Completed" } else { "Error" }.to_owned()),
            message: (!message.is_empty()).then(|| String::from_utf8_lossy(&message).into_owned()),
            started_at: Some(Time(run.started_at)),
            finished_at: Some(Time(exit.at)),
        }
    }

    /// When the run that was seen to end did so.
    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        match &self.seen {
            Seen::Ended(end) => end.finished_at.as_ref().map(|t| t.0),
            _ => None,
        }
    }

    /// The exit status of the run that was seen to end.
    pub(super) fn exit_code(&self) -> Option<i32> {
        match &self.seen {
            Seen::Ended(end) => Some(end.exit_code),
            _ => None,
        }
    }

    /// Runs again after an end, by the pod's policy and its role.
    pub(super) fn runs_again(&self, policy: &str) -> bool {
        let Some(code) = self.exit_code() else {
            return true;
        };
        match (self.role, policy) {
            (Role::Sidecar, _) => true,
            (Role::Main, "Always") => true,
            (Role::Init, "Always") | (_, "OnFailure") => code != 0,
            _ => false,
        }
    }

    /// A probe's word, or its absence, at the start of a run.
    pub(super) fn newly_running(&mut self) {
        self.started = self.container.startup_probe.is_none();
        self.ready = self.container.readiness_probe.is_none();
    }

    pub(super) fn line(&self, initial: &'static str) -> Line {
        let id = self
            .recipe
            .as_ref()
            .map(|r| r.id.clone())
            .unwrap_or_default();
        Line {
            name: self.container.name.clone(),
            image: self.container.image.clone().unwrap_or_default(),
            image_id: id,
            role: self.role,
            seen: self.seen.clone(),
            last: self.last.clone(),
            waiting: self.waiting.clone(),
            initial,
            restarts: self.restarts,
            started: self.started,
            ready: self.ready,
        }
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(|l| l.splitn(4, ' ').nth(3).unwrap_or_default())
        .collect();
    let tail = lines[lines.len().saturating_sub(FALLBACK.0)..].join("\n");
    let cut = tail.len().saturating_sub(FALLBACK.1);
    let cut = (cut..=tail.len())
        .find(|i| tail.is_char_boundary(*i))
        .unwrap_or(0);
    tail[cut..].to_owned()
}
