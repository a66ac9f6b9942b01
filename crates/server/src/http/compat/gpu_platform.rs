//! Seed 001: accounts, pictures and machines of the GPU container platform, route by route as its document spells them.

use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::accounts::{AccountView, AuthParams, Credentials, LoginView, UserView};
use wire::ids::AccountId;
use wire::machines::MachineInfo;
use wire::problem::Problem;
use wire::secret::Secret;

use crate::app::App;
use crate::caller::Caller;
use crate::domain::accounts::{self, Named};
use crate::domain::{machines, sessions, settings};
use crate::error::{Error, ErrorKind, Result};
use crate::http::auth::SESSION_COOKIE;
use crate::http::extract::{Json, Path};
use crate::http::request::RequestContext;

/// Largest picture in bytes.
const MAX_PICTURE_BYTES: usize = 5 << 20;

/// Done; there is nothing more to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always `ok`.
    message: &'static str,
}

/// The answer of a change that returns nothing.
pub const DONE: axum::Json<Done> = axum::Json(Done { message: "ok" });

/// Registers an account.
#[utoipa::path(post, path = "/api/auth/register", tag = "seed 001", security(()), request_body = Credentials,
    responses((status = 200, body = AccountView), (status = 403, description = "Registration is closed", body = Problem),
        (status = 409, description = "The account exists", body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn register(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    Json(credentials): Json<Credentials>,
) -> Result<axum::Json<AccountView>> {
    accounts::register(&app, &context, &credentials).await.map(axum::Json)
}

/// Logs in. Also sets the session cookie, for browsers.
#[utoipa::path(post, path = "/api/auth/login", tag = "seed 001", security(()), request_body = Credentials,
    responses((status = 200, body = LoginView), (status = 401, description = "Wrong password", body = Problem),
        (status = 404, description = "No such account", body = Problem), (status = 429, description = "Too many wrong passwords", body = Problem)))]
pub async fn login(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    headers: HeaderMap,
    Json(credentials): Json<Credentials>,
) -> Result<(CookieJar, axum::Json<LoginView>)> {
    let view = sessions::login(&app, &context, &credentials).await?;
    Ok((session_cookie(&app, &headers, &view), axum::Json(view)))
}

/// The cookie of a login: unreadable for scripts, not sent along from other sites, and over TLS only where there is TLS.
pub fn session_cookie(app: &App, headers: &HeaderMap, view: &LoginView) -> CookieJar {
    let is_tls =
        app.tls.is_on() || app.config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    let mut cookie = Cookie::new(SESSION_COOKIE, view.access_token.clone());
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Lax);
    cookie.set_secure(is_tls);
    CookieJar::from_headers(headers).add(cookie)
}

/// How clients send passwords, and who may register.
#[utoipa::path(get, path = "/api/auth/params", tag = "seed 001", security(()),
    responses((status = 200, body = AuthParams), (status = 503, body = Problem)))]
pub async fn params(State(app): State<App>) -> Result<axum::Json<AuthParams>> {
    Ok(axum::Json(AuthParams {
        password_transform: "sha256-hex".to_owned(),
        registration: settings::registration(&app).await?,
        reauth_minutes: app.config.auth.reauth_minutes,
    }))
}

/// Ends this session.
#[utoipa::path(post, path = "/api/auth/logout", tag = "seed 001", responses((status = 200, body = Done), (status = 401, body = Problem)))]
pub async fn logout(
    State(app): State<App>,
    caller: Caller,
    jar: CookieJar,
) -> Result<(CookieJar, axum::Json<Done>)> {
    sessions::logout(&app, &caller).await?;
    let mut gone = Cookie::from(SESSION_COOKIE);
    gone.set_path("/");
    Ok((jar.remove(gone), DONE))
}

/// An account as everybody may see it; email and phone are null unless it is one's own or an admin asks.
#[utoipa::path(get, path = "/api/user/get_user/{account}", tag = "seed 001", params(("account" = String, Path, description = "The account's name")),
    responses((status = 200, body = UserView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get_user(
    State(app): State<App>,
    caller: Caller,
    Path(account): Path<String>,
) -> Result<axum::Json<UserView>> {
    accounts::get_user(&app, &caller, &account).await.map(axum::Json)
}

/// Changes one field of one's own profile.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetProfile {
    /// `nickname`, `email` or `phone`.
    field: String,
    /// The new value; null or empty clears the field.
    #[serde(deserialize_with = "Option::deserialize")]
    value: Option<String>,
}

/// Changes one field of one's own profile.
#[utoipa::path(post, path = "/api/user/set_profile", tag = "seed 001", request_body = SetProfile,
    responses((status = 200, body = Done), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub async fn set_profile(
    State(app): State<App>,
    caller: Caller,
    Json(change): Json<SetProfile>,
) -> Result<axum::Json<Done>> {
    accounts::set_profile(&app, &caller, &change.field, change.value.as_deref()).await?;
    Ok(DONE)
}

/// A new password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// Whose; one's own unless an admin asks.
    user_id: Option<AccountId>,
    /// The new password, plain or as SHA-256 in hex.
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
    /// The current password; not needed within `auth.reauth_minutes` of a login.
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
}

/// Changes a password and ends the account's other sessions.
#[utoipa::path(post, path = "/api/user/set_password", tag = "seed 001", request_body = SetPassword,
    responses((status = 200, body = Done), (status = 401, body = Problem), (status = 403, description = "`reauth_required`, or not one's own", body = Problem),
        (status = 422, body = Problem)))]
pub async fn set_password(
    State(app): State<App>,
    caller: Caller,
    Json(change): Json<SetPassword>,
) -> Result<axum::Json<Done>> {
    let subject = accounts::subject(&app, &caller, change.user_id.map(Named::Id)).await?;
    accounts::set_password(&app, &caller, &subject, &change.new_password, change.password.as_ref()).await?;
    Ok(DONE)
}

/// A picture as a multipart form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub struct PhotoForm {
    /// PNG, JPEG, WebP or GIF by content, at most 5 MiB.
    #[schema(value_type = String, format = Binary)]
    photo: Vec<u8>,
}

/// Sets a picture of one's own. The headers `user_id` and `account` may name the caller.
#[utoipa::path(post, path = "/api/user/set_photo/custom", tag = "seed 001", request_body(content = PhotoForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Done), (status = 401, body = Problem), (status = 403, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub async fn set_photo_custom(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<Done>> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("").to_owned());
    let (user_id, account) = (header("user_id").or_else(|| header("user-id")), header("account"));
    let mut subject = accounts::subject(&app, &caller, account.as_deref().map(Named::Account)).await?;
    if let Some(text) = user_id {
        let id = text.parse().map_err(|_| Error::invalid("user_id", "`user_id` is not a number"))?;
        let named = accounts::subject(&app, &caller, Some(Named::Id(id))).await?;
        if account.is_some() && named != subject {
            return Err(Error::invalid("user_id", "`user_id` and `account` name different accounts"));
        }
        subject = named;
    }
    let bytes = picture_part(&app, request).await?;
    accounts::set_photo(&app, &caller, &subject, bytes).await?;
    Ok(DONE)
}

async fn picture_part(app: &App, request: Request) -> Result<Vec<u8>> {
    let broken = |detail: String| {
        Error::new(ErrorKind::Malformed, "form_broken", format!("the form cannot be read: {detail}"))
    };
    let mut multipart = Multipart::from_request(request, app).await.map_err(|e| broken(e.body_text()))?;
    while let Some(mut field) = multipart.next_field().await.map_err(|e| broken(e.body_text()))? {
        if field.name() != Some("photo") {
            continue;
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|e| broken(e.body_text()))? {
            if bytes.len() + chunk.len() > MAX_PICTURE_BYTES {
                return Err(Error::new(ErrorKind::TooLarge, "too_large", "a picture has at most 5 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        return Ok(bytes);
    }
    Err(Error::invalid("photo", "the form has no part `photo`"))
}

/// One of the built-in pictures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDefaultPhoto {
    /// Whose; one's own unless an admin asks.
    user_id: Option<AccountId>,
    /// Its name, such as `abc.png`.
    photo: String,
}

/// Takes one of the built-in pictures.
#[utoipa::path(post, path = "/api/user/set_photo/default", tag = "seed 001", request_body = SetDefaultPhoto,
    responses((status = 200, body = Done), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn set_photo_default(
    State(app): State<App>,
    caller: Caller,
    Json(change): Json<SetDefaultPhoto>,
) -> Result<axum::Json<Done>> {
    let subject = accounts::subject(&app, &caller, change.user_id.map(Named::Id)).await?;
    accounts::set_default_photo(&app, &caller, &subject, &change.photo).await?;
    Ok(DONE)
}

/// A picture, as `photo` of an account names it.
#[utoipa::path(get, path = "/api/user/photo/{name}", tag = "seed 001", params(("name" = String, Path, description = "The picture's name")),
    responses((status = 200, description = "PNG", content_type = "image/png"), (status = 404, body = Problem)))]
pub async fn photo(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<Response> {
    let png = accounts::photo(&app, &caller, &name).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/png")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((StatusCode::OK, headers, png).into_response())
}

/// The machines, as a bare array.
#[utoipa::path(get, path = "/api/machine/info", tag = "seed 001",
    responses((status = 200, body = Vec<MachineInfo>), (status = 401, body = Problem)))]
pub async fn machine_info(State(app): State<App>, caller: Caller) -> Result<axum::Json<Vec<MachineInfo>>> {
    machines::info(&app, &caller).await.map(axum::Json)
}
