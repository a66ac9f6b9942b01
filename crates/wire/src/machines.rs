//! Machines: hosts with a Docker engine and an agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::gpus::GpuView;
use crate::ids::{GpuId, MachineId};
use crate::policy::LanPorts;
use crate::time::Timestamp;

/// What an agent says of its machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineFacts {
    /// Given by the machine.
    pub machine_id: MachineId,
    /// Its host name.
    pub hostname: String,
    /// Its address as the agent sees it.
    pub ip: String,
    /// Processors: one entry per socket, keys from "0".
    pub cpu: BTreeMap<String, CpuFacts>,
    /// Graphics processors, keys from "0".
    pub gpu: BTreeMap<String, GpuFacts>,
    /// Memory in MiB; free is what is available to new work.
    pub memory: Capacity,
    /// Disk of the engine's data folder in GiB.
    pub disk: Capacity,
    /// The engine's version; null when it does not answer.
    pub engine_version: Option<String>,
    /// Operating system and kernel.
    pub os: String,
    /// Processor architecture as Docker names it: `amd64`, `arm64`.
    pub architecture: String,
    /// Address of the registry on this machine, `127.0.0.1:port`.
    pub registry: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Where the machine's policy lets ports of containers be published to the network; null when nowhere.
    #[serde(default)]
    pub lan: Option<LanPorts>,
}

/// One processor socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CpuFacts {
    /// Model name.
    #[serde(rename = "type")]
    pub model: String,
    /// Cores (hardware threads).
    pub cores: u32,
}

/// One graphics processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuFacts {
    /// Model name.
    #[serde(rename = "type")]
    pub model: String,
    /// Memory in MiB.
    pub memory: u64,
    /// The driver's id of it, by which it is leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<GpuId>,
    /// Its instances, when it is divided (MIG); containers then get instances and not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<GpuInstanceFacts>>,
    /// Whether the machine's own policy keeps it from containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_kept: bool,
}

/// An instance of a divided graphics processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuInstanceFacts {
    /// Model name with the instance's profile.
    #[serde(rename = "type")]
    pub model: String,
    /// Memory in MiB.
    pub memory: u64,
    /// The driver's id of it, by which it is leased.
    pub uuid: GpuId,
}

/// A total and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// All there is.
    pub total: u64,
    /// What is left.
    pub free: u64,
}

/// Whether a machine can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// Its agent is connected and its engine answers.
    Online,
    /// Its agent is connected, but its engine does not answer.
    EngineDown,
    /// Its agent is not connected. Its containers go on; what they do is not known.
    Unknown,
}

/// A machine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MachineView {
    /// What its agent said last.
    #[serde(flatten)]
    pub facts: MachineFacts,
    /// Whether it can be used.
    pub state: MachineState,
    /// Since when.
    pub state_since: Timestamp,
    /// `state` as seed 001's bool, by the name that its list has.
    pub online: bool,
    /// The same, by the name that its table has.
    #[serde(default)]
    pub status: bool,
    /// Where its engine finds the registry, seed 001's `url`.
    #[serde(default)]
    pub url: String,
    /// What people call it, beside its host name.
    #[serde(default)]
    pub label: Option<String>,
    /// Since when it takes no new work, if so.
    pub drained_at: Option<Timestamp>,
    /// Why it takes no new work, in the words of who said so.
    pub drain_reason: Option<String>,
    /// Why its agent may not connect, if so: two machines showed its key.
    pub quarantine_reason: Option<String>,
    /// When it joined; null for the server's own machine, which need not.
    pub joined_at: Option<Timestamp>,
    /// Its graphics processors with what they do now and who holds them.
    #[serde(default)]
    pub gpus: Vec<GpuView>,
    /// What is wrong with its graphics processors or their driver, in plain words.
    #[serde(default)]
    pub gpu_problem: Option<String>,
}

/// Changes a machine (admin); absent fields stay.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineUpdate {
    /// Whether it is to take no new containers and builds; what runs on it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_drained: Option<bool>,
    /// Why, for people; at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What people call it, at most 60 characters; empty takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A machine that was removed, and what stays on it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MachineDeleted {
    /// Which.
    pub machine_id: MachineId,
    /// What stays on it, in plain words.
    pub stays: String,
}

/// Seed 001's row of `/api/machine/info`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MachineInfo {
    /// Given by the machine.
    pub machine_id: MachineId,
    /// Its address.
    pub ip: String,
    /// Graphics processors, keys from "0"; memory in MiB.
    pub gpu: BTreeMap<String, GpuFacts>,
    /// One entry per socket.
    pub cpu: BTreeMap<String, CpuFacts>,
    /// GiB.
    pub disk: Capacity,
    /// MiB.
    pub memory: Capacity,
    /// Whether it can be used.
    pub online: bool,
}
