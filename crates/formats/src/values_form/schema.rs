//! What a JSON schema says of single values: the part of it that a form needs. References lead within the schema only; what goes round ends.

use std::collections::BTreeMap;

use serde_json::Value;
use wire::values_form::ValuesKind;

use super::{MAX_DEPTH, MAX_FIELDS, MAX_TITLE_CHARS};

/// Places that are looked at, references followed included.
const MAX_STEPS: usize = 20_000;
/// References that are followed in a row.
const MAX_REFERENCES: usize = 16;
/// Choices of one field.
const MAX_CHOICES: usize = 100;
/// Longest pattern in characters.
const MAX_PATTERN_CHARS: usize = 500;

/// What is said of one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) kind: Option<ValuesKind>,
    pub(super) default: Option<Value>,
    pub(super) choices: Vec<Value>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<String>,
    pub(super) is_required: bool,
}

/// What is said of all of them.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) fields: BTreeMap<Vec<String>, Rule>,
    pub(super) is_shortened: bool,
}

/// Reads a schema.
pub(super) fn read(schema: &Value) -> Rules {
    let mut reader = Reader { root: schema, rules: Rules::default(), left: MAX_STEPS };
    reader.node(schema, &mut Vec::new(), false);
    reader.rules
}

struct Reader<'a> {
    root: &'a Value,
    rules: Rules,
    left: usize,
}

impl<'a> Reader<'a> {
    fn node(&mut self, node: &'a Value, path: &mut Vec<String>, is_required: bool) {
        if self.left == 0 || path.len() > MAX_DEPTH || self.rules.fields.len() > MAX_FIELDS {
            self.rules.is_shortened = true;
            return;
        }
        self.left -= 1;
        let (mut node, mut rule) = (node, rule(node, is_required));
        for _ in 0..MAX_REFERENCES {
            let Some(reference) = node["$ref"].as_str() else { break };
            let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer))
            else {
                return;
            };
            node = target;
            rule = rule.over(self::rule(node, is_required));
        }
        if node.get("$ref").is_some() {
            return;
        }
        let properties = node["properties"].as_object().filter(|properties| !properties.is_empty());
        if !path.is_empty() && properties.is_none() {
            self.rules.fields.insert(path.clone(), rule);
            return;
        }
        let required: Vec<&str> =
            node["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, child) in properties.into_iter().flatten() {
            if name.chars().count() > MAX_TITLE_CHARS {
                continue;
            }
            path.push(name.clone());
            self.node(child, path, required.contains(&name.as_str()));
            path.pop();
        }
    }
}

impl Rule {
    /// What stands beside a reference counts more than what it leads to.
    fn over(self, other: Self) -> Self {
        Self {
            title: self.title.or(other.title),
            description: self.description.or(other.description),
            default: self.default.or(other.default),
            ..other
        }
    }
}

fn rule(node: &Value, is_required: bool) -> Rule {
    let text = |name: &str| node[name].as_str().map(str::to_owned);
    let kind = match &node["type"] {
        Value::String(kind) => kind_of(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find_map(kind_of),
        _ => None,
    };
    let simple = |value: &&Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    let choices =
        node["enum"].as_array().into_iter().flatten().filter(simple).take(MAX_CHOICES).cloned().collect();
    Rule {
        title: text("title"),
        description: text("description"),
        kind,
        default: node.get("default").filter(|value| !value.is_null()).cloned(),
        choices,
        minimum: node["minimum"].as_f64(),
        maximum: node["maximum"].as_f64(),
        min_length: node["minLength"].as_u64(),
        max_length: node["maxLength"].as_u64(),
        pattern: text("pattern").filter(|pattern| pattern.chars().count() <= MAX_PATTERN_CHARS),
        is_required,
    }
}

fn kind_of(word: &str) -> Option<ValuesKind> {
    Some(match word {
        "string" => ValuesKind::String,
        "integer" => ValuesKind::Integer,
        "number" => ValuesKind::Number,
        "boolean" => ValuesKind::Boolean,
        "array" => ValuesKind::Array,
        "object" => ValuesKind::Object,
        _ => return None,
    })
}
