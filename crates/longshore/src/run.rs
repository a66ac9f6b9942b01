//! Runs the server together with the agent of its own host, or an agent alone: settings, log, signals, an orderly end.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use server::Server;
use server::config::{self, Config, Layer, LogFormat};
use server::portal_config::{self, PortalConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Name of the settings file, in the data folder or in the current one.
const FILE_NAME: &str = "longshore.toml";
/// Settings file of a system-wide installation.
const SYSTEM_FILE: &str = "/etc/longshore/longshore.toml";
/// What was typed on the command line.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The settings file.
    pub file: Option<PathBuf>,
    /// Options, by their setting's name.
    pub options: Layer,
}

impl Settings {
    /// Puts command line, environment, file and defaults together.
    pub fn load(&self) -> Result<Config> {
        let file = self.settings_file();
        let folder = default_data_dir().map(|folder| ("data_dir".to_owned(), folder));
        let mut defaults: Layer = folder.into_iter().collect();
        defaults.extend(portal_settings()?.layer);
        Ok(config::load_over(&defaults, file.as_deref(), environment, &self.options)?.config)
    }

    /// The file that is named, else the first of these that there is: in the data folder that was named, in the current folder,
    /// of the system.
    fn settings_file(&self) -> Option<PathBuf> {
        let named = self.file.clone().or_else(|| environment("LONGSHORE_CONFIG").map(PathBuf::from));
        let data_dir = self.options.get("data_dir").cloned().or_else(|| environment("LONGSHORE_DATA_DIR"));
        named
            .or_else(|| {
                data_dir.map(|folder| PathBuf::from(folder).join(FILE_NAME)).filter(|file| file.exists())
            })
            .or_else(|| Some(PathBuf::from(FILE_NAME)).filter(|file| is_trusted(file)))
            .or_else(|| Some(PathBuf::from(SYSTEM_FILE)).filter(|file| file.exists()))
    }
}

/// What a CI portal was told, when the server is started in its folder.
fn portal_settings() -> Result<PortalConfig> {
    let file = Path::new(portal_config::PLACE);
    if is_trusted(file) { Ok(portal_config::read(file)?) } else { Ok(PortalConfig::default()) }
}

/// Whether a file is ours or the system's: in a folder that many write to, somebody else could leave one.
fn is_trusted(file: &Path) -> bool {
    let owner = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.uid());
    match (owner(file), owner(Path::new("/proc/self"))) {
        (Ok(file), Ok(own)) => file == own || file == 0,
        _ => false,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the server's settings read the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `/var/lib/longshore` for a service, a folder in the home otherwise.
fn default_data_dir() -> Option<String> {
    let is_service_folder =
        std::fs::metadata("/var/lib/longshore").is_ok_and(|folder| !folder.permissions().readonly());
    if is_service_folder || environment("USER").is_none_or(|user| user == "root") {
        return Some("/var/lib/longshore".to_owned());
    }
    let home = environment("XDG_DATA_HOME")
        .or_else(|| environment("HOME").map(|home| format!("{home}/.local/share")));
    home.map(|home| format!("{home}/longshore"))
}

/// `longshore server`: runs until it is told to stop.
pub fn serve(settings: &Settings) -> Result<()> {
    let config = settings.load()?;
    start_log(&config)?;
    if let Some(file) = settings.settings_file() {
        tracing::info!("settings are read from `{}`", file.display());
    }
    for name in portal_settings()?.unknown {
        tracing::warn!("`{name}` in `{}` means nothing here", portal_config::PLACE);
    }
    block_on(async {
        let mut stop = StopSignals::new()?;
        let server = start(config).await?;
        announce(&server)?;
        notify(&[sd_notify::NotifyState::Ready]);
        stop.wait().await;
        tracing::info!("stopping: requests in progress get some seconds, containers stay as they are");
        notify(&[sd_notify::NotifyState::Stopping]);
        server.stop().await?;
        Ok(())
    })
}

/// What `longshore agent run` was told.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The engine's socket; none = the usual one.
    pub docker: Option<String>,
    /// Where the engine finds the registry on this machine.
    pub registry_listen: SocketAddr,
    /// What containers may ask for on this machine.
    pub policy_file: Option<PathBuf>,
    /// The NVIDIA driver's library; none = the system's.
    pub nvml: Option<PathBuf>,
    /// The agent's folder.
    pub state_dir: PathBuf,
}

/// `longshore agent run`: serves this machine's engine to the server that it has joined, until it is told to stop.
pub fn agent(settings: &AgentSettings) -> Result<()> {
    start_agent_log()?;
    let _held = agent::membership::hold(&settings.state_dir)?;
    let (membership, key) = agent::membership::load(&settings.state_dir)?;
    // On one thread: the tasks of a link hand small things to each other all the time, and waking another thread costs
    // more than what is to be done. What takes long (files, archives, the driver) has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = StopSignals::new()?;
        let shutdown = CancellationToken::new();
        let address = settings.registry_listen;
        let door = tokio::net::TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}, where this machine's engine is to find the registry; choose another address with `--registry-listen`")
        })?;
        let config = agent::Config {
            docker: settings.docker.clone(),
            registry: door.local_addr()?.to_string(),
            policy_file: settings.policy_file.clone(),
            machine_id: Some(membership.machine_id),
            state_dir: settings.state_dir.clone(),
            nvml: settings.nvml.clone(),
        };
        let agent = agent::Agent::new(config, shutdown.clone())?;
        let server = agent::Server { url: membership.url, fingerprint: membership.fingerprint, key };
        notify(&[sd_notify::NotifyState::Ready]);
        tokio::select! {
            dialed = agent.dial(&server, door) => dialed.map_err(anyhow::Error::msg)?,
            () = stop.wait() => {}
        }
        tracing::info!("stopping: containers stay as they are");
        notify(&[sd_notify::NotifyState::Stopping]);
        shutdown.cancel();
        agent.stopped().await;
        Ok(())
    })
}

/// The agent logs as the server does when nothing is set; `LONGSHORE_LOG_FILTER` is its one setting.
fn start_agent_log() -> Result<()> {
    let filter = environment("LONGSHORE_LOG_FILTER").unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(filter).context("`LONGSHORE_LOG_FILTER` is not valid")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started = builder.with_ansi(is_terminal).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Runs work on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Starts the server and, unless switched off, connects this host's engine as a machine.
pub async fn start(config: Config) -> Result<Server> {
    let machine = config.machine.clone();
    let state_dir = config.data_dir.join("agent");
    let server = Server::start(config).await?;
    if machine.enabled {
        let config = agent::Config {
            docker: machine.docker,
            registry: server.registry_address.to_string(),
            policy_file: machine.policy_file,
            machine_id: None,
            state_dir,
            nvml: machine.nvml,
        };
        let agent = agent::Agent::new(config, server.app.shutdown.clone())
            .context("cannot set up this host as a machine")?;
        server.app.hub.set_host(agent.machine_id().clone());
        crate::in_process::connect(&server.app.hub, &agent);
        let shutdown = server.app.shutdown.clone();
        server.app.spawn(async move {
            shutdown.cancelled().await;
            agent.stopped().await;
        });
    }
    Ok(server)
}

/// Says on standard output where the server is and, at the very first start, how to log in.
fn announce(server: &Server) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let scheme = if server.app.tls.is_on() { "https" } else { "http" };
    writeln!(out, "longshore is up at {scheme}://{} · registry {}", server.address, server.registry_address)?;
    if let Some(fingerprint) = server.app.tls.fingerprint() {
        writeln!(out, "fingerprint of its certificate, for `longshore login --fingerprint`: {fingerprint}")?;
    }
    if let Some(admin) = &server.new_admin {
        match &admin.generated {
            Some((password, file)) => {
                writeln!(out, "first start: log in as `admin` with the password {}", password.expose())?;
                writeln!(out, "it is kept in {} and not shown again", file.display())?;
            }
            None => writeln!(out, "first start: log in as `admin` with the password from the settings")?,
        }
    }
    Ok(out.flush()?)
}

fn start_log(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log.filter).context("`log.filter` is not valid")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells the service manager, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot reach the service manager");
    }
}
