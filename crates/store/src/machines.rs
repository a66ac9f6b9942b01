//! Machines: what their agents said last.

use std::collections::BTreeMap;

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::gpus::{GPUS_MAX, INSTANCES_MAX, NAME_CHARS_MAX};
use wire::ids::MachineId;
use wire::machines::{CpuFacts, GpuFacts, GpuInstanceFacts, MachineFacts, MachineState};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cell, Cells, Word, insert, json, select, shortened, update, words};

const TABLE: &str = "machines";
/// Sockets of one machine that are kept.
const SOCKETS_MAX: usize = 64;
/// Of a socket's or a graphics processor's number.
const KEY_CHARS_MAX: usize = 20;
const COLUMNS: &[&str] = &[
    "id",
    "hostname",
    "ip",
    "cpu",
    "gpu",
    "memory",
    "disk",
    "engine_version",
    "os",
    "architecture",
    "registry",
    "agent_version",
    "lan",
    "state",
    "state_since",
    "last_seen_at",
    "drained_at",
    "drain_reason",
    "label",
];

words!(MachineState { Online = "online", EngineDown = "engine_down", Unknown = "unknown" });

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What its agent said last.
    pub facts: MachineFacts,
    /// Whether it can be used.
    pub state: MachineState,
    /// Since when.
    pub state_since: Timestamp,
    /// When its agent spoke last.
    pub last_seen_at: Timestamp,
    /// Since when it takes no new work, if so.
    pub drained_at: Option<Timestamp>,
    /// Why it takes no new work, in the words of who said so.
    pub drain_reason: Option<String>,
    /// What people call it.
    pub label: Option<String>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        facts: MachineFacts {
            machine_id: cells.parsed("id")?,
            hostname: cells.text("hostname")?,
            ip: cells.text("ip")?,
            cpu: cells.json("cpu")?,
            gpu: cells.json("gpu")?,
            memory: cells.json("memory")?,
            disk: cells.json("disk")?,
            engine_version: cells.opt_text("engine_version")?,
            os: cells.text("os")?,
            architecture: cells.text("architecture")?,
            registry: cells.text("registry")?,
            agent_version: cells.text("agent_version")?,
            lan: cells.opt_json("lan")?,
        },
        state: cells.word("state")?,
        state_since: cells.time("state_since")?,
        last_seen_at: cells.time("last_seen_at")?,
        drained_at: cells.opt_time("drained_at")?,
        drain_reason: cells.opt_text("drain_reason")?,
        label: cells.opt_text("label")?,
    })
}

/// What an agent reports, in columns. It is not trusted to be short: what does not fit is cut.
fn cells(facts: &MachineFacts, now: Timestamp) -> Result<[Cell; 14]> {
    let fit = |text: &str, max| shortened(text, max).to_owned();
    let model = |text: &str| fit(text, NAME_CHARS_MAX);
    let key = |text: &str| fit(text, KEY_CHARS_MAX);
    let cpu: BTreeMap<String, CpuFacts> = facts
        .cpu
        .iter()
        .take(SOCKETS_MAX)
        .map(|(number, cpu)| (key(number), CpuFacts { model: model(&cpu.model), cores: cpu.cores }))
        .collect();
    let instance =
        |found: &GpuInstanceFacts| GpuInstanceFacts { model: model(&found.model), ..found.clone() };
    let gpu: BTreeMap<String, GpuFacts> = facts
        .gpu
        .iter()
        .take(GPUS_MAX)
        .map(|(number, gpu)| {
            let instances =
                gpu.instances.as_ref().map(|found| found.iter().take(INSTANCES_MAX).map(instance).collect());
            (key(number), GpuFacts { model: model(&gpu.model), instances, ..gpu.clone() })
        })
        .collect();
    Ok([
        ("hostname", fit(&facts.hostname, 255).into()),
        ("ip", fit(&facts.ip, 64).into()),
        ("url", fit(&facts.registry, 255).into()),
        ("cpu", json(&cpu)?.into()),
        ("gpu", json(&gpu)?.into()),
        ("memory", json(&facts.memory)?.into()),
        ("disk", json(&facts.disk)?.into()),
        ("engine_version", facts.engine_version.as_deref().map(|text| fit(text, 100)).into()),
        ("os", fit(&facts.os, 255).into()),
        ("architecture", fit(&facts.architecture, 50).into()),
        ("registry", fit(&facts.registry, 255).into()),
        ("agent_version", fit(&facts.agent_version, 100).into()),
        ("lan", facts.lan.as_ref().map(json).transpose()?.into()),
        ("last_seen_at", now.0.into()),
    ])
}

/// Stores what an agent said, and the machine with it when it is new.
pub async fn upsert(c: &dyn Conn, facts: &MachineFacts, state: MachineState, now: Timestamp) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    let id = facts.machine_id.as_str();
    let mut query = update(TABLE, cells(facts, now)?);
    query.and_where(Expr::col("id").eq(id));
    if scope.on().change_telling(TABLE, &query).await? == 0 {
        let is_online = state == MachineState::Online;
        let row = [
            ("id", id.into()),
            ("status", is_online.into()),
            ("state", state.text().into()),
            ("state_since", now.0.into()),
        ];
        insert(&scope.on(), TABLE, row.into_iter().chain(cells(facts, now)?)).await?;
    } else {
        change_state(&scope.on(), &facts.machine_id, state, now).await?;
    }
    scope.commit().await
}

/// Changes whether a machine can be used; true when it was otherwise before.
pub async fn set_state(c: &dyn Conn, id: &MachineId, state: MachineState, now: Timestamp) -> Result<bool> {
    change_state(&c.on(), id, state, now).await
}

async fn change_state(
    on: &crate::db::On<'_>,
    id: &MachineId,
    state: MachineState,
    now: Timestamp,
) -> Result<bool> {
    let is_online = state == MachineState::Online;
    let mut query = update(
        TABLE,
        [("state", state.text().into()), ("status", is_online.into()), ("state_since", now.0.into())],
    );
    query.and_where(Expr::col("id").eq(id.as_str())).and_where(Expr::col("state").ne(state.text()));
    Ok(on.change_telling(TABLE, &query).await? > 0)
}

/// Takes a machine out of the choice for new work, or puts it back; false when there is no such machine. The reason has
/// at most 200 characters.
pub async fn set_drain(
    c: &dyn Conn,
    id: &MachineId,
    drained_at: Option<Timestamp>,
    reason: Option<&str>,
) -> Result<bool> {
    let cells = [("drained_at", drained_at.map(|time| time.0).into()), ("drain_reason", reason.into())];
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.as_str()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Says what people call a machine; false when there is no such machine. A label has at most 200 bytes.
pub async fn set_label(c: &dyn Conn, id: &MachineId, label: Option<&str>) -> Result<bool> {
    let mut query = update(TABLE, [("label", label.into())]);
    query.and_where(Expr::col("id").eq(id.as_str()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes a machine's row; [`crate::Error::InUse`] when containers are on it; whether there was one.
pub async fn delete(c: &dyn Conn, id: &MachineId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.as_str())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// A machine.
pub async fn get(c: &dyn Conn, id: &MachineId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.as_str()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Whether each machine can be used, and nothing else of it; by id.
pub async fn states(c: &dyn Conn) -> Result<Vec<(MachineId, MachineState)>> {
    let state = |row: &QueryResult| {
        let cells = Cells(row);
        Ok((cells.parsed("id")?, cells.word("state")?))
    };
    let query = select(TABLE, &["id", "state"]).order_by("id", Order::Asc).take();
    c.on().rows(&query).await?.iter().map(state).collect()
}

/// Machines by id.
pub async fn list(c: &dyn Conn, page: PageQuery) -> Result<PageOf<Row>> {
    let list =
        List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: false, branches: Vec::new() };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}
