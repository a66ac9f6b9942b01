//! Settings: defaults < `longshore.toml` < environment (`LONGSHORE_…`) < command line. One table, [`SETTINGS`],
//! describes every setting; the annotated example and the environment's names are made from it, so they cannot drift.
//! Layering is our own sixty lines because the names of the environment are part of the public contract
//! (`auth.reauth_minutes` is `LONGSHORE_AUTH_REAUTH_MINUTES`) and because each value should know where it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wire::accounts::RegistrationMode;
use wire::names::{ClusterName, NamespaceName};
use wire::runs::RunExecutor;
use wire::secret::Secret;

/// A kept log is read into memory.
const KEPT_LOG_BYTES_MAX: u64 = 64 << 20;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// `longshore.toml`.
    File,
    /// A variable of the environment.
    Environment,
    /// An option of the command line.
    CommandLine,
}

impl Source {
    fn shown(self, key: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File => "settings file".to_owned(),
            Self::Environment => environment_name(key),
            Self::CommandLine => "command line".to_owned(),
        }
    }
}

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Strings; separated by commas in the environment and on the command line.
    List,
    /// A string that is never shown to anybody.
    Secret,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file; a dot separates the section.
    pub key: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// Its default, as it stands in the file; none when it has no fixed one.
    pub default: Option<&'static str>,
    /// What it does, in one or two lines.
    pub help: &'static str,
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { key, kind, default, help }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    setting(
        "data_dir",
        Kind::Text,
        None,
        "Folder for everything that the server keeps: database, keys, logs, the registry's content.",
    ),
    setting("listen", Kind::Text, Some("\"127.0.0.1:8080\""), "Address of the API and the console."),
    setting(
        "registry_listen",
        Kind::Text,
        Some("\"127.0.0.1:5000\""),
        "Address of the registry's door on this machine; engines here know images by it.",
    ),
    setting(
        "registry_advertise",
        Kind::Text,
        None,
        "The registry's name (`host:port`) for Kubernetes nodes and clients elsewhere; the door's address when not set.",
    ),
    setting(
        "public_url",
        Kind::Text,
        None,
        "Address by which browsers reach the server, such as `https://cloud.example.org`; requests of browsers are checked against it.",
    ),
    setting(
        "app_listen",
        Kind::Text,
        None,
        "Address where browsers are shown applications in clusters (`/app/…`): an origin of its own, so that their pages cannot use the console's session. Without it they are shown beside the console, shut into a sandbox in which few of them work.",
    ),
    setting(
        "app_url",
        Kind::Text,
        None,
        "Address by which browsers reach `app_listen`, with the same host name as `public_url`; that name and `app_listen`'s port when not set.",
    ),
    setting(
        "database_url",
        Kind::Secret,
        None,
        "`mysql://…`, `mysql+pymysql://…`, `postgres://…` or `sqlite://path`; a SQLite file in the data folder when not set.",
    ),
    setting(
        "admin_password",
        Kind::Secret,
        None,
        "Password of the first admin; only read when the account `admin` does not exist. Generated when not set.",
    ),
    setting(
        "trusted_proxies",
        Kind::List,
        Some("[]"),
        "Addresses (CIDR) whose `X-Forwarded-For` is believed.",
    ),
    setting(
        "manifests_dir",
        Kind::Text,
        None,
        "Folder where the files of workloads are kept, as `ACCOUNT/FILE`; in the data folder when not set.",
    ),
    setting(
        "tls.mode",
        Kind::Text,
        Some("\"auto\""),
        "`auto`: in the clear on loopback addresses, TLS elsewhere; `on`: TLS everywhere; `off`: never, for a server behind a TLS proxy.",
    ),
    setting(
        "tls.certificate",
        Kind::Text,
        None,
        "Certificate chain (PEM) of the server's port; the server signs one itself when not set, and invitations carry its fingerprint.",
    ),
    setting("tls.key", Kind::Text, None, "Private key (PEM) of `tls.certificate`."),
    setting(
        "tls.acme_domains",
        Kind::List,
        Some("[]"),
        "Names for which the server gets certificates by itself, by ACME (Let's Encrypt): they must lead to this server, and its port must be reached at 443. To set it is to agree to the authority's terms.",
    ),
    setting(
        "tls.acme_directory",
        Kind::Text,
        Some("\"https://acme-v02.api.letsencrypt.org/directory\""),
        "The authority's ACME directory.",
    ),
    setting("tls.acme_contact", Kind::Text, None, "Mail address for the authority, without `mailto:`."),
    setting(
        "tls.acme_authority",
        Kind::Text,
        None,
        "Certificate (PEM) by which the authority's own server is known, where it is not a public one.",
    ),
    setting(
        "machine.enabled",
        Kind::Switch,
        Some("true"),
        "Whether this host's own engine is used, through the built-in agent.",
    ),
    setting(
        "machine.docker",
        Kind::Text,
        None,
        "The engine's socket, `unix:///var/run/docker.sock` when not set.",
    ),
    setting(
        "machine.policy_file",
        Kind::Text,
        None,
        "What containers on this machine may ask for (`agent-policy.toml`); built-in bounds when not set.",
    ),
    setting(
        "machine.nvml",
        Kind::Text,
        None,
        "The NVIDIA driver's library; the system's `libnvidia-ml.so.1` when not set. Without one the machine has no GPUs.",
    ),
    setting(
        "auth.registration",
        Kind::Text,
        Some("\"open\""),
        "Who may register: `open`, `approval` (an admin approves) or `closed`.",
    ),
    setting("auth.session_hours", Kind::Number, Some("168"), "Hours until a login ends."),
    setting(
        "auth.reauth_minutes",
        Kind::Number,
        Some("10"),
        "Minutes after a login within which the password can be changed without giving the old one; 0 for no limit.",
    ),
    setting(
        "auth.hide_unknown",
        Kind::Switch,
        Some("false"),
        "Answer a login of an unknown account like a wrong password (401 instead of 404).",
    ),
    setting(
        "auth.failures_per_minute",
        Kind::Number,
        Some("10"),
        "Wrong passwords per minute and account before logins are refused for a while.",
    ),
    setting(
        "auth.failures_per_minute_address",
        Kind::Number,
        Some("60"),
        "Wrong passwords per minute and address before logins are refused for a while.",
    ),
    setting(
        "auth.registrations_per_minute",
        Kind::Number,
        Some("300"),
        "Registrations per minute and address.",
    ),
    setting(
        "uploads.max_bytes",
        Kind::Number,
        Some("1610612736"),
        "Largest archive that can be uploaded, in bytes.",
    ),
    setting(
        "uploads.unpacked_bytes",
        Kind::Number,
        Some("4294967296"),
        "Largest unpacked size of an archive, in bytes.",
    ),
    setting("uploads.entries", Kind::Number, Some("50000"), "Most entries in an archive."),
    setting(
        "builds.workers",
        Kind::Number,
        Some("3"),
        "Builds at the same time; more than one account may have, so that nobody keeps all others waiting.",
    ),
    setting("builds.per_account", Kind::Number, Some("2"), "Builds at the same time per account."),
    setting(
        "builds.queued_per_account",
        Kind::Number,
        Some("50"),
        "Builds that one account may have waiting.",
    ),
    setting("builds.timeout_secs", Kind::Number, Some("3600"), "Seconds after which a build is ended."),
    setting("builds.memory_bytes", Kind::Number, Some("4294967296"), "Memory of a build step in bytes."),
    setting(
        "builds.cpu_millis",
        Kind::Number,
        Some("2000"),
        "Processor time of a build step in thousandths of a core.",
    ),
    setting(
        "builds.unbounded_secrets",
        Kind::Switch,
        Some("false"),
        "Whether builds with secrets may run on machines that cannot bound what their steps use: where systemd makes the engine's control groups, or the agent may not write them. Allow it where everybody who builds is trusted with the machine's memory.",
    ),
    setting(
        "builds.log_bytes",
        Kind::Number,
        Some("33554432"),
        "Longest log of a build in bytes; the rest is counted and dropped.",
    ),
    setting(
        "pipelines.fetch_secs",
        Kind::Number,
        Some("600"),
        "Seconds that fetching a commit from a git server may take.",
    ),
    setting(
        "pipelines.fetch_bytes",
        Kind::Number,
        Some("2147483648"),
        "Largest commit that is fetched, packed as git sends it, in bytes.",
    ),
    setting(
        "pipelines.commit_bytes",
        Kind::Number,
        Some("2147483648"),
        "Disk space in bytes for what was fetched from git servers and is kept, so that the same commit is not fetched again. 0 for none.",
    ),
    setting(
        "pipelines.keep_days",
        Kind::Number,
        Some("90"),
        "Days for which runs that have ended are kept, with their logs; images stay. 0 for ever.",
    ),
    setting(
        "pipelines.keep_bytes",
        Kind::Number,
        Some("10737418240"),
        "Disk space for the logs of runs in bytes: when they have more, the oldest runs that have ended go with their logs. 0 for no limit.",
    ),
    setting(
        "pipelines.cluster_workers",
        Kind::Number,
        Some("4"),
        "Builds in clusters at the same time; `builds.workers` is for those on machines. `builds.per_account` holds for each of the two.",
    ),
    setting(
        "pipelines.executor",
        Kind::Text,
        Some("\"docker\""),
        "Where runs are built whose repository says nothing: `docker` on a machine, or `kubernetes` in a cluster.",
    ),
    setting(
        "pipelines.cluster",
        Kind::Text,
        None,
        "Cluster in which runs are built; the default cluster when not set.",
    ),
    setting(
        "pipelines.namespace",
        Kind::Text,
        Some("\"longshore-builds\""),
        "Namespace there for builds. It is made, and must not be there before.",
    ),
    setting(
        "pipelines.builder_image",
        Kind::Text,
        Some("\"quay.io/buildah/stable:latest\""),
        "Image of the pods that build: with buildah, a shell and tar, and a user 1000 that has subordinate ids. Better name one version.",
    ),
    setting(
        "pipelines.storage_bytes",
        Kind::Number,
        Some("21474836480"),
        "Disk space that one build in a cluster may use, in bytes.",
    ),
    setting(
        "pipelines.cache_bytes",
        Kind::Number,
        Some("0"),
        "Disk space for layers that builds in a cluster take over from builds before, in bytes: a volume in `pipelines.namespace`, of which one image repository has a quarter at most. 0 for none.",
    ),
    setting(
        "pipelines.cache_class",
        Kind::Text,
        None,
        "Storage class of that volume; the cluster's default class when not set.",
    ),
    setting(
        "mail.url",
        Kind::Secret,
        None,
        "Mail server for notifications: `smtps://user:password@host` (TLS), `smtp://user:password@host?tls=required` (STARTTLS) or `smtp://host:25` (in the clear).",
    ),
    setting("mail.from", Kind::Text, None, "Sender of e-mail, such as `Longshore <ci@example.org>`."),
    setting("containers.per_account", Kind::Number, Some("100"), "Containers that one account may have."),
    setting(
        "containers.kept_log_bytes",
        Kind::Number,
        Some("4194304"),
        "How much of a container's log is kept when it is deleted, in bytes; 0 for nothing.",
    ),
    setting("containers.kept_log_days", Kind::Number, Some("14"), "Days for which it is kept."),
    setting(
        "containers.kept_logs",
        Kind::Number,
        Some("200"),
        "Such logs that one account may have; the oldest go first.",
    ),
    setting(
        "containers.volumes_per_account",
        Kind::Number,
        Some("20"),
        "Volumes that one account may have, on all machines together.",
    ),
    setting(
        "containers.save_bytes",
        Kind::Number,
        Some("21474836480"),
        "Bytes that a container may have written on its disk to be saved as an image.",
    ),
    setting(
        "images.disk_high_percent",
        Kind::Number,
        Some("85"),
        "Where a machine's disk is fuller than this, images that no container there uses are removed from it, the least recently used first; what the registry does not have stays. 0 for never.",
    ),
    setting("images.disk_low_percent", Kind::Number, Some("75"), "Until the disk is as full as this."),
    setting(
        "gpus.max_duration_default_secs",
        Kind::Number,
        None,
        "Seconds after which a container with GPUs is stopped when its owner says nothing; never when not set.",
    ),
    setting(
        "gpus.max_duration_limit_secs",
        Kind::Number,
        None,
        "The most seconds for which a container with GPUs can run from each start; no bound when not set.",
    ),
    setting(
        "gpus.queued_per_account",
        Kind::Number,
        Some("20"),
        "Containers of one account that may wait for GPUs at the same time.",
    ),
    setting(
        "quotas.gpus",
        Kind::Number,
        None,
        "GPUs that the containers of one account may have together; no bound when not set. As for every quota, admins are not bound, and `longshore account quota` sets another for one account.",
    ),
    setting(
        "quotas.cpu_millis",
        Kind::Number,
        None,
        "Thousandths of cores for the running containers of one account together.",
    ),
    setting(
        "quotas.memory_bytes",
        Kind::Number,
        None,
        "Memory in bytes for the running containers of one account together.",
    ),
    setting(
        "quotas.running_containers",
        Kind::Number,
        None,
        "Containers of one account that run at the same time.",
    ),
    setting(
        "quotas.disk_bytes",
        Kind::Number,
        None,
        "Bytes that one account may hold on the machines' disks, in volumes and in what containers have written. Who holds as much starts nothing more; what runs goes on.",
    ),
    setting(
        "kubernetes.namespaces_per_account",
        Kind::Number,
        Some("10"),
        "Namespaces that one account may have in all clusters together.",
    ),
    setting(
        "kubernetes.cpu_millis",
        Kind::Number,
        Some("8000"),
        "Processor time that the pods of a namespace may ask for, in thousandths of a core.",
    ),
    setting(
        "kubernetes.memory_bytes",
        Kind::Number,
        Some("17179869184"),
        "Memory that the pods of a namespace may ask for, in bytes.",
    ),
    setting("kubernetes.pods", Kind::Number, Some("30"), "Pods in a namespace."),
    setting(
        "kubernetes.storage_bytes",
        Kind::Number,
        Some("107374182400"),
        "Disk space that a namespace may claim, in bytes.",
    ),
    setting(
        "kubernetes.ingress_domain",
        Kind::Text,
        None,
        "Domain below which accounts name their applications, such as `apps.example.org`: `alice` may make an Ingress for `alice.apps.example.org` and every name below that. Without it nobody may make one.",
    ),
    setting(
        "kubernetes.ingress_class",
        Kind::Text,
        None,
        "Class that every Ingress of an account gets; the cluster's default when not set.",
    ),
    setting(
        "kubernetes.ingress_namespace",
        Kind::Text,
        None,
        "Namespace of the ingress controller, from which the pods of accounts may be called.",
    ),
    setting(
        "kubernetes.public_server",
        Kind::Text,
        None,
        "Address of the API server of the cluster in which this server runs, as people reach it, such as `https://kubernetes.example.org:6443`. Their kubeconfigs lead there; without it they get none of that cluster.",
    ),
    setting(
        "kubernetes.public_authority",
        Kind::Text,
        None,
        "File with the certificates (PEM) of the authority by which that address is known; the cluster's own authority when not set.",
    ),
    setting("kubernetes.gpus", Kind::Number, Some("0"), "GPUs that the pods of a namespace may ask for."),
    setting(
        "charts.public_by_default",
        Kind::Switch,
        Some("true"),
        "Whether a chart repository that does not say so is seen by every account.",
    ),
    setting(
        "charts.repos_per_account",
        Kind::Number,
        Some("50"),
        "Chart repositories that one account may have.",
    ),
    setting(
        "charts.sync_minutes",
        Kind::Number,
        Some("60"),
        "Minutes between two syncs of a chart repository that does not say otherwise; 0 for never.",
    ),
    setting("charts.fetch_secs", Kind::Number, Some("120"), "Seconds that fetching an index may take."),
    setting(
        "charts.index_bytes",
        Kind::Number,
        Some("268435456"),
        "Largest index of a chart repository, unpacked, in bytes.",
    ),
    setting(
        "charts.index_compressed_bytes",
        Kind::Number,
        Some("67108864"),
        "Largest index of a chart repository as it comes over the network packed, in bytes.",
    ),
    setting("charts.package_bytes", Kind::Number, Some("20971520"), "Largest package of a chart, in bytes."),
    setting(
        "charts.cache_bytes",
        Kind::Number,
        Some("536870912"),
        "Packages of charts that are kept for the next who looks into them, in bytes together.",
    ),
    setting("charts.versions", Kind::Number, Some("500000"), "Most versions of all charts in one index."),
    setting(
        "charts.helm",
        Kind::Text,
        Some("\"helm\""),
        "Helm's program (version 3), which installs charts: a path, or a name that is looked for where programs are.",
    ),
    setting(
        "streams.per_account",
        Kind::Number,
        Some("64"),
        "Logs, statistics and events that one account may follow at the same time.",
    ),
    setting(
        "files.per_account",
        Kind::Number,
        Some("4"),
        "Files of containers that one account may read and write at the same time.",
    ),
    setting("terminals.per_account", Kind::Number, Some("16"), "Terminals that one account may have open."),
    setting(
        "terminals.keep_secs",
        Kind::Number,
        Some("300"),
        "Seconds for which a terminal that nobody looks at is kept, for a reload or a closed laptop; then its command is ended.",
    ),
    setting(
        "terminals.idle_secs",
        Kind::Number,
        Some("7200"),
        "Seconds without input and output after which a terminal is ended; 0 for no limit.",
    ),
    setting(
        "terminals.longest_secs",
        Kind::Number,
        Some("86400"),
        "Seconds that a terminal may be open; 0 for no limit.",
    ),
    setting(
        "registry.url",
        Kind::Text,
        None,
        "An external CNCF Distribution registry; the server runs its own when not set.",
    ),
    setting(
        "registry.tls",
        Kind::Text,
        Some("\"auto\""),
        "`auto`: TLS at the registry's address when `tls.certificate` is set and the address is not on loopback; `on`: TLS, with a certificate of the server's own where none is set; `off`: never. Programs of this host may use it in the clear, too.",
    ),
    setting(
        "registry.program",
        Kind::Text,
        Some("\"docker-registry\""),
        "The registry's program (Debian's package `docker-registry`).",
    ),
    setting(
        "registry.collect_days",
        Kind::Number,
        Some("0"),
        "Days after which the registry is tidied up again by itself; 0 for only when an admin asks for it.",
    ),
    setting(
        "registry.token_secs",
        Kind::Number,
        Some("60"),
        "Seconds that a token lives which opens the registry to a client; Docker's own count on 60. Before it is tidied up, the registry waits until those are too old that open a push.",
    ),
    setting(
        "outbound.allow",
        Kind::List,
        Some("[]"),
        "Address ranges (CIDR) that addresses given by users may reach besides public ones.",
    ),
    setting("log.format", Kind::Text, Some("\"text\""), "`text` or `json`."),
    setting("log.filter", Kind::Text, Some("\"info\""), "What is logged, as in `info,server=debug`."),
];

/// A setting as people are shown it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Which one.
    pub setting: &'static Setting,
    /// Its value as text; none when it has none, or is a secret.
    pub value: Option<String>,
    /// Where that came from.
    pub source: Source,
}

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Every setting for people, with the place that it came from; secrets only by name.
    #[serde(skip)]
    pub shown: Vec<Shown>,
    /// See [`SETTINGS`], as for every field here.
    pub data_dir: PathBuf,
    /// Address of the API and the console.
    pub listen: SocketAddr,
    /// Address of the registry's door.
    pub registry_listen: SocketAddr,
    /// TLS of the server's port.
    pub tls: TlsConfig,
    /// The registry's name for others.
    pub registry_advertise: Option<String>,
    /// The server's address for browsers.
    pub public_url: Option<String>,
    /// Address where browsers are shown applications; none = beside the console.
    pub app_listen: Option<SocketAddr>,
    /// That address for browsers.
    pub app_url: Option<String>,
    /// The database; none = SQLite in the data folder.
    pub database_url: Option<Secret>,
    /// The first admin's password.
    pub admin_password: Option<Secret>,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<String>,
    /// This host as a machine.
    pub machine: MachineConfig,
    /// Logins.
    pub auth: AuthConfig,
    /// Uploads.
    pub uploads: UploadConfig,
    /// Builds.
    pub builds: BuildConfig,
    /// Runs of pipelines.
    pub pipelines: PipelineConfig,
    /// Containers.
    pub containers: ContainerConfig,
    /// Images on machines.
    pub images: ImageConfig,
    /// Graphics processors.
    pub gpus: GpusConfig,
    /// What accounts may have.
    pub quotas: QuotaConfig,
    /// The files of workloads; none = in the data folder.
    pub manifests_dir: Option<PathBuf>,
    /// Namespaces in Kubernetes clusters.
    pub kubernetes: KubernetesConfig,
    /// Chart repositories.
    pub charts: ChartConfig,
    /// Streams that are followed.
    pub streams: StreamConfig,
    /// Files of containers that are read and written.
    pub files: FileConfig,
    /// Terminals.
    pub terminals: TerminalConfig,
    /// The registry.
    pub registry: RegistryConfig,
    /// Requests to addresses that users give.
    pub outbound: OutboundConfig,
    /// E-mail.
    pub mail: MailConfig,
    /// The log.
    pub log: LogConfig,
}

/// TLS of the server's port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct TlsConfig {
    pub mode: TlsMode,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub acme_domains: Vec<String>,
    pub acme_directory: String,
    pub acme_contact: Option<String>,
    pub acme_authority: Option<PathBuf>,
}

/// Whether a port speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// In the clear on loopback addresses, TLS elsewhere; at the registry's address only with a certificate from elsewhere.
    Auto,
    /// TLS everywhere.
    On,
    /// Never: something before the server does it.
    Off,
}

/// This host as a machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct MachineConfig {
    pub enabled: bool,
    pub docker: Option<String>,
    pub policy_file: Option<PathBuf>,
    pub nvml: Option<PathBuf>,
}

/// Logins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct AuthConfig {
    pub registration: RegistrationMode,
    pub session_hours: u32,
    pub reauth_minutes: u32,
    pub hide_unknown: bool,
    pub failures_per_minute: u32,
    pub failures_per_minute_address: u32,
    pub registrations_per_minute: u32,
}

/// Uploads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct UploadConfig {
    pub max_bytes: u64,
    pub unpacked_bytes: u64,
    pub entries: u32,
}

/// Builds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct BuildConfig {
    pub workers: u32,
    pub per_account: u32,
    pub queued_per_account: u32,
    pub timeout_secs: u64,
    pub memory_bytes: u64,
    pub cpu_millis: u32,
    pub log_bytes: u64,
    pub unbounded_secrets: bool,
}

/// Runs of pipelines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct PipelineConfig {
    pub fetch_secs: u64,
    pub fetch_bytes: u64,
    pub commit_bytes: u64,
    pub keep_days: u32,
    pub keep_bytes: u64,
    pub cluster_workers: u32,
    pub executor: RunExecutor,
    pub cluster: Option<ClusterName>,
    pub namespace: NamespaceName,
    pub builder_image: String,
    pub storage_bytes: u64,
    pub cache_bytes: u64,
    pub cache_class: Option<String>,
}

/// Containers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct ContainerConfig {
    pub per_account: u64,
    pub kept_log_bytes: u64,
    pub kept_log_days: u32,
    pub kept_logs: u64,
    pub volumes_per_account: u64,
    pub save_bytes: u64,
}

/// Images on machines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct ImageConfig {
    pub disk_high_percent: u32,
    pub disk_low_percent: u32,
}

/// Graphics processors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct GpusConfig {
    pub max_duration_default_secs: Option<u64>,
    pub max_duration_limit_secs: Option<u64>,
    pub queued_per_account: u64,
}

/// What accounts may have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct QuotaConfig {
    pub gpus: Option<u32>,
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub running_containers: Option<u32>,
    pub disk_bytes: Option<u64>,
}

/// Namespaces in Kubernetes clusters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct KubernetesConfig {
    pub namespaces_per_account: u64,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub pods: u64,
    pub storage_bytes: u64,
    pub ingress_domain: Option<String>,
    pub ingress_class: Option<String>,
    pub ingress_namespace: Option<String>,
    pub public_server: Option<String>,
    pub public_authority: Option<PathBuf>,
    pub gpus: u64,
}

/// Chart repositories.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct ChartConfig {
    pub public_by_default: bool,
    pub repos_per_account: u64,
    pub sync_minutes: u32,
    pub fetch_secs: u64,
    pub index_bytes: u64,
    pub index_compressed_bytes: u64,
    pub package_bytes: u64,
    pub cache_bytes: u64,
    pub versions: u64,
    pub helm: PathBuf,
}

/// Streams that are followed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct StreamConfig {
    pub per_account: u64,
}

/// Files of containers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct FileConfig {
    pub per_account: u64,
}

/// Terminals.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct TerminalConfig {
    pub per_account: u64,
    pub keep_secs: u64,
    pub idle_secs: u64,
    pub longest_secs: u64,
}

/// The registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct RegistryConfig {
    pub url: Option<String>,
    pub tls: TlsMode,
    pub program: String,
    pub collect_days: u32,
    pub token_secs: u32,
}

/// Requests to addresses that users give.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct OutboundConfig {
    pub allow: Vec<String>,
}

/// E-mail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    pub url: Option<Secret>,
    pub from: Option<String>,
}

/// The log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described once, in SETTINGS")]
pub struct LogConfig {
    pub format: LogFormat,
    pub filter: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("`{path}` is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// The settings of a CI portal cannot be understood.
    #[error("`{path}`: {message}")]
    Portal {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// One value is wrong.
    #[error("`{key}` ({source_name}) is not valid: {message}")]
    Value {
        /// Which setting.
        key: String,
        /// Where it came from.
        source_name: String,
        /// What is wrong.
        message: String,
    },
    /// The settings together are wrong.
    #[error("the settings are not valid: {0}; `longshore config example` prints them all")]
    Invalid(String),
}

/// The values of one layer: setting key → text as typed.
pub type Layer = BTreeMap<String, String>;

/// Settings with the place each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Which layer decided each key.
    pub sources: BTreeMap<&'static str, Source>,
}

/// Puts the layers together. `environment` is looked up by name, so that tests need no process environment.
pub fn load(
    file: Option<&Path>,
    environment: impl Fn(&str) -> Option<String>,
    command_line: &Layer,
) -> Result<Loaded, ConfigError> {
    load_over(&Layer::new(), file, environment, command_line)
}

/// [`load`] over defaults that depend on the system: they give way to everything else.
pub fn load_over(
    defaults: &Layer,
    file: Option<&Path>,
    environment: impl Fn(&str) -> Option<String>,
    command_line: &Layer,
) -> Result<Loaded, ConfigError> {
    let from_file = match file {
        None => toml::Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax {
                path: path.to_owned(),
                message: e.to_string(),
            })?
        }
    };
    let mut table = from_file.clone();
    let (mut sources, mut shown) = (BTreeMap::new(), Vec::new());
    for setting in SETTINGS {
        let (value, source) = if let Some(text) = command_line.get(setting.key) {
            (Some(parse(setting, text, "command line")?), Source::CommandLine)
        } else if let Some((name, text)) = from_environment(setting.key, &environment) {
            (Some(parse(setting, &text, &name)?), Source::Environment)
        } else if let Some(value) = lookup(&from_file, setting.key) {
            (Some(value.clone()), Source::File)
        } else if let Some(text) = defaults.get(setting.key) {
            (Some(parse(setting, text, "default")?), Source::Default)
        } else {
            (setting.default.map(default_value), Source::Default)
        };
        sources.insert(setting.key, source);
        let readable = value.as_ref().filter(|_| setting.kind != Kind::Secret);
        shown.push(Shown { setting, value: readable.map(plain), source });
        if let Some(value) = value {
            put(&mut table, setting.key, value);
        } else if let Some((section, _)) = setting.key.split_once('.') {
            table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        }
    }
    let mut config: Config = serde_path_to_error::deserialize(table).map_err(|error| {
        let key = error.path().to_string();
        let source = sources.get(key.as_str()).copied().unwrap_or(Source::File);
        ConfigError::Value {
            source_name: source.shown(&key),
            key,
            message: error.inner().message().to_owned(),
        }
    })?;
    config.shown = shown;
    // The registry has a working folder of its own, where a relative name would mean another folder.
    config.data_dir = std::path::absolute(&config.data_dir)
        .map_err(|source| ConfigError::Unreadable { path: config.data_dir.clone(), source })?;
    config.check()?;
    Ok(Loaded { config, sources })
}

/// Settings that the command line calls by a shorter name, and the variables of that name.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("tls.mode", "LONGSHORE_TLS"),
    ("auth.registration", "LONGSHORE_REGISTRATION"),
    ("log.filter", "LONGSHORE_LOG"),
];

/// A setting's variable and what it holds; the one of its whole name wins.
fn from_environment(key: &str, environment: &impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let short = SHORT_NAMES.iter().filter(|(of, _)| *of == key).map(|(_, name)| (*name).to_owned());
    std::iter::once(environment_name(key))
        .chain(short)
        .find_map(|name| Some((name.clone(), environment(&name)?)))
}

/// `auth.reauth_minutes` → `LONGSHORE_AUTH_REAUTH_MINUTES`.
pub fn environment_name(key: &str) -> String {
    format!("LONGSHORE_{}", key.replace('.', "_").to_uppercase())
}

/// An annotated `longshore.toml` with every setting at its default.
pub fn example() -> String {
    let mut text = String::from(
        "# longshore.toml: every setting, at its default. The environment (LONGSHORE_…) and the command line win over it.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (its_section, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        text.push('\n');
        if its_section != section {
            section = its_section;
            debug_assert!(!section.is_empty(), "settings without a section come first");
            push_line(&mut text, &format!("[{section}]"));
        }
        push_line(&mut text, &format!("# {}", setting.help));
        push_line(&mut text, &format!("# Environment: {}", environment_name(setting.key)));
        push_line(&mut text, &format!("# {name} = {}", setting.default.unwrap_or("\"\"")));
    }
    text
}

fn push_line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes every write");
}

fn default_value(text: &str) -> toml::Value {
    let table: toml::Table = format!("value = {text}").parse().expect("the defaults in SETTINGS are TOML");
    table["value"].clone()
}

fn parse(setting: &Setting, text: &str, source_name: &str) -> Result<toml::Value, ConfigError> {
    let wrong = |message: &str| ConfigError::Value {
        key: setting.key.to_owned(),
        source_name: source_name.to_owned(),
        message: message.to_owned(),
    };
    Ok(match setting.kind {
        Kind::Text | Kind::Secret => toml::Value::String(text.to_owned()),
        Kind::Number => {
            toml::Value::Integer(text.trim().parse().map_err(|_| wrong("it must be a whole number"))?)
        }
        Kind::Switch => toml::Value::Boolean(match text.trim() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => return Err(wrong("it must be `true` or `false`")),
        }),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect())
        }
    })
}

/// A value for people: strings as they are, the rest as it stands in a file.
fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn lookup<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, name)) => table.get(section)?.as_table()?.get(name),
    }
}

fn put(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, name)) => {
            let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let Some(inner) = entry.as_table_mut() {
                inner.insert(name.to_owned(), value);
            }
        }
    }
}

/// Names of hosts only: no addresses, and no `*`, which cannot be proved on a port.
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').count() > 1
        && name.split('.').all(is_label)
        && name.bytes().any(|b| b.is_ascii_lowercase())
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.data_dir.as_os_str().is_empty() {
            return invalid("`data_dir` is empty");
        }
        if self.builds.workers == 0 || self.builds.per_account == 0 || self.pipelines.cluster_workers == 0 {
            return invalid(
                "`builds.workers`, `builds.per_account` and `pipelines.cluster_workers` must be at least 1",
            );
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return invalid("`tls.certificate` and `tls.key` go together");
        }
        if self.tls.certificate.is_some() && self.tls.mode == TlsMode::Off {
            return invalid("`tls.certificate` is set, but `tls.mode` is `off`");
        }
        if !self.tls.acme_domains.is_empty() {
            if self.tls.certificate.is_some() {
                return invalid("`tls.certificate` and `tls.acme_domains` exclude each other");
            }
            if self.tls.mode == TlsMode::Off {
                return invalid("`tls.acme_domains` is set, but `tls.mode` is `off`");
            }
            if let Some(name) = self.tls.acme_domains.iter().find(|name| !is_domain(name)) {
                return invalid(&format!(
                    "`tls.acme_domains`: `{}` is not a name such as `cloud.example.org`",
                    name.escape_debug()
                ));
            }
        }
        if self.registry.collect_days > 3650 {
            return invalid("`registry.collect_days` is at most 3650");
        }
        if !(5..=600).contains(&self.registry.token_secs) {
            return invalid("`registry.token_secs` is 5 to 600");
        }
        if self.containers.kept_log_bytes > KEPT_LOG_BYTES_MAX {
            return invalid(&format!("`containers.kept_log_bytes` is at most {KEPT_LOG_BYTES_MAX}"));
        }
        let (high, low) = (self.images.disk_high_percent, self.images.disk_low_percent);
        if high > 100 || (high > 0 && low >= high) {
            return invalid(
                "`images.disk_high_percent` is at most 100, and `images.disk_low_percent` less than that",
            );
        }
        let (default, limit) = (self.gpus.max_duration_default_secs, self.gpus.max_duration_limit_secs);
        if default == Some(0) || limit == Some(0) {
            return invalid(
                "`gpus.max_duration_default_secs` and `gpus.max_duration_limit_secs` must be at least 1",
            );
        }
        if limit.is_some_and(|limit| default.is_some_and(|default| default > limit)) {
            return invalid("`gpus.max_duration_default_secs` is more than `gpus.max_duration_limit_secs`");
        }
        for (key, url) in [("public_url", &self.public_url), ("app_url", &self.app_url)] {
            let is_wrong =
                url.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"));
            if is_wrong {
                return invalid(&format!("`{key}` must begin with `http://` or `https://`"));
            }
        }
        if let Some(url) = &self.database_url
            && !is_database_url(url.expose())
        {
            return invalid("`database_url` must begin with `sqlite:`, `mysql:`, `mariadb:` or `postgres:`");
        }
        if self.kubernetes.ingress_domain.as_ref().is_some_and(|domain| !is_domain(domain)) {
            return invalid(
                "`kubernetes.ingress_domain` is a domain in lower case, such as `apps.example.org`",
            );
        }
        if let Some(server) = &self.kubernetes.public_server
            && !crate::clients::kube::kubeconfig::is_server(server)
        {
            return invalid(
                "`kubernetes.public_server` is an address such as `https://kubernetes.example.org:6443`",
            );
        }
        if let Some(name) = &self.registry_advertise
            && !is_registry_name(name)
        {
            return invalid(
                "`registry_advertise` is `host:port` without `http://`, such as `registry.example.org:5000`",
            );
        }
        if let Err(error) = crate::clients::mail::check(&self.mail) {
            return invalid(&error);
        }
        let ranges = [("trusted_proxies", &self.trusted_proxies), ("outbound.allow", &self.outbound.allow)];
        for (key, range) in
            ranges.iter().flat_map(|(key, ranges)| ranges.iter().map(move |range| (key, range)))
        {
            if crate::network::Range::parse(range).is_none() {
                return invalid(&format!("`{key}`: `{range}` is not an address range such as `10.0.0.0/8`"));
            }
        }
        Ok(())
    }

    /// The database's address: as set, or the SQLite file in the data folder.
    pub fn database_url(&self) -> Secret {
        match &self.database_url {
            Some(url) => url.clone(),
            None => Secret::new(format!("sqlite://{}", self.data_dir.join("longshore.db").display())),
        }
    }

    /// The name by which images are pulled, `host:port`.
    pub fn registry_name(&self) -> String {
        self.registry_advertise.clone().unwrap_or_else(|| self.registry_listen.to_string())
    }
}

/// Whether an address names a database that there is a driver for; `+driver` after the kind is another language's.
fn is_database_url(url: &str) -> bool {
    let kind = url.split([':', '+']).next().unwrap_or_default().to_ascii_lowercase();
    url.contains(':') && matches!(kind.as_str(), "sqlite" | "mysql" | "mariadb" | "postgres" | "postgresql")
}

/// Whether Docker takes a name for that of a registry: without a dot and a port it would be an account of Docker Hub.
fn is_registry_name(name: &str) -> bool {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (name, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    is_host && is_port && (port.is_some() || bare.is_some() || host.contains('.') || host == "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Layer {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_make_a_whole_configuration() {
        let loaded = load(None, |_| None, &flags(&[("data_dir", "/tmp/x")])).unwrap();

        assert_eq!(loaded.config.listen.port(), 8080);
        assert_eq!(loaded.config.auth.registration, RegistrationMode::Open);
        assert_eq!(loaded.sources["listen"], Source::Default);
        assert_eq!(loaded.sources["data_dir"], Source::CommandLine);
    }

    #[test]
    fn later_layers_win() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("longshore.toml");
        std::fs::write(
            &file,
            "data_dir = \"/a\"\nlisten = \"127.0.0.1:1\"\n[auth]\nreauth_minutes = 1\nsession_hours = 3\n",
        )
        .unwrap();
        let environment = |name: &str| match name {
            "LONGSHORE_AUTH_REAUTH_MINUTES" => Some("2".to_owned()),
            "LONGSHORE_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "LONGSHORE_OUTBOUND_ALLOW" => Some("10.0.0.0/8, 192.168.0.0/16".to_owned()),
            _ => None,
        };

        let loaded = load(Some(&file), environment, &flags(&[("listen", "127.0.0.1:3")])).unwrap();

        assert_eq!(loaded.config.listen.port(), 3);
        assert_eq!(loaded.config.auth.reauth_minutes, 2);
        assert_eq!(loaded.config.auth.session_hours, 3);
        assert_eq!(loaded.config.outbound.allow, ["10.0.0.0/8", "192.168.0.0/16"]);
        assert_eq!(loaded.sources["auth.session_hours"], Source::File);
    }

    #[test]
    fn a_variable_may_be_called_as_the_command_line_calls_it() {
        let short = |name: &str| (name == "LONGSHORE_REGISTRATION").then(|| "closed".to_owned());
        let both = |name: &str| match name {
            "LONGSHORE_REGISTRATION" => Some("closed".to_owned()),
            "LONGSHORE_AUTH_REGISTRATION" => Some("approval".to_owned()),
            _ => None,
        };
        let folder = flags(&[("data_dir", "/a")]);

        let shut = load(None, short, &folder).unwrap();
        assert_eq!(shut.config.auth.registration, RegistrationMode::Closed);
        assert_eq!(shut.sources["auth.registration"], Source::Environment);
        assert_eq!(load(None, both, &folder).unwrap().config.auth.registration, RegistrationMode::Approval);
        for (key, name) in SHORT_NAMES {
            let value = if *key == "auth.registration" { "closed" } else { "off" };
            let loaded = load(None, |asked| (asked == *name).then(|| value.to_owned()), &folder).unwrap();
            assert_eq!(loaded.sources[key], Source::Environment, "{name}");
        }
    }

    #[test]
    fn a_default_of_the_system_gives_way_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("longshore.toml");
        std::fs::write(&file, "data_dir = \"/from/file\"\n").unwrap();
        let defaults = flags(&[("data_dir", "/from/system")]);

        let from_file = load_over(&defaults, Some(&file), |_| None, &Layer::new()).unwrap();
        let from_system = load_over(&defaults, None, |_| None, &Layer::new()).unwrap();

        assert_eq!(from_file.config.data_dir, Path::new("/from/file"));
        assert_eq!(from_system.config.data_dir, Path::new("/from/system"));
    }

    #[test]
    fn a_relative_folder_is_meant_from_here() {
        let loaded = load(None, |_| None, &flags(&[("data_dir", "data")])).unwrap();

        assert_eq!(loaded.config.data_dir, std::env::current_dir().unwrap().join("data"));
    }

    #[test]
    fn a_wrong_value_is_named_with_where_it_came_from() {
        let environment = |name: &str| (name == "LONGSHORE_AUTH_REGISTRATION").then(|| "foo".to_owned());
        let error = load(None, environment, &flags(&[("data_dir", "/a")])).unwrap_err().to_string();
        assert!(
            error.starts_with("`auth.registration` (LONGSHORE_AUTH_REGISTRATION) is not valid"),
            "{error}"
        );
        let proxies = flags(&[("data_dir", "/a"), ("trusted_proxies", "foo")]);
        assert!(load(None, |_| None, &proxies).unwrap_err().to_string().contains("`trusted_proxies`: `foo`"));
    }

    #[test]
    fn names_of_registry_and_database_are_checked_at_the_start() {
        let with = |key: &str, value: &str| load(None, |_| None, &flags(&[("data_dir", "/a"), (key, value)]));

        for name in
            ["10.0.0.1:5000", "registry.example.org", "node:80", "localhost", "[fd00::1]:5000", "[::1]"]
        {
            assert!(with("registry_advertise", name).is_ok(), "{name}");
        }
        for name in ["http://a:5000", "node", "a/b:1", "a:0", "a:x", "a:99999", ":5000", "a b:1", "[x]:1"] {
            let error = with("registry_advertise", name).unwrap_err().to_string();
            assert!(error.contains("`registry_advertise` is `host:port`"), "{name}: {error}");
        }
        for url in ["mysql+pymysql://root:@localhost:3306/a", "sqlite:///a", "PostgreSQL://a", "mariadb://a"]
        {
            assert!(with("database_url", url).is_ok(), "{url}");
        }
        for url in ["oracle://u:hunter22@h/x", "mysql", "/var/a.db"] {
            let error = with("database_url", url).unwrap_err().to_string();
            assert!(
                error.contains("`database_url` must begin with") && !error.contains("hunter22"),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_and_wrong_settings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("longshore.toml");
        std::fs::write(&file, "data_dir = \"/a\"\n[auth]\nregistratoin = \"open\"\n").unwrap();

        assert!(load(Some(&file), |_| None, &Layer::new()).unwrap_err().to_string().contains("registratoin"));
        let wrong = load(None, |_| None, &flags(&[("data_dir", "/a"), ("builds.workers", "many")]));
        assert!(wrong.unwrap_err().to_string().contains("builds.workers"));
        assert!(load(None, |_| None, &Layer::new()).is_err(), "data_dir has no default here");
    }

    #[test]
    fn the_example_is_a_valid_file_once_uncommented() {
        let text: String = example()
            .lines()
            .filter_map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") && !setting.ends_with("\"\"") => {
                    Some(format!("{setting}\n"))
                }
                Some(_) => None,
                None => Some(format!("{line}\n")),
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("longshore.toml");
        std::fs::write(&file, text).unwrap();

        load(Some(&file), |_| None, &flags(&[("data_dir", "/a")])).unwrap();
    }

    #[test]
    fn secrets_are_not_printed_with_the_configuration() {
        let secrets = [
            ("admin_password", "hunter22"),
            ("database_url", "mysql://u:hunter22@h/x"),
            ("mail.url", "smtps://u:hunter22@h"),
        ];
        let others = [("data_dir", "/a"), ("mail.from", "Longshore <ci@example.org>")];
        let loaded = load(None, |_| None, &flags(&[&others[..], &secrets[..]].concat())).unwrap();

        assert!(!format!("{loaded:?}").contains("hunter22"));
        let shown = |key: &str| loaded.config.shown.iter().find(|it| it.setting.key == key).unwrap();
        for (key, _) in secrets {
            let shown = shown(key);
            assert_eq!((shown.value.as_deref(), shown.source), (None, Source::CommandLine), "{key}");
        }
        assert_eq!(shown("listen").value.as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(shown("auth.session_hours").value.as_deref(), Some("168"));
    }
}
