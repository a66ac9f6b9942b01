//! Machines: what their agents said of them, and which one a new container goes to.

use store::machines::{self, Row};
use wire::ids::MachineId;
use wire::machines::{MachineInfo, MachineState, MachineView};
use wire::page::{MAX_LIMIT, Page, PageQuery};

use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};

/// Lists machines. Every account may: it has to choose one. Addresses are for admins.
pub async fn list(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<MachineView>> {
    let found = machines::list(&app.db, page).await?;
    Ok(super::page_of(found, page, |row| view(caller, row)))
}

/// One machine.
pub async fn get(app: &App, caller: &Caller, id: &str) -> Result<MachineView> {
    Ok(view(caller, find(app, id).await?))
}

/// All machines in seed 001's form.
pub async fn info(app: &App, caller: &Caller) -> Result<Vec<MachineInfo>> {
    let rows = all(app).await?;
    Ok(rows.into_iter().map(|row| info_of(caller, row)).collect())
}

/// Whether this host's own engine can be used; if not, why not.
pub async fn local_engine(app: &App) -> Result<(), String> {
    let rows = all(app).await.map_err(|error| error.to_string())?;
    let connected = app.hub.connected();
    // The built-in agent is the one whose machine has our own door as its registry.
    let door = app.config.registry_listen.to_string();
    let own = rows.iter().find(|row| row.facts.registry == door && connected.contains(&row.facts.machine_id));
    match own.map(|row| row.state) {
        Some(MachineState::Online) => Ok(()),
        Some(MachineState::EngineDown) => {
            Err("the engine of this host does not answer; see `systemctl status docker`".to_owned())
        }
        Some(MachineState::Unknown) | None => Err("the built-in agent is not connected yet".to_owned()),
    }
}

async fn all(app: &App) -> Result<Vec<Row>> {
    let page = PageQuery { limit: Some(MAX_LIMIT), offset: None };
    Ok(machines::list(&app.db, page).await?.rows)
}

async fn find(app: &App, id: &str) -> Result<Row> {
    let parsed: MachineId = id.parse().map_err(|_| Error::not_found("machine", id))?;
    machines::get(&app.db, &parsed).await?.ok_or_else(|| Error::not_found("machine", id))
}

/// The machine for a new container: the one that is named, if it can be used; for `any` the one with the most free
/// memory.
pub(super) async fn pick(app: &App, wanted: Option<&str>) -> Result<Row> {
    let connected = app.hub.connected();
    let is_usable =
        |row: &Row| row.state == MachineState::Online && connected.contains(&row.facts.machine_id);
    let Some(wanted) = wanted.filter(|wanted| *wanted != "any") else {
        let usable = all(app).await?.into_iter().filter(is_usable);
        let best = usable.max_by_key(|row| row.facts.memory.free);
        return best.ok_or_else(|| {
            Error::unavailable("no_machine", "no machine can take a container now")
                .hint("see `longshore machine list`")
        });
    };
    let row = find(app, wanted).await.map_err(|error| match error.kind {
        ErrorKind::NotFound => Error::invalid("machine", error.detail),
        _ => error,
    })?;
    if !is_usable(&row) {
        let why = match row.state {
            MachineState::EngineDown => "its engine does not answer",
            _ => "its agent is not connected",
        };
        let detail = format!("machine `{}` cannot take a container now: {why}", row.facts.machine_id);
        return Err(Error::conflict("machine_offline", detail).hint("choose another one, or `any`"));
    }
    Ok(row)
}

fn view(caller: &Caller, row: Row) -> MachineView {
    let mut facts = row.facts;
    if !caller.is_admin() {
        facts.ip.clear();
    }
    MachineView {
        facts,
        state: row.state,
        state_since: row.state_since,
        online: row.state == MachineState::Online,
    }
}

fn info_of(caller: &Caller, row: Row) -> MachineInfo {
    let view = view(caller, row);
    MachineInfo {
        machine_id: view.facts.machine_id,
        ip: view.facts.ip,
        gpu: view.facts.gpu,
        cpu: view.facts.cpu,
        disk: view.facts.disk,
        memory: view.facts.memory,
        online: view.online,
    }
}
