//! `/event/`: runs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use store::PageOf;
use utoipa::ToSchema;
use wire::ids::{BuildId, RunId};
use wire::names::Digest;
use wire::runs::RunView;
use wire::time::Timestamp;

use super::failure::PortalError;
use super::input::{Column, Input, Kind, Table, no_row, path_id, text, wrong_field};
use super::repo::PortalQuery;
use super::{shown_time, status, status_text};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::git_repos;
use crate::domain::runs::{self, Start};
use crate::error::Result;
use crate::http::extract::Path;

/// A row of the seed's table `event`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalEvent {
    /// The row's number.
    id: RunId,
    /// By which `/log/` names it.
    uuid: BuildId,
    /// Its name.
    #[schema(example = "event-prometh-exporter-buildv202111251517")]
    name: String,
    /// `1` queued, `2` running, `3` succeeded, `4` failed.
    status: &'static str,
    /// The same in a word, and whether it was cancelled.
    status_text: &'static str,
    /// Why it failed: `cancelled`, `timeout`, `clone_failed`, `build_failed`, `push_failed`, `lost`.
    reason: String,
    /// Why it failed, in plain words.
    message: String,
    /// The repository's `repo_name`.
    repo: String,
    /// The name of the job.
    job: String,
    /// A word of the owner's own.
    #[serde(rename = "type")]
    kind: String,
    /// The image, without its tag.
    image: String,
    /// The image's tag.
    #[serde(rename = "Image_tag")]
    image_tag: String,
    /// When it was accepted, `%Y%m%d %H%M%S`.
    ctime: String,
    /// The same as RFC 3339.
    ctime_iso: Timestamp,
    /// What it is for.
    #[serde(rename = "Desc")]
    description: String,
    /// The commit, once it is known.
    commit: String,
    /// The image's digest, when it succeeded.
    digest: Option<Digest>,
}

impl From<RunView> for PortalEvent {
    fn from(view: RunView) -> Self {
        Self {
            id: view.id,
            uuid: view.uuid,
            name: view.name,
            status: status(view.state),
            status_text: status_text(view.state),
            reason: view.reason.unwrap_or_default(),
            message: view.message.unwrap_or_default(),
            repo: view.repo_name,
            job: view.job,
            kind: view.kind,
            image: view.image,
            image_tag: view.image_tag,
            ctime: shown_time(view.created_at),
            ctime_iso: view.created_at,
            description: view.description,
            commit: view.commit.unwrap_or_default(),
            digest: view.digest,
        }
    }
}

/// What to write into a row; names in any case. Other columns are the server's own.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct PortalEventForm {
    /// The repository's `repo_name`: a new event is a run of it.
    repo: Option<String>,
    /// What it is for.
    #[schema(rename = "Desc")]
    desc: Option<String>,
    /// A word of the owner's own.
    r#type: Option<String>,
    /// `cancel`, for PATCH: ends the run.
    action: Option<String>,
}

const TABLE: Table = Table {
    columns: &[
        Column { seed: "id", store: "id", kind: Kind::Number },
        text("uuid", "uuid"),
        text("name", "name"),
        Column { seed: "status", store: "state", kind: Kind::Status },
        text("status_text", "state"),
        text("repo", "repo_name"),
        text("job", "job"),
        text("type", "kind"),
        text("image", "image"),
        text("Image_tag", "image_tag"),
        Column { seed: "ctime", store: "created_at", kind: Kind::Time },
        Column { seed: "ctime_iso", store: "created_at", kind: Kind::TimeIso },
        text("Desc", "description"),
        text("reason", "reason"),
        text("message", "message"),
        text("commit", "commit_id"),
        text("digest", "digest"),
    ],
    search: &["name", "repo_name", "job", "image", "image_tag", "description"],
};

const LENGTHS: &[(&str, usize)] = &[
    ("name", 100),
    ("status", 20),
    ("repo", 150),
    ("job", 100),
    ("type", 50),
    ("image", 200),
    ("Image_tag", 20),
    ("Desc", 300),
];

async fn find(app: &App, caller: &Caller, input: &Input) -> Result<RunId> {
    if let Some(id) = input.id()? {
        return Ok(RunId(id));
    }
    let name = input.filled("name").ok_or_else(no_row)?;
    runs::by_name(app, caller, name).await
}

/// Lists events, newest first: a bare array, or a page when one is asked for.
#[utoipa::path(get, path = "/event", tag = "seed 002", params(PortalQuery),
    responses((status = 200, body = Vec<PortalEvent>), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn list_events(State(app): State<App>, caller: Caller, input: Input) -> Result<Response> {
    let found = runs::list(&app, &caller, input.filter(TABLE)?).await?;
    let rows: Vec<PortalEvent> = found.rows.into_iter().map(PortalEvent::from).collect();
    input.rows(PageOf { rows, total: found.total })
}

/// Starts a run of a repository.
#[utoipa::path(post, path = "/event", tag = "seed 002",
    request_body(content((PortalEventForm = "application/json"), (PortalEventForm = "application/x-www-form-urlencoded"), (PortalEventForm = "multipart/form-data"))),
    responses((status = 201, body = PortalEvent), (status = 400, body = PortalError), (status = 403, body = PortalError), (status = 429, body = PortalError)))]
pub async fn create_event(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<(StatusCode, axum::Json<PortalEvent>)> {
    input.check(&["repo"], LENGTHS)?;
    let name = input.filled("repo").unwrap_or_default();
    let repo = match git_repos::by_name(&app, &caller, name).await {
        Err(error) if error.code == "not_found" => {
            return Err(wrong_field("repo", format!("Object with repo_name={name} does not exist.")));
        }
        found => found?,
    };
    let start = Start {
        description: input.given("Desc").unwrap_or_default(),
        kind: input.given("type").unwrap_or_default(),
        ..Start::MANUAL
    };
    let started = runs::start(&app, &caller, repo, start).await?;
    Ok((StatusCode::CREATED, axum::Json(started.run.into())))
}

async fn change_row(app: &App, caller: &Caller, id: RunId, input: &Input) -> Result<axum::Json<PortalEvent>> {
    runs::get(app, caller, id).await?;
    input.check(&[], LENGTHS)?;
    match input.filled("action") {
        None => {}
        Some("cancel") => {
            runs::cancel(app, caller, id).await?;
        }
        Some(other) => return Err(wrong_field("action", format!("\"{other}\" is not a valid choice."))),
    }
    let (description, kind) = (input.given("Desc"), input.given("type"));
    let view = if description.is_some() || kind.is_some() {
        runs::update(app, caller, id, description, kind).await?
    } else {
        runs::get(app, caller, id).await?
    };
    Ok(axum::Json(view.into()))
}

/// Changes what the event that `id` or `name` names is for; with `action=cancel` ends its run.
#[utoipa::path(patch, path = "/event", tag = "seed 002", params(PortalQuery),
    request_body(content((PortalEventForm = "application/json"), (PortalEventForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalEvent), (status = 400, body = PortalError), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn update_event(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<axum::Json<PortalEvent>> {
    let id = find(&app, &caller, &input).await?;
    change_row(&app, &caller, id, &input).await
}

/// Deletes the event that `id` or `name` names, with its job and its log; 409 while its run goes on.
#[utoipa::path(delete, path = "/event", tag = "seed 002", params(PortalQuery),
    responses((status = 204, description = "It is gone"), (status = 400, body = PortalError), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn delete_event(State(app): State<App>, caller: Caller, input: Input) -> Result<StatusCode> {
    let id = find(&app, &caller, &input).await?;
    runs::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An event.
#[utoipa::path(get, path = "/event/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 200, body = PortalEvent), (status = 404, body = PortalError)))]
pub async fn get_event(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<PortalEvent>> {
    runs::get(&app, &caller, RunId(path_id(&id)?)).await.map(PortalEvent::from).map(axum::Json)
}

/// Changes what an event is for; with `action=cancel` ends its run.
#[utoipa::path(patch, path = "/event/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    request_body(content((PortalEventForm = "application/json"), (PortalEventForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalEvent), (status = 400, body = PortalError), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn update_event_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    input: Input,
) -> Result<axum::Json<PortalEvent>> {
    change_row(&app, &caller, RunId(path_id(&id)?), &input).await
}

/// Deletes an event with its job and its log; 409 while its run goes on.
#[utoipa::path(delete, path = "/event/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn delete_event_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    runs::delete(&app, &caller, RunId(path_id(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
