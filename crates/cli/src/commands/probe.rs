//! `probe`: measure downtime and durability, serve the judge as a pod, prove that it can fail.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use ferriswheel_probe::certificate::{Certificate, Control, Limits, Verdict};
use ferriswheel_probe::config::{MemberAddress, REDIS_WRITERS, RunConfig};
use ferriswheel_probe::controls::{self, ControlError};
use ferriswheel_probe::run::{FinishRequest, Finished, Probe, StartError};
use ferriswheel_probe::secret::Password;
use ferriswheel_probe::serve::{self, ServeConfig, ServeError};
use ferriswheel_probe::system::SystemKind;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::report;
use crate::stdout::{out, outln};

/// Format of `probe controls --output json`.
const CONTROLS_SCHEMA: &str = "ferriswheel.controls.v1";

/// Measure downtime and durability over the wire and write a certificate
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel probe postgres --dsn 'host=db user=app dbname=app' --duration 60s --out probe-result
  ferriswheel probe redis --nodes redis.db.svc:6379 --duration 60s --out probe-result
  ferriswheel probe controls")]
pub struct ProbeArgs {
    #[command(subcommand)]
    command: ProbeCommand,
}

#[derive(Debug, Subcommand)]
enum ProbeCommand {
    /// Write to a PostgreSQL database until told to stop, then look every write up on every member
    #[command(after_help = "Example:
  ferriswheel probe postgres \\
    --dsn 'host=pgbouncer.db.svc user=app dbname=app' --password-file /run/secrets/pg \\
    --members pg-0=pg-0.pg.db.svc:5432,pg-1=pg-1.pg.db.svc:5432 \\
    --duration 60s --out probe-result

Exit code 0 for a pass, 30 for a fail, 1 for an inconclusive run.")]
    Postgres(Box<PostgresArgs>),
    /// Write to every shard of a Redis or Valkey cluster, then look every write up on every member
    #[command(after_help = "Example:
  ferriswheel probe redis \\
    --nodes redis.db.svc:6379 --password-file /run/secrets/redis \\
    --members redis-0=10.0.0.4,redis-1=10.0.0.5,redis-2=10.0.0.6 \\
    --duration 60s --out probe-result

Exit code 0 for a pass, 30 for a fail, 1 for an inconclusive run.")]
    Redis(Box<RedisArgs>),
    /// Write to a MongoDB replica set, then look every write up on every member
    #[command(after_help = "Example:
  ferriswheel probe mongodb \\
    --address 'mongodb://app@mongo-0.mongo.db.svc,mongo-1.mongo.db.svc/shop?replicaSet=rs0' \\
    --password-file /run/secrets/mongo \\
    --members mongo-0=10.0.0.4,mongo-1=10.0.0.5,mongo-2=10.0.0.6 \\
    --duration 60s --out probe-result

Exit code 0 for a pass, 30 for a fail, 1 for an inconclusive run.")]
    Mongodb(Box<MongoArgs>),
    /// Write to a MariaDB set, then look every write up on every member
    #[command(after_help = "Example:
  ferriswheel probe mariadb --address mariadb://app@mariadb-primary.db.svc/shop \\
    --password-file /run/secrets/mariadb \\
    --members mariadb-0=10.0.0.4,mariadb-1=10.0.0.5,mariadb-2=10.0.0.6 \\
    --duration 60s --out probe-result

Exit code 0 for a pass, 30 for a fail, 1 for an inconclusive run.")]
    Mariadb(Box<MariadbArgs>),
    /// Serve the judge over HTTP, as the probe's pod does
    #[command(after_help = "Example:
  ferriswheel probe serve --listen 0.0.0.0:8080 --config /etc/ferriswheel/probe.json")]
    Serve(ServeArgs),
    /// Harm servers of its own and show that the judge reports it
    #[command(after_help = "Example:
  ferriswheel probe controls --output json > controls.json
  ferriswheel probe postgres ... --controls controls.json

Exit code 0 when every harm was detected, 30 otherwise.")]
    Controls(ControlsArgs),
}

#[derive(Debug, Args)]
struct PostgresArgs {
    /// Address of the clients: one host or several with target_session_attrs; no password in it
    #[arg(long, value_name = "DSN")]
    dsn: String,
    /// Address of the readers [default: the clients']
    #[arg(long, value_name = "DSN")]
    read_dsn: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct RedisArgs {
    /// Some nodes of the cluster, [USER@]HOST[:PORT],...; the others are asked for; no password in it
    #[arg(long, value_name = "NODES")]
    nodes: String,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct MongoArgs {
    /// Address of the clients; writes wait for a majority unless it says `w=1`; no password in it
    #[arg(long, value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct MariadbArgs {
    /// Address of the clients; of several hosts, the one that takes writes; no password in it
    #[arg(long, value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    run: RunArgs,
}

/// What every system's run has.
#[derive(Debug, Args)]
struct RunArgs {
    /// File with the password [default: PGPASSWORD; REDISCLI_AUTH; MONGODB_PASSWORD; MYSQL_PWD]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Every member by direct address, to look each write up on; without it, those that the
    /// clients' address leads to
    #[arg(long, value_name = "NAME=HOST:PORT", value_delimiter = ',')]
    members: Vec<String>,
    /// How long to write, e.g. 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "until_signal", required_unless_present = "until_signal")]
    duration: Option<Duration>,
    /// Write until SIGINT or SIGTERM
    #[arg(long)]
    until_signal: bool,
    /// Directory for certificate.json, timeline.json and report.html
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What is measured, for the certificate [default: the system's name]
    #[arg(long)]
    subject: Option<String>,
    /// Concurrent writers; of a sharded system at least one a shard [default: 4; redis: 6]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    writers: Option<u16>,
    /// Concurrent readers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    readers: u16,
    /// Pause of a writer after each answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2ms")]
    think: Duration,
    /// A statement without an answer for this long is given up, its outcome unknown
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15s")]
    statement_deadline: Duration,
    /// Longest allowed interval without an acknowledged write
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    limit_write_stall: Duration,
    /// Acknowledged writes that may be lost
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit_acked_loss: u64,
    /// Errors that clients may see; `any` counts them without judging
    #[arg(long, value_name = "N", default_value = "0", value_parser = error_limit)]
    limit_errors: ErrorLimit,
    /// Result of `probe controls --output json`, for the certificate
    #[arg(long, value_name = "FILE")]
    controls: Option<PathBuf>,
    /// Without detected controls the verdict is inconclusive
    #[arg(long)]
    require_controls: bool,
    /// How long to wait for members that restart or catch up
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    members_deadline: Duration,
    /// Drop what the probe wrote after a pass
    #[arg(long)]
    drop_table: bool,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// JSON file: token_file, and optionally password_file, out, run
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct ControlsArgs {
    /// System to harm: postgres, redis, mongodb or mariadb
    #[arg(long, value_name = "SYSTEM", default_value = "postgres", value_parser = system_kind)]
    system: SystemKind,
    /// Directory with initdb, postgres and pg_basebackup [default: Debian's newest]
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// Directory with redis-server or valkey-server [default: from the PATH]
    #[arg(long, value_name = "DIR")]
    redis_bin: Option<PathBuf>,
    /// Directory with mongod [default: from the PATH]
    #[arg(long, value_name = "DIR")]
    mongodb_bin: Option<PathBuf>,
    /// Directory with mariadbd [default: Debian's]
    #[arg(long, value_name = "DIR")]
    mariadb_bin: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ErrorLimit(Option<u64>);

fn error_limit(text: &str) -> Result<ErrorLimit, String> {
    if text == "any" {
        return Ok(ErrorLimit(None));
    }
    text.parse()
        .map(|n| ErrorLimit(Some(n)))
        .map_err(|_| "write a number, or `any`".to_owned())
}

fn system_kind(text: &str) -> Result<SystemKind, String> {
    [
        SystemKind::Postgres,
        SystemKind::Redis,
        SystemKind::Mongodb,
        SystemKind::Mariadb,
    ]
    .into_iter()
    .find(|kind| kind.name() == text)
    .ok_or_else(|| "write postgres, redis, mongodb or mariadb".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "write a time such as 500ms, 90s or 5m".to_owned())
}

/// Carries out `probe`.
///
/// # Errors
/// Bad input, a database or a file out of reach.
pub async fn run(args: ProbeArgs, json: bool) -> Result<Exit, Failure> {
    match args.command {
        ProbeCommand::Postgres(args) => {
            let config = RunConfig {
                read_dsn: args.read_dsn,
                ..RunConfig::new(args.dsn)
            };
            measure(config, args.run, json).await
        }
        ProbeCommand::Redis(args) => {
            let config = RunConfig {
                writers: REDIS_WRITERS,
                ..RunConfig::redis(args.nodes)
            };
            measure(config, args.run, json).await
        }
        ProbeCommand::Mongodb(args) => {
            measure(RunConfig::mongodb(args.address), args.run, json).await
        }
        ProbeCommand::Mariadb(args) => {
            measure(RunConfig::mariadb(args.address), args.run, json).await
        }
        ProbeCommand::Serve(args) => serve(args).await,
        ProbeCommand::Controls(args) => run_controls(args, json).await,
    }
}

#[expect(clippy::print_stderr, reason = "stdout is data, stderr is progress")]
async fn measure(config: RunConfig, args: RunArgs, json: bool) -> Result<Exit, Failure> {
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

fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::unexpected(&e));
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn serve(args: ServeArgs) -> Result<Exit, Failure> {
    let text = read(&args.config)?;
    let config: ServeConfig = serde_json::from_str(&text).map_err(|e| {
        Failure::input(format!(
            "the probe's configuration {} is wrong",
            args.config.display()
        ))
        .evidence(e.to_string())
    })?;
    let stop = stop_signal()?;
    serve::serve(args.listen, config, stop)
        .await
        .map_err(|error| match error {
            ServeError::Listen { .. } => Failure::unexpected(&error),
            other => Failure::input(other.to_string()),
        })?;
    Ok(Exit::Done)
}

#[expect(clippy::print_stderr, reason = "stdout is data, stderr is progress")]
async fn run_controls(args: ControlsArgs, json: bool) -> Result<Exit, Failure> {
    let cannot = |error: ControlError| match error {
        ControlError::NoBinaries | ControlError::NoUser => {
            Failure::input(error.to_string()).fix("apt-get install postgresql-15")
        }
        ControlError::NoRedis => {
            Failure::input(error.to_string()).fix("apt-get install redis-server")
        }
        ControlError::NoMongo => {
            Failure::input(error.to_string()).fix("scripts/install-mongodb.sh")
        }
        ControlError::NoMariadb => {
            Failure::input(error.to_string()).fix("apt-get install mariadb-server")
        }
        other => Failure::unexpected(&other),
    };
    let harm = async {
        match args.system {
            SystemKind::Postgres => controls::run_all(args.postgres_bin.as_deref()).await,
            SystemKind::Redis => controls::redis::run_all(args.redis_bin.as_deref()).await,
            SystemKind::Mongodb => controls::mongodb::run_all(args.mongodb_bin.as_deref()).await,
            SystemKind::Mariadb => controls::mariadb::run_all(args.mariadb_bin.as_deref()).await,
        }
    };
    let found = match args.system {
        SystemKind::Postgres => controls::find_binaries(args.postgres_bin.as_deref()),
        SystemKind::Redis => controls::redis::find_binary(args.redis_bin.as_deref()),
        SystemKind::Mongodb => controls::mongodb::find_binary(args.mongodb_bin.as_deref()),
        SystemKind::Mariadb => controls::mariadb::find_binary(args.mariadb_bin.as_deref()),
    }
    .map_err(cannot)?;
    eprintln!("harming servers from {}", found.display());
    // Dropped by a signal, the servers end and their directories go.
    let controls = tokio::select! {
        controls = harm => controls,
        () = stop_signal()? => return Err(Failure::one(
            Exit::Unexpected,
            "FW0002",
            "the controls were interrupted",
        )),
    };
    if json {
        outln!(
            "{}",
            pretty(&serde_json::json!({ "schema": CONTROLS_SCHEMA, "controls": controls }))?
        );
    } else {
        for control in &controls {
            let word = match (control.detected, &control.not_run) {
                (true, _) => "detected",
                (false, None) => "NOT DETECTED",
                (false, Some(_)) => "NOT CARRIED OUT",
            };
            outln!("{word}: {}", control.name);
            outln!("  expected: {}", control.expected);
            match &control.not_run {
                Some(why) => outln!("  why: {why}"),
                None => outln!("  observed: {}", control.observed),
            }
        }
    }
    Ok(if controls.iter().all(|c| c.detected) {
        Exit::Done
    } else {
        Exit::Refused
    })
}

fn read_controls(path: &Path) -> Result<Vec<Control>, Failure> {
    #[derive(serde::Deserialize)]
    struct File {
        schema: String,
        controls: Vec<Control>,
    }
    let wrong = |evidence: String| {
        Failure::input(format!(
            "{} is no result of `probe controls`",
            path.display()
        ))
        .evidence(evidence)
    };
    let file: File = serde_json::from_str(&read(path)?).map_err(|e| wrong(e.to_string()))?;
    if file.schema == CONTROLS_SCHEMA {
        Ok(file.controls)
    } else {
        Err(wrong(format!("its schema is {}", file.schema)))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        Failure::input(format!("{} cannot be read", path.display())).evidence(e.to_string())
    })
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

fn pretty(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|e| Failure::unexpected(&e))
}

/// The certificate on one screen.
fn in_words(certificate: &Certificate) -> String {
    use std::fmt::Write as _;

    let verdict = match certificate.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    };
    let known = |n: Option<u64>| n.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:<25} {value}");
    };
    line("verdict", verdict.to_owned());
    for reason in &certificate.reasons {
        line("", format!("- {reason}"));
    }
    line("subject", certificate.subject.clone());
    line(
        "writes",
        format!(
            "{} sent, {} acknowledged",
            certificate.attempted, certificate.acked
        ),
    );
    line("acknowledged and lost", known(certificate.acked_lost));
    line("phantoms, duplicates", {
        format!(
            "{}, {}",
            known(certificate.phantoms),
            known(certificate.duplicates)
        )
    });
    line(
        "errors",
        format!(
            "{} ({} indeterminate)",
            certificate.errors, certificate.indeterminate
        ),
    );
    line(
        "longest gap without acks",
        certificate
            .longest_ack_gap_ms
            .map_or_else(|| "unknown".to_owned(), |gap| format!("{gap:.1} ms")),
    );
    for shard in &certificate.shards {
        line(
            "  of a shard",
            format!(
                "{} ({}: {} acknowledged)",
                shard
                    .longest_ack_gap_ms
                    .map_or_else(|| "unknown".to_owned(), |gap| format!("{gap:.1} ms")),
                shard.name,
                shard.acked
            ),
        );
    }
    line(
        "latency p50, p99, worst",
        format!(
            "{:.1} ms, {:.1} ms, {:.1} ms",
            certificate.latency_ms.p50, certificate.latency_ms.p99, certificate.worst_latency_ms
        ),
    );
    for member in &certificate.members {
        let digest = member
            .digest
            .as_deref()
            .map_or("-", |d| d.get(..12).unwrap_or(d));
        let position = member.position.as_deref().unwrap_or("-");
        line(
            &format!("member {}", member.name),
            format!("{digest} at {position}"),
        );
    }
    text
}
