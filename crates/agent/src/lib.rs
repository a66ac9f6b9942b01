//! Turns link calls into Docker calls on the machine it runs on. It keeps no state of its own but notes of what it would
//! have to clean up: what runs is what the engine says. The server reaches it over a pipe (built in) or over a WebSocket that the agent opens.
//!
//! - `serve`: the calls of the link as an HTTP/2 service on any pipe
//! - `dial`: keeps the connection to a server open, and opens others when they are needed; `door`: carries what the engine asks
//!   of the registry
//! - `membership`: to which server this machine belongs, and the key that proves it; `tls`: recognising that server
//! - `policy`: the machine's own bounds, from a file that only root writes
//! - `facts`: what the machine is; `gpu`: its graphics processors; `processes`: what the kernel says of a process;
//!   `spool`: files on their way
//! - `engine`: everything that is asked of Docker; the only place that names bollard
//! - `backoff`: waits between tries

mod backoff;
mod dial;
mod door;
mod engine;
mod facts;
mod gpu;
pub mod membership;
mod policy;
mod processes;
mod serve;
mod spool;
pub mod tls;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::ids::MachineId;
use wire::machines::MachineFacts;
use wire::policy::Policy;

use crate::dial::Opener;
pub use crate::dial::Server;
use crate::door::Door;
use crate::engine::Engine;
use crate::engine::exec::Execs;
use crate::engine::stats::Pasts;
pub use crate::facts::machine_id;
use crate::gpu::Gpus;
pub use crate::membership::{MachineKey, Membership};
use crate::spool::Spool;

/// How long [`Agent::stopped`] waits for work that is being given up to clean behind itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// What an agent is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The engine's socket, `unix:///…`; none = `/var/run/docker.sock`.
    pub docker: Option<String>,
    /// The registry's address on this machine, `127.0.0.1:5000`.
    pub registry: String,
    /// The machine's own bounds; none = the defaults.
    pub policy_file: Option<PathBuf>,
    /// Who this machine is; none = its `/etc/machine-id`, or an id kept in `state_dir` where there is none.
    pub machine_id: Option<MachineId>,
    /// Where the agent keeps the id of a machine that has none, and notes which commands it holds open.
    pub state_dir: PathBuf,
    /// Where the NVIDIA driver's library is; none = where the system looks for `libnvidia-ml.so.1`.
    pub nvml: Option<PathBuf>,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine's address is not a Unix socket.
    #[error("`{0}` is not an engine's socket: use `unix:///path/to/docker.sock`")]
    Docker(String),
    /// The registry's address is not one.
    #[error("`{0}` is not a registry's address: use `host:port`")]
    Registry(String),
    /// The policy file is not to be trusted or not to be read.
    #[error("policy file `{path}` {problem}")]
    Policy {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// The machine has no id and none could be kept.
    #[error("this machine has no id, and `{path}` could not be written: {source}")]
    MachineId {
        /// Where it would be kept.
        path: PathBuf,
        /// Why it could not.
        source: std::io::Error,
    },
}

/// The agent of one machine. Cheap to clone; ends with the token that it was given.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    execs: Execs,
    pasts: Pasts,
    gpus: Gpus,
    spool: Spool,
    policy: Policy,
    machine_id: MachineId,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Once the agent dials a server.
    opener: OnceLock<Opener>,
    door: Arc<Door>,
}

impl Agent {
    /// Reads the configuration. The engine need not be there yet.
    pub fn new(config: Config, shutdown: CancellationToken) -> Result<Self, Error> {
        let tasks = TaskTracker::new();
        let engine = Engine::new(config.docker.as_deref(), config.registry, tasks.clone())?;
        let policy = policy::load(config.policy_file.as_deref())?;
        let machine_id = match config.machine_id {
            Some(id) => id,
            None => facts::machine_id(&config.state_dir)?,
        };
        let execs = Execs::new(&config.state_dir);
        let inner = Inner {
            engine,
            execs,
            pasts: Pasts::default(),
            gpus: Gpus::start(config.nvml, policy.gpus == 0),
            spool: Spool::new(&config.state_dir),
            policy,
            machine_id,
            tasks,
            shutdown,
            opener: OnceLock::new(),
            door: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who this machine is.
    pub fn machine_id(&self) -> &MachineId {
        &self.inner.machine_id
    }

    /// What this machine is now.
    pub async fn facts(&self) -> MachineFacts {
        facts::gather(self).await
    }

    /// Whether systemd makes the control groups of this machine's containers; none when the engine does not answer.
    pub async fn engine_uses_systemd(&self) -> Option<bool> {
        self.engine().uses_systemd().await.ok()
    }

    /// Runs a task that [`Agent::stopped`] waits for; it must end by itself when the agent is told to stop.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// Whether the agent was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.inner.shutdown.is_cancelled()
    }

    /// Lets go of the connection to the registry if nobody has needed it for five minutes at this moment; the next who does has
    /// another opened.
    pub fn let_go_of_unused(&self, now: Instant) {
        self.inner.door.let_go_of_unused(now);
    }

    /// Waits until everything that the agent had begun is given up and cleaned, at most some seconds. Call it after the
    /// token is cancelled; what is left then is found by the next `CleanBuilds`.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.inner.tasks.len(), "the agent stops before its work is cleaned up");
        }
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    fn pasts(&self) -> &Pasts {
        &self.inner.pasts
    }

    fn execs(&self) -> &Execs {
        &self.inner.execs
    }

    fn gpus(&self) -> &Gpus {
        &self.inner.gpus
    }

    fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    fn opener(&self) -> Option<&Opener> {
        self.inner.opener.get()
    }

    fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }
}
