//! Finds out who is calling, once per request, and refuses whoever may not call the route at all. What a caller may do
//! to which thing is decided in the domain.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::CookieJar;

use super::request::RequestContext;
use super::rights::{self, Access};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::sessions;
use crate::error::{Error, Result};

/// Name of the console's cookie.
pub const SESSION_COOKIE: &str = "longshore_session";

/// Where the request's token was.
enum Credential {
    /// `Authorization: Bearer`.
    Header(String),
    /// The session cookie; browsers send it by themselves, so changes need an origin check.
    Cookie(String),
}

/// The layer before every route.
pub async fn layer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()) else {
        return next.run(request).await;
    };
    let Some(access) = rights::access(request.method(), &path) else {
        // Either the method is not served (405 comes from the router) or a route lacks its row (a test fails then).
        return if rights::is_known_path(&path) {
            next.run(request).await
        } else {
            Error::internal(format!("route `{path}` has no row in the rights matrix")).into_response()
        };
    };
    // Whoever shows a ticket is found out about by the route, which uses it up.
    let has_ticket = access == Access::OwnOrTicket && super::terminals::has_ticket(request.uri());
    if access != Access::Public && !has_ticket {
        match identify(
            &app,
            request.method().clone(),
            request.headers().clone(),
            request.extensions().get().cloned(),
        )
        .await
        {
            Ok(caller) if access == Access::Admin && !caller.is_admin() => {
                return Error::forbidden("admin_only", "only an admin can do this").into_response();
            }
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(error) => return error.into_response(),
        }
    }
    next.run(request).await
}

async fn identify(
    app: &App,
    method: Method,
    headers: HeaderMap,
    context: Option<RequestContext>,
) -> Result<Caller> {
    let credential = credential(&headers)?;
    let mut caller = match credential {
        None => {
            return Err(Error::unauthenticated("unauthenticated", "log in first")
                .hint("`longshore login`, or POST /api/auth/login"));
        }
        Some(Credential::Header(token)) => sessions::caller_of_token(app, &token).await?,
        Some(Credential::Cookie(token)) => {
            check_origin(app, &method, &headers)?;
            sessions::caller_of_token(app, &token).await?
        }
    };
    caller.ip = context.as_ref().and_then(|context| context.ip);
    caller.request_id = context.map(|context| context.id);
    Ok(caller)
}

fn credential(headers: &HeaderMap) -> Result<Option<Credential>> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else {
        return Ok(session_cookie(headers)?.map(Credential::Cookie));
    };
    let refused = || {
        Error::unauthenticated(
            "bad_authorization",
            "the `Authorization` header is not `Bearer` and one token",
        )
    };
    if given.next().is_some() {
        return Err(refused());
    }
    let text = first.to_str().map_err(|_| refused())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(refused)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(char::is_whitespace) {
        return Err(refused());
    }
    Ok(Some(Credential::Header(token.to_owned())))
}

/// The session cookie. Two of them are not chosen from: one was put there by whoever shares this host's name, to make somebody
/// work in another's account.
fn session_cookie(headers: &HeaderMap) -> Result<Option<String>> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let names = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.split('=').next());
    if names.filter(|name| name.trim() == SESSION_COOKIE).count() > 1 {
        let detail = "the browser sends two sessions, and one of them may be somebody else's";
        return Err(Error::unauthenticated("two_sessions", detail)
            .hint("remove the cookies of this site in the browser, then log in again"));
    }
    Ok(CookieJar::from_headers(headers).get(SESSION_COOKIE).map(|cookie| cookie.value().to_owned()))
}

/// A change that a browser sends with our cookie must come from our own pages. Browsers say where it comes from
/// (`Origin`, `Sec-Fetch-Site`, old ones only `Referer`); a program that keeps cookies says nothing and cannot be misled by a
/// foreign page.
pub fn check_origin(app: &App, method: &Method, headers: &HeaderMap) -> Result<()> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        && !headers.contains_key(header::UPGRADE)
    {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let is_ours = match (text("origin"), text("sec-fetch-site")) {
        (Some(origin), _) => is_own_origin(app, origin, text("host")),
        (None, Some(site)) => site == "same-origin" || site == "none",
        (None, None) => text("referer").is_none_or(|page| is_own_origin(app, origin_of(page), text("host"))),
    };
    if is_ours {
        return Ok(());
    }
    Err(Error::forbidden("foreign_origin", "this request comes from another site")
        .hint("set `public_url` when the server is reached under another name"))
}

/// The part of a page's address that says whose it is.
fn origin_of(page: &str) -> &str {
    let begin = page.find("://").map_or(0, |at| at + 3);
    let end = page[begin..].find(['/', '?', '#']).map_or(page.len(), |at| begin + at);
    &page[..end]
}

fn is_own_origin(app: &App, origin: &str, host: Option<&str>) -> bool {
    let is_public_url =
        app.config.public_url.as_deref().is_some_and(|url| url.trim_end_matches('/') == origin);
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    is_public_url || (authority.is_some() && authority == host)
}
