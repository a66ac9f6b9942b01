//! What all containers that run use, looked at together: for lists, where following each would be too much.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::containers::ContainerSample;
use crate::ids::{ContainerId, InstanceId};
use crate::link::Call;
use crate::names::ContainerName;

/// Asks what a machine's containers were last seen to use. Nothing is measured for it: the agent looks every 15 seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadUses {
    /// This installation.
    pub instance: InstanceId,
}

impl Call for ReadUses {
    const PATH: &'static str = "/link/v1/containers/uses";
    type Reply = ReadUsesDone;
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadUsesDone {
    /// Of those that run: the engine's id, and the last sample.
    pub containers: Vec<(String, ContainerSample)>,
}

/// What a container was last seen to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerUseView {
    /// The container.
    pub container_id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// What was seen, at most some 15 seconds ago.
    pub sample: ContainerSample,
}

/// Whose.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ContainerUseQuery {
    /// Every account's (admin).
    pub all: Option<bool>,
}
