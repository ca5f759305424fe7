//! A deliberate fault of an agent, for tests of the window.
//!
//! It comes with the process's arguments, never over the network, and happens once: the next
//! process that finds the same directory leaves a window alone.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// What happens when a moment is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    moment: String,
    harm: Harm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// The process ends at once and cleans nothing up.
    Die,
    /// The process does nothing for this long, so that something else can happen to it.
    Hold(Duration),
}

/// The text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault like stopSent=die or paused=hold:1500 (milliseconds)")]
pub struct NoFault(String);

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(text: &str) -> Result<Self, NoFault> {
        let bad = || NoFault(text.to_owned());
        let (moment, harm) = text.split_once('=').ok_or_else(bad)?;
        let harm = match harm.split_once(':') {
            None if harm == "die" => Harm::Die,
            Some(("hold", ms)) => Harm::Hold(Duration::from_millis(ms.parse().map_err(|_| bad())?)),
            _ => return Err(bad()),
        };
        Ok(Self {
            moment: moment.to_owned(),
            harm,
        })
    }
}

impl Fault {
    /// Happens if this is its moment and it has not happened to a process of this directory.
    pub fn happen(&self, moment: &str, directory: &Path) {
        if moment != self.moment {
            return;
        }
        let mark = directory.join("fault-happened");
        if std::fs::File::create_new(mark).is_err() {
            return;
        }
        tracing::error!(moment, harm = ?self.harm, "the injected fault happens");
        match self.harm {
            Harm::Die => std::process::abort(),
            Harm::Hold(period) => std::thread::sleep(period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Harm};
    use std::time::Duration;

    #[test]
    fn faults_are_read() {
        let fault = |moment: &str, harm| Fault {
            moment: moment.to_owned(),
            harm,
        };
        assert_eq!("stopSent=die".parse(), Ok(fault("stopSent", Harm::Die)));
        assert_eq!(
            "paused=hold:1500".parse(),
            Ok(fault("paused", Harm::Hold(Duration::from_millis(1500))))
        );
        for bad in ["", "stopSent", "stopSent=burn", "paused=hold:long"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
