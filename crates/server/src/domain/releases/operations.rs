//! What is done to releases: each a row, a job and a log, which can be followed and read when the release is gone.

use store::jobs;
use store::release_operations::{self, Row};
use wire::builds::OperationState;
use wire::ids::{BuildId, ReleaseOperationId};
use wire::page::{Page, PageQuery};
use wire::releases::{ReleaseAction, ReleaseOperationQuery, ReleaseOperationView};

use super::operation_view;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::audit::{self, Event};
use crate::domain::operation_log::OperationLog;
use crate::error::{Error, Result};

/// The id under which an operation's log is kept.
pub(crate) fn log_id(id: ReleaseOperationId) -> BuildId {
    BuildId(id.0)
}

async fn find(app: &App, caller: &Caller, id: ReleaseOperationId) -> Result<Row> {
    let row = release_operations::get(&app.db, id).await?;
    row.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("operation", id))
}

/// Lists operations, newest first: the caller's own, everybody's for an admin.
pub async fn list(
    app: &App,
    caller: &Caller,
    query: &ReleaseOperationQuery,
) -> Result<Page<ReleaseOperationView>> {
    let account = (!caller.is_admin()).then_some(caller.account);
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let found = release_operations::list(&app.db, account, query.release_id, page).await?;
    Ok(crate::domain::page_of(found, page, operation_view))
}

/// An operation.
pub async fn get(app: &App, caller: &Caller, id: ReleaseOperationId) -> Result<ReleaseOperationView> {
    find(app, caller, id).await.map(operation_view)
}

/// Asks for the end of an operation: it ends when a worker has looked what there is of the release, and when Helm has let go
/// of it.
pub async fn cancel(app: &App, caller: &Caller, id: ReleaseOperationId) -> Result<ReleaseOperationView> {
    let row = find(app, caller, id).await?;
    if row.state == OperationState::Cancelled || row.cancel_requested {
        return Ok(operation_view(row));
    }
    if matches!(row.action, ReleaseAction::Uninstall | ReleaseAction::Recover)
        && row.state == OperationState::Running
    {
        let detail = "what is removed or brought in order cannot be left half done";
        return Err(Error::conflict("cannot_cancel", detail).hint("wait until it has ended"));
    }
    let tx = app.db.begin().await?;
    if !release_operations::request_cancel(&tx, id).await? {
        return Err(Error::conflict("operation_ended", "the operation has ended already"));
    }
    let target = format!("{}/{}", row.place.namespace, row.place.name);
    let event = Event { action: "release.cancel", target: &target, acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.operation_logs.touched(log_id(id));
    app.signals.jobs.any();
    get(app, caller, id).await
}

/// Opens an operation's log for its owner or an admin.
pub async fn log(app: &App, caller: &Caller, id: ReleaseOperationId) -> Result<Log> {
    find(app, caller, id).await?;
    Ok(Log { app: app.clone(), id })
}

/// An operation's log: what Helm said. Holds nothing of it: every read goes to the file.
pub struct Log {
    app: App,
    id: ReleaseOperationId,
}

impl OperationLog for Log {
    type View = ReleaseOperationView;

    fn app(&self) -> &App {
        &self.app
    }

    fn id(&self) -> BuildId {
        log_id(self.id)
    }

    async fn view(&self) -> Result<ReleaseOperationView> {
        let row = release_operations::get(&self.app.db, self.id).await?;
        row.map(operation_view).ok_or_else(|| Error::not_found("operation", self.id))
    }

    fn state(view: &ReleaseOperationView) -> OperationState {
        view.state
    }
}

/// A job for an operation.
pub(super) fn job<'a>(target: &'a str, row: &Row) -> jobs::New<'a> {
    jobs::New {
        kind: jobs::Kind::ChangeRelease,
        target,
        account_id: Some(row.account_id),
        run_at: row.created_at,
        now: row.created_at,
    }
}
