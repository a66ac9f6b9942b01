//! The connections to a server: a WebSocket each for control, bulk and the registry, opened by the agent, because its side may
//! be behind a NAT or a proxy. Control is kept open; bulk is opened when the server asks for it, the registry's when the engine
//! does. First the agent proves by its key which machine it is; then, on all but the registry's, the roles flip: the agent serves
//! calls.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::client::conn::http2::SendRequest;
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;
use websocket::Side;
use wire::ids::AgentProcessId;
use wire::link::{
    Challenge, Channel, LEVEL_HEADER, LINK_LEVEL, LinkError, LinkErrorCode, MACHINE_HEADER, Proof,
    SOCKET_PATH, Verdict, proof_statement,
};
use wire::problem::Problem;

use crate::backoff::Backoff;
use crate::door;
use crate::serve::{CONTROL_PING_EVERY, CONTROL_PING_TIMEOUT};
use crate::{Agent, MachineKey, tls};

/// A question and a verdict are some sentences at most, and so is a refusal.
const VERDICT_BYTES_MAX: usize = 64 << 10;
const PROBLEM_BYTES_MAX: usize = 64 << 10;
/// For reaching the server at all. A network that was just mended must not be waited for by an attempt from before.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything until the server has said that this machine is welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For what was sent and never arrived, as far as anybody says. TCP alone would wait ever longer between its tries, and so find
/// a network that is mended late.
const UNHEARD_TIMEOUT: Duration = Duration::from_secs(10);
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// After a connection that broke or could not be made. Short, for the same reason: what is not known of a machine is not known for
/// seconds after it could be.
const WAIT_UNHEARD: Duration = Duration::from_secs(2);
/// After a server that was reached has said no: most likely it has enough to do.
const WAIT_REFUSED: Duration = Duration::from_secs(4);
/// A connection that held so long was a good one: the next try is soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);
/// How soon after its network is mended a machine begins anew to connect at the latest, whatever it was at when the network broke. It
/// leaves two of the ten seconds within which everything is known again for connecting and telling.
const BEGIN_AGAIN: Duration = Duration::from_secs(8);

// What a machine may be at: it waits for a sign of life on a connection that has ended, or does not ask for one yet; it waits for an
// answer that is lost, or for its next try. What is sent again by TCP doubles its waits, so that an exchange that gets `CONNECT_TIMEOUT` in all goes on, or is
// given up, within less than half of that after its network is mended.
const _: () = {
    let deaf = CONTROL_PING_TIMEOUT.as_millis() + WAIT_UNHEARD.as_millis();
    let quiet = CONTROL_PING_EVERY.as_millis() + WAIT_UNHEARD.as_millis();
    let reaching = REACH_TIMEOUT.as_millis() + WAIT_UNHEARD.as_millis();
    let proving = CONNECT_TIMEOUT.as_millis() / 2 + WAIT_UNHEARD.as_millis();
    assert!(deaf <= BEGIN_AGAIN.as_millis() && quiet <= BEGIN_AGAIN.as_millis());
    assert!(reaching <= BEGIN_AGAIN.as_millis() && proving <= BEGIN_AGAIN.as_millis());
};

/// Connections that were asked for and wait to be opened.
const WANTED_WAITING: usize = 64;

/// Has connections opened that are there only when they are needed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Opener(mpsc::Sender<Wanted>);

enum Wanted {
    Bulk(oneshot::Sender<Result<(), String>>),
    Registry(oneshot::Sender<Option<SendRequest<Body>>>),
}

impl Opener {
    /// Opens a connection on which the server may call for what moves many bytes.
    pub(crate) async fn bulk(&self) -> Result<(), LinkError> {
        let (answer, answered) = oneshot::channel();
        let problem = match self.0.send(Wanted::Bulk(answer)).await {
            Ok(()) => match answered.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(problem)) => problem,
                Err(_) => "the agent stops".to_owned(),
            },
            Err(_) => "the agent stops".to_owned(),
        };
        let message = format!("the agent cannot open a second connection to the server: {problem}");
        Err(LinkError::new(LinkErrorCode::Timeout, message))
    }

    /// The way to the server's registry; none when the server cannot be reached.
    pub(crate) async fn registry(&self) -> Option<SendRequest<Body>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Wanted::Registry(answer)).await.ok()?;
        answered.await.ok().flatten()
    }
}

/// The server to which an agent belongs.
#[derive(Debug)]
pub struct Server {
    /// Where it is, `http://host:port` or `https://…`.
    pub url: String,
    /// The SHA-256 of the authority that signs its certificate, 64 hex digits; none = the system decides whom it trusts.
    pub fingerprint: Option<String>,
    /// Shows who calls.
    pub key: MachineKey,
}

/// What every connection to the server needs.
struct Dialing<'a> {
    agent: &'a Agent,
    server: &'a Server,
    process: AgentProcessId,
    tls: TlsConnector,
    /// Held while the way to the registry is opened, so that it is opened once; when that failed last.
    opening_door: tokio::sync::Mutex<Option<Instant>>,
}

/// Why there is no connection.
#[derive(Debug)]
enum Failed {
    /// The server was reached and does not take it.
    Refused(String),
    /// It was not reached, broke off, or does not speak the link's protocol.
    Unheard(String),
}

impl From<String> for Failed {
    fn from(problem: String) -> Self {
        Self::Unheard(problem)
    }
}

impl From<&str> for Failed {
    fn from(problem: &str) -> Self {
        Self::Unheard(problem.to_owned())
    }
}

/// How long to wait before the next try.
struct Pace {
    refused: Backoff,
    unheard: Backoff,
}

impl Pace {
    fn new() -> Self {
        let backoff = |longest| Backoff::new(WAIT_FIRST, longest);
        Self { refused: backoff(WAIT_REFUSED), unheard: backoff(WAIT_UNHEARD) }
    }

    /// After a connection that ended.
    fn after(&mut self, held: Duration) -> Duration {
        if held >= GOOD_CONNECTION {
            self.refused.reset();
            self.unheard.reset();
        }
        self.unheard.next()
    }

    /// After one that was not made.
    fn after_failure(&mut self, failed: &Failed) -> Duration {
        match failed {
            Failed::Refused(_) => self.refused.next(),
            Failed::Unheard(_) => self.unheard.next(),
        }
    }
}

impl Agent {
    /// Keeps the connection to the server open until the agent is told to stop, and opens others as they are needed. The engine
    /// reaches the registry at the listener. An error when the server's certificate could never be checked.
    pub async fn dial(&self, server: &Server, door: TcpListener) -> Result<(), String> {
        let tls = TlsConnector::from(Arc::new(tls::client_config(server.fingerprint.as_deref())?));
        let process = AgentProcessId(uuid::Uuid::now_v7());
        let dialing =
            Dialing { agent: self, server, process, tls, opening_door: tokio::sync::Mutex::default() };
        let (sender, wanted) = mpsc::channel(WANTED_WAITING);
        let opener = Opener(sender);
        if self.inner.opener.set(opener.clone()).is_err() {
            return Err("an agent belongs to one server".into());
        }
        tokio::join!(dialing.keep_control(), dialing.open_wanted(wanted), door::listen(self, &opener, door));
        Ok(())
    }
}

impl Dialing<'_> {
    /// Keeps the control connection open until the agent is told to stop.
    async fn keep_control(&self) {
        let mut pace = Pace::new();
        let shutdown = self.agent.shutdown();
        loop {
            let connected = tokio::select! {
                connected = self.connect_in_time(Channel::Control) => connected,
                () = shutdown.cancelled() => return,
            };
            let wait = match connected {
                Ok(pipe) => {
                    let since = Instant::now();
                    self.agent.serve_pipe(Channel::Control, pipe).await;
                    if !shutdown.is_cancelled() {
                        tracing::warn!(
                            link.channel = "control",
                            "the connection to `{}` ended",
                            self.server.url
                        );
                    }
                    pace.after(since.elapsed())
                }
                Err(failed) => pace.after_failure(&failed),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Opens what is asked for and carries it, until the agent is told to stop.
    async fn open_wanted(&self, mut wanted: mpsc::Receiver<Wanted>) {
        let mut open: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let shutdown = self.agent.shutdown();
        loop {
            let next = tokio::select! {
                next = wanted.recv() => next,
                Some(()) = open.next() => continue,
                () = shutdown.cancelled() => break,
            };
            match next {
                None => break,
                Some(Wanted::Bulk(answer)) => open.push(self.open_bulk(answer).boxed()),
                Some(Wanted::Registry(answer)) => open.push(self.open_registry(answer).boxed()),
            }
        }
        // What is open learns of the end by itself, and says goodbye.
        while open.next().await.is_some() {}
    }

    async fn open_bulk(&self, answer: oneshot::Sender<Result<(), String>>) {
        let connected = tokio::select! {
            connected = self.connect_in_time(Channel::Bulk) => connected,
            () = self.agent.shutdown().cancelled() => return,
        };
        match connected {
            // Whoever asked may have given up; the server uses it all the same.
            Ok(pipe) => {
                drop(answer.send(Ok(())));
                self.agent.serve_pipe(Channel::Bulk, pipe).await;
            }
            Err(Failed::Refused(problem) | Failed::Unheard(problem)) => drop(answer.send(Err(problem))),
        }
    }

    async fn open_registry(&self, answer: oneshot::Sender<Option<SendRequest<Body>>>) {
        let asked_at = Instant::now();
        let mut failed_at = self.opening_door.lock().await;
        // A try that failed while this one waited speaks for it, too.
        let is_hopeless = failed_at.is_some_and(|failed_at| failed_at >= asked_at);
        let mut carried = None;
        if self.agent.inner.door.way().is_none()
            && !is_hopeless
            && let Some(Ok(pipe)) =
                self.agent.shutdown().run_until_cancelled(self.connect_in_time(Channel::Registry)).await
        {
            carried = self.agent.inner.door.open(self.agent, pipe).await;
        }
        let way = self.agent.inner.door.way();
        if way.is_none() {
            *failed_at = Some(Instant::now());
        }
        drop(failed_at);
        drop(answer.send(way));
        if let Some(carried) = carried {
            carried.await;
        }
    }

    /// Connects, or says why not.
    async fn connect_in_time(
        &self,
        channel: Channel,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Failed> {
        let (name, url) = (channel.as_str(), &self.server.url);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(channel)).await;
        let connected = connected.unwrap_or_else(|_| {
            let secs = CONNECT_TIMEOUT.as_secs();
            Err(Failed::Unheard(format!("it took longer than {secs} seconds")))
        });
        match &connected {
            Ok(_) => tracing::info!(link.channel = name, "connected to `{url}`"),
            Err(Failed::Refused(problem) | Failed::Unheard(problem)) => {
                tracing::warn!(link.channel = name, "no connection to `{url}`: {problem}");
            }
        }
        connected
    }

    async fn connect(
        &self,
        channel: Channel,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Failed> {
        let uri = self.uri(channel)?;
        let stream = self.open(&uri).await?;
        let mut socket = self.upgrade(&uri, stream).await?;
        self.prove(&mut socket, channel).await?;
        Ok(socket)
    }

    fn uri(&self, channel: Channel) -> Result<Uri, String> {
        let base = self.server.url.trim_end_matches('/');
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err("its address begins with neither `http://` nor `https://`".into());
        }
        let uri = format!("{base}{SOCKET_PATH}?channel={}", channel.as_str()).parse();
        uri.map_err(|error| format!("its address is not one: {error}"))
    }

    /// Makes a connection a WebSocket.
    async fn upgrade(&self, uri: &Uri, stream: Box<dyn Stream>) -> Result<WebSocket, Failed> {
        let key = BASE64_STANDARD.encode(uuid::Uuid::now_v7());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |host| host.as_str().rsplit('@').next().unwrap_or_default());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(MACHINE_HEADER, self.agent.machine_id().as_str())
            .header(LEVEL_HEADER, LINK_LEVEL)
            .body(Body::empty())
            .map_err(|error| format!("its address is not one: {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Ends by itself when the connection is taken over, or with the answer that refuses that.
        let connection = AbortOnDropHandle::new(
            self.agent.tasks().spawn(async move { drop(connection.with_upgrades().await) }),
        );
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = Limited::new(response.into_body(), PROBLEM_BYTES_MAX).collect().await;
            let body = body.map(Collected::to_bytes).unwrap_or_default();
            let detail = serde_json::from_slice(&body).map(|problem: Problem| problem.detail);
            return Err(Failed::Refused(detail.map_or_else(
                |_| format!("it answered {status}"),
                |detail| format!("it answered {status}: {detail}"),
            )));
        }
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted != websocket::accept(&key).as_str()) {
            return Err("it does not speak the link's protocol: no WebSocket".into());
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| error.to_string())?;
        drop(connection);
        Ok(WebSocket::new(TokioIo::new(upgraded), Side::Client))
    }

    /// Opens a connection to the server: through the proxy that `HTTPS_PROXY` and its like name, if any, and with TLS
    /// unless its address says otherwise.
    async fn open(&self, uri: &Uri) -> Result<Box<dyn Stream>, String> {
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or("its address names no host")?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let scheme = if is_tls { "https" } else { "http" };
        let target = format!("{scheme}://{host}:{port}").parse::<Uri>().map_err(|error| error.to_string())?;
        let socket = match Matcher::from_env().intercept(&target) {
            None => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let connecting = TcpStream::connect((bare, port));
                match tokio::time::timeout(REACH_TIMEOUT, connecting).await {
                    Ok(connected) => connected.map_err(|error| error.to_string())?,
                    Err(_) => return Err("nobody answers there".into()),
                }
            }
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), HttpConnector::new());
                if let Some(credential) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(credential.clone());
                }
                let opened = tunnel.oneshot(target).await;
                let shown = proxy.uri().authority().map_or("", |authority| authority.as_str());
                let shown = shown.rsplit('@').next().unwrap_or_default();
                opened
                    .map_err(|error| format!("the proxy `{shown}` does not let it through: {error}"))?
                    .into_inner()
            }
        };
        // Small frames must not wait for one another.
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let unheard = u32::try_from(UNHEARD_TIMEOUT.as_millis()).expect("some seconds");
        rustix::net::sockopt::set_tcp_user_timeout(&socket, unheard).map_err(|error| error.to_string())?;
        if !is_tls {
            return Ok(Box::new(socket));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
        let socket =
            self.tls.connect(name, socket).await.map_err(|error| {
                format!("its certificate cannot be trusted, or it speaks no TLS: {error}")
            })?;
        Ok(Box::new(socket))
    }

    async fn prove(&self, socket: &mut WebSocket, channel: Channel) -> Result<(), Failed> {
        let machine = self.agent.machine_id();
        let challenge: Challenge = receive(socket).await?;
        let statement = proof_statement(&challenge.nonce, machine, channel, self.process);
        let proof = Proof { process: self.process, signature: self.server.key.sign(&statement) };
        let text = serde_json::to_vec(&proof).expect("a proof can be written as JSON");
        socket.send(&text).await.map_err(|error| error.to_string())?;
        match receive(socket).await? {
            Verdict::Welcome => Ok(()),
            Verdict::Refused { message, .. } => Err(Failed::Refused(message)),
        }
    }
}

async fn receive<T: serde::de::DeserializeOwned>(socket: &mut WebSocket) -> Result<T, String> {
    match socket.message(VERDICT_BYTES_MAX).await {
        Ok(Some(bytes)) => serde_json::from_slice(&bytes)
            .map_err(|error| format!("it does not speak the link's protocol: {error}")),
        Ok(None) => Err("it closed the connection".into()),
        Err(error) => Err(error.to_string()),
    }
}

type WebSocket = websocket::WebSocket<TokioIo<Upgraded>>;

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_mended_is_not_waited_for_however_often_it_failed() {
        let mut pace = Pace::new();

        for _ in 0..1_000 {
            assert!(pace.after_failure(&Failed::Unheard(String::new())) <= WAIT_UNHEARD);
            assert!(pace.after(Duration::ZERO) <= WAIT_UNHEARD);
        }
    }

    #[test]
    fn a_server_that_says_no_is_left_alone_for_longer_until_it_was_good() {
        let refused = Failed::Refused(String::new());
        let mut pace = Pace::new();

        let waits: Vec<_> = (0..1_000).map(|_| pace.after_failure(&refused)).collect();
        let broken = pace.after(Duration::ZERO);
        let after_a_good_one = pace.after(GOOD_CONNECTION);
        let refused_again = pace.after_failure(&refused);

        assert!(waits.iter().all(|wait| *wait <= WAIT_REFUSED), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > WAIT_UNHEARD), "{waits:?}");
        assert!(broken <= WAIT_FIRST, "another reason has waits of its own");
        assert!(after_a_good_one <= WAIT_FIRST && refused_again <= WAIT_FIRST);
    }
}
