//! An engine of a test's own, which it may kill, and engines as whoever may speak to them himself sees them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::nvidia_smi::has_toolkit;

/// Ends with the test, and with it all of its containers and images.
pub(crate) struct PrivateEngine {
    /// Short, because Unix socket paths are.
    folder: tempfile::TempDir,
    /// Whether it knows of GPUs.
    gpus: &'static str,
}

impl PrivateEngine {
    /// None when the engine is skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("yes")
    }

    /// Without NVIDIA's toolkit, as on a machine where nobody has installed it; none where somebody has.
    pub(crate) fn without_gpus() -> Option<Self> {
        if has_toolkit() {
            eprintln!("left out: an engine finds the toolkit that is installed here");
            return None;
        }
        Self::start_with("no")
    }

    /// With the toolkit that is installed here, instead of what stands in for it.
    pub(crate) fn with_own_toolkit() -> Option<Self> {
        Self::start_with("own")
    }

    fn start_with(gpus: &'static str) -> Option<Self> {
        super::engine()?;
        let folder = tempfile::Builder::new().prefix("ls-it-").tempdir_in("/tmp").unwrap();
        let engine = Self { folder, gpus };
        engine.bring_up();
        Some(engine)
    }

    /// Also brings back one that was killed.
    pub(crate) fn bring_up(&self) {
        self.script("start");
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.home().join("docker.sock").display())
    }

    /// Describes devices to it, as the Container Device Interface has it.
    pub(crate) fn describe_devices(&self, description: &Value) {
        std::fs::write(self.home().join("cdi/described.json"), description.to_string()).unwrap();
    }

    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.home().join("dockerd.pid")).unwrap();
        let pid = pid.split_whitespace().next().unwrap();
        assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("e")
    }

    fn script(&self, verb: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/private-engine");
        let output = Command::new(script)
            .arg(verb)
            .arg(self.home())
            .env("PRIVATE_ENGINE_GPUS", self.gpus)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        self.script("stop");
    }
}

/// The engine's socket behind one that can be taken away: what an engine that died looks like, without killing the one
/// that all tests share.
pub(crate) struct Wire {
    engine: PathBuf,
    socket: PathBuf,
    open: Mutex<CancellationToken>,
    tasks: TaskTracker,
}

impl Wire {
    pub(crate) fn new(engine: &str, folder: &Path) -> Arc<Self> {
        let engine = engine.strip_prefix("unix://").unwrap().into();
        let socket = folder.join("docker.sock");
        Arc::new(Self { engine, socket, open: Mutex::default(), tasks: TaskTracker::new() })
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub(crate) fn connect(self: &Arc<Self>) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let (open, wire) = (CancellationToken::new(), Arc::clone(self));
        *self.open.lock().unwrap() = open.clone();
        self.tasks.spawn(async move {
            loop {
                let mut client = tokio::select! {
                    () = open.cancelled() => return,
                    client = listener.accept() => client.unwrap().0,
                };
                let (open, engine) = (open.clone(), wire.engine.clone());
                wire.tasks.spawn(async move {
                    let mut engine = UnixStream::connect(engine).await.unwrap();
                    tokio::select! {
                        () = open.cancelled() => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut engine) => {}
                    }
                });
            }
        });
    }

    pub(crate) fn cut(&self) {
        self.open.lock().unwrap().cancel();
        std::fs::remove_file(&self.socket).unwrap();
    }
}

/// An engine's own interface, with nobody between.
pub(crate) struct Bare {
    socket: String,
}

impl Bare {
    pub(crate) fn at(address: &str) -> Self {
        Self { socket: address.strip_prefix("unix://").unwrap().to_owned() }
    }

    /// What the engine answers, as it is.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let url = format!("http://engine{path}");
        let words = ["-sS", "--fail-with-body", "--unix-socket", &self.socket, "-X", method, &url];
        let json = ["-H", "content-type: application/json", "-d", body];
        let body = if body.is_empty() { &[][..] } else { &json[..] };
        let output = Command::new("curl").args(words).args(body).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{method} {path}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.ask("GET", path, "")).unwrap()
    }

    pub(crate) fn post(&self, path: &str) {
        self.ask("POST", path, "");
    }

    /// Makes a container of this request; its id.
    pub(crate) fn create(&self, body: &Value) -> String {
        let made: Value =
            serde_json::from_str(&self.ask("POST", "/containers/create", &body.to_string())).unwrap();
        made["Id"].as_str().unwrap().to_owned()
    }

    /// Removes a container with its volumes.
    pub(crate) fn remove(&self, id: &str) {
        self.ask("DELETE", &format!("/containers/{id}?force=1&v=1"), "");
    }

    /// Makes a container, waits until it has ended, and removes it; what it printed.
    pub(crate) fn run(&self, body: &Value) -> String {
        let id = self.create(body);
        self.post(&format!("/containers/{id}/start"));
        self.post(&format!("/containers/{id}/wait"));
        let printed = super::machine::docker(&format!("unix://{}", self.socket), &["logs", &id]);
        self.remove(&id);
        printed
    }
}
