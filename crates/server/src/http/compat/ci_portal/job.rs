//! `/job/`: runners, the seed's table `runner`. Those that execute an event are made with it; those that are added here are
//! registries by name, for repositories that have this name as their `job`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use store::PageOf;
use utoipa::ToSchema;
use wire::ids::{RunId, RunnerId, RunnerUuid};
use wire::runs::{RunnerUpdate, RunnerView};
use wire::secret::Secret;
use wire::time::Timestamp;

use super::failure::PortalError;
use super::input::{Column, Input, Kind, Table, no_row, path_id, text, wrong_field};
use super::repo::PortalQuery;
use super::{masked, shown_time, status, status_text};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::{runners, runs};
use crate::error::Result;
use crate::http::extract::Path;

/// A row of the seed's table `runner`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalJob {
    /// The row's number.
    id: RunnerId,
    /// By which `/log/` names it.
    uuid: RunnerUuid,
    /// Its name.
    name: String,
    /// That of its event: `1` queued, `2` running, `3` succeeded, `4` failed; `1` without an event.
    status: &'static str,
    /// The same in a word.
    status_text: &'static str,
    /// A word of the owner's own.
    #[serde(rename = "type")]
    kind: String,
    /// The registry's address.
    #[serde(rename = "REGISTORY_ADD")]
    registry_address: String,
    /// The user at the registry.
    #[serde(rename = "REGISTRY_NAME")]
    registry_name: String,
    /// The image's tag.
    #[serde(rename = "IMAGE_TAG")]
    image_tag: String,
    /// Where the code is; a user and password in it show as `***`.
    #[serde(rename = "REPO_PATH")]
    repo_path: String,
    /// The project in the registry.
    #[serde(rename = "IMAGE_REPO")]
    image_repo: String,
    /// `***` when a password is kept.
    #[serde(rename = "REGISTRY_PASS")]
    registry_password: &'static str,
    /// The image's name.
    #[serde(rename = "IMAGE_NAME")]
    image_name: String,
    /// The Dockerfile.
    #[serde(rename = "REPO_DOCKERFILE")]
    repo_dockerfile: String,
    /// The folder to build.
    #[serde(rename = "BUILD_PATH")]
    build_path: String,
    /// What it is.
    desc: String,
    /// When it was made, `%Y%m%d %H%M%S`.
    ctime: String,
    /// The same as RFC 3339.
    ctime_iso: Timestamp,
    /// The event that it executes, by its number.
    event: Option<RunId>,
}

impl From<RunnerView> for PortalJob {
    fn from(view: RunnerView) -> Self {
        Self {
            id: view.id,
            uuid: view.uuid,
            name: view.name,
            status: status(view.state),
            status_text: status_text(view.state),
            kind: view.kind,
            registry_address: view.registry_address,
            registry_name: view.registry_name,
            image_tag: view.image_tag,
            repo_path: view.repo_path,
            image_repo: view.image_repo,
            registry_password: masked(view.has_registry_password),
            image_name: view.image_name,
            repo_dockerfile: view.repo_dockerfile,
            build_path: view.build_path,
            desc: view.description,
            ctime: shown_time(view.created_at),
            ctime_iso: view.created_at,
            event: view.run_id,
        }
    }
}

/// What to write into a row; names in any case. Of a row that executes an event only `desc` changes.
#[derive(Debug, ToSchema)]
#[expect(dead_code, non_snake_case, reason = "describes the parameters in the OpenAPI document")]
pub struct PortalJobForm {
    /// Its name; required when it is new.
    name: Option<String>,
    /// An event (its number) that is executed again, instead of a row of one's own.
    event: Option<i64>,
    /// See the answer for this and the following ones.
    r#type: Option<String>,
    REGISTORY_ADD: Option<String>,
    REGISTRY_NAME: Option<String>,
    IMAGE_TAG: Option<String>,
    REPO_PATH: Option<String>,
    IMAGE_REPO: Option<String>,
    REGISTRY_PASS: Option<String>,
    IMAGE_NAME: Option<String>,
    REPO_DOCKERFILE: Option<String>,
    BUILD_PATH: Option<String>,
    desc: Option<String>,
}

const TABLE: Table = Table {
    columns: &[
        Column { seed: "id", store: "id", kind: Kind::Number },
        text("uuid", "uuid"),
        text("name", "name"),
        Column { seed: "status", store: "state", kind: Kind::Status },
        text("status_text", "state"),
        text("type", "kind"),
        text("REGISTORY_ADD", "registry_address"),
        text("REGISTRY_NAME", "registry_name"),
        text("IMAGE_TAG", "image_tag"),
        text("REPO_PATH", "repo_path"),
        text("IMAGE_REPO", "image_repo"),
        Column { seed: "REGISTRY_PASS", store: "registry_password", kind: Kind::Secret },
        text("IMAGE_NAME", "image_name"),
        text("REPO_DOCKERFILE", "repo_dockerfile"),
        text("BUILD_PATH", "build_path"),
        text("desc", "description"),
        Column { seed: "ctime", store: "created_at", kind: Kind::Time },
        Column { seed: "ctime_iso", store: "created_at", kind: Kind::TimeIso },
        Column { seed: "event", store: "run_id", kind: Kind::Number },
    ],
    search: &["name", "registry_address", "image_name", "image_tag", "repo_path", "description"],
};

const LENGTHS: &[(&str, usize)] = &[
    ("name", 100),
    ("status", 10),
    ("type", 50),
    ("REGISTORY_ADD", 150),
    ("REGISTRY_NAME", 150),
    ("IMAGE_TAG", 150),
    ("REPO_PATH", 150),
    ("IMAGE_REPO", 150),
    ("REGISTRY_PASS", 150),
    ("IMAGE_NAME", 150),
    ("REPO_DOCKERFILE", 150),
    ("BUILD_PATH", 150),
    ("desc", 200),
];

async fn find(app: &App, caller: &Caller, input: &Input) -> Result<RunnerId> {
    if let Some(id) = input.id()? {
        return Ok(RunnerId(id));
    }
    let name = input.filled("name").ok_or_else(no_row)?;
    runners::by_name(app, caller, name).await
}

fn change(input: &Input) -> RunnerUpdate {
    // What people spell right is heard too.
    let address = input.owned("REGISTORY_ADD").or_else(|| input.owned("REGISTRY_ADD"));
    RunnerUpdate {
        name: input.owned("name"),
        kind: input.owned("type"),
        registry_address: address,
        registry_name: input.owned("REGISTRY_NAME"),
        registry_password: input.given("REGISTRY_PASS").map(Secret::new),
        image_repo: input.owned("IMAGE_REPO"),
        image_name: input.owned("IMAGE_NAME"),
        image_tag: input.owned("IMAGE_TAG"),
        repo_path: input.given("REPO_PATH").map(Secret::new),
        repo_dockerfile: input.owned("REPO_DOCKERFILE"),
        build_path: input.owned("BUILD_PATH"),
        description: input.owned("desc"),
    }
}

/// Lists jobs, newest first: a bare array, or a page when one is asked for.
#[utoipa::path(get, path = "/job", tag = "seed 002", params(PortalQuery),
    responses((status = 200, body = Vec<PortalJob>), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn list_jobs(State(app): State<App>, caller: Caller, input: Input) -> Result<Response> {
    let found = runners::list(&app, &caller, input.filter(TABLE)?).await?;
    let rows: Vec<PortalJob> = found.rows.into_iter().map(PortalJob::from).collect();
    input.rows(PageOf { rows, total: found.total })
}

/// Adds a registry by name, or, with `event`, executes that event again.
#[utoipa::path(post, path = "/job", tag = "seed 002",
    request_body(content((PortalJobForm = "application/json"), (PortalJobForm = "application/x-www-form-urlencoded"), (PortalJobForm = "multipart/form-data"))),
    responses((status = 201, body = PortalJob), (status = 400, body = PortalError), (status = 409, body = PortalError), (status = 429, body = PortalError)))]
pub async fn create_job(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<(StatusCode, axum::Json<PortalJob>)> {
    let Some(event) = input.filled("event") else {
        input.check(&["name"], LENGTHS)?;
        let view = runners::create(&app, &caller, &change(&input)).await?;
        return Ok((StatusCode::CREATED, axum::Json(view.into())));
    };
    let unknown = || wrong_field("event", "Object with this number does not exist.");
    let id = event.parse().map(RunId).map_err(|_| unknown())?;
    let started = match runs::retry(&app, &caller, id).await {
        Err(error) if error.code == "not_found" => return Err(unknown()),
        started => started?,
    };
    let view = runners::by_uuid(&app, &caller, started.runner_uuid).await?;
    Ok((StatusCode::CREATED, axum::Json(view.into())))
}

async fn change_row(
    app: &App,
    caller: &Caller,
    id: RunnerId,
    input: &Input,
) -> Result<axum::Json<PortalJob>> {
    runners::get(app, caller, id).await?;
    input.check(&[], LENGTHS)?;
    runners::update(app, caller, id, &change(input)).await.map(PortalJob::from).map(axum::Json)
}

/// Changes the job that `id` or `name` names.
#[utoipa::path(patch, path = "/job", tag = "seed 002", params(PortalQuery),
    request_body(content((PortalJobForm = "application/json"), (PortalJobForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalJob), (status = 400, body = PortalError), (status = 404, body = PortalError), (status = 409, body = PortalError, description = "Several have this name")))]
pub async fn update_job(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<axum::Json<PortalJob>> {
    let id = find(&app, &caller, &input).await?;
    change_row(&app, &caller, id, &input).await
}

/// Deletes the job that `id` or `name` names; 409 while its event goes on, or where several have this name.
#[utoipa::path(delete, path = "/job", tag = "seed 002", params(PortalQuery),
    responses((status = 204, description = "It is gone"), (status = 400, body = PortalError), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn delete_job(State(app): State<App>, caller: Caller, input: Input) -> Result<StatusCode> {
    let id = find(&app, &caller, &input).await?;
    runners::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A job.
#[utoipa::path(get, path = "/job/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 200, body = PortalJob), (status = 404, body = PortalError)))]
pub async fn get_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<PortalJob>> {
    runners::get(&app, &caller, RunnerId(path_id(&id)?)).await.map(PortalJob::from).map(axum::Json)
}

/// Changes a job.
#[utoipa::path(patch, path = "/job/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    request_body(content((PortalJobForm = "application/json"), (PortalJobForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalJob), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn update_job_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    input: Input,
) -> Result<axum::Json<PortalJob>> {
    change_row(&app, &caller, RunnerId(path_id(&id)?), &input).await
}

/// Deletes a job; 409 while its event goes on.
#[utoipa::path(delete, path = "/job/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn delete_job_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    runners::delete(&app, &caller, RunnerId(path_id(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
