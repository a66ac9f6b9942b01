//! `/api/v1/runs`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use store::filtered::{Filter, Wanted};
use utoipa::IntoParams;
use wire::builds::{LogChunk, OperationState};
use wire::ids::{GitRepoId, RunId};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::runs::{RunStart, RunView};

use super::extract::{self, Json, Params, Path};
use super::operation_log::{self, LogQuery};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::accounts::{self, Named};
use crate::domain::builds::Source;
use crate::domain::runs::{self, Start};
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunQuery {
    /// Only of this account; others than one's own for admins.
    account: Option<String>,
    /// Only of this git repository.
    git_repo_id: Option<i64>,
    /// Only in this state.
    #[param(value_type = Option<OperationState>)]
    state: Option<OperationState>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

fn word(state: OperationState) -> &'static str {
    match state {
        OperationState::Queued => "queued",
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Cancelled => "cancelled",
    }
}

/// Lists runs, newest first: one's own, everybody's for an admin.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(RunQuery),
    responses((status = 200, body = Page<RunView>), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<RunQuery>,
) -> Result<axum::Json<Page<RunView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let account = match &query.account {
        Some(name) => Some(accounts::subject(&app, &caller, Some(Named::Account(name))).await?.account),
        None => None,
    };
    let repo = query.git_repo_id.map(|id| ("git_repo_id", Wanted::Number(id)));
    let state = query.state.map(|state| ("state", Wanted::AnyOf(vec![word(state)])));
    let filter = Filter {
        account,
        wanted: repo.into_iter().chain(state).collect(),
        limit: Some(page.limit()),
        offset: page.offset(),
        ..Filter::default()
    };
    let found = runs::list(&app, &caller, filter).await?;
    let (limit, offset) = (page.limit(), page.offset());
    Ok(axum::Json(Page { data: found.rows, total: found.total, limit, offset }))
}

/// Starts a run. Answered as soon as it is queued for good.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = RunStart,
    responses((status = 202, body = RunView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn start(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<RunStart>,
) -> Result<(StatusCode, axum::Json<RunView>)> {
    let start = Start {
        git_ref: wanted.git_ref.as_deref(),
        description: wanted.description.as_deref().unwrap_or_default(),
        ..Start::MANUAL
    };
    let started = runs::start(&app, &caller, GitRepoId(wanted.git_repo_id), start).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(started.run)))
}

/// What to build.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunUploadQuery {
    /// The git repository that it is a working copy of.
    git_repo_id: i64,
    /// The Dockerfile's path in the archive; `Dockerfile` when not given.
    dockerfile: Option<String>,
    /// What it is for, at most 300 characters.
    description: Option<String>,
}

/// Starts a run of a working copy: an archive (zip, tar or tar.gz) of the folder that a run of the git repository would build. What
/// becomes of it is as with a commit, and the archive goes with the end of the run.
#[utoipa::path(post, path = "/api/v1/runs/upload", tag = "runs", params(RunUploadQuery), request_body(content((Vec<u8> = "application/octet-stream"))),
    responses((status = 202, body = RunView), (status = 400, body = Problem, description = "The upload broke off"), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem, description = "A bad archive; `code` says which"), (status = 429, body = Problem),
        (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn upload(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<RunUploadQuery>,
    request: Request,
) -> Result<(StatusCode, axum::Json<RunView>)> {
    let limit = app.config.uploads.max_bytes;
    extract::check_length(request.headers(), limit)?;
    let start = Start { description: query.description.as_deref().unwrap_or_default(), ..Start::UPLOAD };
    let plan = runs::plan(&app, &caller, GitRepoId(query.git_repo_id), &start).await?;
    let upload = extract::spool(&app, request.into_body().into_data_stream(), limit).await?;
    let dockerfile = query.dockerfile.as_deref().filter(|path| !path.is_empty());
    let started = runs::start_upload(&app, &caller, plan, start, Source { dockerfile, upload }).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(started.run)))
}

/// A run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = i64, Path, description = "The run's number")),
    responses((status = 200, body = RunView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RunId>,
) -> Result<axum::Json<RunView>> {
    runs::get(&app, &caller, id).await.map(axum::Json)
}

/// Deletes a run that has ended, with its log; its image stays.
#[utoipa::path(delete, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = i64, Path, description = "The run's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<RunId>) -> Result<StatusCode> {
    runs::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a run up. A waiting one ends at once (200); a running one as soon as git or the engine has let go of it (202).
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs", params(("id" = i64, Path, description = "The run's number")),
    responses((status = 200, body = RunView), (status = 202, body = RunView, description = "It will end in a moment"),
        (status = 404, body = Problem), (status = 409, body = Problem, description = "It has ended already")))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RunId>,
) -> Result<(StatusCode, axum::Json<RunView>)> {
    let view = runs::cancel(&app, &caller, id).await?;
    let status = if view.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(view)))
}

/// Starts a run of the same commit again.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "runs", params(("id" = i64, Path, description = "The run's number")),
    responses((status = 202, body = RunView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
pub async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RunId>,
) -> Result<(StatusCode, axum::Json<RunView>)> {
    let started = runs::retry(&app, &caller, id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(started.run)))
}

/// A run's log: as text as far as it has come, or as an event stream that goes on. The stream has the events `log` (a
/// `LogChunk`; its id is the offset behind it, so that `Last-Event-ID` goes on there), `state` (the run, whenever it has
/// changed) and, at the end, `end` (the run in its final state).
#[utoipa::path(get, path = "/api/v1/runs/{id}/log", tag = "runs",
    params(("id" = i64, Path, description = "The run's number"), LogQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Wins over `offset`")),
    responses((status = 200, content((String = "text/plain"), (LogChunk = "text/event-stream"))), (status = 404, body = Problem)))]
pub async fn log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RunId>,
    Params(query): Params<LogQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let log = runs::log(&app, &caller, id).await?;
    Ok(operation_log::answer(&app, log, &query, &headers))
}
