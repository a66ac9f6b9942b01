//! Login sessions.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use wire::ids::{AccountId, SessionId};
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, insert as insert_row, select};

const TABLE: &str = "sessions";
const COLUMNS: &[&str] = &["id", "account_id", "logged_in_at", "expires_at"];

/// A login that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The session; the `sid` claim of its JWT.
    pub id: SessionId,
    /// Whose it is.
    pub account_id: AccountId,
    /// When the password was given.
    pub logged_in_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: SessionId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        logged_in_at: cells.time("logged_in_at")?,
        expires_at: cells.time("expires_at")?,
    })
}

/// Stores a session.
pub async fn insert(c: &dyn Conn, session: &Row) -> Result<()> {
    insert_row(
        &c.on(),
        TABLE,
        [
            ("id", session.id.to_string().into()),
            ("account_id", session.account_id.0.into()),
            ("logged_in_at", session.logged_in_at.0.into()),
            ("expires_at", session.expires_at.0.into()),
        ],
    )
    .await
}

/// A session, also when it has expired.
pub async fn get(c: &dyn Conn, id: SessionId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Ends a session; whether there was one.
pub async fn delete(c: &dyn Conn, id: SessionId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Ends an account's sessions but for one; how many there were.
pub async fn delete_of_account(c: &dyn Conn, account: AccountId, keep: Option<SessionId>) -> Result<u64> {
    let mut query = Query::delete();
    query.from_table(TABLE).and_where(Expr::col("account_id").eq(account.0));
    if let Some(keep) = keep {
        query.and_where(Expr::col("id").ne(keep.to_string()));
    }
    c.on().change(TABLE, &query).await
}

/// Removes the sessions that ended before now; how many there were.
pub async fn delete_expired(c: &dyn Conn, now: Timestamp) -> Result<u64> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("expires_at").lte(now.0)).take();
    c.on().change(TABLE, &query).await
}
