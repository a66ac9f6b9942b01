//! What a picture may be, with one that breaks each rule.

use std::collections::HashSet;

use image::{
    DynamicImage, GenericImageView, ImageEncoder, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage,
    codecs::{gif::GifEncoder, jpeg::JpegEncoder, png::PngEncoder},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{DEFAULTS, KEPT_SIDE, MAX_BYTES, MAX_SIDE, draw_default, reencode};

const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP];

/// Red on the left, blue on the right.
fn halves(width: u32, height: u32) -> DynamicImage {
    let paint = |x, _| if x < width / 2 { Rgb([250, 10, 10]) } else { Rgb([10, 10, 250]) };
    RgbImage::from_fn(width, height, paint).into()
}

fn packed(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn kept(bytes: &[u8]) -> DynamicImage {
    let png = reencode(bytes).expect("the picture is honest");
    assert_eq!(chunks(&png), HashSet::from(["IHDR", "IDAT", "IEND"].map(str::to_owned)));
    image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap()
}

/// The kinds of chunks in a PNG.
fn chunks(png: &[u8]) -> HashSet<String> {
    let mut kinds = HashSet::new();
    let mut rest = &png[8..];
    while !rest.is_empty() {
        let length = u32::from_be_bytes(*rest.first_chunk().unwrap());
        kinds.insert(String::from_utf8(rest[4..8].to_vec()).unwrap());
        rest = &rest[12 + usize::try_from(length).unwrap()..];
    }
    kinds
}

fn is_red(pixel: Rgba<u8>) -> bool {
    pixel[0] > 200 && pixel[2] < 80
}

fn is_blue(pixel: Rgba<u8>) -> bool {
    pixel[2] > 200 && pixel[0] < 80
}

#[track_caller]
fn assert_refused(bytes: &[u8], code: &str) -> String {
    let error = reencode(bytes).expect_err("the picture breaks a rule");
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

/// A chunk of a PNG with a right check sum.
fn chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(&kind);
    crc.update(content);
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], &kind, content, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn every_format_is_told_by_its_content_and_drawn_again() {
    for format in FORMATS {
        let picture = kept(&packed(&halves(64, 32), format));

        assert_eq!(picture.dimensions(), (64, 32));
        assert!(is_red(picture.get_pixel(8, 16)) && is_blue(picture.get_pixel(56, 16)), "{format:?}");
    }
}

#[test]
fn a_large_picture_is_fitted_without_distortion() {
    for (given, expected) in [
        ((1024, 512), (512, 256)),
        ((513, 513), (512, 512)),
        ((600, 3), (512, 3)),
        ((200, 1800), (57, 512)),
        ((4096, 1), (512, 1)),
    ] {
        let picture = kept(&packed(&halves(given.0, given.1), ImageFormat::Png));
        assert_eq!(picture.dimensions(), expected);
        assert!(picture.width() <= KEPT_SIDE && picture.height() <= KEPT_SIDE);
    }
}

#[test]
fn transparency_is_kept() {
    let picture: DynamicImage = RgbaImage::from_pixel(4, 4, Rgba([1, 2, 3, 0])).into();

    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(kept(&packed(&picture, format)).get_pixel(0, 0)[3], 0);
    }
}

#[test]
fn sixteen_bits_become_eight() {
    let picture = kept(&packed(&DynamicImage::from(halves(8, 8).to_rgb16()), ImageFormat::Png));

    assert_eq!(picture.color(), image::ColorType::Rgb8);
}

#[test]
fn metadata_is_gone() {
    let mut png = packed(&halves(8, 8), ImageFormat::Png);
    png.splice(
        33..33,
        [
            chunk(*b"tEXt", b"Comment\0<script>alert(1)</script>"),
            chunk(*b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"),
        ]
        .concat(),
    );
    let mut jpeg = packed(&halves(8, 8), ImageFormat::Jpeg);
    let comment = b"GPS 52.5 13.4 <script>";
    let length = u16::try_from(comment.len() + 2).unwrap().to_be_bytes();
    jpeg.splice(2..2, [&[0xff, 0xfe][..], &length, comment].concat());

    for bytes in [png, jpeg] {
        kept(&bytes);
        let out = reencode(&bytes).unwrap();
        assert!(!out.windows(7).any(|part| part == b"<script"));
    }
}

#[test]
fn the_orientation_of_a_photo_is_applied() {
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new(&mut out);
    // One entry, orientation: turn by 90 degrees clockwise.
    let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.encode_image(&halves(64, 32)).unwrap();

    let picture = kept(&out);

    assert_eq!(picture.dimensions(), (32, 64));
    assert!(is_red(picture.get_pixel(16, 8)) && is_blue(picture.get_pixel(16, 56)));
}

#[test]
fn the_first_frame_of_an_animation_is_taken() {
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new(&mut out);
    let frame = |colour| image::Frame::new(RgbaImage::from_pixel(8, 8, Rgba(colour)));
    encoder.encode_frames([frame([255, 0, 0, 255]), frame([0, 0, 255, 255])]).unwrap();
    drop(encoder);

    assert!(is_red(kept(&out).get_pixel(4, 4)));
}

#[test]
fn an_empty_file_is_refused() {
    assert_refused(b"", "picture_empty");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let mut bytes = packed(&halves(8, 8), ImageFormat::Png);
    bytes.resize(MAX_BYTES + 1, 0);
    assert_refused(&bytes, "picture_too_large");

    bytes.truncate(MAX_BYTES);
    kept(&bytes);
}

#[test]
fn drawings_pages_and_other_files_are_refused() {
    let cases: [(&[u8], &str); 10] = [
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "an SVG drawing"),
        (b"\xef\xbb\xbf\n <?xml version=\"1.0\"?><svg/>", "an SVG drawing"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"  <HTML>", "an HTML page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"BM\x00\x00", "a picture of another kind"),
        (b"II*\0", "a picture of another kind"),
        (b"\0\0\0\x20ftypheic", "a picture of another kind"),
        (b"PK\x03\x04", "no picture"),
        (b"\x89PNG\n", "no picture"),
    ];
    for (bytes, what) in cases {
        let message = assert_refused(bytes, "picture_format_unsupported");
        assert!(message.starts_with(&format!("the file is {what}")), "{message}");
    }
}

#[test]
fn a_picture_cut_off_anywhere_is_refused() {
    for format in FORMATS {
        let whole = packed(&halves(64, 64), format);
        for part in [16, 30, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
            assert_refused(&whole[..part], "picture_truncated");
        }
    }
}

#[test]
fn a_picture_that_is_also_something_else_is_refused() {
    for format in FORMATS {
        let picture = packed(&halves(8, 8), format);
        let tails: [&[u8]; 5] =
            [b"PK\x03\x04 archive PK\x05\x06", b"\0\0%PDF-1.7", b"xx<ScRiPt>", b"<?php", b"..<svg onload=x>"];
        for tail in tails {
            assert_refused(&[&picture[..], tail].concat(), "picture_extra_data");
        }
        kept(&[&picture[..], &[0; 4]].concat());
    }
}

#[test]
fn only_a_jpeg_may_carry_what_cameras_add() {
    for format in FORMATS {
        let picture = packed(&halves(8, 8), format);
        let with_preview =
            [&picture[..], &packed(&halves(4, 4), ImageFormat::Jpeg), b"SEFT maker notes"].concat();
        if format == ImageFormat::Jpeg {
            kept(&with_preview);
        } else {
            assert_refused(&with_preview, "picture_extra_data");
        }
    }
}

#[test]
fn a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded() {
    for (width, height) in [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (1 << 30, 1 << 30), (65_000, 65_000)] {
        let mut head = [0; 13];
        head[..4].copy_from_slice(&width.to_be_bytes());
        head[4..8].copy_from_slice(&height.to_be_bytes());
        head[8..10].copy_from_slice(&[8, 2]);
        let bomb = [
            b"\x89PNG\r\n\x1a\n".to_vec(),
            chunk(*b"IHDR", &head),
            chunk(*b"IDAT", b"\x78\x9c\x03\0\0\0\0\x01"),
            chunk(*b"IEND", b""),
        ];
        assert_refused(&bomb.concat(), "picture_too_many_pixels");
    }

    let mut gif = packed(&halves(8, 8), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    assert_refused(&gif, "picture_too_many_pixels");

    let mut jpeg = packed(&halves(8, 8), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xf0, 0xff, 0xf0]);
    assert_refused(&jpeg, "picture_too_many_pixels");
}

#[test]
fn a_picture_with_too_many_bits_for_its_pixels_is_refused() {
    let mut head = [0; 13];
    head[..4].copy_from_slice(&MAX_SIDE.to_be_bytes());
    head[4..8].copy_from_slice(&MAX_SIDE.to_be_bytes());
    head[8..10].copy_from_slice(&[16, 6]);
    let bomb = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(*b"IHDR", &head),
        chunk(*b"IDAT", b"\x78\x9c\x03\0\0\0\0\x01"),
        chunk(*b"IEND", b""),
    ];

    assert_refused(&bomb.concat(), "picture_too_many_pixels");
}

#[test]
fn a_damaged_picture_is_refused() {
    let mut png = packed(&halves(64, 64), ImageFormat::Png);
    png[50] ^= 0xff;
    assert_refused(&png, "picture_corrupt");

    let mut gif = packed(&halves(64, 64), ImageFormat::Gif);
    let end = gif.len() - 1;
    gif[end] = 0x55;
    assert_refused(&gif, "picture_corrupt");
}

#[test]
fn every_default_picture_can_be_drawn_and_no_other() {
    let mut drawings = HashSet::new();
    for name in DEFAULTS {
        let png = draw_default(name).expect("it is in the list");
        assert_eq!(draw_default(name).as_ref(), Some(&png), "it is the same every time");
        let picture = image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap();
        assert_eq!(picture.dimensions(), (256, 256));
        reencode(&png).expect("it passes as an upload");
        assert!(drawings.insert(png), "{name} looks like another");
    }
    assert_eq!(DEFAULTS.len(), 12);
    assert!(DEFAULTS.contains(&"abc.png"));
    for name in ["", "abc", "ABC.png", "../abc.png", "x.png"] {
        assert_eq!(draw_default(name), None);
    }
}

#[test]
#[ignore = "writes a sheet with the pictures, to look at them"]
fn show_the_default_pictures() {
    let mut sheet = RgbImage::new(4 * 264, 3 * 264);
    for (index, name) in (0_u32..).zip(DEFAULTS) {
        let picture = image::load_from_memory(&draw_default(name).unwrap()).unwrap().to_rgb8();
        let place = (i64::from(index % 4 * 264), i64::from(index / 4 * 264));
        image::imageops::overlay(&mut sheet, &picture, place.0, place.1);
    }
    let path = tempfile::tempdir().unwrap().keep().join("sheet.png");
    sheet.save(&path).unwrap();
    println!("{}", path.display());
}

/// The smallest encoders make the smallest inputs to mutate.
fn tiny(format: ImageFormat) -> Vec<u8> {
    if format == ImageFormat::Png {
        let mut out = Vec::new();
        PngEncoder::new(&mut out).write_image(&[7; 12], 2, 2, image::ExtendedColorType::Rgb8).unwrap();
        return out;
    }
    packed(&halves(2, 2), format)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        format in select(FORMATS.to_vec()),
        changes in vec((any::<usize>(), any::<u8>()), 0..6),
        tail in vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = tiny(format);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.extend(tail);
        if let Ok(png) = reencode(&bytes) {
            let picture = image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap();
            prop_assert!(picture.width() <= KEPT_SIDE && picture.height() <= KEPT_SIDE);
        }
    }
}
