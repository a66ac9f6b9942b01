//! What programs say, as the engine frames it: which stream a piece belongs to and how long it is. With a terminal there
//! is one stream and no framing; which of the two it is has to be known, since a program can make either look like the
//! other.

use wire::link::{LinkError, LinkErrorCode};

/// The head of a piece: its stream, and how long it is.
const HEAD_BYTES: usize = 8;

/// Where a piece comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Out,
    Err,
}

/// Takes the framing off, without ever waiting for the end of a piece.
pub(super) struct Pieces {
    is_tty: bool,
    head: Vec<u8>,
    source: Source,
    left: usize,
}

impl Pieces {
    pub(super) fn new(is_tty: bool) -> Self {
        Self { is_tty, head: Vec::with_capacity(HEAD_BYTES), source: Source::Out, left: 0 }
    }

    pub(super) fn take<'a>(&mut self, mut bytes: &'a [u8]) -> Result<Vec<(Source, &'a [u8])>, LinkError> {
        if self.is_tty {
            return Ok(vec![(Source::Out, bytes)]);
        }
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = (HEAD_BYTES - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..missing]);
                bytes = &bytes[missing..];
                let [kind, _, _, _, a, b, c, d] = self.head[..] else { break };
                self.source = match kind {
                    0 | 1 => Source::Out,
                    2 => Source::Err,
                    other => {
                        let message = format!("the engine sent output of an unknown stream ({other})");
                        return Err(LinkError::new(LinkErrorCode::Engine, message));
                    }
                };
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.head.clear();
                continue;
            }
            let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= piece.len();
            bytes = rest;
            pieces.push((self.source, piece));
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_told_apart_however_it_is_cut() {
        let mut stream = Vec::new();
        for (kind, text) in [(1_u8, "out"), (2, "err"), (1, ""), (1, "more")] {
            stream.extend([kind, 0, 0, 0]);
            stream.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            stream.extend(text.as_bytes());
        }

        for size in 1..=stream.len() {
            let mut pieces = Pieces::new(false);
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for cut in stream.chunks(size) {
                for (source, piece) in pieces.take(cut).unwrap() {
                    match source {
                        Source::Out => out.extend(piece),
                        Source::Err => err.extend(piece),
                    }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"outmore"[..], &b"err"[..]), "pieces of {size}");
        }
    }

    #[test]
    fn output_that_claims_to_be_endless_is_not_waited_for() {
        let pieces = |bytes| Pieces::new(false).take(bytes).map(|pieces| pieces.len());

        assert_eq!(pieces(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x']), Ok(1));
        assert!(pieces(&[b'x'; 8]).is_err());
    }

    #[test]
    fn what_a_terminal_shows_is_never_taken_for_framing() {
        let bytes = [2, 0, 0, 0, 0, 0, 0, 1, b'x'];

        assert_eq!(Pieces::new(true).take(&bytes).unwrap(), [(Source::Out, &bytes[..])]);
    }
}
