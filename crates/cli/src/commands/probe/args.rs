//! What a person writes after `probe`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ferriswheel_probe::system::SystemKind;

/// Measure downtime and durability over the wire and write a certificate
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel probe postgres --dsn 'host=db user=app dbname=app' --duration 60s --out probe-result
  ferriswheel probe redis --nodes redis.db.svc:6379 --duration 60s --out probe-result
  ferriswheel probe controls")]
pub struct ProbeArgs {
    #[command(subcommand)]
    pub(super) command: ProbeCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProbeCommand {
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
    /// Use a Memcached pool as clients with a ketama ring do, and count hits, loads, errors and old values
    #[command(after_help = "Example:
  ferriswheel probe memcached \\
    --servers memcached-0.cache.svc,memcached-1.cache.svc,memcached-2.cache.svc \\
    --duration 60s --out probe-result

Exit code 0 for a pass, 30 for a fail, 1 for an inconclusive run.")]
    Memcached(Box<MemcachedArgs>),
    /// Write to a Kafka topic of its own, then look every write up on every copy of it
    #[command(after_help = "Example:
  ferriswheel probe kafka --brokers kafka.shop.svc:9092 \\
    --members kafka-0=10.0.0.4,kafka-1=10.0.0.5,kafka-2=10.0.0.6 \\
    --duration 60s --out probe-result

Exit code 0 for a pass, 30 for a fail, 1 for an inconclusive run.")]
    Kafka(Box<KafkaArgs>),
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
pub(super) struct PostgresArgs {
    /// Address of the clients: one host or several with target_session_attrs; no password in it
    #[arg(long, value_name = "DSN")]
    pub(super) dsn: String,
    /// Address of the readers [default: the clients']
    #[arg(long, value_name = "DSN")]
    pub(super) read_dsn: Option<String>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct RedisArgs {
    /// Some nodes of the cluster, [USER@]HOST[:PORT],...; the others are asked for; no password in it
    #[arg(long, value_name = "NODES")]
    pub(super) nodes: String,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct MongoArgs {
    /// Address of the clients; writes wait for a majority unless it says `w=1`; no password in it
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: String,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct MariadbArgs {
    /// Address of the clients; of several hosts, the one that takes writes; no password in it
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: String,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct MemcachedArgs {
    /// All servers, HOST[:PORT],..., under the names that decide whose a key is
    #[arg(long, value_name = "SERVERS")]
    pub(super) servers: String,
    /// Lowest hit-rate of any second, in percent [default: the share of the keys that is left without the server that has
    /// most of them, less 5]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) min_hit_rate: Option<u8>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct KafkaArgs {
    /// Some brokers, HOST[:PORT],...; the others are asked for
    #[arg(long, value_name = "BROKERS")]
    pub(super) brokers: String,
    /// What the name of the run's topic begins with
    #[arg(long, value_name = "NAME", default_value = "ferriswheel-probe")]
    pub(super) topic: String,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What every system's run has.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// File with the password [default: PGPASSWORD; REDISCLI_AUTH; MONGODB_PASSWORD; MYSQL_PWD]
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Every member by direct address, to look each write up on; without it, those that the
    /// clients' address leads to
    #[arg(long, value_name = "NAME=HOST:PORT", value_delimiter = ',')]
    pub(super) members: Vec<String>,
    /// How long to write, e.g. 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "until_signal", required_unless_present = "until_signal")]
    pub(super) duration: Option<Duration>,
    /// Write until SIGINT or SIGTERM
    #[arg(long)]
    until_signal: bool,
    /// Directory for certificate.json, timeline.json and report.html
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// What is measured, for the certificate [default: the system's name]
    #[arg(long)]
    pub(super) subject: Option<String>,
    /// Concurrent writers; of a sharded system at least one a shard [default: 4; redis, kafka: 6]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) writers: Option<u16>,
    /// Concurrent readers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(super) readers: u16,
    /// Pause of a writer after each answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2ms")]
    pub(super) think: Duration,
    /// A statement without an answer for this long is given up, its outcome unknown
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15s")]
    pub(super) statement_deadline: Duration,
    /// Longest allowed interval without an acknowledged write
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub(super) limit_write_stall: Duration,
    /// Acknowledged writes that may be lost
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) limit_acked_loss: u64,
    /// Errors that clients may see; `any` counts them without judging
    #[arg(long, value_name = "N", default_value = "0", value_parser = error_limit)]
    pub(super) limit_errors: ErrorLimit,
    /// Result of `probe controls --output json`, for the certificate
    #[arg(long, value_name = "FILE")]
    pub(super) controls: Option<PathBuf>,
    /// Without detected controls the verdict is inconclusive
    #[arg(long)]
    pub(super) require_controls: bool,
    /// How long to wait for members that restart or catch up
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(super) members_deadline: Duration,
    /// Drop what the probe wrote after a pass
    #[arg(long)]
    pub(super) drop_table: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,
    /// JSON file: token_file, and optionally password_file, out, run
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ControlsArgs {
    /// System to harm: postgres, redis, mongodb, mariadb, memcached or kafka
    #[arg(long, value_name = "SYSTEM", default_value = "postgres", value_parser = system_kind)]
    pub(super) system: SystemKind,
    /// Directory with initdb, postgres and pg_basebackup [default: Debian's newest]
    #[arg(long, value_name = "DIR")]
    pub(super) postgres_bin: Option<PathBuf>,
    /// Directory with redis-server or valkey-server [default: from the PATH]
    #[arg(long, value_name = "DIR")]
    pub(super) redis_bin: Option<PathBuf>,
    /// Directory with mongod [default: from the PATH]
    #[arg(long, value_name = "DIR")]
    pub(super) mongodb_bin: Option<PathBuf>,
    /// Directory with mariadbd [default: Debian's]
    #[arg(long, value_name = "DIR")]
    pub(super) mariadb_bin: Option<PathBuf>,
    /// Directory with memcached [default: from the PATH]
    #[arg(long, value_name = "DIR")]
    pub(super) memcached_bin: Option<PathBuf>,
    /// Directory with Kafka's libs [default: what scripts/install-kafka.sh fetched]
    #[arg(long, value_name = "DIR")]
    pub(super) kafka_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ErrorLimit(pub(super) Option<u64>);

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
        SystemKind::Memcached,
        SystemKind::Kafka,
    ]
    .into_iter()
    .find(|kind| kind.name() == text)
    .ok_or_else(|| "write postgres, redis, mongodb, mariadb, memcached or kafka".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "write a time such as 500ms, 90s or 5m".to_owned())
}
