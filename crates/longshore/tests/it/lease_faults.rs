//! Leases when the server is killed: whatever it was doing, no graphics processor is ever given twice.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wire::ids::MachineId;

use crate::support::api::Api;
use crate::support::gpus::{Driver, gpu};
use crate::support::machine::docker;
use crate::support::process::ServerProcess;
use crate::support::shop::{push, with_image};
use crate::support::{Wait, eventually};

const COUNT: usize = 3;

/// Makes containers with graphics processors and stops, starts and deletes them, until told to stop or the server is gone.
async fn trade(alice: Api, seed: u64, stop: CancellationToken) {
    for round in 0_u64.. {
        if stop.is_cancelled() {
            return;
        }
        let wish = json!({"gpus": {"count": 1 + (seed + round) % 2}, "memory_bytes": 16 << 20});
        let request = alice.request(reqwest::Method::POST, "/api/v1/containers").json(&with_image(wish));
        let Ok(answer) = request.send().await else { return };
        let Ok(made) = answer.json::<Value>().await else { return };
        let id = made["id"].to_string();
        for verb in ["stop?timeout=0", "start", "restart?timeout=0", "delete"] {
            // Not always in the same state: that is the point.
            tokio::time::sleep(Duration::from_millis((seed * 131 + round * 67) % 400)).await;
            let path = format!("/api/v1/containers/{id}");
            let request = if verb == "delete" {
                alice.request(reqwest::Method::DELETE, &path)
            } else {
                alice.request(reqwest::Method::POST, &format!("{path}/{verb}"))
            };
            if stop.is_cancelled() || request.send().await.is_err() {
                return;
            }
        }
    }
}

/// The containers of an installation that run, by our number, with the graphics processors that the engine gave them.
fn running(engine: &str, instance: &str) -> HashMap<i64, Vec<String>> {
    let label = format!("label=longshore.instance={instance}");
    let ids = docker(engine, &["ps", "-q", "--no-trunc", "--filter", &label]);
    let inspect = |id: &str| {
        let text = docker(engine, &["inspect", id]);
        let seen = serde_json::from_str::<Value>(&text).unwrap()[0].take();
        let number = seen["Config"]["Labels"]["longshore.container"].as_str().unwrap().parse().unwrap();
        let requests = seen["HostConfig"]["DeviceRequests"].as_array().cloned().unwrap_or_default();
        let mut gpus: Vec<String> = requests
            .iter()
            .flat_map(|request| request["DeviceIDs"].as_array().cloned().unwrap_or_default())
            .map(|id| id.as_str().unwrap().to_owned())
            .collect();
        gpus.sort();
        (number, gpus)
    };
    ids.lines().map(inspect).collect()
}

/// While the server is dead nothing changes: what runs has what it runs with in the book, and nobody else has it.
async fn is_in_order(server: &ServerProcess, engine: &str) {
    let file = server.data_dir.join("longshore.db");
    let db = store::Db::open(&format!("sqlite://{}", file.display())).await.unwrap();
    let instance = store::settings::get(&db, "instance").await.unwrap().unwrap();
    let leases = store::gpu_leases::list(&db, None).await.unwrap();
    db.close().await.unwrap();
    let mut by_container: HashMap<i64, Vec<String>> = HashMap::new();
    for lease in leases {
        by_container.entry(lease.container_id.0).or_default().push(lease.gpu.to_string());
    }

    let mut taken = Vec::new();
    for (number, gpus) in running(engine, &instance) {
        assert!(!gpus.is_empty(), "container {number} runs without what it asked for");
        assert_eq!(
            by_container.get(&number),
            Some(&gpus),
            "container {number} runs with what it does not hold"
        );
        taken.extend(gpus);
    }
    let count = taken.len();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), count, "two containers run with one GPU");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_moment_gives_no_gpu_twice() {
    let gpus: Vec<Value> = (0..COUNT).map(|n| gpu(&format!("GPU-killed-{n}"), "NVIDIA T4", 15_360)).collect();
    let driver = Driver::with(&gpus);
    let nvml = driver.setting();
    let Some(mut server) = ServerProcess::start(&[("machine.nvml", &nvml)]).await else { return };
    let engine = crate::support::engine().unwrap();
    let alice = server.account("alice").await;
    let ready = || async { (alice.get("/readyz").await.status == 200).then_some(()) };
    eventually("the server is ready", 60, ready).await;
    push(&engine, &server.registry, "alice/app:v1");

    let kills: u64 = if crate::support::setting("LONGSHORE_TEST_SOAK").is_some() { 100 } else { 6 };
    for kill in 0..kills {
        let stop = CancellationToken::new();
        let trading = (0..4).map(|seed| trade(alice.clone(), seed + kill, stop.clone()));
        let killing = async {
            tokio::time::sleep(Duration::from_millis(1_500 + kill * 377 % 2_000)).await;
            server.kill();
            stop.cancel();
        };
        tokio::join!(futures::future::join_all(trading), killing);
        is_in_order(&server, &engine).await;
        server.start_again().await;
    }

    // And nothing is lost for ever: who waits is served, and what is deleted gives back what it held.
    let wait = Wait::new("every container is deleted and every GPU free");
    eventually(&wait, 120, || async {
        let listed = alice.get("/api/v1/containers?limit=100").await.json();
        for container in listed["data"].as_array().cloned().unwrap_or_default() {
            let path = format!("/api/v1/containers/{}", container["id"]);
            alice.request(reqwest::Method::DELETE, &path).send().await.ok();
        }
        let gpus = alice.get("/api/v1/gpus").await.json();
        wait.saw(&gpus);
        let gpus = gpus["data"].as_array().cloned().unwrap_or_default();
        let is_free = gpus.len() == COUNT && gpus.iter().all(|gpu| gpu["state"] == "free");
        (listed["total"] == 0 && is_free).then_some(())
    })
    .await;
    let machine: MachineId = alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let wish = json!({"gpus": {"count": COUNT}, "machine": machine.as_str()});
    let last = alice.post("/api/v1/containers", with_image(wish)).await.expect(201).json();
    let path = format!("/api/v1/containers/{}", last["id"]);
    let runs = || async { (alice.get(&path).await.json()["state"] == "running").then_some(()) };
    eventually("one container gets all of them", 60, runs).await;
    alice.delete(&path).await.expect(202);
    eventually("it is gone", 60, || async { (alice.get(&path).await.status == 404).then_some(()) }).await;
    server.stop();
}
