//! `/api/v1/volumes`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::ids::VolumeId;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::volumes::VolumeView;

use super::extract::{Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::volumes::{self, Filter};
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VolumeQuery {
    /// Every account's (admin).
    all: Option<bool>,
    /// This account's: the caller's own, or any for an admin.
    account: Option<String>,
    /// Only on this machine.
    machine: Option<String>,
    /// Only of this name.
    name: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists volumes, newest first, with the containers that have them: the caller's own; an admin may ask for others. A volume
/// is made when the first container asks for it.
#[utoipa::path(get, path = "/api/v1/volumes", tag = "volumes", params(VolumeQuery),
    responses((status = 200, body = Page<VolumeView>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<VolumeQuery>,
) -> Result<axum::Json<Page<VolumeView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let filter = Filter {
        is_all: query.all.unwrap_or(false),
        account: query.account,
        machine: query.machine,
        name: query.name,
    };
    volumes::list(&app, &caller, &filter, page).await.map(axum::Json)
}

/// One volume.
#[utoipa::path(get, path = "/api/v1/volumes/{id}", tag = "volumes", params(("id" = i64, Path, description = "The volume's number")),
    responses((status = 200, body = VolumeView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<VolumeId>,
) -> Result<axum::Json<VolumeView>> {
    volumes::get(&app, &caller, id).await.map(axum::Json)
}

/// Deletes a volume with everything in it, unless a container has it: then 409 `volume_in_use`, with `containers`. Its row is
/// gone when its machine has removed it.
#[utoipa::path(delete, path = "/api/v1/volumes/{id}", tag = "volumes", params(("id" = i64, Path, description = "The volume's number")),
    responses((status = 202, description = "It is being deleted", body = VolumeView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<VolumeId>,
) -> Result<(StatusCode, axum::Json<VolumeView>)> {
    let view = volumes::delete(&app, &caller, id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}
