//! Ports of pods and services as WebSockets: one connection each, binary messages both ways.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use utoipa::IntoParams;
use wire::problem::Problem;
use wire::workloads::PORT_FORWARD_PROTOCOL;

use super::extract::{Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::PodStream;
use crate::domain::port_forwards::{self, For, Goal, Way};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are read of a port together, and the longest message that is taken.
const READ_BYTES: usize = 32 << 10;
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What may wait to be written while a client is slow.
const WRITE_BUFFER_MAX: usize = 2 << 20;
/// How often it is asked whether what goes on may, and a sign of life is given.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Which port.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PortQuery {
    /// The port: a number; of a service also its name.
    port: String,
}

/// Connects to a port of a pod: a WebSocket (subprotocol `longshore.port-forward.v1`) whose binary messages are what is sent
/// and received. When the pod ends the connection, the WebSocket is closed with 1000; with 1011 when nobody listens there.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/pods/{pod}/port-forward", tag = "namespaces",
    params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own"), ("pod" = String, Path, description = "The pod's name"), PortQuery),
    responses((status = 101, description = "The connection is a WebSocket now"), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, description = "From a page of another site", body = Problem), (status = 404, body = Problem),
        (status = 429, description = "Too many connections", body = Problem), (status = 503, body = Problem)))]
pub async fn to_pod(State(app): State<App>, caller: Caller, request: Request) -> Result<Response> {
    open(app, caller, request, |name| Goal::Pod(name)).await
}

/// Connects to a port of a pod that stands behind a service, in the same way.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/services/{service}/port-forward", tag = "namespaces",
    params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own"), ("service" = String, Path, description = "The service's name"), PortQuery),
    responses((status = 101, description = "The connection is a WebSocket now"), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, description = "From a page of another site", body = Problem), (status = 404, body = Problem),
        (status = 409, description = "The service names no pods or no port of theirs", body = Problem),
        (status = 429, description = "Too many connections", body = Problem), (status = 503, description = "No pod is ready, or the cluster does not answer", body = Problem)))]
pub async fn to_service(State(app): State<App>, caller: Caller, request: Request) -> Result<Response> {
    open(app, caller, request, |name| Goal::Service(name)).await
}

async fn open(
    app: App,
    caller: Caller,
    request: Request,
    goal: impl for<'a> Fn(&'a str) -> Goal<'a>,
) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    let Path((namespace, name)) = Path::<(String, String)>::from_request_parts(&mut parts, &app).await?;
    let Params(query) = Params::<PortQuery>::from_request_parts(&mut parts, &app).await?;
    let way = port_forwards::find(&app, &caller, &namespace, goal(&name), &query.port, For::Acting).await?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await.map_err(|rejection| {
        let detail = format!("this address takes WebSockets only: {rejection}");
        Error::new(ErrorKind::Malformed, "not_a_websocket", detail)
    })?;
    let stream = way.port.connect().await?;
    let upgrade = upgrade
        .protocols([PORT_FORWARD_PROTOCOL])
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| serve(app, caller, way, stream, socket)))
}

async fn serve(app: App, caller: Caller, way: Way, stream: PodStream, socket: WebSocket) {
    let (mut sink, messages) = socket.split();
    let (reads, writes) = tokio::io::split(stream);
    let last = tokio::select! {
        last = show(&app, &caller, &mut sink, reads) => last,
        () = take(messages, writes) => None,
    };
    if let Some(last) = last
        && sink.send(Message::Close(Some(last))).await.is_err()
    {
        tracing::debug!("a client left before the last word");
    }
    drop(way);
}

/// Shows what the pod sends, until it has ended or nobody looks.
async fn show(
    app: &App,
    caller: &Caller,
    sink: &mut SplitSink<WebSocket, Message>,
    mut reads: ReadHalf<PodStream>,
) -> Option<CloseFrame> {
    let close = |code, reason: &str| Some(CloseFrame { code, reason: reason.to_owned().into() });
    let mut buffer = vec![0; READ_BYTES];
    let mut ticks = tokio::time::interval(CHECK_EVERY);
    ticks.tick().await;
    loop {
        let message = tokio::select! {
            () = app.shutdown.cancelled() => return close(close_code::AWAY, "the server ends"),
            read = reads.read(&mut buffer) => match read {
                Ok(0) => return close(close_code::NORMAL, ""),
                Ok(count) => Message::Binary(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) => return close(close_code::ERROR, &error.to_string()),
            },
            _ = ticks.tick() => {
                if !port_forwards::may_go_on(app, caller).await {
                    return close(close_code::POLICY, "log in again");
                }
                Message::Ping(Bytes::new())
            }
        };
        if sink.send(message).await.is_err() {
            return None;
        }
    }
}

/// Gives the pod what the client sends.
async fn take(mut messages: SplitStream<WebSocket>, mut writes: WriteHalf<PodStream>) {
    while let Some(Ok(message)) = messages.next().await {
        match message {
            Message::Binary(bytes) => {
                let given = writes.write_all(&bytes).await.and(writes.flush().await);
                if given.is_err() {
                    // What it said last is still to be shown.
                    return std::future::pending().await;
                }
            }
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) => tracing::debug!("a port takes binary messages only"),
        }
    }
}
