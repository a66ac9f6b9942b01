//! Puts the server together and starts it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use metrics_exporter_prometheus::PrometheusBuilder;
use ring::rand::SystemRandom;
use store::Db;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::normalize_path::NormalizePath;
use wire::ids::InstanceId;
use wire::secret::Secret;

use crate::app::{App, CallerCache, Clock, Inner, Limits, Signals};
use crate::blobs::Blobs;
use crate::chart_pages::ChartPages;
use crate::chart_syncs::ChartSyncs;
use crate::clients::helm::Helm;
use crate::clients::http_out::Outbound;
use crate::clients::kube::Clusters;
use crate::clients::registry::Registry;
use crate::config::Config;
use crate::disk_uses::DiskUses;
use crate::domain::{accounts, port_forwards};
use crate::error::{Error, Result};
use crate::gpu_readings::GpuReadings;
use crate::http::serve::Protection;
use crate::http::{applications, door, router, serve};
use crate::keys::Keys;
use crate::limits::Limiter;
use crate::link::Hub;
use crate::operation_logs::OperationLogs;
use crate::passwords::Passwords;
use crate::pulls::Pulls;
use crate::streams::Streams;
use crate::terminals::Terminals;
use crate::tls::Tls;
use crate::{database, jobs, jwt, reconcile};

/// How long tasks may take to end.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    /// Its parts.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the registry's door listens.
    pub registry_address: SocketAddr,
    /// Held while the server runs: nobody else works on the folder.
    _lock: std::fs::File,
    /// Present when this start made the admin: where its generated password was written, or none when it was given.
    pub new_admin: Option<NewAdmin>,
}

/// The first admin, just made.
#[derive(Debug)]
pub struct NewAdmin {
    /// The generated password and the file that keeps it; none when the password came from the settings.
    pub generated: Option<(Secret, PathBuf)>,
}

impl Server {
    /// Opens the data folder and the database, brings the schema up to date and starts to serve. The machine of this
    /// host is connected by whoever holds both crates (`longshore`), through `app.hub`.
    pub async fn start(config: Config) -> Result<Self> {
        choose_tls_provider();
        make_private_folder(&config.data_dir)?;
        let lock = database::hold(&config.data_dir).await?;
        let db = Db::open(config.database_url().expose()).await?;
        let applied = db.migrate().await?;
        if !applied.is_empty() {
            tracing::info!(steps = applied.len(), "brought the database's schema up to date");
        }
        let listener = bind(config.listen, "listen").await?;
        let registry_listener = bind(config.registry_listen, "registry_listen").await?;
        let app_listener = match config.app_listen {
            Some(address) => Some(bind(address, "app_listen").await?),
            None => None,
        };
        let app_address = app_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let address = listener.local_addr()?;
        let registry_address = registry_listener.local_addr()?;
        let config =
            Config { listen: address, registry_listen: registry_address, app_listen: app_address, ..config };
        let app = assemble(config, db).await?;

        let new_admin = ensure_admin(&app).await?;
        let reports = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        app.outbound.add_own(reports.local_addr()?);
        app.registry.start(&app, reports.local_addr()?);
        jobs::start(&app);
        let routes = trim_slashes(router::router(&app));
        reconcile::start(&app);
        app.spawn(keep_small(app.clone()));
        if let Some(acme) = app.tls.acme() {
            app.spawn(acme.run(app.clone()));
        }
        app.spawn(serve::serve(app.clone(), listener, routes, Protection::of(app.tls.acceptor())));
        app.spawn(serve::serve(app.clone(), reports, router::registry_reports(&app), Protection::Clear));
        app.spawn(door::serve(app.clone(), registry_listener));
        if let Some(listener) = app_listener {
            let routes = applications::router(&app);
            app.spawn(serve::serve(app.clone(), listener, routes, Protection::of(app.tls.acceptor())));
        }
        tracing::info!(%address, registry = %registry_address, tls = app.tls.is_on(), "server is up");
        Ok(Self { app, address, registry_address, new_admin, _lock: lock })
    }

    /// Ends the server: no new requests, running ones get some time, containers stay as they are.
    pub async fn stop(self) -> Result<()> {
        self.app.shutdown.cancel();
        self.app.tasks.close();
        if tokio::time::timeout(END_PATIENCE, self.app.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        Ok(self.app.db.clone().close().await?)
    }
}

/// Chooses the cryptography of TLS connections. Per process; whoever comes second finds it chosen.
fn choose_tls_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("the TLS provider was chosen before");
    }
}

async fn assemble(config: Config, db: Db) -> Result<App> {
    let fresh = InstanceId(uuid::Uuid::now_v7()).to_string();
    let instance = store::settings::get_or_insert(&db, "instance", &fresh).await?;
    let instance = instance.parse().map_err(Error::internal)?;
    let key_folder = config.data_dir.join("keys");
    let keys = Keys::open(&key_folder)?;
    let tls = Tls::open(&config, &key_folder)?;
    let blobs = Blobs::open(&config.data_dir.join("blobs"))?;
    let parallel = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let auth = &config.auth;
    Ok(App::new(Inner {
        limits: Limits {
            login_account: Limiter::new(auth.failures_per_minute),
            login_address: Limiter::new(auth.failures_per_minute_address),
            register_address: Limiter::new(auth.registrations_per_minute),
        },
        hub: Hub::new(tasks.clone(), shutdown.clone()),
        gpu_readings: GpuReadings::default(),
        disk_uses: DiskUses::default(),
        pulls: Pulls::default(),
        clusters: Clusters::default(),
        clock: Clock::default(),
        random: SystemRandom::new(),
        operation_logs: OperationLogs::new(blobs.clone()),
        passwords: Passwords::new(parallel)?,
        callers: CallerCache::default(),
        registry: Registry::new(&config, &keys)?,
        streams: Streams::new(config.streams.per_account),
        transfers: Streams::new(config.files.per_account),
        port_forwards: Streams::new(port_forwards::PER_ACCOUNT),
        terminals: Terminals::default(),
        outbound: Outbound::new(&config.outbound.allow, own_listeners(&config)),
        chart_pages: ChartPages::default(),
        chart_syncs: ChartSyncs::default(),
        helm: Helm::new(&config.charts.helm, blobs.clone()),
        signals: Signals::default(),
        metrics: metrics_handle(),
        blobs,
        keys,
        tls,
        instance,
        db,
        tasks,
        shutdown,
        config,
    }))
}

/// Where nobody is led by an address that somebody gave.
fn own_listeners(config: &Config) -> Vec<SocketAddr> {
    [config.listen, config.registry_listen].into_iter().chain(config.app_listen).collect()
}

/// Figures are per process (the `metrics` crate keeps one recorder), so the second server of a test process shares the
/// first one's.
fn metrics_handle() -> metrics_exporter_prometheus::PrometheusHandle {
    static HANDLE: std::sync::OnceLock<metrics_exporter_prometheus::PrometheusHandle> =
        std::sync::OnceLock::new();
    let make = || PrometheusBuilder::new().install_recorder().expect("nobody else installs a recorder");
    HANDLE.get_or_init(make).clone()
}

/// Keeps memory small while nothing happens: folds what was recorded into the figures, and gives back what logins needed.
async fn keep_small(app: App) {
    let mut ticks = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        app.metrics.run_upkeep();
        app.passwords.tidy();
    }
}

/// Routes answer with and without a slash at the end, and never redirect (contract, section 1). The addresses of applications
/// are their own: there a slash at the end may mean something.
fn trim_slashes(router: Router) -> Router {
    let trimmed = NormalizePath::trim_trailing_slash(router.clone());
    Router::new().fallback(move |request: Request| async move {
        if request.uri().path().starts_with("/app/") {
            router.oneshot(request).await
        } else {
            trimmed.oneshot(request).await
        }
    })
}

async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::unavailable("address_in_use", format!("cannot listen on {address}: {error}"))
            .hint(format!("choose another address with `--{}`", setting.replace('_', "-")))
    })
}

fn make_private_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::unavailable("data_dir", format!("cannot make the data folder `{}`: {error}", path.display()))
            .hint("choose another with `--data-dir`")
    })
}

/// Makes `admin` at the first start. A generated password is on disk before the account exists, so that a crash
/// between the two locks nobody out.
async fn ensure_admin(app: &App) -> Result<Option<NewAdmin>> {
    if let Some(password) = &app.config.admin_password {
        let is_new = accounts::ensure_admin(app, password).await?;
        return Ok(is_new.then_some(NewAdmin { generated: None }));
    }
    let file = app.config.data_dir.join("admin-password");
    let password = match std::fs::read_to_string(&file) {
        Ok(text) => Secret::new(text.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let password = Secret::new(jwt::random_text(&app.random)?.chars().take(24).collect::<String>());
            if store::accounts::by_name(&app.db, &wire::names::AccountName::admin()).await?.is_some() {
                return Ok(None);
            }
            write_private(&file, password.expose())?;
            password
        }
        Err(error) => return Err(error.into()),
    };
    let is_new = accounts::ensure_admin(app, &password).await?;
    Ok(is_new.then_some(NewAdmin { generated: Some((password, file)) }))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    Ok(file.sync_all()?)
}
