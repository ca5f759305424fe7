//! The sudden end of this process right after a record, for tests of what a crash leaves behind.
//!
//! `FERRISWHEEL_CRASH_AFTER` is a list of places separated by commas: a record's number (`7`), its
//! name (`driving`), or a step and a name (`3:acting`). At the first of them the process ends by
//! SIGKILL, when the record is durable and before anything follows from it. The journal around
//! which this is put is the one that ships.

use ferriswheel_engine::journal::{AppendError, Journal, ReadError};
use ferriswheel_engine::record::{Entry, Record};
use ferriswheel_plan::ids::PlanId;
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;

/// Where to end. Unset outside of tests.
const VARIABLE: &str = "FERRISWHEEL_CRASH_AFTER";

/// A place in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Number(u64),
    Entry { step: Option<u32>, name: String },
}

/// A journal that ends the process at a place.
pub struct CrashingJournal<J> {
    inner: J,
    places: Vec<Place>,
}

impl<J: Journal> CrashingJournal<J> {
    /// Around a journal, with the places of the environment; without any it only passes on.
    ///
    /// # Errors
    /// A place that cannot be read: a test that never crashes must not pass for one that did.
    pub fn around(inner: J) -> Result<Self, Failure> {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let places = parse(&text)
            .ok_or_else(|| Failure::input(format!("{VARIABLE} cannot be read: {text}")))?;
        Ok(Self { inner, places })
    }
}

fn parse(text: &str) -> Option<Vec<Place>> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            if let Ok(number) = part.parse() {
                return Some(Place::Number(number));
            }
            let (step, name) = match part.split_once(':') {
                Some((step, name)) => (Some(step.parse().ok()?), name),
                None => (None, part),
            };
            let plain = name.chars().all(|c| c.is_ascii_alphabetic()) && !name.is_empty();
            plain.then(|| Place::Entry {
                step,
                name: name.to_owned(),
            })
        })
        .collect()
}

fn is_at(place: &Place, record: &Record) -> bool {
    match place {
        Place::Number(number) => record.seq == *number,
        Place::Entry { step, name } => {
            record.entry.name() == name
                && step.is_none_or(|step| record.entry.step().is_some_and(|at| at.0 == step))
        }
    }
}

impl<J: Journal> Journal for CrashingJournal<J> {
    fn append(
        &self,
        plan: &PlanId,
        epoch: u64,
        at: Timestamp,
        entry: Entry,
    ) -> Result<Record, AppendError> {
        let record = self.inner.append(plan, epoch, at, entry)?;
        if self.places.iter().any(|place| is_at(place, &record)) {
            // Nobody catches SIGKILL, so nothing is flushed, closed or said.
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
        Ok(record)
    }

    fn after(&self, seq: u64) -> Result<Vec<Record>, ReadError> {
        self.inner.after(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, parse};

    #[test]
    fn places_are_numbers_names_or_steps_with_a_name() {
        let entry = |step, name: &str| Place::Entry {
            step,
            name: name.to_owned(),
        };
        assert_eq!(parse(""), Some(Vec::new()));
        assert_eq!(
            parse("7, driving,3:acting"),
            Some(vec![
                Place::Number(7),
                entry(None, "driving"),
                entry(Some(3), "acting")
            ])
        );
        assert_eq!(parse("3:"), None);
        assert_eq!(parse("x:acting"), None);
    }
}
