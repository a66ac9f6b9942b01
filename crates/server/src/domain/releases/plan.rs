//! What would come of a wish: the objects that there would be, and how they differ from those that there are, as Helm writes
//! both. What secrets hold is not shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use similar::TextDiff;
use wire::releases::{ReleaseChange, ReleasePlan};
use wire::workloads::WorkloadKind;

use super::frozen::FOLDER;
use super::render::Prepared;
use crate::app::App;
use crate::blobs::blocking;
use crate::clients::helm::Workplace;
use crate::domain::manifests::{document, rendered};
use crate::error::{Error, Result};

/// Seconds that Helm may take to read or repeat something.
pub(super) const READ_SECS: u64 = 30;
/// How long may be looked for the smallest difference; a larger one is as true.
const DIFF_PATIENCE: Duration = Duration::from_secs(2);
/// Lines around a change.
const CONTEXT_LINES: usize = 3;
/// Most bytes of a difference that are told.
const DIFF_BYTES_MAX: usize = 512 << 10;

/// Objects by kind and name, each as text.
type Objects = BTreeMap<(String, String), String>;

/// What would come of what was rendered; `current` is what is there.
pub(super) async fn of(
    app: &App,
    name: &str,
    prepared: Prepared,
    current: Option<&str>,
) -> Result<ReleasePlan> {
    let Prepared { chart, after, warnings, work } = prepared;
    let notes = chart.notes.clone();
    let into = work.path().to_owned();
    blocking(move || chart.write(&into)).await?;
    let ended = app.helm.ask(&work, &["template", name, FOLDER], READ_SECS).await?;
    if !ended.is_success {
        return Err(Error::internal(ended.complaint));
    }
    let wished = objects(&ended.printed)?;
    let there = current.map(objects).transpose()?.unwrap_or_default();
    let (changes, diff) = compared(&there, &wished);
    Ok(ReleasePlan {
        name: name.to_owned(),
        namespace: work.namespace().clone(),
        chart: after.chart,
        chart_version: after.version,
        manifest: whole(&wished),
        diff,
        changes,
        notes,
        warnings,
    })
}

/// What would come of going back to what was there before.
pub(super) fn between(current: &str, wished: &str) -> Result<(Vec<ReleaseChange>, String, String)> {
    let (there, wished) = (objects(current)?, objects(wished)?);
    let (changes, diff) = compared(&there, &wished);
    Ok((changes, diff, whole(&wished)))
}

/// What is there of a release, as Helm keeps it: what stays, and hooks.
pub(super) async fn kept(
    app: &App,
    work: &Workplace,
    name: &str,
    revision: Option<u64>,
) -> Result<(String, String)> {
    let manifest = asked(app, work, &["get", "manifest", name], revision).await?;
    let hooks = asked(app, work, &["get", "hooks", name], revision).await?;
    Ok((manifest, hooks))
}

/// What Helm says of a revision of a release.
pub(super) async fn asked(
    app: &App,
    work: &Workplace,
    words: &[&str],
    revision: Option<u64>,
) -> Result<String> {
    let revision = revision.map(|revision| revision.to_string());
    let mut arguments = words.to_vec();
    if let Some(revision) = &revision {
        arguments.extend(["--revision", revision]);
    }
    let ended = app.helm.ask(work, &arguments, READ_SECS).await?;
    if ended.is_success {
        return Ok(ended.printed);
    }
    Err(not_told(&ended.complaint, revision.as_deref()))
}

/// Why Helm told nothing. It has one exit status for everything, so that only its words tell.
pub(super) fn not_told(complaint: &str, revision: Option<&str>) -> Error {
    if complaint.contains("release: not found") {
        return match revision {
            Some(revision) => Error::not_found("revision", revision).hint("see `longshore release history`"),
            None => Error::conflict("not_installed", "the cluster has nothing of this release")
                .hint("upgrade it to install it again, or uninstall it"),
        };
    }
    if complaint.contains("cluster unreachable") || complaint.contains("connection refused") {
        return Error::unavailable(
            "cluster_unreachable",
            format!("the cluster does not answer: {complaint}"),
        )
        .hint("what runs there goes on; try again, or see `longshore cluster list`");
    }
    Error::conflict("helm_failed", format!("Helm says: {complaint}"))
}

fn objects(text: &str) -> Result<Objects> {
    let mut objects = Objects::new();
    for chunk in rendered::chunks(text) {
        let value = document(chunk.text)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (text(&value["kind"]), text(&value["metadata"]["name"]));
        if key.0.is_empty() {
            continue;
        }
        let shown = if key.0 == "Secret" { masked(value)? } else { without_source(chunk.text) };
        objects.insert(key, shown);
    }
    Ok(objects)
}

fn without_source(text: &str) -> String {
    let text = text.trim();
    let bare = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("# Source: ") => rest,
        _ => text,
    };
    format!("{bare}\n")
}

/// A secret without what it holds. Its length and the beginning of its hash tell whether that changes.
fn masked(mut secret: Value) -> Result<String> {
    use sha2::{Digest as _, Sha256};
    for list in ["data", "stringData"] {
        for value in secret[list].as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
            let text = value.to_string();
            let hash = hex::encode(&Sha256::digest(format!("{list} {text}"))[..2]);
            *value = format!("*** ({} bytes, {hash})", text.len().saturating_sub(2)).into();
        }
    }
    if let Some(map) = secret.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    let text = serde_json::to_string_pretty(&secret).map_err(Error::internal)?;
    Ok(format!("{text}\n"))
}

fn whole(objects: &Objects) -> String {
    objects.values().flat_map(|text| ["---\n", text.as_str()]).collect()
}

fn compared(there: &Objects, wished: &Objects) -> (Vec<ReleaseChange>, String) {
    let mut changes = Vec::new();
    let mut diff = String::new();
    let keys: std::collections::BTreeSet<_> = there.keys().chain(wished.keys()).collect();
    for key in keys {
        let (before, after) = (there.get(key), wished.get(key));
        let change = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            (before, after) if before == after => "unchanged",
            _ => "changed",
        };
        if let Ok(kind) = key.0.parse::<WorkloadKind>() {
            changes.push(ReleaseChange { kind, name: key.1.clone(), change: change.to_owned() });
        }
        if change != "unchanged" && diff.len() < DIFF_BYTES_MAX {
            let (before, after) = (before.map_or("", String::as_str), after.map_or("", String::as_str));
            let name = format!("{}/{}", key.0, key.1);
            let lines = TextDiff::configure().timeout(DIFF_PATIENCE).diff_lines(before, after);
            let text = lines.unified_diff().context_radius(CONTEXT_LINES).header(&name, &name).to_string();
            diff.push_str(&text);
        }
    }
    if diff.len() > DIFF_BYTES_MAX {
        diff.truncate(diff.floor_char_boundary(DIFF_BYTES_MAX));
        diff.push_str("\n… and more\n");
    }
    (changes, diff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "---\n# Source: web/templates/objects.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  text: one\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: hunter22\n";

    #[test]
    fn what_changes_is_told_and_what_secrets_hold_is_not() {
        let after = BEFORE.replace("one", "two").replace("hunter22", "hunter23")
            + "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n";

        let (changes, diff, manifest) = between(BEFORE, &after).unwrap();

        let changes: Vec<_> =
            changes.iter().map(|change| (change.name.as_str(), change.change.as_str())).collect();
        assert_eq!(changes, [("a", "changed"), ("b", "added"), ("s", "changed")]);
        assert!(diff.contains("-  text: one\n+  text: two\n") && diff.contains("+++ ConfigMap/b"), "{diff}");
        assert!(!diff.contains("hunter") && !manifest.contains("hunter"), "{diff}");
    }

    #[test]
    fn what_is_the_same_is_no_difference() {
        let (changes, diff, _) = between(BEFORE, BEFORE).unwrap();

        assert_eq!((changes.len(), diff.as_str()), (2, ""));
        assert!(changes.iter().all(|change| change.change == "unchanged"));
    }
}
