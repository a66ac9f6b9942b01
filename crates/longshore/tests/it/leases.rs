//! Leases of graphics processors and the line of those who wait for them, on a real engine with a stand-in for NVIDIA's
//! toolkit and a simulated driver.

use std::process::Command;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::ids::ContainerId;
use wire::link::{ContainerVerb, LinkErrorCode};

use crate::support::engine::{Bare, PrivateEngine, Wire};
use crate::support::eventually;
use crate::support::gpus::{Driver, Outsider, gpu, used_by};
use crate::support::machine::{Machine, Way, docker, refusal};
use crate::support::remote::{Remote, invite, until_machine};
use crate::support::shop::{Shop, push_made, with_image};

const MODEL: &str = "NVIDIA GeForce RTX 3060";

/// So many of one model, with ids that no other test has: the engine's notes are shared.
fn gpus(name: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| gpu(&format!("GPU-{name}-{n}"), MODEL, 12_288)).collect()
}

/// A shop whose machine has this driver.
async fn shop_with(driver: &Driver) -> Option<Shop> {
    shop_set_up(driver, &[]).await
}

/// The same with further settings.
async fn shop_set_up(driver: &Driver, settings: &[(&str, &str)]) -> Option<Shop> {
    let nvml = driver.setting();
    let settings: Vec<_> = [("machine.nvml", nvml.as_str())].iter().chain(settings).copied().collect();
    let shop = Shop::open_with(&settings).await?;
    shop.has_gpus().await;
    Some(shop)
}

/// Waits until a container is in the line; then the container.
async fn until_waiting(shop: &Shop, id: &Value, reason: &str) -> Value {
    let path = format!("/api/v1/containers/{id}");
    eventually(&format!("container {id} waits: {reason}"), 60, || async {
        let container = shop.alice.get(&path).await.json();
        (container["reason"] == reason && !container["queue"].is_null()).then_some(container)
    })
    .await
}

/// Waits until so many graphics processors are in a state.
async fn until_gpus(shop: &Shop, state: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} are {state}"), 60, || async {
        let all = shop.alice.get("/api/v1/gpus").await.expect(200).json()["data"].as_array().cloned()?;
        (all.iter().filter(|gpu| gpu["state"] == state).count() == count).then_some(all)
    })
    .await
}

fn one() -> Value {
    json!({"count": 1})
}

fn ids(container: &Value) -> Vec<&str> {
    container["gpu_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

/// What the stand-in for NVIDIA's toolkit was told for a container, in order.
fn told(shop: &Shop, name: &str) -> Vec<Value> {
    let log = shop.docker.strip_prefix("unix://").unwrap().replace("docker.sock", "gpus.log");
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|call| call["devices"].to_string().contains(&format!("GPU-{name}-")))
        .collect()
}

/// What a container has printed; nothing while it is made anew.
fn printed(shop: &Shop, id: &Value) -> String {
    let Some(engine_id) = shop.engine_id(id) else { return String::new() };
    let output = Command::new("docker").args(["-H", &shop.docker, "logs", &engine_id]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_has_its_gpus_alone_and_gives_them_back_when_it_stops() {
    let driver = Driver::with(&gpus("alone", 2));
    let Some(shop) = shop_with(&driver).await else { return };
    let bob = shop.server.account("bob").await;
    let told_before = told(&shop, "alone").len();

    let first = shop.run(json!({"name": "first", "gpus": one()})).await;
    let second =
        shop.run(json!({"name": "second", "gpus": {"count": 1, "model": "rtx", "memory_mib": 12_000}})).await;
    let third = shop
        .ask(json!({"name": "third", "gpus": one(), "ports": [{"container": 80}]}))
        .await
        .expect(201)
        .json();

    assert_eq!((ids(&first), ids(&second)), (vec!["GPU-alone-0"], vec!["GPU-alone-1"]));
    assert_eq!(first["gpus"], one());
    let host = shop.inspect(&first["id"])["HostConfig"].clone();
    assert_eq!(
        host["DeviceRequests"],
        json!([{"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-alone-0"], "Capabilities": [["gpu"]], "Options": null}])
    );
    assert_eq!(host["RestartPolicy"]["Name"], "no", "no engine starts it by itself on somebody else's GPU");
    let calls = told(&shop, "alone").split_off(told_before);
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call["verb"] == "prestart"), "{calls:?}");
    // Ours and the engine's own say the same.
    assert_eq!(calls[0]["devices"], json!(["GPU-alone-0", "GPU-alone-0"]));
    // The third waits, says for what, and has neither ports nor a machine yet.
    assert_eq!((&third["state"], &third["queue"]["position"]), (&json!("pending"), &json!(1)));
    assert_eq!((&third["machine_id"], &third["port"], ids(&third).len()), (&Value::Null, &Value::Null, 0));
    assert_eq!(third["reason"], "waits_for_gpu");
    let message = third["message"].as_str().unwrap();
    assert!(message.contains("1 GPU") && message.contains("of 2 on machine"), "{message}");
    // Others see that they are held, and not by whom.
    let all = until_gpus(&shop, "leased", 2).await;
    assert_eq!(
        (&all[0]["lease"]["container"], &all[0]["lease"]["account"]),
        (&json!("first"), &json!("alice"))
    );
    let to_bob = bob.get("/api/v1/gpus").await.expect(200).json()["data"][0].clone();
    assert_eq!((&to_bob["state"], &to_bob["lease"]["account"]), (&json!("leased"), &Value::Null));
    assert!(to_bob["lease"]["since"].is_string() && to_bob["lease"]["container"].is_null(), "{to_bob}");
    let to_admin = shop.server.admin().await.get("/api/v1/gpus").await.expect(200).json()["data"][0].clone();
    assert_eq!(to_admin["lease"]["account"], "alice");

    let engine_id = shop.engine_id(&first["id"]);
    shop.act(&first["id"], "stop?timeout=0").await;
    let stopped = shop.until(&first["id"], "stopped").await;
    let third = shop.until(&third["id"], "running").await;

    assert_eq!(ids(&third), ["GPU-alone-0"]);
    assert!(third["machine_id"].is_string() && third["queue"].is_null() && third["port"].is_u64(), "{third}");
    assert_eq!(third["reason"], Value::Null);
    assert!(ids(&stopped).is_empty() || ids(&shop.until(&first["id"], "stopped").await).is_empty());
    assert_eq!(shop.engine_id(&first["id"]), engine_id, "its disk is kept");
    shop.alice.delete("/api/v1/containers/second").await.expect(202);
    shop.until_gone(&second["id"]).await;
    until_gpus(&shop, "free", 1).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_starts_again_gets_its_gpu_or_an_equal_one_with_all_that_it_had() {
    let driver = Driver::with(&gpus("again", 2));
    let Some(shop) = shop_with(&driver).await else { return };
    let dockerfile = "FROM scratch\nCOPY probe /probe\nCOPY salt /salt\nVOLUME /data\nENTRYPOINT [\"/probe\"]\nCMD [\"sleep\"]\n";
    push_made(&shop.docker, &shop.server.registry, "alice/app:v1", dockerfile);
    let log = |id: &Value| printed(&shop, id);
    let command = ["live", "/life", "/data/life", "/salt"];

    let boxed = shop.ask(json!({"name": "box", "gpus": one(), "command": command})).await.expect(201).json();
    let id = &boxed["id"];
    shop.until(id, "stopped").await;
    assert_eq!(log(id), "/life: life 1\n/data/life: life 1\n/salt: removed\n");
    until_gpus(&shop, "free", 2).await;
    let (first, image) = (shop.engine_id(id).unwrap(), shop.inspect(id)["Image"].clone());
    let volume = shop.inspect(id)["Mounts"][0]["Name"].as_str().unwrap().to_owned();

    // Free again: the same, and the same container.
    shop.act(id, "start").await;
    let lived_twice =
        || async { log(id).contains("life 2\n/data/life: life 2\n/salt: not there").then_some(()) };
    eventually("it lived a second time", 60, lived_twice).await;
    shop.until(id, "stopped").await;
    until_gpus(&shop, "free", 2).await;
    assert_eq!(shop.engine_id(id).as_ref(), Some(&first));

    // Somebody else has it: another one, and another container with the same disk, volumes and all that was removed.
    let hog = shop.run(json!({"name": "hog", "gpus": one()})).await;
    assert_eq!(ids(&hog), ["GPU-again-0"]);
    shop.act(id, "start").await;
    let lived_three_times =
        || async { (log(id) == "/life: life 3\n/data/life: life 3\n/salt: not there\n").then_some(()) };
    eventually("it lived a third time", 60, lived_three_times).await;
    shop.until(id, "stopped").await;
    let seen = shop.inspect(id);
    assert_ne!(shop.engine_id(id).as_ref(), Some(&first));
    assert_eq!(seen["HostConfig"]["DeviceRequests"][0]["DeviceIDs"], json!(["GPU-again-1"]));
    assert_eq!(seen["Mounts"][0]["Name"], json!(volume));
    assert_ne!(seen["Image"], image);
    assert_eq!(seen["Config"]["Cmd"], json!(command));

    // And back once more, from the copy of a copy.
    shop.act(&hog["id"], "stop?timeout=0").await;
    shop.until(&hog["id"], "stopped").await;
    until_gpus(&shop, "free", 2).await;
    let holder = shop.run(json!({"name": "holder", "gpus": one()})).await;
    let other = shop.run(json!({"name": "other", "gpus": one()})).await;
    assert_eq!((ids(&holder), ids(&other)), (vec!["GPU-again-0"], vec!["GPU-again-1"]));
    shop.act(id, "start").await;
    until_waiting(&shop, id, "waits_for_gpu").await;
    shop.alice.delete("/api/v1/containers/holder").await.expect(202);
    let lived_four_times =
        || async { log(id).starts_with("/life: life 4\n/data/life: life 4\n").then_some(()) };
    eventually("it lived a fourth time", 60, lived_four_times).await;

    // With the container goes everything that was kept for it.
    let copy = format!("ls-c/{}", shop.server.app.instance.short());
    let copies = || docker(&shop.docker, &["images", "-q", &copy]);
    assert!(!copies().is_empty());
    shop.alice.delete("/api/v1/containers/box").await.expect(202);
    shop.until_gone(id).await;
    assert_eq!(copies(), "");
    assert!(!docker(&shop.docker, &["volume", "ls", "-q"]).contains(&volume));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_wish_is_not_passed_for_ever_by_small_ones() {
    let driver = Driver::with(&gpus("large", 2));
    let Some(shop) = shop_with(&driver).await else { return };
    let admin = shop.server.admin().await;
    let hog = shop.run(json!({"name": "hog", "gpus": one()})).await;

    let large = shop.ask(json!({"name": "large", "gpus": {"count": 2}})).await.expect(201).json();
    let small = shop.ask(json!({"name": "small", "gpus": one()})).await.expect(201).json();
    let of_admin = admin
        .post("/api/v1/containers", json!({"image": "alice/app:v1", "gpus": one()}))
        .await
        .expect(201)
        .json();
    let without = shop.run(json!({"name": "without"})).await;

    assert_eq!((&large["queue"]["position"], &small["queue"]["position"]), (&json!(1), &json!(2)));
    assert_eq!(of_admin["queue"]["position"], 3, "admins stand in the line like everybody");
    assert!(small["message"].as_str().unwrap().contains("0 can be had"), "{small}");
    assert_eq!(without["gpus"], Value::Null, "who wants none does not wait");
    until_gpus(&shop, "free", 1).await;

    shop.act(&hog["id"], "stop?timeout=0").await;
    let large = shop.until(&large["id"], "running").await;
    assert_eq!(ids(&large).len(), 2);
    shop.alice.delete("/api/v1/containers/large").await.expect(202);
    shop.until(&small["id"], "running").await;
    let path = format!("/api/v1/containers/{}", of_admin["id"]);
    let runs = || async { (admin.get(&path).await.json()["state"] == "running").then_some(()) };
    eventually("the admin's turn", 60, runs).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_can_give_up_and_stand_again() {
    let driver = Driver::with(&gpus("giveup", 1));
    let Some(shop) = shop_with(&driver).await else { return };
    let hog = shop.run(json!({"name": "hog", "gpus": one()})).await;
    let first = shop.ask(json!({"name": "first", "gpus": one()})).await.expect(201).json();
    let second = shop.ask(json!({"name": "second", "gpus": one()})).await.expect(201).json();
    assert_eq!(second["queue"]["position"], 2);

    let stopped = shop.act(&first["id"], "stop").await;
    let moved_up = shop.alice.get("/api/v1/containers/second").await.expect(200).json();
    let again = shop.act(&first["id"], "start").await;
    let deleted = shop.alice.delete("/api/v1/containers/second").await.expect(202).json();

    assert_eq!((&stopped["state"], &stopped["queue"]), (&json!("stopped"), &Value::Null));
    assert_eq!(moved_up["queue"]["position"], 1);
    assert_eq!((&again["state"], &again["queue"]["position"]), (&json!("pending"), &json!(2)));
    assert_eq!(deleted["state"], "deleting");
    shop.alice.get("/api/v1/containers/second").await.expect(404);
    shop.act(&hog["id"], "stop?timeout=0").await;
    shop.until(&first["id"], "running").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_can_go_although_somebody_waits_for_any() {
    let (driver, others) = (Driver::with(&gpus("leaving", 1)), Driver::with(&gpus("left", 1)));
    let Some(shop) = shop_with(&driver).await else { return };
    let admin = shop.server.admin().await;
    let hog = shop.run(json!({"name": "hog", "gpus": one()})).await;
    let host = format!("/api/v1/machines/{}", hog["machine_id"].as_str().unwrap());
    // Neither takes new work now. Whoever comes names the last of them all the same, as one that could serve it.
    admin.patch(&host, json!({"is_drained": true})).await.expect(200);
    let mut remote = Remote::named(&format!("zz-{}", Uuid::now_v7().simple()));
    remote = remote.joined(&shop.server.url, &invite(&admin).await);
    remote.run_with("unix:///nowhere/docker.sock", &["--nvml", &others.setting()]);
    eventually("its graphics processor is known", 60, || async {
        let all = shop.alice.get("/api/v1/gpus").await.expect(200);
        all.text.contains("GPU-left-0").then_some(())
    })
    .await;
    until_machine(&admin, &remote.machine, "engine_down").await;
    let waiting = shop.ask(json!({"name": "waiting", "gpus": one()})).await.expect(201).json();
    until_waiting(&shop, &waiting["id"], "waits_for_machine").await;
    let id = ContainerId(waiting["id"].as_i64().unwrap());
    let named =
        || async { store::containers::get(&shop.server.app.db, id).await.unwrap().unwrap().machine_id };
    assert_eq!(named().await.as_str(), remote.machine);

    remote.stop();
    admin.delete(&format!("/api/v1/machines/{}", remote.machine)).await.expect(200);

    assert_eq!(Value::from(named().await.as_str()), hog["machine_id"]);
    admin.patch(&host, json!({"is_drained": false})).await.expect(200);
    shop.act(&hog["id"], "stop?timeout=0").await;
    shop.until(&waiting["id"], "running").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_machine_has_is_refused_at_once() {
    let driver = Driver::with(&gpus("refused", 2));
    let Some(shop) = shop_with(&driver).await else { return };
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"].clone();

    for wish in [
        json!({"count": 3}),
        json!({"count": 1, "model": "h100"}),
        json!({"count": 1, "memory_mib": 12_289}),
        json!({"count": 1, "model": "h100", "memory_mib": 1}),
    ] {
        for machine in [json!("any"), machine.clone()] {
            let refused = shop.ask(json!({"gpus": wish, "machine": machine})).await.expect(409);
            assert_eq!(refused.code(), "no_such_gpu", "{wish}");
            assert_eq!(refused.json()["field"], "gpus");
            let hint = refused.json()["hint"].as_str().unwrap().to_owned();
            assert!(hint.contains(&format!("2 × {MODEL} (12288 MiB)")), "{hint}");
        }
    }
    for wish in [
        json!({"count": 0}),
        json!({"count": 17}),
        json!({"count": 1, "model": ""}),
        json!({"count": 1, "uuids": ["GPU-refused-0"]}),
        json!({"count": -1}),
        json!("all"),
        json!(1),
        json!({}),
    ] {
        let refused = shop.ask(json!({"gpus": wish})).await;
        assert_eq!(refused.status, 422, "{wish}: {}", refused.text);
    }
    // The variable that NVIDIA's toolkit listens to is not for users.
    let refused = shop.ask(json!({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}})).await.expect(422);
    assert_eq!(refused.json()["violations"][0]["field"], "env.NVIDIA_VISIBLE_DEVICES");
    assert_eq!(shop.engine_ids(), Vec::<String>::new());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_asks_for_all_gpus_gets_none() {
    let driver = Driver::with(&gpus("greedy", 1));
    let Some(shop) = shop_with(&driver).await else { return };
    let dockerfile = "FROM scratch\nENV NVIDIA_VISIBLE_DEVICES=all\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\nCMD [\"sleep\"]\n";
    push_made(&shop.docker, &shop.server.registry, "alice/app:v1", dockerfile);
    let visible = |container: &Value| -> Vec<String> {
        let env = shop.inspect(&container["id"])["Config"]["Env"].as_array().cloned().unwrap();
        let named = env.iter().filter_map(|entry| entry.as_str()?.strip_prefix("NVIDIA_VISIBLE_DEVICES="));
        named.map(str::to_owned).collect()
    };

    let none = shop.run(json!({})).await;
    let some = shop.run(json!({"gpus": one()})).await;

    // On the engine itself it is what the image says.
    let bare = Bare::at(&shop.docker);
    let greedy = bare.create(&json!({"Image": shop.inspect(&none["id"])["Image"]}));
    let asked = bare.get(&format!("/containers/{greedy}/json"))["Config"]["Env"].clone();
    bare.remove(&greedy);
    assert!(asked.as_array().unwrap().contains(&json!("NVIDIA_VISIBLE_DEVICES=all")), "{asked}");
    assert_eq!(visible(&none), ["void"]);
    assert_eq!(shop.inspect(&none["id"])["HostConfig"]["DeviceRequests"], Value::Null);
    assert_eq!(visible(&some), ["GPU-greedy-0"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_that_somebody_outside_uses_is_not_given() {
    let bare = gpus("outside", 2);
    let driver = Driver::with(&bare);
    let Some(shop) = shop_with(&driver).await else { return };
    let outsider = Outsider::start();
    driver.show(&json!({"gpus": [used_by(bare[0].clone(), &[outsider.pid()]), bare[1]]}));
    until_gpus(&shop, "outside", 1).await;

    let first = shop.run(json!({"name": "first", "gpus": one()})).await;
    let second = shop.ask(json!({"name": "second", "gpus": one()})).await.expect(201).json();

    assert_eq!(ids(&first), ["GPU-outside-1"]);
    assert_eq!(second["reason"], "waits_for_gpu");
    driver.show(&json!({"gpus": bare}));
    let second = shop.until(&second["id"], "running").await;
    assert_eq!(ids(&second), ["GPU-outside-0"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_is_given_once_however_many_ask() {
    let driver = Driver::with(&gpus("crowd", 3));
    let Some(shop) = shop_with(&driver).await else { return };

    let asked = (0..12).map(|n| {
        let alice = shop.alice.clone();
        let options =
            json!({"name": format!("box{n}"), "gpus": {"count": 1 + n % 2}, "memory_bytes": 16 << 20});
        async move { alice.post("/api/v1/containers", with_image(options)).await.expect(201).json() }
    });
    let made = join_all(asked).await;
    let mut left: Vec<Value> = made.iter().map(|container| container["id"].clone()).collect();

    // Each in turn gets what it asks for, and never two the same.
    while !left.is_empty() {
        let rows = shop.alice.get("/api/v1/containers?limit=100").await.expect(200).json()["data"].clone();
        let rows = rows.as_array().unwrap();
        let mut held: Vec<&str> = rows.iter().flat_map(ids).collect();
        let count = held.len();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), count, "one is held twice: {rows:?}");
        for running in rows.iter().filter(|row| row["state"] == "running") {
            assert_eq!(ids(running).len() as u64, running["gpus"]["count"].as_u64().unwrap());
            shop.alice.delete(&format!("/api/v1/containers/{}", running["id"])).await.expect(202);
            left.retain(|id| *id != running["id"]);
        }
        let moved = || async {
            let rows = shop.alice.get("/api/v1/containers?limit=100&state=running").await.expect(200).json();
            (left.is_empty() || rows["total"] != 0).then_some(())
        };
        eventually("the line moves", 60, moved).await;
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_fails_holds_nothing() {
    let mut broken = gpus("fails", 2);
    broken[1]["uuid"] = json!("GPU-broken-fails");
    let driver = Driver::with(&broken);
    let Some(shop) = shop_with(&driver).await else { return };

    let made = shop.ask(json!({"gpus": one(), "entrypoint": ["/nothing-here"]})).await.expect(201).json();
    let failed = shop.until(&made["id"], "failed").await;
    assert_eq!(failed["reason"], "refused_by_engine");
    until_gpus(&shop, "free", 2).await;
    shop.run(json!({"name": "good", "gpus": one()})).await;

    // The toolkit refuses the other one.
    let made = shop.ask(json!({"gpus": one()})).await.expect(201).json();
    let failed = shop.until(&made["id"], "failed").await;
    assert_eq!(failed["reason"], "gpu_unavailable");
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("unknown device") && message.contains("toolkit"), "{message}");
    until_gpus(&shop, "free", 1).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_without_the_toolkit_says_what_is_missing() {
    let Some(engine) = PrivateEngine::without_gpus() else { return };
    let driver = Driver::with(&gpus("toolless", 1));
    let settings = [("machine.nvml", driver.setting())];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let Some(shop) = Shop::open_on(&engine.address(), &settings).await else { return };
    shop.has_gpus().await;

    let made = shop.ask(json!({"gpus": one()})).await.expect(201).json();
    let failed = shop.until(&made["id"], "failed").await;

    assert_eq!(failed["reason"], "gpu_unavailable");
    assert!(failed["message"].as_str().unwrap().contains("NVIDIA container toolkit"), "{failed}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_can_keep_its_gpus_from_containers() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("agent-policy.toml");
    std::fs::write(&policy, "gpus = 0\n").unwrap();
    std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let driver = Driver::with(&gpus("kept", 1));
    let settings =
        [("machine.nvml", driver.setting()), ("machine.policy_file", policy.display().to_string())];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let Some(shop) = Shop::open_with(&settings).await else { return };

    let kept = until_gpus(&shop, "kept", 1).await;
    let refused = shop.ask(json!({"gpus": one()})).await.expect(409);

    assert_eq!(kept.len(), 1);
    assert_eq!(refused.code(), "no_such_gpu");
    shop.close().await;

    // The server's word does not count either.
    let machine = Machine::start_on(crate::support::engine().unwrap(), Way::Memory, Some(policy)).await;
    let image =
        machine.image("alice/app", "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\n").await;
    let mut call = machine.create_call(1, &image, &["sleep"]);
    call.spec.gpus = vec!["GPU-kept-0".parse().unwrap()];
    let refused = refusal(machine.call(&call).await);
    assert_eq!(refused.code, LinkErrorCode::Denied);
    assert!(refused.message.contains("`gpus`"), "{refused}");
    assert_eq!(machine.act(1, ContainerVerb::Look).await.unwrap().container, None);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_out_of_reach_keeps_its_leases_and_the_line_its_order() {
    let Some(engine) = crate::support::engine() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wire: Arc<Wire> = Wire::new(&engine, folder.path());
    wire.connect();
    let driver = Driver::with(&gpus("far", 1));
    let settings = [("machine.nvml", driver.setting()), ("machine.docker", wire.url())];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let Some(shop) = Shop::open_with(&settings).await else { return };
    shop.has_gpus().await;
    let holder = shop.run(json!({"name": "holder", "gpus": one()})).await;
    let first = shop.ask(json!({"name": "first", "gpus": one()})).await.expect(201).json();
    let second = shop.ask(json!({"name": "second", "gpus": one()})).await.expect(201).json();

    wire.cut();
    shop.until(&holder["id"], "unknown").await;
    shop.act(&holder["id"], "stop?timeout=0").await;
    until_waiting(&shop, &first["id"], "waits_for_machine").await;
    let all = until_gpus(&shop, "leased", 1).await;
    assert_eq!(all[0]["lease"]["container"], "holder", "it may be running there");
    let shop = shop.restart_server_without_machine().await;
    assert_eq!(shop.alice.get("/api/v1/containers/second").await.json()["queue"]["position"], 2);

    wire.connect();
    shop.until(&holder["id"], "stopped").await;
    shop.until(&first["id"], "running").await;
    until_waiting(&shop, &second["id"], "waits_for_gpu").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_asked_for_by_number_is_waited_for_too() {
    let driver = Driver::with(&gpus("port", 2));
    let Some(shop) = shop_with(&driver).await else { return };
    let holder = shop.run(json!({"ports": [{"container": 80}]})).await;

    let waits = shop
        .ask(json!({"gpus": one(), "ports": [{"container": 80, "host": holder["port"]}]}))
        .await
        .expect(201)
        .json();
    let passes = shop.run(json!({"gpus": one(), "ports": [{"container": 80}]})).await;

    assert_eq!(waits["reason"], "waits_for_port");
    assert_ne!(passes["port"], holder["port"]);
    shop.alice.delete(&format!("/api/v1/containers/{}", holder["id"])).await.expect(202);
    let got = shop.until(&waits["id"], "running").await;
    assert_eq!(got["port"], holder["port"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_stopped_when_its_time_is_over() {
    let driver = Driver::with(&gpus("time", 1));
    let settings = [("gpus.max_duration_default_secs", "6000"), ("gpus.max_duration_limit_secs", "36000")];
    let Some(shop) = shop_set_up(&driver, &settings).await else { return };

    for secs in [0, 36_001] {
        let refused = shop.ask(json!({"gpus": one(), "max_duration_secs": secs})).await.expect(422);
        assert_eq!(refused.json()["violations"][0]["field"], "max_duration_secs", "{secs}");
    }
    let without = shop.run(json!({"name": "without"})).await;
    assert_eq!((&without["max_duration_secs"], &without["ends_at"]), (&Value::Null, &Value::Null));
    let first = shop.run(json!({"name": "first", "gpus": one()})).await;
    let second = shop
        .ask(json!({"name": "second", "gpus": one(), "max_duration_secs": 36_000}))
        .await
        .expect(201)
        .json();

    let end = first["ends_at"].clone();
    let secs = chrono::DateTime::parse_from_rfc3339(end.as_str().unwrap()).unwrap().timestamp();
    assert!((5_900..=6_000).contains(&(secs - shop.server.app.now().unix_secs())), "{end}");
    assert_eq!((&first["max_duration_secs"], &second["ends_at"]), (&json!(6_000), &Value::Null));
    // Everybody sees until when it is held.
    let bob = shop.server.account("bob").await;
    assert_eq!(bob.get("/api/v1/gpus").await.json()["data"][0]["lease"]["until"], end);
    // Neither a restart of the container nor one of the server gives it more time.
    shop.server.app.clock.advance_secs(3_000);
    let started_at = || shop.inspect(&first["id"])["State"]["StartedAt"].clone();
    let before = started_at();
    shop.act(&first["id"], "restart?timeout=0").await;
    eventually("it is restarted", 60, || async { (started_at() != before).then_some(()) }).await;
    shop.until(&first["id"], "running").await;
    let shop = shop.restart_server().await;
    let early = shop.until(&first["id"], "running").await;
    assert_eq!((&early["ends_at"], &early["reason"]), (&end, &Value::Null));
    // It says so when the end is near.
    // The clock of the new server is right again.
    shop.server.app.clock.advance_secs(5_500);
    let path = format!("/api/v1/containers/{}", first["id"]);
    let warned = eventually("it says that its end is near", 30, || async {
        let container = shop.alice.get(&path).await.json();
        (container["reason"] == "ends_soon").then_some(container)
    })
    .await;
    assert_eq!((&warned["state"], &warned["ends_at"]), (&json!("running"), &end));
    assert!(warned["message"].as_str().unwrap().contains(end.as_str().unwrap()), "{warned}");

    shop.server.app.clock.advance_secs(601);
    let stopped = shop.until(&first["id"], "stopped").await;
    assert_eq!(stopped["reason"], "max_duration");
    assert!(stopped["message"].as_str().unwrap().contains("1 h 40 min"), "{stopped}");
    // The registry does not believe tokens of the future.
    shop.server.app.clock.advance_secs(-6_101);
    shop.until(&second["id"], "running").await;
    let admin = shop.server.admin().await;
    let audit = admin.get("/api/v1/audit?action=container.max_duration").await.expect(200).json();
    assert_eq!((&audit["data"][0]["target"], &audit["data"][0]["actor"]), (&json!("first"), &Value::Null));
    // A new start has its own time, and who stops by himself did not run out of it.
    shop.act(&second["id"], "stop?timeout=0").await;
    let stopped = shop.until(&second["id"], "stopped").await;
    assert_eq!((&stopped["reason"], &stopped["ends_at"]), (&Value::Null, &Value::Null));
    shop.act(&first["id"], "start").await;
    let again = shop.until(&first["id"], "running").await;
    assert_ne!(again["ends_at"], end);
    assert_eq!(again["reason"], Value::Null);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_is_shown_to_everybody_and_who_waits_to_whom_it_concerns() {
    let driver = Driver::with(&gpus("line", 1));
    let Some(shop) = shop_with(&driver).await else { return };
    let bob = shop.server.account("bob").await;
    let admin = shop.server.admin().await;
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"].clone();
    let empty = bob.get("/api/v1/queue").await.expect(200).json();
    shop.run(json!({"name": "hog", "gpus": one()})).await;
    shop.ask(json!({"name": "first", "gpus": one(), "machine": machine})).await.expect(201);
    let wish = json!({"count": 1, "model": "rtx"});
    shop.ask(json!({"name": "second", "gpus": wish})).await.expect(201);

    let to_alice = shop.alice.get("/api/v1/queue").await.expect(200).json();
    let to_admin = admin.get("/api/v1/queue?limit=1&offset=1").await.expect(200).json();
    let to_bob = bob.get("/api/v1/queue").await.expect(200).json();

    assert_eq!((&empty["total"], &to_bob["total"]), (&json!(0), &json!(2)));
    let first = &to_alice["data"][0];
    assert_eq!(
        (&first["position"], &first["container"], &first["account"]),
        (&json!(1), &json!("first"), &json!("alice"))
    );
    assert_eq!((&first["machine_id"], &first["reason"]), (&machine, &json!("waits_for_gpu")));
    assert!(first["message"].as_str().unwrap().contains("1 GPU"), "{first}");
    let second = &to_admin["data"][0];
    assert_eq!((&second["position"], &second["container"]), (&json!(2), &json!("second")));
    assert_eq!((&second["gpus"], &second["machine_id"]), (&wish, &Value::Null));
    for place in to_bob["data"].as_array().unwrap() {
        for field in ["container_id", "container", "account", "message"] {
            assert_eq!(place[field], Value::Null, "{field}");
        }
        assert!(place["since"].is_string() && place["reason"] == "waits_for_gpu", "{place}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_stopped_container_of_ours_is_copied() {
    let Some(machine) = Machine::start().await else { return };
    let image =
        machine.image("alice/app", "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\n").await;
    let made = machine.create(1, &image, &["sleep"]).await.unwrap();
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let foreign = machine.docker(&["create", &machine.local_image(&image), "sleep"]);
    let copy = |container, engine_id: &str| wire::link::CopyContainer {
        instance: machine.instance,
        container: ContainerId(container),
        engine_id: engine_id.to_owned(),
    };

    let running = refusal(machine.call(&copy(1, &made.engine_id)).await);
    let other = refusal(machine.call(&copy(2, &made.engine_id)).await);
    let not_ours = refusal(machine.call(&copy(1, &foreign)).await);
    let absent = refusal(machine.call(&copy(1, &"0".repeat(64))).await);
    machine.act(1, ContainerVerb::Stop { timeout_secs: 0 }).await.unwrap();
    let done = machine.call(&copy(1, &made.engine_id)).await.unwrap();

    for refused in [&running, &other, &not_ours] {
        assert_eq!(refused.code, LinkErrorCode::Conflict, "{refused}");
    }
    assert_eq!(absent.code, LinkErrorCode::NotFound);
    assert!(done.layers >= 2);
    // From a copy that is not there nothing is made.
    let mut call = machine.create_call(3, &image, &["sleep"]);
    call.is_from_copy = true;
    assert_eq!(refusal(machine.call(&call).await).code, LinkErrorCode::NotFound);
    machine.docker(&["rm", &foreign]);
    machine.act(1, ContainerVerb::Remove).await.unwrap();
    assert_eq!(machine.docker(&["images", "-q", &format!("ls-c/{}", machine.instance.short())]), "");
    machine.stop().await;
}
