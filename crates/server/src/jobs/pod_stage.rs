//! How far the pod of a build is, read from what its cluster says of it.

use serde_json::Value;

use crate::clients::kube::build_objects::{BUILD_CONTAINER, PUSH_CONTAINER};

/// Longest output of a command that is kept, and longest message that is passed on.
pub(super) const SAID_BYTES: usize = 4 << 10;
/// The reason of a container that was killed, unless its log tells of an error of the build's own.
pub(super) const STOPPED: &str = "stopped";
/// Why a container waits that will wait for ever.
const HOPELESS: [&str; 5] = [
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// How far a pod is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Not yet there; why, as far as the cluster says.
    Waiting(String),
    /// It waits for what it shall build, or builds.
    Building,
    /// It has built, and can push.
    Built,
    /// It has failed: a reason for programs, words for people.
    Failed(&'static str, String),
    /// It is gone, or goes.
    Lost(String),
}

/// What somebody said, cut to what is kept.
pub(super) fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(SAID_BYTES)].trim().to_owned()
}

fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    let found = pod["status"][list].as_array().into_iter().flatten();
    found.into_iter().find(|status| status["name"] == name).map_or(&Value::Null, |status| &status["state"])
}

/// Whether the container that pushes is there.
pub(super) fn can_push(pod: &Value) -> bool {
    container(pod, "containerStatuses", PUSH_CONTAINER)["running"].is_object()
}

/// How far a pod is.
pub(super) fn stage_of(pod: &Value) -> Stage {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Stage::Lost("its pod was removed".to_owned());
    }
    let build = container(pod, "initContainerStatuses", BUILD_CONTAINER);
    let (reason, message) = (text(&pod["status"]["reason"]), text(&pod["status"]["message"]));
    let code = build["terminated"]["exitCode"].as_i64();
    match reason.as_str() {
        "DeadlineExceeded" => {
            return Stage::Failed("timeout", "the build took longer than it may".to_owned());
        }
        "Evicted" if message.contains("mptyDir") || message.contains("ephemeral") => {
            return Stage::Failed("too_large", clip(&message));
        }
        "" => {}
        _ => return Stage::Lost(format!("{reason}: {}", clip(&message))),
    }
    if build["terminated"]["reason"] == "OOMKilled" {
        return Stage::Failed("out_of_memory", "the build needs more memory than it may have".to_owned());
    }
    match code {
        Some(0) if pod["status"]["phase"] == "Failed" || pod["status"]["phase"] == "Succeeded" => {
            Stage::Lost("what pushes has ended".to_owned())
        }
        Some(0) => Stage::Built,
        // Somebody told it to end, or a step of the Dockerfile ended so.
        Some(137 | 143) => Stage::Failed(STOPPED, "the builder was stopped".to_owned()),
        Some(code) => Stage::Failed("build_failed", format!("the builder ended with status {code}")),
        None if build["running"].is_object() => Stage::Building,
        None => {
            let waits = &build["waiting"];
            let why = text(&waits["reason"]);
            let said = if waits["message"].is_string() { text(&waits["message"]) } else { why.clone() };
            if HOPELESS.contains(&why.as_str()) {
                return Stage::Failed("builder_unavailable", said);
            }
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let blocked = conditions
                .filter(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")
                .find_map(|condition| condition["message"].as_str());
            Stage::Waiting(blocked.map_or(said, str::to_owned))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stage(status: &Value) -> String {
        format!("{:?}", stage_of(&json!({"metadata": {}, "status": status})))
    }

    fn building(state: &Value) -> Value {
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "build", "state": state}]})
    }

    #[test]
    fn how_far_a_pod_is_is_read_from_what_the_cluster_says() {
        let blocked = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
        ]});
        assert_eq!(stage(&blocked), r#"Waiting("0/1 nodes are available")"#);
        let no_image = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        assert_eq!(stage(&building(&no_image)), r#"Failed("builder_unavailable", "no such image")"#);
        assert_eq!(
            stage(&building(&json!({"waiting": {"reason": "PodInitializing"}}))),
            r#"Waiting("PodInitializing")"#
        );
        assert_eq!(stage(&building(&json!({"running": {}}))), "Building");
        assert_eq!(stage(&building(&json!({"terminated": {"exitCode": 0}}))), "Built");
        assert!(
            stage(&building(&json!({"terminated": {"exitCode": 1}}))).starts_with("Failed(\"build_failed\"")
        );
        assert!(
            stage(&building(&json!({"terminated": {"exitCode": 137}}))).starts_with("Failed(\"stopped\"")
        );
        let memory = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert!(stage(&building(&memory)).starts_with("Failed(\"out_of_memory\""));
        assert!(stage(&json!({"phase": "Failed", "reason": "NodeLost"})).starts_with("Lost"));
        let full = json!({"phase": "Failed", "reason": "Evicted", "message": "Usage of EmptyDir volume \"work\" exceeds"});
        assert!(stage(&full).starts_with("Failed(\"too_large\""));
        assert!(
            stage(&json!({"phase": "Failed", "reason": "DeadlineExceeded"}))
                .starts_with("Failed(\"timeout\"")
        );
    }
}
