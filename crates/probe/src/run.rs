//! A run: start, status, marks, finish.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::accounting::Recorder;
use crate::certificate::{Certificate, Control, millis};
use crate::config::{MemberAddress, RunConfig};
use crate::judge::{Evidence, Shard, judge};
use crate::secret::Password;
use crate::system::{self, Examination, Prepared, RunNames, System};
use crate::timeline::{self, GapSpan, Mark, Timeline};
use crate::{reader, writer};

/// A start gives up when the database did not answer for this long.
///
/// 30 s: a pod that starts together with its database must not fail for being first.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Between two attempts to start.
const START_RETRY: Duration = Duration::from_millis(200);

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address was refused.
    #[error("{what}")]
    Address {
        /// Which one.
        what: &'static str,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing would write.
    #[error("start without writers")]
    NoWriters,
    /// A shard would be left without a writer.
    #[error("watch {shards} shards with {writers} writers: each writer writes to one")]
    TooFewWriters {
        /// Shards of the database.
        shards: usize,
        /// Writers asked for.
        writers: usize,
    },
    /// The place of the writes could not be prepared.
    #[error("prepare the table of the writes: {detail}")]
    Prepare {
        /// The last thing that went wrong.
        detail: String,
    },
}

/// What writers and readers share.
pub(crate) struct Shared {
    pub(crate) config: RunConfig,
    pub(crate) run_id: String,
    pub(crate) system: Arc<dyn System>,
    shards: Vec<Shard>,
    began: Instant,
    anchor: Timestamp,
    recorder: Mutex<Recorder>,
    stop: watch::Sender<bool>,
}

impl Shared {
    /// Changes the counts; the instant is taken while the lock is held.
    pub(crate) fn record<R>(&self, change: impl FnOnce(&mut Recorder, Duration) -> R) -> R {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed();
        change(&mut recorder, now)
    }

    pub(crate) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) async fn stopped(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Sleeps, or returns at once when the run stops.
    pub(crate) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopped() => {}
        }
    }
}

/// A run in progress, or one that has stopped.
pub struct Probe {
    shared: Arc<Shared>,
    identity: Uuid,
    earlier_probes: u64,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    marks: Mutex<Vec<Mark>>,
    stopped_at: Mutex<Option<(Duration, Timestamp)>>,
    finished: AtomicBool,
}

/// Live counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `running`, `stopping` or `finished`.
    pub state: String,
    /// Identity of the run.
    pub run: String,
    /// What is measured.
    pub subject: String,
    /// Wall clock of the start.
    pub started: Timestamp,
    /// Since the start.
    pub elapsed_ms: f64,
    /// Writes sent.
    pub attempted: u64,
    /// Writes acknowledged.
    pub acked: u64,
    /// Errors that clients saw.
    pub errors: u64,
    /// Writes whose reply never came.
    pub indeterminate: u64,
    /// Writes whose reply is awaited.
    pub in_flight: u64,
    /// Time since the last acknowledgement; null before the first and after the stop.
    pub current_gap_ms: Option<f64>,
    /// Longest interval without an acknowledgement, the current one included.
    pub longest_ack_gap_ms: Option<f64>,
    /// The same for each shard that has a leader of its own, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shard_gaps_ms: BTreeMap<String, f64>,
    /// The latest error.
    pub last_error: Option<String>,
    /// Reads answered.
    pub reads_ok: u64,
    /// Reads failed.
    pub reads_errors: u64,
    /// Marks set so far.
    pub marks: u64,
}

/// How to finish a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishRequest {
    /// Every member, by direct address. Without one, the clients' own address is looked at.
    #[serde(default)]
    pub members: Vec<MemberAddress>,
    /// Negative controls run elsewhere, for the certificate.
    #[serde(default)]
    pub controls: Vec<Control>,
    /// How long to wait for members that restart or catch up.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
    /// Drop everything that the probe created, when the verdict is a pass.
    #[serde(default)]
    pub drop_table: bool,
}

/// 60 s: a member that restarts and replays; one that needs a new copy does not count as whole.
const fn default_deadline_ms() -> u64 {
    60_000
}

impl FinishRequest {
    /// Looks at these members, with the default deadline.
    #[must_use]
    pub fn of(members: Vec<MemberAddress>) -> Self {
        Self {
            members,
            deadline_ms: default_deadline_ms(),
            ..Self::default()
        }
    }
}

/// What a finished run leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The judgement.
    pub certificate: Certificate,
    /// The curve, for the report.
    pub timeline: Timeline,
}

impl Probe {
    /// Prepares the place of the writes and lets the writers go.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: RunConfig, password: Option<&Password>) -> Result<Self, StartError> {
        if config.writers == 0 {
            return Err(StartError::NoWriters);
        }
        let system = system::of(&config, password)?;
        // The keys carry a name that no other probe has used, also when the run is an old one.
        let run = Uuid::now_v7();
        let identity = config.run.unwrap_or(run);
        let Prepared {
            earlier_probes,
            shards,
        } = prepare(system.as_ref(), identity, run).await?;
        if shards.len() > config.writers {
            return Err(StartError::TooFewWriters {
                shards: shards.len(),
                writers: config.writers,
            });
        }
        let shared = Arc::new(Shared {
            run_id: run.to_string(),
            recorder: Mutex::new(Recorder::sharded(config.writers, shards.len())),
            shards: Shard::split(&shards, config.writers),
            stop: watch::Sender::new(false),
            began: Instant::now(),
            anchor: Timestamp::now(),
            config,
            system,
        });
        let mut tasks = JoinSet::new();
        for number in 0..shared.config.writers {
            tasks.spawn(writer::write(Arc::clone(&shared), number));
        }
        for number in 0..shared.config.readers {
            tasks.spawn(reader::read(Arc::clone(&shared), number));
        }
        tracing::info!(
            run = shared.run_id,
            writers = shared.config.writers,
            "writing"
        );
        Ok(Self {
            shared,
            identity,
            earlier_probes,
            tasks: tokio::sync::Mutex::new(tasks),
            marks: Mutex::default(),
            stopped_at: Mutex::default(),
            finished: AtomicBool::new(false),
        })
    }

    /// Identity under which the run was asked for.
    #[must_use]
    pub const fn identity(&self) -> Uuid {
        self.identity
    }

    /// Name of the run that its keys carry.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.shared.run_id
    }

    /// The configuration of the run.
    #[must_use]
    pub fn config(&self) -> &RunConfig {
        &self.shared.config
    }

    /// Live counts.
    #[must_use]
    pub fn status(&self) -> Status {
        let marks = self
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64;
        let state = if self.finished.load(Ordering::Relaxed) {
            "finished"
        } else if self.shared.stopping() {
            "stopping"
        } else {
            "running"
        };
        self.shared.record(|recorder, now| {
            let ledger = recorder.ledger();
            Status {
                state: state.to_owned(),
                run: self.shared.run_id.clone(),
                subject: self.shared.config.subject.clone(),
                started: self.shared.anchor,
                elapsed_ms: millis(now),
                attempted: ledger.attempted(),
                acked: ledger.acked(),
                errors: recorder.errors().total(),
                indeterminate: ledger.indeterminate(),
                in_flight: ledger.in_flight(),
                current_gap_ms: recorder.gaps().open(now).map(millis),
                longest_ack_gap_ms: recorder.gaps().longest(Some(now)).map(millis),
                shard_gaps_ms: recorder
                    .shards()
                    .iter()
                    .zip(&self.shared.shards)
                    .filter_map(|(gaps, shard)| {
                        Some((shard.name.clone(), millis(gaps.longest(Some(now))?)))
                    })
                    .collect(),
                last_error: recorder.errors().last().map(str::to_owned),
                reads_ok: recorder.reads().ok,
                reads_errors: recorder.reads().errors,
                marks,
            }
        })
    }

    /// Marks this moment on the timeline.
    pub fn mark(&self, name: impl Into<String>) -> Mark {
        let at_ms = self.shared.began.elapsed();
        let mark = Mark {
            name: name.into(),
            at: self.wall(at_ms),
            at_ms: u64::try_from(at_ms.as_millis()).unwrap_or(u64::MAX),
        };
        self.marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mark.clone());
        mark
    }

    /// Stops the writers and waits until each has its last reply or its deadline.
    pub async fn stop(&self) {
        {
            let mut stopped = self
                .stopped_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if stopped.is_none() {
                let at = self.shared.record(|recorder, now| {
                    recorder.stop(now);
                    now
                });
                *stopped = Some((at, self.wall(at)));
            }
        }
        self.shared.stop.send_replace(true);
        let mut tasks = self.tasks.lock().await;
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a writer or reader ended badly");
            }
        }
        self.shared.record(|recorder, _| recorder.close());
    }

    /// Stops, looks every key up on every member, and judges. Can be repeated, for example when
    /// a member was not reachable at the first time.
    pub async fn finish(&self, request: &FinishRequest) -> Finished {
        self.stop().await;
        // Nobody changes the counts any more; a copy keeps the lock free for status requests.
        let recorder = self.shared.record(|recorder, _| recorder.clone());
        let (stopped, finished) = self
            .stopped_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .unwrap_or((Duration::ZERO, self.shared.anchor));
        let config = &self.shared.config;
        let examination = Examination {
            members: &request.members,
            run: &self.shared.run_id,
            ledger: recorder.ledger(),
            shards: &self.shared.shards,
            deadline: tokio::time::Instant::now() + Duration::from_millis(request.deadline_ms),
        };
        let cache = self.shared.system.cache();
        let members = self.shared.system.examine(&examination).await;
        let certificate = judge(Evidence {
            run: self.shared.run_id.clone(),
            subject: config.subject.clone(),
            anchor: self.shared.anchor,
            finished,
            recorder: &recorder,
            readers: config.readers,
            shards: self.shared.shards.clone(),
            members,
            cache,
            controls: request.controls.clone(),
            controls_required: config.controls_required,
            earlier_probes: self.earlier_probes,
            limits: config.limits.clone(),
        });
        let timeline = self.timeline_of(&recorder, stopped);
        if request.drop_table && certificate.verdict == crate::certificate::Verdict::Pass {
            self.drop_everything().await;
        }
        self.finished.store(true, Ordering::Relaxed);
        Finished {
            certificate,
            timeline,
        }
    }

    /// The curve so far.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let (recorder, now) = self.shared.record(|recorder, now| (recorder.clone(), now));
        let stopped = *self
            .stopped_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.timeline_of(&recorder, stopped.map_or(now, |(at, _)| at))
    }

    fn timeline_of(&self, recorder: &Recorder, stop: Duration) -> Timeline {
        Timeline {
            schema: timeline::SCHEMA.to_owned(),
            run: self.shared.run_id.clone(),
            anchor: self.shared.anchor,
            bucket_ms: recorder.buckets().width_ms(),
            first_ack_ms: recorder.gaps().first().map(millis),
            stop_ms: millis(stop),
            acks: recorder.buckets().acks(),
            errors: recorder.buckets().errors(),
            marks: self
                .marks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            gaps: recorder
                .gaps()
                .ranked()
                .iter()
                .map(|gap| GapSpan {
                    from_ms: millis(gap.from),
                    to_ms: millis(gap.to),
                })
                .collect(),
        }
    }

    async fn drop_everything(&self) {
        if let Err(trouble) = self.shared.system.drop_everything().await {
            tracing::warn!(%trouble, "what the probe created could not be dropped");
        }
    }

    /// The wall clock at an instant of the run; the two are read together once, at the start.
    fn wall(&self, at: Duration) -> Timestamp {
        jiff::SignedDuration::try_from(at)
            .ok()
            .and_then(|at| self.shared.anchor.checked_add(at).ok())
            .unwrap_or(self.shared.anchor)
    }
}

async fn prepare(system: &dyn System, identity: Uuid, run: Uuid) -> Result<Prepared, StartError> {
    let (identity, run) = (identity.to_string(), run.to_string());
    let names = RunNames {
        identity: &identity,
        run: &run,
    };
    let give_up = tokio::time::Instant::now() + START_DEADLINE;
    loop {
        match system.prepare(names).await {
            Ok(prepared) => return Ok(prepared),
            Err(trouble) if trouble.hopeless || tokio::time::Instant::now() >= give_up => {
                return Err(StartError::Prepare {
                    detail: trouble.to_string(),
                });
            }
            Err(trouble) => tracing::debug!(%trouble, "the database is not ready"),
        }
        tokio::time::sleep(START_RETRY).await;
    }
}
