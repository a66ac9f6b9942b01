//! Containers: what is wanted, what is, and which ports of a machine they hold.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use sea_orm::QueryResult;
use sea_orm::sea_query::{CaseStatement, Cond, Expr, ExprTrait, Order, Query, SelectStatement};
use wire::containers::{ContainerSpec, ContainerState, Port, Protocol, RestartPolicy};
use wire::gpus::GpuWish;
use wire::ids::{AccountId, ContainerId, ImageId, MachineId};
use wire::limits::{Limits, WishedLimits};
use wire::names::{AccountName, ContainerName, Digest};
use wire::page::PageQuery;
use wire::quotas::AccountClass;
use wire::time::Timestamp;

use crate::container_events;
use crate::db::{Conn, On, Tx};
use crate::error::{Error, Result};
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{
    Cell, Cells, Word, contains, count_of, count_query, insert as insert_row, insert_numbered, json, select,
    update, words,
};

const TABLE: &str = "containers";
const PORTS: &str = "container_ports";
/// Until somebody says otherwise.
const STOP_TIMEOUT_SECS: u32 = 10;
/// Machines in one question; every database takes so many parameters.
const MACHINES_ASKED_TOGETHER: usize = 500;
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "name",
    "display_name",
    "machine_id",
    "image_id",
    "image_name",
    "image_repository",
    "image_digest",
    "spec",
    "desired",
    "restart_requested",
    "stop_timeout_secs",
    "state",
    "state_since",
    "reason",
    "message",
    "exit_code",
    "engine_id",
    "attempt",
    "created_at",
    "updated_at",
    "gpu_wish",
    "leased_at",
    "queued_at",
    "placement",
    "copy_of",
    "max_duration_secs",
    "ends_at",
    "wished_limits",
    "restart_policy",
    "restarts",
    "made_from",
    "restart_of",
];

words!(ContainerState {
    Pending = "pending",
    Pulling = "pulling",
    Starting = "starting",
    Running = "running",
    Stopping = "stopping",
    Stopped = "stopped",
    Failed = "failed",
    Deleting = "deleting",
    Unknown = "unknown",
});

/// In these its processes run or may run.
const ACTIVE: [ContainerState; 5] = [
    ContainerState::Pulling,
    ContainerState::Starting,
    ContainerState::Running,
    ContainerState::Stopping,
    ContainerState::Unknown,
];

/// What the owner wants of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    /// That it runs. Written by create and start.
    Running,
    /// That it is stopped and kept. Written by stop, and when its process ends by itself.
    Stopped,
    /// That it is gone. Written by delete; the row goes when the engine's container is gone.
    Deleted,
}

words!(RestartPolicy { No = "no", OnFailure = "on_failure", Always = "always" });
words!(Desired { Running = "running", Stopped = "stopped", Deleted = "deleted" });

/// Whether a container has its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It does: its disk is there, or it was decided that it will be.
    Fixed,
    /// It never was on a machine, and asks for the one that its row names.
    Named,
    /// It never was on a machine, and takes any; the one that its row names is a placeholder.
    Any,
}

words!(Placement { Fixed = "fixed", Named = "named", Any = "any" });

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: ContainerId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Its name, unique among the account's containers.
    pub name: ContainerName,
    /// The name to show.
    pub display_name: Option<String>,
    /// Where it is.
    pub machine_id: MachineId,
    /// The image it was made from.
    pub image_id: ImageId,
    /// That image's name when the container was made.
    pub image_name: String,
    /// That image's repository, `owner/repo`.
    pub image_repository: String,
    /// That image's digest.
    pub image_digest: Digest,
    /// What the agent is told to make.
    pub spec: ContainerSpec,
    /// What the owner wants.
    pub desired: Desired,
    /// Whether it is to be stopped and started once.
    pub restart_requested: bool,
    /// Seconds between asking its process to end and ending it.
    pub stop_timeout_secs: u32,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Since when.
    pub state_since: Timestamp,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// How its process ended the last time.
    pub exit_code: Option<i64>,
    /// The engine's id of it.
    pub engine_id: Option<String>,
    /// How often the present wish was tried.
    pub attempt: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Graphics processors that it asks for; which it was given stands in `spec`.
    pub gpu_wish: Option<GpuWish>,
    /// Since when it holds those in `spec`; none = it holds none, and `spec` names those that it had last.
    pub leased_at: Option<Timestamp>,
    /// Since when it stands in the line of those who wait; none = it does not.
    pub queued_at: Option<Timestamp>,
    /// Whether it has its machine.
    pub placement: Placement,
    /// The engine's id of the container whose disk its machine has copied: it is made anew from that copy.
    pub copy_of: Option<String>,
    /// Seconds after which it is stopped, from each start.
    pub max_duration_secs: Option<u64>,
    /// When that is, or was when it was stopped by it.
    pub ends_at: Option<Timestamp>,
    /// What it may use as soon as its machine has applied it; until then `spec` counts.
    pub wished_limits: Option<WishedLimits>,
    /// What happens when its process ends by itself.
    pub restart_policy: RestartPolicy,
    /// How often it was started again without having run for a while in between.
    pub restarts: u32,
    /// The image that the engine's container was made from, by its digest; none = the row's.
    pub made_from: Option<Digest>,
    /// Of which process the restart is that is asked for, by when the engine started that; none = the restart has not begun.
    pub restart_of: Option<Timestamp>,
}

/// An image for a container.
#[derive(Clone, Copy, Debug)]
pub struct NewImage<'a> {
    /// The image.
    pub id: ImageId,
    /// Its name.
    pub name: &'a str,
    /// Its repository, `owner/repo`.
    pub repository: &'a str,
    /// Its digest.
    pub digest: &'a Digest,
}

/// What makes a container.
#[derive(Clone, Debug)]
pub struct New {
    /// Whose it is.
    pub account_id: AccountId,
    /// Its name.
    pub name: ContainerName,
    /// The name to show, at most 200 characters.
    pub display_name: Option<String>,
    /// Where it is to be.
    pub machine_id: MachineId,
    /// The image it is made from.
    pub image_id: ImageId,
    /// That image's name.
    pub image_name: String,
    /// That image's repository, `owner/repo`.
    pub image_repository: String,
    /// That image's digest.
    pub image_digest: Digest,
    /// What the agent is told to make; its ports are claimed.
    pub spec: ContainerSpec,
    /// What the owner wants.
    pub desired: Desired,
    /// The time.
    pub now: Timestamp,
    /// Graphics processors that it asks for.
    pub gpu_wish: Option<GpuWish>,
    /// Not fixed = it goes to the end of the line, and its ports are claimed when it is placed.
    pub placement: Placement,
    /// Seconds after which it is stopped, from each start.
    pub max_duration_secs: Option<u64>,
    /// What happens when its process ends by itself.
    pub restart_policy: RestartPolicy,
}

/// Which containers; what is none does not narrow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only on this machine.
    pub machine: Option<&'a MachineId>,
    /// Only of this image.
    pub image: Option<ImageId>,
    /// Only in this state.
    pub state: Option<ContainerState>,
    /// Name, display name or image name contains this.
    pub search: Option<&'a str>,
}

/// What is to be written about a container's state: all of it, so begin from [`Row::change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange<'a> {
    /// The new state.
    pub state: ContainerState,
    /// Why it failed, for programs.
    pub reason: Option<&'a str>,
    /// Why it failed, in plain words.
    pub message: Option<&'a str>,
    /// How its process ended the last time.
    pub exit_code: Option<i64>,
    /// The engine's id of it.
    pub engine_id: Option<&'a str>,
    /// How often the present wish was tried.
    pub attempt: u32,
}

impl Row {
    /// Whether its processes run, may run, or are to run soon.
    pub fn is_active(&self) -> bool {
        ACTIVE.contains(&self.state) || (self.desired == Desired::Running && self.queued_at.is_none())
    }

    /// Whether what the engine has was made from another image than it is to have now.
    pub fn is_outdated(&self) -> bool {
        self.engine_id.is_some() && self.made_from.as_ref().is_some_and(|made| *made != self.image_digest)
    }

    /// A change to a state that keeps exit code, engine id and attempt, and has no reason.
    pub fn change(&self, state: ContainerState) -> StateChange<'_> {
        StateChange {
            state,
            reason: None,
            message: None,
            exit_code: self.exit_code,
            engine_id: self.engine_id.as_deref(),
            attempt: self.attempt,
        }
    }
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ContainerId(cells.int("id")?),
        account_id: AccountId(cells.int("account_id")?),
        name: cells.parsed("name")?,
        display_name: cells.opt_text("display_name")?,
        machine_id: cells.parsed("machine_id")?,
        image_id: ImageId(cells.int("image_id")?),
        image_name: cells.text("image_name")?,
        image_repository: cells.text("image_repository")?,
        image_digest: cells.parsed("image_digest")?,
        spec: cells.json("spec")?,
        desired: cells.word("desired")?,
        restart_requested: cells.bool("restart_requested")?,
        stop_timeout_secs: cells.count("stop_timeout_secs")?,
        state: cells.word("state")?,
        state_since: cells.time("state_since")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        exit_code: cells.opt_int("exit_code")?,
        engine_id: cells.opt_text("engine_id")?,
        attempt: cells.count("attempt")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
        gpu_wish: cells.opt_json("gpu_wish")?,
        leased_at: cells.opt_time("leased_at")?,
        queued_at: cells.opt_time("queued_at")?,
        placement: cells.opt_word("placement")?.unwrap_or(Placement::Fixed),
        copy_of: cells.opt_text("copy_of")?,
        max_duration_secs: cells.opt_count("max_duration_secs")?,
        ends_at: cells.opt_time("ends_at")?,
        wished_limits: cells.opt_json("wished_limits")?,
        restart_policy: cells.opt_word("restart_policy")?.unwrap_or_default(),
        restarts: cells.opt_count("restarts")?.unwrap_or(0),
        made_from: cells.opt_parsed("made_from")?,
        restart_of: cells.opt_time("restart_of")?,
    })
}

async fn rows(c: &dyn Conn, query: &SelectStatement) -> Result<Vec<Row>> {
    c.on().rows(query).await?.iter().map(row).collect()
}

fn first_port(ports: &[Port]) -> Option<i64> {
    ports.first().map(|port| i64::from(port.host))
}

/// Stores a container and, when it has its machine, claims its ports, all or nothing. [`Error::Duplicate`] when the account has one of that name,
/// [`Error::PortTaken`] when a port of the machine is another's. Inside a transaction of the caller, drop it after either.
pub async fn insert(c: &dyn Conn, new: &New) -> Result<Row> {
    let on = c.on();
    let scope = on.scope().await?;
    let is_fixed = new.placement == Placement::Fixed;
    let queued_at = (!is_fixed).then_some(new.now);
    let gpu_wish = new.gpu_wish.as_ref().map(json).transpose()?;
    let id = insert_numbered(
        &scope.on(),
        TABLE,
        [
            ("account_id", new.account_id.0.into()),
            ("name", new.name.as_str().into()),
            ("display_name", new.display_name.as_deref().into()),
            ("machine_id", new.machine_id.as_str().into()),
            ("image_id", new.image_id.0.into()),
            ("image_name", new.image_name.as_str().into()),
            ("image_repository", new.image_repository.as_str().into()),
            ("image_digest", new.image_digest.as_str().into()),
            ("spec", json(&new.spec)?.into()),
            ("port", first_port(&new.spec.ports).filter(|_| is_fixed).into()),
            ("desired", new.desired.text().into()),
            ("restart_requested", false.into()),
            ("stop_timeout_secs", i64::from(STOP_TIMEOUT_SECS).into()),
            ("status", false.into()),
            ("state", ContainerState::Pending.text().into()),
            ("state_since", new.now.0.into()),
            ("attempt", 0_i64.into()),
            ("created_at", new.now.0.into()),
            ("updated_at", new.now.0.into()),
            ("gpu_wish", gpu_wish.into()),
            ("queued_at", queued_at.map(|time| time.0).into()),
            ("placement", (!is_fixed).then(|| new.placement.text()).into()),
            ("max_duration_secs", new.max_duration_secs.map(seconds).into()),
            ("restart_policy", new.restart_policy.text().into()),
        ],
    )
    .await?;
    if is_fixed {
        claim_ports(&scope.on(), ContainerId(id), &new.machine_id, &new.spec.ports).await?;
    }
    let event = container_events::Row {
        at: new.now,
        state: ContainerState::Pending,
        reason: None,
        message: None,
        exit_code: None,
    };
    container_events::insert(&scope.on(), ContainerId(id), &event).await?;
    scope.commit().await?;
    Ok(Row {
        id: ContainerId(id),
        account_id: new.account_id,
        name: new.name.clone(),
        display_name: new.display_name.clone(),
        machine_id: new.machine_id.clone(),
        image_id: new.image_id,
        image_name: new.image_name.clone(),
        image_repository: new.image_repository.clone(),
        image_digest: new.image_digest.clone(),
        spec: new.spec.clone(),
        desired: new.desired,
        restart_requested: false,
        stop_timeout_secs: STOP_TIMEOUT_SECS,
        state: ContainerState::Pending,
        state_since: new.now,
        reason: None,
        message: None,
        exit_code: None,
        engine_id: None,
        attempt: 0,
        created_at: new.now,
        updated_at: new.now,
        gpu_wish: new.gpu_wish.clone(),
        leased_at: None,
        queued_at,
        placement: new.placement,
        copy_of: None,
        max_duration_secs: new.max_duration_secs,
        ends_at: None,
        wished_limits: None,
        restart_policy: new.restart_policy,
        restarts: 0,
        made_from: None,
        restart_of: None,
    })
}

fn seconds(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}

async fn claim_ports(on: &On<'_>, id: ContainerId, machine: &MachineId, ports: &[Port]) -> Result<()> {
    for port in ports {
        let cells = [
            ("machine_id", machine.as_str().into()),
            ("protocol", port.protocol.as_str().into()),
            ("host_port", i64::from(port.host).into()),
            ("container_id", id.0.into()),
        ];
        match insert_row(on, PORTS, cells).await {
            Err(Error::Duplicate) => return Err(Error::PortTaken(port.host)),
            other => other?,
        }
    }
    Ok(())
}

/// The container with a number.
pub async fn get(c: &dyn Conn, id: ContainerId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The container with a number, for a change that depends on what it is: inside a transaction nobody else changes it until
/// the end.
pub async fn locked(c: &Tx, id: ContainerId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// An account's container with a name.
pub async fn by_name(c: &dyn Conn, account: AccountId, name: &ContainerName) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("account_id").eq(account.0)).and_where(Expr::col("name").eq(name.as_str()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Containers with the names of their accounts, newest first.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<(Row, AccountName)>> {
    let narrowed = Cond::all()
        .add_option(filter.account.map(|id| Expr::col("account_id").eq(id.0)))
        .add_option(filter.machine.map(|id| Expr::col("machine_id").eq(id.as_str())))
        .add_option(filter.image.map(|id| Expr::col("image_id").eq(id.0)))
        .add_option(filter.state.map(|state| Expr::col("state").eq(state.text())))
        .add_option(filter.search.map(|text| contains(&["name", "display_name", "image_name"], text)));
    let branches = if narrowed.is_empty() { Vec::new() } else { vec![narrowed] };
    let list = List { table: TABLE, key: "id", kind: KeyKind::Number, newest_first: true, branches };
    let mut query = select(TABLE, COLUMNS);
    query
        .column(("accounts", "account"))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
    let pair = |found: &QueryResult| Ok((row(found)?, Cells(found).parsed("account")?));
    list.page(&c.on(), page, query, pair).await
}

/// The first `count` ports of a range that no container of a machine holds; fewer when there are no more. Others may
/// ask at the same time: whoever comes second to [`insert`] gets [`Error::PortTaken`] and asks again.
pub async fn free_ports(
    c: &dyn Conn,
    machine: &MachineId,
    protocol: Protocol,
    range: RangeInclusive<u16>,
    count: usize,
) -> Result<Vec<u16>> {
    let mut query = select(PORTS, &["host_port"]);
    query
        .and_where(Expr::col("machine_id").eq(machine.as_str()))
        .and_where(Expr::col("protocol").eq(protocol.as_str()))
        .and_where(Expr::col("host_port").between(i64::from(*range.start()), i64::from(*range.end())));
    let taken = c.on().rows(&query).await?;
    let taken = taken.iter().map(|row| Cells(row).count("host_port")).collect::<Result<BTreeSet<u16>>>()?;
    Ok(range.filter(|port| !taken.contains(port)).take(count).collect())
}

/// Everybody in the line, first come first: those who wait for a machine or a graphics processor.
pub async fn line(c: &dyn Conn) -> Result<Vec<Row>> {
    rows(c, &in_line(COLUMNS)).await
}

/// The numbers of those in the line, first come first.
pub async fn line_ids(c: &dyn Conn) -> Result<Vec<ContainerId>> {
    let found = c.on().rows(&in_line(&["id"])).await?;
    found.iter().map(|row| Cells(row).int("id").map(ContainerId)).collect()
}

/// First by the class of their accounts, then by when they came.
fn in_line(columns: &[&'static str]) -> SelectStatement {
    let is_class = |class: AccountClass| Expr::col(("quotas", "class")).eq(class.text());
    let rank = CaseStatement::new()
        .case(is_class(AccountClass::High), 0)
        .case(is_class(AccountClass::Low), 2)
        .finally(1);
    let mut query = select(TABLE, columns);
    query
        .left_join("quotas", Expr::col(("quotas", "account_id")).equals((TABLE, "account_id")))
        .and_where(Expr::col((TABLE, "queued_at")).is_not_null())
        .order_by_expr(rank.into(), Order::Asc)
        .order_by((TABLE, "queued_at"), Order::Asc)
        .order_by((TABLE, "id"), Order::Asc);
    query
}

/// The containers of these accounts that use something of their machines: those that run, may run or are on their way to
/// it, and those that hold graphics processors still.
pub async fn in_use(c: &dyn Conn, accounts: &[AccountId]) -> Result<Vec<Row>> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("account_id").is_in(accounts.iter().map(|account| account.0)))
        .cond_where(
            Cond::any()
                .add(Expr::col("leased_at").is_not_null())
                .add(Expr::col("state").is_in(ACTIVE.map(Word::text)))
                .add(
                    Cond::all()
                        .add(Expr::col("desired").eq(Desired::Running.text()))
                        .add(Expr::col("queued_at").is_null()),
                ),
        )
        .order_by("id", Order::Asc);
    rows(c, &query).await
}

/// How many containers of an account stand in the line.
pub async fn count_in_line(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("account_id").eq(account.0)).and_where(Expr::col("queued_at").is_not_null());
    count_of(&c.on(), &query).await
}

/// Puts a container at the end of the line, or takes it out; false when there is no such container.
pub async fn set_queued(c: &dyn Conn, id: ContainerId, queued_at: Option<Timestamp>) -> Result<bool> {
    let query = update_of(id, [("queued_at", queued_at.map(|time| time.0).into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Takes a container out of the line and gives it its machine, with the specification that it has there; a container that
/// had none before claims its ports. False when it does not stand in the line any more. [`Error::PortTaken`] when a port is
/// another's: drop the transaction then.
pub async fn place(
    c: &Tx,
    row: &Row,
    machine: &MachineId,
    spec: &ContainerSpec,
    now: Timestamp,
) -> Result<bool> {
    let cells = [
        ("machine_id", machine.as_str().into()),
        ("spec", json(spec)?.into()),
        ("port", first_port(&spec.ports).into()),
        ("queued_at", None::<i64>.into()),
        ("placement", None::<String>.into()),
        ("reason", None::<String>.into()),
        ("message", None::<String>.into()),
        ("updated_at", now.0.into()),
    ];
    let mut query = update_of(row.id, cells);
    query.and_where(Expr::col("queued_at").is_not_null());
    if c.on().change(TABLE, &query).await? == 0 {
        return Ok(false);
    }
    if row.placement != Placement::Fixed {
        claim_ports(&c.on(), row.id, machine, &spec.ports).await?;
    }
    Ok(true)
}

/// Gives a container another image, from which it is made anew the next time that it starts; its disk goes with the old one.
pub async fn set_image(c: &dyn Conn, row: &Row, image: NewImage<'_>, now: Timestamp) -> Result<bool> {
    let made_from = row.made_from.as_ref().unwrap_or(&row.image_digest);
    let cells = [
        ("image_id", image.id.0.into()),
        ("image_name", image.name.into()),
        ("image_repository", image.repository.into()),
        ("image_digest", image.digest.as_str().into()),
        ("made_from", made_from.as_str().into()),
        ("copy_of", None::<String>.into()),
        ("updated_at", now.0.into()),
    ];
    Ok(c.on().change(TABLE, &update_of(row.id, cells)).await? > 0)
}

/// Notes which image the engine's container was made from.
pub async fn set_made_from(c: &dyn Conn, id: ContainerId, digest: &Digest) -> Result<bool> {
    let query = update_of(id, [("made_from", digest.as_str().into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Has those that take any machine, and have none yet, name this one instead of that; how many there were.
pub async fn move_placeholders(c: &dyn Conn, from: &MachineId, to: &MachineId) -> Result<u64> {
    let mut query = update(TABLE, [("machine_id", to.as_str().into())]);
    query
        .and_where(Expr::col("machine_id").eq(from.as_str()))
        .and_where(Expr::col("placement").eq(Placement::Any.text()));
    c.on().change(TABLE, &query).await
}

/// Notes that a machine has copied the disk of the container with this engine's id; none = it has no copy.
pub async fn set_copy_of(c: &dyn Conn, id: ContainerId, engine_id: Option<&str>) -> Result<bool> {
    let query = update_of(id, [("copy_of", engine_id.into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Writes when a container is to be stopped at the latest; false when there is no such container.
pub async fn set_ends_at(c: &dyn Conn, id: ContainerId, ends_at: Option<Timestamp>) -> Result<bool> {
    let query = update_of(id, [("ends_at", ends_at.map(|time| time.0).into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes how often a container was started again by itself; false when there is no such container.
pub async fn set_restarts(c: &dyn Conn, id: ContainerId, restarts: u32) -> Result<bool> {
    let query = update_of(id, [("restarts", i64::from(restarts).into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Containers that are wanted running and whose time is over at this time or before.
pub async fn ending_by(c: &dyn Conn, time: Timestamp) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("ends_at").lte(time.0))
        .and_where(Expr::col("desired").eq(Desired::Running.text()))
        .order_by("id", Order::Asc);
    rows(c, &query).await
}

/// Changes what the owner wants; false when there is no such container, or it is to be deleted already.
pub async fn set_desired(c: &dyn Conn, id: ContainerId, desired: Desired, now: Timestamp) -> Result<bool> {
    let mut query = update_of(id, [("desired", desired.text().into()), ("updated_at", now.0.into())]);
    query.and_where(Expr::col("desired").ne(Desired::Deleted.text()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Asks for one stop and start, or notes that it was done; false when there is no such container.
pub async fn set_restart(c: &dyn Conn, id: ContainerId, restart_requested: bool) -> Result<bool> {
    let cells = [("restart_requested", restart_requested.into()), ("restart_of", None::<i64>.into())];
    Ok(c.on().change(TABLE, &update_of(id, cells)).await? > 0)
}

/// Notes which process is to end when a restart is done, by when it was started; false unless a restart is asked for and nothing
/// is noted yet.
pub async fn set_restart_of(c: &dyn Conn, id: ContainerId, started_at: Timestamp) -> Result<bool> {
    let mut query = update_of(id, [("restart_of", started_at.0.into())]);
    query.and_where(Expr::col("restart_requested").eq(true)).and_where(Expr::col("restart_of").is_null());
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Changes how long its process is given to end; false when there is no such container.
pub async fn set_stop_timeout(c: &dyn Conn, id: ContainerId, secs: u32) -> Result<bool> {
    let query = update_of(id, [("stop_timeout_secs", i64::from(secs).into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Writes where a container is; true when anything of it was otherwise before. The time of the state stays when only
/// the rest differs.
pub async fn set_state(
    c: &dyn Conn,
    id: ContainerId,
    change: &StateChange<'_>,
    now: Timestamp,
) -> Result<bool> {
    let state = change.state.text();
    let is_other = |column: &'static str, value: Option<&str>| match value {
        Some(value) => Cond::any().add(Expr::col(column).is_null()).add(Expr::col(column).ne(value)),
        None => Cond::any().add(Expr::col(column).is_not_null()),
    };
    let is_other_exit = match change.exit_code {
        Some(code) => Cond::any().add(Expr::col("exit_code").is_null()).add(Expr::col("exit_code").ne(code)),
        None => Cond::any().add(Expr::col("exit_code").is_not_null()),
    };
    let differs = Cond::any()
        .add(Expr::col("state").ne(state))
        .add(Expr::col("attempt").ne(i64::from(change.attempt)))
        .add(is_other("reason", change.reason))
        .add(is_other("message", change.message))
        .add(is_other("engine_id", change.engine_id))
        .add(is_other_exit);

    let mut query = Query::update();
    // First, because MySQL assigns from left to right and would compare with the new state.
    query.table(TABLE).value(
        "state_since",
        CaseStatement::new().case(Expr::col("state").eq(state), Expr::col("state_since")).finally(now.0),
    );
    query
        .value("state", state)
        .value("status", change.state.is_running())
        .value("reason", change.reason)
        .value("message", change.message)
        .value("exit_code", change.exit_code)
        .value("engine_id", change.engine_id)
        .value("attempt", i64::from(change.attempt))
        .value("updated_at", now.0)
        .and_where(Expr::col("id").eq(id.0))
        .cond_where(differs);
    let on = c.on();
    let scope = on.scope().await?;
    let mut before = select(TABLE, &["state", "reason", "message", "exit_code"]);
    before.and_where(Expr::col("id").eq(id.0));
    let before = scope.on().row(&before).await?;
    let is_changed = scope.on().change(TABLE, &query).await? > 0;
    let event = container_events::Row {
        at: now,
        state: change.state,
        reason: change.reason.map(str::to_owned),
        message: change.message.map(str::to_owned),
        exit_code: change.exit_code,
    };
    if let Some(before) = before.filter(|_| is_changed)
        && is_news(&before, &event)?
    {
        container_events::insert(&scope.on(), id, &event).await?;
    }
    scope.commit().await?;
    Ok(is_changed)
}

/// Whether a change is worth telling: another try or another id at the engine is not.
fn is_news(before: &QueryResult, event: &container_events::Row) -> Result<bool> {
    let cells = Cells(before);
    Ok(cells.text("state")? != event.state.text()
        || cells.opt_text("reason")? != event.reason
        || cells.opt_text("message")? != event.message
        || cells.opt_int("exit_code")? != event.exit_code)
}

/// Gives a container other ports, all or none; [`Error::PortTaken`] when one is another's.
pub async fn set_ports(c: &dyn Conn, id: ContainerId, ports: &[Port], now: Timestamp) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    let found = scope.on().row(&query).await?.as_ref().map(row).transpose()?.ok_or(Error::NotFound)?;

    let query = Query::delete().from_table(PORTS).and_where(Expr::col("container_id").eq(id.0)).take();
    scope.on().change(PORTS, &query).await?;
    claim_ports(&scope.on(), id, &found.machine_id, ports).await?;
    let spec = ContainerSpec { ports: ports.to_vec(), ..found.spec };
    let cells =
        [("spec", json(&spec)?.into()), ("port", first_port(ports).into()), ("updated_at", now.0.into())];
    scope.on().change(TABLE, &update_of(id, cells)).await?;
    scope.commit().await
}

/// Gives a container another name to show; false when there is no such container.
pub async fn set_display_name(
    c: &dyn Conn,
    id: ContainerId,
    display_name: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let query = update_of(id, [("display_name", display_name.into()), ("updated_at", now.0.into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Gives a container another name; [`Error::Duplicate`] when the account has one of that name.
pub async fn rename(c: &dyn Conn, id: ContainerId, name: &ContainerName, now: Timestamp) -> Result<bool> {
    let query = update_of(id, [("name", name.as_str().into()), ("updated_at", now.0.into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes what a container is to be allowed, or that there is nothing to do; false when there is no such container.
pub async fn set_wished_limits(
    c: &dyn Conn,
    id: ContainerId,
    wished: Option<&WishedLimits>,
    now: Timestamp,
) -> Result<bool> {
    let wished = wished.map(json).transpose()?;
    let query = update_of(id, [("wished_limits", wished.into()), ("updated_at", now.0.into())]);
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes what a container may use now, which then is no wish any more.
pub async fn set_limits(c: &Tx, id: ContainerId, limits: Limits, now: Timestamp) -> Result<()> {
    let row = locked(c, id).await?.ok_or(Error::NotFound)?;
    let cells = [
        ("spec", json(&row.spec.with_limits(limits))?.into()),
        ("wished_limits", None::<String>.into()),
        ("updated_at", now.0.into()),
    ];
    c.on().change(TABLE, &update_of(id, cells)).await.map(drop)
}

/// Removes a container's row and frees its ports; whether there was one.
pub async fn delete(c: &dyn Conn, id: ContainerId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// All containers of a machine, by number.
pub async fn all_of_machine(c: &dyn Conn, machine: &MachineId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("machine_id").eq(machine.as_str())).order_by("id", Order::Asc);
    rows(c, &query).await
}

pub(crate) async fn of_image(c: &dyn Conn, image: ImageId) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("image_id").eq(image.0)).order_by("id", Order::Asc);
    rows(c, &query).await
}

/// A container of an image, as far as the image's family shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfImage {
    /// The image.
    pub image_id: ImageId,
    /// The container's number.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Whose it is.
    pub account_id: AccountId,
}

/// The containers made from any of these images, by number; at most so many.
pub async fn of_images(c: &dyn Conn, images: &[ImageId], most: u64) -> Result<Vec<OfImage>> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = select(TABLE, &["id", "image_id", "name", "account_id"]);
    query
        .and_where(Expr::col("image_id").is_in(images.iter().map(|id| id.0)))
        .order_by("id", Order::Asc)
        .limit(most);
    let read = |row: &QueryResult| {
        let cells = Cells(row);
        Ok(OfImage {
            image_id: ImageId(cells.int("image_id")?),
            id: ContainerId(cells.int("id")?),
            name: cells.parsed("name")?,
            account_id: AccountId(cells.int("account_id")?),
        })
    };
    c.on().rows(&query).await?.iter().map(read).collect()
}

/// The container behind an engine's id, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The engine's id.
    pub engine_id: String,
    /// The container's number.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Whose it is.
    pub account_id: AccountId,
    /// Whose it is, by name.
    pub account: AccountName,
}

/// Which of our containers are behind a machine's engine's ids; those that are not ours have none.
pub async fn behind(c: &dyn Conn, machine: &MachineId, engine_ids: &[&str]) -> Result<Vec<Behind>> {
    if engine_ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = select(TABLE, &["engine_id", "id", "name", "account_id"]);
    query
        .column(("accounts", "account"))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")))
        .and_where(Expr::col((TABLE, "machine_id")).eq(machine.as_str()))
        .and_where(Expr::col((TABLE, "engine_id")).is_in(engine_ids.iter().copied()));
    let read = |row: &QueryResult| {
        let cells = Cells(row);
        Ok(Behind {
            engine_id: cells.text("engine_id")?,
            id: ContainerId(cells.int("id")?),
            name: cells.parsed("name")?,
            account_id: AccountId(cells.int("account_id")?),
            account: cells.parsed("account")?,
        })
    };
    c.on().rows(&query).await?.iter().map(read).collect()
}

/// How many containers an account has.
pub async fn count_of_account(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("account_id").eq(account.0));
    count_of(&c.on(), &query).await
}

/// The containers of these machines that are not as their owner wants, by number: to be restarted or deleted, wanted running and neither
/// running nor failed, wanted stopped and neither stopped nor failed or with graphics processors that they do not need, or with
/// other limits than they are to have. Failed ones wait for their owner, and those in the line for their turn.
pub async fn unsettled(c: &dyn Conn, machines: &[MachineId]) -> Result<Vec<Row>> {
    let mut unsettled = Vec::new();
    for some in machines.chunks(MACHINES_ASKED_TOGETHER) {
        unsettled.extend(unsettled_of(c, some).await?);
    }
    Ok(unsettled)
}

async fn unsettled_of(c: &dyn Conn, machines: &[MachineId]) -> Result<Vec<Row>> {
    use ContainerState::{Failed, Running, Stopped};

    let is_not = |wanted: Desired, settled: [ContainerState; 2]| {
        Cond::all()
            .add(Expr::col("desired").eq(wanted.text()))
            .add(Expr::col("state").is_not_in(settled.map(Word::text)))
    };
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("machine_id").is_in(machines.iter().map(MachineId::as_str)))
        .cond_where(
            Cond::any()
                .add(Expr::col("restart_requested").eq(true))
                .add(Expr::col("wished_limits").is_not_null())
                .add(Expr::col("desired").eq(Desired::Deleted.text()))
                .add(is_not(Desired::Running, [Running, Failed]))
                .add(is_not(Desired::Stopped, [Stopped, Failed]))
                .add(
                    Cond::all()
                        .add(Expr::col("desired").eq(Desired::Stopped.text()))
                        .add(Expr::col("leased_at").is_not_null()),
                ),
        )
        .and_where(Expr::col("queued_at").is_null())
        .order_by("id", Order::Asc);
    rows(c, &query).await
}

/// What a container is in whose machine is known to do something with it.
fn is_known() -> Cond {
    use ContainerState::{Pulling, Running, Starting, Stopping};

    Cond::all().add(Expr::col("state").is_in([Pulling, Starting, Running, Stopping].map(Word::text)))
}

/// The machines of whose containers something is known that [`mark_unknown`] would change.
pub async fn known_machines(c: &dyn Conn) -> Result<Vec<MachineId>> {
    let mut query = select(TABLE, &["machine_id"]);
    query
        .distinct()
        .cond_where(is_known())
        // Every container wants one of these; the index begins with it.
        .and_where(
            Expr::col("desired")
                .is_in([Desired::Running, Desired::Stopped, Desired::Deleted].map(Word::text)),
        );
    c.on().rows(&query).await?.iter().map(|row| Cells(row).parsed("machine_id")).collect()
}

/// Notes that a machine cannot be reached: what its containers do that were asked to do something is not known any
/// more. Those not yet made, stopped, failed or being deleted stay as they are. How many there were.
pub async fn mark_unknown(c: &dyn Conn, machine: &MachineId, now: Timestamp) -> Result<u64> {
    use ContainerState::Unknown;

    let known = is_known().add(Expr::col("machine_id").eq(machine.as_str()));
    let on = c.on();
    let scope = on.scope().await?;
    let mut lost = select(TABLE, &["id"]);
    lost.cond_where(known.clone());
    for row in scope.on().rows(&lost).await? {
        let event =
            container_events::Row { at: now, state: Unknown, reason: None, message: None, exit_code: None };
        container_events::insert(&scope.on(), ContainerId(Cells(&row).int("id")?), &event).await?;
    }
    let mut query = update(
        TABLE,
        [
            ("state", Unknown.text().into()),
            ("status", false.into()),
            ("state_since", now.0.into()),
            ("updated_at", now.0.into()),
        ],
    );
    query.cond_where(known);
    let count = scope.on().change(TABLE, &query).await?;
    scope.commit().await?;
    Ok(count)
}

fn update_of(id: ContainerId, cells: impl IntoIterator<Item = Cell>) -> sea_orm::sea_query::UpdateStatement {
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.0));
    query
}
