//! Removes what has outlived its time: sessions and invitations that ended, what the registry reported long ago, logs of
//! containers that are gone; and has the registry tidied up when that is due.

use std::time::Duration;

use store::{invites, registry_events, sessions};

use crate::app::App;
use crate::domain::{collections, logs};
use crate::error::Result;

/// How often it is looked; nothing is written when there is nothing to remove.
const INTERVAL: Duration = Duration::from_hours(1);
/// How long what the registry reported is kept, for whoever asks where a push came from.
const EVENTS_KEPT_SECS: i64 = 90 * 24 * 3600;

/// Looks now and then until the server ends.
pub(super) async fn run(app: App) {
    let mut timer = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = timer.tick() => {}
        }
        if let Err(error) = remove(&app).await {
            tracing::warn!(%error, "what has expired stays until the next look");
        }
        if let Err(error) = collections::create_due(&app).await {
            tracing::warn!(%error, "the registry is not tidied up before the next look");
        }
    }
}

/// Removes what has expired by now.
async fn remove(app: &App) -> Result<()> {
    let now = app.now();
    let ended = sessions::delete_expired(&app.db, now).await?;
    let invites = invites::delete_expired(&app.db, now).await?;
    let events = registry_events::delete_before(&app.db, now.plus_secs(-EVENTS_KEPT_SECS)).await?;
    let kept_logs = logs::remove_expired(app).await?;
    if ended + invites + events + kept_logs > 0 {
        tracing::info!(
            sessions = ended,
            invites,
            registry.events = events,
            kept_logs,
            "removed what had expired"
        );
    }
    Ok(())
}
