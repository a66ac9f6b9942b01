//! Connections to ports of pods, made by the API server in the name of the namespace's own account. They need no way from here
//! to the pods' network, and reach what a program in the pod itself would reach by `localhost`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use wire::names::NamespaceName;

use super::cluster::{PATIENCE, acting_as, too_slow};
use super::{Cluster, Failure, OWN_NAME};

/// How long a connection waits for the next request, and how many of one port do.
const IDLE: Duration = Duration::from_secs(15);
const IDLE_MAX: usize = 8;

/// A port of a pod.
#[derive(Clone)]
pub struct PodPort {
    /// Where it is.
    pub cluster: Cluster,
    /// In which namespace.
    pub namespace: NamespaceName,
    /// The pod.
    pub pod: String,
    /// The port.
    pub port: u16,
}

impl PodPort {
    /// Opens a connection. Whether somebody listens there shows at the first read.
    pub async fn connect(&self) -> Result<PodStream, Failure> {
        self.cluster.connector().connect(&self.namespace, &self.pod, self.port).await
    }

    /// Sends a request; only its path and query say where to. Connections are kept for the next request. Fails with why there
    /// is no answer, in words.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, String> {
        let rest = request.uri().path_and_query().map_or("/", |rest| rest.as_str());
        let uri = format!("http://{}.{}:{}{rest}", self.pod, self.namespace, self.port);
        *request.uri_mut() =
            uri.parse::<Uri>().map_err(|error| format!("the request's address is not valid: {error}"))?;
        self.cluster.web().request(request).await.map_err(|error| {
            let refused = std::iter::successors(std::error::Error::source(&error), |error| error.source());
            let mut refused = refused.filter_map(|error| error.downcast_ref::<std::io::Error>());
            match refused.find(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
                Some(refused) => refused.to_string(),
                None => format!("the answer of pod `{}` broke off", self.pod),
            }
        })
    }
}

/// Makes connections to pods of one cluster.
#[derive(Clone)]
pub(super) struct Connector {
    config: Arc<kube::Config>,
}

/// What sends requests to pods of one cluster.
pub(super) type Web = Client<Connector, Body>;

impl Connector {
    pub(super) fn new(config: Arc<kube::Config>) -> Self {
        Self { config }
    }

    pub(super) fn web(&self) -> Web {
        Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(self.clone())
    }

    async fn connect(&self, namespace: &NamespaceName, pod: &str, port: u16) -> Result<PodStream, Failure> {
        let user = format!("system:serviceaccount:{namespace}:{OWN_NAME}");
        let pods: Api<Pod> = Api::namespaced(acting_as(&self.config, user)?, namespace.as_str());
        let ports = [port];
        let opened = tokio::time::timeout(PATIENCE, pods.portforward(pod, &ports)).await;
        let mut opened = opened.map_err(|_| too_slow())??;
        let broken = || Failure::Unreachable("the cluster opened no connection".to_owned());
        let stream = opened.take_stream(port).ok_or_else(broken)?;
        let refusal = opened.take_error(port).map(FutureExt::boxed);
        Ok(PodStream { stream, refusal, has_read: false, port })
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<PodStream>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        async move {
            let place = uri.host().and_then(|host| host.rsplit_once('.')).zip(uri.port_u16());
            let place = place.and_then(|((pod, namespace), port)| Some((pod, namespace.parse().ok()?, port)));
            let (pod, namespace, port) =
                place.ok_or_else(|| std::io::Error::other("an address that names no pod"))?;
            let refused = |failure: Failure| {
                std::io::Error::new(std::io::ErrorKind::ConnectionRefused, failure.to_string())
            };
            connector.connect(&namespace, pod, port).await.map(TokioIo::new).map_err(refused)
        }
        .boxed()
    }
}

/// A connection to a port of a pod.
pub struct PodStream {
    stream: DuplexStream,
    /// What the cluster says when nobody listens there. None once it was asked.
    refusal: Option<BoxFuture<'static, Option<String>>>,
    has_read: bool,
    port: u16,
}

impl Connection for PodStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for PodStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.has_read = true;
        } else if !self.has_read
            && let Some(mut refusal) = self.refusal.take()
            && let Poll::Ready(Some(said)) = refusal.as_mut().poll(cx)
        {
            tracing::debug!(said, "a port of a pod is not open");
            let message = format!("nothing answers on port {}", self.port);
            return Poll::Ready(Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, message)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PodStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
