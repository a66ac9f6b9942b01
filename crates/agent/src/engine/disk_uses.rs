//! How much volumes and containers of ours hold on the disk, as the engine counts it.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::ListContainersOptions;
use futures::StreamExt as _;
use serde::Deserialize;
use wire::disk_uses::{MeasureDisk, MeasureDiskDone};
use wire::ids::{ContainerId, InstanceId, VolumeId};
use wire::link::LinkError;

use super::{Engine, LABEL_CONTAINER, LABEL_INSTANCE, containers, engine_down, volumes, within};

/// The engine looks at every file.
const COUNT_TIMEOUT: Duration = Duration::from_mins(4);
/// Of what the engine says of all volumes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The part of the engine's answer that counts.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskUse {
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    labels: Option<HashMap<String, String>>,
    usage_data: Option<UsageData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UsageData {
    /// Below zero where it is not known.
    size: i64,
}

/// Counts what is ours.
pub(crate) async fn measure(engine: &Engine, call: MeasureDisk) -> Result<MeasureDiskDone, LinkError> {
    let counted = async {
        Ok(MeasureDiskDone {
            volumes: volume_sizes(engine, call.instance).await?,
            containers: container_sizes(engine, call.instance).await?,
        })
    };
    tokio::time::timeout(COUNT_TIMEOUT, counted).await.map_err(|_| super::timed_out(COUNT_TIMEOUT))?
}

async fn volume_sizes(engine: &Engine, instance: InstanceId) -> Result<Vec<(VolumeId, u64)>, LinkError> {
    let mut pieces = Box::pin(engine.get("/system/df", &[("type", "volume".to_owned())]).await?);
    let mut text = Vec::new();
    while let Some(piece) = pieces.next().await {
        text.extend_from_slice(&piece?);
        if text.len() > ANSWER_BYTES_MAX {
            return Err(engine_down("what it says of its volumes is too long"));
        }
    }
    let answer: DiskUse = serde_json::from_slice(&text).map_err(engine_down)?;
    let of_ours = |volume: Volume| {
        let is_ours = volume
            .labels
            .is_some_and(|labels| labels.get(LABEL_INSTANCE).is_some_and(|of| *of == instance.to_string()));
        let id = volumes::id_of(instance, &volume.name).filter(|_| is_ours)?;
        Some((id, u64::try_from(volume.usage_data?.size).ok()?))
    };
    Ok(answer.volumes.unwrap_or_default().into_iter().filter_map(of_ours).collect())
}

async fn container_sizes(
    engine: &Engine,
    instance: InstanceId,
) -> Result<Vec<(ContainerId, u64)>, LinkError> {
    let docker = engine.docker().await?;
    let options = ListContainersOptions {
        all: true,
        size: true,
        filters: Some(HashMap::from([("label".to_owned(), vec![format!("{LABEL_INSTANCE}={instance}")])])),
        ..Default::default()
    };
    let rows = within(COUNT_TIMEOUT, docker.list_containers(Some(options))).await?;
    let of_ours = |row: bollard::models::ContainerSummary| {
        let id: ContainerId = row.labels?.get(LABEL_CONTAINER)?.parse().ok()?;
        let names = row.names.unwrap_or_default();
        names.iter().any(|name| containers::is_name_of(name, instance, id)).then_some(())?;
        Some((id, u64::try_from(row.size_rw?).ok()?))
    };
    Ok(rows.into_iter().filter_map(of_ours).collect())
}
