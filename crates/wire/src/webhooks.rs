//! Webhooks that git servers send: what came, and what was answered.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{DeliveryId, RunId};
use crate::time::Timestamp;

/// A delivery whose signature was right.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// The delivery.
    pub id: DeliveryId,
    /// Who sent it: `gitea`, `github`, `gitlab`, `bitbucket`.
    pub provider: String,
    /// The provider's name of the event.
    #[schema(example = "push")]
    pub event: String,
    /// The status of our answer: 202 started a run, 200 did not.
    pub status: i64,
    /// Our answer.
    pub answer: String,
    /// The first run that it started.
    pub run_id: Option<RunId>,
    /// When it came.
    pub received_at: Timestamp,
}

/// What a delivery is answered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryAnswer {
    /// The name of the run that was started, or that builds this commit already; of several, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The names of all of them, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Why no run was started, or not one for each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
}
