//! Deliveries of webhooks: each content once, with what was answered.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::ids::{DeliveryId, GitRepoId, RunId};
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, insert_numbered, select, shortened, update};

const TABLE: &str = "webhook_deliveries";
const COLUMNS: &[&str] =
    &["id", "git_repo_id", "delivery", "provider", "event", "status", "answer", "run_id", "received_at"];

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The delivery.
    pub id: DeliveryId,
    /// For which repository.
    pub git_repo_id: GitRepoId,
    /// SHA-256 of its body in hex.
    pub delivery: String,
    /// Who sent it: `gitea`, `github` …
    pub provider: String,
    /// The provider's name of the event.
    pub event: String,
    /// The status of our answer.
    pub status: i64,
    /// Our answer.
    pub answer: String,
    /// The first run that it started.
    pub run_id: Option<RunId>,
    /// When it came.
    pub received_at: Timestamp,
}

/// What makes a delivery.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// For which repository.
    pub git_repo_id: GitRepoId,
    /// SHA-256 of its body in hex.
    pub delivery: &'a str,
    /// Who sent it.
    pub provider: &'a str,
    /// The provider's name of the event; what is too long is cut.
    pub event: &'a str,
    /// The status of our answer.
    pub status: i64,
    /// Our answer.
    pub answer: &'a str,
    /// The first run that it starts.
    pub run_id: Option<RunId>,
    /// The time.
    pub now: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: DeliveryId(cells.int("id")?),
        git_repo_id: GitRepoId(cells.int("git_repo_id")?),
        delivery: cells.text("delivery")?,
        provider: cells.text("provider")?,
        event: cells.text("event")?,
        status: cells.int("status")?,
        answer: cells.text("answer")?,
        run_id: cells.opt_int("run_id")?.map(RunId),
        received_at: cells.time("received_at")?,
    })
}

/// Stores a delivery. [`crate::Error::Duplicate`] when the repository had this content already.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<DeliveryId> {
    let cells = [
        ("git_repo_id", new.git_repo_id.0.into()),
        ("delivery", new.delivery.into()),
        ("provider", new.provider.into()),
        ("event", shortened(new.event, 100).into()),
        ("status", new.status.into()),
        ("answer", new.answer.into()),
        ("run_id", new.run_id.map(|id| id.0).into()),
        ("received_at", new.now.0.into()),
    ];
    insert_numbered(&c.on(), TABLE, cells).await.map(DeliveryId)
}

/// Notes what was answered.
pub async fn set_answer(c: &dyn Conn, id: DeliveryId, answer: &str) -> Result<()> {
    let mut query = update(TABLE, [("answer", answer.into())]);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().change(TABLE, &query).await?;
    Ok(())
}

/// The delivery of a content to a repository.
pub async fn by_content(c: &dyn Conn, repo: GitRepoId, delivery: &str) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("git_repo_id").eq(repo.0)).and_where(Expr::col("delivery").eq(delivery));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The last deliveries to a repository, newest first.
pub async fn last(c: &dyn Conn, repo: GitRepoId, limit: u64) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("git_repo_id").eq(repo.0)).order_by((TABLE, "id"), Order::Desc).limit(limit);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Removes deliveries that came before a time; how many there were.
pub async fn delete_before(c: &dyn Conn, before: Timestamp) -> Result<u64> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("received_at").lt(before.0)).take();
    c.on().change(TABLE, &query).await
}
