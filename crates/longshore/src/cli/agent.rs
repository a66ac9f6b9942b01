//! `longshore agent`: the agent of this machine. Joining, and looking at what it needs; what it does is written elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use agent::Agent;
use agent::membership::{self, Membership, MembershipError};
use clap::{Args, Subcommand};
use longshore::join::JoinSettings;
use longshore::run::AgentSettings;
use longshore::service::{self, ServiceSettings};
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use wire::ids::MachineId;
use wire::secret::Secret;

use super::client::Client;
use super::doctor::{self, Report};
use super::failure::Failure;
use super::printer::Printer;
use super::{client, credentials, environment, human, words};

/// Where the agent keeps what it keeps.
const AGENT_FOLDER: &str = service::FOLDER;
/// Where the engine finds the registry unless somebody says otherwise.
const REGISTRY_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
/// What says how to get out.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];
/// A disk of the engine with less than one part in twenty free is told.
const DISK_PARTS: u64 = 20;

/// Verbs of `longshore agent`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Join this machine to a server, once
    Join(JoinArgs),
    /// Serve this machine's engine to the server that it has joined
    Run(AgentArgs),
    /// Say which server this machine has joined, and whether its agent runs
    Status(StatusArgs),
    /// Look at everything that this machine's agent needs, and say what is wrong
    Doctor(DoctorArgs),
}

/// Runs a verb that is no service.
pub(crate) async fn run(command: AgentCommand, printer: &Printer) -> anyhow::Result<()> {
    match command {
        AgentCommand::Join(args) => args.run(printer).await,
        AgentCommand::Status(args) => status(&args, printer),
        AgentCommand::Doctor(args) => doctor(&args, printer).await,
        AgentCommand::Run(args) if args.service => install(&args.options.service(&args.data_dir)?, printer),
        AgentCommand::Run(_) => anyhow::bail!("`main` runs the services"),
    }
}

/// Options of `longshore agent join`.
#[derive(Args, Clone, Debug)]
pub(crate) struct JoinArgs {
    /// Address of the server
    #[arg(value_parser = client::parse_server)]
    url: Url,
    /// The invitation, from `longshore machine invite`; `-` reads it from standard input
    token: String,
    /// Folder for what the agent keeps
    #[arg(long, value_name = "FOLDER", default_value = AGENT_FOLDER)]
    data_dir: PathBuf,
    /// Join under this id instead of the one in `/etc/machine-id`
    #[arg(long, value_name = "ID")]
    machine_id: Option<MachineId>,
    /// Allow an address without TLS on another host
    #[arg(long)]
    plain: bool,
    /// Then install the agent as a service of systemd and start it, as `agent run --service` does
    #[arg(long)]
    service: bool,
    #[command(flatten)]
    options: AgentOptions,
}

impl JoinArgs {
    /// `longshore agent join`.
    async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        if !self.service && self.options.is_changed() {
            let message =
                "how the agent runs is said to `longshore agent run`, or here together with `--service`";
            return Err(Failure::usage(message).into());
        }
        if self.service {
            // Before the invitation is used up.
            self.options.service(&self.data_dir)?;
            service::check()?;
        }
        let token = if self.token == "-" { std::io::read_to_string(std::io::stdin())? } else { self.token };
        let settings = JoinSettings {
            url: client::show_server(&self.url),
            token: Secret::new(token.trim()),
            state_dir: self.data_dir.clone(),
            machine_id: self.machine_id,
            is_plain_allowed: self.plain,
        };
        let membership = longshore::join::join(&settings).await?;
        if printer.is_json {
            printer.json(&serde_json::to_string(&membership)?)?;
        } else {
            printer.say(words::MACHINE_JOINED, &[membership.machine_id.as_str(), &membership.url]);
        }
        if self.service {
            return install(&self.options.service(&self.data_dir)?, printer);
        }
        if printer.is_json {
            return Ok(());
        }
        let folder = if self.data_dir == Path::new(AGENT_FOLDER) {
            String::new()
        } else {
            format!(" --data-dir {}", self.data_dir.display())
        };
        printer.say(words::MACHINE_JOINED_NEXT, &[&format!("longshore agent run{folder}")]);
        Ok(())
    }
}

/// Installs and starts the service, and says what was done.
fn install(settings: &ServiceSettings, printer: &Printer) -> anyhow::Result<()> {
    let done = service::install(settings)?;
    printer.say(words::SERVICE_INSTALLED, &[&done.join(", ")]);
    Ok(())
}

/// How the agent runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentOptions {
    /// Where this machine's engine finds the registry
    #[arg(long, value_name = "ADDRESS", default_value_t = REGISTRY_LISTEN)]
    registry_listen: SocketAddr,
    /// The engine's socket [default: `unix:///var/run/docker.sock`]
    #[arg(long, value_name = "URL")]
    docker: Option<String>,
    /// What containers may ask for on this machine; owned by root
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The NVIDIA driver's library [default: the system's `libnvidia-ml.so.1`]
    #[arg(long, value_name = "FILE")]
    nvml: Option<PathBuf>,
}

impl AgentOptions {
    /// Whether something else was typed than the defaults.
    fn is_changed(&self) -> bool {
        self.registry_listen != REGISTRY_LISTEN
            || self.docker.is_some()
            || self.policy.is_some()
            || self.nvml.is_some()
    }

    /// The same for a service. It keeps its things where its unit may write.
    fn service(&self, data_dir: &Path) -> anyhow::Result<ServiceSettings> {
        if data_dir != Path::new(AGENT_FOLDER) {
            anyhow::bail!("a service keeps its things in `{AGENT_FOLDER}`: leave `--data-dir` out");
        }
        let variables = PROXY_VARIABLES.into_iter().filter_map(|name| Some((name, environment::text(name)?)));
        Ok(ServiceSettings {
            registry_listen: self.registry_listen,
            docker: self.docker.clone(),
            policy_file: self.policy.clone(),
            nvml: self.nvml.clone(),
            variables: variables.collect(),
        })
    }
}

/// Options of `longshore agent run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    options: AgentOptions,
    /// Folder for what the agent keeps
    #[arg(long, value_name = "FOLDER", default_value = AGENT_FOLDER)]
    data_dir: PathBuf,
    /// Do not run here: install the agent as a service of systemd with these options, and start it; needs root
    #[arg(long)]
    service: bool,
}

impl AgentArgs {
    /// What was typed.
    pub(crate) fn settings(&self) -> AgentSettings {
        AgentSettings {
            docker: self.options.docker.clone(),
            registry_listen: self.options.registry_listen,
            policy_file: self.options.policy.clone(),
            nvml: self.options.nvml.clone(),
            state_dir: self.data_dir.clone(),
        }
    }

    /// Whether it is to be installed and not to run here.
    pub(crate) fn is_service(&self) -> bool {
        self.service
    }
}

/// Options of `longshore agent doctor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    options: AgentOptions,
    /// Folder for what the agent keeps
    #[arg(long, value_name = "FOLDER", default_value = AGENT_FOLDER)]
    data_dir: PathBuf,
}

/// Options of `longshore agent status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    /// Folder for what the agent keeps
    #[arg(long, value_name = "FOLDER", default_value = AGENT_FOLDER)]
    data_dir: PathBuf,
}

fn status(args: &StatusArgs, printer: &Printer) -> anyhow::Result<()> {
    let (membership, _) = membership::load(&args.data_dir)?;
    let is_running = is_running(&args.data_dir)?;
    if printer.is_json {
        let mut facts = serde_json::to_value(&membership)?;
        facts["is_running"] = is_running.into();
        return printer.json(&facts.to_string());
    }
    printer.facts(&[
        ("server", Some(membership.url)),
        ("fingerprint", membership.fingerprint),
        ("machine", Some(membership.machine_id.to_string())),
        ("agent", Some(if is_running { "runs" } else { "does not run" }.to_owned())),
    ])
}

/// Whoever runs an agent on this folder holds it.
fn is_running(folder: &Path) -> Result<bool, MembershipError> {
    match membership::hold(folder) {
        Ok(_) => Ok(false),
        Err(MembershipError::InUse(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

async fn doctor(args: &DoctorArgs, printer: &Printer) -> anyhow::Result<()> {
    let mut report = Report::default();
    match membership::load(&args.data_dir) {
        Ok((membership, _)) => check_membership(&mut report, args, &membership, printer).await,
        Err(error) => report.fail("membership", &error.into()),
    }
    check_machine(&mut report, args).await;
    report.finish(printer)
}

async fn check_membership(
    report: &mut Report,
    args: &DoctorArgs,
    membership: &Membership,
    printer: &Printer,
) {
    report.ok("membership", format!("`{}` at {}", membership.machine_id, membership.url));
    for file in ["machine.key", "server.json"] {
        let path = args.data_dir.join(file);
        if let Some(mode) = credentials::too_open(&path) {
            let shown = path.display();
            let message = format!("`{shown}` can be read by others (mode {mode:o})");
            report.broken("key", message, format!("chmod 600 {shown}"));
        }
    }
    let runs = is_running(&args.data_dir);
    match &runs {
        Ok(true) => report.ok("agent", "runs"),
        Ok(false) => report.warn("agent", "does not run", "start it: `longshore agent run`"),
        Err(error) => report.broken("agent", error.to_string(), "run this as the agent's account"),
    }
    let address = args.options.registry_listen;
    match (runs, TcpListener::bind(address)) {
        (Ok(false), Err(error)) => {
            let hint = "choose another address with `--registry-listen`";
            report.broken("registry door", format!("the agent could not listen on {address}: {error}"), hint);
        }
        (Ok(true), Ok(_)) => {
            let hint = "is it the address that the agent was started with (`--registry-listen`)?";
            report.warn("registry door", format!("nobody listens on {address}"), hint);
        }
        _ => report.ok("registry door", address.to_string()),
    }
    if let Some(proxy) = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"].into_iter().find_map(environment::text) {
        let shown = proxy.rsplit('@').next().unwrap_or_default();
        report.ok("proxy", format!("the way out is {shown}"));
    }
    let client = client::parse_server(&membership.url)
        .map_err(anyhow::Error::msg)
        .and_then(|url| Client::new(url, None, membership.fingerprint.clone(), printer.language));
    match client {
        Ok(client) => drop(doctor::check_reachable(report, &client).await),
        Err(error) => report.fail("server", &error),
    }
}

async fn check_machine(report: &mut Report, args: &DoctorArgs) {
    let config = agent::Config {
        docker: args.options.docker.clone(),
        registry: args.options.registry_listen.to_string(),
        policy_file: args.options.policy.clone(),
        nvml: args.options.nvml.clone(),
        machine_id: None,
        state_dir: args.data_dir.clone(),
    };
    let agent = match Agent::new(config, CancellationToken::new()) {
        Ok(agent) => agent,
        Err(error) => return report.fail("settings", &error.into()),
    };
    let facts = agent.facts().await;
    match facts.engine_version {
        Some(version) => report.ok("engine", format!("Docker {version}")),
        None => report.broken(
            "engine",
            "the Docker engine does not answer",
            "is it running, and is this account in the group `docker`?",
        ),
    }
    let (total, free) = (facts.disk.total, facts.disk.free);
    let message = format!("{} of {} are free", human::size(free << 30), human::size(total << 30));
    if total > 0 && free < total / DISK_PARTS {
        report.warn("engine disk", message, "delete images and containers that nobody needs");
    } else {
        report.ok("engine disk", message);
    }
    check_gpus(report, agent.engine_uses_systemd().await);
}

/// What a machine with graphics processors needs besides them.
fn check_gpus(report: &mut Report, uses_systemd: Option<bool>) {
    const NAME: &str = "gpu";
    let Ok(driver) = std::fs::read_to_string("/proc/driver/nvidia/version") else {
        return report.ok(NAME, "no NVIDIA driver is loaded");
    };
    let version = driver.lines().next().unwrap_or_default().trim().to_owned();
    let path = environment::text("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !has("nvidia-container-runtime-hook") && !has("nvidia-ctk") {
        let hint = "install the NVIDIA container toolkit: without it no container gets a GPU";
        return report.broken(NAME, version, hint);
    }
    // A `systemctl daemon-reload` takes the devices from running containers where systemd makes their control groups
    // (NVIDIA/nvidia-container-toolkit issue 48).
    if uses_systemd == Some(true) {
        let hint = "a `systemctl daemon-reload` can take GPUs from running containers: set `native.cgroupdriver=cgroupfs` in /etc/docker/daemon.json";
        return report.warn(NAME, version, hint);
    }
    report.ok(NAME, version);
}
