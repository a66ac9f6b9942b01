//! The connections to agents, each an HTTP/2 client on a pipe: control, which is there all the time, and bulk, which the agent
//! is asked for when it is needed. A newer connection of a machine replaces the older one, which may be half open and not know
//! it yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
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
/// A pipe that answers no ping is dead, whatever its socket says.
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
    sender: SendRequest<Body>,
    /// When it was last asked for.
    used_at: Instant,
    /// Ends this connection when a newer one has come.
    replaced: CancellationToken,
}

/// Why a pipe did not become a connection.
#[derive(Debug, thiserror::Error)]
#[error("the agent on machine `{machine}` does not speak the link's protocol: {reason}")]
pub struct AttachError {
    machine: MachineId,
    reason: String,
}

impl Hub {
    /// A hub without machines. Its connections end with `shutdown`; their tasks are counted in `tasks`.
    pub fn new(tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let connections = Mutex::new(Connections::default());
        let changes = watch::Sender::new(0);
        let unproven = Arc::new(Semaphore::new(MAX_UNPROVEN));
        Self { inner: Arc::new(Inner { connections, changes, unproven, tasks, shutdown }) }
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
        let ended = CancellationToken::new();
        let _end = ended.clone().drop_guard();
        let mut builder = Builder::new(Tracked { tasks: self.inner.tasks.clone(), ended });
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_frame_size(FRAME_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake(TokioIo::new(io)));
        let (sender, connection) = handshake
            .await
            .map_err(|_| refuse(format!("it was silent for {} seconds", HANDSHAKE_TIMEOUT.as_secs())))?
            .map_err(|error| refuse(error.to_string()))?;

        let replaced = CancellationToken::new();
        let epoch = self.insert(&machine, channel, process, sender, replaced.clone());
        let name = channel.as_str();
        tracing::info!(machine.id = %machine, link.channel = name, link.epoch = epoch, "machine connected");
        let is_opened_on_demand = channel == Channel::Bulk && process.is_some();
        let unused = async {
            if is_opened_on_demand {
                self.unused(&machine, channel, epoch).await;
                // Without the last way to it a connection ends by itself, after what is under way on it.
                self.remove(&machine, channel, epoch);
            }
            std::future::pending::<()>().await;
        };
        let reason = tokio::select! {
            ended = connection => ended.map_or_else(|error| error.to_string(), |()| "it said goodbye".to_owned()),
            () = replaced.cancelled() => "a newer one replaced it, or its machine may not connect any more".to_owned(),
            () = self.inner.shutdown.cancelled() => "the server stops".to_owned(),
            () = unused => "nobody used it".to_owned(),
        };
        self.remove(&machine, channel, epoch);
        tracing::info!(machine.id = %machine, link.channel = name, link.epoch = epoch, "connection ended: {reason}");
        Ok(())
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
        self.end(|holder, connection| holder == machine && connection.process == Some(process));
    }

    /// Ends all connections of a machine that is not this host's own, and those that are just being made: it may not
    /// connect any more. Whoever calls this has written that down before.
    pub fn expel(&self, machine: &MachineId) {
        if let Some(welcome) = self.connections().welcomes.remove(machine) {
            welcome.cancel();
        }
        self.end(|holder, connection| holder == machine && connection.process.is_some());
    }

    /// What is cancelled when a machine is expelled. Taken before it is read whether the machine may connect, it leaves no
    /// moment in which an expelled one slips in. Only for machines that have shown their key: one is kept for each.
    pub fn welcome(&self, machine: &MachineId) -> CancellationToken {
        self.connections().welcomes.entry(machine.clone()).or_default().clone()
    }

    fn end(&self, is_meant: impl Fn(&MachineId, &Connection) -> bool) {
        let mut connections = self.connections();
        let before = connections.by_machine.len();
        connections.by_machine.retain(|(holder, _), connection| {
            let is_meant = is_meant(holder, connection);
            if is_meant {
                connection.replaced.cancel();
            }
            !is_meant
        });
        let has_changed = connections.by_machine.len() != before;
        drop(connections);
        if has_changed {
            self.inner.changes.send_modify(|count| *count += 1);
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
    ) -> Result<SendRequest<Body>, CallError> {
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
        // A call on control, which is never opened here.
        Box::pin(self.call(machine, &OpenBulk {}, OPEN_TIMEOUT)).await.map_err(|error| {
            tracing::warn!(machine.id = %machine, "a machine's bulk connection could not be opened: {error}");
            // Nothing was begun on it.
            CallError::NotConnected
        })?;
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

    /// The way over a connection that is there.
    fn ready(&self, machine: &MachineId, channel: Channel) -> Option<SendRequest<Body>> {
        let key = (machine.clone(), channel);
        let mut connections = self.connections();
        let connection = connections.by_machine.get_mut(&key).filter(|it| !it.sender.is_closed())?;
        connection.used_at = Instant::now();
        Some(connection.sender.clone())
    }

    /// Returns when nobody has asked for a connection for [`UNUSED`].
    async fn unused(&self, machine: &MachineId, channel: Channel, epoch: u64) {
        let key = (machine.clone(), channel);
        loop {
            let used_at = {
                let connections = self.connections();
                connections.by_machine.get(&key).filter(|it| it.epoch == epoch).map(|it| it.used_at)
            };
            match used_at.map(|used_at| used_at + UNUSED) {
                Some(due) if due > Instant::now() => tokio::time::sleep_until(due).await,
                Some(_) | None => return,
            }
        }
    }

    fn insert(
        &self,
        machine: &MachineId,
        channel: Channel,
        process: Option<AgentProcessId>,
        sender: SendRequest<Body>,
        replaced: CancellationToken,
    ) -> u64 {
        let mut connections = self.connections();
        connections.epoch += 1;
        let epoch = connections.epoch;
        let connection = Connection { epoch, process, sender, used_at: Instant::now(), replaced };
        if let Some(older) = connections.by_machine.insert((machine.clone(), channel), connection) {
            older.replaced.cancel();
        }
        // A machine that connects anew has lost what it had, or will notice that it has: what is new does not go that way. What is
        // under way on it may come to its end, unless that was another process.
        let bulk = (machine.clone(), Channel::Bulk);
        let is_new = channel == Channel::Control && process.is_some();
        if is_new
            && let Some(left) = connections.by_machine.remove(&bulk).filter(|left| left.process != process)
        {
            left.replaced.cancel();
        }
        drop(connections);
        self.inner.changes.send_modify(|count| *count += 1);
        epoch
    }

    fn remove(&self, machine: &MachineId, channel: Channel, epoch: u64) {
        let key = (machine.clone(), channel);
        let mut connections = self.connections();
        // A newer one may have taken its place.
        if connections.by_machine.get(&key).is_none_or(|connection| connection.epoch != epoch) {
            return;
        }
        connections.by_machine.remove(&key);
        drop(connections);
        self.inner.changes.send_modify(|count| *count += 1);
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs hyper's own tasks among the hub's and ends them with their connection: they hold the pipe, and a call that waits
/// on a connection that was replaced must learn of it.
#[derive(Clone)]
struct Tracked {
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move { ended.run_until_cancelled(task).await });
    }
}
