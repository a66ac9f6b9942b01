//! The command line: how commands are typed and where they go. It talks to a server only through HTTP.
//!
//! - `server`, `agent`, `database`: the commands of this machine (`server`, `config`, `agent`, `db`)
//! - `login`, `account`, `token`, `audit`, `image`, `build`, `git_repo`, `git_repo_secret`, `notification`, `run`, `container`, `machine`, `cluster`, `namespace`, `workload`, `gpu`, `queue`, `chart`, `release`, `setting`, `watch`, `doctor`: one file per noun
//! - `k8s_repo`: chart repositories, as seed 004 has them typed
//! - `terminal`: commands in containers, for `container exec`; `port_forward`: ports of pods
//! - `session`, `client`, `socket`, `sse`, `pack`, `ignore`, `credentials`, `password`: what commands are made of
//! - `printer`, `words`, `human`, `json`, `list`, `failure`: what people and programs see
//! - `environment`: variables and the clock

mod account;
pub(crate) mod agent;
mod audit;
mod build;
mod chart;
mod chart_key;
mod client;
mod cluster;
mod container;
mod credentials;
mod database;
mod doctor;
mod environment;
mod failure;
mod files;
mod git_repo;
mod git_repo_secret;
mod gpu;
mod human;
mod ignore;
mod image;
mod json;
mod k8s_repo;
mod list;
mod login;
mod machine;
mod namespace;
mod notification;
mod pack;
mod password;
mod port_forward;
mod printer;
mod queue;
mod registry;
mod release;
mod rollout;
mod run;
mod save;
pub(crate) mod server;
mod session;
mod setting;
mod socket;
mod sse;
mod stats;
mod terminal;
mod token;
mod update;
mod upload;
mod volume;
mod watch;
mod words;
mod workload;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use reqwest::Url;

use failure::{ExitWith, FAILED, Failure};
use printer::Printer;
use session::Session;

/// Self-hosted platform: from code to images to running containers.
#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Chart repositories: k8s-repo-create, -update, -list, -show, -sync, -delete (each with --help; also when called `climc`).\n\nExit status: 0 done, 1 failed, 2 typed wrongly. Data goes to stdout, words to stderr."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Talk to this server [default: `LONGSHORE_URL`, or the last login]
    #[arg(long, global = true, value_name = "URL", value_parser = client::parse_server, help_heading = "Global options")]
    pub(crate) server: Option<Url>,
    /// Print the server's answer as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in to a server
    Login(login::LoginArgs),
    /// Log out and forget the token
    Logout(login::LogoutArgs),
    /// Show who you are on which server
    Whoami,
    /// Make an account on a server and log in
    Register(login::LoginArgs),
    /// People
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// API tokens, for programs
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who changed what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// How the installation is set
    #[command(subcommand)]
    Setting(setting::SettingCommand),
    /// Images: upload, list, tag, delete
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// The registry: where images lie
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Builds: how images are made
    #[command(subcommand)]
    Build(build::BuildCommand),
    /// Git repositories that pipelines build
    #[command(subcommand, alias = "repo")]
    GitRepo(git_repo::GitRepoCommand),
    /// Notifications: who hears how runs end
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// Runs of pipelines: from a commit to an image
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Containers: run, stop, log
    #[command(subcommand)]
    Container(container::ContainerCommand),
    /// Volumes: folders that outlive containers
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Machines that run containers
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// Kubernetes clusters
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Namespaces: your rooms in Kubernetes clusters
    #[command(subcommand, visible_alias = "ns")]
    Namespace(namespace::NamespaceCommand),
    /// Workloads: what runs in namespaces
    #[command(subcommand)]
    Workload(workload::WorkloadCommand),
    /// Apply a file of manifests: `workload apply`
    Deploy(workload::ApplyArgs),
    /// Print a kubeconfig for your own kubectl: `namespace kubeconfig`
    Kubeconfig(namespace::KubeconfigArgs),
    /// Show what happens: containers, builds, images, machines
    Watch(watch::WatchArgs),
    /// Graphics processors: what they do and who has them
    #[command(subcommand)]
    Gpu(gpu::GpuCommand),
    /// Who waits for GPUs
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Charts: what the chart repositories have
    #[command(subcommand)]
    Chart(chart::ChartCommand),
    /// Releases: charts that are installed into namespaces
    #[command(subcommand)]
    Release(release::ReleaseCommand),
    /// Chart repositories, read by hand before anything else
    #[command(skip)]
    K8sRepo(k8s_repo::Invocation),
    /// Look at everything and say what is wrong
    Doctor(doctor::DoctorArgs),
    /// Run the server, with its own agent and registry
    Server(server::ServerArgs),
    /// The agent of this machine: join, run, look
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// The server's database
    Db(database::DatabaseArgs),
    /// The server's settings
    #[command(subcommand)]
    Config(server::ConfigCommand),
    /// Print the OpenAPI document of the server's interface
    Openapi,
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

/// Reads the command line; a wrong one ends the process with status 2.
pub(crate) fn parse() -> Cli {
    k8s_repo::intercept(std::env::args_os()).unwrap_or_else(Cli::parse)
}

/// Runs a command that is no service.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let printer = Printer::new(cli.global.json);
    // One thread is enough for one conversation, and starts faster than many.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli.command, &cli.global, &printer));
            // A thread that still waits for a pipe must not keep the process.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    finish(&printer, result)
}

/// Shows how a service ended, in the same way as other commands.
pub(crate) fn report(global: &Global, result: anyhow::Result<()>) -> ExitCode {
    finish(&Printer::new(global.json), result)
}

fn finish(printer: &Printer, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // Whoever read our output has seen enough: `longshore image list | head -1` did its work.
    let is_broken_pipe = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if is_broken_pipe {
        return ExitCode::SUCCESS;
    }
    if let Some(ExitWith(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    let error = match error.downcast::<::server::error::Error>() {
        Ok(error) => Failure::from(error).into(),
        Err(error) => error,
    };
    printer.failure(&error);
    ExitCode::from(Failure::of(&error).map_or(FAILED, |failure| failure.exit))
}

async fn dispatch(command: Command, global: &Global, printer: &Printer) -> anyhow::Result<()> {
    let session = || Session::open(global, printer);
    match command {
        Command::Login(args) => login::login(args, printer).await,
        Command::Register(args) => login::register(args, printer).await,
        Command::Logout(args) => login::logout(args, global, printer).await,
        Command::Whoami => login::whoami(&session()?).await,
        Command::Account(command) => account::run(command, &session()?).await,
        Command::Token(command) => token::run(command, &session()?).await,
        Command::Setting(command) => setting::run(command, &session()?).await,
        Command::Audit(command) => audit::run(command, &session()?).await,
        Command::Image(command) => image::run(command, &session()?).await,
        Command::Build(command) => build::run(command, &session()?).await,
        Command::GitRepo(command) => git_repo::run(command, &session()?).await,
        Command::Notification(command) => notification::run(command, &session()?).await,
        Command::Run(command) => run::run(command, &session()?).await,
        Command::Container(command) => container::run(command, &session()?).await,
        Command::Registry(command) => registry::run(command, &session()?).await,
        Command::Volume(command) => volume::run(command, &session()?).await,
        Command::Watch(args) => watch::watch(&session()?, &args).await,
        Command::Machine(command) => machine::run(command, &session()?).await,
        Command::Cluster(cluster::ClusterCommand::Role) => cluster::role(printer),
        Command::Cluster(command) => cluster::run(command, &session()?).await,
        Command::Namespace(command) => namespace::run(command, &session()?).await,
        Command::Workload(command) => workload::run(command, &session()?).await,
        Command::Deploy(args) => workload::apply(&session()?, args).await,
        Command::Kubeconfig(args) => namespace::kubeconfig(&session()?, args).await,
        Command::Gpu(command) => gpu::run(command, &session()?).await,
        Command::Queue(command) => queue::run(command, &session()?).await,
        Command::Chart(command) => chart::run(command, &session()?).await,
        Command::Release(command) => release::run(command, &session()?).await,
        Command::K8sRepo(invocation) => k8s_repo::run(invocation, printer, session).await,
        Command::Doctor(args) => doctor::run(args, global, printer).await,
        Command::Db(args) => database::run(args, printer).await,
        // As the server serves it, to the byte.
        Command::Openapi => printer.raw(::server::openapi_json().as_bytes()),
        Command::Config(server::ConfigCommand::Example) => {
            let text = ::server::config::example();
            if printer.is_json {
                return printer.json(&serde_json::json!({ "toml": text }).to_string());
            }
            printer.raw(text.as_bytes())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "longshore", &mut script);
            printer.raw(&script)
        }
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            if printer.is_json {
                return printer.json(&serde_json::json!({ "version": version }).to_string());
            }
            printer.data(&format!("longshore {version}"))
        }
        Command::Agent(command) => agent::run(command, printer).await,
        Command::Server(_) => {
            anyhow::bail!("`main` runs the services")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_put_together_without_contradiction() {
        Cli::command().debug_assert();
    }
}
