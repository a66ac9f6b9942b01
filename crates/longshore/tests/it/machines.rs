//! Machines through the API: what is shown of them, how they connect, and what happens when they cannot be reached.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use agent::Agent;
use reqwest::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wire::link::{LEVEL_HEADER, LINK_LEVEL, MACHINE_HEADER};
use wire::secret::Secret;

use crate::support::eventually;
use crate::support::process::ServerProcess;
use crate::support::server::{ADMIN_PASSWORD, TestServer};
use crate::support::shop::Shop;

/// The engine's socket behind one that can be taken away: what an engine that died looks like, without killing the one
/// that all tests share.
struct Wire {
    engine: PathBuf,
    socket: PathBuf,
    open: Mutex<CancellationToken>,
    tasks: TaskTracker,
}

impl Wire {
    fn new(engine: &str, folder: &Path) -> Arc<Self> {
        let engine = engine.strip_prefix("unix://").unwrap().into();
        let socket = folder.join("docker.sock");
        Arc::new(Self { engine, socket, open: Mutex::default(), tasks: TaskTracker::new() })
    }

    fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    fn connect(self: &Arc<Self>) {
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

    fn cut(&self) {
        self.open.lock().unwrap().cancel();
        std::fs::remove_file(&self.socket).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_are_shown_and_their_addresses_to_admins_only() {
    let Some(shop) = Shop::open().await else { return };
    let admin = shop.server.admin().await;

    let listed = shop.alice.get("/api/v1/machines").await.expect(200).json();
    let machine = &listed["data"][0];
    let path = format!("/api/v1/machines/{}", machine["machine_id"].as_str().unwrap());
    let shown = shop.alice.get(&path).await.expect(200).json();
    let to_admin = admin.get(&path).await.expect(200).json();
    let info = shop.alice.get("/api/machine/info").await.expect(200).json();
    let info_to_admin = admin.get("/api/machine/info").await.expect(200).json();

    assert_eq!(listed["total"], 1);
    assert_eq!((&machine["state"], &machine["online"]), (&json!("online"), &json!(true)));
    assert_eq!((&shown["ip"], &info[0]["ip"]), (&json!(""), &json!("")));
    assert!(!to_admin["ip"].as_str().unwrap().is_empty());
    assert_eq!(info_to_admin[0]["ip"], to_admin["ip"]);
    assert!(info[0]["cpu"]["0"]["cores"].as_u64().unwrap() > 0);
    assert!(info[0]["memory"]["total"].as_u64().unwrap() > 0);
    assert!(info[0]["disk"]["total"].as_u64().unwrap() > 0);
    assert_eq!(info[0]["online"], true);
    shop.alice.get("/api/v1/machines/nowhere").await.expect(404);
    shop.alice.get("/api/v1/machines/No%20Where").await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_away_makes_its_containers_unknown_and_nothing_else() {
    let Some(engine) = crate::support::engine() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wire = Wire::new(&engine, folder.path());
    wire.connect();
    let Some(shop) = Shop::open_with(&[("machine.docker", &wire.url())]).await else { return };
    let kept = shop.run(json!({"name": "kept"})).await["id"].clone();
    let stopped = shop.run(json!({"name": "stopped"})).await["id"].clone();
    let deleted = shop.run(json!({"name": "deleted"})).await["id"].clone();
    let pid = shop.inspect(&kept)["State"]["Pid"].clone();

    wire.cut();
    for id in [&kept, &stopped, &deleted] {
        let unknown = shop.until(id, "unknown").await;
        assert_eq!(unknown["status"], false);
    }
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0].clone();
    assert_eq!((&machine["state"], &machine["online"]), (&json!("engine_down"), &json!(false)));
    let ready = shop.alice.get("/readyz").await.expect(503).json();
    assert!(
        ready["parts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|part| part["name"] == "engine" && part["ready"] == false)
    );
    assert_eq!(shop.ask(json!({})).await.expect(503).code(), "no_machine");
    let named = json!({"machine": machine["machine_id"]});
    assert_eq!(shop.ask(named).await.expect(409).code(), "machine_offline");
    // What is wished meanwhile is done when it can be.
    shop.act(&stopped, "stop?timeout=0").await;
    shop.alice.delete(&format!("/api/v1/containers/{deleted}")).await.expect(202);
    assert_eq!(shop.inspect(&kept)["State"]["Pid"], pid, "nobody touched it");

    wire.connect();
    shop.until(&kept, "running").await;
    shop.until(&stopped, "stopped").await;
    shop.until_gone(&deleted).await;
    shop.is_online().await;
    shop.alice.get("/readyz").await.expect(200);
    assert_eq!(shop.inspect(&kept)["State"]["Pid"], pid, "and nobody touched it");
    shop.close().await;
}

fn remote_agent(folder: &Path, docker: String, stop: &CancellationToken) -> Agent {
    let config = agent::Config {
        docker: Some(docker),
        registry: "127.0.0.1:1".to_owned(),
        policy_file: None,
        machine_id: Some(format!("test-{}", Uuid::now_v7().simple()).parse().unwrap()),
        state_dir: folder.to_owned(),
    };
    Agent::new(config, stop.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_elsewhere_connects_with_the_right_token_only() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let folder = tempfile::tempdir().unwrap();
    let (stop, stop_liar) = (CancellationToken::new(), CancellationToken::new());
    let honest = remote_agent(folder.path(), engine.clone(), &stop);
    let liar = remote_agent(folder.path(), engine, &stop_liar);

    for (agent, token) in [(&honest, server.app.keys.link.clone()), (&liar, Secret::new("wrong"))] {
        let (dialing, url) = (agent.clone(), server.url.clone());
        agent.spawn(async move { dialing.dial(&agent::Server { url, token }).await });
    }
    let path = format!("/api/v1/machines/{}", honest.machine_id());
    let state_is = |state: &'static str| {
        let (alice, path) = (alice.clone(), path.clone());
        move || {
            let (alice, path) = (alice.clone(), path.clone());
            async move { (alice.get(&path).await.json()["state"] == state).then_some(()) }
        }
    };
    eventually("the machine is online", 60, state_is("online")).await;
    assert_eq!(server.app.hub.connected(), [honest.machine_id().clone()]);
    stop.cancel();
    eventually("the machine is out of reach", 60, state_is("unknown")).await;

    alice.get(&format!("/api/v1/machines/{}", liar.machine_id())).await.expect(404);
    stop_liar.cancel();
    honest.stopped().await;
    liar.stopped().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_links_door_says_what_is_wrong() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let token = server.app.keys.link.expose().to_owned();
    let right = vec![
        (AUTHORIZATION.as_str(), format!("Bearer {token}")),
        (MACHINE_HEADER, "m1".to_owned()),
        (LEVEL_HEADER, LINK_LEVEL.to_string()),
        (CONNECTION.as_str(), "Upgrade".to_owned()),
        (UPGRADE.as_str(), "websocket".to_owned()),
        (SEC_WEBSOCKET_VERSION.as_str(), "13".to_owned()),
        (SEC_WEBSOCKET_KEY.as_str(), "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
    ];
    let try_with = async |name: &str, value: Option<&str>| {
        let mut request = server.api.request(reqwest::Method::GET, "/api/v1/link?channel=control");
        for (header, text) in &right {
            let text = if *header == name { value } else { Some(text.as_str()) };
            if let Some(text) = text {
                request = request.header(*header, text);
            }
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = if status == 101 { String::new() } else { answer.text().await.unwrap() };
        (status, text)
    };

    let account_token = format!("Bearer {}", alice.token.clone().unwrap());
    let longer = format!("Bearer {token}x");
    let shorter = format!("Bearer {}", &token[..token.len() - 1]);
    let wrong = [
        None,
        Some("Bearer wrong"),
        Some("Bearer "),
        Some(&token),
        Some(&account_token),
        Some(&longer),
        Some(&shorter),
    ];
    for value in wrong {
        assert_eq!(try_with(AUTHORIZATION.as_str(), value).await.0, 401, "{value:?}");
    }
    for (level, word) in
        [((LINK_LEVEL + 1).to_string(), "upgrade the server"), ("0".to_owned(), "upgrade the agent")]
    {
        let (status, text) = try_with(LEVEL_HEADER, Some(&level)).await;
        assert_eq!(status, 409);
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(try_with(LEVEL_HEADER, None).await.0, 409);
    assert_eq!(try_with(MACHINE_HEADER, Some("../m")).await.0, 422);
    assert_eq!(try_with(MACHINE_HEADER, None).await.0, 422);
    assert_eq!(try_with(UPGRADE.as_str(), None).await.0, 400);
    assert_eq!(try_with("", None).await.0, 101);
    server.stop().await;
}

/// `longshore agent run …`; ended with the test.
struct AgentProcess(Child);

impl AgentProcess {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(["agent", "run"]).args(words).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn stop(&mut self) -> i32 {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.0.wait().unwrap().code().unwrap()
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_process_of_its_own_serves_its_engine_until_it_is_stopped() {
    let Some(engine) = crate::support::engine() else { return };
    let server = ServerProcess::start_on(&[("machine.enabled", "false")]).await;
    let folder = tempfile::tempdir().unwrap();
    let login = json!({"account": "admin", "password": ADMIN_PASSWORD});
    let token = server.api.post("/api/auth/login", login).await.expect(200).json()["access_token"].clone();
    let admin = server.api.with_token(token.as_str().unwrap());
    let token_file = server.data_dir.join("keys/link.token").display().to_string();
    let state = folder.path().join("agent").display().to_string();
    let words = |token_file: &str| -> Vec<String> {
        let words =
            [server.api.url.as_str(), "--token-file", token_file, "--registry", server.registry.as_str()];
        let more = ["--docker", engine.as_str(), "--data-dir", state.as_str()];
        words.into_iter().chain(more).map(str::to_owned).collect()
    };
    let start = |token_file: &str| {
        AgentProcess::start(&words(token_file).iter().map(String::as_str).collect::<Vec<_>>())
    };
    let machine = |state: &'static str| {
        let admin = admin.clone();
        move || {
            let admin = admin.clone();
            async move {
                let listed = admin.get("/api/v1/machines").await.expect(200).json();
                (listed["data"][0]["state"] == state).then(|| listed["data"][0].clone())
            }
        }
    };

    let nowhere = start("/nowhere/token").0.wait().unwrap().code().unwrap();
    let mut agent = start(&token_file);
    let online = eventually("the machine is online", 30, machine("online")).await;
    let ended = agent.stop();
    eventually("the machine is unknown", 30, machine("unknown")).await;

    assert_eq!((nowhere, ended), (1, 0));
    assert_eq!(online["registry"], server.registry);
    assert!(online["engine_version"].is_string(), "{online}");
}
