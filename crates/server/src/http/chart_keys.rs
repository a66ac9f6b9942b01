//! `/api/v1/chart-keys`: public keys by which signed charts are verified.

use axum::extract::State;
use axum::http::StatusCode;
use wire::chart_keys::{ChartKeyCreate, ChartKeyQuery, ChartKeyView};
use wire::ids::ChartKeyId;
use wire::page::Page;
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::chart_keys;
use crate::error::Result;

/// Lists the keys that count for a repository, or for every one.
#[utoipa::path(get, path = "/api/v1/chart-keys", tag = "chart keys", params(ChartKeyQuery),
    responses((status = 200, body = Page<ChartKeyView>), (status = 401, body = Problem), (status = 404, description = "No such repository", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ChartKeyQuery>,
) -> Result<axum::Json<Page<ChartKeyView>>> {
    chart_keys::list(&app, &caller, &query).await.map(axum::Json)
}

/// Adds keys for one's own chart repository; an admin also those that count for every one.
#[utoipa::path(post, path = "/api/v1/chart-keys", tag = "chart keys", request_body = ChartKeyCreate,
    responses((status = 201, body = Vec<ChartKeyView>), (status = 401, body = Problem), (status = 403, description = "It is somebody else's repository, or all of them", body = Problem),
        (status = 404, description = "No such repository", body = Problem), (status = 409, description = "The key is there", body = Problem), (status = 422, description = "It is no public key", body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<ChartKeyCreate>,
) -> Result<(StatusCode, axum::Json<Vec<ChartKeyView>>)> {
    let added = chart_keys::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(added)))
}

/// Deletes a key: what was signed with it is not verified any more.
#[utoipa::path(delete, path = "/api/v1/chart-keys/{id}", tag = "chart keys", params(("id" = String, Path, description = "The key's id")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, description = "It counts for somebody else's repository, or for all of them", body = Problem), (status = 404, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChartKeyId>,
) -> Result<StatusCode> {
    chart_keys::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
