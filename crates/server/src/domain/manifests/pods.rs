//! Pods in manifests: what they get beside what was asked for, and which images they name.

use serde_json::{Value, json};

use super::Kind;
use super::shape::Violations;

/// How much a folder that lives with its pod may hold when nobody says.
const EMPTY_DIR: &str = "2Gi";
/// Containers of one pod.
const CONTAINERS_MAX: usize = 20;

/// An image in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageAt {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Where, as people read it.
    pub path: String,
    /// The image as it was written.
    pub image: String,
}

/// Where the pod of a kind is, as a JSON pointer.
fn pod_of(kind: &Kind) -> Option<&'static str> {
    match kind.name {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some("/spec/template/spec"),
        "CronJob" => Some("/spec/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

/// Fills in what makes a pod safe where its writer said nothing, and checks that it is one.
pub(super) fn complete(kind: &Kind, object: &mut Value, wrong: &mut Violations) {
    let Some(pointer) = pod_of(kind) else { return };
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let Some(pod) = object.pointer_mut(pointer).filter(|pod| pod.is_object()) else {
        wrong.add(&path, "is missing");
        return;
    };
    let count = ["containers", "initContainers"]
        .iter()
        .filter_map(|list| pod[*list].as_array())
        .map(Vec::len)
        .sum::<usize>();
    if pod["containers"].as_array().is_none_or(Vec::is_empty) {
        wrong.add(&format!("{path}.containers"), "is missing: a pod has at least one container");
    }
    if count > CONTAINERS_MAX {
        wrong.add(&format!("{path}.containers"), format!("a pod has {CONTAINERS_MAX} containers at most"));
    }
    for list in ["containers", "initContainers"] {
        for (place, container) in pod[list].as_array_mut().into_iter().flatten().enumerate() {
            if container["image"].as_str().is_none_or(str::is_empty) {
                wrong.add(&format!("{path}.{list}[{place}].image"), "is missing");
            }
            let security = &mut container["securityContext"];
            if security.is_null() {
                *security = json!({});
            }
            if security["allowPrivilegeEscalation"].is_null() {
                security["allowPrivilegeEscalation"] = false.into();
            }
        }
    }
    for (place, toleration) in pod["tolerations"].as_array().into_iter().flatten().enumerate() {
        // One without a key tolerates everything.
        if !toleration["key"].is_string() {
            let why = "is missing: the pod would go onto nodes that are kept for others";
            wrong.add(&format!("{path}.tolerations[{place}].key"), why);
        }
    }
    for volume in pod["volumes"].as_array_mut().into_iter().flatten() {
        if volume["emptyDir"].is_object() && volume["emptyDir"]["sizeLimit"].is_null() {
            volume["emptyDir"]["sizeLimit"] = EMPTY_DIR.into();
        }
    }
    if pod["securityContext"].is_null() {
        pod["securityContext"] = json!({});
    }
    if pod["securityContext"]["seccompProfile"].is_null() {
        pod["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
    pod["automountServiceAccountToken"] = false.into();
    // Looking for a field by index leaves nulls behind.
    remove_nulls(object);
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Every image that a manifest names.
pub fn images(kind: &Kind, object: &Value) -> Vec<ImageAt> {
    let Some(pod) = pod_of(kind) else { return Vec::new() };
    let mut found = Vec::new();
    for list in ["initContainers", "containers"] {
        let containers = object.pointer(pod).and_then(|pod| pod.get(list)).and_then(Value::as_array);
        for (place, container) in containers.into_iter().flatten().enumerate() {
            if let Some(image) = container["image"].as_str() {
                let pointer = format!("{pod}/{list}/{place}/image");
                let path = format!("{}.{list}[{place}].image", pod.trim_start_matches('/').replace('/', "."));
                found.push(ImageAt { pointer, path, image: image.to_owned() });
            }
        }
    }
    found
}

/// Puts another image in a place of [`images`].
pub fn set_image(object: &mut Value, at: &ImageAt, image: &str) {
    if let Some(place) = object.pointer_mut(&at.pointer) {
        *place = image.into();
    }
}
