//! Profile pictures: what an account uploads is decoded and drawn again, so that nothing but pixels is kept;
//! and a dozen pictures of our own for those who have none.
//!
//! - `shape.rs`: checks that a file ends where its picture ends
//! - `defaults.rs`, `canvas.rs`: our own pictures
//!
//! Decoding a picture of the largest size takes up to some 200 MiB for a moment: one at a time is enough.

mod canvas;
mod defaults;
mod shape;

#[cfg(test)]
mod tests;

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::png::{CompressionType, FilterType, PngEncoder},
    error::LimitErrorKind,
    imageops,
};

pub use self::defaults::{DEFAULTS, draw_default};

/// How many bytes an upload may have.
pub const MAX_BYTES: usize = 5 << 20;
/// How wide and how high an upload may be.
pub const MAX_SIDE: u32 = 4096;
/// How wide and how high the kept picture is at most.
pub const KEPT_SIDE: u32 = 512;

/// How much memory a decoder may ask for.
const MAX_ALLOCATION: u64 = 96 << 20;

/// Why an upload did not become a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Not a single byte arrived.
    #[error("the picture is empty; send a PNG, JPEG, WebP or GIF file")]
    Empty,
    /// The file is too large.
    #[error("the picture has more than {} MiB; send a smaller one", MAX_BYTES >> 20)]
    TooLarge,
    /// The content is of some other kind.
    #[error("the file is {found}; send a PNG, JPEG, WebP or GIF picture")]
    FormatUnsupported {
        /// What it seems to be.
        found: &'static str,
    },
    /// The picture is too wide, too high or too deep.
    #[error("the picture is larger than {MAX_SIDE} by {MAX_SIDE} pixels; send a smaller one")]
    TooManyPixels,
    /// The file ends before the picture does.
    #[error("the picture is cut off; upload it again")]
    Truncated,
    /// The file goes on after the picture.
    #[error("the picture has other content after its end; save it again with a picture editor")]
    ExtraData,
    /// The picture cannot be decoded.
    #[error("the picture is damaged; save it again with a picture editor")]
    Corrupt,
}

impl PictureError {
    /// The stable name of this error for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "picture_empty",
            Self::TooLarge => "picture_too_large",
            Self::FormatUnsupported { .. } => "picture_format_unsupported",
            Self::TooManyPixels => "picture_too_many_pixels",
            Self::Truncated => "picture_truncated",
            Self::ExtraData => "picture_extra_data",
            Self::Corrupt => "picture_corrupt",
        }
    }
}

/// Decodes an uploaded picture (PNG, JPEG, WebP or GIF, told apart by content) and draws it again as a PNG of
/// at most 512 by 512 pixels. The first frame of an animation is taken. Place, camera, comments, colour profile
/// and whatever else the file holds are gone; only the orientation is applied.
pub fn reencode(bytes: &[u8]) -> Result<Vec<u8>, PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    if bytes.len() > MAX_BYTES {
        return Err(PictureError::TooLarge);
    }
    let format = recognise(bytes)?;
    shape::check(bytes, format)?;

    let picture = decode(bytes, format)?;
    encode(&shrink(picture))
}

/// Decides by the first bytes what a file is.
fn recognise(bytes: &[u8]) -> Result<ImageFormat, PictureError> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => return Ok(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => return Ok(ImageFormat::Jpeg),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => return Ok(ImageFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => return Ok(ImageFormat::WebP),
        _ => {}
    }

    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with));
    let found = if begins(b"<svg") || begins(b"<?xml") {
        "an SVG drawing, which can carry programs"
    } else if begins(b"<!doctype") || begins(b"<html") || begins(b"<script") {
        "an HTML page"
    } else if begins(b"%PDF-") {
        "a PDF document"
    } else if begins(b"BM") || begins(b"II*\0") || begins(b"MM\0*") || bytes.get(4..8) == Some(b"ftyp") {
        "a picture of another kind"
    } else {
        "no picture"
    };
    Err(PictureError::FormatUnsupported { found })
}

fn decode(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, PictureError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);

    let mut decoder = reader.into_decoder().map_err(|error| decode_error(&error))?;
    let orientation = decoder.orientation().map_err(|error| decode_error(&error))?;
    if decoder.total_bytes() > MAX_ALLOCATION {
        return Err(PictureError::TooManyPixels);
    }
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| decode_error(&error))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn decode_error(error: &ImageError) -> PictureError {
    match error {
        ImageError::Limits(limit)
            if matches!(
                limit.kind(),
                LimitErrorKind::DimensionError | LimitErrorKind::InsufficientMemory
            ) =>
        {
            PictureError::TooManyPixels
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated
        }
        _ => PictureError::Corrupt,
    }
}

/// Fits the picture into the kept size. Far larger ones are averaged down first, which is much faster.
fn shrink(picture: DynamicImage) -> DynamicImage {
    let longest = picture.width().max(picture.height());
    if longest <= KEPT_SIDE {
        return picture;
    }
    let coarse =
        if longest > 3 * KEPT_SIDE { picture.thumbnail(2 * KEPT_SIDE, 2 * KEPT_SIDE) } else { picture };
    coarse.resize(KEPT_SIDE, KEPT_SIDE, imageops::FilterType::CatmullRom)
}

/// Writes eight bits per channel and nothing else.
fn encode(picture: &DynamicImage) -> Result<Vec<u8>, PictureError> {
    let mut out = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive);
    let (width, height) = (picture.width(), picture.height());
    let written = if picture.color().has_alpha() {
        encoder.write_image(&picture.to_rgba8(), width, height, image::ExtendedColorType::Rgba8)
    } else {
        encoder.write_image(&picture.to_rgb8(), width, height, image::ExtendedColorType::Rgb8)
    };
    written.map_err(|_| PictureError::Corrupt)?;
    Ok(out)
}
