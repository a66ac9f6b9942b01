//! A small canvas: shapes are distances to an edge, negative inside, so that edges come out smooth and shapes
//! can be joined, cut and outlined with `min` and `max`. Only `+ - * /` and square roots are used, which give
//! the same pixels on every machine.

use std::ops::Range;

/// Width and height of a drawing.
pub(super) const SIDE: u16 = 256;

/// A place on the canvas, y downwards.
pub(super) type Point = (f32, f32);

/// A colour as red, green and blue between 0 and 1.
type Colour = [f32; 3];

/// A drawing in progress.
pub(super) struct Canvas {
    pixels: Vec<Colour>,
}

impl Canvas {
    /// A canvas that fades from one colour at the top to another at the bottom.
    pub(super) fn fading(top: u32, bottom: u32) -> Self {
        let (top, bottom) = (colour(top), colour(bottom));
        let mut pixels = Vec::with_capacity(usize::from(SIDE) * usize::from(SIDE));
        for y in 0..SIDE {
            let part = f32::from(y) / f32::from(SIDE - 1);
            pixels.extend((0..SIDE).map(|_| mix(top, bottom, part)));
        }
        Self { pixels }
    }

    /// Fills a shape.
    pub(super) fn fill(&mut self, paint: u32, shape: impl Fn(Point) -> f32) {
        self.glaze(paint, 1.0, shape);
    }

    /// Fills a shape with a colour that lets the ground through.
    pub(super) fn glaze(&mut self, paint: u32, opacity: f32, shape: impl Fn(Point) -> f32) {
        self.cover(paint, opacity, 0..SIDE, 0..SIDE, shape);
    }

    /// Fills a disc, and looks only at the pixels around it: for patterns of many.
    pub(super) fn dot(&mut self, paint: u32, centre: Point, radius: f32) {
        let reach = radius + 1.0;
        let columns = pixel(centre.0 - reach)..pixel(centre.0 + reach + 1.0);
        let rows = pixel(centre.1 - reach)..pixel(centre.1 + reach + 1.0);
        self.cover(paint, 1.0, columns, rows, disc(centre, radius));
    }

    fn cover(
        &mut self,
        paint: u32,
        opacity: f32,
        columns: Range<u16>,
        rows: Range<u16>,
        shape: impl Fn(Point) -> f32,
    ) {
        let paint = colour(paint);
        for y in rows {
            for x in columns.clone() {
                let cover = (0.5 - shape((f32::from(x) + 0.5, f32::from(y) + 0.5))).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[usize::from(y) * usize::from(SIDE) + usize::from(x)];
                *pixel = mix(*pixel, paint, cover * opacity);
            }
        }
    }

    /// The pixels as bytes: red, green, blue, row by row.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.pixels.into_iter().flatten().map(byte).collect()
    }
}

/// The row or column of a place, on the canvas or at its edge.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped to the canvas"
)]
fn pixel(at: f32) -> u16 {
    at.clamp(0.0, f32::from(SIDE)) as u16
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is clamped to a byte")]
fn byte(level: f32) -> u8 {
    (level.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

fn colour(rgb: u32) -> Colour {
    let [_, red, green, blue] = rgb.to_be_bytes();
    [red, green, blue].map(|level| f32::from(level) / 255.0)
}

fn mix(from: Colour, to: Colour, part: f32) -> Colour {
    [0, 1, 2].map(|channel| from[channel] + (to[channel] - from[channel]) * part)
}

fn length((x, y): Point) -> f32 {
    (x * x + y * y).sqrt()
}

/// Distance to a disc.
pub(super) fn disc(centre: Point, radius: f32) -> impl Fn(Point) -> f32 {
    move |(x, y)| length((x - centre.0, y - centre.1)) - radius
}

/// Distance to a ring of the given thickness.
pub(super) fn ring(centre: Point, radius: f32, thickness: f32) -> impl Fn(Point) -> f32 {
    let disc = disc(centre, radius);
    move |place| disc(place).abs() - thickness / 2.0
}

/// Distance to a line with round ends.
pub(super) fn line(from: Point, to: Point, thickness: f32) -> impl Fn(Point) -> f32 {
    move |place| segment(place, from, to) - thickness / 2.0
}

/// Distance to a box with round corners.
pub(super) fn block(left_top: Point, right_bottom: Point, radius: f32) -> impl Fn(Point) -> f32 {
    let centre = (f32::midpoint(left_top.0, right_bottom.0), f32::midpoint(left_top.1, right_bottom.1));
    let half = ((right_bottom.0 - left_top.0) / 2.0 - radius, (right_bottom.1 - left_top.1) / 2.0 - radius);
    move |(x, y)| {
        let (beyond_x, beyond_y) = ((x - centre.0).abs() - half.0, (y - centre.1).abs() - half.1);
        length((beyond_x.max(0.0), beyond_y.max(0.0))) + beyond_x.max(beyond_y).min(0.0) - radius
    }
}

/// Distance to a polygon.
pub(super) fn polygon<const N: usize>(corners: [Point; N]) -> impl Fn(Point) -> f32 {
    move |place| {
        let mut nearest = f32::MAX;
        let mut is_inside = false;
        for (index, &to) in corners.iter().enumerate() {
            let from = corners[(index + N - 1) % N];
            nearest = nearest.min(segment(place, from, to));
            let crosses = (from.1 > place.1) != (to.1 > place.1);
            if crosses && place.0 < (to.0 - from.0) * (place.1 - from.1) / (to.1 - from.1) + from.0 {
                is_inside = !is_inside;
            }
        }
        if is_inside { -nearest } else { nearest }
    }
}

/// Distance to everything below a height.
pub(super) fn below(height: f32) -> impl Fn(Point) -> f32 {
    move |(_, y)| height - y
}

fn segment((x, y): Point, from: Point, to: Point) -> f32 {
    let (along_x, along_y) = (to.0 - from.0, to.1 - from.1);
    let (away_x, away_y) = (x - from.0, y - from.1);
    let squared = along_x * along_x + along_y * along_y;
    let part = ((away_x * along_x + away_y * along_y) / squared).clamp(0.0, 1.0);
    length((away_x - along_x * part, away_y - along_y * part))
}
