//! `/api/v1/gpus`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::gpus::GpuView;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::Params;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::gpus;
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GpuQuery {
    /// Only on this machine.
    machine: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists the graphics processors of all machines: what they are, what they do, and whether they can be had. Who uses
/// one is shown to that account and to admins.
#[utoipa::path(get, path = "/api/v1/gpus", tag = "gpus", params(GpuQuery),
    responses((status = 200, body = Page<GpuView>), (status = 401, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<GpuQuery>,
) -> Result<axum::Json<Page<GpuView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    gpus::list(&app, &caller, query.machine.as_deref(), page).await.map(axum::Json)
}
