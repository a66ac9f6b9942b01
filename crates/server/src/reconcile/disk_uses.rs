//! Has machines count what volumes and containers hold on their disks: now and then, and a moment after something may have
//! changed much.

use std::collections::HashMap;
use std::time::Duration;

use store::{containers, volumes};
use wire::disk_uses::MeasureDisk;
use wire::ids::MachineId;

use crate::app::App;
use crate::disk_uses::DiskUse;
use crate::error::Result;

/// How often everything is counted.
const INTERVAL: Duration = Duration::from_mins(10);
/// After a signal: what comes together is counted together, and never all the time.
const PAUSE: Duration = Duration::from_secs(5);
/// The machines look at every file.
const COUNT_TIMEOUT: Duration = Duration::from_mins(5);

/// Works until the server ends.
pub(super) async fn run(app: App) {
    loop {
        for machine in app.hub.connected() {
            let counted = tokio::select! {
                () = app.shutdown.cancelled() => return,
                counted = count(&app, &machine) => counted,
            };
            if let Err(error) = counted {
                tracing::debug!(machine.id = %machine, %error, "what is on the machine's disk is not counted");
            }
        }
        // Who waits because of its disk may have room now.
        app.signals.line.notify_one();
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
            () = app.signals.disk_uses.notified() => {}
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Counts on one machine; what the book does not know of is nobody's.
async fn count(app: &App, machine: &MachineId) -> Result<()> {
    let counted = app.hub.call(machine, &MeasureDisk { instance: app.instance }, COUNT_TIMEOUT).await?;
    let of_containers: HashMap<_, _> = containers::all_of_machine(&app.db, machine)
        .await?
        .into_iter()
        .map(|row| (row.id, row.account_id))
        .collect();
    let of_volumes: HashMap<_, _> = volumes::all_of_machine(&app.db, machine)
        .await?
        .into_iter()
        .map(|row| (row.id, row.account_id))
        .collect();
    let volumes = counted.volumes.into_iter();
    let containers = counted.containers.into_iter();
    let known = DiskUse {
        volumes: volumes.filter_map(|(id, bytes)| Some((id, (*of_volumes.get(&id)?, bytes)))).collect(),
        containers: containers
            .filter_map(|(id, bytes)| Some((id, (*of_containers.get(&id)?, bytes))))
            .collect(),
    };
    app.disk_uses.put(machine, known);
    Ok(())
}
