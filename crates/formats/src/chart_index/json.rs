//! An index that is JSON, which Helm takes too: entry by entry, without a tree of anything.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::entry::{Entry, MAX_ITEMS};
use super::{BUFFER_BYTES, Collector, IndexError, Result};

/// Longest single text.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Reads the whole.
pub(super) fn read(reader: impl BufRead, collector: &mut Collector) -> Result<()> {
    let mut failure = None;
    let bounded = BufReader::with_capacity(BUFFER_BYTES, Bounded::new(reader));
    let mut deserializer = serde_json::Deserializer::from_reader(bounded);
    let result = Whole { collector, failure: &mut failure }.deserialize(&mut deserializer);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let result = result.and_then(|()| deserializer.end());
    result.map_err(|error| {
        if error.is_io() {
            too_long_or(std::io::Error::from(error))
        } else {
            IndexError::Malformed(format!("it is not JSON: {error}"))
        }
    })
}

/// The document.
struct Whole<'a> {
    collector: &'a mut Collector,
    failure: &'a mut Option<IndexError>,
}

/// The object of charts.
struct Charts<'a>(Whole<'a>);

/// The list of a chart's versions.
struct Versions<'a> {
    whole: Whole<'a>,
    chart: &'a str,
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "entries" {
                let whole = Whole { collector: &mut *self.collector, failure: &mut *self.failure };
                map.next_value_seed(Charts(whole))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Charts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Charts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of charts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.collector.begin();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.collector.begin();
        while let Some(chart) = map.next_key::<String>()? {
            let whole = Whole { collector: &mut *self.0.collector, failure: &mut *self.0.failure };
            map.next_value_seed(Versions { whole, chart: &chart })?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Versions<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Versions<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of versions")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element_seed(OneEntry)? {
            if let Err(error) = self.whole.collector.take(self.chart, entry) {
                *self.whole.failure = Some(error);
                return Err(A::Error::custom("the index is too large"));
            }
        }
        Ok(())
    }
}

/// What a value is that is no object and no list of them.
macro_rules! simple_values {
    ($($name:ident: $type:ty),+ => $value:expr) => {
        $(fn $name<E>(self, value: $type) -> Result<Self::Value, E> {
            Ok($value(value))
        })+
    };
}

/// A version: what is kept of it, or why it is none. What is said twice counts as it was said last.
struct OneEntry;

impl<'de> DeserializeSeed<'de> for OneEntry {
    type Value = Result<Entry, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn no_object<T>(_: T) -> Result<Entry, String> {
    Err("an entry is no object".to_owned())
}

impl<'de> Visitor<'de> for OneEntry {
    type Value = Result<Entry, String>;

    simple_values!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str => no_object);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(no_object(()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(no_object(()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entry = Entry::default();
        while let Some(key) = map.next_key::<String>()? {
            if !Entry::is_kept(&key) && key != "annotations" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            entry.clear(&key);
            match map.next_value_seed(OneValue)? {
                Loose::Text(text) | Loose::Simple(text) => entry.set(&key, &text),
                Loose::List(items) => items.iter().for_each(|item| entry.push(&key, item)),
                Loose::Object { category, .. } if key == "annotations" => entry.metadata.category = category,
                Loose::Object { .. } | Loose::Nothing => {}
            }
        }
        Ok(Ok(entry))
    }
}

/// What is kept of any value.
enum Loose {
    Nothing,
    Text(String),
    /// A number or a switch, as it is written.
    Simple(String),
    /// Its texts, and the names of its objects.
    List(Vec<String>),
    /// Two of its texts.
    Object {
        name: Option<String>,
        category: Option<String>,
    },
}

impl Loose {
    fn text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

struct OneValue;

impl<'de> DeserializeSeed<'de> for OneValue {
    type Value = Loose;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Loose, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn simple(value: impl Into<Number>) -> Loose {
    Loose::Simple(value.into().to_string())
}

impl<'de> Visitor<'de> for OneValue {
    type Value = Loose;

    simple_values!(visit_u64: u64, visit_i64: i64 => simple);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_bool<E>(self, switch: bool) -> Result<Loose, E> {
        Ok(Loose::Simple(switch.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Number::from_f64(number).map_or(Loose::Nothing, simple))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Self)? {
            let (Loose::Text(text) | Loose::Object { name: Some(text), .. }) = item else { continue };
            if items.len() < MAX_ITEMS && !text.is_empty() {
                items.push(text);
            }
        }
        Ok(Loose::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let (mut name, mut category) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = map.next_value_seed(Self)?.text(),
                "category" => category = map.next_value_seed(Self)?.text(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Loose::Object { name, category })
    }
}

/// Passes on what it reads, unless a text in it is longer than any may be: the library would gather it whole.
struct Bounded<R> {
    inner: R,
    in_text: bool,
    is_escaped: bool,
    length: usize,
}

/// What a text that is too long is called on its way through the library.
const TOO_LONG: std::io::ErrorKind = std::io::ErrorKind::FileTooLarge;

fn too_long_or(error: std::io::Error) -> IndexError {
    if error.kind() == TOO_LONG {
        IndexError::TooLarge(format!("{} KiB in one text", MAX_TEXT_BYTES >> 10))
    } else {
        IndexError::Read(error)
    }
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Self { inner, in_text: false, is_escaped: false, length: 0 }
    }

    /// Whether no text up to the end of these bytes is too long.
    fn is_good(&mut self, bytes: &[u8]) -> bool {
        let mut at = 0;
        if self.is_escaped && !bytes.is_empty() {
            (self.is_escaped, at) = (false, 1);
        }
        while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
            self.length += found + 1;
            if self.in_text && self.length > MAX_TEXT_BYTES {
                return false;
            }
            let is_quote = bytes[at + found] == b'"';
            at += found + 1;
            if is_quote {
                (self.in_text, self.length) = (!self.in_text, 0);
            } else if at == bytes.len() {
                self.is_escaped = true;
            } else {
                at += 1;
            }
        }
        self.length += bytes.len() - at;
        !self.in_text || self.length <= MAX_TEXT_BYTES
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.is_good(&buffer[..count]) { Ok(count) } else { Err(TOO_LONG.into()) }
    }
}
