//! `/api/v1/containers/{id}/terminal`: a WebSocket on a command in a container. `docs/API.md` has its protocol in words.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use wire::ids::TerminalId;
use wire::problem::Problem;
use wire::terminals::{
    CHANNEL_INPUT, EndReason, MESSAGE_BYTES_MAX, SUBPROTOCOL, ServerMessage, TerminalCreate, TerminalSize,
    TerminalTicket, TerminalView, ViewerMessage,
};

use super::auth;
use super::extract::{Json, Path};
use crate::app::App;
use crate::caller::{Caller, RequestContext};
use crate::domain::terminals::{self, Admission, At};
use crate::error::{Error, ErrorKind, Result};
use crate::terminals::{Done, Hands, Shown, Viewer};

/// Per connection; the defaults are far more than a terminal needs.
const SOCKET_BUFFER: usize = 16 << 10;
/// What may wait to be written while a viewer is slow.
const WRITE_BUFFER_MAX: usize = 256 << 10;
/// How often it is asked whether the viewer may still look.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a sign of life is asked for, and how long a viewer may give none.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Refusals that wait to be said.
const REFUSALS_WAITING: usize = 4;
/// How long the last words may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Gives a ticket that opens one terminal's WebSocket, once, within 30 seconds. For browsers, which can send no token with
/// a WebSocket; programs may send theirs and need no ticket.
#[utoipa::path(post, path = "/api/v1/containers/{id}/terminal-tickets", tag = "terminals", request_body = TerminalCreate,
    params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 201, body = TerminalTicket), (status = 401, body = Problem), (status = 404, description = "No such container or terminal", body = Problem),
        (status = 409, description = "The container does not run", body = Problem), (status = 422, body = Problem),
        (status = 429, description = "Too many terminals or tickets", body = Problem)))]
pub async fn create_ticket(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(wanted): Json<TerminalCreate>,
) -> Result<(StatusCode, axum::Json<TerminalTicket>)> {
    let ticket = terminals::ticket(&app, &caller, At::Container(&id), wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(ticket)))
}

/// Lists the terminals of a container, oldest first.
#[utoipa::path(get, path = "/api/v1/containers/{id}/terminals", tag = "terminals",
    params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 200, body = Vec<TerminalView>), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<Vec<TerminalView>>> {
    terminals::list(&app, &caller, &id).await.map(axum::Json)
}

/// Ends a terminal and its command, whoever looks at it.
#[utoipa::path(delete, path = "/api/v1/containers/{id}/terminals/{terminal}", tag = "terminals",
    params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), ("terminal" = String, Path, description = "The terminal's id")),
    responses((status = 204, description = "It is being ended"), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn end(
    State(app): State<App>,
    caller: Caller,
    Path((id, terminal)): Path<(String, TerminalId)>,
) -> Result<StatusCode> {
    terminals::end(&app, &caller, &id, terminal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Opens a terminal: a WebSocket (subprotocol `longshore.terminal.v1`). With a ticket, nothing else is in the query; with a
/// token, the query says what is wanted. Binary messages are a channel's number and bytes, text messages are JSON:
/// `ViewerMessage` one way, `ServerMessage` the other.
#[utoipa::path(get, path = "/api/v1/containers/{id}/terminal", tag = "terminals",
    params(
        ("id" = String, Path, description = "Its number, or its name among the caller's own"),
        ("ticket" = Option<String>, Query, description = "From `terminal-tickets`; then there is no other parameter"),
        ("command" = Option<Vec<String>>, Query, description = "A word of the command; once for each"),
        ("tty" = Option<bool>, Query, description = "Whether it gets a terminal; true by default"),
        ("input" = Option<bool>, Query, description = "Whether it can be given input; true by default"),
        ("working_dir" = Option<String>, Query, description = "Where it runs"),
        ("columns" = Option<u16>, Query, description = "80 by default"),
        ("rows" = Option<u16>, Query, description = "24 by default"),
        ("session" = Option<String>, Query, description = "Look at this terminal instead of opening one"),
        ("from" = Option<u64>, Query, description = "With `session`: begin the replay at this offset"),
        ("read_only" = Option<bool>, Query, description = "Only look"),
    ),
    responses((status = 101, description = "The connection is a WebSocket now"), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, description = "From a page of another site", body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn open(State(app): State<App>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    // Also with a ticket or a token: what a page of another site could get hold of it must not use.
    auth::check_origin(&app, &parts.method, &parts.headers)?;
    let Path(id) = Path::<String>::from_request_parts(&mut parts, &app).await?;
    upgrade(app, parts, At::Container(&id)).await
}

/// Gives a ticket that opens one terminal's WebSocket in a pod, once, within 30 seconds.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/pods/{pod}/terminal-tickets", tag = "terminals", request_body = TerminalCreate,
    params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own"), ("pod" = String, Path, description = "The pod's name")),
    responses((status = 201, body = TerminalTicket), (status = 401, body = Problem), (status = 404, description = "No such namespace or terminal", body = Problem),
        (status = 422, body = Problem), (status = 429, description = "Too many terminals or tickets", body = Problem)))]
pub async fn create_pod_ticket(
    State(app): State<App>,
    caller: Caller,
    Path((namespace, pod)): Path<(String, String)>,
    Json(wanted): Json<TerminalCreate>,
) -> Result<(StatusCode, axum::Json<TerminalTicket>)> {
    let at = At::Pod { namespace: &namespace, pod: &pod };
    let ticket = terminals::ticket(&app, &caller, at, wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(ticket)))
}

/// Opens a terminal in a pod: the same WebSocket as for containers, with `container` to choose one of the pod's.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/pods/{pod}/terminal", tag = "terminals",
    params(
        ("namespace" = String, Path, description = "Its id, or the name of one of the caller's own"),
        ("pod" = String, Path, description = "The pod's name"),
        ("ticket" = Option<String>, Query, description = "From `terminal-tickets`; then there is no other parameter"),
        ("container" = Option<String>, Query, description = "One of the pod's containers; the first one by default"),
        ("command" = Option<Vec<String>>, Query, description = "A word of the command; once for each"),
        ("tty" = Option<bool>, Query, description = "Whether it gets a terminal; true by default"),
        ("input" = Option<bool>, Query, description = "Whether it can be given input; true by default"),
        ("columns" = Option<u16>, Query, description = "80 by default"),
        ("rows" = Option<u16>, Query, description = "24 by default"),
        ("session" = Option<String>, Query, description = "Look at this terminal instead of opening one"),
        ("from" = Option<u64>, Query, description = "With `session`: begin the replay at this offset"),
        ("read_only" = Option<bool>, Query, description = "Only look"),
    ),
    responses((status = 101, description = "The connection is a WebSocket now"), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, description = "From a page of another site", body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn open_in_pod(State(app): State<App>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    auth::check_origin(&app, &parts.method, &parts.headers)?;
    let Path((namespace, pod)) = Path::<(String, String)>::from_request_parts(&mut parts, &app).await?;
    upgrade(app, parts, At::Pod { namespace: &namespace, pod: &pod }).await
}

async fn upgrade(app: App, mut parts: Parts, at: At<'_>) -> Result<Response> {
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let (caller, wanted) = match query {
        Query::Ticket(ticket) => {
            let context = parts.extensions.get::<RequestContext>().cloned();
            terminals::redeem(&app, context, &ticket, at).await?
        }
        Query::Wanted(wanted) => (Caller::from_request_parts(&mut parts, &app).await?, *wanted),
    };
    let admission = terminals::admit(&app, &caller, at, wanted).await?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("this address takes WebSockets only: {rejection}");
        Error::new(ErrorKind::Malformed, "not_a_websocket", detail)
    })?;
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| serve(app, caller, admission, socket)))
}

/// Whether a request shows a ticket.
pub(super) fn has_ticket(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "ticket")
}

/// What the query of the WebSocket's address says.
#[derive(Debug, PartialEq)]
enum Query {
    Ticket(String),
    Wanted(Box<TerminalCreate>),
}

impl Query {
    /// Reads it strictly: what is given twice or is not known could mean one thing to a check and another to the work.
    fn parse(query: &str) -> Result<Self> {
        let mut wanted = TerminalCreate::default();
        let mut ticket = None;
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "command" {
                wanted.command.get_or_insert_default().push(value.into_owned());
                seen.push(name);
                continue;
            }
            if seen.contains(&name) {
                return Err(bad_query(format!("`{}` is given twice", name.escape_debug())));
            }
            match &*name {
                "ticket" => ticket = Some(value.into_owned()),
                "tty" => wanted.tty = Some(read(&name, &value)?),
                "input" => wanted.input = Some(read(&name, &value)?),
                "working_dir" => wanted.working_dir = Some(value.into_owned()),
                "container" => wanted.container = Some(value.into_owned()),
                "columns" => wanted.columns = Some(read(&name, &value)?),
                "rows" => wanted.rows = Some(read(&name, &value)?),
                "session" => wanted.session = Some(read(&name, &value)?),
                "from" => wanted.from = Some(read(&name, &value)?),
                "read_only" => wanted.read_only = read(&name, &value)?,
                _ => return Err(bad_query(format!("there is no parameter `{}`", name.escape_debug()))),
            }
            seen.push(name);
        }
        match ticket {
            Some(_) if seen.len() > 1 => Err(bad_query(
                "with a ticket there is no other parameter: it holds what was asked for".to_owned(),
            )),
            Some(ticket) => Ok(Self::Ticket(ticket)),
            None => Ok(Self::Wanted(Box::new(wanted))),
        }
    }
}

fn read<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| bad_query(format!("`{name}` cannot be `{}`", value.escape_debug())))
}

fn bad_query(detail: String) -> Error {
    Error::new(ErrorKind::Invalid, "invalid_query", detail)
}

type Sink = SplitSink<WebSocket, Message>;

/// Why a look ended, as far as something has to be said about it.
enum End {
    /// The terminal's last message was said.
    Said,
    /// The viewer is gone.
    Gone,
    /// The viewer may not look any more.
    Revoked,
}

/// What those who carry a look in both directions share.
struct Shared {
    hands: Hands,
    /// When the viewer last gave a sign of life.
    heard_at: Mutex<Instant>,
    /// Why something that the viewer sent was not done; what does not fit is not said.
    refusals: mpsc::Sender<String>,
}

async fn serve(app: App, caller: Caller, admission: Admission, socket: WebSocket) {
    let (mut sink, messages) = socket.split();
    let mut viewer = match terminals::open(&app, &caller, &admission).await {
        Ok(viewer) => viewer,
        Err(error) => {
            let message = match &error.hint {
                Some(hint) => format!("{}; {hint}", error.detail),
                None => error.detail,
            };
            let last = ServerMessage::Ended { reason: EndReason::Failed, exit_code: None, message };
            return goodbye(&mut sink, Some(last), close_code::NORMAL).await;
        }
    };
    let (refusals, refused) = mpsc::channel(REFUSALS_WAITING);
    let shared = Shared { hands: viewer.hands(), heard_at: Mutex::new(Instant::now()), refusals };
    let has_terminal = viewer.is_tty();
    let end = tokio::select! {
        end = show(&mut sink, &mut viewer, refused) => end,
        end = listen(messages, &shared) => end,
        end = watch(&app, &caller, &admission, has_terminal, &shared) => end,
    };
    drop(viewer);
    match end {
        End::Gone => {}
        End::Said => goodbye(&mut sink, None, close_code::NORMAL).await,
        End::Revoked => {
            let message = "you may not look at it any more; log in again".to_owned();
            let last = ServerMessage::Ended { reason: EndReason::Revoked, exit_code: None, message };
            goodbye(&mut sink, Some(last), close_code::POLICY).await;
        }
    }
}

/// Shows what there is to show, as fast as the viewer takes it.
async fn show(sink: &mut Sink, viewer: &mut Viewer, mut refused: mpsc::Receiver<String>) -> End {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.tick().await;
    loop {
        let message = tokio::select! {
            shown = viewer.next() => match shown {
                Shown::Output(message) => Message::Binary(message.into()),
                Shown::Message(last @ ServerMessage::Ended { .. }) => {
                    return if sink.send(text(&last)).await.is_ok() { End::Said } else { End::Gone };
                }
                Shown::Message(message) => text(&message),
            },
            Some(message) = refused.recv() => text(&ServerMessage::Refused { message }),
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return End::Gone;
        }
    }
}

fn text(message: &ServerMessage) -> Message {
    Message::Text(serde_json::to_string(message).expect("messages can be written as JSON").into())
}

/// Passes on what the viewer sends.
async fn listen(mut messages: SplitStream<WebSocket>, shared: &Shared) -> End {
    while let Some(Ok(message)) = messages.next().await {
        *shared.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let done = match message {
            Message::Binary(bytes) => {
                if bytes.first() != Some(&CHANNEL_INPUT) {
                    shared.refuse("a binary message begins with the byte 0 and goes on with input");
                    continue;
                }
                shared.hands.input(bytes.slice(1..)).await
            }
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(ViewerMessage::Resize { columns, rows }) => {
                    shared.hands.resize(TerminalSize { columns, rows }).await
                }
                Ok(ViewerMessage::EndOfInput) => shared.hands.end_of_input().await,
                Ok(ViewerMessage::End) => shared.hands.end(),
                Err(_) => {
                    shared.refuse("a text message is one of `resize`, `end_of_input` and `end`, as JSON");
                    continue;
                }
            },
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return End::Gone,
        };
        match done {
            Done::Yes => {}
            Done::ReadOnly => shared.refuse("you asked only to look"),
            Done::BadSize => shared.refuse("a terminal has 1 to 1000 columns and rows"),
        }
    }
    End::Gone
}

impl Shared {
    fn refuse(&self, message: &str) {
        // A viewer that sends nonsense faster than it reads learns of some of it.
        drop(self.refusals.try_send(message.to_owned()));
    }
}

/// Ends a look that may not go on, and one whose viewer gives no sign of life. A viewer of a pipe may stand still for as
/// long as the terminals' own limits allow: what it is for may be slow.
async fn watch(
    app: &App,
    caller: &Caller,
    admission: &Admission,
    has_terminal: bool,
    shared: &Shared,
) -> End {
    let mut timer = tokio::time::interval(CHECK_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let silence = shared.heard_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if has_terminal && silence > SILENCE_MAX {
            return End::Gone;
        }
        if !terminals::may_still_look(app, caller, admission).await {
            return End::Revoked;
        }
    }
}

/// Says the last words, if the viewer takes them.
async fn goodbye(sink: &mut Sink, last: Option<ServerMessage>, code: u16) {
    let say = async {
        if let Some(last) = &last {
            sink.send(text(last)).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await?;
        // Waits for the viewer's own goodbye, so that nothing of what was said is lost on its way.
        sink.close().await
    };
    if !matches!(tokio::time::timeout(GOODBYE_TIMEOUT, say).await, Ok(Ok(()))) {
        tracing::debug!("a viewer left before the last word");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_wanted_word_by_word() {
        let query = "command=sh&command=-c&command=echo%20a%26b&tty=false&columns=100&read_only=true";

        let Query::Wanted(wanted) = Query::parse(query).unwrap() else { panic!("there is no ticket") };

        assert_eq!(wanted.command.unwrap(), ["sh", "-c", "echo a&b"]);
        assert_eq!((wanted.tty, wanted.columns, wanted.read_only), (Some(false), Some(100), true));
    }

    #[test]
    fn a_ticket_cannot_be_widened_by_what_stands_beside_it() {
        assert_eq!(Query::parse("ticket=abc").unwrap(), Query::Ticket("abc".into()));
        for query in
            ["ticket=abc&command=sh", "command=sh&ticket=abc", "ticket=abc&ticket=def", "ticket=abc&tty=true"]
        {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn what_is_not_known_or_given_twice_is_refused() {
        for query in [
            "user=0",
            "privileged=true",
            "tty=1",
            "tty=true&tty=false",
            "columns=-1",
            "columns=99999",
            "session=1",
            "env=A",
            "TTY=true",
            "=",
        ] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}
