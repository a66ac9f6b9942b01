//! `/api/releases` and `/api/release-operations`: installing charts, and what is done to what was installed.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use wire::builds::LogChunk;
use wire::ids::ReleaseOperationId;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::releases::{
    ReleaseInstall, ReleaseManifestView, ReleaseOperationQuery, ReleaseOperationView, ReleasePlan,
    ReleaseQuery, ReleaseRevisionQuery, ReleaseRevisionView, ReleaseRollback, ReleaseStatusView,
    ReleaseUpgrade, ReleaseValuesView, ReleaseView,
};

use super::extract::{Json, Params, Path};
use super::operation_log::{self, LogQuery};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::releases::{self, Admitted};
use crate::error::Result;

/// A plan is an answer; what will be done is only accepted.
fn answer(admitted: Admitted) -> Response {
    match admitted {
        Admitted::Plan(plan) => (StatusCode::OK, axum::Json(*plan)).into_response(),
        Admitted::Accepted(view) => (StatusCode::ACCEPTED, axum::Json(*view)).into_response(),
    }
}

/// Lists releases, newest first: one's own; an admin may ask for others.
#[utoipa::path(get, path = "/api/releases", tag = "releases", params(ReleaseQuery),
    responses((status = 200, body = Page<ReleaseView>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, description = "No such namespace or repository", body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ReleaseQuery>,
) -> Result<axum::Json<Page<ReleaseView>>> {
    releases::list(&app, &caller, &query).await.map(axum::Json)
}

/// Installs a chart. Whatever is wrong with what it would make is told at once and together (422, `violations`); otherwise it is
/// accepted (202) and done by the operation in the answer. With `dry_run` it is only said what would come of it (200).
#[utoipa::path(post, path = "/api/releases", tag = "releases", request_body = ReleaseInstall,
    responses((status = 200, description = "What would come of it", body = ReleasePlan), (status = 202, description = "It will be installed", body = ReleaseView),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, description = "No such chart, version or namespace", body = Problem),
        (status = 409, description = "There is one of this name, or the namespace is not ready", body = Problem), (status = 413, body = Problem),
        (status = 422, description = "Values, or what the chart makes of them, are refused", body = Problem),
        (status = 502, description = "The package cannot be fetched, or is another one", body = Problem),
        (status = 503, description = "Helm or the cluster is missing", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn install(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<ReleaseInstall>,
) -> Result<Response> {
    releases::install(&app, &caller, &new).await.map(answer)
}

/// Shows a release with what is there of it now.
#[utoipa::path(get, path = "/api/releases/{id}", tag = "releases", params(("id" = String, Path, description = "The release's id, or its name among one's own")),
    responses((status = 200, body = ReleaseStatusView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, description = "There are several of this name", body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<ReleaseStatusView>> {
    releases::get(&app, &caller, &id).await.map(axum::Json)
}

/// Gives a release another chart or other values. With `dry_run` it is only said what would change (200, `diff`).
#[utoipa::path(post, path = "/api/releases/{id}/upgrade", tag = "releases", request_body = ReleaseUpgrade, params(("id" = String, Path, description = "The release's id, or its name among one's own")),
    responses((status = 200, description = "What would change", body = ReleasePlan), (status = 202, description = "It will be changed", body = ReleaseView),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, description = "Something is being done to it already", body = Problem), (status = 413, body = Problem),
        (status = 422, description = "Values, or what the chart makes of them, are refused", body = Problem),
        (status = 502, description = "The package cannot be fetched, or is another one", body = Problem),
        (status = 503, description = "Helm or the cluster is missing", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn upgrade(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(change): Json<ReleaseUpgrade>,
) -> Result<Response> {
    releases::upgrade(&app, &caller, &id, &change).await.map(answer)
}

/// Goes back to an earlier revision. With `dry_run` it is only said what would change (200, `diff`).
#[utoipa::path(post, path = "/api/releases/{id}/rollback", tag = "releases", request_body = ReleaseRollback, params(("id" = String, Path, description = "The release's id, or its name among one's own")),
    responses((status = 200, description = "What would change", body = ReleasePlan), (status = 202, description = "It will be changed", body = ReleaseView),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, description = "No such release or revision", body = Problem), (status = 409, description = "Something is being done to it already, or there is no earlier revision", body = Problem),
        (status = 422, description = "What that revision has is refused", body = Problem), (status = 503, description = "Helm or the cluster is missing", body = Problem)))]
pub async fn rollback(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(to): Json<ReleaseRollback>,
) -> Result<Response> {
    releases::rollback(&app, &caller, &id, &to).await.map(answer)
}

/// Brings a release out of a pending state that nobody works on: back to the revision before, or away when there was none.
#[utoipa::path(post, path = "/api/releases/{id}/recover", tag = "releases", params(("id" = String, Path, description = "The release's id, or its name among one's own")),
    responses((status = 202, description = "It will be brought in order", body = ReleaseView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, description = "Something is being done to it already", body = Problem)))]
pub async fn recover(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<ReleaseView>)> {
    let view = releases::recover(&app, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Removes a release and everything of it. It is there until the operation in the answer has ended.
#[utoipa::path(delete, path = "/api/releases/{id}", tag = "releases", params(("id" = String, Path, description = "The release's id, or its name among one's own")),
    responses((status = 202, description = "It will be removed", body = ReleaseView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, description = "Something is being done to it already", body = Problem)))]
pub async fn uninstall(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<ReleaseView>)> {
    let view = releases::uninstall(&app, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Lists the revisions that are kept of a release, newest first.
#[utoipa::path(get, path = "/api/releases/{id}/history", tag = "releases", params(("id" = String, Path, description = "The release's id, or its name among one's own"), PageQuery),
    responses((status = 200, body = Page<ReleaseRevisionView>), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, description = "Helm or the cluster is missing", body = Problem)))]
pub async fn history(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<ReleaseRevisionView>>> {
    releases::history(&app, &caller, &id, page).await.map(axum::Json)
}

/// Shows the values of a revision that differ from the chart's.
#[utoipa::path(get, path = "/api/releases/{id}/values", tag = "releases", params(("id" = String, Path, description = "The release's id, or its name among one's own"), ReleaseRevisionQuery),
    responses((status = 200, body = ReleaseValuesView), (status = 401, body = Problem), (status = 404, description = "No such release or revision", body = Problem), (status = 409, description = "The cluster has nothing of it", body = Problem), (status = 503, description = "Helm or the cluster is missing", body = Problem)))]
pub async fn values(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<ReleaseRevisionQuery>,
) -> Result<axum::Json<ReleaseValuesView>> {
    releases::values(&app, &caller, &id, query.revision).await.map(axum::Json)
}

/// Shows what a revision consists of, secrets included.
#[utoipa::path(get, path = "/api/releases/{id}/manifest", tag = "releases", params(("id" = String, Path, description = "The release's id, or its name among one's own"), ReleaseRevisionQuery),
    responses((status = 200, body = ReleaseManifestView), (status = 401, body = Problem), (status = 404, description = "No such release or revision", body = Problem), (status = 409, description = "The cluster has nothing of it", body = Problem), (status = 503, description = "Helm or the cluster is missing", body = Problem)))]
pub async fn manifest(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<ReleaseRevisionQuery>,
) -> Result<axum::Json<ReleaseManifestView>> {
    releases::manifest(&app, &caller, &id, query.revision).await.map(axum::Json)
}

/// Lists what was done to releases, newest first; also to those that are gone.
#[utoipa::path(get, path = "/api/release-operations", tag = "releases", params(ReleaseOperationQuery),
    responses((status = 200, body = Page<ReleaseOperationView>), (status = 401, body = Problem)))]
pub async fn operations(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ReleaseOperationQuery>,
) -> Result<axum::Json<Page<ReleaseOperationView>>> {
    releases::operations(&app, &caller, &query).await.map(axum::Json)
}

/// Shows something that is or was done to a release.
#[utoipa::path(get, path = "/api/release-operations/{id}", tag = "releases", params(("id" = String, Path, description = "The operation's id")),
    responses((status = 200, body = ReleaseOperationView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn operation(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ReleaseOperationId>,
) -> Result<axum::Json<ReleaseOperationView>> {
    releases::operation(&app, &caller, id).await.map(axum::Json)
}

/// Gives up what is being done to a release. It ends when Helm has let go of it.
#[utoipa::path(post, path = "/api/release-operations/{id}/cancel", tag = "releases", params(("id" = String, Path, description = "The operation's id")),
    responses((status = 202, description = "It will end in a moment", body = ReleaseOperationView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, description = "It has ended, or cannot be left half done", body = Problem)))]
pub async fn operation_cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ReleaseOperationId>,
) -> Result<(StatusCode, axum::Json<ReleaseOperationView>)> {
    let view = releases::cancel(&app, &caller, id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// What Helm said: as text as far as it has come, or as an event stream that goes on. The stream has the events `log` (a
/// `LogChunk`; its id is the offset behind it, so that `Last-Event-ID` goes on there), `state` (the operation, whenever it has
/// changed) and, at the end, `end` (the operation in its final state).
#[utoipa::path(get, path = "/api/release-operations/{id}/log", tag = "releases",
    params(("id" = String, Path, description = "The operation's id"), LogQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Wins over `offset`")),
    responses((status = 200, content((String = "text/plain"), (LogChunk = "text/event-stream"))), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn operation_log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ReleaseOperationId>,
    Params(query): Params<LogQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let log = releases::log(&app, &caller, id).await?;
    Ok(operation_log::answer(&app, log, &query, &headers))
}
