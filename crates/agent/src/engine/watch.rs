//! What this installation's containers do: first all of them, then changes, as the engine tells them; everything again
//! when the engine comes back, and a look at the whole list every minute in case an event was missed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, MissedTickBehavior, interval};
use wire::ids::InstanceId;
use wire::link::{LinkError, LinkErrorCode, ObservedContainer, ObservedState, Watch, WatchEvent};
use wire::time::Timestamp;

use super::{LABEL_INSTANCE, containers, engine_down, exec, link_error, stats};
use crate::backoff::Backoff;
use crate::gpu::Found;
use crate::serve::Said;
use crate::{Agent, facts};

const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// The same to a server to which everything that is sent is a sign of life. The connection asks by itself more often than that, but not
/// while it hears from the server.
const QUIET_MAX: Duration = Duration::from_secs(8);
const FACTS_EVERY: Duration = Duration::from_secs(30);
const LIST_EVERY: Duration = Duration::from_mins(1);
/// An engine says nothing of a container while it reads or writes its files. Others do not wait for that one for longer;
/// it is looked at again after a while.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Containers looked at together when all are listed.
const INSPECTED_TOGETHER: usize = 8;
/// The engine's words for what can change a container's state; the rest (exec, attach …) is noise.
const ACTIONS: [&str; 9] =
    ["create", "start", "restart", "die", "oom", "stop", "pause", "unpause", "destroy"];

/// Reports until nobody listens. `said` tells when something was last sent to a server to which that is a sign of life.
pub(crate) async fn watch(agent: &Agent, call: Watch, events: &Sender<WatchEvent>, said: Option<&Said>) {
    let machine = facts::gather(agent).await;
    if events.send(WatchEvent::Facts(Box::new(machine.clone()))).await.is_err() {
        return;
    }
    let cleaning = agent.clone();
    agent.tasks().spawn(async move {
        tokio::select! {
            () = exec::end_left(cleaning.engine(), cleaning.execs()) => {}
            () = cleaning.shutdown().cancelled() => {}
        }
    });
    let is_news = Notify::new();
    let mut watcher = Watcher {
        agent,
        instance: call.instance,
        events,
        known: HashMap::new(),
        out_of_memory: HashSet::new(),
        is_news: &is_news,
    };
    // Each ends only when nobody listens.
    tokio::select! {
        () = stay_alive(events, said) => {}
        () = tell_facts(agent, machine, events, &is_news) => {}
        () = stats::remember(agent, call.instance) => {}
        () = tell_gpus(agent, events, &is_news) => {}
        () = watcher.run() => {}
    }
}

async fn stay_alive(events: &Sender<WatchEvent>, said: Option<&Said>) {
    loop {
        if events.send(WatchEvent::Alive).await.is_err() {
            return;
        }
        match said {
            None => tokio::time::sleep(ALIVE_EVERY).await,
            Some(said) => until_quiet(said).await,
        }
    }
}

/// Returns when nothing was sent for a while.
async fn until_quiet(said: &Said) {
    // What was just said is on its way.
    let mut due = Instant::now() + QUIET_MAX;
    while due > Instant::now() {
        tokio::time::sleep_until(due).await;
        due = said.at() + QUIET_MAX;
    }
}

async fn tell_facts(
    agent: &Agent,
    mut told: wire::machines::MachineFacts,
    events: &Sender<WatchEvent>,
    is_news: &Notify,
) {
    loop {
        // Asking the engine may take a while when it is down; that is what `is_news` is for.
        tokio::select! {
            () = tokio::time::sleep(FACTS_EVERY) => {}
            () = is_news.notified() => {}
        }
        let now = facts::gather(agent).await;
        if !facts::is_noticeable(&told, &now) {
            continue;
        }
        told = now.clone();
        if events.send(WatchEvent::Facts(Box::new(now))).await.is_err() {
            return;
        }
    }
}

/// Tells what the graphics processors do as often as it changes, and nothing where there are none. That others are there is
/// told with the facts.
async fn tell_gpus(agent: &Agent, events: &Sender<WatchEvent>, is_news: &Notify) {
    let mut gpus = agent.gpus().subscribe();
    let mut told = Arc::<Found>::default();
    loop {
        let now = gpus.borrow_and_update().clone();
        if let Some(now) = now {
            if told.reading != now.reading
                && events.send(WatchEvent::Gpus(Box::new(now.reading.clone()))).await.is_err()
            {
                return;
            }
            if told.facts != now.facts {
                is_news.notify_one();
            }
            told = now;
        }
        if gpus.changed().await.is_err() {
            // Nobody reads them any more: there is nothing to tell, and the watch goes on.
            std::future::pending::<()>().await;
        }
    }
}

/// Why a session with the engine ended.
enum End {
    NobodyListens,
    Engine(LinkError),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        Self::Engine(error)
    }
}

/// What came of a look at one container.
enum Look {
    Found(Box<ObservedContainer>),
    /// It is gone, or not ours for all that its labels say.
    Gone,
    /// The engine does not say.
    Busy,
}

struct Watcher<'a> {
    agent: &'a Agent,
    instance: InstanceId,
    events: &'a Sender<WatchEvent>,
    /// What was told, by the engine's id.
    known: HashMap<String, ObservedContainer>,
    /// Containers, by the engine's id, in which the kernel has ended a process for want of memory since they started:
    /// the engine may say so after it has said that the container ended, and forget it in its answers.
    out_of_memory: HashSet<String>,
    is_news: &'a Notify,
}

impl Watcher<'_> {
    async fn run(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let mut is_down = false;
        loop {
            let error = match self.session(&mut backoff, &mut is_down).await {
                End::NobodyListens => return,
                End::Engine(error) => error,
            };
            self.agent.engine().forget();
            if !is_down {
                is_down = true;
                self.is_news.notify_one();
                tracing::warn!("the engine does not answer: {error}");
                if self.tell(WatchEvent::EngineDown { message: error.message }).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Lists, then follows the engine's events. Those are asked for from before the list was made, by the engine's own
    /// clock, so that nothing falls between.
    async fn session(&mut self, backoff: &mut Backoff, is_down: &mut bool) -> End {
        match self.follow(backoff, is_down).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(
        &mut self,
        backoff: &mut Backoff,
        is_down: &mut bool,
    ) -> Result<std::convert::Infallible, End> {
        let engine = self.agent.engine();
        let since = engine.info().await?.time;
        let docker = engine.docker().await?;
        let mut happenings = Box::pin(docker.events(Some(self.options(since))));
        self.known.clear();
        self.list(super::CALL_TIMEOUT).await?;
        self.tell(WatchEvent::Containers(self.known.values().cloned().collect())).await?;
        backoff.reset();
        if std::mem::take(is_down) {
            self.is_news.notify_one();
            tracing::info!("the engine answers again");
        }

        let mut list = interval(LIST_EVERY);
        list.set_missed_tick_behavior(MissedTickBehavior::Delay);
        list.reset();
        loop {
            tokio::select! {
                happened = happenings.next() => match happened {
                    Some(Ok(event)) => if !self.take(event).await? {
                        list.reset_after(LOOK_AGAIN);
                    },
                    Some(Err(error)) => return Err(engine_down(link_error(error)).into()),
                    None => return Err(engine_down("it ended its events").into()),
                },
                _ = list.tick() => {
                    for change in self.list(LOOK_TIMEOUT).await? {
                        self.tell(change).await?;
                    }
                }
            }
        }
    }

    fn options(&self, since: Timestamp) -> EventsOptions {
        let micros = since.0.rem_euclid(1_000_000);
        EventsOptions {
            since: Some(format!("{}.{micros:06}000", since.unix_secs())),
            filters: Some(HashMap::from([
                ("type".to_owned(), vec!["container".to_owned()]),
                ("label".to_owned(), vec![self.label()]),
                ("event".to_owned(), ACTIONS.iter().map(ToString::to_string).collect()),
            ])),
            ..Default::default()
        }
    }

    fn label(&self) -> String {
        format!("{LABEL_INSTANCE}={}", self.instance)
    }

    /// Looks at one container that something happened to; false when it could not be looked at.
    async fn take(&mut self, event: EventMessage) -> Result<bool, End> {
        let Some(id) = event.actor.and_then(|actor| actor.id) else { return Ok(true) };
        match event.action.as_deref() {
            Some("oom") => drop(self.out_of_memory.insert(id.clone())),
            Some("start" | "destroy") => drop(self.out_of_memory.remove(&id)),
            _ => {}
        }
        let change = match self.look(&id, LOOK_TIMEOUT).await? {
            // Told whatever was told before: the engine may have served a call's look, which began after the last one here,
            // before it. Then only this one is newer than what the call saw.
            Look::Found(found) => {
                self.known.insert(id, (*found).clone());
                Some(WatchEvent::Changed(*found))
            }
            Look::Gone => self.removed(&id),
            Look::Busy => return Ok(false),
        };
        if let Some(change) = change {
            self.tell(change).await?;
        }
        Ok(true)
    }

    async fn look(&self, id: &str, patience: Duration) -> Result<Look, LinkError> {
        let inspected = containers::inspect(self.agent.engine(), self.instance, id);
        match tokio::time::timeout(patience, inspected).await {
            Err(_) if patience < super::CALL_TIMEOUT => {
                tracing::debug!(engine.container = id, "the engine is busy with a container");
                Ok(Look::Busy)
            }
            Err(_) => Err(super::timed_out(patience)),
            Ok(Err(error)) if error.code == LinkErrorCode::Conflict => Ok(Look::Gone),
            Ok(found) => Ok(match containers::gone_is_none(found)? {
                None => Look::Gone,
                Some(found) => {
                    let is_oom_killed = found.is_oom_killed || self.out_of_memory.contains(id);
                    Look::Found(Box::new(ObservedContainer { is_oom_killed, ..found }))
                }
            }),
        }
    }

    /// Brings `known` up to date with the engine's list; the differences as events.
    async fn list(&mut self, patience: Duration) -> Result<Vec<WatchEvent>, LinkError> {
        let engine = self.agent.engine();
        let listed = containers::list(engine, self.instance, None).await?;
        let there: HashSet<&str> = listed.iter().map(|(id, _)| id.as_str()).collect();
        let gone: Vec<String> =
            self.known.keys().filter(|id| !there.contains(id.as_str())).cloned().collect();
        let is_news = |id: &str, state: ObservedState| self.known.get(id).is_none_or(|k| k.state != state);
        let news: Vec<&str> =
            listed.iter().filter(|(id, state)| is_news(id, *state)).map(|(id, _)| id.as_str()).collect();
        let mut changes: Vec<WatchEvent> = gone.iter().filter_map(|id| self.removed(id)).collect();
        for some in news.chunks(INSPECTED_TOGETHER) {
            for found in join_all(some.iter().map(|id| self.look(id, patience))).await {
                if let Look::Found(found) = found? {
                    changes.extend(self.changed(*found));
                }
            }
        }
        Ok(changes)
    }

    fn changed(&mut self, found: ObservedContainer) -> Option<WatchEvent> {
        let before = self.known.insert(found.engine_id.clone(), found.clone());
        let is_news = before.is_none_or(|before| !before.is_as(&found));
        is_news.then_some(WatchEvent::Changed(found))
    }

    fn removed(&mut self, engine_id: &str) -> Option<WatchEvent> {
        let known = self.known.remove(engine_id)?;
        Some(WatchEvent::Removed { container: known.container, engine_id: known.engine_id })
    }

    async fn tell(&self, event: WatchEvent) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::NobodyListens)
    }
}
