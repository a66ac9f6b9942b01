//! What Helm keeps in the cluster of a release: a secret for each revision, whose labels say what became of it.

use serde_json::Value;
use store::namespaces::Row as Namespace;
use wire::ids::{ReleaseId, ReleaseOperationId};

use crate::clients::kube::{As, Cluster, Failure, OPERATION_LABEL, RELEASE_LABEL};

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its number.
    pub(crate) revision: u64,
    /// Helm's word for what became of it.
    pub(crate) status: String,
    /// The release of ours to which it belongs.
    pub(crate) release: Option<ReleaseId>,
    /// The operation of ours that made it; a rollback keeps that of the revision it goes back to.
    pub(crate) operation: Option<ReleaseOperationId>,
    name: String,
    uid: Option<String>,
}

impl Record {
    /// Whether Helm works on it, or was stopped while it did.
    pub(crate) fn is_pending(&self) -> bool {
        self.status.starts_with("pending-")
    }
}

fn path(namespace: &Namespace) -> String {
    format!("/api/v1/namespaces/{}/secrets", namespace.name)
}

/// The revisions of a release that the cluster has, oldest first.
pub(crate) async fn of_release(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &str,
) -> Result<Vec<Record>, Failure> {
    let path = format!("{}?labelSelector=owner%3Dhelm%2Cname%3D{name}", path(namespace));
    let found = cluster.metadata(As::Tenant(&namespace.name), &path).await?;
    let mut records: Vec<Record> = found.iter().filter_map(record).collect();
    records.sort_by_key(|record| record.revision);
    Ok(records)
}

fn record(metadata: &Value) -> Option<Record> {
    let label = |name: &str| metadata["labels"][name].as_str();
    Some(Record {
        revision: label("version")?.parse().ok()?,
        status: label("status").unwrap_or_default().to_owned(),
        release: label(RELEASE_LABEL).and_then(|id| id.parse().ok()),
        operation: label(OPERATION_LABEL).and_then(|id| id.parse().ok()),
        name: metadata["name"].as_str()?.to_owned(),
        uid: metadata["uid"].as_str().map(str::to_owned),
    })
}

/// Forgets a revision on which a Helm worked that is no more: without that Helm would do nothing to the release for ever.
pub(crate) async fn forget(cluster: &Cluster, namespace: &Namespace, record: &Record) -> Result<(), Failure> {
    let path = format!("{}/{}", path(namespace), record.name);
    cluster.delete(As::Tenant(&namespace.name), &path, record.uid.as_deref()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_from_its_labels() {
        let release = ReleaseId(uuid::Uuid::now_v7());
        let metadata = json!({"name": "sh.helm.release.v1.web.v3", "uid": "u", "labels": {
            "owner": "helm", "name": "web", "version": "3", "status": "pending-upgrade", RELEASE_LABEL: release.to_string()}});

        let found = record(&metadata).unwrap();

        assert_eq!((found.revision, found.release, found.operation), (3, Some(release), None));
        assert!(found.is_pending());
        assert_eq!(record(&json!({"name": "x", "labels": {}})), None);
    }
}
