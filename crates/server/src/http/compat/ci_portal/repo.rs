//! `/repo/`: the seed's table `gitstat`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use store::PageOf;
use store::filtered::Wanted;
use utoipa::{IntoParams, ToSchema};
use wire::git_repos::{GitRepoCreate, GitRepoUpdate, GitRepoView};
use wire::ids::GitRepoId;
use wire::secret::Secret;
use wire::time::Timestamp;

use super::failure::PortalError;
use super::input::{Column, Input, Kind, Table, no_row, path_id, text};
use super::{masked, shown_time};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::accounts::{self, Named};
use crate::domain::git_repos;
use crate::error::{Error, Result};
use crate::http::extract::Path;

/// A row of the seed's table `gitstat`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalRepo {
    /// The row's number.
    id: GitRepoId,
    /// Its name, unique.
    repo_name: String,
    /// The address; a user and password in it show as `***`.
    #[schema(example = "https://***@bitbucket.org/8labteam/prometh_exporter.git")]
    repo: String,
    /// The branch (or tag, or commit) to build.
    branch: String,
    /// The images' tag.
    tag: String,
    /// The folder to build.
    build_path: String,
    /// The Dockerfile.
    dockerfile: String,
    /// The runner whose registry receives the images.
    job: String,
    /// A word of the owner's own.
    #[serde(rename = "type")]
    kind: String,
    /// Where images go.
    image: String,
    /// What it is.
    desc: String,
    /// When it was added, `%Y%m%d %H%M%S`.
    #[serde(rename = "Time")]
    time: String,
    /// The same as RFC 3339.
    #[serde(rename = "Time_iso")]
    time_iso: Timestamp,
    /// Whose it is.
    user: String,
    /// `***` when a certificate is kept.
    ca_secret: &'static str,
    /// A second name of the owner's own.
    name: String,
}

impl From<GitRepoView> for PortalRepo {
    fn from(view: GitRepoView) -> Self {
        Self {
            id: view.id,
            repo_name: view.repo_name,
            repo: view.url,
            branch: view.branch,
            tag: view.tag,
            build_path: view.build_path,
            dockerfile: view.dockerfile,
            job: view.job,
            kind: view.kind,
            image: view.image,
            desc: view.description,
            time: shown_time(view.created_at),
            time_iso: view.created_at,
            user: view.account.to_string(),
            ca_secret: masked(view.has_ca),
            name: view.name,
        }
    }
}

/// What to write into a row; names in any case.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct PortalRepoForm {
    /// Its name, unique; required when it is new.
    repo_name: Option<String>,
    /// The address, also with `user:password@`; required when it is new.
    repo: Option<String>,
    /// See the answer for this and the following ones.
    branch: Option<String>,
    tag: Option<String>,
    build_path: Option<String>,
    dockerfile: Option<String>,
    job: Option<String>,
    r#type: Option<String>,
    image: Option<String>,
    desc: Option<String>,
    /// One's own name; another one for admins.
    user: Option<String>,
    ca_secret: Option<String>,
    name: Option<String>,
}

/// Which rows. Any column of the table filters by equality besides.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct PortalQuery {
    /// Only the row with this number (as an array); for PATCH and DELETE: which row.
    id: Option<i64>,
    /// A text that one of the columns contains.
    search: Option<String>,
    /// Columns to order by, with `-` for the greatest first; `-id` when not given.
    ordering: Option<String>,
    /// The page, from 1; the answer then is `{count, next, previous, results}`.
    page: Option<u64>,
    /// Rows of a page.
    page_size: Option<u64>,
    /// Rows at most, instead of pages.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

const TABLE: Table = Table {
    columns: &[
        Column { seed: "id", store: "id", kind: Kind::Number },
        text("repo_name", "repo_name"),
        Column { seed: "repo", store: "url", kind: Kind::Url },
        text("branch", "branch"),
        text("tag", "tag"),
        text("build_path", "build_path"),
        text("dockerfile", "dockerfile"),
        text("job", "job"),
        text("type", "kind"),
        text("image", "image"),
        text("desc", "description"),
        Column { seed: "Time", store: "created_at", kind: Kind::Time },
        Column { seed: "Time_iso", store: "created_at", kind: Kind::TimeIso },
        text("name", "name"),
        Column { seed: "ca_secret", store: "ca_secret", kind: Kind::Secret },
    ],
    search: &["repo_name", "url", "branch", "tag", "image", "description", "name"],
};

const LENGTHS: &[(&str, usize)] = &[
    ("repo_name", 150),
    ("repo", 200),
    ("branch", 150),
    ("tag", 100),
    ("build_path", 150),
    ("dockerfile", 150),
    ("job", 100),
    ("type", 20),
    ("image", 150),
    ("desc", 200),
    ("user", 50),
    ("name", 50),
];

async fn find(app: &App, caller: &Caller, input: &Input) -> Result<GitRepoId> {
    if let Some(id) = input.id()? {
        return Ok(GitRepoId(id));
    }
    let name = input.filled("repo_name").ok_or_else(no_row)?;
    git_repos::by_name(app, caller, name).await
}

fn change(input: &Input) -> GitRepoUpdate {
    GitRepoUpdate {
        repo_name: input.owned("repo_name"),
        url: input.given("repo").map(Secret::new),
        branch: input.owned("branch"),
        tag: input.owned("tag"),
        build_path: input.owned("build_path"),
        dockerfile: input.owned("dockerfile"),
        image: input.owned("image"),
        job: input.owned("job"),
        kind: input.owned("type"),
        name: input.owned("name"),
        description: input.owned("desc"),
        ca_secret: input.given("ca_secret").map(Secret::new),
        ..GitRepoUpdate::default()
    }
}

/// Lists repositories, newest first: a bare array, or a page when one is asked for.
#[utoipa::path(get, path = "/repo", tag = "seed 002", params(PortalQuery),
    responses((status = 200, body = Vec<PortalRepo>), (status = 400, body = PortalError), (status = 404, body = PortalError)))]
pub async fn list_repos(State(app): State<App>, caller: Caller, input: Input) -> Result<Response> {
    let mut filter = input.filter(TABLE)?;
    if let Some(user) = input.filled("user") {
        let subject = accounts::subject(&app, &caller, Some(Named::Account(user))).await;
        match subject {
            Ok(subject) => filter.account = Some(subject.account),
            // Somebody else's rows are none, like those of nobody.
            Err(_) => filter.wanted.push(("id", Wanted::Number(-1))),
        }
    }
    let found = git_repos::list(&app, &caller, filter).await?;
    let rows: Vec<PortalRepo> = found.rows.into_iter().map(PortalRepo::from).collect();
    input.rows(PageOf { rows, total: found.total })
}

/// Adds a repository.
#[utoipa::path(post, path = "/repo", tag = "seed 002",
    request_body(content((PortalRepoForm = "application/json"), (PortalRepoForm = "application/x-www-form-urlencoded"), (PortalRepoForm = "multipart/form-data"))),
    responses((status = 201, body = PortalRepo), (status = 400, body = PortalError), (status = 403, body = PortalError), (status = 409, body = PortalError)))]
pub async fn create_repo(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<(StatusCode, axum::Json<PortalRepo>)> {
    // Rights before anything else: what is wrong with somebody else's row is not ours to say.
    accounts::subject(&app, &caller, input.filled("user").map(Named::Account)).await?;
    input.check(&["repo_name", "repo"], LENGTHS)?;
    let change = change(&input);
    let text = |value: Option<String>| value.unwrap_or_default();
    let new = GitRepoCreate {
        account: input.filled("user").map(str::to_owned),
        repo_name: text(change.repo_name),
        url: change.url,
        branch: text(change.branch),
        tag: text(change.tag),
        build_path: text(change.build_path),
        dockerfile: text(change.dockerfile),
        image: text(change.image),
        job: text(change.job),
        kind: text(change.kind),
        name: text(change.name),
        description: text(change.description),
        ca_secret: change.ca_secret,
        ..GitRepoCreate::default()
    };
    let view = git_repos::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(view.into())))
}

async fn change_row(
    app: &App,
    caller: &Caller,
    id: GitRepoId,
    input: &Input,
) -> Result<axum::Json<PortalRepo>> {
    // The row first: whose it is not learns nothing else.
    let row = git_repos::get(app, caller, id).await?;
    if let Some(user) = input.filled("user")
        && !user.eq_ignore_ascii_case(row.account.as_str())
    {
        return Err(Error::forbidden("not_yours", "a repository stays with the user who added it"));
    }
    for name in ["repo_name", "repo"] {
        if input.given(name) == Some("") {
            return Err(super::input::wrong_field(name, "This field may not be blank."));
        }
    }
    input.check(&[], LENGTHS)?;
    git_repos::update(app, caller, id, &change(input)).await.map(PortalRepo::from).map(axum::Json)
}

/// Changes the repository that `id` or `repo_name` names.
#[utoipa::path(patch, path = "/repo", tag = "seed 002", params(PortalQuery),
    request_body(content((PortalRepoForm = "application/json"), (PortalRepoForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalRepo), (status = 400, body = PortalError), (status = 403, body = PortalError), (status = 404, body = PortalError)))]
pub async fn update_repo(
    State(app): State<App>,
    caller: Caller,
    input: Input,
) -> Result<axum::Json<PortalRepo>> {
    let id = find(&app, &caller, &input).await?;
    change_row(&app, &caller, id, &input).await
}

/// Deletes the repository that `id` or `repo_name` names, with its events, jobs and log; 409 while a run goes on.
#[utoipa::path(delete, path = "/repo", tag = "seed 002", params(PortalQuery),
    responses((status = 204, description = "It is gone"), (status = 400, body = PortalError), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn delete_repo(State(app): State<App>, caller: Caller, input: Input) -> Result<StatusCode> {
    let id = find(&app, &caller, &input).await?;
    git_repos::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A repository.
#[utoipa::path(get, path = "/repo/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 200, body = PortalRepo), (status = 404, body = PortalError)))]
pub async fn get_repo(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<PortalRepo>> {
    let id = GitRepoId(path_id(&id)?);
    git_repos::get(&app, &caller, id).await.map(PortalRepo::from).map(axum::Json)
}

/// Changes a repository.
#[utoipa::path(patch, path = "/repo/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    request_body(content((PortalRepoForm = "application/json"), (PortalRepoForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = PortalRepo), (status = 400, body = PortalError), (status = 403, body = PortalError), (status = 404, body = PortalError)))]
pub async fn update_repo_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    input: Input,
) -> Result<axum::Json<PortalRepo>> {
    change_row(&app, &caller, GitRepoId(path_id(&id)?), &input).await
}

/// Deletes a repository with its events, jobs and log; 409 while a run goes on.
#[utoipa::path(delete, path = "/repo/{id}", tag = "seed 002", params(("id" = i64, Path, description = "The row's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = PortalError), (status = 409, body = PortalError)))]
pub async fn delete_repo_by_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    git_repos::delete(&app, &caller, GitRepoId(path_id(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
