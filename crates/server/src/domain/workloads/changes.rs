//! What applying a file changes in the cluster, field by field. What the cluster itself writes is left out, and what is in
//! secrets is not shown.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::workloads::FieldChange;

/// Changes that are told of one object.
const CHANGES_MAX: usize = 200;
/// Longest value that is shown, in characters.
const VALUE_CHARS_MAX: usize = 500;
/// What the cluster keeps in an object's metadata.
const OF_THE_CLUSTER: [&str; 6] =
    ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];
/// Annotations that controllers write, and the one in which `kubectl` repeats everything.
const OF_OTHERS: [&str; 2] =
    ["deployment.kubernetes.io/", "kubectl.kubernetes.io/last-applied-configuration"];

/// What is different after from what was before. Nothing when there was nothing: all of it is new then.
pub(super) fn between(before: Option<&Value>, after: &Value) -> Vec<FieldChange> {
    let Some(before) = before else { return Vec::new() };
    let mut changes = Vec::new();
    let is_secret = after["kind"] == "Secret";
    compare(&mut changes, "", Some(&own(before)), Some(&own(after)));
    changes.truncate(CHANGES_MAX);
    if is_secret {
        let is_content = |path: &str| path.starts_with("data") || path.starts_with("stringData");
        for change in changes.iter_mut().filter(|change| is_content(&change.path)) {
            for value in [&mut change.before, &mut change.after].into_iter().flatten() {
                "***".clone_into(value);
            }
        }
    }
    changes
}

/// An object without what the cluster writes into it.
fn own(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in OF_THE_CLUSTER {
            metadata.remove(name);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !OF_OTHERS.iter().any(|other| name.starts_with(other)));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

fn compare(changes: &mut Vec<FieldChange>, path: &str, before: Option<&Value>, after: Option<&Value>) {
    if before == after || changes.len() > CHANGES_MAX {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for name in names {
                compare(changes, &below(path, name), before.get(name), after.get(name));
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            list(changes, path, before, after);
        }
        _ => changes.push(FieldChange {
            path: path.to_owned(),
            before: before.map(shown),
            after: after.map(shown),
        }),
    }
}

/// Elements that have names are compared by them, so that one more container does not look like another one in each place.
fn list(changes: &mut Vec<FieldChange>, path: &str, before: &[Value], after: &[Value]) {
    let names_of = |list: &[Value]| -> Option<Vec<String>> {
        list.iter().map(|element| element["name"].as_str().map(str::to_owned)).collect()
    };
    if let (Some(names_before), Some(names_after)) = (names_of(before), names_of(after)) {
        let find = |names: &[String], list: &[Value], name: &str| {
            names.iter().position(|other| other == name).map(|at| list[at].clone())
        };
        let all: BTreeSet<_> = names_before.iter().chain(&names_after).collect();
        for name in all {
            let before = find(&names_before, before, name);
            let after = find(&names_after, after, name);
            compare(changes, &format!("{path}[{name}]"), before.as_ref(), after.as_ref());
        }
        return;
    }
    for at in 0..before.len().max(after.len()) {
        compare(changes, &format!("{path}[{at}]"), before.get(at), after.get(at));
    }
}

fn below(path: &str, name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match (path.is_empty(), is_plain) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (false, false) => format!("{path}[{name}]"),
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        let line = |change: FieldChange| {
            let value = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!("{}: {} > {}", change.path, value(change.before), value(change.after))
        };
        between(Some(before), after).into_iter().map(line).collect()
    }

    #[test]
    fn what_a_file_changes_is_told_by_its_place() {
        let before = json!({"metadata": {"name": "web", "generation": 1, "annotations": {"deployment.kubernetes.io/revision": "1"}},
            "spec": {"replicas": 1, "containers": [{"name": "web", "image": "a:1"}], "args": ["x", "y"]}, "status": {"replicas": 1}});
        let after = json!({"metadata": {"name": "web", "generation": 2, "labels": {"example.org/app": "web"}},
            "spec": {"replicas": 3, "containers": [{"name": "log", "image": "b:1"}, {"name": "web", "image": "a:2"}], "args": ["x"]}});

        assert_eq!(
            lines(&before, &after),
            [
                r#"metadata.labels: - > {"example.org/app":"web"}"#,
                "spec.args[1]: y > -",
                r#"spec.containers[log]: - > {"image":"b:1","name":"log"}"#,
                "spec.containers[web].image: a:1 > a:2",
                "spec.replicas: 1 > 3",
            ]
        );
        assert_eq!(lines(&before, &before), [""; 0]);
        assert!(between(None, &after).is_empty());
    }

    #[test]
    fn what_is_in_secrets_is_not_shown() {
        let secret = |value: &str| json!({"kind": "Secret", "type": "Opaque", "data": {"key": value}});

        assert_eq!(lines(&secret("YQ=="), &secret("Yg==")), ["data.key: *** > ***"]);
        let one = json!({"kind": "Secret", "data": {"a": "YQ=="}});
        let two = json!({"kind": "Secret", "data": {"a": "YQ==", "b": "Yg=="}});
        assert_eq!(lines(&one, &two), ["data.b: - > ***"]);
        assert_eq!(lines(&json!({"kind": "Secret"}), &one), ["data: - > ***"]);
    }

    #[test]
    fn long_values_and_long_lists_are_cut() {
        let many = |value: u32| {
            let data: serde_json::Map<_, _> = (0..1_000).map(|at| (format!("k{at}"), json!(value))).collect();
            json!({"data": data})
        };

        assert_eq!(between(Some(&many(1)), &many(2)).len(), CHANGES_MAX);
        let long = lines(&json!({"a": 1}), &json!({"a": "x".repeat(10_000)}));
        assert!(long[0].chars().count() < 600 && long[0].ends_with('…'), "{}", long[0]);
    }
}
