//! `/api/v1/containers`.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::builds::BuildView;
use wire::container_uses::{ContainerUseQuery, ContainerUseView};
use wire::containers::{
    ContainerCreate, ContainerEventView, ContainerSample, ContainerState, ContainerStatsView,
    ContainerUpdate, ContainerView, KeptLogView, LogStream, LogText,
};
use wire::page::{Page, PageQuery};
use wire::problem::Problem;
use wire::saves::{ContainerSave, SavePreview};

use super::extract::{Json, Params, Path};
use super::feed::{self, Feed, FeedEvent};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::containers::{self, Filter};
use crate::domain::logs::{self, LogOptions};
use crate::domain::stats::{self, Piece};
use crate::domain::{container_updates, saves};
use crate::error::{Error, Result};
use crate::log_lines::{Grep, Source};

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

/// Changes a container that is there: its names at once; its limits while it runs where its engine can, otherwise as soon as
/// it does not run, and until then they are shown as `wished_limits`.
#[utoipa::path(patch, path = "/api/v1/containers/{id}", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")), request_body = ContainerUpdate,
    responses((status = 200, body = ContainerView), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "The name is taken, it is being deleted, or the account's quota has no room", body = Problem),
        (status = 422, description = "Not allowed; `violations` lists all that is wrong", body = Problem)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(change): Json<ContainerUpdate>,
) -> Result<axum::Json<ContainerView>> {
    container_updates::update(&app, &caller, &id, &change).await.map(axum::Json)
}

/// Deletes a container with its disk; volumes stay. Its row is gone when the machine has removed it.
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
    /// Only the last so many lines, before `grep` chooses among them.
    tail: Option<u64>,
    /// Only what was printed at or after this time, in seconds since 1970.
    since: Option<i64>,
    /// Put the time before each line.
    timestamps: Option<bool>,
    /// Only lines that hold this text, at most 256 bytes.
    grep: Option<String>,
    /// `grep` is a regular expression (without look-around and back references).
    regex: Option<bool>,
    /// `grep` takes upper and lower case for the same.
    ignore_case: Option<bool>,
    /// As a file to save.
    download: Option<bool>,
}

/// What a container printed, standard output and standard error together. Empty while it was never started. Of a container
/// that was deleted, the end is kept for some days. As a WebSocket or an event stream (`Accept: text/event-stream`) it is
/// followed unless `follow=false`, with the events `log` (a `LogText`), and `end`.
#[utoipa::path(get, path = "/api/v1/containers/{id}/log", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own"), LogQuery),
    responses((status = 101, description = "The connection is a WebSocket now; each message is `{\"event\", \"data\"}`"),
        (status = 200, description = "Text", content((String = "text/plain"), (LogText = "text/event-stream"))), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem), (status = 429, description = "Too many streams are followed", body = Problem), (status = 503, body = Problem)))]
pub async fn log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<LogQuery>,
    feed: Feed,
) -> Result<Response> {
    let is_feed = feed.is_wanted();
    let options = LogOptions {
        is_followed: query.follow.unwrap_or(is_feed),
        tail: query.tail,
        since: query.since,
        has_timestamps: query.timestamps.unwrap_or(false),
        grep: grep(&query)?,
    };
    let log = logs::open(&app, &caller, &id, options).await?;
    if is_feed {
        return Ok(feed.answer(&app, feed::to_the_end(log.pieces(&app).map(log_event))));
    }
    let name = log.name.clone();
    let text = log.pieces(&app).map(|piece| piece.map(|(_, text)| Bytes::from(text)));
    let mut response = Response::new(Body::from_stream(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A proxy that gathers text would hold back a log that is followed.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if query.download.unwrap_or(false) {
        let attachment = format!("attachment; filename=\"{name}.log\"");
        headers.insert(
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&attachment).map_err(Error::internal)?,
        );
    }
    Ok(response)
}

fn grep(query: &LogQuery) -> Result<Option<Grep>> {
    let Some(text) = &query.grep else { return Ok(None) };
    let (is_pattern, ignores_case) = (query.regex.unwrap_or(false), query.ignore_case.unwrap_or(false));
    let wrong = |why| Error::invalid("grep", format!("`grep` cannot be used: {why}"));
    Grep::new(text, is_pattern, ignores_case).map(Some).map_err(wrong)
}

fn log_event(piece: std::io::Result<(Source, String)>) -> Result<FeedEvent> {
    let (source, text) = piece.map_err(|error| {
        Error::unavailable("log_broken", format!("the log could not be read on: {error}"))
    })?;
    let source = if source == Source::Out { LogStream::Out } else { LogStream::Err };
    Ok(FeedEvent::new("log", &LogText { source, text }))
}

/// What happened to a container: each state that it came into, newest first; the last hundred are kept.
#[utoipa::path(get, path = "/api/v1/containers/{id}/events", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 200, body = Vec<ContainerEventView>), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<Vec<ContainerEventView>>> {
    containers::events(&app, &caller, &id).await.map(axum::Json)
}

/// What one's containers that run were last seen to use; nothing is measured for it.
#[utoipa::path(get, path = "/api/v1/container-uses", tag = "containers", params(ContainerUseQuery),
    responses((status = 200, body = Vec<ContainerUseView>), (status = 401, body = Problem), (status = 403, description = "Only admins see everybody's", body = Problem)))]
pub async fn uses(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ContainerUseQuery>,
) -> Result<axum::Json<Vec<ContainerUseView>>> {
    stats::uses(&app, &caller, query.all.unwrap_or(false)).await.map(axum::Json)
}

/// What a container used in the last hour, and uses now. As a WebSocket or an event stream (`Accept: text/event-stream`) it
/// goes on: the events `history` (a list of samples) and, each second while it runs, `sample`.
#[utoipa::path(get, path = "/api/v1/containers/{id}/stats", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 101, description = "The connection is a WebSocket now; each message is `{\"event\", \"data\"}`"),
        (status = 200, content((ContainerStatsView = "application/json"), (ContainerSample = "text/event-stream"))), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 429, description = "Too many streams are followed", body = Problem), (status = 503, body = Problem)))]
pub async fn stats(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    feed: Feed,
) -> Result<Response> {
    if !feed.is_wanted() {
        return Ok(axum::Json(stats::get(&app, &caller, &id).await?).into_response());
    }
    let pieces = stats::open(&app, &caller, &id).await?.pieces(&app);
    Ok(feed.answer(
        &app,
        feed::to_the_end(pieces.map(|piece| {
            piece.map(|piece| match piece {
                Piece::History(history) => FeedEvent::new("history", &history),
                Piece::Sample(sample) => FeedEvent::new("sample", &sample),
            })
        })),
    ))
}

/// What saving a container as an image would make.
#[utoipa::path(get, path = "/api/v1/containers/{id}/save", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")),
    responses((status = 200, body = SavePreview), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn preview_save(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<SavePreview>> {
    saves::preview(&app, &caller, &id).await.map(axum::Json)
}

/// Saves a container as an image: what it changed on its disk becomes a layer on the image that it was made from. It is
/// accepted at once; the build that is answered says how it goes, has a log and can be cancelled. What the container's
/// creator told it (variables, arguments) is not in the image.
#[utoipa::path(post, path = "/api/v1/containers/{id}/save", tag = "containers", params(("id" = String, Path, description = "Its number, or its name among the caller's own")), request_body = ContainerSave,
    responses((status = 202, body = BuildView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn save(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(wanted): Json<ContainerSave>,
) -> Result<Response> {
    let view = saves::create(&app, &caller, &id, &wanted).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/builds/{}", view.id)).map_err(Error::internal)?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(view)).into_response())
}

/// Whose kept logs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct KeptLogQuery {
    /// Every account's (admin).
    all: Option<bool>,
    /// This account's: the caller's own, or any for an admin.
    account: Option<String>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Lists the logs that are kept of containers that are gone, newest first. Each is read as the container's log was.
#[utoipa::path(get, path = "/api/v1/kept-logs", tag = "containers", params(KeptLogQuery),
    responses((status = 200, body = Page<KeptLogView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub async fn list_kept_logs(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<KeptLogQuery>,
) -> Result<axum::Json<Page<KeptLogView>>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let is_all = query.all.unwrap_or(false);
    logs::list_kept(&app, &caller, is_all, query.account.as_deref(), page).await.map(axum::Json)
}

/// Deletes a log that is kept.
#[utoipa::path(delete, path = "/api/v1/kept-logs/{id}", tag = "containers", params(("id" = String, Path, description = "The container's number, or its name among the caller's own")),
    responses((status = 204, description = "It is gone"), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn delete_kept_log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    logs::delete_kept(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
