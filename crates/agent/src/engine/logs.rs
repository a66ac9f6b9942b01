//! What containers print, in pieces. A reader that is slow holds up its own stream and nothing else: the engine keeps the
//! output in its file meanwhile.

use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use wire::link::{ContainerLogs, LinkError, LinkErrorCode, LogEvent};

use super::output::{Pieces, Source};
use super::reading::READ_BYTES;
use super::{CALL_TIMEOUT, Engine, containers, within};

/// Bytes whose text is one event, at most.
const EVENT_BYTES_MAX: usize = 64 << 10;
/// How long text may wait for more that goes with it, so that not every line is an event of its own.
const GATHERED_FOR: Duration = Duration::from_millis(4);
/// After a read that brought little: the engine sends line by line, and puts some together while nobody reads.
const PAUSE: Duration = Duration::from_millis(1);

/// The last second of the year 9999. The engine takes much later ones for long ago.
const END_OF_TIME: i64 = 253_402_300_799;

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
        ("since", call.since.unwrap_or(0).clamp(0, END_OF_TIME).to_string()),
        ("timestamps", flag(call.timestamps)),
        ("tail", call.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string())),
    ];
    let mut body = engine.read(&format!("/containers/{id}/logs"), &query).await?;
    let mut pieces = Pieces::new(is_tty);
    let mut joiner = Joiner::default();
    let mut ready = Vec::new();
    let mut due: Option<Instant> = None;
    loop {
        let bytes = tokio::select! {
            biased;
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                if let Some(event) = joiner.flush() {
                    send(events, event).await?;
                }
                continue;
            }
            bytes = body.next() => bytes?,
        };
        let Some(bytes) = bytes else { break };
        let is_little = bytes.len() < READ_BYTES / 2;
        for (source, piece) in pieces.take(bytes)? {
            joiner.take(source, piece, &mut ready);
        }
        for event in ready.drain(..) {
            due = None;
            send(events, event).await?;
        }
        due = due.or_else(|| Some(Instant::now() + GATHERED_FOR));
        if is_little {
            tokio::time::sleep(PAUSE).await;
        }
    }
    joiner.end(&mut ready);
    for event in ready {
        send(events, event).await?;
    }
    Ok(())
}

async fn send(events: &Sender<LogEvent>, event: LogEvent) -> Result<(), LinkError> {
    let gone = |_| LinkError::new(LinkErrorCode::Timeout, "nobody reads the log any more");
    events.send(event).await.map_err(gone)
}

/// Joins pieces of one kind into text.
struct Joiner {
    /// Of which kind the last piece was.
    source: Source,
    /// What is no event yet, by source: of the other one at most the beginning of a character.
    waiting: [Vec<u8>; 2],
}

impl Default for Joiner {
    fn default() -> Self {
        Self { source: Source::Out, waiting: Default::default() }
    }
}

impl Joiner {
    fn take(&mut self, source: Source, mut bytes: &[u8], ready: &mut Vec<LogEvent>) {
        if source != self.source {
            ready.extend(self.flush());
            self.source = source;
        }
        while !bytes.is_empty() {
            let waiting = &mut self.waiting[source as usize];
            let (piece, rest) = bytes.split_at(bytes.len().min(EVENT_BYTES_MAX - waiting.len()));
            waiting.extend_from_slice(piece);
            bytes = rest;
            if waiting.len() == EVENT_BYTES_MAX {
                ready.extend(self.flush());
            }
        }
    }

    fn flush(&mut self) -> Option<LogEvent> {
        let waiting = &mut self.waiting[self.source as usize];
        let text = match String::from_utf8(std::mem::take(waiting)) {
            Ok(text) => text,
            Err(error) => {
                let (text, rest) = decode(error.as_bytes());
                *waiting = rest.to_vec();
                text
            }
        };
        (!text.is_empty()).then(|| event(self.source, text))
    }

    /// A character that was never finished is shown as one that cannot be read.
    fn end(&mut self, ready: &mut Vec<LogEvent>) {
        ready.extend(self.flush());
        for source in [Source::Out, Source::Err] {
            if !self.waiting[source as usize].is_empty() {
                ready.push(event(source, char::REPLACEMENT_CHARACTER.into()));
            }
        }
    }
}

fn event(source: Source, text: String) -> LogEvent {
    match source {
        Source::Out => LogEvent::Out(text),
        Source::Err => LogEvent::Err(text),
    }
}

/// Text of the bytes, without the beginning of a character at their end, which is given beside it.
fn decode(bytes: &[u8]) -> (String, &[u8]) {
    let mut text = String::with_capacity(bytes.len());
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        if chunks.peek().is_none() && is_beginning_of_a_character(invalid) {
            return (text, invalid);
        }
        text.push(char::REPLACEMENT_CHARACTER);
    }
    (text, &[])
}

fn is_beginning_of_a_character(bytes: &[u8]) -> bool {
    // The standard library tells "ended too early" (no length) from "wrong".
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pieces: &[(Source, &[u8])]) -> Vec<LogEvent> {
        let (mut joiner, mut ready) = (Joiner::default(), Vec::new());
        for (source, bytes) in pieces {
            joiner.take(*source, bytes, &mut ready);
        }
        joiner.end(&mut ready);
        ready
    }

    #[test]
    fn characters_that_are_cut_in_two_are_joined() {
        let text = "größe 大小";
        let (mut joiner, mut ready) = (Joiner::default(), Vec::new());

        for byte in text.as_bytes() {
            joiner.take(Source::Out, &[*byte], &mut ready);
            ready.extend(joiner.flush());
        }
        joiner.end(&mut ready);

        let texts = ready.iter().map(|event| match event {
            LogEvent::Out(text) => text.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(texts.collect::<String>(), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let events = joined(&[(Source::Out, b"a\xffb"), (Source::Out, b"c\xe5\xa4")]);

        assert_eq!(events, [LogEvent::Out("a\u{fffd}bc".into()), LogEvent::Out("\u{fffd}".into())]);
    }

    #[test]
    fn a_character_is_joined_though_the_other_source_speaks_meanwhile() {
        let events = joined(&[(Source::Out, b"a\xc3"), (Source::Err, b"e\n"), (Source::Out, b"\xb6b")]);

        assert_eq!(
            events,
            [LogEvent::Out("a".into()), LogEvent::Err("e\n".into()), LogEvent::Out("öb".into())]
        );
    }

    #[test]
    fn pieces_are_joined_up_to_the_bound_and_kept_apart_by_source() {
        let long = vec![b'x'; EVENT_BYTES_MAX + 5];

        let events = joined(&[(Source::Out, &long), (Source::Err, b"e")]);

        assert_eq!(
            events,
            [
                LogEvent::Out("x".repeat(EVENT_BYTES_MAX)),
                LogEvent::Out("xxxxx".into()),
                LogEvent::Err("e".into())
            ]
        );
    }
}
