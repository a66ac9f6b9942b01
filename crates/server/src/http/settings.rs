//! `/api/v1/settings`: how the installation is set.

use axum::extract::State;
use wire::problem::Problem;
use wire::settings::{SettingSet, SettingView};

use super::extract::{Json, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::settings;
use crate::error::Result;

/// All settings with their values and where these come from (admin). Secrets are not shown.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings",
    responses((status = 200, body = Vec<SettingView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<axum::Json<Vec<SettingView>>> {
    settings::list(&app, &caller).await.map(axum::Json)
}

/// Chooses another value of a setting that has `choices` (admin). It holds at once, also after a restart, and wins over what the
/// server was started with.
#[utoipa::path(put, path = "/api/v1/settings/{name}", tag = "settings", params(("name" = String, Path, description = "Its name, such as `auth.registration`")), request_body = SettingSet,
    responses((status = 200, body = SettingView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It is read when the server starts", body = Problem), (status = 422, description = "It is none of the choices", body = Problem)))]
pub async fn set(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(wanted): Json<SettingSet>,
) -> Result<axum::Json<SettingView>> {
    settings::set(&app, &caller, &name, &wanted).await.map(axum::Json)
}

/// Takes such a choice back (admin): what the server was started with holds again.
#[utoipa::path(delete, path = "/api/v1/settings/{name}", tag = "settings", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, body = SettingView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It is read when the server starts", body = Problem)))]
pub async fn reset(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<SettingView>> {
    settings::reset(&app, &caller, &name).await.map(axum::Json)
}
