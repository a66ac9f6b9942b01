//! What happened to containers: each state that one came into, in the transaction in which it did. The last hundred of each are
//! kept, as long as the container is there.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::containers::ContainerState;
use wire::ids::ContainerId;
use wire::time::Timestamp;

use crate::db::{Conn, On};
use crate::error::Result;
use crate::sql::{Cell, Cells, Word, insert_numbered, select};

const TABLE: &str = "container_events";
const COLUMNS: &[&str] = &["id", "at", "state", "reason", "message", "exit_code"];
/// Kept of each container.
pub const EVENTS_KEPT: u64 = 100;

/// A state that a container came into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub state: ContainerState,
    /// Why, for programs.
    pub reason: Option<String>,
    /// Why, in plain words.
    pub message: Option<String>,
    /// How its process ended.
    pub exit_code: Option<i64>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        at: cells.time("at")?,
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        exit_code: cells.opt_int("exit_code")?,
    })
}

/// What happened to a container, newest first.
pub async fn of_container(c: &dyn Conn, id: ContainerId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("container_id").eq(id.0)).order_by((TABLE, "id"), Order::Desc);
    query.limit(EVENTS_KEPT);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Writes down what happened, and lets go of what is too old.
pub(crate) async fn insert(on: &On<'_>, id: ContainerId, new: &Row) -> Result<()> {
    let cells: [Cell; 6] = [
        ("container_id", id.0.into()),
        ("at", new.at.0.into()),
        ("state", new.state.text().into()),
        ("reason", new.reason.as_deref().into()),
        ("message", new.message.as_deref().into()),
        ("exit_code", new.exit_code.into()),
    ];
    insert_numbered(on, TABLE, cells).await?;
    let mut oldest = select(TABLE, &["id"]);
    oldest.and_where(Expr::col("container_id").eq(id.0)).order_by((TABLE, "id"), Order::Desc);
    oldest.limit(1).offset(EVENTS_KEPT);
    if let Some(found) = on.row(&oldest).await? {
        let last = Cells(&found).int("id")?;
        let query = Query::delete()
            .from_table(TABLE)
            .and_where(Expr::col("container_id").eq(id.0))
            .and_where(Expr::col("id").lte(last))
            .take();
        on.change(TABLE, &query).await?;
    }
    Ok(())
}
