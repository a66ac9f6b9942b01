//! Releases: charts that were installed into namespaces, and what is done to them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::builds::OperationState;
use crate::chart_repos::ChartRepoKind;
use crate::ids::{ChartRepoId, ReleaseId, ReleaseOperationId};
use crate::names::{AccountName, ClusterName, NamespaceName};
use crate::time::Timestamp;
use crate::workloads::{Replicas, ServicePort, WorkloadKind, WorkloadState};

/// Longest name of a release, as Helm has it.
pub const NAME_CHARS_MAX: usize = 53;
/// Most bytes of the values of one release.
pub const VALUES_BYTES_MAX: usize = 256 << 10;

/// Where a release is, in Helm's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseState {
    /// It is being installed. Written with the wish.
    PendingInstall,
    /// It gets another chart or other values. Written with the wish.
    PendingUpgrade,
    /// It goes back to an earlier revision, or is brought out of a state in which it is stuck. Written with the wish.
    PendingRollback,
    /// It is being removed; its row goes when nothing is left of it. Written with the wish.
    Uninstalling,
    /// What its revision says is there. Written when Helm has said so.
    Deployed,
    /// What was tried last did not come about; `message` says why.
    Failed,
}

/// What is done to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseAction {
    /// It is made.
    Install,
    /// It gets another chart or other values.
    Upgrade,
    /// It goes back to an earlier revision.
    Rollback,
    /// It is removed.
    Uninstall,
    /// It is brought out of a pending state that nobody works on.
    Recover,
}

/// A release.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// The release.
    pub id: ReleaseId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub account: AccountName,
    /// In which cluster.
    pub cluster: ClusterName,
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// What its chart is: of containers or of virtual machines.
    #[serde(rename = "type")]
    pub kind: ChartRepoKind,
    /// The chart's repository.
    pub repo_id: Option<ChartRepoId>,
    /// The chart's repository, by the name that it had.
    pub repo: String,
    /// The chart.
    pub chart: String,
    /// The chart's version.
    pub chart_version: String,
    /// The version of what the chart installs.
    pub app_version: Option<String>,
    /// Helm's number of what is there; 0 before the first.
    pub revision: u64,
    /// Where it is.
    pub state: ReleaseState,
    /// Why it is not as wished, for programs: `timeout`, `helm_failed`, `release_pending`, `cancelled`, `lost` …
    pub reason: Option<String>,
    /// Why it is not as wished, in plain words.
    pub message: Option<String>,
    /// What was done to it last, and perhaps still goes on.
    pub operation: Option<ReleaseOperationView>,
    /// When it was wished.
    pub created_at: Timestamp,
    /// When something was last done to it.
    pub updated_at: Timestamp,
}

/// A release with what is there of it now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseStatusView {
    /// The release.
    #[serde(flatten)]
    pub release: ReleaseView,
    /// What it consists of, as the cluster has it now.
    pub resources: Vec<ReleaseResource>,
    /// Whether all of it is there and answers; none when the cluster does not say.
    pub is_ready: Option<bool>,
    /// What the chart's author says to whoever installed it.
    pub notes: Option<String>,
}

/// One object of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseResource {
    /// What it is.
    pub kind: WorkloadKind,
    /// What it is called.
    pub name: String,
    /// When Helm makes it, as in `pre-install`; none for what stays as long as the release.
    pub hook: Option<String>,
    /// Where it is.
    pub state: WorkloadState,
    /// Why it is not as wished, in plain words.
    pub message: Option<String>,
    /// Pods, for what has some.
    pub replicas: Option<Replicas>,
    /// Addresses, for services.
    pub ports: Vec<ServicePort>,
}

/// Which releases to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReleaseQuery {
    /// Rows at most; 20 by default, 2048 at most.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: Option<u64>,
    /// Only of this namespace, by id or name.
    pub namespace: Option<String>,
    /// Only of charts of this repository, by id or name.
    pub repo: Option<String>,
    /// Only of charts of this kind.
    #[serde(rename = "type")]
    pub kind: Option<ChartRepoKind>,
    /// Only whose name or chart has this in it.
    pub search: Option<String>,
    /// Only of this account; others than one's own for admins.
    pub account: Option<AccountName>,
    /// Of every account; for admins.
    #[serde(default)]
    pub all: bool,
}

/// Installs a chart.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseInstall {
    /// The release's name: 1 to 53 of `a-z`, `0-9` and `-`.
    #[serde(alias = "release_name")]
    pub name: String,
    /// The chart, as `repository/chart`; only the chart when `repo` is given.
    #[serde(alias = "chart_name")]
    #[schema(example = "bitnami/nginx")]
    pub chart: String,
    /// The chart's repository, by id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The chart's version; the best one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// In which namespace, by id or name; the account's only one when not given. Not for `internal` charts, which have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Values that differ from the chart's, as YAML; 256 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// The same as JSON; not together with `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub values_json: Option<serde_json::Map<String, serde_json::Value>>,
    /// Ends only when everything is there and answers; yes when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Seconds that each step may take: 10 to 3,600; 300 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u64>,
    /// Leaves out the chart's definitions of kinds (`crds/`), which accounts cannot make.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_crds: bool,
    /// Only says what would come of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Gives a release another chart or other values.
#[expect(clippy::struct_excessive_bools, reason = "Helm's own switches, by its names")]
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseUpgrade {
    /// Another chart than the current one, as `repository/chart`.
    #[serde(default, alias = "chart_name", skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// The chart's version; the current one when not given, or of another chart the best one. `latest` for the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Values that differ from the chart's, as YAML. The current ones stay when none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// The same as JSON; not together with `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub values_json: Option<serde_json::Map<String, serde_json::Value>>,
    /// Puts the given values over the current ones instead of in their place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse_values: bool,
    /// Begins from the chart's own values instead of the current ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset_values: bool,
    /// Ends only when everything is there and answers; yes when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Seconds that each step may take: 10 to 3,600; 300 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u64>,
    /// Leaves out the chart's definitions of kinds (`crds/`), which accounts cannot make.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_crds: bool,
    /// Only says what would come of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Goes back to an earlier revision.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRollback {
    /// To which; the one before the current one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Ends only when everything is there and answers; yes when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Seconds that each step may take: 10 to 3,600; 300 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u64>,
    /// Only says what would come of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What would come of an installation, an upgrade or a rollback.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleasePlan {
    /// The release's name.
    pub name: String,
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// The chart.
    pub chart: String,
    /// The chart's version.
    pub chart_version: String,
    /// What would be there, as YAML: what was checked, and nothing else.
    pub manifest: String,
    /// What would change, as a unified diff; empty when nothing would. What secrets hold is left out.
    pub diff: String,
    /// What would be added, changed and removed.
    pub changes: Vec<ReleaseChange>,
    /// What the chart's author says to whoever installs it.
    pub notes: Option<String>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// What would happen to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseChange {
    /// What it is.
    pub kind: WorkloadKind,
    /// What it is called.
    pub name: String,
    /// `added`, `changed`, `removed` or `unchanged`.
    pub change: String,
}

/// Something that is done to a release: long work with a log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseOperationView {
    /// The operation.
    pub id: ReleaseOperationId,
    /// To which release; it may be gone.
    pub release_id: ReleaseId,
    /// The release's name.
    pub release: String,
    /// As the cluster knows the namespace.
    pub namespace: NamespaceName,
    /// What is done.
    pub action: ReleaseAction,
    /// How it goes.
    pub state: OperationState,
    /// Why it ended badly, for programs.
    pub reason: Option<String>,
    /// Why it ended badly, in plain words.
    pub message: Option<String>,
    /// The chart, as `chart-version`.
    pub chart: String,
    /// The revision that came of it, or to which it goes back.
    pub revision: Option<u64>,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
}

/// One revision of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseRevisionView {
    /// Helm's number.
    pub revision: u64,
    /// Helm's word: `deployed`, `superseded`, `failed`, `pending-upgrade` …
    pub status: String,
    /// The chart, as `chart-version`.
    pub chart: String,
    /// The version of what the chart installs.
    pub app_version: Option<String>,
    /// What was done, in Helm's words.
    pub description: String,
    /// When, as Helm writes it.
    pub updated: String,
}

/// Which revision to read.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReleaseRevisionQuery {
    /// Which revision; the newest when not given.
    pub revision: Option<u64>,
}

/// What a revision consists of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseManifestView {
    /// Everything that stays as long as the release, as YAML.
    pub manifest: String,
    /// What is made at certain moments alone, as YAML.
    pub hooks: String,
    /// What the chart's author says to whoever installed it.
    pub notes: Option<String>,
}

/// The values of a revision.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseValuesView {
    /// What differs from the chart's values, as YAML; empty for nothing.
    pub values: String,
    /// The same as JSON.
    #[schema(value_type = Object)]
    pub values_json: serde_json::Value,
}

/// Which operations to list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReleaseOperationQuery {
    /// Rows at most; 20 by default, 2048 at most.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: Option<u64>,
    /// Only of this release.
    pub release_id: Option<ReleaseId>,
}
