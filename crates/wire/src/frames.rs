//! Pieces of a byte stream that belong together: a kind, a length and so many bytes. Where both sides only ever append,
//! nothing else is needed to tell input from a change of size, or output from the end of a process.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes that one frame may carry; who has more to send sends several.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// Kind and length.
pub const HEAD_BYTES: usize = 5;

/// Why a stream of frames cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame says that it is longer than any may be.
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// A frame of a kind that is not known, or whose bytes are not what its kind promises.
    #[error("a frame of kind {0} cannot be read")]
    Unreadable(u8),
}

/// Something that travels as one frame.
pub trait Frame: Sized {
    /// Its kind and its bytes, at most [`FRAME_BYTES_MAX`].
    fn parts(&self) -> (u8, std::borrow::Cow<'_, [u8]>);
    /// What a frame means; none when it means nothing.
    fn read(kind: u8, bytes: Bytes) -> Option<Self>;

    /// The frame as it travels.
    fn encode(&self) -> Vec<u8> {
        let (kind, bytes) = self.parts();
        let mut frame = Vec::with_capacity(HEAD_BYTES + bytes.len());
        append(kind, [&*bytes], &mut frame);
        frame
    }
}

/// Appends one frame of a kind, whose bytes are these together.
pub fn append<'a>(kind: u8, bytes: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>, to: &mut Vec<u8>) {
    let bytes = bytes.into_iter();
    let length: usize = bytes.clone().map(<[u8]>::len).sum();
    debug_assert!(length <= FRAME_BYTES_MAX, "whoever makes a frame keeps to its bound");
    let length = u32::try_from(length).expect("frames are short");
    to.push(kind);
    to.extend_from_slice(&length.to_be_bytes());
    for piece in bytes {
        to.extend_from_slice(piece);
    }
}

/// Puts frames together from whatever pieces they arrive in, and copies none that arrives in one. Holds at most one unfinished frame.
#[derive(Debug)]
pub struct FrameReader<F> {
    rest: Bytes,
    frame: PhantomData<fn() -> F>,
}

impl<F> Default for FrameReader<F> {
    fn default() -> Self {
        Self { rest: Bytes::new(), frame: PhantomData }
    }
}

impl<F: Frame> FrameReader<F> {
    /// Takes what has arrived; ask for frames until there is none before the next piece.
    pub fn push(&mut self, bytes: Bytes) {
        if self.rest.is_empty() {
            self.rest = bytes;
            return;
        }
        let rest = std::mem::take(&mut self.rest).try_into_mut();
        let mut rest = rest.unwrap_or_else(|shared| BytesMut::from(&*shared));
        rest.extend_from_slice(&bytes);
        self.rest = rest.freeze();
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<F>, FrameError> {
        let Some((head, rest)) = self.rest.split_at_checked(HEAD_BYTES) else { return Ok(None) };
        let kind = head[0];
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.rest.advance(HEAD_BYTES);
        F::read(kind, self.rest.split_to(length)).ok_or(FrameError::Unreadable(kind)).map(Some)
    }

    /// Whether nothing of an unfinished frame is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Text(String);

    impl Frame for Text {
        fn parts(&self) -> (u8, Cow<'_, [u8]>) {
            (7, self.0.as_bytes().into())
        }

        fn read(kind: u8, bytes: Bytes) -> Option<Self> {
            (kind == 7).then(|| String::from_utf8(bytes.to_vec()).ok().map(Self))?
        }
    }

    fn all(reader: &mut FrameReader<Text>) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(Text(text)) = reader.next_frame().unwrap() {
            found.push(text);
        }
        found
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let whole = [Text("a".into()).encode(), Text(String::new()).encode(), Text("größe".into()).encode()];
        let whole = whole.concat();

        for size in 1..=whole.len() {
            let mut reader = FrameReader::default();
            let mut found = Vec::new();
            for piece in whole.chunks(size) {
                reader.push(Bytes::copy_from_slice(piece));
                found.extend(all(&mut reader));
            }
            assert_eq!(found, ["a", "", "größe"], "pieces of {size}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_length_that_nobody_sends_is_refused_before_it_is_waited_for() {
        let mut reader = FrameReader::<Text>::default();

        reader.push(Bytes::from_static(&[7, 0xff, 0xff, 0xff, 0xff]));

        assert_eq!(reader.next_frame(), Err(FrameError::TooLong(0xffff_ffff)));
    }

    #[test]
    fn kinds_and_bytes_that_mean_nothing_are_refused() {
        for (kind, byte) in [(8, b'a'), (7, 0xff)] {
            let mut reader = FrameReader::<Text>::default();
            reader.push(vec![kind, 0, 0, 0, 1, byte].into());
            assert_eq!(reader.next_frame(), Err(FrameError::Unreadable(kind)));
        }
    }
}
