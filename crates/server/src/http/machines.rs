//! `/api/v1/machines`.

use axum::extract::State;
use axum::http::StatusCode;
use wire::machines::{MachineDeleted, MachineUpdate, MachineView};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::machines;
use crate::error::Result;

/// Lists machines.
#[utoipa::path(get, path = "/api/v1/machines", tag = "machines", params(PageQuery),
    responses((status = 200, body = Page<MachineView>), (status = 401, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<MachineView>>> {
    machines::list(&app, &caller, page).await.map(axum::Json)
}

/// One machine.
#[utoipa::path(get, path = "/api/v1/machines/{id}", tag = "machines", params(("id" = String, Path, description = "The machine's id")),
    responses((status = 200, body = MachineView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<MachineView>> {
    machines::get(&app, &caller, &id).await.map(axum::Json)
}

/// Takes a machine out of the choice for new containers and builds, or puts it back (admin).
#[utoipa::path(patch, path = "/api/v1/machines/{id}", tag = "machines", params(("id" = String, Path, description = "The machine's id")), request_body = MachineUpdate,
    responses((status = 200, body = MachineView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(change): Json<MachineUpdate>,
) -> Result<axum::Json<MachineView>> {
    machines::update(&app, &caller, &id, &change).await.map(axum::Json)
}

/// Forgets a machine's key, so that it or another with its id can join anew (admin). What runs there goes on.
#[utoipa::path(post, path = "/api/v1/machines/{id}/release", tag = "machines", params(("id" = String, Path, description = "The machine's id")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn release(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode> {
    machines::release(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a machine without containers; the answer says what stays on it (admin).
#[utoipa::path(delete, path = "/api/v1/machines/{id}", tag = "machines", params(("id" = String, Path, description = "The machine's id")),
    responses((status = 200, body = MachineDeleted), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "Containers are on it", body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<MachineDeleted>> {
    machines::delete(&app, &caller, &id).await.map(axum::Json)
}
