//! A container's log as its cluster tells it, which may be asked for again and again: each line comes with its time, by which it
//! is known which lines were taken already.

/// Bytes without an end of line that are taken together.
const PIECE_BYTES: usize = 64 << 10;
/// Longest line that is remembered as what went wrong, in characters.
const SAID_CHARS: usize = 2_000;

/// What is said of a step: which, of how many, and what it does.
pub(super) type Step = (u32, u32, String);

/// A log that is being read.
#[derive(Debug, Default)]
pub(super) struct PodLog {
    pending: Vec<u8>,
    /// The time of the line that is being read, and whether its beginning is past.
    time: Option<Time>,
    is_within: bool,
    /// Whether that line was taken before.
    is_known: bool,
    /// The time of the last line that was taken.
    last: Option<Time>,
    /// Text that an earlier reader took.
    skip: u64,
    /// What went wrong, as far as a line says it.
    said: Option<String>,
    is_error: bool,
}

/// A time as the cluster writes it: seconds since whenever, as text, and nanoseconds.
type Time = (String, u32);

impl PodLog {
    /// A log of which so much text was taken before.
    pub(super) fn after(skip: u64) -> Self {
        Self { skip, ..Self::default() }
    }

    /// From which second on to ask.
    pub(super) fn since(&self) -> Option<String> {
        self.last.as_ref().map(|(second, _)| format!("{second}Z"))
    }

    /// Forgets half a line, because its stream broke: it comes again.
    pub(super) fn begin_again(&mut self) {
        self.pending.clear();
        self.is_within = false;
    }

    /// The last line that tells of an error, else the last one at all.
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// Whether that tells of an error.
    pub(super) fn is_error(&self) -> bool {
        self.is_error
    }

    /// Takes bytes; what is new is given to `text`, and each step that begins to `step`.
    pub(super) fn take(&mut self, bytes: &[u8], text: &mut impl FnMut(&str), step: &mut impl FnMut(Step)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.pending.len() >= PIECE_BYTES {
                self.take_pending(text, step);
            }
        }
    }

    /// Takes what is left when nothing more comes.
    pub(super) fn finish(&mut self, text: &mut impl FnMut(&str), step: &mut impl FnMut(Step)) {
        if !self.pending.is_empty() {
            self.take_pending(text, step);
        }
        self.is_within = false;
    }

    fn take_pending(&mut self, text: &mut impl FnMut(&str), step: &mut impl FnMut(Step)) {
        let pending = std::mem::take(&mut self.pending);
        let ends = pending.ends_with(b"\n");
        let line = String::from_utf8_lossy(&pending);
        let mut line = line.as_ref();
        if !self.is_within {
            let (time, rest) = split_time(line);
            self.time = time;
            line = rest;
        }
        let is_beginning = !std::mem::replace(&mut self.is_within, !ends);
        if is_beginning {
            self.is_known = self.time.is_some() && self.time <= self.last;
            if self.time.is_some() && !self.is_known {
                self.last.clone_from(&self.time);
            }
        }
        if self.is_known {
            return;
        }
        if is_beginning {
            self.note(line.trim_end());
            if let Some(found) = step_of(line.trim_end()) {
                step(found);
            }
        }
        self.hand(line, text);
    }

    /// Gives on what was not taken by an earlier reader.
    fn hand(&mut self, line: &str, text: &mut impl FnMut(&str)) {
        let length = line.len() as u64;
        if self.skip >= length {
            self.skip -= length;
            return;
        }
        let skip = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(0);
        text(&line[line.ceil_char_boundary(skip)..]);
    }

    fn note(&mut self, line: &str) {
        let error = line.strip_prefix("Error: ");
        if line.is_empty() || (error.is_none() && self.is_error) {
            return;
        }
        self.is_error = error.is_some();
        self.said = Some(error.unwrap_or(line).chars().take(SAID_CHARS).collect());
    }
}

/// `2026-11-26T10:00:00.123Z text`.
fn split_time(line: &str) -> (Option<Time>, &str) {
    let Some((stamp, rest)) = line.split_once(' ') else { return (None, line) };
    let Some(stamp) = stamp.strip_suffix('Z').filter(|stamp| stamp.len() >= 19 && stamp.is_ascii()) else {
        return (None, line);
    };
    let (second, fraction) = stamp.split_once('.').unwrap_or((stamp, ""));
    let is_time = second.len() == 19 && second.as_bytes()[10] == b'T' && fraction.len() <= 9;
    let Some(nanos) = format!("{fraction:0<9}").parse().ok().filter(|_| is_time) else { return (None, line) };
    (Some((second.to_owned(), nanos)), rest)
}

/// `STEP 2/5: COPY a b`, with `[1/2] ` before it where there are several stages.
fn step_of(line: &str) -> Option<Step> {
    let line = match line.strip_prefix('[') {
        Some(staged) => staged.split_once("] ")?.1,
        None => line,
    };
    let (numbers, text) = line.strip_prefix("STEP ")?.split_once(": ")?;
    let (step, steps) = numbers.split_once('/')?;
    Some((step.parse().ok()?, steps.parse().ok()?, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-26T10:00:00.1Z STEP 1/2: FROM scratch\n2026-11-26T10:00:00.12Z one\n2026-11-26T10:00:01Z Error: two\n2026-11-26T10:00:01.5Z three\n";

    fn read(log: &mut PodLog, pieces: &[&str]) -> (String, Vec<Step>) {
        let (mut said, mut steps) = (String::new(), Vec::new());
        for piece in pieces {
            log.take(piece.as_bytes(), &mut |text| said.push_str(text), &mut |step| steps.push(step));
        }
        log.finish(&mut |text| said.push_str(text), &mut |step| steps.push(step));
        (said, steps)
    }

    #[test]
    fn a_log_that_is_read_again_has_each_line_once() {
        let mut log = PodLog::after(0);
        let (first, steps) = read(&mut log, &[&LOG[..60], &LOG[60..74]]);
        assert_eq!(steps, [(1, 2, "FROM scratch".to_owned())]);
        assert_eq!(first, "STEP 1/2: FROM scratch\none\n");

        assert_eq!(log.since().as_deref(), Some("2026-11-26T10:00:00Z"));
        let (rest, steps) = read(&mut log, &[LOG]);

        assert_eq!((rest.as_str(), steps.len()), ("Error: two\nthree\n", 0));
        assert_eq!(log.said(), Some("two"));
    }

    #[test]
    fn what_an_earlier_reader_took_is_passed_over_and_its_steps_are_known() {
        let mut log = PodLog::after("STEP 1/2: FROM scratch\non".len() as u64);

        let (rest, steps) = read(&mut log, &[LOG]);

        assert_eq!((rest.as_str(), steps.len()), ("e\nError: two\nthree\n", 1));
        assert_eq!(read(&mut PodLog::after(10_000), &[LOG]).0, "");
    }

    #[test]
    fn long_lines_come_in_pieces_and_whole() {
        let long = format!("2026-11-26T10:00:00Z {}\n", "x".repeat(200_000));

        let (said, _) = read(&mut PodLog::after(0), &[&long]);

        assert_eq!(said.len(), 200_001);
    }

    #[test]
    fn steps_of_stages_are_read_too() {
        assert_eq!(step_of("[1/2] STEP 3/4: RUN a: b"), Some((3, 4, "RUN a: b".to_owned())));
        assert_eq!(step_of("STEP x"), None);
        assert_eq!(step_of("[1/2"), None);
    }
}
