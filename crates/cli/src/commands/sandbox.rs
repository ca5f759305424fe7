//! `ferriswheel sandbox`: a practice AKS on this machine.

use std::io::Write;
use std::process::ExitCode;

use ferriswheel_sandbox::command::{self, Class, SandboxArgs};

use crate::exit::Exit;

/// Carries out `sandbox`. It runs before any thread is started: its stages change namespaces.
pub fn run(args: &SandboxArgs) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match command::run(args, &mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let chain = ferriswheel_sandbox::error_chain(&error);
            // Nothing can be said if stderr is gone.
            let _ = writeln!(err, "error: failed to {chain}");
            match error.class() {
                Class::Usage => Exit::Usage,
                Class::Refused => Exit::Refused,
                Class::Unexpected => Exit::Unexpected,
            }
            .into()
        }
    }
}
