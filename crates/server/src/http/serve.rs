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
use tokio::net::TcpListener;
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

/// Serves a router on a listener until the server ends; then lets requests finish for a while.
pub async fn serve(app: App, listener: TcpListener, router: Router, tls: Option<TlsAcceptor>) {
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
        let service = Peer { router: router.clone(), peer };
        let (builder, watcher, tls) = (builder.clone(), graceful.watcher(), tls.clone());
        app.spawn(async move {
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
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(pipe), Peer { router, peer });
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
struct Peer {
    router: Router,
    peer: SocketAddr,
}

impl hyper::service::Service<Request<hyper::body::Incoming>> for Peer {
    type Response = <Router as tower::Service<Request<Body>>>::Response;
    type Error = std::convert::Infallible;
    type Future = tower::util::Oneshot<Router, Request<Body>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(self.peer));
        self.router.clone().oneshot(request)
    }
}
