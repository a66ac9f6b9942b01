//! What containers use: the last hour as their machine remembers it, and each second while somebody looks.

use std::collections::HashMap;
use std::time::Duration;

use futures::Stream;
use futures::future::join_all;
use store::containers::{self, Desired, Row};
use wire::container_uses::{ContainerUseView, ReadUses};
use wire::containers::{ContainerSample, ContainerState, ContainerStatsView};
use wire::ids::MachineId;
use wire::link::{ContainerStats, LinkErrorCode, StatsEvent};
use wire::page::PageQuery;

use super::containers::{find, may_still_read};
use super::logs::follow;
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::link::{CallError, EventStream};
use crate::streams::Place;

/// How long a first sample may take: it is the difference of two, a second apart.
const FIRST_SAMPLE: Duration = Duration::from_secs(5);
/// How often it is looked whether the reader may still read, and whether a container has been made.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a machine may take to say what it remembers; a list does not wait for one that hangs.
const USES_TIMEOUT: Duration = Duration::from_secs(3);
/// Containers looked at together.
const USES_MAX: u64 = 2048;

type Events = EventStream<StatsEvent>;

/// A container that its reader may look at.
pub struct Stats {
    row: Row,
    events: Option<Events>,
    caller: Caller,
    _place: Place,
}

/// What the containers that run were last seen to use: the caller's own, or everybody's for an admin. Those of which nothing is
/// known yet, or whose machine does not answer, are left out.
pub async fn uses(app: &App, caller: &Caller, is_all: bool) -> Result<Vec<ContainerUseView>> {
    if is_all && !caller.is_admin() {
        return Err(Error::forbidden(
            "admin_only",
            "only an admin can see what every account's containers use",
        ));
    }
    let filter = containers::Filter {
        account: (!is_all).then_some(caller.account),
        machine: None,
        image: None,
        state: Some(ContainerState::Running),
        search: None,
    };
    let page = PageQuery { limit: Some(USES_MAX), offset: None };
    let running = containers::list(&app.db, filter, page).await?.rows;
    let mut machines: HashMap<MachineId, Vec<Row>> = HashMap::new();
    for (row, _) in running {
        machines.entry(row.machine_id.clone()).or_default().push(row);
    }
    let asked = machines.into_iter().map(|(machine, rows)| async move {
        let call = ReadUses { instance: app.instance };
        let seen = match app.hub.call(&machine, &call, USES_TIMEOUT).await {
            Ok(done) => done.containers.into_iter().collect::<HashMap<_, _>>(),
            Err(error) => {
                tracing::debug!(machine.id = %machine, %error, "what its containers use is not known");
                HashMap::new()
            }
        };
        let view = |row: Row| {
            let sample = *seen.get(row.engine_id.as_deref()?)?;
            Some(ContainerUseView { container_id: row.id, name: row.name, sample })
        };
        rows.into_iter().filter_map(view).collect::<Vec<_>>()
    });
    let mut views = join_all(asked).await.concat();
    views.sort_by_key(|view| view.container_id);
    Ok(views)
}

/// What it used and uses, once.
pub async fn get(app: &App, caller: &Caller, id: &str) -> Result<ContainerStatsView> {
    let row = find(app, caller, id).await?;
    let mut view = ContainerStatsView { state: row.state, history: Vec::new(), current: None };
    let Some(mut events) = begin(app, &row).await? else { return Ok(view) };
    let wait = tokio::time::sleep(FIRST_SAMPLE);
    let mut wait = std::pin::pin!(wait);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = wait.as_mut() => None,
        };
        match event.transpose()? {
            None => return Ok(view),
            Some(StatsEvent::History(history)) => {
                view.history = history;
                if row.state != ContainerState::Running {
                    return Ok(view);
                }
            }
            Some(StatsEvent::Sample(sample)) => {
                view.current = Some(sample);
                return Ok(view);
            }
            Some(StatsEvent::Failed(error)) => return Err(error.into()),
        }
    }
}

/// Decides about looking on and begins it. What can be said at once is said here.
pub async fn open(app: &App, caller: &Caller, id: &str) -> Result<Stats> {
    let row = find(app, caller, id).await?;
    let place = follow(app, caller)?;
    let events = begin(app, &row).await?;
    Ok(Stats { row, events, caller: caller.clone(), _place: place })
}

/// None when the machine has no such container (yet, or any more).
async fn begin(app: &App, row: &Row) -> Result<Option<Events>> {
    if row.engine_id.is_none() {
        return Ok(None);
    }
    let call = ContainerStats { instance: app.instance, container: row.id };
    match app.hub.stream(&row.machine_id, &call, None).await {
        Ok(events) => Ok(Some(events)),
        Err(CallError::Refused(error)) if error.code == LinkErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A piece of what is looked at.
pub enum Piece {
    /// The first: the last hour.
    History(Vec<ContainerSample>),
    /// Each second while it runs.
    Sample(ContainerSample),
}

impl Stats {
    /// Goes on until the container is deleted or its reader may not look any more; dropping it ends the looking on the
    /// machine.
    pub fn pieces(self, app: &App) -> impl Stream<Item = Result<Piece>> + Send + use<> {
        let app = app.clone();
        async_stream::try_stream! {
            // All of it, with its place.
            let mut stats = self;
            if stats.events.is_none() {
                stats.events = stats.made(&app).await?;
            }
            let Some(mut events) = stats.events.take() else { return };
            let mut timer = tokio::time::interval(LOOK_INTERVAL);
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    _ = timer.tick() => {
                        if may_still_read(&app, &stats.caller, &stats.row).await { continue }
                        None
                    }
                    () = app.shutdown.cancelled() => None,
                };
                match event {
                    None => return,
                    Some(Ok(StatsEvent::History(history))) => yield Piece::History(history),
                    Some(Ok(StatsEvent::Sample(sample))) => yield Piece::Sample(sample),
                    Some(Ok(StatsEvent::Failed(error))) => Err(Error::from(error))?,
                    Some(Err(error)) => Err(Error::from(error))?,
                }
            }
        }
    }

    /// Waits until the container has been made; none when it never will be.
    async fn made(&self, app: &App) -> Result<Option<Events>> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = app.shutdown.cancelled() => return Ok(None),
            }
            let now = containers::get(&app.db, self.row.id).await?;
            let Some(now) = now.filter(|row| row.desired != Desired::Deleted) else { return Ok(None) };
            if !may_still_read(app, &self.caller, &self.row).await {
                return Ok(None);
            }
            if let Some(events) = begin(app, &now).await? {
                return Ok(Some(events));
            }
        }
    }
}
