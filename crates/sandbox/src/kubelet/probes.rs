//! Readiness, liveness and startup probes of one running container.
//!
//! # Source
//! `pkg/kubelet/prober`: a probe's first run comes as soon as the container is seen running (or its initial delay is
//! over), then one each period; liveness and readiness wait for the startup probe; a threshold counts results in a
//! row; a failing readiness probe takes readiness away, the other two end the container.

use super::action::{Action, Target};
use super::events::Events;
use crate::runtime::Container as Runtime;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Which question a probe answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// A change that the pod's worker acts on.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The container instance that was probed.
    pub id: String,
    pub kind: Kind,
    pub good: bool,
}

/// The probes of one container instance. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Probes {
    tasks: JoinSet<()>,
}

/// What a probe needs beside its own settings.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub pod: Arc<Pod>,
    pub container: Arc<Container>,
    pub instance: Arc<Runtime>,
    pub target: Target,
    pub events: Events,
    pub verdicts: mpsc::Sender<Verdict>,
}

impl Probes {
    /// Starts what the container asks for. The startup probe alone, if there is one: call again when it was passed.
    pub(super) fn start(subject: &Subject, started: bool) -> Self {
        let container = &subject.container;
        let mut tasks = JoinSet::new();
        let startup = container.startup_probe.as_ref().filter(|_| !started);
        let wanted = match startup {
            Some(probe) => vec![(Kind::Startup, probe)],
            None => [
                (Kind::Liveness, container.liveness_probe.as_ref()),
                (Kind::Readiness, container.readiness_probe.as_ref()),
            ]
            .into_iter()
            .filter_map(|(kind, probe)| probe.map(|p| (kind, p)))
            .collect(),
        };
        for (kind, probe) in wanted {
            tasks.spawn(run(subject.clone(), kind, probe.clone()));
        }
        Self { tasks }
    }

    /// None of them runs any more.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

async fn run(subject: Subject, kind: Kind, probe: Probe) {
    let seconds = |n: Option<i32>, default: u64| {
        Duration::from_secs(
            n.and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n > 0)
                .unwrap_or(default),
        )
    };
    let count = |n: Option<i32>, default: u32| {
        n.and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(default)
    };
    let period = seconds(probe.period_seconds, 10);
    let timeout = seconds(probe.timeout_seconds, 1);
    let thresholds = (
        count(probe.success_threshold, 1),
        count(probe.failure_threshold, 3),
    );
    let Some(action) = Action::of_probe(&probe) else {
        return;
    };

    let delay = u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0);
    let running = jiff::Timestamp::now().duration_since(subject.instance.started_at);
    let running = Duration::try_from(running).unwrap_or_default();
    let remaining = Duration::from_secs(delay).saturating_sub(running);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + remaining, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut row = (true, 0_u32);
    let mut said: Option<bool> = None;
    loop {
        ticks.tick().await;
        if subject.instance.exit().is_some() {
            return;
        }
        let result = action
            .run(&subject.target, &subject.instance, timeout)
            .await;
        if subject.instance.exit().is_some() {
            return;
        }
        let good = result.is_ok();
        if let Err(why) = result {
            let message = format!("{} probe failed: {why}", kind.name());
            subject.events.pod(
                &subject.pod,
                Some(&subject.container.name),
                true,
                "Unhealthy",
                message,
            );
        }
        row = if row.0 == good {
            (good, row.1 + 1)
        } else {
            (good, 1)
        };
        let threshold = if good { thresholds.0 } else { thresholds.1 };
        if row.1 < threshold || said == Some(good) {
            continue;
        }
        said = Some(good);
        let verdict = Verdict {
            id: subject.instance.spec.id.clone(),
            kind,
            good,
        };
        if subject.verdicts.send(verdict).await.is_err() {
            return;
        }
        if kind == Kind::Startup || (kind == Kind::Liveness && !good) {
            return;
        }
    }
}
