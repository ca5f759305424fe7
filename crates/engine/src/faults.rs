//! Injected faults: a driver that ends after a record, an act that is made twice, a reply that is
//! lost, a run that is stolen.
//!
//! The wrappers sit where a process, a network and another operator would: around the journal and
//! around the outside world. The driver under test is the one that ships.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_plan::ids::PlanId;
use ferriswheel_plan::step::{Guard, Step};
use jiff::Timestamp;

use crate::actuator::{Ack, ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn};
use crate::journal::{AppendError, Journal, ReadError};
use crate::record::{Entry, Record};

/// What happens, counted by records or by acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The driver's process ends right after record N became durable.
    CrashAfterRecord(u64),
    /// Another driver takes the run right after record N; the first one goes on unknowing.
    StolenAfterRecord(u64),
    /// Act N is made twice.
    ActRepeated(u64),
    /// Act N is made, its reply is lost.
    ReplyLost(u64),
    /// Act N never reaches the world.
    RequestLost(u64),
}

/// The end of the driver's process.
#[derive(Debug, thiserror::Error)]
#[error("the driver's process ended here, as the injected fault says")]
pub struct Crashed;

/// A journal around another one, in which the driver's process may end.
pub struct FaultyJournal<'a> {
    inner: &'a dyn Journal,
    fault: Fault,
    over: AtomicBool,
}

impl<'a> FaultyJournal<'a> {
    /// Passes everything on until the fault.
    pub fn new(inner: &'a dyn Journal, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            over: AtomicBool::new(false),
        }
    }

    /// Whether the fault happened.
    pub fn happened(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

impl Journal for FaultyJournal<'_> {
    fn append(
        &self,
        plan: &PlanId,
        epoch: u64,
        at: Timestamp,
        entry: Entry,
    ) -> Result<Record, AppendError> {
        if matches!(self.fault, Fault::CrashAfterRecord(_)) && self.happened() {
            return Err(AppendError::Corrupt(Box::new(Crashed)));
        }
        let record = self.inner.append(plan, epoch, at, entry)?;
        match self.fault {
            Fault::CrashAfterRecord(n) if record.seq == n => {
                self.over.store(true, Ordering::SeqCst);
                Err(AppendError::Corrupt(Box::new(Crashed)))
            }
            Fault::StolenAfterRecord(n) if record.seq == n => {
                self.over.store(true, Ordering::SeqCst);
                self.inner.append(plan, 0, at, Entry::Driving)?;
                Ok(record)
            }
            _ => Ok(record),
        }
    }

    fn after(&self, seq: u64) -> Result<Vec<Record>, ReadError> {
        if matches!(self.fault, Fault::CrashAfterRecord(_)) && self.happened() {
            return Err(ReadError::Store(Box::new(Crashed)));
        }
        self.inner.after(seq)
    }
}

/// An outside world around another one, in which acts and replies may go astray.
pub struct FaultyActuator<'a> {
    inner: &'a dyn Actuator,
    fault: Fault,
    acts: AtomicU64,
    happened: AtomicBool,
}

impl<'a> FaultyActuator<'a> {
    /// Passes everything on until the fault.
    pub fn new(inner: &'a dyn Actuator, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            acts: AtomicU64::new(0),
            happened: AtomicBool::new(false),
        }
    }

    /// Whether the fault happened.
    pub fn happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }

    /// Acts made so far.
    pub fn acts(&self) -> u64 {
        self.acts.load(Ordering::SeqCst)
    }
}

/// A caller that got no reply asks again after this time.
const NO_REPLY: Duration = Duration::from_secs(1);

fn lost(what: &str) -> ActError {
    ActError::Retry {
        after: NO_REPLY,
        cause: format!("the {what} was lost, as the injected fault says"),
    }
}

#[async_trait]
impl Actuator for FaultyActuator<'_> {
    async fn observe(&self, step: &Step) -> Observed {
        self.inner.observe(step).await
    }

    async fn check(&self, guard: &Guard) -> Result<(), WaitingOn> {
        self.inner.check(guard).await
    }

    async fn act(&self, step: &Step, key: &OperationKey) -> Result<Ack, ActError> {
        let number = self.acts.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::ActRepeated(n) if n == number => {
                self.happened.store(true, Ordering::SeqCst);
                let first = self.inner.act(step, key).await;
                match self.inner.act(step, key).await {
                    Ok(ack) => Ok(ack),
                    Err(error) => first.and(Err(error)),
                }
            }
            Fault::ReplyLost(n) if n == number => {
                self.happened.store(true, Ordering::SeqCst);
                let _ = self.inner.act(step, key).await;
                Err(lost("reply"))
            }
            Fault::RequestLost(n) if n == number => {
                self.happened.store(true, Ordering::SeqCst);
                Err(lost("request"))
            }
            _ => self.inner.act(step, key).await,
        }
    }

    async fn settle(&self, step: &Step, key: &OperationKey) -> Result<Evidence, ActError> {
        self.inner.settle(step, key).await
    }
}
