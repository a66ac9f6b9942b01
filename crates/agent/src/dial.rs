//! Keeps the connections to a server open: a WebSocket each for control and bulk, opened by the agent, because its
//! side may be behind a NAT or a proxy. Then the roles flip: the agent serves calls on them.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, future};
use http::{HeaderValue, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use wire::link::{Channel, LEVEL_HEADER, LINK_LEVEL, MACHINE_HEADER, SOCKET_PATH};
use wire::problem::Problem;
use wire::secret::Secret;

use crate::Agent;
use crate::backoff::Backoff;

/// Per connection; the default of 128 KiB is most of what an idle link costs.
const SOCKET_BUFFER: usize = 16 << 10;
/// HTTP/2 frames are far smaller; what is larger is not ours.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_LONGEST: Duration = Duration::from_secs(30);
/// A connection that held so long was a good one: the next try is soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

/// The server to which an agent belongs.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is, `http://host:port` or `https://…`.
    pub url: String,
    /// Shows who calls.
    pub token: Secret,
}

impl Agent {
    /// Keeps both connections to the server open until the agent is told to stop.
    pub async fn dial(&self, server: &Server) {
        future::join(self.keep_dialing(server, Channel::Control), self.keep_dialing(server, Channel::Bulk))
            .await;
    }

    async fn keep_dialing(&self, server: &Server, channel: Channel) {
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LONGEST);
        let name = channel.as_str();
        loop {
            let connected = tokio::select! {
                connected = connect(self, server, channel) => connected,
                () = self.shutdown().cancelled() => return,
            };
            match connected {
                Ok(socket) => {
                    tracing::info!(link.channel = name, "connected to `{}`", server.url);
                    let since = Instant::now();
                    self.serve_pipe(socket).await;
                    if since.elapsed() >= GOOD_CONNECTION {
                        backoff.reset();
                    }
                    if !self.shutdown().is_cancelled() {
                        tracing::warn!(link.channel = name, "the connection to `{}` ended", server.url);
                    }
                }
                Err(problem) => {
                    tracing::warn!(link.channel = name, "no connection to `{}`: {problem}", server.url);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = self.shutdown().cancelled() => return,
            }
        }
    }
}

async fn connect(
    agent: &Agent,
    server: &Server,
    channel: Channel,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, String> {
    let request = request(agent, server, channel)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(SOCKET_BUFFER)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    // Small frames must not wait for one another: TCP_NODELAY.
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok((socket, _))) => Ok(pipe(socket)),
        Ok(Err(tungstenite::Error::Http(response))) => {
            let body = response.body().as_deref().unwrap_or_default();
            let detail = serde_json::from_slice(body).map(|problem: Problem| problem.detail);
            let status = response.status();
            Err(detail.map_or_else(
                |_| format!("it answered {status}"),
                |detail| format!("it answered {status}: {detail}"),
            ))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not answer within {} seconds", CONNECT_TIMEOUT.as_secs())),
    }
}

fn request(
    agent: &Agent,
    server: &Server,
    channel: Channel,
) -> Result<tungstenite::handshake::client::Request, String> {
    let base = server.url.trim_end_matches('/');
    let base = match (base.strip_prefix("http://"), base.strip_prefix("https://")) {
        (Some(rest), _) => format!("ws://{rest}"),
        (_, Some(rest)) => format!("wss://{rest}"),
        _ => return Err("its address begins with neither `http://` nor `https://`".into()),
    };
    let mut request = format!("{base}{SOCKET_PATH}?channel={}", channel.as_str())
        .into_client_request()
        .map_err(|error| format!("its address is not one: {error}"))?;
    let mut token = HeaderValue::from_str(&format!("Bearer {}", server.token.expose()))
        .map_err(|_| "the token holds characters that none has".to_owned())?;
    token.set_sensitive(true);
    let machine = HeaderValue::from_str(agent.machine_id().as_str()).expect("an id is a header value");
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, token);
    headers.insert(MACHINE_HEADER, machine);
    headers.insert(LEVEL_HEADER, LINK_LEVEL.into());
    Ok(request)
}

/// The socket as a pipe of bytes: one binary message per write.
fn pipe(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> impl AsyncRead + AsyncWrite + Send + Unpin {
    let (sink, messages) = socket.split();
    let bytes = messages.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(io::Error::other("text on the link"))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let writer = sink
        .sink_map_err(io::Error::other)
        .with(|bytes: Bytes| future::ready(Ok::<_, io::Error>(Message::Binary(bytes))));
    tokio::io::join(StreamReader::new(bytes), SinkWriter::new(CopyToBytes::new(writer)))
}
