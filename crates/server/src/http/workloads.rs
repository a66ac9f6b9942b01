//! `/api/v1/workloads`, and the pods of namespaces.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::TryStreamExt as _;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::ids::WorkloadId;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::workloads::{
    PodView, RevisionView, WorkloadApplied, WorkloadApply, WorkloadRollback, WorkloadScale, WorkloadView,
};

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::accounts::{self, Named};
use crate::domain::workloads::{self, Application, LogQuery, Mode};
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkloadQuery {
    /// Only of this namespace: its id, or the name of one of the caller's own.
    namespace: Option<String>,
    /// This account's: the caller's own, or any for an admin.
    account: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists workloads as they are now.
#[utoipa::path(get, path = "/api/v1/workloads", tag = "workloads", params(WorkloadQuery),
    responses((status = 200, body = Page<WorkloadView>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<WorkloadQuery>,
) -> Result<axum::Json<Page<WorkloadView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let subject = accounts::subject(&app, &caller, query.account.as_deref().map(Named::Account)).await?;
    workloads::list(&app, &caller, &subject, query.namespace.as_deref(), page).await.map(axum::Json)
}

/// Applies a file of manifests: everything in it, or nothing. What is wrong is told all together, in `violations`.
#[utoipa::path(post, path = "/api/v1/workloads", tag = "workloads", request_body = WorkloadApply,
    responses((status = 200, body = Vec<WorkloadApplied>), (status = 401, body = Problem),
        (status = 403, description = "The cluster does not let the account", body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, description = "`violations` lists everything that is wrong, each with its path", body = Problem), (status = 503, body = Problem)))]
pub async fn apply(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<WorkloadApply>,
) -> Result<axum::Json<Vec<WorkloadApplied>>> {
    let subject = accounts::subject(&app, &caller, None).await?;
    let application = Application {
        subject: &subject,
        namespace: new.namespace.as_deref(),
        file: new.file.as_deref(),
        text: new.manifest.as_bytes(),
        mode: Mode::Apply,
        is_dry_run: new.dry_run,
    };
    workloads::apply(&app, &caller, application).await.map(axum::Json)
}

/// One workload, as it is now.
#[utoipa::path(get, path = "/api/v1/workloads/{id}", tag = "workloads", params(("id" = String, Path, description = "The workload's id")),
    responses((status = 200, body = WorkloadView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkloadId>,
) -> Result<axum::Json<WorkloadView>> {
    workloads::get(&app, &caller, id).await.map(axum::Json)
}

/// Deletes a workload and what came of it.
#[utoipa::path(delete, path = "/api/v1/workloads/{id}", tag = "workloads", params(("id" = String, Path, description = "The workload's id")),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "What is in the cluster is not ours", body = Problem), (status = 503, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkloadId>,
) -> Result<StatusCode> {
    workloads::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The files that were applied, newest first.
#[utoipa::path(get, path = "/api/v1/workloads/{id}/revisions", tag = "workloads", params(("id" = String, Path, description = "The workload's id")),
    responses((status = 200, body = Vec<RevisionView>), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn revisions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkloadId>,
) -> Result<axum::Json<Vec<RevisionView>>> {
    workloads::revisions(&app, &caller, id).await.map(axum::Json)
}

/// Applies an earlier revision again, as a new one.
#[utoipa::path(post, path = "/api/v1/workloads/{id}/rollback", tag = "workloads", params(("id" = String, Path, description = "The workload's id")), request_body = WorkloadRollback,
    responses((status = 200, body = WorkloadApplied), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn rollback(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkloadId>,
    Json(back): Json<WorkloadRollback>,
) -> Result<axum::Json<WorkloadApplied>> {
    workloads::rollback(&app, &caller, id, back.revision).await.map(axum::Json)
}

/// Changes how many pods a workload has, until its file is applied again.
#[utoipa::path(post, path = "/api/v1/workloads/{id}/scale", tag = "workloads", params(("id" = String, Path, description = "The workload's id")), request_body = WorkloadScale,
    responses((status = 200, body = WorkloadView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn scale(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkloadId>,
    Json(scale): Json<WorkloadScale>,
) -> Result<axum::Json<WorkloadView>> {
    workloads::scale(&app, &caller, id, scale.replicas).await.map(axum::Json)
}

/// Replaces all pods of a workload by new ones, one after the other.
#[utoipa::path(post, path = "/api/v1/workloads/{id}/restart", tag = "workloads", params(("id" = String, Path, description = "The workload's id")),
    responses((status = 200, body = WorkloadView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn restart(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkloadId>,
) -> Result<axum::Json<WorkloadView>> {
    workloads::restart(&app, &caller, id).await.map(axum::Json)
}

/// The pods of a namespace.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/pods", tag = "namespaces", params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own")),
    responses((status = 200, body = Vec<PodView>), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn pods(
    State(app): State<App>,
    caller: Caller,
    Path(namespace): Path<String>,
) -> Result<axum::Json<Vec<PodView>>> {
    workloads::pods(&app, &caller, &namespace).await.map(axum::Json)
}

/// What of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PodLogQuery {
    /// Of which container; the pod's first one when not given.
    container: Option<String>,
    /// Of all containers in one stream, 32 at most: each line begins with its container's name, such as `[web] `. When it is
    /// followed, containers that have not started are waited for.
    all_containers: Option<bool>,
    /// The newest lines of each container; 200 by default.
    tail: Option<u64>,
    /// Of the container that ended before the current one.
    previous: Option<bool>,
    /// Goes on with what is printed.
    follow: Option<bool>,
}

/// A pod's log as plain text.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/pods/{pod}/log", tag = "namespaces",
    params(("namespace" = String, Path, description = "Its id, or the name of one of the caller's own"), ("pod" = String, Path, description = "The pod's name"), PodLogQuery),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 422, description = "There is no log yet", body = Problem),
        (status = 429, description = "Too many streams are followed", body = Problem), (status = 503, body = Problem)))]
pub async fn pod_log(
    State(app): State<App>,
    caller: Caller,
    Path((namespace, pod)): Path<(String, String)>,
    Params(query): Params<PodLogQuery>,
) -> Result<Response> {
    let query = LogQuery {
        container: query.container.as_deref(),
        is_of_all: query.all_containers.unwrap_or(false),
        tail: query.tail,
        is_previous: query.previous.unwrap_or(false),
        is_followed: query.follow.unwrap_or(false),
    };
    let stream = workloads::log(&app, &caller, &namespace, &pod, &query).await?;
    let shutdown = app.shutdown.clone();
    // A log that is followed must not keep a server that ends.
    let stream = futures::StreamExt::take_until(stream, async move { shutdown.cancelled().await });
    let body = Body::from_stream(stream.map_err(std::io::Error::other));
    // A proxy that gathers text would hold back a log that is followed.
    let buffering = HeaderName::from_static("x-accel-buffering");
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (buffering, "no")], body).into_response())
}
