//! `/api/v1/clusters` and `/api/v1/nodes`.

use axum::extract::State;
use axum::http::StatusCode;
use wire::clusters::{ClusterCreate, ClusterUpdate, ClusterView, NodeQuery, NodeView};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::clusters;
use crate::error::Result;

/// Lists Kubernetes clusters.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "clusters", params(PageQuery),
    responses((status = 200, body = Page<ClusterView>), (status = 401, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<ClusterView>>> {
    clusters::list(&app, &caller, page).await.map(axum::Json)
}

/// Adds a cluster, once it has answered and allowed what we need (admin). What opens it is sealed and never shown.
#[utoipa::path(post, path = "/api/v1/clusters", tag = "clusters", request_body = ClusterCreate,
    responses((status = 201, body = ClusterView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "There is one of this name, or the cluster does not allow enough", body = Problem),
        (status = 422, body = Problem), (status = 503, description = "The cluster does not answer", body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<ClusterCreate>,
) -> Result<(StatusCode, axum::Json<ClusterView>)> {
    let created = clusters::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// One cluster.
#[utoipa::path(get, path = "/api/v1/clusters/{name}", tag = "clusters", params(("name" = String, Path, description = "The cluster's name")),
    responses((status = 200, body = ClusterView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<ClusterView>> {
    clusters::get(&app, &caller, &name).await.map(axum::Json)
}

/// Makes a cluster the default one, or opens it with another kubeconfig from now on (admin).
#[utoipa::path(patch, path = "/api/v1/clusters/{name}", tag = "clusters", params(("name" = String, Path, description = "The cluster's name")), request_body = ClusterUpdate,
    responses((status = 200, body = ClusterView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "The cluster does not allow enough", body = Problem), (status = 422, body = Problem),
        (status = 503, description = "The cluster does not answer", body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(change): Json<ClusterUpdate>,
) -> Result<axum::Json<ClusterView>> {
    clusters::update(&app, &caller, &name, &change).await.map(axum::Json)
}

/// Forgets a cluster in which no namespace is left (admin). The cluster itself stays as it is.
#[utoipa::path(delete, path = "/api/v1/clusters/{name}", tag = "clusters", params(("name" = String, Path, description = "The cluster's name")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "Namespaces are in it", body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<StatusCode> {
    clusters::delete(&app, &caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the nodes of one cluster, or of all that answer.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "clusters", params(NodeQuery),
    responses((status = 200, body = Vec<NodeView>), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn nodes(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<NodeQuery>,
) -> Result<axum::Json<Vec<NodeView>>> {
    clusters::nodes(&app, &caller, query.cluster.as_ref()).await.map(axum::Json)
}
