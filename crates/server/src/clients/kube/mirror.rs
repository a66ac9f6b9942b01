//! What there is of one kind in a cluster, kept as it is by one watch, however many look. What is read here may be a moment old;
//! who has to know what is now asks the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::{As, Cluster, Failure, Pod};

/// Objects that are asked for together when everything is listed. A page is in memory as a whole until it is read.
const PAGE: usize = 100;
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

/// How many kinds are kept beside pods: a number of its own, because a type whose size is computed from [`KEPT`] is a cycle for
/// optimised builds.
const KINDS: usize = 9;

/// Pods are kept as what is asked of them: there are many.
pub const PODS: Kept = kept("Pod", "/api/v1/pods", true);

/// The other kinds that are kept of each cluster. Nobody may read secrets and configuration of other namespaces, not even we.
pub const KEPT: [Kept; KINDS] = [
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

/// What somebody who follows a cluster tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Something is otherwise than it was.
    Changed,
    /// It is not known any more what there is.
    Broken,
}

/// What is kept of one cluster.
#[derive(Default)]
pub struct Mirrors {
    /// Its pods.
    pub pods: Mirror<Pod>,
    others: [Mirror<Value>; KINDS],
}

impl Mirrors {
    /// The objects of a kind; none of pods and of what is not kept.
    pub fn of(&self, kind: &str) -> Option<&Mirror<Value>> {
        self.others.get(KEPT.iter().position(|kept| kept.kind == kind)?)
    }

    /// Takes an object that the cluster has just answered, so that whoever made it sees it at once.
    pub(super) fn note(&self, object: &Value) {
        let kind = object["kind"].as_str().and_then(|kind| self.of(kind));
        if let Some(mirror) = kind {
            let mut state = mirror.state();
            if state.is_complete {
                state.put(slimmed(object.clone()));
            }
        }
    }
}

/// What can be kept.
pub trait Object: DeserializeOwned {
    /// Reads an object of a kind from JSON that may not say of which it is, and leaves out what nobody asks.
    fn read(json: &RawValue, kind: &'static str) -> serde_json::Result<Self>;
    /// Its namespace, if it has one, and its name.
    fn place(&self) -> (&str, &str);
    /// Grows with each change of an object; that of something unreadable is the oldest.
    fn version(&self) -> u64;
}

impl Object for Pod {
    fn read(json: &RawValue, _: &'static str) -> serde_json::Result<Self> {
        serde_json::from_str(json.get())
    }

    fn place(&self) -> (&str, &str) {
        (&self.metadata.namespace, &self.metadata.name)
    }

    fn version(&self) -> u64 {
        self.metadata.resource_version
    }
}

impl Object for Value {
    fn read(json: &RawValue, kind: &'static str) -> serde_json::Result<Self> {
        let mut object: Self = serde_json::from_str(json.get())?;
        // In a list they do not say what they are.
        object["kind"] = kind.into();
        Ok(slimmed(object))
    }

    fn place(&self) -> (&str, &str) {
        let text = |name: &str| self["metadata"][name].as_str().unwrap_or_default();
        (text("namespace"), text("name"))
    }

    fn version(&self) -> u64 {
        let version = self["metadata"]["resourceVersion"].as_str();
        version.and_then(|version| version.parse().ok()).unwrap_or_default()
    }
}

/// The objects of one kind.
pub struct Mirror<T> {
    state: Mutex<State<T>>,
}

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { objects: BTreeMap::new(), is_complete: false }) }
    }
}

/// Namespace and name.
type Key = (Box<str>, Box<str>);

struct State<T> {
    objects: BTreeMap<Key, Arc<T>>,
    is_complete: bool,
}

impl<T: Object> State<T> {
    /// Keeps an object, unless a newer state of it is known already.
    fn put(&mut self, object: T) {
        let key = key(&object);
        if self.objects.get(&key).is_none_or(|known| known.version() <= object.version()) {
            self.objects.insert(key, Arc::new(object));
        }
    }
}

/// A page of a list, its objects as they came.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    r#continue: String,
    resource_version: String,
}

/// What a watch tells of one object.
#[derive(Deserialize)]
struct Told<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What is read of an object that only says how far a watch is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Marked {
    metadata: ListMetadata,
}

impl<T: Object + Send + Sync> Mirror<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects of a namespace, by name; none while it is not known that these are all.
    pub fn of_namespace(&self, namespace: &str) -> Option<Vec<Arc<T>>> {
        let is_complete = self.state().is_complete;
        is_complete.then(|| self.last_known(namespace))
    }

    /// An object, if there is one as far as is known; none while it is not known which there are.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Option<Arc<T>>> {
        let key: Key = (namespace.into(), name.into());
        let state = self.state();
        state.is_complete.then(|| state.objects.get(&key).cloned())
    }

    /// The objects of a namespace as they were last known to be, however long ago.
    pub fn last_known(&self, namespace: &str) -> Vec<Arc<T>> {
        let from: Key = (namespace.into(), Box::default());
        let state = self.state();
        let found = state.objects.range(from..).take_while(|((of, _), _)| &**of == namespace);
        found.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// All objects; none while it is not known that these are all.
    pub fn all(&self) -> Option<Vec<Arc<T>>> {
        let state = self.state();
        state.is_complete.then(|| state.objects.values().cloned().collect())
    }

    /// Follows a cluster until told to stop, and tells what there is to tell. What went wrong is said, waited out and
    /// begun anew.
    pub async fn follow(
        &self,
        cluster: &Cluster,
        kept: &Kept,
        stop: &CancellationToken,
        tell: impl Fn(News) + Sync,
    ) {
        let mut pause = PAUSES.0;
        loop {
            let began = std::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.once(cluster, kept, &tell) => ended,
            };
            match ended {
                Ok(()) => pause = PAUSES.0,
                // Too long ago to go on from: an ordinary thing, after which everything is listed again.
                Err(failure) if failure.is_gone() => {}
                Err(failure) => {
                    self.state().is_complete = false;
                    tracing::debug!(%failure, kind = kept.kind, "a watch broke off");
                    tell(News::Broken);
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
    async fn once(&self, cluster: &Cluster, kept: &Kept, tell: &impl Fn(News)) -> Result<(), Failure> {
        let Kept { path, selector, .. } = kept;
        let mut objects = BTreeMap::new();
        let mut next = String::new();
        let mut version = loop {
            let path = format!("{path}?limit={PAGE}{selector}&continue={next}");
            let page = cluster.bytes(As::Longshore, &path).await?;
            let page: Listed<'_> = serde_json::from_slice(&page)?;
            for object in page.items.into_iter().flatten() {
                let object = T::read(object, kept.kind)?;
                objects.insert(key(&object), Arc::new(object));
            }
            next = escaped(&page.metadata.r#continue);
            if next.is_empty() {
                break page.metadata.resource_version;
            }
        };
        *self.state() = State { objects, is_complete: true };
        tell(News::Changed);
        loop {
            let watch = format!(
                "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECS}{selector}&resourceVersion={version}"
            );
            self.watch(cluster, kept.kind, &watch, &mut version, tell).await?;
        }
    }

    async fn watch(
        &self,
        cluster: &Cluster,
        kind: &'static str,
        path: &str,
        version: &mut String,
        tell: &impl Fn(News),
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
                if self.take(&line, kind, version)? {
                    tell(News::Changed);
                }
            }
            if buffer.len() > LINE_BYTES_MAX {
                return Err(Failure::Unreachable("an object is too large".to_owned()));
            }
        }
    }

    /// Takes what a watch says; whether something changed.
    fn take(&self, line: &[u8], kind: &'static str, version: &mut String) -> Result<bool, Failure> {
        let told: Told<'_> = serde_json::from_slice(line)?;
        match told.r#type.as_str() {
            "ERROR" => {
                let status: Value = serde_json::from_str(told.object.get())?;
                let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
                Err(Failure::of_answer(code, told.object.get().as_bytes()))
            }
            word @ ("ADDED" | "MODIFIED" | "DELETED") => {
                let object = T::read(told.object, kind)?;
                if object.version() > 0 {
                    *version = object.version().to_string();
                }
                let mut state = self.state();
                if word == "DELETED" {
                    state.objects.remove(&key(&object));
                } else {
                    state.put(object);
                }
                Ok(true)
            }
            _ => {
                let marked: Marked = serde_json::from_str(told.object.get())?;
                if !marked.metadata.resource_version.is_empty() {
                    *version = marked.metadata.resource_version;
                }
                Ok(false)
            }
        }
    }
}

fn key(object: &impl Object) -> Key {
    let (namespace, name) = object.place();
    (namespace.into(), name.into())
}

/// An object without what nobody asks.
fn slimmed(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in DROPPED {
            metadata.remove(name);
        }
    }
    match object["kind"].as_str() {
        Some("Event") => {
            retain(&mut object, &OF_EVENTS);
        }
        Some("Node") => {
            if let Some(status) = object["status"].as_object_mut() {
                status.remove("images");
            }
        }
        _ => {}
    }
    object
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
    use serde_json::json;

    use super::*;

    fn line(word: &str, namespace: &str, name: &str, version: &str) -> Vec<u8> {
        let metadata =
            json!({"namespace": namespace, "name": name, "resourceVersion": version, "managedFields": []});
        json!({"type": word, "object": {"metadata": metadata}}).to_string().into_bytes()
    }

    #[test]
    fn what_changes_is_taken_and_what_is_past_is_said() {
        let mirror = Mirror::<Value>::default();
        let mut version = String::new();
        let mut take =
            |line: &[u8]| mirror.take(line, "Service", &mut version).map(|has| (has, version.clone()));

        take(&line("ADDED", "a", "one", "1")).unwrap();
        take(&line("ADDED", "ab", "two", "2")).unwrap();
        assert!(mirror.of_namespace("a").is_none(), "it is not known whether this is all");
        mirror.state().is_complete = true;

        let found = mirror.of_namespace("a").unwrap();
        assert_eq!((found.len(), found[0]["metadata"].get("managedFields")), (1, None));
        assert_eq!(found[0]["kind"], "Service");
        assert_eq!(take(&line("DELETED", "a", "one", "3")).unwrap(), (true, "3".to_owned()));
        assert!(mirror.of_namespace("a").unwrap().is_empty());
        assert!(mirror.find("a", "one").unwrap().is_none() && mirror.find("ab", "two").unwrap().is_some());
        assert_eq!(take(&line("BOOKMARK", "", "", "9")).unwrap(), (false, "9".to_owned()));
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(take(gone).unwrap_err().is_gone());
        assert!(take(b"{\"type\":\"ADDED\"}\n").is_err());
    }

    #[test]
    fn pods_are_followed_as_what_is_asked_of_them() {
        let mirrors = Mirrors::default();
        let mut version = String::new();

        for (word, number) in [("ADDED", "4"), ("MODIFIED", "6"), ("BOOKMARK", "7")] {
            mirrors.pods.take(&line(word, "a", "one", number), "Pod", &mut version).unwrap();
        }

        let found = mirrors.pods.last_known("a");
        assert_eq!((found.len(), found[0].metadata.resource_version, version.as_str()), (1, 6, "7"));
        assert!(mirrors.of("Pod").is_none() && mirrors.of("Secret").is_none());
    }

    #[test]
    fn what_was_just_written_is_seen_at_once_and_not_put_back_by_what_a_watch_says_late() {
        let mirrors = Mirrors::default();
        let services = mirrors.of("Service").unwrap();
        let service = |version: &str| json!({"kind": "Service", "metadata": {"namespace": "a", "name": "one", "resourceVersion": version}});
        let known = || services.find("a", "one").flatten().map(|found| found.version());
        let mut told = String::new();

        mirrors.note(&service("9"));
        assert_eq!(known(), None, "it is not known yet which others there are");
        services.state().is_complete = true;
        mirrors.note(&service("9"));
        assert_eq!(known(), Some(9));
        services.take(&line("MODIFIED", "a", "one", "8"), "Service", &mut told).unwrap();
        assert_eq!(known(), Some(9));
        services.take(&line("MODIFIED", "a", "one", "10"), "Service", &mut told).unwrap();
        assert_eq!(known(), Some(10));
    }
}
