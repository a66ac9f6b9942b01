//! `/api/v1/images` and `/api/v1/repositories`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::ids::ImageId;
use wire::images::{Dependents, ImageTag, ImageTree, ImageUpdate, ImageView, RepositoryView};
use wire::machine_images::MachineImageView;
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::{image_tree, images, machine_images};
use crate::error::{Error, Result};

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImageQuery {
    /// Only this account's own; somebody else's for admins.
    account: Option<String>,
    /// Only of this owner: an account's name, or `public`.
    owner: Option<String>,
    /// Only of this repository.
    repo: Option<String>,
    /// Part of the name or of the name to show.
    search: Option<String>,
    /// Also images whose tag has moved to a newer image.
    #[serde(default)]
    untagged: bool,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

fn parsed<T: std::str::FromStr<Err = wire::names::NameError>>(
    field: &str,
    text: Option<&str>,
) -> Result<Option<T>> {
    let parsed = text.filter(|text| !text.is_empty()).map(str::parse).transpose();
    parsed.map_err(|error| Error { field: Some(field.to_owned()), ..Error::from(error) })
}

/// Lists images, newest first: one's own and the public ones; for admins all.
#[utoipa::path(get, path = "/api/v1/images", tag = "images", params(ImageQuery),
    responses((status = 200, body = Page<ImageView>), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ImageQuery>,
) -> Result<axum::Json<Page<ImageView>>> {
    let filter = images::Filter {
        owner: parsed("owner", query.owner.as_deref())?,
        repo: parsed("repo", query.repo.as_deref())?,
        account: query.account,
        search: query.search,
        untagged: query.untagged,
    };
    let page = PageQuery { limit: query.limit, offset: query.offset };
    images::list(&app, &caller, filter, page).await.map(axum::Json)
}

/// One image.
#[utoipa::path(get, path = "/api/v1/images/{id}", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    responses((status = 200, body = ImageView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ImageId>,
) -> Result<axum::Json<ImageView>> {
    images::get(&app, &caller, id).await.map(axum::Json)
}

/// Changes the name to show and the description.
#[utoipa::path(patch, path = "/api/v1/images/{id}", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    request_body = ImageUpdate,
    responses((status = 200, body = ImageView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ImageId>,
    Json(change): Json<ImageUpdate>,
) -> Result<axum::Json<ImageView>> {
    images::update(&app, &caller, id, &change).await.map(axum::Json)
}

/// Deletes an image, unless images or containers depend on it: then 409 `has_dependents`, with `dependents`.
#[utoipa::path(delete, path = "/api/v1/images/{id}", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<ImageId>) -> Result<StatusCode> {
    images::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an image another name without moving its content; a tag that exists is moved.
#[utoipa::path(post, path = "/api/v1/images/{id}/tags", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    request_body = ImageTag,
    responses((status = 201, body = ImageView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn tag(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ImageId>,
    Json(wanted): Json<ImageTag>,
) -> Result<(StatusCode, axum::Json<ImageView>)> {
    let view = images::tag(&app, &caller, id, &wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// What still needs an image.
#[utoipa::path(get, path = "/api/v1/images/{id}/dependents", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    responses((status = 200, body = Dependents), (status = 404, body = Problem)))]
pub async fn dependents(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ImageId>,
) -> Result<axum::Json<Dependents>> {
    images::dependents(&app, &caller, id).await.map(axum::Json)
}

/// An image's family: what it was made from, and what was made from it, with its containers.
#[utoipa::path(get, path = "/api/v1/images/{id}/tree", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    responses((status = 200, body = ImageTree), (status = 404, body = Problem)))]
pub async fn tree(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ImageId>,
) -> Result<axum::Json<ImageTree>> {
    image_tree::tree(&app, &caller, id).await.map(axum::Json)
}

/// The machines that hold an image, and those that an admin wants it on.
#[utoipa::path(get, path = "/api/v1/images/{id}/machines", tag = "images", params(("id" = i64, Path, description = "The image's number")),
    responses((status = 200, body = Page<MachineImageView>), (status = 404, body = Problem)))]
pub async fn machines(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ImageId>,
) -> Result<axum::Json<Page<MachineImageView>>> {
    machine_images::list(&app, &caller, id).await.map(axum::Json)
}

/// Has a machine fetch an image before somebody needs it (admin). Doing it again changes nothing, but tries again what failed.
#[utoipa::path(put, path = "/api/v1/images/{id}/machines/{machine}", tag = "images",
    params(("id" = i64, Path, description = "The image's number"), ("machine" = String, Path, description = "The machine's id")),
    responses((status = 202, body = MachineImageView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn prefetch(
    State(app): State<App>,
    caller: Caller,
    Path((id, machine)): Path<(ImageId, String)>,
) -> Result<(StatusCode, axum::Json<MachineImageView>)> {
    let view = machine_images::prefetch(&app, &caller, id, &machine).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Which repositories.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RepositoryQuery {
    /// Only this account's own; somebody else's for admins.
    account: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists repositories by name: one's own and the public ones; for admins all.
#[utoipa::path(get, path = "/api/v1/repositories", tag = "images", params(RepositoryQuery),
    responses((status = 200, body = Page<RepositoryView>), (status = 403, body = Problem)))]
pub async fn repositories(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<RepositoryQuery>,
) -> Result<axum::Json<Page<RepositoryView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    images::repositories(&app, &caller, query.account.as_deref(), page).await.map(axum::Json)
}
