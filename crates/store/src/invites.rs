//! Invitations for machines: only the hash of the secret is stored, and a row goes with its use.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use wire::ids::{AccountId, InviteId};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, count_of, count_query, insert as insert_row, select};

const TABLE: &str = "invites";
const COLUMNS: &[&str] = &["id", "account_id", "secret_hash", "created_at", "expires_at"];

/// An invitation that was not used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The invitation.
    pub id: InviteId,
    /// Who invites.
    pub account_id: AccountId,
    /// SHA-256 of the secret in hex; the secret is random, so this needs no salt.
    pub secret_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: InviteId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        secret_hash: cells.text("secret_hash")?,
        created_at: cells.time("created_at")?,
        expires_at: cells.time("expires_at")?,
    })
}

/// Stores an invitation.
pub async fn insert(c: &dyn Conn, invite: &Row) -> Result<()> {
    let cells = [
        ("id", invite.id.to_string().into()),
        ("account_id", invite.account_id.0.into()),
        ("secret_hash", invite.secret_hash.as_str().into()),
        ("created_at", invite.created_at.0.into()),
        ("expires_at", invite.expires_at.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells).await
}

/// The invitation with a secret, also when it has expired.
pub async fn by_secret_hash(c: &dyn Conn, secret_hash: &str) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("secret_hash").eq(secret_hash));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Invitations, newest first.
pub async fn list(c: &dyn Conn, page: PageQuery) -> Result<PageOf<Row>> {
    let list =
        List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: true, branches: Vec::new() };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// How many invitations there are.
pub async fn count(c: &dyn Conn) -> Result<u64> {
    count_of(&c.on(), &count_query(TABLE)).await
}

/// Removes an invitation, because it was used or taken back; whether there was one. Of two who use one at the same time
/// only one hears `true`.
pub async fn delete(c: &dyn Conn, id: InviteId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes the invitations that ended before now; how many there were.
pub async fn delete_expired(c: &dyn Conn, now: Timestamp) -> Result<u64> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("expires_at").lte(now.0)).take();
    c.on().change(TABLE, &query).await
}
