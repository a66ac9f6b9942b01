//! What accounts hold on the machines' disks: volumes, and what containers have written.

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerId, InstanceId, VolumeId};
use crate::link::Call;

/// Asks how much volumes and containers hold on a machine. Its engine counts every file for that, which takes a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureDisk {
    /// This installation.
    pub instance: InstanceId,
}

impl Call for MeasureDisk {
    const PATH: &'static str = "/link/v2/disk";
    type Reply = MeasureDiskDone;
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureDiskDone {
    /// Bytes in each volume.
    pub volumes: Vec<(VolumeId, u64)>,
    /// Bytes that each container has written beside its volumes.
    pub containers: Vec<(ContainerId, u64)>,
}
