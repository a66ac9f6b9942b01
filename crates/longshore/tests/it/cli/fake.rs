//! A server made of one function, on a free port of the loopback: it keeps what it was asked and answers as the test
//! says.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};

/// The most bytes of a body that are kept; the rest is only counted.
const KEPT_BYTES: usize = 8 << 20;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) body_bytes: u64,
}

impl Seen {
    /// `GET /api/v1/me`
    pub(super) fn route(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

type Answer = Arc<dyn Fn(&Seen) -> Response + Send + Sync>;

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Answer,
}

/// A running server; ends with the test's process.
pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Starts a server that answers as the function says.
    pub(super) fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Shared { seen: Arc::clone(&seen), answer: Arc::new(answer) };
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(handle).with_state(shared);
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { url, seen }
    }

    /// What was asked so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests of one route.
    pub(super) fn seen_at(&self, route: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.route() == route).collect()
    }
}

async fn handle(State(shared): State<Shared>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: Vec::new(),
        body_bytes: 0,
    };
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            seen.method.push_str(" broken");
            break;
        };
        seen.body_bytes += piece.len() as u64;
        let room = KEPT_BYTES.saturating_sub(seen.body.len()).min(piece.len());
        seen.body.extend_from_slice(&piece[..room]);
    }
    shared.seen.lock().unwrap().push(seen.clone());
    if let Ok(upgrade) = upgrade {
        return upgrade.protocols(["longshore.terminal.v1"]).on_upgrade(hello);
    }
    tokio::task::block_in_place(|| (shared.answer)(&seen))
}

/// A command that says hello and ends well.
async fn hello(mut socket: WebSocket) {
    let session = super::views::TOKEN;
    let opened =
        json!({ "type": "opened", "session": session, "tty": false, "offset": 0, "columns": 80, "rows": 24 });
    let ended =
        json!({ "type": "ended", "reason": "exited", "exit_code": 0, "message": "the command has ended" });
    let messages = [
        Message::Text(opened.to_string().into()),
        Message::Binary(b"\x01hello\n".to_vec().into()),
        Message::Text(ended.to_string().into()),
    ];
    for message in messages {
        socket.send(message).await.unwrap();
    }
}

/// JSON exactly as written.
pub(super) fn raw_json(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/json")], text.to_owned()).into_response()
}

pub(super) fn ok(value: &Value) -> Response {
    raw_json(200, &value.to_string())
}

/// One page that holds everything.
pub(super) fn page(rows: &[Value]) -> Response {
    ok(&json!({ "data": rows, "total": rows.len(), "limit": 100, "offset": 0 }))
}

/// A refusal, with further members.
pub(super) fn problem(status: u16, code: &str, detail: &str, more: &Value) -> Response {
    let mut body =
        json!({ "type": "about:blank", "title": "No", "status": status, "code": code, "detail": detail });
    let members = body.as_object_mut().unwrap();
    for (key, value) in more.as_object().into_iter().flatten() {
        members.insert(key.clone(), value.clone());
    }
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

pub(super) fn not_found() -> Response {
    problem(404, "not_found", "there is no such thing", &json!({}))
}

/// An event stream; `is_cut` breaks the connection after the last event instead of ending the stream.
pub(super) fn events(events: &[String], is_cut: bool) -> Response {
    let mut pieces: Vec<Result<Bytes, std::io::Error>> =
        events.iter().map(|event| Ok(Bytes::from(event.clone()))).collect();
    if is_cut {
        pieces.push(Err(std::io::Error::other("cut")));
    }
    // One piece at a time: a stream that is always ready may be cut before its first piece was sent.
    let stream = futures::stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        piece
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

/// An event stream that never ends.
pub(super) fn endless_events(events: &[String]) -> Response {
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        events.iter().map(|event| Ok(Bytes::from(event.clone()))).collect();
    let stream = futures::stream::iter(pieces).chain(futures::stream::pending());
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

pub(super) fn log_event(offset: u64, text: &str) -> String {
    let end = offset + text.len() as u64;
    format!("id: {end}\nevent: log\ndata: {}\n\n", json!({ "offset": offset, "text": text }))
}

pub(super) fn state_event(build: &Value) -> String {
    format!("event: state\ndata: {build}\n\n")
}
