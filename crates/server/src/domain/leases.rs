//! Leases and the line: who waits for graphics processors, and giving them. The rule itself is `placement`; here it meets the
//! store, in one transaction at a time for the whole installation.

use std::collections::{HashMap, HashSet};

use store::containers::{self, Placement, Row, StateChange};
use store::{Conn, Tx, accounts, gpu_leases, machines};
use wire::containers::{ContainerSpec, ContainerState, QueuePlace};
use wire::gpus::GpuWish;
use wire::ids::{AccountId, ContainerId, GpuId, MachineId};
use wire::machines::MachineState;
use wire::page::{Page, PageQuery};
use wire::policy::{Policy, Violation};
use wire::queue::QueueView;

use super::containers::choose_ports;
use super::placement::{Decision, Device, Place, Request, Wait, could_serve, decide, in_words};
use super::quotas;
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};

/// Longest part of a model's name in characters.
const MAX_MODEL_CHARS: usize = 100;
/// More memory than any graphics processor has, in MiB.
const MAX_MEMORY_MIB: u64 = 1 << 24;

/// Why a pass through the line came to nothing.
pub(crate) enum PassError {
    /// Somebody else took in between what was to be given; the transaction is spoilt. The next pass sees it.
    Overtaken,
    /// Anything else.
    Other(Error),
}

impl<E: Into<Error>> From<E> for PassError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// What is wrong with a wish, whatever there is.
pub(super) fn violations(policy: &Policy, wish: &GpuWish) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut refuse =
        |field: &str, message: String| violations.push(Violation { field: field.into(), message });
    if wish.count == 0 || wish.count as usize > policy.gpus {
        refuse("gpus.count", format!("must be 1 to {}; leave `gpus` out for none", policy.gpus));
    }
    if let Some(model) = &wish.model
        && (model.trim().is_empty()
            || model.chars().count() > MAX_MODEL_CHARS
            || model.chars().any(char::is_control))
    {
        refuse("gpus.model", format!("must be part of a model's name, at most {MAX_MODEL_CHARS} characters"));
    }
    if wish.memory_mib.is_some_and(|memory| memory > MAX_MEMORY_MIB) {
        refuse("gpus.memory_mib", format!("must be at most {MAX_MEMORY_MIB}"));
    }
    violations
}

/// Where a request goes to stand in the line: its machine when it names one, else one that could serve it. Refused when there
/// is none, free or not: then waiting would be in vain.
pub(super) async fn stand(
    app: &App,
    wish: &GpuWish,
    named: Option<MachineId>,
    spec: &ContainerSpec,
) -> Result<(MachineId, Placement)> {
    let places = places(app, &app.db).await?;
    let request = Request {
        wish,
        machine: named.as_ref(),
        is_new: true,
        but_not: &[],
        had: &[],
        cpu_millis: spec.cpu_millis,
        memory_bytes: spec.memory_bytes,
        // Whether it may have it is decided when it is written down.
        account: AccountId(0),
    };
    let able = places.iter().filter(|place| could_serve(&request, place));
    let Some(place) = able.max_by_key(|place| place.is_usable && place.takes_new) else {
        return Err(no_such_gpu(&request, &places));
    };
    let placement = if named.is_some() { Placement::Named } else { Placement::Any };
    Ok((place.machine.clone(), placement))
}

fn no_such_gpu(request: &Request<'_>, places: &[Place]) -> Error {
    let what = in_words(request.wish);
    let detail = match request.machine {
        Some(machine) => format!("machine `{machine}` does not have {what}"),
        None => format!("no machine has {what} together with the memory and cores that are asked for"),
    };
    let mut counts: HashMap<(&MachineId, &str, u64), usize> = HashMap::new();
    for place in places {
        for device in &place.devices {
            *counts.entry((&place.machine, &device.model, device.memory_mib)).or_default() += 1;
        }
    }
    let mut there: Vec<String> = counts
        .into_iter()
        .map(|((machine, model, memory), count)| format!("{count} × {model} ({memory} MiB) on `{machine}`"))
        .collect();
    there.sort();
    let error = Error::new(ErrorKind::Conflict, "no_such_gpu", detail);
    let error = if there.is_empty() {
        error.hint("no machine has graphics processors for containers")
    } else {
        error.hint(format!("there are {}", there.join(", ")))
    };
    Error { field: Some("gpus".into()), ..error }
}

/// All machines with what they could give.
async fn places(app: &App, c: &dyn Conn) -> Result<Vec<Place>> {
    let connected = app.hub.connected();
    let leases = gpu_leases::list(c, None).await?;
    let held: HashSet<(&MachineId, &GpuId)> =
        leases.iter().map(|lease| (&lease.machine_id, &lease.gpu)).collect();
    let mut places = Vec::new();
    for row in super::machines::all(app).await? {
        let machine = &row.facts.machine_id;
        let is_usable = row.state == MachineState::Online && connected.contains(machine);
        let free = super::gpus::free(app, &row).await?;
        let is_free = |gpu: &GpuId| is_usable && free.contains(gpu) && !held.contains(&(machine, gpu));
        places.push(Place {
            machine: machine.clone(),
            is_usable,
            takes_new: row.drained_at.is_none(),
            cores: row.facts.cpu.values().map(|socket| socket.cores).sum(),
            memory_mib: row.facts.memory.total,
            devices: devices(&row, is_free),
        });
    }
    Ok(places)
}

/// What a machine could give: whole graphics processors, and of divided ones the instances.
fn devices(row: &machines::Row, is_free: impl Fn(&GpuId) -> bool) -> Vec<Device> {
    let mut devices = Vec::new();
    for gpu in row.facts.gpu.values().filter(|gpu| !gpu.is_kept) {
        if let Some(instances) = &gpu.instances {
            devices.extend(instances.iter().map(|instance| Device {
                gpu: instance.uuid.clone(),
                model: instance.model.clone(),
                memory_mib: instance.memory,
                is_instance: true,
                is_free: is_free(&instance.uuid),
            }));
        } else if let Some(uuid) = &gpu.uuid {
            devices.push(Device {
                gpu: uuid.clone(),
                model: gpu.model.clone(),
                memory_mib: gpu.memory,
                is_instance: false,
                is_free: is_free(uuid),
            });
        }
    }
    devices
}

/// Goes through the line once and gives what can be given; who was placed. The caller has locked the leases with
/// [`gpu_leases::lock`] before any container's row, and commits.
pub(crate) async fn pass(app: &App, tx: &Tx) -> Result<Vec<ContainerId>, PassError> {
    let line = containers::line(tx).await?;
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let places = places(app, tx).await?;
    let accounts: HashSet<AccountId> = line.iter().map(|row| row.account_id).collect();
    let rooms = quotas::rooms(app, tx, &accounts.into_iter().collect::<Vec<_>>()).await?;
    // Ports that are asked for by number may be taken where there would be room: then another machine is looked for.
    let mut but_not: HashMap<ContainerId, Vec<MachineId>> = HashMap::new();
    let (decisions, ports) = loop {
        let requests: Vec<Request<'_>> = line.iter().map(|row| request(row, &but_not)).collect();
        let decisions = decide(&requests, &places, rooms.clone());
        let mut ports = HashMap::new();
        let mut is_in_the_way = false;
        for (row, decision) in line.iter().zip(&decisions) {
            let Decision::Place { machine, .. } = decision else { continue };
            if let Some(found) = ports_on(app, tx, row, machine).await? {
                ports.insert(row.id, found);
            } else {
                but_not.entry(row.id).or_default().push(machine.clone());
                is_in_the_way = true;
            }
        }
        if !is_in_the_way {
            break (decisions, ports);
        }
    };
    let mut served = Vec::new();
    for (row, decision) in line.iter().zip(decisions) {
        match decision {
            Decision::Place { machine, gpus } => {
                let spec = ContainerSpec {
                    ports: ports.get(&row.id).cloned().unwrap_or_default(),
                    gpus: gpus.clone(),
                    ..row.spec.clone()
                };
                if give(app, tx, row, &machine, &spec).await? {
                    served.push(row.id);
                }
            }
            Decision::Wait(wait) => note(app, tx, row, wait, but_not.contains_key(&row.id)).await?,
        }
    }
    Ok(served)
}

fn request<'a>(row: &'a Row, but_not: &'a HashMap<ContainerId, Vec<MachineId>>) -> Request<'a> {
    /// For a row that stands in the line without a wish: nobody writes such.
    static NOTHING: GpuWish = GpuWish { count: 0, model: None, memory_mib: None };
    Request {
        wish: row.gpu_wish.as_ref().unwrap_or(&NOTHING),
        machine: (row.placement != Placement::Any).then_some(&row.machine_id),
        is_new: row.placement != Placement::Fixed,
        but_not: but_not.get(&row.id).map(Vec::as_slice).unwrap_or_default(),
        had: &row.spec.gpus,
        cpu_millis: row.spec.cpu_millis,
        memory_bytes: row.spec.memory_bytes,
        account: row.account_id,
    }
}

type Ports = Vec<wire::containers::Port>;

/// The ports that a container would have on a machine; none when one that it asks for by number is taken there.
async fn ports_on(app: &App, tx: &Tx, row: &Row, machine: &MachineId) -> Result<Option<Ports>> {
    // They are its own since it was placed first.
    if row.placement == Placement::Fixed {
        return Ok(Some(row.spec.ports.clone()));
    }
    for port in row.spec.ports.iter().filter(|port| !port.is_pooled) {
        let range = port.host..=port.host;
        if containers::free_ports(tx, machine, port.protocol, range, 1).await?.is_empty() {
            return Ok(None);
        }
    }
    match choose_ports(app, tx, machine, row.spec.ports.clone()).await {
        Ok(ports) => Ok(Some(ports)),
        Err(error) if error.code == "no_free_port" => Ok(None),
        Err(error) => Err(error),
    }
}

async fn give(
    app: &App,
    tx: &Tx,
    row: &Row,
    machine: &MachineId,
    spec: &ContainerSpec,
) -> Result<bool, PassError> {
    let now = app.now();
    let spoilt = |error| match error {
        store::Error::Duplicate | store::Error::PortTaken(_) => PassError::Overtaken,
        other => PassError::Other(other.into()),
    };
    if !containers::place(tx, row, machine, spec, now).await.map_err(spoilt)? {
        return Ok(false);
    }
    gpu_leases::take(tx, row.id, machine, &spec.gpus, now).await.map_err(spoilt)?;
    let gpus: Vec<&str> = spec.gpus.iter().map(GpuId::as_str).collect();
    tracing::info!(container.id = %row.id, machine.id = %machine, gpus = gpus.join(","), "container `{}` gets its GPUs", row.name);
    Ok(true)
}

/// Writes down why somebody waits; what is written already is not written again.
async fn note(app: &App, tx: &Tx, row: &Row, wait: Wait, is_for_ports: bool) -> Result<()> {
    let (reason, message) = if is_for_ports && wait.reason == "no_such_gpu" {
        ("waits_for_port", "it waits for a port that another container has where its GPUs are".to_owned())
    } else {
        (wait.reason, wait.message)
    };
    let change =
        StateChange { reason: Some(reason), message: Some(&message), ..row.change(ContainerState::Pending) };
    containers::set_state(tx, row.id, &change, app.now()).await?;
    Ok(())
}

/// The line. Who waits is shown to that account and to admins.
pub(crate) async fn queue(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<QueueView>> {
    let line = containers::line(&app.db).await?;
    let total = line.len() as u64;
    let mut data = Vec::new();
    let mut names = HashMap::new();
    for (position, row) in (1..).zip(line).skip(skipped(page)).take(taken(page)) {
        let is_shown = caller.may_act_for(row.account_id);
        if is_shown && !names.contains_key(&row.account_id) {
            let account = accounts::get(&app.db, row.account_id).await?;
            names.insert(row.account_id, account.map(|account| account.account));
        }
        data.push(QueueView {
            position,
            since: row.queued_at.unwrap_or(row.updated_at),
            machine_id: (row.placement != Placement::Any).then_some(row.machine_id),
            gpus: row.gpu_wish,
            reason: row.reason,
            message: row.message.filter(|_| is_shown),
            container_id: is_shown.then_some(row.id),
            container: is_shown.then_some(row.name),
            account: names.get(&row.account_id).cloned().flatten().filter(|_| is_shown),
        });
    }
    Ok(Page { data, total, limit: page.limit(), offset: page.offset() })
}

fn skipped(page: PageQuery) -> usize {
    usize::try_from(page.offset()).unwrap_or(usize::MAX)
}

fn taken(page: PageQuery) -> usize {
    usize::try_from(page.limit()).unwrap_or(usize::MAX)
}

/// The places in the line of those rows that stand in it.
pub(super) async fn places_in_line(
    app: &App,
    rows: impl Iterator<Item = &Row>,
) -> Result<HashMap<ContainerId, QueuePlace>> {
    let waiting: HashMap<ContainerId, _> = rows.filter_map(|row| Some((row.id, row.queued_at?))).collect();
    if waiting.is_empty() {
        return Ok(HashMap::new());
    }
    let line = containers::line_ids(&app.db).await?;
    let numbered = (1..).zip(line);
    Ok(numbered
        .filter_map(|(position, id)| Some((id, QueuePlace { position, since: *waiting.get(&id)? })))
        .collect())
}
