//! `/api/v1/tokens`.

use axum::extract::State;
use axum::http::StatusCode;
use wire::accounts::{TokenCreate, TokenCreated, TokenView};
use wire::ids::TokenId;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::tokens;
use crate::error::Result;

/// Lists the caller's API tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(PageQuery), responses((status = 200, body = Page<TokenView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<TokenView>>> {
    tokens::list(&app, &caller, page).await.map(axum::Json)
}

/// Makes an API token; its secret is in this answer only.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = TokenCreate,
    responses((status = 201, body = TokenCreated), (status = 422, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<TokenCreate>,
) -> Result<(StatusCode, axum::Json<TokenCreated>)> {
    let created = tokens::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Deletes an API token; it is refused from now on.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "The token's id")),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<TokenId>) -> Result<StatusCode> {
    tokens::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
