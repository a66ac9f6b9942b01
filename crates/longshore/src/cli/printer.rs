//! The one place that writes to the terminal: data on stdout, words on stderr, nothing that needs colour.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::Failure;
use super::json;
use super::words::{self, Language, Word};

/// How this run of the command line talks.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    /// Whether data is shown as JSON.
    pub(crate) is_json: bool,
    /// The language of words.
    pub(crate) language: Language,
    /// Whether stdout is a terminal.
    pub(crate) is_stdout_terminal: bool,
    /// Whether stderr is a terminal.
    pub(crate) is_stderr_terminal: bool,
}

impl Printer {
    /// Looks at where the output goes.
    pub(crate) fn new(is_json: bool) -> Self {
        Self {
            is_json,
            language: Language::from_environment(),
            is_stdout_terminal: io::stdout().is_terminal(),
            is_stderr_terminal: io::stderr().is_terminal(),
        }
    }

    /// Writes one line of data.
    #[expect(clippy::unused_self, reason = "output goes through the printer, whatever it needs of it")]
    pub(crate) fn data(&self, line: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        Ok(stdout.flush()?)
    }

    /// Writes data as it is, without a line end of our own.
    pub(crate) fn raw(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.raw_to(Stream::Data, bytes)
    }

    /// Writes bytes to one of the two streams. What goes to a terminal must have passed [`Sanitizer`].
    #[expect(clippy::unused_self, reason = "output goes through the printer, whatever it needs of it")]
    pub(crate) fn raw_to(&self, stream: Stream, bytes: &[u8]) -> anyhow::Result<()> {
        match stream {
            Stream::Data => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()?;
            }
            Stream::Words => io::stderr().lock().write_all(bytes)?,
        }
        Ok(())
    }

    /// Writes a server's answer as JSON, indented and otherwise as it came.
    pub(crate) fn json(&self, text: &str) -> anyhow::Result<()> {
        if text.trim().is_empty() {
            return self.data("null");
        }
        self.data(&json::pretty(text)?)
    }

    /// Writes rows under headings. Columns are two spaces apart, without frames, so that they can be cut.
    pub(crate) fn table<const N: usize>(
        &self,
        headings: [&str; N],
        rows: &[[String; N]],
    ) -> anyhow::Result<()> {
        let mut table = self.empty_table();
        table.set_header(headings);
        for row in rows {
            table.add_row(row.iter().map(|cell| one_line(cell)));
        }
        self.data(&trimmed(&mut table))
    }

    /// Writes names and values, one per line; pairs without a value are left out.
    pub(crate) fn facts(&self, facts: &[(&str, Option<String>)]) -> anyhow::Result<()> {
        let mut table = self.empty_table();
        for (name, value) in facts {
            if let Some(value) = value {
                table.add_row([format!("{name}:"), one_line(value)]);
            }
        }
        self.data(&trimmed(&mut table))
    }

    fn empty_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let arrangement =
            if self.is_stdout_terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement);
        table
    }

    /// Says something to the person; not data.
    pub(crate) fn say(&self, word: Word, values: &[&str]) {
        self.line(&self.language.say(word, values));
    }

    /// Says what to do next.
    pub(crate) fn hint(&self, word: Word, values: &[&str]) {
        let text = self.language.say(word, values);
        self.line(&format!("{} {text}", self.language.pick(words::HINT)));
    }

    /// Warns the person.
    pub(crate) fn warn(&self, word: Word, values: &[&str]) {
        let text = self.language.say(word, values);
        self.line(&format!("{} {text}", self.language.pick(words::WARNING)));
    }

    /// Writes one line of words. Nobody is left to tell when stderr is gone, so that is not an error.
    #[expect(clippy::unused_self, reason = "output goes through the printer, whatever it needs of it")]
    pub(crate) fn line(&self, text: &str) {
        writeln!(io::stderr().lock(), "{}", printable(text)).ok();
    }

    /// Shows why a command failed.
    pub(crate) fn failure(&self, error: &anyhow::Error) {
        let label = self.language.pick(words::ERROR);
        let Some(failure) = Failure::of(error) else {
            self.line(&format!("{label} {error:#}"));
            return;
        };
        self.line(&format!("{label} {failure}"));
        for detail in &failure.details {
            self.line(&format!("  {detail}"));
        }
        if let Some(hint) = &failure.hint {
            self.line(&format!("{} {hint}", self.language.pick(words::HINT)));
        }
        if let Some(body) = failure.body.as_ref().filter(|_| self.is_json) {
            // The failure is already told in words: a stdout that is gone changes nothing.
            self.json(body).ok();
        }
    }

    /// A bar for a number of bytes, on a terminal; elsewhere it draws nothing.
    pub(crate) fn bytes_bar(&self, total_bytes: u64) -> ProgressBar {
        let template =
            "{msg} [{bar:30}] {binary_bytes} / {binary_total_bytes} ({binary_bytes_per_sec}, {eta})";
        self.bar(ProgressBar::new(total_bytes), template)
    }

    /// A line that changes in place, on a terminal; elsewhere it draws nothing.
    pub(crate) fn status_bar(&self) -> ProgressBar {
        self.bar(ProgressBar::new_spinner(), "{spinner} {msg}")
    }

    fn bar(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        if !self.is_stderr_terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            return bar;
        }
        let style = ProgressStyle::with_template(template).expect("the template is one of two constants");
        bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        bar
    }

    /// Asks for a yes, on a terminal; where nobody can answer, the command as typed is the answer.
    pub(crate) fn confirm(&self, word: Word, values: &[&str]) -> anyhow::Result<bool> {
        if !self.is_stderr_terminal || !io::stdin().is_terminal() {
            return Ok(true);
        }
        let question = self.language.say(word, values);
        Ok(dialoguer::Confirm::new().with_prompt(question).default(false).interact()?)
    }
}

/// One of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// stdout
    Data,
    /// stderr
    Words,
}

/// The table's text without the spaces at the ends of its lines.
fn trimmed(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Control characters would let a name or a message written by somebody else drive the terminal.
pub(super) fn printable(text: &str) -> String {
    // What turns the direction of writing makes a line say something else than it holds.
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_harmful = |c: char| turns(c) || (c.is_control() && c != '\n' && c != '\t');
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// One line of text that cannot drive the terminal.
pub(crate) fn one_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// Passes a log on to a terminal: text, line ends and colours, and no other control sequence, so that what a
/// container or a build prints cannot rename the window, answer as the keyboard or hide lines.
#[derive(Debug, Default)]
pub(crate) struct Sanitizer {
    state: Escape,
    sequence: String,
    utf8: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    /// Ordinary text.
    #[default]
    None,
    /// After the escape character.
    Begun,
    /// Inside `ESC [ …`.
    Control,
    /// Inside `ESC ] …` and its kin, which end with a bell or `ESC \`.
    Text,
    /// Inside one of those, after an escape character.
    TextEnding,
}

impl Sanitizer {
    /// The part of the bytes that may be shown; a character cut in two waits for its rest.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.utf8.extend_from_slice(bytes);
        let complete = match std::str::from_utf8(&self.utf8) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.utf8.len(),
        };
        let rest = self.utf8.split_off(complete);
        let text = std::mem::replace(&mut self.utf8, rest);
        let mut out = String::with_capacity(text.len());
        for c in String::from_utf8_lossy(&text).chars() {
            self.take(c, &mut out);
        }
        out
    }

    fn take(&mut self, c: char, out: &mut String) {
        self.state = match self.state {
            Escape::None if c == '\u{1b}' => Escape::Begun,
            Escape::None => {
                if !c.is_control() || matches!(c, '\n' | '\r' | '\t') {
                    out.push(c);
                }
                Escape::None
            }
            Escape::Begun => match c {
                '[' => {
                    self.sequence.clear();
                    Escape::Control
                }
                ']' | 'P' | '_' | '^' | 'X' => Escape::Text,
                ' '..='/' => Escape::Begun,
                _ => Escape::None,
            },
            Escape::Control => match c {
                '0'..='9' | ';' | ':' if self.sequence.len() < 32 => {
                    self.sequence.push(c);
                    Escape::Control
                }
                ' '..='?' => Escape::Control,
                'm' => {
                    out.push_str("\u{1b}[");
                    out.push_str(&self.sequence);
                    out.push('m');
                    Escape::None
                }
                _ => Escape::None,
            },
            Escape::Text | Escape::TextEnding => match c {
                '\u{1b}' => Escape::TextEnding,
                '\\' if self.state == Escape::TextEnding => Escape::None,
                '\u{7}' | '\n' => Escape::None,
                _ => Escape::Text,
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Sanitizer::default().push(text.as_bytes())
    }

    #[test]
    fn logs_keep_their_text_and_colours() {
        assert_eq!(shown("a\tb\r\n\u{1b}[1;31mred\u{1b}[0m 中"), "a\tb\r\n\u{1b}[1;31mred\u{1b}[0m 中");
    }

    #[test]
    fn logs_cannot_drive_the_terminal() {
        let cases = [
            "\u{1b}]0;title\u{7}x",
            "\u{1b}]52;c;aGk=\u{1b}\\x",
            "\u{1b}[2Jx",
            "\u{1b}cx",
            "\u{9b}x",
            "\u{7}x",
        ];

        for text in cases {
            assert_eq!(shown(text), "x", "{text:?}");
        }
        assert_eq!(shown("\u{1b}[6nx\u{1b}[?25lx"), "xx");
    }

    #[test]
    fn characters_cut_in_two_are_put_together() {
        let mut sanitizer = Sanitizer::default();
        let bytes = "中\u{1b}[31m".as_bytes();

        let text: String = bytes.iter().map(|&byte| sanitizer.push(&[byte])).collect();

        assert_eq!(text, "中\u{1b}[31m");
        assert_eq!(Sanitizer::default().push(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn names_in_tables_cannot_break_lines() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a b\u{fffd}[2J");
    }
}
