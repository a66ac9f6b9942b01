//! `/api/v1/registry/collections`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::ids::CollectionId;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::registry::CollectionView;

use super::extract::{Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::collections;
use crate::error::Result;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CollectionQuery {
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists collections, newest first.
#[utoipa::path(get, path = "/api/v1/registry/collections", tag = "registry", params(CollectionQuery),
    responses((status = 200, body = Page<CollectionView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<CollectionQuery>,
) -> Result<axum::Json<Page<CollectionView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    collections::list(&app, &caller, page).await.map(axum::Json)
}

/// Tidies up the registry: what no image needs is removed. Pushes that have begun end first, new ones wait until it is done;
/// pulls go on. It is accepted at once; the collection that is answered says how it goes.
#[utoipa::path(post, path = "/api/v1/registry/collections", tag = "registry",
    responses((status = 202, body = CollectionView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "One goes on already, or the registry is an external one", body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, axum::Json<CollectionView>)> {
    let view = collections::create(&app, &caller).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Gives one up that removes nothing yet; who waits to push goes on at once.
#[utoipa::path(post, path = "/api/v1/registry/collections/{id}/cancel", tag = "registry", params(("id" = String, Path, description = "The collection")),
    responses((status = 200, body = CollectionView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It removes things already, or has ended", body = Problem)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<CollectionId>,
) -> Result<axum::Json<CollectionView>> {
    collections::cancel(&app, &caller, id).await.map(axum::Json)
}

/// One collection.
#[utoipa::path(get, path = "/api/v1/registry/collections/{id}", tag = "registry", params(("id" = String, Path, description = "The collection")),
    responses((status = 200, body = CollectionView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<CollectionId>,
) -> Result<axum::Json<CollectionView>> {
    collections::get(&app, &caller, id).await.map(axum::Json)
}
