//! The values of a chart as a form: what there is to set, with the chart's own words beside it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The values of a version of a chart, prepared for a form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValuesFormView {
    /// What belongs together, in the order of `values.yaml`.
    pub sections: Vec<ValuesSection>,
    /// Whether there is more than is shown: such values can be given as text only.
    pub is_shortened: bool,
    /// Why `values.yaml` could not be read; the schema alone is shown then.
    pub problem: Option<String>,
}

/// Values that belong together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValuesSection {
    /// Its title, or the name of the value that holds all of these; none for what stands alone at the top.
    pub title: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// What there is to set.
    pub fields: Vec<ValuesField>,
}

/// What kind of value belongs into a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValuesKind {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// A list.
    Array,
    /// An object whose keys are not known.
    Object,
}

/// A value that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValuesField {
    /// Its keys from the top.
    pub path: Vec<String>,
    /// A name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What belongs into it; none when nobody says so.
    #[serde(rename = "type")]
    pub kind: Option<ValuesKind>,
    /// What it is when nothing is given: that of `values.yaml`, or else the schema's.
    pub default: Option<Value>,
    /// The only values that it may have; empty for any.
    #[serde(rename = "enum")]
    pub choices: Vec<Value>,
    /// The least number.
    pub minimum: Option<f64>,
    /// The greatest number.
    pub maximum: Option<f64>,
    /// The shortest text, in characters.
    pub min_length: Option<u64>,
    /// The longest text, in characters.
    pub max_length: Option<u64>,
    /// The regular expression that a text must match.
    pub pattern: Option<String>,
    /// Whether something must be given.
    pub is_required: bool,
    /// Whether its name says that it is a secret, which is not shown while it is typed.
    pub is_secret: bool,
}
