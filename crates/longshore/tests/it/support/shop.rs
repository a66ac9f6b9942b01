//! A server with an account and an image of its: what every test about containers begins with.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wire::ids::InstanceId;
use wire::names::ImageName;

use super::api::{Answer, Api};
use super::machine::{context, docker};
use super::server::TestServer;
use super::{Wait, eventually, is_skipped};

/// Long enough for a loaded machine; tests that wait for so long fail.
const PATIENCE: u64 = 60;
/// Tries to build an image, or to forget one, while other tests do the same.
const BUILD_TRIES: u32 = 5;
/// The image of the tests: a program that does as it is told.
const PROBE: &str =
    "FROM scratch\nCOPY probe /probe\nEXPOSE 8000\nENTRYPOINT [\"/probe\"]\nCMD [\"sleep\"]\n";

/// A server, its engine, and alice.
pub(crate) struct Shop {
    pub(crate) server: TestServer,
    pub(crate) alice: Api,
    /// The engine itself, to look at from outside.
    pub(crate) docker: String,
}

impl Shop {
    /// With the image `alice/app:v1`; none when the engine is skipped.
    pub(crate) async fn open() -> Option<Self> {
        Self::open_with(&[]).await
    }

    /// The same with other settings.
    pub(crate) async fn open_with(settings: &[(&str, &str)]) -> Option<Self> {
        if is_skipped("engine") {
            return None;
        }
        Self::open_on(&super::engine()?, settings).await
    }

    /// The same on an engine of the test's own.
    pub(crate) async fn open_on(docker: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let docker = docker.to_owned();
        let mut settings = settings.to_vec();
        settings.insert(0, ("machine.docker", &docker));
        let server = TestServer::start_with(&settings).await;
        let alice = server.account("alice").await;
        let shop = Self { server, alice, docker };
        shop.is_online().await;
        shop.is_ready().await;
        push(&shop.docker, &shop.server.registry, "alice/app:v1");
        Some(shop)
    }

    /// Adds the image `alice/shell:v1`, which has a shell.
    pub(crate) fn push_shell(&self) {
        push_context(&self.docker, &self.server.registry, "alice/shell:v1", &super::shell::context(""));
    }

    /// The same, and runs a container of it.
    pub(crate) async fn run_shell(&self, options: Value) -> Value {
        self.push_shell();
        self.run_of("shell:v1", options).await
    }

    /// Runs a container of an image of alice's.
    pub(crate) async fn run_of(&self, image: &str, mut options: Value) -> Value {
        options["image"] = json!(image);
        let made = self.alice.post("/api/v1/containers", options).await.expect(201).json();
        self.until(&made["id"], "running").await
    }

    /// The command lines of a container's processes, from the engine.
    pub(crate) fn processes(&self, id: &Value) -> Vec<String> {
        let Some(engine_id) = self.engine_id(id) else { return Vec::new() };
        let listed = docker(&self.docker, &["top", &engine_id, "-eo", "pid,args"]);
        let words = |line: &str| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        listed.lines().skip(1).map(words).collect()
    }

    /// Waits until no process of a container has this in its command line.
    pub(crate) async fn until_no_process(&self, id: &Value, text: &str) {
        let is_gone = || async { (!self.processes(id).iter().any(|line| line.contains(text))).then_some(()) };
        eventually(&format!("`{text}` has ended"), 20, is_gone).await;
    }

    /// Waits until the machine can take containers.
    pub(crate) async fn is_online(&self) {
        let online = || async {
            let machines = self.alice.get("/api/v1/machines").await.expect(200).json();
            (machines["data"][0]["state"] == "online").then_some(())
        };
        eventually("the machine is online", 60, online).await;
    }

    /// Waits until the machine's graphics processors are known.
    pub(crate) async fn has_gpus(&self) {
        let known = || async {
            let gpus = self.alice.get("/api/v1/gpus").await.expect(200).json();
            (gpus["data"][0]["state"] == "free").then_some(())
        };
        eventually("the machine's graphics processors are known", 60, known).await;
    }

    /// Waits until the server has everything it needs.
    async fn is_ready(&self) {
        let ready = || async { (self.alice.get("/readyz").await.status == 200).then_some(()) };
        eventually("the server is ready", 60, ready).await;
    }

    /// Asks for a container of `app:v1` with these further options.
    pub(crate) async fn ask(&self, options: Value) -> Answer {
        self.alice.post("/api/v1/containers", with_image(options)).await
    }

    /// Makes a container and waits until it runs.
    pub(crate) async fn run(&self, options: Value) -> Value {
        let made = self.ask(options).await.expect(201).json();
        assert_eq!(made["state"], "pending");
        self.until(&made["id"], "running").await
    }

    /// Waits until a container is in a state; then the container.
    pub(crate) async fn until(&self, id: &Value, state: &str) -> Value {
        let path = format!("/api/v1/containers/{id}");
        let wait = Wait::new(format!("container {id} becomes {state}"));
        eventually(&wait, PATIENCE, || async {
            let container = self.alice.get(&path).await.json();
            wait.saw(&container);
            (container["state"] == state).then_some(container)
        })
        .await
    }

    /// Waits until a container does not exist any more, for the server and for the engine.
    pub(crate) async fn until_gone(&self, id: &Value) {
        let path = format!("/api/v1/containers/{id}");
        let is_gone = || async { (self.alice.get(&path).await.status == 404).then_some(()) };
        eventually("the container is gone", 60, is_gone).await;
        assert_eq!(self.engine_id(id), None, "the engine has it still");
    }

    /// Does something to a container that must be accepted.
    pub(crate) async fn act(&self, id: &Value, verb: &str) -> Value {
        self.alice.post(&format!("/api/v1/containers/{id}/{verb}"), json!({})).await.expect(202).json()
    }

    /// The engine's id of a container, from the engine itself.
    pub(crate) fn engine_id(&self, id: &Value) -> Option<String> {
        let instance = format!("label=longshore.instance={}", self.server.app.instance);
        let container = format!("label=longshore.container={id}");
        let words = ["ps", "-aq", "--no-trunc", "--filter", &instance, "--filter", &container];
        Some(docker(&self.docker, &words)).filter(|id| !id.is_empty())
    }

    /// What the engine says of a container.
    pub(crate) fn inspect(&self, id: &Value) -> Value {
        let engine_id = self.engine_id(id).expect("the engine has the container");
        let text = docker(&self.docker, &["inspect", &engine_id]);
        serde_json::from_str::<Value>(&text).unwrap()[0].take()
    }

    /// All containers of this installation that the engine has.
    pub(crate) fn engine_ids(&self) -> Vec<String> {
        engine_ids(&self.docker, self.server.app.instance)
    }

    /// Stops the server and removes what the engine has of it.
    pub(crate) async fn close(self) {
        let Self { server, docker: engine, .. } = self;
        let instance = server.app.instance;
        server.stop().await;
        for id in engine_ids(&engine, instance) {
            docker(&engine, &["rm", "-fv", &id]);
        }
    }

    /// Stops the server and starts it again on the same folder.
    pub(crate) async fn restart_server(self) -> Self {
        let shop = self.restart_server_without_machine().await;
        shop.is_online().await;
        shop
    }

    /// The same where the machine cannot be reached.
    pub(crate) async fn restart_server_without_machine(self) -> Self {
        let Self { server, docker, .. } = self;
        let server = server.restart().await;
        let alice = server.login("alice", "alice password").await;
        Self { server, alice, docker }
    }
}

/// All containers of an installation that an engine has.
pub(crate) fn engine_ids(engine: &str, instance: InstanceId) -> Vec<String> {
    let instance = format!("label=longshore.instance={instance}");
    let found = docker(engine, &["ps", "-aq", "--no-trunc", "--filter", &instance]);
    found.lines().map(str::to_owned).collect()
}

/// Builds the probe's image on the engine and pushes it as its owner.
pub(crate) fn push(engine: &str, registry: &str, name: &str) {
    push_made(engine, registry, name, PROBE);
}

/// The same with another Dockerfile.
pub(crate) fn push_made(engine: &str, registry: &str, name: &str, dockerfile: &str) {
    push_context(engine, registry, name, &context(dockerfile));
}

/// Builds an image from a context on the engine and pushes it as its owner.
pub(crate) fn push_context(engine: &str, registry: &str, name: &str, context: &[u8]) {
    let name: ImageName = name.parse().unwrap();
    let (local, owner) = (format!("{registry}/{name}"), &name.owner);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().display().to_string();
    let password = format!("{owner} password");
    docker(engine, &["--config", &config, "login", "-u", owner.as_str(), "-p", &password, registry]);
    // While another test removes the last name of an image, an engine also removes what it was built on, which this build may
    // just have found: then it fails or what was built is gone, and the next one finds nothing.
    let is_pushed =
        || is_built(engine, &local, context) && quiet(engine, &["--config", &config, "push", "-q", &local]);
    assert!((0..BUILD_TRIES).any(|_| is_pushed()), "the engine builds and pushes the probe");
    assert!((0..BUILD_TRIES).any(|_| is_forgotten(engine, &local)), "the engine forgets the probe");
}

/// Several tests may give up names of one image at the same time, at which engines fail.
pub(crate) fn is_forgotten(engine: &str, name: &str) -> bool {
    quiet(engine, &["rmi", name]) || !quiet(engine, &["image", "inspect", name])
}

fn quiet(engine: &str, words: &[&str]) -> bool {
    let mut command = Command::new("docker");
    command.args(["-H", engine]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

fn is_built(engine: &str, name: &str, context: &[u8]) -> bool {
    let mut build = Command::new("docker")
        .args(["-H", engine, "build", "-q", "-t", name, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // An engine that fails early reads no further.
    let is_sent = build.stdin.take().unwrap().write_all(context).is_ok();
    build.wait().unwrap().success() && is_sent
}

/// A request for a container of `app:v1`.
pub(crate) fn with_image(mut options: Value) -> Value {
    options["image"] = json!("app:v1");
    options
}
