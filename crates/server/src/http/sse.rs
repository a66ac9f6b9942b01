//! Event streams. A stream is pulled: nothing is made before the client has room for it, so that a slow reader holds no
//! memory. It ends with the server; clients come back with `Last-Event-ID`.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _};
use serde::Serialize;

use crate::app::App;

/// How often a line is sent that means nothing, so that proxies and clients know that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whether the client asks for an event stream.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|text| text.split(',')).any(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// The number in `Last-Event-ID`, with which a browser goes on where its stream broke off.
pub fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// One event with a JSON body.
pub fn event<T: Serialize>(name: &str, data: &T) -> Event {
    let event = Event::default().event(name);
    // Our views always serialise; a stream has no better way to say otherwise.
    event.json_data(data).unwrap_or_else(|_| Event::default().event("error"))
}

/// A stream of events as an answer; it ends when the server does.
pub fn answer(app: &App, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let ends = app.shutdown.clone().cancelled_owned();
    let events = events.take_until(ends).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx would otherwise gather events.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn an_event_stream_is_recognised_among_other_kinds() {
        for accept in ["text/event-stream", "text/html, Text/Event-Stream;q=0.9"] {
            assert!(is_wanted(&headers("accept", accept)), "{accept}");
        }
        for accept in ["text/plain", "*/*", "text/event-streams"] {
            assert!(!is_wanted(&headers("accept", accept)), "{accept}");
        }
    }

    #[test]
    fn a_last_event_id_that_is_no_number_counts_for_nothing() {
        assert_eq!(last_event_id(&headers("last-event-id", " 42 ")), Some(42));
        assert_eq!(last_event_id(&headers("last-event-id", "-1")), None);
        assert_eq!(last_event_id(&HeaderMap::new()), None);
    }
}
