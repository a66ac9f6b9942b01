//! Graphics processors: what machines say of them, through the real binding and a simulated driver. `real_gpus` has what a
//! driver that is really there is tried with.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::eventually;
use crate::support::gpus::{Driver, Outsider, gpu, used_by};
use crate::support::nvidia_smi::RealGpus;
use crate::support::server::TestServer;
use crate::support::shop::Shop;

/// A server whose machine has this driver and no engine.
async fn server_with(driver: &Driver) -> TestServer {
    let nvml = driver.setting();
    let settings = [
        ("machine.enabled", "true"),
        ("machine.docker", "unix:///nonexistent/docker.sock"),
        ("machine.nvml", &nvml),
    ];
    TestServer::start_with(&settings).await
}

/// Waits until the list of graphics processors is as wanted; then the list.
async fn until_gpus(api: &Api, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually(what, 30, || async {
        let gpus = api.get("/api/v1/gpus?limit=2048").await.expect(200).json()["data"].as_array().cloned()?;
        is_so(&gpus).then_some(gpus)
    })
    .await
}

/// Waits until the machine's problem is as wanted; then the problem.
async fn until_problem(api: &Api, word: &str) -> String {
    eventually(&format!("a problem with `{word}`"), 30, || async {
        let machine = api.get("/api/v1/machines").await.expect(200).json()["data"][0].clone();
        machine["gpu_problem"].as_str().filter(|text| text.contains(word)).map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphics_processors_are_shown_with_what_they_do() {
    let mut divided = gpu("GPU-b", "NVIDIA A100-SXM4-40GB", 40_960);
    divided["mig"] = json!([
        { "uuid": "MIG-1", "name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "memory_mib": 19_968, "memory_used_mib": 10 },
        { "uuid": "MIG-2", "name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "memory_mib": 19_968 },
    ]);
    let mut plain = gpu("GPU-c", "Some old card", 2_048);
    for what in ["utilization_percent", "temperature_celsius", "power_watts"] {
        plain[what] = Value::Null;
    }
    let driver = Driver::with(&[gpu("GPU-a", "NVIDIA GeForce RTX 3060", 12_288), divided, plain]);
    let server = server_with(&driver).await;
    let alice = server.account("alice").await;

    let gpus = until_gpus(&alice, "all are there", |gpus| gpus.len() == 5).await;

    let column = |name: &str| gpus.iter().map(|gpu| gpu[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("key"), ["0", "1", "1.0", "1.1", "2"]);
    assert_eq!(column("uuid"), ["GPU-a", "GPU-b", "MIG-1", "MIG-2", "GPU-c"]);
    assert_eq!(column("state"), ["free", "divided", "free", "free", "free"]);
    assert_eq!(column("memory"), [12_288, 40_960, 19_968, 19_968, 2_048]);
    let first = &gpus[0];
    assert_eq!(
        [
            &first["memory_used"],
            &first["utilization_percent"],
            &first["temperature_celsius"],
            &first["power_watts"]
        ],
        [512, 7, 41, 55]
    );
    assert_eq!((&gpus[4]["power_watts"], &gpus[4]["utilization_percent"]), (&Value::Null, &Value::Null));
    // The older interface's form: what it knows is where it looks for it.
    let info = alice.get("/api/machine/info").await.expect(200).json()[0]["gpu"].clone();
    assert_eq!(
        (&info["0"]["type"], &info["0"]["memory"]),
        (&json!("NVIDIA GeForce RTX 3060"), &json!(12_288))
    );
    assert_eq!(info.as_object().unwrap().len(), 3);
    let machine = alice.get("/api/v1/machines").await.expect(200).json()["data"][0].clone();
    assert_eq!((&machine["gpu"], machine["gpus"].as_array().unwrap().len()), (&info, 5));
    assert_eq!(alice.get("/api/v1/gpus?limit=2&offset=1").await.json()["data"][1]["key"], "1.0");
    assert_eq!(alice.get("/api/v1/gpus?machine=other").await.expect(200).json()["total"], 0);

    driver.show(&json!({"gpus": [gpu("GPU-a", "NVIDIA GeForce RTX 3060", 12_288)]}));
    until_gpus(&alice, "what is taken out is gone", |gpus| gpus.len() == 1).await;
    let mut hot = gpu("GPU-a", "NVIDIA GeForce RTX 3060", 12_288);
    hot["temperature_celsius"] = json!(93);
    driver.show(&json!({"gpus": [hot]}));
    until_gpus(&alice, "it is hot", |gpus| gpus[0]["temperature_celsius"] == 93).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_followed_to_its_container_and_only_told_to_whom_it_concerns() {
    let bare = || gpu("GPU-a", "NVIDIA GeForce RTX 3060", 12_288);
    let driver = Driver::with(&[bare()]);
    let Some(shop) = Shop::open_with(&[("machine.nvml", &driver.setting())]).await else { return };
    let (bob, admin) = (shop.server.account("bob").await, shop.server.admin().await);
    let running = shop.run(json!({"name": "box"})).await;
    let pid = u32::try_from(shop.inspect(&running["id"])["State"]["Pid"].as_u64().unwrap()).unwrap();
    let outsider = Outsider::start();

    driver.show(&json!({"gpus": [used_by(bare(), &[pid])]}));
    let has_process = |gpus: &[Value]| gpus.len() == 1 && gpus[0]["processes"].as_array().unwrap().len() == 1;
    let to_alice = until_gpus(&shop.alice, "alice sees her process", has_process).await[0].clone();
    let to_bob = until_gpus(&bob, "bob sees the processor", |gpus| gpus.len() == 1).await[0].clone();
    let to_admin = until_gpus(&admin, "the admin sees the process", has_process).await[0].clone();

    assert_ne!(to_alice["state"], "outside", "our own containers are not outside");
    let process = &to_alice["processes"][0];
    assert_eq!((&process["container"], &process["container_id"]), (&json!("box"), &running["id"]));
    assert_eq!((&process["pid"], &process["memory"]), (&json!(pid), &json!(300)));
    assert_eq!((&process["account"], &process["user"]), (&json!("alice"), &Value::Null));
    assert_eq!(to_bob["processes"], json!([]));
    assert_eq!(to_admin["processes"][0]["account"], "alice");
    assert!(to_admin["processes"][0]["user"].is_string());

    driver.show(&json!({"gpus": [used_by(bare(), &[outsider.pid()])]}));
    let is_outside = |gpus: &[Value]| gpus.len() == 1 && gpus[0]["state"] == "outside";
    let to_bob = until_gpus(&bob, "bob sees that it is taken", is_outside).await[0].clone();
    let to_admin = until_gpus(&admin, "the admin sees by what", has_process).await[0].clone();

    assert_eq!(to_bob["processes"], json!([]));
    let process = &to_admin["processes"][0];
    assert_eq!((&process["name"], &process["container"]), (&json!("sleep"), &Value::Null));
    driver.show(&json!({"gpus": [bare()]}));
    until_gpus(&bob, "it is free again", |gpus| gpus[0]["state"] == "free").await;
    drop(outsider);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_a_driver_has_none_and_no_problem() {
    if RealGpus::here().is_some() {
        eprintln!("left out: this machine has a driver");
        return;
    }
    let settings = [("machine.enabled", "true"), ("machine.docker", "unix:///nonexistent/docker.sock")];
    let server = TestServer::start_with(&settings).await;
    let alice = server.account("alice").await;
    let machine = eventually("the machine is there", 30, || async {
        let machines = alice.get("/api/v1/machines").await.expect(200).json();
        (machines["total"] == 1).then(|| machines["data"][0].clone())
    })
    .await;

    assert_eq!((&machine["gpu"], &machine["gpus"]), (&json!({}), &json!([])));
    assert_eq!(machine["gpu_problem"], Value::Null);
    assert_eq!(alice.get("/api/v1/gpus").await.expect(200).json()["total"], 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_does_not_work_says_what_to_do() {
    let driver = Driver::with(&[]);
    driver.show(&json!({"init": 18}));
    let server = server_with(&driver).await;
    let alice = server.account("alice").await;

    let problem = until_problem(&alice, "restart the machine").await;

    assert!(problem.contains("updated"), "{problem}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_is_lost_takes_no_other_with_it() {
    let mut lost = gpu("GPU-a", "NVIDIA GeForce RTX 3060", 12_288);
    lost["is_lost"] = json!(true);
    let driver = Driver::with(&[lost, gpu("GPU-b", "NVIDIA GeForce RTX 3060", 12_288)]);
    let server = server_with(&driver).await;
    let alice = server.account("alice").await;

    let gpus = until_gpus(&alice, "the other one is there", |gpus| gpus.len() == 1).await;
    let problem = until_problem(&alice, "GPU 0").await;

    assert_eq!((&gpus[0]["key"], &gpus[0]["uuid"]), (&json!("1"), &json!("GPU-b")));
    assert!(problem.contains("fell off the bus"), "{problem}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_talks_nonsense_is_cut_short_and_breaks_nothing() {
    let mut gpus: Vec<Value> =
        (0..100).map(|n| gpu(&format!("GPU-{n}"), &"x".repeat(95), u64::MAX)).collect();
    gpus[1]["uuid"] = json!("all");
    gpus[2]["uuid"] = json!("GPU-1,GPU-3");
    gpus[3]["name"] = json!("\u{1b}[2J\u{7}");
    gpus[4]["name"] = json!("y".repeat(5_000));
    gpus[5]["mig"] = json!((0..200).map(|n| json!({"uuid": format!("MIG-{n}")})).collect::<Vec<_>>());
    gpus[6] = used_by(gpus[6].clone(), &(1_000_000..1_000_500).collect::<Vec<_>>());
    gpus[7]["utilization_percent"] = json!(u32::MAX);
    let driver = Driver::with(&[]);
    driver.show(&json!({"gpus": gpus, "count": u32::MAX}));
    let server = server_with(&driver).await;
    let admin = server.admin().await;

    let shown = until_gpus(&admin, "they are there", |gpus| !gpus.is_empty()).await;
    let problem = until_problem(&admin, "4294967295").await;

    // Of 64 that are looked at, one name that does not fit and two ids that are none are left out.
    let whole: Vec<&Value> = shown.iter().filter(|gpu| !gpu["key"].as_str().unwrap().contains('.')).collect();
    assert_eq!(whole.len(), 61);
    let at = |key: &str| shown.iter().find(|gpu| gpu["key"] == key).unwrap();
    assert_eq!(at("3")["type"], "\u{fffd}[2J\u{fffd}");
    assert!(shown.iter().filter(|gpu| gpu["key"].as_str().unwrap().starts_with("5.")).count() <= 16);
    assert_eq!(at("6")["processes"].as_array().unwrap().len(), 64);
    assert_eq!(at("7")["utilization_percent"], 100);
    assert!(problem.len() <= 1_000 * 4, "{problem}");
    admin.get("/api/machine/info").await.expect(200);
    let server = server.restart().await;
    server.admin().await.get("/api/v1/machines").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_stands_still_holds_nobody_up() {
    let driver = Driver::with(&[]);
    driver.show(&json!({"hangs": true}));
    let server = server_with(&driver).await;
    let alice = server.account("alice").await;
    let facts = || async {
        let machine = alice.get("/api/v1/machines").await.expect(200).json()["data"][0].clone();
        (machine["memory"]["total"].as_u64()? > 0).then_some(machine)
    };

    let machine = eventually("the machine is there all the same", 20, facts).await;
    assert_eq!(machine["gpus"], json!([]));
    // When it goes on, everything is there.
    driver.show(&json!({"gpus": [gpu("GPU-a", "NVIDIA GeForce RTX 3060", 12_288)]}));
    until_gpus(&alice, "the processor is there", |gpus| gpus.len() == 1).await;
    driver.show(&json!({"hangs": true}));
    let began = Instant::now();
    server.stop().await;

    assert!(began.elapsed() < Duration::from_secs(20), "the end does not wait for the driver");
    // The thread that waits for the driver is let go, so that the library may be closed.
    driver.show(&json!({}));
}
