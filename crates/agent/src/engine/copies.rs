//! Copies of containers' disks. An engine fixes a container's graphics processors when it makes it, so that one that is to
//! start on others is made anew, with the disk that it had: its writable layer is committed to an image of this machine's
//! own, which no registry sees.
//!
//! A commit, because nothing else carries a disk over whole: an archive of the changes does not say which files were
//! deleted, and the layer's folder belongs to the engine. Each copy adds a layer, and engines take some hundred; a container
//! that came near to that is refused with what to do.
//!
//! Volumes that the image asked for are not on the disk. Their names go with the copy, and the container that is made from
//! it gets the same ones.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerConfig, ContainerInspectResponse, MountType};
use bollard::query_parameters::{CommitContainerOptions, InspectContainerOptions, RemoveVolumeOptions};
use serde::{Deserialize, Serialize};
use wire::ids::{ContainerId, InstanceId};
use wire::link::{CopyContainer, CopyContainerDone, LinkError, LinkErrorCode, ObservedState};

use super::{CALL_TIMEOUT, Engine, containers, images, is_not_found, within};

/// Of a disk with many gigabytes on a slow one.
const COPY_TIMEOUT: Duration = Duration::from_hours(1);
/// Docker takes 125 layers. What is saved as an image later needs some too.
const LAYERS_MAX: usize = 110;
/// On the copy: the volumes that belong to the container, as JSON.
const LABEL_VOLUMES: &str = "longshore.volumes";
/// Volumes of one container.
const VOLUMES_MAX: usize = 64;

/// A volume that the engine made because the image asks for one, and where the container has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) target: String,
}

/// The local name of a container's copy.
pub(super) fn reference(instance: InstanceId, container: ContainerId) -> String {
    format!("{}:{container}", repository(instance))
}

fn repository(instance: InstanceId) -> String {
    format!("ls-c/{}", instance.short())
}

/// Makes the copy. Doing it twice makes it anew.
pub(crate) async fn copy(engine: &Engine, call: CopyContainer) -> Result<CopyContainerDone, LinkError> {
    let observed = containers::inspect(engine, call.instance, &call.engine_id).await?;
    if observed.container != call.container || observed.engine_id != call.engine_id {
        let message =
            format!("container `{}` on the machine has another number", call.engine_id.escape_debug());
        return Err(LinkError::new(LinkErrorCode::Conflict, message));
    }
    if observed.state == ObservedState::Running {
        let message = "a container that runs is not copied: its disk may be in the middle of a change";
        return Err(LinkError::new(LinkErrorCode::Conflict, message));
    }
    let docker = engine.docker().await?;
    let look = docker.inspect_container(&call.engine_id, None::<InspectContainerOptions>);
    let found = within(CALL_TIMEOUT, look).await?;
    let layers = layers(engine, found.image.as_deref().unwrap_or_default()).await?;
    if layers >= LAYERS_MAX {
        let message = format!(
            "its disk has {layers} layers, and engines take little more: start it when the GPU is free that it had last, or build what is on it into an image of its own"
        );
        return Err(LinkError::new(LinkErrorCode::Invalid, message));
    }
    let volumes = serde_json::to_string(&made_volumes(&found)).expect("names can be written as JSON");
    let config = ContainerConfig {
        labels: Some(HashMap::from([(LABEL_VOLUMES.to_owned(), volumes)])),
        ..Default::default()
    };
    let options = CommitContainerOptions {
        container: Some(call.engine_id),
        repo: Some(repository(call.instance)),
        tag: Some(call.container.to_string()),
        pause: false,
        ..Default::default()
    };
    let docker = docker.with_timeout(COPY_TIMEOUT);
    within(COPY_TIMEOUT, docker.commit_container(options, config)).await?;
    Ok(CopyContainerDone { layers: layers as u64 + 1 })
}

async fn layers(engine: &Engine, image: &str) -> Result<usize, LinkError> {
    let docker = engine.docker().await?;
    let found = within(CALL_TIMEOUT, docker.inspect_image(image)).await?;
    Ok(found.root_fs.and_then(|disk| disk.layers).map_or(0, |layers| layers.len()))
}

/// The volumes that the engine made for a container by itself: those have 64 digits for a name. One that the container
/// got from an earlier copy is one too.
fn made_volumes(found: &ContainerInspectResponse) -> Vec<Volume> {
    let volume = |mount: &bollard::models::MountPoint| {
        let is_volume = mount.typ.as_deref() == Some("volume");
        let name = mount.name.clone().filter(|name| is_volume && is_made_by_engine(name))?;
        Some(Volume { name, target: mount.destination.clone()? })
    };
    found.mounts.iter().flatten().filter_map(volume).take(VOLUMES_MAX).collect()
}

fn is_made_by_engine(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The volumes that go with a container's copy; none when there is no copy.
pub(super) async fn volumes(
    engine: &Engine,
    instance: InstanceId,
    container: ContainerId,
) -> Result<Vec<Volume>, LinkError> {
    let docker = engine.docker().await?;
    let found = match within(CALL_TIMEOUT, docker.inspect_image(&reference(instance, container))).await {
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        found => found?,
    };
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    let volumes: Vec<Volume> =
        labels.get(LABEL_VOLUMES).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    Ok(volumes.into_iter().filter(|volume| is_made_by_engine(&volume.name)).collect())
}

/// The volumes that a container got from its copy: we asked for them by name, so that the engine keeps them when the
/// container goes.
pub(super) fn carried(found: &ContainerInspectResponse) -> Vec<String> {
    let asked = found.host_config.as_ref().and_then(|config| config.mounts.as_ref());
    let name = |mount: &bollard::models::Mount| {
        let is_volume = mount.typ == Some(MountType::VOLUME);
        mount.source.clone().filter(|name| is_volume && is_made_by_engine(name))
    };
    asked.into_iter().flatten().filter_map(name).collect()
}

/// Removes a container's copy, and the volumes that went with it or were carried over. Call it after the container is gone.
pub(super) async fn remove(
    engine: &Engine,
    instance: InstanceId,
    container: ContainerId,
    carried: Vec<String>,
) -> Result<(), LinkError> {
    let mut names = carried;
    names.extend(volumes(engine, instance, container).await?.into_iter().map(|volume| volume.name));
    names.sort_unstable();
    names.dedup();
    let docker = engine.docker().await?;
    for name in names {
        match within(CALL_TIMEOUT, docker.remove_volume(&name, None::<RemoveVolumeOptions>)).await {
            Err(error) if is_not_found(&error) => {}
            // Somebody else uses it by now: then it is not ours to remove.
            Err(error) if error.code == LinkErrorCode::Conflict => {}
            other => other?,
        }
    }
    images::untag(engine, &reference(instance, container)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use bollard::models::{HostConfig, Mount, MountPoint};

    use super::*;

    #[test]
    fn only_volumes_that_the_engine_named_go_with_a_copy() {
        let (made, named) = ("0a".repeat(32), "data".to_owned());
        let mount = |name: &str, typ: &str| MountPoint {
            name: Some(name.to_owned()),
            destination: Some("/data".to_owned()),
            typ: Some(typ.to_owned()),
            ..Default::default()
        };
        let found = ContainerInspectResponse {
            mounts: Some(vec![mount(&made, "volume"), mount(&named, "volume"), mount(&made, "bind")]),
            ..Default::default()
        };

        assert_eq!(made_volumes(&found), [Volume { name: made, target: "/data".into() }]);
    }

    #[test]
    fn only_volumes_that_we_asked_for_are_removed_with_a_container() {
        let made = "0a".repeat(32);
        let asked = |source: &str, typ| Mount {
            source: Some(source.to_owned()),
            typ: Some(typ),
            ..Default::default()
        };
        let mounts = vec![
            asked(&made, MountType::VOLUME),
            asked("data", MountType::VOLUME),
            asked(&made, MountType::BIND),
        ];
        let found = ContainerInspectResponse {
            host_config: Some(HostConfig { mounts: Some(mounts), ..Default::default() }),
            ..Default::default()
        };

        assert_eq!(carried(&found), [made]);
        assert_eq!(carried(&ContainerInspectResponse::default()), Vec::<String>::new());
    }
}
