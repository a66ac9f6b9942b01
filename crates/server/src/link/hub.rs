//! The connections to agents: one pair (control, bulk) per machine, each an HTTP/2 client on a pipe. A newer connection of
//! a machine replaces the older one, which may be half open and not know it yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::ids::MachineId;
use wire::link::Channel;

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

/// Who is connected. Cheap to clone; every clone is the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Mutex<Connections>,
    /// Counts changes of who is connected.
    changes: watch::Sender<u64>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Connections {
    /// Given to the next connection.
    epoch: u64,
    by_machine: BTreeMap<(MachineId, Channel), Connection>,
}

struct Connection {
    epoch: u64,
    sender: SendRequest<Body>,
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
        Self { inner: Arc::new(Inner { connections, changes, tasks, shutdown }) }
    }

    /// Uses a pipe to an agent as the machine's connection until the pipe ends, a newer one replaces it or the hub shuts
    /// down. Whoever calls this has made sure that it is that machine's agent.
    pub async fn attach<IO>(&self, machine: MachineId, channel: Channel, io: IO) -> Result<(), AttachError>
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
        let epoch = self.insert(&machine, channel, sender, replaced.clone());
        let name = channel.as_str();
        tracing::info!(machine.id = %machine, link.channel = name, link.epoch = epoch, "machine connected");
        let reason = tokio::select! {
            ended = connection => ended.map_or_else(|error| error.to_string(), |()| "it said goodbye".to_owned()),
            () = replaced.cancelled() => "a newer connection replaced it".to_owned(),
            () = self.inner.shutdown.cancelled() => "the server stops".to_owned(),
        };
        self.remove(&machine, channel, epoch);
        tracing::info!(machine.id = %machine, link.channel = name, link.epoch = epoch, "connection ended: {reason}");
        Ok(())
    }

    /// The machines that can be called: those with both connections.
    pub fn connected(&self) -> Vec<MachineId> {
        let connections = self.connections();
        let has_bulk =
            |machine: &MachineId| connections.by_machine.contains_key(&(machine.clone(), Channel::Bulk));
        let machines = connections.by_machine.keys().filter(|(_, channel)| *channel == Channel::Control);
        machines.map(|(machine, _)| machine).filter(|machine| has_bulk(machine)).cloned().collect()
    }

    /// Changes whenever a machine comes, goes or comes back.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    pub(super) fn sender(&self, machine: &MachineId, channel: Channel) -> Option<SendRequest<Body>> {
        let key = (machine.clone(), channel);
        self.connections().by_machine.get(&key).map(|connection| connection.sender.clone())
    }

    fn insert(
        &self,
        machine: &MachineId,
        channel: Channel,
        sender: SendRequest<Body>,
        replaced: CancellationToken,
    ) -> u64 {
        let mut connections = self.connections();
        connections.epoch += 1;
        let epoch = connections.epoch;
        let connection = Connection { epoch, sender, replaced };
        if let Some(older) = connections.by_machine.insert((machine.clone(), channel), connection) {
            older.replaced.cancel();
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
