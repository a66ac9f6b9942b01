//! The audit log. Rows are written in the transaction of the change they tell of, so that neither exists without the
//! other.

use store::{Conn, audit};
use wire::audit::AuditView;
use wire::ids::AccountId;
use wire::page::{Page, PageQuery};

use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// What was done to what.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// `noun.verb`.
    pub action: &'a str,
    /// By name or id; never a secret.
    pub target: &'a str,
    /// In whose name, when that is somebody else's.
    pub acting_for: Option<AccountId>,
}

/// Records a change, in the transaction that makes it.
pub async fn record(app: &App, caller: &Caller, conn: &dyn Conn, event: Event<'_>) -> Result<()> {
    let ip = caller.ip.map(|ip| ip.to_string());
    let row = audit::New {
        at: app.now(),
        actor: Some(caller.account),
        acting_for: event.acting_for.filter(|account| *account != caller.account),
        action: event.action,
        target: event.target,
        result: "done",
        ip: ip.as_deref(),
        request_id: caller.request_id.as_deref(),
    };
    audit::insert(conn, &row).await?;
    Ok(())
}

/// Records what the server itself decided, after something that came from an address.
pub async fn record_by_nobody(
    app: &App,
    conn: &dyn Conn,
    action: &str,
    target: &str,
    ip: Option<std::net::IpAddr>,
) -> Result<()> {
    let ip = ip.map(|ip| ip.to_string());
    let row = audit::New {
        at: app.now(),
        actor: None,
        acting_for: None,
        action,
        target,
        result: "done",
        ip: ip.as_deref(),
        request_id: None,
    };
    audit::insert(conn, &row).await?;
    Ok(())
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only what this account did.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only this target.
    pub target: Option<String>,
    /// Action or target contains this.
    pub search: Option<String>,
}

/// Lists the log, newest first (admin).
pub async fn list(app: &App, caller: &Caller, filter: Filter, page: PageQuery) -> Result<Page<AuditView>> {
    if !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can read the audit log"));
    }
    let actor = match &filter.actor {
        None => None,
        Some(name) => Some(super::accounts::find(app, name).await?.id),
    };
    let filter = audit::Filter {
        actor,
        action: filter.action.as_deref(),
        target: filter.target.as_deref(),
        search: filter.search.as_deref().filter(|text| !text.is_empty()),
        ..audit::Filter::default()
    };
    let found = audit::list(&app.db, filter, page).await?;
    Ok(super::page_of(found, page, |row| row))
}
