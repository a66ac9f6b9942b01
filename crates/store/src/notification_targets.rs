//! Who hears how a git repository's runs end. Addresses and secrets are kept as the server sealed them.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::ids::{GitRepoId, NotificationTargetId};
use wire::notifications::NotificationKind;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, Word, insert_numbered, select, shortened, update, words};

const TABLE: &str = "notification_targets";
const COLUMNS: &[&str] =
    &["id", "uuid", "git_repo_id", "kind", "address", "secret", "last_result", "last_at", "created_at"];

words!(NotificationKind {
    Webhook = "webhook",
    Feishu = "feishu",
    Dingtalk = "dingtalk",
    Wecom = "wecom",
    Email = "email",
});

/// Somebody or something that hears of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The target.
    pub id: NotificationTargetId,
    /// Binds sealed values to this row.
    pub uuid: String,
    /// Whose runs.
    pub git_repo_id: GitRepoId,
    /// How it is told.
    pub kind: NotificationKind,
    /// Where it is told, sealed: such addresses are secrets by themselves.
    pub address: String,
    /// What it is signed with, sealed.
    pub secret: Option<String>,
    /// How the last notification went.
    pub last_result: Option<String>,
    /// When that was.
    pub last_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What makes a target.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Binds sealed values to this row.
    pub uuid: &'a str,
    /// Whose runs.
    pub git_repo_id: GitRepoId,
    /// How it is told.
    pub kind: NotificationKind,
    /// Where it is told, sealed.
    pub address: &'a str,
    /// What it is signed with, sealed.
    pub secret: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: NotificationTargetId(cells.int("id")?),
        uuid: cells.text("uuid")?,
        git_repo_id: GitRepoId(cells.int("git_repo_id")?),
        kind: cells.word("kind")?,
        address: cells.text("address")?,
        secret: cells.opt_text("secret")?,
        last_result: cells.opt_text("last_result")?,
        last_at: cells.opt_time("last_at")?,
        created_at: cells.time("created_at")?,
    })
}

/// Stores a target.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<NotificationTargetId> {
    let cells = [
        ("uuid", new.uuid.into()),
        ("git_repo_id", new.git_repo_id.0.into()),
        ("kind", new.kind.text().into()),
        ("address", new.address.into()),
        ("secret", new.secret.into()),
        ("created_at", new.now.0.into()),
    ];
    insert_numbered(&c.on(), TABLE, cells).await.map(NotificationTargetId)
}

/// Notes how a notification went.
pub async fn set_result(c: &dyn Conn, id: NotificationTargetId, result: &str, now: Timestamp) -> Result<()> {
    let cells = [("last_result", shortened(result, 500).into()), ("last_at", now.0.into())];
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().change(TABLE, &query).await?;
    Ok(())
}

/// A target.
pub async fn get(c: &dyn Conn, id: NotificationTargetId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The targets of a repository, oldest first.
pub async fn of_repo(c: &dyn Conn, repo: GitRepoId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("git_repo_id").eq(repo.0)).order_by((TABLE, "id"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Removes a target; whether there was one.
pub async fn delete(c: &dyn Conn, id: NotificationTargetId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
