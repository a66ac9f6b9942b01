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

use super::backoff;
use super::observed::{View, World, is_plausible};
use super::plan::{Step, plan};
use crate::app::App;
use crate::domain::builds;
use crate::error::{Error, Result};

/// A watch that does not begin for so long never does. That its machine is silent later is the hub's to notice, which then ends the
/// connection and the watch with it: what the machine does is called unknown, and known again as soon as it is back.
const BEGINNING: Duration = Duration::from_secs(15);
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
        if let Err(error) = Box::pin(set_unreachable(&app, &machine, MachineState::Unknown)).await {
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
    let mut events = Box::pin(app.hub.watch(machine, &Watch { instance: app.instance })).await?;
    // What the watch itself has shown of the engine is newer than what the facts say.
    let mut has_engine = None;
    let silent = |_| Error::unavailable("machine_silent", "the machine says nothing of itself");
    let mut event = tokio::time::timeout(BEGINNING, events.next()).await.map_err(silent)?;
    loop {
        let broken = || Error::unavailable("machine_unreachable", "the watch of the machine has ended");
        let said = event.ok_or_else(broken)??;
        // What taking it in needs is not kept while nothing happens, which is nearly always.
        Box::pin(take(app, world, machine, said, &mut has_engine, attempt)).await?;
        event = events.next().await;
    }
}

/// Takes in what a machine says.
async fn take(
    app: &App,
    world: &World,
    machine: &MachineId,
    event: WatchEvent,
    has_engine: &mut Option<bool>,
    attempt: &mut u32,
) -> Result<()> {
    match event {
        WatchEvent::Facts(facts) => {
            check_facts(&facts, machine)?;
            let is_up = has_engine.unwrap_or(facts.engine_version.is_some());
            let state = if is_up { MachineState::Online } else { MachineState::EngineDown };
            machines::upsert(&app.db, &facts, state, app.now()).await?;
        }
        WatchEvent::Containers(containers) => {
            containers.iter().try_for_each(check_container)?;
            *attempt = 0;
            *has_engine = Some(true);
            let count = containers.len();
            world.list(machine, containers);
            check_count(world, machine)?;
            machines::set_state(&app.db, machine, MachineState::Online, app.now()).await?;
            mark_all(app, world, machine).await?;
            builds::enqueue_cleaning(app, &app.db, machine).await?;
            app.signals.jobs.any();
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
            *has_engine = Some(false);
            world.lost(machine);
            set_unreachable(app, machine, MachineState::EngineDown).await?;
        }
        WatchEvent::Alive => {}
        WatchEvent::Gpus(reading) => {
            if app.gpu_readings.put(machine, *reading) {
                app.signals.line.notify_one();
            }
        }
    }
    Ok(())
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

/// Machines that were left `online` by an earlier server or by a failed write. Only what is not as it should be is touched: with a
/// thousand machines whose engines are down, anything else would be most of what an idle server does.
async fn note_lost(app: &App, world: &World) -> Result<()> {
    let connected: HashSet<MachineId> = app.hub.connected().into_iter().collect();
    let mut running: HashSet<MachineId> = containers::known_machines(&app.db).await?.into_iter().collect();
    for (machine, state) in machines::states(&app.db).await? {
        let runs = running.remove(&machine);
        if world.is_reachable(&machine) {
            continue;
        }
        let wanted = match state {
            MachineState::EngineDown if connected.contains(&machine) => MachineState::EngineDown,
            _ => MachineState::Unknown,
        };
        if runs || state != wanted {
            set_unreachable(app, &machine, wanted).await?;
        }
    }
    Ok(())
}
