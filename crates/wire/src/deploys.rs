//! Deploys: what is brought up to date with each image that a pipeline makes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Seconds that new pods or a new container may take to come up, when nobody says otherwise.
pub const DEPLOY_SECS: u32 = 300;

/// What is brought up to date: a workload of a cluster, or a container of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeployTarget {
    /// A workload of a cluster, `deployment/NAME`, `statefulset/NAME` or (for admins) `daemonset/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "deployment/web")]
    pub workload: Option<String>,
    /// The workload's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The container in its pods; the one that has an image of the same repository, or the only one, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_container: Option<String>,
    /// A container, by its name: it is made anew from the image, with all else that it has. Volumes stay; what it wrote elsewhere goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "web")]
    pub container: Option<String>,
    /// Seconds that it may take to come up; then it goes back to the image that it had. 300 when absent, 3600 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u32>,
}

/// How bringing something up to date goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployProgress {
    /// What is brought up to date.
    pub target: DeployTarget,
    /// The image that it had before, to which it goes back when the new one does not come up.
    pub before: String,
    /// Why it goes back, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_because: Option<String>,
}
