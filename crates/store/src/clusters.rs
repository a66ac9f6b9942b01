//! Kubernetes clusters. What opens them is sealed before it comes here.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::clusters::ClusterState;
use wire::ids::ClusterId;
use wire::names::ClusterName;
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, Word, insert as insert_row, json, select, shortened, update, words};

const TABLE: &str = "clusters";
const COLUMNS: &[&str] = &[
    "id",
    "name",
    "server",
    "credentials",
    "pod_ranges",
    "is_default",
    "state",
    "state_since",
    "message",
    "version",
    "created_at",
];

words!(ClusterState { Ready = "ready", Unreachable = "unreachable", Refused = "refused" });

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The cluster.
    pub id: ClusterId,
    /// Its name here.
    pub name: ClusterName,
    /// Its API server's address.
    pub server: String,
    /// What opens it, sealed; none for the cluster in which the server runs.
    pub credentials: Option<String>,
    /// The addresses of its pods, as far as they are known.
    pub pod_ranges: Vec<String>,
    /// Whether namespaces are made here when nobody names a cluster.
    pub is_default: bool,
    /// Whether it can be used.
    pub state: ClusterState,
    /// Since when.
    pub state_since: Timestamp,
    /// What is wrong.
    pub message: Option<String>,
    /// What its API server said of its version last.
    pub version: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ClusterId(cells.parsed("id")?),
        name: cells.parsed("name")?,
        server: cells.text("server")?,
        credentials: cells.opt_text("credentials")?,
        pod_ranges: cells.json("pod_ranges")?,
        is_default: cells.bool("is_default")?,
        state: cells.word("state")?,
        state_since: cells.time("state_since")?,
        message: cells.opt_text("message")?,
        version: cells.opt_text("version")?,
        created_at: cells.time("created_at")?,
    })
}

/// Stores a cluster; [`Error::Duplicate`] when there is one of its name. The first is the default one.
pub async fn insert(c: &Tx, cluster: &Row) -> Result<()> {
    let is_default = cluster.is_default || default_one(c).await?.is_none();
    let cells = [
        ("id", cluster.id.to_string().into()),
        ("name", cluster.name.as_str().into()),
        ("server", shortened(&cluster.server, 300).into()),
        ("credentials", cluster.credentials.as_deref().into()),
        ("pod_ranges", json(&cluster.pod_ranges)?.into()),
        ("is_default", false.into()),
        ("state", cluster.state.text().into()),
        ("state_since", cluster.state_since.0.into()),
        ("message", cluster.message.as_deref().map(|text| shortened(text, 1000)).into()),
        ("version", cluster.version.as_deref().map(|text| shortened(text, 50)).into()),
        ("created_at", cluster.created_at.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells).await?;
    if is_default { set_default(c, cluster.id).await } else { Ok(()) }
}

/// A cluster.
pub async fn get(c: &dyn Conn, id: ClusterId) -> Result<Option<Row>> {
    one(c, Expr::col("id").eq(id.to_string())).await
}

/// The cluster of a name.
pub async fn by_name(c: &dyn Conn, name: &ClusterName) -> Result<Option<Row>> {
    one(c, Expr::col("name").eq(name.as_str())).await
}

/// The cluster for those who name none.
pub async fn default_one(c: &dyn Conn) -> Result<Option<Row>> {
    one(c, Expr::col("is_default").eq(true)).await
}

async fn one(c: &dyn Conn, condition: Expr) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(condition).order_by("id", Order::Asc).limit(1);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Clusters, oldest first.
pub async fn list(c: &dyn Conn, page: PageQuery) -> Result<PageOf<Row>> {
    let list =
        List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: false, branches: Vec::new() };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// Every cluster.
pub async fn all(c: &dyn Conn) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.order_by("id", Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Makes one cluster the default one, and all others not.
pub async fn set_default(c: &Tx, id: ClusterId) -> Result<()> {
    let query = update(TABLE, [("is_default", false.into())]);
    c.on().change(TABLE, &query).await?;
    let mut query = update(TABLE, [("is_default", true.into())]);
    query.and_where(Expr::col("id").eq(id.to_string()));
    match c.on().change(TABLE, &query).await? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

/// Notes what opens a cluster from now on.
pub async fn set_credentials(c: &dyn Conn, id: ClusterId, server: &str, credentials: &str) -> Result<()> {
    let cells = [("server", shortened(server, 300).into()), ("credentials", credentials.into())];
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().change(TABLE, &query).await.map(drop)
}

/// Notes whether a cluster can be used, and what it said of its version; whether the state was another before.
pub async fn set_state(
    c: &dyn Conn,
    id: ClusterId,
    state: ClusterState,
    message: Option<&str>,
    version: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let message = message.map(|text| shortened(text, 1000));
    let mut cells =
        vec![("state", state.text().into()), ("state_since", now.0.into()), ("message", message.into())];
    if let Some(version) = version {
        cells.push(("version", shortened(version, 50).into()));
    }
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.to_string())).and_where(Expr::col("state").ne(state.text()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes what a cluster's API server says of its version now: it is upgraded without being away for long.
pub async fn set_version(c: &dyn Conn, id: ClusterId, version: &str) -> Result<()> {
    let mut query = update(TABLE, [("version", shortened(version, 50).into())]);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().change(TABLE, &query).await.map(drop)
}

/// Removes a cluster; [`Error::InUse`] while there are namespaces in it. Whether there was one.
pub async fn delete(c: &dyn Conn, id: ClusterId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
