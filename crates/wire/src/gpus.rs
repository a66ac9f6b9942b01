//! Graphics processors: what a container may ask for, what machines say of them while they work, and what is shown of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ContainerId, GpuId, MachineId};
use crate::names::{AccountName, ContainerName};
use crate::time::Timestamp;

/// Graphics processors of one machine that are looked at.
pub const GPUS_MAX: usize = 64;
/// Instances of one graphics processor that are looked at.
pub const INSTANCES_MAX: usize = 16;
/// Processes on one graphics processor that are told of.
pub const PROCESSES_MAX: usize = 64;
/// Of a model's or a process's name.
pub const NAME_CHARS_MAX: usize = 100;

/// Asks for graphics processors. They are of one machine and of one model. An instance of a divided one will do as well, for
/// one alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuWish {
    /// How many.
    pub count: u32,
    /// Part of the model's name, such as `a100`; upper and lower case are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Least memory of each in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

/// What a machine's graphics processors do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuReading {
    /// One for each, and for each instance of a divided one.
    pub gpus: Vec<GpuSample>,
    /// What is wrong with them or their driver, in plain words.
    pub problem: Option<String>,
}

/// What one graphics processor does. What is none cannot be told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSample {
    /// Which.
    pub uuid: GpuId,
    /// Memory in use in MiB.
    pub memory_used: u64,
    /// How much of the last moment it was busy.
    pub utilization_percent: Option<u32>,
    /// How hot it is.
    pub temperature_celsius: Option<u32>,
    /// What it draws.
    pub power_watts: Option<u32>,
    /// Who uses it; the first so many.
    pub processes: Vec<GpuProcess>,
}

/// A process that uses a graphics processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Its number on the machine.
    pub pid: u32,
    /// Its program's name.
    pub name: String,
    /// Whose it is on the machine: a name, or a number where the machine knows none.
    pub user: Option<String>,
    /// Its share of the memory in MiB.
    pub memory: Option<u64>,
    /// The engine's id of the container that it belongs to.
    pub engine_id: Option<String>,
}

/// Whether a graphics processor can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GpuState {
    /// Nobody has it.
    Free,
    /// A container holds it.
    Leased,
    /// A process that did not come through Longshore uses it.
    Outside,
    /// It is divided; its instances are listed on their own.
    Divided,
    /// The machine's own policy keeps it from containers.
    Kept,
    /// Its machine cannot be reached, or does not show it any more.
    Unknown,
}

/// A graphics processor, or an instance of a divided one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GpuView {
    /// Where it is.
    pub machine_id: MachineId,
    /// Its number on the machine, as in the machine's `gpu`; an instance adds its own, as in `0.1`.
    pub key: String,
    /// The driver's id of it; null when the machine's agent is too old to say.
    pub uuid: Option<GpuId>,
    /// Model name.
    #[serde(rename = "type")]
    pub model: String,
    /// Memory in MiB.
    pub memory: u64,
    /// Memory in use in MiB; null, as what follows, when it cannot be told.
    pub memory_used: Option<u64>,
    /// How much of the last moment it was busy.
    pub utilization_percent: Option<u32>,
    /// How hot it is.
    pub temperature_celsius: Option<u32>,
    /// What it draws.
    pub power_watts: Option<u32>,
    /// Whether it can be had.
    pub state: GpuState,
    /// The container that holds it, also while its processes do not use it.
    pub lease: Option<GpuLeaseView>,
    /// Who uses it: to an account its own containers' processes, to admins all.
    pub processes: Vec<GpuProcessView>,
}

/// A container's hold on a graphics processor. Whose it is, is told to that account and to admins.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GpuLeaseView {
    /// Since when.
    pub since: Timestamp,
    /// When its container is stopped at the latest; null when nothing was said.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// The container; null to others.
    pub container_id: Option<ContainerId>,
    /// The container's name; null to others.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// Whose container it is; null to others.
    #[schema(value_type = Option<String>)]
    pub account: Option<AccountName>,
}

/// A process that uses a graphics processor.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GpuProcessView {
    /// Its number on the machine.
    pub pid: u32,
    /// Its program's name.
    pub name: String,
    /// Whose it is on the machine; to admins only.
    pub user: Option<String>,
    /// Its share of the memory in MiB.
    pub memory: Option<u64>,
    /// The container that it belongs to; null when it did not come through Longshore.
    pub container_id: Option<ContainerId>,
    /// That container's name.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// Whose container it is.
    #[schema(value_type = Option<String>)]
    pub account: Option<AccountName>,
}
