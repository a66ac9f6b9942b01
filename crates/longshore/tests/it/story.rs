//! The whole story of a laboratory's GPU boxes, over real networks: machines that can only dial out join, a container gets a GPU
//! on a machine that never saw its image, is worked in, is saved, lives on elsewhere, and everything is deleted in order.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::gpus::{Driver, gpu};
use crate::support::machine::docker;
use crate::support::network::Network;
use crate::support::remote::{Remote, invite, until_machine};
use crate::support::server::TestServer;
use crate::support::{Wait, eventually, shell};

const HOSTS: [&str; 2] = ["gpu1", "gpu2"];

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

async fn until_built(api: &Api, build: &Value) -> Value {
    let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    let wait = Wait::new("the build succeeds");
    eventually(&wait, 120, || async {
        let seen = api.get(&path).await;
        wait.saw(&seen.text);
        (seen.json()["state"] == "succeeded").then(|| seen.json())
    })
    .await
}

fn file(container: &Value, path: &str) -> String {
    format!("/api/v1/containers/{}/files/content?path={path}", container["id"])
}

/// A machine with one GPU, that has joined and is online.
async fn join(
    network: &Arc<Network>,
    server: &TestServer,
    admin: &Api,
    host: &str,
    driver: &Driver,
) -> Remote {
    let token = invite(admin).await;
    let mut remote = Remote::new().on(network, host).joined(&server.url, &token);
    remote.run_with(&network.engine(host), &["--nvml", &driver.setting()]);
    until_machine(admin, &remote.machine, "online").await;
    remote
}

/// Types into a shell of a container, in a terminal as a person has it; what it showed, and how the command ended.
fn type_in_terminal(
    server: &TestServer,
    home: &std::path::Path,
    container: &str,
    typed: &str,
) -> (String, i32) {
    let longshore = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(words).env("LONGSHORE_CONFIG_DIR", home).env("LONGSHORE_LANG", "en");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let fingerprint = server.app.tls.fingerprint().unwrap().to_owned();
    let words = [
        "login",
        server.url.as_str(),
        "--account",
        "alice",
        "--password-stdin",
        "--fingerprint",
        fingerprint.as_str(),
    ];
    let mut login = longshore(&words).spawn().unwrap();
    login.stdin.take().unwrap().write_all(b"alice password\n").unwrap();
    let output = login.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let line = format!("{} container exec -it {container} -- sh", env!("CARGO_BIN_EXE_longshore"));
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("LONGSHORE_CONFIG_DIR", home)
        .env("LONGSHORE_LANG", "en")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    terminal.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_box_from_joining_to_the_last_deletion() {
    let Some(network) = Network::start(&HOSTS) else { return };
    let network = Arc::new(network);
    let listen = format!("{}:0", network.address);
    let server =
        TestServer::without_engine(&[("listen", &listen), ("gpus.max_duration_default_secs", "3600")]).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    let bob = server.account("bob").await;

    // Two machines join; each has a GPU, and everybody sees both.
    let drivers: Vec<Driver> = HOSTS
        .iter()
        .map(|host| Driver::with(&[gpu(&format!("GPU-story-{host}"), "NVIDIA T4", 15_360)]))
        .collect();
    let mut remotes = Vec::new();
    for (host, driver) in HOSTS.iter().zip(&drivers) {
        remotes.push(join(&network, &server, &admin, host, driver).await);
    }
    let free = || async {
        let gpus = bob.get("/api/v1/gpus").await.expect(200).json();
        let count = gpus["data"].as_array().unwrap().iter().filter(|gpu| gpu["state"] == "free").count();
        (count == 2).then_some(())
    };
    eventually("both GPUs are free", 60, free).await;

    // An image is built on one of them, and a container of it gets the other one's GPU: its image comes through the door.
    let upload = alice.request(Method::POST, "/api/v1/builds?image=box:1").body(shell::context(""));
    let accepted = alice.send(upload).await.expect(202).json();
    let built = until_built(&alice, &accepted).await;
    let base = built["image_id"].clone();
    let home_index = remotes.iter().position(|remote| built["machine_id"] == *remote.machine).unwrap();
    let away_index = 1 - home_index;
    let (home, away) = (remotes[home_index].machine.clone(), remotes[away_index].machine.clone());
    let (away_host, away_engine) = (HOSTS[away_index], network.engine(HOSTS[away_index]));
    assert_eq!(docker(&away_engine, &["images", "-q"]), "");
    let wish = json!({"image": "box:1", "name": "box", "machine": away, "gpus": {"count": 1}});
    let made = alice.post("/api/v1/containers", wish).await.expect(201).json();
    let running = until_container(&alice, &made["id"], "running").await;
    assert_eq!(running["gpu_ids"], json!([format!("GPU-story-{away_host}")]));
    let leased = alice.get("/api/v1/gpus").await.json();
    let lease =
        leased["data"].as_array().unwrap().iter().find(|gpu| gpu["state"] == "leased").unwrap()["lease"]
            .clone();
    assert_eq!((&lease["container"], &lease["until"]), (&json!("box"), &running["ends_at"]));
    let wish = json!({"image": "box:1", "name": "next", "machine": away, "gpus": {"count": 1}});
    let next = alice.post("/api/v1/containers", wish).await.expect(201).json();
    assert_eq!(next["reason"], "waits_for_gpu");

    // The network breaks: the container runs on and keeps its GPU, and nobody is given it.
    let process = || docker(&away_engine, &["ps", "-q", "--no-trunc"]);
    let before = process();
    network.change("cut", away_host);
    until_container(&alice, &made["id"], "unknown").await;
    assert_eq!(alice.get("/api/v1/containers/next").await.json()["state"], "pending");
    network.change("heal", away_host);
    let again = until_container(&alice, &made["id"], "running").await;
    assert_eq!((again["gpu_ids"].clone(), process()), (running["gpu_ids"].clone(), before));
    alice.delete("/api/v1/containers/next").await.expect(202);

    // Somebody works in it.
    let folder = tempfile::tempdir().unwrap();
    let typed = "echo typed-$((40 + 2)) > /work.txt; cat /work.txt\nexit 7\n";
    let (shown, status) =
        tokio::task::block_in_place(|| type_in_terminal(&server, folder.path(), "box", typed));
    // What was typed comes back twice where the shell was not ready yet (from the kernel and from its line editor), and its
    // prompt may stand before the answer: only the sum itself was not typed.
    assert!(status == 7 && shown.contains("typed-42\r\n"), "{status} {shown:?}");
    let upload = alice.request(Method::PUT, &file(&made, "/data.bin")).body(vec![7_u8; 200_000]);
    alice.send(upload).await.expect(201);
    assert_eq!(alice.get(&file(&made, "/work.txt")).await.expect(200).text, "typed-42\n");
    bob.get(&file(&made, "/work.txt")).await.expect(404);

    // It is saved, and what was saved runs on the other machine, with that one's GPU.
    let path = format!("/api/v1/containers/{}/save", made["id"]);
    let saving = json!({"image": "box:saved", "message": "what I did today"});
    let saved =
        until_built(&alice, &alice.post(&path, saving).await.expect(202).json()).await["image_id"].clone();
    let image = alice.get(&format!("/api/v1/images/{saved}")).await.expect(200).json();
    assert_eq!((&image["parent_image_id"], &image["source"]), (&base, &json!("save")));
    let wish = json!({"image": "box:saved", "name": "copy", "machine": home, "gpus": {"count": 1}});
    let copy = alice.post("/api/v1/containers", wish).await.expect(201).json();
    let copied = until_container(&alice, &copy["id"], "running").await;
    assert_eq!(copied["gpu_ids"], json!([format!("GPU-story-{}", HOSTS[home_index])]));
    assert_eq!(alice.get(&file(&copy, "/work.txt")).await.expect(200).text, "typed-42\n");
    let size = alice.get(&file(&copy, "/data.bin")).await.expect(200).text.len();
    assert_eq!(size, 200_000);
    let held = alice.get(&format!("/api/v1/images/{base}/machines")).await.expect(200).json();
    assert!(held["data"].as_array().unwrap().iter().any(|held| held["machine_id"] == away), "{held}");

    // Nothing goes that something else needs, and everything goes in order.
    let refused = alice.delete(&format!("/api/v1/images/{base}")).await.expect(409).json();
    assert_eq!(refused["dependents"]["images"], json!([{"id": saved, "name": "alice/box:saved"}]));
    assert_eq!(refused["dependents"]["containers"], json!([{"id": made["id"], "name": "box"}]));
    let refused = alice.delete(&format!("/api/v1/images/{saved}")).await.expect(409).json();
    assert_eq!(refused["dependents"]["containers"], json!([{"id": copy["id"], "name": "copy"}]));
    for container in [&copy, &made] {
        let path = format!("/api/v1/containers/{}", container["id"]);
        alice.delete(&path).await.expect(202);
        eventually("it is gone", 60, || async { (alice.get(&path).await.status == 404).then_some(()) }).await;
    }
    eventually("both GPUs are free again", 60, free).await;
    alice.delete(&format!("/api/v1/images/{base}")).await.expect(409);
    for image in [&saved, &base] {
        let path = format!("/api/v1/images/{image}");
        let deleted = || async {
            let status = alice.delete(&path).await.status;
            (status == 204 || status == 404).then_some(())
        };
        eventually("the image can be deleted", 60, deleted).await;
        eventually("it is gone", 60, || async { (alice.get(&path).await.status == 404).then_some(()) }).await;
    }
    assert_eq!(docker(&away_engine, &["ps", "-aq"]), "");
    for remote in &mut remotes {
        remote.stop();
    }
    server.stop().await;
}
