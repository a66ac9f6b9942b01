//! An agent's WebSocket: first it is asked who it is, then it is the pipe under a connection. Whether what it answers is
//! the truth is decided in `domain`; this only carries it.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use futures::{SinkExt, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use wire::link::{Challenge, Channel, Proof, Verdict};

/// HTTP/2 frames are far smaller; what is larger is not ours.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A proof is two short texts.
const PROOF_BYTES_MAX: usize = 1 << 10;
/// How long an agent may take to answer the challenge, or to take the verdict.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets the bounds of an agent's socket, before `on_upgrade`.
pub fn bounded<F>(upgrade: WebSocketUpgrade<F>, channel: Channel) -> WebSocketUpgrade<F> {
    upgrade
        .read_buffer_size(channel.socket_buffer_bytes())
        .write_buffer_size(channel.socket_buffer_bytes())
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
}

/// Asks an agent to prove who it is; none when it does not answer as an agent would, in time.
pub async fn challenge(socket: &mut WebSocket, nonce: &str) -> Option<Proof> {
    let question = serde_json::to_vec(&Challenge { nonce: nonce.to_owned() }).ok()?;
    let exchange = async {
        socket.send(Message::Binary(question.into())).await.ok()?;
        loop {
            match socket.recv().await?.ok()? {
                Message::Binary(answer) if answer.len() <= PROOF_BYTES_MAX => {
                    return serde_json::from_slice(&answer).ok();
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Text(_) | Message::Close(_) => return None,
            }
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok()?
}

/// Tells an agent what became of its proof; whether it could be told.
pub async fn tell(socket: &mut WebSocket, verdict: &Verdict) -> bool {
    let Ok(text) = serde_json::to_vec(verdict) else { return false };
    let sent = tokio::time::timeout(PATIENCE, socket.send(Message::Binary(text.into()))).await;
    matches!(sent, Ok(Ok(())))
}

/// The socket as a pipe of bytes: one binary message per write.
pub fn pipe(socket: WebSocket) -> impl AsyncRead + AsyncWrite + Send + Unpin + use<> {
    let (sink, messages) = socket.split();
    let bytes = messages.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(io::Error::other("text on the link"))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let writer = sink
        .sink_map_err(io::Error::other)
        .with(|bytes: Bytes| future::ready(Ok::<_, io::Error>(Message::Binary(bytes))));
    tokio::io::join(StreamReader::new(bytes), SinkWriter::new(CopyToBytes::new(writer)))
}
