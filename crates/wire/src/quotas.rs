//! How much an account may use at the same time, and what it uses.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::AccountName;

/// Which accounts are served before which in the line of those who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountClass {
    /// Before all others.
    High,
    /// As everybody whom no admin has put into another class.
    #[default]
    Normal,
    /// After all others.
    Low,
}

/// The most that an account's containers may have together; null = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaLimits {
    /// Graphics processors.
    pub gpus: Option<u32>,
    /// Thousandths of a processor core.
    pub cpu_millis: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Containers that run.
    pub running_containers: Option<u32>,
    /// Bytes on the machines' disks: volumes, and what containers have written. Who holds as much gets no new containers and
    /// starts none; what runs goes on.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
}

/// What an account's containers have now: those that run, or are on their way to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaUse {
    /// Graphics processors, with those of pods in clusters.
    pub gpus: u32,
    /// Thousandths of a processor core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Containers that run.
    pub running_containers: u32,
    /// Bytes on the machines' disks, as they were counted last: some minutes ago at most.
    #[serde(default)]
    pub disk_bytes: u64,
}

/// An account's quota.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuotaView {
    /// Whose.
    #[schema(value_type = String)]
    pub account: AccountName,
    /// Who is served before it when GPUs are waited for.
    pub class: AccountClass,
    /// What holds for it.
    pub limits: QuotaLimits,
    /// What an admin has set for it; where it is null the server's settings hold.
    pub own: QuotaLimits,
    /// What it uses.
    pub used: QuotaUse,
    /// How many of the used graphics processors pods in clusters have or wait for.
    #[serde(default)]
    pub pod_gpus: u64,
}

/// Sets an account's quota (admin): all of it. What is absent is as the server's settings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaUpdate {
    /// Who is served before it; `normal` by default.
    #[serde(default)]
    pub class: AccountClass,
    /// Graphics processors; 0 = none may be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Thousandths of a processor core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Containers that run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_containers: Option<u32>,
    /// Bytes on the machines' disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
}
