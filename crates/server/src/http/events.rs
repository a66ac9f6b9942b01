//! `/api/v1/events`.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::problem::Problem;

use super::extract::Params;
use super::feed::{self, Feed, FeedEvent};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::events;
use crate::error::Result;

/// What to watch.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Every account's containers (admin).
    all: Option<bool>,
}

/// Everything that the caller may see, and then what happens to it, as an event stream or a WebSocket: the events
/// `machine`, `image`, `container`, `build`, `namespace`, `workload`, `run` and `release` carry the thing as its own route shows it, when it is new and whenever it
/// changes; `removed` says what is gone; `listed` comes once, after everything that was there. Of each kind the first 500 are
/// watched.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(EventQuery),
    responses((status = 101, description = "The connection is a WebSocket now; each message is `{\"event\", \"data\"}`"),
        (status = 200, content((String = "text/event-stream"))), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 429, description = "Too many streams are followed", body = Problem)))]
pub async fn watch(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<EventQuery>,
    feed: Feed,
) -> Result<Response> {
    let happenings = events::open(&app, &caller, query.all.unwrap_or(false))?.happenings(&app);
    let events = happenings.map(|it| it.map(|it| FeedEvent::of(it.name, it.data)));
    Ok(feed.answer(&app, feed::to_the_end(events)))
}
