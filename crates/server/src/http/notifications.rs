//! `/api/v1/git-repos/{id}/notifications`.

use axum::extract::State;
use axum::http::StatusCode;
use wire::ids::{GitRepoId, NotificationTargetId};
use wire::notifications::{NotificationTargetCreate, NotificationTargetView};
use wire::problem::Problem;

use super::extract::{Json, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::notifications;
use crate::error::Result;

/// Who hears how a repository's runs end.
#[utoipa::path(get, path = "/api/v1/git-repos/{id}/notifications", tag = "notifications", params(("id" = i64, Path, description = "The repository's number")),
    responses((status = 200, body = Vec<NotificationTargetView>), (status = 404, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
) -> Result<axum::Json<Vec<NotificationTargetView>>> {
    notifications::list(&app, &caller, id).await.map(axum::Json)
}

/// Adds somebody to tell: a program by a signed webhook, or a group robot of 飞书, 钉钉 or 企业微信.
#[utoipa::path(post, path = "/api/v1/git-repos/{id}/notifications", tag = "notifications", params(("id" = i64, Path, description = "The repository's number")), request_body = NotificationTargetCreate,
    responses((status = 201, body = NotificationTargetView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
    Json(new): Json<NotificationTargetCreate>,
) -> Result<(StatusCode, axum::Json<NotificationTargetView>)> {
    let view = notifications::create(&app, &caller, id, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Tells somebody no more.
#[utoipa::path(delete, path = "/api/v1/git-repos/{id}/notifications/{target}", tag = "notifications",
    params(("id" = i64, Path, description = "The repository's number"), ("target" = i64, Path, description = "The target's number")),
    responses((status = 204, description = "It is gone"), (status = 404, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((id, target)): Path<(GitRepoId, NotificationTargetId)>,
) -> Result<StatusCode> {
    notifications::delete(&app, &caller, id, target).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a trial message; what is wrong is said in plain words.
#[utoipa::path(post, path = "/api/v1/git-repos/{id}/notifications/{target}/test", tag = "notifications",
    params(("id" = i64, Path, description = "The repository's number"), ("target" = i64, Path, description = "The target's number")),
    responses((status = 200, body = NotificationTargetView), (status = 404, body = Problem), (status = 422, body = Problem, description = "The address may not be reached, or there is no mail server"), (status = 429, body = Problem), (status = 502, body = Problem), (status = 504, body = Problem)))]
pub async fn test(
    State(app): State<App>,
    caller: Caller,
    Path((id, target)): Path<(GitRepoId, NotificationTargetId)>,
) -> Result<axum::Json<NotificationTargetView>> {
    notifications::test(&app, &caller, id, target).await.map(axum::Json)
}
