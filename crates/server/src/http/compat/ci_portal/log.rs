//! `/log/`: what happened to repositories and their events, in words.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use store::PageOf;
use utoipa::ToSchema;
use wire::ids::RunLogId;
use wire::runs::RunLogView;
use wire::time::Timestamp;

use super::failure::PortalError;
use super::input::{Column, Input, Kind, Table, no_row, path_id, text};
use super::repo::PortalQuery;
use super::shown_time;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::run_log::{self, NewLine};
use crate::error::Result;
use crate::http::extract::Path;

/// A row of the seed's table `log`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalLog {
    /// The row's number.
    id: RunLogId,
    /// The repository's `repo_name`.
    #[serde(rename = "Repo_name")]
    repo_name: String,
    /// The event's uuid; empty for none.
    event_uuid: String,
    /// The job's uuid; empty for none.
    #[serde(rename = "Runner_uuid")]
    runner_uuid: String,
    /// What happened.
    msg: String,
    /// When `msg` was written last, `%Y%m%d %H%M%S`.
    create_at: String,
    /// The same as RFC 3339.
    create_at_iso: Timestamp,
}

impl From<RunLogView> for PortalLog {
    fn from(view: RunLogView) -> Self {
        Self {
            id: view.id,
            repo_name: view.repo_name,
            event_uuid: view.event_uuid,
            runner_uuid: view.runner_uuid,
            msg: view.msg,
            create_at: shown_time(view.updated_at),
            create_at_iso: view.updated_at,
        }
    }
}

/// What to write into a row; names in any case. Of a row that is there only `msg` changes.
#[derive(Debug, ToSchema)]
#[expect(dead_code, non_snake_case, reason = "describes the parameters in the OpenAPI document")]
pub struct PortalLogForm {
    /// The repository's `repo_name`; required when it is new.
    Repo_name: Option<String>,
    /// The event's uuid.
    event_uuid: Option<String>,
    /// The job's uuid.
    Runner_uuid: Option<String>,
    /// What happened; required when it is new.
    msg: Option<String>,
}

const TABLE: Table = Table {
    columns: &[
        Column { seed: "id", store: "id", kind: Kind::Number },
        text("Repo_name", "repo_name"),
        text("event_uuid", "event_uuid"),
        text("Runner_uuid", "runner_uuid"),
        text("msg", "msg"),
        Column { seed: "create_at", store: "updated_at", kind: Kind::Time },
        Column { seed: "create_at_iso", store: "updated_at", kind: Kind::TimeIso },
    ],
    search: &["repo_name", "msg"],
};

fn find(input: &Input) -> Result<RunLogId> {
    input.id()?.map(RunLogId).ok_or_else(no_row)
}

/// Lists lines, newest first: a bare array, or a page when one is asked for.
#[utoipa::path(get, path = "/log", tag = "seed 002", params(PortalQuery),
    responses((status = 200, body = Vec<PortalLog>), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn list_log(State(app): State<App>, caller: Caller, input: Input) -> Result<Response> {
    let found = run_log::list(&app, &caller, input.filter(TABLE)?).await?;
    let rows: Vec<PortalLog> = found.rows.into_iter().map(PortalLog::from).collect();
    input.rows(PageOf { rows, total: found.total })
}

/// Adds a line to the log of one's own repository.
#[utoipa::path(post, path = "/log", tag = "seed 002",
    request_body(content((PortalLogForm = "application/json"), (PortalLogForm = "application/x-www-form-urlencoded"), (PortalLogForm = "multipart/form-data"))),
    responses((status = 201, body = PortalLog), (status = 400, body = PortalError)))]
pub async fn create_log(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<(StatusCode, axum::Json<PortalLog>)> {
    input.check(&["Repo_name", "msg"], &[("Repo_name", 150)])?;
    let value = |name| input.given(name).unwrap_or_default();
    let new = NewLine {
        repo_name: value("Repo_name"),
        event_uuid: value("event_uuid"),
        runner_uuid: value("Runner_uuid"),
        msg: value("msg"),
    };
    let view = run_log::create(&app, &caller, new).await?;
    Ok((StatusCode::CREATED, axum::Json(view.into())))
}

/// Changes what the line that `id` names says.
#[utoipa::path(patch, path = "/log", tag = "seed 002", params(PortalQuery),
    request_body(content((PortalLogForm = "application/json"), (PortalLogForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalLog), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn update_log(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<axum::Json<PortalLog>> {
    let id = find(&input)?;
    run_log::update(&app, &caller, id, input.given("msg")).await.map(PortalLog::from).map(axum::Json)
}

/// Deletes the line that `id` names.
#[utoipa::path(delete, path = "/log", tag = "seed 002", params(PortalQuery),
    responses((status = 204, description = "It is gone"), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn delete_log(State(app): State<App>, caller: Caller, input: Input) -> Result<StatusCode> {
    run_log::delete(&app, &caller, find(&input)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A line.
#[utoipa::path(get, path = "/log/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 200, body = PortalLog), (status = 404, body = PortalError)))]
pub async fn get_log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<PortalLog>> {
    run_log::get(&app, &caller, RunLogId(path_id(&id)?)).await.map(PortalLog::from).map(axum::Json)
}

/// Changes what a line says.
#[utoipa::path(patch, path = "/log/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    request_body(content((PortalLogForm = "application/json"), (PortalLogForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalLog), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn update_log_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    input: Input,
) -> Result<axum::Json<PortalLog>> {
    let id = RunLogId(path_id(&id)?);
    run_log::update(&app, &caller, id, input.given("msg")).await.map(PortalLog::from).map(axum::Json)
}

/// Deletes a line.
#[utoipa::path(delete, path = "/log/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = PortalError)))]
pub async fn delete_log_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    run_log::delete(&app, &caller, RunLogId(path_id(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
