//! What keeps a pod from being ready.

use serde_json::Value;

use super::ward::condition;
use crate::resilience::scene::Pod;
use crate::resilience::values::{flag, int, list, text};

/// What is wrong with a pod, the first thing that explains the rest.
pub(crate) enum Trouble<'a> {
    /// No node takes it.
    Unplaced(&'a str),
    /// An image cannot be had.
    Image { container: &'a str, message: String },
    /// Killed for its memory.
    Memory { container: &'a str, restarts: i64 },
    /// Ends again and again.
    Crash {
        container: &'a str,
        restarts: i64,
        ended: String,
    },
    /// Runs, and its probe says no.
    Unready { container: &'a str },
}

impl Trouble<'_> {
    /// For people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Unplaced(why) => format!("no node takes it: {why}"),
            Self::Image { container, message } => {
                format!("{container} has no image: {message}")
            }
            Self::Memory {
                container,
                restarts,
            } => format!("{container} was killed for its memory, {restarts} restarts"),
            Self::Crash {
                container,
                restarts,
                ended,
            } => format!("{container} crashes, {restarts} restarts{ended}"),
            Self::Unready { container } => format!("{container} runs and is not ready"),
        }
    }
}

/// What is wrong with a pod that should be ready.
pub(crate) fn trouble<'a>(pod: &Pod<'a>) -> Option<Trouble<'a>> {
    if pod.is_finished() || pod.is_leaving() {
        return None;
    }
    if let Some(placed) = condition(pod.body, "PodScheduled")
        && placed.status == "False"
    {
        return Some(Trouble::Unplaced(placed.message));
    }
    let statuses = || {
        ["/status/initContainerStatuses", "/status/containerStatuses"]
            .iter()
            .flat_map(|path| list(pod.body, path))
    };
    if let Some(found) = statuses().find_map(image) {
        return Some(found);
    }
    if let Some(found) = statuses().find_map(memory) {
        return Some(found);
    }
    if let Some(found) = statuses().find_map(crash) {
        return Some(found);
    }
    if pod.is_ready() {
        return None;
    }
    list(pod.body, "/status/containerStatuses")
        .iter()
        .find(|status| {
            flag(status, "/ready") == Some(false) && status.pointer("/state/running").is_some()
        })
        .map(|status| Trouble::Unready {
            container: name(status),
        })
}

fn name(status: &Value) -> &str {
    text(status, "/name").unwrap_or("a container")
}

fn image(status: &Value) -> Option<Trouble<'_>> {
    let reason = text(status, "/state/waiting/reason")?;
    let known = [
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "ErrImageNeverPull",
    ];
    known.contains(&reason).then(|| Trouble::Image {
        container: name(status),
        message: format!(
            "{reason}: {}",
            text(status, "/state/waiting/message").unwrap_or("no message")
        ),
    })
}

/// The state that a container was in before, or is in.
fn ended(status: &Value) -> Option<&Value> {
    ["/state/terminated", "/lastState/terminated"]
        .iter()
        .find_map(|path| status.pointer(path))
}

fn memory(status: &Value) -> Option<Trouble<'_>> {
    let restarts = int(status, "/restartCount").unwrap_or(0);
    let killed = ended(status).and_then(|end| text(end, "/reason")) == Some("OOMKilled");
    // One that was killed once and has run well since is history.
    let troubled = flag(status, "/ready") == Some(false) || restarts > 1;
    (killed && troubled).then(|| Trouble::Memory {
        container: name(status),
        restarts,
    })
}

fn crash(status: &Value) -> Option<Trouble<'_>> {
    (text(status, "/state/waiting/reason") == Some("CrashLoopBackOff")).then(|| {
        let end = ended(status);
        let code = end.and_then(|end| int(end, "/exitCode"));
        let said = end.and_then(|end| text(end, "/message")).unwrap_or("");
        Trouble::Crash {
            container: name(status),
            restarts: int(status, "/restartCount").unwrap_or(0),
            ended: match code {
                Some(code) => format!(", last with exit code {code} {}", said.trim())
                    .trim_end()
                    .to_owned(),
                None => String::new(),
            },
        }
    })
}
