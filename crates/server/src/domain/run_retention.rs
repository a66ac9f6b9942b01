//! How long runs are kept: those that ended long ago or have more logs than may be kept go, with what belongs to them.

use store::runs::{self, Row};
use store::webhook_deliveries;
use wire::ids::BuildId;

use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::error::Result;

/// Runs that are removed together.
const SWEPT_AT_ONCE: u64 = 200;
/// Days for which deliveries of webhooks are kept.
const KEEP_DELIVERIES_DAYS: u32 = 30;

/// Removes runs that ended long ago or have more logs than may be kept, with their logs, and deliveries of webhooks that nobody looks at any more.
pub(crate) async fn sweep(app: &App) -> Result<()> {
    let ago = |days: u32| app.now().plus_secs(-i64::from(days) * 24 * 3600);
    webhook_deliveries::delete_before(&app.db, ago(KEEP_DELIVERIES_DAYS)).await?;
    sweep_by_size(app).await?;
    if app.config.pipelines.keep_days == 0 {
        return Ok(());
    }
    loop {
        let old = runs::ended_before(&app.db, ago(app.config.pipelines.keep_days), SWEPT_AT_ONCE).await?;
        for run in &old {
            remove(app, run).await?;
        }
        if (old.len() as u64) < SWEPT_AT_ONCE {
            return Ok(());
        }
    }
}

/// Removes the oldest runs that have ended until the logs of the others have no more bytes than they may.
async fn sweep_by_size(app: &App) -> Result<()> {
    let limit = app.config.pipelines.keep_bytes;
    if limit == 0 {
        return Ok(());
    }
    let blobs = app.blobs.clone();
    let mut logs = blocking(move || blobs.sizes(BlobKind::BuildLog)).await?;
    // Names are ids, which grow with time.
    logs.sort_unstable_by(|one, other| other.cmp(one));
    let mut bytes = 0;
    for (name, length) in logs {
        let Ok(uuid) = name.parse::<BuildId>() else { continue };
        // Logs of other operations are in the same folder.
        let Some(run) = runs::by_uuid(&app.db, uuid).await? else { continue };
        bytes += length;
        if bytes > limit && run.state.is_final() {
            remove(app, &run).await?;
        }
    }
    Ok(())
}

async fn remove(app: &App, run: &Row) -> Result<()> {
    // The file first: a row without its log says so, a log without its row would stay for ever.
    let (blobs, name) = (app.blobs.clone(), run.uuid.to_string());
    blocking(move || blobs.delete(BlobKind::BuildLog, &name)).await?;
    runs::delete(&app.db, run.id).await?;
    Ok(())
}
