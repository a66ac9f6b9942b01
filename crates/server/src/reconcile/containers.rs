//! Makes containers as their owners want them: one step after another per container, many containers at a time. Every
//! step is written down before it is taken and decided anew from what is stored and what is seen, so that a server that
//! dies anywhere is taken over by the next one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use store::containers::{self, Desired, Row, StateChange};
use store::gpu_leases;
use wire::containers::{ContainerState, Port, RestartPolicy};
use wire::ids::{ContainerId, MachineId};
use wire::limits::WishedLimits;
use wire::link::{ContainerAction, ContainerVerb, ObservedContainer, ObservedState};
use wire::names::AccountName;
use wire::time::Timestamp;

use super::backoff;
use super::effects::{self, Failure};
use super::observed::{View, World};
use super::plan::{Step, plan};
use crate::app::App;
use crate::domain::containers::choose_ports;
use crate::domain::logs;
use crate::error::{Error, Result};

/// How often everything is looked at, for signals that were lost.
const INTERVAL: Duration = Duration::from_secs(10);
/// Containers of one machine that are worked on at the same time.
const PER_MACHINE: usize = 16;
/// Steps in a row before a container waits for the next look; more would mean that it goes round in circles.
const MAX_STEPS: usize = 16;
/// Tries to make or start a container before it counts as failed.
const TRIES: u32 = 4;
/// The same where the image cannot be had: a registry that is restarted takes a while.
const PULL_TRIES: u32 = 7;
/// Tries to find a port that nothing else on the machine uses.
const PORT_TRIES: u32 = 8;
/// A container that ran for so long before its process ended begins anew with how often it may be started again.
const LONG_RUN_SECS: i64 = 60;
/// How often in a row a container is started again whose process ends sooner.
const RESTARTS_MAX: u32 = 10;
/// After so many it is not waited longer each time any more: some seconds at most.
const RESTARTS_SLOWER: u32 = 5;
/// How long a call that asks or tidies may take.
const ASIDE_TIMEOUT: Duration = Duration::from_secs(90);
/// Containers without a row that are told of in the log; a machine may make up more.
const TOLD_MAX: usize = 1_000;

type Key = (MachineId, ContainerId);

struct Reconciler {
    app: App,
    world: Arc<World>,
    /// What is being worked on, and whether to look again after it.
    busy: Mutex<HashMap<Key, bool>>,
    /// Something waits because its machine has enough to do.
    is_waiting: AtomicBool,
    /// What is not to be tried again yet.
    pauses: Mutex<HashMap<ContainerId, Pause>>,
    /// Containers without a row that were told of.
    told: Mutex<HashSet<Key>>,
}

struct Pause {
    until: Instant,
    failures: u32,
    /// The wish that failed: a new one does not wait.
    desired: Desired,
    restart_requested: bool,
}

/// What comes after a step.
enum Next {
    /// Nothing for now.
    Rest,
    /// Plan again.
    Again,
    /// Plan again with what the machine just said.
    Sure,
}

/// Works until the server ends.
pub(super) async fn run(app: App, world: Arc<World>) {
    let reconciler = Arc::new(Reconciler {
        app,
        world,
        busy: Mutex::default(),
        is_waiting: AtomicBool::new(false),
        pauses: Mutex::default(),
        told: Mutex::default(),
    });
    let (app, world) = (&reconciler.app, &reconciler.world);
    loop {
        let wait = reconciler.until_next();
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.signals.containers.notified() => {}
            () = world.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        if let Err(error) = reconciler.look().await {
            tracing::warn!(%error, "cannot look at the containers; trying again");
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}

impl Reconciler {
    fn until_next(&self) -> Duration {
        let now = Instant::now();
        let pauses = lock(&self.pauses);
        let next = pauses.values().filter(|pause| pause.until > now).map(|pause| pause.until - now).min();
        next.unwrap_or(INTERVAL).min(INTERVAL)
    }

    /// Starts work on everything that is not as it should be.
    async fn look(self: &Arc<Self>) -> Result<()> {
        // First what can fail, so that nothing marked is lost with it.
        let rows = containers::unsettled(&self.app.db, &self.world.reachable()).await?;
        let unsettled =
            rows.into_iter().filter(|row| !self.is_paused(row)).map(|row| (row.machine_id, row.id));
        let keys: HashSet<Key> = unsettled.chain(self.world.take_marked()).collect();
        for key in keys {
            if self.claim(&key) {
                self.app.spawn(Arc::clone(self).settle(key));
            }
        }
        Ok(())
    }

    /// Whether the caller is to work on it: not when somebody does (who then looks again), not when the machine has
    /// enough to do (then it is marked for later).
    fn claim(&self, key: &Key) -> bool {
        let mut busy = lock(&self.busy);
        if let Some(again) = busy.get_mut(key) {
            *again = true;
            return false;
        }
        if busy.keys().filter(|(machine, _)| *machine == key.0).count() >= PER_MACHINE {
            self.is_waiting.store(true, Ordering::Relaxed);
            self.world.keep(key);
            return false;
        }
        busy.insert(key.clone(), false);
        true
    }

    /// Whether work on it is over; if not, it was asked to look again.
    fn release(&self, key: &Key) -> bool {
        let mut busy = lock(&self.busy);
        if busy.get(key).is_some_and(|again| *again) && !self.app.shutdown.is_cancelled() {
            busy.insert(key.clone(), false);
            return false;
        }
        busy.remove(key);
        drop(busy);
        if self.is_waiting.swap(false, Ordering::Relaxed) {
            self.world.wake.notify_one();
        }
        true
    }

    async fn settle(self: Arc<Self>, key: Key) {
        loop {
            if let Err(error) = self.steps(&key).await {
                tracing::warn!(container.id = %key.1, %error, "cannot bring a container forward; trying again");
                self.pause_unknown(key.1);
            }
            if self.release(&key) {
                return;
            }
        }
    }

    async fn steps(&self, (machine, id): &Key) -> Result<()> {
        let mut is_sure = false;
        for _ in 0..MAX_STEPS {
            if self.app.shutdown.is_cancelled() {
                return Ok(());
            }
            let Some(row) = containers::get(&self.app.db, *id).await? else {
                lock(&self.pauses).remove(id);
                // Nothing is kept of it: a machine may make up as many as it likes. It is looked at when it is told of again.
                if let Err(error) = self.without_row(machine, *id).await {
                    tracing::debug!(container.id = %id, machine.id = %machine, %error, "cannot look at a container that the database does not know");
                }
                return Ok(());
            };
            if row.machine_id != *machine {
                return Ok(());
            }
            let view = self.world.view(machine, *id);
            let step = plan(&row, &view, is_sure);
            if step == Step::Rest {
                lock(&self.pauses).remove(id);
                return Ok(());
            }
            if step.is_effect() && self.is_paused(&row) {
                return Ok(());
            }
            tracing::debug!(container.id = %id, ?step, state = ?row.state, "takes a step");
            match self.take(step, &row, &view).await? {
                Next::Rest => return Ok(()),
                Next::Again => is_sure = false,
                Next::Sure => is_sure = true,
            }
        }
        tracing::warn!(container.id = %id, "a container does not settle; looked at again later");
        self.pause_unknown(*id);
        Ok(())
    }

    async fn take(&self, step: Step, row: &Row, view: &View) -> Result<Next> {
        match step {
            Step::Rest => Ok(Next::Rest),
            Step::RecordRunning => self.record_running(row).await,
            Step::RecordStopped { exit_code, is_oom_killed, is_unasked: true } => {
                self.record_ended(row, exit_code, is_oom_killed).await
            }
            Step::RecordStopped { exit_code, is_oom_killed, is_unasked: false } => {
                self.record_stopped(row, exit_code, is_oom_killed, false).await
            }
            Step::Look => self.ask(row).await,
            Step::RecordGone => {
                let message = "something other than Longshore removed the container from its machine, and its disk with it; start it to make it anew";
                self.record_failed(row, "gone", message, false).await
            }
            Step::RecordForeign => {
                let message = format!(
                    "the machine has a container with the number {} that is not this one; perhaps the database was restored from an older copy",
                    row.id
                );
                self.record_failed(row, "conflict_on_machine", &message, false).await
            }
            Step::Forget => {
                let change = StateChange {
                    reason: row.reason.as_deref(),
                    message: row.message.as_deref(),
                    engine_id: None,
                    ..row.change(row.state)
                };
                self.write(row, &change, Wish::Keep).await.map(|_| Next::Again)
            }
            Step::Revive => {
                let change = StateChange { attempt: 0, ..row.change(ContainerState::Pending) };
                self.write(row, &change, Wish::Becomes(Desired::Running)).await.map(|_| Next::Again)
            }
            Step::Create { is_again } => self.create(row, is_again).await,
            Step::Copy => self.copy(row).await,
            Step::Limit => self.limit(row, view).await,
            Step::Release => self.give_up_gpus(row).await,
            Step::Start => self.start(row, view).await,
            Step::Stop => self.stop(row).await,
            Step::Restart => self.restart(row, view).await,
            Step::Remove => self.remove(row).await,
            Step::DropRow => {
                tracing::warn!(container.id = %row.id, machine.id = %row.machine_id, "left a container on its machine that only has the number of a deleted one");
                self.drop_row(row).await
            }
        }
    }

    async fn create(&self, row: &Row, is_again: bool) -> Result<Next> {
        // Its copy has all that the image has.
        let has_copy = row.copy_of.is_some() && !row.is_outdated();
        let state = if has_copy { ContainerState::Starting } else { ContainerState::Pulling };
        let begun = StateChange { exit_code: None, attempt: row.attempt.max(1), ..row.change(state) };
        let Some(row) = self.write(row, &begun, Wish::Keep).await? else { return Ok(Next::Again) };
        let account = self.account(&row).await?;
        if !has_copy && let Err(failure) = effects::pull(&self.app, &row, &account).await {
            return self.failed(&row, failure).await;
        }
        let removal = if has_copy { ContainerVerb::Replace } else { ContainerVerb::Remove };
        if is_again && let Err(failure) = self.act(&row, removal).await {
            return self.failed(&row, failure).await;
        }
        let Some(row) = self.write(&row, &row.change(ContainerState::Starting), Wish::Keep).await? else {
            return Ok(Next::Again);
        };
        let asked_at = self.world.version();
        let made = match effects::create(&self.app, &row, &account).await {
            Ok(made) => made,
            Err(Failure::Passing("not_found_on_machine", message)) if has_copy => {
                return self.record_copy_gone(&row, &message).await;
            }
            Err(failure) => return self.failed(&row, failure).await,
        };
        self.world.answered(&row.machine_id, row.id, asked_at, Some(made.clone()));
        if made.state != ObservedState::Created {
            // Not just made: the plan knows what to say of it.
            return Ok(Next::Again);
        }
        // Before the engine's id: with an older one it is made anew once more, with a newer one it would be missed.
        containers::set_made_from(&self.app.db, row.id, &row.image_digest).await?;
        let change = StateChange { engine_id: Some(&made.engine_id), ..row.change(ContainerState::Starting) };
        self.write(&row, &change, Wish::Keep).await.map(|_| Next::Again)
    }

    /// Its disk is kept before the container goes that has it. The row names whose disk it is, so that it counts only as
    /// long as nothing is written on that one.
    async fn copy(&self, row: &Row) -> Result<Next> {
        let Some(engine_id) = row.engine_id.clone() else { return Ok(Next::Again) };
        let begun = StateChange {
            exit_code: None,
            attempt: row.attempt.max(1),
            message: Some("it gets another GPU than it had, and its disk is copied for that"),
            ..row.change(ContainerState::Starting)
        };
        let Some(row) = self.write(row, &begun, Wish::Keep).await? else { return Ok(Next::Again) };
        if let Err(failure) = effects::copy(&self.app, &row, &engine_id).await {
            return self.failed(&row, failure).await;
        }
        self.write_copy_of(&row, Some(&engine_id)).await?;
        Ok(Next::Again)
    }

    async fn write_copy_of(&self, row: &Row, engine_id: Option<&str>) -> Result<()> {
        let tx = self.app.db.begin().await?;
        let current = containers::locked(&tx, row.id).await?;
        if current.is_some_and(|current| current.engine_id == row.engine_id) {
            containers::set_copy_of(&tx, row.id, engine_id).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn record_copy_gone(&self, row: &Row, message: &str) -> Result<Next> {
        self.write_copy_of(row, None).await?;
        let message = format!("{message}, and its disk with it; start it to make it anew from its image");
        self.record_failed(row, "gone", &message, false).await
    }

    /// What its machine refuses while it runs comes when it stands still; what it refuses even then is given up.
    async fn limit(&self, row: &Row, view: &View) -> Result<Next> {
        let Some(wished) = &row.wished_limits else { return Ok(Next::Again) };
        let refused = match effects::limit(&self.app, row, wished.limits).await {
            Ok(()) => None,
            Err(Failure::Overtaken) => return Ok(Next::Again),
            Err(Failure::Passing("not_found_on_machine", _)) => return self.ask(row).await,
            Err(failure @ (Failure::Unreachable(_) | Failure::Passing("machine_slow", _))) => {
                tracing::debug!(container.id = %row.id, ?failure, "a container does not get other limits yet");
                self.pause(row);
                return Ok(Next::Rest);
            }
            Err(Failure::Passing(_, message) | Failure::Final(_, message) | Failure::PortTaken(message)) => {
                Some(message)
            }
        };
        let now = self.app.now();
        let tx = self.app.db.begin().await?;
        let Some(current) = containers::locked(&tx, row.id).await? else { return Ok(Next::Rest) };
        // Something else is wished by now, or it is about to be given a machine with what is in its specification.
        if current.wished_limits != row.wished_limits || current.queued_at.is_some() {
            return Ok(Next::Again);
        }
        let runs = matches!(view, View::Present(container) if container.state == ObservedState::Running);
        match refused {
            None => containers::set_limits(&tx, row.id, wished.limits, now).await?,
            Some(message) if runs => {
                let later = WishedLimits { limits: wished.limits, message: Some(message) };
                containers::set_wished_limits(&tx, row.id, Some(&later), now).await?;
            }
            Some(message) => {
                tracing::warn!(container.id = %row.id, machine.id = %row.machine_id, message, "container `{}` does not get other limits", row.name);
                containers::set_wished_limits(&tx, row.id, None, now).await?;
                if current.state == ContainerState::Stopped {
                    let message = format!("it keeps its limits: {message}");
                    let (reason, message) = (Some("limits_refused"), Some(message.as_str()));
                    let change = StateChange { reason, message, ..current.change(current.state) };
                    containers::set_state(&tx, row.id, &change, now).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(Next::Again)
    }

    async fn give_up_gpus(&self, row: &Row) -> Result<Next> {
        let tx = self.app.db.begin().await?;
        let Some(current) = containers::locked(&tx, row.id).await? else { return Ok(Next::Rest) };
        let is_same = current.desired == row.desired
            && current.state == row.state
            && current.restart_requested == row.restart_requested
            && current.engine_id == row.engine_id;
        if is_same {
            gpu_leases::release(&tx, row.id).await?;
            tx.commit().await?;
            tracing::info!(container.id = %row.id, machine.id = %row.machine_id, "container `{}` has given up its GPUs", row.name);
            self.app.signals.line.notify_one();
        }
        Ok(Next::Again)
    }

    async fn start(&self, row: &Row, view: &View) -> Result<Next> {
        self.note_restart(row, view).await?;
        let begun = StateChange {
            exit_code: None,
            attempt: row.attempt.max(1),
            ..row.change(ContainerState::Starting)
        };
        let Some(row) = self.write(row, &begun, Wish::Keep).await? else { return Ok(Next::Again) };
        // What it writes from now on is not in the copy.
        if row.copy_of.is_some() && row.copy_of == row.engine_id {
            self.write_copy_of(&row, None).await?;
        }
        match self.act(&row, ContainerVerb::Start).await {
            Ok(Some(container)) => self.record_started(&row, container).await,
            Ok(None) => Ok(Next::Again),
            Err(Failure::PortTaken(message)) => {
                let has_run =
                    !matches!(view, View::Present(container) if container.state == ObservedState::Created);
                self.other_ports(&row, has_run, message).await
            }
            Err(failure) => self.failed(&row, failure).await,
        }
    }

    /// Notes of which process a restart is the restart, before it is begun: so it is known afterwards whether it was done.
    async fn note_restart(&self, row: &Row, view: &View) -> Result<Option<Timestamp>> {
        let View::Present(container) = view else { return Ok(row.restart_of) };
        if !row.restart_requested || row.restart_of.is_some() {
            return Ok(row.restart_of);
        }
        if let Some(of) = container.started_at {
            containers::set_restart_of(&self.app.db, row.id, of).await?;
        }
        Ok(container.started_at)
    }

    async fn restart(&self, row: &Row, view: &View) -> Result<Next> {
        let of = self.note_restart(row, view).await?;
        let begun = StateChange {
            exit_code: None,
            attempt: row.attempt.max(1),
            ..row.change(ContainerState::Starting)
        };
        let Some(row) = self.write(row, &begun, Wish::Keep).await? else { return Ok(Next::Again) };
        match self.act(&row, ContainerVerb::Restart { timeout_secs: row.stop_timeout_secs, of }).await {
            Ok(Some(container)) => self.record_started(&row, container).await,
            Ok(None) => Ok(Next::Again),
            Err(failure) => self.failed(&row, failure).await,
        }
    }

    /// Written from the answer and not by the plan: a process that has ended already must not be started again.
    async fn record_started(&self, row: &Row, container: ObservedContainer) -> Result<Next> {
        if container.state == ObservedState::Running {
            return self.record_running(row).await;
        }
        let (exit_code, is_oom_killed) = (container.exit_code, container.is_oom_killed);
        self.world.put(&row.machine_id, container);
        self.record_ended(row, exit_code, is_oom_killed).await
    }

    /// Its process has ended by itself: it is started again where its policy says so, later each time, and keeps its graphics
    /// processors meanwhile. One that ends again and again at once is given up, so that it does not hold them for ever.
    async fn record_ended(&self, row: &Row, exit_code: Option<i64>, is_oom_killed: bool) -> Result<Next> {
        let is_wanted = match row.restart_policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure => is_oom_killed || exit_code.is_some_and(|code| code != 0),
            RestartPolicy::Always => true,
        };
        if !is_wanted {
            return self.record_stopped(row, exit_code, is_oom_killed, true).await;
        }
        let now = self.app.now();
        let has_run_long =
            row.state == ContainerState::Running && row.state_since.plus_secs(LONG_RUN_SECS) <= now;
        let restarts = if has_run_long { 1 } else { row.restarts.saturating_add(1) };
        let ended = match exit_code {
            _ if is_oom_killed => "ended for want of memory".to_owned(),
            Some(code) => format!("ended with code {code}"),
            None => "ended".to_owned(),
        };
        if restarts > RESTARTS_MAX {
            let message = format!(
                "its process {ended}, for the {restarts}th time in a row soon after it was started, and is not started again; its log says more"
            );
            let change = StateChange {
                reason: Some("restarts_too_often"),
                message: Some(&message),
                exit_code,
                attempt: 0,
                ..row.change(ContainerState::Stopped)
            };
            if self.write(row, &change, Wish::Becomes(Desired::Stopped)).await?.is_some() {
                tracing::warn!(container.id = %row.id, exit_code, "container `{}` is not started again", row.name);
            }
            return Ok(Next::Again);
        }
        let message = format!("its process {ended} and is started again");
        let change = StateChange {
            reason: Some("restarting"),
            message: Some(&message),
            exit_code,
            attempt: 0,
            ..row.change(ContainerState::Pending)
        };
        let tx = self.app.db.begin().await?;
        let Some(current) = containers::locked(&tx, row.id).await? else { return Ok(Next::Rest) };
        let is_same = current.desired == row.desired
            && current.state == row.state
            && current.restart_requested == row.restart_requested;
        if is_same {
            containers::set_state(&tx, row.id, &change, now).await?;
            containers::set_restarts(&tx, row.id, restarts).await?;
            tx.commit().await?;
            tracing::info!(container.id = %row.id, exit_code, restarts, "container `{}` is started again", row.name);
            if restarts > 1 {
                let until = Instant::now() + backoff::delay(&self.app.random, restarts.min(RESTARTS_SLOWER));
                let pause = Pause {
                    until,
                    failures: restarts,
                    desired: row.desired,
                    restart_requested: row.restart_requested,
                };
                lock(&self.pauses).insert(row.id, pause);
            }
        }
        Ok(Next::Again)
    }

    async fn stop(&self, row: &Row) -> Result<Next> {
        let begun = StateChange { attempt: row.attempt.max(1), ..row.change(ContainerState::Stopping) };
        let Some(row) = self.write(row, &begun, Wish::Keep).await? else { return Ok(Next::Again) };
        match self.act(&row, ContainerVerb::Stop { timeout_secs: row.stop_timeout_secs }).await {
            Ok(Some(container)) if container.state == ObservedState::Running => {
                let message = "the engine said that it stopped the container, but it runs".to_owned();
                self.failed(&row, Failure::Passing("engine_error", message)).await
            }
            Ok(Some(container)) => {
                let (exit_code, is_oom_killed) = (container.exit_code, container.is_oom_killed);
                self.world.put(&row.machine_id, container);
                self.record_stopped(&row, exit_code, is_oom_killed, false).await
            }
            Ok(None) => Ok(Next::Again),
            Err(failure) => self.failed(&row, failure).await,
        }
    }

    async fn remove(&self, row: &Row) -> Result<Next> {
        let begun = row.change(ContainerState::Deleting);
        let Some(row) = self.write(row, &begun, Wish::Keep).await? else { return Ok(Next::Again) };
        if row.engine_id.is_some() {
            logs::keep(&self.app, &row).await;
        }
        match self.act(&row, ContainerVerb::Remove).await {
            Ok(_) => self.drop_row(&row).await,
            Err(failure) => self.failed(&row, failure).await,
        }
    }

    async fn drop_row(&self, row: &Row) -> Result<Next> {
        containers::delete(&self.app.db, row.id).await?;
        if row.leased_at.is_some() {
            self.app.signals.line.notify_one();
        }
        self.app.signals.disk_uses.notify_one();
        lock(&self.pauses).remove(&row.id);
        tracing::info!(container.id = %row.id, "container `{}` is deleted", row.name);
        Ok(Next::Rest)
    }

    /// Something else has one of the ports. Ports that we chose are chosen anew, as long as the container holds nothing
    /// yet: its ports are fixed when it is made. The new ones are stored before the old container goes.
    async fn other_ports(&self, row: &Row, has_run: bool, message: String) -> Result<Next> {
        let can_move =
            !has_run && row.attempt < PORT_TRIES && row.spec.ports.iter().any(|port| port.is_pooled);
        tracing::debug!(container.id = %row.id, message, can_move, "a port is taken");
        if !can_move {
            return self.record_port_taken(row).await;
        }
        let ports = choose_ports(&self.app, &self.app.db, &row.machine_id, row.spec.ports.clone()).await?;
        let change =
            StateChange { engine_id: None, attempt: row.attempt + 1, ..row.change(ContainerState::Starting) };
        match self.write_with_ports(row, &change, Wish::Keep, Some(&ports)).await {
            // Taken: another container was given one of them in between.
            Ok(_) | Err(WriteError::PortTaken) => Ok(Next::Again),
            Err(WriteError::Other(error)) => Err(error),
        }
    }

    async fn record_port_taken(&self, row: &Row) -> Result<Next> {
        let ports: Vec<String> = row.spec.ports.iter().map(|port| port.host.to_string()).collect();
        let what = if ports.len() == 1 { "port" } else { "one of the ports" };
        let message = format!(
            "{what} {} of the machine is in use by something else; free it and start the container, or make it anew with another port",
            ports.join(", ")
        );
        self.record_failed(row, "port_taken", &message, true).await
    }

    async fn record_running(&self, row: &Row) -> Result<Next> {
        let change = StateChange { exit_code: None, attempt: 0, ..row.change(ContainerState::Running) };
        let written = self.write(row, &change, Wish::Done).await?;
        if written.is_some() {
            tracing::info!(container.id = %row.id, machine.id = %row.machine_id, "container `{}` runs", row.name);
        }
        Ok(Next::Again)
    }

    async fn record_stopped(
        &self,
        row: &Row,
        exit_code: Option<i64>,
        is_oom_killed: bool,
        is_unasked: bool,
    ) -> Result<Next> {
        let message = format!(
            "its processes needed more memory than the limit of {} MiB, and the kernel ended one of them; make it anew with more memory",
            row.spec.memory_bytes >> 20
        );
        // Its time is over only where it was stopped for it: see `write_with_ports`.
        let is_over = !is_unasked && row.ends_at.is_some_and(|ends_at| ends_at <= self.app.now());
        let limit = super::durations::in_words(row.max_duration_secs.unwrap_or_default());
        let over = format!("it ran for {limit}, its maximum, and was stopped; start it to go on");
        let (reason, message) = match (is_oom_killed, is_over) {
            (true, _) => (Some("out_of_memory"), Some(message.as_str())),
            (false, true) => (Some("max_duration"), Some(over.as_str())),
            (false, false) => (None, None),
        };
        let change =
            StateChange { reason, message, exit_code, attempt: 0, ..row.change(ContainerState::Stopped) };
        let wish = if is_unasked { Wish::Becomes(Desired::Stopped) } else { Wish::Keep };
        if self.write(row, &change, wish).await?.is_some() {
            tracing::info!(container.id = %row.id, exit_code, reason, "container `{}` has stopped", row.name);
        }
        Ok(Next::Again)
    }

    async fn record_failed(&self, row: &Row, reason: &str, message: &str, is_there: bool) -> Result<Next> {
        let engine_id = row.engine_id.as_deref().filter(|_| is_there);
        let change = StateChange {
            reason: Some(reason),
            message: Some(message),
            engine_id,
            ..row.change(ContainerState::Failed)
        };
        if self.write(row, &change, Wish::Becomes(Desired::Stopped)).await?.is_some() {
            tracing::warn!(container.id = %row.id, reason, message, "container `{}` has failed", row.name);
        }
        Ok(Next::Again)
    }

    /// A step did not succeed: later again, or not any more.
    async fn failed(&self, row: &Row, failure: Failure) -> Result<Next> {
        // What is to stop or to go is tried for ever: there is nothing else that it could become.
        let is_given_up = row.desired == Desired::Running;
        let (reason, message) = match failure {
            Failure::Overtaken => return Ok(Next::Again),
            Failure::Unreachable(message) => {
                tracing::debug!(container.id = %row.id, message, "a container's machine cannot be reached");
                self.pause(row);
                return Ok(Next::Rest);
            }
            Failure::Final(reason, message) if is_given_up => {
                return self.record_failed(row, reason, &message, true).await;
            }
            Failure::Passing(reason, message) if is_given_up && row.attempt >= tries(reason) => {
                return self.record_failed(row, reason, &message, true).await;
            }
            Failure::PortTaken(_) if is_given_up => return self.record_port_taken(row).await,
            Failure::Final(reason, message) | Failure::Passing(reason, message) => (reason, message),
            Failure::PortTaken(message) => ("port_taken", message),
        };
        tracing::warn!(container.id = %row.id, attempt = row.attempt, reason, message, "a step of container `{}` failed; trying again", row.name);
        let change = StateChange {
            reason: Some(reason),
            message: Some(&message),
            attempt: row.attempt.saturating_add(1),
            ..row.change(row.state)
        };
        self.write(row, &change, Wish::Keep).await?;
        self.pause(row);
        Ok(Next::Rest)
    }

    /// Asks the machine how a container is, and believes it.
    async fn ask(&self, row: &Row) -> Result<Next> {
        match self.act(row, ContainerVerb::Look).await {
            Ok(_) => Ok(Next::Sure),
            Err(failure) => {
                tracing::debug!(container.id = %row.id, ?failure, "a machine does not say how a container is");
                self.pause(row);
                Ok(Next::Rest)
            }
        }
    }

    async fn act(&self, row: &Row, verb: ContainerVerb) -> Result<Option<ObservedContainer>, Failure> {
        let asked_at = self.world.version();
        let container = effects::act(&self.app, row, verb).await?;
        if container.is_none() && matches!(verb, ContainerVerb::Remove | ContainerVerb::Replace) {
            self.world.forget(&row.machine_id, row.id);
        } else {
            self.world.answered(&row.machine_id, row.id, asked_at, container.clone());
        }
        Ok(container)
    }

    async fn account(&self, row: &Row) -> Result<AccountName> {
        let account = store::accounts::get(&self.app.db, row.account_id).await?;
        account
            .map(|account| account.account)
            .ok_or_else(|| Error::internal("a container's account is missing"))
    }

    /// A container of ours that no row knows. One that never ran is what an answer left that came after the row was
    /// deleted, and goes. One that has run holds somebody's work, and only an older copy of the database can have
    /// forgotten it: it stays, for a person to decide.
    async fn without_row(&self, machine: &MachineId, id: ContainerId) -> Result<()> {
        if self.world.view(machine, id) == View::Absent {
            return Ok(());
        }
        let call = |verb| {
            let call = ContainerAction { instance: self.app.instance, container: id, verb };
            async move { self.app.hub.call(machine, &call, ASIDE_TIMEOUT).await }
        };
        match call(ContainerVerb::Look).await?.container {
            None => self.world.forget(machine, id),
            Some(container) if container.state == ObservedState::Created => {
                call(ContainerVerb::Remove).await?;
                self.world.forget(machine, id);
                tracing::info!(container.id = %id, machine.id = %machine, "removed a container that was deleted before it was made");
            }
            Some(container) => {
                let mut told = lock(&self.told);
                if told.len() < TOLD_MAX && told.insert((machine.clone(), id)) {
                    tracing::warn!(container.id = %id, machine.id = %machine, engine.id = container.engine_id,
                        "a machine has a container of this installation that the database does not know; it is left alone");
                }
            }
        }
        Ok(())
    }

    fn is_paused(&self, row: &Row) -> bool {
        lock(&self.pauses).get(&row.id).is_some_and(|pause| {
            let is_same = pause.desired == row.desired && pause.restart_requested == row.restart_requested;
            is_same && pause.until > Instant::now()
        })
    }

    fn pause(&self, row: &Row) {
        self.pause_wish(row.id, row.desired, row.restart_requested);
    }

    /// Where the row could not even be read: whatever is wanted waits.
    fn pause_unknown(&self, id: ContainerId) {
        let wish = lock(&self.pauses).get(&id).map(|pause| (pause.desired, pause.restart_requested));
        let (desired, restart_requested) = wish.unwrap_or((Desired::Running, false));
        self.pause_wish(id, desired, restart_requested);
    }

    fn pause_wish(&self, id: ContainerId, desired: Desired, restart_requested: bool) {
        let mut pauses = lock(&self.pauses);
        let failures = pauses.get(&id).map_or(0, |pause| pause.failures).saturating_add(1);
        let until = Instant::now() + backoff::delay(&self.app.random, failures);
        pauses.insert(id, Pause { until, failures, desired, restart_requested });
    }

    async fn write(&self, row: &Row, change: &StateChange<'_>, wish: Wish) -> Result<Option<Row>> {
        self.write_with_ports(row, change, wish, None).await.map_err(|error| match error {
            WriteError::PortTaken => Error::internal("ports were claimed although none were asked for"),
            WriteError::Other(error) => error,
        })
    }

    /// Writes a change, unless the row is not any more what the step was decided from: then nothing is written and the
    /// step is decided anew. This is what keeps a wish that comes in meanwhile from being lost.
    async fn write_with_ports(
        &self,
        row: &Row,
        change: &StateChange<'_>,
        wish: Wish,
        ports: Option<&[Port]>,
    ) -> Result<Option<Row>, WriteError> {
        let (db, now) = (&self.app.db, self.app.now());
        let tx = db.begin().await?;
        let Some(current) = containers::locked(&tx, row.id).await? else { return Ok(None) };
        let is_same = current.desired == row.desired
            && current.state == row.state
            && current.restart_requested == row.restart_requested;
        if !is_same {
            return Ok(None);
        }
        if let Some(ports) = ports {
            containers::set_ports(&tx, row.id, ports, now).await?;
        }
        containers::set_state(&tx, row.id, change, now).await?;
        let mut next = Row {
            state: change.state,
            reason: change.reason.map(str::to_owned),
            message: change.message.map(str::to_owned),
            exit_code: change.exit_code,
            engine_id: change.engine_id.map(str::to_owned),
            attempt: change.attempt,
            ..current
        };
        let ends_at = ends_at(&next, now);
        if next.ends_at != ends_at {
            containers::set_ends_at(&tx, row.id, ends_at).await?;
            next.ends_at = ends_at;
        }
        match wish {
            Wish::Keep => {}
            Wish::Done => {
                containers::set_restart(&tx, row.id, false).await?;
                next.restart_requested = false;
            }
            Wish::Becomes(desired) => {
                containers::set_desired(&tx, row.id, desired, now).await?;
                next.desired = desired;
                // A restart that is still to come outlives everything but a failure or an end.
                if desired == Desired::Stopped {
                    containers::set_restart(&tx, row.id, false).await?;
                    next.restart_requested = false;
                }
            }
        }
        tx.commit().await?;
        if next.state == ContainerState::Stopped {
            self.app.signals.disk_uses.notify_one();
        }
        if let Some(ports) = ports {
            next.spec.ports = ports.to_vec();
        }
        Ok(Some(next))
    }
}

/// When a container is to be stopped, in its new state: its time begins when it runs first after a start, and what has
/// stopped before it was over has none.
fn ends_at(row: &Row, now: Timestamp) -> Option<Timestamp> {
    match row.state {
        ContainerState::Running => {
            let secs = row.max_duration_secs.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX));
            row.ends_at.or(secs.map(|secs| now.plus_secs(secs)))
        }
        ContainerState::Stopped | ContainerState::Failed => row.ends_at.filter(|ends_at| *ends_at <= now),
        _ => row.ends_at,
    }
}

/// What becomes of the owner's wish with a change.
#[derive(Clone, Copy)]
enum Wish {
    /// It stays.
    Keep,
    /// A restart that was asked for is done.
    Done,
    /// It follows what happened.
    Becomes(Desired),
}

enum WriteError {
    PortTaken,
    Other(Error),
}

impl From<store::Error> for WriteError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::PortTaken(_) => Self::PortTaken,
            other => Self::Other(other.into()),
        }
    }
}

fn tries(reason: &str) -> u32 {
    if reason == "image_unavailable" { PULL_TRIES } else { TRIES }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}
