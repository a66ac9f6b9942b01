//! `/api/v1/me` and `/api/v1/accounts`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::accounts::{AccountCreate, AccountUpdate, AccountView};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::quotas::{QuotaUpdate, QuotaView};

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::{accounts, quotas};
use crate::error::Result;

/// The caller's own account.
#[utoipa::path(get, path = "/api/v1/me", tag = "accounts", responses((status = 200, body = AccountView), (status = 401, body = Problem)))]
pub async fn me(State(app): State<App>, caller: Caller) -> Result<axum::Json<AccountView>> {
    accounts::get(&app, &caller, caller.name.as_str()).await.map(axum::Json)
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AccountQuery {
    /// Part of the account's name or nickname.
    search: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists accounts (admin).
#[utoipa::path(get, path = "/api/v1/accounts", tag = "accounts", params(AccountQuery),
    responses((status = 200, body = Page<AccountView>), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<AccountQuery>,
) -> Result<axum::Json<Page<AccountView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    accounts::list(&app, &caller, query.search.as_deref(), page).await.map(axum::Json)
}

/// Makes an account (admin).
#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = AccountCreate,
    responses((status = 201, body = AccountView), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<AccountCreate>,
) -> Result<(StatusCode, axum::Json<AccountView>)> {
    let view = accounts::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// One account: one's own, or any for an admin.
#[utoipa::path(get, path = "/api/v1/accounts/{account}", tag = "accounts", params(("account" = String, Path, description = "The account's name")),
    responses((status = 200, body = AccountView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<AccountView>> {
    accounts::get(&app, &caller, &name).await.map(axum::Json)
}

/// Changes role, state or password of an account (admin).
#[utoipa::path(patch, path = "/api/v1/accounts/{account}", tag = "accounts", params(("account" = String, Path, description = "The account's name")),
    request_body = AccountUpdate,
    responses((status = 200, body = AccountView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(change): Json<AccountUpdate>,
) -> Result<axum::Json<AccountView>> {
    accounts::update(&app, &caller, &name, &change).await.map(axum::Json)
}

/// How much an account's containers may have together, and have: one's own, or any for an admin.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/quota", tag = "accounts", params(("account" = String, Path, description = "The account's name")),
    responses((status = 200, body = QuotaView), (status = 404, body = Problem)))]
pub async fn get_quota(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<QuotaView>> {
    quotas::get(&app, &caller, &name).await.map(axum::Json)
}

/// Sets an account's quota, all of it: what is absent is as the server's settings say (admin).
#[utoipa::path(put, path = "/api/v1/accounts/{account}/quota", tag = "accounts", params(("account" = String, Path, description = "The account's name")),
    request_body = QuotaUpdate,
    responses((status = 200, body = QuotaView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn set_quota(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(update): Json<QuotaUpdate>,
) -> Result<axum::Json<QuotaView>> {
    quotas::set(&app, &caller, &name, &update).await.map(axum::Json)
}
