//! Finishes what an earlier server left half done of workloads: what was stored and not applied, and what was to go.

use std::time::Duration;

use store::workloads;

use crate::app::App;
use crate::domain::workloads::settle;

/// How often.
const INTERVAL: Duration = Duration::from_secs(20);

/// Works until the server ends.
pub(super) async fn run(app: App) {
    let began = app.now();
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
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
