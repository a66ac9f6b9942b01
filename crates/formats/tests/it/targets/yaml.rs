//! Small documents of YAML: a chart's `Chart.yaml`, and its values beside a schema.

use formats::chart_index::{chart_of, yaml_value};
use formats::values_form;
use serde_json::Value;

/// Longest key that YAML takes in a line of its own.
const MAX_KEY_CHARS: usize = 1000;
/// What a form may have.
const MAX_FIELDS: usize = 1000;

/// What is read is read again from its JSON, which is YAML, too; a form has its bounds.
pub(super) fn feed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(value) = yaml_value(&text)
        && has_short_keys(&value)
    {
        let again = yaml_value(&value.to_string());
        assert_eq!(again.as_ref().ok(), Some(&value), "{again:?} of {text:?}");
        if let Ok((name, version, metadata)) = chart_of(&value) {
            super::chart_index::check_entry(&name, &version, &metadata);
        }
    }
    // The first document is the values, what follows a schema.
    let (values, schema) = text.split_once("\n---\n").unwrap_or((&text, ""));
    form(Some(values), serde_json::from_str(schema).ok().as_ref());
}

/// A form of values has its bounds, whatever they are.
pub(super) fn form(values: Option<&str>, schema: Option<&Value>) {
    let form = values_form::of(values, schema);
    let fields: Vec<_> = form.sections.iter().flat_map(|section| &section.fields).collect();
    assert!(fields.len() <= MAX_FIELDS);
    for field in fields {
        assert!(!field.path.is_empty());
        assert!(field.description.as_ref().is_none_or(|text| !text.contains('\u{1b}')), "{field:?}");
    }
}

fn has_short_keys(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            map.iter().all(|(key, value)| key.chars().count() <= MAX_KEY_CHARS && has_short_keys(value))
        }
        Value::Array(items) => items.iter().all(has_short_keys),
        _ => true,
    }
}
