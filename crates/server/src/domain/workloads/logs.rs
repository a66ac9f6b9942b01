//! What pods print: whole logs, of one container or of all in one stream, and the last lines of a container that ended.

use std::pin::pin;
use std::time::Duration;

use async_stream::stream;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use serde_json::Value;
use store::namespaces::Row as Namespace;
use wire::ids::AccountId;
use wire::names::NamespaceName;
use wire::workloads::WorkloadView;

use super::pods::{behind, is_name};
use super::{clusters, manifests, namespaces};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, Cluster, ContainerState, Failure, Pod};
use crate::domain::{logs, sessions};
use crate::error::{Error, ErrorKind, Result};
use crate::streams::Place;

/// Lines of a log that are shown when nobody says how many.
const LOG_LINES: u64 = 200;
/// Bytes of a log that is not followed.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Containers of one pod that are read together.
const CONTAINERS_MAX: usize = 32;
/// Longest line that stays in one piece when the lines of several containers are mixed.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How long to wait before it is looked again whether a container has started.
const START_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the reader of a log may still read it.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// What is shown of a log to say why a container ended.
const TAIL_LINES: u64 = 10;
const TAIL_BYTES: usize = 4 << 10;

/// What of a pod's log.
#[derive(Clone, Debug, Default)]
pub struct LogQuery<'a> {
    /// Of which container; the pod's only or first one when not given.
    pub container: Option<&'a str>,
    /// Of all containers, each line with its container's name before it.
    pub is_of_all: bool,
    /// The newest lines, of each container.
    pub tail: Option<u64>,
    /// Of the container that ended before the current one.
    pub is_previous: bool,
    /// Goes on with what is printed.
    pub is_followed: bool,
}

/// What a log is given out as.
type Log = BoxStream<'static, Result<Bytes, Failure>>;

/// A pod's log.
pub async fn log(
    app: &App,
    caller: &Caller,
    namespace: &str,
    pod: &str,
    query: &LogQuery<'_>,
) -> Result<Log> {
    let row = namespaces::find(app, caller, namespace).await?;
    if !is_name(pod) {
        return Err(Error::not_found("pod", pod));
    }
    let cluster = clusters::client_of(app, row.cluster_id).await?;
    if let Some(container) = query.container {
        if query.is_of_all {
            let detail = "give `container` or `all_containers`, not both";
            return Err(Error::invalid("container", detail));
        }
        if !is_name(container) {
            return Err(Error::not_found("container", container));
        }
    }
    let place = if query.is_followed { Some(logs::follow(app, caller)?) } else { None };
    let of = PodLog { cluster, namespace: row.name, pod: pod.to_owned() };
    let opened = if query.is_of_all {
        of.all(query).await
    } else {
        match of.open(query.container, query, LOG_BYTES_MAX).await {
            Ok(log) => Ok(log.boxed()),
            Err(failure) => Err(failure.into()),
        }
    };
    // The name of a deployment is not that of its pods.
    let log = opened.map_err(|error| match error.kind {
        ErrorKind::NotFound => error.hint(format!("`longshore workload pods {namespace}` lists the pods")),
        _ => error,
    })?;
    Ok(match place {
        Some(place) => watched(app, caller, row.account_id, place, log),
        None => log,
    })
}

/// A log that ends when its reader may not read it any more, and holds a place among those that the reader follows.
fn watched(app: &App, caller: &Caller, account: AccountId, place: Place, mut log: Log) -> Log {
    let (app, caller) = (app.clone(), caller.clone());
    let pieces = stream! {
        let _place = place;
        let mut timer = tokio::time::interval(LOOK_INTERVAL);
        loop {
            let piece = tokio::select! {
                piece = log.next() => piece,
                _ = timer.tick() => {
                    if sessions::may_still_act_for(&app, &caller, account).await { continue }
                    return;
                }
            };
            match piece {
                Some(piece) => yield piece,
                None => return,
            }
        }
    };
    pieces.boxed()
}

/// Whose log.
#[derive(Clone)]
struct PodLog {
    cluster: Cluster,
    namespace: NamespaceName,
    pod: String,
}

impl PodLog {
    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.pod)
    }

    /// One container's log.
    async fn open(
        &self,
        container: Option<&str>,
        query: &LogQuery<'_>,
        bytes_max: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + use<>, Failure> {
        let bound = if query.is_followed { String::new() } else { format!("&limitBytes={bytes_max}") };
        let container = container.map(|container| format!("&container={container}")).unwrap_or_default();
        let path = format!(
            "{}/log?tailLines={}&previous={}&follow={}{bound}{container}",
            self.path(),
            query.tail.unwrap_or(LOG_LINES).min(100_000),
            query.is_previous,
            query.is_followed,
        );
        self.cluster.stream(As::Tenant(&self.namespace), &path).await
    }

    /// The logs of all containers, those that run before the others first. What is followed comes as it is printed.
    async fn all(self, query: &LogQuery<'_>) -> Result<Log> {
        let found = self.cluster.find(As::Tenant(&self.namespace), &self.path()).await?;
        let object = found.ok_or_else(|| Error::not_found("pod", &self.pod))?;
        let containers = containers_of(&object);
        if query.is_followed {
            let logs =
                containers.into_iter().map(|container| self.clone().followed(container, query).boxed());
            return Ok(stream::select_all(logs).boxed());
        }
        let bytes_max = LOG_BYTES_MAX / containers.len().max(1) as u64;
        let (mut logs, mut silent) = (Vec::new(), None);
        for container in containers {
            match self.open(Some(&container), query, bytes_max).await {
                Ok(log) => logs.push(marked(log, container)),
                Err(failure) if failure.is_impossible_now() => silent = Some(failure),
                Err(failure) => return Err(failure.into()),
            }
        }
        match silent {
            Some(failure) if logs.is_empty() => Err(failure.into()),
            _ => Ok(stream::iter(logs).flatten().boxed()),
        }
    }

    /// A container's log as it is printed; one that has not started is waited for as long as its pod may start it.
    fn followed(
        self,
        container: String,
        query: &LogQuery<'_>,
    ) -> impl Stream<Item = Result<Bytes, Failure>> + use<> {
        let query = LogQuery {
            container: None,
            is_of_all: true,
            tail: query.tail,
            is_previous: query.is_previous,
            is_followed: true,
        };
        stream! {
            loop {
                match self.open(Some(&container), &query, LOG_BYTES_MAX).await {
                    Ok(log) => {
                        let mut log = pin!(marked(log, container));
                        while let Some(piece) = log.next().await {
                            yield piece;
                        }
                        return;
                    }
                    // The pod went meanwhile: nothing more comes.
                    Err(failure) if failure.is_not_found() => return,
                    Err(failure) if failure.is_impossible_now() => {
                        if query.is_previous {
                            return;
                        }
                        match self.may_start().await {
                            Ok(true) => tokio::time::sleep(START_PAUSE).await,
                            Ok(false) => return,
                            Err(failure) => {
                                yield Err(failure);
                                return;
                            }
                        }
                    }
                    Err(failure) => {
                        yield Err(failure);
                        return;
                    }
                }
            }
        }
    }

    /// Whether the pod may still start containers.
    async fn may_start(&self) -> Result<bool, Failure> {
        let pod = self.cluster.find(As::Tenant(&self.namespace), &self.path()).await?;
        Ok(pod.is_some_and(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))))
    }
}

/// The names of a pod's containers, in the order in which they start.
fn containers_of(pod: &Value) -> Vec<String> {
    let of = |list: &str| pod["spec"][list].as_array().into_iter().flatten();
    let names = of("initContainers").chain(of("containers")).filter_map(|one| one["name"].as_str());
    names.filter(|name| is_name(name)).map(str::to_owned).take(CONTAINERS_MAX).collect()
}

/// A container's log in whole lines, each with the container's name before it.
fn marked(
    log: impl Stream<Item = Result<Bytes, Failure>> + Send,
    container: String,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
    stream! {
        let mut lines = MarkedLines { mark: format!("[{container}] "), pending: Vec::new() };
        let mut log = pin!(log);
        while let Some(piece) = log.next().await {
            match piece {
                Ok(bytes) => {
                    let whole = lines.take(&bytes);
                    if !whole.is_empty() {
                        yield Ok(whole);
                    }
                }
                Err(failure) => {
                    yield Err(failure);
                    return;
                }
            }
        }
        let rest = lines.finish();
        if !rest.is_empty() {
            yield Ok(rest);
        }
    }
}

/// Lines with a mark before each.
struct MarkedLines {
    mark: String,
    pending: Vec<u8>,
}

impl MarkedLines {
    /// Takes bytes; the lines that are whole with them.
    fn take(&mut self, bytes: &[u8]) -> Bytes {
        let mut whole = Vec::with_capacity(bytes.len() + self.mark.len());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.pending.len() >= LINE_BYTES_MAX {
                self.write(&mut whole);
            }
        }
        whole.into()
    }

    /// What is left when nothing more comes.
    fn finish(&mut self) -> Bytes {
        let mut rest = Vec::new();
        if !self.pending.is_empty() {
            self.write(&mut rest);
        }
        rest.into()
    }

    fn write(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.mark.as_bytes());
        to.append(&mut self.pending);
        // A line that broke off, or is too long, must not run into another container's.
        if !to.ends_with(b"\n") {
            to.push(b'\n');
        }
    }
}

/// The last lines of a container of the workload's that ended with a failure.
pub(super) async fn tail(
    cluster: &Cluster,
    namespace: &Namespace,
    view: &WorkloadView,
) -> Result<Option<String>, Failure> {
    let kind = manifests::kind(view.kind.as_str()).map(|kind| kind.path(namespace.name.as_str()));
    let Some(path) = kind.map(|path| format!("{path}/{}", view.name)) else { return Ok(None) };
    let Some(object) = cluster.find(As::Tenant(&namespace.name), &path).await? else { return Ok(None) };
    let pods = behind(cluster, &namespace.name, &object["spec"]["selector"]["matchLabels"]).await?;
    let Some((pod, container, is_previous)) = pods.iter().find_map(|pod| ended_badly(pod)) else {
        return Ok(None);
    };
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}/log?container={container}&previous={is_previous}&tailLines={TAIL_LINES}&limitBytes={TAIL_BYTES}",
        namespace.name
    );
    let mut stream = pin!(cluster.stream(As::Tenant(&namespace.name), &path).await?);
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece?);
        text.truncate(TAIL_BYTES);
    }
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A container of a pod that ended with a failure: the pod, the container, and whether it was started again since.
fn ended_badly(pod: &Pod) -> Option<(String, String, bool)> {
    let is_bad = |state: &ContainerState| state.terminated.as_ref().is_some_and(|ended| ended.exit_code != 0);
    let found = pod.statuses().find_map(|status| match (is_bad(&status.state), is_bad(&status.last_state)) {
        (true, _) => Some((&status.name, false)),
        (false, true) if !status.ready => Some((&status.name, true)),
        _ => None,
    });
    let (container, is_previous) = found?;
    let pod = &pod.metadata.name;
    (is_name(pod) && is_name(container)).then(|| (pod.to_string(), container.to_string(), is_previous))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_mark_however_it_comes() {
        let mut lines = MarkedLines { mark: "[web] ".to_owned(), pending: Vec::new() };

        assert_eq!(lines.take(b"one\ntw"), "[web] one\n");
        assert_eq!(lines.take(b"o\n\nthr"), "[web] two\n[web] \n");
        assert_eq!(lines.finish(), "[web] thr\n");
        assert_eq!(lines.finish(), "");
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_bound() {
        let mut lines = MarkedLines { mark: "[web] ".to_owned(), pending: Vec::new() };
        let piece = vec![b'x'; 16 << 10];

        let taken: usize = (0..64).map(|_| lines.take(&piece).len()).sum();

        assert!(taken > 15 << 16 && lines.pending.len() < LINE_BYTES_MAX);
    }

    #[test]
    fn containers_that_start_first_come_first() {
        let pod = serde_json::json!({"spec": {
            "initContainers": [{"name": "prepare"}],
            "containers": [{"name": "web"}, {"name": "../escape"}, {"name": "side"}],
        }});

        assert_eq!(containers_of(&pod), ["prepare", "web", "side"]);
    }
}
