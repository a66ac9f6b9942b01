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

/// The objects of one kind.
#[derive(Default)]
pub struct Mirror {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By namespace and name.
    objects: BTreeMap<(String, String), Arc<Value>>,
    is_complete: bool,
}

impl Mirror {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects of a namespace, by name; none while it is not known that these are all.
    pub fn of_namespace(&self, namespace: &str) -> Option<Vec<Arc<Value>>> {
        let state = self.state();
        if !state.is_complete {
            return None;
        }
        let from = (namespace.to_owned(), String::new());
        let found = state.objects.range(from..).take_while(|((of, _), _)| of == namespace);
        Some(found.map(|(_, object)| Arc::clone(object)).collect())
    }

    /// Follows a cluster until told to stop. What went wrong is said, waited out and begun anew.
    pub async fn follow(&self, cluster: &Cluster, path: &str, stop: &CancellationToken) {
        let mut pause = PAUSES.0;
        loop {
            let began = std::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.once(cluster, path) => ended,
            };
            match ended {
                Ok(()) => pause = PAUSES.0,
                // Too long ago to go on from: an ordinary thing, after which everything is listed again.
                Err(failure) if failure.is_gone() => {}
                Err(failure) => {
                    self.state().is_complete = false;
                    tracing::debug!(%failure, path, "a watch broke off");
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
    async fn once(&self, cluster: &Cluster, path: &str) -> Result<(), Failure> {
        let mut objects = BTreeMap::new();
        let mut next = String::new();
        let mut version = loop {
            let mut list =
                cluster.get(As::Longshore, &format!("{path}?limit={PAGE}&continue={next}")).await?;
            for mut object in list["items"].as_array_mut().map(std::mem::take).into_iter().flatten() {
                slim(&mut object);
                objects.insert(key(&object), Arc::new(object));
            }
            let metadata = &list["metadata"];
            next = escaped(metadata["continue"].as_str().unwrap_or_default());
            if next.is_empty() {
                break metadata["resourceVersion"].as_str().unwrap_or_default().to_owned();
            }
        };
        *self.state() = State { objects, is_complete: true };
        loop {
            let watch = format!(
                "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECS}&resourceVersion={version}"
            );
            self.watch(cluster, &watch, &mut version).await?;
        }
    }

    async fn watch(&self, cluster: &Cluster, path: &str, version: &mut String) -> Result<(), Failure> {
        let mut stream = std::pin::pin!(cluster.stream(As::Longshore, path).await?);
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, stream.next()).await;
            let next = next.map_err(|_| Failure::Unreachable("a watch says nothing any more".to_owned()))?;
            let Some(piece) = next else { return Ok(()) };
            buffer.extend_from_slice(&piece?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                self.take(&line, version)?;
            }
            if buffer.len() > LINE_BYTES_MAX {
                return Err(Failure::Unreachable("an object is too large".to_owned()));
            }
        }
    }

    fn take(&self, line: &[u8], version: &mut String) -> Result<(), Failure> {
        let mut event: Value = serde_json::from_slice(line)
            .map_err(|error| Failure::Unreachable(format!("what a watch says cannot be read: {error}")))?;
        let mut object = event["object"].take();
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
            "ADDED" | "MODIFIED" => {
                slim(&mut object);
                state.objects.insert(key(&object), Arc::new(object));
            }
            "DELETED" => {
                state.objects.remove(&key(&object));
            }
            _ => {}
        }
        Ok(())
    }
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
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(mirror.take(gone, &mut version).unwrap_err().is_gone());
    }
}
