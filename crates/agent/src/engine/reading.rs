//! The body of an answer that comes in very many small pieces: an engine sends what programs print line by line, each line a
//! chunk. It is read here in large ones and on its reader's own task; a client that hands over chunk by chunk, to
//! another task, costs more than everything else that happens to a log.

use http::StatusCode;
use httparse::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wire::link::LinkError;

use super::raw::complaint;
use super::{CALL_TIMEOUT, Engine, engine_down, timed_out};

/// Bytes that are read together.
pub(super) const READ_BYTES: usize = 64 << 10;
/// The head of an answer, with some room.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// The length of a chunk in digits, and what may follow it.
const CHUNK_HEAD_BYTES_MAX: usize = 256;
/// An error body is a sentence.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// A body as it arrives. Dropping it closes its connection, and that is how the engine is told to stop.
pub(super) struct Reading {
    socket: UnixStream,
    /// What was read and not understood yet: at most the beginning of a chunk's head, between two calls.
    raw: Vec<u8>,
    content: Vec<u8>,
    place: Place,
}

/// Where in a body its reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the length of a chunk.
    Length,
    /// In a chunk, before so many bytes.
    Chunk(u64),
    /// After a chunk, before the end of its line.
    LineEnd,
    /// In a body whose length was said, before so many bytes.
    Sized(u64),
    /// Behind all of it.
    End,
}

impl Place {
    /// Adds what is content to `content`; says how much of `raw` was understood.
    fn take(&mut self, raw: &[u8], content: &mut Vec<u8>) -> Result<usize, LinkError> {
        let mut at = 0;
        loop {
            let rest = &raw[at..];
            match *self {
                Self::Length => match httparse::parse_chunk_size(rest) {
                    Ok(Status::Complete((head, 0))) => {
                        at += head;
                        *self = Self::End;
                    }
                    Ok(Status::Complete((head, length))) => {
                        at += head;
                        *self = Self::Chunk(length);
                    }
                    Ok(Status::Partial) if rest.len() <= CHUNK_HEAD_BYTES_MAX => return Ok(at),
                    Ok(Status::Partial) | Err(_) => return Err(unreadable("a chunk without a length")),
                },
                Self::LineEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        *self = Self::Length;
                    }
                    [] | [b'\r'] => return Ok(at),
                    _ => return Err(unreadable("a chunk that is longer than it says")),
                },
                Self::Chunk(0) => *self = Self::LineEnd,
                Self::Sized(0) => *self = Self::End,
                Self::Chunk(left) | Self::Sized(left) => {
                    if rest.is_empty() {
                        return Ok(at);
                    }
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    content.extend_from_slice(&rest[..length]);
                    at += length;
                    let left = left - length as u64;
                    *self =
                        if matches!(self, Self::Chunk(_)) { Self::Chunk(left) } else { Self::Sized(left) };
                }
                Self::End => return Ok(at),
            }
        }
    }
}

impl Reading {
    /// More of the body; none after its end. Nothing is lost when this future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, LinkError> {
        loop {
            self.content.clear();
            let taken = self.place.take(&self.raw, &mut self.content)?;
            self.raw.drain(..taken);
            if !self.content.is_empty() {
                return Ok(Some(&self.content));
            }
            if self.place == Place::End {
                return Ok(None);
            }
            if self.fill().await? == 0 {
                return Err(engine_down("it broke off in the middle of an answer"));
            }
        }
    }

    async fn fill(&mut self) -> Result<usize, LinkError> {
        self.raw.reserve(READ_BYTES);
        self.socket.read_buf(&mut self.raw).await.map_err(engine_down)
    }

    /// Reads the head of the answer and goes behind it.
    async fn head(&mut self) -> Result<StatusCode, LinkError> {
        loop {
            if let Some((length, status, place)) = parse_head(&self.raw)? {
                self.raw.drain(..length);
                self.place = place;
                return Ok(status);
            }
            if self.raw.len() > HEAD_BYTES_MAX {
                return Err(unreadable("a head without an end"));
            }
            if self.fill().await? == 0 {
                return Err(engine_down("it closed the connection without an answer"));
            }
        }
    }

    /// Why the engine refused.
    async fn refusal(mut self, status: StatusCode) -> LinkError {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = self.next().await {
            body.extend_from_slice(piece);
            if body.len() > ERROR_BYTES_MAX {
                break;
            }
        }
        complaint(status, &body)
    }
}

/// The length of an answer's head, its status, and how its body is told from what follows; none while it is not whole.
fn parse_head(raw: &[u8]) -> Result<Option<(usize, StatusCode, Place)>, LinkError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head.parse(raw) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| unreadable("a head without a status"))?;
    let value = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let place = if value("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
        Place::Length
    } else if let Some(length) = value("content-length").and_then(|length| length.parse().ok()) {
        Place::Sized(length)
    } else {
        return Err(unreadable("a body that does not say how long it is"));
    };
    Ok(Some((length, status, place)))
}

fn unreadable(reason: impl std::fmt::Display) -> LinkError {
    engine_down(format!("its answer cannot be read: {reason}"))
}

impl Engine {
    /// Reads from a path that was written here, where very many small pieces are to be expected.
    pub(super) async fn read(&self, path: &str, query: &[(&str, String)]) -> Result<Reading, LinkError> {
        let version = self.docker().await?.client_version();
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let begin = async {
            let mut socket = UnixStream::connect(&self.socket).await.map_err(engine_down)?;
            let request = format!(
                "GET /v{version}{path}?{query} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
            );
            socket.write_all(request.as_bytes()).await.map_err(engine_down)?;
            let mut reading = Reading { socket, raw: Vec::new(), content: Vec::new(), place: Place::End };
            let status = reading.head().await?;
            if status.is_success() { Ok(reading) } else { Err(reading.refusal(status).await) }
        };
        tokio::time::timeout(CALL_TIMEOUT, begin).await.map_err(|_| timed_out(CALL_TIMEOUT))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], first: Place, size: usize) -> Result<(Vec<u8>, Place), LinkError> {
        let (mut raw, mut content, mut place) = (Vec::new(), Vec::new(), first);
        for piece in body.chunks(size) {
            raw.extend_from_slice(piece);
            let taken = place.take(&raw, &mut content)?;
            raw.drain(..taken);
        }
        Ok((content, place))
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let body = b"5\r\nhello\r\n1;name=value\r\n \r\nC\r\nworld\r\n\r\n0\r\n\r\n0\r\n\r\n";

        for size in 1..=body.len() {
            let (content, place) = read(body, Place::Length, size).unwrap();
            assert_eq!(
                (content.as_slice(), place),
                (&b"hello world\r\n\r\n0\r\n"[..], Place::End),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_body_of_a_known_length_ends_there() {
        assert_eq!(read(b"abcdef", Place::Sized(4), 3).unwrap(), (b"abcd".to_vec(), Place::End));
        assert_eq!(read(b"ab", Place::Sized(4), 1).unwrap(), (b"ab".to_vec(), Place::Sized(2)));
    }

    #[test]
    fn chunks_that_are_none_are_refused() {
        for body in ["x\r\n", "1\r\nab\r\n", "fffffffffffffffff\r\n", &format!("1;{}", "x".repeat(300))] {
            assert!(read(body.as_bytes(), Place::Length, 1).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n";
        let sized = b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n";

        assert_eq!(parse_head(chunked).unwrap(), Some((chunked.len() - 3, StatusCode::OK, Place::Length)));
        assert_eq!(parse_head(sized).unwrap(), Some((sized.len(), StatusCode::NOT_FOUND, Place::Sized(7))));
        assert_eq!(parse_head(&sized[..20]).unwrap(), None);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse_head(b"nonsense\r\n\r\n").is_err());
    }
}
