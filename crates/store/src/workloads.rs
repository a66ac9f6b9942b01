//! Workloads: objects that accounts have in their namespaces, with every file that was applied for them.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};
use wire::ids::{AccountId, NamespaceId, WorkloadId};
use wire::time::Timestamp;
use wire::workloads::WorkloadKind;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::sql::{Cells, Word, insert as insert_row, int, select, update, words};

const TABLE: &str = "workloads";
const REVISIONS: &str = "workload_revisions";
const COLUMNS: &[&str] =
    &["id", "namespace_id", "kind", "name", "file", "desired", "revision", "uid", "created_at", "updated_at"];

words!(WorkloadKind {
    Deployment = "Deployment",
    StatefulSet = "StatefulSet",
    DaemonSet = "DaemonSet",
    Job = "Job",
    CronJob = "CronJob",
    Service = "Service",
    ConfigMap = "ConfigMap",
    Secret = "Secret",
    PersistentVolumeClaim = "PersistentVolumeClaim",
    Ingress = "Ingress",
});

/// What a workload is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    /// As its current revision says; the cluster may not have it yet.
    Applied,
    /// Gone.
    Deleted,
}

words!(Desired { Applied = "applied", Deleted = "deleted" });

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The workload.
    pub id: WorkloadId,
    /// In which namespace.
    pub namespace_id: NamespaceId,
    /// What it is.
    pub kind: WorkloadKind,
    /// What it is called.
    pub name: String,
    /// The file that it came from.
    pub file: String,
    /// What it is to be.
    pub desired: Desired,
    /// Its current revision.
    pub revision: u64,
    /// The id that the cluster gave it; none until it has it.
    pub uid: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A file that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number, from 1.
    pub revision: u64,
    /// Who applied it.
    pub account_id: AccountId,
    /// The file's name.
    pub file: String,
    /// What was in it.
    pub content: String,
    /// When.
    pub created_at: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: WorkloadId(cells.parsed("id")?),
        namespace_id: NamespaceId(cells.parsed("namespace_id")?),
        kind: cells.word("kind")?,
        name: cells.text("name")?,
        file: cells.text("file")?,
        desired: cells.word("desired")?,
        revision: cells.count("revision")?,
        uid: cells.opt_text("uid")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

fn revision(row: &QueryResult) -> Result<Revision> {
    let cells = Cells(row);
    Ok(Revision {
        revision: cells.count("revision")?,
        account_id: AccountId(cells.int("account_id")?),
        file: cells.text("file")?,
        content: cells.text("content")?,
        created_at: cells.time("created_at")?,
    })
}

/// Stores a workload; [`Error::Duplicate`] when its namespace has one of its kind and name.
pub async fn insert(c: &dyn Conn, workload: &Row) -> Result<()> {
    let cells = [
        ("id", workload.id.to_string().into()),
        ("namespace_id", workload.namespace_id.to_string().into()),
        ("kind", workload.kind.text().into()),
        ("name", workload.name.as_str().into()),
        ("file", workload.file.as_str().into()),
        ("desired", workload.desired.text().into()),
        ("revision", int(workload.revision)?.into()),
        ("uid", workload.uid.as_deref().into()),
        ("created_at", workload.created_at.0.into()),
        ("updated_at", workload.updated_at.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells).await
}

/// Adds a revision and makes it the current one; those before the newest `keep` go.
pub async fn add_revision(c: &Tx, id: WorkloadId, new: &Revision, keep: u64) -> Result<()> {
    let cells = [
        ("workload_id", id.to_string().into()),
        ("revision", int(new.revision)?.into()),
        ("account_id", new.account_id.0.into()),
        ("file", new.file.as_str().into()),
        ("content", new.content.as_str().into()),
        ("created_at", new.created_at.0.into()),
    ];
    insert_row(&c.on(), REVISIONS, cells).await?;
    let mut query = update(
        TABLE,
        [
            ("revision", int(new.revision)?.into()),
            ("file", new.file.as_str().into()),
            ("desired", Desired::Applied.text().into()),
            ("updated_at", new.created_at.0.into()),
        ],
    );
    query.and_where(Expr::col("id").eq(id.to_string()));
    if c.on().change(TABLE, &query).await? == 0 {
        return Err(Error::NotFound);
    }
    let oldest = int(new.revision.saturating_sub(keep))?;
    let query = Query::delete()
        .from_table(REVISIONS)
        .and_where(Expr::col("workload_id").eq(id.to_string()))
        .and_where(Expr::col("revision").lte(oldest))
        .take();
    c.on().change(REVISIONS, &query).await.map(drop)
}

fn query() -> SelectStatement {
    select(TABLE, COLUMNS)
}

/// A workload.
pub async fn get(c: &dyn Conn, id: WorkloadId) -> Result<Option<Row>> {
    let mut query = query();
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The workload of a kind and name in a namespace.
pub async fn named(
    c: &dyn Conn,
    namespace: NamespaceId,
    kind: WorkloadKind,
    name: &str,
) -> Result<Option<Row>> {
    let mut query = query();
    query
        .and_where(Expr::col("namespace_id").eq(namespace.to_string()))
        .and_where(Expr::col("kind").eq(kind.text()))
        .and_where(Expr::col("name").eq(name));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The workloads of some namespaces, by kind and name.
pub async fn of_namespaces(c: &dyn Conn, namespaces: &[NamespaceId]) -> Result<Vec<Row>> {
    let ids: Vec<String> = namespaces.iter().map(ToString::to_string).collect();
    let mut query = query();
    query
        .and_where(Expr::col("namespace_id").is_in(ids))
        .order_by("kind", Order::Asc)
        .order_by("name", Order::Asc)
        .order_by("id", Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Those of which the cluster may not have what is wished: not there yet, or still there.
pub async fn unfinished(c: &dyn Conn) -> Result<Vec<Row>> {
    let mut query = query();
    query
        .and_where(Expr::col("uid").is_null().or(Expr::col("desired").eq(Desired::Deleted.text())))
        .order_by("id", Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// The revisions that are kept of a workload, newest first.
pub async fn revisions(c: &dyn Conn, id: WorkloadId) -> Result<Vec<Revision>> {
    let mut query = select(REVISIONS, &["revision", "account_id", "file", "content", "created_at"]);
    query.and_where(Expr::col("workload_id").eq(id.to_string())).order_by("revision", Order::Desc);
    c.on().rows(&query).await?.iter().map(revision).collect()
}

/// Notes that the cluster may not have a workload's current revision.
pub async fn set_unapplied(c: &dyn Conn, id: WorkloadId) -> Result<()> {
    set(c, id, ("uid", None::<String>.into())).await
}

/// Notes that the cluster may have nothing of what is wished in a namespace.
pub async fn set_all_unapplied(c: &dyn Conn, namespace: NamespaceId) -> Result<()> {
    let mut query = update(TABLE, [("uid", None::<String>.into())]);
    query.and_where(Expr::col("namespace_id").eq(namespace.to_string()));
    c.on().change(TABLE, &query).await.map(drop)
}

/// Notes that the cluster has a revision of a workload, and the id that it gave it. When that is not the current revision any
/// more, nobody knows which of the two came last to the cluster: the current one has to be applied again.
pub async fn set_applied(c: &dyn Conn, id: WorkloadId, revision: u64, uid: &str) -> Result<()> {
    let mut query = update(TABLE, [("uid", uid.into())]);
    query.and_where(Expr::col("id").eq(id.to_string())).and_where(Expr::col("revision").eq(int(revision)?));
    match c.on().change(TABLE, &query).await? {
        0 => set_unapplied(c, id).await,
        _ => Ok(()),
    }
}

/// Notes that a workload is to go.
pub async fn set_deleted(c: &dyn Conn, id: WorkloadId) -> Result<()> {
    set(c, id, ("desired", Desired::Deleted.text().into())).await
}

async fn set(c: &dyn Conn, id: WorkloadId, cell: crate::sql::Cell) -> Result<()> {
    let mut query = update(TABLE, [cell]);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().change(TABLE, &query).await.map(drop)
}

/// Removes a workload with its revisions, after the cluster does not have it any more.
pub async fn delete(c: &dyn Conn, id: WorkloadId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
