//! The `ferriswheel` binary: commands, printing, exit codes, reports.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;
mod connect;
mod exit;
mod failure;

use exit::Exit;
use failure::Failure;

/// Carries Kubernetes clusters with databases through upgrades, and proves it
#[derive(Debug, Parser)]
#[command(name = "ferriswheel", version, after_help = exit::TABLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document, or one object a line, instead of text
    #[arg(long, value_enum, global = true, default_value = "text")]
    output: Output,
    /// Print no progress
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// Form of what goes to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(commands::agent::AgentArgs),
}

fn main() -> ExitCode {
    // First of all: with two providers compiled in by accident, rustls would panic later.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return report(Failure::input("a TLS provider was installed twice"), Output::Text);
    }
    let cli = Cli::parse();
    let output = cli.output;
    start_log(cli.quiet);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return report(Failure::unexpected(&e), output),
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => report(failure, output),
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Agent(args) => commands::agent::run(args).await,
    }
}

/// Logs go to stderr and are for debugging; `RUST_LOG` chooses what.
fn start_log(quiet: bool) {
    let default = if quiet { "error" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[expect(clippy::print_stderr, reason = "stderr is where refusals go")]
#[expect(clippy::print_stdout, reason = "stdout is data")]
fn report(failure: Failure, output: Output) -> ExitCode {
    match output {
        Output::Text => {
            for diagnostic in &failure.diagnostics {
                eprint!("{}", failure::render(diagnostic));
            }
        }
        Output::Json => {
            let document = serde_json::json!({
                "schema": "ferriswheel.refusal.v1",
                "exit": failure.exit as u8,
                "diagnostics": failure.diagnostics,
            });
            println!("{document}");
        }
    }
    failure.exit.into()
}
