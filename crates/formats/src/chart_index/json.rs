//! An index that is JSON, which Helm takes too: entry by entry, without a tree of anything. Brackets and quotes tell where an entry
//! ends; it is then read from memory, which takes the library less than half as long as reading from a stream.

use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::entry::Entry;
use super::{BUFFER_BYTES, Collector, IndexError, Result};

/// Longest single text.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Brackets in brackets; as many as the library takes.
const MAX_DEPTH: usize = 127;
/// Longest entry.
const MAX_ENTRY_BYTES: usize = 8 << 20;

/// Reads the whole.
pub(super) fn read(reader: impl Read, collector: &mut Collector) -> Result<()> {
    let mut source = Source { reader, buffer: Vec::with_capacity(2 * BUFFER_BYTES), at: 0 };
    members(
        &mut source,
        |source, key| {
            if key == "entries" { charts(source, collector) } else { source.skip() }
        },
    )?;
    if source.peek()?.is_some() { Err(other_than("the end")) } else { Ok(()) }
}

fn charts(source: &mut Source<impl Read>, collector: &mut Collector) -> Result<()> {
    if source.peek()? != Some(b'{') {
        source.null()?;
        collector.begin();
        return Ok(());
    }
    collector.begin();
    members(source, |source, chart| versions(source, chart, collector))
}

fn versions(source: &mut Source<impl Read>, chart: &str, collector: &mut Collector) -> Result<()> {
    if source.peek()? != Some(b'[') {
        return source.null();
    }
    source.at += 1;
    if source.peek()? == Some(b']') {
        source.at += 1;
        return Ok(());
    }
    loop {
        let entry = parse(OneEntry, source.value()?)?;
        collector.take(chart, entry)?;
        match source.next()? {
            b',' => {}
            b']' => return Ok(()),
            _ => return Err(other_than("`,` or `]`")),
        }
    }
}

/// Reads an object key by key; what is called reads the value.
fn members<R: Read>(
    source: &mut Source<R>,
    mut value: impl FnMut(&mut Source<R>, &str) -> Result<()>,
) -> Result<()> {
    source.expect(b'{')?;
    if source.peek()? == Some(b'}') {
        source.at += 1;
        return Ok(());
    }
    loop {
        let key: String = serde_json::from_slice(source.value()?).map_err(no_json)?;
        source.expect(b':')?;
        value(source, &key)?;
        match source.next()? {
            b',' => {}
            b'}' => return Ok(()),
            _ => return Err(other_than("`,` or `}`")),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of an error is asked for")]
fn no_json(error: serde_json::Error) -> IndexError {
    IndexError::Malformed(format!("it is not JSON: {error}"))
}

fn other_than(expected: &str) -> IndexError {
    IndexError::Malformed(format!("it is not JSON: something else than {expected}"))
}

fn parse<'a, S: DeserializeSeed<'a>>(seed: S, text: &'a [u8]) -> Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut deserializer).map_err(no_json)?;
    deserializer.end().map_err(no_json)?;
    Ok(value)
}

/// What is read, as much of it as is needed at a time.
struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been read.
    at: usize,
}

impl<R: Read> Source<R> {
    /// Reads on; false at the end.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut some = (&mut self.reader).take(BUFFER_BYTES as u64);
        Ok(some.read_to_end(&mut self.buffer)? > 0)
    }

    /// The next byte that is no blank, which stays; none at the end.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(blanks) = rest.iter().position(|byte| !is_blank(*byte)) {
                self.at += blanks;
                return Ok(Some(self.buffer[self.at]));
            }
            self.at = self.buffer.len();
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn next(&mut self) -> Result<u8> {
        let byte = self.peek()?.ok_or_else(|| other_than("the end"))?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next()? == byte { Ok(()) } else { Err(other_than(&format!("`{}`", char::from(byte)))) }
    }

    fn null(&mut self) -> Result<()> {
        if self.value()? == b"null" { Ok(()) } else { Err(other_than("a list or an object")) }
    }

    /// The next value as it is written.
    fn value(&mut self) -> Result<&[u8]> {
        self.peek()?;
        let (mut extent, mut searched) = (Extent::default(), 0);
        loop {
            if let Some(end) = extent.end(&self.buffer[self.at + searched..])? {
                let begin = self.at;
                self.at += searched + end;
                return Ok(&self.buffer[begin..self.at]);
            }
            searched = self.buffer.len() - self.at;
            if searched > MAX_ENTRY_BYTES {
                return Err(IndexError::TooLarge(format!("{} MiB in one entry", MAX_ENTRY_BYTES >> 20)));
            }
            if !self.fill()? {
                return Err(other_than("the end"));
            }
        }
    }

    /// Passes over the next value, however long it is.
    fn skip(&mut self) -> Result<()> {
        self.peek()?;
        let mut extent = Extent::default();
        loop {
            if let Some(end) = extent.end(&self.buffer[self.at..])? {
                self.at += end;
                return Ok(());
            }
            self.at = self.buffer.len();
            if !self.fill()? {
                return Err(other_than("the end"));
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Finds where a value ends, piece by piece. What is no JSON ends somewhere, too.
#[derive(Default)]
struct Extent {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    text_bytes: usize,
}

impl Extent {
    /// The end of the value in this piece, which follows on those before; an error when a text in it is too long, or too much in brackets.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let mut at = 0;
        while at < bytes.len() {
            if self.is_escaped {
                (self.is_escaped, at) = (false, at + 1);
                self.text_bytes += 1;
                continue;
            }
            if self.in_text {
                let found = memchr::memchr2(b'"', b'\\', &bytes[at..]);
                let passed = found.map_or(bytes.len() - at, |found| found + 1);
                (self.text_bytes, at) = (self.text_bytes + passed, at + passed);
                if self.text_bytes > MAX_TEXT_BYTES {
                    return Err(IndexError::TooLarge(format!("{} KiB in one text", MAX_TEXT_BYTES >> 10)));
                }
                match found.map(|_| bytes[at - 1]) {
                    Some(b'\\') => self.is_escaped = true,
                    Some(_) => {
                        (self.in_text, self.text_bytes) = (false, 0);
                        if self.depth == 0 {
                            return Ok(Some(at));
                        }
                    }
                    None => {}
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_text = true,
                b'{' | b'[' if self.depth == MAX_DEPTH => {
                    return Err(other_than("what has few brackets in brackets"));
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 1 => return Ok(Some(at + 1)),
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                // A number or a word ends before what is not its own.
                b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => {
                    return Ok(Some(at));
                }
                _ => {}
            }
            at += 1;
        }
        Ok(None)
    }
}

/// What a value is of which nothing is kept, unless it is an object or a list.
macro_rules! nothing_else {
    ($($name:ident: $type:ty),+ => $value:expr) => {
        $(fn $name<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok($value)
        })+

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

fn pass_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// A version: what is kept of it, or why it is none. What is said twice counts as it was said last.
struct OneEntry;

impl<'de> DeserializeSeed<'de> for OneEntry {
    type Value = Result<Entry, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn no_object() -> Result<Entry, String> {
    Err("an entry is no object".to_owned())
}

impl<'de> Visitor<'de> for OneEntry {
    type Value = Result<Entry, String>;

    nothing_else!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str => no_object());

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        pass_list(list)?;
        Ok(no_object())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entry = Entry::default();
        while let Some(field) = map.next_key_seed(FieldName)? {
            match field {
                Some(field) => {
                    entry.clear(field);
                    map.next_value_seed(IntoField { entry: &mut entry, field })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Ok(entry))
    }
}

/// The name of a field of which something is kept.
struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Entry::kept(name))
    }
}

/// Keeps what is to be kept of a field's value.
struct IntoField<'a> {
    entry: &'a mut Entry,
    field: &'static str,
}

impl<'de> DeserializeSeed<'de> for IntoField<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl IntoField<'_> {
    fn set_number(self, number: impl Into<Number>) {
        self.entry.set(self.field, &number.into().to_string());
    }
}

impl<'de> Visitor<'de> for IntoField<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, switch: bool) -> Result<(), E> {
        self.entry.set(self.field, if switch { "true" } else { "false" });
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.set_number(number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.set_number(number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if let Some(number) = Number::from_f64(number) {
            self.set_number(number);
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.entry.set(self.field, text);
        Ok(())
    }

    /// Its texts, and the names of its objects.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(IntoList { entry: self.entry, field: self.field })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let is_kept = self.field == "annotations";
        let category = text_of(map, "category")?;
        if is_kept {
            self.entry.metadata.category = category;
        }
        Ok(())
    }
}

/// A text of an object, as it was said last.
fn text_of<'de, A: MapAccess<'de>>(mut map: A, wanted: &'static str) -> Result<Option<String>, A::Error> {
    let mut text = None;
    while let Some(is_it) = map.next_key_seed(Is(wanted))? {
        if is_it {
            text = map.next_value_seed(OneText)?;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
    }
    Ok(text)
}

/// Whether a name is this one.
struct Is(&'static str);

impl<'de> DeserializeSeed<'de> for Is {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// Adds an item to a field that is a list.
struct IntoList<'a> {
    entry: &'a mut Entry,
    field: &'static str,
}

impl<'de> DeserializeSeed<'de> for IntoList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IntoList<'_> {
    type Value = ();

    nothing_else!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64 => ());

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.entry.push(self.field, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        pass_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        if let Some(name) = text_of(map, "name")? {
            self.entry.push(self.field, &name);
        }
        Ok(())
    }
}

/// A value, if it is a text.
struct OneText;

impl<'de> DeserializeSeed<'de> for OneText {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneText {
    type Value = Option<String>;

    nothing_else!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64 => None);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        pass_list(list)?;
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
