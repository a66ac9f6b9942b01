//! `longshore container`: what runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use tokio::time::Instant;
use wire::containers::{
    Bind, ContainerCreate, ContainerEventView, ContainerState, ContainerView, KeptLogView, Port, PortCreate,
    Protocol, RestartPolicy,
};
use wire::gpus::GpuWish;
use wire::ids::{ContainerId, GpuId, MachineId};
use wire::limits::WishedLimits;
use wire::names::{ContainerName, ImageReference};
use wire::volumes::{VolumeMount, VolumeMountCreate};

use super::build::LogOutput;
use super::client::Answer;
use super::failure::Failure;
use super::files::{self, CopyArgs, FileCommand};
use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::save::{self, SaveArgs};
use super::session::Session;
use super::stats;
use super::terminal::{self, ExecArgs, TerminalCommand};
use super::update::{self, RenameArgs, UpdateArgs};
use super::words::Word;
use super::{environment, human, words};

/// First and longest pause between two looks at a container that is being made.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Lines of its log that are shown with a container that failed.
const TAIL_LINES: u32 = 20;

/// Verbs of `longshore container`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// List containers
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Make a container from an image and start it; prints where it answers
    Run(Box<RunArgs>),
    /// Show a container
    Show {
        /// Its name or number
        container: ContainerArg,
    },
    /// Start a stopped container, or try a failed one again
    Start {
        /// Its name or number
        container: ContainerArg,
    },
    /// Stop a container; its disk is kept
    Stop {
        /// Its name or number
        container: ContainerArg,
    },
    /// Stop a container and start it again
    Restart {
        /// Its name or number
        container: ContainerArg,
    },
    /// Change a container: its limits, at once where that can be, and the name to show
    Update(UpdateArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Delete a container and everything on its disk; volumes stay
    #[command(alias = "rm")]
    Delete {
        /// Its name or number
        container: ContainerArg,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Show what a container printed
    #[command(visible_alias = "logs")]
    Log(LogArgs),
    /// Copy a file or a folder into a container, or out of one
    Cp(CopyArgs),
    /// Files in a container
    #[command(subcommand)]
    File(FileCommand),
    /// Save a container as an image: what it changed becomes a layer on the image it was made from
    Save(SaveArgs),
    /// Show what a container uses: processor, memory, network, disk
    Stats {
        /// Its name or number; without one, all that run
        container: Option<ContainerArg>,
        /// Go on, a line each second
        #[arg(long, short, requires = "container")]
        follow: bool,
        /// Those of every account (admins only)
        #[arg(long, short, conflicts_with = "container")]
        all: bool,
    },
    /// Show what happened to a container, newest first
    Events {
        /// Its name or number
        container: ContainerArg,
    },
    /// Logs that are kept of containers that were deleted
    #[command(subcommand)]
    KeptLog(KeptLogCommand),
    /// Run a command in a container that runs; its exit status becomes ours
    Exec(ExecArgs),
    /// Terminals that are open in a container
    #[command(subcommand)]
    Terminal(TerminalCommand),
}

/// A restart policy as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RestartName {
    No,
    OnFailure,
    Always,
}

impl From<RestartName> for RestartPolicy {
    fn from(name: RestartName) -> Self {
        match name {
            RestartName::No => Self::No,
            RestartName::OnFailure => Self::OnFailure,
            RestartName::Always => Self::Always,
        }
    }
}

/// What to run.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The image, `[owner/]repo[:tag]` or its number
    image: ImageText,
    /// Its name; made up when absent
    #[arg(long)]
    name: Option<ContainerName>,
    /// The name to show
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Publish a port of the container: `8000`, `8080:8000`, `5353:53/udp`, `0.0.0.0:8080:8000`
    #[arg(long = "publish", short, value_name = "[HOST:]PORT[/udp]")]
    publish: Vec<PortArg>,
    /// Set a variable
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Read variables from a file of `KEY=VALUE` lines; keeps secrets out of the command line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Most memory, such as `512m` or `2g`
    #[arg(long, value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Most processor time in cores, such as `1.5`
    #[arg(long, value_parser = human::parse_cores)]
    cpus: Option<u32>,
    /// Most processes
    #[arg(long)]
    pids: Option<u32>,
    /// GPUs for the container alone as long as it runs; it waits in line until they can be had
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    gpus: Option<u32>,
    /// GPUs whose model's name contains this, such as `a100`
    #[arg(long, value_name = "TEXT")]
    gpu_model: Option<String>,
    /// GPUs with at least so much memory each, such as `24g`
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    gpu_memory: Option<u64>,
    /// Stop it after this time, such as `12h` or `2d`; with GPUs the server may set a bound
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    max_duration: Option<u64>,
    /// Keep a folder in a volume, which outlives the container: `data:/data`, `data:/data:ro`
    #[arg(long = "volume", short, value_name = "NAME:PATH[:ro]")]
    volumes: Vec<VolumeMountArg>,
    /// Keep the working directory in the volume `home`
    #[arg(long)]
    home: bool,
    /// Shared memory, such as `1g`
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    shm_size: Option<u64>,
    /// Start it again when its process ends by itself, or fails; it keeps its GPUs meanwhile
    #[arg(long, value_enum, default_value = "no")]
    restart: RestartName,
    #[command(flatten)]
    terminal: RunTerminalArgs,
    /// Run on this machine
    #[arg(long, value_name = "ID")]
    machine: Option<MachineId>,
    /// Run this instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Start in this folder
    #[arg(long, short, value_name = "PATH")]
    workdir: Option<String>,
    /// Wait until it runs or failed (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as it is accepted
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Longest wait
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = human::parse_duration)]
    timeout: u64,
    /// Arguments instead of the image's command
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Whether there is a terminal, and who sits at it.
#[derive(Args, Debug)]
struct RunTerminalArgs {
    /// Give its process a terminal, at which nobody types: an image that is only a shell then waits, and does not end at once
    #[arg(long, short)]
    tty: bool,
    /// Open a shell in it as soon as it runs, as `container exec -it` does; it goes on when the shell ends
    #[arg(long, short, requires = "tty", conflicts_with = "no_wait")]
    interactive: bool,
}

/// Which log, and how much of it.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Its name or number
    container: ContainerArg,
    /// Go on while it runs
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
    /// Only what is newer: `10m`, `2h`, or a time such as `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show when each line was printed
    #[arg(long, short)]
    timestamps: bool,
    #[command(flatten)]
    search: SearchArgs,
}

/// Which lines of a log.
#[derive(Args, Debug)]
struct SearchArgs {
    /// Only lines that hold this
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// `--grep` is a regular expression
    #[arg(long, requires = "grep")]
    regex: bool,
    /// `--grep` takes upper and lower case for the same
    #[arg(long, short = 'I', requires = "grep")]
    ignore_case: bool,
}

/// Verbs of `longshore container kept-log`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeptLogCommand {
    /// List the logs of containers that were deleted; `container log` shows one
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Delete a kept log
    #[command(alias = "rm")]
    Delete {
        /// The container's name or number
        container: ContainerArg,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// A container by number or by name.
#[derive(Clone, Debug)]
pub(crate) struct ContainerArg(pub(crate) String);

impl FromStr for ContainerArg {
    type Err = wire::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<ContainerId>() {
            Ok(id) => Ok(Self(id.to_string())),
            Err(_) => Ok(Self(text.parse::<ContainerName>()?.to_string())),
        }
    }
}

/// An image as the server reads it, checked here only for its form.
#[derive(Clone, Debug)]
pub(crate) struct ImageText(String);

impl FromStr for ImageText {
    type Err = wire::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.parse::<u64>().is_err() {
            text.parse::<ImageReference>()?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// A volume and its place as they are typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeMountArg(VolumeMountCreate);

impl FromStr for VolumeMountArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a volume and its place: use `data:/data` or `data:/data:ro`");
        let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (target, is_read_only) = match rest.rsplit_once(':') {
            Some((target, "ro")) => (target, true),
            Some((target, "rw")) => (target, false),
            _ => (rest, false),
        };
        if name.starts_with(['/', '.', '~']) {
            return Err(format!("{}; folders of a machine cannot be had", wrong()));
        }
        let name = name.parse().map_err(|error: wire::names::NameError| error.to_string())?;
        if !target.starts_with('/') {
            return Err(wrong());
        }
        Ok(Self(VolumeMountCreate { name, target: target.to_owned(), is_read_only }))
    }
}

/// A port as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortArg(PortCreate);

impl FromStr for PortArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a port: use `8000`, `8080:8000` or `5353:53/udp`");
        let number = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0).ok_or_else(wrong);
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let pieces: Vec<&str> = ports.split(':').collect();
        let (bind, host, container) = match pieces.as_slice() {
            [container] => (Bind::Loopback, None, number(container)?),
            [host, container] => (Bind::Loopback, Some(number(host)?), number(container)?),
            [address, host, container] => {
                let bind = match *address {
                    "127.0.0.1" => Bind::Loopback,
                    "0.0.0.0" => Bind::Lan,
                    _ => {
                        return Err(format!(
                            "`{address}` cannot be published on: use `127.0.0.1` or `0.0.0.0`"
                        ));
                    }
                };
                let host = if host.is_empty() { None } else { Some(number(host)?) };
                (bind, host, number(container)?)
            }
            _ => return Err(wrong()),
        };
        Ok(Self(PortCreate { container, protocol, host, bind }))
    }
}

/// Reads a variable. Not while the command line is parsed: a refusal there repeats the text, which may be a secret.
pub(super) fn variable(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a variable is written `KEY=VALUE`"),
    }
}

/// Runs a verb.
pub(crate) async fn run(command: ContainerCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        ContainerCommand::List { page, whose } => all(session, &page, &whose).await,
        ContainerCommand::Run(args) => run_image(session, *args).await,
        ContainerCommand::Show { container } => show(session, &container).await,
        ContainerCommand::Start { container } => {
            change(session, &container, "start", words::CONTAINER_STARTING).await
        }
        ContainerCommand::Stop { container } => {
            change(session, &container, "stop", words::CONTAINER_STOPPING).await
        }
        ContainerCommand::Restart { container } => {
            change(session, &container, "restart", words::CONTAINER_RESTARTING).await
        }
        ContainerCommand::Delete { container, yes } => {
            session.ask(yes, words::DELETE_CONTAINER, &[&container.0])?;
            let answer = session.client.delete(&["api", "v1", "containers", &container.0]).await?;
            session.done(&answer, words::CONTAINER_DELETED, &[&container.0])
        }
        ContainerCommand::Log(args) => log(session, args).await,
        ContainerCommand::Cp(args) => files::copy(session, &args).await,
        ContainerCommand::File(command) => files::run(session, command).await,
        ContainerCommand::Update(args) => update::update(session, args).await,
        ContainerCommand::Rename(args) => update::rename(session, args).await,
        ContainerCommand::Save(args) => save::run(session, args).await,
        ContainerCommand::Stats { container: Some(container), follow, .. } => {
            stats::show(session, &container.0, follow).await
        }
        ContainerCommand::Stats { container: None, all, .. } => stats::list(session, all).await,
        ContainerCommand::Events { container } => events(session, &container.0).await,
        ContainerCommand::KeptLog(command) => kept_log(session, command).await,
        ContainerCommand::Exec(args) => terminal::exec(session, args).await,
        ContainerCommand::Terminal(command) => terminal::run(command, session).await,
    }
}

async fn events(session: &Session, container: &str) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "containers", container, "events"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = answer
        .view::<Vec<ContainerEventView>>()?
        .into_iter()
        .map(|event| {
            let code = event.exit_code.map(|code| code.to_string()).unwrap_or_default();
            let why = event.message.or(event.reason).unwrap_or_default();
            [human::ago(event.at, now, session.printer.language), name_of(&event.state), code, why]
        })
        .collect();
    session.printer.table(["WHEN", "STATE", "EXIT CODE", "WHY"], &rows)
}

async fn all(session: &Session, page: &PageArgs, whose: &WhoseArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "containers"], &whose.query(page)).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<ContainerView>(&session.printer, &answer)?
        .into_iter()
        .map(|container| {
            [
                container.id.to_string(),
                container.name.to_string(),
                state_in_words(&container),
                container.image.clone(),
                ports_in_words(&container.ports),
                container.gpus.as_ref().map(|wish| wish.count.to_string()).unwrap_or_default(),
                container.machine_id.as_ref().map(MachineId::to_string).unwrap_or_default(),
                human::ago(container.created_at, now, session.printer.language),
            ]
        })
        .collect();
    session.printer.table(["ID", "NAME", "STATE", "IMAGE", "PORTS", "GPUS", "MACHINE", "CREATED"], &rows)
}

/// The state, with the exit code where the process has ended and the place in the line where there is one.
fn state_in_words(container: &ContainerView) -> String {
    let state = name_of(&container.state);
    match (container.exit_code, container.queue) {
        (_, Some(queue)) => format!("{state} (number {} in line)", queue.position),
        (Some(code), None) if container.state == ContainerState::Stopped => format!("{state} (exit {code})"),
        _ => state,
    }
}

/// What it asks for, as it would be typed.
pub(crate) fn gpus_in_words(wish: &GpuWish) -> String {
    let model = wish.model.as_ref().map(|model| format!(" of {model}")).unwrap_or_default();
    let memory =
        wish.memory_mib.map(|mib| format!(", at least {}", human::size(mib << 20))).unwrap_or_default();
    format!("{}{model}{memory}", wish.count)
}

/// Limits that are still to come, and why.
fn wished_in_words(wished: &WishedLimits) -> String {
    let limits = &wished.limits;
    let shown = format!(
        "{} memory, {} cpus, {} processes",
        human::size(limits.memory_bytes),
        human::cores(limits.cpu_millis),
        limits.pids
    );
    match &wished.message {
        Some(message) => format!("{shown} with the next start: {message}"),
        None => shown,
    }
}

fn volumes_in_words(volumes: &[VolumeMount]) -> String {
    let shown = |volume: &VolumeMount| {
        format!("{}:{}{}", volume.name, volume.target, if volume.is_read_only { ":ro" } else { "" })
    };
    volumes.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn ports_in_words(ports: &[Port]) -> String {
    let shown = |port: &Port| {
        format!("{}:{}->{}/{}", port.bind.address(), port.host, port.container, port.protocol.as_str())
    };
    ports.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Where a container answers, for TCP ports.
fn urls(container: &ContainerView) -> Vec<String> {
    let is_tcp = |port: &&Port| port.protocol == Protocol::Tcp;
    container.ports.iter().filter(is_tcp).map(|port| format!("http://127.0.0.1:{}", port.host)).collect()
}

async fn show(session: &Session, container: &ContainerArg) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "containers", &container.0], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let container: ContainerView = answer.view()?;
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    session.printer.facts(&[
        ("id", Some(container.id.to_string())),
        ("name", Some(container.name.to_string())),
        ("display name", container.display_name.clone()),
        ("account", Some(container.account.to_string())),
        ("state", Some(format!("{} ({})", state_in_words(&container), ago(container.state_since)))),
        ("reason", container.reason.clone()),
        ("message", container.message.clone()),
        ("image", Some(container.image.clone())),
        ("machine", container.machine_id.as_ref().map(MachineId::to_string)),
        ("gpus", container.gpus.as_ref().map(gpus_in_words)),
        ("gpu ids", some(container.gpu_ids.iter().map(GpuId::as_str).collect::<Vec<_>>().join(" "))),
        (
            "longest",
            container.max_duration_secs.map(|secs| human::duration(i64::try_from(secs).unwrap_or(i64::MAX))),
        ),
        ("ends", container.ends_at.filter(|_| container.state.is_running()).map(ago)),
        (
            "pull",
            container.pull.map(|pull| {
                format!(
                    "{} of {} in {} layers, {}/s",
                    human::size(pull.current_bytes),
                    human::size(pull.total_bytes),
                    pull.layers,
                    human::size(pull.bytes_per_sec)
                )
            }),
        ),
        ("restart", some(name_of(&container.restart_policy)).filter(|name| name != "no")),
        ("restarts", Some(container.restarts.to_string()).filter(|_| container.restarts > 0)),
        ("ports", some(ports_in_words(&container.ports))),
        ("url", some(urls(&container).join(" ")).filter(|_| container.state.is_running())),
        ("entrypoint", container.entrypoint.as_ref().map(|words| words.join(" "))),
        ("command", container.command.as_ref().map(|words| words.join(" "))),
        ("folder", container.working_dir.clone()),
        // Values are often secrets; `--json` has them.
        ("variables", some(container.env.keys().cloned().collect::<Vec<_>>().join(", "))),
        ("memory", Some(human::size(container.memory_bytes))),
        ("cpus", Some(human::cores(container.cpu_millis))),
        ("processes", Some(container.pids.to_string())),
        ("wished limits", container.wished_limits.as_ref().map(wished_in_words)),
        ("shared memory", Some(human::size(container.shm_bytes))),
        ("volumes", some(volumes_in_words(&container.volumes))),
        ("terminal", container.tty.then(|| "of its process".to_owned())),
        ("created", Some(ago(container.created_at))),
    ])
}

async fn change(session: &Session, container: &ContainerArg, verb: &str, word: Word) -> anyhow::Result<()> {
    let answer = session.client.post_empty(&["api", "v1", "containers", &container.0, verb]).await?;
    session.done(&answer, word, &[&container.0])
}

async fn run_image(session: &Session, args: RunArgs) -> anyhow::Result<()> {
    let is_interactive = args.terminal.interactive;
    if is_interactive {
        terminal::check_terminal(session)?;
    }
    let (no_wait, timeout) = (args.no_wait, Duration::from_secs(args.timeout));
    let body = asked_for(args)?;
    let accepted = session.client.post(&["api", "v1", "containers"], &body).await?;
    let container: ContainerView = accepted.view()?;
    let name = container.name.to_string();

    if no_wait {
        if !session.shown_as_json(&accepted)? {
            session.printer.data(&name)?;
        }
        return Ok(());
    }
    let answer = tokio::select! {
        answer = settled(session, container, accepted, timeout) => answer?,
        _ = tokio::signal::ctrl_c() => {
            let language = session.printer.language;
            let hint = language.say(words::CONTAINER_SHOW_HINT, &[&name]);
            return Err(Failure::new(language.pick(words::NOT_WAITING)).hint(hint).into());
        }
    };
    let container: ContainerView = answer.view()?;
    if session.printer.is_json {
        session.printer.json(&answer.text)?;
    }
    outcome(session, &container).await?;
    if !is_interactive || container.state != ContainerState::Running {
        return Ok(());
    }
    let ended = terminal::shell(session, ContainerArg(container.id.to_string())).await;
    session.printer.say(words::CONTAINER_GOES_ON, &[&name, &name]);
    ended
}

fn asked_for(args: RunArgs) -> anyhow::Result<ContainerCreate> {
    let mut env = BTreeMap::new();
    for file in &args.env_file {
        env.extend(read_env_file(file)?);
    }
    for text in &args.env {
        let (key, value) = variable(text).map_err(Failure::usage)?;
        env.insert(key, value);
    }
    let has_wish = args.gpus.is_some() || args.gpu_model.is_some() || args.gpu_memory.is_some();
    let gpus = has_wish.then(|| GpuWish {
        count: args.gpus.unwrap_or(1),
        model: args.gpu_model,
        memory_mib: args.gpu_memory.map(|bytes| bytes.div_ceil(1 << 20)),
    });
    Ok(ContainerCreate {
        image: args.image.0,
        name: args.name,
        display_name: args.display_name,
        machine: args.machine.map(|id| id.to_string()),
        ports: args.publish.into_iter().map(|PortArg(port)| port).collect(),
        env,
        command: Some(args.command).filter(|command| !command.is_empty()),
        entrypoint: args.entrypoint.map(|program| vec![program]),
        working_dir: args.workdir,
        memory_bytes: args.memory,
        cpu_millis: args.cpus,
        pids: args.pids,
        gpus,
        max_duration_secs: args.max_duration,
        shm_bytes: args.shm_size,
        volumes: args.volumes.into_iter().map(|VolumeMountArg(volume)| volume).collect(),
        home: args.home,
        restart_policy: args.restart.into(),
        tty: args.terminal.tty,
    })
}

fn read_env_file(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut env = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (key, value) = variable(line)
            .map_err(|why| Failure::usage(format!("`{}` line {}: {why}", path.display(), number + 1)))?;
        env.insert(key, value);
    }
    Ok(env)
}

/// Waits until the container runs, has ended or has failed, and shows its states as they change.
async fn settled(
    session: &Session,
    container: ContainerView,
    accepted: Answer,
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let id = container.id.to_string();
    let bar = session.printer.status_bar();
    let (mut answer, mut container) = (accepted, container);
    let mut shown = String::new();
    let mut pause = PAUSE.0;
    loop {
        let text = progress_in_words(session, &container);
        if shown != text {
            if bar.is_hidden() {
                session.printer.line(&text);
            }
            bar.set_message(text.clone());
            shown = text;
        }
        bar.tick();
        let is_settled = matches!(
            container.state,
            ContainerState::Running | ContainerState::Stopped | ContainerState::Failed
        );
        if is_settled || container.state == ContainerState::Deleting {
            bar.finish_and_clear();
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bar.finish_and_clear();
            let language = session.printer.language;
            let name = container.name.as_str();
            let message = language.say(words::NOT_IN_TIME, &[name, &name_of(&container.state)]);
            return Err(Failure::new(message).hint(language.say(words::CONTAINER_SHOW_HINT, &[name])).into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
        answer = session.client.get(&["api", "v1", "containers", &id], &[]).await?;
        container = answer.view()?;
    }
}

/// Where a container is on its way, and what it waits for.
fn progress_in_words(session: &Session, container: &ContainerView) -> String {
    let language = session.printer.language;
    let name = container.name.as_str();
    match (container.queue, &container.message) {
        (Some(queue), Some(message)) => {
            language.say(words::CONTAINER_WAITS, &[name, &queue.position.to_string(), message])
        }
        _ => language.say(words::CONTAINER_IS, &[name, &name_of(&container.state)]),
    }
}

/// Says how it went. A process that ended well by itself did what it was asked.
async fn outcome(session: &Session, container: &ContainerView) -> anyhow::Result<()> {
    let printer = &session.printer;
    let language = printer.language;
    let name = container.name.as_str();
    let has_ended_well = container.state == ContainerState::Stopped && container.exit_code == Some(0);
    if container.state == ContainerState::Running || has_ended_well {
        let word = if has_ended_well { words::CONTAINER_ENDED } else { words::CONTAINER_RUNS };
        printer.say(word, &[name]);
        if printer.is_json {
            return Ok(());
        }
        let urls = urls(container);
        if urls.is_empty() || has_ended_well {
            return printer.data(name);
        }
        return urls.iter().try_for_each(|url| printer.data(url));
    }

    let why = container.message.clone().or_else(|| container.reason.clone()).unwrap_or_else(|| {
        container.exit_code.map_or_else(|| name_of(&container.state), |code| format!("exit {code}"))
    });
    let mut failure = Failure::new(language.say(words::CONTAINER_FAILED, &[name, &why]));
    failure.details = tail(session, container).await.unwrap_or_default();
    let hint = language.say(words::CONTAINER_LOG_HINT, &[name]);
    Err(failure.hint(hint).into())
}

/// The last lines that a container printed.
async fn tail(session: &Session, container: &ContainerView) -> anyhow::Result<Vec<String>> {
    let id = container.id.to_string();
    let query = [("tail", TAIL_LINES.to_string())];
    let answer = session.client.get(&["api", "v1", "containers", &id, "log"], &query).await?;
    Ok(answer.text.lines().map(str::to_owned).collect())
}

async fn log(session: &Session, args: LogArgs) -> anyhow::Result<()> {
    let mut query = Vec::new();
    if args.follow {
        query.push(("follow", "true".to_owned()));
    }
    if args.timestamps {
        query.push(("timestamps", "true".to_owned()));
    }
    query.extend(args.tail.map(|lines| ("tail", lines.to_string())));
    query.extend(args.search.grep.map(|text| ("grep", text)));
    for (name, is_set) in [("regex", args.search.regex), ("ignore_case", args.search.ignore_case)] {
        query.extend(is_set.then(|| (name, "true".to_owned())));
    }
    if let Some(since) = &args.since {
        let since = human::parse_since(since, environment::now()).map_err(Failure::usage)?;
        query.push(("since", since.to_string()));
    }
    let path = ["api", "v1", "containers", &args.container.0, "log"];
    let mut response = session.client.stream(&path, &query, "text/plain").await?;
    let mut text = LogOutput::new(&session.printer);
    // A container may be silent for as long as it likes: no time-out here.
    while let Some(bytes) = response.chunk().await.map_err(|error| session.client.unreachable(&error))? {
        text.push(&session.printer, &bytes)?;
    }
    Ok(())
}

async fn kept_log(session: &Session, command: KeptLogCommand) -> anyhow::Result<()> {
    let (page, whose) = match command {
        KeptLogCommand::List { page, whose } => (page, whose),
        KeptLogCommand::Delete { container, yes } => {
            session.ask(yes, words::DELETE_KEPT_LOG, &[&container.0])?;
            let answer = session.client.delete(&["api", "v1", "kept-logs", &container.0]).await?;
            return session.done(&answer, words::KEPT_LOG_DELETED, &[&container.0]);
        }
    };
    let answer = session.client.get(&["api", "v1", "kept-logs"], &whose.query(&page)).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let (now, language) = (environment::now(), session.printer.language);
    let rows: Vec<_> = list::page::<KeptLogView>(&session.printer, &answer)?
        .into_iter()
        .map(|log| {
            [
                log.container_id.to_string(),
                log.name.to_string(),
                log.image.clone(),
                human::size(log.bytes),
                human::ago(log.removed_at, now, language),
                human::ago(log.kept_until, now, language),
            ]
        })
        .collect();
    session.printer.table(["ID", "NAME", "IMAGE", "SIZE", "DELETED", "KEPT UNTIL"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read_as_docker_users_type_them() {
        let read = |text: &str| text.parse::<VolumeMountArg>().map(|VolumeMountArg(volume)| volume).ok();
        let volume = |target: &str, is_read_only| {
            let name = "data".parse().unwrap();
            Some(VolumeMountCreate { name, target: target.to_owned(), is_read_only })
        };

        assert_eq!(read("data:/srv"), volume("/srv", false));
        assert_eq!(read("data:/srv:ro"), volume("/srv", true));
        assert_eq!(read("data:/srv:rw"), volume("/srv", false));
        for text in ["", "data", "/etc:/etc", "../x:/x", "~:/x", "data:srv", ":/x", "DATA:/x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn ports_are_read_as_docker_users_type_them() {
        let read = |text: &str| text.parse::<PortArg>().map(|PortArg(port)| port);
        let port = |bind, host, container, protocol| Ok(PortCreate { container, protocol, host, bind });

        assert_eq!(read("8000"), port(Bind::Loopback, None, 8000, Protocol::Tcp));
        assert_eq!(read("8080:80/tcp"), port(Bind::Loopback, Some(8080), 80, Protocol::Tcp));
        assert_eq!(read("53/udp"), port(Bind::Loopback, None, 53, Protocol::Udp));
        assert_eq!(read("0.0.0.0::80"), port(Bind::Lan, None, 80, Protocol::Tcp));
        for text in
            ["", "0", "65536", "a", "80/sctp", "1:2:3:4", "10.0.0.1:80:80", ":80", "80:", "-1", "80/tcp/tcp"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
