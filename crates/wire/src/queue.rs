//! The line of those who wait for graphics processors or for their account's quota.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::gpus::GpuWish;
use crate::ids::{ContainerId, MachineId};
use crate::names::{AccountName, ContainerName};
use crate::time::Timestamp;

/// A place in the line, and who stands there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// From 1.
    pub position: u64,
    /// Since when it waits.
    pub since: Timestamp,
    /// Graphics processors that it asks for.
    pub gpus: Option<GpuWish>,
    /// The only machine that will do; null = any.
    pub machine_id: Option<MachineId>,
    /// For what it waits, for programs.
    pub reason: Option<String>,
    /// For what it waits, in plain words; null to others.
    pub message: Option<String>,
    /// The container; null to others than its account and admins.
    pub container_id: Option<ContainerId>,
    /// The container's name; null to others.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// Whose container it is; null to others.
    #[schema(value_type = Option<String>)]
    pub account: Option<AccountName>,
}
