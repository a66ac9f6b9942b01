//! `/api/v1/git-repos`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use store::filtered::{Filter, Wanted};
use utoipa::IntoParams;
use wire::git_repos::{GitRepoCreate, GitRepoTested, GitRepoUpdate, GitRepoView};
use wire::ids::GitRepoId;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::accounts::{self, Named};
use crate::domain::git_repos;
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GitRepoQuery {
    /// Only of this account; others than one's own for admins.
    account: Option<String>,
    /// Only the one of this name.
    repo_name: Option<String>,
    /// A text that name, address, branch, image or description contain.
    search: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists git repositories, newest first: one's own, everybody's for an admin.
#[utoipa::path(get, path = "/api/v1/git-repos", tag = "git-repos", params(GitRepoQuery),
    responses((status = 200, body = Page<GitRepoView>), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<GitRepoQuery>,
) -> Result<axum::Json<Page<GitRepoView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let account = match &query.account {
        Some(name) => Some(accounts::subject(&app, &caller, Some(Named::Account(name))).await?.account),
        None => None,
    };
    let search = query.search.filter(|text| !text.is_empty());
    let filter = Filter {
        account,
        wanted: query.repo_name.map(|name| ("repo_name", Wanted::Text(name))).into_iter().collect(),
        search: search.map(|text| (["repo_name", "url", "branch", "image", "description"].as_slice(), text)),
        order: Vec::new(),
        limit: Some(page.limit()),
        offset: page.offset(),
    };
    let found = git_repos::list(&app, &caller, filter).await?;
    let (limit, offset) = (page.limit(), page.offset());
    Ok(axum::Json(Page { data: found.rows, total: found.total, limit, offset }))
}

/// Adds a git repository. Secrets are sealed and never shown again.
#[utoipa::path(post, path = "/api/v1/git-repos", tag = "git-repos", request_body = GitRepoCreate,
    responses((status = 201, body = GitRepoView), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem, description = "`errors` has the sentences of each field")))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<GitRepoCreate>,
) -> Result<(StatusCode, axum::Json<GitRepoView>)> {
    let view = git_repos::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// A git repository.
#[utoipa::path(get, path = "/api/v1/git-repos/{id}", tag = "git-repos", params(("id" = i64, Path, description = "The repository's number")),
    responses((status = 200, body = GitRepoView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
) -> Result<axum::Json<GitRepoView>> {
    git_repos::get(&app, &caller, id).await.map(axum::Json)
}

/// Changes a git repository; what is absent stays.
#[utoipa::path(patch, path = "/api/v1/git-repos/{id}", tag = "git-repos", params(("id" = i64, Path, description = "The repository's number")), request_body = GitRepoUpdate,
    responses((status = 200, body = GitRepoView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
    Json(change): Json<GitRepoUpdate>,
) -> Result<axum::Json<GitRepoView>> {
    git_repos::update(&app, &caller, id, &change).await.map(axum::Json)
}

/// Deletes a git repository with its runs and their logs; images stay. 409 while a run goes on.
#[utoipa::path(delete, path = "/api/v1/git-repos/{id}", tag = "git-repos", params(("id" = i64, Path, description = "The repository's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<GitRepoId>) -> Result<StatusCode> {
    git_repos::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks whether the git server lets us in and which commit a run would build now; what is wrong is said in plain words.
#[utoipa::path(post, path = "/api/v1/git-repos/{id}/test", tag = "git-repos", params(("id" = i64, Path, description = "The repository's number")),
    responses((status = 200, body = GitRepoTested), (status = 404, body = Problem), (status = 422, body = Problem, description = "The address may not be reached"),
        (status = 502, body = Problem, description = "The git server refuses, is away, or has no such branch; `code` says which"), (status = 504, body = Problem)))]
pub async fn test(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
) -> Result<axum::Json<GitRepoTested>> {
    git_repos::test(&app, &caller, id).await.map(axum::Json)
}
