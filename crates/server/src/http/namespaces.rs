//! `/api/v1/namespaces`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::names::{AccountName, ClusterName};
use wire::namespaces::{
    KubeconfigCreate, KubeconfigCreated, NamespaceCreate, NamespaceEventView, NamespaceQuery,
    NamespaceQuotaView, NamespaceView,
};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::{namespace_views, namespaces};
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Every account's (admin).
    all: Option<bool>,
    /// This account's: the caller's own, or any for an admin.
    #[param(value_type = Option<String>)]
    account: Option<AccountName>,
    /// Only in this cluster.
    #[param(value_type = Option<String>)]
    cluster: Option<ClusterName>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists namespaces, oldest first: the caller's own; an admin may ask for others.
#[utoipa::path(get, path = "/api/v1/namespaces", tag = "namespaces", params(ListQuery),
    responses((status = 200, body = Page<NamespaceView>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<axum::Json<Page<NamespaceView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let query =
        NamespaceQuery { cluster: query.cluster, account: query.account, all: query.all.unwrap_or(false) };
    namespaces::list(&app, &caller, &query, page).await.map(axum::Json)
}

/// Makes a namespace with its quota, its network policy and the right to pull the account's images; answers when it can be used.
#[utoipa::path(post, path = "/api/v1/namespaces", tag = "namespaces", request_body = NamespaceCreate,
    responses((status = 201, body = NamespaceView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "The cluster has one of this name, whoever made it, or the account has enough", body = Problem),
        (status = 422, body = Problem), (status = 503, description = "The cluster does not answer", body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NamespaceCreate>,
) -> Result<(StatusCode, axum::Json<NamespaceView>)> {
    let created = namespaces::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// One namespace.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}", tag = "namespaces", params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own, with or without the account in front")),
    responses((status = 200, body = NamespaceView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, description = "The name is used in several clusters", body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(namespace): Path<String>,
) -> Result<axum::Json<NamespaceView>> {
    namespaces::get(&app, &caller, &namespace).await.map(axum::Json)
}

/// Deletes a namespace with everything in it: what runs first. 204 when it is gone, 202 while the cluster is at it.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}", tag = "namespaces", params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own, with or without the account in front")),
    responses((status = 202, description = "The cluster is at it; `message` says what it waits for", body = NamespaceView), (status = 204),
        (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, description = "The name is used in several clusters", body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(namespace): Path<String>,
) -> Result<Response> {
    Ok(match namespaces::delete(&app, &caller, &namespace).await? {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(left) => (StatusCode::ACCEPTED, axum::Json(left)).into_response(),
    })
}

/// Makes a kubeconfig for one's own `kubectl`, good for a while and in this namespace alone.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/kubeconfig", tag = "namespaces", params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own, with or without the account in front")), request_body = KubeconfigCreate,
    responses((status = 201, body = KubeconfigCreated), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "The namespace cannot be used now", body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn kubeconfig(
    State(app): State<App>,
    caller: Caller,
    Path(namespace): Path<String>,
    Json(wanted): Json<KubeconfigCreate>,
) -> Result<(StatusCode, axum::Json<KubeconfigCreated>)> {
    let made = namespaces::kubeconfig(&app, &caller, &namespace, &wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// How much there may be in a namespace and is, as the cluster counts it.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/quota", tag = "namespaces", params(("namespace" = String, Path, description = "Its id, or its name among the caller's own")),
    responses((status = 200, body = Vec<NamespaceQuotaView>), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, description = "The cluster does not answer", body = Problem)))]
pub async fn quota(
    State(app): State<App>,
    caller: Caller,
    Path(namespace): Path<String>,
) -> Result<axum::Json<Vec<NamespaceQuotaView>>> {
    namespace_views::quota(&app, &caller, &namespace).await.map(axum::Json)
}

/// What happened in a namespace of late, in the cluster's own words, newest first: at most a hundred events.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/events", tag = "namespaces", params(("namespace" = String, Path, description = "Its id, or its name among the caller's own")),
    responses((status = 200, body = Vec<NamespaceEventView>), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, description = "The cluster does not answer", body = Problem)))]
pub async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(namespace): Path<String>,
) -> Result<axum::Json<Vec<NamespaceEventView>>> {
    namespace_views::events(&app, &caller, &namespace).await.map(axum::Json)
}
