//! The pictures for accounts without one: a dozen things from the harbour, drawn here and so free for every use.

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

use super::canvas::{Canvas, Point, SIDE, below, block, disc, line, polygon, ring};

/// The names of the built-in pictures. `abc.png` is the one an account has if it chose none.
pub const DEFAULTS: &[&str] = &[
    "abc.png",
    "anchor.png",
    "buoy.png",
    "compass.png",
    "containers.png",
    "crane.png",
    "fish.png",
    "gull.png",
    "helm.png",
    "lighthouse.png",
    "sail.png",
    "waves.png",
];

const NAVY: u32 = 0x16_32_4f;
const DEEP: u32 = 0x1b_4f_72;
const SEA: u32 = 0x2a_7f_9e;
const LAGOON: u32 = 0x5f_b3_b3;
const SKY: u32 = 0xa9_d6_e5;
const MIST: u32 = 0xdc_ee_f3;
const FOAM: u32 = 0xf7_fb_fc;
const SAND: u32 = 0xf0_cf_8e;
const SUN: u32 = 0xf6_b9_3b;
const CORAL: u32 = 0xe0_5d_44;
const WINE: u32 = 0xa8_3c_3b;
const MOSS: u32 = 0x5b_8e_5a;

/// Half the square root of two: a step along a diagonal.
const DIAGONAL: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Draws a built-in picture as a PNG of 256 by 256 pixels; nothing for a name that is none of `DEFAULTS`.
pub fn draw_default(name: &str) -> Option<Vec<u8>> {
    let canvas = match name {
        "abc.png" => abc(),
        "anchor.png" => anchor(),
        "buoy.png" => buoy(),
        "compass.png" => compass(),
        "containers.png" => containers(),
        "crane.png" => crane(),
        "fish.png" => fish(),
        "gull.png" => gull(),
        "helm.png" => helm(),
        "lighthouse.png" => lighthouse(),
        "sail.png" => sail(),
        "waves.png" => waves(),
        _ => return None,
    };
    let mut png = Vec::new();
    let side = u32::from(SIDE);
    PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive)
        .write_image(&canvas.into_bytes(), side, side, ExtendedColorType::Rgb8)
        .expect("a canvas has as many bytes as its size says, and memory takes them");
    Some(png)
}

/// The surface of water: arcs side by side, from `height` down.
fn swell(height: f32, width: f32, shift: f32) -> impl Fn(Point) -> f32 {
    move |(x, y)| {
        let along = (x + shift).rem_euclid(width) - width / 2.0;
        let trough = disc((0.0, -width * 0.55), width * 0.75);
        let crest = width * 0.2;
        (-trough((along, y - height - crest))).max(height - y)
    }
}

fn sea(canvas: &mut Canvas, height: f32) {
    canvas.fill(SEA, swell(height, 52.0, 10.0));
    canvas.fill(DEEP, swell(height + 26.0, 64.0, 40.0));
    canvas.fill(NAVY, swell(height + 54.0, 76.0, 0.0));
}

fn abc() -> Canvas {
    let mut canvas = Canvas::fading(MIST, SKY);
    for (left, bottom, paint) in [(16.0, 208.0, CORAL), (94.0, 208.0, SEA), (172.0, 208.0, SUN)] {
        canvas.glaze(NAVY, 0.18, block((left + 2.0, bottom - 66.0), (left + 72.0, bottom + 8.0), 12.0));
        canvas.fill(paint, block((left, bottom - 72.0), (left + 68.0, bottom), 10.0));
    }
    let bowl = |x: f32| ring((x, 176.0), 15.0, 10.0);
    canvas.fill(FOAM, bowl(48.0));
    canvas.fill(FOAM, line((63.0, 161.0), (63.0, 191.0), 10.0));
    canvas.fill(FOAM, bowl(130.0));
    canvas.fill(FOAM, line((115.0, 149.0), (115.0, 191.0), 10.0));
    let opening = polygon([(208.0, 176.0), (240.0, 152.0), (240.0, 200.0)]);
    let round = bowl(206.0);
    canvas.fill(FOAM, move |place| round(place).max(-opening(place)));

    canvas.fill(FOAM, disc((92.0, 74.0), 24.0));
    canvas.fill(FOAM, disc((124.0, 62.0), 32.0));
    canvas.fill(FOAM, disc((160.0, 72.0), 26.0));
    canvas.fill(FOAM, block((92.0, 72.0), (160.0, 98.0), 1.0));
    canvas
}

fn anchor() -> Canvas {
    let mut canvas = Canvas::fading(LAGOON, DEEP);
    canvas.fill(FOAM, ring((128.0, 58.0), 17.0, 11.0));
    canvas.fill(FOAM, line((128.0, 80.0), (128.0, 206.0), 15.0));
    canvas.fill(FOAM, line((92.0, 98.0), (164.0, 98.0), 13.0));
    let arms = ring((128.0, 140.0), 66.0, 15.0);
    let lower = below(146.0);
    canvas.fill(FOAM, move |place| arms(place).max(lower(place)));
    canvas.fill(FOAM, polygon([(62.0, 118.0), (40.0, 160.0), (86.0, 152.0)]));
    canvas.fill(FOAM, polygon([(194.0, 118.0), (216.0, 160.0), (170.0, 152.0)]));
    canvas
}

fn buoy() -> Canvas {
    let mut canvas = Canvas::fading(MIST, SKY);
    canvas.glaze(SUN, 0.35, disc((128.0, 44.0), 34.0));
    canvas.fill(SUN, disc((128.0, 44.0), 15.0));
    canvas.fill(NAVY, line((128.0, 56.0), (128.0, 84.0), 6.0));
    canvas.fill(NAVY, block((108.0, 78.0), (148.0, 88.0), 4.0));
    canvas.fill(CORAL, polygon([(108.0, 88.0), (148.0, 88.0), (172.0, 190.0), (84.0, 190.0)]));
    canvas.fill(FOAM, polygon([(101.0, 118.0), (155.0, 118.0), (161.8, 147.0), (94.2, 147.0)]));
    canvas.glaze(NAVY, 0.14, polygon([(130.0, 88.0), (148.0, 88.0), (172.0, 190.0), (138.0, 190.0)]));
    canvas.fill(WINE, block((68.0, 180.0), (188.0, 206.0), 12.0));
    sea(&mut canvas, 186.0);
    canvas
}

fn compass() -> Canvas {
    let mut canvas = Canvas::fading(NAVY, DEEP);
    let centre = (128.0, 128.0);
    canvas.fill(SAND, disc(centre, 98.0));
    canvas.fill(FOAM, disc(centre, 84.0));
    for (x, y) in [(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)] {
        let at = |far: f32| (128.0 + x * far, 128.0 + y * far);
        canvas.fill(NAVY, line(at(70.0), at(78.0), 5.0));
    }
    for (x, y) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
        let at = |far: f32| (128.0 + x * far * DIAGONAL, 128.0 + y * far * DIAGONAL);
        canvas.fill(SKY, line(at(72.0), at(78.0), 4.0));
    }
    // The needle points north-east; its sides are at right angles to that.
    let at =
        |along: f32, across: f32| (128.0 + (along + across) * DIAGONAL, 128.0 + (across - along) * DIAGONAL);
    canvas.fill(CORAL, polygon([at(64.0, 0.0), at(0.0, 17.0), at(0.0, -17.0)]));
    canvas.fill(SEA, polygon([at(-64.0, 0.0), at(0.0, 17.0), at(0.0, -17.0)]));
    canvas.glaze(NAVY, 0.18, polygon([at(64.0, 0.0), at(-64.0, 0.0), at(0.0, 17.0)]));
    canvas.fill(SAND, disc(centre, 9.0));
    canvas
}

/// A container seen from the side.
fn container(canvas: &mut Canvas, left: f32, top: f32, paint: u32) {
    canvas.fill(paint, block((left, top), (left + 92.0, top + 44.0), 3.0));
    for rib in [13.0, 24.0, 35.0, 46.0, 57.0, 68.0, 79.0] {
        canvas.glaze(NAVY, 0.22, line((left + rib, top + 9.0), (left + rib, top + 35.0), 3.0));
    }
    canvas.glaze(FOAM, 0.25, block((left, top), (left + 92.0, top + 4.0), 2.0));
}

fn containers() -> Canvas {
    let mut canvas = Canvas::fading(SKY, MIST);
    canvas.fill(SAND, below(206.0));
    canvas.glaze(NAVY, 0.12, below(240.0));
    container(&mut canvas, 32.0, 162.0, DEEP);
    container(&mut canvas, 132.0, 162.0, CORAL);
    container(&mut canvas, 32.0, 114.0, SUN);
    container(&mut canvas, 132.0, 114.0, LAGOON);
    container(&mut canvas, 82.0, 66.0, MOSS);
    canvas
}

fn crane() -> Canvas {
    let mut canvas = Canvas::fading(SAND, MIST);
    canvas.fill(SUN, disc((196.0, 78.0), 24.0));
    let steel = |canvas: &mut Canvas, from: Point, to: Point, thickness: f32| {
        canvas.fill(NAVY, line(from, to, thickness));
    };
    steel(&mut canvas, (72.0, 92.0), (54.0, 214.0), 9.0);
    steel(&mut canvas, (112.0, 92.0), (130.0, 214.0), 9.0);
    steel(&mut canvas, (63.0, 154.0), (121.0, 154.0), 6.0);
    steel(&mut canvas, (66.0, 138.0), (127.0, 196.0), 4.0);
    steel(&mut canvas, (118.0, 138.0), (57.0, 196.0), 4.0);
    steel(&mut canvas, (26.0, 92.0), (228.0, 92.0), 10.0);
    steel(&mut canvas, (92.0, 92.0), (92.0, 44.0), 8.0);
    steel(&mut canvas, (92.0, 46.0), (206.0, 90.0), 4.0);
    steel(&mut canvas, (92.0, 46.0), (36.0, 90.0), 4.0);
    steel(&mut canvas, (176.0, 96.0), (176.0, 134.0), 3.0);
    steel(&mut canvas, (198.0, 96.0), (198.0, 134.0), 3.0);
    canvas.fill(CORAL, block((156.0, 132.0), (218.0, 164.0), 3.0));
    for rib in [166.0, 176.5, 187.0, 197.5, 208.0] {
        canvas.glaze(NAVY, 0.25, line((rib, 139.0), (rib, 157.0), 3.0));
    }
    sea(&mut canvas, 198.0);
    canvas
}

fn fish() -> Canvas {
    let mut canvas = Canvas::fading(LAGOON, DEEP);
    // Where two discs overlap is the shape of an almond.
    let (upper, lower) = (disc((116.0, 196.0), 104.0), disc((116.0, 60.0), 104.0));
    let body = move |place: Point| upper(place).max(lower(place));
    canvas.fill(CORAL, polygon([(182.0, 128.0), (230.0, 90.0), (218.0, 128.0), (230.0, 166.0)]));
    canvas.fill(CORAL, polygon([(96.0, 100.0), (128.0, 72.0), (152.0, 104.0)]));
    canvas.fill(SUN, &body);
    let belly = disc((116.0, 226.0), 96.0);
    canvas.glaze(FOAM, 0.55, |place| body(place).max(belly(place)));
    let gill = disc((48.0, 128.0), 40.0);
    canvas.glaze(CORAL, 0.5, |place| body(place).max(gill(place).abs() - 2.5));
    canvas.fill(FOAM, disc((66.0, 120.0), 8.5));
    canvas.fill(NAVY, disc((64.5, 120.0), 4.5));
    for (x, y, radius) in [(34.0, 92.0, 7.0), (46.0, 66.0, 10.0), (30.0, 42.0, 5.0)] {
        canvas.glaze(FOAM, 0.7, ring((x, y), radius, 2.5));
    }
    canvas
}

fn gull() -> Canvas {
    let mut canvas = Canvas::fading(SKY, MIST);
    canvas.fill(SUN, disc((190.0, 66.0), 26.0));
    sea(&mut canvas, 200.0);
    // A wing is what a larger disc leaves of a smaller one.
    let wing = |outer: Point, inner: Point| {
        let (outer, inner) = (disc(outer, 62.0), disc(inner, 66.0));
        let above = below(118.0);
        move |place: Point| outer(place).max(-inner(place)).max(-above((place.0, place.1 - 22.0)))
    };
    canvas.fill(FOAM, wing((72.0, 140.0), (64.0, 160.0)));
    canvas.fill(FOAM, wing((184.0, 140.0), (192.0, 160.0)));
    canvas.fill(
        FOAM,
        polygon([(110.0, 108.0), (146.0, 108.0), (140.0, 150.0), (128.0, 178.0), (116.0, 150.0)]),
    );
    canvas.fill(FOAM, disc((128.0, 108.0), 17.0));
    canvas.fill(SUN, polygon([(122.0, 96.0), (134.0, 96.0), (128.0, 80.0)]));
    canvas.fill(NAVY, disc((121.0, 103.0), 2.8));
    canvas.fill(NAVY, disc((135.0, 103.0), 2.8));
    canvas
}

fn helm() -> Canvas {
    let mut canvas = Canvas::fading(DEEP, NAVY);
    let centre = (128.0, 128.0);
    let straight = [(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)];
    let slanted = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)]
        .map(|(x, y): Point| (x * DIAGONAL, y * DIAGONAL));
    for (x, y) in straight.into_iter().chain(slanted) {
        let at = |far: f32| (128.0 + x * far, 128.0 + y * far);
        canvas.fill(SAND, line(at(20.0), at(82.0), 9.0));
        canvas.fill(SAND, line(at(84.0), at(104.0), 13.0));
    }
    canvas.fill(SAND, ring(centre, 70.0, 19.0));
    canvas.glaze(WINE, 0.55, ring(centre, 70.0, 4.0));
    canvas.fill(SAND, disc(centre, 28.0));
    canvas.fill(WINE, disc(centre, 11.0));
    canvas
}

fn lighthouse() -> Canvas {
    let mut canvas = Canvas::fading(NAVY, SEA);
    for (x, y) in [(34.0, 34.0), (72.0, 92.0), (206.0, 110.0), (226.0, 28.0), (48.0, 148.0), (182.0, 30.0)] {
        canvas.glaze(FOAM, 0.8, disc((x, y), 2.0));
    }
    canvas.glaze(SUN, 0.4, polygon([(128.0, 66.0), (0.0, 34.0), (0.0, 104.0)]));
    canvas.glaze(SUN, 0.4, polygon([(128.0, 66.0), (256.0, 34.0), (256.0, 104.0)]));
    canvas.fill(FOAM, polygon([(108.0, 88.0), (148.0, 88.0), (164.0, 214.0), (92.0, 214.0)]));
    canvas.fill(CORAL, polygon([(105.0, 112.0), (151.0, 112.0), (154.8, 142.0), (101.2, 142.0)]));
    canvas.fill(CORAL, polygon([(97.4, 172.0), (158.6, 172.0), (162.4, 202.0), (93.6, 202.0)]));
    canvas.glaze(NAVY, 0.16, polygon([(132.0, 88.0), (148.0, 88.0), (164.0, 214.0), (138.0, 214.0)]));
    canvas.fill(SUN, block((114.0, 54.0), (142.0, 82.0), 3.0));
    canvas.fill(CORAL, polygon([(108.0, 54.0), (148.0, 54.0), (128.0, 32.0)]));
    canvas.fill(FOAM, block((100.0, 80.0), (156.0, 90.0), 4.0));
    canvas.fill(NAVY, disc((128.0, 262.0), 78.0));
    canvas.fill(NAVY, disc((52.0, 270.0), 60.0));
    canvas.fill(NAVY, disc((206.0, 268.0), 56.0));
    canvas
}

fn sail() -> Canvas {
    let mut canvas = Canvas::fading(SKY, MIST);
    canvas.fill(SUN, disc((58.0, 66.0), 24.0));
    canvas.fill(NAVY, line((128.0, 34.0), (128.0, 180.0), 6.0));
    canvas.fill(FOAM, polygon([(120.0, 48.0), (120.0, 166.0), (62.0, 166.0)]));
    canvas.fill(CORAL, polygon([(137.0, 40.0), (137.0, 166.0), (208.0, 166.0)]));
    canvas.glaze(FOAM, 0.4, polygon([(137.0, 112.0), (177.5, 112.0), (186.5, 128.0), (137.0, 128.0)]));
    canvas.fill(NAVY, polygon([(48.0, 178.0), (214.0, 178.0), (188.0, 220.0), (76.0, 220.0)]));
    canvas.glaze(FOAM, 0.8, polygon([(50.0, 181.0), (212.0, 181.0), (209.0, 187.0), (53.5, 187.0)]));
    sea(&mut canvas, 202.0);
    canvas
}

fn waves() -> Canvas {
    let mut canvas = Canvas::fading(MIST, SKY);
    // Rows of concentric arcs, each row half covered by the next.
    let radius = 40.0;
    for row in 0_u8..14 {
        let y = f32::from(row) * radius / 2.0 + 16.0;
        let shift = if row % 2 == 0 { 0.0 } else { radius };
        for column in 0_u8..5 {
            let centre = (f32::from(column) * 2.0 * radius + shift - radius / 2.0, y);
            canvas.dot(FOAM, centre, radius);
            canvas.dot(DEEP, centre, radius - 3.0);
            canvas.dot(FOAM, centre, radius - 12.0);
            canvas.dot(SEA, centre, radius - 15.0);
            canvas.dot(FOAM, centre, radius - 24.0);
            canvas.dot(LAGOON, centre, radius - 27.0);
        }
    }
    canvas
}
