//! What pods print: whole logs, and the last lines of a container that ended.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde_json::Value;
use store::namespaces::Row as Namespace;
use wire::workloads::WorkloadView;

use super::look::{is_name, pods_behind};
use super::{clusters, manifests, namespaces};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, Cluster, Failure};
use crate::error::{Error, Result};

/// Lines of a log that are shown when nobody says how many.
const LOG_LINES: u64 = 200;
/// Bytes of a log that is not followed.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// What is shown of a log to say why a container ended.
const TAIL_LINES: u64 = 10;
const TAIL_BYTES: usize = 4 << 10;

/// What of a pod's log.
#[derive(Clone, Debug, Default)]
pub struct LogQuery<'a> {
    /// Of which container; the pod's only or first one when not given.
    pub container: Option<&'a str>,
    /// The newest lines.
    pub tail: Option<u64>,
    /// Of the container that ended before the current one.
    pub is_previous: bool,
    /// Goes on with what is printed.
    pub is_followed: bool,
}

/// A pod's log.
pub async fn log(
    app: &App,
    caller: &Caller,
    namespace: &str,
    pod: &str,
    query: &LogQuery<'_>,
) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + use<>> {
    let row = namespaces::find(app, caller, namespace).await?;
    if !is_name(pod) {
        return Err(Error::not_found("pod", pod));
    }
    let cluster = clusters::client_of(app, row.cluster_id).await?;
    if query.container.is_some_and(|container| !is_name(container)) {
        return Err(Error::not_found("container", query.container.unwrap_or_default()));
    }
    let bound = if query.is_followed { String::new() } else { format!("&limitBytes={LOG_BYTES_MAX}") };
    let container = query.container.map(|container| format!("&container={container}")).unwrap_or_default();
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}/log?tailLines={}&previous={}&follow={}{bound}{container}",
        row.name,
        query.tail.unwrap_or(LOG_LINES).min(100_000),
        query.is_previous,
        query.is_followed,
    );
    Ok(cluster.stream(As::Tenant(&row.name), &path).await?)
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
    let pods = pods_behind(cluster, &namespace.name, &object["spec"]["selector"]["matchLabels"]).await?;
    let Some((pod, container, is_previous)) = pods.iter().find_map(ended_badly) else { return Ok(None) };
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}/log?container={container}&previous={is_previous}&tailLines={TAIL_LINES}&limitBytes={TAIL_BYTES}",
        namespace.name
    );
    let mut stream = std::pin::pin!(cluster.stream(As::Tenant(&namespace.name), &path).await?);
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece?);
        text.truncate(TAIL_BYTES);
    }
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A container of a pod that ended with a failure: the pod, the container, and whether it was started again since.
fn ended_badly(pod: &Value) -> Option<(String, String, bool)> {
    let of = |list: &str| pod["status"][list].as_array().into_iter().flatten();
    let is_bad = |state: &Value| state["terminated"].is_object() && state["terminated"]["exitCode"] != 0;
    let found = of("initContainerStatuses").chain(of("containerStatuses")).find_map(|status| {
        let name = status["name"].as_str()?;
        match (is_bad(&status["state"]), is_bad(&status["lastState"])) {
            (true, _) => Some((name, false)),
            (false, true) if status["ready"] != true => Some((name, true)),
            _ => None,
        }
    });
    let (container, is_previous) = found?;
    let pod = pod["metadata"]["name"].as_str()?;
    (is_name(pod) && is_name(container)).then(|| (pod.to_owned(), container.to_owned(), is_previous))
}
