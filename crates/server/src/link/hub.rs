//! The connections to agents, each an HTTP/2 client on a pipe: control, which is there all the time, and bulk, which the agent
//! is asked for when it is needed. A newer connection of a machine replaces the older one, which may be half open and not know
//! it yet; another process of its agent ends everything that the former one held. One look a second over all of them finds who is
//! silent and what nobody needs, because a timer for each of a thousand would cost more than all else that they do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use futures::FutureExt;
use futures::future::{Either, pending, poll_fn};
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::ids::{AgentProcessId, MachineId};
use wire::link::{Channel, OpenBulk};

use super::call::CallError;

/// What an agent may send ahead of one reader that is slow. Logs and progress need no more.
const STREAM_WINDOW: u32 = 256 << 10;
/// What an agent may send ahead of all readers. Readers that stand still keep their share of it, and when they have all
/// of it the whole connection stands still: so it holds 64 of them, and costs memory only when there are as many.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Of a build context on its way to a slow machine.
const SEND_BUFFER: usize = 1 << 20;
const FRAME_BYTES: u32 = 64 << 10;
/// An agent answers with a handful.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// A machine over whose control connection nothing comes for so long cannot be reached: agents ask every six seconds whether they
/// are heard, or tell that they live.
const SILENCE: Duration = Duration::from_secs(15);
/// How often it is looked who is silent, and what nobody needs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look that comes so late was held up together with everything else, and what machines said meanwhile may not be read yet.
const LATE: Duration = Duration::from_secs(3);
/// A pipe that answers no ping is dead, whatever its socket says. For the other connections, on which agents may say nothing.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an agent may take to open a connection that it is asked for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// A bulk connection that nobody asked for in so long is let go of; what is still under way on it comes to its end.
const UNUSED: Duration = Duration::from_mins(5);
/// Sockets at the same time that have not proved yet whose they are: whoever opens them may be anybody.
const MAX_UNPROVEN: usize = 256;

/// Who is connected. Cheap to clone; every clone is the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Mutex<Connections>,
    /// Counts changes of who is connected.
    changes: watch::Sender<u64>,
    unproven: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Connections {
    /// Given to the next connection.
    epoch: u64,
    by_machine: BTreeMap<(MachineId, Channel), Connection>,
    /// Those on which nobody calls, by epoch: the registry's, and what is to come to its end.
    others: BTreeMap<u64, Other>,
    /// This host's own machine, whose agent is in this process.
    host: Option<MachineId>,
    /// Cancelled when a machine is expelled.
    welcomes: BTreeMap<MachineId, CancellationToken>,
    /// Held while an agent is asked for its bulk connection, so that nobody asks twice.
    opening: BTreeMap<MachineId, Arc<tokio::sync::Mutex<()>>>,
}

struct Connection {
    epoch: u64,
    /// Which process of the agent holds it; none in this process.
    process: Option<AgentProcessId>,
    sender: SendRequest<Bytes>,
    /// When it was last asked for.
    used_at: Instant,
    /// When something last came over it; none where that is not asked.
    heard_at: Option<Moment>,
    cut: Cut,
}

type Moment = Arc<Mutex<Instant>>;

/// A connection on which nobody calls.
struct Other {
    machine: MachineId,
    process: Option<AgentProcessId>,
    cut: Cut,
}

/// Ends a connection, and says why.
#[derive(Clone, Default)]
struct Cut {
    reason: Arc<OnceLock<&'static str>>,
    token: CancellationToken,
}

impl Cut {
    fn because(&self, reason: &'static str) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    async fn reason(&self) -> &'static str {
        self.token.cancelled().await;
        self.reason.get().copied().unwrap_or_default()
    }
}

/// Why connections are ended from this side.
const REPLACED: &str = "a newer one replaced it";
const OTHER_PROCESS: &str = "another process of the machine's agent has connected";
const NOT_WELCOME: &str = "its machine may not connect any more";
const SILENT: &str = "its machine was silent for 15 seconds";

/// Why a pipe did not become a connection.
#[derive(Debug, thiserror::Error)]
#[error("the agent on machine `{machine}` does not speak the link's protocol: {reason}")]
pub struct AttachError {
    machine: MachineId,
    reason: String,
}

impl Hub {
    /// A hub without machines. Its connections end with `shutdown`; their tasks and its own are counted in `tasks`.
    pub fn new(tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let connections = Mutex::new(Connections::default());
        let changes = watch::Sender::new(0);
        let unproven = Arc::new(Semaphore::new(MAX_UNPROVEN));
        let inner = Arc::new(Inner { connections, changes, unproven, tasks, shutdown });
        inner.tasks.spawn(look_after(Arc::downgrade(&inner), inner.shutdown.clone()));
        Self { inner }
    }

    /// Uses a pipe to an agent in this process, which is this host's.
    pub async fn attach<IO>(&self, machine: MachineId, channel: Channel, io: IO) -> Result<(), AttachError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.attach_process(machine, channel, None, io).await
    }

    /// Uses a pipe to an agent as the machine's connection until the pipe ends, a newer one replaces it or the hub shuts
    /// down. Whoever calls this has made sure that it is that machine's agent.
    pub async fn attach_process<IO>(
        &self,
        machine: MachineId,
        channel: Channel,
        process: Option<AgentProcessId>,
        io: IO,
    ) -> Result<(), AttachError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let refuse = |reason: String| AttachError { machine: machine.clone(), reason };
        let heard_at = Arc::new(Mutex::new(Instant::now()));
        let hearing = Arc::clone(&heard_at);
        let io = InspectReader::new(io, move |_: &[u8]| *locked(&hearing) = Instant::now());
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .enable_push(false);
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake(io));
        let (sender, mut connection) = handshake
            .await
            .map_err(|_| refuse(format!("it was silent for {} seconds", HANDSHAKE_TIMEOUT.as_secs())))?
            .map_err(|error| refuse(error.to_string()))?;

        // An agent of another process asks on control itself, and that is its sign of life.
        let is_listened_to = channel == Channel::Control && process.is_some();
        let silence = match connection.ping_pong().filter(|_| !is_listened_to) {
            Some(pings) => Either::Left(unanswered(pings, Arc::clone(&heard_at))),
            None => Either::Right(pending()),
        };
        let cut = Cut::default();
        let heard_at = is_listened_to.then_some(heard_at);
        let used_at = Instant::now();
        let made = Connection { epoch: 0, process, sender, used_at, heard_at, cut: cut.clone() };
        let epoch = self.insert(&machine, channel, made);
        let name = channel.as_str();
        tracing::info!(machine.id = %machine, link.channel = name, link.epoch = epoch, "machine connected");
        let reason = tokio::select! {
            ended = connection => ended.map_or_else(|error| error.to_string(), |()| "it said goodbye".to_owned()),
            () = silence => "it answers no ping".to_owned(),
            reason = cut.reason() => reason.to_owned(),
            () = self.inner.shutdown.cancelled() => "the server stops".to_owned(),
        };
        self.remove(&machine, channel, epoch);
        tracing::info!(machine.id = %machine, link.channel = name, link.epoch = epoch, "connection ended: {reason}");
        Ok(())
    }

    /// Lets a machine's registry connection be served until that ends, another process of its agent has connected, or the machine
    /// may not connect any more. Whoever calls this has made sure that it is that machine's agent.
    pub async fn attach_registry(
        &self,
        machine: &MachineId,
        process: AgentProcessId,
        serving: impl Future<Output = ()>,
    ) {
        let cut = Cut::default();
        let other = Other { machine: machine.clone(), process: Some(process), cut: cut.clone() };
        let epoch = {
            let mut connections = self.connections();
            if connections.is_of_another_process(machine, Some(process)) {
                cut.because(OTHER_PROCESS);
            }
            connections.next_epoch_of(other)
        };
        tokio::select! {
            biased;
            reason = cut.reason() => {
                tracing::info!(machine.id = %machine, link.epoch = epoch, "registry connection ended: {reason}");
            }
            () = serving => {}
        }
        self.connections().others.remove(&epoch);
    }

    /// The machines that can be called.
    pub fn connected(&self) -> Vec<MachineId> {
        let connections = self.connections();
        let machines = connections.by_machine.keys().filter(|(_, channel)| *channel == Channel::Control);
        machines.map(|(machine, _)| machine).cloned().collect()
    }

    /// A place for a socket that has not proved yet whose it is; none when there are enough of them.
    pub fn unproven(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.inner.unproven).try_acquire_owned().ok()
    }

    /// Ended when the server is to end.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    /// Says which machine is this host's own.
    pub fn set_host(&self, machine: MachineId) {
        self.connections().host = Some(machine);
    }

    /// This host's own machine; none when its engine is not used.
    pub fn host(&self) -> Option<MachineId> {
        self.connections().host.clone()
    }

    /// The process of the agent that holds a machine's connections; none when there are none.
    pub fn process(&self, machine: &MachineId) -> Option<AgentProcessId> {
        let key = (machine.clone(), Channel::Control);
        self.connections().by_machine.get(&key).and_then(|connection| connection.process)
    }

    /// Ends the connections that a process of a machine's agent holds.
    pub fn disconnect(&self, machine: &MachineId, process: AgentProcessId) {
        self.end(OTHER_PROCESS, |holder, of| holder == machine && of == Some(process));
    }

    /// Ends all connections of a machine that is not this host's own, and those that are just being made: it may not
    /// connect any more. Whoever calls this has written that down before.
    pub fn expel(&self, machine: &MachineId) {
        if let Some(welcome) = self.connections().welcomes.remove(machine) {
            welcome.cancel();
        }
        self.end(NOT_WELCOME, |holder, of| holder == machine && of.is_some());
    }

    /// What is cancelled when a machine is expelled. Taken before it is read whether the machine may connect, it leaves no
    /// moment in which an expelled one slips in. Only for machines that have shown their key: one is kept for each.
    pub fn welcome(&self, machine: &MachineId) -> CancellationToken {
        self.connections().welcomes.entry(machine.clone()).or_default().clone()
    }

    fn end(&self, reason: &'static str, is_meant: impl Fn(&MachineId, Option<AgentProcessId>) -> bool) {
        self.connections().cut_others(reason, &is_meant);
        self.cut(reason, |machine, connection| is_meant(machine, connection.process));
    }

    fn cut(&self, reason: &'static str, is_meant: impl Fn(&MachineId, &Connection) -> bool) {
        let mut connections = self.connections();
        let before = connections.by_machine.len();
        connections.by_machine.retain(|(machine, _), connection| {
            let is_meant = is_meant(machine, connection);
            if is_meant {
                connection.cut.because(reason);
            }
            !is_meant
        });
        let has_changed = connections.by_machine.len() != before;
        drop(connections);
        if has_changed {
            self.inner.changes.send_modify(|count| *count += 1);
        }
    }

    /// Ends the control connections over which nothing has come for fifteen seconds at this moment.
    pub fn end_silent(&self, now: Instant) {
        let is_silent = |heard_at: &Moment| now.saturating_duration_since(*locked(heard_at)) >= SILENCE;
        self.cut(SILENT, |_, connection| connection.heard_at.as_ref().is_some_and(is_silent));
    }

    /// Lets go of the bulk connections that nobody has asked for in five minutes at this moment. What is under way on one comes to
    /// its end.
    pub fn let_go_of_unused(&self, now: Instant) {
        let mut connections = self.connections();
        let is_unused = |channel: Channel, connection: &Connection| {
            // The one in this process costs nothing.
            let is_opened_on_demand = channel == Channel::Bulk && connection.process.is_some();
            is_opened_on_demand && now.saturating_duration_since(connection.used_at) >= UNUSED
        };
        let unused = connections.by_machine.extract_if(.., |(_, channel), held| is_unused(*channel, held));
        let unused: Vec<_> = unused.collect();
        for ((machine, _), connection) in unused {
            tracing::debug!(machine.id = %machine, link.epoch = connection.epoch, "nobody needs a bulk connection any more");
            // Without the last way to it a connection ends by itself, after what is under way on it.
            connections.leave(machine, connection);
        }
    }

    /// Changes whenever a machine comes, goes or comes back.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The way to send a machine something; its bulk connection is opened for that.
    pub(super) async fn sender(
        &self,
        machine: &MachineId,
        channel: Channel,
    ) -> Result<SendRequest<Bytes>, CallError> {
        if let Some(sender) = self.ready(machine, channel) {
            return Ok(sender);
        }
        if channel != Channel::Bulk {
            return Err(CallError::NotConnected);
        }
        let opening = Arc::clone(self.connections().opening.entry(machine.clone()).or_default());
        let _only = opening.lock().await;
        if let Some(sender) = self.ready(machine, channel) {
            return Ok(sender);
        }
        let mut changes = self.subscribe();
        if !self.is_of_this_process(machine) {
            // A call on control, which is never opened here.
            Box::pin(self.call(machine, &OpenBulk {}, OPEN_TIMEOUT)).await.map_err(|error| {
                tracing::warn!(machine.id = %machine, "a machine's bulk connection could not be opened: {error}");
                // Nothing was begun on it.
                CallError::NotConnected
            })?;
        }
        let attached = async {
            loop {
                changes.borrow_and_update();
                if let Some(sender) = self.ready(machine, channel) {
                    return Ok(sender);
                }
                // The hub keeps the other end.
                if changes.changed().await.is_err() {
                    return Err(CallError::NotConnected);
                }
            }
        };
        tokio::time::timeout(HANDSHAKE_TIMEOUT, attached).await.map_err(|_| CallError::NotConnected)?
    }

    /// Whether a machine's agent is in this process, and keeps both connections without being asked.
    fn is_of_this_process(&self, machine: &MachineId) -> bool {
        let key = (machine.clone(), Channel::Control);
        self.connections().by_machine.get(&key).is_some_and(|connection| connection.process.is_none())
    }

    /// The way over a connection that is there.
    fn ready(&self, machine: &MachineId, channel: Channel) -> Option<SendRequest<Bytes>> {
        let key = (machine.clone(), channel);
        let mut connections = self.connections();
        let connection = connections.by_machine.get_mut(&key)?;
        // That it has said goodbye is told at once; what may still be waited for is none of this.
        poll_fn(|context| connection.sender.poll_ready(context)).now_or_never().transpose().ok()?;
        connection.used_at = Instant::now();
        Some(connection.sender.clone())
    }

    /// Starts what belongs to a call and ends with its connection.
    pub(super) fn spawn(&self, work: impl Future<Output: Send> + Send + 'static) {
        self.inner.tasks.spawn(work);
    }

    fn insert(&self, machine: &MachineId, channel: Channel, made: Connection) -> u64 {
        let mut connections = self.connections();
        connections.epoch += 1;
        let (epoch, process) = (connections.epoch, made.process);
        let made = Connection { epoch, ..made };
        let is_control = channel == Channel::Control;
        if !is_control && connections.is_of_another_process(machine, process) {
            // It was on its way when its process's successor came.
            made.cut.because(OTHER_PROCESS);
            connections.leave(machine.clone(), made);
            return epoch;
        }
        if let Some(older) = connections.by_machine.insert((machine.clone(), channel), made) {
            older.cut.because(REPLACED);
        }
        // A machine that connects anew has lost what it had, or will notice that it has: what is new does not go that way. What is
        // under way on it may come to its end, unless that was another process.
        if is_control && process.is_some() {
            let bulk = (machine.clone(), Channel::Bulk);
            if let Some(left) = connections.by_machine.remove(&bulk) {
                connections.leave(machine.clone(), left);
            }
            connections.cut_others(OTHER_PROCESS, &|holder, of| holder == machine && of != process);
        }
        drop(connections);
        self.inner.changes.send_modify(|count| *count += 1);
        epoch
    }

    fn remove(&self, machine: &MachineId, channel: Channel, epoch: u64) {
        let mut connections = self.connections();
        connections.others.remove(&epoch);
        if connections.take(machine, channel, epoch).is_none() {
            return;
        }
        drop(connections);
        self.inner.changes.send_modify(|count| *count += 1);
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        locked(&self.inner.connections)
    }
}

impl Connections {
    /// Whether a machine's control connection is held by another process than this one.
    fn is_of_another_process(&self, machine: &MachineId, process: Option<AgentProcessId>) -> bool {
        let control = self.by_machine.get(&(machine.clone(), Channel::Control));
        control.is_some_and(|control| control.process != process)
    }

    /// Takes out a connection; none when a newer one has taken its place.
    fn take(&mut self, machine: &MachineId, channel: Channel, epoch: u64) -> Option<Connection> {
        let key = (machine.clone(), channel);
        self.by_machine.get(&key).filter(|held| held.epoch == epoch)?;
        self.by_machine.remove(&key)
    }

    /// Nobody calls on a connection any more.
    fn leave(&mut self, machine: MachineId, Connection { epoch, process, cut, .. }: Connection) {
        self.others.insert(epoch, Other { machine, process, cut });
    }

    /// Takes in a connection on which nobody calls; its epoch.
    fn next_epoch_of(&mut self, other: Other) -> u64 {
        self.epoch += 1;
        self.others.insert(self.epoch, other);
        self.epoch
    }

    fn cut_others(
        &self,
        reason: &'static str,
        is_meant: &dyn Fn(&MachineId, Option<AgentProcessId>) -> bool,
    ) {
        self.others
            .values()
            .filter(|other| is_meant(&other.machine, other.process))
            .for_each(|other| other.cut.because(reason));
    }
}

/// Looks once a second at all connections of a hub, as long as there is one.
async fn look_after(hub: Weak<Inner>, shutdown: CancellationToken) {
    loop {
        let due = Instant::now() + LOOK_EVERY;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        let Some(inner) = hub.upgrade() else { return };
        let (hub, now) = (Hub { inner }, Instant::now());
        if now < due + LATE {
            hub.end_silent(now);
            hub.let_go_of_unused(now);
        }
    }
}

/// Ends when a connection on which nothing came for a while answers no ping either.
async fn unanswered(mut pings: PingPong, heard_at: Moment) {
    loop {
        let due = *locked(&heard_at) + PING_EVERY;
        if Instant::now() < due {
            tokio::time::sleep_until(due).await;
            continue;
        }
        match tokio::time::timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // A connection that has ended says so itself.
            Ok(Err(_)) => pending().await,
            Err(_) => return,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
