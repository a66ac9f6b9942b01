//! Lines of logs: put together from pieces, chosen by what is in them, and as they are kept when their container is gone.

use regex::{Regex, RegexBuilder};

/// A longer line is taken for several.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 256;
/// What a pattern may need when it is made ready.
const PATTERN_SIZE_MAX: usize = 256 << 10;

/// Which of its streams a program wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Puts lines together, for each source by itself.
#[derive(Debug, Default)]
pub struct Lines {
    partial: [String; 2],
}

impl Lines {
    /// Takes a piece; gives each line that is whole now, with its end.
    pub fn push(&mut self, source: Source, text: &str, mut take: impl FnMut(&str)) {
        let partial = &mut self.partial[source as usize];
        for piece in text.split_inclusive('\n') {
            partial.push_str(piece);
            while partial.len() > LINE_BYTES_MAX {
                let rest = partial.split_off(partial.floor_char_boundary(LINE_BYTES_MAX));
                take(partial);
                *partial = rest;
            }
            if partial.ends_with('\n') {
                take(partial);
                partial.clear();
            }
        }
    }

    /// What is left of lines that were never ended.
    pub fn end(&mut self, mut take: impl FnMut(Source, &str)) {
        for source in [Source::Out, Source::Err] {
            let partial = std::mem::take(&mut self.partial[source as usize]);
            if !partial.is_empty() {
                take(source, &partial);
            }
        }
    }
}

/// Chooses lines. Takes time in proportion to a line's length, whatever the pattern.
#[derive(Clone, Debug)]
pub struct Grep {
    pattern: Regex,
}

impl Grep {
    /// Lines that hold a text, or match a pattern. The error says what is wrong with it.
    pub fn new(text: &str, is_pattern: bool, ignores_case: bool) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(format!("it is 1 to {PATTERN_BYTES_MAX} bytes"));
        }
        let pattern = if is_pattern { text.to_owned() } else { regex::escape(text) };
        let pattern = RegexBuilder::new(&pattern)
            .case_insensitive(ignores_case)
            .size_limit(PATTERN_SIZE_MAX)
            .dfa_size_limit(PATTERN_SIZE_MAX)
            .build();
        let pattern = pattern.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large a pattern".to_owned(),
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        })?;
        Ok(Self { pattern })
    }

    /// Whether a line is chosen. The time before it, where there is one, does not count.
    pub fn matches(&self, line: &str, has_timestamp: bool) -> bool {
        let text = if has_timestamp { line.split_once(' ').map_or(line, |(_, text)| text) } else { line };
        self.pattern.is_match(text.trim_end_matches('\n'))
    }
}

/// Passes on the lines that are chosen.
#[derive(Debug)]
pub struct Filter {
    grep: Grep,
    has_timestamps: bool,
    lines: Lines,
}

impl Filter {
    /// A filter for lines that begin with their time or do not.
    pub fn new(grep: Grep, has_timestamps: bool) -> Self {
        Self { grep, has_timestamps, lines: Lines::default() }
    }

    /// What of a piece, and of what waited for it, is chosen.
    pub fn push(&mut self, source: Source, text: &str) -> String {
        let mut chosen = String::new();
        let (grep, has_timestamps) = (&self.grep, self.has_timestamps);
        self.lines.push(source, text, |line| {
            if grep.matches(line, has_timestamps) {
                chosen.push_str(line);
            }
        });
        chosen
    }

    /// What is chosen of lines that were never ended.
    pub fn end(&mut self) -> Vec<(Source, String)> {
        let mut chosen = Vec::new();
        let (grep, has_timestamps) = (&self.grep, self.has_timestamps);
        self.lines.end(|source, line| {
            if grep.matches(line, has_timestamps) {
                chosen.push((source, line.to_owned()));
            }
        });
        chosen
    }
}

/// The end of a log with times, as it is kept: each line behind a letter for its source.
#[derive(Debug)]
pub struct Keeper {
    limit: usize,
    kept: std::collections::VecDeque<u8>,
    dropped: u64,
    lines: Lines,
}

impl Keeper {
    /// Keeps at most so many bytes: the last ones.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: std::collections::VecDeque::new(), dropped: 0, lines: Lines::default() }
    }

    /// Takes a piece.
    pub fn push(&mut self, source: Source, text: &str) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(source, text, |line| self.line(source, line));
        self.lines = lines;
    }

    fn line(&mut self, source: Source, line: &str) {
        self.kept.push_back(if source == Source::Out { b'o' } else { b'e' });
        self.kept.extend(line.as_bytes());
        if !line.ends_with('\n') {
            self.kept.push_back(b'\n');
        }
        if self.kept.len() > self.limit {
            let surplus = self.kept.len() - self.limit;
            // Whole lines only.
            let end = self.kept.range(surplus - 1..).position(|byte| *byte == b'\n');
            let surplus = end.map_or(self.kept.len(), |end| surplus + end);
            self.kept.drain(..surplus);
            self.dropped += surplus as u64;
        }
    }

    /// The text to keep, and how many bytes before it are not.
    pub fn finish(mut self) -> (Vec<u8>, u64) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.end(|source, line| self.line(source, line));
        (self.kept.into(), self.dropped)
    }
}

/// A line as it is kept: its source, when it was printed (in microseconds since 1970), and its text with the time before it.
pub fn kept_line(line: &str) -> Option<(Source, i64, &str)> {
    let (source, rest) = line.split_at_checked(1)?;
    let source = match source {
        "o" => Source::Out,
        "e" => Source::Err,
        _ => return None,
    };
    let time = rest.split(' ').next().unwrap_or_default();
    let at = chrono::DateTime::parse_from_rfc3339(time).map_or(0, |time| time.timestamp_micros());
    Some((source, at, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(grep: &Grep, pieces: &[(Source, &str)]) -> String {
        let mut filter = Filter::new(grep.clone(), false);
        let mut all: String = pieces.iter().map(|(source, text)| filter.push(*source, text)).collect();
        all.extend(filter.end().into_iter().map(|(_, text)| text));
        all
    }

    #[test]
    fn lines_are_chosen_however_they_are_cut_and_mixed() {
        let grep = Grep::new("error", false, false).unwrap();
        let pieces = [
            (Source::Out, "an er"),
            (Source::Err, "fine\nan error here\n"),
            (Source::Out, "ror\nok\nlast error"),
        ];

        assert_eq!(chosen(&grep, &pieces), "an error here\nan error\nlast error");
    }

    #[test]
    fn a_text_is_a_text_and_a_pattern_a_pattern() {
        let matches = |text: &str, is_pattern, ignores_case, line: &str| {
            Grep::new(text, is_pattern, ignores_case).unwrap().matches(line, false)
        };

        assert!(matches("a.c", false, false, "xa.cx\n") && !matches("a.c", false, false, "abc"));
        assert!(matches("a.c", true, false, "abc") && !matches("^b", true, false, "abc"));
        assert!(
            matches("FEHLER", false, true, "ein fehler") && !matches("FEHLER", false, false, "ein fehler")
        );
        assert!(Grep::new("07:", false, false).unwrap().matches("2026-01-01T07:00:00Z at 07:00\n", true));
        assert!(!Grep::new("2026", false, false).unwrap().matches("2026-01-01T07:00:00Z x\n", true));
    }

    #[test]
    fn patterns_that_cost_too_much_are_refused() {
        for pattern in ["", "(", "a{1000}{1000}{1000}", &"x".repeat(300), "\\p{L}{500}{50}"] {
            assert!(Grep::new(pattern, true, false).is_err(), "{pattern}");
        }
        // What takes other engines for ever.
        let nested = Grep::new("(a+)+$", true, false).unwrap();
        assert!(!nested.matches(&format!("{}b", "a".repeat(LINE_BYTES_MAX)), false));
    }

    #[test]
    fn a_line_without_end_is_not_gathered_for_ever() {
        let mut lines = Lines::default();
        let mut longest = 0;

        for _ in 0..1_000 {
            lines.push(Source::Out, &"ü".repeat(1_000), |line| longest = longest.max(line.len()));
        }

        assert!(longest > 0 && longest <= LINE_BYTES_MAX);
        assert!(lines.partial[0].len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn the_end_of_a_log_is_kept_in_whole_lines() {
        let mut keeper = Keeper::new(100);
        for number in 0..50 {
            keeper.push(Source::Out, &format!("2026-01-01T00:00:{number:02}Z line {number}\n"));
        }
        keeper.push(Source::Err, "2026-01-01T00:01:00Z half");

        let (kept, dropped) = keeper.finish();
        let kept = String::from_utf8(kept).unwrap();

        assert!(kept.len() <= 100 && kept.len() > 60, "{kept}");
        let total: usize =
            (0..50).map(|number| format!("o2026-01-01T00:00:{number:02}Z line {number}\n").len()).sum();
        assert_eq!(
            usize::try_from(dropped).unwrap() + kept.len(),
            total + "e2026-01-01T00:01:00Z half\n".len()
        );
        let last = kept.lines().last().unwrap();
        let (source, at, text) = kept_line(last).unwrap();
        assert_eq!((source, text), (Source::Err, "2026-01-01T00:01:00Z half"));
        assert_eq!(at, 1_767_225_660_000_000);
        assert!(kept.lines().all(|line| kept_line(line).is_some()));
        assert_eq!(kept_line(""), None);
        assert_eq!(kept_line("ü"), None);
    }

    #[test]
    fn one_line_longer_than_all_that_is_kept_is_not_kept() {
        let mut keeper = Keeper::new(10);
        keeper.push(Source::Out, "a line that is far too long\n");
        keeper.push(Source::Out, "short\n");

        assert_eq!(keeper.finish(), (b"oshort\n".to_vec(), 29));
    }
}
