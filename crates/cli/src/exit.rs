//! The exit codes, the one documented table.

use std::process::ExitCode;

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Unexpected: a bug, or an environment that no other code describes.
    Unexpected = 1,
    /// Usage or bad input.
    Usage = 2,
    /// The plan has changes (`--detailed-exitcode`).
    Changes = 10,
    /// Waiting for an approval.
    WaitingForApproval = 20,
    /// Paused.
    Paused = 21,
    /// Refused by a guard or a check.
    Refused = 30,
    /// The world diverged: plan again.
    Diverged = 31,
    /// A step failed; the run can be resumed.
    StepFailed = 40,
    /// Rolled back: a rollback has finished, or the run was taken back by one.
    RolledBack = 41,
    /// Stuck: a run that was given up, or a rollback that cannot go on; a person is needed.
    Stuck = 42,
    /// Another driver took over.
    LostLease = 50,
    /// Whoever read stdout has gone; as a shell counts a program that SIGPIPE ended.
    ReaderGone = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table, for `--help`.
pub const TABLE: &str = "\
Exit codes:
  0   done, or nothing to do
  1   unexpected
  2   usage or bad input
  10  the plan has changes (--detailed-exitcode)
  20  waiting for approval
  21  paused
  30  refused by a guard or a check
  31  the world diverged: plan again
  40  a step failed; the run can be resumed
  41  rolled back: a rollback has finished, or the run was taken back
  42  stuck: a person is needed (given up, or a step of a rollback failed)
  50  another driver took over
  141 whoever read stdout has gone";
