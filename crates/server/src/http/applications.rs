//! `/app/<namespace>/<service>/<port>/…`: what a service in a cluster shows, for its account alone.
//!
//! What an application sends is its own and may be hostile: it comes out of an image that somebody found. It never sees the
//! console's cookie or a token, and its pages must not be able to use them. A page of the console's own origin could, whatever
//! headers it has, so there is an origin for applications (`app_listen`), which serves nothing else. Where that is not set,
//! pages are shown beside the console with a policy that takes their origin away. All applications of an account share one
//! origin: they run with the rights of that one account in the cluster as well.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tower_http::catch_panic::CatchPanicLayer;
use wire::problem::Problem;

use super::serve::IsTls;
use super::{auth, linger, request};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::port_forwards::{self, For, Goal, Way};
use crate::error::{Error, ErrorKind, Result};

/// Where applications are.
pub const PATH: &str = "/app/{*path}";
/// How long an application may take to begin its answer.
const ANSWER_PATIENCE: Duration = Duration::from_mins(5);
/// How often it is asked whether what goes on may.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Beside the console a page has no origin: it can use no cookie, no storage and no address of ours.
const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads";
/// What our own cookies begin with; applications neither get nor set such.
const OUR_COOKIES: &str = "longshore";

/// Headers that belong to one connection.
const OF_CONNECTION: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What an application does not get besides: what opens our doors, and what could say something untrue about the client.
const NOT_FOR_APPLICATIONS: &[&str] = &[
    "authorization",
    "cookie",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
];
/// What an application may not say: it is about the whole origin, or makes a browser ask for a password of ours.
const NOT_FOR_BROWSERS: &[&str] = &[
    "alt-svc",
    "clear-site-data",
    "nel",
    "public-key-pins",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "strict-transport-security",
    "www-authenticate",
];

/// Shows what a service answers; with every method, as a WebSocket, and as a stream. The cookie or token of the request is not
/// passed on. For the namespace's own account alone.
#[utoipa::path(method(get, post, put, patch, delete), path = "/app/{*path}", tag = "applications",
    params(("path" = String, Path, description = "`NAMESPACE/SERVICE/PORT/…`: the port by its number or name, then what the service is asked for")),
    responses((status = 200, description = "Whatever the service answers, with whichever status"),
        (status = 307, description = "To where browsers are shown applications", headers(("location" = String))),
        (status = 401, body = Problem), (status = 403, description = "From a page of another site, or of the console itself", body = Problem),
        (status = 404, description = "No such namespace, service or port of the caller's own", body = Problem),
        (status = 409, description = "The service names no pods or no port of theirs", body = Problem),
        (status = 429, description = "Too many connections", body = Problem), (status = 502, description = "The pod does not answer", body = Problem),
        (status = 503, description = "No pod is ready, or the cluster does not answer", body = Problem)))]
pub async fn show(State(app): State<App>, caller: Caller, request: Request) -> Result<Response> {
    let is_browser = !request.headers().contains_key(header::AUTHORIZATION);
    if is_browser && app.config.app_listen.is_some() {
        return elsewhere(&app, &request);
    }
    if is_browser && is_part_of_our_page(request.headers()) {
        let detail = "what an application sends is no part of the console's pages";
        return Err(Error::forbidden("not_a_page", detail));
    }
    let mut response = pass(&app, caller, request).await?;
    response.headers_mut().append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    Ok(response)
}

/// The same, where nothing else is served.
async fn show_apart(State(app): State<App>, caller: Caller, request: Request) -> Result<Response> {
    pass(&app, caller, request).await
}

/// What `app_listen` serves.
pub fn router(app: &App) -> Router {
    let methods = get(show_apart).post(show_apart).put(show_apart).patch(show_apart).delete(show_apart);
    Router::new()
        .route(PATH, methods)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(from_fn_with_state(app.clone(), auth::layer))
        .layer(from_fn_with_state(app.clone(), linger::layer))
        .layer(CatchPanicLayer::custom(request::on_panic))
        .layer(from_fn_with_state(app.clone(), request::layer))
        .with_state(app.clone())
}

/// Something that a page of this very origin loads into itself, and not a page that somebody opens.
fn is_part_of_our_page(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &[u8]| headers.get(name).is_some_and(|given| given.as_bytes() == value);
    is("sec-fetch-site", b"same-origin") && !is("sec-fetch-mode", b"navigate")
}

/// Sends a browser to the origin of applications.
fn elsewhere(app: &App, request: &Request) -> Result<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD)
        || request.headers().contains_key(header::UPGRADE)
    {
        let detail = "browsers use applications at their own address";
        return Err(Error::forbidden("other_address", detail).hint("open the application's page anew"));
    }
    let base = match (&app.config.app_url, app.config.app_listen) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(listen)) => {
            let host = host_of(request).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "bad_host", "the request's `Host` is not an address")
            })?;
            format!("{}://{host}:{}", scheme(app, request), listen.port())
        }
        (None, None) => return Err(Error::internal("there is no other address")),
    };
    let rest = request.uri().path_and_query().map_or("/", |rest| rest.as_str());
    Ok(redirect(&format!("{base}{rest}")))
}

fn redirect(to: &str) -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    if let Ok(location) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The host by which the client called, without its port.
fn host_of(request: &Request) -> Option<String> {
    let given = match request.headers().get(header::HOST) {
        Some(value) => value.to_str().ok()?.parse::<http::uri::Authority>().ok()?,
        None => request.uri().authority()?.clone(),
    };
    (!given.as_str().contains('@')).then(|| given.host().to_owned())
}

fn scheme(app: &App, request: &Request) -> &'static str {
    let is_tls = request.extensions().get::<IsTls>().is_some_and(|IsTls(is_tls)| *is_tls);
    let peer = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|peer| peer.0.ip());
    if is_tls { "https" } else { request::scheme(peer, request.headers(), app) }
}

/// What the address of a request names.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    namespace: &'a str,
    service: &'a str,
    port: &'a str,
    /// What the service is asked for, exactly as it was spelled; none when even the slash is missing.
    rest: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix("/app/")?.splitn(4, '/');
        let mut name = || {
            let name = parts.next()?;
            let is_plain = !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            is_plain.then_some(name)
        };
        let (namespace, service, port) = (name()?, name()?, name()?);
        let at = "/app/".len() + namespace.len() + service.len() + port.len() + 2;
        Some(Self { namespace, service, port, rest: path.get(at..).filter(|rest| !rest.is_empty()) })
    }

    /// The address of the application's first page, without the slash at its end.
    fn prefix(&self) -> String {
        format!("/app/{}/{}/{}", self.namespace, self.service, self.port)
    }
}

/// Passes a request on to a service, and its answer back.
async fn pass(app: &App, caller: Caller, mut request: Request) -> Result<Response> {
    let path = request.uri().path().to_owned();
    let place = Place::parse(&path).ok_or_else(|| {
        let detail = "an application's address is `/app/NAMESPACE/SERVICE/PORT/…`";
        Error::new(ErrorKind::NotFound, "not_found", detail)
    })?;
    let prefix = place.prefix();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let Some(rest) = place.rest else {
        // Without the slash a page's relative addresses would lead beside it.
        return Ok(redirect(&format!("{prefix}/{query}")));
    };
    let goal = Goal::Service(place.service);
    let way = port_forwards::find(app, &caller, place.namespace, goal, place.port, For::OwnerAlone).await?;
    let is_upgrade = request.headers().get(header::UPGRADE).is_some_and(is_websocket);
    let upgrade = is_upgrade.then(|| hyper::upgrade::on(&mut request));
    let scheme = scheme(app, &request);
    let (parts, body) = request.into_parts();
    let mut forwarded = http::Request::new(body);
    *forwarded.method_mut() = parts.method.clone();
    *forwarded.uri_mut() = format!("{rest}{query}").parse::<http::Uri>().map_err(|error| {
        Error::new(ErrorKind::Malformed, "bad_address", format!("the address cannot be read: {error}"))
    })?;
    *forwarded.headers_mut() = asked(&parts, &prefix, scheme, is_upgrade);
    let answer = tokio::time::timeout(ANSWER_PATIENCE, way.port.send(forwarded)).await;
    let mut answer = answer
        .map_err(|_| no_answer(&place, "it took too long"))?
        .map_err(|said| no_answer(&place, &said))?;
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let mut headers = answered(answer.headers(), &prefix, host);
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(upgrade) = upgrade else {
            return Err(no_answer(&place, "it wants to speak something else than was asked for"));
        };
        say_upgrade(&mut headers);
        let other = hyper::upgrade::on(&mut answer);
        let task = splice(app.clone(), caller, way, upgrade, other);
        app.spawn(task);
        return Ok(finished(status, headers, Body::empty()));
    }
    let body = watched(app.clone(), caller, way, answer.into_body());
    Ok(finished(status, headers, body))
}

fn finished(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(request::Foreign);
    response
}

fn no_answer(place: &Place<'_>, why: &str) -> Error {
    let detail = format!("service `{}` does not answer: {why}", place.service);
    Error::new(ErrorKind::BadGateway, "no_answer", detail).hint(format!(
        "`longshore workload pods {}` shows its pods, `longshore workload logs` what they print",
        place.namespace
    ))
}

fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"websocket")
}

fn say_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The headers without those that belong to the connection or are on the list.
fn without(headers: &HeaderMap, dropped: &[&str]) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        named.flat_map(|text| text.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_dropped = |name: &HeaderName| {
        OF_CONNECTION.contains(&name.as_str())
            || dropped.contains(&name.as_str())
            || named.iter().any(|other| other == name.as_str())
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_dropped(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The headers that an application gets.
fn asked(parts: &Parts, prefix: &str, scheme: &'static str, is_upgrade: bool) -> HeaderMap {
    let mut headers = without(&parts.headers, NOT_FOR_APPLICATIONS);
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // HTTP/2 says it there.
        headers.entry(header::HOST).or_insert(host);
    }
    let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies: Vec<&str> = cookies.flat_map(|text| text.split(';')).map(str::trim).collect();
    let cookies: Vec<&str> =
        cookies.into_iter().filter(|cookie| !cookie.is_empty() && !is_ours(cookie)).collect();
    let further = [
        (header::COOKIE, (!cookies.is_empty()).then(|| cookies.join("; "))),
        (HeaderName::from_static("x-forwarded-prefix"), Some(prefix.to_owned())),
        (HeaderName::from_static("x-forwarded-proto"), Some(scheme.to_owned())),
        (
            HeaderName::from_static("x-forwarded-host"),
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned),
        ),
    ];
    for (name, value) in further {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    if is_upgrade {
        say_upgrade(&mut headers);
    }
    headers
}

/// Whether a cookie, as `name=value`, is one of ours, with whichever prefix that browsers know.
fn is_ours(cookie: &str) -> bool {
    let name = cookie.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let name = name.strip_prefix("__host-").or_else(|| name.strip_prefix("__secure-")).unwrap_or(&name);
    name.starts_with(OUR_COOKIES)
}

/// The headers that a browser gets, with addresses and cookies kept below the application's own.
fn answered(headers: &HeaderMap, prefix: &str, host: Option<&str>) -> HeaderMap {
    let mut kept = without(headers, NOT_FOR_BROWSERS);
    let location = kept.get(header::LOCATION).and_then(|value| value.to_str().ok());
    if let Some(inside) = location.and_then(|location| inside(location, prefix, host))
        && let Ok(value) = HeaderValue::from_str(&inside)
    {
        kept.insert(header::LOCATION, value);
    }
    kept.remove(header::SET_COOKIE);
    for cookie in headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        if let Some(value) = scoped(cookie, prefix).and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
            kept.append(header::SET_COOKIE, value);
        }
    }
    kept
}

/// An address of the application itself, below its prefix; none for what stays as it is.
fn inside(location: &str, prefix: &str, host: Option<&str>) -> Option<String> {
    let authority = location
        .split_once("://")
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        .map(|(_, rest)| rest)
        .or_else(|| location.strip_prefix("//"));
    let path = match authority {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            if host.is_none_or(|host| !host.eq_ignore_ascii_case(authority)) {
                return None;
            }
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        // A backslash is a slash to browsers: `/\host` leads elsewhere.
        None if location.starts_with('/') => location.replace('\\', "%5C"),
        None => return None,
    };
    let is_inside =
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    Some(if is_inside { path } else { format!("{prefix}{path}") })
}

/// A cookie that is sent to this application alone; none for one that has a name of ours.
fn scoped(cookie: &str, prefix: &str) -> Option<String> {
    let mut parts = cookie.split(';');
    let pair = parts.next()?.trim();
    if pair.is_empty() || is_ours(pair) {
        return None;
    }
    let mut path = format!("{prefix}/");
    let mut kept = vec![pair.to_owned()];
    for attribute in parts.map(str::trim) {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "domain" => {}
            "path" => {
                if let Some(below) = inside(value.trim(), prefix, None) {
                    path = below;
                }
            }
            _ => kept.push(attribute.to_owned()),
        }
    }
    kept.push(format!("Path={path}"));
    Some(kept.join("; "))
}

/// Returns when what goes on may not any more: the login ended, or the server does.
async fn until_over(app: &App, caller: &Caller) {
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(CHECK_EVERY) => {}
        }
        if !port_forwards::may_go_on(app, caller).await {
            return;
        }
    }
}

/// A body that breaks off when it may not go on; the way's place is held as long as it is read.
fn watched(app: App, caller: Caller, way: Way, body: hyper::body::Incoming) -> Body {
    let stream = async_stream::stream! {
        let _way = way;
        let mut pieces = body.into_data_stream();
        let mut over = std::pin::pin!(until_over(&app, &caller));
        loop {
            let piece = tokio::select! {
                piece = futures::StreamExt::next(&mut pieces) => piece.map(|piece| piece.map_err(std::io::Error::other)),
                () = &mut over => Some(Err(std::io::Error::other("the login has ended"))),
            };
            let Some(piece) = piece else { break };
            let is_last = piece.is_err();
            yield piece;
            if is_last {
                break;
            }
        }
    };
    Body::from_stream(stream)
}

/// Carries what is said after an upgrade both ways.
async fn splice(
    app: App,
    caller: Caller,
    way: Way,
    client: hyper::upgrade::OnUpgrade,
    server: hyper::upgrade::OnUpgrade,
) {
    let carry = async {
        let (client, server) = tokio::try_join!(client, server)?;
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    tokio::select! {
        ended = carry => if let Err(error) = ended {
            tracing::debug!(%error, "a WebSocket of an application broke off");
        },
        () = until_over(&app, &caller) => {}
    }
    drop(way);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/app/test/web/80";

    #[test]
    fn an_address_names_a_port_of_a_service_and_leaves_the_rest_as_it_is() {
        let place = Place::parse("/app/test/web/80/a%2fb//c/").unwrap();

        assert_eq!((place.namespace, place.service, place.port), ("test", "web", "80"));
        assert_eq!((place.rest, place.prefix().as_str()), (Some("/a%2fb//c/"), PREFIX));
        assert_eq!(Place::parse("/app/test/web/80").unwrap().rest, None);
        assert_eq!(Place::parse("/app/test/web/80/").unwrap().rest, Some("/"));
        for wrong in [
            "/app/",
            "/app/test/web",
            "/app//web/80/",
            "/app/te%73t/web/80/",
            "/app/../web/80/",
            "/apps/a/b/c/",
        ] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn redirects_stay_below_the_application() {
        for (location, expected) in [
            ("/login", Some("/app/test/web/80/login")),
            ("/", Some("/app/test/web/80/")),
            ("/app/test/web/80/login", Some("/app/test/web/80/login")),
            ("/app/test/web/8080/", Some("/app/test/web/80/app/test/web/8080/")),
            ("/api/v1/me", Some("/app/test/web/80/api/v1/me")),
            ("/\\evil.example", Some("/app/test/web/80/%5Cevil.example")),
            ("http://here:8081/x?y", Some("/app/test/web/80/x?y")),
            ("//here:8081?y", Some("/app/test/web/80/?y")),
            ("HTTPS://HERE:8081", Some("/app/test/web/80/")),
            ("next", None),
            ("https://elsewhere.example/x", None),
            ("http://here:8080/api/v1/me", None),
        ] {
            assert_eq!(inside(location, PREFIX, Some("here:8081")).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn cookies_are_sent_to_their_application_alone_and_none_is_named_like_ours() {
        for (cookie, expected) in [
            ("a=b", Some("a=b; Path=/app/test/web/80/")),
            ("a=b; Path=/; Domain=example.org; HttpOnly", Some("a=b; HttpOnly; Path=/app/test/web/80/")),
            ("a=b; path=/x; SameSite=Lax", Some("a=b; SameSite=Lax; Path=/app/test/web/80/x")),
            ("a=b; Path=/app/test/web/80/y", Some("a=b; Path=/app/test/web/80/y")),
            ("longshore_session=x", None),
            (" Longshore_Session =x; Path=/api", None),
            ("__Host-longshore_session=x", None),
            ("", None),
        ] {
            assert_eq!(scoped(cookie, PREFIX).as_deref(), expected, "{cookie}");
        }
    }

    #[test]
    fn an_application_gets_its_own_cookies_and_nothing_that_opens_a_door() {
        let request = http::Request::builder()
            .uri("/app/test/web/80/")
            .header("host", "here")
            .header("authorization", "Bearer t")
            .header("cookie", "longshore_session=s; a=b")
            .header("cookie", "c=d;longshore_other=x;")
            .header("connection", "keep-alive, x-private")
            .header("x-private", "1")
            .header("x-forwarded-for", "1.2.3.4")
            .header("accept", "a")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();

        let headers = asked(&parts, PREFIX, "https", false);

        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["accept", "cookie", "host", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"]
        );
        assert_eq!(headers["cookie"], "a=b; c=d");
    }

    #[test]
    fn what_is_about_the_whole_origin_is_not_an_applications_to_say() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("clear-site-data", "\"*\""),
            ("strict-transport-security", "max-age=1"),
            ("www-authenticate", "Basic"),
            ("service-worker-allowed", "/"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/html"),
            ("set-cookie", "a=b"),
            ("set-cookie", "longshore_session=x"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }

        let kept = answered(&headers, PREFIX, None);

        let mut names: Vec<_> =
            kept.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        names.sort_unstable();
        assert_eq!(names, [("content-type", "text/html"), ("set-cookie", "a=b; Path=/app/test/web/80/")]);
    }
}
