//! Workloads: what accounts run and keep in their namespaces, and the pods that come of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::WorkloadId;
use crate::names::{AccountName, ClusterName, NamespaceName};
use crate::time::Timestamp;

/// Subprotocol of the WebSocket that is a connection to a port of a pod.
pub const PORT_FORWARD_PROTOCOL: &str = "longshore.port-forward.v1";

/// The kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum WorkloadKind {
    /// Pods that are alike and replaced one after the other.
    Deployment,
    /// Pods with names and disks of their own.
    StatefulSet,
    /// A pod on every node; for admins.
    DaemonSet,
    /// Pods that run to an end.
    Job,
    /// Jobs by the clock.
    CronJob,
    /// An address for pods.
    Service,
    /// Configuration.
    ConfigMap,
    /// Secrets.
    Secret,
    /// A disk.
    PersistentVolumeClaim,
    /// Names by which services are reached from outside.
    Ingress,
}

impl WorkloadKind {
    /// Its name, as in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Ingress => "Ingress",
        }
    }
}

impl std::str::FromStr for WorkloadKind {
    type Err = crate::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "`deployment`, `statefulset`, `daemonset`, `job`, `cronjob`, `service`, `configmap`, `secret`, `pvc` or `ingress`";
        Ok(match text.to_ascii_lowercase().as_str() {
            "deployment" | "deployments" | "deploy" => Self::Deployment,
            "statefulset" | "statefulsets" | "sts" => Self::StatefulSet,
            "daemonset" | "daemonsets" | "ds" => Self::DaemonSet,
            "job" | "jobs" => Self::Job,
            "cronjob" | "cronjobs" | "cj" => Self::CronJob,
            "service" | "services" | "svc" => Self::Service,
            "configmap" | "configmaps" | "cm" => Self::ConfigMap,
            "secret" | "secrets" => Self::Secret,
            "persistentvolumeclaim" | "persistentvolumeclaims" | "pvc" => Self::PersistentVolumeClaim,
            "ingress" | "ingresses" | "ing" => Self::Ingress,
            _ => return Err(crate::names::NameError::new("kind", text, RULE)),
        })
    }
}

/// Applies a file of manifests.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadApply {
    /// The file's content: one or several YAML documents, 256 KiB at most.
    pub manifest: String,
    /// The file's name, under which it is kept; made of the workload's name when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// In which namespace; what the file says, or the account's only one, when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only says what would come of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What became of one document.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkloadApplied {
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// What it is called.
    pub name: String,
    /// The id that the cluster gave it.
    pub uid: Option<String>,
    /// What it is.
    pub kind: WorkloadKind,
    /// Which revision of it this is, from 1; none of a dry run.
    pub revision: Option<u64>,
    /// Pods that are wished; none for what has none.
    pub replicas: Option<u64>,
    /// The images as the nodes pull them.
    pub images: Vec<String>,
    /// The file under which it is kept.
    pub file: String,
    /// `created`, `updated` or `unchanged`; of a dry run what would be.
    pub status: String,
    /// What the cluster warns of.
    pub warnings: Vec<String>,
    /// What is different in the cluster afterwards, or would be: at most 200 fields, and none for what is new.
    #[serde(default)]
    pub changes: Vec<FieldChange>,
}

/// A field of an object that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Where it is, such as `spec.template.spec.containers[web].image`: elements of lists by their name, else by their number.
    pub path: String,
    /// What was there; none for what is new. Long values are cut, and those of secrets are `***`.
    pub before: Option<String>,
    /// What is there then; none for what is taken away.
    pub after: Option<String>,
}

/// Where a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadState {
    /// As wished.
    Ready,
    /// On its way.
    Progressing,
    /// It will not become as wished without somebody's doing.
    Failed,
    /// It is being deleted.
    Deleting,
    /// The cluster does not have it any more: somebody deleted it there.
    Missing,
    /// The cluster does not answer.
    Unknown,
}

/// A workload.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkloadView {
    /// The workload.
    pub id: WorkloadId,
    /// What it is.
    pub kind: WorkloadKind,
    /// What it is called.
    pub name: String,
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// In which cluster.
    pub cluster: ClusterName,
    /// Whose.
    pub account: AccountName,
    /// The file under which it is kept.
    pub file: String,
    /// Its current revision.
    pub revision: u64,
    /// Where it is.
    pub state: WorkloadState,
    /// Why it is not as wished, in plain words.
    pub message: Option<String>,
    /// The last lines that a container printed before it ended, when that is why; only where a single workload is asked for.
    pub log_tail: Option<String>,
    /// Pods, for what has some.
    pub replicas: Option<Replicas>,
    /// The images as the nodes pull them.
    pub images: Vec<String>,
    /// Addresses, for services: `name`, `cluster_ip:port` and the port of the nodes.
    pub ports: Vec<ServicePort>,
    /// The id that the cluster gave it.
    pub uid: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// How many pods there are and shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replicas {
    /// Wished.
    pub desired: u64,
    /// Of the current revision.
    pub updated: u64,
    /// That answer.
    pub ready: u64,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePort {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The service's own address in the cluster.
    pub address: Option<String>,
    /// The port there.
    pub port: u16,
    /// The port on every node, if it is published.
    pub node_port: Option<u16>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// One word, as `kubectl` has it: `Running`, `Pending`, `CrashLoopBackOff` …
    pub status: String,
    /// Why it does not run, in plain words.
    pub message: Option<String>,
    /// Containers that answer, of how many.
    pub ready: String,
    /// How often its containers were started again.
    pub restarts: u64,
    /// Its address.
    pub ip: Option<String>,
    /// Where it runs.
    pub node: Option<String>,
    /// Its images.
    pub images: Vec<String>,
    /// Its containers.
    pub containers: Vec<String>,
    /// When it was made, as the cluster writes it.
    pub created_at: Option<String>,
}

/// A file that was applied.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevisionView {
    /// Its number, from 1.
    pub revision: u64,
    /// The file's name.
    pub file: String,
    /// What was in it.
    pub manifest: String,
    /// When it was applied.
    pub created_at: Timestamp,
}

/// Goes back to an earlier revision.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadRollback {
    /// To which; the one before the current one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// Changes how many pods there are.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadScale {
    /// How many: 0 to 100.
    pub replicas: u64,
}
