//! The probe as a pod: one run at a time behind a small HTTP interface.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /v1/healthz` | | 200, no token needed |
//! | `POST /v1/controls` | | [`Controls`]: starts the negative controls, once; 409 during a run |
//! | `GET /v1/controls` | | [`Controls`]; 404 before they were asked for |
//! | `POST /v1/start` | `{"config": RunConfig}`, or none for the file's own | [`Status`](crate::run::Status) |
//! | `GET /v1/status` | | [`Status`](crate::run::Status); 404 before the first start |
//! | `POST /v1/mark` | `{"name": "..."}` | the [`Mark`](crate::timeline::Mark) |
//! | `POST /v1/finish` | [`FinishRequest`] | the [`Certificate`](crate::certificate::Certificate) |
//! | `GET /v1/certificate` | | the certificate; 404 before the finish |
//! | `GET /v1/timeline` | | the [`Timeline`](crate::timeline::Timeline), also of a running run |
//!
//! Every call but `healthz` carries `Authorization: Bearer TOKEN`. Errors are
//! `{"error": "..."}`. A start repeated with the identity of the current run, and a finish
//! repeated after a verdict of pass or fail, answer as the first did; a finish after an
//! inconclusive one looks again.
//!
//! The negative controls harm servers of their own, on this machine: while they run no run can
//! start, so that they never disturb what is measured. Their results go into every certificate of
//! this process, whoever asks for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{self, with_causes};
use crate::run::{FinishRequest, Finished, Probe};
use crate::secret::Password;
use crate::system::SystemKind;

/// The file behind `probe serve --config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    /// File with the token that callers must show.
    pub token_file: PathBuf,
    /// The system that the negative controls are carried out with.
    #[serde(default)]
    pub system: SystemKind,
    /// File with the database user's password; `PGPASSWORD` or `REDISCLI_AUTH` when absent.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Directory for `certificate.json` and `timeline.json`.
    #[serde(default)]
    pub out: Option<PathBuf>,
    /// Directory with `initdb`, `postgres` and `pg_basebackup` for the negative controls; looked
    /// for when absent.
    #[serde(default)]
    pub postgres_bin: Option<PathBuf>,
    /// Directory with `redis-server` (or `valkey-server`) for the negative controls; looked for
    /// when absent.
    #[serde(default)]
    pub redis_bin: Option<PathBuf>,
    /// Directory with `mongod` for the negative controls; looked for when absent.
    #[serde(default)]
    pub mongodb_bin: Option<PathBuf>,
    /// Directory with `mariadbd` for the negative controls; looked for when absent.
    #[serde(default)]
    pub mariadb_bin: Option<PathBuf>,
    /// Directory with `memcached` for the negative controls; looked for when absent.
    #[serde(default)]
    pub memcached_bin: Option<PathBuf>,
    /// Directory with Kafka's `libs` for the negative controls; looked for when absent.
    #[serde(default)]
    pub kafka_dir: Option<PathBuf>,
    /// The run for a start without a body.
    #[serde(default)]
    pub run: Option<RunConfig>,
}

/// Why the interface could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The token or the password could not be read.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// Anyone could start and read runs.
    #[error("serve without a token: the token file {} is empty", .0.display())]
    EmptyToken(PathBuf),
    /// The address is taken, or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

struct Desk {
    token: Password,
    /// Of the file; without one the environment is asked, by the run's system.
    password: Option<Password>,
    config: ServeConfig,
    current: Mutex<Option<Arc<Probe>>>,
    finished: Mutex<Option<Finished>>,
    controls: Mutex<Option<Controls>>,
}

/// How far the negative controls are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controls {
    /// `running` or `done`.
    pub state: String,
    /// The results, once done.
    pub controls: Vec<Control>,
}

impl Controls {
    fn running() -> Self {
        Self {
            state: "running".to_owned(),
            controls: Vec::new(),
        }
    }

    fn are_running(&self) -> bool {
        self.state == "running"
    }
}

/// Serves until `shutdown` resolves.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    address: SocketAddr,
    config: ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let router = router(config)?;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    tracing::info!(%address, "the probe listens");
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

/// The interface as a service, without a socket.
///
/// # Errors
/// The token or the password cannot be read.
pub fn router(config: ServeConfig) -> Result<Router, ServeError> {
    let token = Password::from_file(&config.token_file)?;
    if token.reveal().is_empty() {
        return Err(ServeError::EmptyToken(config.token_file));
    }
    let desk = Arc::new(Desk {
        token,
        password: config
            .password_file
            .as_deref()
            .map(Password::from_file)
            .transpose()?,
        config,
        current: Mutex::default(),
        finished: Mutex::default(),
        controls: Mutex::default(),
    });
    let guarded = Router::new()
        .route("/v1/controls", get(controls_so_far).post(start_controls))
        .route("/v1/start", post(start))
        .route("/v1/status", get(status))
        .route("/v1/mark", post(mark))
        .route("/v1/finish", post(finish))
        .route("/v1/certificate", get(certificate))
        .route("/v1/timeline", get(timeline))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), authorise))
        .with_state(desk);
    Ok(Router::new()
        .route("/v1/healthz", get(|| async { "ok" }))
        .merge(guarded))
}

/// An answer that is not the one hoped for.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

fn refuse<T>(status: StatusCode, error: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(status, error.into()))
}

async fn authorise(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let offered = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if offered.is_some_and(|token| desk.token.matches(token)) {
        next.run(request).await
    } else {
        Refusal(StatusCode::UNAUTHORIZED, "show the bearer token".to_owned()).into_response()
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartRequest {
    #[serde(default)]
    config: Option<RunConfig>,
}

fn parse<T: Default + for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).or_else(|e| refuse(StatusCode::BAD_REQUEST, e.to_string()))
}

async fn start(
    State(desk): State<Arc<Desk>>,
    body: bytes::Bytes,
) -> Result<Json<crate::run::Status>, Refusal> {
    let request: StartRequest = parse(&body)?;
    let Some(config) = request.config.or_else(|| desk.config.run.clone()) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "neither the body nor the file names a run",
        );
    };
    to_the_end(begin(desk, config)).await
}

async fn start_controls(State(desk): State<Arc<Desk>>) -> Result<Json<Controls>, Refusal> {
    // In the order of a start: a run that begins now is seen, or waits.
    let current = desk.current.lock().await;
    let mut controls = desk.controls.lock().await;
    if let Some(known) = controls.as_ref() {
        return Ok(Json(known.clone()));
    }
    if let Some(probe) = current.as_ref()
        && probe.status().state != "finished"
    {
        return refuse(
            StatusCode::CONFLICT,
            "the controls would disturb the run that is measured",
        );
    }
    let running = Controls::running();
    *controls = Some(running.clone());
    let desk = Arc::clone(&desk);
    tokio::spawn(async move {
        let config = &desk.config;
        let done = match config.system {
            SystemKind::Postgres => controls::run_all(config.postgres_bin.as_deref()).await,
            SystemKind::Redis => controls::redis::run_all(config.redis_bin.as_deref()).await,
            SystemKind::Mongodb => controls::mongodb::run_all(config.mongodb_bin.as_deref()).await,
            SystemKind::Mariadb => controls::mariadb::run_all(config.mariadb_bin.as_deref()).await,
            SystemKind::Memcached => {
                controls::memcached::run_all(config.memcached_bin.as_deref()).await
            }
            SystemKind::Kafka => controls::kafka::run_all(config.kafka_dir.as_deref()).await,
        };
        *desk.controls.lock().await = Some(Controls {
            state: "done".to_owned(),
            controls: done,
        });
    });
    Ok(Json(running))
}

async fn controls_so_far(State(desk): State<Arc<Desk>>) -> Result<Json<Controls>, Refusal> {
    match desk.controls.lock().await.as_ref() {
        Some(controls) => Ok(Json(controls.clone())),
        None => refuse(StatusCode::NOT_FOUND, "the controls were not asked for"),
    }
}

/// Runs a call to its end also when the caller hangs up in the middle: a start that was entered
/// in the database must not be forgotten, an examination not be cut off.
async fn to_the_end<T: Send + 'static>(
    call: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(call)
        .await
        .unwrap_or_else(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn begin(desk: Arc<Desk>, config: RunConfig) -> Result<Json<crate::run::Status>, Refusal> {
    let mut current = desk.current.lock().await;
    if let Some(probe) = current.as_ref() {
        if config.run == Some(probe.identity()) {
            return Ok(Json(probe.status()));
        }
        if probe.status().state != "finished" {
            return refuse(
                StatusCode::CONFLICT,
                format!("the run {} is not finished", probe.identity()),
            );
        }
    }
    if let Some(controls) = desk.controls.lock().await.as_ref()
        && controls.are_running()
    {
        return refuse(
            StatusCode::CONFLICT,
            "the negative controls are still under way",
        );
    }
    let password = match &desk.password {
        Some(password) => Some(password.clone()),
        None => match Password::resolve(None, config.system) {
            Ok(password) => password,
            Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, with_causes(&error)),
        },
    };
    match Probe::start(config, password.as_ref()).await {
        Ok(probe) => {
            let status = probe.status();
            *current = Some(Arc::new(probe));
            *desk.finished.lock().await = None;
            Ok(Json(status))
        }
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, with_causes(&error)),
    }
}

async fn current(desk: &Desk) -> Result<Arc<Probe>, Refusal> {
    match desk.current.lock().await.as_ref() {
        Some(probe) => Ok(Arc::clone(probe)),
        None => refuse(StatusCode::NOT_FOUND, "no run was started"),
    }
}

async fn status(State(desk): State<Arc<Desk>>) -> Result<Json<crate::run::Status>, Refusal> {
    Ok(Json(current(&desk).await?.status()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkRequest {
    name: String,
}

async fn mark(
    State(desk): State<Arc<Desk>>,
    body: bytes::Bytes,
) -> Result<Json<crate::timeline::Mark>, Refusal> {
    let request: MarkRequest = serde_json::from_slice(&body)
        .or_else(|e| refuse(StatusCode::BAD_REQUEST, e.to_string()))?;
    Ok(Json(current(&desk).await?.mark(request.name)))
}

async fn finish(
    State(desk): State<Arc<Desk>>,
    body: bytes::Bytes,
) -> Result<Json<crate::certificate::Certificate>, Refusal> {
    let request: FinishRequest = if body.is_empty() {
        FinishRequest::of(Vec::new())
    } else {
        parse_finish(&body)?
    };
    to_the_end(end(desk, request)).await
}

async fn end(
    desk: Arc<Desk>,
    mut request: FinishRequest,
) -> Result<Json<crate::certificate::Certificate>, Refusal> {
    let probe = current(&desk).await?;
    // Held over the examination: two finishes at once become one after the other.
    let mut finished = desk.finished.lock().await;
    if let Some(done) = finished.as_ref()
        && done.certificate.run == probe.run_id()
        && done.certificate.verdict != Verdict::Inconclusive
    {
        return Ok(Json(done.certificate.clone()));
    }
    if let Some(own) = desk.controls.lock().await.as_ref() {
        request.controls.splice(0..0, own.controls.iter().cloned());
    }
    let done = probe.finish(&request).await;
    if let Some(out) = &desk.config.out
        && let Err(error) = write_files(out, &done)
    {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, with_causes(&error));
    }
    let certificate = done.certificate.clone();
    *finished = Some(done);
    Ok(Json(certificate))
}

fn parse_finish(body: &[u8]) -> Result<FinishRequest, Refusal> {
    serde_json::from_slice(body).or_else(|e| refuse(StatusCode::BAD_REQUEST, e.to_string()))
}

async fn certificate(
    State(desk): State<Arc<Desk>>,
) -> Result<Json<crate::certificate::Certificate>, Refusal> {
    match desk.finished.lock().await.as_ref() {
        Some(done) => Ok(Json(done.certificate.clone())),
        None => refuse(StatusCode::NOT_FOUND, "no run was finished"),
    }
}

async fn timeline(
    State(desk): State<Arc<Desk>>,
) -> Result<Json<crate::timeline::Timeline>, Refusal> {
    Ok(Json(current(&desk).await?.timeline()))
}

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Cause.
    #[source]
    pub source: std::io::Error,
}

/// Writes `certificate.json` and `timeline.json` into a directory, each complete or not at all.
///
/// # Errors
/// The directory or a file cannot be written.
pub fn write_files(out: &std::path::Path, finished: &Finished) -> Result<(), WriteError> {
    let at = |path: PathBuf| move |source: std::io::Error| WriteError { path, source };
    std::fs::create_dir_all(out).map_err(at(out.to_owned()))?;
    let write = |name: &str, json: serde_json::Result<Vec<u8>>| {
        let (target, fresh) = (out.join(name), out.join(format!(".{name}.new")));
        let mut bytes = json
            .map_err(std::io::Error::other)
            .map_err(at(target.clone()))?;
        bytes.push(b'\n');
        std::fs::write(&fresh, bytes).map_err(at(fresh.clone()))?;
        std::fs::rename(&fresh, &target).map_err(at(target))
    };
    write(
        "certificate.json",
        serde_json::to_vec_pretty(&finished.certificate),
    )?;
    write("timeline.json", serde_json::to_vec(&finished.timeline))
}
