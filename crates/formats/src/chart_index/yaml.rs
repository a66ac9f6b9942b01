//! An index in whatever YAML: by the events of a parser, entry by entry, without a tree of the document. Anchors and aliases work,
//! within a bound on what they unfold to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _};
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Value};

use super::entry::Entry;
use super::{BUFFER_BYTES, Collector, IndexError, Result};

/// Longest index that is held as text, because that is parsed twice as fast.
const MAX_TEXT_BYTES: u64 = 32 << 20;
/// Deepest nesting inside of an entry.
const MAX_DEPTH: usize = 16;
/// Longest single text.
const MAX_SCALAR_BYTES: usize = 1 << 20;
/// Nodes inside of one entry.
const MAX_ENTRY_NODES: usize = 50_000;
/// Nodes that all aliases together may unfold to.
const MAX_ALIAS_NODES: usize = 2_000_000;
/// Bytes that all aliases together may unfold to.
const MAX_ALIAS_BYTES: usize = 64 << 20;
/// Nodes that all anchors together may hold.
const MAX_ANCHOR_NODES: usize = 200_000;
/// The most directives, documents and keys at the top that are passed over.
const MAX_TOP_KEYS: usize = 1000;

/// Reads the whole from the start of the file.
pub(super) fn read(file: &mut File, collector: &mut Collector) -> Result<()> {
    file.rewind()?;
    if file.metadata()?.len() <= MAX_TEXT_BYTES {
        let mut bytes = Vec::new();
        file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8 text"))?;
        return Reader::new(Parser::new_from_str_with_options(&text, options()), collector).whole();
    }
    read_as_stream(file, collector)
}

/// Reads what is too long to be held as text.
pub(super) fn read_as_stream(file: &File, collector: &mut Collector) -> Result<()> {
    let characters =
        Characters { reader: BufReader::with_capacity(BUFFER_BYTES, file.try_clone()?), is_over: false };
    Reader::new(Parser::new_from_fallible_iter_with_options(characters, options()), collector).whole()
}

fn options() -> granit_parser::Options {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = 64;
    options.block_nesting_limit = 64;
    options
}

/// A small document as a tree, within the bounds of an entry; every simple value is a text.
pub fn value(text: &str) -> Result<Value> {
    let mut unused = Collector::new(super::Limits { charts: 0, versions: 0 });
    let mut reader = Reader::new(Parser::new_from_str_with_options(text, options()), &mut unused);
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd => return Ok(Value::Null),
            event => return Ok(Rc::unwrap_or_clone(reader.value(event, 0)?)),
        }
    }
}

fn malformed(text: impl Into<String>) -> IndexError {
    IndexError::Malformed(text.into())
}

fn not_yaml(error: &ScanError) -> IndexError {
    let place = error.marker();
    malformed(format!("it is not YAML: line {}: {}", place.line(), super::entry::shown(&error.info(), 200)))
}

/// A value, as often as it is used.
type Shared = Rc<Value>;

struct Reader<'c, 'input, E: Iterator<Item = Result<(Event<'input>, Span), ScanError>>> {
    events: E,
    collector: &'c mut Collector,
    anchors: HashMap<usize, (Shared, usize, usize)>,
    anchor_nodes: usize,
    alias_nodes: usize,
    alias_bytes: usize,
    entry_nodes: usize,
}

impl<'c, 'input, E: Iterator<Item = Result<(Event<'input>, Span), ScanError>>> Reader<'c, 'input, E> {
    fn new(events: E, collector: &'c mut Collector) -> Self {
        Self {
            events,
            collector,
            anchors: HashMap::new(),
            anchor_nodes: 0,
            alias_nodes: 0,
            alias_bytes: 0,
            entry_nodes: 0,
        }
    }

    fn next(&mut self) -> Result<Event<'input>> {
        match self.events.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(not_yaml(&error)),
            None => Err(malformed("it ends in the middle")),
        }
    }

    fn whole(mut self) -> Result<()> {
        loop {
            match self.next()? {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::MappingStart(..) => break,
                _ => return Err(malformed("it is no index of a Helm repository: it is not an object")),
            }
        }
        for _ in 0..MAX_TOP_KEYS {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(()),
                event => self.key(event)?,
            };
            if key == "entries" {
                self.entries()?;
            } else {
                let event = self.next()?;
                self.entry_nodes = 0;
                self.value(event, 0)?;
            }
        }
        Err(IndexError::TooLarge(format!("{MAX_TOP_KEYS} keys")))
    }

    fn entries(&mut self) -> Result<()> {
        self.collector.begin();
        match self.next()? {
            Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => return Ok(()),
            Event::MappingStart(..) => {}
            _ => return Err(malformed("its `entries` are not an object of charts")),
        }
        loop {
            let chart = match self.next()? {
                Event::MappingEnd => return Ok(()),
                event => self.key(event)?,
            };
            match self.next()? {
                Event::SequenceStart(_, 0, _) => loop {
                    let event = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    self.entry_nodes = 0;
                    let value = self.value(event, 0)?;
                    self.collector.take(&chart, Entry::from_value(&value))?;
                },
                // Anchored, an alias, or something else.
                event => {
                    self.entry_nodes = 0;
                    match &*self.value(event, 0)? {
                        Value::Array(entries) => {
                            for entry in entries {
                                self.collector.take(&chart, Entry::from_value(entry))?;
                            }
                        }
                        Value::Null => {}
                        _ => self.collector.skip(&chart, "its versions are no list"),
                    }
                }
            }
        }
    }

    fn key(&mut self, event: Event<'input>) -> Result<Cow<'input, str>> {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                check_length(&text)?;
                self.remember(anchor, || Rc::new(Value::String(text.to_string())), 1)?;
                Ok(text)
            }
            Event::Alias(id) => match self.unfold(id)?.as_ref() {
                Value::String(text) => Ok(Cow::Owned(text.clone())),
                _ => Err(malformed("a key is not a text")),
            },
            _ => Err(malformed("a key is not a text")),
        }
    }

    /// One node with all that is below it.
    fn value(&mut self, event: Event<'input>, depth: usize) -> Result<Shared> {
        if depth > MAX_DEPTH {
            return Err(IndexError::TooLarge(format!("{MAX_DEPTH} levels in an entry")));
        }
        self.entry_nodes += 1;
        if self.entry_nodes > MAX_ENTRY_NODES {
            return Err(IndexError::TooLarge(format!("{MAX_ENTRY_NODES} values in an entry")));
        }
        let before = self.entry_nodes;
        let (value, anchor) = match event {
            Event::Alias(id) => return self.unfold(id),
            Event::Scalar(text, style, anchor, _) => {
                check_length(&text)?;
                let is_plain = style == ScalarStyle::Plain;
                let value =
                    if is_plain && is_null(&text) { Value::Null } else { Value::String(text.into_owned()) };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let event = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let item = self.value(event, depth + 1)?;
                    items.push(Rc::unwrap_or_clone(item));
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (Value::Object(self.mapping(depth)?), anchor),
            _ => return Err(malformed("something is where a value should be")),
        };
        let value = Rc::new(value);
        let nodes = self.entry_nodes - before + 1;
        self.remember(anchor, || Rc::clone(&value), nodes)?;
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Map<String, Value>> {
        let mut map = Map::new();
        let mut merged: Vec<Value> = Vec::new();
        loop {
            // In quotes it is a key like any other.
            let (key, is_merge) = match self.next()? {
                Event::MappingEnd => break,
                event => {
                    let is_plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
                    let key = self.key(event)?.into_owned();
                    let is_merge = is_plain && key == "<<";
                    (key, is_merge)
                }
            };
            let event = self.next()?;
            let value = Rc::unwrap_or_clone(self.value(event, depth + 1)?);
            match (is_merge, value) {
                (true, Value::Array(sources)) => merged.extend(sources),
                (true, source @ Value::Object(_)) => merged.push(source),
                (_, value) => {
                    if map.insert(key, value).is_some() {
                        return Err(malformed("a key is there twice in one object"));
                    }
                }
            }
        }
        for source in merged {
            if let Value::Object(source) = source {
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
            }
        }
        Ok(map)
    }

    fn remember(&mut self, anchor: usize, value: impl FnOnce() -> Shared, nodes: usize) -> Result<()> {
        if anchor == 0 {
            return Ok(());
        }
        self.anchor_nodes += nodes;
        if self.anchor_nodes > MAX_ANCHOR_NODES {
            return Err(IndexError::TooLarge(format!("{MAX_ANCHOR_NODES} values behind anchors")));
        }
        let value = value();
        let (nodes, bytes) = size_of(&value);
        self.anchors.insert(anchor, (value, nodes, bytes));
        Ok(())
    }

    fn unfold(&mut self, id: usize) -> Result<Shared> {
        let (value, nodes, bytes) =
            self.anchors.get(&id).ok_or_else(|| malformed("an alias is inside of what it stands for"))?;
        self.alias_nodes = self.alias_nodes.saturating_add(*nodes);
        self.alias_bytes = self.alias_bytes.saturating_add(*bytes);
        self.entry_nodes = self.entry_nodes.saturating_add(*nodes);
        if self.alias_nodes > MAX_ALIAS_NODES
            || self.alias_bytes > MAX_ALIAS_BYTES
            || self.entry_nodes > MAX_ENTRY_NODES
        {
            return Err(IndexError::TooLarge("aliases may unfold to".to_owned()));
        }
        Ok(Rc::clone(value))
    }
}

/// Values in a tree, and the bytes of its texts.
fn size_of(value: &Value) -> (usize, usize) {
    let sum = |sizes: &mut dyn Iterator<Item = (usize, usize)>| {
        sizes.fold((1_usize, 0_usize), |all, one| (all.0.saturating_add(one.0), all.1.saturating_add(one.1)))
    };
    match value {
        Value::String(text) => (1, text.len()),
        Value::Array(items) => sum(&mut items.iter().map(size_of)),
        Value::Object(map) => sum(&mut map.iter().map(|(key, value)| {
            let (nodes, bytes) = size_of(value);
            (nodes + 1, bytes + key.len())
        })),
        _ => (1, 0),
    }
}

fn check_length(text: &str) -> Result<()> {
    if text.len() > MAX_SCALAR_BYTES {
        Err(IndexError::TooLarge(format!("{} KiB in one text", MAX_SCALAR_BYTES >> 10)))
    } else {
        Ok(())
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The characters of a file, one after the other.
struct Characters<R> {
    reader: R,
    is_over: bool,
}

impl<R: BufRead> Iterator for Characters<R> {
    type Item = Result<char, ErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let found = self.character();
        self.is_over = !matches!(found, Some(Ok(_)));
        found
    }
}

impl<R: BufRead> Characters<R> {
    fn character(&mut self) -> Option<Result<char, ErrorKind>> {
        let mut bytes = [0_u8; 4];
        let first = match self.byte() {
            Ok(byte) => byte?,
            Err(error) => return Some(Err(error)),
        };
        let length = match first {
            0..=0x7f => return Some(Ok(char::from(first))),
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Some(Err(not_text())),
        };
        bytes[0] = first;
        for byte in &mut bytes[1..length] {
            *byte = match self.byte() {
                Ok(Some(byte)) => byte,
                Ok(None) => return Some(Err(not_text())),
                Err(error) => return Some(Err(error)),
            };
        }
        let character = std::str::from_utf8(&bytes[..length]).ok().and_then(|text| text.chars().next());
        Some(character.ok_or_else(not_text))
    }

    fn byte(&mut self) -> Result<Option<u8>, ErrorKind> {
        let buffer = self
            .reader
            .fill_buf()
            .map_err(|error| ErrorKind::InputIo { error: granit_parser::InputIoError::from_io(error) })?;
        let Some(byte) = buffer.first().copied() else { return Ok(None) };
        self.reader.consume(1);
        Ok(Some(byte))
    }
}

fn not_text() -> ErrorKind {
    ErrorKind::InputDecoding { message: "it is not UTF-8 text".to_owned() }
}
