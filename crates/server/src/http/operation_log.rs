//! Logs of what is done in the background, as text or as an event stream.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse as _, Response};
use futures::Stream;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::builds::LogChunk;

use super::sse;
use crate::app::App;
use crate::domain::operation_log::OperationLog;
use crate::error::Error;

/// Where and how to read a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Bytes to pass over.
    offset: Option<u64>,
    /// Answer an event stream that goes on until the end, as `Accept: text/event-stream` does.
    follow: Option<bool>,
}

/// The log as text as far as it has come, or as an event stream that goes on. The stream has the events `log` (a `LogChunk`;
/// its id is the offset behind it, so that `Last-Event-ID` goes on there), `state` (the operation, whenever it has changed)
/// and, at the end, `end` (the operation in its final state).
pub(super) fn answer<L: OperationLog>(app: &App, log: L, query: &LogQuery, headers: &HeaderMap) -> Response {
    let offset = query.offset.unwrap_or(0);
    if query.follow.unwrap_or_else(|| sse::is_wanted(headers)) {
        let offset = sse::last_event_id(headers).unwrap_or(offset);
        return sse::answer(app, events(log, offset));
    }
    let text = Body::from_stream(text(log, offset));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// The log from an offset to where it ends now.
fn text<L: OperationLog>(log: L, mut offset: u64) -> impl Stream<Item = Result<Bytes, Error>> {
    async_stream::try_stream! {
        loop {
            let (bytes, text) = log.read(offset).await?;
            if bytes == 0 {
                break;
            }
            offset += bytes;
            yield Bytes::from(text);
        }
    }
}

/// The log from an offset to the operation's end, with its states between.
fn events<L: OperationLog>(log: L, mut offset: u64) -> impl Stream<Item = Event> {
    async_stream::stream! {
        let (mut operation, mut changes) = match log.follow().await {
            Ok(found) => found,
            Err(error) => {
                yield failed(&error);
                return;
            }
        };
        yield sse::event("state", &operation);
        loop {
            // The last text is written before the final state is stored, so what is read now is all when that is final.
            let is_final = L::state(&operation).is_final();
            loop {
                let (bytes, text) = match log.read(offset).await {
                    Ok(read) => read,
                    Err(error) => {
                        yield failed(&error);
                        return;
                    }
                };
                if bytes == 0 {
                    break;
                }
                let chunk = LogChunk { offset, text };
                offset += bytes;
                yield sse::event("log", &chunk).id(offset.to_string());
            }
            if is_final {
                yield sse::event("end", &operation);
                return;
            }
            if changes.next().await {
                match log.view().await {
                    Ok(view) => {
                        if !L::is_same(&operation, &view) {
                            yield sse::event("state", &view);
                        }
                        operation = view;
                    }
                    // A database that is busy: the client still hears what is written.
                    Err(error) => tracing::debug!(%error, "cannot look at an operation that is followed"),
                }
            }
        }
    }
}

fn failed(error: &Error) -> Event {
    sse::event("error", &super::error::problem(error))
}
