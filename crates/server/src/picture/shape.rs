//! Walks through the outer structure of a picture file without decoding it, and checks that the file ends with
//! the picture. Decoders stop at the end of the picture and ignore the rest, which is where a file hides that
//! is also something else.

use image::ImageFormat;

use super::PictureError;

/// Beginnings of documents and programs that must not follow a JPEG.
const FOREIGN: [&[u8]; 8] =
    [b"PK\x03\x04", b"PK\x05\x06", b"%PDF-", b"Rar!", b"<html", b"<script", b"<svg", b"<?php"];

/// Checks one file.
pub(super) fn check(bytes: &[u8], format: ImageFormat) -> Result<(), PictureError> {
    let mut bytes = Bytes(bytes);
    match format {
        ImageFormat::Png => png(&mut bytes)?,
        ImageFormat::Gif => gif(&mut bytes)?,
        ImageFormat::WebP => webp(&mut bytes)?,
        ImageFormat::Jpeg => {
            jpeg(&mut bytes)?;
            return jpeg_tail(bytes.0);
        }
        _ => {}
    }
    if bytes.0.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(PictureError::ExtraData) }
}

/// What is still unread.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PictureError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(PictureError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PictureError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(PictureError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, PictureError> {
        self.array::<1>().map(|[byte]| byte)
    }
}

fn length(number: u32) -> Result<usize, PictureError> {
    usize::try_from(number).map_err(|_| PictureError::Truncated)
}

/// Chunks until the one that ends the picture.
fn png(bytes: &mut Bytes<'_>) -> Result<(), PictureError> {
    bytes.take(8)?;
    loop {
        let count = length(u32::from_be_bytes(bytes.array()?))?;
        let kind: [u8; 4] = bytes.array()?;
        bytes.take(count)?;
        bytes.take(4)?;
        if kind == *b"IEND" {
            return Ok(());
        }
    }
}

/// Blocks until the trailer.
fn gif(bytes: &mut Bytes<'_>) -> Result<(), PictureError> {
    let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let head: [u8; 13] = bytes.array()?;
    bytes.take(colours(head[10]))?;
    loop {
        match bytes.byte()? {
            0x3b => return Ok(()),
            0x21 => {
                bytes.take(1)?;
            }
            0x2c => {
                let image: [u8; 9] = bytes.array()?;
                bytes.take(colours(image[8]))?;
                bytes.take(1)?;
            }
            _ => return Err(PictureError::Corrupt),
        }
        loop {
            let count = usize::from(bytes.byte()?);
            if count == 0 {
                break;
            }
            bytes.take(count)?;
        }
    }
}

/// One container whose length stands at its beginning.
fn webp(bytes: &mut Bytes<'_>) -> Result<(), PictureError> {
    bytes.take(4)?;
    let count = length(u32::from_le_bytes(bytes.array()?))?;
    bytes.take(count).map(drop)
}

/// Segments and scans until the end marker.
fn jpeg(bytes: &mut Bytes<'_>) -> Result<(), PictureError> {
    bytes.take(2)?;
    loop {
        if bytes.byte()? != 0xff {
            return Err(PictureError::Corrupt);
        }
        let mut marker = bytes.byte()?;
        while marker == 0xff {
            marker = bytes.byte()?;
        }
        match marker {
            0xd9 => return Ok(()),
            0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        let count = usize::from(u16::from_be_bytes(bytes.array()?));
        bytes.take(count.checked_sub(2).ok_or(PictureError::Corrupt)?)?;
        if marker == 0xda {
            skip_scan(bytes)?;
        }
    }
}

/// Passes over compressed data, up to the next marker that is neither stuffing nor a restart.
fn skip_scan(bytes: &mut Bytes<'_>) -> Result<(), PictureError> {
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    let end = bytes.0.windows(2).position(is_marker).ok_or(PictureError::Truncated)?;
    bytes.take(end).map(drop)
}

/// Cameras add further pictures, depth maps and notes after the end of a JPEG, so what follows is only refused
/// if it looks like a document or a program.
fn jpeg_tail(tail: &[u8]) -> Result<(), PictureError> {
    let is_foreign = |start: &[u8]| {
        FOREIGN.iter().any(|with| start.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with)))
    };
    let has_foreign = (0..tail.len()).any(|at| is_foreign(&tail[at..]));
    if has_foreign { Err(PictureError::ExtraData) } else { Ok(()) }
}
