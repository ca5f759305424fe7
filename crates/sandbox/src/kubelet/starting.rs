//! The containers of a pod: which one starts when, and how.

use super::action::{Action, Target};
use super::env::{self, EnvError};
use super::launch::{self, Parts};
use super::probes::{Probes, Subject};
use super::recipe;
use super::slot::Slot;
use super::status::{Role, Seen, container_id};
use super::worker::{RETRY, Signal, Worker};
use crate::runtime::Container as Runtime;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// 128: what runtimes report for a program that could not be executed.
const START_FAILED: i32 = 128;

impl Worker {
    /// One pass over the containers; true when nothing of the pod will run any more.
    pub(super) async fn sync_containers(&mut self) -> bool {
        let policy = self.policy().to_owned();
        for index in 0..self.slots.len() {
            if self.slots[index].condemned.is_some() {
                self.end_condemned(index).await;
            }
        }
        for index in 0..self.slots.len() {
            match self.slots[index].role {
                Role::Main => {}
                Role::Sidecar => {
                    self.run(index, &policy).await;
                    if !self.slots[index].started {
                        return false;
                    }
                }
                Role::Init => match self.slots[index].exit_code() {
                    Some(0) => {}
                    Some(_) if policy == "Never" => return true,
                    // Once the pod's containers ran, init containers are history.
                    None if self
                        .slots
                        .iter()
                        .any(|s| s.role == Role::Main && s.current.is_some()) => {}
                    _ => {
                        self.run(index, &policy).await;
                        return false;
                    }
                },
            }
        }
        let mut left = false;
        for index in 0..self.slots.len() {
            if self.slots[index].role != Role::Main {
                continue;
            }
            if self.slots[index].exit_code().is_some() && !self.slots[index].runs_again(&policy) {
                continue;
            }
            left = true;
            self.run(index, &policy).await;
        }
        !left
    }

    /// Starts a container that does not run, unless it must wait.
    async fn run(&mut self, index: usize, policy: &str) {
        let now = Timestamp::now();
        let slot = &mut self.slots[index];
        // Between a start or an end and the list that shows it, the agent knows no better than a kubelet.
        let unseen = slot.current.as_ref().is_some_and(|c| match &slot.seen {
            Seen::Nothing => true,
            Seen::Running { .. } => true,
            Seen::Ended(end) => {
                end.container_id.as_deref() != Some(container_id(&c.spec.id).as_str())
            }
        });
        if unseen || !slot.runs_again(policy) {
            return;
        }
        if let Some((_, until)) = slot.pull.filter(|(_, until)| now < *until) {
            self.wake_at(until);
            return;
        }
        if let Some(ended) = slot.ended_at()
            && let Some((delay, until)) = slot.backoff.waiting(ended, now)
        {
            self.hold_back(index, delay);
            return self.wake_at(until);
        }
        self.start(index).await;
    }

    fn hold_back(&mut self, index: usize, delay: jiff::SignedDuration) {
        let meta = &self.pod.metadata;
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let (pod, namespace, uid) = (text(&meta.name), text(&meta.namespace), text(&meta.uid));
        let slot = &mut self.slots[index];
        let name = slot.name().to_owned();
        let message = format!(
            "back-off {} restarting failed container={name} pod={pod}_{namespace}({uid})",
            duration(delay),
        );
        let known = slot.waiting.as_ref().is_some_and(|(_, m)| *m == message);
        slot.waiting = Some(("CrashLoopBackOff".to_owned(), message));
        if !known {
            let message = format!("Back-off restarting failed container {name} in pod {pod}");
            self.events()
                .pod(&self.pod, Some(&name), true, "BackOff", message);
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        self.wake_in(wait);
    }

    async fn start(&mut self, index: usize) {
        let name = self.slots[index].name().to_owned();
        let image = self.slots[index]
            .container
            .image
            .clone()
            .unwrap_or_default();
        let recipe = match recipe::find(&image, &self.shared.config) {
            Ok(recipe) => recipe,
            Err(why) => return self.no_image(index, &image, &why),
        };
        self.slots[index].pull = None;
        self.slots[index].recipe = Some(recipe.clone());
        let message = format!("Container image {image:?} already present on machine");
        self.events()
            .pod(&self.pod, Some(&name), false, "Pulled", message);

        let container = Arc::clone(&self.slots[index].container);
        let place = self.place();
        let services = self.shared.services.state();
        let variables = env::variables(
            &self.pod,
            &container,
            &place,
            &self.shared.objects,
            &services,
        )
        .await;
        let id = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let slot = &self.slots[index];
        let restarts = if slot.ended_at().is_some() {
            slot.restarts + 1
        } else {
            slot.restarts
        };
        let log_path = self
            .log_directory()
            .join(&name)
            .join(format!("{restarts}.log"));
        let hostname = launch::hostname(&self.pod, &self.shared.config);
        let directory = self.directory();
        let described = variables
            .map_err(|e: EnvError| e.to_string())
            .and_then(|env| {
                launch::describe(Parts {
                    pod: &self.pod,
                    container: &container,
                    recipe: &recipe,
                    env,
                    volumes: &self.volumes,
                    pod_directory: &directory,
                    hostname: &hostname,
                    id: id.clone(),
                    log_path,
                })
                .map_err(|e| e.to_string())
            });
        let spec = match described {
            Ok(spec) => spec,
            Err(why) => {
                self.events().pod(
                    &self.pod,
                    Some(&name),
                    true,
                    "Failed",
                    format!("Error: {why}"),
                );
                self.slots[index].waiting = Some(("CreateContainerConfigError".to_owned(), why));
                return self.wake_in(RETRY);
            }
        };
        let Some(sandbox) = &self.sandbox else { return };
        let started = Runtime::start(&self.shared.runtime, sandbox, spec).await;

        let now = Timestamp::now();
        let slot = &mut self.slots[index];
        if let Some(old) = slot.current.take() {
            old.remove().await;
        }
        if let Some(ended) = slot.ended_at() {
            slot.backoff.restarted(ended, now);
            slot.next_restarts = restarts;
        }
        slot.waiting = None;
        match started {
            Ok(run) => {
                let run = Arc::new(run);
                slot.current = Some(Arc::clone(&run));
                for old in self.entry.started(&name, Arc::clone(&run)) {
                    let _ = tokio::fs::remove_file(old).await;
                }
                self.events().pod(
                    &self.pod,
                    Some(&name),
                    false,
                    "Created",
                    format!("Container created: {name}"),
                );
                self.events().pod(
                    &self.pod,
                    Some(&name),
                    false,
                    "Started",
                    format!("Container started: {name}"),
                );
                self.expect_relist();
                let signals = self.signals.0.clone();
                let watched = Arc::clone(&run);
                tokio::spawn(async move {
                    watched.ended().await;
                    let _ = signals.send(Signal::Ended).await;
                });
                self.post_start(index, &run).await;
            }
            Err(error) => {
                let message = error.to_string();
                self.events().pod(
                    &self.pod,
                    Some(&name),
                    true,
                    "Failed",
                    format!("Error: {message}"),
                );
                let slot = &mut self.slots[index];
                if let Seen::Ended(end) = &slot.seen {
                    slot.last = Some(end.clone());
                }
                slot.restarts = slot.next_restarts;
                slot.seen = Seen::Ended(Box::new(ContainerStateTerminated {
                    container_id: Some(container_id(&id)),
                    exit_code: START_FAILED,
                    reason: Some("StartError".to_owned()),
                    message: Some(message),
                    started_at: Some(Time(now)),
                    finished_at: Some(Time(now)),
                    ..ContainerStateTerminated::default()
                }));
                // Its next turn comes by the back-off.
                self.wake_in(Duration::ZERO);
            }
        }
    }

    fn no_image(&mut self, index: usize, image: &str, why: &str) {
        let now = Timestamp::now();
        let slot = &mut self.slots[index];
        let name = slot.name().to_owned();
        let mut backoff = slot.pull.map(|(backoff, _)| backoff).unwrap_or_default();
        backoff.restarted(now, now);
        let until = backoff.waiting(now, now).map_or(now, |(_, until)| until);
        let again = slot.pull.is_some();
        slot.pull = Some((backoff, until));
        let (reason, message) = if again {
            (
                "ImagePullBackOff",
                format!("Back-off pulling image {image:?}: ErrImagePull: {why}"),
            )
        } else {
            ("ErrImagePull", why.to_owned())
        };
        slot.waiting = Some((reason.to_owned(), message));
        self.events().pod(
            &self.pod,
            Some(&name),
            true,
            "Failed",
            format!("Failed to pull image {image:?}: {why}"),
        );
        self.events().pod(
            &self.pod,
            Some(&name),
            true,
            "Failed",
            format!("Error: {reason}"),
        );
        self.wake_at(until);
    }

    async fn post_start(&mut self, index: usize, run: &Arc<Runtime>) {
        let container = Arc::clone(&self.slots[index].container);
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref())
            .and_then(Action::of_handler);
        let Some(hook) = hook else { return };
        let target = self.target(index);
        // The hook ends with its container at the latest.
        let result = tokio::select! {
            result = hook.run(&target, run, Duration::from_secs(u64::from(u32::MAX))) => result,
            _ = run.ended() => return,
        };
        if let Err(why) = result {
            let name = container.name.clone();
            self.events().pod(
                &self.pod,
                Some(&name),
                true,
                "FailedPostStartHook",
                format!("PostStartHook failed: {why}"),
            );
            self.events().pod(
                &self.pod,
                Some(&name),
                false,
                "Killing",
                "FailedPostStartHook".to_owned(),
            );
            let grace = self.grace();
            self.kill(index, grace, false).await;
        }
    }

    pub(super) fn target(&self, index: usize) -> Target {
        Target::of(
            &self.slots[index].container,
            self.pod_ip.unwrap_or(Ipv4Addr::LOCALHOST),
        )
    }

    /// Starts the probes that are due for the container's present run.
    pub(super) fn start_probes(&mut self, index: usize) {
        let Some(instance) = self.slots[index].live().cloned() else {
            return;
        };
        let subject = Subject {
            pod: Arc::clone(&self.pod),
            container: Arc::clone(&self.slots[index].container),
            instance,
            target: self.target(index),
            events: self.events().clone(),
            verdicts: self.verdicts.0.clone(),
        };
        let slot = &mut self.slots[index];
        slot.probes = Some(Probes::start(&subject, slot.started)).filter(|p| !p.is_empty());
    }
}

/// As Go writes it: `10s`, `2m40s`.
fn duration(delay: jiff::SignedDuration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

impl Slot {
    /// The signal that asks this container to end.
    pub(super) fn stop_signal(&self) -> nix::sys::signal::Signal {
        use nix::sys::signal::Signal;
        let own = self
            .container
            .lifecycle
            .as_ref()
            .and_then(|l| l.stop_signal.as_deref())
            .and_then(|s| s.parse().ok());
        own.or_else(|| self.recipe.as_ref().map(|r| r.stop_signal))
            .unwrap_or(Signal::SIGTERM)
    }
}
