//! The registry's door: what Docker's clients and engines speak to. It stands before Distribution, which keeps content
//! by digest and checks every token itself. The door adds what Distribution does not know: tags, which are rows of our
//! database. Content is streamed through in both directions and never gathered. Only requests that the door has
//! understood go on, and their paths are written anew from what was understood: nothing passes by being spelled oddly.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use serde_json::json;
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutBody;
use tracing::Instrument as _;
use wire::names::{Digest, ImageName, Tag};

use super::error::Cause;
use super::registry::{self, failure, refusal};
use super::request;
use super::serve::{self, IsTls, Protection};
use crate::app::App;
use crate::caller::RequestContext;
use crate::clients::registry::access::{self, Action, Verified};
use crate::clients::registry::client::digest_of;
use crate::clients::registry::gate::{PushKey, Writer};
use crate::clients::registry::manifest::MAX_MANIFEST_BYTES;
use crate::clients::registry::{Repository, unavailable};
use crate::domain::{images, provenance};
use crate::error::{Error, Result};
use crate::keys::REGISTRY_SERVICE;

/// How long either side may send nothing in the middle of a body.
const BODY_PATIENCE: Duration = Duration::from_mins(2);
/// How long the registry may take to answer once nothing moves any more: checking a large blob's digest takes its time.
const ANSWER_PATIENCE: Duration = Duration::from_mins(10);
/// Tags that are pushed and never recorded: builds push by content through engines that must name a tag.
const STAGING_PREFIX: &str = "ls-stage-";
/// Longest query that is passed on, in bytes: the registry keeps an upload's state in it.
const MAX_QUERY_BYTES: usize = 8 << 10;
/// Tags in one page of a list, when a page is asked for.
const MAX_TAGS: usize = 10_000;

/// Headers that belong to one connection, and those that could say something untrue about the client.
const DROPPED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "host",
    "content-length",
    "cookie",
    "set-cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-longshore-start",
];

/// Serves the door until the server ends.
pub async fn serve(app: App, listener: TcpListener) {
    let in_use = app.registry.in_use();
    let router = router(&app);
    let protection = app.tls.registry_acceptor().map_or(Protection::Clear, Protection::TlsOrLoopback);
    serve::serve(app, listener, router, protection).await;
    drop(in_use);
}

/// What the door answers, whichever way a client came.
pub(super) fn router(app: &App) -> Router {
    Router::new()
        .route("/api/registry/token", get(registry::token).post(registry::token_form))
        .fallback(handle)
        .layer(from_fn_with_state(app.clone(), layer))
        .with_state(app.clone())
}

/// What every request gets: an id, a span, figures.
async fn layer(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let ip = request::origin(Some(peer.ip()), request.headers(), &app);
    request.extensions_mut().insert(RequestContext { id: id.clone(), ip });
    let method = request.method().clone();
    let span = tracing::info_span!("registry", request.id = %id, http.method = %method, http.path = request.uri().path());
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    let _entered = span.enter();
    if let Some(Cause(cause)) = response.extensions().get::<Cause>() {
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = cause, "request failed");
        } else {
            tracing::warn!(error = cause, http.status = status.as_u16(), "request failed");
        }
    }
    tracing::debug!(
        http.status = status.as_u16(),
        elapsed_micros = started.elapsed().as_micros(),
        "request done"
    );
    let labels = [("method", method.to_string()), ("status", status.as_u16().to_string())];
    metrics::counter!("longshore_registry_requests_total", &labels).increment(1);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response.headers_mut().insert(
        HeaderName::from_static("docker-distribution-api-version"),
        HeaderValue::from_static("registry/2.0"),
    );
    response
}

/// A manifest's name in a request.
#[derive(Debug, PartialEq, Eq)]
enum Reference {
    Tag(Tag),
    Digest(Digest),
}

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// `/v2/`: whether this is a registry and the token is good.
    Root,
    /// Every repository there is; nobody's token opens it.
    Catalog,
    /// The tags of a repository.
    Tags(Repository),
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
    /// Begins an upload.
    NewUpload(Repository),
    /// Goes on with one.
    Upload(Repository, String),
}

impl Target {
    /// Reads a path; an error is an answer.
    fn parse(path: &str) -> std::result::Result<Self, Response> {
        let unknown =
            || refusal(StatusCode::NOT_FOUND, "UNSUPPORTED", "the registry has nothing at this address");
        let rest = match path {
            "/v2" | "/v2/" => return Ok(Self::Root),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => path.strip_prefix("/v2/").ok_or_else(unknown)?,
        };
        let parts: Vec<&str> = rest.split('/').collect();
        // The last two or three parts say what it is, whatever the name before them looks like.
        let (name, what) = match parts.as_slice() {
            [name @ .., "blobs", "uploads", last] => (name, ["uploads", *last]),
            [name @ .., "blobs", "uploads"] => (name, ["uploads", ""]),
            [name @ .., kind @ ("tags" | "manifests" | "blobs"), last] => (name, [*kind, *last]),
            _ => return Err(unknown()),
        };
        let name_invalid = |message: &str| refusal(StatusCode::BAD_REQUEST, "NAME_INVALID", message);
        let [owner, repo] = name else {
            return Err(name_invalid(
                "an image is named `owner/repository:tag` here, with exactly one slash",
            ));
        };
        let repository = Repository {
            owner: owner.parse().map_err(|error: wire::names::NameError| name_invalid(&error.to_string()))?,
            repo: repo.parse().map_err(|error: wire::names::NameError| name_invalid(&error.to_string()))?,
        };
        let digest = |text: &str| {
            text.parse::<Digest>()
                .map_err(|error| refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &error.to_string()))
        };
        match what {
            ["tags", "list"] => Ok(Self::Tags(repository)),
            ["manifests", text] if text.contains(':') => {
                Ok(Self::Manifest(repository, Reference::Digest(digest(text)?)))
            }
            ["manifests", text] => {
                let tag = text.parse::<Tag>();
                let tag =
                    tag.map_err(|error| refusal(StatusCode::BAD_REQUEST, "TAG_INVALID", &error.to_string()))?;
                Ok(Self::Manifest(repository, Reference::Tag(tag)))
            }
            ["blobs", text] => Ok(Self::Blob(repository, digest(text)?)),
            ["uploads", ""] => Ok(Self::NewUpload(repository)),
            ["uploads", id] if is_upload_id(id) => Ok(Self::Upload(repository, id.to_owned())),
            _ => Err(unknown()),
        }
    }

    /// The path for the registry.
    fn path(&self) -> String {
        match self {
            Self::Root => "/v2/".to_owned(),
            Self::Catalog => "/v2/_catalog".to_owned(),
            Self::Tags(repository) => format!("/v2/{repository}/tags/list"),
            Self::Manifest(repository, Reference::Tag(tag)) => format!("/v2/{repository}/manifests/{tag}"),
            Self::Manifest(repository, Reference::Digest(digest)) => {
                format!("/v2/{repository}/manifests/{digest}")
            }
            Self::Blob(repository, digest) => format!("/v2/{repository}/blobs/{digest}"),
            Self::NewUpload(repository) => format!("/v2/{repository}/blobs/uploads/"),
            Self::Upload(repository, id) => format!("/v2/{repository}/blobs/uploads/{id}"),
        }
    }

    /// Methods that make sense.
    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Root | Self::Catalog | Self::Tags(_) => &[Method::GET, Method::HEAD],
            Self::Manifest(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Blob(..) => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::NewUpload(_) => &[Method::POST],
            Self::Upload(..) => &[Method::GET, Method::HEAD, Method::PATCH, Method::PUT, Method::DELETE],
        }
    }
}

fn is_upload_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='))
}

/// A request on its way, and what is known of its client.
struct Visit {
    app: App,
    context: RequestContext,
    realm: String,
}

async fn handle(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(realm) = realm(&app, peer, &parts) else {
        return refusal(StatusCode::BAD_REQUEST, "UNSUPPORTED", "the request's `Host` is not an address");
    };
    let visit = Visit { app, context, realm };
    match visit.answer(parts, body).await {
        Ok(response) => response,
        Err(error) => failure(&error),
    }
}

/// Where this client finds the token server: here, by the name that it used for us.
fn realm(app: &App, peer: SocketAddr, parts: &Parts) -> Option<String> {
    let host = match parts.headers.get(header::HOST) {
        Some(value) => value.to_str().ok()?,
        None => parts.uri.authority()?.as_str(),
    };
    let is_address = (1..=255).contains(&host.len())
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    let is_tls = parts.extensions.get::<IsTls>().is_some_and(|IsTls(is_tls)| *is_tls);
    let scheme = if is_tls { "https" } else { request::scheme(Some(peer.ip()), &parts.headers, app) };
    is_address.then(|| format!("{scheme}://{host}/api/registry/token"))
}

impl Visit {
    async fn answer(&self, parts: Parts, body: Body) -> Result<Response> {
        let target = match Target::parse(parts.uri.path()) {
            Ok(target) => target,
            Err(response) => return Ok(response),
        };
        if !target.methods().contains(&parts.method) {
            return Ok(refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "this address does not answer this method",
            ));
        }
        if parts.uri.query().is_some_and(|query| query.len() > MAX_QUERY_BYTES) {
            return Ok(refusal(StatusCode::URI_TOO_LONG, "UNSUPPORTED", "the query is too long"));
        }
        let is_reading = matches!(parts.method, Method::GET | Method::HEAD);
        let mut writer = if is_reading { None } else { self.writer(&target, &parts.headers).await? };
        let response = match &target {
            Target::Tags(repository) => self.tags(repository, &parts).await,
            Target::Manifest(repository, Reference::Tag(tag)) if is_reading => {
                self.get_by_tag(repository, tag, parts).await
            }
            Target::Manifest(repository, reference) if parts.method == Method::PUT => {
                self.put_manifest(repository, reference, parts, body).await
            }
            Target::Blob(repository, digest) if parts.method == Method::GET => {
                self.get_blob(repository, digest, &parts, &target.path()).await
            }
            Target::NewUpload(repository) => {
                if let Err(response) = self.check_mount(repository, &parts).await? {
                    return Ok(response);
                }
                self.forward(&parts, &target.path(), body).await
            }
            Target::Manifest(_, Reference::Tag(_)) => {
                let message = "tags are deleted through the API: `longshore image delete`";
                Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message))
            }
            _ => self.forward(&parts, &target.path(), body).await,
        }?;
        // The tag comes last.
        let is_whole = matches!(&target, Target::Manifest(_, Reference::Tag(_)));
        if is_whole
            && response.status() == StatusCode::CREATED
            && let Some(writer) = &mut writer
        {
            writer.end_push();
        }
        Ok(response)
    }

    /// Lets a write in, unless the registry is being tidied up. Whoever shows no token that opens a push is refused by the
    /// registry itself.
    async fn writer(&self, target: &Target, headers: &HeaderMap) -> Result<Option<Writer>> {
        let repository = match target {
            Target::Root | Target::Catalog | Target::Tags(_) => return Ok(None),
            Target::Manifest(repository, _)
            | Target::Blob(repository, _)
            | Target::NewUpload(repository)
            | Target::Upload(repository, _) => repository,
        };
        let Ok(verified) = self.authorize(headers, repository, Action::Push) else { return Ok(None) };
        let push = PushKey { subject: verified.subject, repository: repository.clone() };
        self.app.registry.gate().enter(Some(push)).await.map(Some)
    }

    /// What the request's token opens, if that includes this; otherwise the answer that sends its client for a token.
    fn authorize(
        &self,
        headers: &HeaderMap,
        repository: &Repository,
        action: Action,
    ) -> std::result::Result<Verified, Response> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let token = match (given.next(), given.next()) {
            (Some(only), None) => only.to_str().ok().and_then(|text| text.split_once(' ')),
            _ => None,
        };
        let now = self.app.now().unix_secs();
        let verified =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).and_then(|(_, token)| {
                access::verify(&self.app.keys, token.trim(), now, self.app.config.registry.token_secs)
            });
        if let Some(verified) = verified
            && verified.allows(repository, action)
        {
            return Ok(verified);
        }
        let actions = if action == Action::Pull { "pull" } else { "pull,push" };
        let realm = &self.realm;
        let challenge = format!(
            r#"Bearer realm="{realm}",service="{REGISTRY_SERVICE}",scope="repository:{repository}:{actions}""#
        );
        let mut response = refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        Err(response)
    }

    async fn tags(&self, repository: &Repository, parts: &Parts) -> Result<Response> {
        if let Err(response) = self.authorize(&parts.headers, repository, Action::Pull) {
            return Ok(response);
        }
        let mut tags = images::tags(&self.app, repository).await?;
        if tags.is_empty() {
            return Ok(refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "the repository is not known"));
        }
        let mut next = None;
        let (mut n, mut last) = (None, None);
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "n" => n = Some(value.into_owned()),
                "last" => last = Some(value.into_owned()),
                _ => {}
            }
        }
        if let Some(last) = last {
            tags.retain(|tag| tag.as_str() > last.as_str());
        }
        if let Some(n) = n {
            let Some(n) = n.parse::<usize>().ok().filter(|n| (1..=MAX_TAGS).contains(n)) else {
                let message = format!("`n` is 1 to {MAX_TAGS}");
                return Ok(refusal(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", &message));
            };
            if tags.len() > n {
                tags.truncate(n);
                next = tags
                    .last()
                    .map(|last| format!("</v2/{repository}/tags/list?n={n}&last={last}>; rel=\"next\""));
            }
        }
        let mut response = axum::Json(json!({"name": repository.to_string(), "tags": tags})).into_response();
        if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
            response.headers_mut().insert(header::LINK, next);
        }
        Ok(response)
    }

    async fn get_by_tag(&self, repository: &Repository, tag: &Tag, parts: Parts) -> Result<Response> {
        if let Err(response) = self.authorize(&parts.headers, repository, Action::Pull) {
            return Ok(response);
        }
        let name =
            ImageName { owner: repository.owner.clone(), repo: repository.repo.clone(), tag: tag.clone() };
        let Some(digest) = images::resolve(&self.app, &name).await? else {
            let message = format!("there is no image `{name}`");
            return Ok(refusal(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", &message));
        };
        let target = Target::Manifest(repository.clone(), Reference::Digest(digest));
        self.forward(&parts, &target.path(), Body::empty()).await
    }

    /// Hands out a blob, unless it is a chart's package that must be signed and is not.
    async fn get_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        parts: &Parts,
        path: &str,
    ) -> Result<Response> {
        if provenance::is_required(&self.app, repository).await? {
            // First the rights: looking at a signature is work.
            if let Err(response) = self.authorize(&parts.headers, repository, Action::Pull) {
                return Ok(response);
            }
            provenance::check_pull(&self.app, repository, digest).await?;
        }
        self.forward(parts, path, Body::empty()).await
    }

    /// Looks at a blob that another repository is to have, too, as if it was pulled: from there it could be.
    async fn check_mount(
        &self,
        into: &Repository,
        parts: &Parts,
    ) -> Result<std::result::Result<(), Response>> {
        let (mut mounts, mut sources) = (Vec::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "mount" => mounts.push(value),
                "from" => sources.push(value),
                _ => {}
            }
        }
        if mounts.len() > 1 || sources.len() > 1 {
            // The registry would take the first, or the last.
            let message = "`mount` and `from` are given once";
            return Ok(Err(refusal(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)));
        }
        let (Some(digest), Some(from)) = (mounts.pop(), sources.pop()) else { return Ok(Ok(())) };
        // What is no name and no digest mounts nothing.
        let (Ok(digest), Ok(from)) = (digest.parse::<Digest>(), from.parse::<Repository>()) else {
            return Ok(Ok(()));
        };
        if provenance::is_required(&self.app, &from).await? {
            if let Err(response) = self.authorize(&parts.headers, into, Action::Push) {
                return Ok(Err(response));
            }
            provenance::check_pull(&self.app, &from, &digest).await?;
        }
        Ok(Ok(()))
    }

    /// Takes a manifest: stored under its digest, and recorded under its tag before its client hears of success.
    async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        parts: Parts,
        body: Body,
    ) -> Result<Response> {
        let verified = match self.authorize(&parts.headers, repository, Action::Push) {
            Ok(verified) => verified,
            Err(response) => return Ok(response),
        };
        let body = Body::new(TimeoutBody::new(BODY_PATIENCE, body));
        let Ok(manifest) = axum::body::to_bytes(body, MAX_MANIFEST_BYTES).await else {
            let message =
                format!("the manifest broke off or is larger than {} MiB", MAX_MANIFEST_BYTES >> 20);
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", &message));
        };
        let digest = digest_of(&manifest);
        let push = match reference {
            Reference::Digest(named) if *named != digest => {
                return Ok(refusal(
                    StatusCode::BAD_REQUEST,
                    "DIGEST_INVALID",
                    "the manifest does not have this digest",
                ));
            }
            Reference::Tag(tag) if !tag.as_str().starts_with(STAGING_PREFIX) => {
                let name = ImageName {
                    owner: repository.owner.clone(),
                    repo: repository.repo.clone(),
                    tag: tag.clone(),
                };
                Some(images::begin_push(&self.app, &verified.subject, name, digest.clone()).await?)
            }
            Reference::Digest(_) | Reference::Tag(_) => None,
        };
        let target = Target::Manifest(repository.clone(), Reference::Digest(digest));
        let response = self.forward(&parts, &target.path(), Body::from(manifest)).await?;
        if response.status() == StatusCode::CREATED
            && let Some(push) = push
        {
            images::record_push(&self.app, &self.context, push).await?;
        }
        Ok(response)
    }

    /// Passes a request on to the registry and its answer back.
    async fn forward(&self, parts: &Parts, path: &str, body: Body) -> Result<Response> {
        let base = self.app.registry.base().await?;
        let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = reqwest::Url::parse(&format!("{base}{path}{query}")).map_err(Error::internal)?;
        let progress = Arc::new(Progress::new());
        let is_empty = body.size_hint().exact() == Some(0);
        let body = Watched::new(body, Arc::clone(&progress));
        let mut request = self
            .app
            .registry
            .transfer()
            .request(parts.method.clone(), url)
            .headers(passed_on(&parts.headers));
        // A method without a body must not get one that is empty: `GET` with `Content-Length: 0` is odd.
        if !(is_empty && matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE)) {
            request = request.body(reqwest::Body::wrap(body));
        }
        let answer = tokio::select! {
            answer = request.send() => answer.map_err(|error| unavailable("the registry does not answer").caused_by(error))?,
            () = progress.stands_still() => return Err(unavailable("the registry stands still")),
        };
        let mut response = axum::http::Response::<reqwest::Body>::from(answer)
            .map(|body| Body::new(TimeoutBody::new(BODY_PATIENCE, body)));
        let length = response.headers_mut().remove(header::CONTENT_LENGTH);
        let mut headers = passed_on(response.headers());
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length);
        }
        self.rewrite(&mut headers, &base);
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Puts our address where the registry has written its own.
    fn rewrite(&self, headers: &mut HeaderMap, base: &str) {
        let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        if let Some(rewritten) = challenge.and_then(|text| with_realm(text, &self.realm))
            && let Ok(value) = HeaderValue::from_str(&rewritten)
        {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(rest) =
            location.and_then(|text| text.strip_prefix(base)).filter(|rest| rest.starts_with('/'))
            && let Ok(value) = HeaderValue::from_str(rest)
        {
            headers.insert(header::LOCATION, value);
        }
    }
}

/// The challenge with another realm.
fn with_realm(challenge: &str, realm: &str) -> Option<String> {
    let (before, rest) = challenge.split_once("realm=\"")?;
    let (_, after) = rest.split_once('"')?;
    Some(format!("{before}realm=\"{realm}\"{after}"))
}

/// The headers that are not about this connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        named.flat_map(|text| text.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    // The token must reach the registry, whatever `Connection` says of it.
    let is_dropped = |name: &HeaderName| {
        DROPPED.contains(&name.as_str())
            || (name != header::AUTHORIZATION && named.iter().any(|other| other == name.as_str()))
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_dropped(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// When something last moved.
struct Progress {
    start: Instant,
    millis: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    fn moved(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for [`ANSWER_PATIENCE`].
    async fn stands_still(&self) {
        loop {
            let due =
                self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed)) + ANSWER_PATIENCE;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

/// A request's body on its way, telling when it moves.
struct Watched {
    /// Never contended: it makes the body `Sync`, which the client asks for and nobody uses.
    body: Mutex<Pin<Box<TimeoutBody<Body>>>>,
    progress: Arc<Progress>,
}

impl Watched {
    fn new(body: Body, progress: Arc<Progress>) -> Self {
        Self { body: Mutex::new(Box::pin(TimeoutBody::new(BODY_PATIENCE, body))), progress }
    }

    fn locked(&self) -> MutexGuard<'_, Pin<Box<TimeoutBody<Body>>>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        self.progress.moved();
        self.locked().as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.locked().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.locked().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Option<Target> {
        Target::parse(path).ok()
    }

    fn repository() -> Repository {
        "alice/app".parse().unwrap()
    }

    #[test]
    fn paths_are_understood() {
        let digest = format!("sha256:{}", "a".repeat(64));

        assert_eq!(parse("/v2/"), Some(Target::Root));
        assert_eq!(parse("/v2/alice/app/tags/list"), Some(Target::Tags(repository())));
        let tag = Reference::Tag("v1".parse().unwrap());
        assert_eq!(parse("/v2/alice/app/manifests/v1"), Some(Target::Manifest(repository(), tag)));
        let by_digest = Reference::Digest(digest.parse().unwrap());
        assert_eq!(
            parse(&format!("/v2/alice/app/manifests/{digest}")),
            Some(Target::Manifest(repository(), by_digest))
        );
        assert_eq!(
            parse(&format!("/v2/alice/app/blobs/{digest}")),
            Some(Target::Blob(repository(), digest.parse().unwrap()))
        );
        assert_eq!(parse("/v2/alice/app/blobs/uploads/"), Some(Target::NewUpload(repository())));
        assert_eq!(parse("/v2/alice/app/blobs/uploads"), Some(Target::NewUpload(repository())));
        assert_eq!(
            parse("/v2/alice/app/blobs/uploads/0-1_a="),
            Some(Target::Upload(repository(), "0-1_a=".into()))
        );
    }

    #[test]
    fn a_path_that_is_understood_is_written_as_it_was() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for path in [
            "/v2/",
            "/v2/_catalog",
            "/v2/alice/app/tags/list",
            "/v2/alice/app/manifests/v1",
            &format!("/v2/alice/app/manifests/{digest}"),
            &format!("/v2/alice/app/blobs/{digest}"),
            "/v2/alice/app/blobs/uploads/",
            "/v2/alice/app/blobs/uploads/id",
            // Repositories with the names of what follows a name.
            "/v2/alice/manifests/manifests/v1",
            "/v2/blobs/uploads/blobs/uploads/",
        ] {
            assert_eq!(parse(path).map(|target| target.path()).as_deref(), Some(path));
        }
    }

    #[test]
    fn paths_spelled_oddly_are_refused() {
        for path in [
            "/",
            "/v1/",
            "/V2/",
            "/v2//",
            "/v2/alice/app",
            "/v2/alice%2fapp/tags/list",
            "/v2/alice/app/manif%65sts/v1",
            "/v2/alice/app//manifests/v1",
            "/v2/alice/./app/manifests/v1",
            "/v2/alice/../bob/app/manifests/v1",
            "/v2/alice/app/manifests/../../../bob/app/manifests/v1",
            "/v2/alice/app/manifests/v1/",
            "/v2/Alice/app/manifests/v1",
            "/v2/alice/a/b/manifests/v1",
            "/v2/app/manifests/v1",
            "/v2/alice/app/manifests/-v1",
            "/v2/alice/app/manifests/sha512:aa",
            "/v2/alice/app/blobs/sha256:AA",
            "/v2/alice/app/blobs/uploads/a.b",
            "/v2/alice/app/blobs/uploads/a/b",
            "/v2/alice/app/referrers/x",
            "/debug/vars",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn challenges_get_the_address_that_the_client_used() {
        let challenge = r#"Bearer realm="http://registry.invalid/x",service="s",scope="repository:a/b:pull""#;

        let rewritten = with_realm(challenge, "http://here:5000/t").unwrap();

        assert_eq!(rewritten, r#"Bearer realm="http://here:5000/t",service="s",scope="repository:a/b:pull""#);
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private, authorization"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "1.2.3.4"),
            ("host", "h"),
            ("authorization", "Bearer t"),
            ("content-type", "c"),
            ("accept", "a"),
            ("accept", "b"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }

        let kept = passed_on(&headers);

        let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "authorization", "content-type"]);
        assert_eq!(kept.get_all("accept").iter().count(), 2);
    }
}
