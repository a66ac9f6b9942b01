//! Collections: an admin has the registry tidied up. One at a time.

use store::collections::{self, Row};
use store::jobs;
use wire::ids::CollectionId;
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
    let now = app.now();
    let id = CollectionId(uuid::Uuid::now_v7());
    let tx = app.db.begin().await?;
    // Two admins at once: one of them waits here, and finds the other's.
    store::settings::lock(&tx, "collections.lock").await?;
    if let Some(other) = collections::unfinished(&tx).await? {
        let detail = format!("the registry is being tidied up already, since {}", other.created_at);
        return Err(Error::conflict("collection_runs", detail).with("id", other.id.to_string()));
    }
    collections::insert(&tx, id, caller.account, now).await?;
    let target = id.to_string();
    let job = jobs::New {
        kind: jobs::Kind::CollectRegistry,
        target: &target,
        account_id: Some(caller.account),
        run_at: now,
        now,
    };
    jobs::enqueue(&tx, &job).await?;
    audit::record(app, caller, &tx, Event { action: "registry.collect", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    app.signals.jobs.notify_one();
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
