//! Secrets of git repositories that steps of their builds may read. Values are kept as the server sealed them.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::ids::GitRepoId;
use wire::names::SecretName;
use wire::time::Timestamp;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::sql::{Cell, Cells, insert_numbered, select, update};

const TABLE: &str = "git_repo_secrets";
const COLUMNS: &[&str] = &["uuid", "git_repo_id", "name", "value", "created_at", "updated_at"];

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Binds the sealed value to this row.
    pub uuid: String,
    /// Whose builds may read it.
    pub git_repo_id: GitRepoId,
    /// By what name.
    pub name: SecretName,
    /// What it is, sealed.
    pub value: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        uuid: cells.text("uuid")?,
        git_repo_id: GitRepoId(cells.int("git_repo_id")?),
        name: cells.parsed("name")?,
        value: cells.text("value")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

/// Adds a secret, or gives the one of this name another value. The repository's row is held by the caller.
pub async fn put(tx: &Tx, new: &Row) -> Result<()> {
    let on = tx.on();
    let cells: [Cell; 3] = [
        ("uuid", new.uuid.as_str().into()),
        ("value", new.value.as_str().into()),
        ("updated_at", new.updated_at.0.into()),
    ];
    let mut query = update(TABLE, cells.clone());
    query
        .and_where(Expr::col("git_repo_id").eq(new.git_repo_id.0))
        .and_where(Expr::col("name").eq(new.name.as_str()));
    if on.change(TABLE, &query).await? > 0 {
        return Ok(());
    }
    let rest: [Cell; 3] = [
        ("git_repo_id", new.git_repo_id.0.into()),
        ("name", new.name.as_str().into()),
        ("created_at", new.created_at.0.into()),
    ];
    insert_numbered(&on, TABLE, cells.into_iter().chain(rest)).await?;
    Ok(())
}

/// The secrets of a repository, by name.
pub async fn of_repo(c: &dyn Conn, repo: GitRepoId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("git_repo_id").eq(repo.0)).order_by((TABLE, "name"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Removes a secret; whether there was one.
pub async fn delete(c: &dyn Conn, repo: GitRepoId, name: &SecretName) -> Result<bool> {
    let query = Query::delete()
        .from_table(TABLE)
        .and_where(Expr::col("git_repo_id").eq(repo.0))
        .and_where(Expr::col("name").eq(name.as_str()))
        .take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
