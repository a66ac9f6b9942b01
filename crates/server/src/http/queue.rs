//! `/api/v1/queue`.

use axum::extract::State;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::queue::QueueView;

use super::extract::Params;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::leases;
use crate::error::Result;

/// The line of those who wait, first come first. Everybody sees how long it is and what is asked for; who waits is shown to that
/// account and to admins.
#[utoipa::path(get, path = "/api/v1/queue", tag = "queue", params(PageQuery),
    responses((status = 200, body = Page<QueueView>), (status = 401, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<axum::Json<Page<QueueView>>> {
    leases::queue(&app, &caller, page).await.map(axum::Json)
}
