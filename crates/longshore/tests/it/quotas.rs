//! Quotas: how much an account's containers may have together, and who comes first in the line.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::eventually;
use crate::support::gpus::{Driver, gpu};
use crate::support::shop::{Shop, push, with_image};

const SMALL: u64 = 16 << 20;

fn gpus(name: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| gpu(&format!("GPU-{name}-{n}"), "NVIDIA T4", 15_360)).collect()
}

async fn shop_with(driver: &Driver, settings: &[(&str, &str)]) -> Option<Shop> {
    let nvml = driver.setting();
    let settings: Vec<_> = [("machine.nvml", nvml.as_str())].iter().chain(settings).copied().collect();
    let shop = Shop::open_with(&settings).await?;
    shop.has_gpus().await;
    Some(shop)
}

fn small(name: &str) -> Value {
    json!({"name": name, "memory_bytes": SMALL, "cpu_millis": 100})
}

fn with_gpu(name: &str, count: u32) -> Value {
    json!({"name": name, "memory_bytes": SMALL, "gpus": {"count": count}})
}

async fn until_reason(api: &Api, name: &str, reason: &str) -> Value {
    let path = format!("/api/v1/containers/{name}");
    eventually(&format!("{name}: {reason}"), 60, || async {
        let container = api.get(&path).await.json();
        (container["reason"] == reason).then_some(container)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_as_many_gpus_as_it_may_waits_and_holds_nobody_up() {
    let driver = Driver::with(&gpus("quota", 3));
    let Some(shop) = shop_with(&driver, &[("quotas.gpus", "1")]).await else { return };
    let bob = shop.server.account("bob").await;
    let admin = shop.server.admin().await;
    push(&shop.docker, &shop.server.registry, "bob/app:v1");
    let quota = shop.alice.get("/api/v1/accounts/alice/quota").await.expect(200).json();
    assert_eq!((&quota["limits"]["gpus"], &quota["own"]["gpus"]), (&json!(1), &Value::Null));

    let never = shop.ask(with_gpu("never", 2)).await.expect(409);
    let first = shop.run(with_gpu("first", 1)).await;
    shop.ask(with_gpu("second", 1)).await.expect(201);
    let others = bob.post("/api/v1/containers", with_image(with_gpu("box", 1))).await.expect(201).json();

    assert_eq!(never.code(), "over_quota");
    assert!(never.json()["detail"].as_str().unwrap().contains("quota is 1 GPUs, it uses 0 and this needs 2"));
    let waiting = until_reason(&shop.alice, "second", "waits_for_quota").await;
    assert!(waiting["message"].as_str().unwrap().contains("quota is 1 GPUs"), "{waiting}");
    assert_eq!(waiting["queue"]["position"], 1);
    assert_ne!(others["state"], "failed");
    let path = format!("/api/v1/containers/{}", others["id"]);
    let runs = || async { (bob.get(&path).await.json()["state"] == "running").then_some(()) };
    eventually("bob's runs although alice's came first", 60, runs).await;

    // An admin raises it, and the line moves; the admin is held to nothing.
    admin.put("/api/v1/accounts/alice/quota", json!({"gpus": 2})).await.expect(200);
    shop.until(&waiting["id"], "running").await;
    let quota = shop.alice.get("/api/v1/accounts/alice/quota").await.expect(200).json();
    assert_eq!((&quota["used"]["gpus"], &quota["used"]["running_containers"]), (&json!(2), &json!(2)));
    assert_eq!(admin.get("/api/v1/accounts/admin/quota").await.json()["limits"]["gpus"], Value::Null);
    // A lower one takes nothing from what runs, and holds for the next start.
    let lowered = admin.put("/api/v1/accounts/alice/quota", json!({"gpus": 0})).await.expect(200).json();
    assert_eq!((&lowered["limits"]["gpus"], &lowered["used"]["gpus"]), (&json!(0), &json!(2)));
    shop.act(&first["id"], "stop?timeout=0").await;
    shop.until(&first["id"], "stopped").await;
    for verb in ["start", "restart"] {
        let path = format!("/api/v1/containers/{}/{verb}", first["id"]);
        assert_eq!(shop.alice.post(&path, json!({})).await.expect(409).code(), "over_quota", "{verb}");
    }
    assert_eq!(shop.alice.get("/api/v1/containers/first").await.json()["state"], "stopped");
    let audit = admin.get("/api/v1/audit?action=account.quota").await.expect(200).json();
    assert_eq!((&audit["total"], &audit["data"][0]["target"]), (&json!(2), &json!("alice")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_without_gpus_are_refused_when_they_are_more_than_the_quota() {
    let settings = [
        ("quotas.running_containers", "2"),
        ("quotas.cpu_millis", "1000"),
        ("quotas.memory_bytes", "67108864"),
    ];
    let Some(shop) = Shop::open_with(&settings).await else { return };

    // However many ask at the same time.
    let asked = (0..6).map(|n| shop.ask(small(&format!("box{n}"))));
    let answers = join_all(asked).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (2, 4));
    for answer in &refused {
        assert_eq!((answer.status, answer.code().as_str()), (409, "over_quota"), "{}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains("2 running containers, it uses 2"));
        assert!(answer.json()["hint"].as_str().unwrap().contains("stop or delete"));
    }
    let first = made[0].json()["id"].clone();
    shop.until(&first, "running").await;
    shop.until(&made[1].json()["id"], "running").await;
    // A restart is no further container, and what is stopped makes room.
    shop.act(&first, "restart?timeout=0").await;
    shop.until(&first, "running").await;
    shop.act(&first, "stop?timeout=0").await;
    shop.until(&first, "stopped").await;
    let third = shop.run(small("third")).await;
    let path = format!("/api/v1/containers/{first}/start");
    assert_eq!(shop.alice.post(&path, json!({})).await.expect(409).code(), "over_quota");
    shop.alice.delete("/api/v1/containers/third").await.expect(202);
    shop.until_gone(&third["id"]).await;
    for (field, options) in [
        ("cpu_millis", json!({"memory_bytes": SMALL, "cpu_millis": 1_001})),
        ("bytes of memory", json!({"memory_bytes": 65 << 20, "cpu_millis": 100})),
    ] {
        let refused = shop.ask(options).await.expect(409);
        assert!(refused.json()["detail"].as_str().unwrap().contains(field), "{}", refused.text);
        assert!(refused.json()["hint"].as_str().unwrap().contains("ask for less"));
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_of_a_higher_class_are_served_first_and_nobody_floods_the_line() {
    let driver = Driver::with(&gpus("class", 1));
    let Some(shop) = shop_with(&driver, &[("gpus.queued_per_account", "2")]).await else { return };
    let bob = shop.server.account("bob").await;
    let eve = shop.server.account("eve").await;
    let admin = shop.server.admin().await;
    for name in ["bob/app:v1", "eve/app:v1"] {
        push(&shop.docker, &shop.server.registry, name);
    }
    let ask =
        async |api: &Api, name: &str| api.post("/api/v1/containers", with_image(with_gpu(name, 1))).await;
    let hog = shop.run(with_gpu("hog", 1)).await;
    admin.put("/api/v1/accounts/bob/quota", json!({"class": "high"})).await.expect(200);
    admin.put("/api/v1/accounts/eve/quota", json!({"class": "low"})).await.expect(200);

    ask(&eve, "low").await.expect(201);
    ask(&shop.alice, "normal").await.expect(201);
    ask(&shop.alice, "later").await.expect(201);
    ask(&bob, "high").await.expect(201);
    let one_more = ask(&shop.alice, "flood").await.expect(409);
    shop.alice.post("/api/v1/containers/later/stop", json!({})).await.expect(202);
    ask(&shop.alice, "instead").await.expect(201);
    let back = shop.alice.post("/api/v1/containers/later/start", json!({})).await.expect(409);

    assert_eq!((one_more.code(), back.code()), ("too_many_waiting".into(), "too_many_waiting".into()));
    let line = admin.get("/api/v1/queue").await.expect(200).json();
    let order: Vec<_> = line["data"].as_array().unwrap().iter().map(|place| &place["container"]).collect();
    assert_eq!(order, [&json!("high"), &json!("normal"), &json!("instead"), &json!("low")]);
    assert_eq!(eve.get("/api/v1/containers/low").await.json()["queue"]["position"], 4);
    shop.act(&hog["id"], "stop?timeout=0").await;
    let runs =
        || async { (bob.get("/api/v1/containers/high").await.json()["state"] == "running").then_some(()) };
    eventually("who came last is served first", 60, runs).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_a_quota_but_an_admin_and_only_what_there_is() {
    let server = crate::support::server::TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let bob = server.account("bob").await;
    let admin = server.admin().await;
    let path = "/api/v1/accounts/alice/quota";

    alice.put(path, json!({"gpus": 100, "class": "high"})).await.expect(403);
    bob.get(path).await.expect(404);
    for wrong in [
        json!({"gpus": -1}),
        json!({"gpus": "all"}),
        json!({"class": "highest"}),
        json!({"disks": 1}),
        json!({"memory_bytes": u64::MAX}),
        json!([]),
    ] {
        let refused = admin.put(path, wrong.clone()).await;
        assert_eq!(refused.status, 422, "{wrong}: {}", refused.text);
    }
    admin.put("/api/v1/accounts/nobody/quota", json!({})).await.expect(404);

    let none = json!({
        "gpus": null, "cpu_millis": null, "memory_bytes": null, "running_containers": null, "disk_bytes": null
    });
    let untouched = alice.get(path).await.expect(200).json();
    assert_eq!((&untouched["class"], &untouched["own"]), (&json!("normal"), &none));
    admin.put(path, json!({"class": "high", "gpus": 3, "running_containers": 1})).await.expect(200);
    let set = admin.put(path, json!({"memory_bytes": 1})).await.expect(200).json();
    assert_eq!(
        (&set["class"], &set["own"]["gpus"], &set["own"]["memory_bytes"]),
        (&json!("normal"), &Value::Null, &json!(1))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fills_the_disks_starts_nothing_more_until_room_is_made() {
    let Some(shop) = Shop::open().await else { return };
    let admin = shop.server.admin().await;
    let write = "head -c 8388608 /dev/zero > /data/in-a-volume; head -c 4194304 /dev/zero > /beside";
    let mut wish = json!({"name": "writer", "memory_bytes": 4 * SMALL, "command": ["sh", "-c", write],
        "volumes": [{"name": "data", "target": "/data"}]});
    shop.push_shell();
    wish["image"] = json!("shell:v1");
    let made = shop.alice.post("/api/v1/containers", wish).await.expect(201).json();
    shop.until(&made["id"], "stopped").await;
    let held = || async {
        let quota = shop.alice.get("/api/v1/accounts/alice/quota").await.json();
        quota["used"]["disk_bytes"].as_u64().unwrap()
    };
    eventually("both are counted", 120, || async { (held().await >= 12 << 20).then_some(()) }).await;
    let volume = shop.alice.get("/api/v1/volumes").await.json()["data"][0].clone();
    assert!((8 << 20..9 << 20).contains(&volume["size_bytes"].as_u64().unwrap()), "{volume}");

    let quota =
        admin.put("/api/v1/accounts/alice/quota", json!({"disk_bytes": 12 << 20})).await.expect(200).json();
    assert_eq!(quota["limits"]["disk_bytes"], 12 << 20);
    let refused = shop.ask(small("more")).await.expect(409);
    assert_eq!(refused.code(), "over_quota");
    assert!(refused.text.contains("bytes on disks"), "{}", refused.text);
    assert_eq!(
        shop.server.account("bob").await.get("/api/v1/accounts/bob/quota").await.json()["used"]["disk_bytes"],
        0
    );
    // Room is made: with the container what it has written goes, and after it the volume.
    shop.alice.delete(&format!("/api/v1/containers/{}", made["id"])).await.expect(202);
    shop.until_gone(&made["id"]).await;
    eventually("there is room", 120, || async { (held().await < 12 << 20).then_some(()) }).await;
    shop.run(small("more")).await;
    shop.close().await;
}
