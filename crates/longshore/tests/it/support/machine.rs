//! A machine for the tests: an agent on the test engine, connected to a hub of its own, and a registry at its door. Every
//! machine has an installation's id of its own, so tests share one engine without seeing each other.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use agent::{Agent, Config};
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use serde::de::DeserializeOwned;
use server::link::{CallError, EventStream, Hub, accept};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wire::containers::ContainerSpec;
use wire::ids::{BuildId, ContainerId, InstanceId, MachineId};
use wire::link::{
    BuildEvent, BuildImage, Call, Channel, CleanBuilds, ContainerAction, ContainerActionDone, ContainerVerb,
    CreateContainer, LinkError, MACHINE_HEADER, ObservedContainer, PushBuild, RegistryCredential,
    RegistryImage, RegistryReference, SOCKET_PATH, TransferEvent, Verdict,
};
use wire::names::Digest;
use wire::secret::Secret;

use super::eventually;
use super::shop::is_forgotten;

/// Long enough for a loaded machine; tests that wait for so long fail.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// The password holds what the two alphabets of base64 write differently.
/// Who is let into [`Registry`].
pub(crate) const USER: &str = "alice";
/// The password there.
pub(crate) const PASSWORD: &str = "pass~?>";
const HTPASSWD: &str = "alice:$2b$04$Ssun5yaakEitJTLAzPs5HuJMvknTNFqA8MVh0hknBeAezxHsX8gGu\n";

/// A machine with its agent and the hub that it is connected to.
pub(crate) struct Machine {
    pub(crate) hub: Hub,
    pub(crate) agent: Agent,
    pub(crate) id: MachineId,
    pub(crate) instance: InstanceId,
    pub(crate) registry: Registry,
    pub(crate) docker: String,
    stop: CancellationToken,
    _state: TempDir,
}

/// How the agent reaches the hub.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Memory,
    WebSocket,
}

impl Machine {
    /// Connected in memory to the test engine; none when the engine is skipped.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_by(Way::Memory).await
    }

    pub(crate) async fn start_by(way: Way) -> Option<Self> {
        let docker = super::engine()?;
        Some(Self::start_on(docker, way, None).await)
    }

    pub(crate) async fn start_on(docker: String, way: Way, policy_file: Option<PathBuf>) -> Self {
        let registry = Registry::start().await;
        let state = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let hub = Hub::new(TaskTracker::new(), stop.clone());
        let id: MachineId = format!("test-{}", Uuid::now_v7().simple()).parse().unwrap();
        let config = Config {
            docker: Some(docker.clone()),
            registry: registry.address.clone(),
            policy_file,
            machine_id: Some(id.clone()),
            state_dir: state.path().to_owned(),
            nvml: None,
        };
        let agent = Agent::new(config, stop.clone()).unwrap();
        match way {
            Way::Memory => longshore::in_process::connect(&hub, &agent),
            Way::WebSocket => {
                let url = serve_link(hub.clone(), stop.clone()).await;
                dial(&agent, url).await;
            }
        }
        let machine = Self {
            hub,
            agent,
            id,
            instance: InstanceId(Uuid::now_v7()),
            registry,
            docker,
            stop,
            _state: state,
        };
        machine.connected().await;
        machine
    }

    pub(crate) async fn connected(&self) {
        let is_connected = || async { self.hub.connected().contains(&self.id).then_some(()) };
        eventually("the machine is connected", 30, is_connected).await;
    }

    pub(crate) async fn call<C: Call>(&self, call: &C) -> Result<C::Reply, CallError> {
        self.hub.call(&self.id, call, PATIENCE).await
    }

    pub(crate) fn credential() -> RegistryCredential {
        RegistryCredential { username: USER.into(), password: Secret::new(PASSWORD) }
    }

    /// A build of the probe's image with this Dockerfile.
    pub(crate) fn build_call(&self) -> BuildImage {
        BuildImage {
            instance: self.instance,
            build: BuildId(Uuid::now_v7()),
            dockerfile: "Dockerfile".into(),
            cache_from: Vec::new(),
            credential: Self::credential(),
            build_args: BTreeMap::new(),
            memory_bytes: 256 << 20,
            cpu_millis: 1_000,
            timeout_secs: 600,
            secrets: None,
        }
    }

    pub(crate) async fn build(&self, dockerfile: &str) -> (BuildImage, Vec<BuildEvent>) {
        let call = self.build_call();
        let events = self.build_with(&call, dockerfile).await;
        (call, events)
    }

    pub(crate) async fn build_with(&self, call: &BuildImage, dockerfile: &str) -> Vec<BuildEvent> {
        let body = Some(Body::from(context(dockerfile)));
        all(self.hub.stream(&self.id, call, body).await.unwrap()).await
    }

    pub(crate) async fn push(&self, call: &BuildImage, repository: &str) -> Vec<TransferEvent> {
        let push = PushBuild {
            instance: self.instance,
            build: call.build,
            repository: repository.into(),
            credential: Self::credential(),
        };
        all(self.hub.stream(&self.id, &push, None).await.unwrap()).await
    }

    /// Builds and pushes; the image by digest.
    pub(crate) async fn image(&self, repository: &str, dockerfile: &str) -> RegistryImage {
        let (call, events) = self.build(dockerfile).await;
        assert!(matches!(events.last(), Some(BuildEvent::Built { .. })), "{events:?}");
        let pushed = self.push(&call, repository).await;
        let Some(TransferEvent::Done { digest: Some(digest) }) = pushed.last() else { panic!("{pushed:?}") };
        by_digest(repository, digest.clone())
    }

    pub(crate) fn create_call(
        &self,
        container: i64,
        image: &RegistryImage,
        command: &[&str],
    ) -> CreateContainer {
        CreateContainer {
            instance: self.instance,
            container: ContainerId(container),
            account: "alice".parse().unwrap(),
            image: image.clone(),
            spec: ContainerSpec {
                ports: Vec::new(),
                env: BTreeMap::new(),
                command: Some(command.iter().map(ToString::to_string).collect()),
                entrypoint: None,
                working_dir: None,
                memory_bytes: 64 << 20,
                cpu_millis: 500,
                pids: 32,
                gpus: Vec::new(),
                shm_bytes: None,
                volumes: Vec::new(),
                tty: false,
            },
            is_from_copy: false,
        }
    }

    pub(crate) async fn create(
        &self,
        container: i64,
        image: &RegistryImage,
        command: &[&str],
    ) -> Result<ObservedContainer, CallError> {
        self.call(&self.create_call(container, image, command)).await
    }

    pub(crate) async fn act(
        &self,
        container: i64,
        verb: ContainerVerb,
    ) -> Result<ContainerActionDone, CallError> {
        self.call(&ContainerAction { instance: self.instance, container: ContainerId(container), verb }).await
    }

    /// The engine's name of a container of this installation.
    pub(crate) fn container_name(&self, container: i64) -> String {
        format!("ls-{}-{container}", self.instance.short())
    }

    /// The image as the machine's engine knows it.
    pub(crate) fn local_image(&self, image: &RegistryImage) -> String {
        let RegistryReference::Digest(digest) = &image.reference else { panic!("{image:?}") };
        format!("{}/{}@{digest}", self.registry.address, image.repository)
    }

    /// What a build has left: its tags, the containers of its steps, its control groups.
    pub(crate) fn leftovers(&self, call: &BuildImage) -> Vec<String> {
        let build = call.build.0.simple().to_string();
        let tags = self.docker(&["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]);
        let parents = self.docker(&["ps", "-aq"]).lines().map(|id| self.parent_group(id)).collect::<Vec<_>>();
        let found = tags.lines().map(str::to_owned).chain(parents);
        let groups = Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", "longshore-b-*"])
            .output();
        let groups = String::from_utf8(groups.unwrap().stdout).unwrap();
        found.chain(groups.lines().map(str::to_owned)).filter(|name| name.contains(&build)).collect()
    }

    fn parent_group(&self, container: &str) -> String {
        // Other tests remove theirs meanwhile.
        let words = ["inspect", "--format", "{{.HostConfig.CgroupParent}}", container];
        let output = Command::new("docker").args(["-H", &self.docker]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Asks the engine itself, with the stock client: what the agent says of it is not evidence.
    pub(crate) fn docker(&self, words: &[&str]) -> String {
        docker(&self.docker, words)
    }

    /// Removes what a test made and ends the agent.
    pub(crate) async fn stop(self) {
        let ours = format!("label=longshore.instance={}", self.instance);
        let found = self.docker(&["ps", "-aq", "--filter", &ours]);
        for container in found.lines() {
            self.docker(&["rm", "-fv", container]);
        }
        self.call(&CleanBuilds { instance: self.instance, keep: Vec::new() }).await.unwrap();
        // By their names here: other tests have the same images by others. Those that were pulled have no tag, only a digest.
        let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
        let images = self.docker(&["images", "--digests", "--format", format]);
        let ours = images.lines().filter(|line| line.starts_with(&self.registry.address));
        for name in ours.flat_map(str::split_whitespace).filter(|name| !name.ends_with("<none>")) {
            // The last tag takes the digest with it.
            is_forgotten(&self.docker, name);
        }
        self.stop.cancel();
        self.agent.stopped().await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// All events of a stream.
pub(crate) async fn all<E: DeserializeOwned>(mut stream: EventStream<E>) -> Vec<E> {
    let mut events = Vec::new();
    let read = async {
        while let Some(event) = stream.next().await {
            events.push(event.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the stream ends");
    events
}

/// The agent's refusal of a call that must fail.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, CallError>) -> LinkError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// The log of a build, steps included.
pub(crate) fn log(events: &[BuildEvent]) -> String {
    let text = |event: &BuildEvent| match event {
        BuildEvent::Step { step, steps, text } => format!("Step {step}/{steps} : {text}\n"),
        BuildEvent::Log(text) => text.clone(),
        BuildEvent::Built { .. } => String::new(),
        BuildEvent::Failed(error) => format!("{error}\n"),
    };
    events.iter().map(text).collect()
}

pub(crate) fn by_digest(repository: &str, digest: Digest) -> RegistryImage {
    RegistryImage { repository: repository.into(), reference: RegistryReference::Digest(digest) }
}

/// A tar with a Dockerfile, the probe, and some bytes that no other context holds.
pub(crate) fn context(dockerfile: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut append = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    append("Dockerfile", 0o644, dockerfile.as_bytes());
    append("probe", 0o755, &std::fs::read(probe()).unwrap());
    let salt: Vec<u8> = (0..4_096).flat_map(|_| *Uuid::now_v7().as_bytes()).collect();
    append("salt", 0o644, &salt);
    tar.into_inner().unwrap()
}

/// The program of the tests' images, compiled once.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/probe.rs");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
        let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        if modified(&program) < modified(&source) {
            // Test runs may share the folder: nobody must see half a program.
            let unfinished = program.with_extension(std::process::id().to_string());
            let compiled = Command::new("rustc")
                .args(["--edition=2024", "-Copt-level=s", "-Cstrip=symbols", "-Cpanic=abort"])
                .args(["-Ctarget-feature=+crt-static", "-o"])
                .args([&unfinished, &source])
                .status()
                .unwrap();
            assert!(compiled.success(), "the probe does not compile");
            std::fs::rename(unfinished, &program).unwrap();
        }
        program
    })
}

/// Runs the stock client and returns what it prints, trimmed.
pub(crate) fn docker(address: &str, words: &[&str]) -> String {
    let output = Command::new("docker").args(["-H", address]).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {}: {errors}", words.join(" "));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// CNCF Distribution with one account, on a free port.
pub(crate) struct Registry {
    pub(crate) address: String,
    process: Child,
    _folder: TempDir,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let root = folder.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n"
        );
        std::fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { address, process, _folder: folder };
        let answers = || async { std::net::TcpStream::connect(&registry.address).ok() };
        eventually("the registry answers", 30, answers).await;
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port that nobody listens on. Another process may take it before the caller does.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[derive(serde::Deserialize)]
struct LinkQuery {
    channel: Channel,
}

/// Has an agent connect to a server in the clear, with a key and a door of its own.
pub(crate) async fn dial(agent: &Agent, url: String) {
    let server = agent::Server { url, fingerprint: None, key: agent::MachineKey::make().unwrap() };
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialing = agent.clone();
    agent.spawn(async move { dialing.dial(&server, door).await.unwrap() });
}

/// The route of the link alone, as the server has it; the address to dial.
async fn serve_link(hub: Hub, stop: CancellationToken) -> String {
    let port = serve_link_at(0, hub, stop).await;
    format!("http://127.0.0.1:{port}")
}

/// The same on a given port; none = 0.
pub(crate) async fn serve_link_at(port: u16, hub: Hub, stop: CancellationToken) -> u16 {
    async fn connect(State(hub): State<Hub>, Query(query): Query<LinkQuery>, request: Request) -> Response {
        let (mut parts, _) = request.into_parts();
        let machine: MachineId = parts.headers[MACHINE_HEADER].to_str().unwrap().parse().unwrap();
        let (response, socket) = accept::upgrade(&mut parts).unwrap();
        TaskTracker::new().spawn(async move {
            let mut socket = socket.await.unwrap();
            // Whoever it is, it is welcome.
            let proof = accept::challenge(&mut socket, "nonce").await.unwrap();
            assert!(accept::tell(&mut socket, &Verdict::Welcome).await);
            if query.channel == Channel::Registry {
                return std::future::pending().await;
            }
            hub.attach_process(machine, query.channel, Some(proof.process), socket).await.unwrap();
        });
        response
    }
    let router = axum::Router::new().route(SOCKET_PATH, axum::routing::any(connect)).with_state(hub);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    TaskTracker::new().spawn(serving.into_future());
    port
}
