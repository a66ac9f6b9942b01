//! `/api/v1/git-repos/{id}/secrets`.

use axum::extract::State;
use axum::http::StatusCode;
use wire::git_repo_secrets::{GitRepoSecretSet, GitRepoSecretView};
use wire::ids::GitRepoId;
use wire::problem::Problem;

use super::extract::{Json, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::git_repo_secrets;
use crate::error::Result;

/// The names of what the builds of a repository may read; values are never shown.
#[utoipa::path(get, path = "/api/v1/git-repos/{id}/secrets", tag = "git-repo-secrets", params(("id" = i64, Path, description = "The repository's number")),
    responses((status = 200, body = Vec<GitRepoSecretView>), (status = 404, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
) -> Result<axum::Json<Vec<GitRepoSecretView>>> {
    git_repo_secrets::list(&app, &caller, id).await.map(axum::Json)
}

/// Gives a secret its value. A step of a build in a cluster reads it with `RUN --mount=type=secret,id=NAME`; it is in no image, no log and no
/// object of the cluster.
#[utoipa::path(put, path = "/api/v1/git-repos/{id}/secrets/{name}", tag = "git-repo-secrets",
    params(("id" = i64, Path, description = "The repository's number"), ("name" = String, Path, description = "The secret's name")),
    request_body = GitRepoSecretSet,
    responses((status = 200, body = GitRepoSecretView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn set(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(GitRepoId, String)>,
    Json(new): Json<GitRepoSecretSet>,
) -> Result<axum::Json<GitRepoSecretView>> {
    git_repo_secrets::set(&app, &caller, id, &name.parse()?, &new).await.map(axum::Json)
}

/// Forgets a secret.
#[utoipa::path(delete, path = "/api/v1/git-repos/{id}/secrets/{name}", tag = "git-repo-secrets",
    params(("id" = i64, Path, description = "The repository's number"), ("name" = String, Path, description = "The secret's name")),
    responses((status = 204, description = "It is gone"), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(GitRepoId, String)>,
) -> Result<StatusCode> {
    git_repo_secrets::delete(&app, &caller, id, &name.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
