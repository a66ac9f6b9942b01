//! Tells others of runs: targets of notifications, and git servers how a commit fares. Done twice, the second message has
//! the id of the first. Whoever does not listen is given up after some tries, and the owner can see that: no admin need look.

use store::jobs::Row;
use store::runs;
use wire::ids::{BuildId, NotificationTargetId};

use crate::app::App;
use crate::domain::notifications;
use crate::error::{Error, ErrorKind, Result};

async fn run_of(app: &App, text: &str) -> Result<Option<runs::Row>> {
    let uuid: BuildId = text.parse().map_err(|_| Error::internal("this job names no run"))?;
    Ok(runs::by_uuid(&app.db, uuid).await?)
}

/// The target is the run's uuid and the number of who is to hear of it.
pub(super) async fn notify(app: &App, job: &Row) -> Result<()> {
    let (uuid, target) = job.target.split_once(' ').unwrap_or((&job.target, ""));
    let target: NotificationTargetId =
        target.parse().map_err(|_| Error::internal("this job names nobody to tell"))?;
    let Some(run) = run_of(app, uuid).await? else { return Ok(()) };
    match notifications::notify(app, &run, target).await {
        Err(error) if is_final(job, &error) => {
            tracing::info!(%error, run.id = %run.id, target.id = %target, "a notification was not taken");
            Ok(())
        }
        told => told,
    }
}

/// The target is the run's uuid; what is told is how it is now.
pub(super) async fn report_status(app: &App, job: &Row) -> Result<()> {
    let Some(run) = run_of(app, &job.target).await? else { return Ok(()) };
    match notifications::report_status(app, &run).await {
        Err(error) if is_final(job, &error) => {
            tracing::info!(%error, run.id = %run.id, "a git server did not take a commit's status");
            notifications::note_unreported(app, &run, &error).await
        }
        told => told,
    }
}

/// Whether another try is of no use, when it is not our fault.
fn is_final(job: &Row, error: &Error) -> bool {
    let is_last = job.attempt >= super::max_attempts(job.kind);
    match error.kind {
        ErrorKind::BadGateway | ErrorKind::GatewayTimeout => is_last,
        // An address or a token that we do not use: it will not be better the next time.
        ErrorKind::Invalid => true,
        _ => false,
    }
}
