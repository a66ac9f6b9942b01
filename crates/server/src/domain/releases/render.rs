//! From a chart and values to what it makes: unpacked into a private folder, rendered by Helm in the name of the namespace's
//! account, read by the rules of manifests, its images found.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use store::namespaces::Row as Namespace;
use wire::ids::ReleaseId;

use super::frozen::{FrozenChart, VALUES};
use super::{After, Content, ObjectName, workplace};
use crate::app::App;
use crate::blobs::write_private;
use crate::caller::{Caller, Subject};
use crate::chart_index::yaml_value;
use crate::chart_package::{self, LIMITS, PackageError};
use crate::clients::helm::Workplace;
use crate::domain::charts::Fetched;
use crate::domain::manifests::{self, Rights, Violation, rendered};
use crate::domain::{namespaces, workloads};
use crate::error::{Error, ErrorKind, Result};

/// Seconds that rendering may take.
const RENDER_SECS: u64 = 60;
/// Longest of a chart's own values that are kept with a release.
const DEFAULTS_BYTES_MAX: u64 = 512 << 10;
/// What schemas may say which language they are in; helm would fetch any other.
const LANGUAGES: &str = "json-schema.org/";

/// What is to be rendered.
pub(super) struct Wish<'a> {
    /// For which release.
    pub(super) release: ReleaseId,
    /// Its name.
    pub(super) name: &'a str,
    /// Where.
    pub(super) namespace: &'a Namespace,
    /// The chart's package, its digest checked.
    pub(super) fetched: Fetched,
    /// Values that differ from the chart's.
    pub(super) values: Value,
    /// Whether something of it is there already.
    pub(super) is_upgrade: bool,
    /// Whether definitions of kinds are left out.
    pub(super) skips_crds: bool,
}

/// What was rendered and is allowed.
pub(super) struct Prepared {
    /// As a chart of its own.
    pub(super) chart: FrozenChart,
    /// How the release's row is once it is there.
    pub(super) after: After,
    /// What was left out, and why.
    pub(super) warnings: Vec<String>,
    /// Where it was rendered.
    pub(super) work: Workplace,
}

/// Renders, and tells everything that is wrong together.
pub(super) async fn prepare(app: &App, caller: &Caller, wish: Wish<'_>) -> Result<Prepared> {
    let (work, version) = workplace(app, wish.namespace, wish.release).await?;
    let notes = format!("longshore-notes-{}.yaml", uuid::Uuid::now_v7().simple());
    let repo = &wish.fetched.repo;
    let mut after = After {
        repo_id: Some(repo.id),
        repo_name: repo.settings.name.clone(),
        kind: repo.settings.kind,
        chart: wish.fetched.name.clone(),
        version: wish.fetched.version.version.clone(),
        app_version: None,
        content: Content::default(),
    };
    let (metadata, defaults) = unpack(&work, wish.fetched.file, &after, &notes).await?;
    after.app_version = metadata["appVersion"].as_str().map(str::to_owned);
    let values = wish.values.to_string();
    work.write(VALUES, values.as_bytes())?;

    let mut arguments = vec!["template", wish.name, "./chart", "--values", VALUES, "--dry-run=server"];
    if !wish.skips_crds {
        arguments.push("--include-crds");
    }
    if wish.is_upgrade {
        arguments.push("--is-upgrade");
    }
    let version = version.filter(|version| version.bytes().all(|byte| byte.is_ascii_graphic()));
    if let Some(version) = &version {
        arguments.extend(["--kube-version", version]);
    }
    let ended = app.helm.ask(&work, &arguments, RENDER_SECS).await?;
    if !ended.is_success {
        return Err(not_rendered(&ended.complaint));
    }
    let release = wish.release.to_string();
    let rights = Rights::of(app, caller.is_admin(), &wish.namespace.account);
    let room = rendered::Room {
        rights: &rights,
        namespace: &wish.namespace.name,
        release: &release,
        notes: Some(&notes),
    };
    let mut found = rendered::read(&ended.printed, room)?;
    let subject = Subject { account: wish.namespace.account_id, name: wish.namespace.account.clone() };
    let wrong = find_images(app, &subject, &mut found.made).await?;
    found.violations.extend(wrong);
    manifests::refuse_as("the chart cannot be installed here", found.violations)?;
    if found.made.is_empty() {
        return Err(Error::invalid("values", "with these values the chart makes nothing"));
    }
    after.content = content_of(&found.made, found.notes.clone())?;
    let chart = FrozenChart {
        metadata,
        defaults,
        values: wish.values,
        objects: found.made.into_iter().map(|made| made.object).collect(),
        notes: found.notes,
    };
    Ok(Prepared { chart, after, warnings: found.warnings, work })
}

/// What a release consists of.
pub(super) fn content_of(made: &[rendered::Made], notes: Option<String>) -> Result<Content> {
    let name = |made: &rendered::Made| {
        Ok(ObjectName { kind: made.workload_kind()?, name: made.name.clone(), hook: made.hook.clone() })
    };
    Ok(Content { resources: made.iter().map(name).collect::<Result<_>>()?, notes })
}

/// What Helm says of a chart or of values, in its own words: it names the place.
fn not_rendered(complaint: &str) -> Error {
    let detail = format!("Helm cannot make anything of the chart with these values: {complaint}");
    Error { code: "chart_not_rendered", ..Error::invalid("values", detail) }
        .hint("see the chart's values: `longshore chart show REPO/CHART --values`")
}

/// Puts what nodes pull in the place of images of our registry.
async fn find_images(app: &App, subject: &Subject, made: &mut [rendered::Made]) -> Result<Vec<Violation>> {
    let registry = namespaces::registry_address(app);
    let mut wrong = Vec::new();
    for made in made {
        for at in made.images() {
            match workloads::resolved(app, subject, &registry, &at.image).await? {
                Ok(image) => manifests::set_image(&mut made.object, &at, &image),
                Err(message) => {
                    wrong.push(Violation { path: format!("{}: {}", made.source, at.path), message });
                }
            }
        }
    }
    Ok(wrong)
}

/// Unpacks a chart, adds what tells its notes, and gives what it says of itself and its own values.
async fn unpack(work: &Workplace, file: File, after: &After, notes: &str) -> Result<(Value, String)> {
    let folder = work.path().join("chart");
    let (place, notes) = (folder.clone(), notes.to_owned());
    let unpacked = tokio::task::spawn_blocking(move || {
        std::fs::DirBuilder::new().mode(0o700).create(&place).map_err(|_| PackageError::NoRoom)?;
        let schemas = chart_package::unpack(BufReader::new(file), LIMITS, &place)?;
        let texts = texts(&place, &notes).map_err(|_| PackageError::Corrupt)?;
        Ok::<_, PackageError>((schemas, texts))
    });
    let (schemas, (chart, defaults)) =
        unpacked.await.map_err(Error::internal)?.map_err(|error| match error {
            PackageError::NoRoom => std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
            error => malformed(&error.to_string()),
        })?;
    for schema in &schemas {
        check_schema(schema)?;
    }
    let chart = yaml_value(&chart)
        .map_err(|error| malformed(&format!("its `Chart.yaml` cannot be read: {error}")))?;
    if chart["name"] != after.chart.as_str() || chart["version"] != after.version.as_str() {
        return Err(malformed("it is the package of another chart or version"));
    }
    let mut metadata = Map::new();
    for name in ["name", "version", "appVersion", "description", "home", "icon"] {
        if let Some(text) = chart[name].as_str() {
            metadata.insert(
                name.to_owned(),
                text.chars().filter(|c| !c.is_control()).take(1_000).collect::<String>().into(),
            );
        }
    }
    metadata.insert("apiVersion".to_owned(), json!("v2"));
    metadata.insert("type".to_owned(), json!("application"));
    if chart["type"] == "library" {
        return Err(Error::invalid("chart", "this is a library for other charts, and cannot be installed"));
    }
    Ok((Value::Object(metadata), defaults))
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::BadGateway, "package_malformed", format!("the package cannot be used: {why}"))
}

/// What a chart says of itself, and its values; its notes become something that it makes, so that they are rendered too.
fn texts(folder: &Path, notes: &str) -> std::io::Result<(String, String)> {
    let read = |name: &str| match std::fs::read(folder.join(name)) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    };
    if folder.join("templates/NOTES.txt").exists() {
        let template = "apiVersion: longshore.io/v1\nkind: Notes\ntext: {{ include (print $.Template.BasePath \"/NOTES.txt\") . | toJson }}\n";
        write_private(&folder.join("templates").join(notes), template.as_bytes())?;
    }
    let defaults = read("values.yaml")?;
    let is_kept = defaults.len() as u64 <= DEFAULTS_BYTES_MAX;
    Ok((read("Chart.yaml")?, if is_kept { defaults } else { String::new() }))
}

/// A schema may name others by their address, and Helm would read them: files of this host, addresses inside.
fn check_schema(bytes: &[u8]) -> Result<()> {
    let schema: Value = serde_json::from_slice(bytes)
        .map_err(|error| malformed(&format!("its `values.schema.json` is not JSON: {error}")))?;
    match leads_out(&schema) {
        None => Ok(()),
        Some(address) => {
            let shown: String = address.chars().filter(|c| !c.is_control()).take(200).collect();
            let detail =
                format!("the chart's `values.schema.json` refers to `{shown}`, which is outside of it");
            Err(Error::new(ErrorKind::Invalid, "schema_leads_out", detail)
                .hint("a schema can refer to its own parts alone, as `#/definitions/…`"))
        }
    }
}

fn leads_out(schema: &Value) -> Option<&str> {
    match schema {
        Value::Array(items) => items.iter().find_map(leads_out),
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let found = match (key.as_str(), value.as_str()) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Some(text)) if !text.starts_with('#') => {
                    Some(text)
                }
                ("$schema", Some(text)) => {
                    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
                    (!bare.is_some_and(|bare| bare.starts_with(LANGUAGES))).then_some(text)
                }
                _ => None,
            };
            found.or_else(|| leads_out(value))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_refers_to_its_own_parts_alone() {
        let good = json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "properties": {"a": {"$ref": "#/definitions/a"}}});
        assert_eq!(leads_out(&good), None);
        for bad in [
            json!({"$ref": "file:///etc/passwd"}),
            json!({"allOf": [{"$ref": "http://169.254.169.254/"}]}),
            json!({"properties": {"$x": {"$dynamicRef": "other.json#a"}}}),
            json!({"$schema": "http://127.0.0.1/"}),
            json!({"$schema": "json-schema.org/x"}),
            json!({"$schema": "https://json-schema.org.evil.example/"}),
        ] {
            assert!(leads_out(&bad).is_some(), "{bad}");
        }
    }
}
