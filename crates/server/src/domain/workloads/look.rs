//! What is there of workloads, and why it is not as wished, in plain words. Asked in the name of the namespace's own account.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use store::namespaces::Row as Namespace;
use store::workloads::{self, Desired, Row};
use wire::ids::ClusterId;
use wire::names::NamespaceName;
use wire::namespaces::NamespaceState;
use wire::page::{MAX_LIMIT, Page, PageQuery};
use wire::workloads::{Replicas, ServicePort, WorkloadKind, WorkloadState, WorkloadView};

use super::pods::{self, trouble};
use super::{Rollout, clusters, is_ours, kind_of, logs, namespaces, path_of};
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::clients::kube::{As, Cluster, Failure};
use crate::error::Result;

/// Lists the workloads of one namespace, or of all of an account.
pub async fn list(
    app: &App,
    caller: &Caller,
    subject: &Subject,
    namespace: Option<&str>,
    page: PageQuery,
) -> Result<Page<WorkloadView>> {
    let spaces = if let Some(name) = namespace {
        vec![namespaces::find(app, caller, name).await?]
    } else {
        let all = PageQuery { limit: Some(MAX_LIMIT), offset: None };
        store::namespaces::list(&app.db, Some(subject.account), None, all).await?.rows
    };
    let ids: Vec<_> = spaces.iter().map(|space| space.id).collect();
    let rows = workloads::of_namespaces(&app.db, &ids).await?;
    let total = rows.len() as u64;
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
    let mut data = Vec::new();
    // A cluster that did not answer for one is not waited for again for each of the others.
    let mut away = HashMap::new();
    for row in rows.into_iter().skip(offset).take(limit) {
        if let Some(space) = spaces.iter().find(|space| space.id == row.namespace_id) {
            data.push(seen_view(app, space, row, &mut away).await?);
        }
    }
    Ok(Page { data, total, limit: page.limit(), offset: page.offset() })
}

/// A workload as it is now.
pub(super) async fn view(app: &App, namespace: &Namespace, row: Row) -> Result<WorkloadView> {
    seen_view(app, namespace, row, &mut HashMap::new()).await
}

/// The same, with what those clusters said that did not answer.
async fn seen_view(
    app: &App,
    namespace: &Namespace,
    row: Row,
    away: &mut HashMap<ClusterId, String>,
) -> Result<WorkloadView> {
    let kind = kind_of(row.kind)?;
    let is_leaving = is_leaving(namespace, &row);
    let cluster = clusters::client_to_look(app, namespace.cluster_id).await;
    let seen = match (away.get(&namespace.cluster_id), cluster) {
        (Some(said), _) => Err(said.clone()),
        (None, Err(error)) => Err(error.detail),
        (None, Ok(cluster)) => {
            let seen = look(&cluster, namespace, &row, &path_of(kind, namespace, &row.name)).await;
            if let Err(failure @ Failure::Unreachable(_)) = &seen {
                away.insert(namespace.cluster_id, failure.to_string());
            }
            seen.map_err(|failure| failure.to_string())
        }
    };
    let mut view = WorkloadView {
        id: row.id,
        kind: row.kind,
        name: row.name,
        namespace: namespace.name.clone(),
        cluster: namespace.cluster.clone(),
        account: namespace.account.clone(),
        file: row.file,
        revision: row.revision,
        state: WorkloadState::Unknown,
        message: None,
        log_tail: None,
        replicas: None,
        images: Vec::new(),
        ports: Vec::new(),
        uid: row.uid,
        created_at: row.created_at,
        updated_at: row.updated_at,
    };
    match seen {
        Ok(seen) => {
            view.state = seen.state;
            view.message = seen.message;
            view.replicas = seen.replicas;
            view.images = seen.images;
            view.ports = seen.ports;
        }
        Err(said) => view.message = Some(said),
    }
    if is_leaving {
        view.state = WorkloadState::Deleting;
    }
    Ok(view)
}

/// The same, with what a container printed before it ended where that is why it is not as wished.
pub(super) async fn whole_view(app: &App, namespace: &Namespace, row: Row) -> Result<WorkloadView> {
    let kind = row.kind;
    let mut view = view(app, namespace, row).await?;
    let has_pods = matches!(
        kind,
        WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet | WorkloadKind::Job
    );
    if has_pods && matches!(view.state, WorkloadState::Failed | WorkloadState::Progressing) {
        let cluster = clusters::client_of(app, namespace.cluster_id).await?;
        // What is said already stays, whatever becomes of this.
        view.log_tail = logs::tail(&cluster, namespace, &view).await.unwrap_or_else(|failure| {
            tracing::debug!(%failure, "the log of a container that ended is not shown");
            None
        });
    }
    Ok(view)
}

/// What was seen of a workload.
pub(in crate::domain) struct Seen {
    pub(in crate::domain) state: WorkloadState,
    pub(in crate::domain) message: Option<String>,
    pub(in crate::domain) replicas: Option<Replicas>,
    pub(in crate::domain) images: Vec<String>,
    pub(in crate::domain) ports: Vec<ServicePort>,
}

async fn look(cluster: &Cluster, namespace: &Namespace, row: &Row, path: &str) -> Result<Seen, Failure> {
    let is_leaving = is_leaving(namespace, row);
    let Some(object) = object_of(cluster, namespace, row, path).await? else {
        let (state, message) = absent(is_leaving, row.uid.is_some());
        return Ok(Seen {
            state,
            message: message.map(str::to_owned),
            replicas: None,
            images: Vec::new(),
            ports: Vec::new(),
        });
    };
    let mut seen = seen(cluster, namespace, row.kind, &object).await?;
    if !is_leaving && !is_ours(&object, row.id) {
        seen.message =
            Some("its label was taken away or changed in the cluster: apply its file again".to_owned());
    }
    Ok(seen)
}

/// Whether a workload is to go, by itself or with all that is in its namespace.
fn is_leaving(namespace: &Namespace, row: &Row) -> bool {
    row.desired == Desired::Deleted || namespace.state == NamespaceState::Deleting
}

/// How a workload is that the cluster does not have, and what to do about it.
fn absent(is_leaving: bool, was_there: bool) -> (WorkloadState, Option<&'static str>) {
    match (is_leaving, was_there) {
        (true, _) => (WorkloadState::Deleting, None),
        (false, true) => (WorkloadState::Missing, Some("the cluster does not have it: apply its file again")),
        (false, false) => {
            let message = "it is not in the cluster yet; if that stays so, apply its file again";
            (WorkloadState::Progressing, Some(message))
        }
    }
}

/// How an object is that the cluster has.
pub(in crate::domain) async fn seen(
    cluster: &Cluster,
    namespace: &Namespace,
    kind: WorkloadKind,
    object: &Value,
) -> Result<Seen, Failure> {
    let (state, message, replicas) = match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
            let (is_done, replicas, message) = rollout(kind, object);
            if is_done {
                (WorkloadState::Ready, None, Some(replicas))
            } else {
                let (state, message) = why(cluster, namespace, object, message).await?;
                (state, Some(message), Some(replicas))
            }
        }
        WorkloadKind::Job => job(object),
        WorkloadKind::Ingress => (WorkloadState::Ready, hosts_of(object), None),
        _ => (WorkloadState::Ready, None, None),
    };
    Ok(Seen { state, message, replicas, images: images_of(object), ports: ports_of(kind, object) })
}

/// A workload's object, from what a watch keeps where it does. What a watch does not know of is asked for: it may be new.
async fn object_of(
    cluster: &Cluster,
    namespace: &Namespace,
    row: &Row,
    path: &str,
) -> Result<Option<Arc<Value>>, Failure> {
    let mirror = cluster.mirrors.of(row.kind.as_str());
    match mirror.and_then(|mirror| mirror.find(namespace.name.as_str(), &row.name)).flatten() {
        Some(object) => Ok(Some(object)),
        None => Ok(cluster.find(As::Tenant(&namespace.name), path).await?.map(Arc::new)),
    }
}

/// How the pods of a workload take an image. Only those that have it say whether it fails: the old ones may be the reason for
/// the new image.
pub(super) async fn rollout_of(
    cluster: &Cluster,
    namespace: &Namespace,
    kind: WorkloadKind,
    path: &str,
    container: &str,
    digest: &str,
) -> Result<Rollout, Failure> {
    let Some(object) = cluster.find(As::Tenant(&namespace.name), path).await? else {
        return Ok(Rollout::Superseded);
    };
    let has_image = |pod: &Value| {
        let containers = pod["containers"].as_array().into_iter().flatten();
        let mut of_name = containers.filter(|found| found["name"] == container);
        of_name.any(|found| found["image"].as_str().is_some_and(|image| image.ends_with(digest)))
    };
    if !has_image(&object["spec"]["template"]["spec"]) {
        return Ok(Rollout::Superseded);
    }
    let (is_done, _, message) = rollout(kind, &object);
    if is_done {
        return Ok(Rollout::Done);
    }
    for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
        if condition["type"] == "ReplicaFailure" && condition["status"] == "True" {
            let text = condition["message"].as_str().unwrap_or_default();
            return Ok(Rollout::Failing(format!("{message}: {}", plain_refusal(text))));
        }
    }
    let pods = pods::of(cluster, &namespace.name, &object["spec"]["selector"]["matchLabels"]).await?;
    let own = pods.iter().filter(|pod| {
        let mut containers = pod.spec.containers.iter().filter(|found| &*found.name == container);
        containers.any(|found| found.image.ends_with(digest))
    });
    Ok(match own.filter_map(|pod| trouble(pod)).min_by_key(|(severity, _)| *severity) {
        Some((0, text)) => Rollout::Failing(format!("{message}: {text}")),
        Some((_, text)) => Rollout::Going(format!("{message}: {text}")),
        None => Rollout::Going(message),
    })
}

/// Whether all pods are new and answer; how many there are; and what is missing, in words.
fn rollout(kind: WorkloadKind, object: &Value) -> (bool, Replicas, String) {
    let status = &object["status"];
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    let desired = match kind {
        WorkloadKind::DaemonSet => count("desiredNumberScheduled"),
        _ => object["spec"]["replicas"].as_u64().unwrap_or(1),
    };
    let (updated, ready, all) = match kind {
        WorkloadKind::DaemonSet => {
            (count("updatedNumberScheduled"), count("numberReady"), count("currentNumberScheduled"))
        }
        _ => (count("updatedReplicas"), count("readyReplicas"), count("replicas")),
    };
    let is_seen = status["observedGeneration"].as_u64() >= object["metadata"]["generation"].as_u64();
    let is_done = is_seen && updated == desired && ready == desired && all == desired;
    let message = if !is_seen {
        "the cluster has not looked at it yet".to_owned()
    } else if updated < desired {
        format!("{updated} of {desired} pods are of the new revision")
    } else if all > desired {
        format!("{} old pods are still there", all - desired)
    } else {
        format!("{ready} of {desired} pods answer")
    };
    (is_done, Replicas { desired, updated, ready }, message)
}

/// Why a rollout is not done: what the cluster says of it, else what the first pod that is in trouble says.
async fn why(
    cluster: &Cluster,
    namespace: &Namespace,
    object: &Value,
    message: String,
) -> Result<(WorkloadState, String), Failure> {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut state = WorkloadState::Progressing;
    for condition in conditions {
        let text = condition["message"].as_str().unwrap_or_default();
        if condition["type"] == "ReplicaFailure" && condition["status"] == "True" {
            return Ok((WorkloadState::Failed, format!("{message}: {}", plain_refusal(text))));
        }
        if condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded" {
            state = WorkloadState::Failed;
        }
    }
    let pods = pods::behind(cluster, &namespace.name, &object["spec"]["selector"]["matchLabels"]).await?;
    let trouble = pods.iter().filter_map(|pod| trouble(pod)).min_by_key(|(severity, _)| *severity);
    let warning = pods::warning_of(cluster, &namespace.name, &pods);
    let trouble = match (trouble, warning) {
        (Some((severity, text)), Some(warning)) if severity > 0 => {
            Some((severity, format!("{text}; {warning}")))
        }
        (None, Some(warning)) => Some((3, warning)),
        (trouble, _) => trouble,
    };
    Ok(match trouble {
        Some((0, text)) => (WorkloadState::Failed, format!("{message}: {text}")),
        Some((_, text)) => (state, format!("{message}: {text}")),
        None => (state, message),
    })
}

fn plain_refusal(text: &str) -> String {
    if text.contains("exceeded quota") {
        return format!("the namespace's quota is used up: {text}");
    }
    if text.contains("violates PodSecurity") {
        return format!("the cluster does not let such a pod in: {text}");
    }
    text.to_owned()
}

fn job(object: &Value) -> (WorkloadState, Option<String>, Option<Replicas>) {
    let status = &object["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let holds = |wanted: &str| {
        let mut conditions = conditions.clone();
        conditions.find(|condition| condition["type"] == wanted && condition["status"] == "True")
    };
    if let Some(failed) = holds("Failed") {
        let text = failed["message"].as_str().unwrap_or("it failed").to_owned();
        return (WorkloadState::Failed, Some(text), None);
    }
    if holds("Complete").is_some() {
        return (WorkloadState::Ready, None, None);
    }
    let done = status["succeeded"].as_u64().unwrap_or_default();
    let wanted = object["spec"]["completions"].as_u64().unwrap_or(1);
    (WorkloadState::Progressing, Some(format!("{done} of {wanted} runs have succeeded")), None)
}

fn images_of(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let pods = [&spec["template"]["spec"], &spec["jobTemplate"]["spec"]["template"]["spec"]];
    let containers = pods.into_iter().flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
    containers.filter_map(|container| container["image"].as_str().map(str::to_owned)).collect()
}

/// Under which names an ingress is to be reached, in words.
fn hosts_of(object: &Value) -> Option<String> {
    let hosts = object["spec"]["rules"].as_array().into_iter().flatten();
    let hosts: Vec<&str> = hosts.filter_map(|rule| rule["host"].as_str()).collect();
    (!hosts.is_empty()).then(|| format!("answers as {}", hosts.join(", ")))
}

fn ports_of(kind: WorkloadKind, object: &Value) -> Vec<ServicePort> {
    if kind != WorkloadKind::Service {
        return Vec::new();
    }
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    ports
        .filter_map(|port| {
            Some(ServicePort {
                name: port["name"].as_str().map(str::to_owned),
                address: object["spec"]["clusterIP"].as_str().map(str::to_owned),
                port: number(&port["port"])?,
                node_port: number(&port["nodePort"]),
            })
        })
        .collect()
}

/// What is kept of a kind in a namespace; none while nobody follows it.
pub(super) fn kept(cluster: &Cluster, kind: &str, namespace: &NamespaceName) -> Option<Vec<Arc<Value>>> {
    cluster.mirrors.of(kind)?.of_namespace(namespace.as_str())
}

/// The objects of a list, asked for in the name of the namespace's account.
async fn items(cluster: &Cluster, namespace: &NamespaceName, path: &str) -> Result<Vec<Value>, Failure> {
    let mut list = cluster.get(As::Tenant(namespace), path).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

/// The deployments of a namespace, also those that somebody made in the cluster itself.
pub async fn deployments(
    app: &App,
    caller: &Caller,
    namespace: &str,
) -> Result<Vec<(Value, Replicas, bool, String)>> {
    let row = namespaces::find(app, caller, namespace).await?;
    let cluster = clusters::client_to_look(app, row.cluster_id).await?;
    let kind = kind_of(WorkloadKind::Deployment)?;
    let found = match kept(&cluster, kind.name, &row.name) {
        Some(found) => found.iter().map(|object| Value::clone(object)).collect(),
        None => items(&cluster, &row.name, &kind.path(row.name.as_str())).await?,
    };
    Ok(found
        .into_iter()
        .map(|object| {
            let (is_done, replicas, message) = rollout(WorkloadKind::Deployment, &object);
            (object, replicas, is_done, message)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_is_asked_to_bring_back_what_is_being_deleted() {
        for was_there in [true, false] {
            assert_eq!(absent(true, was_there), (WorkloadState::Deleting, None));
        }
        assert_eq!(absent(false, true).0, WorkloadState::Missing);
        assert_eq!(absent(false, false).0, WorkloadState::Progressing);
    }

    #[test]
    fn a_rollout_is_done_when_all_pods_are_new_and_answer() {
        let deployment =
            |status: Value| json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status});

        let (done, ..) = rollout(
            WorkloadKind::Deployment,
            &deployment(
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}),
            ),
        );
        let (old, _, message) = rollout(
            WorkloadKind::Deployment,
            &deployment(
                json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}),
            ),
        );
        let (half, replicas, words) = rollout(
            WorkloadKind::Deployment,
            &deployment(
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}),
            ),
        );

        assert!(done && !old && !half);
        assert_eq!(message, "the cluster has not looked at it yet");
        assert_eq!((replicas.updated, words.as_str()), (1, "1 of 2 pods are of the new revision"));
    }
}
