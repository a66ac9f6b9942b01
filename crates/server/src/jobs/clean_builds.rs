//! Removes what builds left on a machine or in a cluster: after each that has ended, and whenever a machine or its engine
//! (re)appears, because nobody knows what was cut off when it went. `reconcile::machines` sees that.

use std::time::Duration;

use store::builds;
use store::jobs::Row;
use wire::builds::OperationState;
use wire::ids::{BuildId, MachineId};
use wire::link::{CleanBuilds, LinkErrorCode};
use wire::time::Timestamp;

use super::Shared;
use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::domain;
use crate::error::Result;
use crate::link::CallError;

/// How long a machine may take to clean.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(app: &App, shared: &Shared, job: &Row) -> Result<()> {
    if let Some(cluster) = domain::cluster_builds::cluster_of_target(&job.target) {
        let _guard = shared.cleaning.lock().await;
        return domain::cluster_builds::clean(app, cluster).await;
    }
    let Ok(machine) = job.target.parse::<MachineId>() else {
        tracing::error!("this job names no machine");
        return Ok(());
    };
    let _guard = shared.cleaning.lock().await;
    let unfinished = builds::unfinished(&app.db).await?;
    let runs = unfinished.into_iter().filter(|row| row.state == OperationState::Running);
    let call = CleanBuilds { instance: app.instance, keep: runs.map(|row| row.id).collect() };
    match app.hub.call(&machine, &call, PATIENCE).await {
        Ok(done) => {
            tracing::debug!(machine.id = %machine, containers = done.containers, tags = done.tags, "cleaned up behind builds");
            Ok(())
        }
        // The machine is cleaned when it is back, or its engine is.
        Err(CallError::NotConnected) => Ok(()),
        Err(CallError::Refused(error)) if error.code == LinkErrorCode::EngineDown => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes contexts that no build needs any more, of those that were there before a time.
pub(super) async fn sweep_contexts(app: &App, begun_before: Timestamp) -> Result<()> {
    let blobs = app.blobs.clone();
    let names = blocking(move || blobs.names(BlobKind::Context)).await?;
    let unfinished = builds::unfinished(&app.db).await?;
    for name in names {
        let id = name.parse::<BuildId>().ok();
        let is_needed = id.is_some_and(|id| unfinished.iter().any(|build| build.id == id));
        let made_at = id.and_then(|id| id.0.get_timestamp()).map_or(0, |time| time.to_unix().0);
        let is_new = i64::try_from(made_at).unwrap_or(i64::MAX) >= begun_before.unix_secs();
        if is_needed || is_new {
            continue;
        }
        // A run's build has the run's id, which is older than its context.
        if let Some(id) = id
            && store::runs::by_uuid(&app.db, id).await?.is_some_and(|run| !run.state.is_final())
        {
            continue;
        }
        let blobs = app.blobs.clone();
        blocking(move || blobs.delete(BlobKind::Context, &name)).await?;
    }
    Ok(())
}
