//! `ferriswheel-sandbox`: the sandbox alone, without the rest of Ferriswheel.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use ferriswheel_sandbox::command::{self, Class, SandboxArgs};

/// A practice AKS on this machine.
#[derive(Parser)]
#[command(name = "ferriswheel-sandbox", version)]
struct Cli {
    #[command(flatten)]
    sandbox: SandboxArgs,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, internal, role, file] = arguments.as_slice()
        && internal == ferriswheel_sandbox::SUBCOMMAND
    {
        return ferriswheel_sandbox::run_internal(role, Path::new(file));
    }
    let cli = Cli::parse();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match command::run(&cli.sandbox, &mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let chain = ferriswheel_sandbox::error_chain(&error);
            let _ = writeln!(err, "error: failed to {chain}");
            ExitCode::from(match error.class() {
                Class::Usage => 2,
                Class::Refused => 30,
                Class::Unexpected => 1,
            })
        }
    }
}
