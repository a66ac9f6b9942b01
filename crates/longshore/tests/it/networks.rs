//! Machines on hosts of their own, which can only dial out: the whole way over real connections, and what is left when
//! those break.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::archives;
use crate::support::machine::docker;
use crate::support::network::Network;
use crate::support::remote::{Remote, invite, until_machine};
use crate::support::server::TestServer;
use crate::support::{Wait, eventually};

const SERVE: &str = "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\nCMD [\"serve\", \"8000\", \"Hello from afar\"]\n";

/// A server on the network's address, without an engine of its own.
async fn server_on(network: &Network) -> TestServer {
    let listen = format!("{}:0", network.address);
    let server = TestServer::without_engine(&[("listen", &listen)]).await;
    assert!(server.url.starts_with("https://"), "beyond loopback the server speaks TLS by itself");
    server
}

async fn join(network: &Arc<Network>, server: &TestServer, admin: &Api, host: &str) -> Remote {
    let token = invite(admin).await;
    let mut remote = Remote::new().on(network, host).joined(&server.url, &token);
    remote.run(&network.engine(host), &[]);
    let began = Instant::now();
    until_machine(admin, &remote.machine, "online").await;
    eprintln!("machine on {host} online after {} ms", began.elapsed().as_millis());
    remote
}

async fn until_container(api: &Api, id: &Value, state: &str) -> Value {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_outlive_a_network_that_breaks_and_are_known_again_when_it_heals() {
    let Some(network) = Network::start(&["gpu1"]) else { return };
    let network = Arc::new(network);
    let server = server_on(&network).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    let mut remote = join(&network, &server, &admin, "gpu1").await;
    let upload =
        alice.request(reqwest::Method::POST, "/api/v1/builds?image=hello:1").body(archives::tar(SERVE));
    let build = alice.send(upload).await.expect(202).json();
    let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    let is_built = || async { (alice.get(&path).await.json()["state"] == "succeeded").then_some(()) };
    eventually("the build succeeds", 90, is_built).await;
    let made =
        alice.post("/api/v1/containers", json!({"image": "hello:1", "name": "box"})).await.expect(201).json();
    until_container(&alice, &made["id"], "running").await;
    let engine = network.engine("gpu1");
    let pid = || {
        docker(&engine, &["ps", "-q", "--no-trunc"])
            .lines()
            .map(|id| docker(&engine, &["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", id]))
            .collect::<Vec<_>>()
    };
    let process = pid();

    for harm in ["cut", "mute"] {
        network.change(harm, "gpu1");
        until_machine(&admin, &remote.machine, "unknown").await;
        let unknown = until_container(&alice, &made["id"], "unknown").await;
        assert_eq!(unknown["status"], false);
        assert_eq!(pid(), process, "nobody touched it while the network was {harm}");
        network.change("heal", "gpu1");
        let began = Instant::now();
        until_container(&alice, &made["id"], "running").await;
        until_machine(&admin, &remote.machine, "online").await;
        eprintln!("known again {} ms after {harm}", began.elapsed().as_millis());
        assert!(began.elapsed() < Duration::from_mins(2));
        assert_eq!(pid(), process, "and nobody touched it after");
    }

    remote.stop();
    server.stop().await;
}
