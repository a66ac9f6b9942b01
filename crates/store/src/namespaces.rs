//! Namespaces of accounts in clusters. Whose a namespace is says this table, never its name.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query, SelectStatement};
use wire::ids::{AccountId, ClusterId, NamespaceId};
use wire::names::{AccountName, ClusterName, NamespaceName};
use wire::namespaces::NamespaceState;
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{
    Cells, Word, count_of, count_query, insert as insert_row, select, shortened, update, words,
};

const TABLE: &str = "namespaces";
const COLUMNS: &[&str] = &[
    "id",
    "cluster_id",
    "account_id",
    "name",
    "short_name",
    "state",
    "state_since",
    "message",
    "uid",
    "pull_secret_until",
    "created_at",
];

words!(NamespaceState { Creating = "creating", Ready = "ready", Failed = "failed", Deleting = "deleting" });

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The namespace.
    pub id: NamespaceId,
    /// In which cluster.
    pub cluster_id: ClusterId,
    /// In which cluster, by name.
    pub cluster: ClusterName,
    /// Whose.
    pub account_id: AccountId,
    /// Whose, by name.
    pub account: AccountName,
    /// As the cluster knows it.
    pub name: NamespaceName,
    /// Without the account.
    pub short_name: NamespaceName,
    /// Where it is.
    pub state: NamespaceState,
    /// Since when.
    pub state_since: Timestamp,
    /// What is wrong, or what a deletion waits for.
    pub message: Option<String>,
    /// The id that the cluster gave it.
    pub uid: Option<String>,
    /// When the credential in its pull secret ends.
    pub pull_secret_until: Option<Timestamp>,
    /// When it was wished.
    pub created_at: Timestamp,
}

/// A namespace to be.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// The namespace.
    pub id: NamespaceId,
    /// In which cluster.
    pub cluster_id: ClusterId,
    /// Whose.
    pub account_id: AccountId,
    /// As the cluster will know it.
    pub name: &'a NamespaceName,
    /// Without the account.
    pub short_name: &'a NamespaceName,
    /// When it was wished.
    pub created_at: Timestamp,
}

fn query() -> SelectStatement {
    let mut query = select(TABLE, COLUMNS);
    query
        .expr_as(Expr::col(("clusters", "name")), "cluster")
        .column(("accounts", "account"))
        .inner_join("clusters", Expr::col(("clusters", "id")).equals((TABLE, "cluster_id")))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
    query
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: NamespaceId(cells.parsed("id")?),
        cluster_id: ClusterId(cells.parsed("cluster_id")?),
        cluster: cells.parsed("cluster")?,
        account_id: AccountId(cells.int("account_id")?),
        account: cells.parsed("account")?,
        name: cells.parsed("name")?,
        short_name: cells.parsed("short_name")?,
        state: cells.word("state")?,
        state_since: cells.time("state_since")?,
        message: cells.opt_text("message")?,
        uid: cells.opt_text("uid")?,
        pull_secret_until: cells.opt_time("pull_secret_until")?,
        created_at: cells.time("created_at")?,
    })
}

/// Stores the wish for a namespace; [`crate::Error::Duplicate`] when its cluster has one of its name.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<()> {
    let cells = [
        ("id", new.id.to_string().into()),
        ("cluster_id", new.cluster_id.to_string().into()),
        ("account_id", new.account_id.0.into()),
        ("name", new.name.as_str().into()),
        ("short_name", new.short_name.as_str().into()),
        ("state", NamespaceState::Creating.text().into()),
        ("state_since", new.created_at.0.into()),
        ("created_at", new.created_at.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells).await
}

/// A namespace.
pub async fn get(c: &dyn Conn, id: NamespaceId) -> Result<Option<Row>> {
    let mut query = query();
    query.and_where(Expr::col((TABLE, "id")).eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// An account's namespaces of a name, which may be the whole one or the one without the account: one in each cluster at most.
pub async fn named(
    c: &dyn Conn,
    account: AccountId,
    name: &NamespaceName,
    cluster: Option<ClusterId>,
) -> Result<Vec<Row>> {
    let mut query = query();
    let either = Cond::any()
        .add(Expr::col((TABLE, "name")).eq(name.as_str()))
        .add(Expr::col((TABLE, "short_name")).eq(name.as_str()));
    query.and_where(Expr::col((TABLE, "account_id")).eq(account.0)).cond_where(either);
    if let Some(cluster) = cluster {
        query.and_where(Expr::col((TABLE, "cluster_id")).eq(cluster.to_string()));
    }
    query.order_by((TABLE, "id"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Namespaces, oldest first: of an account, or of all; in a cluster, or in all.
pub async fn list(
    c: &dyn Conn,
    account: Option<AccountId>,
    cluster: Option<ClusterId>,
    page: PageQuery,
) -> Result<PageOf<Row>> {
    let mut condition = Cond::all();
    if let Some(account) = account {
        condition = condition.add(Expr::col("account_id").eq(account.0));
    }
    if let Some(cluster) = cluster {
        condition = condition.add(Expr::col("cluster_id").eq(cluster.to_string()));
    }
    let branches = if account.is_none() && cluster.is_none() { Vec::new() } else { vec![condition] };
    let list = List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: false, branches };
    list.page(&c.on(), page, query(), row).await
}

/// Every namespace of a cluster.
pub async fn all_of_cluster(c: &dyn Conn, cluster: ClusterId) -> Result<Vec<Row>> {
    let mut query = query();
    query
        .and_where(Expr::col((TABLE, "cluster_id")).eq(cluster.to_string()))
        .order_by((TABLE, "id"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Every namespace of an account.
pub async fn all_of_account(c: &dyn Conn, account: AccountId) -> Result<Vec<Row>> {
    let mut query = query();
    query.and_where(Expr::col((TABLE, "account_id")).eq(account.0)).order_by((TABLE, "id"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// How many namespaces an account has.
pub async fn count_of_account(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("account_id").eq(account.0));
    count_of(&c.on(), &query).await
}

/// Notes where a namespace is; nothing is changed when it is being deleted and this is something else. Whether anything was.
pub async fn set_state(
    c: &dyn Conn,
    id: NamespaceId,
    state: NamespaceState,
    message: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let message = message.map(|text| shortened(text, 1000));
    let mut query = update(TABLE, [("message", message.into())]);
    // Before the state itself: MySQL assigns one after the other.
    query.value(
        "state_since",
        Expr::case(Expr::col("state").eq(state.text()), Expr::col("state_since")).finally(now.0),
    );
    query.value("state", state.text());
    query.and_where(Expr::col("id").eq(id.to_string()));
    if state != NamespaceState::Deleting {
        query.and_where(Expr::col("state").ne(NamespaceState::Deleting.text()));
    }
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes the id that the cluster gave a namespace.
pub async fn set_uid(c: &dyn Conn, id: NamespaceId, uid: &str) -> Result<()> {
    set(c, id, ("uid", uid.into())).await
}

/// Notes when the credential in a namespace's pull secret ends.
pub async fn set_pull_secret_until(c: &dyn Conn, id: NamespaceId, until: Timestamp) -> Result<()> {
    set(c, id, ("pull_secret_until", until.0.into())).await
}

async fn set(c: &dyn Conn, id: NamespaceId, cell: crate::sql::Cell) -> Result<()> {
    let mut query = update(TABLE, [cell]);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().change(TABLE, &query).await.map(drop)
}

/// Removes a namespace with its workloads, after the cluster has none of it any more.
pub async fn delete(c: &dyn Conn, id: NamespaceId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
