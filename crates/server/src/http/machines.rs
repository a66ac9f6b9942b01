//! `/api/v1/machines`.

use axum::extract::State;
use wire::machines::MachineView;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::machines;
use crate::error::Result;

/// Lists machines; their addresses are shown to admins only.
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
