//! Keys by which signed charts are verified: those of one repository, and those that count for all of them.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Condition, Expr, ExprTrait, Order, Query};
use wire::ids::{AccountId, ChartKeyId, ChartRepoId};
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, count_of, count_query, insert as insert_row, select};

const TABLE: &str = "chart_keys";
const COLUMNS: &[&str] = &["id", "repo_id", "account_id", "identity", "fingerprint", "armored", "created_at"];

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub id: ChartKeyId,
    /// The repository whose charts it signs; none for every repository's.
    pub repo_id: Option<ChartRepoId>,
    /// Who added it.
    pub account_id: AccountId,
    /// Whose it says that it is.
    pub identity: String,
    /// Its fingerprint in hex.
    pub fingerprint: String,
    /// The public key itself.
    pub armored: String,
    /// When it was added.
    pub created_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ChartKeyId(cells.parsed("id")?),
        repo_id: cells.opt_parsed("repo_id")?.map(ChartRepoId),
        account_id: AccountId(cells.int("account_id")?),
        identity: cells.text("identity")?,
        fingerprint: cells.text("fingerprint")?,
        armored: cells.text("armored")?,
        created_at: cells.time("created_at")?,
    })
}

/// Stores a key.
pub async fn insert(c: &dyn Conn, key: &Row) -> Result<()> {
    insert_row(
        &c.on(),
        TABLE,
        [
            ("id", key.id.to_string().into()),
            ("repo_id", key.repo_id.map(|id| id.to_string()).into()),
            ("account_id", key.account_id.0.into()),
            ("identity", key.identity.as_str().into()),
            ("fingerprint", key.fingerprint.as_str().into()),
            ("armored", key.armored.as_str().into()),
            ("created_at", key.created_at.0.into()),
        ],
    )
    .await
}

/// The key with an id.
pub async fn get(c: &dyn Conn, id: ChartKeyId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

fn counts_for(repo: Option<ChartRepoId>) -> Condition {
    let of_all = Expr::col("repo_id").is_null();
    match repo {
        None => Cond::all().add(of_all),
        Some(repo) => Cond::any().add(of_all).add(Expr::col("repo_id").eq(repo.to_string())),
    }
}

/// The keys that count for a repository, those for all of them first; with none only those.
pub async fn of_repo(c: &dyn Conn, repo: Option<ChartRepoId>) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.cond_where(counts_for(repo)).order_by("id", Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// How many keys count for a repository.
pub async fn count(c: &dyn Conn, repo: Option<ChartRepoId>) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.cond_where(counts_for(repo));
    count_of(&c.on(), &query).await
}

/// Removes a key; whether there was one.
pub async fn delete(c: &dyn Conn, id: ChartKeyId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
