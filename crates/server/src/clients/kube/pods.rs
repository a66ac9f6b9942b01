//! Pods as they are kept of a cluster: what says where one is, how it is and why, by the names that Kubernetes gives its fields,
//! and nothing else. By far the most objects of a cluster are pods, and a page reads many of them.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Longest text that is kept of what somebody says about a pod, in characters.
const SAID_CHARS_MAX: usize = 1_000;
/// Limits that nearly every pod has, and of which nobody asks how much.
const COMMON_LIMITS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Names with what they stand for, by name.
type Pairs = Box<[(Box<str>, Box<str>)]>;

/// A pod.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Pod {
    /// What it is called and belongs to.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: Spec,
    /// What became of it.
    pub status: Status,
}

/// What a pod is called and belongs to.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: Box<str>,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Tells it from another of its name.
    pub uid: Box<str>,
    /// Grows with each change.
    #[serde(deserialize_with = "number")]
    pub resource_version: u64,
    /// By what it is selected.
    #[serde(deserialize_with = "pairs")]
    pub labels: Pairs,
    /// Since when there is one.
    pub creation_timestamp: Option<Box<str>>,
    /// Whether it is on its way out.
    #[serde(rename = "deletionTimestamp", deserialize_with = "is_there")]
    pub is_going: bool,
}

/// What was asked for.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Its containers.
    #[serde(deserialize_with = "list")]
    pub containers: Box<[Container]>,
    /// Those that end before its containers start.
    #[serde(deserialize_with = "list")]
    pub init_containers: Box<[Container]>,
    /// Where it runs, once that is known.
    pub node_name: Option<Box<str>>,
}

/// A container as it was asked for.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Container {
    /// Its name in the pod.
    pub name: Box<str>,
    /// Its image.
    pub image: Box<str>,
    /// The ports that it names.
    #[serde(deserialize_with = "list")]
    pub ports: Box<[Port]>,
    /// How much it may use.
    pub resources: Resources,
}

/// A port of a container.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<Box<str>>,
    /// Its number.
    pub container_port: u16,
}

/// How much a container may use.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Resources {
    /// The most of what a node has by the piece, such as graphics processors.
    #[serde(deserialize_with = "limits")]
    pub limits: Pairs,
}

/// What became of a pod.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<Box<str>>,
    /// Why it is so, in one word.
    pub reason: Option<Box<str>>,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<Box<str>>,
    /// What says more than the phase.
    pub conditions: Conditions,
    /// How its containers are.
    #[serde(deserialize_with = "list")]
    pub container_statuses: Box<[ContainerStatus]>,
    /// How those are that end before.
    #[serde(deserialize_with = "list")]
    pub init_container_statuses: Box<[ContainerStatus]>,
}

/// What a pod's conditions say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether it answers.
    pub is_ready: bool,
    /// Why no node has room for it.
    pub unschedulable: Option<Box<str>>,
}

/// How a container is.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name in the pod.
    pub name: Box<str>,
    /// Its image, as the node calls it.
    pub image: Box<str>,
    /// Whether it answers.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// What it does.
    pub state: ContainerState,
    /// What it did before it was started again.
    pub last_state: ContainerState,
}

/// What a container does: one of these, or nothing is known yet.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ContainerState {
    /// It waits for something.
    pub waiting: Option<Box<Waiting>>,
    /// It runs.
    #[serde(rename = "running", deserialize_with = "is_there")]
    pub is_running: bool,
    /// It ended.
    pub terminated: Option<Box<Terminated>>,
}

/// What a container waits for.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Waiting {
    /// In one word, such as `ImagePullBackOff`.
    pub reason: Option<Box<str>>,
    /// In the node's words.
    #[serde(deserialize_with = "said")]
    pub message: Box<str>,
}

/// How a container ended.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// The program's own word for it.
    pub exit_code: i32,
    /// In one word, such as `OOMKilled`.
    pub reason: Option<Box<str>>,
}

impl Pod {
    /// Whether it answers and is not about to go.
    pub fn is_ready(&self) -> bool {
        self.status.conditions.is_ready && !self.metadata.is_going
    }

    /// The states of its containers, those first that are started first.
    pub fn statuses(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Condition {
            r#type: String,
            status: String,
            reason: String,
            #[serde(deserialize_with = "said")]
            message: Box<str>,
        }

        let mut kept = Self::default();
        for condition in Option::<Vec<Condition>>::deserialize(deserializer)?.unwrap_or_default() {
            match condition.r#type.as_str() {
                "Ready" => kept.is_ready = condition.status == "True",
                "PodScheduled" if condition.reason == "Unschedulable" => {
                    kept.unschedulable = Some(condition.message);
                }
                _ => {}
            }
        }
        Ok(kept)
    }
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Box<[T]>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
    let pairs: Option<BTreeMap<Box<str>, Box<str>>> = Option::deserialize(deserializer)?;
    Ok(pairs.into_iter().flatten().collect())
}

fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
    let limits: Option<BTreeMap<Box<str>, Box<str>>> = Option::deserialize(deserializer)?;
    let limits = limits.into_iter().flatten();
    Ok(limits.filter(|(resource, _)| !COMMON_LIMITS.contains(&&**resource)).collect())
}

fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.unwrap_or_default().chars().take(SAID_CHARS_MAX).collect())
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}

/// A number in quotes, as Kubernetes writes versions; what is none is the oldest.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(pod: Value) -> Pod {
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn of_a_pod_is_kept_what_says_where_and_how_it_is() {
        let pod = read(json!({
            "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "henry-test", "uid": "u", "resourceVersion": "12", "annotations": {"a": "b"},
                "labels": {"app": "web", "tier": "front"}, "creationTimestamp": "then", "managedFields": [{}],
            },
            "spec": {
                "nodeName": "node1", "volumes": [{"name": "a"}],
                "containers": [{
                    "name": "web", "image": "a:1", "env": [{"name": "A", "value": "b"}],
                    "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "2"}, "requests": {"cpu": "1"}},
                }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.2",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "now"}, {"type": "Initialized", "status": "False"}],
                "containerStatuses": [{
                    "name": "web", "image": "docker.io/a:1", "ready": true, "restartCount": 2, "containerID": "c",
                    "state": {"running": {"startedAt": "then"}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
                }],
            },
        }));

        assert!(pod.is_ready());
        assert_eq!((&*pod.metadata.name, pod.metadata.resource_version), ("web", 12));
        let labels: Vec<_> = pod.metadata.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(labels, [("app", "web"), ("tier", "front")]);
        let container = &pod.spec.containers[0];
        assert_eq!((&*container.image, container.ports[0].container_port), ("a:1", 80));
        assert_eq!(*container.resources.limits, [("nvidia.com/gpu".into(), "2".into())]);
        let status = pod.statuses().next().unwrap();
        assert!(status.ready && status.state.is_running && status.last_state.waiting.is_none());
        assert_eq!(status.last_state.terminated.as_ref().unwrap().exit_code, 1);
    }

    #[test]
    fn what_a_pod_does_not_say_is_nothing() {
        let bare = read(
            json!({"metadata": {"name": "web", "labels": null, "resourceVersion": "new"}, "spec": {"containers": null}}),
        );

        assert_eq!(
            bare,
            Pod { metadata: Metadata { name: "web".into(), ..Metadata::default() }, ..Pod::default() }
        );
    }

    #[test]
    fn a_pod_on_its_way_out_is_not_ready_and_long_words_are_cut() {
        let going = read(json!({
            "metadata": {"deletionTimestamp": "now"},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "ü".repeat(5_000)},
            ]},
        }));

        assert!(!going.is_ready() && going.status.conditions.is_ready);
        assert_eq!(going.status.conditions.unschedulable.unwrap().chars().count(), SAID_CHARS_MAX);
    }
}
