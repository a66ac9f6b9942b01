//! What every request gets: an id, a span, figures, headers for browsers, and a body for its failure.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;
use wire::problem::Problem;

use super::compat::{ci_portal, helm_repos};
use super::error::{Cause, PendingProblem};
use crate::app::App;
use crate::network::Range;

pub use crate::caller::RequestContext;

/// Marks an answer that is not ours to complete: an application in a cluster gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foreign;

/// The outermost layer.
pub async fn layer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let ip = origin(peer, request.headers(), &app);
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let is_seed_004 = helm_repos::is_ours(request.uri().path());
    let span = tracing::info_span!("request", request.id = %id, http.method = %method, http.route = path.as_deref().unwrap_or("-"));
    request.extensions_mut().insert(RequestContext { id: id.clone(), ip });

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
    let route = path.unwrap_or_else(|| "-".to_owned());
    let labels =
        [("method", method.to_string()), ("route", route.clone()), ("status", status.as_u16().to_string())];
    metrics::counter!("longshore_http_requests_total", &labels).increment(1);
    metrics::histogram!("longshore_http_request_seconds", &labels[..2]).record(started.elapsed());

    let is_foreign = response.extensions_mut().remove::<Foreign>().is_some();
    if is_foreign {
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", value);
        }
        return response;
    }
    if response.extensions().get::<PendingProblem>().is_none() && is_bare_failure(&response) {
        response.extensions_mut().insert(PendingProblem(bare_problem(status)));
    }
    if let Some(PendingProblem(mut problem)) = response.extensions_mut().remove::<PendingProblem>() {
        problem.request_id = Some(id.clone());
        let (content_type, body) = if ci_portal::is_ours(&route) {
            let (status, body) = ci_portal::failure(&method, &route, &problem);
            *response.status_mut() = status;
            ("application/json", body.to_string().into_bytes())
        } else if is_seed_004 {
            let (status, error) = helm_repos::reshaped(problem, app.now());
            *response.status_mut() = status;
            ("application/json", serde_json::to_vec(&error).unwrap_or_default())
        } else {
            ("application/problem+json", serde_json::to_vec(&problem).unwrap_or_default())
        };
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        *response.body_mut() = Body::from(body);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A failure that axum itself made (no route, wrong method, a body that is too large): it has no body of ours yet.
fn is_bare_failure(response: &Response) -> bool {
    let is_failure = response.status().is_client_error() || response.status().is_server_error();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_text = content_type.is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    is_failure && is_text
}

fn bare_problem(status: StatusCode) -> Problem {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => {
            ("no_such_route", "there is nothing at this address; `GET /api/openapi.json` lists what there is")
        }
        StatusCode::METHOD_NOT_ALLOWED => (
            "method_not_allowed",
            "this address does not answer this method; the `Allow` header lists those it does",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the request's body is too large"),
        StatusCode::INTERNAL_SERVER_ERROR => (
            "internal",
            "something went wrong on the server; its log has the details under this request's id",
        ),
        _ => ("refused", "the request cannot be answered"),
    };
    Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        code: code.to_owned(),
        detail: detail.to_owned(),
        hint: None,
        field: None,
        request_id: None,
        extra: serde_json::Map::new(),
    }
}

/// The address that a request came from. `X-Forwarded-For` counts only from a trusted proxy: then the last address in
/// it that is not a trusted proxy itself.
pub(super) fn origin(peer: Option<IpAddr>, headers: &HeaderMap, app: &App) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    let trusted = trusted_proxies(app);
    let is_trusted = |ip: IpAddr| trusted.iter().any(|range| range.contains(ip));
    if !is_trusted(peer) {
        return Some(peer);
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<IpAddr> =
        forwarded.flat_map(|text| text.split(',')).filter_map(|ip| ip.trim().parse().ok()).collect();
    Some(chain.into_iter().rev().find(|ip| !is_trusted(*ip)).unwrap_or(peer))
}

fn trusted_proxies(app: &App) -> Vec<Range> {
    app.config.trusted_proxies.iter().filter_map(|range| Range::parse(range)).collect()
}

/// How the client speaks to us: `https` when a trusted proxy says so.
pub(super) fn scheme(peer: Option<IpAddr>, headers: &HeaderMap, app: &App) -> &'static str {
    let is_trusted = |ip: IpAddr| trusted_proxies(app).iter().any(|range| range.contains(ip.to_canonical()));
    let is_https =
        headers.get("x-forwarded-proto").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"));
    if is_https && peer.is_some_and(is_trusted) { "https" } else { "http" }
}

/// Makes a panic a 500 of ours instead of a broken connection.
#[expect(clippy::needless_pass_by_value, reason = "the shape that the layer asks for")]
pub fn on_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(error = text.as_deref().unwrap_or("unknown"), "a request handler panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
