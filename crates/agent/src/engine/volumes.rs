//! Volumes: folders of accounts that outlive containers. The engine makes one when the first container that has it is made,
//! and knows it under a name that we make of the installation, the account and the volume's number: nobody can ask for
//! another's by a name, not even after a database was restored that gave a number twice.

use std::collections::HashMap;

use bollard::models::{Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::RemoveVolumeOptions;
use wire::ids::{InstanceId, VolumeId};
use wire::link::{LinkError, LinkErrorCode};
use wire::names::AccountName;
use wire::volumes::{RemoveVolume, RemoveVolumeDone, VolumeMount};

use super::{CALL_TIMEOUT, Engine, LABEL_ACCOUNT, LABEL_INSTANCE, is_not_found, within};

/// The engine's name of a volume.
fn name(instance: InstanceId, account: &AccountName, volume: VolumeId) -> String {
    format!("ls-{}-{account}-{volume}", instance.short())
}

/// The number of a volume by the engine's name of it; none when the name is not one of ours.
pub(super) fn id_of(instance: InstanceId, engine_name: &str) -> Option<VolumeId> {
    let rest = engine_name.strip_prefix("ls-")?.strip_prefix(&instance.short())?;
    rest.strip_prefix('-')?.rsplit_once('-')?.1.parse().ok()
}

/// The volumes of a container in the engine's words.
pub(super) fn mounts(instance: InstanceId, account: &AccountName, volumes: &[VolumeMount]) -> Vec<Mount> {
    let labels = HashMap::from([
        (LABEL_INSTANCE.to_owned(), instance.to_string()),
        (LABEL_ACCOUNT.to_owned(), account.to_string()),
    ]);
    let mount = |volume: &VolumeMount| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name(instance, account, volume.volume)),
        target: Some(volume.target.clone()),
        read_only: Some(volume.is_read_only),
        volume_options: Some(MountVolumeOptions { labels: Some(labels.clone()), ..Default::default() }),
        ..Default::default()
    };
    volumes.iter().map(mount).collect()
}

/// Removes a volume with everything in it; gone already is fine.
pub(crate) async fn remove(engine: &Engine, call: RemoveVolume) -> Result<RemoveVolumeDone, LinkError> {
    let name = name(call.instance, &call.account, call.volume);
    let docker = engine.docker().await?;
    match within(CALL_TIMEOUT, docker.remove_volume(&name, None::<RemoveVolumeOptions>)).await {
        Err(error) if is_not_found(&error) => Ok(RemoveVolumeDone {}),
        Err(error) if error.code == LinkErrorCode::Conflict => {
            let message = "a container on the machine has it still";
            Err(LinkError::new(LinkErrorCode::Conflict, message))
        }
        other => other.map(|()| RemoveVolumeDone {}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_by_what_no_user_chooses() {
        let instance: InstanceId = uuid::Uuid::nil().to_string().parse().unwrap();
        let volume = VolumeMount {
            volume: VolumeId(7),
            name: "data".parse().unwrap(),
            target: "/data".into(),
            is_read_only: true,
        };

        let mounts = mounts(instance, &"alice".parse().unwrap(), &[volume]);

        assert_eq!(mounts[0].source.as_deref(), Some(format!("ls-{}-alice-7", instance.short()).as_str()));
        assert_eq!((mounts[0].typ, mounts[0].read_only), (Some(MountType::VOLUME), Some(true)));
        assert_eq!(mounts[0].target.as_deref(), Some("/data"));
        assert_eq!(id_of(instance, mounts[0].source.as_deref().unwrap()), Some(VolumeId(7)));
        for foreign in ["data", "ls-", "ls-alice-7", &format!("ls-{}-alice", instance.short())] {
            assert_eq!(id_of(instance, foreign), None, "{foreign}");
        }
    }
}
