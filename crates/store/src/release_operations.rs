//! What is done to releases: the wish, how it goes, how it ended. They outlive their release.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query, UpdateStatement};
use wire::builds::OperationState;
use wire::ids::{AccountId, ReleaseId, ReleaseOperationId};
use wire::page::PageQuery;
use wire::releases::ReleaseAction;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::PageOf;
use crate::releases::Place;
use crate::sql::{
    Cell, Cells, Word, count_of, count_query, insert as insert_row, int, select, shortened, update, words,
};

const TABLE: &str = "release_operations";
const COLUMNS: &[&str] = &[
    "id",
    "release_id",
    "account_id",
    "cluster",
    "namespace",
    "name",
    "action",
    "chart",
    "state",
    "reason",
    "message",
    "payload",
    "base_revision",
    "revision",
    "cancel_requested",
    "created_at",
    "started_at",
    "ended_at",
];

words!(ReleaseAction {
    Install = "install",
    Upgrade = "upgrade",
    Rollback = "rollback",
    Uninstall = "uninstall",
    Recover = "recover",
});

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The operation; its UUIDv7 orders the list.
    pub id: ReleaseOperationId,
    /// To which release.
    pub release_id: ReleaseId,
    /// Whose that is.
    pub account_id: AccountId,
    /// Where that is.
    pub place: Place,
    /// What is done.
    pub action: ReleaseAction,
    /// The chart, as `chart-version`.
    pub chart: String,
    /// Where it is.
    pub state: OperationState,
    /// Why it ended badly, for programs.
    pub reason: Option<String>,
    /// Why it ended badly, in plain words.
    pub message: Option<String>,
    /// What is to be done, sealed; forgotten when it has ended.
    pub payload: Option<String>,
    /// Helm's newest revision before it.
    pub base_revision: u64,
    /// The revision that came of it, or to which it goes back.
    pub revision: Option<u64>,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ReleaseOperationId(cells.parsed("id")?),
        release_id: ReleaseId(cells.parsed("release_id")?),
        account_id: AccountId(cells.int("account_id")?),
        place: Place {
            cluster: cells.parsed("cluster")?,
            namespace: cells.parsed("namespace")?,
            name: cells.text("name")?,
        },
        action: cells.word("action")?,
        chart: cells.text("chart")?,
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        payload: cells.opt_text("payload")?,
        base_revision: cells.count("base_revision")?,
        revision: cells.opt_count("revision")?,
        cancel_requested: cells.bool("cancel_requested")?,
        created_at: cells.time("created_at")?,
        started_at: cells.opt_time("started_at")?,
        ended_at: cells.opt_time("ended_at")?,
    })
}

/// Stores an operation.
pub async fn insert(c: &dyn Conn, new: &Row) -> Result<()> {
    let revision = new.revision.map(int).transpose()?;
    let cells = [
        ("id", new.id.to_string().into()),
        ("release_id", new.release_id.to_string().into()),
        ("account_id", new.account_id.0.into()),
        ("cluster", new.place.cluster.as_str().into()),
        ("namespace", new.place.namespace.as_str().into()),
        ("name", new.place.name.as_str().into()),
        ("action", new.action.text().into()),
        ("chart", shortened(&new.chart, 400).into()),
        ("state", new.state.text().into()),
        ("payload", new.payload.as_deref().into()),
        ("base_revision", int(new.base_revision)?.into()),
        ("revision", revision.into()),
        ("cancel_requested", new.cancel_requested.into()),
        ("created_at", new.created_at.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells).await
}

/// An operation.
pub async fn get(c: &dyn Conn, id: ReleaseOperationId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Operations, newest first: of one account or all, of one release or all.
pub async fn list(
    c: &dyn Conn,
    account: Option<AccountId>,
    release: Option<ReleaseId>,
    page: PageQuery,
) -> Result<PageOf<Row>> {
    let on = c.on();
    let narrowed = Cond::all()
        .add_option(account.map(|id| Expr::col("account_id").eq(id.0)))
        .add_option(release.map(|id| Expr::col("release_id").eq(id.to_string())));
    let mut counting = count_query(TABLE);
    let total = count_of(&on, counting.cond_where(narrowed.clone())).await?;
    let mut query = select(TABLE, COLUMNS);
    query.cond_where(narrowed).order_by((TABLE, "id"), Order::Desc).limit(page.limit()).offset(page.offset());
    let rows = on.rows(&query).await?.iter().map(row).collect::<Result<_>>()?;
    Ok(PageOf { rows, total })
}

/// The newest operation of each of these releases.
pub async fn newest_of(c: &dyn Conn, releases: &[ReleaseId]) -> Result<Vec<Row>> {
    if releases.is_empty() {
        return Ok(Vec::new());
    }
    let newest = Query::select()
        .expr(Expr::col("id").max())
        .from(TABLE)
        .and_where(Expr::col("release_id").is_in(releases.iter().map(ToString::to_string)))
        .group_by_col("release_id")
        .take();
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").in_subquery(newest));
    c.on().rows(&query).await?.iter().map(row).collect()
}

fn unfinished(id: ReleaseOperationId, cells: impl IntoIterator<Item = Cell>) -> UpdateStatement {
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.to_string())).and_where(
        Expr::col((TABLE, "state")).is_in([OperationState::Queued.text(), OperationState::Running.text()]),
    );
    query
}

/// Notes that a worker has it, also again after a restart; false when it has ended.
pub async fn set_running(c: &dyn Conn, id: ReleaseOperationId, now: Timestamp) -> Result<bool> {
    let mut query = unfinished(id, [("state", OperationState::Running.text().into())]);
    query.value("started_at", Expr::col("started_at").if_null(now.0));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Asks for its end; false when it has ended.
pub async fn request_cancel(c: &dyn Conn, id: ReleaseOperationId) -> Result<bool> {
    let query = unfinished(id, [("cancel_requested", true.into())]);
    Ok(c.on().change_telling(TABLE, &query).await? > 0)
}

/// Ends an operation that has not ended, and forgets what was to be done; true when this call did it.
pub async fn finish(
    c: &dyn Conn,
    id: ReleaseOperationId,
    state: OperationState,
    why: Option<(&str, &str)>,
    revision: Option<u64>,
    now: Timestamp,
) -> Result<bool> {
    let mut cells: Vec<Cell> = vec![
        ("state", state.text().into()),
        ("reason", why.map(|(reason, _)| shortened(reason, 64)).into()),
        ("message", why.map(|(_, message)| shortened(message, 4000)).into()),
        ("payload", None::<String>.into()),
        ("ended_at", now.0.into()),
    ];
    if let Some(revision) = revision {
        cells.push(("revision", int(revision)?.into()));
    }
    Ok(c.on().change(TABLE, &unfinished(id, cells)).await? > 0)
}

/// Operations that ended before a time, oldest first.
pub async fn ended_before(c: &dyn Conn, before: Timestamp, limit: u64) -> Result<Vec<ReleaseOperationId>> {
    let mut query = select(TABLE, &["id"]);
    query.and_where(Expr::col("ended_at").lt(before.0)).order_by((TABLE, "id"), Order::Asc).limit(limit);
    let rows = c.on().rows(&query).await?;
    rows.iter().map(|row| Ok(ReleaseOperationId(Cells(row).parsed("id")?))).collect()
}

/// Removes an operation; whether there was one.
pub async fn delete(c: &dyn Conn, id: ReleaseOperationId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
