//! What a container may use, and changing it while it runs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ContainerId, InstanceId};
use crate::link::Call;

/// What a container may use of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes (swap is not given beyond it).
    pub memory_bytes: u64,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u32,
    /// Processes at most.
    pub pids: u32,
}

/// Limits that a container is to have and does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WishedLimits {
    /// Which.
    pub limits: Limits,
    /// Why it does not get them while it runs; then it gets them when it is stopped or started next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Gives a container on a machine other limits, whether it runs or not. A refusal leaves those that it has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitContainer {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// What it may use from now on.
    pub limits: Limits,
}

impl Call for LimitContainer {
    const PATH: &'static str = "/link/v2/containers/limit";
    type Reply = LimitContainerDone;
}

/// The container has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitContainerDone {}
