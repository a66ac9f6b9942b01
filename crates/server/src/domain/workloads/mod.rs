//! Workloads: what accounts run in their namespaces. A file is understood, tried in the cluster without effect, stored as a
//! revision, and then applied in the name of the namespace's own account, so that the cluster has the last word.
//!
//! - `apply`: from a file to the cluster; `changes`: what that changes; `look`: what is there, and why it is not as wished;
//!   `pods`: the same of pods; `logs`: what it prints; `files`: the files on disk; `rollout`: another image

mod apply;
mod changes;
mod files;
mod logs;
mod look;
mod pods;
mod rollout;

use serde_json::Value;
use store::namespaces::Row as Namespace;
use store::workloads::{self, Row};
use wire::ids::{AccountId, WorkloadId};
use wire::namespaces::NamespaceState;
use wire::workloads::{RevisionView, WorkloadKind, WorkloadView};

pub(super) use apply::resolved;
pub use apply::{Application, Mode, apply, rollback, settle};
pub use logs::{LogQuery, log};
pub(super) use look::seen;
pub use look::{deployments, list};
pub use pods::pods;
pub(super) use pods::{behind as pods_behind, is_name};
pub use rollout::{Rollout, image, rollout, set_image};

use super::audit::{self, Event};
use super::manifests::{self, Kind};
use super::{clusters, namespaces};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, Cluster};
use crate::error::{Error, Result};

/// Says which row of ours an object belongs to.
const WORKLOAD_LABEL: &str = "longshore.io/workload";

pub(super) fn kind_of(kind: WorkloadKind) -> Result<&'static Kind> {
    manifests::kind(kind.as_str()).ok_or_else(|| Error::internal("a kind of workload has no description"))
}

/// The path of a workload's object.
fn path_of(kind: &Kind, namespace: &Namespace, name: &str) -> String {
    format!("{}/{name}", kind.path(namespace.name.as_str()))
}

/// Whether an object says that it is a workload of ours.
fn is_ours(object: &Value, id: WorkloadId) -> bool {
    object["metadata"]["labels"][WORKLOAD_LABEL].as_str() == Some(id.to_string().as_str())
}

/// A workload with its namespace. Somebody else's does not exist.
async fn find(app: &App, caller: &Caller, id: WorkloadId) -> Result<(Row, Namespace)> {
    let missing = || Error::not_found("workload", id);
    let row = workloads::get(&app.db, id).await?.ok_or_else(missing)?;
    let namespace = store::namespaces::get(&app.db, row.namespace_id).await?.ok_or_else(missing)?;
    if !caller.may_act_for(namespace.account_id) {
        return Err(missing());
    }
    Ok((row, namespace))
}

/// A workload by kind and name in one of the caller's namespaces.
pub async fn named(
    app: &App,
    caller: &Caller,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
) -> Result<WorkloadId> {
    let namespace = namespaces::find(app, caller, namespace).await?;
    let found = workloads::named(&app.db, namespace.id, kind, name).await?;
    let found = found.ok_or_else(|| Error::not_found(&kind.as_str().to_ascii_lowercase(), name))?;
    Ok(found.id)
}

/// One workload, as it is now.
pub async fn get(app: &App, caller: &Caller, id: WorkloadId) -> Result<WorkloadView> {
    let (row, namespace) = find(app, caller, id).await?;
    look::whole_view(app, &namespace, row).await
}

/// The revisions that are kept of a workload, newest first.
pub async fn revisions(app: &App, caller: &Caller, id: WorkloadId) -> Result<Vec<RevisionView>> {
    let (row, _) = find(app, caller, id).await?;
    let found = workloads::revisions(&app.db, row.id).await?;
    let view = |revision: workloads::Revision| RevisionView {
        revision: revision.revision,
        file: revision.file,
        manifest: revision.content,
        created_at: revision.created_at,
    };
    Ok(found.into_iter().map(view).collect())
}

/// Deletes a workload and what came of it. What stands in its place but is not ours stays.
pub async fn delete(app: &App, caller: &Caller, id: WorkloadId) -> Result<()> {
    let (row, namespace) = find(app, caller, id).await?;
    let kind = kind_of(row.kind)?;
    let cluster = clusters::client_of(app, namespace.cluster_id).await?;
    let found = cluster.find(As::Tenant(&namespace.name), &path_of(kind, &namespace, &row.name)).await?;
    if found.as_ref().is_some_and(|found| !is_ours(found, row.id)) {
        return Err(not_ours(kind, &row.name));
    }
    let tx = app.db.begin().await?;
    workloads::set_deleted(&tx, row.id).await?;
    record(app, caller, &tx, "workload.delete", kind, &namespace, &row.name).await?;
    tx.commit().await?;
    remove(app, &cluster, &namespace, &row).await
}

fn not_ours(kind: &Kind, name: &str) -> Error {
    let detail = format!(
        "the {} `{name}` in the cluster is not the one that was applied here: its label is gone or another's",
        kind.name
    );
    Error::conflict("not_ours", detail).hint("apply its file again to take it over")
}

/// Takes a workload that is to go out of the cluster, and then its row.
async fn remove(app: &App, cluster: &Cluster, namespace: &Namespace, row: &Row) -> Result<()> {
    let kind = kind_of(row.kind)?;
    let (who, path) = (As::Tenant(&namespace.name), path_of(kind, namespace, &row.name));
    if let Some(found) = cluster.find(who, &path).await?.filter(|found| is_ours(found, row.id)) {
        cluster.delete(who, &path, found["metadata"]["uid"].as_str()).await?;
    }
    workloads::delete(&app.db, row.id).await?;
    Ok(())
}

/// Changes how many pods a workload has, until its file is applied again.
pub async fn scale(app: &App, caller: &Caller, id: WorkloadId, replicas: u64) -> Result<WorkloadView> {
    if replicas > 100 {
        return Err(Error::invalid("replicas", "`replicas` is 0 to 100"));
    }
    let change = serde_json::json!({"spec": {"replicas": replicas}});
    change_object(
        app,
        caller,
        id,
        "workload.scale",
        &[WorkloadKind::Deployment, WorkloadKind::StatefulSet],
        &change,
    )
    .await
}

/// Replaces all pods of a workload by new ones, one after the other.
pub async fn restart(app: &App, caller: &Caller, id: WorkloadId) -> Result<WorkloadView> {
    let stamp = serde_json::to_value(app.now()).map_err(Error::internal)?;
    let annotations = serde_json::json!({"kubectl.kubernetes.io/restartedAt": stamp});
    let change = serde_json::json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];
    change_object(app, caller, id, "workload.restart", &kinds, &change).await
}

async fn change_object(
    app: &App,
    caller: &Caller,
    id: WorkloadId,
    action: &str,
    kinds: &[WorkloadKind],
    change: &Value,
) -> Result<WorkloadView> {
    let (row, namespace) = find(app, caller, id).await?;
    let kind = kind_of(row.kind)?;
    if !kinds.contains(&row.kind) {
        return Err(Error::conflict(
            "wrong_kind",
            format!("a {} has no pods that this could change", kind.name),
        ));
    }
    let cluster = usable(app, &namespace).await?;
    let (who, path) = (As::Tenant(&namespace.name), path_of(kind, &namespace, &row.name));
    let found = cluster.find(who, &path).await?;
    let Some(found) = found else {
        return Err(Error::conflict(
            "missing",
            format!("the cluster does not have the {} `{}`", kind.name, row.name),
        )
        .hint("apply its file again"));
    };
    if !is_ours(&found, row.id) {
        return Err(not_ours(kind, &row.name));
    }
    record(app, caller, &app.db, action, kind, &namespace, &row.name).await?;
    cluster.merge(who, &path, change).await?;
    look::view(app, &namespace, row).await
}

/// The cluster of a namespace in which something can be done.
pub(super) async fn usable(app: &App, namespace: &Namespace) -> Result<Cluster> {
    if namespace.state != NamespaceState::Ready {
        let detail = format!("the namespace `{}` cannot be used now", namespace.name);
        return Err(Error::conflict("namespace_not_ready", detail)
            .hint(format!("see `longshore namespace show {}`", namespace.name)));
    }
    clusters::client_of(app, namespace.cluster_id).await
}

async fn record(
    app: &App,
    caller: &Caller,
    conn: &dyn store::Conn,
    action: &str,
    kind: &Kind,
    namespace: &Namespace,
    name: &str,
) -> Result<()> {
    let target = format!("{}/{}/{name}", namespace.name, kind.name);
    let acting_for: Option<AccountId> = Some(namespace.account_id);
    audit::record(app, caller, conn, Event { action, target: &target, acting_for }).await
}
