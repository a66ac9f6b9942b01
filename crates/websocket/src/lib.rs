//! A WebSocket that carries a stream of bytes: how they are cut into messages means nothing. Nothing is held back: what arrives
//! is taken out of its frames where it was read to, and of what is sent only what the connection does not take yet is kept. So one
//! that is idle costs no memory.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, BufMut as _, BytesMut};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one message carries at most; both sides send more in several.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What a ping, a pong and a goodbye carry at most.
const WORD_BYTES_MAX: u64 = 125;
const HEAD_BYTES_MAX: usize = 14;
const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
/// In place of a length: it follows.
const IN_TWO_BYTES: u8 = 126;
const IN_EIGHT_BYTES: u8 = 127;

/// What the other side of the handshake answers to a key.
pub fn accept(key: &str) -> String {
    BASE64_STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// Which side of the connection this is: what a client sends is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opened it.
    Client,
    /// Took it.
    Server,
}

/// A WebSocket after its handshake, on any stream.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    reader: Reader,
    /// Whole frames that the stream has not taken yet.
    unsent: BytesMut,
    /// Makes masks that nobody foresees.
    masks: Option<RandomState>,
    sent: u64,
    has_said_goodbye: bool,
}

impl<S> WebSocket<S> {
    /// The stream is one on which the handshake has ended.
    pub fn new(stream: S, side: Side) -> Self {
        Self {
            stream,
            reader: Reader { is_masked: side == Side::Server, ..Reader::default() },
            unsent: BytesMut::new(),
            masks: (side == Side::Client).then(RandomState::new),
            sent: 0,
            has_said_goodbye: false,
        }
    }

    fn push(&mut self, kind: Kind, pieces: &[IoSlice<'_>]) -> usize {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(MESSAGE_BYTES_MAX);
        self.unsent.reserve(HEAD_BYTES_MAX + length);
        self.unsent.put_u8(LAST | kind as u8);
        let masked = if self.masks.is_some() { MASKED } else { 0 };
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < IN_TWO_BYTES => self.unsent.put_u8(masked | short),
            (_, Ok(middle)) => {
                self.unsent.put_u8(masked | IN_TWO_BYTES);
                self.unsent.put_u16(middle);
            }
            _ => {
                self.unsent.put_u8(masked | IN_EIGHT_BYTES);
                self.unsent.put_u64(length as u64);
            }
        }
        let mask = self.masks.as_ref().map(|masks| {
            let [one, two, three, four, ..] = masks.hash_one(self.sent).to_be_bytes();
            [one, two, three, four]
        });
        self.sent += 1;
        self.unsent.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask));
        let begin = self.unsent.len();
        for piece in pieces {
            let left = length - (self.unsent.len() - begin);
            self.unsent.extend_from_slice(&piece[..piece.len().min(left)]);
        }
        if let Some(mask) = mask {
            apply(mask, &mut self.unsent[begin..]);
        }
        length
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The next message, and nothing of what comes after it; none when the other side has closed.
    pub async fn message(&mut self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let mut whole = Vec::new();
        self.reader.is_at_end_of_message = false;
        std::future::poll_fn(|context| {
            loop {
                if std::mem::take(&mut self.reader.is_at_end_of_message) {
                    return Poll::Ready(Ok(Some(std::mem::take(&mut whole))));
                }
                let mut room = [0; 1 << 10];
                let wanted = self.reader.wanted().min(room.len());
                let mut buffer = ReadBuf::new(&mut room[..wanted]);
                ready!(self.poll_some(context, &mut buffer))?;
                if buffer.filled().is_empty() && self.reader.is_closed {
                    return Poll::Ready(Ok(None));
                }
                whole.extend_from_slice(buffer.filled());
                if whole.len() > most {
                    return Poll::Ready(Err(io::Error::other(format!("a message longer than {most} bytes"))));
                }
            }
        })
        .await
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.push(Kind::Bytes, &[IoSlice::new(message)]);
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_flush(context)).await
    }

    /// Reads once; what came of messages is then in the buffer.
    fn poll_some(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &mut buffer.filled_mut()[before..];
        if read.is_empty() {
            self.reader.is_closed = true;
        }
        let taken = self.reader.take(read)?;
        buffer.set_filled(before + taken);
        if let Some(ping) = self.reader.asked.take()
            && self.unsent.is_empty()
        {
            self.push(Kind::Pong, &[IoSlice::new(&ping)]);
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on what the stream has not taken yet.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        while buffer.filled().len() == before && buffer.remaining() > 0 && !this.reader.is_closed {
            ready!(this.poll_some(context, buffer))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        let length = this.push(Kind::Bytes, pieces);
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(length)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.has_said_goodbye, true) {
            this.push(Kind::Close, &[]);
        }
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    More = 0,
    Bytes = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Takes what messages carry out of their frames.
#[derive(Debug, Default)]
struct Reader {
    is_masked: bool,
    head: [u8; HEAD_BYTES_MAX],
    head_length: usize,
    /// The frame whose head is whole.
    frame: Option<Frame>,
    /// What a ping said, until it is answered.
    asked: Option<Vec<u8>>,
    is_at_end_of_message: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    is_last: bool,
    mask: [u8; 4],
    left: u64,
    /// What came of a ping.
    asked: Vec<u8>,
}

impl Reader {
    /// So many bytes can be read without reading into the next frame.
    fn wanted(&self) -> usize {
        self.frame
            .as_ref()
            .map_or(self.head_missing(), |frame| usize::try_from(frame.left).unwrap_or(usize::MAX))
    }

    fn head_missing(&self) -> usize {
        let [_, second, ..] = self.head;
        let of_length = match second & !MASKED {
            IN_TWO_BYTES => 2,
            IN_EIGHT_BYTES => 8,
            _ => 0,
        };
        let of_mask = if second & MASKED == 0 { 0 } else { 4 };
        let whole = if self.head_length < 2 { 2 } else { 2 + of_length + of_mask };
        whole - self.head_length
    }

    /// Moves what is carried to the beginning; so many bytes it is.
    fn take(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (mut at, mut taken) = (0, 0);
        while at < bytes.len() && !self.is_closed {
            if let Some(frame) = &mut self.frame {
                let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                let piece = at..at + here;
                frame.unmask(&mut bytes[piece.clone()]);
                match frame.kind {
                    Kind::More | Kind::Bytes => {
                        bytes.copy_within(piece, taken);
                        taken += here;
                    }
                    Kind::Ping => frame.asked.extend_from_slice(&bytes[piece]),
                    Kind::Pong | Kind::Close => {}
                }
                at += here;
            } else {
                let here = self.head_missing().min(bytes.len() - at);
                self.head[self.head_length..][..here].copy_from_slice(&bytes[at..at + here]);
                self.head_length += here;
                at += here;
                if self.head_missing() == 0 {
                    self.frame = Some(self.begin()?);
                }
            }
            if let Some(ended) = self.frame.take_if(|frame| frame.left == 0) {
                match ended.kind {
                    Kind::More | Kind::Bytes => self.is_at_end_of_message = ended.is_last,
                    Kind::Close => self.is_closed = true,
                    Kind::Ping => self.asked = Some(ended.asked),
                    Kind::Pong => {}
                }
            }
        }
        Ok(taken)
    }

    /// Reads the head, which is whole.
    fn begin(&mut self) -> io::Result<Frame> {
        let refuse = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut head = &self.head[..];
        let (first, second) = (head.get_u8(), head.get_u8());
        let left = match second & !MASKED {
            IN_TWO_BYTES => head.get_u16().into(),
            IN_EIGHT_BYTES => head.get_u64(),
            short => short.into(),
        };
        let mut mask = [0; 4];
        let is_masked = second & MASKED != 0;
        if is_masked {
            head.copy_to_slice(&mut mask);
        }
        let kind = match first & !LAST {
            0 => Kind::More,
            1 => return Err(refuse("text on the link")),
            2 => Kind::Bytes,
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return Err(refuse("a frame that no WebSocket has")),
        };
        let is_word = !matches!(kind, Kind::More | Kind::Bytes);
        if is_word && (left > WORD_BYTES_MAX || first & LAST == 0) {
            return Err(refuse("a ping, a pong or a goodbye that is longer than any"));
        }
        if left > MESSAGE_BYTES_MAX as u64 {
            return Err(refuse("a message that is longer than any"));
        }
        if is_masked != self.is_masked {
            return Err(refuse("what a client sends is masked, and nothing else"));
        }
        self.head_length = 0;
        Ok(Frame { kind, is_last: first & LAST != 0, mask, left, asked: Vec::new() })
    }
}

impl Frame {
    /// Of the next bytes of the frame.
    fn unmask(&mut self, bytes: &mut [u8]) {
        if self.mask != [0; 4] {
            apply(self.mask, bytes);
            self.mask.rotate_left(bytes.len() % 4);
        }
        self.left -= bytes.len() as u64;
    }
}

/// Puts a mask on, or takes it off.
fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let twice = u64::from(u32::from_ne_bytes(mask));
    let wide = twice << 32 | twice;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn pair() -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
        let (one, other) = tokio::io::duplex(1 << 10);
        (WebSocket::new(one, Side::Client), WebSocket::new(other, Side::Server))
    }

    /// Frames as a client sends them.
    fn frames(pieces: &[(u8, &[u8])]) -> Vec<u8> {
        let mut socket = WebSocket::new(tokio::io::empty(), Side::Client);
        for (first, piece) in pieces {
            let begin = socket.unsent.len();
            socket.push(Kind::Bytes, &[IoSlice::new(piece)]);
            socket.unsent[begin] = *first;
        }
        socket.unsent.to_vec()
    }

    /// What a server makes of bytes that come in pieces of this size.
    async fn read(sent: &[u8], size: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut socket = WebSocket::new(ours, Side::Server);
        theirs.write_all(sent).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut read = Vec::new();
        let mut room = vec![0; size];
        loop {
            match socket.read(&mut room).await? {
                0 => break,
                count => read.extend_from_slice(&room[..count]),
            }
        }
        drop(socket);
        let mut answered = Vec::new();
        theirs.read_to_end(&mut answered).await.unwrap();
        Ok((read, answered))
    }

    #[tokio::test]
    async fn bytes_arrive_as_they_were_sent_however_many_they_are() {
        let ((one, other), (another, last)) = (pair(), pair());
        for (mut from, mut to) in [(one, other), (last, another)] {
            for length in [1, 125, 126, 1_000, 65_535, 65_536, 200_000] {
                let sent: Vec<u8> =
                    (0..length).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
                let mut arrived = vec![0; sent.len()];
                let write = async {
                    from.write_all(&sent).await.unwrap();
                    from.flush().await.unwrap();
                };
                let ((), read) = tokio::join!(write, to.read_exact(&mut arrived));
                read.unwrap();
                assert!(arrived == sent, "{length} bytes");
            }
        }
    }

    #[tokio::test]
    async fn messages_are_found_however_they_are_cut() {
        let sent =
            frames(&[(2, b"one "), (0, b""), (0x80, b"message"), (0x89, b"there?"), (0x82, b", another")]);

        for size in 1..=sent.len() {
            let (read, answered) = read(&sent, size).await.unwrap();
            assert_eq!(read, b"one message, another", "pieces of {size}");
            assert_eq!(answered, b"\x8a\x06there?", "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn after_a_message_nothing_of_what_follows_is_taken() {
        let (mut client, mut server) = pair();
        client.send(b"question").await.unwrap();
        client.write_all(b"and then bytes").await.unwrap();

        assert_eq!(server.message(8).await.unwrap().unwrap(), b"question");
        let mut rest = [0; 14];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"and then bytes");
    }

    #[tokio::test]
    async fn what_is_no_message_of_the_link_breaks_it() {
        let unmasked = [0x82, 1, b'x'];
        let text = frames(&[(0x81, b"hello")]);
        let long_ping = frames(&[(0x89, &[0; 126])]);
        let cut_ping = frames(&[(0x09, b"x")]);
        let extended = frames(&[(0xc2, b"x")]);
        let long = [&[0x82, 0xff][..], &(1_u64 << 20 | 1).to_be_bytes(), &[0; 4]].concat();
        for sent in [&unmasked[..], &text, &long_ping, &cut_ping, &extended, &long] {
            assert!(read(sent, 100).await.is_err(), "{sent:?}");
        }
        let (mut client, mut server) = pair();
        client.send(b"too long").await.unwrap();
        assert!(server.message(7).await.is_err());
    }

    #[tokio::test]
    async fn a_goodbye_is_the_end() {
        let (mut client, mut server) = pair();
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();

        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
        assert_eq!(server.message(1).await.unwrap(), None);
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
