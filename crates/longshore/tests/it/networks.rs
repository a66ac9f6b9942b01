//! Machines on hosts of their own, which can only dial out: the whole way over real connections, and what is left when
//! those break.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Agent;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wire::invites::join_statement;
use wire::machines::MachineState;
use wire::time::Timestamp;

use crate::support::api::Api;
use crate::support::archives;
use crate::support::machine::docker;
use crate::support::network::Network;
use crate::support::process::ServerProcess;
use crate::support::remote::{Remote, invite, until_machine};
use crate::support::server::{ADMIN_PASSWORD, TestServer};
use crate::support::{Wait, eventually};

const SERVE: &str = "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\nCMD [\"serve\", \"8000\", \"Hello from afar\"]\n";

/// A server on the network's address, without an engine of its own.
pub(crate) async fn server_on(network: &Network) -> TestServer {
    let listen = format!("{}:0", network.address);
    let server = TestServer::without_engine(&[("listen", &listen)]).await;
    assert!(server.url.starts_with("https://"), "beyond loopback the server speaks TLS by itself");
    server
}

pub(crate) async fn join(network: &Arc<Network>, server: &TestServer, admin: &Api, host: &str) -> Remote {
    let token = invite(admin).await;
    let mut remote = Remote::new().on(network, host).joined(&server.url, &token);
    remote.run(&network.engine(host), &[]);
    let began = Instant::now();
    until_machine(admin, &remote.machine, "online").await;
    eprintln!("machine on {host} online after {} ms", began.elapsed().as_millis());
    remote
}

pub(crate) async fn until_container(api: &Api, id: &Value, state: &str) -> Value {
    let path = format!("/api/v1/containers/{id}");
    let wait = Wait::new(format!("container {id} is {state}"));
    eventually(&wait, 90, || async {
        let seen = api.get(&path).await;
        wait.saw(&seen.text);
        (seen.json()["state"] == state).then(|| seen.json())
    })
    .await
}

/// What a container answers to somebody on its own host.
fn answer(network: &Network, host: &str, port: &Value) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}/");
    let output = network.command(host, "curl").args(["-fsS", "--max-time", "5", &url]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn can_dial(address: &str, port: &str) -> bool {
    let words = ["-s", "--connect-timeout", "2", "-o", "/dev/null", &format!("http://{address}:{port}/")];
    // 7: refused, 28: no answer; anything else means that somebody listens.
    !matches!(Command::new("curl").args(words).status().unwrap().code(), Some(7 | 28))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_that_can_only_dial_out_build_pull_and_run() {
    let Some(network) = Network::start(&["gpu1", "gpu2"]) else { return };
    let network = Arc::new(network);
    let server = server_on(&network).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    let mut machines =
        vec![join(&network, &server, &admin, "gpu1").await, join(&network, &server, &admin, "gpu2").await];

    let archive = archives::tar(SERVE);
    let upload = alice.request(reqwest::Method::POST, "/api/v1/builds?image=hello:1").body(archive);
    let build = alice.send(upload).await.expect(202).json();
    let wait = Wait::new("the build succeeds");
    let ended = eventually(&wait, 90, || async {
        let seen = alice.get(&format!("/api/v1/builds/{}", build["id"].as_str().unwrap())).await;
        wait.saw(&seen.text);
        (seen.json()["state"] == "succeeded").then(|| seen.json())
    })
    .await;
    let builder = machines.iter().position(|remote| ended["machine_id"] == *remote.machine).unwrap();
    let other = 1 - builder;
    let host = ["gpu1", "gpu2"][other];
    // The other machine has never seen the image: it comes through its own door when it is first needed.
    let images = || docker(&network.engine(host), &["images", "-q"]);
    assert_eq!(images(), "");
    let wish =
        json!({"image": "hello:1", "machine": machines[other].machine, "ports": [{"container": 8000}]});
    let made = alice.post("/api/v1/containers", wish).await.expect(201).json();
    let running = until_container(&alice, &made["id"], "running").await;
    let wait = Wait::new("the container answers");
    let said = eventually(&wait, 30, || async { answer(&network, host, &running["port"]) }).await;

    assert!(said.contains("Hello"), "{said}");
    assert_ne!(images(), "");
    let address = network.address_of(host);
    assert!(!can_dial(&address, &running["port"].to_string()) && !can_dial(&address, "5000"));
    for remote in &mut machines {
        remote.stop();
    }
    server.stop().await;
}

/// How soon after a network is mended everything must be known.
const KNOWN_AGAIN: Duration = Duration::from_secs(10);

/// Mends a host's network; the moment from which on it works.
pub(crate) fn heal(network: &Network, server: &TestServer, host: &str) -> Timestamp {
    network.change("heal", host);
    server.app.clock.now()
}

/// Holds to that. By what the server wrote down when it knew it: a test that looks late must not call that late.
pub(crate) fn was_known_soon(what: &str, healed: Timestamp, shown: &[&Value]) {
    for seen in shown {
        let since: Timestamp = seen["state_since"].as_str().unwrap().parse().unwrap();
        let took = Duration::from_micros(u64::try_from(since.0 - healed.0).unwrap_or_default());
        eprintln!("{what}: `{}` {} ms after the network was mended", seen["state"], took.as_millis());
        assert!(took <= KNOWN_AGAIN, "{what}: it took {took:?}: {seen}");
    }
}

/// Each host of the test is named after what happens to its network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_outlive_a_network_that_breaks_and_are_known_again_when_it_heals() {
    const HARMS: [&str; 3] = ["cut", "mute", "deafen"];
    let Some(network) = Network::start(&HARMS) else { return };
    let network = Arc::new(network);
    let server = server_on(&network).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    let mut remotes = Vec::new();
    for host in HARMS {
        remotes.push(join(&network, &server, &admin, host).await);
    }
    let upload =
        alice.request(reqwest::Method::POST, "/api/v1/builds?image=hello:1").body(archives::tar(SERVE));
    let build = alice.send(upload).await.expect(202).json();
    let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    let is_built = || async { (alice.get(&path).await.json()["state"] == "succeeded").then_some(()) };
    eventually("the build succeeds", 90, is_built).await;
    let mut made = Vec::new();
    for remote in &remotes {
        let wish = json!({"image": "hello:1", "machine": remote.machine});
        made.push(alice.post("/api/v1/containers", wish).await.expect(201).json()["id"].clone());
    }
    for id in &made {
        until_container(&alice, id, "running").await;
    }
    let processes = || {
        let process_of = |host: &str| {
            let engine = network.engine(host);
            let id = docker(&engine, &["ps", "-q", "--no-trunc"]);
            docker(&engine, &["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", &id])
        };
        HARMS.map(process_of)
    };
    let before = processes();

    for harm in HARMS {
        network.change(harm, harm);
    }
    for (remote, id) in remotes.iter().zip(&made) {
        until_machine(&admin, &remote.machine, "unknown").await;
        let unknown = until_container(&alice, id, "unknown").await;
        assert_eq!(unknown["status"], false);
    }
    assert_eq!(processes(), before, "nobody touched them while their networks were broken");
    for (index, host) in HARMS.iter().enumerate() {
        let healed = heal(&network, &server, host);
        let container = until_container(&alice, &made[index], "running").await;
        let machine = until_machine(&admin, &remotes[index].machine, "online").await;
        was_known_soon(host, healed, &[&machine, &container]);
    }

    assert_eq!(processes(), before, "and nobody touched them after");
    for remote in &mut remotes {
        remote.stop();
    }
    server.stop().await;
}

/// An agent of a machine without an engine, in this process.
fn agent_of(folder: &Path, machine: &str, stop: &CancellationToken) -> Agent {
    let config = agent::Config {
        docker: Some("unix:///nonexistent/docker.sock".into()),
        registry: "127.0.0.1:5000".into(),
        policy_file: None,
        machine_id: Some(machine.parse().unwrap()),
        state_dir: folder.to_owned(),
        nvml: None,
    };
    Agent::new(config, stop.clone()).unwrap()
}

/// Joins a machine and has its agent connect; what `longshore agent join` and `run` do.
async fn join_here(api: &Api, admin: &Api, folder: &Path, number: usize, stop: &CancellationToken) -> Agent {
    let machine = format!("storm-{number}");
    let token = invite(admin).await;
    let key = agent::MachineKey::make().unwrap();
    let signature = key.sign(&join_statement(&token, &machine.parse().unwrap()));
    let request = json!({"token": token, "machine_id": machine, "public_key": key.public_key(), "signature": signature});
    api.post("/api/v1/machines/join", request).await.expect(200);
    let agent = agent_of(folder, &machine, stop);
    let server = agent::Server { url: api.url.clone(), fingerprint: None, key };
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialing = agent.clone();
    agent.spawn(async move { dialing.dial(&server, door).await.unwrap() });
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_agents_that_lost_their_server_are_soon_back_and_cost_it_little() {
    // How many, and how soon after the server's start all of them are to be back.
    let (count, settled_secs) = match crate::support::setting("LONGSHORE_TEST_SOAK") {
        Some(_) => (1_000, 60),
        None => (100, 20),
    };
    let mut server = ServerProcess::start_on(&[("machine.enabled", "false"), ("log.filter", "warn")]).await;
    let login = json!({"account": "admin", "password": ADMIN_PASSWORD});
    let token = server.api.post("/api/auth/login", login).await.expect(200).json()["access_token"].clone();
    let admin = server.api.with_token(token.as_str().unwrap());
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let alone_kib = server.memory_kib("VmRSS");
    let mut agents = Vec::new();
    for number in 0..count {
        agents.push(join_here(&server.api, &admin, folder.path(), number, &stop).await);
    }
    let all_connected = |since: String| {
        let admin = admin.clone();
        let wait = Wait::new(format!("all {count} agents are connected"));
        async move {
            eventually(&wait, 60, || async {
                let listed = admin.get("/api/v1/machines?limit=2048").await;
                let machines = listed.json()["data"].as_array().cloned().unwrap_or_default();
                let is_back = |machine: &&Value| {
                    machine["state"] == "engine_down"
                        && machine["state_since"].as_str() > Some(since.as_str())
                };
                let back = machines.iter().filter(is_back).count();
                wait.saw(&back);
                let last = machines.iter().filter_map(|machine| machine["state_since"].as_str()).max();
                (back == count).then(|| last.unwrap().parse::<Timestamp>().unwrap())
            })
            .await
        }
    };

    all_connected(String::new()).await;
    let each_kib = server.memory_kib("VmRSS").saturating_sub(alone_kib) / count as u64;
    let clock = server::app::Clock::default();
    server.kill();
    // The new server calls them all unknown before it hears of any: what is newer than its start is true again.
    let before = store::Db::open(&format!("sqlite://{}", server.data_dir.join("longshore.db").display()))
        .await
        .unwrap();
    for agent in &agents {
        store::machines::set_state(&before, agent.machine_id(), MachineState::Unknown, clock.now())
            .await
            .unwrap();
    }
    let killed_at = clock.now().to_string();
    before.close().await.unwrap();
    server.start_again().await;
    let started_at = clock.now();
    let settled = all_connected(killed_at).await;
    let took = Duration::from_micros(u64::try_from(settled.0 - started_at.0).unwrap_or_default());
    eprintln!(
        "{count} agents back {} ms after the restart; {each_kib} KiB of the server each (debug build)",
        took.as_millis()
    );
    assert!(took <= Duration::from_secs(settled_secs), "the storm took {took:?} to settle");

    stop.cancel();
    for agent in agents {
        agent.stopped().await;
    }
    server.stop();
}
