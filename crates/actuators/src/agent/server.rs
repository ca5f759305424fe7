//! The agent's HTTP interface.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::hold::Hold;
use super::state::{FileLog, Reach, load};
use super::watchdog;
use super::{Accepted, RECOVERY, Watch};
use crate::databases::postgres::order::Order;
use crate::databases::postgres::record::Record;
use crate::databases::postgres::record::{Outcome, Reason};
use crate::databases::postgres::recover::{Knowledge, recover};
use crate::databases::postgres::window;

/// How the process is started.
#[derive(Clone)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Bearer token that callers show.
    pub token: String,
    /// Directory of the record.
    pub state_dir: PathBuf,
    /// How servers and poolers are reached.
    pub reach: Reach,
    /// Where it stops on purpose, in tests.
    pub hold: Option<Hold>,
}

struct Process {
    settings: Settings,
    current: Mutex<Option<Arc<FileLog>>>,
    left_behind: Option<Record>,
}

/// The process could not start or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not free or not ours.
    #[error("failed to listen on {address}")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The state directory is not writable.
    #[error("failed to use {}", path.display())]
    StateDir {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("failed to serve")]
    Serve(#[source] std::io::Error),
}

/// Serves until the process is ended.
pub async fn serve(settings: Settings) -> Result<(), ServeError> {
    std::fs::create_dir_all(&settings.state_dir).map_err(|source| ServeError::StateDir {
        path: settings.state_dir.clone(),
        source,
    })?;
    let address = settings.listen;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let process = Arc::new(Process {
        left_behind: load(&settings.state_dir.join(RECORD)).map(closed),
        settings,
        current: Mutex::new(None),
    });
    let asked = asked_to_end().map_err(ServeError::Serve)?;
    let served = axum::serve(listener, router(Arc::clone(&process)));
    tokio::select! {
        served = served => served.map_err(ServeError::Serve),
        () = async { asked.await; process.idle().await } => Ok(()),
    }
}

/// SIGTERM: the process is PID 1 of its container and would ignore it otherwise.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut asked = signal(SignalKind::terminate())?;
    Ok(async move {
        asked.recv().await;
    })
}

/// Time between two looks whether something is under way when the process shall end: far below
/// the pod's grace period.
const IDLE_LOOK: Duration = Duration::from_millis(50);

const RECORD: &str = "record.json";

/// A record that an earlier process left outside of a window has nobody who would close it. One
/// that was left inside is the watchdog's to close.
fn closed(mut record: Record) -> Record {
    record.abandoned = record.outcome.is_none();
    if record.outcome.is_none() && !record.key.is_empty() && !record.window_is_open() {
        let last = record.entries.last().map_or("accepted", |e| e.name());
        record.outcome = Some(Outcome::Unresolved {
            reason: Reason::AgentLost(format!("its process ended after {last}")),
        });
    }
    record
}

fn router(process: Arc<Process>) -> Router {
    let guarded = Router::new()
        .route("/v1/record", get(record))
        .route("/v1/order", post(order))
        .route("/v1/watch", post(watch))
        .route("/v1/recover", post(recover_now))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&process),
            authorize,
        ));
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .merge(guarded)
        .with_state(process)
}

async fn authorize(State(process): State<Arc<Process>>, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if shown == Some(process.settings.token.as_str()) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "the run's token is missing").into_response()
    }
}

async fn record(State(process): State<Arc<Process>>) -> Json<Record> {
    Json(
        process
            .current()
            .map(|log| log.record())
            .or_else(|| process.left_behind.clone())
            .unwrap_or_default(),
    )
}

/// Starts a hand-over. An order with the key of the current one is answered, not started again.
async fn order(State(process): State<Arc<Process>>, Json(order): Json<Order>) -> Response {
    match process.begin(&order.key) {
        Begin::Known => accepted(&order.key, true),
        Begin::Busy(other) => busy(&other),
        Begin::New(log) => {
            let cast = process.settings.reach.cast(&order);
            let key = order.key.clone();
            tokio::spawn(async move {
                let outcome = window::hand_over(&order, &cast, log.as_ref()).await;
                log.close(outcome);
            });
            accepted(&key, false)
        }
    }
}

async fn watch(State(process): State<Arc<Process>>, Json(watch): Json<Watch>) -> Response {
    let key = watch.order.key.clone();
    match process.begin(&key) {
        Begin::Known => accepted(&key, true),
        Begin::Busy(other) => busy(&other),
        Begin::New(log) => {
            let reach = process.settings.reach.clone();
            let token = process.settings.token.clone();
            match watchdog::ready(&watch, &reach).await {
                Ok(cast) => {
                    tokio::spawn(async move {
                        if let Some(outcome) =
                            watchdog::watch(&watch, cast, &reach, &token, log.as_ref()).await
                        {
                            log.close(outcome);
                        }
                    });
                    accepted(&key, false)
                }
                Err(e) => {
                    process.forget();
                    (StatusCode::SERVICE_UNAVAILABLE, e.to_string()).into_response()
                }
            }
        }
    }
}

/// Ends a window that an earlier process left open, by observation.
async fn recover_now(State(process): State<Arc<Process>>, Json(order): Json<Order>) -> Response {
    let key = format!("{}{RECOVERY}", order.key);
    // Asked again after it ended, something was still left: it is done again.
    process.forget_closed(&key);
    match process.begin(&key) {
        Begin::Known => accepted(&key, true),
        Begin::Busy(other) => busy(&other),
        Begin::New(log) => {
            let cast = process.settings.reach.cast(&order);
            tokio::spawn(async move {
                let outcome = recover(
                    &order,
                    &cast,
                    tokio::time::Instant::now(),
                    &Knowledge::default(),
                    Reason::AgentLost("found by a later run".to_owned()),
                    "a later run",
                    log.as_ref(),
                )
                .await;
                log.close(outcome);
            });
            accepted(&key, false)
        }
    }
}

fn accepted(key: &str, known: bool) -> Response {
    let answer = Accepted {
        key: key.to_owned(),
        known,
    };
    (StatusCode::ACCEPTED, Json(answer)).into_response()
}

fn busy(other: &str) -> Response {
    (
        StatusCode::CONFLICT,
        format!("another hand-over is under way: {other}"),
    )
        .into_response()
}

enum Begin {
    New(Arc<FileLog>),
    Known,
    Busy(String),
}

impl Process {
    fn current(&self) -> Option<Arc<FileLog>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns when nothing is under way: an end asked for meanwhile waits for it.
    async fn idle(&self) {
        while self
            .current()
            .is_some_and(|log| log.record().is_under_way())
        {
            tokio::time::sleep(IDLE_LOOK).await;
        }
    }

    fn forget(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn forget_closed(&self, key: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|log| {
            let record = log.record();
            record.key == key && record.outcome.is_some()
        }) {
            *current = None;
        }
    }

    fn begin(&self, key: &str) -> Begin {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = current.as_ref() {
            let record = log.record();
            if record.key == key {
                return Begin::Known;
            }
            // A watch has neither entries nor an outcome of its own when the agent did its work.
            if record.is_under_way() {
                return Begin::Busy(record.key);
            }
        }
        // An order that an earlier process took is known; a recovery that it began is made again.
        if self
            .left_behind
            .as_ref()
            .is_some_and(|record| record.key == key && !record.key.ends_with(RECOVERY))
        {
            return Begin::Known;
        }
        let log = Arc::new(FileLog::new(
            &self.settings.state_dir.join(RECORD),
            key,
            self.settings.hold.clone(),
        ));
        *current = Some(Arc::clone(&log));
        Begin::New(log)
    }
}
