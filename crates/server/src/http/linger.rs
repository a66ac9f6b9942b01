//! Reads on for a moment what is left of a request that was answered before its end. Without this a client that is still
//! sending sees its connection break instead of the answer, and one that has sent everything finds its connection closed
//! when it uses it again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt as _;
use http_body::{Body as _, Frame, SizeHint};

use crate::app::App;

/// How long a rest is read. What is read is not kept.
const PATIENCE: Duration = Duration::from_secs(2);

/// Gives every request with a body one that lingers.
pub async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Lingering { app, body: Some(body) }))).await
}

/// A body that is read on when it is dropped before its end.
struct Lingering {
    app: App,
    /// None once it has ended or failed.
    body: Option<Body>,
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if self.app.shutdown.is_cancelled() {
            return;
        }
        let shutdown = self.app.shutdown.clone();
        self.app.spawn(async move {
            let mut rest = body.into_data_stream();
            let read_on = async { while let Some(Ok(_)) = rest.next().await {} };
            tokio::select! {
                () = read_on => {}
                () = tokio::time::sleep(PATIENCE) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}
