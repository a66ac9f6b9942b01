//! Containers: who may have which, made of what. Here is only written down what is wanted; the reconciler makes it so.
//! No engine is asked for a view: what a container does is in its row.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ring::rand::SecureRandom as _;
use serde_json::json;
use store::containers::{self, Desired, Placement, Row, StateChange};
use store::{Conn, Tx, accounts, container_events, gpu_leases, images, machines};
use wire::containers::{
    Bind, ContainerCreate, ContainerEventView, ContainerSpec, ContainerState, ContainerView, Port, Protocol,
    QueuePlace, SHM_BYTES_DEFAULT,
};
use wire::ids::{AccountId, ContainerId, ImageId, MachineId, VolumeId};
use wire::images::{ImageSource, ImageState};
use wire::names::{AccountName, ContainerName, ImageReference};
use wire::page::{Page, PageQuery};
use wire::policy::{LanPorts, Policy, Violation};

use super::accounts::{Named, subject};
use super::audit::{self, Event};
use super::container_names;
use super::leases::{self, PassError};
use super::quotas::{self, Needs};
use super::volumes;
use crate::app::App;
use crate::caller::Caller;
use crate::config::GpusConfig;
use crate::error::{Error, ErrorKind, Result};

/// Longest shown name in characters.
const MAX_DISPLAY_CHARS: usize = 100;
/// Seconds between asking a process to end and ending it, when nobody says otherwise.
const STOP_SECS: u32 = 10;
/// The most seconds that a process can be given to end.
const MAX_STOP_SECS: u32 = 600;
/// The most seconds that can be asked for until a container is stopped: ten years.
const MAX_DURATION_SECS: u64 = 10 * 365 * 86_400;
/// Tries to find a name and ports that nobody took in between.
const INSERT_TRIES: u32 = 16;

/// Makes a container: stored as wanted and pending, and started by the reconciler.
pub async fn create(app: &App, caller: &Caller, new: &ContainerCreate) -> Result<ContainerView> {
    let policy = ours();
    let image = image(app, caller, &new.image).await?;
    let (volumes, working_dir) = volumes::asked(new, &image);
    let spec = ContainerSpec { working_dir, volumes: volumes::unnumbered(&volumes), ..spec(&policy, new) };
    let mut violations = violations(&policy, new, &spec);
    violations.extend(too_long(&app.config.gpus, new));
    // Volumes do not move: who has them already goes where they are.
    let wanted = new.machine.as_deref().filter(|wanted| *wanted != "any").map(str::to_owned);
    let wanted = match wanted {
        None if !volumes.is_empty() => {
            volumes::machine_of(app, caller.account, &volumes).await?.map(|machine| machine.to_string())
        }
        wanted => wanted,
    };
    let wanted = wanted.as_deref();
    if new.gpus.is_some() && wanted.is_none() && !volumes.is_empty() {
        let detail = "a container with new volumes and GPUs needs a machine: volumes lie on one";
        let error = Error::new(ErrorKind::Invalid, "machine_needed", detail)
            .hint("name it with `machine`; `longshore gpu list` shows which has what");
        return Err(Error { field: Some("machine".into()), ..error });
    }
    let is_on_lan = spec.ports.iter().any(|port| port.bind == Bind::Lan);
    if new.gpus.is_some() && wanted.is_none() && is_on_lan {
        let detail =
            "a container with GPUs and ports on the network needs a machine: not every one opens ports there";
        let error = Error::new(ErrorKind::Invalid, "machine_needed", detail)
            .hint("name it with `machine`; `lan` of `GET /api/v1/machines` says which open what");
        return Err(Error { field: Some("machine".into()), ..error });
    }
    // Who asks for graphics processors may have to wait for a machine; all others get one now.
    let machine = match (&new.gpus, wanted) {
        (Some(_), None) => None,
        _ => Some(super::machines::pick(app, wanted, is_on_lan).await?),
    };
    if let Some(machine) = &machine {
        violations.extend(closed_ports(&spec, machine));
        violations.extend(beyond_machine(&spec, machine));
    }
    if !violations.is_empty() {
        return Err(not_allowed("this container", &violations));
    }
    let (machine_id, placement) = match (&new.gpus, machine.map(|machine| machine.facts.machine_id)) {
        (Some(wish), named) => leases::stand(app, wish, named, &spec).await?,
        (None, Some(machine)) => (machine, Placement::Fixed),
        (None, None) => return Err(Error::internal("a container without a machine asks for nothing")),
    };
    let image_name = match &image.tag {
        Some(tag) => format!("{}/{}:{tag}", image.owner, image.repo),
        None => format!("{}/{}@{}", image.owner, image.repo, image.digest),
    };
    let display_name = new.display_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let mut row = containers::New {
        account_id: caller.account,
        name: placeholder(new),
        display_name: display_name.map(str::to_owned),
        machine_id,
        image_id: image.id,
        image_name,
        image_repository: format!("{}/{}", image.owner, image.repo),
        image_digest: image.digest,
        spec,
        desired: Desired::Running,
        now: app.now(),
        gpu_wish: new.gpus.clone(),
        placement,
        max_duration_secs: max_duration(&app.config.gpus, new),
        restart_policy: new.restart_policy,
    };
    for attempt in 0..INSERT_TRIES {
        if new.name.is_none() {
            row.name = container_names::make(&app.random, attempt)?;
        }
        if placement == Placement::Fixed {
            row.spec.ports = choose_ports(app, &app.db, &row.machine_id, row.spec.ports).await?;
        }
        match insert(app, caller, &row).await {
            Ok(row) => {
                app.signals.containers.notify_one();
                tracing::info!(container.id = %row.id, machine.id = %row.machine_id, "container `{}` is wanted", row.name);
                return shown(app, row).await;
            }
            Err(NotInserted::Overtaken) => {}
            Err(NotInserted::Name) if new.name.is_none() => {}
            Err(NotInserted::Name) => {
                let detail = format!("you have a container named `{}` already", row.name);
                return Err(Error {
                    field: Some("name".into()),
                    ..Error::conflict("container_exists", detail)
                });
            }
            Err(NotInserted::Port(port)) => {
                let is_fixed = |(_, asked): &(usize, &wire::containers::PortCreate)| asked.host == Some(port);
                if let Some((index, _)) = new.ports.iter().enumerate().find(is_fixed) {
                    let detail = format!("port {port} of the machine is used by another container");
                    let error = Error::conflict("port_taken", detail)
                        .hint("leave `host` out, and a free one is chosen");
                    return Err(Error { field: Some(format!("ports[{index}].host")), ..error });
                }
            }
            Err(NotInserted::Other(error)) => return Err(error),
        }
    }
    Err(Error::unavailable("busy", "no free name or port was found; nothing was made").hint("try again"))
}

/// Replaced before it is stored, when no name was given.
fn placeholder(new: &ContainerCreate) -> ContainerName {
    new.name.clone().unwrap_or_else(|| "container".parse().expect("it is a valid name"))
}

enum NotInserted {
    Name,
    Port(u16),
    /// What the line was to give was taken by another server meanwhile.
    Overtaken,
    Other(Error),
}

impl From<Error> for NotInserted {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<store::Error> for NotInserted {
    fn from(error: store::Error) -> Self {
        Self::Other(error.into())
    }
}

async fn insert(app: &App, caller: &Caller, new: &containers::New) -> Result<Row, NotInserted> {
    let tx = app.db.begin().await?;
    // The account's row stays locked until the end, so that two requests cannot both take the last place.
    accounts::locked(&tx, caller.account).await?;
    gpu_leases::lock(&tx).await?;
    let limit = app.config.containers.per_account;
    if containers::count_of_account(&tx, caller.account).await? >= limit {
        let detail = format!("an account has at most {limit} containers");
        let error = Error::conflict("too_many_containers", detail);
        return Err(NotInserted::Other(
            error.hint("delete those that are not used: `longshore container list`"),
        ));
    }
    let needs = Needs {
        gpus: new.gpu_wish.as_ref().map_or(0, |wish| wish.count),
        cpu_millis: u64::from(new.spec.cpu_millis),
        memory_bytes: new.spec.memory_bytes,
    };
    quotas::require(app, &tx, caller.account, &needs, None).await?;
    if new.placement != Placement::Fixed {
        may_wait(app, &tx, caller.account).await?;
    }
    // It may have been deleted since it was found.
    let image = images::get(&tx, new.image_id).await?;
    if image.is_none_or(|image| image.state != ImageState::Ready) {
        return Err(NotInserted::Other(Error::not_found("image", &new.image_name)));
    }
    let volumes = volumes::claim(app, &tx, new.account_id, &new.machine_id, &new.spec.volumes).await?;
    let used: BTreeSet<VolumeId> = volumes.iter().map(|mount| mount.volume).collect();
    let new = containers::New { spec: ContainerSpec { volumes, ..new.spec.clone() }, ..new.clone() };
    let row = match containers::insert(&tx, &new).await {
        Err(store::Error::Duplicate) => return Err(NotInserted::Name),
        Err(store::Error::PortTaken(port)) => return Err(NotInserted::Port(port)),
        other => other?,
    };
    for volume in used {
        store::volumes::attach(&tx, row.id, volume).await?;
    }
    let event = Event { action: "container.create", target: row.name.as_str(), acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    let row = if row.queued_at.is_some() { through_line(app, &tx, row.id).await? } else { row };
    tx.commit().await?;
    Ok(row)
}

/// Refuses more containers in the line than one account may have there. Whoever asks for what is free stands there for a
/// moment too.
async fn may_wait(app: &App, tx: &Tx, account: AccountId) -> Result<()> {
    let limit = app.config.gpus.queued_per_account;
    if containers::count_in_line(tx, account).await? < limit {
        return Ok(());
    }
    let detail = format!("an account has at most {limit} containers that wait for GPUs");
    Err(Error::conflict("too_many_waiting", detail)
        .hint("wait until some of them run, or stop those that are not needed: `longshore queue list`"))
}

/// Lets the line move on in the transaction in which somebody joined it; the row of that one as it is then.
async fn through_line(app: &App, tx: &Tx, id: ContainerId) -> Result<Row, PassError> {
    leases::pass(app, tx).await?;
    let row = containers::get(tx, id).await?;
    row.ok_or_else(|| PassError::Other(Error::internal("a container was deleted in its own transaction")))
}

impl From<PassError> for NotInserted {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Overtaken => Self::Overtaken,
            PassError::Other(error) => Self::Other(error),
        }
    }
}

/// The image of a request: by number, or by name as the caller types it. What the caller may not pull does not exist.
async fn image(app: &App, caller: &Caller, text: &str) -> Result<images::Row> {
    let absent = || Error { field: Some("image".into()), ..Error::not_found("image", text) };
    let found = if let Ok(id) = text.parse::<ImageId>() {
        images::get(&app.db, id).await?
    } else {
        let reference: ImageReference =
            text.parse().map_err(|error| Error { field: Some("image".into()), ..Error::from(error) })?;
        images::by_name(&app.db, &reference.with_default_owner(&caller.owner())).await?
    };
    let image = found.filter(|image| caller.may_pull(&image.owner)).ok_or_else(absent)?;
    if image.state != ImageState::Ready {
        return Err(Error::conflict("image_deleting", format!("image `{text}` is being deleted")));
    }
    if image.source == ImageSource::Chart {
        return Err(Error::invalid("image", format!("`{text}` is a chart, and no image"))
            .hint("charts are installed into clusters: `longshore release install`"));
    }
    Ok(image)
}

/// The server's own bounds. Which ports may be published to the network depends on the machine: see [`closed_ports`].
fn ours() -> Policy {
    let lan = LanPorts { address: Ipv4Addr::UNSPECIFIED.into(), port_first: 1, port_last: u16::MAX };
    Policy { lan: Some(lan), ..Policy::default() }
}

/// What was asked for, with the policy's defaults; ports that are to be chosen have host 0 until then.
fn spec(policy: &Policy, new: &ContainerCreate) -> ContainerSpec {
    let port = |asked: &wire::containers::PortCreate| Port {
        container: asked.container,
        protocol: asked.protocol,
        host: asked.host.unwrap_or(0),
        bind: asked.bind,
        is_pooled: asked.host.is_none(),
    };
    ContainerSpec {
        ports: new.ports.iter().map(port).collect(),
        env: new.env.clone(),
        command: new.command.clone(),
        entrypoint: new.entrypoint.clone(),
        working_dir: new.working_dir.clone(),
        memory_bytes: new.memory_bytes.unwrap_or(policy.memory_bytes_default),
        cpu_millis: new.cpu_millis.unwrap_or(policy.cpu_millis_default),
        pids: new.pids.unwrap_or(policy.pids_default),
        gpus: Vec::new(),
        shm_bytes: new.shm_bytes,
        volumes: Vec::new(),
        tty: new.tty,
    }
}

/// What is wrong with a name, beyond its letters.
pub(super) fn name_violation(name: &ContainerName) -> Option<Violation> {
    let is_number = name.as_str().bytes().all(|b| b.is_ascii_digit());
    let message = "must hold more than digits: it would look like a container's number";
    is_number.then(|| Violation { field: "name".into(), message: message.into() })
}

/// What is wrong with a name to show.
pub(super) fn display_name_violation(name: Option<&str>) -> Option<Violation> {
    let name = name?;
    let is_wrong = name.chars().count() > MAX_DISPLAY_CHARS || name.chars().any(char::is_control);
    let message = format!("must be at most {MAX_DISPLAY_CHARS} characters without control characters");
    is_wrong.then(|| Violation { field: "display_name".into(), message })
}

/// Everything that is wrong with a request, not only the first thing.
fn violations(policy: &Policy, new: &ContainerCreate, spec: &ContainerSpec) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(new.name.as_ref().and_then(name_violation));
    violations.extend(display_name_violation(new.display_name.as_deref()));
    if let Some(wish) = &new.gpus {
        violations.extend(leases::violations(policy, wish));
    }
    // Ports that are still to be chosen will be free ones of the pool; for the check any that nobody named will do.
    let named: Vec<u16> = spec.ports.iter().filter(|port| !port.is_pooled).map(|port| port.host).collect();
    let mut pool = (policy.port_first..=policy.port_last).filter(|port| !named.contains(port));
    let mut checked = spec.clone();
    checked.ports.truncate(policy.ports + 1);
    for port in checked.ports.iter_mut().filter(|port| port.is_pooled) {
        port.host = pool.next().unwrap_or(policy.port_first);
    }
    violations.extend(policy.check(&checked));
    violations
}

/// How long a container may run from each start: what was asked for, or what the settings say for those with graphics
/// processors.
fn max_duration(config: &GpusConfig, new: &ContainerCreate) -> Option<u64> {
    let of_settings = config.max_duration_default_secs.or(config.max_duration_limit_secs);
    new.max_duration_secs.or_else(|| of_settings.filter(|_| new.gpus.is_some()))
}

/// What is wrong with how long it is to run.
fn too_long(config: &GpusConfig, new: &ContainerCreate) -> Option<Violation> {
    let limit = config.max_duration_limit_secs.filter(|_| new.gpus.is_some());
    let most = limit.unwrap_or(MAX_DURATION_SECS).min(MAX_DURATION_SECS);
    let is_wrong = new.max_duration_secs.is_some_and(|secs| !(1..=most).contains(&secs));
    is_wrong.then(|| {
        let whom = if limit.is_some() { " for containers with GPUs" } else { "" };
        Violation { field: "max_duration_secs".into(), message: format!("must be 1 to {most}{whom}") }
    })
}

/// Ports on the network that the machine does not open there.
fn closed_ports(spec: &ContainerSpec, machine: &machines::Row) -> Vec<Violation> {
    let mut violations = Vec::new();
    let facts = &machine.facts;
    for (i, port) in spec.ports.iter().enumerate().filter(|(_, port)| port.bind == Bind::Lan) {
        let machine = &facts.machine_id;
        match &facts.lan {
            None => violations.push(Violation {
                field: format!("ports[{i}].bind"),
                message: format!("must be `loopback`: machine `{machine}` opens no ports to its network"),
            }),
            Some(lan) if !port.is_pooled && !lan.range().contains(&port.host) => violations.push(Violation {
                field: format!("ports[{i}].host"),
                message: format!("must be {} to {} on machine `{machine}`", lan.port_first, lan.port_last),
            }),
            Some(_) => {}
        }
    }
    violations
}

/// What the policy allows and the machine does not have.
pub(super) fn beyond_machine(spec: &ContainerSpec, machine: &machines::Row) -> Vec<Violation> {
    let mut violations = Vec::new();
    let facts = &machine.facts;
    let cores: u32 = facts.cpu.values().map(|socket| socket.cores).sum();
    if cores > 0 && spec.cpu_millis > cores.saturating_mul(1_000) {
        let message =
            format!("must be at most {}: machine `{}` has {cores} cores", cores * 1_000, facts.machine_id);
        violations.push(Violation { field: "cpu_millis".into(), message });
    }
    if facts.memory.total > 0 && spec.memory_bytes >> 20 > facts.memory.total {
        let bytes = facts.memory.total << 20;
        let message =
            format!("must be at most {bytes}: machine `{}` has {} MiB", facts.machine_id, facts.memory.total);
        violations.push(Violation { field: "memory_bytes".into(), message });
    }
    violations
}

pub(super) fn not_allowed(what: &str, violations: &[Violation]) -> Error {
    let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let field = violations.first().map(|violation| violation.field.clone());
    let error = Error::new(
        ErrorKind::Invalid,
        "not_allowed",
        format!("{what} is not allowed: {}", listed.join("; ")),
    );
    Error { field, ..error.with("violations", json!(violations)) }
}

/// Chooses a free port for each that is to be chosen, at random: so that what else a machine runs on the first ports of
/// the pool, or another installation with the same pool, is not met each time.
pub(crate) async fn choose_ports(
    app: &App,
    conn: &dyn Conn,
    machine: &MachineId,
    mut ports: Vec<Port>,
) -> Result<Vec<Port>> {
    let is_on_lan = ports.iter().any(|port| port.bind == Bind::Lan && port.is_pooled);
    let row = if is_on_lan { machines::get(conn, machine).await? } else { None };
    let policy = Policy { lan: row.and_then(|row| row.facts.lan), ..Policy::default() };
    let kinds = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| [(protocol, Bind::Loopback), (protocol, Bind::Lan)]);
    for (protocol, bind) in kinds {
        let is_open = |port: &Port| port.protocol == protocol && port.bind == bind && port.is_pooled;
        if !ports.iter().any(is_open) {
            continue;
        }
        let Some(pool) = policy.ports_of(bind) else {
            let detail = format!("machine `{machine}` opens no ports to its network any more");
            return Err(Error::conflict("no_free_port", detail));
        };
        let mut free = containers::free_ports(conn, machine, protocol, pool, usize::MAX).await?;
        free.retain(|free| !ports.iter().any(|port| port.protocol == protocol && port.host == *free));
        for port in ports.iter_mut().filter(|port| is_open(port)) {
            if free.is_empty() {
                return Err(Error::conflict(
                    "no_free_port",
                    format!("machine `{machine}` has no free port left in the pool"),
                )
                .hint("delete containers that are not used"));
            }
            port.host = free.swap_remove(random_below(app, free.len())?);
        }
    }
    Ok(ports)
}

fn random_below(app: &App, bound: usize) -> Result<usize> {
    let mut bytes = [0; 8];
    app.random.fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    // The slight preference for small numbers does not matter here.
    Ok(usize::try_from(u64::from_le_bytes(bytes) % bound as u64).expect("it is less than a usize"))
}

/// Which containers to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Every account's.
    pub is_all: bool,
    /// This account's.
    pub account: Option<String>,
    /// Only in this state.
    pub state: Option<ContainerState>,
    /// Only on this machine.
    pub machine: Option<String>,
    /// Only of this image: its number or name.
    pub image: Option<String>,
    /// Part of a name.
    pub search: Option<String>,
}

/// Lists containers, newest first.
pub async fn list(
    app: &App,
    caller: &Caller,
    filter: &Filter,
    page: PageQuery,
) -> Result<Page<ContainerView>> {
    let empty = || Page { data: Vec::new(), total: 0, limit: page.limit(), offset: page.offset() };
    if filter.is_all && !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can list every account's containers"));
    }
    let account = match (filter.is_all, &filter.account) {
        (true, None) => None,
        (_, name) => Some(subject(app, caller, name.as_deref().map(Named::Account)).await?.account),
    };
    let machine = match filter.machine.as_deref().map(str::parse::<MachineId>) {
        Some(Err(_)) => return Ok(empty()),
        other => other.and_then(Result::ok),
    };
    let image = match &filter.image {
        None => None,
        Some(text) => match image_of_filter(app, caller, text).await? {
            None => return Ok(empty()),
            some => some,
        },
    };
    let filter = containers::Filter {
        account,
        machine: machine.as_ref(),
        image,
        state: filter.state,
        search: filter.search.as_deref().filter(|text| !text.is_empty()),
    };
    let found = containers::list(&app.db, filter, page).await?;
    let places = leases::places_in_line(app, found.rows.iter().map(|(row, _)| row)).await?;
    Ok(super::page_of(found, page, |(row, account)| {
        let place = places.get(&row.id).copied();
        view(app, row, account, place)
    }))
}

async fn image_of_filter(app: &App, caller: &Caller, text: &str) -> Result<Option<ImageId>> {
    if let Ok(id) = text.parse::<ImageId>() {
        // Whose image it is does not matter: only containers that the caller may see are listed.
        return Ok(Some(id));
    }
    let reference: ImageReference = text.parse()?;
    let name = reference.with_default_owner(&caller.owner());
    let found = images::by_name(&app.db, &name).await?;
    Ok(found.filter(|image| caller.may_pull(&image.owner)).map(|image| image.id))
}

/// One container.
pub async fn get(app: &App, caller: &Caller, id: &str) -> Result<ContainerView> {
    let row = find(app, caller, id).await?;
    shown(app, row).await
}

/// What happened to a container, newest first.
pub async fn events(app: &App, caller: &Caller, id: &str) -> Result<Vec<ContainerEventView>> {
    let row = find(app, caller, id).await?;
    let events = container_events::of_container(&app.db, row.id).await?;
    let view = |event: container_events::Row| ContainerEventView {
        at: event.at,
        state: event.state,
        reason: event.reason,
        message: event.message,
        exit_code: event.exit_code,
    };
    Ok(events.into_iter().map(view).collect())
}

/// The container of a number (the caller's own; any for an admin) or of a name among the caller's own. What is foreign
/// does not exist. No container has a name of digits alone, so that the two cannot be mixed up.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Row> {
    let found = match id.parse::<ContainerId>() {
        Ok(number) => containers::get(&app.db, number).await?,
        Err(_) => match id.parse::<ContainerName>() {
            Ok(name) => containers::by_name(&app.db, caller.account, &name).await?,
            Err(_) => None,
        },
    };
    found.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("container", id))
}

pub(super) async fn shown(app: &App, row: Row) -> Result<ContainerView> {
    let account = accounts::get(&app.db, row.account_id).await?;
    let account = account.ok_or_else(|| Error::internal("a container's account is missing"))?;
    let place = leases::places_in_line(app, std::iter::once(&row)).await?.remove(&row.id);
    Ok(view(app, row, account.account, place))
}

/// Wants a container running; a failed one is tried again.
pub async fn start(app: &App, caller: &Caller, id: &str) -> Result<ContainerView> {
    wish(
        app,
        caller,
        id,
        Wish { action: "container.start", desired: Desired::Running, is_restart: false, stop_secs: None },
    )
    .await
}

/// Wants a container stopped.
pub async fn stop(app: &App, caller: &Caller, id: &str, timeout_secs: Option<u32>) -> Result<ContainerView> {
    let stop_secs = Some(stop_secs(timeout_secs)?);
    wish(
        app,
        caller,
        id,
        Wish { action: "container.stop", desired: Desired::Stopped, is_restart: false, stop_secs },
    )
    .await
}

/// Wants a container stopped and started once.
pub async fn restart(
    app: &App,
    caller: &Caller,
    id: &str,
    timeout_secs: Option<u32>,
) -> Result<ContainerView> {
    let stop_secs = Some(stop_secs(timeout_secs)?);
    wish(
        app,
        caller,
        id,
        Wish { action: "container.restart", desired: Desired::Running, is_restart: true, stop_secs },
    )
    .await
}

/// Wants a container gone. Doing it again changes nothing.
pub async fn delete(app: &App, caller: &Caller, id: &str) -> Result<ContainerView> {
    wish(
        app,
        caller,
        id,
        Wish { action: "container.delete", desired: Desired::Deleted, is_restart: false, stop_secs: None },
    )
    .await
}

fn stop_secs(asked: Option<u32>) -> Result<u32> {
    match asked {
        Some(secs) if secs > MAX_STOP_SECS => {
            Err(Error::invalid("timeout", format!("`timeout` is 0 to {MAX_STOP_SECS} seconds")))
        }
        asked => Ok(asked.unwrap_or(STOP_SECS)),
    }
}

struct Wish {
    action: &'static str,
    desired: Desired,
    is_restart: bool,
    stop_secs: Option<u32>,
}

/// Writes a wish down and wakes the reconciler. What is wished already is not written again.
async fn wish(app: &App, caller: &Caller, id: &str, wish: Wish) -> Result<ContainerView> {
    let found = find(app, caller, id).await?;
    for _ in 0..INSERT_TRIES {
        match write_wish(app, caller, found.id, &wish).await {
            Ok(Some(row)) => {
                app.signals.containers.notify_one();
                app.signals.line.notify_one();
                return shown(app, row).await;
            }
            Ok(None) => return Err(Error::not_found("container", id)),
            Err(PassError::Overtaken) => {}
            Err(PassError::Other(error)) => return Err(error),
        }
    }
    Err(Error::unavailable("busy", "others take GPUs faster than the line can be written").hint("try again"))
}

/// The row as it is then; none when there is none any more.
async fn write_wish(
    app: &App,
    caller: &Caller,
    id: ContainerId,
    wish: &Wish,
) -> Result<Option<Row>, PassError> {
    use ContainerState::{Deleting, Failed, Pending, Stopped, Stopping, Unknown};

    let tx = app.db.begin().await?;
    if wish.desired == Desired::Running {
        // Before the container's row: whoever goes through the line, or counts what an account uses, locks in this order.
        gpu_leases::lock(&tx).await?;
    }
    let Some(row) = containers::locked(&tx, id).await? else { return Ok(None) };
    if row.desired == Desired::Deleted {
        if wish.desired == Desired::Deleted {
            return Ok(Some(row));
        }
        let detail = format!("container `{}` is being deleted", row.name);
        return Err(Error::conflict("being_deleted", detail).into());
    }
    let now = app.now();
    let event = Event { action: wish.action, target: row.name.as_str(), acting_for: Some(row.account_id) };
    // It never was on a machine: nothing has to be removed there.
    if wish.desired == Desired::Deleted && row.placement != Placement::Fixed {
        audit::record(app, caller, &tx, event).await?;
        containers::delete(&tx, row.id).await?;
        tx.commit().await?;
        return Ok(Some(Row { desired: Desired::Deleted, state: Deleting, queued_at: None, ..row }));
    }
    let is_waiting = row.queued_at.is_some();
    if is_waiting && wish.desired != Desired::Running {
        containers::set_queued(&tx, row.id, None).await?;
    }
    let needs_gpus = row.gpu_wish.is_some() && row.leased_at.is_none();
    let joins_line = wish.desired == Desired::Running && needs_gpus && !is_waiting;
    if wish.desired == Desired::Running && row.desired != Desired::Running {
        quotas::require(app, &tx, row.account_id, &Needs::of(&row), Some(row.id)).await?;
    }
    if joins_line {
        may_wait(app, &tx, row.account_id).await?;
        containers::set_queued(&tx, row.id, Some(now)).await?;
    }
    // A start that is newer than the process is told from a process that has ended by its state: see `reconcile/plan`.
    let state = match wish.desired {
        Desired::Running if matches!(row.state, Stopped | Stopping | Failed | Unknown) => Some(Pending),
        // Who waits does not run.
        Desired::Stopped if is_waiting => Some(Stopped),
        Desired::Deleted => Some(Deleting),
        _ => None,
    };
    if let Some(state) = state {
        containers::set_state(&tx, row.id, &StateChange { attempt: 0, ..row.change(state) }, now).await?;
    }
    // From each start anew; a restart goes on.
    if wish.desired == Desired::Running && row.desired != Desired::Running {
        containers::set_ends_at(&tx, row.id, None).await?;
        containers::set_restarts(&tx, row.id, 0).await?;
    }
    if row.desired != wish.desired {
        containers::set_desired(&tx, row.id, wish.desired, now).await?;
    }
    if row.restart_requested != wish.is_restart && (wish.is_restart || wish.desired != Desired::Running) {
        containers::set_restart(&tx, row.id, wish.is_restart).await?;
    }
    if let Some(secs) = wish.stop_secs {
        containers::set_stop_timeout(&tx, row.id, secs).await?;
    }
    audit::record(app, caller, &tx, event).await?;
    if joins_line {
        leases::pass(app, &tx).await?;
    }
    let row = containers::get(&tx, row.id).await?;
    tx.commit().await?;
    Ok(row)
}

/// Whether the caller's proof still counts. A store that does not answer ends nothing.
pub(super) async fn may_still_read(app: &App, caller: &Caller, row: &Row) -> bool {
    super::sessions::may_still_act_for(app, caller, row.account_id).await
}

fn view(app: &App, row: Row, account: AccountName, queue: Option<QueuePlace>) -> ContainerView {
    let is_pulling = row.state == ContainerState::Pulling;
    let pull = app.pulls.progress(&row.machine_id, &row.image_repository, &row.image_digest);
    let spec = row.spec;
    ContainerView {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        machine_id: Some(row.machine_id).filter(|_| row.placement != Placement::Any),
        image_id: row.image_id,
        image: row.image_name,
        // Ports that are to be chosen have no number yet.
        port: spec.ports.first().map(|port| port.host).filter(|port| *port != 0),
        ports: spec.ports,
        user_id: row.account_id,
        account,
        status: row.state.is_running(),
        state: row.state,
        state_since: row.state_since,
        reason: row.reason,
        message: row.message,
        exit_code: row.exit_code,
        env: spec.env,
        command: spec.command,
        entrypoint: spec.entrypoint,
        working_dir: spec.working_dir,
        memory_bytes: spec.memory_bytes,
        cpu_millis: spec.cpu_millis,
        pids: spec.pids,
        wished_limits: row.wished_limits,
        shm_bytes: spec.shm_bytes.unwrap_or(SHM_BYTES_DEFAULT),
        volumes: spec.volumes,
        tty: spec.tty,
        created_at: row.created_at,
        gpus: row.gpu_wish,
        max_duration_secs: row.max_duration_secs,
        restart_policy: row.restart_policy,
        restarts: row.restarts,
        pull: pull.filter(|_| is_pulling),
        ends_at: row.ends_at,
        gpu_ids: if row.leased_at.is_some() { spec.gpus } else { Vec::new() },
        queue,
    }
}

#[cfg(test)]
mod tests {
    use wire::containers::PortCreate;
    use wire::gpus::GpuWish;

    use super::*;

    fn asked() -> ContainerCreate {
        serde_json::from_value(json!({"image": "app"})).unwrap()
    }

    fn fields(change: impl FnOnce(&mut ContainerCreate)) -> Vec<String> {
        let mut new = asked();
        change(&mut new);
        let policy = Policy::default();
        violations(&policy, &new, &spec(&policy, &new)).into_iter().map(|violation| violation.field).collect()
    }

    fn port(host: Option<u16>) -> PortCreate {
        PortCreate { container: 80, protocol: Protocol::Tcp, host, bind: Bind::Loopback }
    }

    #[test]
    fn what_is_not_asked_for_has_the_policys_defaults_and_no_ports() {
        let spec = spec(&Policy::default(), &asked());

        assert_eq!((spec.memory_bytes, spec.cpu_millis, spec.pids), (1 << 30, 1_000, 1_024));
        assert_eq!(spec.ports, []);
        assert_eq!(fields(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn ports_to_be_chosen_pass_and_named_ones_are_held_to_the_pool() {
        assert_eq!(
            fields(|new| new.ports = vec![port(None), port(Some(20_000)), port(None)]),
            Vec::<String>::new()
        );
        assert_eq!(fields(|new| new.ports = vec![port(None), port(Some(22))]), ["ports[1].host"]);
        assert_eq!(fields(|new| new.ports = vec![port(Some(0))]), ["ports[0].host"]);
        assert_eq!(fields(|new| new.ports = vec![port(None); 33]), ["ports"]);
        assert_eq!(fields(|new| new.ports = vec![port(None); 50_000]), ["ports"]);
    }

    #[test]
    fn a_wish_for_graphics_processors_is_held_to_bounds() {
        let wish = |count, model: Option<&str>, memory_mib| {
            fields(|new| new.gpus = Some(GpuWish { count, model: model.map(str::to_owned), memory_mib }))
        };

        assert_eq!(wish(1, Some("a100"), Some(40_000)), Vec::<String>::new());
        assert_eq!(wish(0, None, None), ["gpus.count"]);
        assert_eq!(wish(17, None, None), ["gpus.count"]);
        assert_eq!(
            wish(u32::MAX, Some(" "), Some(u64::MAX)),
            ["gpus.count", "gpus.model", "gpus.memory_mib"]
        );
        assert_eq!(wish(1, Some(&"x".repeat(101)), None), ["gpus.model"]);
        assert_eq!(wish(1, Some("a\u{1b}"), None), ["gpus.model"]);
        for wrong in [json!(1), json!({"count": -1}), json!({"count": 1, "uuids": ["GPU-1"]}), json!("all")] {
            let parsed = serde_json::from_value::<ContainerCreate>(json!({"image": "app", "gpus": wrong}));
            assert!(parsed.is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_cannot_be_mistaken_for_a_number() {
        assert_eq!(fields(|new| new.name = Some("123".parse().unwrap())), ["name"]);
        assert_eq!(fields(|new| new.name = Some("1a".parse().unwrap())), Vec::<String>::new());
    }

    #[test]
    fn options_that_are_not_ours_do_not_parse() {
        for option in
            ["HostConfig", "Privileged", "privileged", "Binds", "ENV", "Ports", "porſts", "memory_bytes "]
        {
            let parsed = serde_json::from_value::<ContainerCreate>(json!({"image": "app", option: {}}));
            assert!(parsed.is_err(), "{option}");
        }
        let twice = r#"{"image":"app","env":{"A":"1"},"env":{"A":"2"}}"#;
        assert!(serde_json::from_str::<ContainerCreate>(twice).is_err());
    }
}
