//! Charts: what the repositories have, and what is in a version of one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::chart_repos::ChartRepoKind;
use crate::ids::ChartRepoId;
use crate::time::Timestamp;

/// A chart in a list: what its best version says, which is the greatest that is no pre-release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChartView {
    /// Its repository.
    pub repo_id: ChartRepoId,
    /// Its repository's name.
    pub repo: String,
    /// What its repository's charts are.
    #[serde(rename = "type")]
    pub kind: ChartRepoKind,
    /// Its name.
    pub name: String,
    /// Its best version.
    pub version: String,
    /// The version of what is in that.
    pub app_version: Option<String>,
    /// What it is for.
    pub description: String,
    /// What it is filed under.
    pub category: Option<String>,
    /// Words to find it by.
    pub keywords: Vec<String>,
    /// Its page.
    pub home: Option<String>,
    /// Where its code is.
    pub sources: Vec<String>,
    /// Who keeps it.
    pub maintainers: Vec<String>,
    /// Where its picture is on this server; none when it has none.
    pub icon: Option<String>,
    /// Which versions of Kubernetes it runs on.
    pub kube_version: Option<String>,
    /// Whether its maintainers no longer want it to be used.
    pub deprecated: bool,
    /// How many versions it has.
    pub version_count: u64,
    /// When its best version was made.
    pub published_at: Option<Timestamp>,
    /// When something new was last seen of it.
    pub updated_at: Timestamp,
}

/// Which charts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChartQuery {
    /// Rows at most; 20 by default, 2048 at most.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: Option<u64>,
    /// Only of this repository, by id or name.
    pub repo: Option<String>,
    /// Only with this name.
    pub name: Option<String>,
    /// Only those whose name, description or keywords hold every one of these words; some words are known in Chinese too.
    pub search: Option<String>,
    /// Only of repositories of this kind.
    #[serde(rename = "type")]
    #[param(rename = "type", value_type = Option<String>)]
    pub kind: Option<ChartRepoKind>,
    /// Only filed under this.
    pub category: Option<String>,
}

/// A version of a chart in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChartVersionView {
    /// The version.
    pub version: String,
    /// The version of what is in it.
    pub app_version: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// The SHA-256 of its package, if the index says it.
    pub digest: Option<String>,
    /// Where its package is.
    pub urls: Vec<String>,
    /// Whether its maintainers no longer want it to be used.
    pub deprecated: bool,
}

/// Which versions of a chart.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChartVersionQuery {
    /// Rows at most; 20 by default, 2048 at most.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: Option<u64>,
    /// Only versions in this range, as Helm writes it: `>=1.2 <2`, `^1.4`, `1.x || 3`. Pre-releases are in it only when it names one.
    pub range: Option<String>,
}

/// How a package was found to be the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DigestCheck {
    /// It has the digest that the index gives.
    Index,
    /// The index gives none; it is the one that was fetched the first time.
    FirstUse,
}

/// What is in a version of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChartContentView {
    /// Its repository.
    pub repo_id: ChartRepoId,
    /// Its repository's name.
    pub repo: String,
    /// The chart's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The version of what is in it.
    pub app_version: Option<String>,
    /// What it is for.
    pub description: String,
    /// `application` or `library`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Which versions of Kubernetes it runs on.
    pub kube_version: Option<String>,
    /// Its README, Markdown as it stands in the package; whoever shows it must make it harmless.
    pub readme: Option<String>,
    /// Its `values.yaml` with all comments.
    pub values: Option<String>,
    /// The JSON schema of its values.
    pub schema: Option<Value>,
    /// Charts that it needs.
    pub dependencies: Vec<ChartDependency>,
    /// What is in the package.
    pub files: Vec<ChartFile>,
    /// The SHA-256 of the package.
    pub digest: String,
    /// How the package was found to be the right one.
    pub digest_check: DigestCheck,
    /// Whether the package under this version was another one when it was first fetched here.
    pub digest_changed: bool,
}

/// A chart that another one needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChartDependency {
    /// Its name.
    pub name: String,
    /// Which versions.
    pub version: String,
    /// Where it is.
    pub repository: Option<String>,
    /// The value that switches it on or off.
    pub condition: Option<String>,
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChartFile {
    /// Its path below the chart's folder.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
}
