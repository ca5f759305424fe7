//! A deliberate stop of an agent at a moment of its window, so that tests can do harm to it there.
//!
//! It comes with the process's arguments, never over the network, and happens once: the next
//! process that finds the same directory is not held.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// A file of this name in the agent's directory says that the agent was held.
const MARK: &str = "held";

/// Where the agent is held, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    moment: String,
    period: Duration,
}

/// The text is no hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no moment with milliseconds like paused=1500")]
pub struct NoHold(String);

impl FromStr for Hold {
    type Err = NoHold;

    fn from_str(text: &str) -> Result<Self, NoHold> {
        let bad = || NoHold(text.to_owned());
        let (moment, period) = text.split_once('=').ok_or_else(bad)?;
        Ok(Self {
            moment: moment.to_owned(),
            period: Duration::from_millis(period.parse().map_err(|_| bad())?),
        })
    }
}

impl Hold {
    /// Holds the caller if this is the moment and no process of this directory was held before.
    pub fn hold(&self, moment: &str, directory: &Path) {
        if moment != self.moment || std::fs::File::create_new(directory.join(MARK)).is_err() {
            return;
        }
        tracing::error!(moment, period = ?self.period, "held, as this process was told");
        // The process goes on answering meanwhile: only its window is held.
        let sleep = || std::thread::sleep(self.period);
        match tokio::runtime::Handle::try_current() {
            Ok(_) => tokio::task::block_in_place(sleep),
            Err(_) => sleep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hold;
    use std::time::Duration;

    #[test]
    fn a_hold_is_a_moment_and_milliseconds() {
        let hold = Hold {
            moment: "paused".to_owned(),
            period: Duration::from_millis(1500),
        };
        assert_eq!("paused=1500".parse(), Ok(hold));
        for bad in ["", "paused", "paused=", "paused=long"] {
            assert!(bad.parse::<Hold>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_held_once() {
        let directory = tempfile::tempdir().unwrap();
        let hold: Hold = "paused=0".parse().unwrap();
        hold.hold("stopSent", directory.path());
        assert!(!directory.path().join(super::MARK).exists());
        hold.hold("paused", directory.path());
        assert!(directory.path().join(super::MARK).exists());
    }
}
