//! Runs a short-lived program of the host with a deadline.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("start {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with a failure.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it said.
        output: String,
    },
    /// It did not end in time and was killed.
    #[error("{program} did not end within {} s", deadline.as_secs())]
    Deadline {
        /// Its name.
        program: String,
        /// The time it had.
        deadline: Duration,
    },
}

/// How often a running program is looked at. 2 ms: `ip` ends after about that long, and a node needs two of them.
const POLL: Duration = Duration::from_millis(2);

/// Runs `program`, gives it `input` and returns what it wrote.
///
/// # Errors
/// It cannot be started, fails, or outlives the deadline (then it is killed).
pub fn run(program: &str, args: &[&str], input: &str, deadline: Duration) -> Result<String, Error> {
    let start = |source| Error::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    // Inputs are below a pipe's 64 KiB, so this cannot block on a child that does not read.
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early closes its side; its exit status tells the story better than EPIPE.
        let _ = stdin.write_all(input.as_bytes());
    }
    let until = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            break status;
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Deadline {
                program: program.to_owned(),
                deadline,
            });
        }
        std::thread::sleep(POLL);
    };
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_string(&mut output);
    }
    if status.success() {
        return Ok(output);
    }
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut output);
    }
    Err(Error::Failed {
        program: program.to_owned(),
        status,
        output: output.trim().replace('\n', "; "),
    })
}
