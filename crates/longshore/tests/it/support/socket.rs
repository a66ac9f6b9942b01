//! A WebSocket client that waits for what it is told to wait for.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::api::Api;

/// What a shell shows while it waits for a command.
pub(crate) const PROMPT: &str = "# ";
const PATIENCE: Duration = Duration::from_mins(2);

type Stream = WebSocketStream<reqwest::Upgraded>;

/// An open WebSocket.
pub(crate) struct Socket {
    pub(crate) pen: Pen,
    messages: SplitStream<Stream>,
}

/// What is said on it, from anywhere.
#[derive(Clone)]
pub(crate) struct Pen {
    sink: Arc<tokio::sync::Mutex<SplitSink<Stream, Message>>>,
}

impl Pen {
    /// Whether the other side was there to take it.
    pub(crate) async fn send(&self, message: Message) -> bool {
        self.sink.lock().await.send(message).await.is_ok()
    }

    /// Says something as JSON.
    pub(crate) async fn say(&self, message: Value) -> bool {
        self.send(Message::Text(message.to_string().into())).await
    }

    /// Gives a terminal input.
    pub(crate) async fn write(&self, bytes: impl AsRef<[u8]>) -> bool {
        self.send(Message::Binary([&[0], bytes.as_ref()].concat().into())).await
    }
}

/// Why a WebSocket was not opened.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Refusal {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Socket {
    /// Opens a WebSocket as somebody, with further headers.
    pub(crate) async fn open(
        api: &Api,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refusal> {
        let mut request = api.request(Method::GET, path);
        let own = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
        for (name, value) in own.iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let answer = request.header("sec-websocket-key", generate_key()).send().await.unwrap();
        let status = answer.status().as_u16();
        if status != 101 {
            return Err(Refusal { status, body: answer.json().await.unwrap_or(Value::Null) });
        }
        let stream = Stream::from_raw_socket(answer.upgrade().await.unwrap(), Role::Client, None).await;
        let (sink, messages) = stream.split();
        Ok(Self { pen: Pen { sink: Arc::new(sink.into()) }, messages })
    }

    /// The next message of a kind that carries something; none when the connection is over.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.messages.next()).await.expect("a message comes");
            match next {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(message)) => return Some(message),
            }
        }
    }
}

/// A terminal through its WebSocket.
pub(crate) struct Terminal {
    pub(crate) socket: Socket,
    pub(crate) session: String,
    /// Offset of what comes next, as a client counts it.
    pub(crate) offset: u64,
    /// From where on it was new when it was opened.
    pub(crate) live_offset: u64,
    /// Everything that was shown, by channel.
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    /// Bytes that were left out.
    pub(crate) dropped: u64,
    /// Messages besides output and `dropped`.
    pub(crate) told: Vec<Value>,
}

impl Terminal {
    /// Opens what the query says, with the token.
    pub(crate) async fn open(api: &Api, container: &Value, query: &str) -> Self {
        let path = format!("/api/v1/containers/{}/terminal?{query}", id_of(container));
        Self::on(Socket::open(api, &path, &[]).await.unwrap()).await
    }

    /// In a pod, with the token.
    pub(crate) async fn in_pod(api: &Api, namespace: &str, pod: &str, query: &str) -> Self {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/terminal?{query}");
        Self::on(Socket::open(api, &path, &[]).await.unwrap()).await
    }

    /// With a ticket.
    pub(crate) async fn with_ticket(api: &Api, container: &Value, wanted: Value) -> Self {
        let path = format!("/api/v1/containers/{}/terminal-tickets", id_of(container));
        let ticket = api.post(&path, wanted).await.expect(201).json();
        Self::on(Socket::open(&api.anonymous(), ticket["path"].as_str().unwrap(), &[]).await.unwrap()).await
    }

    async fn on(socket: Socket) -> Self {
        let mut terminal = Self::new(socket);
        let opened = terminal.told("opened").await;
        opened["session"].as_str().unwrap().clone_into(&mut terminal.session);
        terminal.offset = opened["offset"].as_u64().unwrap();
        terminal.live_offset = opened["live_offset"].as_u64().unwrap();
        terminal
    }

    fn new(socket: Socket) -> Self {
        Self {
            socket,
            session: String::new(),
            offset: 0,
            live_offset: 0,
            out: Vec::new(),
            err: Vec::new(),
            dropped: 0,
            told: Vec::new(),
        }
    }

    /// A shell where the way to the machine may break at any time; none when it did, or it may not be opened now.
    pub(crate) async fn try_open(api: &Api, container: &Value) -> Option<Self> {
        let path = format!("/api/v1/containers/{}/terminal", id_of(container));
        Some(Self::new(Socket::open(api, &path, &[]).await.ok()?))
    }

    /// Reads until this was shown; none when the terminal ended before.
    pub(crate) async fn try_shows(&mut self, text: &str) -> Option<()> {
        while !self.out.windows(text.len()).any(|part| part == text.as_bytes()) {
            self.take().await.then_some(())?;
        }
        Some(())
    }

    pub(crate) async fn write(&self, bytes: impl AsRef<[u8]>) {
        assert!(self.socket.pen.write(bytes).await, "the terminal takes input");
    }

    /// Types a command into a shell; what it shows before the shell waits for the next.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.out.clear();
        self.write(format!("{command}\n")).await;
        self.shows(PROMPT).await
    }

    /// Takes one message; false when the connection is over.
    pub(crate) async fn take(&mut self) -> bool {
        match self.socket.next().await {
            None => false,
            Some(Message::Binary(bytes)) => {
                let (channel, bytes) = bytes.split_first().unwrap();
                self.offset += bytes.len() as u64;
                match channel {
                    1 => self.out.extend(bytes),
                    2 => self.err.extend(bytes),
                    other => panic!("channel {other}"),
                }
                true
            }
            Some(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["type"] == "dropped" {
                    let bytes = message["bytes"].as_u64().unwrap();
                    self.dropped += bytes;
                    self.offset += bytes;
                }
                self.told.push(message);
                true
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Reads until this was shown; what was shown before it. Both are then forgotten.
    pub(crate) async fn shows(&mut self, text: &str) -> String {
        loop {
            let found = self.out.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                let shown = self.out.drain(..at + text.len()).collect::<Vec<_>>();
                return String::from_utf8_lossy(&shown[..at]).into_owned();
            }
            assert!(self.take().await, "{text:?} was never shown, but {:?}, {:?}", self.text(), self.told);
        }
    }

    /// Reads until a message of this type was told.
    pub(crate) async fn told(&mut self, kind: &str) -> Value {
        loop {
            if let Some(at) = self.told.iter().position(|message| message["type"] == kind) {
                return self.told.remove(at);
            }
            assert!(self.take().await, "`{kind}` was never told, but {:?}", self.told);
        }
    }

    /// Reads to the end; how it ended.
    pub(crate) async fn ended(&mut self) -> Value {
        while self.take().await {}
        let last = self.told.pop().expect("a last message");
        assert_eq!(last["type"], "ended", "{last}");
        last
    }

    /// What was shown and not waited for.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    pub(crate) async fn resize(&self, columns: u16, rows: u16) {
        self.say(json!({"type": "resize", "columns": columns, "rows": rows})).await;
    }

    pub(crate) async fn say(&self, message: Value) {
        assert!(self.socket.pen.say(message).await, "the terminal takes messages");
    }
}

/// A container's number, of the container or as it is.
fn id_of(container: &Value) -> String {
    let id = if container.is_object() { &container["id"] } else { container };
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}
