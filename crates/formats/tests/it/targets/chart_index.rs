//! Indexes of Helm repositories, in whatever spelling.

use std::fmt::Write as _;

use formats::chart_index::{Index, IndexError, Limits, Metadata, Version, parse, parse_version};
use serde_json::{Map, Value, json};

use super::file_of;

const LIMITS: Limits = Limits { charts: 50, versions: 500 };

/// What is read of an index is read again from it as JSON, as YAML in one line, and as Helm writes it; an index of JSON says the same to
/// the reader of YAML.
pub(super) fn feed(data: &[u8]) {
    let Ok(index) = read(data) else { return };
    assert!(index.charts.len() <= LIMITS.charts && index.versions <= LIMITS.versions);
    assert!(index.problems.len() <= 50 && index.problems.iter().all(|problem| !problem.contains('\u{1b}')));
    let counted: usize = index.charts.values().map(|chart| chart.versions.len()).sum();
    assert_eq!(counted as u64, index.versions);
    for (name, chart) in &index.charts {
        for version in &chart.versions {
            check_entry(name, version, &chart.metadata);
        }
    }

    let known = said(&index);
    let json = as_json(&index);
    for (form, text) in
        [("JSON", json.clone()), ("one line", format!("#\n{json}")), ("Helm's", as_helm_writes(&index))]
    {
        let again = read(text.as_bytes()).unwrap_or_else(|error| panic!("{form}: {error}: {text}"));
        assert_eq!((again.skipped, said(&again)), (0, known.clone()), "{form}: {text}");
    }
    // Numbers are texts to the one and have lost their zeros to the other.
    if data.trim_ascii_start().starts_with(b"{")
        && let Ok(value) = serde_json::from_slice::<Value>(data)
        && !has_numbers(&value)
        && let Ok(other) = read(&[b"#\n", data].concat())
    {
        assert_eq!(said(&other), known, "as YAML");
    }
}

/// What is kept of an entry may be shown and become part of addresses.
pub(super) fn check_entry(name: &str, version: &Version, metadata: &Metadata) {
    assert!(!name.is_empty() && name.len() <= 250 && !matches!(name, "." | ".."), "{name:?}");
    assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\:%?#".contains(&byte)), "{name:?}");
    assert!(parse_version(&version.version).is_some() && version.version.len() <= 256, "{version:?}");
    assert!(version.urls.len() <= 8);
    assert!(version.digest.as_ref().is_none_or(|digest| digest.len() == 64));
    let lists = [&metadata.keywords, &metadata.sources, &metadata.maintainers];
    assert!(lists.iter().all(|list| list.len() <= 32));
    let texts = [
        &metadata.home,
        &metadata.icon,
        &metadata.kind,
        &metadata.category,
        &metadata.kube_version,
        &version.app_version,
    ];
    let texts = texts.into_iter().flatten().chain(lists.into_iter().flatten()).chain([&metadata.description]);
    for text in texts.chain(&version.urls) {
        assert!(text.len() <= 4 * 2048 && !text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(text.trim(), text);
    }
    for page in metadata.sources.iter().chain(&metadata.home) {
        assert!(page.starts_with("https://") || page.starts_with("http://"), "{page:?}");
    }
}

fn read(bytes: &[u8]) -> Result<Index, IndexError> {
    parse(&mut file_of(bytes), LIMITS)
}

/// Everything that is kept, as one text.
fn said(index: &Index) -> String {
    let charts: Vec<_> =
        index.charts.iter().map(|(name, chart)| (name, &chart.metadata, &chart.versions)).collect();
    serde_json::to_string(&charts).unwrap()
}

/// The fields of an entry, as an index has them.
fn fields(name: &str, metadata: &Metadata, version: &Version) -> Map<String, Value> {
    let time = |seconds: i64| chrono::DateTime::from_timestamp(seconds, 0).unwrap().to_rfc3339();
    let fields = json!({
        "annotations": metadata.category.as_ref().map(|category| json!({"category": category})),
        "appVersion": version.app_version,
        "created": version.created.map(time),
        "deprecated": version.deprecated.then_some(true),
        "description": metadata.description,
        "digest": version.digest,
        "home": metadata.home,
        "icon": metadata.icon,
        "keywords": metadata.keywords,
        "kubeVersion": metadata.kube_version,
        "maintainers": metadata.maintainers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "name": name,
        "sources": metadata.sources,
        "type": metadata.kind,
        "urls": version.urls,
        "version": version.version,
    });
    let Value::Object(fields) = fields else { unreachable!() };
    let is_said = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    fields.into_iter().filter(|(_, value)| is_said(value)).collect()
}

fn as_json(index: &Index) -> String {
    let mut entries = Map::new();
    for (name, chart) in &index.charts {
        let versions =
            chart.versions.iter().map(|version| Value::Object(fields(name, &chart.metadata, version)));
        entries.insert(name.clone(), versions.collect());
    }
    json!({"apiVersion": "v1", "entries": entries}).to_string()
}

fn as_helm_writes(index: &Index) -> String {
    let mut text = String::from("apiVersion: v1\nentries:\n");
    for (name, chart) in &index.charts {
        let is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let key = if is_plain { name.clone() } else { format!("\"{name}\"") };
        writeln!(text, "  {key}:").unwrap();
        for version in &chart.versions {
            let mut dash = "- ";
            for (field, value) in fields(name, &chart.metadata, version) {
                write!(text, "  {dash}{field}:").unwrap();
                dash = "  ";
                match &value {
                    Value::Array(items) => {
                        text.push('\n');
                        for item in items {
                            match item {
                                Value::Object(map) => writeln!(text, "    - name: {}", map["name"]),
                                item => writeln!(text, "    - {item}"),
                            }
                            .unwrap();
                        }
                    }
                    Value::Object(map) => writeln!(text, "\n      category: {}", map["category"]).unwrap(),
                    value => writeln!(text, " {value}").unwrap(),
                }
            }
        }
    }
    if index.charts.is_empty() {
        "entries: {}\n".clone_into(&mut text);
    }
    text
}

fn has_numbers(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(has_numbers),
        Value::Object(map) => map.values().any(has_numbers),
        _ => false,
    }
}
