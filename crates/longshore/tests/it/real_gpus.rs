//! A driver that is really there: what its own tool says is what is shown, and its ids are what is leased. `LONGSHORE_TEST_GPU` names
//! it; `./test` does so where there is one. The same is tried with a simulated one, so that what compares is tried everywhere.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::api::Api;
use crate::support::engine::PrivateEngine;
use crate::support::gpus::{Driver, Outsider, gpu, used_by};
use crate::support::machine::docker;
use crate::support::nvidia_smi::{
    RealGpus, SaidProcess, device_of, differences, has_toolkit, process_differences,
};
use crate::support::server::TestServer;
use crate::support::shop::Shop;
use crate::support::{Wait, eventually};

const MODEL: &str = "NVIDIA GeForce RTX 3060";

/// What one of these tests does with a real graphics processor, another would take for somebody else's.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The graphics processors of this machine, for one test at a time.
async fn here() -> Option<(RealGpus, MutexGuard<'static, ()>)> {
    let Some(gpus) = RealGpus::here() else {
        eprintln!("left out: LONGSHORE_TEST_GPU names no driver, so that only simulated ones are tried");
        return None;
    };
    Some((gpus, ALONE.lock().await))
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

async fn shown_to(api: &Api) -> Vec<Value> {
    let list = api.get("/api/v1/gpus?limit=2048").await.expect(200).json();
    list["data"].as_array().unwrap().clone()
}

/// Waits until none is unknown; the ids of those that can be had.
async fn until_known(shop: &Shop) -> Vec<String> {
    let wait = Wait::new("what the graphics processors do is known");
    let known = eventually(&wait, 60, || async {
        let shown = shown_to(&shop.alice).await;
        wait.saw(&json!(shown));
        let is_known = !shown.is_empty() && shown.iter().all(|gpu| gpu["state"] != "unknown");
        is_known.then_some(shown)
    })
    .await;
    let free: Vec<&Value> = known.iter().filter(|gpu| gpu["state"] == "free").collect();
    if free.is_empty() {
        eprintln!(
            "left out: somebody uses all graphics processors of this machine, so that none can be leased"
        );
    }
    free.into_iter().map(|gpu| gpu["uuid"].as_str().unwrap().to_owned()).collect()
}

fn only_id(container: &Value) -> String {
    let [id] = container["gpu_ids"].as_array().unwrap().as_slice() else { panic!("not one: {container}") };
    id.as_str().unwrap().to_owned()
}

/// Compares everything that is shown with what the tool says; how many processes were among it.
async fn are_shown_as_their_tool_says(
    gpus: &RealGpus,
    compute: impl FnOnce() -> Result<Outsider, String>,
) -> usize {
    let own = gpus.settings();
    let mut settings = borrowed(&own);
    settings.extend([("machine.enabled", "true"), ("machine.docker", "unix:///nonexistent/docker.sock")]);
    let server = TestServer::start_with(&settings).await;
    let (admin, bob) = (server.admin().await, server.account("bob").await);

    let wait = Wait::new("what is shown is what the tool says");
    let shown = eventually(&wait, 30, || async {
        let before = gpus.said();
        let shown = shown_to(&admin).await;
        let differences = differences(&shown, &before, &gpus.said());
        wait.saw(&differences.join("; "));
        differences.is_empty().then_some(shown)
    })
    .await;

    let ids: BTreeSet<String> = shown.iter().map(|gpu| gpu["uuid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, gpus.ids());
    // The older interface's form.
    let info = admin.get("/api/machine/info").await.expect(200).json()[0]["gpu"].clone();
    let said = gpus.said();
    assert_eq!(info.as_object().unwrap().len(), said.len());
    for said in said {
        assert_eq!(info[&said.key]["type"], said.model);
    }

    let outsider = compute();
    if let Err(problem) = &outsider {
        eprintln!("left out: no process of the test's own can compute here: {problem}");
    }
    if outsider.is_ok() && gpus.processes().is_empty() {
        eprintln!(
            "left out: the driver names no processes here, as in a container with process numbers of its own"
        );
    }
    let wait = Wait::new("the processes are those that the tool names");
    let named: Vec<SaidProcess> = eventually(&wait, 60, || async {
        let said = gpus.processes();
        let differences = process_differences(&shown_to(&admin).await, &said);
        wait.saw(&differences.join("; "));
        differences.is_empty().then_some(said)
    })
    .await;
    let to_bob = shown_to(&bob).await;
    for process in &named {
        let gpu = to_bob.iter().find(|gpu| gpu["uuid"] == process.uuid.as_str()).unwrap();
        let is_taken = gpu["state"] == "outside" || gpu["state"] == "divided";
        assert!(is_taken && gpu["processes"] == json!([]), "it is taken, and by whom is not told: {gpu}");
    }
    server.stop().await;
    named.len()
}

/// Leases one and lets go of it; none when there is no engine, or none to be had.
async fn is_leased_by_its_own_id(gpus: &RealGpus) -> Option<String> {
    let settings = gpus.settings();
    let shop = Shop::open_with(&borrowed(&settings)).await?;
    let free = until_known(&shop).await;
    if free.is_empty() {
        shop.close().await;
        return None;
    }
    let one = json!({"count": 1});

    let first = shop.run(json!({"name": "first", "gpus": one})).await;
    let second = shop.ask(json!({"name": "second", "gpus": one})).await.expect(201).json();

    let id = only_id(&first);
    assert!(free.contains(&id) && gpus.ids().contains(&id), "{id} is none of {free:?}");
    let asked = shop.inspect(&first["id"])["HostConfig"]["DeviceRequests"][0]["DeviceIDs"].clone();
    assert!(asked[0].as_str().unwrap().ends_with(&id) && asked[1].is_null(), "{asked}");
    let shown = shown_to(&shop.alice).await;
    let leased = shown.iter().find(|gpu| gpu["uuid"] == id.as_str()).unwrap();
    assert_eq!((&leased["state"], &leased["lease"]["container"]), (&json!("leased"), &json!("first")));
    if free.len() == 1 {
        let path = format!("/api/v1/containers/{}", second["id"]);
        eventually("the second one waits", 60, || async {
            let second = shop.alice.get(&path).await.expect(200).json();
            (second["reason"] == "waits_for_gpu").then_some(())
        })
        .await;
        shop.act(&first["id"], "stop?timeout=0").await;
        assert_eq!(only_id(&shop.until(&second["id"], "running").await), id);
    } else {
        assert_ne!(only_id(&shop.until(&second["id"], "running").await), id);
    }
    shop.close().await;
    Some(id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gpus_that_are_really_here_are_shown_as_their_own_tool_says() {
    let Some((gpus, _alone)) = here().await else { return };
    are_shown_as_their_tool_says(&gpus, Outsider::computing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gpus_that_are_really_here_are_leased_by_their_own_ids() {
    let Some((gpus, _alone)) = here().await else { return };
    is_leased_by_its_own_id(&gpus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_sees_the_gpu_that_is_really_here_and_was_given_to_it() {
    let Some((gpus, _alone)) = here().await else { return };
    if !has_toolkit() {
        eprintln!("left out: without NVIDIA's container toolkit no engine here can give a real GPU");
        return;
    }
    let Some(engine) = PrivateEngine::with_own_toolkit() else { return };
    let address = engine.address();
    let settings = gpus.settings();
    let Some(shop) = Shop::open_on(&address, &borrowed(&settings)).await else { return };
    if until_known(&shop).await.is_empty() {
        shop.close().await;
        return;
    }
    let seen_by = |container: &Value| {
        let id = shop.engine_id(&container["id"]).unwrap();
        let devices = docker(&address, &["exec", &id, "/bin/ls", "/dev"]);
        let number = |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
        devices.lines().filter(|name| number(name)).map(str::to_owned).collect::<Vec<_>>()
    };

    let given = shop.run_shell(json!({"gpus": {"count": 1}})).await;
    let without = shop.run_shell(json!({})).await;

    let (id, seen) = (only_id(&given), seen_by(&given));
    if id.starts_with("MIG-") {
        // An instance's device is that of the whole one.
        assert_eq!(seen.len(), 1, "{seen:?}");
    } else {
        assert_eq!(seen, [device_of(&id)]);
    }
    assert_eq!(seen_by(&without), Vec::<String>::new());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_gpus_are_compared_with_what_their_tool_says_as_real_ones_are() {
    let mut divided = gpu("GPU-b", "NVIDIA A100-SXM4-40GB", 40_960);
    divided["mig"] = json!([{ "uuid": "MIG-1", "name": "NVIDIA A100 MIG 3g.20gb", "memory_mib": 19_968 }]);
    let mut plain = gpu("GPU-c", "Some old card", 2_048);
    for what in ["utilization_percent", "temperature_celsius", "power_watts"] {
        plain[what] = Value::Null;
    }
    let quiet = gpu("GPU-a", MODEL, 12_288);
    let driver = Driver::with(&[quiet.clone(), divided.clone(), plain.clone()]);

    let compared = are_shown_as_their_tool_says(&RealGpus::simulated(&driver), || {
        let outsider = Outsider::start();
        driver.show(&json!({"gpus": [used_by(quiet, &[outsider.pid()]), divided, plain]}));
        Ok(outsider)
    })
    .await;

    assert_eq!(compared, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_gpus_are_leased_as_real_ones_are() {
    let id = format!("GPU-{}", uuid::Uuid::now_v7());
    let driver = Driver::with(&[gpu(&id, MODEL, 12_288)]);

    let leased = is_leased_by_its_own_id(&RealGpus::simulated(&driver)).await;

    assert!(leased.is_none_or(|leased| leased == id));
}

#[test]
fn each_value_that_is_not_what_the_tool_says_is_noticed() {
    let driver = Driver::with(&[used_by(gpu("GPU-a", MODEL, 12_288), &[7])]);
    let tool = RealGpus::simulated(&driver);
    let (said, processes) = (tool.said(), tool.processes());
    let shown = json!({
        "key": "0", "uuid": "GPU-a", "type": MODEL, "memory": 12_288, "memory_used": 512, "utilization_percent": 7,
        "temperature_celsius": 41, "power_watts": 55, "processes": [{"pid": 7, "memory": 300}],
    });
    let none: [String; 0] = [];

    assert_eq!(differences(std::slice::from_ref(&shown), &said, &said), none);
    for (column, otherwise) in [
        ("key", json!("1")),
        ("uuid", json!("GPU-b")),
        ("type", json!("another")),
        ("memory", json!(12_290)),
        ("memory_used", json!(600)),
        ("utilization_percent", json!(40)),
        ("temperature_celsius", json!(60)),
        ("power_watts", json!(90)),
        ("power_watts", Value::Null),
    ] {
        let mut other = shown.clone();
        other[column] = otherwise;
        let found = differences(&[other], &said, &said);
        assert!(found.len() == 1 && found[0].contains(column), "{column}: {found:?}");
    }
    assert_ne!(differences(&[], &said, &said), none, "one that is not shown");
    assert_ne!(differences(&[shown.clone(), shown.clone()], &said, &said), none, "one that is not there");
    driver.show(
        &json!({"gpus": [{"uuid": "GPU-a", "name": MODEL, "memory_mib": 12_288, "memory_used_mib": 512}]}),
    );
    let untold = tool.said();
    assert_eq!(differences(std::slice::from_ref(&shown), &untold, &untold).len(), 3, "what cannot be told");

    assert_eq!(process_differences(std::slice::from_ref(&shown), &processes), none);
    for (pid, memory) in [(8, 300), (7, 400)] {
        let mut other = shown.clone();
        other["processes"] = json!([{"pid": pid, "memory": memory}]);
        assert_eq!(process_differences(&[other], &processes).len(), 1, "{pid} {memory}");
    }
}

#[test]
#[should_panic(expected = "nothing can be compared")]
fn a_tool_that_knows_of_no_gpu_fails_the_comparison() {
    RealGpus::simulated(&Driver::with(&[])).said();
}
