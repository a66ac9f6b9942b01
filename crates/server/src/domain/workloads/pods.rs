//! The pods of a namespace, and why one does not run, in plain words. Read from what one watch keeps for all who look, as long
//! as it does; else asked for in the name of the namespace's own account.

use std::sync::Arc;

use serde_json::Value;
use wire::names::NamespaceName;
use wire::workloads::PodView;

use super::{clusters, look, namespaces};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, Cluster, ContainerStatus, Failure, Pod};
use crate::error::Result;

/// Pods that are shown of one namespace.
const PODS_MAX: usize = 2_000;
/// Reasons of events that say more than the state of a pod.
const TELLING: [&str; 6] = [
    "FailedAttachVolume",
    "FailedCreatePodSandBox",
    "FailedMount",
    "FailedPostStartHook",
    "NetworkNotReady",
    "Unhealthy",
];

/// The pods of a namespace.
pub async fn pods(app: &App, caller: &Caller, namespace: &str) -> Result<Vec<PodView>> {
    let row = namespaces::find(app, caller, namespace).await?;
    let cluster = clusters::client_to_look(app, row.cluster_id).await?;
    let pods = match cluster.mirrors.pods.of_namespace(row.name.as_str()) {
        Some(pods) => pods,
        None => list(&cluster, &row.name, "").await?,
    };
    Ok(pods.iter().map(|pod| view(&row.name, pod)).collect())
}

async fn list(
    cluster: &Cluster,
    namespace: &NamespaceName,
    selector: &str,
) -> Result<Vec<Arc<Pod>>, Failure> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?limit={PODS_MAX}&labelSelector={selector}");
    let pods = cluster.list(As::Tenant(namespace), &path).await?;
    Ok(pods.into_iter().map(Arc::new).collect())
}

/// The pods that a selector means, as the cluster has them now.
pub(super) async fn of(
    cluster: &Cluster,
    namespace: &NamespaceName,
    labels: &Value,
) -> Result<Vec<Arc<Pod>>, Failure> {
    list(cluster, namespace, &selector_of(labels)).await
}

/// The pods that a selector means, from what a watch keeps as long as it does.
pub(in crate::domain) async fn behind(
    cluster: &Cluster,
    namespace: &NamespaceName,
    labels: &Value,
) -> Result<Vec<Arc<Pod>>, Failure> {
    let Some(mut pods) = cluster.mirrors.pods.of_namespace(namespace.as_str()) else {
        return of(cluster, namespace, labels).await;
    };
    pods.retain(|pod| has_labels(pod, labels));
    Ok(pods)
}

fn selector_of(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let pairs: Vec<_> =
        labels.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    form_urlencoded::byte_serialize(pairs.join(",").as_bytes()).collect()
}

fn has_labels(pod: &Pod, wanted: &Value) -> bool {
    let has = |name: &str, value: &Value| {
        let mut labels = pod.metadata.labels.iter();
        labels.any(|(own, set)| &**own == name && value.as_str() == Some(&**set))
    };
    wanted.as_object().is_some_and(|wanted| wanted.iter().all(|(name, value)| has(name, value)))
}

fn view(namespace: &NamespaceName, pod: &Pod) -> PodView {
    let Pod { metadata, spec, status } = pod;
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let statuses = &status.container_statuses;
    let ready = statuses.iter().filter(|status| status.ready).count();
    let waiting = statuses.iter().find_map(|status| status.state.waiting.as_ref()?.reason.as_deref());
    let word = if metadata.is_going { Some("Terminating") } else { waiting };
    let word = word.or(status.reason.as_deref()).or(status.phase.as_deref());
    PodView {
        name: metadata.name.to_string(),
        namespace: namespace.clone(),
        status: word.unwrap_or_default().to_owned(),
        message: trouble(pod).map(|(_, message)| message),
        ready: format!("{ready}/{}", spec.containers.len()),
        restarts: statuses.iter().map(|status| u64::from(status.restart_count)).sum(),
        ip: text(&status.pod_ip),
        node: text(&spec.node_name),
        images: spec.containers.iter().map(|container| container.image.to_string()).collect(),
        containers: spec.containers.iter().map(|container| container.name.to_string()).collect(),
        created_at: text(&metadata.creation_timestamp),
    }
}

/// What keeps a pod from running, in plain words; 0 for what will not pass by itself.
pub(super) fn trouble(pod: &Pod) -> Option<(u8, String)> {
    if let Some(said) = &pod.status.conditions.unschedulable {
        return Some((1, format!("no node has room for it: {said}")));
    }
    pod.statuses().filter_map(container_trouble).min_by_key(|(severity, _)| *severity)
}

fn container_trouble(status: &ContainerStatus) -> Option<(u8, String)> {
    let ContainerStatus { name, image, state, last_state, .. } = status;
    let ended = state.terminated.as_ref().or(last_state.terminated.as_ref());
    let how = ended.map(|ended| match ended.reason.as_deref() {
        Some("OOMKilled") => "it used more memory than its limit".to_owned(),
        _ => format!("it ended with exit code {}", ended.exit_code),
    });
    let waiting = state.waiting.as_ref();
    let said = waiting.map_or("", |waiting| &waiting.message);
    Some(match waiting.and_then(|waiting| waiting.reason.as_deref()) {
        Some("ErrImagePull" | "ImagePullBackOff") => {
            (0, format!("the image `{image}` of `{name}` cannot be pulled: {said}"))
        }
        Some("InvalidImageName") => (0, format!("`{name}` names no valid image: {said}")),
        Some("CrashLoopBackOff") => {
            let how = how.unwrap_or_else(|| "it ends".to_owned());
            (0, format!("`{name}` ends again and again: {how}; its log says why"))
        }
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            (0, format!("`{name}` cannot be started: {said}"))
        }
        Some("ContainerCreating" | "PodInitializing") => (3, format!("`{name}` is being started")),
        Some(other) => (2, format!("`{name}` waits: {other} {said}").trim_end().to_owned()),
        None => match (&state.terminated, how) {
            (Some(ended), Some(how)) if ended.exit_code != 0 => (0, format!("`{name}` does not run: {how}")),
            _ if state.is_running && !status.ready => {
                (2, format!("`{name}` runs, but its readiness probe does not succeed yet"))
            }
            _ => return None,
        },
    })
}

/// What the cluster warned of last about some pods, where their own state does not say it.
pub(super) fn warning_of(cluster: &Cluster, namespace: &NamespaceName, pods: &[Arc<Pod>]) -> Option<String> {
    let events = look::kept(cluster, "Event", namespace)?;
    let is_about = |event: &Value| {
        let about = event["involvedObject"]["uid"].as_str();
        TELLING.contains(&event["reason"].as_str().unwrap_or_default())
            && pods.iter().any(|pod| about == Some(&pod.metadata.uid) && !pod.is_ready())
    };
    let time = |event: &Value| {
        let times = [&event["lastTimestamp"], &event["eventTime"]];
        times.into_iter().find_map(|time| time.as_str().map(str::to_owned))
    };
    let last = events.iter().filter(|event| is_about(event)).max_by_key(|event| time(event))?;
    let said: String = last["message"].as_str()?.chars().take(500).collect();
    Some(format!("the cluster warns: {}", said.trim_end()))
}

/// Whether this can be the name of a pod or of one of its containers.
pub(in crate::domain) fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && !text.contains("..")
        && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(pod: Value) -> Pod {
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn why_a_pod_does_not_run_is_said_in_plain_words() {
        let pod = |status: Value| read(json!({"status": {"containerStatuses": [status]}}));
        for (status, severity, words) in [
            (
                json!({"name": "web", "image": "a:1", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}),
                0,
                "the image `a:1` of `web` cannot be pulled: not found",
            ),
            (
                json!({"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}}),
                0,
                "`web` ends again and again: it ended with exit code 3; its log says why",
            ),
            (
                json!({"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
                0,
                "`web` ends again and again: it used more memory than its limit; its log says why",
            ),
            (
                json!({"name": "web", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}}}),
                0,
                "`web` cannot be started: secret \"x\" not found",
            ),
            (
                json!({"name": "web", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}),
                0,
                "`web` does not run: it ended with exit code 2",
            ),
            (
                json!({"name": "web", "ready": false, "state": {"running": {}}}),
                2,
                "`web` runs, but its readiness probe does not succeed yet",
            ),
        ] {
            assert_eq!(trouble(&pod(status)), Some((severity, words.to_owned())));
        }
        assert_eq!(trouble(&pod(json!({"name": "web", "ready": true, "state": {"running": {}}}))), None);
        let unschedulable = read(
            json!({"status": {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}]}}),
        );
        assert!(trouble(&unschedulable).unwrap().1.starts_with("no node has room for it: 0/1"));
    }

    #[test]
    fn a_pod_is_shown_by_what_says_most_about_it() {
        let namespace: NamespaceName = "henry-test".parse().unwrap();
        let shown = |status: Value, deleted: Value| {
            let pod = json!({"metadata": {"name": "web", "deletionTimestamp": deleted}, "spec": {"containers": [{}, {}]}, "status": status});
            let view = view(&namespace, &read(pod));
            (view.status, view.ready, view.restarts)
        };
        let waiting = json!({"phase": "Pending", "containerStatuses": [{"ready": true, "restartCount": 2}, {"restartCount": 1, "state": {"waiting": {"reason": "ErrImagePull"}}}]});

        assert_eq!(shown(waiting.clone(), Value::Null), ("ErrImagePull".to_owned(), "1/2".to_owned(), 3));
        assert_eq!(shown(waiting, "now".into()).0, "Terminating");
        assert_eq!(shown(json!({"phase": "Failed", "reason": "Evicted"}), Value::Null).0, "Evicted");
        assert_eq!(shown(json!({"phase": "Running"}), Value::Null).0, "Running");
    }

    #[test]
    fn a_selector_means_the_pods_that_have_all_of_its_labels() {
        let pod = read(json!({"metadata": {"labels": {"app": "web", "tier": "front"}}}));

        for (selector, is_meant) in [
            (json!({"app": "web"}), true),
            (json!({"app": "web", "tier": "front"}), true),
            (json!({"app": "web", "tier": "back"}), false),
            (json!({"app": "web", "other": "x"}), false),
            (json!({}), true),
            (Value::Null, false),
        ] {
            assert_eq!(has_labels(&pod, &selector), is_meant, "{selector}");
        }
    }
}
