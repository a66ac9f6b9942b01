//! A typed call to a machine, and the events of a streaming one. Dropping either tells the agent to stop.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, BytesMut};
use futures::{StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::ids::MachineId;
use wire::link::{
    ByteCall, CALL_HEADER, Call, Channel, HEARS_HEADER, LEVEL_HEADER, LINE_BYTES_MAX, LINK_LEVEL, LinkError,
    StreamCall, Watch, WatchEvent,
};

use super::Hub;

/// A reply is a list of some containers at most.
const REPLY_BYTES_MAX: usize = 4 << 20;
/// A call that travels in a header; agents take 256 KiB of headers.
const HEADER_CALL_BYTES_MAX: usize = 128 << 10;
/// The answer to a streaming call begins at once; only its events take time.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The machine's agent is not connected.
    #[error("the machine's agent is not connected")]
    NotConnected,
    /// The agent refused it or failed at it.
    #[error(transparent)]
    Refused(#[from] LinkError),
    /// The connection broke before the end; whether the agent did it is not known.
    #[error("the connection to the machine broke: {0}")]
    Broken(String),
    /// No reply in time; whether the agent did it is not known.
    #[error("the machine did not answer in time")]
    TimedOut,
}

impl Hub {
    /// Calls a machine and waits for its reply, at most so long. Dropping the future gives the call up on both sides.
    pub async fn call<C: Call>(
        &self,
        machine: &MachineId,
        call: &C,
        timeout: Duration,
    ) -> Result<C::Reply, CallError> {
        let body = Body::from(to_json(call));
        let request = request(C::PATH, None, body);
        let exchange = async {
            let response = self.send(machine, C::CHANNEL, request).await?;
            let bytes = read(response.into_body(), REPLY_BYTES_MAX).await?;
            serde_json::from_slice(&bytes)
                .map_err(|error| CallError::Broken(format!("its reply cannot be read: {error}")))
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| CallError::TimedOut)?
    }

    /// Begins a streaming call; `body` is what it carries besides itself (a build's context).
    pub async fn stream<S: StreamCall>(
        &self,
        machine: &MachineId,
        call: &S,
        body: Option<Body>,
    ) -> Result<EventStream<S::Event>, CallError> {
        let json = to_json(call);
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        let request = match body {
            None => request(S::PATH, None, Body::from(json)),
            Some(_) if json.len() > HEADER_CALL_BYTES_MAX => return Err(too_long(json.len())),
            Some(body) => request(S::PATH, Some(&json), until_cancelled(body, cancelled)),
        };
        self.begin(machine, S::CHANNEL, request, cancel).await
    }

    /// Begins to watch a machine. Whatever comes over its connection is taken for a sign of life, and its agent is told so.
    pub async fn watch(
        &self,
        machine: &MachineId,
        call: &Watch,
    ) -> Result<EventStream<WatchEvent>, CallError> {
        let mut request = request(Watch::PATH, None, Body::from(to_json(call)));
        request.headers_mut().insert(HEARS_HEADER, HeaderValue::from_static("everything"));
        self.begin(machine, Watch::CHANNEL, request, CancellationToken::new().drop_guard()).await
    }

    async fn begin<E>(
        &self,
        machine: &MachineId,
        channel: Channel,
        request: Request<Body>,
        cancel: DropGuard,
    ) -> Result<EventStream<E>, CallError> {
        let begin = self.send(machine, channel, request);
        let response =
            tokio::time::timeout(BEGIN_TIMEOUT, begin).await.map_err(|_| CallError::TimedOut)??;
        let body = response.into_body();
        Ok(EventStream { body, buffer: BytesMut::new(), searched: 0, event: PhantomData, _cancel: cancel })
    }

    /// Begins a call that carries bytes and answers with bytes of its own form. Drop the guard to give it up.
    pub(super) async fn bytes<B: ByteCall>(
        &self,
        machine: &MachineId,
        call: &B,
        body: Body,
    ) -> Result<(Incoming, DropGuard), CallError> {
        let json = to_json(call);
        if json.len() > HEADER_CALL_BYTES_MAX {
            return Err(too_long(json.len()));
        }
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        let request = request(B::PATH, Some(&json), until_cancelled(body, cancelled));
        let begin = self.send(machine, call.channel(), request);
        let response =
            tokio::time::timeout(BEGIN_TIMEOUT, begin).await.map_err(|_| CallError::TimedOut)??;
        Ok((response.into_body(), cancel))
    }

    async fn send(
        &self,
        machine: &MachineId,
        channel: Channel,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, CallError> {
        let mut sender = self.sender(machine, channel).await?;
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let bytes = read(response.into_body(), LINE_BYTES_MAX).await?;
        match serde_json::from_slice::<LinkError>(&bytes) {
            Ok(error) => Err(CallError::Refused(error)),
            Err(_) => Err(CallError::Broken(format!("it answered {status}"))),
        }
    }
}

fn too_long(bytes: usize) -> CallError {
    let message = format!("the call is {bytes} bytes, at most {HEADER_CALL_BYTES_MAX}");
    LinkError::new(wire::link::LinkErrorCode::Invalid, message).into()
}

fn to_json(call: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(call).expect("calls can be written as JSON")
}

fn request(path: &str, header_call: Option<&[u8]>, body: Body) -> Request<Body> {
    let mut request = Request::post(format!("http://agent{path}"))
        .header(LEVEL_HEADER, LINK_LEVEL)
        .body(body)
        .expect("paths of calls are paths");
    let Some(json) = header_call else {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return request;
    };
    let mut value = HeaderValue::from_str(&BASE64_STANDARD.encode(json)).expect("base64 is a header value");
    // It holds a credential: not to be logged, nor kept in the connection's table of headers.
    value.set_sensitive(true);
    request.headers_mut().insert(CALL_HEADER, value);
    request
}

/// HTTP/2 tells the agent that nobody reads its answer only once the body is sent. So a body breaks off by itself when its
/// call is dropped: with an error, because a body that just ended would be taken for a whole one.
fn until_cancelled(body: Body, cancelled: CancellationToken) -> Body {
    let parts = stream::unfold(Some(body.into_data_stream()), move |parts| {
        let cancelled = cancelled.clone();
        async move {
            let mut parts = parts?;
            tokio::select! {
                biased;
                () = cancelled.cancelled() => Some((Err(io::Error::other("the call was dropped")), None)),
                part = parts.next() => Some((part?.map_err(io::Error::other), Some(parts))),
            }
        }
    });
    Body::from_stream(parts)
}

async fn read(body: Incoming, limit: usize) -> Result<Bytes, CallError> {
    let collected = Limited::new(body, limit).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| CallError::Broken(error.to_string()))
}

pub(super) fn broken(error: impl std::error::Error) -> CallError {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    CallError::Broken(format!("{error}{source}"))
}

/// The events of a streaming call. Dropping it tells the agent to stop.
#[derive(Debug)]
pub struct EventStream<E> {
    body: Incoming,
    /// What has come of the next lines; at most one line and one frame.
    buffer: BytesMut,
    /// So many bytes of that hold no end of a line.
    searched: usize,
    event: PhantomData<fn() -> E>,
    /// Breaks off the body of the call, if it is still on its way.
    _cancel: DropGuard,
}

impl<E: DeserializeOwned> EventStream<E> {
    /// The next event; none after the last. Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Option<Result<E, CallError>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let end = self.searched + end;
                self.searched = 0;
                let line = self.buffer.split_to(end + 1);
                let event = serde_json::from_slice(&line[..end]);
                return Some(event.map_err(|error| {
                    CallError::Broken(format!("one of its events cannot be read: {error}"))
                }));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                self.forget();
                return Some(Err(CallError::Broken(format!(
                    "one of its events is longer than {LINE_BYTES_MAX} bytes"
                ))));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(mut data) = frame.into_data() {
                        self.buffer.extend_from_slice(data.chunk());
                        data.advance(data.len());
                    }
                }
                Some(Err(error)) => return Some(Err(broken(error))),
                None if self.buffer.is_empty() => return None,
                None => {
                    self.forget();
                    return Some(Err(CallError::Broken("it ended in the middle of an event".into())));
                }
            }
        }
    }

    fn forget(&mut self) {
        self.buffer.clear();
        self.searched = 0;
    }

    /// As a `futures` stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<E, CallError>> {
        stream::unfold(self, |mut events| async {
            let event = events.next().await?;
            Some((event, events))
        })
    }
}
