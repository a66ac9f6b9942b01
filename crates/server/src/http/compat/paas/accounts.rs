//! `/user/register` and `/user/login`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum_extra::extract::cookie::CookieJar;
use serde::Serialize;
use utoipa::ToSchema;
use wire::accounts::{AccountView, Credentials};
use wire::ids::AccountId;
use wire::names::AccountName;
use wire::problem::Problem;
use wire::secret::Secret;

use crate::app::App;
use crate::domain::{accounts, sessions};
use crate::error::Result;
use crate::http::compat::gpu_platform::session_cookie;
use crate::http::extract::Fields;
use crate::http::request::RequestContext;

/// Name and password.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct UserForm {
    /// The account's name.
    username: String,
    /// Plain, or its SHA-256 in hex.
    password: String,
}

/// Who logged in, and the token for programs that use one.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserLogin {
    /// The account's name.
    username: AccountName,
    /// For `Authorization: Bearer …`; browsers have the cookie.
    access_token: String,
}

/// Who was registered.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserRegistered {
    /// The account's number.
    user_id: AccountId,
    /// The account's name.
    username: AccountName,
}

fn credentials(fields: &Fields) -> Result<Credentials> {
    fields.only(&["username", "password"])?;
    let password = Secret::new(fields.required("password")?);
    Ok(Credentials { account: fields.required("username")?.to_owned(), password })
}

/// Registers an account.
#[utoipa::path(post, path = "/user/register", tag = "seed 000", security(()),
    request_body(content((UserForm = "application/json"), (UserForm = "application/x-www-form-urlencoded"), (UserForm = "multipart/form-data"))),
    responses((status = 200, body = UserRegistered), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn register(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    fields: Fields,
) -> Result<axum::Json<UserRegistered>> {
    let AccountView { user_id, account, .. } =
        accounts::register(&app, &context, &credentials(&fields)?).await?;
    Ok(axum::Json(UserRegistered { user_id, username: account }))
}

/// Logs in; sets the session cookie and returns the token.
#[utoipa::path(post, path = "/user/login", tag = "seed 000", security(()),
    request_body(content((UserForm = "application/json"), (UserForm = "application/x-www-form-urlencoded"), (UserForm = "multipart/form-data"))),
    responses((status = 200, body = UserLogin), (status = 401, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn login(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<(CookieJar, axum::Json<UserLogin>)> {
    let credentials = credentials(&fields)?;
    let view = sessions::login(&app, &context, &credentials).await?;
    let jar = session_cookie(&app, &headers, &view);
    let username = credentials.account.parse()?;
    Ok((jar, axum::Json(UserLogin { username, access_token: view.access_token })))
}
