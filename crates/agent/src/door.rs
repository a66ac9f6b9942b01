//! The registry's door on this machine: the engine connects to an address of its own host, and each of its connections
//! becomes a stream to the server, byte for byte. So an engine needs no certificate, no setting and no open port.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::io::{ReaderStream, StreamReader};
use wire::link::{DOOR_PATH, LEVEL_HEADER, LINK_LEVEL};

use crate::Agent;

/// What the server may send ahead of one of the engine's connections: layers on their way to the engine.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const SEND_BUFFER: usize = 1 << 20;
const FRAME_BYTES: u32 = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of the engine that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Told to an engine while the server is away, in the registry's own form, so that it shows why nothing can be pulled.
const AWAY: &str = "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"this machine is not connected to its server now, so the registry cannot be reached; try again soon\"}]}";

/// The way to the server's registry, when there is one.
#[derive(Default)]
pub(crate) struct Door {
    way: Mutex<Option<SendRequest<Body>>>,
}

impl Door {
    /// Uses a connection to the server as the way until it ends.
    pub(crate) async fn carry(
        &self,
        agent: &Agent,
        pipe: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_frame_size(FRAME_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let (sender, connection) = match builder.handshake(TokioIo::new(pipe)).await {
            Ok(made) => made,
            Err(error) => return tracing::warn!("the server does not carry the registry: {error}"),
        };
        self.set(Some(sender));
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!("the way to the registry ended: {error}");
            },
            () = agent.shutdown().cancelled() => {}
        }
        self.set(None);
    }

    /// Takes the engine's connections until the agent is told to stop.
    pub(crate) async fn listen(&self, agent: &Agent, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = agent.shutdown().cancelled() => return,
            };
            match accepted {
                Ok((socket, _)) => {
                    let way = self.way();
                    let shutdown = agent.shutdown().clone();
                    agent.spawn(async move {
                        let carried = shutdown.run_until_cancelled(carry_one(way, socket)).await;
                        if let Some(Err(error)) = carried {
                            tracing::debug!("a connection of the engine to the registry ended: {error}");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "cannot accept a connection of the engine");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn way(&self) -> Option<SendRequest<Body>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, way: Option<SendRequest<Body>>) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }
}

/// Carries one connection of the engine to the server and back.
async fn carry_one(way: Option<SendRequest<Body>>, socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (reader, mut writer) = socket.into_split();
    let Some(mut way) = way else { return refuse(writer).await };
    let sent = Body::from_stream(ReaderStream::with_capacity(reader, READ_BYTES));
    let request = Request::post(format!("http://server{DOOR_PATH}"))
        .header(LEVEL_HEADER, LINK_LEVEL)
        .body(sent)
        .expect("the door's path is a path");
    let response = match way.send_request(request).await {
        Ok(response) if response.status() == StatusCode::OK => response,
        Ok(_) | Err(_) => return refuse(writer).await,
    };
    let answered = response.into_body().into_data_stream().map_err(io::Error::other);
    let mut answered = StreamReader::new(answered.map_ok(|bytes: Bytes| bytes));
    tokio::io::copy_buf(&mut answered, &mut writer).await?;
    writer.shutdown().await
}

async fn refuse(mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{AWAY}",
        AWAY.len()
    );
    writer.write_all(answer.as_bytes()).await?;
    writer.shutdown().await
}
