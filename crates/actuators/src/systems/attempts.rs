//! The attempts of one hand-over that runs in the process which drives the plan, and what is told of
//! them: the same for every system.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::databases::record::{Named, Record};
use crate::steps::ack;

/// Attempts of one act, each with every check anew. Three: what is in the way of a healthy set (a
/// slow disk, a long statement, a busy core) passes in seconds; what does not is for a person.
const ATTEMPTS: u32 = 3;

/// Pause between two attempts.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// Attempts of one act.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    made: u32,
    given_up: bool,
    last: Option<(&'static str, String)>,
}

impl Attempts {
    /// Whether there is another one; it begins after a pause, unless it is the first.
    pub(super) async fn another(&mut self) -> bool {
        if self.given_up || self.made >= ATTEMPTS {
            return false;
        }
        if self.made > 0 {
            sleep(AGAIN).await;
        }
        self.made += 1;
        true
    }

    /// The one under way was taken back.
    pub(super) fn undone(&mut self, code: &'static str, reason: &impl Display) {
        tracing::warn!(%reason, attempt = self.made, "an attempt was not carried through");
        self.last = Some((code, reason.to_string()));
    }

    /// Something came of the one under way: those before it do not count any more.
    pub(super) fn progressed(&mut self) {
        self.made = 1;
    }

    /// There is no other one, whatever is left.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// None of them came through.
    pub(super) fn over(self, from: &ObjectRef, untried: &'static str) -> ActError {
        let what = "the hand-over did not come about";
        self.ended(what, &format!("{from} is the primary"), untried)
    }

    /// Likewise: what did not come about, and how it stands now.
    pub(super) fn ended(self, what: &str, stands: &str, untried: &'static str) -> ActError {
        let (code, reason) = self
            .last
            .unwrap_or_else(|| (untried, "nothing was tried".to_owned()));
        let attempts = if self.made == 1 {
            "attempt"
        } else {
            "attempts"
        };
        ask(
            code,
            &format!("{what} in {} {attempts}, {stands}: {reason}", self.made),
        )
    }
}

/// Nobody knows who leads, or nobody may be told to: a person decides.
pub(super) fn ask(code: &'static str, cause: &impl Display) -> ActError {
    ActError::AskHuman {
        code: code.to_owned(),
        cause: cause.to_string(),
    }
}

/// It came through; `unsettled` have not done `what` in time.
pub(super) fn acknowledge<M: Named, O>(
    to: &ObjectRef,
    record: &Record<M, O>,
    what: &str,
    unsettled: &[String],
) -> Ack {
    let mut ack = ack(format!("{to} is the primary"));
    ack.evidence.0.extend(record.lines());
    if !unsettled.is_empty() {
        let who = unsettled.join(", ");
        ack.evidence.0.push(format!("not {what} by {who} in time"));
    }
    ack
}

/// Keeps the record of an attempt for the report; the journal carries the same moments as evidence.
pub(super) fn keep<M: Serialize, O: Serialize>(
    artifacts: &Path,
    database: &DatabaseName,
    of: &str,
    record: &Record<M, O>,
) {
    let path = path(artifacts, database, of);
    if let Ok(bytes) = serde_json::to_vec_pretty(record)
        && let Err(e) = std::fs::write(&path, bytes)
    {
        tracing::warn!(path = %path.display(), error = %e, "the window's record could not be kept");
    }
}

/// The same of an act that is one of several: what is kept of those before it stays in front.
pub(super) fn keep_on<M, O>(
    artifacts: &Path,
    database: &DatabaseName,
    of: &str,
    record: &Record<M, O>,
) where
    M: Clone + Serialize + DeserializeOwned,
    O: Clone + Serialize + DeserializeOwned,
{
    // One that cannot be read is none: nothing is decided by it.
    let earlier = std::fs::read(path(artifacts, database, of)).ok();
    let earlier: Option<Record<M, O>> =
        earlier.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let story = record.clone().after(earlier.unwrap_or_default());
    keep(artifacts, database, of, &story);
}

fn path(artifacts: &Path, database: &DatabaseName, of: &str) -> PathBuf {
    artifacts.join(format!("window-{database}-{of}.json"))
}

#[cfg(test)]
mod tests {
    use super::{ActError, Attempts, ObjectRef};

    fn told(attempts: Attempts) -> (String, String) {
        match attempts.over(&ObjectRef::new("shop", "db-0"), "FW0231") {
            ActError::AskHuman { code, cause } => (code, cause),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_act_is_tried_three_times_and_ends_with_the_last_reason() {
        let mut attempts = Attempts::default();
        let mut made = 0;
        while attempts.another().await {
            made += 1;
            attempts.undone("FW0232", &format!("reason {made}"));
        }
        assert_eq!(made, 3);
        let (code, cause) = told(attempts);
        assert_eq!(code, "FW0232");
        assert!(cause.contains("in 3 attempts, shop/db-0"), "{cause}");
        assert!(cause.ends_with("reason 3"), "{cause}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_forward_is_tried_anew() {
        let mut attempts = Attempts::default();
        let mut made = 0;
        while attempts.another().await {
            made += 1;
            if made <= 4 {
                attempts.progressed();
            }
            attempts.undone("FW0252", &"stuck");
        }
        assert_eq!(made, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_must_not_be_repeated_is_not() {
        let mut attempts = Attempts::default();
        while attempts.another().await {
            attempts.undone("FW0226", &"asked");
            attempts.give_up();
        }
        let (code, cause) = told(attempts);
        assert_eq!(code, "FW0226");
        assert!(cause.contains("in 1 attempt, "), "{cause}");
        assert_eq!(told(Attempts::default()).0, "FW0231");
    }
}
