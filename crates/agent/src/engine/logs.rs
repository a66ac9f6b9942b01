//! What containers print, in pieces. A reader that is slow holds up its own stream and nothing else: the engine keeps the
//! output in its file meanwhile.

use bollard::query_parameters::InspectContainerOptions;
use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use wire::link::{ContainerLogs, LinkError, LinkErrorCode, LogEvent};

use super::output::{Pieces, Source};
use super::{CALL_TIMEOUT, Engine, containers, within};

/// Text in one event at most, and lines that are joined to it when they are there already.
const TEXT_BYTES_MAX: usize = 64 << 10;
const JOINED_MAX: usize = 64;

/// Reads to the end of the output, or for ever when it follows.
pub(crate) async fn read(
    engine: &Engine,
    call: ContainerLogs,
    events: &Sender<LogEvent>,
) -> Option<LogEvent> {
    match copy(engine, call, events).await {
        Ok(()) => None,
        Err(error) => Some(LogEvent::Failed(error)),
    }
}

async fn copy(engine: &Engine, call: ContainerLogs, events: &Sender<LogEvent>) -> Result<(), LinkError> {
    let Some(id) = containers::find(engine, call.instance, call.container).await? else {
        let message = format!("container {} is not on the machine", call.container);
        return Err(LinkError::new(LinkErrorCode::NotFound, message));
    };
    let docker = engine.docker().await?;
    let found = within(CALL_TIMEOUT, docker.inspect_container(&id, None::<InspectContainerOptions>)).await?;
    let is_tty = found.config.and_then(|config| config.tty).unwrap_or(false);
    let flag = |is_set: bool| u8::from(is_set).to_string();
    let query = [
        ("follow", flag(call.follow)),
        ("stdout", flag(true)),
        ("stderr", flag(true)),
        ("since", call.since.unwrap_or(0).max(0).to_string()),
        ("timestamps", flag(call.timestamps)),
        ("tail", call.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string())),
    ];
    let bytes = engine.get(&format!("/containers/{id}/logs"), &query).await?;
    let mut batches = Box::pin(bytes.ready_chunks(JOINED_MAX));
    let mut pieces = Pieces::new(is_tty);
    let mut joiner = Joiner::default();
    while let Some(batch) = batches.next().await {
        for bytes in batch {
            for (source, piece) in pieces.take(&bytes?)? {
                for event in joiner.take(source, piece) {
                    send(events, event).await?;
                }
            }
        }
        if let Some(event) = joiner.flush() {
            send(events, event).await?;
        }
    }
    for event in joiner.end() {
        send(events, event).await?;
    }
    Ok(())
}

async fn send(events: &Sender<LogEvent>, event: LogEvent) -> Result<(), LinkError> {
    let gone = |_| LinkError::new(LinkErrorCode::Timeout, "nobody reads the log any more");
    events.send(event).await.map_err(gone)
}

/// Joins pieces of one kind into text.
#[derive(Default)]
struct Joiner {
    /// The beginning of a character whose end has not come yet, by source.
    partial: [Vec<u8>; 2],
    text: Option<(Source, String)>,
}

impl Joiner {
    fn take(&mut self, source: Source, bytes: &[u8]) -> Vec<LogEvent> {
        let mut events = Vec::new();
        for piece in bytes.chunks(TEXT_BYTES_MAX / 4) {
            let text = decode(&mut self.partial[source as usize], piece);
            let fits = self
                .text
                .as_ref()
                .is_some_and(|(of, before)| *of == source && before.len() + text.len() <= TEXT_BYTES_MAX);
            if !fits {
                events.extend(self.flush());
            }
            self.text.get_or_insert_with(|| (source, String::new())).1.push_str(&text);
        }
        events
    }

    fn flush(&mut self) -> Option<LogEvent> {
        let (source, text) = self.text.take().filter(|(_, text)| !text.is_empty())?;
        Some(match source {
            Source::Out => LogEvent::Out(text),
            Source::Err => LogEvent::Err(text),
        })
    }

    /// A character that was never finished is shown as one that cannot be read.
    fn end(&mut self) -> Vec<LogEvent> {
        let mut events: Vec<LogEvent> = self.flush().into_iter().collect();
        let [out, err] = &self.partial;
        if !out.is_empty() {
            events.push(LogEvent::Out(char::REPLACEMENT_CHARACTER.into()));
        }
        if !err.is_empty() {
            events.push(LogEvent::Err(char::REPLACEMENT_CHARACTER.into()));
        }
        events
    }
}

/// Text of the bytes and of what was left before them; keeps back the beginning of a character at the end.
fn decode(partial: &mut Vec<u8>, bytes: &[u8]) -> String {
    partial.extend_from_slice(bytes);
    let mut text = String::with_capacity(partial.len());
    let mut chunks = partial.utf8_chunks().peekable();
    let mut kept = Vec::new();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        if chunks.peek().is_none() && is_beginning_of_a_character(invalid) {
            kept = invalid.to_vec();
        } else {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    *partial = kept;
    text
}

fn is_beginning_of_a_character(bytes: &[u8]) -> bool {
    // The standard library tells "ended too early" (no length) from "wrong".
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_cut_in_two_are_joined() {
        let mut joiner = Joiner::default();
        let text = "größe 大小";

        for byte in text.as_bytes() {
            joiner.take(Source::Out, &[*byte]);
        }

        assert_eq!(joiner.end(), [LogEvent::Out(text.into())]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut joiner = Joiner::default();

        joiner.take(Source::Out, b"a\xffb");
        joiner.take(Source::Out, b"c\xe5\xa4");

        assert_eq!(joiner.end(), [LogEvent::Out("a\u{fffd}bc".into()), LogEvent::Out("\u{fffd}".into())]);
    }

    #[test]
    fn pieces_are_joined_up_to_the_bound_and_kept_apart_by_source() {
        let mut joiner = Joiner::default();

        let first = joiner.take(Source::Out, &vec![b'x'; TEXT_BYTES_MAX + 5]);
        let second = joiner.take(Source::Err, b"e");

        assert_eq!(first, [LogEvent::Out("x".repeat(TEXT_BYTES_MAX))]);
        assert_eq!(second, [LogEvent::Out("xxxxx".into())]);
        assert_eq!(joiner.end(), [LogEvent::Err("e".into())]);
    }
}
