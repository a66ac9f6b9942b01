//! `/api/v1/chart-repos`: Helm repositories, and when they were read.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::chart_repos::{ChartRepoCreate, ChartRepoQuery, ChartRepoUpdate, ChartRepoView, ChartSyncView};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::chart_repos;
use crate::error::Result;

/// How a sync is waited for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SyncQuery {
    /// Whether to answer at once (202) instead of when the index was read.
    #[serde(rename = "async", default)]
    pub is_async: bool,
}

/// Lists the chart repositories that the caller sees: public ones and its own.
#[utoipa::path(get, path = "/api/v1/chart-repos", tag = "chart repos", params(ChartRepoQuery),
    responses((status = 200, body = Page<ChartRepoView>), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ChartRepoQuery>,
) -> Result<axum::Json<Page<ChartRepoView>>> {
    chart_repos::list(&app, &caller, &query, true).await.map(axum::Json)
}

/// Makes a chart repository; its index is read first.
#[utoipa::path(post, path = "/api/v1/chart-repos", tag = "chart repos", request_body = ChartRepoCreate,
    responses((status = 201, body = ChartRepoView), (status = 401, body = Problem), (status = 409, description = "The name is taken", body = Problem),
        (status = 422, description = "A value is wrong, or the index cannot be read", body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<ChartRepoCreate>,
) -> Result<(StatusCode, axum::Json<ChartRepoView>)> {
    let view = chart_repos::create(&app, &caller, new).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Shows a chart repository.
#[utoipa::path(get, path = "/api/v1/chart-repos/{id}", tag = "chart repos", params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = ChartRepoView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<ChartRepoView>> {
    chart_repos::get(&app, &caller, &id).await.map(axum::Json)
}

/// Changes a chart repository; its charts stay until the index at another address was read.
#[utoipa::path(patch, path = "/api/v1/chart-repos/{id}", tag = "chart repos", params(("id" = String, Path, description = "Its id or name")),
    request_body = ChartRepoUpdate,
    responses((status = 200, body = ChartRepoView), (status = 400, description = "Nothing is to be changed", body = Problem),
        (status = 401, body = Problem), (status = 403, description = "It is somebody else's", body = Problem), (status = 404, body = Problem),
        (status = 409, description = "The name is taken", body = Problem), (status = 422, body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(change): Json<ChartRepoUpdate>,
) -> Result<axum::Json<ChartRepoView>> {
    chart_repos::update(&app, &caller, &id, change).await.map(axum::Json)
}

/// Deletes a chart repository, unless something was installed from it.
#[utoipa::path(delete, path = "/api/v1/chart-repos/{id}", tag = "chart repos", params(("id" = String, Path, description = "Its id or name")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, description = "It is somebody else's", body = Problem),
        (status = 404, body = Problem), (status = 409, description = "It has releases", body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode> {
    chart_repos::delete(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the index of a chart repository now.
#[utoipa::path(post, path = "/api/v1/chart-repos/{id}/sync", tag = "chart repos", params(("id" = String, Path, description = "Its id or name"), SyncQuery),
    responses((status = 200, body = ChartSyncView), (status = 202, description = "It will be read", body = ChartSyncView), (status = 401, body = Problem),
        (status = 403, description = "It is somebody else's", body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 502, description = "The index cannot be read", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn sync(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<SyncQuery>,
) -> Result<Response> {
    if query.is_async {
        let sync = chart_repos::request_sync(&app, &caller, &id).await?;
        return Ok((StatusCode::ACCEPTED, axum::Json(sync)).into_response());
    }
    let (_, sync) = chart_repos::sync(&app, &caller, &id).await?;
    Ok(axum::Json(sync).into_response())
}

/// Lists when a chart repository was read, newest first; times by the clock at which nothing was new are not kept.
#[utoipa::path(get, path = "/api/v1/chart-repos/{id}/syncs", tag = "chart repos", params(("id" = String, Path, description = "Its id or name"), PageQuery),
    responses((status = 200, body = Page<ChartSyncView>), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn syncs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<ChartSyncView>>> {
    chart_repos::syncs(&app, &caller, &id, page).await.map(axum::Json)
}
