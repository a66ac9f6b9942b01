//! API tokens: only the hash of the secret is stored.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Query};
use wire::ids::{AccountId, TokenId};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, insert as insert_row, select, update};

const TABLE: &str = "tokens";
const COLUMNS: &[&str] =
    &["id", "account_id", "name", "secret_hash", "created_at", "expires_at", "last_used_at"];

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token's row.
    pub id: TokenId,
    /// Whose it is.
    pub account_id: AccountId,
    /// A name to tell it from others.
    pub name: String,
    /// SHA-256 of the secret in hex; the secret is random, so this needs no salt.
    pub secret_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// Last use.
    pub last_used_at: Option<Timestamp>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: TokenId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        name: cells.text("name")?,
        secret_hash: cells.text("secret_hash")?,
        created_at: cells.time("created_at")?,
        expires_at: cells.opt_time("expires_at")?,
        last_used_at: cells.opt_time("last_used_at")?,
    })
}

/// Stores a token.
pub async fn insert(c: &dyn Conn, token: &Row) -> Result<()> {
    insert_row(
        &c.on(),
        TABLE,
        [
            ("id", token.id.to_string().into()),
            ("account_id", token.account_id.0.into()),
            ("name", token.name.as_str().into()),
            ("secret_hash", token.secret_hash.as_str().into()),
            ("created_at", token.created_at.0.into()),
            ("expires_at", token.expires_at.map(|time| time.0).into()),
            ("last_used_at", token.last_used_at.map(|time| time.0).into()),
        ],
    )
    .await
}

/// The token with an id.
pub async fn get(c: &dyn Conn, id: TokenId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The token with a secret, also when it has expired.
pub async fn by_secret_hash(c: &dyn Conn, secret_hash: &str) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("secret_hash").eq(secret_hash));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// An account's tokens, newest first.
pub async fn list(c: &dyn Conn, account: AccountId, page: PageQuery) -> Result<PageOf<Row>> {
    let own = Cond::all().add(Expr::col("account_id").eq(account.0));
    let list = List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: true, branches: vec![own] };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// Removes an account's token; whether there was one.
pub async fn delete(c: &dyn Conn, account: AccountId, id: TokenId) -> Result<bool> {
    let mut query = Query::delete();
    query
        .from_table(TABLE)
        .and_where(Expr::col("id").eq(id.to_string()))
        .and_where(Expr::col("account_id").eq(account.0));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes an account's tokens; how many there were.
pub async fn delete_of_account(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("account_id").eq(account.0)).take();
    c.on().change(TABLE, &query).await
}

/// Notes that a token was used.
pub async fn touch(c: &dyn Conn, id: TokenId, now: Timestamp) -> Result<()> {
    let mut query = update(TABLE, [("last_used_at", now.0.into())]);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().change_quietly(&query).await?;
    Ok(())
}
