//! Images on machines: what an admin wants there, what is there, and when it was used last.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query, SelectStatement};
use wire::ids::{AccountId, MachineId};
use wire::machine_images::MachineImageState;
use wire::names::Digest;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, Word, insert, int, select, shortened, update, words};

const TABLE: &str = "machine_images";
const COLUMNS: &[&str] = &[
    "machine_id",
    "repository",
    "digest",
    "state",
    "size_bytes",
    "last_used_at",
    "account_id",
    "attempt",
    "message",
];
const MESSAGE_CHARS_MAX: usize = 1_000;

words!(MachineImageState { Wanted = "wanted", Pulling = "pulling", Held = "held", Failed = "failed" });

/// Which image on which machine.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// Where.
    pub machine: &'a MachineId,
    /// `owner/repo`.
    pub repository: &'a str,
    /// The manifest's digest.
    pub digest: &'a Digest,
}

/// An image on a machine, or on its way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub machine_id: MachineId,
    /// `owner/repo`.
    pub repository: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// Whether it is there.
    pub state: MachineImageState,
    /// What it takes there.
    pub size_bytes: Option<u64>,
    /// When a container was made from it there last, or it was fetched.
    pub last_used_at: Timestamp,
    /// Which admin asked for it.
    pub account_id: Option<AccountId>,
    /// How often it was tried to fetch it.
    pub attempt: u32,
    /// Why it could not be fetched.
    pub message: Option<String>,
}

impl Row {
    /// Its key.
    pub fn key(&self) -> Key<'_> {
        Key { machine: &self.machine_id, repository: &self.repository, digest: &self.digest }
    }
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        machine_id: cells.parsed("machine_id")?,
        repository: cells.text("repository")?,
        digest: cells.parsed("digest")?,
        state: cells.word("state")?,
        size_bytes: cells.opt_count("size_bytes")?,
        last_used_at: cells.time("last_used_at")?,
        account_id: cells.opt_int("account_id")?.map(AccountId),
        attempt: cells.count("attempt")?,
        message: cells.opt_text("message")?,
    })
}

async fn rows(c: &dyn Conn, query: &SelectStatement) -> Result<Vec<Row>> {
    c.on().rows(query).await?.iter().map(row).collect()
}

fn of(key: Key<'_>) -> Cond {
    Cond::all()
        .add(Expr::col("machine_id").eq(key.machine.as_str()))
        .add(Expr::col("repository").eq(key.repository))
        .add(Expr::col("digest").eq(key.digest.as_str()))
}

/// Writes a row, whatever was there before.
pub async fn put(c: &dyn Conn, new: &Row) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    let query = Query::delete().from_table(TABLE).cond_where(of(new.key())).take();
    scope.on().change(TABLE, &query).await?;
    let cells = [
        ("machine_id", new.machine_id.as_str().into()),
        ("repository", new.repository.as_str().into()),
        ("digest", new.digest.as_str().into()),
        ("state", new.state.text().into()),
        ("size_bytes", new.size_bytes.map(int).transpose()?.into()),
        ("last_used_at", new.last_used_at.0.into()),
        ("account_id", new.account_id.map(|id| id.0).into()),
        ("attempt", i64::from(new.attempt).into()),
        ("message", new.message.as_deref().map(|message| shortened(message, MESSAGE_CHARS_MAX)).into()),
    ];
    insert(&scope.on(), TABLE, cells).await?;
    scope.commit().await
}

/// One image on one machine.
pub async fn get(c: &dyn Conn, key: Key<'_>) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.cond_where(of(key));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Notes that an image was used just now; false when it is not known to be there.
pub async fn touch(c: &dyn Conn, key: Key<'_>, now: Timestamp) -> Result<bool> {
    let mut query = update(TABLE, [("last_used_at", now.0.into())]);
    query.cond_where(of(key)).and_where(Expr::col("state").eq(MachineImageState::Held.text()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Forgets an image on a machine; whether it was known.
pub async fn delete(c: &dyn Conn, key: Key<'_>) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).cond_where(of(key)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Forgets everything of a machine.
pub async fn delete_of_machine(c: &dyn Conn, machine: &MachineId) -> Result<()> {
    let query =
        Query::delete().from_table(TABLE).and_where(Expr::col("machine_id").eq(machine.as_str())).take();
    c.on().change(TABLE, &query).await.map(drop)
}

/// Everything of a machine; what was used least recently comes first.
pub async fn of_machine(c: &dyn Conn, machine: &MachineId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("machine_id").eq(machine.as_str()))
        .order_by("last_used_at", Order::Asc)
        .order_by("repository", Order::Asc)
        .order_by("digest", Order::Asc);
    rows(c, &query).await
}

/// Where an image is, or is to be.
pub async fn of_image(c: &dyn Conn, repository: &str, digest: &Digest) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("repository").eq(repository))
        .and_where(Expr::col("digest").eq(digest.as_str()))
        .order_by("machine_id", Order::Asc);
    rows(c, &query).await
}

/// What is to be fetched, anywhere; those of a server that died while it fetched too.
pub async fn to_fetch(c: &dyn Conn) -> Result<Vec<Row>> {
    use MachineImageState::{Pulling, Wanted};

    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("state").is_in([Wanted, Pulling].map(Word::text)))
        .order_by("last_used_at", Order::Asc)
        .order_by("machine_id", Order::Asc);
    rows(c, &query).await
}
