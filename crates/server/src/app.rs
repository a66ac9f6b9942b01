//! Everything that the server's parts share, built once at start and passed along: there is no global state, and two
//! servers run in one test process.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use ring::rand::SystemRandom;
use store::Db;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::ids::{AccountId, InstanceId};
use wire::time::Timestamp;

use crate::blobs::Blobs;
use crate::caller::Caller;
use crate::chart_pages::ChartPages;
use crate::chart_syncs::ChartSyncs;
use crate::clients::helm::Helm;
use crate::clients::http_out::Outbound;
use crate::clients::kube::Clusters;
use crate::clients::registry::Registry;
use crate::config::Config;
use crate::disk_uses::DiskUses;
use crate::gpu_readings::GpuReadings;
use crate::jobs::JobSignal;
use crate::keys::Keys;
use crate::limits::Limiter;
use crate::link::Hub;
use crate::operation_logs::OperationLogs;
use crate::passwords::Passwords;
use crate::pulls::Pulls;
use crate::streams::Streams;
use crate::terminals::Terminals;
use crate::tls::Tls;

/// A handle on the server's shared parts; cloning it is cheap.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// The parts.
pub struct Inner {
    /// The settings.
    pub config: Config,
    /// The store.
    pub db: Db,
    /// The machines that are connected.
    pub hub: Hub,
    /// What their graphics processors do.
    pub gpu_readings: GpuReadings,
    /// What is held on the machines' disks, as it was counted last.
    pub disk_uses: DiskUses,
    /// How far their fetches of images have come.
    pub pulls: Pulls,
    /// The Kubernetes clusters to which there is a client.
    pub clusters: Clusters,
    /// The installation's keys.
    pub keys: Keys,
    /// How the server's port is protected.
    pub tls: Tls,
    /// The time.
    pub clock: Clock,
    /// Random numbers.
    pub random: SystemRandom,
    /// Files beside the database.
    pub blobs: Blobs,
    /// Password hashing.
    pub passwords: Passwords,
    /// How many tries are left.
    pub limits: Limits,
    /// Tokens looked up a moment ago.
    pub callers: CallerCache,
    /// This installation's id.
    pub instance: InstanceId,
    /// The registry.
    pub registry: Registry,
    /// Logs of operations, live.
    pub operation_logs: OperationLogs,
    /// Streams that are followed.
    pub streams: Streams,
    /// Places of those who read and write files of containers.
    pub transfers: Streams,
    /// Places of those who are connected to ports of pods.
    pub port_forwards: Streams,
    /// Open terminals.
    pub terminals: Terminals,
    /// Wakes workers and reconcilers.
    pub signals: Signals,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Tasks that [`App::spawn`] started.
    pub tasks: TaskTracker,
    /// Cancelled when the server is to end.
    pub shutdown: CancellationToken,
    /// Fetches from addresses that people give.
    pub outbound: Outbound,
    /// Pages of the catalogue that were looked at a moment ago.
    pub chart_pages: ChartPages,
    /// Syncs of chart repositories that go on.
    pub chart_syncs: ChartSyncs,
    /// Helm on this host.
    pub helm: Helm,
}

impl App {
    /// Wraps the parts.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Starts a task that belongs to the server: it is waited for at the end, and must end when `shutdown` is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The time, which tests can move.
#[derive(Debug, Default)]
pub struct Clock {
    offset_micros: AtomicI64,
}

impl Clock {
    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        let now = chrono::Utc::now().timestamp_micros();
        Timestamp(now.saturating_add(self.offset_micros.load(Ordering::Relaxed)))
    }

    /// Moves the clock, for tests.
    pub fn advance_secs(&self, secs: i64) {
        self.offset_micros.fetch_add(secs * 1_000_000, Ordering::Relaxed);
    }
}

/// The buckets of `limits`.
pub struct Limits {
    /// Wrong passwords per account.
    pub login_account: Limiter<String>,
    /// Wrong passwords per address.
    pub login_address: Limiter<IpAddr>,
    /// Registrations per address.
    pub register_address: Limiter<IpAddr>,
}

/// Wakes those who wait for work. A signal given while nobody waits is kept.
#[derive(Debug, Default)]
pub struct Signals {
    /// A job was enqueued, or a worker is free.
    pub jobs: JobSignal,
    /// A container's wish or state changed.
    pub containers: Notify,
    /// Somebody in the line may get what it waits for.
    pub line: Notify,
    /// A volume is to be removed.
    pub volumes: Notify,
    /// What is on a machine's disk may have changed much.
    pub disk_uses: Notify,
    /// An image is wanted on a machine.
    pub machine_images: Notify,
    /// A cluster was added, or is opened in another way.
    pub clusters: Notify,
    /// A namespace is wished, or not any more.
    pub namespaces: Notify,
    /// What is stored of workloads may not be in their cluster, and can be now.
    pub workloads: Notify,
    /// A chart repository is to be synced.
    pub chart_repos: Notify,
}

/// How long a token's caller is believed without asking the store: the bound on how late another server's changes are
/// seen; changes made by this server are seen at once.
const CALLER_LIFETIME: Duration = Duration::from_secs(1);
/// Entries that are kept.
const MAX_CALLERS: usize = 20_000;

/// Callers by the SHA-256 of their token.
#[derive(Default)]
pub struct CallerCache {
    entries: Mutex<HashMap<[u8; 32], (Caller, Instant)>>,
}

impl CallerCache {
    /// Who that was, if it was asked within the last second.
    pub fn get(&self, key: &[u8; 32]) -> Option<Caller> {
        let entries = self.entries.lock().expect("no code panics while it holds this lock");
        let (caller, since) = entries.get(key)?;
        (since.elapsed() < CALLER_LIFETIME).then(|| caller.clone())
    }

    /// Remembers who it is.
    pub fn put(&self, key: [u8; 32], caller: Caller) {
        let mut entries = self.entries.lock().expect("no code panics while it holds this lock");
        if entries.len() >= MAX_CALLERS {
            entries.retain(|_, (_, since)| since.elapsed() < CALLER_LIFETIME);
            if entries.len() >= MAX_CALLERS {
                entries.clear();
            }
        }
        entries.insert(key, (caller, Instant::now()));
    }

    /// Forgets an account: after a change of its password, role, state, sessions or tokens.
    pub fn forget(&self, account: AccountId) {
        let mut entries = self.entries.lock().expect("no code panics while it holds this lock");
        entries.retain(|_, (caller, _)| caller.account != account);
    }
}
