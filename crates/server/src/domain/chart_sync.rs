//! How a chart repository is synced: its index is fetched if it is another one, read as a stream, and what changed is written in
//! one transaction. Whatever fails leaves the charts as they were.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use futures::FutureExt as _;
use sha2::{Digest as _, Sha256};
use store::chart_repos::{self, Known, Outcome, Row};
use store::{Conn, Tx, accounts, chart_syncs, charts};
use wire::accounts::Role;
use wire::builds::OperationState;
use wire::chart_repos::{ChartRepoBackend, ChartRepoState, ChartSyncView, SyncCause};
use wire::ids::{AccountId, ChartRepoId, ChartSyncId};
use wire::time::Timestamp;

use super::chart_repos::source_of;
use crate::app::App;
use crate::chart_index::{self, Chart, Index, IndexError, Limits, Version};
use crate::chart_syncs::{SyncFailure, SyncResult};
use crate::clients::helm_repo::{self, Bounds, Fetched, Source, Validators};
use crate::clients::http_out::Trust;
use crate::error::{Error, ErrorKind, Result};

/// Versions in one page of JSON.
const PAGE_VERSIONS: usize = 500;
/// Charts in one index.
const MAX_CHARTS: usize = 20_000;
/// Syncs that are kept of a repository.
const KEPT_SYNCS: u64 = 50;
/// The pause after the first failure in seconds; doubles with each, up to the repository's interval.
const FIRST_PAUSE_SECS: i64 = 60;

/// What reading an index gave.
#[derive(Clone)]
pub(crate) enum Read {
    /// The known one.
    Same { fetched_bytes: u64 },
    /// Another one.
    New { index: Index, validators: Validators, fetched_bytes: u64, index_bytes: u64 },
}

/// Syncs a repository, or joins who does that already.
pub(crate) async fn sync(app: &App, row: &Row, cause: SyncCause) -> SyncResult {
    let begin = || {
        let (app, row) = (app.clone(), row.clone());
        async move { sync_alone(&app, row, cause).await.map_err(SyncFailure::from) }.boxed()
    };
    app.chart_syncs.join(row.id, begin).await
}

async fn sync_alone(app: &App, row: Row, cause: SyncCause) -> Result<ChartSyncView> {
    let started_at = app.now();
    let trust = trust_of(app, &row).await?;
    let read = match source_of(app, &row, trust) {
        Ok(source) => read(app, &source, &row.known, row.account_id, Some(row.id)).await,
        Err(error) => Err(error),
    };
    conclude(app, &row, read, cause, started_at).await
}

/// Syncs repositories that have their index in common: it is fetched and read once for all who may reach it.
pub(crate) async fn sync_together(app: &App, group: Vec<(Row, SyncCause)>) -> Vec<(Row, Result<()>)> {
    let started_at = app.now();
    let mut done = Vec::new();
    let mut fetched: BTreeMap<bool, Result<Read, SyncFailure>> = BTreeMap::new();
    // What one of them knows may be new to another.
    let is_known_to_all = group.windows(2).all(|pair| pair[0].0.known.body_hash == pair[1].0.known.body_hash);
    for (row, cause) in group {
        let result = async {
            let trust = trust_of(app, &row).await?;
            let is_admin = trust == Trust::Admin;
            if let Entry::Vacant(place) = fetched.entry(is_admin) {
                let known = if is_known_to_all { row.known.clone() } else { Known::default() };
                let read = match source_of(app, &row, trust) {
                    Ok(source) => read(app, &source, &known, row.account_id, Some(row.id)).await,
                    Err(error) => Err(error),
                };
                place.insert(read.map_err(SyncFailure::from));
            }
            let read = fetched[&is_admin].clone().map_err(Error::from);
            conclude(app, &row, read, cause, started_at).await.map(drop)
        };
        let result = result.await;
        done.push((row, result));
    }
    done
}

/// What those repositories have in common whose index is fetched once for all: address, name and password, authorities. None for one
/// that is fetched alone: charts in a registry, where ours asks who wants to see them.
pub(crate) fn in_common(app: &App, row: &Row) -> Option<[u8; 32]> {
    // Equal passwords are sealed differently.
    let source = source_of(app, row, Trust::Account).ok().filter(|source| source.place.is_none())?;
    let login = source.credential.as_ref();
    let name = login.map_or("", |login| login.username.as_str());
    let password = login.map_or("", |login| login.password.expose());
    let mut hash = Sha256::new();
    for part in [source.url.as_str(), name, password, source.authorities.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update([u8::from(login.is_some())]);
    Some(hash.finalize().into())
}

/// On whose behalf a repository is fetched: its owner's, as the owner is now.
pub(crate) async fn trust_of(app: &App, row: &Row) -> Result<Trust> {
    let owner = accounts::get(&app.db, row.account_id).await?;
    Ok(if owner.is_some_and(|owner| owner.role == Role::Admin) { Trust::Admin } else { Trust::Account })
}

/// Fetches and reads an index, if it is another one; or what a registry has, for this account, beside what is stored of it.
pub(crate) async fn read(
    app: &App,
    source: &Source,
    known: &Known,
    account: AccountId,
    stored: Option<ChartRepoId>,
) -> Result<Read> {
    if let Some(place) = &source.place {
        return super::oci_sync::read(app, account, stored, source, place, known).await;
    }
    let config = &app.config.charts;
    let bounds = Bounds {
        fetched_bytes: config.index_compressed_bytes,
        index_bytes: config.index_bytes,
        patience: Duration::from_secs(config.fetch_secs),
    };
    let known = Validators {
        etag: known.etag.clone(),
        last_modified: known.last_modified.clone(),
        body_hash: known.body_hash.clone(),
    };
    let download = match helm_repo::index(&app.outbound, &app.blobs, source, &known, bounds).await? {
        Fetched::Same { fetched_bytes } => return Ok(Read::Same { fetched_bytes }),
        Fetched::New(download) => *download,
    };
    let limits = Limits { charts: MAX_CHARTS, versions: config.versions };
    let mut file = download.file;
    let parsed = tokio::task::spawn_blocking(move || chart_index::parse(&mut file, limits)).await;
    // A panic is a fault of ours, and of nobody else's repositories.
    let index = parsed.map_err(Error::internal)?.map_err(|error| match error {
        IndexError::Read(error) => error.into(),
        IndexError::Malformed(why) => {
            Error::new(ErrorKind::BadGateway, "index_malformed", format!("the index cannot be read: {why}"))
        }
        IndexError::TooLarge(what) => {
            Error::new(ErrorKind::BadGateway, "index_too_large", format!("the index has more than {what}"))
                .hint("an admin can allow more versions with `charts.versions`")
        }
    })?;
    Ok(Read::New {
        index,
        validators: download.validators,
        fetched_bytes: download.fetched_bytes,
        index_bytes: download.index_bytes,
    })
}

/// Writes down what reading gave, and answers it.
pub(crate) async fn conclude(
    app: &App,
    row: &Row,
    read: Result<Read>,
    cause: SyncCause,
    started_at: Timestamp,
) -> Result<ChartSyncView> {
    let read = match read {
        Ok(Read::Same { fetched_bytes }) => {
            return unchanged(app, row, fetched_bytes, cause, started_at).await;
        }
        Ok(read) => read,
        Err(error) => return Err(failed(app, row, error, cause, started_at).await?),
    };
    let tx = app.db.begin().await?;
    let stored = store(app, &tx, row, read, cause, started_at, open_of(&tx, row.id).await?).await?;
    tx.commit().await?;
    app.chart_syncs.forget(row.id);
    Ok(stored)
}

async fn open_of(c: &dyn Conn, repo: ChartRepoId) -> Result<Option<chart_syncs::Row>> {
    Ok(chart_syncs::open(c).await?.into_iter().find(|sync| sync.repo_id == repo))
}

fn sync_row(
    row: &Row,
    cause: SyncCause,
    started_at: Timestamp,
    open: Option<chart_syncs::Row>,
) -> chart_syncs::Row {
    chart_syncs::Row {
        id: open.map_or_else(|| ChartSyncId(uuid::Uuid::now_v7()), |open| open.id),
        repo_id: row.id,
        cause,
        state: OperationState::Succeeded,
        reason: None,
        message: None,
        started_at,
        ended_at: None,
        found: chart_syncs::Found::default(),
    }
}

async fn put_sync(c: &dyn Conn, sync: &chart_syncs::Row) -> Result<()> {
    if !chart_syncs::set(c, sync).await? {
        chart_syncs::insert(c, sync).await?;
    }
    chart_syncs::keep_newest(c, sync.repo_id, KEPT_SYNCS).await?;
    Ok(())
}

/// Nothing is written where there is nothing to tell: not to who asked and went away, not of a failure that is over.
async fn unchanged(
    app: &App,
    row: &Row,
    fetched_bytes: u64,
    cause: SyncCause,
    started_at: Timestamp,
) -> Result<ChartSyncView> {
    let now = app.now();
    let open = open_of(&app.db, row.id).await?;
    let mut sync = sync_row(row, cause, started_at, open.clone());
    sync.ended_at = Some(now);
    sync.found = chart_syncs::Found {
        fetched_bytes,
        index_bytes: row.known.index_bytes,
        chart_count: row.known.chart_count,
        version_count: row.known.version_count,
        skipped_count: row.known.skipped_count,
        ..Default::default()
    };
    if open.is_some() || row.state != ChartRepoState::Ready {
        let tx = app.db.begin().await?;
        if chart_repos::synced(&tx, row, &Outcome::Read(&row.known), now).await? {
            put_sync(&tx, &sync).await?;
            tx.commit().await?;
        }
    }
    app.chart_syncs.looked_at(row.id, now);
    let is_kept = open.is_some();
    let shown = view(sync);
    Ok(ChartSyncView { not_modified: true, id: shown.id.filter(|_| is_kept), ..shown })
}

/// Keeps a failure with its repository; the error to answer with.
async fn failed(
    app: &App,
    row: &Row,
    error: Error,
    cause: SyncCause,
    started_at: Timestamp,
) -> Result<Error> {
    if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Full) {
        // It says nothing about the repository.
        return Ok(error);
    }
    let tx = app.db.begin().await?;
    let outcome = Outcome::Failed { code: error.code, message: &error.detail };
    if chart_repos::synced(&tx, row, &outcome, app.now()).await? {
        let mut sync = sync_row(row, cause, started_at, open_of(&tx, row.id).await?);
        sync.state = OperationState::Failed;
        sync.reason = Some(error.code.to_owned());
        sync.message = Some(error.detail.clone());
        sync.ended_at = Some(app.now());
        put_sync(&tx, &sync).await?;
        tx.commit().await?;
    }
    tracing::info!(chart_repo.id = %row.id, code = error.code, "a chart repository could not be synced");
    Ok(match error.kind {
        // Whatever is wrong with the address: it was good when it was given.
        ErrorKind::Invalid => Error { kind: ErrorKind::BadGateway, ..error },
        _ => error,
    })
}

/// Writes an index: the charts that are new or different, without those that are gone, and the sync.
pub(super) async fn store(
    app: &App,
    tx: &Tx,
    row: &Row,
    read: Read,
    cause: SyncCause,
    started_at: Timestamp,
    open: Option<chart_syncs::Row>,
) -> Result<ChartSyncView> {
    let Read::New { index, validators, fetched_bytes, index_bytes } = read else {
        return Err(Error::internal("what is known already is not stored"));
    };
    let now = app.now();
    let mut known = charts::hashes(tx, row.id).await?;
    let (mut changed_count, mut replaced_count) = (0, 0);
    let mut problems = index.problems;
    let chart_count = index.charts.len() as u64;
    for (name, chart) in index.charts {
        let before = known.remove(&name);
        let prepared = Prepared::new(&name, &chart)?;
        if before.as_ref().is_some_and(|(_, hash)| *hash == prepared.content_hash) {
            continue;
        }
        changed_count += 1;
        if let Some((id, _)) = &before {
            for version in replaced(tx, *id, &chart).await? {
                replaced_count += 1;
                if problems.len() < 100 {
                    problems.push(format!(
                        "`{name}` {version}: its package is another one than before, under the same version"
                    ));
                }
            }
        }
        charts::put(tx, row.id, before.map(|(id, _)| id), &prepared.row(&name, &chart), now).await?;
    }
    changed_count += known.len() as u64;
    let gone: Vec<i64> = known.into_values().map(|(id, _)| id).collect();
    charts::delete(tx, &gone).await?;
    let learned = Known {
        etag: validators.etag,
        last_modified: validators.last_modified,
        body_hash: validators.body_hash,
        index_bytes,
        chart_count,
        version_count: index.versions,
        skipped_count: index.skipped,
    };
    if !chart_repos::synced(tx, row, &Outcome::Read(&learned), now).await? {
        return Err(Error::conflict(
            "changed_meanwhile",
            "the chart repository was changed or synced at the same time",
        )
        .hint("try again"));
    }
    let mut sync = sync_row(row, cause, started_at, open);
    sync.ended_at = Some(now);
    sync.found = chart_syncs::Found {
        fetched_bytes,
        index_bytes,
        chart_count,
        version_count: index.versions,
        changed_count,
        skipped_count: index.skipped,
        replaced_count,
        problems,
    };
    put_sync(tx, &sync).await?;
    if replaced_count > 0 {
        tracing::warn!(chart_repo.id = %row.id, replaced_count, "packages of a chart repository changed under the same versions");
    }
    Ok(view(sync))
}

/// Versions of a stored chart whose digest is another one now.
async fn replaced(c: &dyn Conn, chart: i64, new: &Chart) -> Result<Vec<String>> {
    let mut before = BTreeMap::new();
    for page in charts::versions(c, chart).await? {
        let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
        before.extend(versions.into_iter().filter_map(|version| Some((version.version, version.digest?))));
    }
    let is_replaced = |version: &&Version| {
        before
            .get(&version.version)
            .is_some_and(|old| version.digest.as_ref().is_some_and(|digest| digest != old))
    };
    Ok(new.versions.iter().filter(is_replaced).map(|version| version.version.clone()).collect())
}

/// A chart in the form in which it is stored.
pub(super) struct Prepared {
    metadata: String,
    keywords: String,
    pages: Vec<String>,
    content_hash: String,
}

impl Prepared {
    pub(super) fn new(name: &str, chart: &Chart) -> Result<Self> {
        let metadata = serde_json::to_string(&chart.metadata).map_err(Error::internal)?;
        let pages: Vec<String> = chart
            .versions
            .chunks(PAGE_VERSIONS)
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()
            .map_err(Error::internal)?;
        let mut hash = Sha256::new();
        for part in [name, &metadata].into_iter().chain(pages.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let keywords = chart.metadata.keywords.join(" ");
        Ok(Self { metadata, keywords, pages, content_hash: hex::encode(hash.finalize()) })
    }

    pub(super) fn row<'a>(&'a self, name: &'a str, chart: &'a Chart) -> charts::New<'a> {
        let best = chart.best_version();
        charts::New {
            name,
            version: best.map_or("", |version| &version.version),
            app_version: best.and_then(|version| version.app_version.as_deref()),
            description: &chart.metadata.description,
            keywords: &self.keywords,
            category: chart.metadata.category.as_deref(),
            published_at: best.and_then(|version| version.created).map(|secs| Timestamp(0).plus_secs(secs)),
            is_deprecated: best.is_some_and(|version| version.deprecated),
            version_count: chart.versions.len() as u64,
            content_hash: &self.content_hash,
            metadata: &self.metadata,
            pages: &self.pages,
        }
    }
}

/// When a repository is synced next by itself; none when it never is.
pub(crate) fn next_at(app: &App, row: &Row) -> Option<Timestamp> {
    if row.settings.backend == ChartRepoBackend::Hosted {
        // Its charts are here.
        return None;
    }
    let interval = i64::from(row.settings.sync_minutes) * 60;
    let looked = app.chart_syncs.last_look(row.id).max(row.last_sync_at);
    let Some(looked) = looked.filter(|_| row.state != ChartRepoState::Syncing) else {
        // It was never read, or not at this address.
        return Some(row.updated_at);
    };
    if interval == 0 {
        return None;
    }
    let pause = match row.failures {
        0 => interval,
        failures => (FIRST_PAUSE_SECS << (failures - 1).min(16)).min(interval),
    };
    // Up to a tenth more or less, the same for everybody who asks: what was made together is not fetched together for ever.
    let seed = Sha256::digest(format!("{} {}", row.id, looked.0));
    let share = i64::from(u16::from_le_bytes([seed[0], seed[1]]));
    Some(looked.plus_secs(pause - pause / 10 + pause / 5 * share / i64::from(u16::MAX)))
}

/// A sync as it is shown.
pub(crate) fn view(row: chart_syncs::Row) -> ChartSyncView {
    let took = row.ended_at.map_or(0, |end| end.0.saturating_sub(row.started_at.0));
    ChartSyncView {
        id: Some(row.id),
        cause: row.cause,
        state: row.state,
        reason: row.reason,
        message: row.message,
        started_at: row.started_at,
        ended_at: row.ended_at,
        duration_ms: u64::try_from(took / 1000).unwrap_or(0),
        not_modified: false,
        fetched_bytes: row.found.fetched_bytes,
        index_bytes: row.found.index_bytes,
        chart_count: row.found.chart_count,
        version_count: row.found.version_count,
        changed_count: row.found.changed_count,
        skipped_count: row.found.skipped_count,
        replaced_count: row.found.replaced_count,
        problems: row.found.problems,
    }
}
