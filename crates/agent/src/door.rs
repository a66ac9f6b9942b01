//! The registry's door on this machine: the engine connects to an address of its own host, and each of its connections
//! becomes a stream to the server, byte for byte. So an engine needs no certificate, no setting and no open port.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::time::Instant;
use tokio_util::io::{ReaderStream, StreamReader};
use wire::link::{DOOR_PATH, LEVEL_HEADER, LINK_LEVEL};

use crate::Agent;
use crate::dial::Opener;

/// What the server may send ahead of one of the engine's connections: layers on their way to the engine.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const SEND_BUFFER: usize = 1 << 20;
const FRAME_BYTES: u32 = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// A way that no connection of the engine took in so long is let go of.
const UNUSED: Duration = Duration::from_mins(5);
/// Bytes of the engine that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Told to an engine while the server is away, in the registry's own form, so that it shows why nothing can be pulled.
const AWAY: &str = "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"this machine is not connected to its server now, so the registry cannot be reached; try again soon\"}]}";

/// The way to the server's registry, while there is one.
#[derive(Default)]
pub(crate) struct Door {
    way: Mutex<Option<Way>>,
}

struct Way {
    sender: SendRequest<Body>,
    used_at: Instant,
}

impl Door {
    /// Makes a connection to the server the way, which it is until it ends, or nobody used it for a while and what is under way
    /// on it has come to its end. None when the server does not speak as it should.
    pub(crate) async fn open(
        self: &Arc<Self>,
        agent: &Agent,
        pipe: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Option<impl Future<Output = ()>> {
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
            Err(error) => {
                tracing::warn!("the server does not carry the registry: {error}");
                return None;
            }
        };
        *self.locked() = Some(Way { sender, used_at: Instant::now() });
        let shutdown = agent.shutdown().clone();
        let door = Arc::clone(self);
        Some(async move {
            let let_go = async {
                while let Some(due) = door.unused_at() {
                    tokio::time::sleep_until(due).await;
                    door.let_go_of_unused(Instant::now());
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!("the way to the registry ended: {error}");
                },
                () = let_go => {}
                () = shutdown.cancelled() => {}
            }
        })
    }

    /// The way, if it is open.
    pub(crate) fn way(&self) -> Option<SendRequest<Body>> {
        let mut way = self.locked();
        let way = way.as_mut().filter(|way| !way.sender.is_closed())?;
        way.used_at = Instant::now();
        Some(way.sender.clone())
    }

    /// When the way is let go of if nobody takes it until then; none when there is none.
    fn unused_at(&self) -> Option<Instant> {
        self.locked().as_ref().map(|way| way.used_at + UNUSED)
    }

    /// Lets go of a way that nobody has taken for five minutes at this moment. Without the last way to it a connection ends by itself,
    /// after what is under way on it.
    pub(crate) fn let_go_of_unused(&self, now: Instant) {
        self.locked().take_if(|way| now.saturating_duration_since(way.used_at) >= UNUSED);
    }

    fn locked(&self) -> MutexGuard<'_, Option<Way>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the engine's connections until the agent is told to stop.
pub(crate) async fn listen(agent: &Agent, opener: &Opener, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = agent.shutdown().cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let (opener, shutdown) = (opener.clone(), agent.shutdown().clone());
                agent.spawn(async move {
                    let carried = shutdown.run_until_cancelled(carry(&opener, socket)).await;
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

/// Carries one connection of the engine to the server and back.
async fn carry(opener: &Opener, socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (reader, mut writer) = socket.into_split();
    let Some(mut way) = opener.registry().await else { return refuse(writer).await };
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
