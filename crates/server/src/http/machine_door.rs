//! The registry's door for the engines of other machines. An agent listens where its engine expects the registry and opens
//! a stream here for each of the engine's connections; what travels on a stream is what would travel on the connection,
//! so that the door answers a remote engine as it answers one on this host.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::PollSender;
use wire::ids::MachineId;
use wire::link::DOOR_PATH;

use super::{door, serve};
use crate::app::App;

/// Streams of one machine at the same time; an engine uses some dozen.
const STREAMS_MAX: u32 = 256;
/// What an engine may send ahead of one of its streams: layers on their way to the registry.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// What is held of an answer while the machine is slow.
const SEND_BUFFER: usize = 1 << 20;
const FRAME_BYTES: u32 = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Pieces of an answer that wait to be sent.
const PIECES_WAITING: usize = 4;

/// Serves what a machine's engine asks of the registry, until the connection or the server ends.
pub async fn serve(
    app: &App,
    machine: &MachineId,
    peer: SocketAddr,
    pipe: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) {
    let router = Router::new().route(DOOR_PATH, post(stream)).with_state(app.clone());
    let router = router.layer(axum::Extension(ConnectInfo(peer)));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    tracing::debug!(machine.id = %machine, "a machine's engine can reach the registry");
    let connection = builder.serve_connection(TokioIo::new(pipe), TowerToHyperService::new(router));
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(machine.id = %machine, "the way to the registry ended: {error}");
        },
        () = app.shutdown.cancelled() => {}
    }
}

/// One connection of the engine: the request's body is what it sends, the answer's body what it reads.
async fn stream(State(app): State<App>, request: Request) -> Response {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let sent = request.into_body().into_data_stream().map(|piece| piece.map_err(io::Error::other));
    let (pieces, answered) = mpsc::channel::<Bytes>(PIECES_WAITING);
    let writer = PollSender::new(pieces).sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
    let pipe = tokio::io::join(StreamReader::new(sent), SinkWriter::new(CopyToBytes::new(writer)));
    app.spawn(serve::serve_pipe(app.clone(), pipe, peer, door::router(&app)));
    let answered = futures::stream::unfold(answered, |mut answered| async {
        answered.recv().await.map(|piece| (Ok::<_, io::Error>(piece), answered))
    });
    Body::from_stream(answered).into_response()
}
