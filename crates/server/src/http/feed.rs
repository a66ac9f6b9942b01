//! What goes on and on, as its reader asks for it: a WebSocket, or an event stream. Both are pulled: nothing is made before the
//! reader has room for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::response::sse::Event;
use futures::{SinkExt as _, Stream, StreamExt as _};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{auth, sse};
use crate::app::App;
use crate::error::{Error, ErrorKind, Result};

/// Per connection; the defaults are far more than is needed.
const SOCKET_BUFFER: usize = 16 << 10;
const WRITE_BUFFER_MAX: usize = 1 << 20;
/// A reader has little to say.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// How often a sign of life is asked for, and how long a reader may give none or take nothing.
const PING_EVERY: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_mins(1);

/// One event.
#[derive(Clone, Debug)]
pub struct FeedEvent {
    name: &'static str,
    data: Value,
}

impl FeedEvent {
    /// An event with a JSON body.
    pub fn new(name: &'static str, data: &impl Serialize) -> Self {
        // Our views always serialise; a reader of null learns that something is wrong.
        Self { name, data: serde_json::to_value(data).unwrap_or(Value::Null) }
    }

    /// An event with a JSON body that is written already.
    pub fn of(name: &'static str, data: Value) -> Self {
        Self { name, data }
    }

    fn sse(&self) -> Event {
        sse::event(self.name, &self.data)
    }

    fn message(&self) -> Message {
        Message::Text(serde_json::json!({ "event": self.name, "data": self.data }).to_string().into())
    }
}

/// How the reader wants to have it.
pub enum Feed {
    /// Not at all: as one answer.
    No,
    /// As an event stream.
    Events,
    /// As a WebSocket.
    Socket(Box<WebSocketUpgrade>),
}

impl FromRequestParts<App> for Feed {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if !wants_socket(&parts.headers) {
            return Ok(if sse::is_wanted(&parts.headers) { Self::Events } else { Self::No });
        }
        // Also with a token: a page of another site that got hold of one must not use it.
        auth::check_origin(app, &parts.method, &parts.headers)?;
        match WebSocketUpgrade::from_request_parts(parts, app).await {
            Ok(upgrade) => Ok(Self::Socket(Box::new(upgrade))),
            Err(rejection) => {
                let detail = format!("this is not a request for a WebSocket: {rejection}");
                Err(Error::new(ErrorKind::Malformed, "not_a_websocket", detail))
            }
        }
    }
}

fn wants_socket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

impl Feed {
    /// Whether it is to go on.
    pub fn is_wanted(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// The events as an answer. They end with the server.
    pub fn answer(self, app: &App, events: impl Stream<Item = FeedEvent> + Send + 'static) -> Response {
        let Self::Socket(upgrade) = self else {
            return sse::answer(app, events.map(|event| event.sse()));
        };
        let shutdown = app.shutdown.clone();
        upgrade
            .read_buffer_size(SOCKET_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX)
            .max_message_size(MESSAGE_BYTES_MAX)
            .max_frame_size(MESSAGE_BYTES_MAX)
            .on_upgrade(move |socket| serve(socket, events, shutdown))
    }
}

/// The events, and how they ended: with `end`, or with `error` and a problem.
pub fn to_the_end(
    events: impl Stream<Item = Result<FeedEvent>> + Send + 'static,
) -> impl Stream<Item = FeedEvent> + Send + 'static {
    async_stream::stream! {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => yield event,
                Err(error) => {
                    yield FeedEvent::new("error", &super::error::problem(&error));
                    return;
                }
            }
        }
        yield FeedEvent::new("end", &serde_json::json!({}));
    }
}

async fn serve(
    socket: WebSocket,
    events: impl Stream<Item = FeedEvent> + Send + 'static,
    shutdown: CancellationToken,
) {
    let (mut sink, mut messages) = socket.split();
    let mut events = std::pin::pin!(events);
    let heard_at = Mutex::new(Instant::now());
    let mut ping = tokio::time::interval(PING_EVERY);
    let tell = async {
        loop {
            let (message, is_ping) = tokio::select! {
                event = events.next() => match event {
                    Some(event) => (event.message(), false),
                    None => return close_code::NORMAL,
                },
                _ = ping.tick() => (Message::Ping(Bytes::new()), true),
                () = shutdown.cancelled() => return close_code::AWAY,
            };
            let silence = heard_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            let sent = tokio::time::timeout(PATIENCE, sink.send(message)).await;
            if !matches!(sent, Ok(Ok(()))) || (is_ping && silence > PATIENCE) {
                // It reads too slowly, or it is gone.
                return close_code::AGAIN;
            }
        }
    };
    // A reader has nothing to say but that it is there, and goodbye.
    let hear = async {
        while let Some(Ok(message)) = messages.next().await {
            *heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    };
    let code = tokio::select! {
        code = tell => code,
        () = hear => return,
    };
    let reason = if code == close_code::AGAIN { "too slow" } else { "" };
    let goodbye = async {
        sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        sink.close().await
    };
    if !matches!(tokio::time::timeout(Duration::from_secs(1), goodbye).await, Ok(Ok(()))) {
        tracing::debug!("a reader left before the last word");
    }
}
