//! Drives a plan: observe, guard, announce, act, observe.
//!
//! # Guarantees
//! - An act is announced in the journal before it is made.
//! - After a crash the step is observed first; an act whose fate is unknown is settled before the
//!   next one is announced.
//! - The driver never forces. When a step cannot go on the run stops in a named state.

use std::time::Duration;

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::Step;
use jiff::Timestamp;

use crate::actuator::{ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn};
use crate::clock::Clock;
use crate::journal::{AppendError, Journal, ReadError};
use crate::record::{Entry, Record, Request, Stop};
use crate::state::{Illegal, State, StepState};

/// Pause between two looks at a step that is not done.
///
/// 250 ms: a fifth of the kubelet's own rhythm, so that waiting adds little, and four requests a
/// second are nothing to an API server.
const LOOK: Duration = Duration::from_millis(250);

/// Pause before the world is asked again after it did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A reason of which only the figures changed is written again after this time.
///
/// 5 s: figures such as a lag change with every look; a journal that is synced four times a second
/// for them would wear a disk and hide what matters.
const SAY_AGAIN: Duration = Duration::from_secs(5);

/// A step whose earlier act ended without a clear result is settled again after this time.
const SETTLE_AGAIN: Duration = Duration::from_secs(2);

/// A run that is given up waits this long for an act that is under way, then settles it.
///
/// 30 s: a window of a hand-over, its watchdog and its recovery end within a few seconds; what takes
/// longer (a machine, a pod) is found again in the world and needs no settling.
const IN_FLIGHT: Duration = Duration::from_secs(30);

/// A run that is given up asks this long what became of an act, then a person.
const CERTAIN: Duration = Duration::from_secs(120);

/// Appends to a busy store before the run stops; the store itself waits 5 s each time.
const APPENDS: u32 = 3;

/// How a drive ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Every step is done.
    Finished,
    /// A person gave the run up.
    Aborted,
    /// It stands still at a step and can be resumed.
    Stopped {
        /// Step.
        step: Box<Step>,
        /// How.
        how: Stop,
    },
}

/// The drive broke; the journal says where it stands.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A record could not be written.
    #[error("failed to write the journal")]
    Append(#[from] AppendError),
    /// The journal could not be read.
    #[error("failed to read the journal")]
    Read(#[from] ReadError),
    /// The journal says something that no driver writes.
    #[error("the journal contradicts itself")]
    Illegal(#[from] Illegal),
    /// The journal belongs to another plan.
    #[error("the journal belongs to plan {found}, not to {expected}")]
    OtherPlan {
        /// Ours.
        expected: String,
        /// In the journal.
        found: String,
    },
}

/// Told of every record as it is written.
pub trait Listener: Send + Sync {
    /// A record was written.
    fn record(&self, record: &Record, state: &State);
}

/// Drives one plan with one journal.
pub struct Driver<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The outside world.
    pub actuator: &'a dyn Actuator,
    /// The journal.
    pub journal: &'a dyn Journal,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// Told of every record.
    pub listener: &'a dyn Listener,
}

struct Drive<'a> {
    driver: &'a Driver<'a>,
    state: State,
    epoch: u64,
    /// The last reason that was written, and when.
    waiting: Option<(WaitingOn, Timestamp)>,
    /// When a step without a single answer was settled last.
    settled: Option<Timestamp>,
}

/// What the loop over a step does next.
enum Next {
    Again(Duration),
    Done,
    Stop(Stop),
    Abort,
}

impl Driver<'_> {
    /// Drives the plan until it ends or stands still. Called again, it goes on.
    pub async fn run(&self) -> Result<Outcome, DriveError> {
        let mut drive = self.take().await?;
        if drive.state.over {
            return Ok(drive.ending());
        }
        for step in &self.plan.body.steps {
            if drive.state.steps.get(&step.id) == Some(&StepState::Done) {
                continue;
            }
            match drive.step(step).await? {
                Next::Stop(how) => {
                    return drive.stop(step, how).await;
                }
                Next::Abort => {
                    drive.write(Entry::Aborted).await?;
                    return Ok(Outcome::Aborted);
                }
                Next::Done | Next::Again(_) => {}
            }
        }
        drive.write(Entry::Finished).await?;
        Ok(Outcome::Finished)
    }
}

impl Driver<'_> {
    /// Gives the run up: settles the act whose fate is unknown, if there is one, and waits for
    /// nothing else.
    ///
    /// # Errors
    /// As [`Driver::run`].
    pub async fn give_up(&self) -> Result<Outcome, DriveError> {
        let mut drive = self.take().await?;
        if drive.state.over {
            return Ok(drive.ending());
        }
        if !drive.state.abort_asked {
            drive
                .write(Entry::Asked {
                    request: Request::Abort,
                })
                .await?;
        }
        for step in &self.plan.body.steps {
            if matches!(drive.standing(step), Some(StepState::Acting(_)))
                && let Some(how) = drive.make_certain(step).await?
            {
                return drive.stop(step, how).await;
            }
        }
        drive.write(Entry::Aborted).await?;
        Ok(Outcome::Aborted)
    }

    /// Takes the run for this driver, unless it is over.
    async fn take(&self) -> Result<Drive<'_>, DriveError> {
        let mut state = State::default();
        for record in self.journal.after(0)? {
            if record.plan != self.plan.id {
                return Err(DriveError::OtherPlan {
                    expected: self.plan.id.to_string(),
                    found: record.plan.to_string(),
                });
            }
            state = state.apply(&record)?;
        }
        let mut drive = Drive {
            driver: self,
            epoch: 0,
            state,
            waiting: None,
            settled: None,
        };
        if !drive.state.over {
            drive.epoch = drive.append(Entry::Driving).await?.epoch;
            // Another driver may have written the last record while this one took the run.
            drive.catch_up()?;
        }
        Ok(drive)
    }
}

impl Drive<'_> {
    /// Ends the drive at a step, and says so.
    async fn stop(&mut self, step: &Step, how: Stop) -> Result<Outcome, DriveError> {
        self.write(Entry::Stopped {
            step: step.id,
            how: how.clone(),
        })
        .await?;
        Ok(Outcome::Stopped {
            step: Box::new(step.clone()),
            how,
        })
    }

    /// Finds out what became of an announced act, and makes whole what it left half-done.
    /// `Some` if that was not possible.
    async fn make_certain(&mut self, step: &Step) -> Result<Option<Stop>, DriveError> {
        let begun = self.driver.clock.now();
        loop {
            let Some(StepState::Acting(key)) = self.standing(step) else {
                return Ok(None);
            };
            let waited = self.driver.clock.now().duration_since(begun);
            let pause = match self.driver.actuator.observe(step).await {
                Observed::Done(evidence) => {
                    self.write(Entry::Verified {
                        step: step.id,
                        evidence,
                    })
                    .await?;
                    return Ok(None);
                }
                Observed::InFlight(_) if waited < signed(IN_FLIGHT) => LOOK,
                Observed::Unknown(_) => ASK_AGAIN,
                _ => match self.driver.actuator.settle(step, &key).await {
                    Ok(evidence) => {
                        self.write(Entry::Settled {
                            step: step.id,
                            evidence,
                        })
                        .await?;
                        return Ok(None);
                    }
                    Err(ActError::Retry { after, .. }) => after,
                    Err(ActError::Wait(_)) => LOOK,
                    Err(error) => {
                        return Ok(Some(Stop::NeedsPerson {
                            code: "FW0415".to_owned(),
                            cause: error.to_string(),
                        }));
                    }
                },
            };
            if waited > signed(CERTAIN) {
                return Ok(Some(Stop::NeedsPerson {
                    code: "FW0415".to_owned(),
                    cause: format!("what became of the act is not known: {}", step.title),
                }));
            }
            self.driver.clock.sleep(pause.max(LOOK)).await;
        }
    }

    async fn write(&mut self, entry: Entry) -> Result<(), DriveError> {
        self.append(entry).await?;
        self.catch_up()
    }

    /// Appends, trying again while the store is only busy.
    async fn append(&self, entry: Entry) -> Result<Record, DriveError> {
        for _ in 1..APPENDS {
            match self.append_once(entry.clone()) {
                Err(AppendError::Transient(cause)) => {
                    tracing::warn!(%cause, "the journal is busy");
                    self.driver.clock.sleep(LOOK).await;
                }
                answer => return Ok(answer?),
            }
        }
        Ok(self.append_once(entry)?)
    }

    fn append_once(&self, entry: Entry) -> Result<Record, AppendError> {
        let now = self.driver.clock.now();
        self.driver
            .journal
            .append(&self.driver.plan.id, self.epoch, now, entry)
    }

    fn ending(&self) -> Outcome {
        if self.state.aborted {
            Outcome::Aborted
        } else {
            Outcome::Finished
        }
    }

    /// Takes in what was written since, by us and by people.
    fn catch_up(&mut self) -> Result<(), DriveError> {
        for record in self.driver.journal.after(self.state.seq)? {
            self.state = std::mem::take(&mut self.state).apply(&record)?;
            self.driver.listener.record(&record, &self.state);
            if record.epoch > self.epoch && record.entry == Entry::Driving {
                return Err(DriveError::Append(AppendError::Conflict {
                    ours: self.epoch,
                    in_charge: record.epoch,
                }));
            }
        }
        Ok(())
    }

    fn standing(&self, step: &Step) -> Option<StepState> {
        self.state.steps.get(&step.id).cloned()
    }

    async fn step(&mut self, step: &Step) -> Result<Next, DriveError> {
        if self.standing(step).is_none() {
            self.write(Entry::Started { step: step.id }).await?;
        }
        let deadline = self.driver.clock.now() + Duration::from_millis(step.deadline_ms);
        loop {
            self.catch_up()?;
            match self.once(step).await? {
                Next::Again(pause) => {
                    if self.driver.clock.now() > deadline {
                        return Ok(Next::Stop(self.too_slow(step)));
                    }
                    self.driver.clock.sleep(pause).await;
                }
                end => return Ok(end),
            }
        }
    }

    fn too_slow(&self, step: &Step) -> Stop {
        let why = self
            .state
            .waiting
            .as_ref()
            .map_or_else(|| "no reason was seen".to_owned(), WaitingOn::to_string);
        Stop::Failed {
            code: "FW0401".to_owned(),
            cause: format!("not done after {} s: {why}", step.deadline_ms / 1_000),
        }
    }

    async fn once(&mut self, step: &Step) -> Result<Next, DriveError> {
        let standing = self.standing(step);
        let announced = matches!(standing, Some(StepState::Acting(_)));
        let acted = matches!(standing, Some(StepState::Acted(_)));
        if !announced
            && !acted
            && let Some(end) = self.asked()
        {
            return Ok(end);
        }
        let seen = self.driver.actuator.observe(step).await;
        // A request may have come during the look.
        self.catch_up()?;
        let whole = !matches!(seen, Observed::Done(_) | Observed::InFlight(_));
        if !announced
            && whole
            && let Some(end) = self.asked()
        {
            return Ok(end);
        }
        match seen {
            Observed::Done(evidence) => self.done(step, evidence).await,
            Observed::Ready | Observed::NotReady(_) if announced => self.settle(step).await,
            Observed::Ready => self.ready(step).await,
            Observed::NotReady(on) => self.not_now(step, on).await,
            Observed::InFlight(on) => self.wait(step, on, LOOK).await,
            Observed::Diverged { expected, found } => {
                Ok(Next::Stop(Stop::Diverged { expected, found }))
            }
            Observed::Unknown(cause) => {
                let on = WaitingOn {
                    object: "the world".to_owned(),
                    reason: cause,
                    clears: "it answers again".to_owned(),
                };
                self.wait(step, on, ASK_AGAIN).await
            }
        }
    }

    /// What a person asked for, to be honoured where nothing is under way.
    fn asked(&self) -> Option<Next> {
        if self.state.abort_asked {
            Some(Next::Abort)
        } else if self.state.pause_asked {
            Some(Next::Stop(Stop::Paused))
        } else {
            None
        }
    }

    /// Something hinders the act. If an earlier act ended without a clear result, or with one that is
    /// not there any more, that may be what it left: whole again first.
    async fn not_now(&mut self, step: &Step, on: WaitingOn) -> Result<Next, DriveError> {
        let left = matches!(
            self.standing(step),
            Some(StepState::Open | StepState::Acted(_))
        );
        if left && self.may_settle() {
            let key = self.last_key(step);
            match self.driver.actuator.settle(step, &key).await {
                Ok(evidence) => tracing::info!(step = %step.id, ?evidence, "settled"),
                Err(error) => return self.refused(step, error, None).await,
            }
        }
        self.wait(step, on, LOOK).await
    }

    fn may_settle(&mut self) -> bool {
        let now = self.driver.clock.now();
        let rested = self
            .settled
            .is_none_or(|at| now.duration_since(at) >= signed(SETTLE_AGAIN));
        if rested {
            self.settled = Some(now);
        }
        rested
    }

    async fn done(&mut self, step: &Step, evidence: Evidence) -> Result<Next, DriveError> {
        if matches!(self.standing(step), Some(StepState::Started)) {
            self.write(Entry::Found {
                step: step.id,
                evidence,
            })
            .await?;
            return Ok(Next::Done);
        }
        self.driver
            .clock
            .sleep(Duration::from_millis(step.soak_ms))
            .await;
        match self.driver.actuator.observe(step).await {
            Observed::Done(still) => {
                self.write(Entry::Verified {
                    step: step.id,
                    evidence: still,
                })
                .await?;
                Ok(Next::Done)
            }
            _ => {
                let on = WaitingOn {
                    object: step.title.clone(),
                    reason: "the result did not hold for the soak".to_owned(),
                    clears: "it holds".to_owned(),
                };
                self.wait(step, on, LOOK).await
            }
        }
    }

    /// An act was announced in an earlier life, or its reply was lost, and it is not done.
    async fn settle(&mut self, step: &Step) -> Result<Next, DriveError> {
        let Some(StepState::Acting(key)) = self.standing(step) else {
            return Ok(Next::Again(LOOK));
        };
        match self.driver.actuator.settle(step, &key).await {
            Ok(evidence) => {
                self.write(Entry::Settled {
                    step: step.id,
                    evidence,
                })
                .await?;
                Ok(Next::Again(Duration::ZERO))
            }
            Err(error) => self.refused(step, error, None).await,
        }
    }

    fn key(&self, step: &Step, act: u64) -> OperationKey {
        OperationKey(format!("{}/{}/{act}", self.driver.plan.id, step.id))
    }

    fn last_key(&self, step: &Step) -> OperationKey {
        self.key(step, self.state.acts)
    }

    async fn ready(&mut self, step: &Step) -> Result<Next, DriveError> {
        if let Some(gate) = &step.gate
            && !self.state.approved.contains(&gate.name)
        {
            return Ok(Next::Stop(Stop::Gate {
                name: gate.name.clone(),
            }));
        }
        for guard in &step.guards {
            if let Err(on) = self.driver.actuator.check(guard).await {
                return self.not_now(step, on).await;
            }
        }
        let key = self.key(step, self.state.acts + 1);
        self.write(Entry::Acting {
            step: step.id,
            key: key.clone(),
        })
        .await?;
        match self.driver.actuator.act(step, &key).await {
            Ok(ack) => {
                self.write(Entry::Acted {
                    step: step.id,
                    key,
                    evidence: ack.evidence,
                })
                .await?;
                Ok(Next::Again(Duration::ZERO))
            }
            Err(error) => self.refused(step, error, Some(key)).await,
        }
    }

    async fn refused(
        &mut self,
        step: &Step,
        error: ActError,
        key: Option<OperationKey>,
    ) -> Result<Next, DriveError> {
        if let Some(key) = key {
            self.write(Entry::NotTaken {
                step: step.id,
                key,
                error: error.clone(),
            })
            .await?;
        }
        match error {
            ActError::Retry { after, cause } => {
                let on = WaitingOn {
                    object: step.title.clone(),
                    reason: cause,
                    clears: "it is tried again".to_owned(),
                };
                self.wait(step, on, after).await
            }
            ActError::Wait(on) => self.wait(step, on, LOOK).await,
            ActError::Replan { expected, found } => {
                Ok(Next::Stop(Stop::Diverged { expected, found }))
            }
            ActError::AskHuman { code, cause } => Ok(Next::Stop(Stop::NeedsPerson { code, cause })),
            ActError::Fatal { code, cause } => Ok(Next::Stop(Stop::Failed { code, cause })),
        }
    }

    /// Says why nothing happens: at once when it is about another object, and from time to time
    /// when only the figures change.
    async fn wait(
        &mut self,
        step: &Step,
        on: WaitingOn,
        pause: Duration,
    ) -> Result<Next, DriveError> {
        let now = self.driver.clock.now();
        let news = match (&self.waiting, &self.state.waiting) {
            (Some((last, at)), Some(_)) => {
                *last != on
                    && (last.object != on.object || now.duration_since(*at) >= signed(SAY_AGAIN))
            }
            _ => true,
        };
        if news {
            self.waiting = Some((on.clone(), now));
            self.write(Entry::Waiting { step: step.id, on }).await?;
        }
        Ok(Next::Again(pause))
    }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

/// Writes one record into the journal of a run that nobody drives: that it is given up, or what has
/// become of it. A driver that is still alive is fenced by it.
///
/// # Errors
/// The record may not follow, or the journal fails; then nothing but the change of driver is
/// written.
pub fn conclude(
    plan: &Plan,
    journal: &dyn Journal,
    now: Timestamp,
    entry: Entry,
) -> Result<(), DriveError> {
    let epoch = journal.append(&plan.id, 0, now, Entry::Driving)?.epoch;
    let state = State::replay(&journal.after(0)?)?;
    // Whether it may follow is asked before it is written: a journal keeps what it is given.
    state.clone().apply(&Record {
        seq: state.seq + 1,
        at: now,
        plan: plan.id.clone(),
        epoch,
        entry: entry.clone(),
    })?;
    journal.append(&plan.id, epoch, now, entry)?;
    Ok(())
}

/// Time that a plan still needs, by its own figures, in milliseconds.
pub fn time_left_ms(plan: &Plan, state: &State, _now: Timestamp) -> u64 {
    plan.body
        .steps
        .iter()
        .filter(|step| state.steps.get(&step.id) != Some(&StepState::Done))
        .map(|step| step.expected_ms)
        .sum()
}
