//! The `ferriswheel` binary: commands, printing, exit codes, reports.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;
mod connect;
mod crash;
mod exit;
mod failure;
mod gather;
mod input;
mod observer;
mod pages;
mod progress;
mod report;
mod runs;
mod sarif;
mod standpoint;
mod stdout;
mod summary;

use exit::Exit;
// One type, because clap shares a global option with the subcommands that declare it too.
use failure::Failure;
use ferriswheel_sandbox::command::Format as Output;

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

#[derive(Debug, Subcommand)]
enum Command {
    Check(Box<commands::check::CheckArgs>),
    Snapshot(commands::snapshot::SnapshotArgs),
    Lint(commands::lint::LintArgs),
    Diagnose(commands::diagnose::DiagnoseArgs),
    Advise(commands::advise::AdviseArgs),
    Emergency(commands::emergency::EmergencyArgs),
    Generate(commands::generate::GenerateArgs),
    Plan(commands::plan::PlanArgs),
    Apply(commands::apply::ApplyArgs),
    /// Show where a run stands
    #[command(after_help = "Example:
  ferriswheel status
  ferriswheel status --run 3f2a --output json

The exit code says how it stands: 20 waits for a person, 21 paused, 31 plan again, 40 a step failed.")]
    Status(commands::life::RunArgs),
    /// Follow a run until it stands still
    #[command(after_help = "Example:
  ferriswheel watch
  ferriswheel watch --output json           one event a line: step, reason, time left")]
    Watch(commands::life::RunArgs),
    Approve(commands::life::ApproveArgs),
    /// Stop a run before its next act
    #[command(after_help = "Example:
  ferriswheel pause
  ferriswheel resume                        goes on")]
    Pause(commands::life::RunArgs),
    Resume(commands::life::ResumeArgs),
    /// Give a run up; the world stays as it is, and what is left is said
    #[command(after_help = "Example:
  ferriswheel abort --run 3f2a
  ferriswheel rollback 3f2a                 how what is left is taken back")]
    Abort(commands::life::RunArgs),
    Rollback(commands::rollback::RollbackArgs),
    /// Print every record of a run
    #[command(after_help = "Example:
  ferriswheel journal
  ferriswheel journal --run 3f2a --output json")]
    Journal(commands::life::RunArgs),
    Report(commands::report::ReportArgs),
    Probe(commands::probe::ProbeArgs),
    /// A practice AKS on this machine
    #[command(after_help = "Example:
  ferriswheel sandbox up
  ferriswheel sandbox kubectl -- get nodes
  ferriswheel sandbox down")]
    Sandbox(ferriswheel_sandbox::command::SandboxArgs),
    #[command(hide = true)]
    Agent(commands::agent::AgentArgs),
}

fn main() -> ExitCode {
    // First of all: with two providers compiled in by accident, rustls would panic later.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return report(
            Failure::input("a TLS provider was installed twice"),
            Output::Text,
        );
    }
    // The sandbox's processes are this program started again; their roles have no options.
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, internal, role, file] = arguments.as_slice()
        && internal == ferriswheel_sandbox::SUBCOMMAND
    {
        return ferriswheel_sandbox::run_internal(role, std::path::Path::new(file));
    }
    let cli = Cli::parse();
    if let Command::Sandbox(args) = &cli.command {
        return commands::sandbox::run(args);
    }
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
    let (output, quiet) = (cli.output, cli.quiet);
    match cli.command {
        Command::Check(args) => commands::check::run(&args, output, quiet).await,
        Command::Snapshot(args) => commands::snapshot::run(args, output, quiet).await,
        Command::Lint(args) => commands::lint::run(&args, output, quiet),
        Command::Diagnose(args) => commands::diagnose::run(&args, output, quiet).await,
        Command::Advise(args) => commands::advise::run(&args, output, quiet).await,
        Command::Emergency(args) => commands::emergency::run(args, output, quiet).await,
        Command::Generate(args) => commands::generate::run(&args, output, quiet).await,
        Command::Plan(args) => commands::plan::run(args, output).await,
        Command::Apply(args) => commands::apply::run(args, output, quiet).await,
        Command::Status(args) => commands::status::status(&args, output),
        Command::Watch(args) => commands::status::watch(&args, output).await,
        Command::Approve(args) => commands::life::approve(&args),
        Command::Pause(args) => commands::life::pause(&args),
        Command::Resume(args) => commands::life::resume(&args, output, quiet).await,
        Command::Abort(args) => commands::life::abort(&args, output),
        Command::Rollback(args) => commands::rollback::run(args, output, quiet).await,
        Command::Journal(args) => commands::life::journal(&args, output),
        Command::Report(args) => commands::report::run(&args, output),
        Command::Probe(args) => commands::probe::run(args, output == Output::Json).await,
        Command::Sandbox(_) => Ok(Exit::Unexpected),
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
            // A reader who has gone hears nothing either way; the exit code is the refusal's.
            let _ = stdout::print(format_args!("{document}\n"));
        }
    }
    failure.exit.into()
}
