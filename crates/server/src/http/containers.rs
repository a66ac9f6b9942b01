//! `/api/v1/containers`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::containers::{ContainerCreate, ContainerState, ContainerView};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;

use super::extract::{Json, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::containers::{self, Filter, LogOptions};
use crate::error::Result;

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ContainerQuery {
    /// Every account's (admin).
    all: Option<bool>,
    /// This account's: the caller's own, or any for an admin.
    account: Option<String>,
    /// Only in this state.
    state: Option<ContainerState>,
    /// Only on this machine.
    machine: Option<String>,
    /// Only of this image: its number, or `[owner/]repo[:tag]`.
    image: Option<String>,
    /// Part of the name, the shown name or the image's name.
    search: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists containers, newest first: the caller's own; an admin may ask for others.
#[utoipa::path(get, path = "/api/v1/containers", tag = "containers", params(ContainerQuery),
    responses((status = 200, body = Page<ContainerView>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ContainerQuery>,
) -> Result<axum::Json<Page<ContainerView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let filter = Filter {
        is_all: query.all.unwrap_or(false),
        account: query.account,
        state: query.state,
        machine: query.machine,
        image: query.image,
        search: query.search,
    };
    containers::list(&app, &caller, &filter, page).await.map(axum::Json)
}

/// Makes a container and starts it. It is accepted at once in the state `pending`; its `state` tells what becomes of it.
/// These options are all there are: anything else is refused.
#[utoipa::path(post, path = "/api/v1/containers", tag = "containers", request_body = ContainerCreate,
    responses((status = 201, body = ContainerView), (status = 401, body = Problem), (status = 404, description = "No such image", body = Problem),
        (status = 409, description = "The name or a port is taken, the machine is offline, or the account has too many", body = Problem),
        (status = 422, description = "Not allowed; `violations` lists all that is wrong", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<ContainerCreate>,
) -> Result<(StatusCode, axum::Json<ContainerView>)> {
    let view = containers::create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// One container.
#[utoipa::path(get, path = "/api/v1/containers/{id}", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 200, body = ContainerView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<ContainerView>> {
    containers::get(&app, &caller, &id).await.map(axum::Json)
}

/// Deletes a container with its disk. Its row is gone when the machine has removed it.
#[utoipa::path(delete, path = "/api/v1/containers/{id}", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 202, description = "It is being deleted", body = ContainerView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<ContainerView>)> {
    let view = containers::delete(&app, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// How to stop.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StopQuery {
    /// Seconds between asking the process to end and ending it; 10 by default, 600 at most.
    timeout: Option<u32>,
}

/// Starts a stopped container, or tries a failed one again. A running one stays as it is.
#[utoipa::path(post, path = "/api/v1/containers/{id}/start", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 202, body = ContainerView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn start(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<ContainerView>)> {
    let view = containers::start(&app, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Stops a container; its disk is kept. A stopped one stays as it is.
#[utoipa::path(post, path = "/api/v1/containers/{id}/stop", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own"), StopQuery),
    responses((status = 202, body = ContainerView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn stop(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<StopQuery>,
) -> Result<(StatusCode, axum::Json<ContainerView>)> {
    let view = containers::stop(&app, &caller, &id, query.timeout).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Stops a container and starts it again; a stopped one is started.
#[utoipa::path(post, path = "/api/v1/containers/{id}/restart", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own"), StopQuery),
    responses((status = 202, body = ContainerView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn restart(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<StopQuery>,
) -> Result<(StatusCode, axum::Json<ContainerView>)> {
    let view = containers::restart(&app, &caller, &id, query.timeout).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// Which part of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Go on as it grows, until the container ends or the caller leaves.
    follow: Option<bool>,
    /// Only the last so many lines.
    tail: Option<u64>,
    /// Only what was printed at or after this time, in seconds since 1970.
    since: Option<i64>,
    /// Put the time before each line.
    timestamps: Option<bool>,
}

/// What a container printed, standard output and standard error together. Empty while it was never started.
#[utoipa::path(get, path = "/api/v1/containers/{id}/log", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own"), LogQuery),
    responses((status = 200, description = "Text", content_type = "text/plain", body = String), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<LogQuery>,
) -> Result<Response> {
    let options = LogOptions {
        is_followed: query.follow.unwrap_or(false),
        tail: query.tail,
        since: query.since,
        has_timestamps: query.timestamps.unwrap_or(false),
    };
    let text = containers::log(&app, &caller, &id, options).await?;
    let mut response = Response::new(Body::from_stream(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A proxy that gathers text would hold back a log that is followed.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
