//! The key by which each machine that joined proves who it is; and whether two were seen that claim to be one.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use wire::ids::{AccountId, MachineId};
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, insert as insert_row, select, update};

const TABLE: &str = "machine_keys";
const COLUMNS: &[&str] =
    &["machine_id", "public_key", "account_id", "joined_at", "quarantined_at", "quarantine_reason"];

/// A machine's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose it is.
    pub machine_id: MachineId,
    /// The Ed25519 public key, 64 hex digits; of one machine only.
    pub public_key: String,
    /// Who invited the machine, while that account exists.
    pub account_id: Option<AccountId>,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Since when the key is not believed, if so.
    pub quarantined_at: Option<Timestamp>,
    /// Why it is not believed, in plain words.
    pub quarantine_reason: Option<String>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        machine_id: cells.parsed("machine_id")?,
        public_key: cells.text("public_key")?,
        account_id: cells.opt_int("account_id")?.map(AccountId),
        joined_at: cells.time("joined_at")?,
        quarantined_at: cells.opt_time("quarantined_at")?,
        quarantine_reason: cells.opt_text("quarantine_reason")?,
    })
}

/// Binds a key to a machine; [`crate::Error::Duplicate`] when the machine has one or the key is another's.
pub async fn insert(c: &dyn Conn, key: &Row) -> Result<()> {
    let cells = [
        ("machine_id", key.machine_id.as_str().into()),
        ("public_key", key.public_key.as_str().into()),
        ("account_id", key.account_id.map(|id| id.0).into()),
        ("joined_at", key.joined_at.0.into()),
        ("quarantined_at", key.quarantined_at.map(|time| time.0).into()),
        ("quarantine_reason", key.quarantine_reason.as_deref().into()),
    ];
    insert_row(&c.on(), TABLE, cells).await
}

/// The key of a machine.
pub async fn get(c: &dyn Conn, machine: &MachineId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("machine_id").eq(machine.as_str()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The machine that a key belongs to.
pub async fn by_public_key(c: &dyn Conn, public_key: &str) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("public_key").eq(public_key));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The keys of some machines, in no order.
pub async fn of_machines(c: &dyn Conn, machines: &[MachineId]) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("machine_id").is_in(machines.iter().map(MachineId::as_str)));
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Believes a key no more; false when it was not believed before, or is gone.
pub async fn quarantine(c: &dyn Conn, machine: &MachineId, reason: &str, now: Timestamp) -> Result<bool> {
    let mut query = update(TABLE, [("quarantined_at", now.0.into()), ("quarantine_reason", reason.into())]);
    query
        .and_where(Expr::col("machine_id").eq(machine.as_str()))
        .and_where(Expr::col("quarantined_at").is_null());
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Forgets a machine's key, so that it can join anew; whether there was one.
pub async fn delete(c: &dyn Conn, machine: &MachineId) -> Result<bool> {
    let query =
        Query::delete().from_table(TABLE).and_where(Expr::col("machine_id").eq(machine.as_str())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
