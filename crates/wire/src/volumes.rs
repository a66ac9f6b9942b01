//! Volumes: folders that outlive containers. Each belongs to an account and lies on one machine.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::containers::ContainerRef;
use crate::ids::{InstanceId, MachineId, VolumeId};
use crate::link::Call;
use crate::names::{AccountName, VolumeName};
use crate::time::Timestamp;

/// The name of the volume that `home` asks for.
pub const HOME: &str = "home";
/// Where `home` is when neither the request nor the image names a working directory.
pub const HOME_TARGET: &str = "/workspace";

/// Whether a volume can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// Containers can have it. Written when the first one asks for it.
    Ready,
    /// Its machine is to remove it with everything in it. Written by deletion; the row goes when the machine has done it.
    Deleting,
}

/// A volume that a container is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMountCreate {
    /// Its name among the account's volumes on the machine; made when there is none of that name.
    #[schema(value_type = String, example = "data")]
    pub name: VolumeName,
    /// Where the container has it: an absolute path.
    #[schema(example = "/data")]
    pub target: String,
    /// Whether the container may only read it.
    #[serde(default)]
    pub is_read_only: bool,
}

/// A volume that a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Its number.
    pub volume: VolumeId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: VolumeName,
    /// Where the container has it.
    pub target: String,
    /// Whether the container may only read it.
    pub is_read_only: bool,
}

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    /// Its number.
    pub id: VolumeId,
    /// Its name, unique among the account's volumes on its machine.
    #[schema(value_type = String)]
    pub name: VolumeName,
    /// Whose it is, by name.
    #[schema(value_type = String)]
    pub account: AccountName,
    /// Where it lies.
    pub machine_id: MachineId,
    /// Whether it can be used.
    pub state: VolumeState,
    /// Bytes in it, as its machine counted them last: some minutes ago at most. Null while nobody has.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// The containers that have it.
    pub containers: Vec<ContainerRef>,
    /// When it was first asked for.
    pub created_at: Timestamp,
}

/// Removes a volume from a machine with everything in it; without effect when it is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveVolume {
    /// This installation.
    pub instance: InstanceId,
    /// Whose it is.
    pub account: AccountName,
    /// Which volume.
    pub volume: VolumeId,
}

impl Call for RemoveVolume {
    const PATH: &'static str = "/link/v2/volumes/remove";
    type Reply = RemoveVolumeDone;
}

/// The machine does not have it any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoveVolumeDone {}
