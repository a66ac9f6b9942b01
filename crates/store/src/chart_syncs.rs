//! How chart repositories were synced: the last times that changed something, failed, or were asked for.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::builds::OperationState;
use wire::chart_repos::SyncCause;
use wire::ids::{ChartRepoId, ChartSyncId};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::PageOf;
use crate::sql::{
    Cell, Cells, Word, count_of, count_query, insert as insert_row, int, json, select, shortened, update,
    words,
};

const TABLE: &str = "chart_syncs";
const COLUMNS: &[&str] = &[
    "id",
    "repo_id",
    "cause",
    "state",
    "reason",
    "message",
    "started_at",
    "ended_at",
    "fetched_bytes",
    "index_bytes",
    "chart_count",
    "version_count",
    "changed_count",
    "skipped_count",
    "replaced_count",
    "problems",
];

words!(SyncCause { Manual = "manual", Timer = "timer", Create = "create", Change = "change" });

/// One sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sync; its UUIDv7 orders the list.
    pub id: ChartSyncId,
    /// Of which repository.
    pub repo_id: ChartRepoId,
    /// Why.
    pub cause: SyncCause,
    /// Where it is.
    pub state: OperationState,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// When it began, or was asked for.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it found.
    pub found: Found,
}

/// What a sync found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Charts in it.
    pub chart_count: u64,
    /// Versions of all of them.
    pub version_count: u64,
    /// Charts that were new, different or gone.
    pub changed_count: u64,
    /// Entries that were left out.
    pub skipped_count: u64,
    /// Versions whose package is another one than before.
    pub replaced_count: u64,
    /// What was wrong, for the first of them.
    pub problems: Vec<String>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ChartSyncId(cells.parsed("id")?),
        repo_id: ChartRepoId(cells.parsed("repo_id")?),
        cause: cells.word("cause")?,
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        started_at: cells.time("started_at")?,
        ended_at: cells.opt_time("ended_at")?,
        found: Found {
            fetched_bytes: cells.count("fetched_bytes")?,
            index_bytes: cells.count("index_bytes")?,
            chart_count: cells.count("chart_count")?,
            version_count: cells.count("version_count")?,
            changed_count: cells.count("changed_count")?,
            skipped_count: cells.count("skipped_count")?,
            replaced_count: cells.count("replaced_count")?,
            problems: cells.json("problems")?,
        },
    })
}

fn cells(row: &Row) -> Result<[Cell; 13]> {
    let found = &row.found;
    Ok([
        ("state", row.state.text().into()),
        ("reason", row.reason.as_deref().map(|text| shortened(text, 64)).into()),
        ("message", row.message.as_deref().map(|text| shortened(text, 1000)).into()),
        ("started_at", row.started_at.0.into()),
        ("ended_at", row.ended_at.map(|time| time.0).into()),
        ("fetched_bytes", int(found.fetched_bytes)?.into()),
        ("index_bytes", int(found.index_bytes)?.into()),
        ("chart_count", int(found.chart_count)?.into()),
        ("version_count", int(found.version_count)?.into()),
        ("changed_count", int(found.changed_count)?.into()),
        ("skipped_count", int(found.skipped_count)?.into()),
        ("replaced_count", int(found.replaced_count)?.into()),
        ("problems", json(&found.problems)?.into()),
    ])
}

/// Stores a sync.
pub async fn insert(c: &dyn Conn, row: &Row) -> Result<()> {
    let keys = [
        ("id", row.id.to_string().into()),
        ("repo_id", row.repo_id.to_string().into()),
        ("cause", row.cause.text().into()),
    ];
    insert_row(&c.on(), TABLE, keys.into_iter().chain(cells(row)?)).await
}

/// Changes a sync; whether it is there.
pub async fn set(c: &dyn Conn, row: &Row) -> Result<bool> {
    let mut query = update(TABLE, cells(row)?);
    query.and_where(Expr::col("id").eq(row.id.to_string()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// A sync.
pub async fn get(c: &dyn Conn, id: ChartSyncId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Syncs of a repository, newest first.
pub async fn list(c: &dyn Conn, repo: ChartRepoId, page: PageQuery) -> Result<PageOf<Row>> {
    let on = c.on();
    let mut counting = count_query(TABLE);
    counting.and_where(Expr::col("repo_id").eq(repo.to_string()));
    let total = count_of(&on, &counting).await?;
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("repo_id").eq(repo.to_string()))
        .order_by("id", Order::Desc)
        .limit(page.limit())
        .offset(page.offset());
    let rows = on.rows(&query).await?.iter().map(row).collect::<Result<_>>()?;
    Ok(PageOf { rows, total })
}

/// Syncs that somebody waits for, oldest first.
pub async fn open(c: &dyn Conn) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("state").is_in([OperationState::Queued.text(), OperationState::Running.text()]))
        .order_by("id", Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Forgets the syncs of a repository beyond the newest so many.
pub async fn keep_newest(c: &dyn Conn, repo: ChartRepoId, keep: u64) -> Result<()> {
    let on = c.on();
    let mut query = Query::select();
    query
        .column("id")
        .from(TABLE)
        .and_where(Expr::col("repo_id").eq(repo.to_string()))
        .order_by("id", Order::Desc)
        .limit(1000)
        .offset(keep);
    let old: Vec<String> =
        on.rows(&query).await?.iter().map(|row| Cells(row).text("id")).collect::<Result<_>>()?;
    if old.is_empty() {
        return Ok(());
    }
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").is_in(old)).take();
    on.change(TABLE, &query).await?;
    Ok(())
}
