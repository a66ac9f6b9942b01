//! Something between a server and the real API server that meddles with what they say: it stops watches, says of them that
//! they are too old, is slow, and changes single answers.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::cluster::Cluster;
use super::tls;

/// How watches on one path go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// As the API server has it.
    Through,
    /// What the API server says is held back.
    Held,
    /// They end by saying that they are too old, and the next of them are refused for the same reason.
    Expired,
}

/// Changes an answer: its status and its body.
type Change = Box<dyn Fn(u16, Value) -> (u16, Value) + Send + Sync>;

#[derive(Default)]
struct Plan {
    /// Of which path watches are meddled with.
    watched: String,
    /// New watches that are still to be refused as too old.
    refusals: u32,
    /// Which path's answers are changed.
    changed: Option<(String, Change)>,
    /// How long each request waits.
    delay: Duration,
    /// Whether everything that is stored is out of reach.
    has_no_store: bool,
    /// Whether it does not know yet who may do what.
    is_beginning: bool,
    /// Changes of objects that are still to be forbidden.
    forbidden: u32,
    /// What was asked for: method and path with query.
    asked: Vec<String>,
}

#[derive(Clone)]
struct Inner {
    target: String,
    http: reqwest::Client,
    plan: Arc<Mutex<Plan>>,
    course: Arc<watch::Sender<Course>>,
}

/// A way to the API server on which somebody meddles.
pub(crate) struct Meddler {
    inner: Inner,
    url: String,
    authority: String,
}

impl Meddler {
    pub(crate) async fn before(cluster: &Cluster) -> Self {
        let kubeconfig = cluster.least_kubeconfig();
        let entry = &kubeconfig["clusters"][0]["cluster"];
        let base64 = &base64::engine::general_purpose::STANDARD;
        let pem = base64.decode(entry["certificate-authority-data"].as_str().unwrap()).unwrap();
        // No server of this process may have chosen it yet.
        rustls::crypto::ring::default_provider().install_default().ok();
        let authority = reqwest::Certificate::from_pem(&pem).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
        let inner = Inner {
            target: entry["server"].as_str().unwrap().trim_end_matches('/').to_owned(),
            http,
            plan: Arc::default(),
            course: Arc::new(watch::Sender::new(Course::Through)),
        };
        let router = Router::new()
            .fallback(answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(inner.clone());
        let (port, pem) = tls::serve(router).await;
        Self { inner, url: format!("https://127.0.0.1:{port}"), authority: base64.encode(pem) }
    }

    /// The same kubeconfig with this way.
    pub(crate) fn through(&self, mut kubeconfig: Value) -> Value {
        kubeconfig["clusters"][0]["cluster"] =
            json!({"server": self.url, "certificate-authority-data": self.authority});
        kubeconfig
    }

    /// Holds back what watches on a path say.
    pub(crate) fn hold(&self, path: &str) {
        path.clone_into(&mut self.inner.plan.lock().unwrap().watched);
        self.inner.course.send_replace(Course::Held);
    }

    /// Lets the watches that are held end as too old, and refuses the next one for the same reason.
    pub(crate) fn expire(&self) {
        self.inner.plan.lock().unwrap().refusals = 1;
        self.inner.course.send_replace(Course::Expired);
    }

    /// Whether every refusal was given.
    pub(crate) fn has_refused(&self) -> bool {
        self.inner.plan.lock().unwrap().refusals == 0
    }

    /// How often something was asked for whose method and path begin so.
    pub(crate) fn asked(&self, beginning: &str) -> usize {
        self.inner.plan.lock().unwrap().asked.iter().filter(|asked| asked.starts_with(beginning)).count()
    }

    /// Changes what is answered to a path from now on.
    pub(crate) fn change(
        &self,
        path: &str,
        change: impl Fn(u16, Value) -> (u16, Value) + Send + Sync + 'static,
    ) {
        self.inner.plan.lock().unwrap().changed = Some((path.to_owned(), Box::new(change)));
    }

    /// Changes no answers any more.
    pub(crate) fn change_nothing(&self) {
        self.inner.plan.lock().unwrap().changed = None;
    }

    /// Lets the API server do as one does whose etcd is away: it says its version, and of what is stored that it cannot say it.
    pub(crate) fn lose_the_store(&self, is_lost: bool) {
        self.inner.plan.lock().unwrap().has_no_store = is_lost;
        // Watches look up.
        self.inner.course.send_replace(Course::Through);
    }

    /// Lets the API server do as one does that has just begun: it forbids everybody everything.
    pub(crate) fn begin_anew(&self, is_beginning: bool) {
        self.inner.plan.lock().unwrap().is_beginning = is_beginning;
    }

    /// Forbids the next change of an object, as one does that is ready a moment later.
    pub(crate) fn forbid_once(&self) {
        self.inner.plan.lock().unwrap().forbidden = 1;
    }

    /// Whether what was to be forbidden was.
    pub(crate) fn has_forbidden(&self) -> bool {
        self.inner.plan.lock().unwrap().forbidden == 0
    }

    /// Lets every request wait from now on.
    pub(crate) fn slow_down(&self, delay: Duration) {
        self.inner.plan.lock().unwrap().delay = delay;
    }
}

/// What an API server says whose etcd does not answer.
fn no_store() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": "etcdserver: request timed out"})
}

/// What an API server says that does not know of a right.
fn forbidden() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "it is forbidden"})
}

/// What an API server says of a watch that begins too long ago.
fn too_old() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version"})
}

async fn answer(State(inner): State<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    let delay = {
        let mut plan = inner.plan.lock().unwrap();
        let is_meddled_with = is_watch && parts.uri.path() == plan.watched;
        if is_meddled_with && *inner.course.borrow() == Course::Expired {
            if plan.refusals > 0 {
                plan.refusals -= 1;
                return (StatusCode::GONE, axum::Json(too_old())).into_response();
            }
            inner.course.send_replace(Course::Through);
        }
        plan.asked.push(format!("{} {target}", parts.method));
        if plan.has_no_store && parts.uri.path().starts_with("/api") {
            return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(no_store())).into_response();
        }
        let is_stored = parts.uri.path().starts_with("/api");
        let is_once = is_stored && parts.method == Method::PATCH && plan.forbidden > 0;
        // Whether it is ready is something that one must be allowed to ask, too.
        if is_once || (plan.is_beginning && (is_stored || parts.uri.path() == "/readyz")) {
            plan.forbidden -= u32::from(is_once);
            return (StatusCode::FORBIDDEN, axum::Json(forbidden())).into_response();
        }
        plan.delay
    };
    tokio::time::sleep(delay).await;
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let mut further = inner.http.request(parts.method, format!("{}{target}", inner.target)).body(body);
    for (name, value) in &parts.headers {
        if ![header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING, header::CONNECTION].contains(name)
        {
            further = further.header(name, value);
        }
    }
    let Ok(said) = further.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = said.status();
    let kind = said.headers().get(header::CONTENT_TYPE).cloned();
    let is_changed = {
        let plan = inner.plan.lock().unwrap();
        plan.changed.as_ref().is_some_and(|(path, _)| path == parts.uri.path())
    };
    if is_changed {
        let body = said.json().await.unwrap_or(Value::Null);
        let plan = inner.plan.lock().unwrap();
        let (_, change) = plan.changed.as_ref().unwrap();
        let (status, body) = change(status.as_u16(), body);
        return (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    }
    let body = if is_watch {
        Body::from_stream(watched(said, inner, parts.uri.path().to_owned()))
    } else {
        Body::from_stream(said.bytes_stream())
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    if let Some(kind) = kind {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}

/// What a watch says, as the course has it.
fn watched(
    said: reqwest::Response,
    inner: Inner,
    path: String,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let course = inner.course.subscribe();
    futures::stream::unfold(Some((said, inner, course)), move |state| {
        let path = path.clone();
        async move {
            let (mut said, inner, mut course) = state?;
            loop {
                let now = *course.borrow_and_update();
                let (is_meddled_with, is_lost) = {
                    let plan = inner.plan.lock().unwrap();
                    (plan.watched == path, plan.has_no_store)
                };
                if is_lost {
                    return None;
                }
                if is_meddled_with && now == Course::Expired {
                    let line = format!("{}\n", json!({"type": "ERROR", "object": too_old()}));
                    return Some((Ok(Bytes::from(line)), None));
                }
                let is_held = is_meddled_with && now == Course::Held;
                let piece = tokio::select! {
                    changed = course.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return None,
                    },
                    piece = said.chunk(), if !is_held => piece,
                };
                return match piece.transpose()? {
                    Ok(piece) => Some((Ok(piece), Some((said, inner, course)))),
                    Err(error) => Some((Err(std::io::Error::other(error)), None)),
                };
            }
        }
    })
}
