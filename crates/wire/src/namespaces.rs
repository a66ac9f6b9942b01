//! Namespaces: an account's rooms in Kubernetes clusters.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ids::{AccountId, NamespaceId};
use crate::names::{AccountName, ClusterName, NamespaceName};
use crate::time::Timestamp;

/// Makes a namespace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceCreate {
    /// Its name without the account; the cluster knows it as `account-name`.
    pub name: NamespaceName,
    /// In which cluster; the default one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Whose; the caller's when not given, somebody else's for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
}

/// Where a namespace is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceState {
    /// It is wished, and the cluster does not have all of it yet.
    Creating,
    /// It can be used.
    Ready,
    /// The cluster has one of this name that is not ours, or says no for good.
    Failed,
    /// It is being deleted: what runs in it first.
    Deleting,
}

/// A namespace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NamespaceView {
    /// The namespace.
    pub id: NamespaceId,
    /// As the cluster knows it: `account-name`.
    pub name: NamespaceName,
    /// Without the account.
    pub short_name: NamespaceName,
    /// In which cluster.
    pub cluster: ClusterName,
    /// Whose.
    pub account_id: AccountId,
    /// Whose, by name.
    pub account: AccountName,
    /// Where it is.
    pub state: NamespaceState,
    /// Since when.
    pub state_since: Timestamp,
    /// What is wrong, or what a deletion waits for, in plain words.
    pub message: Option<String>,
    /// The id that the cluster gave it.
    pub uid: Option<String>,
    /// When it was wished.
    pub created_at: Timestamp,
}

/// How much of something there may be in a namespace, and is, as the cluster counts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamespaceQuotaView {
    /// What is counted, such as `requests.memory` or `pods`.
    pub resource: String,
    /// How much there is, as Kubernetes writes it.
    pub used: String,
    /// How much there may be.
    pub limit: String,
}

/// Something that the cluster tells of what is in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamespaceEventView {
    /// When it happened last, as the cluster says.
    pub at: Option<String>,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Why, in one word, such as `FailedScheduling`.
    pub reason: String,
    /// What, in the cluster's own words.
    pub message: String,
    /// Of which kind what it happened to is, such as `Pod`.
    pub kind: String,
    /// And its name.
    pub name: String,
    /// How often it happened.
    pub count: u64,
}

/// Asks for a kubeconfig for one's own `kubectl`, bound to a namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KubeconfigCreate {
    /// Seconds until it ends: 600 to 86,400; an hour by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A kubeconfig that may do in its namespace what its account may, and nothing elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KubeconfigCreated {
    /// The file, for `kubectl --kubeconfig`.
    pub kubeconfig: String,
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// When it ends; the cluster may have chosen an earlier time.
    pub expires_at: String,
}

/// Which namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct NamespaceQuery {
    /// Only of this cluster.
    pub cluster: Option<ClusterName>,
    /// Only of this account; for admins.
    pub account: Option<AccountName>,
    /// Those of all accounts; for admins.
    #[serde(default)]
    pub all: bool,
}
