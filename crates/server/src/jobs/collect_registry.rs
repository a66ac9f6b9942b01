//! Tidies up the registry: keeps writers out, removes manifests that no image has, then content that no manifest names, and
//! lets writers in again. Readers notice nothing. A server that dies in between begins anew; what was removed by then
//! nothing needed.

use std::time::Duration;

use store::collections::{self, Outcome};
use store::jobs::Row;
use wire::ids::CollectionId;
use wire::registry::CollectionPhase;

use super::worker::persist;
use crate::app::App;
use crate::domain::images;
use crate::error::{Error, Result};

/// How long pushes that have begun may go on.
const CLOSING_PATIENCE: Duration = Duration::from_mins(30);
/// How often it is looked whether somebody has given it up, while pushes end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Attempts after which it has failed.
const MAX_ATTEMPTS: u32 = 5;

pub(super) async fn run(app: &App, job: &Row) -> Result<()> {
    let Ok(id) = job.target.parse::<CollectionId>() else {
        tracing::error!("this job names no collection");
        return Ok(());
    };
    match collect(app, id).await {
        Ok(None) => Ok(()),
        Ok(Some(bytes)) => {
            tracing::info!(collection.id = %id, bytes, "the registry is tidied up");
            finish(app, id, Outcome::Succeeded(bytes)).await
        }
        Err(error) if error.code == "pushes_go_on" || job.attempt >= MAX_ATTEMPTS => {
            tracing::warn!(collection.id = %id, %error, "the registry is not tidied up");
            finish(app, id, Outcome::Failed(error.code, &error.detail)).await
        }
        Err(error) => Err(error),
    }
}

async fn finish(app: &App, id: CollectionId, outcome: Outcome<'_>) -> Result<()> {
    persist(app, || async { Ok(collections::finish(&app.db, id, outcome, app.now()).await?) }).await.map(drop)
}

/// Waits until somebody has given it up, for ever if nobody does.
async fn until_cancelled(app: &App, id: CollectionId) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Ok(Some(row)) = collections::get(&app.db, id).await
            && row.state.is_final()
        {
            return;
        }
    }
}

/// How many bytes are left; none when it has ended before.
async fn collect(app: &App, id: CollectionId) -> Result<Option<u64>> {
    if !collections::set_phase(&app.db, id, CollectionPhase::Closing).await? {
        return Ok(None);
    }
    let closed = tokio::select! {
        closed = app.registry.gate().close(CLOSING_PATIENCE) => closed,
        () = until_cancelled(app, id) => return Ok(None),
    };
    let Some(_closed) = closed else {
        return Err(Error::conflict(
            "pushes_go_on",
            "pushes did not come to an end; try again when it is quiet",
        ));
    };
    if !collections::set_phase(&app.db, id, CollectionPhase::Sweeping).await? {
        return Ok(None);
    }
    collections::set_bytes_before(&app.db, id, app.registry.content_bytes().await?).await?;
    for target in app.registry.manifests().await? {
        images::delete_content(app, &target).await?;
    }
    app.registry.collect().await?;
    app.registry.content_bytes().await.map(Some)
}
