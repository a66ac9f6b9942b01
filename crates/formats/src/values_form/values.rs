//! Walks through `values.yaml` by the events of a parser: each value that can be set, with what the comment before it says.

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};
use wire::values_form::ValuesKind;

use super::comments::Notes;
use super::{Found, MAX_DEFAULT_BYTES, MAX_DEPTH, MAX_FIELDS, MAX_TITLE_CHARS};
use crate::chart_index::shown;

/// Items of a list or an object in a default.
const MAX_ITEMS: usize = 100;
/// Events of one document.
const MAX_EVENTS: usize = 200_000;

/// The values of a text, and whether some were left out; or why it cannot be read.
pub(super) fn read(text: &str, notes: &Notes) -> Result<(Vec<Found>, bool), String> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = 64;
    options.block_nesting_limit = 64;
    let events = Parser::new_from_str_with_options(text, options).map(|event| {
        event.map_err(|error| {
            format!("line {}: {}", error.marker().line(), shown(&error.info(), MAX_TITLE_CHARS))
        })
    });
    let mut walk = Walk { events, notes, found: Vec::new(), is_shortened: false, left: MAX_EVENTS };
    loop {
        match walk.next()?.0 {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::MappingStart(..) => {
                walk.mapping(&mut Vec::new(), None)?;
                return Ok((walk.found, walk.is_shortened));
            }
            Event::StreamEnd | Event::DocumentEnd => return Ok((Vec::new(), false)),
            Event::Scalar(text, ..) if is_null(&text) => return Ok((Vec::new(), false)),
            _ => return Err("it is not an object".to_owned()),
        }
    }
}

struct Walk<'n, E> {
    events: E,
    notes: &'n Notes,
    found: Vec<Found>,
    is_shortened: bool,
    left: usize,
}

impl<'input, E: Iterator<Item = Result<(Event<'input>, Span), String>>> Walk<'_, E> {
    fn next(&mut self) -> Result<(Event<'input>, Span), String> {
        self.left = self.left.checked_sub(1).ok_or("it is too long")?;
        self.events.next().unwrap_or_else(|| Err("it ends in the middle".to_owned()))
    }

    /// Reads an object's keys; its beginning was read.
    fn mapping(&mut self, path: &mut Vec<String>, section: Option<&str>) -> Result<(), String> {
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(text, ..) if text.chars().count() <= MAX_TITLE_CHARS && text != "<<" => {
                    text.into_owned()
                }
                event => {
                    // Nothing that a form could name.
                    self.skip(&event)?;
                    let (event, _) = self.next()?;
                    self.skip(&event)?;
                    self.is_shortened = true;
                    continue;
                }
            };
            path.push(key);
            self.value(path, span.start.line(), section)?;
            path.pop();
        }
    }

    fn value(&mut self, path: &mut Vec<String>, line: usize, section: Option<&str>) -> Result<(), String> {
        let name = path.join(".");
        let (event, _) = self.next()?;
        if self.notes.skipped.contains(&name) {
            return self.skip(&event);
        }
        let comment = self.notes.before(line);
        let section = comment.section.or_else(|| section.map(str::to_owned));
        let found = Found { section, description: comment.description, ..Found::default() };
        if let Event::MappingStart(..) = event {
            return self.object(path, line, found);
        }
        let is_list = matches!(event, Event::SequenceStart(..));
        let default = self.plain(event, 0)?;
        let kind = if is_list { Some(ValuesKind::Array) } else { default.as_ref().and_then(kind_of) };
        let kind = comment.kind.or(kind);
        self.keep(path, line, Found { kind, default: default.filter(|value| !value.is_null()), ..found });
        Ok(())
    }

    /// An object: its fields, or itself when it is empty or too deep.
    fn object(&mut self, path: &mut Vec<String>, line: usize, found: Found) -> Result<(), String> {
        let before = self.found.len();
        if path.len() >= MAX_DEPTH {
            self.is_shortened = true;
            self.rest(1)?;
        } else {
            self.mapping(path, found.section.as_deref())?;
        }
        if self.found.len() == before {
            let empty = Some(Value::Object(Map::new()));
            self.keep(path, line, Found { kind: Some(ValuesKind::Object), default: empty, ..found });
        }
        Ok(())
    }

    fn keep(&mut self, path: &[String], line: usize, found: Found) {
        if self.found.len() > MAX_FIELDS {
            self.is_shortened = true;
            return;
        }
        let parameter = self.notes.parameters.get(&path.join(".")).cloned().unwrap_or_default();
        self.found.push(Found {
            path: path.to_vec(),
            kind: parameter.kind.or(found.kind),
            description: Some(parameter.description).filter(|text| !text.is_empty()).or(found.description),
            section: found.section.or_else(|| self.notes.section_at(line).map(str::to_owned)),
            default: found.default,
        });
    }

    /// A value with all that is in it; none when it is too much to be shown, or stands for another one.
    fn plain(&mut self, event: Event<'input>, depth: usize) -> Result<Option<Value>, String> {
        match event {
            Event::Scalar(text, _, _, _) if text.len() > MAX_DEFAULT_BYTES => {
                self.is_shortened = true;
                Ok(None)
            }
            Event::Scalar(text, style, _, tag) => {
                let is_text = style != ScalarStyle::Plain || tag.is_some();
                Ok(Some(if is_text { Value::String(text.into_owned()) } else { scalar(&text) }))
            }
            Event::SequenceStart(..) if depth < MAX_DEPTH => {
                let mut items = Some(Vec::new());
                loop {
                    let (event, _) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        return Ok(items.map(Value::Array));
                    }
                    items = match (self.plain(event, depth + 1)?, items) {
                        (Some(item), Some(mut items)) if items.len() < MAX_ITEMS => {
                            items.push(item);
                            Some(items)
                        }
                        _ => None,
                    };
                }
            }
            Event::MappingStart(..) if depth < MAX_DEPTH => {
                let mut map = Map::new();
                loop {
                    let key = match self.next()?.0 {
                        Event::MappingEnd => return Ok(Some(Value::Object(map))),
                        Event::Scalar(text, ..) => Some(text.into_owned()),
                        event => {
                            self.skip(&event)?;
                            None
                        }
                    };
                    let (event, _) = self.next()?;
                    let value = self.plain(event, depth + 1)?;
                    if let (Some(key), Some(value)) = (key, value)
                        && map.len() < MAX_ITEMS
                    {
                        map.insert(key, value);
                    }
                }
            }
            event => self.skip(&event).map(|()| None),
        }
    }

    /// Passes over a node whose first event was read.
    fn skip(&mut self, event: &Event<'input>) -> Result<(), String> {
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => self.rest(1),
            _ => Ok(()),
        }
    }

    /// Passes over the rest of so many open nodes.
    fn rest(&mut self, mut open: usize) -> Result<(), String> {
        while open > 0 {
            match self.next()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => open += 1,
                Event::MappingEnd | Event::SequenceEnd => open -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A plain scalar as Helm's YAML reads it.
fn scalar(text: &str) -> Value {
    match text {
        _ if is_null(text) => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return false.into(),
        _ => {}
    }
    let is_number = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if is_number {
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
        if let Some(number) = text.parse::<f64>().ok().and_then(Number::from_f64) {
            return Value::Number(number);
        }
    }
    text.into()
}

fn kind_of(value: &Value) -> Option<ValuesKind> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => ValuesKind::Boolean,
        Value::Number(number) if number.is_i64() => ValuesKind::Integer,
        Value::Number(_) => ValuesKind::Number,
        Value::String(_) => ValuesKind::String,
        Value::Array(_) => ValuesKind::Array,
        Value::Object(_) => ValuesKind::Object,
    })
}
