//! Follows the machines: one watch each, from the moment it is connected. A watch begins with everything there is, so
//! whatever was missed is repaired by watching again. A machine that cannot be seen is only noted as such: nothing is
//! done to its containers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use store::{containers, machines};
use wire::ids::MachineId;
use wire::link::{ObservedContainer, Watch, WatchEvent};
use wire::machines::{MachineFacts, MachineState};
use wire::page::{MAX_LIMIT, PageQuery};

use super::backoff;
use super::observed::{View, World, is_plausible};
use super::plan::{Step, plan};
use crate::app::App;
use crate::error::{Error, Result};

/// A watch that is silent for so long is dead: agents send something every five seconds. What a machine does is then called
/// unknown, and known again as soon as it speaks.
const SILENCE: Duration = Duration::from_secs(15);
/// How long machines have to connect after the server's start before they count as lost.
const GRACE: Duration = Duration::from_secs(10);
/// Tries after which the next one is not waited for any longer: two seconds at most, because what a machine does is not known until
/// it is watched again.
const ATTEMPTS_SLOWER: u32 = 3;
/// How often the store is compared with what is known, for what could not be written when it happened.
const INTERVAL: Duration = Duration::from_secs(15);

/// Containers that a machine may say that it has: more than any engine can run, and than fit into one event.
const CONTAINERS_MAX: usize = 8_192;
/// Of what a machine says of itself, as JSON; its processors and graphics processors are most of it.
const FACTS_BYTES_MAX: usize = 128 << 10;

/// The code of that failure.
const LIE: &str = "machine_lies";
/// How long a machine that lied is not listened to.
const LIE_PAUSE: Duration = Duration::from_mins(1);

/// Watches every machine that connects, until the server ends.
pub(super) async fn run(app: App, world: Arc<World>) {
    let mut connections = app.hub.subscribe();
    let watched = Arc::new(Mutex::new(HashSet::<MachineId>::new()));
    let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + GRACE, INTERVAL);
    loop {
        connections.borrow_and_update();
        for machine in app.hub.connected() {
            let is_new =
                watched.lock().expect("no code panics while it holds this lock").insert(machine.clone());
            if is_new {
                app.spawn(follow(app.clone(), Arc::clone(&world), machine, Arc::clone(&watched)));
            }
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            changed = connections.changed() => if changed.is_err() { return },
            _ = timer.tick() => {
                if let Err(error) = note_lost(&app, &world).await {
                    tracing::warn!(%error, "cannot note which machines are out of reach");
                }
            }
        }
    }
}

/// Watches one machine as long as it is connected.
async fn follow(app: App, world: Arc<World>, machine: MachineId, watched: Arc<Mutex<HashSet<MachineId>>>) {
    let mut connections = app.hub.subscribe();
    let mut attempt = 0;
    loop {
        connections.borrow_and_update();
        let ended = tokio::select! {
            () = app.shutdown.cancelled() => return,
            ended = watch(&app, &world, &machine, &mut attempt) => ended,
        };
        let is_connected = app.hub.connected().contains(&machine);
        let Err(error) = ended;
        let has_lied = error.code == LIE;
        tracing::warn!(machine.id = %machine, %error, is_connected, "lost sight of a machine");
        world.lost(&machine);
        app.gpu_readings.forget(&machine);
        if let Err(error) = set_unreachable(&app, &machine, MachineState::Unknown).await {
            tracing::warn!(machine.id = %machine, %error, "cannot note that a machine is out of reach; tried again soon");
        }
        if !is_connected {
            watched.lock().expect("no code panics while it holds this lock").remove(&machine);
            // It may have come back before it was taken from the set: then nobody was told.
            if !app.hub.connected().contains(&machine) {
                return;
            }
            if !watched.lock().expect("no code panics while it holds this lock").insert(machine.clone()) {
                return;
            }
        }
        attempt = (attempt + 1).min(ATTEMPTS_SLOWER);
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(LIE_PAUSE), if has_lied => {}
            _ = connections.changed(), if !has_lied => {}
            () = tokio::time::sleep(backoff::delay(&app.random, attempt)), if !has_lied => {}
        }
    }
}

/// Watches until something breaks.
async fn watch(
    app: &App,
    world: &World,
    machine: &MachineId,
    attempt: &mut u32,
) -> Result<std::convert::Infallible> {
    let mut events = app.hub.stream(machine, &Watch { instance: app.instance }, None).await?;
    // What the watch itself has shown of the engine is newer than what the facts say.
    let mut has_engine = None;
    loop {
        let silent = |_| Error::unavailable("machine_silent", "the machine says nothing any more");
        let event = tokio::time::timeout(SILENCE, events.next()).await.map_err(silent)?;
        let broken = || Error::unavailable("machine_unreachable", "the watch of the machine has ended");
        match event.ok_or_else(broken)?? {
            WatchEvent::Facts(facts) => {
                check_facts(&facts, machine)?;
                let is_up = has_engine.unwrap_or(facts.engine_version.is_some());
                let state = if is_up { MachineState::Online } else { MachineState::EngineDown };
                machines::upsert(&app.db, &facts, state, app.now()).await?;
            }
            WatchEvent::Containers(containers) => {
                containers.iter().try_for_each(check_container)?;
                *attempt = 0;
                has_engine = Some(true);
                let count = containers.len();
                world.list(machine, containers);
                check_count(world, machine)?;
                machines::set_state(&app.db, machine, MachineState::Online, app.now()).await?;
                mark_all(app, world, machine).await?;
                app.signals.line.notify_one();
                tracing::info!(machine.id = %machine, containers = count, "sees a machine");
            }
            WatchEvent::Changed(container) => {
                check_container(&container)?;
                world.changed(machine, container);
                check_count(world, machine)?;
            }
            WatchEvent::Removed { container, engine_id } => world.removed(machine, container, &engine_id),
            WatchEvent::EngineDown { message } => {
                tracing::warn!(machine.id = %machine, message, "a machine's engine does not answer");
                has_engine = Some(false);
                world.lost(machine);
                set_unreachable(app, machine, MachineState::EngineDown).await?;
            }
            WatchEvent::Alive => {}
            WatchEvent::Gpus(reading) => {
                app.gpu_readings.put(machine, *reading);
                app.signals.line.notify_one();
            }
        }
    }
}

fn lie(what: &str) -> Error {
    Error::unavailable(LIE, what)
}

/// An agent speaks for its own machine only, and is not trusted to be brief.
fn check_facts(facts: &MachineFacts, machine: &MachineId) -> Result<()> {
    if facts.machine_id != *machine {
        return Err(lie("the machine claims to be another one"));
    }
    let length = serde_json::to_vec(facts).map_or(usize::MAX, |text| text.len());
    if length > FACTS_BYTES_MAX { Err(lie("the machine says too much of itself")) } else { Ok(()) }
}

fn check_container(seen: &ObservedContainer) -> Result<()> {
    if is_plausible(seen) {
        return Ok(());
    }
    Err(lie("the machine tells of a container that no engine has"))
}

fn check_count(world: &World, machine: &MachineId) -> Result<()> {
    if world.count_of(machine) <= CONTAINERS_MAX {
        return Ok(());
    }
    Err(lie("the machine tells of more containers than any engine has"))
}

/// Marks every container of a machine that is not as the store says, and those that the store does not know.
async fn mark_all(app: &App, world: &World, machine: &MachineId) -> Result<()> {
    let rows = containers::all_of_machine(&app.db, machine).await?;
    let mut unknown = world.containers_of(machine);
    let mut marked = Vec::new();
    for row in rows {
        unknown.remove(&row.id);
        let view = world.view(machine, row.id);
        if view != View::Unreachable && plan(&row, &view, false) != Step::Rest {
            marked.push(row.id);
        }
    }
    world.mark(machine, marked.into_iter().chain(unknown));
    Ok(())
}

/// What cannot be seen is not known any more, and nothing else happens to it.
async fn set_unreachable(app: &App, machine: &MachineId, state: MachineState) -> Result<()> {
    machines::set_state(&app.db, machine, state, app.now()).await?;
    let count = containers::mark_unknown(&app.db, machine, app.now()).await?;
    if count > 0 {
        tracing::warn!(machine.id = %machine, containers = count, "what a machine's containers do is not known");
    }
    Ok(())
}

/// Machines that were left `online` by an earlier server or by a failed write.
async fn note_lost(app: &App, world: &World) -> Result<()> {
    let page = PageQuery { limit: Some(MAX_LIMIT), offset: None };
    for row in machines::list(&app.db, page).await?.rows {
        let machine = &row.facts.machine_id;
        if !world.is_reachable(machine) {
            let state = match row.state {
                MachineState::EngineDown if app.hub.connected().contains(machine) => MachineState::EngineDown,
                _ => MachineState::Unknown,
            };
            set_unreachable(app, machine, state).await?;
        }
    }
    Ok(())
}
