//! Machines: what their agents said of them, which one a new container goes to, and taking one out of use.

use std::collections::BTreeMap;

use store::containers::{self, Placement};
use store::machines::{self, Row};
use store::{gpu_leases, machine_images, machine_keys, volumes};
use wire::ids::MachineId;
use wire::machines::{MachineDeleted, MachineInfo, MachineState, MachineUpdate, MachineView};
use wire::page::{MAX_LIMIT, Page, PageQuery};

use super::audit::{self, Event};
use super::gpus;
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};

/// Longest reason for a drain in characters.
const MAX_REASON_CHARS: usize = 200;
const MAX_LABEL_CHARS: usize = 60;

/// Lists machines. Every account may: it has to choose one, and to reach what it publishes there.
pub async fn list(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<MachineView>> {
    let found = machines::list(&app.db, page).await?;
    let ids: Vec<MachineId> = found.rows.iter().map(|row| row.facts.machine_id.clone()).collect();
    let mut keys = keys(app, &ids).await?;
    let mut data = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        let key = keys.remove(&row.facts.machine_id);
        data.push(view(app, caller, row, key).await?);
    }
    Ok(Page { data, total: found.total, limit: page.limit(), offset: page.offset() })
}

async fn keys(app: &App, machines: &[MachineId]) -> Result<BTreeMap<MachineId, machine_keys::Row>> {
    let found = machine_keys::of_machines(&app.db, machines).await?;
    Ok(found.into_iter().map(|key| (key.machine_id.clone(), key)).collect())
}

/// One machine.
pub async fn get(app: &App, caller: &Caller, id: &str) -> Result<MachineView> {
    let row = find(app, id).await?;
    let key = machine_keys::get(&app.db, &row.facts.machine_id).await?;
    view(app, caller, row, key).await
}

/// Takes a machine out of the choice for new containers and builds, or puts it back (admin). What runs on it goes on.
pub async fn update(app: &App, caller: &Caller, id: &str, change: &MachineUpdate) -> Result<MachineView> {
    require_admin(caller)?;
    let reason = change.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| {
        reason.chars().count() > MAX_REASON_CHARS || reason.chars().any(char::is_control)
    }) {
        let rule =
            format!("`reason` has at most {MAX_REASON_CHARS} characters, none of them control characters");
        return Err(Error::invalid("reason", rule));
    }
    let label = change.label.as_deref().map(str::trim);
    if label
        .is_some_and(|label| label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control))
    {
        let rule =
            format!("`label` has at most {MAX_LABEL_CHARS} characters, none of them control characters");
        return Err(Error::invalid("label", rule));
    }
    let row = find(app, id).await?;
    let machine = &row.facts.machine_id;
    if let Some(label) = label {
        let tx = app.db.begin().await?;
        machines::set_label(&tx, machine, Some(label).filter(|label| !label.is_empty())).await?;
        let event = Event { action: "machine.label", target: machine.as_str(), acting_for: None };
        audit::record(app, caller, &tx, event).await?;
        tx.commit().await?;
    }
    match change.is_drained {
        None if reason.is_some() => {
            return Err(Error::invalid("reason", "`reason` goes with `is_drained`"));
        }
        None => {}
        Some(false) if reason.is_some() => {
            return Err(Error::invalid("reason", "a machine that takes new work needs no reason"));
        }
        Some(is_drained) => {
            let tx = app.db.begin().await?;
            let since = is_drained.then(|| row.drained_at.unwrap_or_else(|| app.now()));
            machines::set_drain(&tx, machine, since, reason).await?;
            let action = if is_drained { "machine.drain" } else { "machine.resume" };
            audit::record(app, caller, &tx, Event { action, target: machine.as_str(), acting_for: None })
                .await?;
            tx.commit().await?;
        }
    }
    get(app, caller, id).await
}

/// Forgets a machine's key (admin): its agent may not connect until it has joined again. The machine, its containers and
/// what runs there stay as they are.
pub async fn release(app: &App, caller: &Caller, id: &str) -> Result<()> {
    require_admin(caller)?;
    let machine: MachineId = id.parse().map_err(|_| Error::not_found("machine", id))?;
    let tx = app.db.begin().await?;
    if !machine_keys::delete(&tx, &machine).await? {
        return Err(match machines::get(&tx, &machine).await? {
            Some(_) => Error::conflict("no_key", format!("machine `{machine}` has no key to forget")),
            None => Error::not_found("machine", id),
        });
    }
    let event = Event { action: "machine.release", target: machine.as_str(), acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.hub.expel(&machine);
    Ok(())
}

/// Removes a machine on which nothing of ours is left (admin): its key and its row.
pub async fn delete(app: &App, caller: &Caller, id: &str) -> Result<MachineDeleted> {
    require_admin(caller)?;
    let row = find(app, id).await?;
    let machine = row.facts.machine_id;
    if app.hub.host().as_ref() == Some(&machine) {
        return Err(Error::conflict("own_machine", "this is the server's own machine")
            .hint("set `machine.enabled` to false and restart the server first"));
    }
    let others: Vec<MachineId> = all(app).await?.into_iter().map(|row| row.facts.machine_id).collect();
    let tx = app.db.begin().await?;
    // Nobody in the line is given a machine meanwhile. Those who take any must only name one that is there.
    gpu_leases::lock(&tx).await?;
    if let Some(other) = others.iter().find(|other| **other != machine) {
        containers::move_placeholders(&tx, &machine, other).await?;
    }
    let left = containers::all_of_machine(&tx, &machine).await?;
    if left.iter().any(|container| container.placement == Placement::Any) {
        let detail = format!("containers wait for a machine, and `{machine}` is the only one");
        return Err(Error::conflict("has_containers", detail)
            .hint("delete them, or add another machine first: `longshore machine invite`"));
    }
    if !left.is_empty() {
        let detail = format!("{} containers are on machine `{machine}`", left.len());
        return Err(Error::conflict("has_containers", detail)
            .hint("`longshore container list --all` shows them; delete them first"));
    }
    let volumes = volumes::delete_of_machine(&tx, &machine).await?;
    machine_keys::delete(&tx, &machine).await?;
    machine_images::delete_of_machine(&tx, &machine).await?;
    machines::delete(&tx, &machine).await.map_err(|error| match error {
        store::Error::InUse => Error::conflict("has_containers", "a container was just made on it"),
        other => other.into(),
    })?;
    let event = Event { action: "machine.delete", target: machine.as_str(), acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.hub.expel(&machine);
    let kept = match volumes {
        0 => "the images that it pulled".to_owned(),
        1 => "the images that it pulled and 1 volume with what is in it".to_owned(),
        count => format!("the images that it pulled and {count} volumes with what is in them"),
    };
    let stays = format!(
        "its engine keeps {kept}, and its agent keeps trying until it is stopped and its folder removed"
    );
    Ok(MachineDeleted { machine_id: machine, stays })
}

fn require_admin(caller: &Caller) -> Result<()> {
    if caller.is_admin() { Ok(()) } else { Err(Error::forbidden("admin_only", "only an admin can do this")) }
}

/// All machines in seed 001's form.
pub async fn info(app: &App, _: &Caller) -> Result<Vec<MachineInfo>> {
    let rows = all(app).await?;
    Ok(rows.into_iter().map(info_of).collect())
}

/// Whether this host's own engine can be used; if not, why not.
pub async fn local_engine(app: &App) -> Result<(), String> {
    let rows = all(app).await.map_err(|error| error.to_string())?;
    let connected = app.hub.connected();
    let host = app.hub.host();
    let is_own = |row: &&Row| host.as_ref() == Some(&row.facts.machine_id);
    let own = rows.iter().find(is_own).filter(|row| connected.contains(&row.facts.machine_id));
    match own.map(|row| row.state) {
        Some(MachineState::Online) => Ok(()),
        Some(MachineState::EngineDown) => {
            Err("the engine of this host does not answer; see `systemctl status docker`".to_owned())
        }
        Some(MachineState::Unknown) | None => Err("the built-in agent is not connected yet".to_owned()),
    }
}

pub(super) async fn all(app: &App) -> Result<Vec<Row>> {
    let page = PageQuery { limit: Some(MAX_LIMIT), offset: None };
    Ok(machines::list(&app.db, page).await?.rows)
}

pub(super) async fn find(app: &App, id: &str) -> Result<Row> {
    let parsed: MachineId = id.parse().map_err(|_| Error::not_found("machine", id))?;
    machines::get(&app.db, &parsed).await?.ok_or_else(|| Error::not_found("machine", id))
}

/// The machine for a new container: the one that is named, if it can be used; for `any` the one with the most free
/// memory, among those that open ports to their network if it needs some there.
pub(super) async fn pick(app: &App, wanted: Option<&str>, is_on_lan: bool) -> Result<Row> {
    let connected = app.hub.connected();
    let is_usable = |row: &Row| {
        row.state == MachineState::Online
            && row.drained_at.is_none()
            && connected.contains(&row.facts.machine_id)
    };
    let Some(wanted) = wanted.filter(|wanted| *wanted != "any") else {
        let usable = all(app).await?.into_iter().filter(is_usable);
        let best = usable.max_by_key(|row| (is_on_lan && row.facts.lan.is_some(), row.facts.memory.free));
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
            MachineState::Online if row.drained_at.is_some() => "it takes no new work",
            _ => "its agent is not connected",
        };
        let detail = format!("machine `{}` cannot take a container now: {why}", row.facts.machine_id);
        return Err(Error::conflict("machine_offline", detail).hint("choose another one, or `any`"));
    }
    Ok(row)
}

async fn view(app: &App, caller: &Caller, row: Row, key: Option<machine_keys::Row>) -> Result<MachineView> {
    let gpus = gpus::of_machine(app, caller, &row).await?;
    let gpu_problem = gpus::problem(app, &row);
    Ok(MachineView {
        state: row.state,
        state_since: row.state_since,
        online: row.state == MachineState::Online,
        status: row.state == MachineState::Online,
        url: row.facts.registry.clone(),
        drained_at: row.drained_at,
        drain_reason: row.drain_reason,
        label: row.label,
        joined_at: key.as_ref().map(|key| key.joined_at),
        quarantine_reason: key.and_then(|key| key.quarantine_reason),
        facts: row.facts,
        gpus,
        gpu_problem,
    })
}

fn info_of(row: Row) -> MachineInfo {
    let online = row.state == MachineState::Online;
    let facts = row.facts;
    MachineInfo {
        machine_id: facts.machine_id,
        ip: facts.ip,
        gpu: facts.gpu,
        cpu: facts.cpu,
        disk: facts.disk,
        memory: facts.memory,
        online,
    }
}
