//! The process of a control's server: frozen, killed, started again, and gone when dropped.

use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ControlError, stands_still, system, until};

/// A running process, or none.
#[derive(Default)]
pub(super) struct Process(Option<Child>);

impl Process {
    /// Runs a command instead of what runs.
    ///
    /// # Errors
    /// It could not be started.
    pub(super) fn start(&mut self, command: &mut Command) -> Result<(), ControlError> {
        self.end();
        self.0 = Some(command.spawn().map_err(system("start the server"))?);
        Ok(())
    }

    /// Stops it in the middle of whatever it does, and returns once it stands still.
    ///
    /// # Errors
    /// It is not running, or goes on.
    pub(super) async fn freeze(&self) -> Result<(), ControlError> {
        let pid = self.signal(Signal::SIGSTOP)?;
        until("the server stands still", async || stands_still(pid)).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not running.
    pub(super) fn thaw(&self) -> Result<(), ControlError> {
        self.signal(Signal::SIGCONT).map(drop)
    }

    /// Kills it without a word, and waits until it is gone.
    pub(super) fn end(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: Signal) -> Result<Pid, ControlError> {
        let process = self.0.as_ref();
        let process = process
            .ok_or_else(|| ControlError::Statement("the server is not running".to_owned()))?;
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap_or(i32::MAX));
        kill(pid, signal)
            .map(|()| pid)
            .map_err(|e| system("signal the server")(e.into()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
