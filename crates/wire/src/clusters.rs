//! Kubernetes clusters, and their nodes.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ids::ClusterId;
use crate::names::ClusterName;
use crate::secret::Secret;
use crate::time::Timestamp;

/// Longest kubeconfig in bytes.
pub const KUBECONFIG_BYTES_MAX: usize = 256 << 10;

/// Adds a cluster (admin): either by a kubeconfig, or the one in which the server itself runs.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterCreate {
    /// Its name here.
    pub name: ClusterName,
    /// A kubeconfig as YAML or JSON with all certificates and keys in it: no files, no programs. At most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    #[schema(value_type = Option<String>, format = Password)]
    pub kubeconfig: Option<Secret>,
    /// Which context of the kubeconfig; its current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The cluster in which the server runs, with the service account of its pod.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_cluster: bool,
    /// The addresses of the cluster's pods (CIDR, eight at most). When it is not given, what the nodes say of it. Whoever calls
    /// from elsewhere may reach ports that accounts publish; without any range nobody may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_ranges: Vec<String>,
    /// Whether namespaces are made here when nobody names a cluster; the first cluster is that anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
}

#[expect(clippy::ref_option, reason = "serde hands over what the field is")]
fn exposed<S: serde::Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => Secret::serialize_exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Changes a cluster (admin).
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterUpdate {
    /// `true` makes it the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// Another kubeconfig for the same cluster, when credentials or the address have changed.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    #[schema(value_type = Option<String>, format = Password)]
    pub kubeconfig: Option<Secret>,
    /// Which context of it; its current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// Whether a cluster can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// Its API server answers and knows us.
    Ready,
    /// Its API server does not answer. What runs there goes on; what it does is not known.
    Unreachable,
    /// Its API server does not take our credentials any more.
    Refused,
}

/// A cluster.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The cluster.
    pub id: ClusterId,
    /// Its name here.
    pub name: ClusterName,
    /// Whether namespaces are made here when nobody names a cluster.
    pub is_default: bool,
    /// Whether it can be used.
    pub state: ClusterState,
    /// Since when.
    pub state_since: Timestamp,
    /// What is wrong, in plain words.
    pub message: Option<String>,
    /// What its API server said of its version last.
    pub version: Option<String>,
    /// The addresses of its pods, as far as they are known.
    pub pod_ranges: Vec<String>,
    /// Its API server's address; for admins.
    pub server: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A node of a cluster. What would help to attack it is for admins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub name: String,
    /// `Ready`, `NotReady` or `Unknown`.
    pub status: String,
    /// Why it is not ready, if so.
    pub message: Option<String>,
    /// Whether pods are put on it.
    pub is_schedulable: bool,
    /// Its roles, such as `control-plane`.
    pub roles: Vec<String>,
    /// Processors that pods can have, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory that pods can have, in bytes.
    pub memory_bytes: u64,
    /// Pods that it takes.
    pub pods: u64,
    /// Graphics processors that pods can have, by the name of the resource.
    pub gpus: std::collections::BTreeMap<String, u64>,
    /// How many of them pods have; nothing where that is not known.
    #[serde(default)]
    pub gpus_used: std::collections::BTreeMap<String, u64>,
    /// Its address; for admins.
    pub address: Option<String>,
    /// Version of its kubelet; for admins.
    pub kubelet_version: Option<String>,
    /// Its operating system and kernel; for admins.
    pub os: Option<String>,
}

/// Which cluster's nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct NodeQuery {
    /// Only those of this cluster.
    pub cluster: Option<ClusterName>,
}
