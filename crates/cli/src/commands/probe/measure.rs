//! A run: writes until it is told to stop, then the certificate.

use std::path::Path;
use std::time::Duration;

use ferriswheel_probe::certificate::{Limits, Verdict};
use ferriswheel_probe::config::{MemberAddress, RunConfig};
use ferriswheel_probe::run::{FinishRequest, Finished, Probe, StartError};
use ferriswheel_probe::secret::Password;
use ferriswheel_probe::serve;
use ferriswheel_probe::system::SystemKind;

use super::args::RunArgs;
use super::controls::read_controls;
use super::words::in_words;
use super::{pretty, stop_signal};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report;
use crate::stdout::{out, outln};

#[expect(clippy::print_stderr, reason = "stdout is data, stderr is progress")]
pub(super) async fn measure(config: RunConfig, args: RunArgs, json: bool) -> Result<Exit, Failure> {
    let members = members(&args.members, config.system)?;
    let password = Password::resolve(args.password_file.as_deref(), config.system)
        .map_err(|e| Failure::input(e.to_string()).evidence(e.source.to_string()))?;
    let controls = match &args.controls {
        Some(path) => read_controls(path)?,
        None => Vec::new(),
    };
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let config = RunConfig {
        subject: args.subject.unwrap_or_else(|| config.subject.clone()),
        writers: args.writers.map_or(config.writers, usize::from),
        readers: usize::from(args.readers),
        think_ms: millis(args.think),
        statement_deadline_ms: millis(args.statement_deadline),
        limits: Limits {
            write_stall_ms: millis(args.limit_write_stall),
            acked_loss: args.limit_acked_loss,
            errors: args.limit_errors.0,
        },
        controls_required: args.require_controls,
        ..config
    };
    // Before the first write, so that a signal is never missed.
    let stop = stop_signal()?;
    let probe = Probe::start(config, password.as_ref())
        .await
        .map_err(not_started)?;
    eprintln!("writing as run {}", probe.run_id());
    tokio::select! {
        () = stop => {}
        () = wait(args.duration) => {}
    }
    eprintln!("stopped; looking every write up");
    let request = FinishRequest {
        members,
        controls,
        deadline_ms: millis(args.members_deadline),
        drop_table: args.drop_table,
    };
    let finished = probe.finish(&request).await;
    if let Some(out) = &args.out {
        write_results(out, &finished)?;
        eprintln!("results are in {}", out.display());
    }
    let certificate = finished.certificate;
    if json {
        outln!("{}", pretty(&certificate)?);
    } else {
        out!("{}", in_words(&certificate));
    }
    Ok(match certificate.verdict {
        Verdict::Pass => Exit::Done,
        Verdict::Fail => Exit::Refused,
        Verdict::Inconclusive => Exit::Unexpected,
    })
}

fn not_started(error: StartError) -> Failure {
    match error {
        StartError::Address { ref source, .. } => {
            Failure::input(error.to_string()).evidence(source.to_string())
        }
        StartError::TooFewWriters { .. } => Failure::input(error.to_string()),
        other => Failure::unexpected(&other),
    }
}

fn members(texts: &[String], system: SystemKind) -> Result<Vec<MemberAddress>, Failure> {
    texts
        .iter()
        .map(|text| {
            MemberAddress::parse(text, system.port()).map_err(|e| Failure::input(e.to_string()))
        })
        .collect()
}

async fn wait(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn write_results(out: &Path, finished: &Finished) -> Result<(), Failure> {
    serve::write_files(out, finished).map_err(|e| Failure::unexpected(&e))?;
    let html = report::render(&report::Input {
        certificate: Some(finished.certificate.clone()),
        timeline: Some(finished.timeline.clone()),
        ..report::Input::default()
    })
    .map_err(|e| Failure::unexpected(&e))?;
    let path = out.join("report.html");
    std::fs::write(&path, html).map_err(|e| Failure::unexpected(&e))
}
