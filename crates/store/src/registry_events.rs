//! What the registry reported: pushes, pulls, deletions.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, int, select};

const TABLE: &str = "registry_events";
const COLUMNS: &[&str] =
    &["id", "at", "event_id", "action", "repository", "tag", "digest", "actor", "size_bytes"];
/// Rows per statement.
const BATCH: usize = 200;

/// One event, as the registry reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// When it happened.
    pub at: Timestamp,
    /// The registry's id of it; the registry repeats events that it thinks were not received.
    pub event_id: String,
    /// `push`, `pull`, `delete` or `mount`.
    pub action: String,
    /// `owner/repo`.
    pub repository: String,
    /// The tag, if it was about one.
    pub tag: Option<String>,
    /// The digest, if it was about one.
    pub digest: Option<String>,
    /// Who did it, as the registry knows them.
    pub actor: Option<String>,
    /// How many bytes it was about.
    pub size_bytes: Option<u64>,
}

/// One event that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The row's number; grows with time.
    pub id: i64,
    /// What was reported.
    pub event: New,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: cells.int("id")?,
        event: New {
            at: cells.time("at")?,
            event_id: cells.text("event_id")?,
            action: cells.text("action")?,
            repository: cells.text("repository")?,
            tag: cells.opt_text("tag")?,
            digest: cells.opt_text("digest")?,
            actor: cells.opt_text("actor")?,
            size_bytes: cells.opt_count("size_bytes")?,
        },
    })
}

/// Stores events, all or none; those that are stored already are passed over.
pub async fn insert_many(c: &dyn Conn, events: &[New]) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    for batch in events.chunks(BATCH) {
        let mut query = Query::insert();
        query.into_table(TABLE).columns(COLUMNS.iter().skip(1).copied());
        for event in batch {
            let size_bytes = event.size_bytes.map(int).transpose()?;
            query
                .values([
                    Expr::val(event.at.0),
                    Expr::val(event.event_id.as_str()),
                    Expr::val(event.action.as_str()),
                    Expr::val(event.repository.as_str()),
                    Expr::val(event.tag.as_deref()),
                    Expr::val(event.digest.as_deref()),
                    Expr::val(event.actor.as_deref()),
                    Expr::val(size_bytes),
                ])
                .map_err(|error| Error::other(error.to_string()))?;
        }
        query.on_conflict(OnConflict::column("event_id").do_nothing_on(["id"]).to_owned());
        scope.on().change(TABLE, &query).await?;
    }
    scope.commit().await
}

/// Events, newest first.
pub async fn list(c: &dyn Conn, page: PageQuery) -> Result<PageOf<Row>> {
    let list =
        List { table: TABLE, key: "id", kind: KeyKind::Number, newest_first: true, branches: Vec::new() };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// Removes events before a time; how many there were.
pub async fn delete_before(c: &dyn Conn, time: Timestamp) -> Result<u64> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("at").lt(time.0)).take();
    c.on().change(TABLE, &query).await
}
