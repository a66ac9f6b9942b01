//! Stops containers whose time is over: writes down that they are to be stopped, as their owners would. Some time before, it
//! says so in their state.

use std::time::Duration;

use store::containers::{self, Desired, StateChange};
use wire::containers::ContainerState;
use wire::ids::ContainerId;
use wire::time::Timestamp;

use crate::app::App;
use crate::domain::audit;
use crate::error::Result;

/// How late a container may be stopped.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long before its end a container says so, at most; it is a tenth of its time where that is shorter.
const WARNING_SECS: u64 = 900;
/// The reason of a container that runs and whose end is near.
const ENDS_SOON: &str = "ends_soon";

/// Looks every few seconds until the server ends.
pub(super) async fn run(app: App) {
    let mut timer = tokio::time::interval(INTERVAL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = timer.tick() => {}
        }
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "containers whose time is over run on until the next look");
        }
    }
}

async fn look(app: &App) -> Result<()> {
    let now = app.now();
    let horizon = now.plus_secs(i64::try_from(WARNING_SECS).unwrap_or(i64::MAX));
    for row in containers::ending_by(&app.db, horizon).await? {
        if row.ends_at.is_some_and(|ends_at| ends_at > now) {
            if is_to_be_warned(&row, now) {
                warn(app, row.id).await?;
            }
            continue;
        }
        if stop(app, row.id).await? {
            tracing::info!(container.id = %row.id, "the time of container `{}` is over", row.name);
            app.signals.containers.notify_one();
        }
    }
    Ok(())
}

fn is_to_be_warned(row: &containers::Row, now: Timestamp) -> bool {
    let secs = WARNING_SECS.min(row.max_duration_secs.unwrap_or_default() / 10);
    let is_near = row.ends_at.is_some_and(|ends_at| {
        ends_at > now && ends_at <= now.plus_secs(i64::try_from(secs).unwrap_or(i64::MAX))
    });
    is_near
        && row.desired == Desired::Running
        && row.state == ContainerState::Running
        && row.reason.as_deref() != Some(ENDS_SOON)
}

/// Says in its state that a container's end is near, so that whoever watches it is told.
async fn warn(app: &App, id: ContainerId) -> Result<()> {
    let now = app.now();
    let tx = app.db.begin().await?;
    let row = containers::locked(&tx, id).await?;
    let Some(row) = row.filter(|row| is_to_be_warned(row, now)) else { return Ok(()) };
    let ends_at = row.ends_at.map(|ends_at| ends_at.to_string()).unwrap_or_default();
    let message = format!(
        "its time is over at {ends_at}, and it is stopped then; what is on its disk stays, and it can be started again"
    );
    let change = StateChange {
        reason: Some(ENDS_SOON),
        message: Some(&message),
        ..row.change(ContainerState::Running)
    };
    containers::set_state(&tx, id, &change, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether it still had to be stopped.
async fn stop(app: &App, id: ContainerId) -> Result<bool> {
    let now = app.now();
    let tx = app.db.begin().await?;
    let row = containers::locked(&tx, id).await?;
    let is_overdue = |row: &containers::Row| {
        row.desired == Desired::Running && row.ends_at.is_some_and(|ends_at| ends_at <= now)
    };
    let Some(row) = row.filter(is_overdue) else { return Ok(false) };
    containers::set_desired(&tx, id, Desired::Stopped, now).await?;
    containers::set_restart(&tx, id, false).await?;
    audit::record_by_nobody(app, &tx, "container.max_duration", row.name.as_str(), None).await?;
    tx.commit().await?;
    Ok(true)
}

/// A length of time as people say it, as exact as it was asked for.
pub(super) fn in_words(secs: u64) -> String {
    let parts = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    if said.is_empty() { "0 s".to_owned() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_said_exactly() {
        assert_eq!(in_words(0), "0 s");
        assert_eq!(in_words(7_200), "2 h");
        assert_eq!(in_words(90_061), "1 d 1 h 1 min 1 s");
    }
}
