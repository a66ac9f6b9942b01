//! A typed call to a machine, and the events of a streaming one. Dropping either tells the agent to stop.

use std::marker::PhantomData;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use futures::future::poll_fn;
use futures::{StreamExt, stream};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::ids::MachineId;
use wire::link::{
    ByteCall, CALL_HEADER, Call, Channel, HEARS_HEADER, LEVEL_HEADER, LINE_BYTES_MAX, LINK_LEVEL, LinkError,
    LinkErrorCode, StreamCall, Watch, WatchEvent,
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
        let exchange = async {
            let mut reply = self.ask(machine, C::CHANNEL, request(C::PATH), call).await?;
            serde_json::from_slice(&whole(&mut reply, REPLY_BYTES_MAX).await?)
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
        let Some(body) = body else {
            let events = self.ask(machine, S::CHANNEL, request(S::PATH), call);
            return Ok(EventStream::new(in_time(events).await?, None));
        };
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        let begin = async {
            let (response, to) = self.open(machine, S::CHANNEL, carrying(S::PATH, call)?).await?;
            self.spawn(async move { cancelled.run_until_cancelled(carry(body, to)).await });
            answer(response).await
        };
        Ok(EventStream::new(in_time(begin).await?, Some(cancel)))
    }

    /// Begins to watch a machine. Whatever comes over its connection is taken for a sign of life, and its agent is told so.
    pub async fn watch(
        &self,
        machine: &MachineId,
        call: &Watch,
    ) -> Result<EventStream<WatchEvent>, CallError> {
        let mut request = request(Watch::PATH);
        request.headers_mut().insert(HEARS_HEADER, HeaderValue::from_static("everything"));
        Ok(EventStream::new(in_time(self.ask(machine, Watch::CHANNEL, request, call)).await?, None))
    }

    /// Begins a call that carries bytes and is answered with bytes of its own form. Letting go of both ends gives it up.
    pub(super) async fn bytes<B: ByteCall>(
        &self,
        machine: &MachineId,
        call: &B,
    ) -> Result<(SendStream<Bytes>, RecvStream), CallError> {
        in_time(async {
            let (response, to) = self.open(machine, call.channel(), carrying(B::PATH, call)?).await?;
            Ok((to, answer(response).await?))
        })
        .await
    }

    /// Makes a call whose body is itself; what it is answered with.
    async fn ask(
        &self,
        machine: &MachineId,
        channel: Channel,
        mut request: Request<()>,
        call: &impl serde::Serialize,
    ) -> Result<RecvStream, CallError> {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (response, mut to) = self.open(machine, channel, request).await?;
        to.send_data(to_json(call).into(), true).map_err(broken)?;
        answer(response).await
    }

    async fn open(
        &self,
        machine: &MachineId,
        channel: Channel,
        request: Request<()>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), CallError> {
        let sender = self.sender(machine, channel).await?;
        sender.ready().await.map_err(broken)?.send_request(request, false).map_err(broken)
    }
}

/// Waits until a call is answered, which begins at once.
async fn in_time<T>(begin: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(BEGIN_TIMEOUT, begin).await.map_err(|_| CallError::TimedOut)?
}

async fn answer(response: ResponseFuture) -> Result<RecvStream, CallError> {
    let response = response.await.map_err(broken)?;
    let status = response.status();
    let mut body = response.into_body();
    if status == StatusCode::OK {
        return Ok(body);
    }
    match serde_json::from_slice::<LinkError>(&whole(&mut body, LINE_BYTES_MAX).await?) {
        Ok(error) => Err(CallError::Refused(error)),
        Err(_) => Err(CallError::Broken(format!("it answered {status}"))),
    }
}

/// The next piece of an answer; none after the last. Nothing is lost when this future is dropped.
pub(super) async fn piece(body: &mut RecvStream) -> Option<Result<Bytes, CallError>> {
    match body.data().await? {
        Ok(bytes) => Some(body.flow_control().release_capacity(bytes.len()).map(|()| bytes).map_err(broken)),
        // What was answered is whole; it was said to somebody who was still sending.
        Err(error) if error.reason() == Some(Reason::NO_ERROR) => None,
        Err(error) => Some(Err(broken(error))),
    }
}

async fn whole(body: &mut RecvStream, limit: usize) -> Result<BytesMut, CallError> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = piece(body).await {
        whole.extend_from_slice(&bytes?);
        if whole.len() > limit {
            return Err(CallError::Broken(format!("its answer is longer than {limit} bytes")));
        }
    }
    Ok(whole)
}

/// Carries a body to its end, as fast as the agent takes it. One that breaks off is not taken for a whole one: without its end the
/// agent is told that it was given up.
async fn carry(body: Body, mut to: SendStream<Bytes>) {
    let mut pieces = body.into_data_stream();
    loop {
        let piece = tokio::select! {
            piece = pieces.next() => piece,
            // Nobody takes any more.
            _ = poll_fn(|context| to.poll_reset(context)) => return,
        };
        match piece {
            Some(Ok(bytes)) => {
                let is_taken = poll_fn(|context| poll_room(&mut to, context)).await;
                if !is_taken || to.send_data(bytes, false).is_err() {
                    return;
                }
            }
            Some(Err(_)) => return to.send_reset(Reason::CANCEL),
            None => return drop(to.send_data(Bytes::new(), true)),
        }
    }
}

/// Waits until the agent takes more; false when it takes nothing any more.
pub(super) fn poll_room(to: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<bool> {
    while to.capacity() == 0 {
        to.reserve_capacity(1);
        if !matches!(ready!(to.poll_capacity(context)), Some(Ok(_))) {
            return Poll::Ready(false);
        }
    }
    Poll::Ready(true)
}

fn to_json(call: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(call).expect("calls can be written as JSON")
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://agent{path}"))
        .header(LEVEL_HEADER, LINK_LEVEL)
        .body(())
        .expect("paths of calls are paths")
}

/// The request for a call that carries something besides itself.
fn carrying(path: &str, call: &impl serde::Serialize) -> Result<Request<()>, CallError> {
    let json = to_json(call);
    if json.len() > HEADER_CALL_BYTES_MAX {
        let message = format!("the call is {} bytes, at most {HEADER_CALL_BYTES_MAX}", json.len());
        return Err(LinkError::new(LinkErrorCode::Invalid, message).into());
    }
    let mut value = HeaderValue::from_str(&BASE64_STANDARD.encode(json)).expect("base64 is a header value");
    // It holds a credential: not to be logged, nor kept in the connection's table of headers.
    value.set_sensitive(true);
    let mut request = request(path);
    request.headers_mut().insert(CALL_HEADER, value);
    Ok(request)
}

pub(super) fn broken(error: impl std::error::Error) -> CallError {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    CallError::Broken(format!("{error}{source}"))
}

/// The events of a streaming call. Dropping it tells the agent to stop.
#[derive(Debug)]
pub struct EventStream<E> {
    body: RecvStream,
    /// What has come of the next lines; at most one line and one frame.
    buffer: BytesMut,
    /// So many bytes of that hold no end of a line.
    searched: usize,
    event: PhantomData<fn() -> E>,
    /// Breaks off the body of the call, if it is still on its way.
    _cancel: Option<DropGuard>,
}

impl<E: DeserializeOwned> EventStream<E> {
    fn new(body: RecvStream, cancel: Option<DropGuard>) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, event: PhantomData, _cancel: cancel }
    }

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
            match piece(&mut self.body).await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => return Some(Err(error)),
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

#[cfg(test)]
mod tests {
    use http::Response;
    use tokio_util::task::TaskTracker;
    use wire::link::OpenBulk;

    use super::*;

    /// What becomes of a call that an agent answers with so many bytes of headers.
    async fn answered_with(header_bytes: usize) -> Result<(), CallError> {
        let (tasks, machine) = (TaskTracker::new(), "machine".parse::<MachineId>().unwrap());
        let hub = Hub::new(tasks.clone(), CancellationToken::new());
        let (near, far) = tokio::io::duplex(64 << 10);
        tasks.spawn(async move {
            let mut agent = h2::server::handshake(far).await.unwrap();
            while let Some(Ok((_, mut reply))) = agent.accept().await {
                let response =
                    Response::builder().header("x-much", "x".repeat(header_bytes)).body(()).unwrap();
                let mut body = reply.send_response(response, false).unwrap();
                drop(body.send_data(Bytes::from_static(b"{}"), true));
            }
        });
        let (attaching, name) = (hub.clone(), machine.clone());
        let mut changes = hub.subscribe();
        tasks.spawn(async move { attaching.attach(name, Channel::Control, near).await });
        changes.changed().await.unwrap();
        hub.call(&machine, &OpenBulk {}, Duration::from_secs(10)).await.map(drop)
    }

    #[tokio::test]
    async fn the_agent_in_this_process_may_have_its_second_connection_a_moment_later() {
        let (tasks, machine) = (TaskTracker::new(), "machine".parse::<MachineId>().unwrap());
        let hub = Hub::new(tasks.clone(), CancellationToken::new());
        let attach = async |channel| {
            let (near, far) = tokio::io::duplex(64 << 10);
            let (attaching, name) = (hub.clone(), machine.clone());
            let mut changes = hub.subscribe();
            tasks.spawn(async move {
                let mut agent = h2::server::handshake(far).await.unwrap();
                while let Some(Ok((_, mut reply))) = agent.accept().await {
                    reply.send_response(Response::builder().status(422).body(()).unwrap(), true).unwrap();
                }
            });
            tasks.spawn(async move { attaching.attach(name, channel, near).await });
            changes.changed().await.unwrap();
        };
        attach(Channel::Control).await;

        let mut sender = std::pin::pin!(hub.sender(&machine, Channel::Bulk));
        let early = tokio::time::timeout(Duration::from_millis(200), &mut sender).await;
        assert!(early.is_err(), "there is no second connection: {:?}", early.map(Result::err));
        attach(Channel::Bulk).await;

        assert!(sender.await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_with_more_headers_than_any_agent_sends_is_none() {
        assert!(matches!(answered_with(1 << 10).await, Ok(())));
        let refused = answered_with(20 << 10).await;
        assert!(matches!(refused, Err(CallError::Broken(_))), "{refused:?}");
    }
}
