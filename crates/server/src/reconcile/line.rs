//! Moves the line of those who wait for graphics processors: when somebody may have made room, and every few seconds for
//! what nobody tells of, such as a process from outside that has ended.

use std::time::Duration;

use store::{containers, gpu_leases};

use crate::app::App;
use crate::domain::leases::{self, PassError};
use crate::error::{Error, Result};

/// How often the line is looked at without a sign.
const INTERVAL: Duration = Duration::from_secs(10);
/// Looks in a row that were overtaken by another server before this one waits for the next sign.
const TRIES: usize = 8;

/// Works until the server ends.
pub(super) async fn run(app: App) {
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.signals.line.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match advance(&app).await {
            Ok(0) => {}
            Ok(_) => app.signals.containers.notify_one(),
            Err(error) => tracing::warn!(%error, "the line of those who wait does not move; tried again"),
        }
    }
}

/// How many were placed.
async fn advance(app: &App) -> Result<usize> {
    for _ in 0..TRIES {
        // Nothing is written, and nobody is kept waiting, while nobody waits.
        if containers::line_ids(&app.db).await?.is_empty() {
            return Ok(0);
        }
        let tx = app.db.begin().await?;
        gpu_leases::lock(&tx).await?;
        match leases::pass(app, &tx).await {
            Ok(placed) => {
                tx.commit().await?;
                return Ok(placed.len());
            }
            Err(PassError::Overtaken) => {}
            Err(PassError::Other(error)) => return Err(error),
        }
    }
    Err(Error::unavailable("busy", "another server takes what is to be given"))
}
