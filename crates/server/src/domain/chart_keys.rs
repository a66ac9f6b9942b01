//! Keys by which signed charts are verified. An admin adds those that count everywhere, a repository's owner those of its charts.

use store::{accounts, chart_keys as rows};
use wire::chart_keys::{ChartKeyCreate, ChartKeyQuery, ChartKeyView};
use wire::ids::ChartKeyId;
use wire::page::Page;

use super::audit::{self, Event};
use super::chart_repos;
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::key_ring;

/// Keys that count for one repository, those for all of them included.
const MAX_KEYS: u64 = 100;

/// The keys that count for a repository that the caller sees, or for every one.
pub async fn list(app: &App, caller: &Caller, query: &ChartKeyQuery) -> Result<Page<ChartKeyView>> {
    let repo = match query.repo.as_deref().filter(|repo| !repo.is_empty()) {
        Some(repo) => Some(chart_repos::find(app, caller, repo).await?.id),
        None => None,
    };
    let mut views = Vec::new();
    for row in rows::of_repo(&app.db, repo).await? {
        views.push(view(app, row).await?);
    }
    // There are few, so that all of them are shown.
    Ok(Page { total: views.len() as u64, data: views, limit: MAX_KEYS, offset: 0 })
}

/// Adds keys.
pub async fn create(app: &App, caller: &Caller, new: &ChartKeyCreate) -> Result<Vec<ChartKeyView>> {
    let repo = match new.repo.as_deref().filter(|repo| !repo.is_empty()) {
        Some(repo) => Some(chart_repos::owned(app, caller, repo).await?),
        None if caller.is_admin() => None,
        None => {
            return Err(Error::forbidden(
                "admin_only",
                "only an admin can add keys that count for every repository",
            )
            .hint("name a chart repository of yours: `repo`"));
        }
    };
    let wrong = |why: String| Error::invalid("key", format!("the key cannot be used: {why}"));
    let keys = key_ring::read(&new.key).map_err(wrong)?;
    let repo_id = repo.as_ref().map(|repo| repo.id);
    let now = app.now();
    let tx = app.db.begin().await?;
    let known = rows::of_repo(&tx, repo_id).await?;
    if known.len() as u64 + keys.len() as u64 > MAX_KEYS {
        return Err(Error::conflict(
            "too_many_keys",
            format!("at most {MAX_KEYS} keys count for a repository"),
        )
        .hint("delete those that nobody signs with any more"));
    }
    let mut added = Vec::new();
    for key in keys {
        if known.iter().any(|known| known.fingerprint == key.fingerprint && known.repo_id == repo_id) {
            return Err(Error::conflict("exists", format!("the key {} is there already", key.fingerprint)));
        }
        let row = rows::Row {
            id: ChartKeyId(uuid::Uuid::now_v7()),
            repo_id,
            account_id: caller.account,
            armored: key.armored(),
            identity: key.identity,
            fingerprint: key.fingerprint,
            created_at: now,
        };
        rows::insert(&tx, &row).await?;
        let acting_for = repo.as_ref().map(|repo| repo.account_id);
        let event = Event { action: "chart_key.create", target: &row.fingerprint, acting_for };
        audit::record(app, caller, &tx, event).await?;
        added.push(row);
    }
    tx.commit().await?;
    let mut views = Vec::new();
    for row in added {
        views.push(view(app, row).await?);
    }
    Ok(views)
}

/// Deletes a key: what was signed with it is not verified any more.
pub async fn delete(app: &App, caller: &Caller, id: ChartKeyId) -> Result<()> {
    let none = || Error::not_found("key", id);
    let row = rows::get(&app.db, id).await?.ok_or_else(none)?;
    let acting_for = match row.repo_id {
        // Whoever does not see the repository does not see its keys.
        Some(repo) => {
            let repo = chart_repos::find(app, caller, &repo.to_string()).await.map_err(|_| none())?;
            Some(chart_repos::owned(app, caller, &repo.id.to_string()).await?.account_id)
        }
        None if caller.is_admin() => None,
        None => {
            return Err(Error::forbidden(
                "admin_only",
                "only an admin can delete keys that count for every repository",
            ));
        }
    };
    let tx = app.db.begin().await?;
    if !rows::delete(&tx, id).await? {
        return Err(none());
    }
    let event = Event { action: "chart_key.delete", target: &row.fingerprint, acting_for };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    Ok(())
}

async fn view(app: &App, row: rows::Row) -> Result<ChartKeyView> {
    let added_by = accounts::get(&app.db, row.account_id).await?.map(|account| account.account);
    Ok(ChartKeyView {
        id: row.id,
        repo_id: row.repo_id,
        identity: row.identity,
        fingerprint: row.fingerprint,
        added_by,
        created_at: row.created_at,
    })
}
