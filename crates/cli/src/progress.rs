//! A run's records as people and programs read them: step, what happens, why it waits, time left.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use ferriswheel_engine::actuator::{Evidence, WaitingOn};
use ferriswheel_engine::driver::Listener;
use ferriswheel_engine::events::Events;
use ferriswheel_engine::record::{Entry, Record, Request, Stop};
use ferriswheel_engine::state::State;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;

use crate::Output;

/// Prints each record of a run as it is written: events on stdout for programs, lines on stderr
/// for people, of whom the driver of a run is not asked for data.
pub struct Progress<'a> {
    teller: Mutex<Teller<'a>>,
    output: Output,
    quiet: bool,
}

impl<'a> Progress<'a> {
    /// Progress of a plan. Times count from now.
    pub fn new(plan: &'a Plan, output: Output, quiet: bool) -> Self {
        Self {
            teller: Mutex::new(Teller::since(plan, Timestamp::now())),
            output,
            quiet,
        }
    }
}

impl Listener for Progress<'_> {
    fn record(&self, record: &Record, state: &State) {
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        // A run goes on although nobody reads its progress any more.
        let _ = match (teller.tell(record, state, self.output), self.output) {
            (Some(event), Output::Json) => writeln!(std::io::stdout(), "{event}"),
            (Some(line), Output::Text) if !self.quiet => writeln!(std::io::stderr(), "{line}"),
            _ => Ok(()),
        };
    }
}

/// Turns records, in their order, into what `apply` and `watch` print.
pub struct Teller<'a> {
    plan: &'a Plan,
    events: Events<'a>,
    since: Timestamp,
}

impl<'a> Teller<'a> {
    /// Times of lines count from `since`.
    pub const fn since(plan: &'a Plan, since: Timestamp) -> Self {
        Self {
            plan,
            events: Events::of(plan),
            since,
        }
    }

    /// The event as JSON, or a line; `None` for what a reader need not see. `state` is the state
    /// after the record.
    pub fn tell(&mut self, record: &Record, state: &State, output: Output) -> Option<String> {
        let event = self.events.event(record, state);
        if output == Output::Json {
            return serde_json::to_string(&event).ok();
        }
        let line = line(self.plan, record)?;
        let at = record.at.duration_since(self.since).as_secs_f64().max(0.0);
        let left = match record.entry {
            Entry::Finished | Entry::Aborted | Entry::Stopped { .. } => String::new(),
            _ => format!("  ~{} left", rough(event.left_ms)),
        };
        Some(format!("{at:>6.1}s  {line}{left}"))
    }
}

/// A time that is no more than an expectation.
pub fn rough(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

fn title(plan: &Plan, id: StepId) -> &str {
    plan.body
        .steps
        .iter()
        .find(|step| step.id == id)
        .map_or("?", |step| step.title.as_str())
}

/// A record as one line; `None` for what a reader need not see.
pub fn line(plan: &Plan, record: &Record) -> Option<String> {
    let of = plan.body.steps.len();
    let step = |id: StepId, what: &str| format!("[{id}/{of}] {what}");
    let first = |evidence: &Evidence| evidence.0.first().cloned().unwrap_or_default();
    Some(match &record.entry {
        Entry::Driving => format!("plan {} taken by driver {}", record.plan, record.epoch),
        Entry::Started { step: id } => step(*id, title(plan, *id)),
        Entry::Found { step: id, evidence } => {
            step(*id, &format!("already so: {}", evidence.0.join("; ")))
        }
        Entry::Waiting { step: id, on } => step(*id, &waiting(on, title(plan, *id))),
        Entry::Acting { .. } | Entry::NotTaken { .. } => return None,
        Entry::Acted {
            step: id, evidence, ..
        } => step(*id, &first(evidence)),
        Entry::Settled { step: id, evidence } => {
            step(*id, &format!("settled: {}", evidence.0.join("; ")))
        }
        Entry::Verified { step: id, evidence } => step(*id, &format!("done: {}", first(evidence))),
        Entry::Stopped { step: id, how } => step(*id, &format!("stopped: {}", stop_text(how))),
        Entry::Asked { request } => match request {
            Request::Approve { gate, by } => format!("gate `{gate}` approved by {by}"),
            Request::Pause => "a pause was asked for".to_owned(),
            Request::Resume => "going on was asked for".to_owned(),
            Request::Abort => "giving up was asked for".to_owned(),
        },
        Entry::Finished => "finished".to_owned(),
        Entry::Aborted => "given up".to_owned(),
        Entry::RollingBack { by } => format!("taken back by plan {by}, from here on"),
        Entry::RolledBack { by } => format!("taken back by plan {by}"),
    })
}

/// What is waited for, without what the reader has just read: an act that is tried again names its
/// own step.
pub fn waiting(on: &WaitingOn, title: &str) -> String {
    if on.object == title {
        format!("waiting: {} ({})", on.reason, on.clears)
    } else {
        format!("waiting on {on}")
    }
}

/// A stop as one line.
pub fn stop_text(stop: &Stop) -> String {
    match stop {
        Stop::Gate { name } => format!("gate `{name}` waits for a person"),
        Stop::Paused => "paused".to_owned(),
        Stop::Diverged { expected, found } => {
            format!("the world diverged: expected {expected}, found {found}")
        }
        Stop::Failed { code, cause } | Stop::NeedsPerson { code, cause } => {
            format!("{code}: {cause}")
        }
    }
}
