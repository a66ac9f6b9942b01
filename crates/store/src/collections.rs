//! Collections: content that no image needs is removed from the registry. One at a time is under way.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order};
use wire::builds::OperationState;
use wire::ids::{AccountId, CollectionId};
use wire::page::PageQuery;
use wire::registry::CollectionPhase;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, Word, insert as insert_row, int, select, shortened, update, words};

const TABLE: &str = "collections";
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "state",
    "phase",
    "reason",
    "message",
    "bytes_before",
    "bytes_after",
    "created_at",
    "ended_at",
];
/// Longest message in characters.
const MESSAGE_CHARS: usize = 2000;

words!(CollectionPhase { Waiting = "waiting", Closing = "closing", Sweeping = "sweeping", Done = "done" });

/// A collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The collection.
    pub id: CollectionId,
    /// Who asked for it.
    pub account_id: AccountId,
    /// Where it is.
    pub state: OperationState,
    /// What it is doing.
    pub phase: CollectionPhase,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// Bytes of content before.
    pub bytes_before: Option<u64>,
    /// Bytes of content after.
    pub bytes_after: Option<u64>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How a collection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// So many bytes are left.
    Succeeded(u64),
    /// It failed: a reason for programs, words for people.
    Failed(&'a str, &'a str),
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: CollectionId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        state: cells.word("state")?,
        phase: cells.word("phase")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        bytes_before: cells.opt_count("bytes_before")?,
        bytes_after: cells.opt_count("bytes_after")?,
        created_at: cells.time("created_at")?,
        ended_at: cells.opt_time("ended_at")?,
    })
}

/// Stores a collection that waits.
pub async fn insert(c: &dyn Conn, id: CollectionId, account: AccountId, now: Timestamp) -> Result<()> {
    let cells = [
        ("id", id.to_string().into()),
        ("account_id", account.0.into()),
        ("state", OperationState::Queued.text().into()),
        ("phase", CollectionPhase::Waiting.text().into()),
        ("created_at", now.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells).await
}

/// The collection with an id.
pub async fn get(c: &dyn Conn, id: CollectionId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The one that has not ended, if there is one.
pub async fn unfinished(c: &dyn Conn) -> Result<Option<Row>> {
    let states = [OperationState::Queued, OperationState::Running].map(Word::text);
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("state").is_in(states)).order_by("id", Order::Asc).limit(1);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The one that was asked for last.
pub async fn newest(c: &dyn Conn) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.order_by("id", Order::Desc).limit(1);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Collections, newest first.
pub async fn list(c: &dyn Conn, page: PageQuery) -> Result<PageOf<Row>> {
    let list =
        List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: true, branches: Vec::new() };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// Notes what it does now; false when it has ended.
pub async fn set_phase(c: &dyn Conn, id: CollectionId, phase: CollectionPhase) -> Result<bool> {
    let cells = [("state", OperationState::Running.text().into()), ("phase", phase.text().into())];
    change(c, id, cells.to_vec()).await
}

/// Notes how much there was before the first byte went; what was noted once stays.
pub async fn set_bytes_before(c: &dyn Conn, id: CollectionId, bytes: u64) -> Result<()> {
    let mut query = update(TABLE, [("bytes_before", int(bytes)?.into())]);
    query.and_where(Expr::col("id").eq(id.to_string())).and_where(Expr::col("bytes_before").is_null());
    c.on().change(TABLE, &query).await.map(drop)
}

/// Ends it; false when it has ended.
pub async fn finish(c: &dyn Conn, id: CollectionId, outcome: Outcome<'_>, now: Timestamp) -> Result<bool> {
    let mut cells = vec![("phase", CollectionPhase::Done.text().into()), ("ended_at", now.0.into())];
    match outcome {
        Outcome::Succeeded(bytes) => {
            cells.push(("state", OperationState::Succeeded.text().into()));
            cells.push(("bytes_after", int(bytes)?.into()));
        }
        Outcome::Failed(reason, message) => {
            cells.push(("state", OperationState::Failed.text().into()));
            cells.push(("reason", reason.into()));
            cells.push(("message", shortened(message, MESSAGE_CHARS).into()));
        }
    }
    change(c, id, cells).await
}

/// Ends one because somebody asked for that; false when it removes things already, or has ended.
pub async fn cancel(c: &dyn Conn, id: CollectionId, now: Timestamp) -> Result<bool> {
    let cells = [
        ("state", OperationState::Cancelled.text().into()),
        ("phase", CollectionPhase::Done.text().into()),
        ("ended_at", now.0.into()),
    ];
    let states = [OperationState::Queued, OperationState::Running].map(Word::text);
    let phases = [CollectionPhase::Waiting, CollectionPhase::Closing].map(Word::text);
    let mut query = update(TABLE, cells);
    query
        .and_where(Expr::col("id").eq(id.to_string()))
        .and_where(Expr::col("state").is_in(states))
        .and_where(Expr::col("phase").is_in(phases));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

async fn change(c: &dyn Conn, id: CollectionId, cells: Vec<crate::sql::Cell>) -> Result<bool> {
    let states = [OperationState::Queued, OperationState::Running].map(Word::text);
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.to_string())).and_where(Expr::col("state").is_in(states));
    Ok(c.on().change(TABLE, &query).await? > 0)
}
