//! `/api/v1/invites`, and `/api/v1/machines/join`, where they are used.

use axum::extract::State;
use axum::http::StatusCode;
use wire::ids::InviteId;
use wire::invites::{InviteCreate, InviteCreated, InviteView, JoinRequest, Joined};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use super::request::RequestContext;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::invites;
use crate::error::Result;

/// Lists the invitations for machines that were not used yet, without their secrets (admin).
#[utoipa::path(get, path = "/api/v1/invites", tag = "invites", params(PageQuery),
    responses((status = 200, body = Page<InviteView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<InviteView>>> {
    invites::list(&app, &caller, page).await.map(axum::Json)
}

/// Invites one machine (admin); the token is in this answer only.
#[utoipa::path(post, path = "/api/v1/invites", tag = "invites", request_body = InviteCreate,
    responses((status = 201, body = InviteCreated), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<InviteCreate>,
) -> Result<(StatusCode, axum::Json<InviteCreated>)> {
    let created = invites::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Takes an invitation back (admin).
#[utoipa::path(delete, path = "/api/v1/invites/{id}", tag = "invites", params(("id" = String, Path, description = "The invitation's id")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<InviteId>) -> Result<StatusCode> {
    invites::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Uses an invitation: binds the machine's id to the key by which its agent proves itself from now on. The invitation is
/// the proof; no account is needed.
#[utoipa::path(post, path = "/api/v1/machines/join", tag = "machines", security(("secret" = [])), request_body = JoinRequest,
    responses((status = 200, body = Joined), (status = 401, description = "The invitation is not valid", body = Problem),
        (status = 409, description = "The machine or the key is another's", body = Problem), (status = 422, body = Problem)))]
pub async fn join(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    Json(request): Json<JoinRequest>,
) -> Result<axum::Json<Joined>> {
    invites::join(&app, &context, &request).await.map(axum::Json)
}
