//! The registry's token server and where the registry reports what happens in it. Errors have the shape of the
//! distribution specification here: that is what Docker's clients read.

use axum::body::Body;
use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use wire::problem::Problem;
use wire::secret::Secret;

use super::error::Cause;
use crate::app::App;
use crate::caller::RequestContext;
use crate::domain::registry::{self, Login, RegistryToken, TokenRequest};
use crate::error::{Error, ErrorKind, Result};

/// Longest form in bytes.
const MAX_FORM_BYTES: usize = 64 << 10;
/// Longest report in bytes.
const MAX_EVENTS_BYTES: usize = 4 << 20;

/// What a token is wanted for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct TokenParams {
    /// `longshore-registry`.
    service: Option<String>,
    /// `repository:OWNER/REPO:pull,push`; may be given several times, or hold several separated by blanks.
    scope: Option<String>,
    /// The account's name; the one in `Authorization` counts.
    account: Option<String>,
    /// The client's name; not looked at.
    client_id: Option<String>,
    /// Not served: the answer never holds a refresh token.
    offline_token: Option<bool>,
}

/// The same as an OAuth2 form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct TokenForm {
    /// `password`; there are no refresh tokens.
    grant_type: String,
    /// `longshore-registry`.
    service: Option<String>,
    /// As in the query.
    scope: Option<String>,
    /// The account's name.
    username: String,
    /// Its password (plain or as SHA-256), an API token, or an engine's credential.
    #[schema(value_type = String, format = Password)]
    password: String,
    /// The client's name; not looked at.
    client_id: Option<String>,
    /// Not looked at.
    access_type: Option<String>,
}

/// A token for the registry: Basic authentication with an account and its password or API token. Without, a token that
/// opens nothing. What the account may not do is left out of the token and is no error.
#[utoipa::path(get, path = "/api/registry/token", tag = "registry", security(()), params(TokenParams),
    responses((status = 200, body = RegistryToken), (status = 400, description = "`{\"errors\":[…]}`"),
        (status = 401, description = "`{\"errors\":[…]}`"), (status = 429, description = "`{\"errors\":[…]}`")))]
pub async fn token(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let request =
        basic(&headers).and_then(|login| read_request(query.unwrap_or_default().as_bytes(), Some(login)));
    answer(&app, &context, request).await
}

/// The same for clients that speak OAuth2.
#[utoipa::path(post, path = "/api/registry/token", tag = "registry", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = RegistryToken), (status = 400, description = "`{\"errors\":[…]}`"),
        (status = 401, description = "`{\"errors\":[…]}`"), (status = 413, description = "`{\"errors\":[…]}`"), (status = 429, description = "`{\"errors\":[…]}`")))]
pub async fn token_form(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    let request = match axum::body::to_bytes(request.into_body(), MAX_FORM_BYTES).await {
        Ok(body) => read_request(&body, None),
        Err(_) => Err(Error::new(ErrorKind::TooLarge, "too_large", "the form is too long or broke off")),
    };
    answer(&app, &context, request).await
}

async fn answer(app: &App, context: &RequestContext, request: Result<TokenRequest>) -> Response {
    let result = match request {
        Ok(request) => registry::token(app, context, request).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], axum::Json(token)).into_response(),
        Err(error) => {
            let mut response = failure(&error);
            if error.kind == ErrorKind::Unauthenticated {
                let challenge = HeaderValue::from_static("Basic realm=\"longshore\", charset=\"UTF-8\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// Reads the query or the form. With a form (`login` is none) name and password are in it.
fn read_request(pairs: &[u8], login: Option<Login>) -> Result<TokenRequest> {
    let malformed = |detail: &str| Error::new(ErrorKind::Malformed, "malformed", detail);
    let (mut service, mut scopes) = (None, Vec::new());
    let (mut grant, mut username, mut password) = (None, None, None);
    for (name, value) in form_urlencoded::parse(pairs) {
        let slot = match name.as_ref() {
            "scope" => {
                scopes.push(value.into_owned());
                continue;
            }
            "service" => &mut service,
            "grant_type" => &mut grant,
            "username" => &mut username,
            "password" => &mut password,
            _ => continue,
        };
        if slot.replace(value.into_owned()).is_some() {
            return Err(malformed("a parameter is given twice"));
        }
    }
    let from_form = || {
        if grant.as_deref() != Some("password") {
            return Err(malformed("`grant_type` must be `password`; there are no refresh tokens here"));
        }
        let (Some(name), Some(password)) = (username, password) else {
            return Err(malformed("`username` and `password` are missing"));
        };
        Ok(Login::Account { name, secret: Secret::new(password) })
    };
    let login = login.map_or_else(from_form, Ok)?;
    Ok(TokenRequest { login, service, scopes })
}

/// Name and secret of `Authorization: Basic`; none when nobody is named.
pub(super) fn basic_login(headers: &HeaderMap) -> Result<Option<(String, Secret)>> {
    Ok(match basic(headers)? {
        Login::Anonymous => None,
        Login::Account { name, secret } => Some((name, secret)),
    })
}

/// Reads `Authorization: Basic`.
fn basic(headers: &HeaderMap) -> Result<Login> {
    let refused = || {
        Error::unauthenticated(
            "bad_authorization",
            "the `Authorization` header is not `Basic` with a name and a password",
        )
    };
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else { return Ok(Login::Anonymous) };
    let text = first.to_str().map_err(|_| refused())?;
    let (scheme, encoded) = text.split_once(' ').ok_or_else(refused)?;
    if given.next().is_some() || !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused());
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| refused())?;
    let decoded = String::from_utf8(decoded).map_err(|_| refused())?;
    let (name, password) = decoded.split_once(':').ok_or_else(refused)?;
    Ok(Login::Account { name: name.to_owned(), secret: Secret::new(password) })
}

/// Where the registry reports what happens in it; it shows a secret that only the two of us know.
#[utoipa::path(post, path = "/api/registry/events", tag = "registry", security(("secret" = [])),
    request_body(content = serde_json::Value, content_type = "application/vnd.docker.distribution.events.v1+json"),
    responses((status = 200), (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem)))]
pub async fn events(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<StatusCode> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    if !registry::is_events_secret(&app, shown) {
        return Err(Error::unauthenticated("bad_secret", "only the registry reports here"));
    }
    let body = axum::body::to_bytes(body, MAX_EVENTS_BYTES).await;
    let body = body
        .map_err(|_| Error::new(ErrorKind::TooLarge, "too_large", "the report is too long or broke off"))?;
    registry::record_events(&app, &body).await?;
    Ok(StatusCode::OK)
}

/// An error in the shape of the distribution specification.
pub(super) fn failure(error: &Error) -> Response {
    let (status, code) = match error.kind {
        ErrorKind::Malformed => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
        ErrorKind::Invalid if error.code == "image_unusable" => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "DENIED"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "DENIED"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        ErrorKind::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        ErrorKind::Full => (StatusCode::INSUFFICIENT_STORAGE, "UNAVAILABLE"),
        ErrorKind::BadGateway => (StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
        ErrorKind::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, "UNAVAILABLE"),
    };
    let message = match &error.hint {
        Some(hint) => format!("{}; {hint}", error.detail),
        None => error.detail.clone(),
    };
    let mut response = refusal(status, code, &message);
    if let ErrorKind::TooMany(seconds) = error.kind {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.kind == ErrorKind::Unavailable {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if let Some(source) = &error.source {
        response.extensions_mut().insert(Cause(super::error::chain(source.as_ref())));
    }
    response
}

/// `{"errors":[{"code","message","detail"}]}`.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": message, "detail": null}]});
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login_of(values: &[&str]) -> Result<Login> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        basic(&headers)
    }

    #[test]
    fn basic_authentication_is_read_in_one_way_only() {
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));

        assert!(matches!(login_of(&[]), Ok(Login::Anonymous)));
        let login = login_of(&[&encoded("alice:a:b")]).unwrap();
        assert!(
            matches!(login, Login::Account { name, secret } if name == "alice" && secret.expose() == "a:b")
        );
        for bad in [
            vec!["Bearer x"],
            vec!["Basic"],
            vec!["Basic !"],
            vec![&*encoded("alice")],
            vec![&*encoded("a:b"), &*encoded("c:d")],
        ] {
            assert!(login_of(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn forms_need_a_name_and_a_password() {
        let read = |text: &str| read_request(text.as_bytes(), None);

        let request =
            read("grant_type=password&username=alice&password=p%20w&scope=a+b&scope=c&service=s").unwrap();
        assert_eq!(request.scopes, ["a b", "c"]);
        assert_eq!(request.service.as_deref(), Some("s"));
        for bad in [
            "",
            "grant_type=refresh_token&refresh_token=x",
            "grant_type=password&username=alice",
            "grant_type=password&username=alice&username=bob&password=x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
