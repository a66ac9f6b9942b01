//! What is asked of Docker. Every request body is written here, from our own types, after the policy has passed them; no
//! path, query or body of a caller is ever forwarded.
//!
//! - `containers`: make, find, start, stop, remove; `copies`: disks from which they are made anew
//! - `images`: pull, push, forget; `held`: which there are, and making room
//! - `build`: a context into an image; cleaning up behind builds
//! - `buildkit`: builds whose steps read secrets
//! - `cgroup`: the control groups in which the steps of builds run
//! - `exec`: commands beside a container's main process; `hangup`: how they are ended
//! - `files`: files in containers
//! - `logs`: what containers print; `output`: how the engine frames it
//! - `save`: containers as images; `volumes`: folders that outlive them
//! - `stats`: what they use; `limits`: what they may use; `watch`: what they do
//! - `raw`: the calls that bollard cannot express

pub(crate) mod build;
mod buildkit;
mod cgroup;
pub(crate) mod containers;
pub(crate) mod copies;
pub(crate) mod disk_uses;
pub(crate) mod exec;
pub(crate) mod files;
mod hangup;
pub(crate) mod held;
pub(crate) mod images;
pub(crate) mod limits;
pub(crate) mod logs;
mod output;
mod raw;
mod reading;
pub(crate) mod save;
pub(crate) mod stats;
pub(crate) mod volumes;
pub(crate) mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::SystemInfoCgroupDriverEnum;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio_util::task::TaskTracker;
use wire::ids::{BuildId, ContainerId, InstanceId};
use wire::link::{LinkError, LinkErrorCode, RegistryImage, RegistryReference};
use wire::names::{Owner, RepoName};
use wire::time::Timestamp;

use crate::Error;

/// Which installation made a container.
const LABEL_INSTANCE: &str = "longshore.instance";
/// Our number of a container.
const LABEL_CONTAINER: &str = "longshore.container";
/// Whose container it is.
const LABEL_ACCOUNT: &str = "longshore.account";

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// For calls that the engine answers at once. A busy disk makes it slow, a dead one makes it silent.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The engine on its socket. Connections are made per call, so that an engine that restarts is simply there again.
pub(crate) struct Engine {
    socket: PathBuf,
    registry: String,
    tasks: TaskTracker,
    /// Made once the engine has said which version of its interface it speaks; forgotten when it goes away, because
    /// another version may come back.
    client: Mutex<Option<Client>>,
    /// Counts the looks at containers.
    looks: AtomicU64,
}

/// A client, and what else is asked of an engine once.
#[derive(Clone)]
struct Client {
    docker: Docker,
    /// Whether systemd makes the control groups, and not the engine itself.
    is_systemd: bool,
}

/// What the engine says of itself.
pub(crate) struct Info {
    pub(crate) version: String,
    pub(crate) data_root: String,
    /// By the engine's own clock.
    pub(crate) time: Timestamp,
}

impl Engine {
    pub(crate) fn new(docker: Option<&str>, registry: String, tasks: TaskTracker) -> Result<Self, Error> {
        let address = docker.unwrap_or(DEFAULT_SOCKET);
        let Some(socket) = address.strip_prefix("unix://").filter(|path| path.starts_with('/')) else {
            return Err(Error::Docker(address.to_owned()));
        };
        let is_registry = registry.split_once(':').is_some_and(|(host, port)| {
            let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
            !host.is_empty() && is_host && port.parse::<u16>().is_ok()
        });
        if !is_registry {
            return Err(Error::Registry(registry));
        }
        Ok(Self {
            socket: socket.into(),
            registry,
            tasks,
            client: Mutex::new(None),
            looks: AtomicU64::new(0),
        })
    }

    /// The registry's address on this machine.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// What goes on beside calls, waited for at the end.
    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// A client that speaks the engine's version.
    pub(crate) async fn docker(&self) -> Result<Docker, LinkError> {
        Ok(self.client().await?.docker)
    }

    /// Whether systemd makes the control groups of containers.
    pub(crate) async fn uses_systemd(&self) -> Result<bool, LinkError> {
        Ok(self.client().await?.is_systemd)
    }

    async fn client(&self) -> Result<Client, LinkError> {
        if let Some(client) = self.remembered().clone() {
            return Ok(client);
        }
        let socket = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&socket, CALL_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
            .map_err(link_error)?;
        let docker = within(CALL_TIMEOUT, docker.negotiate_version()).await?;
        let info = within(CALL_TIMEOUT, docker.info()).await?;
        let is_systemd = info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD);
        let client = Client { docker, is_systemd };
        *self.remembered() = Some(client.clone());
        Ok(client)
    }

    /// The number of a look at a container that begins now.
    fn begin_look(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Negotiates anew at the next call.
    pub(crate) fn forget(&self) {
        *self.remembered() = None;
    }

    fn remembered(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn info(&self) -> Result<Info, LinkError> {
        let docker = self.docker().await?;
        let info = within(CALL_TIMEOUT, docker.info()).await?;
        let time = info.system_time.and_then(|time| serde_json::from_value(time.into()).ok());
        Ok(Info {
            version: info.server_version.unwrap_or_default(),
            data_root: info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".to_owned()),
            time: time.unwrap_or(Timestamp(0)),
        })
    }

    /// The repository as this machine's engine knows it: `127.0.0.1:5000/owner/repo`. The name is parsed again here: it
    /// becomes part of paths of the engine's interface.
    pub(crate) fn repository(&self, repository: &str) -> Result<String, LinkError> {
        let parts = repository
            .split_once('/')
            .and_then(|(owner, repo)| Some((owner.parse::<Owner>().ok()?, repo.parse::<RepoName>().ok()?)));
        let Some((owner, repo)) = parts else {
            let message = format!("`{}` is not `owner/repository`", repository.escape_debug());
            return Err(LinkError::new(LinkErrorCode::Invalid, message));
        };
        Ok(format!("{}/{owner}/{repo}", self.registry))
    }

    /// The image as this machine's engine knows it.
    pub(crate) fn reference(&self, image: &RegistryImage) -> Result<String, LinkError> {
        let repository = self.repository(&image.repository)?;
        Ok(match &image.reference {
            RegistryReference::Tag(tag) => format!("{repository}:{tag}"),
            RegistryReference::Digest(digest) => format!("{repository}@{digest}"),
        })
    }
}

/// The engine's name of a container of ours: the same each time, so that making it twice is noticed.
fn container_name(instance: InstanceId, container: ContainerId) -> String {
    format!("ls-{}-{container}", instance.short())
}

/// The local repository with one tag per build of this installation.
fn build_repository(instance: InstanceId) -> String {
    format!("ls-b/{}", instance.short())
}

/// The build's tag in it.
fn build_tag(build: BuildId) -> String {
    build.0.simple().to_string()
}

/// Waits for an answer of the engine, but not for ever.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(link_error),
        Err(_) => Err(timed_out(limit)),
    }
}

fn timed_out(limit: Duration) -> LinkError {
    let message = format!("the engine did not answer within {} seconds", limit.as_secs());
    LinkError::new(LinkErrorCode::Timeout, message)
}

fn engine_down(reason: impl std::fmt::Display) -> LinkError {
    LinkError::new(LinkErrorCode::EngineDown, format!("the engine does not answer: {reason}"))
}

/// An answer of the engine that is not 2xx. A taken port, a missing driver and a program that is not there have to be told by
/// their words, because the engine gives them no status of their own: this is the one place that does so.
fn refused(status: u16, message: &str) -> LinkError {
    let is_port_taken =
        message.contains("port is already allocated") || message.contains("address already in use");
    // The engine has no driver for them, or NVIDIA's tool could not hand them over.
    let is_without_gpus =
        message.contains("could not select device driver") || message.contains("nvidia-container-");
    if is_without_gpus {
        let message = format!(
            "the engine cannot give the container its GPUs; is the NVIDIA container toolkit installed on the machine, and was the engine restarted after that? It said: {}",
            message.trim()
        );
        return LinkError::new(LinkErrorCode::GpuUnavailable, clip(&message));
    }
    let code = match status {
        _ if is_port_taken => LinkErrorCode::PortTaken,
        400 => LinkErrorCode::Invalid,
        404 => LinkErrorCode::NotFound,
        409 => LinkErrorCode::Conflict,
        _ => LinkErrorCode::Engine,
    };
    LinkError::new(code, clip(&plain(message.trim())))
}

/// What the engine says, in words for whoever wrote the image: without the names of the programs through which it went.
fn plain(message: &str) -> String {
    let Some((_, cause)) = message.split_once("OCI runtime create failed: ") else {
        return message.to_owned();
    };
    let cause = cause.rsplit_once("starting container process caused: ").map_or(cause, |(_, cause)| cause);
    let cause = cause.rsplit_once("unable to start container process: ").map_or(cause, |(_, cause)| cause);
    let cause = cause.trim_end_matches(": unknown").trim_start_matches("runc create failed: ");
    let program = cause.strip_prefix("exec: \"").and_then(|rest| rest.split_once("\": "));
    match program {
        Some((program, why)) if why.contains("no such file") || why.contains("not found") => {
            format!("the image has no program `{program}`; check its command and entry point")
        }
        Some((program, why)) if why.contains("permission denied") => {
            format!("the program `{program}` of the image may not be executed (is it set executable?)")
        }
        _ => format!("the engine could not start the container: {cause}"),
    }
}

/// An engine's message, short enough to be stored and shown.
fn clip(message: &str) -> String {
    const CHARS: usize = 2_000;
    match message.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{} …", &message[..end]),
        None => message.to_owned(),
    }
}

fn link_error(error: BollardError) -> LinkError {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => refused(status_code, &message),
        BollardError::DockerStreamError { error } => LinkError::new(LinkErrorCode::Engine, clip(&error)),
        BollardError::RequestTimeoutError => timed_out(CALL_TIMEOUT),
        BollardError::IOError { err } => engine_down(err),
        BollardError::HyperResponseError { err } => engine_down(err),
        BollardError::HyperLegacyError { err } => match std::error::Error::source(&err) {
            Some(source) => engine_down(source),
            None => engine_down(err),
        },
        BollardError::SocketNotFoundError(path) => {
            engine_down(format!("there is no `{path}`; start Docker, or name its socket"))
        }
        other => LinkError::new(LinkErrorCode::Engine, clip(&format!("the engine's answer: {other}"))),
    }
}

fn is_not_found(error: &LinkError) -> bool {
    error.code == LinkErrorCode::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine {
        Engine::new(None, "127.0.0.1:5000".into(), TaskTracker::new()).unwrap()
    }

    #[test]
    fn repositories_that_could_leave_their_place_in_a_path_are_refused() {
        assert_eq!(engine().repository("alice/app").unwrap(), "127.0.0.1:5000/alice/app");
        for name in
            ["alice", "alice/../bob", "alice/app/x", "Alice/app", "alice/app?x=", "alice/a%2fb", "/app"]
        {
            assert_eq!(engine().repository(name).unwrap_err().code, LinkErrorCode::Invalid, "{name}");
        }
    }

    #[test]
    fn only_a_unix_socket_is_an_engine() {
        for address in ["tcp://127.0.0.1:2375", "unix://relative", "/var/run/docker.sock", ""] {
            assert!(
                Engine::new(Some(address), "127.0.0.1:5000".into(), TaskTracker::new()).is_err(),
                "{address}"
            );
        }
        for registry in ["127.0.0.1", "http://x:1", ":5000", "x:port", "x/y:1"] {
            assert!(Engine::new(None, registry.into(), TaskTracker::new()).is_err(), "{registry}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_in_plain_words() {
        let start = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";
        let cases = [
            (
                "exec: \"/nope\": stat /nope: no such file or directory: unknown",
                "the image has no program `/nope`; check its command and entry point",
            ),
            (
                "exec: \"run\": executable file not found in $PATH: unknown",
                "the image has no program `run`; check its command and entry point",
            ),
            (
                "exec: \"/data\": permission denied: unknown",
                "the program `/data` of the image may not be executed (is it set executable?)",
            ),
            (
                "error during container init: something else: unknown",
                "the engine could not start the container: error during container init: something else",
            ),
        ];

        for (cause, words) in cases {
            assert_eq!(refused(400, &format!("{start}{cause}")).message, words);
        }
        assert_eq!(refused(500, "disk full").message, "disk full");
    }

    #[test]
    fn an_engine_without_gpus_is_told_apart() {
        let engines_words = [
            "could not select device driver \"nvidia\" with capabilities: [[gpu]]",
            "OCI runtime create failed: runc create failed: error running hook #0: exit status 1, stderr: nvidia-container-cli: device error: GPU-1: unknown device: unknown",
        ];

        for words in engines_words {
            let error = refused(500, words);
            assert_eq!(error.code, LinkErrorCode::GpuUnavailable);
            assert!(error.message.contains("toolkit") && error.message.contains(words), "{error}");
        }
    }

    #[test]
    fn a_taken_port_is_told_apart() {
        let engines_words = [
            "driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:20000 failed: port is already allocated",
            "driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 127.0.0.1:20000: bind: address already in use",
        ];

        for words in engines_words {
            assert_eq!(refused(500, words).code, LinkErrorCode::PortTaken);
        }
        assert_eq!(refused(500, "disk full").code, LinkErrorCode::Engine);
    }
}
