//! Logs of containers that are gone: who they belonged to, and where they ran. The text is a file beside the database.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query};
use wire::ids::{AccountId, ContainerId, MachineId};
use wire::names::{AccountName, ContainerName};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, insert as insert_row, int, select};

const TABLE: &str = "kept_logs";
const COLUMNS: &[&str] = &[
    "container_id",
    "account_id",
    "name",
    "image_name",
    "machine_id",
    "bytes",
    "dropped_bytes",
    "removed_at",
];

/// A log that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The container's number, which no other gets.
    pub container_id: ContainerId,
    /// Whose it was.
    pub account_id: AccountId,
    /// Its name.
    pub name: ContainerName,
    /// The name of the image it was made from.
    pub image_name: String,
    /// Where it was.
    pub machine_id: MachineId,
    /// Length of the log in bytes.
    pub bytes: u64,
    /// Bytes before them that were not kept.
    pub dropped_bytes: u64,
    /// When the container was removed.
    pub removed_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        container_id: ContainerId(cells.int("container_id")?),
        account_id: AccountId(cells.int("account_id")?),
        name: cells.parsed("name")?,
        image_name: cells.text("image_name")?,
        machine_id: cells.parsed("machine_id")?,
        bytes: cells.count("bytes")?,
        dropped_bytes: cells.count("dropped_bytes")?,
        removed_at: cells.time("removed_at")?,
    })
}

/// Stores a log's row; one of the same container is replaced.
pub async fn put(c: &dyn Conn, new: &Row) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    let query = delete_query(new.container_id);
    scope.on().change(TABLE, &query).await?;
    let cells = [
        ("container_id", new.container_id.0.into()),
        ("account_id", new.account_id.0.into()),
        ("name", new.name.as_str().into()),
        ("image_name", new.image_name.as_str().into()),
        ("machine_id", new.machine_id.as_str().into()),
        ("bytes", int(new.bytes)?.into()),
        ("dropped_bytes", int(new.dropped_bytes)?.into()),
        ("removed_at", new.removed_at.0.into()),
    ];
    insert_row(&scope.on(), TABLE, cells).await?;
    scope.commit().await
}

/// The kept log of a container.
pub async fn get(c: &dyn Conn, container: ContainerId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("container_id").eq(container.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The newest kept log of an account's containers of a name.
pub async fn by_name(c: &dyn Conn, account: AccountId, name: &ContainerName) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("account_id").eq(account.0))
        .and_where(Expr::col("name").eq(name.as_str()))
        .order_by("container_id", Order::Desc)
        .limit(1);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Kept logs with the names of their accounts, of the newest container first. No account: everybody's.
pub async fn list(
    c: &dyn Conn,
    account: Option<AccountId>,
    page: PageQuery,
) -> Result<PageOf<(Row, AccountName)>> {
    let branches = account.map(|id| Cond::all().add(Expr::col("account_id").eq(id.0))).into_iter().collect();
    let list =
        List { table: TABLE, key: "container_id", kind: KeyKind::Number, newest_first: true, branches };
    let mut query = select(TABLE, COLUMNS);
    query
        .column(("accounts", "account"))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
    let pair = |found: &QueryResult| Ok((row(found)?, Cells(found).parsed("account")?));
    list.page(&c.on(), page, query, pair).await
}

/// The logs that have been kept since before a time, and those that an account has beyond a number, oldest first.
pub async fn surplus(c: &dyn Conn, before: Timestamp, per_account: u64) -> Result<Vec<ContainerId>> {
    let newer = Query::select()
        .expr(Expr::col(("newer", "container_id")).count())
        .from_as(TABLE, "newer")
        .and_where(Expr::col(("newer", "account_id")).equals((TABLE, "account_id")))
        .and_where(Expr::col(("newer", "container_id")).gt(Expr::col((TABLE, "container_id"))))
        .take();
    let is_beyond = Expr::SubQuery(None, Box::new(newer.into())).gte(int(per_account)?);
    let mut query = select(TABLE, &["container_id"]);
    query
        .cond_where(Cond::any().add(Expr::col((TABLE, "removed_at")).lt(before.0)).add(is_beyond))
        .order_by((TABLE, "container_id"), Order::Asc);
    let id = |found: &QueryResult| Cells(found).int("container_id").map(ContainerId);
    c.on().rows(&query).await?.iter().map(id).collect()
}

/// Removes a log's row; whether there was one.
pub async fn delete(c: &dyn Conn, container: ContainerId) -> Result<bool> {
    Ok(c.on().change(TABLE, &delete_query(container)).await? > 0)
}

fn delete_query(container: ContainerId) -> sea_orm::sea_query::DeleteStatement {
    Query::delete().from_table(TABLE).and_where(Expr::col("container_id").eq(container.0)).take()
}
