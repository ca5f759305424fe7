//! `ferriswheel agent`: the process that runs a hand-over window from inside the cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use ferriswheel_actuators::agent::hold::Hold;
use ferriswheel_actuators::agent::server::{Settings, serve};
use ferriswheel_actuators::agent::state::Reach;
use ferriswheel_actuators::databases::postgres::names::System;
use ferriswheel_actuators::databases::postgres::patroni::rest::Login;
use ferriswheel_actuators::databases::postgres::session::Credentials;
use ferriswheel_actuators::databases::postgres::tls::Tls;
use ferriswheel_actuators::databases::tls::TlsMode;
use ferriswheel_actuators::dial::Direct;

use crate::exit::Exit;
use crate::failure::Failure;

/// Runs a hand-over window from inside the cluster (started by `apply`, as a Pod)
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ferriswheel agent --listen=0.0.0.0:8090 \\\n    \
    --token-file=/etc/ferriswheel/run/token --superuser=/etc/ferriswheel/superuser \\\n    \
    --pooler-admin=/etc/ferriswheel/pooler-admin --state-dir=/var/lib/ferriswheel"
)]
pub struct AgentArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// File with the token that callers must show
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Directory with the files `username` and `password` of a superuser
    #[arg(long, value_name = "DIR")]
    superuser: PathBuf,
    /// Directory with the files `username` and `password` of a PgBouncer admin
    #[arg(long, value_name = "DIR")]
    pooler_admin: PathBuf,
    /// TLS with the servers, as libpq's sslmode
    #[arg(long, value_name = "MODE", default_value_t)]
    tls: TlsMode,
    /// Name that a server's certificate must have; $(POD) stands for the pod's
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// File with the certificate of the servers' authority
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// TLS with the poolers, as libpq's sslmode
    #[arg(long, value_name = "MODE", default_value_t)]
    pooler_tls: TlsMode,
    /// Name that a pooler's certificate must have; $(POD) stands for the pod's
    #[arg(long, value_name = "NAME")]
    pooler_tls_name: Option<String>,
    /// File with the certificate of the poolers' authority
    #[arg(long, value_name = "FILE")]
    pooler_tls_ca: Option<PathBuf>,
    /// Directory with the files `username` and `password` of Patroni's REST API, where it wants a login
    #[arg(long, value_name = "DIR")]
    patroni_login: Option<PathBuf>,
    /// Directory for the record of the window
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Stop at a moment of the window, once, for tests: MOMENT=MILLISECONDS
    #[arg(long, hide = true)]
    hold: Option<Hold>,
}

/// Serves until it is ended.
pub async fn run(args: AgentArgs) -> Result<Exit, Failure> {
    let settings = Settings {
        listen: args.listen,
        token: read(&args.token_file)?,
        state_dir: args.state_dir,
        reach: Reach {
            superuser: credentials(
                &args.superuser,
                tls(args.tls, args.tls_name, args.tls_ca.as_deref())?,
            )?,
            pooler_admin: credentials(
                &args.pooler_admin,
                tls(
                    args.pooler_tls,
                    args.pooler_tls_name,
                    args.pooler_tls_ca.as_deref(),
                )?,
            )?,
            dial: Arc::new(Direct),
            names: Arc::new(System),
            patroni: args.patroni_login.as_deref().map(login).transpose()?,
        },
        hold: args.hold,
    };
    serve(settings).await.map_err(|e| Failure::unexpected(&e))?;
    Ok(Exit::Done)
}

fn tls(mode: TlsMode, name: Option<String>, authority: Option<&Path>) -> Result<Tls, Failure> {
    let authority = authority.map(read).transpose()?;
    Tls::new(mode, authority.as_deref().map(str::as_bytes), name)
        .map_err(|e| Failure::input(e.to_string()).fix("look at `tls` in the spec"))
}

fn credentials(directory: &Path, tls: Tls) -> Result<Credentials, Failure> {
    Ok(Credentials {
        user: read(&directory.join("username"))?,
        password: read(&directory.join("password"))?,
        tls,
    })
}

fn login(directory: &Path) -> Result<Login, Failure> {
    Ok(Login {
        user: read(&directory.join("username"))?,
        password: read(&directory.join("password"))?,
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map(|text| text.trim_end_matches('\n').to_owned())
        .map_err(|e| {
            Failure::input(format!("{} cannot be read: {e}", path.display()))
                .fix("mount the Secret that holds it")
        })
}
