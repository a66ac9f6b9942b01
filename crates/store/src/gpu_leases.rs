//! Leases: which container holds which graphics processor. Each is held once, by the table's key.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::ids::{AccountId, ContainerId, GpuId, MachineId};
use wire::names::{AccountName, ContainerName};
use wire::time::Timestamp;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::settings;
use crate::sql::{Cells, insert, select, update};

const TABLE: &str = "gpu_leases";
const CONTAINERS: &str = "containers";
/// The row of the settings that whoever gives leases locks.
const LOCK: &str = "leases.lock";

/// A lease, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the graphics processor is.
    pub machine_id: MachineId,
    /// Which it is.
    pub gpu: GpuId,
    /// Which container holds it.
    pub container_id: ContainerId,
    /// That container's name.
    pub container: ContainerName,
    /// Whose container it is.
    pub account_id: AccountId,
    /// Whose container it is, by name.
    pub account: AccountName,
    /// Since when.
    pub since: Timestamp,
    /// When its container is to be stopped at the latest.
    pub until: Option<Timestamp>,
}

/// Waits until nobody else gives leases; until the end of the transaction nobody else does.
pub async fn lock(c: &Tx) -> Result<()> {
    settings::lock(c, LOCK).await
}

/// Gives graphics processors of a machine to a container. [`Error::Duplicate`] when one is held already: drop the
/// transaction then.
pub async fn take(
    c: &Tx,
    container: ContainerId,
    machine: &MachineId,
    gpus: &[GpuId],
    now: Timestamp,
) -> Result<()> {
    for gpu in gpus {
        let cells = [
            ("machine_id", machine.as_str().into()),
            ("gpu", gpu.as_str().into()),
            ("container_id", container.0.into()),
            ("since", now.0.into()),
        ];
        insert(&c.on(), TABLE, cells).await?;
    }
    set_leased_at(c, container, Some(now)).await
}

/// Takes everything from a container that it holds; whether it held something.
pub async fn release(c: &Tx, container: ContainerId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("container_id").eq(container.0)).take();
    let count = c.on().change(TABLE, &query).await?;
    set_leased_at(c, container, None).await?;
    Ok(count > 0)
}

async fn set_leased_at(c: &Tx, container: ContainerId, leased_at: Option<Timestamp>) -> Result<()> {
    let mut query = update(CONTAINERS, [("leased_at", leased_at.map(|time| time.0).into())]);
    query.and_where(Expr::col("id").eq(container.0));
    match c.on().change(CONTAINERS, &query).await? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

/// All leases, or those of one machine.
pub async fn list(c: &dyn Conn, machine: Option<&MachineId>) -> Result<Vec<Row>> {
    let mut query = select(TABLE, &["machine_id", "gpu", "container_id", "since"]);
    query
        .column((CONTAINERS, "name"))
        .column((CONTAINERS, "account_id"))
        .column((CONTAINERS, "ends_at"))
        .column(("accounts", "account"))
        .inner_join(CONTAINERS, Expr::col((CONTAINERS, "id")).equals((TABLE, "container_id")))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((CONTAINERS, "account_id")))
        .order_by((TABLE, "machine_id"), Order::Asc)
        .order_by((TABLE, "gpu"), Order::Asc);
    if let Some(machine) = machine {
        query.and_where(Expr::col((TABLE, "machine_id")).eq(machine.as_str()));
    }
    c.on().rows(&query).await?.iter().map(row).collect()
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        machine_id: cells.parsed("machine_id")?,
        gpu: cells.parsed("gpu")?,
        container_id: ContainerId(cells.int("container_id")?),
        container: cells.parsed("name")?,
        account_id: AccountId(cells.int("account_id")?),
        account: cells.parsed("account")?,
        since: cells.time("since")?,
        until: cells.opt_time("ends_at")?,
    })
}
