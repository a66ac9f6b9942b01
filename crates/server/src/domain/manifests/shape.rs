//! How a manifest is read: along a description of every field that may be given, and nothing else. What comes out is written
//! anew from what was understood; what is not described does not reach the cluster, however it is spelled. All that is wrong is
//! told together, each with its place.

use serde_json::{Map, Value};

/// Violations that are told at most.
const VIOLATIONS_MAX: usize = 100;

/// What a value may be.
pub(super) enum Shape {
    /// Text.
    Text,
    /// A whole number in a range.
    Number(i64, i64),
    /// True or false.
    Bool,
    /// A whole number or text, as in ports and amounts.
    NumberOrText,
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// Values of one shape.
    List(&'static Shape),
    /// Values of one shape under keys that the writer chooses.
    Map(&'static Shape),
    /// Fields.
    Object(&'static [Field]),
    /// Text or numbers under keys that are checked.
    Keys(fn(&str) -> bool, &'static str),
    /// Left out without a word: the cluster writes it, or it says what is so anyway.
    Dropped,
    /// Refused, with what it would do; `false`, `null` and what is empty ask for nothing.
    Refused(&'static str),
}

/// A field, by its name.
pub(super) type Field = (&'static str, Shape);

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The place in the document, such as `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What is wrong, in plain words.
    pub message: String,
}

/// What is wrong with a document.
#[derive(Debug, Default)]
pub(super) struct Violations(pub(super) Vec<Violation>);

impl Violations {
    /// Notes something.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        if self.0.len() < VIOLATIONS_MAX {
            let path = if path.is_empty() { "(document)" } else { path };
            let path: String = path.chars().take(300).filter(|c| !c.is_control()).collect();
            self.0.push(Violation { path, message: message.into() });
        }
    }
}

/// The value as it goes on; none when there is nothing of it.
pub(super) fn read(shape: &Shape, value: &Value, path: &str, wrong: &mut Violations) -> Option<Value> {
    // In Kubernetes a field that is null is a field that is not there.
    if value.is_null() {
        return None;
    }
    let mut refuse = |message: String| {
        wrong.add(path, message);
        None
    };
    match (shape, value) {
        (Shape::Dropped, _) => None,
        (Shape::Refused(why), _) => {
            if asks_for_nothing(value) {
                None
            } else {
                refuse((*why).to_owned())
            }
        }
        (Shape::Text | Shape::NumberOrText, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => {
            Some(value.clone())
        }
        (Shape::NumberOrText, Value::Number(number)) if number.is_i64() || number.is_f64() => {
            Some(value.clone())
        }
        (Shape::Text, Value::Number(_) | Value::Bool(_)) => {
            refuse(format!("must be text: write \"{value}\" in quotes"))
        }
        (Shape::Number(least, most), Value::Number(number)) => match number.as_i64() {
            Some(number) if (*least..=*most).contains(&number) => Some(value.clone()),
            _ => refuse(format!("must be a whole number from {least} to {most}")),
        },
        (Shape::OneOf(words), Value::String(text)) => {
            if words.contains(&text.as_str()) {
                return Some(value.clone());
            }
            refuse(format!("must be one of: {}", words.join(", ")))
        }
        (Shape::List(inner), Value::Array(items)) => {
            let read = |(place, item)| read(inner, item, &format!("{path}[{place}]"), wrong);
            Some(items.iter().enumerate().filter_map(read).collect())
        }
        (Shape::Map(inner), Value::Object(map)) => {
            let mut kept = Map::new();
            for (key, value) in map {
                if let Some(value) = read(inner, value, &below(path, key), wrong) {
                    kept.insert(key.clone(), value);
                }
            }
            Some(Value::Object(kept))
        }
        (Shape::Keys(is_allowed, rule), Value::Object(map)) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let path = below(path, key);
                if !is_allowed(key) {
                    wrong.add(&path, format!("cannot be given: {rule}"));
                } else if let Some(value) = read(&Shape::NumberOrText, value, &path, wrong) {
                    kept.insert(key.clone(), value);
                }
            }
            Some(Value::Object(kept))
        }
        (Shape::Object(fields), Value::Object(map)) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let path = below(path, key);
                match fields.iter().find(|(name, _)| name == key) {
                    Some((_, shape)) => {
                        if let Some(value) = read(shape, value, &path, wrong) {
                            kept.insert(key.clone(), value);
                        }
                    }
                    None => wrong.add(&path, not_a_field(key, fields)),
                }
            }
            Some(Value::Object(kept))
        }
        (shape, _) => refuse(format!("must be {}", wanted(shape))),
    }
}

/// Longest word for which a similar one is looked for.
const WORD_BYTES_MAX: usize = 40;

/// What is said of a field that there is not; with the one that was probably meant.
fn not_a_field(key: &str, fields: &[Field]) -> String {
    let said = "is not a field that can be given here";
    let written = key.to_ascii_lowercase();
    let slips = (key.len() / 3).min(2);
    let is_open = |shape: &Shape| !matches!(shape, Shape::Dropped | Shape::Refused(_));
    let open = fields.iter().filter(|(_, shape)| key.len() <= WORD_BYTES_MAX && is_open(shape));
    let distances =
        open.map(|(name, _)| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), &written), *name));
    match distances.filter(|(distance, _)| *distance <= slips).min() {
        Some((_, name)) => format!("{said}; did you mean `{name}`?"),
        None => said.to_owned(),
    }
}

/// A place below another.
pub(super) fn below(path: &str, key: &str) -> String {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match (path.is_empty(), is_plain) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}[{key:?}]"),
    }
}

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Bool(is_on) => !is_on,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::OneOf(_) => "text",
        Shape::Number(..) => "a whole number",
        Shape::Bool => "`true` or `false`",
        Shape::NumberOrText => "a number or text",
        Shape::List(_) => "a list",
        Shape::Map(_) | Shape::Object(_) | Shape::Keys(..) => "a mapping",
        Shape::Dropped | Shape::Refused(_) => "left out",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHAPE: Shape = Shape::Object(&[
        ("name", Shape::Text),
        ("replicas", Shape::Number(0, 10)),
        ("ports", Shape::List(&Shape::Object(&[("port", Shape::NumberOrText)]))),
        ("labels", Shape::Map(&Shape::Text)),
        ("status", Shape::Dropped),
        ("hostNetwork", Shape::Refused("would share the node's network")),
    ]);

    fn violations(value: &Value) -> Vec<String> {
        let mut wrong = Violations::default();
        read(&SHAPE, value, "", &mut wrong);
        wrong.0.into_iter().map(|violation| format!("{}: {}", violation.path, violation.message)).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_together_with_its_place() {
        let value = json!({
            "name": 5, "replicas": 11, "ports": [{"port": 1}, {"port": []}], "labels": {"a.b/c": true},
            "hostNetwork": true, "privileged": true,
        });

        assert_eq!(
            violations(&value),
            [
                "hostNetwork: would share the node's network",
                "labels[\"a.b/c\"]: must be text: write \"true\" in quotes",
                "name: must be text: write \"5\" in quotes",
                "ports[1].port: must be a number or text",
                "privileged: is not a field that can be given here",
                "replicas: must be a whole number from 0 to 10",
            ]
        );
    }

    #[test]
    fn a_field_that_was_misspelled_is_told_with_the_one_that_was_meant() {
        for (written, meant) in [
            ("replica", Some("replicas")),
            ("Name", Some("name")),
            ("port", Some("ports")),
            ("hostNetwrk", None),
            ("x", None),
        ] {
            let expected = match meant {
                Some(name) => {
                    format!("{written}: is not a field that can be given here; did you mean `{name}`?")
                }
                None => format!("{written}: is not a field that can be given here"),
            };
            assert_eq!(violations(&json!({written: 1})), [expected]);
        }
        let long = "replicas".repeat(10_000);
        assert!(violations(&json!({long: 1}))[0].ends_with("is not a field that can be given here"));
    }

    #[test]
    fn what_was_understood_is_written_anew_and_the_rest_left_out() {
        let value = json!({"name": "a", "replicas": null, "status": {"x": 1}, "hostNetwork": false});
        let mut wrong = Violations::default();

        let read = read(&SHAPE, &value, "", &mut wrong);

        assert_eq!((read, wrong.0.len()), (Some(json!({"name": "a"})), 0));
        assert_eq!(violations(&json!([])), ["(document): must be a mapping"]);
        assert_eq!(
            violations(&json!({"status": {}, "x": 1}).as_object().map(|map| json!(map)).unwrap()).len(),
            1
        );
    }
}
