//! `/api/v1/audit`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::audit::AuditView;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::Params;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::audit;
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only what this account did.
    actor: Option<String>,
    /// Only this action, such as `image.delete`.
    action: Option<String>,
    /// Only this target.
    target: Option<String>,
    /// Part of the action or the target.
    search: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Who changed what, newest first (admin).
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditView>), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<AuditQuery>,
) -> Result<axum::Json<Page<AuditView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let filter = audit::Filter {
        actor: query.actor,
        action: query.action,
        target: query.target,
        search: query.search,
    };
    audit::list(&app, &caller, filter, page).await.map(axum::Json)
}
