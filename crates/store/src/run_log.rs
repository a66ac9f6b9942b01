//! What happened to runs, in words: the table `log` of seed 002. What a build printed is a file and not here.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use wire::ids::{AccountId, GitRepoId, RunId, RunLogId};
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::filtered::{self, Filter};
use crate::pages::PageOf;
use crate::sql::{self, Cell, Cells, insert_numbered, select, update};

const TABLE: &str = "run_log";
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "git_repo_id",
    "run_id",
    "repo_name",
    "event_uuid",
    "runner_uuid",
    "msg",
    "updated_at",
];

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line.
    pub id: RunLogId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Of which repository.
    pub git_repo_id: GitRepoId,
    /// Of which run.
    pub run_id: Option<RunId>,
    /// Of which repository, by name.
    pub repo_name: String,
    /// Of which run, by its uuid; empty for none.
    pub event_uuid: String,
    /// Of which runner, by its uuid; empty for none.
    pub runner_uuid: String,
    /// What happened.
    pub msg: String,
    /// When `msg` was written last.
    pub updated_at: Timestamp,
}

/// What makes a line.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Whose it is.
    pub account_id: AccountId,
    /// Of which repository.
    pub git_repo_id: GitRepoId,
    /// Of which run.
    pub run_id: Option<RunId>,
    /// Of which repository, by name.
    pub repo_name: &'a str,
    /// Of which run, by its uuid.
    pub event_uuid: &'a str,
    /// Of which runner, by its uuid.
    pub runner_uuid: &'a str,
    /// What happened.
    pub msg: &'a str,
    /// The time.
    pub now: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: RunLogId(cells.int("id")?),
        account_id: AccountId(cells.int("account_id")?),
        git_repo_id: GitRepoId(cells.int("git_repo_id")?),
        run_id: cells.opt_int("run_id")?.map(RunId),
        repo_name: cells.text("repo_name")?,
        event_uuid: cells.text("event_uuid")?,
        runner_uuid: cells.text("runner_uuid")?,
        msg: cells.text("msg")?,
        updated_at: cells.time("updated_at")?,
    })
}

/// Stores a line.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<RunLogId> {
    insert_numbered(&c.on(), TABLE, cells(new)).await.map(RunLogId)
}

/// Stores a line whose number nobody asks for. In a transaction it goes with the next statement or the commit.
pub async fn insert_later(c: &dyn Conn, new: &New<'_>) -> Result<()> {
    sql::insert_later(&c.on(), TABLE, cells(new)).await
}

fn cells(new: &New<'_>) -> [Cell; 8] {
    [
        ("account_id", new.account_id.0.into()),
        ("git_repo_id", new.git_repo_id.0.into()),
        ("run_id", new.run_id.map(|id| id.0).into()),
        ("repo_name", new.repo_name.into()),
        ("event_uuid", new.event_uuid.into()),
        ("runner_uuid", new.runner_uuid.into()),
        ("msg", new.msg.into()),
        ("updated_at", new.now.0.into()),
    ]
}

/// Changes what a line says.
pub async fn set_msg(c: &dyn Conn, id: RunLogId, msg: &str, now: Timestamp) -> Result<()> {
    let mut query = update(TABLE, [("msg", msg.into()), ("updated_at", now.0.into())]);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().change(TABLE, &query).await?;
    Ok(())
}

/// A line.
pub async fn get(c: &dyn Conn, id: RunLogId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Lines, narrowed and ordered.
pub async fn list(c: &dyn Conn, filter: &Filter) -> Result<PageOf<Row>> {
    filtered::list(c, TABLE, COLUMNS, filter, row).await
}

/// Removes a line; whether there was one.
pub async fn delete(c: &dyn Conn, id: RunLogId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
