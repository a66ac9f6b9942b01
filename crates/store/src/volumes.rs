//! Volumes: folders that outlive containers, each of one account on one machine, and which containers have them.

use std::collections::HashMap;

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query, SelectStatement};
use wire::containers::ContainerRef;
use wire::ids::{AccountId, ContainerId, MachineId, VolumeId};
use wire::names::{AccountName, VolumeName};
use wire::page::PageQuery;
use wire::time::Timestamp;
use wire::volumes::VolumeState;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{
    Cells, Word, count_of, count_query, insert as insert_row, insert_numbered, select, update, words,
};

const TABLE: &str = "volumes";
const USES: &str = "container_volumes";
const COLUMNS: &[&str] = &["id", "account_id", "machine_id", "name", "state", "created_at"];

words!(VolumeState { Ready = "ready", Deleting = "deleting" });

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number, which no other gets.
    pub id: VolumeId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Where it lies.
    pub machine_id: MachineId,
    /// Its name, unique among the account's on the machine.
    pub name: VolumeName,
    /// Whether it can be used.
    pub state: VolumeState,
    /// When it was first asked for.
    pub created_at: Timestamp,
}

/// Which volumes; what is none does not narrow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only on this machine.
    pub machine: Option<&'a MachineId>,
    /// Only of this name.
    pub name: Option<&'a VolumeName>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: VolumeId(cells.int("id")?),
        account_id: AccountId(cells.int("account_id")?),
        machine_id: cells.parsed("machine_id")?,
        name: cells.parsed("name")?,
        state: cells.word("state")?,
        created_at: cells.time("created_at")?,
    })
}

async fn rows(c: &dyn Conn, query: &SelectStatement) -> Result<Vec<Row>> {
    c.on().rows(query).await?.iter().map(row).collect()
}

/// Stores a volume; [`crate::Error::Duplicate`] when the account has one of that name on the machine: drop the
/// transaction then.
pub async fn insert(
    c: &dyn Conn,
    account: AccountId,
    machine: &MachineId,
    name: &VolumeName,
    now: Timestamp,
) -> Result<Row> {
    let state = VolumeState::Ready;
    let cells = [
        ("account_id", account.0.into()),
        ("machine_id", machine.as_str().into()),
        ("name", name.as_str().into()),
        ("state", state.text().into()),
        ("created_at", now.0.into()),
    ];
    let id = VolumeId(insert_numbered(&c.on(), TABLE, cells).await?);
    let (machine_id, name) = (machine.clone(), name.clone());
    Ok(Row { id, account_id: account, machine_id, name, state, created_at: now })
}

/// The volume with a number.
pub async fn get(c: &dyn Conn, id: VolumeId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The volume with a number, for a change that depends on what it is: nobody else changes it until the end.
pub async fn locked(c: &Tx, id: VolumeId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// An account's volumes of a name, on whichever machines.
pub async fn by_name(c: &dyn Conn, account: AccountId, name: &VolumeName) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("account_id").eq(account.0))
        .and_where(Expr::col("name").eq(name.as_str()))
        .order_by("id", Order::Asc);
    rows(c, &query).await
}

/// Volumes with the names of their accounts, newest first.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<(Row, AccountName)>> {
    let narrowed = Cond::all()
        .add_option(filter.account.map(|id| Expr::col("account_id").eq(id.0)))
        .add_option(filter.machine.map(|id| Expr::col("machine_id").eq(id.as_str())))
        .add_option(filter.name.map(|name| Expr::col("name").eq(name.as_str())));
    let branches = if narrowed.is_empty() { Vec::new() } else { vec![narrowed] };
    let list = List { table: TABLE, key: "id", kind: KeyKind::Number, newest_first: true, branches };
    let mut query = select(TABLE, COLUMNS);
    query
        .column(("accounts", "account"))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
    let pair = |found: &QueryResult| Ok((row(found)?, Cells(found).parsed("account")?));
    list.page(&c.on(), page, query, pair).await
}

/// All volumes that lie on a machine, by number.
pub async fn all_of_machine(c: &dyn Conn, machine: &MachineId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("machine_id").eq(machine.as_str())).order_by("id", Order::Asc);
    rows(c, &query).await
}

/// Those that their machines are to remove, oldest first.
pub async fn deleting(c: &dyn Conn) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("state").eq(VolumeState::Deleting.text())).order_by("id", Order::Asc);
    rows(c, &query).await
}

/// How many volumes an account has.
pub async fn count_of_account(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("account_id").eq(account.0));
    count_of(&c.on(), &query).await
}

/// Changes whether a volume can be used; true when it was otherwise before.
pub async fn set_state(c: &dyn Conn, id: VolumeId, state: VolumeState) -> Result<bool> {
    let mut query = update(TABLE, [("state", state.text().into())]);
    query.and_where(Expr::col("id").eq(id.0)).and_where(Expr::col("state").ne(state.text()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes a volume's row; whether there was one. [`crate::Error::InUse`] when a container has it.
pub async fn delete(c: &dyn Conn, id: VolumeId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes the rows of all volumes of a machine, which keeps what is in them; how many there were.
pub async fn delete_of_machine(c: &dyn Conn, machine: &MachineId) -> Result<u64> {
    let query =
        Query::delete().from_table(TABLE).and_where(Expr::col("machine_id").eq(machine.as_str())).take();
    c.on().change(TABLE, &query).await
}

/// Notes that a container has a volume.
pub async fn attach(c: &dyn Conn, container: ContainerId, volume: VolumeId) -> Result<()> {
    let cells = [("container_id", container.0.into()), ("volume_id", volume.0.into())];
    insert_row(&c.on(), USES, cells).await
}

/// Which containers have these volumes, by number.
pub async fn users(c: &dyn Conn, volumes: &[VolumeId]) -> Result<HashMap<VolumeId, Vec<ContainerRef>>> {
    let mut users: HashMap<VolumeId, Vec<ContainerRef>> = HashMap::new();
    if volumes.is_empty() {
        return Ok(users);
    }
    let mut query = select(USES, &["volume_id", "container_id"]);
    query
        .column(("containers", "name"))
        .inner_join("containers", Expr::col(("containers", "id")).equals((USES, "container_id")))
        .and_where(Expr::col((USES, "volume_id")).is_in(volumes.iter().map(|id| id.0)))
        .order_by((USES, "container_id"), Order::Asc);
    for found in c.on().rows(&query).await? {
        let cells = Cells(&found);
        let user = ContainerRef { id: ContainerId(cells.int("container_id")?), name: cells.parsed("name")? };
        users.entry(VolumeId(cells.int("volume_id")?)).or_default().push(user);
    }
    Ok(users)
}
