//! What there is of one kind in a cluster, kept as it is by one watch, however many look. What is read here may be a moment old;
//! who has to know what is now asks the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{As, Cluster, Failure};

/// Objects that are asked for together when everything is listed.
const PAGE: usize = 500;
/// How long a watch goes on before it is begun anew; the API server ends it then in order.
const WATCH_SECS: u64 = 300;
/// How long nothing may come of a watch, bookmarks included, before it is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECS + 30);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Longest line of a watch in bytes: one object.
const LINE_BYTES_MAX: usize = 4 << 20;
/// What nobody looks at and takes most of the room.
const DROPPED: [&str; 2] = ["managedFields", "annotations"];
/// What is kept of a pod: what says where it is, how it is and why. By far the most objects of a cluster are pods.
const OF_PODS: [(&str, &[&str]); 2] = [
    ("spec", &["containers", "initContainers", "nodeName"]),
    ("status", &["conditions", "containerStatuses", "initContainerStatuses", "phase", "podIP", "reason"]),
];
const OF_CONTAINERS: [&str; 4] = ["image", "name", "ports", "resources"];
const OF_CONTAINER_STATUSES: [&str; 6] = ["image", "lastState", "name", "ready", "restartCount", "state"];
/// The conditions of a pod that say more than its phase.
const CONDITIONS: [&str; 2] = ["PodScheduled", "Ready"];
const OF_CONDITIONS: [&str; 4] = ["message", "reason", "status", "type"];
/// What is kept of an event.
const OF_EVENTS: [&str; 6] =
    ["metadata", "involvedObject", "reason", "message", "lastTimestamp", "eventTime"];

/// A kind of objects that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Its name, such as `Pod`.
    pub kind: &'static str,
    /// Where all of them are.
    path: &'static str,
    /// Which of them are asked for, as part of a query.
    selector: &'static str,
    /// Whether a change of one may be to be seen in a list of workloads.
    pub is_shown: bool,
}

const fn kept(kind: &'static str, path: &'static str, is_shown: bool) -> Kept {
    Kept { kind, path, selector: "", is_shown }
}

/// How many kinds are kept: a number of its own, because a type whose size is computed from [`KEPT`] is a cycle for optimised builds.
const KINDS: usize = 10;

/// The kinds that are kept of each cluster. Nobody may read secrets and configuration of other namespaces, not even we.
pub const KEPT: [Kept; KINDS] = [
    kept("Pod", "/api/v1/pods", true),
    kept("Deployment", "/apis/apps/v1/deployments", true),
    kept("StatefulSet", "/apis/apps/v1/statefulsets", true),
    kept("DaemonSet", "/apis/apps/v1/daemonsets", true),
    kept("Job", "/apis/batch/v1/jobs", true),
    kept("CronJob", "/apis/batch/v1/cronjobs", true),
    kept("Service", "/api/v1/services", true),
    kept("PersistentVolumeClaim", "/api/v1/persistentvolumeclaims", true),
    kept("Node", "/api/v1/nodes", false),
    Kept { selector: "&fieldSelector=type%3DWarning", ..kept("Event", "/api/v1/events", false) },
];

/// What is kept of one cluster.
#[derive(Default)]
pub struct Mirrors {
    mirrors: [Mirror; KINDS],
}

impl Mirrors {
    /// The objects of a kind; none of one that is not kept.
    pub fn of(&self, kind: &str) -> Option<&Mirror> {
        self.mirrors.get(KEPT.iter().position(|kept| kept.kind == kind)?)
    }

    /// Takes an object that the cluster has just answered, so that whoever made it sees it at once.
    pub(super) fn note(&self, object: &Value) {
        let kind = object["kind"].as_str().and_then(|kind| self.of(kind));
        if let Some(mirror) = kind {
            let mut state = mirror.state();
            if state.is_complete {
                state.put(object.clone());
            }
        }
    }
}

/// The objects of one kind.
#[derive(Default)]
pub struct Mirror {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By namespace and name.
    objects: BTreeMap<(String, String), Entry>,
    is_complete: bool,
}

impl State {
    /// Keeps an object, unless a newer state of it is known already.
    fn put(&mut self, object: Value) {
        let key = key(&object);
        if self.objects.get(&key).is_some_and(|known| known.version > version_of(&object)) {
            return;
        }
        self.objects.insert(key, Entry::new(object));
    }
}

/// An object as it is kept.
#[derive(Clone)]
struct Entry {
    version: u64,
    form: Form,
}

/// Pods are many and not often looked at: as text they take a tenth of the room.
#[derive(Clone)]
enum Form {
    Value(Arc<Value>),
    Text(Arc<[u8]>),
}

impl Entry {
    fn new(mut object: Value) -> Self {
        let version = version_of(&object);
        slim(&mut object);
        let form = if object["kind"] == "Pod" {
            Form::Text(object.to_string().into_bytes().into())
        } else {
            Form::Value(Arc::new(object))
        };
        Self { version, form }
    }

    fn value(&self) -> Arc<Value> {
        match &self.form {
            Form::Value(value) => Arc::clone(value),
            // It was written by ourselves.
            Form::Text(text) => Arc::new(serde_json::from_slice(text).unwrap_or_default()),
        }
    }
}

impl Mirror {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects of a namespace, by name; none while it is not known that these are all.
    pub fn of_namespace(&self, namespace: &str) -> Option<Vec<Arc<Value>>> {
        let is_complete = self.state().is_complete;
        is_complete.then(|| self.last_known(namespace))
    }

    /// An object, if there is one as far as is known; none while it is not known which there are.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Option<Arc<Value>>> {
        let key = (namespace.to_owned(), name.to_owned());
        let state = self.state();
        if !state.is_complete {
            return None;
        }
        let found = state.objects.get(&key).cloned();
        drop(state);
        Some(found.map(|entry| entry.value()))
    }

    /// The objects of a namespace as they were last known to be, however long ago.
    pub fn last_known(&self, namespace: &str) -> Vec<Arc<Value>> {
        let from = (namespace.to_owned(), String::new());
        let state = self.state();
        let found = state.objects.range(from..).take_while(|((of, _), _)| of == namespace);
        let found: Vec<Entry> = found.map(|(_, entry)| entry.clone()).collect();
        // What is watched must not wait for who reads.
        drop(state);
        found.iter().map(Entry::value).collect()
    }

    /// All objects; none while it is not known that these are all.
    pub fn all(&self) -> Option<Vec<Arc<Value>>> {
        let state = self.state();
        if !state.is_complete {
            return None;
        }
        let found: Vec<Entry> = state.objects.values().cloned().collect();
        drop(state);
        Some(found.iter().map(Entry::value).collect())
    }

    /// Follows a cluster until told to stop, and says when something has changed. What went wrong is said, waited out and
    /// begun anew.
    pub async fn follow(
        &self,
        cluster: &Cluster,
        kept: &Kept,
        stop: &CancellationToken,
        changed: impl Fn() + Sync,
    ) {
        let mut pause = PAUSES.0;
        loop {
            let began = std::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.once(cluster, kept, &changed) => ended,
            };
            match ended {
                Ok(()) => pause = PAUSES.0,
                // Too long ago to go on from: an ordinary thing, after which everything is listed again.
                Err(failure) if failure.is_gone() => {}
                Err(failure) => {
                    self.state().is_complete = false;
                    tracing::debug!(%failure, kind = kept.kind, "a watch broke off");
                    changed();
                }
            }
            if began.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Lists everything, then takes what changes.
    async fn once(&self, cluster: &Cluster, kept: &Kept, changed: &impl Fn()) -> Result<(), Failure> {
        let Kept { path, selector, .. } = kept;
        let mut objects = BTreeMap::new();
        let mut next = String::new();
        let mut version = loop {
            let mut list =
                cluster.get(As::Longshore, &format!("{path}?limit={PAGE}{selector}&continue={next}")).await?;
            for mut object in list["items"].as_array_mut().map(std::mem::take).into_iter().flatten() {
                // In a list they do not say what they are.
                object["kind"] = kept.kind.into();
                objects.insert(key(&object), Entry::new(object));
            }
            let metadata = &list["metadata"];
            next = escaped(metadata["continue"].as_str().unwrap_or_default());
            if next.is_empty() {
                break metadata["resourceVersion"].as_str().unwrap_or_default().to_owned();
            }
        };
        *self.state() = State { objects, is_complete: true };
        changed();
        loop {
            let watch = format!(
                "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECS}{selector}&resourceVersion={version}"
            );
            self.watch(cluster, &watch, &mut version, changed).await?;
        }
    }

    async fn watch(
        &self,
        cluster: &Cluster,
        path: &str,
        version: &mut String,
        changed: &impl Fn(),
    ) -> Result<(), Failure> {
        let mut stream = std::pin::pin!(cluster.stream(As::Longshore, path).await?);
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, stream.next()).await;
            let next = next.map_err(|_| Failure::Unreachable("a watch says nothing any more".to_owned()))?;
            let Some(piece) = next else { return Ok(()) };
            buffer.extend_from_slice(&piece?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if self.take(&line, version)? {
                    changed();
                }
            }
            if buffer.len() > LINE_BYTES_MAX {
                return Err(Failure::Unreachable("an object is too large".to_owned()));
            }
        }
    }

    /// Takes what a watch says; whether something changed.
    fn take(&self, line: &[u8], version: &mut String) -> Result<bool, Failure> {
        let mut event: Value = serde_json::from_slice(line)
            .map_err(|error| Failure::Unreachable(format!("what a watch says cannot be read: {error}")))?;
        let object = event["object"].take();
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            return Err(Failure::of_answer(code, object.to_string().as_bytes()));
        }
        if let Some(new) = object["metadata"]["resourceVersion"].as_str() {
            new.clone_into(version);
        }
        let mut state = self.state();
        match kind {
            "ADDED" | "MODIFIED" => state.put(object),
            "DELETED" => drop(state.objects.remove(&key(&object))),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Versions of one object grow; that of something unreadable is the oldest.
fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

fn key(object: &Value) -> (String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn slim(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in DROPPED {
            metadata.remove(name);
        }
    }
    match object["kind"].as_str() {
        Some("Event") => {
            retain(object, &OF_EVENTS);
        }
        Some("Pod") => slim_pod(object),
        Some("Node") => {
            if let Some(status) = object["status"].as_object_mut() {
                status.remove("images");
            }
        }
        _ => {}
    }
}

fn slim_pod(pod: &mut Value) {
    for (part, kept) in OF_PODS {
        if let Some(part) = pod.get_mut(part) {
            retain(part, kept);
        }
    }
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in items(pod, list) {
            retain(container, &OF_CONTAINERS);
            if let Some(resources) = container.get_mut("resources") {
                retain(resources, &["limits"]);
            }
        }
    }
    for list in ["/status/containerStatuses", "/status/initContainerStatuses"] {
        for status in items(pod, list) {
            retain(status, &OF_CONTAINER_STATUSES);
            // Since when it runs, nobody asks.
            if let Some(running) = status.pointer_mut("/state/running") {
                retain(running, &[]);
            }
        }
    }
    if let Some(conditions) = pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        conditions.retain(|it| CONDITIONS.iter().any(|wanted| it["type"] == *wanted));
        for condition in conditions {
            retain(condition, &OF_CONDITIONS);
        }
    }
}

fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Leaves of an object's fields only these.
fn retain(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|name, _| fields.contains(&name.as_str()));
    }
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, namespace: &str, name: &str, version: &str) -> Vec<u8> {
        let metadata = serde_json::json!({"namespace": namespace, "name": name, "resourceVersion": version, "managedFields": []});
        serde_json::json!({"type": kind, "object": {"metadata": metadata}}).to_string().into_bytes()
    }

    #[test]
    fn what_changes_is_taken_and_what_is_past_is_said() {
        let mirror = Mirror::default();
        let mut version = String::new();

        mirror.take(&line("ADDED", "a", "one", "1"), &mut version).unwrap();
        mirror.take(&line("ADDED", "ab", "two", "2"), &mut version).unwrap();
        assert!(mirror.of_namespace("a").is_none(), "it is not known whether this is all");
        mirror.state().is_complete = true;

        let found = mirror.of_namespace("a").unwrap();
        assert_eq!((found.len(), found[0]["metadata"].get("managedFields")), (1, None));
        mirror.take(&line("DELETED", "a", "one", "3"), &mut version).unwrap();
        assert_eq!((mirror.of_namespace("a").unwrap().len(), version.as_str()), (0, "3"));
        assert!(mirror.find("a", "one").unwrap().is_none() && mirror.find("ab", "two").unwrap().is_some());
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(mirror.take(gone, &mut version).unwrap_err().is_gone());
    }

    #[test]
    fn of_a_pod_is_kept_what_says_where_and_how_it_is() {
        let mut pod = serde_json::json!({
            "kind": "Pod", "metadata": {"name": "web", "annotations": {"a": "b"}, "labels": {"app": "web"}},
            "spec": {
                "nodeName": "node1", "volumes": [{"name": "a"}],
                "containers": [{
                    "name": "web", "image": "a:1", "env": [{"name": "A", "value": "b"}], "ports": [{"name": "http", "containerPort": 80}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}},
                }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.2",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "now"}, {"type": "Initialized", "status": "True"}],
                "containerStatuses": [{
                    "name": "web", "ready": true, "restartCount": 2, "containerID": "c", "state": {"running": {"startedAt": "then"}},
                    "lastState": {"terminated": {"exitCode": 1}},
                }],
            },
        });

        slim(&mut pod);

        let kept = serde_json::json!({
            "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "node1",
                "containers": [{
                    "name": "web", "image": "a:1", "ports": [{"name": "http", "containerPort": 80}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "web", "ready": true, "restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}},
                }],
            },
        });
        assert_eq!(pod, kept);
        let mut bare = serde_json::json!({"kind": "Pod", "metadata": {"name": "web"}});
        slim(&mut bare);
        assert_eq!(bare, serde_json::json!({"kind": "Pod", "metadata": {"name": "web"}}));
    }

    #[test]
    fn what_was_just_written_is_seen_at_once_and_not_put_back_by_what_a_watch_says_late() {
        let mirrors = Mirrors::default();
        let pods = mirrors.of("Pod").unwrap();
        let pod = |version: &str| serde_json::json!({"kind": "Pod", "metadata": {"namespace": "a", "name": "one", "resourceVersion": version}});
        let known = || {
            let found = pods.find("a", "one").flatten();
            found.map(|found| found["metadata"]["resourceVersion"].as_str().unwrap().to_owned())
        };

        mirrors.note(&pod("9"));
        assert_eq!(known(), None, "it is not known yet which others there are");
        pods.state().is_complete = true;
        mirrors.note(&pod("9"));
        assert_eq!(known().as_deref(), Some("9"));
        pods.take(&line("MODIFIED", "a", "one", "8"), &mut String::new()).unwrap();
        assert_eq!(known().as_deref(), Some("9"));
        pods.take(&line("MODIFIED", "a", "one", "10"), &mut String::new()).unwrap();
        assert_eq!(known().as_deref(), Some("10"));
        assert!(mirrors.of("Secret").is_none());
    }
}
