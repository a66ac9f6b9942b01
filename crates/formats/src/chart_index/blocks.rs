//! The layout in which Helm writes an index, read line by line: charts two columns in, entries as list items beside them, fields
//! four columns in. It is a part of YAML that needs no parser, and nearly every repository has it. Whatever else is met
//! (flow style, anchors, tags, comments, tabs, other columns) ends the reading, and the parser begins from the start.

use std::io::BufRead;

use super::entry::Entry;
use super::{Collector, Result};

/// Longest line; a longer one is left to the parser, which has bounds of its own.
const MAX_LINE_BYTES: usize = 256 << 10;
/// Longest text that is put together from lines.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// The layout is another one.
struct Other;

/// Reads the whole; false when the layout is another one, and then what was collected is worthless.
pub(super) fn read(mut reader: impl BufRead, collector: &mut Collector) -> Result<bool> {
    let mut scanner = Scanner::new(collector);
    let mut line = Vec::with_capacity(512);
    loop {
        line.clear();
        let mut bounded = std::io::Read::take(&mut reader, MAX_LINE_BYTES as u64 + 1);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() > MAX_LINE_BYTES {
            return Ok(false);
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        match scanner.line(text) {
            Ok(()) => {}
            Err(Stop::Other) => return Ok(false),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    match scanner.end_entry() {
        Ok(()) => Ok(scanner.has_entries),
        Err(Stop::Other) => Ok(false),
        Err(Stop::Failed(error)) => Err(error),
    }
}

enum Stop {
    Other,
    Failed(super::IndexError),
}

impl From<Other> for Stop {
    fn from(_: Other) -> Self {
        Self::Other
    }
}

/// Where in the document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Below a key of the document that is not looked into.
    Elsewhere,
    /// Below `entries`.
    Entries,
}

/// What may still come of the field that was last begun.
enum Open {
    /// Nothing.
    Nothing,
    /// Lines below it: a list, an object, or more of a text that is not kept.
    Below,
    /// More lines of a text without quotes.
    Plain(Text),
    /// More lines of a text in quotes, as written so far.
    Quoted(Text),
    /// Lines of a block.
    Block { text: String, is_folded: bool, keeps_end: bool, indent: Option<usize>, blank: usize },
}

/// A text over several lines: words of one line follow on those of the one before, an empty line is a line break.
struct Text {
    text: String,
    blank: usize,
}

struct Scanner<'a> {
    collector: &'a mut Collector,
    section: Section,
    has_entries: bool,
    chart: Option<String>,
    entry: Option<Entry>,
    field: String,
    open: Open,
}

impl<'a> Scanner<'a> {
    fn new(collector: &'a mut Collector) -> Self {
        Self {
            collector,
            section: Section::Elsewhere,
            has_entries: false,
            chart: None,
            entry: None,
            field: String::new(),
            open: Open::Nothing,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        let indent = line.iter().take_while(|byte| **byte == b' ').count();
        let rest = &line[indent..];
        if rest.iter().all(u8::is_ascii_whitespace) {
            match &mut self.open {
                Open::Plain(text) | Open::Quoted(text) => text.blank += 1,
                Open::Block { blank, .. } => *blank += 1,
                Open::Nothing | Open::Below => {}
            }
            return Ok(());
        }
        if rest.first() == Some(&b'\t') {
            return Err(Stop::Other);
        }
        if indent > 4 {
            return Ok(self.below(indent, rest)?);
        }
        let is_item = rest.starts_with(b"- ") || rest == b"-";
        match indent {
            4 if is_item => Ok(self.item(&rest[1..])?),
            _ if rest.first() == Some(&b'#') => Err(Stop::Other),
            4 => Ok(self.field(rest)?),
            // A dash may stand alone, its entry below it; that is the parser's.
            2 if is_item => self.begin_entry(rest.get(2..).unwrap_or_default()),
            2 => self.begin_chart(rest),
            0 => self.begin_section(rest),
            _ => Err(Stop::Other),
        }
    }

    fn begin_section(&mut self, rest: &[u8]) -> Result<(), Stop> {
        self.end_entry()?;
        self.chart = None;
        if rest == b"---" && !self.has_entries && self.section == Section::Elsewhere {
            return Ok(());
        }
        let (key, value) = key_and_value(rest)?;
        self.section = Section::Elsewhere;
        if key == "entries" {
            if self.has_entries {
                return Err(Stop::Other);
            }
            self.has_entries = true;
            self.collector.begin();
            match value {
                b"" => self.section = Section::Entries,
                b"{}" => {}
                _ => return Err(Stop::Other),
            }
        } else {
            // Only simple values: what is below another key could look like anything.
            single(value)?;
        }
        Ok(())
    }

    fn begin_chart(&mut self, rest: &[u8]) -> Result<(), Stop> {
        if self.section != Section::Entries {
            return Err(Stop::Other);
        }
        self.end_entry()?;
        let (key, value) = key_and_value(rest)?;
        if !matches!(value, b"" | b"[]") {
            return Err(Stop::Other);
        }
        self.chart = Some(key.to_owned());
        Ok(())
    }

    fn begin_entry(&mut self, rest: &[u8]) -> Result<(), Stop> {
        self.end_entry()?;
        if self.chart.is_none() || rest.first() == Some(&b' ') {
            return Err(Stop::Other);
        }
        self.entry = Some(Entry::default());
        Ok(self.field(rest)?)
    }

    fn end_entry(&mut self) -> Result<(), Stop> {
        self.end_field()?;
        if let (Some(entry), Some(chart)) = (self.entry.take(), &self.chart) {
            self.collector.take(chart, Ok(entry)).map_err(Stop::Failed)?;
        }
        Ok(())
    }

    /// `key: value` four columns in.
    fn field(&mut self, rest: &[u8]) -> Result<(), Other> {
        self.end_field()?;
        let entry = self.entry.as_mut().ok_or(Other)?;
        let (key, value) = key_and_value(rest)?;
        key.clone_into(&mut self.field);
        let is_kept = Entry::is_kept(key);
        self.open = match value {
            b"" => Open::Below,
            b"[]" | b"{}" => Open::Nothing,
            [b'|' | b'>', header @ ..] => {
                if !matches!(header, b"" | b"-" | b"+") {
                    return Err(Other);
                }
                if is_kept {
                    let (is_folded, keeps_end) = (value[0] == b'>', header != b"-");
                    Open::Block { text: String::new(), is_folded, keeps_end, indent: None, blank: 0 }
                } else {
                    Open::Below
                }
            }
            [b'"' | b'\'', ..] => {
                let written = text_of(value)?;
                match unquoted(written)? {
                    Some(text) => {
                        entry.set(key, &text);
                        Open::Nothing
                    }
                    None => Open::Quoted(Text { text: written.to_owned(), blank: 0 }),
                }
            }
            _ => {
                let text = plain(value)?;
                // What follows may still be a part of it.
                if is_kept { Open::Plain(Text { text: text.to_owned(), blank: 0 }) } else { Open::Below }
            }
        };
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), Other> {
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        let Some(entry) = &mut self.entry else { return Ok(()) };
        match open {
            Open::Nothing | Open::Below => {}
            Open::Plain(text) => entry.set(&self.field, known(&text.text)),
            // It has no end.
            Open::Quoted(_) => return Err(Other),
            Open::Block { mut text, keeps_end, .. } => {
                if keeps_end && !text.is_empty() {
                    text.push('\n');
                }
                entry.set(&self.field, &text);
            }
        }
        Ok(())
    }

    /// `- …` four columns in: an item of the list that the last field is.
    fn item(&mut self, rest: &[u8]) -> Result<(), Other> {
        if !matches!(self.open, Open::Below) {
            return Err(Other);
        }
        let entry = self.entry.as_mut().ok_or(Other)?;
        let value = rest.trim_ascii();
        match self.field.as_str() {
            "urls" | "keywords" | "sources" => entry.push(&self.field, &single(value)?),
            "maintainers" => {
                if let Ok(("name", value)) = key_and_value(value) {
                    entry.push(&self.field, &single(value)?);
                }
            }
            // An object in the place of a text.
            field if Entry::is_kept(field) => return Err(Other),
            _ => {}
        }
        Ok(())
    }

    /// A line further in than the fields.
    fn below(&mut self, indent: usize, rest: &[u8]) -> Result<(), Other> {
        if self.entry.is_none() && self.section == Section::Entries {
            return Err(Other);
        }
        let Some(entry) = &mut self.entry else { return Err(Other) };
        match &mut self.open {
            Open::Nothing => return Err(Other),
            Open::Below => match self.field.as_str() {
                "annotations" if indent == 6 => {
                    if let Some(value) = rest.strip_prefix(b"category: ") {
                        entry.metadata.category = Some(single(value.trim_ascii())?);
                    }
                }
                "maintainers" if indent == 6 => {
                    if let Some(value) = rest.strip_prefix(b"name: ") {
                        entry.push("maintainers", &single(value.trim_ascii())?);
                    }
                }
                "maintainers" => {}
                // A list further in, or an item over several lines.
                field if Entry::is_kept(field) => return Err(Other),
                _ => {}
            },
            Open::Plain(text) => {
                if rest.first() == Some(&b'#') {
                    return Err(Other);
                }
                text.add(plain_part(rest.trim_ascii())?)?;
            }
            Open::Quoted(written) => {
                written.add(text_of(rest.trim_ascii())?)?;
                if let Some(text) = unquoted(&written.text)? {
                    entry.set(&self.field, &text);
                    self.open = Open::Nothing;
                }
            }
            Open::Block { text, is_folded, indent: its_indent, blank, .. } => {
                let its_indent = *its_indent.get_or_insert(indent);
                // Lines further in keep their line breaks also where others are folded; that is the parser's to do.
                if indent < its_indent || (*is_folded && indent > its_indent) {
                    return Err(Other);
                }
                if !text.is_empty() {
                    let breaks = if *is_folded { *blank } else { *blank + 1 };
                    if breaks == 0 {
                        text.push(' ');
                    }
                    text.extend(std::iter::repeat_n('\n', breaks.min(100)));
                }
                *blank = 0;
                text.extend(std::iter::repeat_n(' ', indent - its_indent));
                text.push_str(text_of(rest)?);
                if text.len() > MAX_TEXT_BYTES {
                    return Err(Other);
                }
            }
        }
        Ok(())
    }
}

impl Text {
    fn add(&mut self, part: &str) -> Result<(), Other> {
        if self.blank == 0 {
            self.text.push(' ');
        }
        self.text.extend(std::iter::repeat_n('\n', self.blank.min(100)));
        self.blank = 0;
        self.text.push_str(part);
        if self.text.len() > MAX_TEXT_BYTES { Err(Other) } else { Ok(()) }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Other> {
    let text = std::str::from_utf8(bytes).map_err(|_| Other)?;
    if text.contains(|c: char| c.is_control() && c != '\t') { Err(Other) } else { Ok(text) }
}

/// `key: value` or `key:`, the key without anything special.
fn key_and_value(line: &[u8]) -> Result<(&str, &[u8]), Other> {
    let end = line.iter().position(|byte| *byte == b':').ok_or(Other)?;
    let (key, rest) = (&line[..end], &line[end + 1..]);
    let is_simple = !key.is_empty()
        && key[0].is_ascii_alphanumeric()
        && key.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let is_separate = rest.is_empty() || rest[0] == b' ';
    if !is_simple || !is_separate {
        return Err(Other);
    }
    Ok((text_of(key)?, rest.trim_ascii()))
}

/// A text on one line.
fn single(value: &[u8]) -> Result<String, Other> {
    match value {
        [b'"' | b'\'', ..] => unquoted(text_of(value)?)?.ok_or(Other),
        b"" => Ok(String::new()),
        _ => Ok(known(plain(value)?).to_owned()),
    }
}

/// A text without quotes that means itself.
fn plain(value: &[u8]) -> Result<&str, Other> {
    if let [
        b'&' | b'*' | b'!' | b'|' | b'>' | b'%' | b'@' | b'`' | b'#' | b',' | b'[' | b']' | b'{' | b'}'
        | b'"' | b'\'',
        ..,
    ]
    | [b'?' | b'-' | b':']
    | [b'?' | b'-' | b':', b' ', ..] = value
    {
        return Err(Other);
    }
    plain_part(value)
}

fn plain_part(value: &[u8]) -> Result<&str, Other> {
    let text = text_of(value)?;
    if text.contains(": ") || text.ends_with(':') || text.contains(" #") || text.contains('\t') {
        Err(Other)
    } else {
        Ok(text)
    }
}

/// Nothing, where nothing is said by a word.
fn known(text: &str) -> &str {
    if matches!(text, "null" | "Null" | "NULL" | "~") { "" } else { text }
}

/// What a text in quotes means; none when its end is not there yet. Lines are joined already.
fn unquoted(written: &str) -> Result<Option<String>, Other> {
    let mut characters = written.chars();
    let quote = characters.next().ok_or(Other)?;
    let mut text = String::with_capacity(written.len());
    while let Some(character) = characters.next() {
        match character {
            '\'' if quote == '\'' => match characters.next() {
                Some('\'') => text.push('\''),
                None => return Ok(Some(text)),
                Some(_) => return Err(Other),
            },
            '"' if quote == '"' => {
                return if characters.next().is_none() { Ok(Some(text)) } else { Err(Other) };
            }
            '\\' if quote == '"' => {
                let Some(escape) = characters.next() else { return Err(Other) };
                text.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '"' | '\\' | '/' => escape,
                    'u' => {
                        let digits: String = characters.by_ref().take(4).collect();
                        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or(Other)?
                    }
                    _ => return Err(Other),
                });
            }
            other => text.push(other),
        }
    }
    Ok(None)
}
