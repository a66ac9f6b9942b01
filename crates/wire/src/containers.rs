//! Containers: what may be asked for, and what is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::double_option;
use crate::gpus::GpuWish;
use crate::ids::{AccountId, ContainerId, GpuId, ImageId, MachineId};
use crate::limits::{Limits, WishedLimits};
use crate::machine_images::PullProgress;
use crate::names::{AccountName, ContainerName};
use crate::time::Timestamp;
use crate::volumes::{VolumeMount, VolumeMountCreate};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Accepted and stored; the machine was not asked yet. Written by the request.
    Pending,
    /// The machine fetches the image.
    Pulling,
    /// The engine was asked to create and start it.
    Starting,
    /// The engine says that it runs.
    Running,
    /// The engine was asked to stop it.
    Stopping,
    /// Its process has ended, by request or by itself; its disk is kept. `exit_code` says how it ended.
    Stopped,
    /// It could not be made or started; `reason` and `message` say why. Starting it tries again.
    Failed,
    /// Deletion was accepted; the engine's container is being removed.
    Deleting,
    /// Its machine cannot be reached; nothing was done to it.
    Unknown,
}

impl ContainerState {
    /// Seed 001's `status`.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running)
    }
}

/// Transport of a port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As Docker writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Who can reach a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bind {
    /// Only the machine itself: `127.0.0.1`.
    #[default]
    Loopback,
    /// Everybody on the machine's network: only where the machine's policy opens an address and ports there.
    Lan,
}

impl Bind {
    /// How it is written on a command line; which address `0.0.0.0` stands for is the machine's policy.
    pub fn address(self) -> &'static str {
        match self {
            Self::Loopback => "127.0.0.1",
            Self::Lan => "0.0.0.0",
        }
    }
}

/// A port of the container to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortCreate {
    /// Port inside the container.
    pub container: u16,
    /// `tcp` by default.
    #[serde(default)]
    pub protocol: Protocol,
    /// Port on the machine; chosen from the pool when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u16>,
    /// `loopback` by default.
    #[serde(default)]
    pub bind: Bind,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Port inside the container.
    pub container: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Port on the machine.
    pub host: u16,
    /// Who can reach it.
    pub bind: Bind,
    /// Whether `host` was chosen by the platform, which then may choose another one until the container is first started.
    #[serde(default)]
    pub is_pooled: bool,
}

/// Asks for a container. These are all the options there are: anything else is refused before it reaches an engine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerCreate {
    /// `[owner/]repo[:tag]`, or the number of an image.
    pub image: String,
    /// A name, unique among the account's containers; made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<ContainerName>,
    /// The name to show, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Which machine; `any` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Ports to publish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortCreate>,
    /// Environment, over the image's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Arguments instead of the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// What runs instead of the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Working directory instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Memory limit in bytes; the policy's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor limit in thousandths of a core; the policy's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Processes at most; the policy's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Graphics processors, for the container alone as long as it runs; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuWish>,
    /// Seconds after which it is stopped, from each start; a restart does not count as one. Without, containers with
    /// graphics processors have what the server's settings say, and all others none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_secs: Option<u64>,
    /// Shared memory (`/dev/shm`) in bytes, at most its memory; 64 MiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// Volumes: folders of the account that outlive the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMountCreate>,
    /// Whether its working directory is kept in the account's volume `home`. Without a working directory here or in the
    /// image it is `/workspace`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub home: bool,
    /// What happens when its process ends by itself, also with its machine; it keeps its graphics processors then.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_no")]
    pub restart_policy: RestartPolicy,
    /// Whether its process has a terminal, at which nobody types: with one, a shell waits, and without it ends at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
}

/// What happens when a container's process ends by itself. It is the server that starts it again and never the engine, which
/// knows nothing of leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// It is stopped then.
    #[default]
    No,
    /// It is started again if its process failed, that is, ended with another code than 0.
    OnFailure,
    /// It is started again until its owner stops it.
    Always,
}

impl RestartPolicy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
    fn is_no(&self) -> bool {
        *self == Self::No
    }
}

/// Changes a container that is there; what is absent stays. Names change at once. New limits are applied while it runs where
/// its engine can, and otherwise as soon as it does not run; until then they are shown as `wished_limits`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerUpdate {
    /// A name, unique among the account's containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<ContainerName>,
    /// The name to show, at most 100 characters; null removes it.
    #[serde(default, with = "double_option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub display_name: Option<Option<String>>,
    /// Memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor limit in thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Processes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// A container, where only which one it is matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerRef {
    /// Its number.
    pub id: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContainerName,
}

/// Shared memory in bytes of a container that does not ask for another size.
pub const SHM_BYTES_DEFAULT: u64 = 64 << 20;

/// What the agent is told to make: everything decided, nothing left to defaults. Checked by [`crate::policy`] on both
/// sides; the engine's request is written from this and from nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// Published ports.
    pub ports: Vec<Port>,
    /// Environment, over the image's.
    pub env: BTreeMap<String, String>,
    /// Arguments; none = the image's.
    pub command: Option<Vec<String>>,
    /// What runs; none = the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Working directory; none = the image's.
    pub working_dir: Option<String>,
    /// Memory limit in bytes (swap is not given beyond it).
    pub memory_bytes: u64,
    /// Processor limit in thousandths of a core.
    pub cpu_millis: u32,
    /// Processes at most.
    pub pids: u32,
    /// Graphics processors, by the driver's ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuId>,
    /// Shared memory in bytes; none = [`SHM_BYTES_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Whether its process has a terminal, at which nobody types.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
}

impl ContainerSpec {
    /// What it may use.
    pub fn limits(&self) -> Limits {
        Limits { memory_bytes: self.memory_bytes, cpu_millis: self.cpu_millis, pids: self.pids }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        let Limits { memory_bytes, cpu_millis, pids } = limits;
        Self { memory_bytes, cpu_millis, pids, ..self.clone() }
    }
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ContainerView {
    /// The container's number.
    pub id: ContainerId,
    /// Its name, unique among the account's containers.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// The name to show.
    pub display_name: Option<String>,
    /// Where it is; null while it waits for any machine.
    pub machine_id: Option<MachineId>,
    /// The image it was made from.
    pub image_id: ImageId,
    /// That image's name.
    pub image: String,
    /// The first published port on the machine (seed 001's `port`).
    pub port: Option<u16>,
    /// All published ports.
    pub ports: Vec<Port>,
    /// Whose it is.
    pub user_id: AccountId,
    /// Whose it is, by name.
    #[schema(value_type = String)]
    pub account: AccountName,
    /// Whether it runs (seed 001's `status`).
    pub status: bool,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Since when.
    pub state_since: Timestamp,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// How its process ended the last time.
    pub exit_code: Option<i64>,
    /// Environment given at creation.
    pub env: BTreeMap<String, String>,
    /// Arguments given at creation.
    pub command: Option<Vec<String>>,
    /// Entry point given at creation.
    pub entrypoint: Option<Vec<String>>,
    /// Working directory given at creation.
    pub working_dir: Option<String>,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Processor limit in thousandths of a core.
    pub cpu_millis: u32,
    /// Processes at most.
    pub pids: u32,
    /// Limits that it is to have and does not have yet.
    #[serde(default)]
    pub wished_limits: Option<WishedLimits>,
    /// Shared memory in bytes.
    #[serde(default)]
    pub shm_bytes: u64,
    /// Its volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// Whether its process has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Graphics processors that it asks for.
    #[serde(default)]
    pub gpus: Option<GpuWish>,
    /// Seconds after which it is stopped, from each start; null = never.
    #[serde(default)]
    pub max_duration_secs: Option<u64>,
    /// What happens when its process ends by itself.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// How often it was started again since, without having run for a while in between.
    #[serde(default)]
    pub restarts: u32,
    /// When its time is over; null while it has not started.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// How far the fetch of its image has come, while it is `pulling`.
    #[serde(default)]
    pub pull: Option<PullProgress>,
    /// Those that it holds now, by the driver's ids; empty when it does not run.
    #[serde(default)]
    pub gpu_ids: Vec<GpuId>,
    /// Its place in the line, while it waits; `reason` and `message` then say for what.
    #[serde(default)]
    pub queue: Option<QueuePlace>,
}

/// A place in the line of those who wait for a machine or a graphics processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePlace {
    /// From 1.
    pub position: u64,
    /// Since when it waits.
    pub since: Timestamp,
}

/// A log that is kept of a container that is gone.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeptLogView {
    /// The container's number.
    pub container_id: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// Whose it was.
    #[schema(value_type = String)]
    pub account: AccountName,
    /// The image it was made from, by name.
    pub image: String,
    /// Where it was.
    pub machine_id: MachineId,
    /// How much is kept, in bytes.
    pub bytes: u64,
    /// Bytes before that were not kept.
    pub dropped_bytes: u64,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// When its log goes, too.
    pub kept_until: Timestamp,
}

/// Which of its streams a program wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A piece of a log, as event streams send it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogText {
    /// Where it was written to.
    pub source: LogStream,
    /// The text; bytes that are not UTF-8 are replaced. With `grep` whole lines.
    pub text: String,
}

/// What a container used at a moment. Sums begin anew when it is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerSample {
    /// When.
    pub at: Timestamp,
    /// Processor time since the sample before, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory in bytes, without files that are only cached.
    pub memory_bytes: u64,
    /// What it may use.
    pub memory_limit_bytes: u64,
    /// Received over the network since it was started.
    pub network_received_bytes: u64,
    /// Sent over the network since it was started.
    pub network_sent_bytes: u64,
    /// Read from disks since it was started.
    pub disk_read_bytes: u64,
    /// Written to disks since it was started.
    pub disk_written_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// A state that a container came into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerEventView {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub state: ContainerState,
    /// Why, for programs.
    pub reason: Option<String>,
    /// Why, in plain words.
    pub message: Option<String>,
    /// How its process had ended by then, if it had.
    pub exit_code: Option<i64>,
}

/// What a container used in the last hour, and uses now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ContainerStatsView {
    /// Where it is in its life.
    pub state: ContainerState,
    /// Every 15 seconds, as far as it ran and its machine was connected; oldest first.
    pub history: Vec<ContainerSample>,
    /// None when it does not run.
    pub current: Option<ContainerSample>,
}
