//! Accepts connections: HTTP/1 and HTTP/2 on one port, with TLS or without, with a bound on how long a client may take to
//! say what it wants, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::app::App;

/// Connections at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8_192;
/// How long a client may take to send its request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(20);
/// How long requests may take to finish once the server is to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take to agree on TLS.
const TLS_PATIENCE: Duration = Duration::from_secs(10);
/// What TLS begins with, and no request in the clear.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a listener's connections are protected.
#[derive(Clone)]
pub enum Protection {
    /// Not at all.
    Clear,
    /// By TLS.
    Tls(TlsAcceptor),
    /// By TLS; programs of this host may also come in the clear, and need no certificate then.
    TlsOrLoopback(TlsAcceptor),
}

impl Protection {
    /// TLS, unless there is nothing to accept it with.
    pub fn of(acceptor: Option<TlsAcceptor>) -> Self {
        acceptor.map_or(Self::Clear, Self::Tls)
    }

    /// What is to accept this connection; none when it is in the clear.
    async fn of_connection(self, socket: &TcpStream, peer: SocketAddr) -> Option<TlsAcceptor> {
        match self {
            Self::Clear => None,
            Self::Tls(tls) => Some(tls),
            Self::TlsOrLoopback(tls) => {
                let mut first = [0];
                let is_clear = peer.ip().to_canonical().is_loopback()
                    && matches!(tokio::time::timeout(TLS_PATIENCE, socket.peek(&mut first)).await, Ok(Ok(1)))
                    && first[0] != TLS_HANDSHAKE;
                (!is_clear).then_some(tls)
            }
        }
    }
}

/// Whether a request came over TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsTls(pub(super) bool);

/// Serves a router on a listener until the server ends; then lets requests finish for a while.
pub async fn serve(app: App, listener: TcpListener, router: Router, protection: Protection) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let builder = builder();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = app.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: waiting is all that helps, and what ends them goes on meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let router = router.clone();
        let (builder, watcher, protection) = (builder.clone(), graceful.watcher(), protection.clone());
        app.spawn(async move {
            let tls = protection.of_connection(&socket, peer).await;
            let service = Routed { router, peer, is_tls: tls.is_some() };
            let served = match tls {
                None => {
                    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
                    watcher.watch(connection.into_owned()).await
                }
                Some(tls) => match tokio::time::timeout(TLS_PATIENCE, tls.accept(socket)).await {
                    Ok(Ok(socket)) => {
                        let connection =
                            builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
                        watcher.watch(connection.into_owned()).await
                    }
                    Ok(Err(error)) => Err(error.into()),
                    Err(elapsed) => Err(elapsed.into()),
                },
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(END_PATIENCE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

/// Serves a router on one pipe, as if it were a connection from this address.
pub async fn serve_pipe(
    app: App,
    pipe: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    router: Router,
) {
    let builder = builder();
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(pipe), Routed { router, peer, is_tls: false });
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        },
        () = app.shutdown.cancelled() => {}
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(256)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}

/// A router that tells its handlers who is at the other end.
#[derive(Clone)]
struct Routed {
    router: Router,
    peer: SocketAddr,
    is_tls: bool,
}

impl hyper::service::Service<Request<hyper::body::Incoming>> for Routed {
    type Response = <Router as tower::Service<Request<Body>>>::Response;
    type Error = std::convert::Infallible;
    type Future = tower::util::Oneshot<Router, Request<Body>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(self.peer));
        request.extensions_mut().insert(IsTls(self.is_tls));
        self.router.clone().oneshot(request)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustls::ServerConfig;
    use rustls::server::ResolvesServerCertUsingSni;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn only_programs_of_this_host_may_come_in_the_clear() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let protection = Protection::TlsOrLoopback(TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let is_tls = async |first: &[u8], from: &str| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(first).await.unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let peer = from.parse().unwrap();
            protection.clone().of_connection(&socket, peer).await.is_some()
        };

        assert!(!is_tls(b"GET / HTTP/1.1", "127.0.0.1:1").await);
        assert!(!is_tls(b"GET / HTTP/1.1", "[::ffff:127.0.0.1]:1").await);
        assert!(is_tls(&[TLS_HANDSHAKE, 3, 1], "127.0.0.1:1").await);
        assert!(is_tls(b"GET / HTTP/1.1", "192.0.2.1:1").await);
        assert!(is_tls(b"GET / HTTP/1.1", "[2001:db8::1]:1").await);
    }
}
