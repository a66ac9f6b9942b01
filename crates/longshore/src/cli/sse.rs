//! Reads server-sent events from bytes as they arrive. Knows only what our server sends: `event`, `data`, `id`,
//! comments, and lines that end with `\n` or `\r\n`.

use std::time::Duration;

use wire::problem::Problem;

use super::failure::Failure;
use super::session::Session;

/// The server says at least this often that it is there.
const SILENCE: Duration = Duration::from_mins(1);

/// Follows a stream that ends with `end`, or with `error` and a problem.
pub(crate) async fn follow(
    session: &Session,
    path: &[&str],
    query: &[(&str, String)],
    mut take: impl FnMut(&Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let client = &session.client;
    let mut response = client.stream(path, query, "text/event-stream").await?;
    let mut events = Events::default();
    loop {
        let bytes = match tokio::time::timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(client.unreachable(&error).into()),
            Err(_) => return Err(client.no_answer().into()),
        };
        for event in events.push(&bytes)? {
            match event.name.as_str() {
                "end" => return Ok(()),
                "error" => {
                    let problem: Problem = serde_json::from_str(&event.data)?;
                    return Err(Failure::new(problem.detail).into());
                }
                _ => take(&event)?,
            }
        }
    }
}

/// The most bytes that one event may have; a longer one is an error, not memory.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its kind; empty when the server gave none.
    pub(crate) name: String,
    /// Its text.
    pub(crate) data: String,
    /// Where to go on after it.
    pub(crate) id: Option<String>,
}

/// Puts events together from pieces of a stream.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Events {
    /// Takes a piece of the stream and gives the events that it completes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Event>> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            self.line.extend_from_slice(piece);
            let held = self.line.len() + self.event.data.len();
            anyhow::ensure!(held <= EVENT_BYTES_MAX, "the server sent an event of more than 4 MiB");
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                complete.extend(self.end_line(&String::from_utf8_lossy(&line)));
            }
        }
        Ok(complete)
    }

    fn end_line(&mut self, line: &str) -> Option<Event> {
        let line = line.trim_end_matches('\n').trim_end_matches('\r');
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // A comment keeps the connection alive; other fields are for browsers.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let stream =
            ": hello\n\nevent: log\r\nid: 7\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: state\ndata: é\n\n";
        let whole = Events::default().push(stream.as_bytes()).unwrap();

        for cut in 1..stream.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for piece in stream.as_bytes().chunks(cut) {
                seen.extend(events.push(piece).unwrap());
            }
            assert_eq!(seen, whole, "pieces of {cut}");
        }
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0].data, "{\"a\":\n1}");
        assert_eq!(whole[0].id.as_deref(), Some("7"));
        assert_eq!(whole[1].name, "state");
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];

        let refused = (0..6).any(|_| events.push(&piece).is_err());

        assert!(refused);
    }
}
