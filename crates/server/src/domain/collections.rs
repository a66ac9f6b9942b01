//! Collections: an admin has the registry tidied up, or has it done every so many days. One at a time.

use store::collections::{self, Row};
use store::{Tx, accounts, jobs};
use wire::builds::OperationState;
use wire::ids::{AccountId, CollectionId};
use wire::names::AccountName;
use wire::page::{Page, PageQuery};
use wire::registry::CollectionView;

use super::audit::{self, Event};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// Accepts a collection; a job does it.
pub async fn create(app: &App, caller: &Caller) -> Result<CollectionView> {
    require_admin(caller)?;
    if !app.registry.is_own() {
        let detail = "the registry is an external one: tidy it up where it runs";
        return Err(Error::conflict("external_registry", detail));
    }
    let tx = app.db.begin().await?;
    let id = accept(app, &tx, caller.account).await?;
    let target = id.to_string();
    audit::record(app, caller, &tx, Event { action: "registry.collect", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    app.signals.jobs.any();
    get(app, caller, id).await
}

/// Writes down one and its job, unless another has not ended.
async fn accept(app: &App, tx: &Tx, account: AccountId) -> Result<CollectionId> {
    let (id, now) = (CollectionId(uuid::Uuid::now_v7()), app.now());
    // Two at once: one of them waits here, and finds the other's.
    store::settings::lock(tx, "collections.lock").await?;
    if let Some(other) = collections::unfinished(tx).await? {
        let detail = format!("the registry is being tidied up already, since {}", other.created_at);
        return Err(Error::conflict("collection_runs", detail).with("id", other.id.to_string()));
    }
    collections::insert(tx, id, account, now).await?;
    let target = id.to_string();
    let job = jobs::New {
        kind: jobs::Kind::CollectRegistry,
        target: &target,
        account_id: Some(account),
        run_at: now,
        now,
    };
    jobs::enqueue(tx, &job).await?;
    Ok(id)
}

/// Accepts one, in the name of `admin`, when the settings want one every so many days and the last one is as old; whether it
/// did.
pub async fn create_due(app: &App) -> Result<bool> {
    let days = i64::from(app.config.registry.collect_days);
    if days == 0 || !app.registry.is_own() {
        return Ok(false);
    }
    let Some(admin) = accounts::by_name(&app.db, &AccountName::admin()).await? else { return Ok(false) };
    let last = collections::newest(&app.db).await?.map_or(admin.created_at, |newest| newest.created_at);
    if last.plus_secs(days * 24 * 3600) > app.now() {
        return Ok(false);
    }
    let tx = app.db.begin().await?;
    match accept(app, &tx, admin.id).await {
        Ok(id) => {
            tx.commit().await?;
            tracing::info!(collection.id = %id, "the registry is to be tidied up, as every {days} days");
            app.signals.jobs.any();
            Ok(true)
        }
        // Somebody was quicker.
        Err(error) if error.code == "collection_runs" => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives one up that removes nothing yet.
pub async fn cancel(app: &App, caller: &Caller, id: CollectionId) -> Result<CollectionView> {
    let before = get(app, caller, id).await?;
    if before.state == OperationState::Cancelled {
        return Ok(before);
    }
    let tx = app.db.begin().await?;
    if !collections::cancel(&tx, id, app.now()).await? {
        let now =
            collections::get(&tx, id).await?.map(view).ok_or_else(|| Error::not_found("collection", id))?;
        if now.state.is_final() {
            return Err(Error::conflict("collection_ended", "the collection has ended already"));
        }
        let detail = "what nothing needs is being removed already; that must come to its end, which is soon";
        return Err(Error::conflict("collection_sweeps", detail));
    }
    let target = id.to_string();
    let event = Event { action: "registry.collect_cancel", target: &target, acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    get(app, caller, id).await
}

/// One collection.
pub async fn get(app: &App, caller: &Caller, id: CollectionId) -> Result<CollectionView> {
    require_admin(caller)?;
    let row = collections::get(&app.db, id).await?;
    row.map(view).ok_or_else(|| Error::not_found("collection", id))
}

/// Lists collections, newest first.
pub async fn list(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<CollectionView>> {
    require_admin(caller)?;
    let found = collections::list(&app.db, page).await?;
    Ok(super::page_of(found, page, view))
}

fn require_admin(caller: &Caller) -> Result<()> {
    if caller.is_admin() { Ok(()) } else { Err(Error::forbidden("admin_only", "only an admin can do this")) }
}

fn view(row: Row) -> CollectionView {
    let freed_bytes =
        row.bytes_before.zip(row.bytes_after).map(|(before, after)| before.saturating_sub(after));
    CollectionView {
        id: row.id,
        state: row.state,
        phase: row.phase,
        reason: row.reason,
        message: row.message,
        bytes_before: row.bytes_before,
        bytes_after: row.bytes_after,
        freed_bytes,
        created_at: row.created_at,
        ended_at: row.ended_at,
    }
}
