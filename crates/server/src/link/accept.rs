//! An agent's WebSocket as the pipe under a connection. The route and who may use it are the router's; this only carries
//! bytes.

use std::io;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use futures::{SinkExt, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use wire::ids::MachineId;
use wire::link::Channel;

use super::Hub;

/// Per connection; the default of 128 KiB is most of what an idle link costs.
const SOCKET_BUFFER: usize = 16 << 10;
/// HTTP/2 frames are far smaller; what is larger is not ours.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Sets the bounds of an agent's socket, before `on_upgrade`.
pub fn bounded<F>(upgrade: WebSocketUpgrade<F>) -> WebSocketUpgrade<F> {
    upgrade
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(SOCKET_BUFFER)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
}

/// Serves one connection of an agent that has shown that it is that machine's, until it ends.
pub async fn serve_socket(hub: Hub, machine: MachineId, channel: Channel, socket: WebSocket) {
    if let Err(error) = hub.attach(machine, channel, pipe(socket)).await {
        tracing::warn!("{error}");
    }
}

/// The socket as a pipe of bytes: one binary message per write.
fn pipe(socket: WebSocket) -> impl AsyncRead + AsyncWrite + Send + Unpin {
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
