//! Finishes what was left half done of workloads by an earlier server or because a cluster did not answer: what was stored and not
//! applied, and what was to go. Applies again what went with its namespace.

use std::time::Duration;

use store::workloads;

use crate::app::App;
use crate::domain::workloads::settle;

/// How often.
const INTERVAL: Duration = Duration::from_secs(20);

/// Works until the server ends.
pub(super) async fn run(app: App) {
    let mut began = app.now();
    loop {
        match workloads::unfinished(&app.db).await {
            Ok(rows) => {
                for row in rows {
                    if let Err(error) = settle(&app, &row, began).await {
                        tracing::warn!(workload.id = %row.id, %error, "workload `{}` is not as wished", row.name);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "workloads are looked at later"),
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            // Nobody has those in hand.
            () = app.signals.workloads.notified() => began = app.now(),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
