//! How `server` and `config` are typed; what they do is written elsewhere.
//!
//! Every option may be absent: `server::config` lays what was typed over `LONGSHORE_…` variables, the file and the
//! defaults, and must be able to tell "not typed" from a value.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use longshore::run::Settings;

/// Options of `longshore server`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Where the server listens, such as `127.0.0.1:8080`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the supervised registry listens
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) registry_listen: Option<SocketAddr>,
    /// The registry's name for Kubernetes nodes and outside clients
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) registry_advertise: Option<String>,
    /// The server's address as people and agents reach it
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Where browsers are shown applications in clusters, apart from the console
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) app_listen: Option<SocketAddr>,
    /// Whether the server's port speaks TLS
    #[arg(long, value_enum)]
    pub(crate) tls: Option<TlsName>,
    /// Address ranges that addresses given by users may reach besides public ones
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) outbound_allow: Option<Vec<String>>,
    /// Who may register
    #[arg(long, value_enum)]
    pub(crate) registration: Option<RegistrationName>,
    /// What is logged, such as `info` or `server=debug`
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How it is logged
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

impl ServerArgs {
    /// What was typed, by the names of the settings.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = self.store.settings();
        let options = [
            ("listen", self.listen.map(|address| address.to_string())),
            ("registry_listen", self.registry_listen.map(|address| address.to_string())),
            ("registry_advertise", self.registry_advertise.clone()),
            ("public_url", self.public_url.clone()),
            ("app_listen", self.app_listen.map(|address| address.to_string())),
            ("tls.mode", self.tls.map(|mode| value_name(&mode))),
            ("auth.registration", self.registration.map(|mode| value_name(&mode))),
            ("outbound.allow", self.outbound_allow.as_ref().map(|ranges| ranges.join(","))),
            ("log.filter", self.log.clone()),
            ("log.format", self.log_format.map(|format| value_name(&format))),
        ];
        for (key, value) in options {
            settings.options.extend(value.map(|value| (key.to_owned(), value)));
        }
        settings
    }
}

/// A choice as it is typed.
fn value_name(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Where the server's things are.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StoreArgs {
    /// Settings file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder for everything the server keeps
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Database; SQLite in the data folder when absent. A password is better kept in the file or in
    /// `LONGSHORE_DATABASE_URL`
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
}

impl StoreArgs {
    /// What was typed, by the names of the settings.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings { file: self.config.clone(), ..Settings::default() };
        let folder = self.data_dir.as_ref().map(|folder| folder.display().to_string());
        for (key, value) in [("data_dir", folder), ("database_url", self.database_url.clone())] {
            settings.options.extend(value.map(|value| (key.to_owned(), value)));
        }
        settings
    }
}

/// Who may register, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RegistrationName {
    /// Anybody
    Open,
    /// Anybody, but an admin must approve before the first login
    Approval,
    /// Nobody; an admin makes accounts
    Closed,
}

/// Whether the server's port speaks TLS, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsName {
    /// In the clear on loopback addresses, TLS elsewhere
    Auto,
    /// TLS everywhere
    On,
    /// Never: a TLS proxy stands before the server
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Verbs of `longshore config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a settings file with every setting explained
    Example,
}
