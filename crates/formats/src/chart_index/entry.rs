//! What is kept of an entry, and which entries are good. Everything in it is somebody's text: bounded, and without characters
//! that do something to a terminal.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::versions::{Parsed, parse_version};

/// Longest name of a chart.
const MAX_NAME_CHARS: usize = 250;
/// Longest version.
const MAX_VERSION_CHARS: usize = 128;
/// Longest description.
const MAX_DESCRIPTION_CHARS: usize = 2000;
/// Longest of the other texts.
const MAX_TEXT_CHARS: usize = 512;
/// Longest address.
const MAX_URL_CHARS: usize = 2048;
/// The end of the year 9999, in seconds since 1970.
const LAST_SECOND: i64 = 253_402_300_799;
/// Most of each list.
pub(super) const MAX_ITEMS: usize = 32;

/// Fields of which something is kept; of annotations it is the category.
const FIELDS: [&str; 16] = [
    "name",
    "version",
    "appVersion",
    "created",
    "digest",
    "deprecated",
    "description",
    "home",
    "icon",
    "type",
    "kubeVersion",
    "urls",
    "keywords",
    "sources",
    "maintainers",
    "annotations",
];

/// What a chart is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// What it is for.
    pub description: String,
    /// Its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Where its code is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Who keeps it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub maintainers: Vec<String>,
    /// `application` or `library`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it is filed under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Which versions of Kubernetes it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_version: Option<String>,
}

/// A version of a chart. Short names, because there are very many of them in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The version.
    #[serde(rename = "v")]
    pub version: String,
    /// The version of what is in it.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// When it was made, in seconds since 1970.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// The SHA-256 of its package in hex.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where its package is; relative addresses are relative to the repository.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Whether its maintainers no longer want it to be used.
    #[serde(rename = "x", default, skip_serializing_if = "is_false")]
    pub deprecated: bool,
    /// The SHA-256 of its signature in hex, where that is kept on this server.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that the attribute asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// An entry as it was read, not looked at yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) app_version: Option<String>,
    pub(super) created: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) urls: Vec<String>,
    pub(super) deprecated: bool,
    pub(super) metadata: Metadata,
}

impl Entry {
    /// Sets a field that is one text; false when there is no such field.
    pub(super) fn set(&mut self, field: &str, text: &str) {
        let some = || Some(text.to_owned()).filter(|text| !text.is_empty());
        match field {
            "name" => self.name = some(),
            "version" => self.version = some(),
            "appVersion" => self.app_version = some(),
            "created" => self.created = some(),
            "digest" => self.digest = some(),
            "deprecated" => self.deprecated = matches!(text, "true" | "True" | "TRUE"),
            "description" => text.clone_into(&mut self.metadata.description),
            "home" => self.metadata.home = some(),
            "icon" => self.metadata.icon = some(),
            "type" => self.metadata.kind = some(),
            "kubeVersion" => self.metadata.kube_version = some(),
            _ => {}
        }
    }

    /// Forgets what was said of a field.
    pub(super) fn clear(&mut self, field: &str) {
        match field {
            "urls" => self.urls.clear(),
            "keywords" => self.metadata.keywords.clear(),
            "sources" => self.metadata.sources.clear(),
            "maintainers" => self.metadata.maintainers.clear(),
            "annotations" => self.metadata.category = None,
            single => self.set(single, ""),
        }
    }

    /// Adds to a field that is a list of texts.
    pub(super) fn push(&mut self, field: &str, text: &str) {
        let list = match field {
            "urls" => &mut self.urls,
            "keywords" => &mut self.metadata.keywords,
            "sources" => &mut self.metadata.sources,
            "maintainers" => &mut self.metadata.maintainers,
            _ => return,
        };
        if list.len() < MAX_ITEMS && !text.is_empty() {
            list.push(text.to_owned());
        }
    }

    /// The name of a field of which something is kept.
    pub(super) fn kept(field: &str) -> Option<&'static str> {
        FIELDS.into_iter().find(|kept| *kept == field)
    }

    /// Whether a field is one that is kept itself.
    pub(super) fn is_kept(field: &str) -> bool {
        Self::kept(field).is_some_and(|kept| kept != "annotations")
    }

    /// An entry from a tree.
    pub(super) fn from_value(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else { return Err("an entry is no object".to_owned()) };
        let mut entry = Self::default();
        for (field, value) in object {
            match value {
                Value::String(text) => entry.set(field, text),
                Value::Bool(switch) => entry.set(field, &switch.to_string()),
                Value::Number(number) => entry.set(field, &number.to_string()),
                Value::Array(items) => {
                    for item in items {
                        match item {
                            Value::String(text) => entry.push(field, text),
                            Value::Object(object) => {
                                if let Some(Value::String(name)) = object.get("name") {
                                    entry.push(field, name);
                                }
                            }
                            _ => {}
                        }
                    }
                }
                Value::Object(annotations) if field == "annotations" => {
                    if let Some(Value::String(category)) = annotations.get("category") {
                        entry.metadata.category = Some(category.clone());
                    }
                }
                _ => {}
            }
        }
        Ok(entry)
    }

    /// What is kept of an entry of this chart, or why it is left out. What the chart is comes as it was read: of
    /// most entries it is not needed.
    pub(super) fn checked(self, chart: &str) -> Result<(Version, Parsed, Unchecked), String> {
        check_name(chart)?;
        if let Some(name) = &self.name
            && name != chart
        {
            return Err(format!("an entry of it is called `{}`", shown(name, 100)));
        }
        let version = self.version.ok_or("an entry has no version")?;
        let parsed = parse_version(&version).filter(|_| version.chars().count() <= MAX_VERSION_CHARS);
        let parsed = parsed.ok_or_else(|| format!("`{}` is no version", shown(&version, 100)))?;
        let version = Version {
            version,
            app_version: self.app_version.map(|text| shown(&text, MAX_VERSION_CHARS)),
            created: self.created.as_deref().and_then(seconds),
            digest: self.digest.as_deref().and_then(digest),
            urls: self.urls.into_iter().filter(|url| is_address(url)).take(8).collect(),
            deprecated: self.deprecated,
            provenance: None,
        };
        Ok((version, parsed, Unchecked(self.metadata)))
    }
}

/// What a chart is, as it was read.
pub(super) struct Unchecked(Metadata);

impl Unchecked {
    /// The same as it may be shown.
    pub(super) fn checked(self) -> Metadata {
        let some =
            |text: Option<String>, max| text.map(|text| shown(&text, max)).filter(|text| !text.is_empty());
        let all = |list: Vec<String>| {
            list.iter().map(|text| shown(text, MAX_TEXT_CHARS)).filter(|text| !text.is_empty()).collect()
        };
        let read = self.0;
        Metadata {
            description: shown(&read.description, MAX_DESCRIPTION_CHARS),
            home: read.home.filter(|url| is_page(url)),
            icon: read.icon.filter(|url| is_address(url)),
            keywords: all(read.keywords),
            sources: read.sources.into_iter().filter(|url| is_page(url)).collect(),
            maintainers: all(read.maintainers),
            kind: some(read.kind, 20),
            category: some(read.category, 100),
            kube_version: some(read.kube_version, 100),
        }
    }
}

/// A chart's name becomes part of addresses and of names of files.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_good = (1..=MAX_NAME_CHARS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !matches!(name, "." | "..");
    if is_good { Ok(()) } else { Err("a chart's name has letters, digits, `-`, `_` and `.` only".to_owned()) }
}

/// A text as it may be shown anywhere: no control characters, none that turn the direction of writing, not too long.
pub fn shown(text: &str, max_chars: usize) -> String {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let text = text.trim();
    if text.len() <= max_chars && !text.contains(is_harmful) {
        return text.to_owned();
    }
    // What is shown once is shown the same ever after, so blanks go last.
    let harmless = text.chars().filter(|c| !is_harmful(*c)).skip_while(|c| c.is_whitespace());
    let mut shown: String = harmless.take(max_chars).collect();
    shown.truncate(shown.trim_end().len());
    shown
}

/// An address from which something is fetched: of the repository itself, or by a way that we know.
fn is_address(url: &str) -> bool {
    let is_known_way = match url.split_once(':') {
        Some((scheme, _)) if is_scheme(scheme) => {
            ["http", "https", "oci"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        }
        _ => true,
    };
    let is_odd = |c: char| c.is_control() || c.is_whitespace();
    is_known_way && !url.is_empty() && url.len() <= MAX_URL_CHARS && !url.contains(is_odd)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// An address that people follow: nothing that a browser would run.
fn is_page(url: &str) -> bool {
    is_address(url) && (url.starts_with("https://") || url.starts_with("http://"))
}

fn digest(text: &str) -> Option<String> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| text.to_ascii_lowercase())
}

/// Seconds since 1970 of a time as Go writes it; no time before that, and none whose year has five digits.
fn seconds(text: &str) -> Option<i64> {
    let seconds = chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp();
    (0..=LAST_SECOND).contains(&seconds).then_some(seconds)
}
