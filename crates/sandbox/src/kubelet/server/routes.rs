//! What is asked for where.

use super::forward::{self, Dial};
use super::logs::{self, Options};
use super::{ContainerName, Containers, Program, Refusal, Session, Wanted, socket, spdy, stdio};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures::FutureExt;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;

type Node = State<Arc<dyn Containers>>;
type Pairs = Query<Vec<(String, String)>>;
type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// 16 pieces of a log wait for a slow reader.
const PIECES: usize = 16;

pub(super) fn router(containers: Arc<dyn Containers>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/pods", get(pods))
        .route(
            "/containerLogs/{namespace}/{pod}/{container}",
            get(container_logs),
        )
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .with_state(containers)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoPod(_) | Self::NoContainer(_) => StatusCode::NOT_FOUND,
            Self::NoRun(_) => StatusCode::BAD_REQUEST,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.to_string()).into_response()
    }
}

async fn pods(State(node): Node) -> Response {
    let pods = node.pods();
    let items: Vec<&k8s_openapi::api::core::v1::Pod> = pods.iter().map(AsRef::as_ref).collect();
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items});
    axum::Json(list).into_response()
}

async fn container_logs(
    State(node): Node,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Pairs,
) -> Response {
    let options = match Options::parse(&query, jiff::Timestamp::now()) {
        Ok(options) => options,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let name = ContainerName {
        namespace,
        pod,
        container,
    };
    let log = match node.log(&name, options.previous) {
        Ok(log) => log,
        Err(refusal) => return refusal.into_response(),
    };
    let (to, from) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let path = log.path.clone();
        if let Err(error) = logs::send(log, options, to).await {
            tracing::warn!(%error, path = %path.display(), "a log was not read to its end");
        }
    });
    let pieces = futures::stream::unfold(from, |mut from| async {
        let bytes = from.recv().await?;
        Some((Ok::<_, Infallible>(bytes), from))
    });
    (
        [(header::CONTENT_TYPE, "text/plain")],
        Body::from_stream(pieces),
    )
        .into_response()
}

async fn exec(
    State(node): Node,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Pairs,
    upgrade: Upgrade,
) -> Response {
    let commands = query.iter().filter(|(n, _)| n == "command");
    let program = Program {
        argv: commands.map(|(_, v)| v.clone()).collect(),
        wanted: wanted(&query),
    };
    if program.argv.is_empty() {
        return (
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 command",
        )
            .into_response();
    }
    let name = ContainerName {
        namespace,
        pod,
        container,
    };
    let upgrade = match streams(upgrade, &stdio::PROTOCOLS) {
        Ok(upgrade) => upgrade,
        // A caller of the older protocol learns what is wrong with the request itself first.
        Err(response) => {
            return node
                .log(&name, false)
                .map_or_else(Refusal::into_response, |_| *response);
        }
    };
    match node.exec(&name, program).await {
        Ok(session) => carry(upgrade, session),
        Err(refusal) => refusal.into_response(),
    }
}

async fn attach(
    State(node): Node,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Pairs,
    upgrade: Upgrade,
) -> Response {
    let name = ContainerName {
        namespace,
        pod,
        container,
    };
    let upgrade = match streams(upgrade, &stdio::PROTOCOLS) {
        Ok(upgrade) => upgrade,
        Err(response) => {
            return node
                .log(&name, false)
                .map_or_else(Refusal::into_response, |_| *response);
        }
    };
    match node.attach(&name, wanted(&query)).await {
        Ok(session) => carry(upgrade, session),
        Err(refusal) => refusal.into_response(),
    }
}

async fn port_forward(
    State(node): Node,
    Path((namespace, pod)): Path<(String, String)>,
    Query(query): Pairs,
    upgrade: Upgrade,
) -> Response {
    if let Err(refusal) = node.reachable(&namespace, &pod) {
        return refusal.into_response();
    }
    let upgrade = match streams(upgrade, &[spdy::PROTOCOL, forward::PROTOCOL]) {
        Ok(upgrade) => upgrade,
        Err(response) => return *response,
    };
    let dial: Dial = Arc::new(move |port| {
        let (node, namespace, pod) = (Arc::clone(&node), namespace.clone(), pod.clone());
        async move { node.dial(&namespace, &pod, port).await }.boxed()
    });
    let tunnelled = upgrade
        .selected_protocol()
        .is_some_and(|p| p == spdy::PROTOCOL);
    if tunnelled {
        return upgrade.on_upgrade(|ws| {
            socket::serve(ws, |inbound, outbound| spdy::carry(dial, inbound, outbound))
        });
    }
    let named = query.iter().filter(|(n, _)| n == "port" || n == "ports");
    let ports: Result<Vec<u16>, _> = named
        .flat_map(|(_, v)| v.split(','))
        .map(str::parse)
        .collect();
    match ports {
        Ok(ports) if !ports.is_empty() => upgrade.on_upgrade(|ws| {
            socket::serve(ws, |inbound, outbound| {
                forward::carry(ports, dial, inbound, outbound)
            })
        }),
        _ => (
            StatusCode::BAD_REQUEST,
            "query parameter \"port\" is required",
        )
            .into_response(),
    }
}

fn carry(upgrade: WebSocketUpgrade, session: Session) -> Response {
    upgrade.on_upgrade(|ws| {
        socket::serve(ws, |inbound, outbound| {
            stdio::carry(session, inbound, outbound)
        })
    })
}

/// Chooses the first of our protocols that the client offers.
fn streams(
    upgrade: Upgrade,
    protocols: &[&'static str],
) -> Result<WebSocketUpgrade, Box<Response>> {
    let refused = |why: String| Box::new((StatusCode::BAD_REQUEST, why).into_response());
    let upgrade =
        upgrade.map_err(|_| refused("this node serves streams over WebSockets only".to_owned()))?;
    let upgrade = upgrade.protocols(protocols.iter().copied());
    if upgrade.selected_protocol().is_none() {
        return Err(refused(format!(
            "no common protocol; this node speaks {}",
            protocols.join(", ")
        )));
    }
    Ok(upgrade)
}

fn wanted(query: &[(String, String)]) -> Wanted {
    let has = |name: &str| {
        query
            .iter()
            .any(|(n, v)| n == name && matches!(v.as_str(), "1" | "true"))
    };
    let tty = has("tty");
    Wanted {
        stdin: has("input") || has("stdin"),
        stdout: has("output") || has("stdout"),
        // A terminal has one output.
        stderr: !tty && (has("error") || has("stderr")),
        tty,
    }
}
