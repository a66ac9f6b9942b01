//! What BuildKit reports of a build, in the words of a build's log. It tells of *vertices*: steps of the Dockerfile, and what it does
//! beside them, such as looking images up.

use std::collections::BTreeMap;

use wire::link::BuildEvent;

use super::super::clip;
use super::protobuf::{Value, fields, text};

/// More are not told apart; a Dockerfile of a mebibyte still ends.
const VERTICES_MAX: usize = 20_000;
/// What is printed without an end of line is kept back until there are so many bytes of it.
const LINE_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
struct Vertex {
    is_step: bool,
    is_begun: bool,
    is_cached: bool,
    /// The beginning of a line: whoever covers secrets needs whole ones.
    line: Vec<u8>,
}

/// Reads the reports of one build.
#[derive(Default)]
pub(super) struct Trace {
    vertices: BTreeMap<String, Vertex>,
    begun: u32,
}

/// What one report says.
#[derive(Default)]
pub(super) struct Told {
    pub(super) events: Vec<BuildEvent>,
    /// Images that the Dockerfile names, as they are looked up.
    pub(super) images: Vec<String>,
    /// A front end that reads the Dockerfile in the engine's place.
    pub(super) front_end: Option<String>,
}

impl Trace {
    pub(super) fn take(&mut self, report: &[u8]) -> Told {
        let mut told = Told::default();
        let parts = |number: u64| {
            fields(report).filter_map(move |(field, value)| match value {
                Value::Bytes(bytes) if field == number => Some(bytes),
                _ => None,
            })
        };
        for vertex in parts(1) {
            self.know(vertex);
        }
        for vertex in parts(1) {
            self.take_vertex(vertex, &mut told);
        }
        for log in parts(3) {
            self.take_log(log, &mut told);
        }
        // What was printed last may come in the same report as the end.
        let is_over = |vertex: &&[u8]| fields(vertex).any(|(field, _)| field == 6);
        for digest in parts(1).filter(is_over).filter_map(|vertex| text(vertex, 1)) {
            if let Some(vertex) = self.vertices.get_mut(digest) {
                vertex.flush(&mut told);
            }
        }
        told
    }

    /// All vertices are known before the first one begins, so that steps can be counted.
    fn know(&mut self, message: &[u8]) {
        let (Some(digest), Some(name)) = (text(message, 1), text(message, 3)) else { return };
        if self.vertices.len() < VERTICES_MAX && !self.vertices.contains_key(digest) {
            let vertex = Vertex { is_step: instruction(name).is_some(), ..Vertex::default() };
            self.vertices.insert(digest.to_owned(), vertex);
        }
    }

    fn take_vertex(&mut self, message: &[u8], told: &mut Told) {
        let (Some(digest), Some(name)) = (text(message, 1), text(message, 3)) else { return };
        if let Some(image) = name.strip_prefix("[internal] load metadata for ") {
            told.images.push(image.to_owned());
        }
        if let Some(image) = name.strip_prefix("resolve image config for ") {
            told.front_end = Some(image.trim_start_matches("docker-image://").to_owned());
        }
        let steps = self.vertices.values().filter(|vertex| vertex.is_step).count();
        let Some(vertex) = self.vertices.get_mut(digest) else { return };
        let mut is_cached = false;
        let mut is_begun = false;
        for (field, value) in fields(message) {
            match (field, value) {
                (4, Value::Number(cached)) => is_cached = cached != 0,
                (5, Value::Bytes(_)) => is_begun = true,
                _ => {}
            }
        }
        let Some(instruction) = instruction(name) else { return };
        if (is_begun || is_cached) && !vertex.is_begun {
            vertex.is_begun = true;
            self.begun += 1;
            let steps = u32::try_from(steps).unwrap_or(u32::MAX);
            let text = clip(instruction.trim_end());
            told.events.push(BuildEvent::Step { step: self.begun.min(steps), steps, text });
        }
        if is_cached && !vertex.is_cached {
            vertex.is_cached = true;
            told.events.push(BuildEvent::Log(" ---> Using cache\n".to_owned()));
        }
    }

    fn take_log(&mut self, message: &[u8], told: &mut Told) {
        let Some(vertex) = text(message, 1).and_then(|digest| self.vertices.get_mut(digest)) else { return };
        for (field, value) in fields(message) {
            if let (4, Value::Bytes(bytes)) = (field, value) {
                vertex.line.extend_from_slice(bytes);
            }
        }
        let whole = vertex.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let rest = vertex.line.split_off(whole);
        let lines = std::mem::replace(&mut vertex.line, rest);
        told.print(&lines);
        if vertex.line.len() > LINE_BYTES_MAX {
            vertex.flush(told);
        }
    }

    /// What was printed and not ended by a line's end.
    pub(super) fn rest(&mut self) -> Vec<BuildEvent> {
        let mut told = Told::default();
        for vertex in self.vertices.values_mut() {
            vertex.flush(&mut told);
        }
        told.events
    }
}

impl Vertex {
    fn flush(&mut self, told: &mut Told) {
        let mut rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            rest.push(b'\n');
            told.print(&rest);
        }
    }
}

impl Told {
    fn print(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.events.extend(super::super::build::pieces(&text).map(BuildEvent::Log));
    }
}

/// The instruction of a step: `[2/5] RUN make`, `[builder 2/5] RUN make`.
fn instruction(name: &str) -> Option<&str> {
    let (place, instruction) = name.strip_prefix('[')?.split_once("] ")?;
    let (step, steps) = place.rsplit(' ').next()?.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(step) && is_number(steps)).then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::{put_bytes, put_number};
    use super::*;

    struct Said<'a> {
        digest: &'a str,
        name: &'a str,
        is_cached: bool,
        is_begun: bool,
        is_over: bool,
    }

    impl Default for Said<'_> {
        fn default() -> Self {
            Self { digest: "d", name: "", is_cached: false, is_begun: false, is_over: false }
        }
    }

    fn report(vertices: &[Said<'_>], logs: &[(&str, &str)]) -> Vec<u8> {
        let mut report = Vec::new();
        for said in vertices {
            let mut vertex = Vec::new();
            put_bytes(&mut vertex, 1, said.digest.as_bytes());
            put_bytes(&mut vertex, 3, said.name.as_bytes());
            if said.is_cached {
                put_number(&mut vertex, 4, 1);
            }
            for (field, is_so) in [(5, said.is_begun), (6, said.is_over)] {
                if is_so {
                    put_bytes(&mut vertex, field, b"time");
                }
            }
            put_bytes(&mut report, 1, &vertex);
        }
        for (digest, text) in logs {
            let mut log = Vec::new();
            put_bytes(&mut log, 1, digest.as_bytes());
            put_bytes(&mut log, 4, text.as_bytes());
            put_bytes(&mut report, 3, &log);
        }
        report
    }

    fn log(text: &str) -> BuildEvent {
        BuildEvent::Log(text.to_owned())
    }

    fn step(step: u32, steps: u32, text: &str) -> BuildEvent {
        BuildEvent::Step { step, steps, text: text.to_owned() }
    }

    #[test]
    fn steps_are_counted_as_they_begin_and_lines_are_told_whole() {
        let mut trace = Trace::default();
        let (first, second) = ("[one 1/1] COPY a /a", "[stage-1 2/2] RUN make");

        let told = trace.take(&report(
            &[
                Said { digest: "1", name: first, ..Said::default() },
                Said { digest: "2", name: second, ..Said::default() },
            ],
            &[],
        ));
        assert_eq!(told.events, []);
        let told = trace.take(&report(
            &[Said { digest: "1", name: first, is_cached: true, is_begun: true, is_over: true }],
            &[],
        ));
        assert_eq!(told.events, [step(1, 2, "COPY a /a"), log(" ---> Using cache\n")]);
        let begun = Said { digest: "2", name: second, is_begun: true, ..Said::default() };
        let told = trace.take(&report(&[begun], &[("2", "a line\nand the "), ("unknown", "x\n")]));
        assert_eq!(told.events, [step(2, 2, "RUN make"), log("a line\n")]);
        let told = trace.take(&report(&[], &[("2", "rest of"), ("2", " one\nno end")]));
        assert_eq!(told.events, [log("and the rest of one\n")]);
        let over = Said { digest: "2", name: second, is_begun: true, is_over: true, ..Said::default() };
        assert_eq!(trace.take(&report(&[over], &[("2", "!")])).events, [log("no end!\n")]);
        assert_eq!(trace.rest(), []);
    }

    #[test]
    fn images_and_front_ends_are_told() {
        let mut trace = Trace::default();
        let names = [
            "[internal] load metadata for host:1/alice/base:1",
            "resolve image config for docker-image://evil/front:1",
        ];

        let said: Vec<_> = names.iter().map(|name| Said { digest: name, name, ..Said::default() }).collect();
        let told = trace.take(&report(&said, &[]));

        assert_eq!(told.images, ["host:1/alice/base:1"]);
        assert_eq!(told.front_end.unwrap(), "evil/front:1");
        assert_eq!(told.events, []);
        for name in [
            "[internal] load build context",
            "exporting to image",
            "[x/y] RUN",
            "[1/2]RUN",
            "copy /context /",
        ] {
            assert_eq!(instruction(name), None, "{name}");
        }
    }
}
