//! `/api/v1/builds`.

use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use wire::builds::{BuildView, LogChunk, OperationState};
use wire::ids::BuildId;
use wire::names::{ImageReference, RepoName};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{self, Fields, Params, Path};
use super::operation_log::{self, LogQuery};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::builds::{self, Filter, Source};
use crate::error::{Error, Result};

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BuildQuery {
    /// Only builds of this account; others than one's own for admins.
    account: Option<String>,
    /// Only builds in this state.
    #[param(value_type = Option<OperationState>)]
    state: Option<OperationState>,
    /// Only builds of this repository.
    #[param(value_type = Option<String>)]
    repo: Option<RepoName>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists builds, newest first: one's own, everybody's for an admin.
#[utoipa::path(get, path = "/api/v1/builds", tag = "builds", params(BuildQuery),
    responses((status = 200, body = Page<BuildView>), (status = 403, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<BuildQuery>,
) -> Result<axum::Json<Page<BuildView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let filter = Filter { account: query.account, state: query.state, repo: query.repo };
    builds::list(&app, &caller, &filter, page).await.map(axum::Json)
}

/// What to build.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CreateQuery {
    /// The image to make: `[owner/]repo[:tag]`; without an owner one's own, without a tag `latest`. A tag that exists is moved.
    #[param(example = "app:v1")]
    image: Option<String>,
    /// The Dockerfile's path in the archive; `Dockerfile` when not given.
    dockerfile: Option<String>,
}

/// An archive in a form; `image` and `dockerfile` may come along in it instead of in the query.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub struct BuildForm {
    /// A zip, tar or tar.gz.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// As in the query.
    image: Option<String>,
    /// As in the query.
    dockerfile: Option<String>,
}

/// Builds an image from an archive (zip, tar or tar.gz, recognised by its content), sent as the body or as `file` of a
/// form. Answered as soon as the build is queued for good.
#[utoipa::path(post, path = "/api/v1/builds", tag = "builds", params(CreateQuery),
    request_body(content((Vec<u8> = "application/octet-stream"), (BuildForm = "multipart/form-data"))),
    responses((status = 202, body = BuildView), (status = 400, body = Problem, description = "The upload broke off"), (status = 403, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem, description = "A bad name or archive; `code` says which"),
        (status = 429, body = Problem), (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<CreateQuery>,
    request: Request,
) -> Result<Response> {
    let limit = app.config.uploads.max_bytes;
    extract::check_length(request.headers(), limit)?;
    let is_form = extract::content_type(request.headers()) == "multipart/form-data";
    let (admission, dockerfile, upload) = if is_form {
        let mut fields = Fields::from_request(request, &app).await?;
        let image = query.image.as_deref().or(fields.optional("image"));
        let admission = builds::admit(&app, &caller, None, image_of(image)?).await?;
        let dockerfile = query.dockerfile.or_else(|| fields.optional("dockerfile").map(str::to_owned));
        (admission, dockerfile, fields.file().ok_or_else(no_file)?)
    } else {
        let admission = builds::admit(&app, &caller, None, image_of(query.image.as_deref())?).await?;
        (
            admission,
            query.dockerfile,
            extract::spool(&app, request.into_body().into_data_stream(), limit).await?,
        )
    };
    let dockerfile = dockerfile.filter(|path| !path.is_empty());
    let source = Source { dockerfile: dockerfile.as_deref(), upload };
    let view = builds::create(&app, &caller, admission, source).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/builds/{}", view.id)).map_err(Error::internal)?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(view)).into_response())
}

fn image_of(text: Option<&str>) -> Result<ImageReference> {
    let text = text.filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| {
        Error::invalid("image", "`image` is missing: name the image to make").hint("?image=app:v1")
    })?;
    text.parse().map_err(|error| Error { field: Some("image".into()), ..Error::from(error) })
}

/// The answer to a form without a file.
pub(super) fn no_file() -> Error {
    Error::invalid("file", "`file` is missing: send a zip, tar or tar.gz with a file name")
}

/// A build.
#[utoipa::path(get, path = "/api/v1/builds/{id}", tag = "builds", params(("id" = String, Path, description = "The build's id")),
    responses((status = 200, body = BuildView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BuildId>,
) -> Result<axum::Json<BuildView>> {
    builds::get(&app, &caller, id).await.map(axum::Json)
}

/// Gives a build up. A waiting one ends at once (200); a running one as soon as the engine has let go of it (202).
#[utoipa::path(post, path = "/api/v1/builds/{id}/cancel", tag = "builds", params(("id" = String, Path, description = "The build's id")),
    responses((status = 200, body = BuildView), (status = 202, body = BuildView, description = "It will end in a moment"),
        (status = 404, body = Problem), (status = 409, body = Problem, description = "It has ended already")))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BuildId>,
) -> Result<(StatusCode, axum::Json<BuildView>)> {
    let view = builds::cancel(&app, &caller, id).await?;
    let status = if view.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(view)))
}

/// A build's log: as text as far as it has come, or as an event stream that goes on. The stream has the events `log` (a
/// `LogChunk`; its id is the offset behind it, so that `Last-Event-ID` goes on there), `state` (the build, whenever it
/// has changed) and, at the end, `end` (the build in its final state).
#[utoipa::path(get, path = "/api/v1/builds/{id}/log", tag = "builds",
    params(("id" = String, Path, description = "The build's id"), LogQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Wins over `offset`")),
    responses((status = 200, content((String = "text/plain"), (LogChunk = "text/event-stream"))), (status = 404, body = Problem)))]
pub async fn log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BuildId>,
    Params(query): Params<LogQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let log = builds::log(&app, &caller, id).await?;
    Ok(operation_log::answer(&app, log, &query, &headers))
}
