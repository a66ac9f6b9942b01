//! Has machines remove the volumes that are to go, as soon as they can be reached. Doing it twice finds nothing the second
//! time.

use std::time::Duration;

use store::volumes;
use wire::volumes::RemoveVolume;

use crate::app::App;
use crate::error::{Error, Result};

/// How often it is tried again.
const INTERVAL: Duration = Duration::from_secs(10);
/// Of a volume with many files on a slow disk.
const REMOVAL_TIMEOUT: Duration = Duration::from_mins(2);

/// Works until the server ends.
pub(super) async fn run(app: App) {
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = async {
                if let Err(error) = remove_all(&app).await {
                    tracing::warn!(%error, "volumes cannot be removed now; tried again");
                }
            } => {}
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.signals.volumes.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn remove_all(app: &App) -> Result<()> {
    let rows = volumes::deleting(&app.db).await?;
    let connected = if rows.is_empty() { Vec::new() } else { app.hub.connected() };
    for row in rows.into_iter().filter(|row| connected.contains(&row.machine_id)) {
        let account = store::accounts::get(&app.db, row.account_id).await?;
        let account = account.ok_or_else(|| Error::internal("a volume's account is missing"))?;
        let call = RemoveVolume { instance: app.instance, account: account.account, volume: row.id };
        match app.hub.call(&row.machine_id, &call, REMOVAL_TIMEOUT).await {
            Ok(_) => {
                volumes::delete(&app.db, row.id).await?;
                tracing::info!(volume.id = %row.id, machine.id = %row.machine_id, "volume `{}` is deleted", row.name);
            }
            Err(error) => {
                tracing::warn!(volume.id = %row.id, machine.id = %row.machine_id, %error, "volume `{}` is not deleted yet; tried again", row.name);
            }
        }
    }
    Ok(())
}
