//! `/image/…` and `/images/…`, which are aliases of each other.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use wire::builds::OperationState;
use wire::ids::{BuildId, ImageId};
use wire::images::{ImageState, ImageTag, ImageView};
use wire::names::{Digest, ImageName, ImageReference, RepoName, Tag};
use wire::page::{MAX_LIMIT, PageQuery};
use wire::problem::Problem;
use wire::time::Timestamp;

use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::domain::accounts::{self, Named};
use crate::domain::builds::{self, Source};
use crate::domain::images;
use crate::error::{Error, Result};
use crate::http::builds::no_file;
use crate::http::extract::Fields;

/// An archive and the name of the image to make.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct UploadForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// The repository, without the owner.
    repo: String,
    /// The tag; one that exists is moved to the new image.
    tag: String,
    /// A zip (or tar, or tar.gz) with a Dockerfile at its root or in its only top-level folder.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// `false`: answer when the build is queued instead of when it has ended.
    wait: Option<bool>,
    /// The Dockerfile's path in the archive.
    dockerfile: Option<String>,
}

/// What was built.
#[derive(Debug, Serialize, ToSchema)]
pub struct Uploaded {
    /// `owner/repo:tag`.
    #[schema(value_type = String)]
    image: ImageName,
    /// The manifest's digest; absent while the build waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// The build.
    build_id: BuildId,
    /// Compressed size in bytes; absent while the build waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Where the build is.
    state: OperationState,
}

/// An image as seed 000's table has it, and what else there is to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserImage {
    /// The image's number.
    id: ImageId,
    /// Whose it is.
    user_name: String,
    /// The repository.
    image_repo: RepoName,
    /// The tag.
    image_tag: Tag,
    /// `owner/repo:tag`.
    image: String,
    /// The name to pull, with this registry's address.
    pull: String,
    /// The manifest's digest.
    digest: Digest,
    /// Compressed size in bytes.
    size: u64,
    /// Whether it can be used.
    state: ImageState,
    /// When it was made.
    created_at: Timestamp,
}

/// Whose repositories, and optionally which page of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct ListParams {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// Only images of this repository (not for `list_all_my_repo`).
    repo: Option<String>,
    /// Rows at most; all when not given.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Another name for an image.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct TagForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// The image's repository.
    oldrepo: String,
    /// The image's tag.
    oldtag: String,
    /// The new repository.
    newrepo: String,
    /// The new tag; one that exists is moved.
    newtag: String,
}

/// Which image.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct ImageForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// The repository.
    repo: String,
    /// The tag.
    tag: String,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// `owner/repo:tag`.
    #[schema(value_type = String)]
    image: ImageName,
    /// Always true.
    deleted: bool,
}

async fn subject(app: &App, caller: &Caller, fields: &Fields) -> Result<Subject> {
    accounts::subject(app, caller, fields.optional("username").map(Named::Account)).await
}

pub(super) fn part<T: std::str::FromStr<Err = wire::names::NameError>>(
    fields: &Fields,
    name: &str,
) -> Result<T> {
    fields
        .required(name)?
        .parse()
        .map_err(|error| Error { field: Some(name.to_owned()), ..Error::from(error) })
}

/// The image that two parameters name; the owner is the subject.
fn image_name(subject: &Subject, fields: &Fields, repo: &str, tag: &str) -> Result<ImageName> {
    Ok(ImageName { owner: subject.owner(), repo: part(fields, repo)?, tag: part(fields, tag)? })
}

fn switch(fields: &Fields, name: &str, default: bool) -> Result<bool> {
    match fields.optional(name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(default),
        Some("true" | "1" | "yes" | "on") => Ok(true),
        Some("false" | "0" | "no" | "off") => Ok(false),
        Some(_) => Err(Error::invalid(name, format!("`{name}` is `true` or `false`"))),
    }
}

async fn do_upload(app: &App, caller: &Caller, mut fields: Fields) -> Result<Response> {
    let subject = subject(app, caller, &fields).await?;
    let reference = ImageReference { owner: None, repo: part(&fields, "repo")?, tag: part(&fields, "tag")? };
    let waits = switch(&fields, "wait", true)?;
    let admission = builds::admit(app, caller, Some(subject), reference).await?;
    let upload = fields.file().ok_or_else(no_file)?;
    let source = Source { dockerfile: fields.optional("dockerfile"), upload };
    if !waits {
        let build = builds::create(app, caller, admission, source).await?;
        let uploaded =
            Uploaded { image: build.image, digest: None, build_id: build.id, size: None, state: build.state };
        return Ok((StatusCode::ACCEPTED, axum::Json(uploaded)).into_response());
    }
    let build = builds::create_and_wait(app, caller, admission, source).await?;
    if build.state != OperationState::Succeeded {
        return Err(builds::failure(app, &build).await);
    }
    let uploaded = Uploaded {
        image: build.image,
        digest: build.digest,
        build_id: build.id,
        size: build.size_bytes,
        state: build.state,
    };
    Ok(axum::Json(uploaded).into_response())
}

/// Uploads a zip with a Dockerfile, builds it and pushes the image. Answers when the build has ended: 200, or 422 with
/// the failing step and the end of the log; with `wait=false` at once: 202.
#[utoipa::path(post, path = "/image/upload_image", tag = "seed 000",
    request_body(content((UploadForm = "multipart/form-data"))),
    responses((status = 200, body = Uploaded), (status = 202, body = Uploaded), (status = 403, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem, description = "A bad archive, or the build failed: `reason`, `step`, `step_text`, `log_tail`, `build_id`"),
        (status = 429, body = Problem), (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn upload_image(State(app): State<App>, caller: Caller, fields: Fields) -> Result<Response> {
    do_upload(&app, &caller, fields).await
}

/// Alias of `/image/upload_image`.
#[utoipa::path(post, path = "/images/upload_image", tag = "seed 000",
    request_body(content((UploadForm = "multipart/form-data"))),
    responses((status = 200, body = Uploaded), (status = 202, body = Uploaded), (status = 403, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn upload_image_alias(State(app): State<App>, caller: Caller, fields: Fields) -> Result<Response> {
    do_upload(&app, &caller, fields).await
}

/// A page only when the caller asks for one: this seed knows no paging.
fn page(fields: &Fields) -> Result<Option<PageQuery>> {
    let (limit, offset) = (fields.number("limit")?, fields.number("offset")?);
    Ok((limit.is_some() || offset.is_some())
        .then_some(PageQuery { limit: limit.or(Some(MAX_LIMIT)), offset }))
}

async fn do_list_repos(app: &App, caller: &Caller, fields: &Fields) -> Result<axum::Json<Vec<RepoName>>> {
    let subject = subject(app, caller, fields).await?;
    let found = images::repositories_of(app, &subject, page(fields)?).await?;
    Ok(axum::Json(found.into_iter().map(|row| row.repo).collect()))
}

async fn do_list_images(app: &App, caller: &Caller, fields: &Fields) -> Result<axum::Json<Vec<UserImage>>> {
    let subject = subject(app, caller, fields).await?;
    let repo: Option<RepoName> = fields.optional("repo").map(|_| part(fields, "repo")).transpose()?;
    let found = images::list_of(app, &subject, repo.as_ref(), page(fields)?).await?;
    Ok(axum::Json(found.into_iter().filter_map(user_image).collect()))
}

/// A row of the seed's table; an image whose tag has moved on is none.
fn user_image(image: ImageView) -> Option<UserImage> {
    Some(UserImage {
        id: image.id,
        user_name: image.owner.to_string(),
        image_repo: image.repo,
        image_tag: image.tag?,
        image: image.name,
        pull: image.pull,
        digest: image.digest,
        size: image.size_bytes,
        state: image.state,
        created_at: image.created_at,
    })
}

async fn do_tag(app: &App, caller: &Caller, fields: &Fields) -> Result<axum::Json<UserImage>> {
    let subject = subject(app, caller, fields).await?;
    let old = image_name(&subject, fields, "oldrepo", "oldtag")?;
    let new = image_name(&subject, fields, "newrepo", "newtag")?;
    let found = images::by_name(app, caller, &old).await?;
    let tagged = images::tag(app, caller, found.id, &ImageTag { name: new }).await?;
    user_image(tagged).map(axum::Json).ok_or_else(|| Error::internal("an image that was tagged has no tag"))
}

async fn do_delete(app: &App, caller: &Caller, fields: &Fields) -> Result<axum::Json<Deleted>> {
    let subject = subject(app, caller, fields).await?;
    let name = image_name(&subject, fields, "repo", "tag")?;
    images::delete_by_name(app, caller, &name).await?;
    Ok(axum::Json(Deleted { image: name, deleted: true }))
}

/// The names of all repositories of an account.
#[utoipa::path(method(get, post), path = "/image/list_all_my_repo", tag = "seed 000", params(ListParams),
    responses((status = 200, body = Vec<String>), (status = 403, body = Problem)))]
pub async fn list_all_my_repo(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<RepoName>>> {
    do_list_repos(&app, &caller, &fields).await
}

/// Alias of `/image/list_all_my_repo`.
#[utoipa::path(method(get, post), path = "/images/list_all_my_repo", tag = "seed 000", params(ListParams),
    responses((status = 200, body = Vec<String>), (status = 403, body = Problem)))]
pub async fn list_all_my_repo_alias(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<RepoName>>> {
    do_list_repos(&app, &caller, &fields).await
}

/// All images of an account, or of one of its repositories, newest first.
#[utoipa::path(method(get, post), path = "/image/list_all_my_images", tag = "seed 000", params(ListParams),
    responses((status = 200, body = Vec<UserImage>), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn list_all_my_images(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<UserImage>>> {
    do_list_images(&app, &caller, &fields).await
}

/// Alias of `/image/list_all_my_images`.
#[utoipa::path(method(get, post), path = "/images/list_all_my_images", tag = "seed 000", params(ListParams),
    responses((status = 200, body = Vec<UserImage>), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn list_all_my_images_alias(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<UserImage>>> {
    do_list_images(&app, &caller, &fields).await
}

/// Gives an image another name, as `docker tag` does, in the registry: nothing is uploaded again.
#[utoipa::path(post, path = "/images/tag_image", tag = "seed 000",
    request_body(content((TagForm = "application/json"), (TagForm = "application/x-www-form-urlencoded"), (TagForm = "multipart/form-data"))),
    responses((status = 200, body = UserImage), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn tag_image(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<UserImage>> {
    do_tag(&app, &caller, &fields).await
}

/// Alias of `/images/tag_image`.
#[utoipa::path(post, path = "/image/tag_image", tag = "seed 000",
    request_body(content((TagForm = "application/json"), (TagForm = "application/x-www-form-urlencoded"), (TagForm = "multipart/form-data"))),
    responses((status = 200, body = UserImage), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn tag_image_alias(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<UserImage>> {
    do_tag(&app, &caller, &fields).await
}

/// Deletes an image, unless other images or containers depend on it: then 409, with a list of them.
#[utoipa::path(post, path = "/images/delete_image", tag = "seed 000",
    request_body(content((ImageForm = "application/json"), (ImageForm = "application/x-www-form-urlencoded"), (ImageForm = "multipart/form-data"))),
    responses((status = 200, body = Deleted), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete_image(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Deleted>> {
    do_delete(&app, &caller, &fields).await
}

/// Alias of `/images/delete_image`.
#[utoipa::path(post, path = "/image/delete_image", tag = "seed 000",
    request_body(content((ImageForm = "application/json"), (ImageForm = "application/x-www-form-urlencoded"), (ImageForm = "multipart/form-data"))),
    responses((status = 200, body = Deleted), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete_image_alias(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Deleted>> {
    do_delete(&app, &caller, &fields).await
}
