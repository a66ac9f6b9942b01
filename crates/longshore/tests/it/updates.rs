//! Containers that are renamed and given other limits while they are there, on a real engine.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::machine::docker;
use crate::support::shop::Shop;

const MIB: u64 = 1 << 20;

async fn change(shop: &Shop, id: &Value, change: Value) -> Value {
    shop.alice.patch(&format!("/api/v1/containers/{id}"), change).await.expect(200).json()
}

/// Memory and processor limits as the engine has them.
fn engine_limits(shop: &Shop, id: &Value) -> (u64, u64, u64) {
    let found = shop.inspect(id);
    let number = |name: &str| found["HostConfig"][name].as_u64().unwrap_or_default();
    (number("Memory"), number("NanoCpus"), number("PidsLimit"))
}

async fn until_limits(shop: &Shop, id: &Value, memory: u64, cpus: u64, pids: u64) {
    eventually("the engine has the limits", 60, || async {
        (engine_limits(shop, id) == (memory, cpus, pids)).then_some(())
    })
    .await;
    eventually("they are no wish any more", 60, || async {
        let view = shop.alice.get(&format!("/api/v1/containers/{id}")).await.json();
        let has = view["memory_bytes"] == memory && view["wished_limits"].is_null();
        has.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_gets_other_limits_while_it_runs() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"memory_bytes": 64 * MIB, "cpu_millis": 500, "pids": 50})).await;
    let started = shop.inspect(&made["id"])["State"]["StartedAt"].clone();

    change(&shop, &made["id"], json!({"memory_bytes": 128 * MIB, "cpu_millis": 250})).await;
    until_limits(&shop, &made["id"], 128 * MIB, 250_000_000, 50).await;
    change(&shop, &made["id"], json!({"memory_bytes": 32 * MIB, "pids": 60})).await;
    until_limits(&shop, &made["id"], 32 * MIB, 250_000_000, 60).await;

    let after = shop.inspect(&made["id"]);
    assert_eq!((&after["State"]["StartedAt"], &after["State"]["Running"]), (&started, &json!(true)));
    // A stopped one too, and they last.
    shop.act(&made["id"], "stop").await;
    shop.until(&made["id"], "stopped").await;
    change(&shop, &made["id"], json!({"memory_bytes": 96 * MIB})).await;
    until_limits(&shop, &made["id"], 96 * MIB, 250_000_000, 60).await;
    shop.act(&made["id"], "start").await;
    shop.until(&made["id"], "running").await;
    assert_eq!(engine_limits(&shop, &made["id"]), (96 * MIB, 250_000_000, 60));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn less_memory_than_is_used_comes_with_the_next_start() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run_shell(json!({"memory_bytes": 256 * MIB})).await;
    let engine_id = shop.engine_id(&made["id"]).unwrap();
    // What lies in its shared memory counts as memory.
    let script = "head -c 50000000 /dev/zero > /dev/shm/full";
    docker(&shop.docker, &["exec", &engine_id, "sh", "-c", script]);

    change(&shop, &made["id"], json!({"memory_bytes": 16 * MIB})).await;
    let path = format!("/api/v1/containers/{}", made["id"]);
    let waits = eventually("the machine has said why not", 60, || async {
        let view = shop.alice.get(&path).await.json();
        view["wished_limits"]["message"].is_string().then_some(view)
    })
    .await;
    assert_eq!((&waits["memory_bytes"], &waits["state"]), (&json!(256 * MIB), &json!("running")));
    assert_eq!(waits["wished_limits"]["limits"]["memory_bytes"], 16 * MIB);
    assert!(waits["wished_limits"]["message"].as_str().unwrap().contains("uses"), "{waits}");
    assert_eq!(engine_limits(&shop, &made["id"]).0, 256 * MIB);

    shop.act(&made["id"], "restart").await;
    until_limits(&shop, &made["id"], 16 * MIB, 1_000_000_000, 1024).await;
    shop.until(&made["id"], "running").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_were_wished_survive_a_server_that_ends() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"memory_bytes": 64 * MIB})).await;
    // Written down, and nobody told to do it: as a server leaves it that is killed after its answer.
    let id = wire::ids::ContainerId(made["id"].as_i64().unwrap());
    let limits = wire::limits::Limits { memory_bytes: 80 * MIB, cpu_millis: 700, pids: 70 };
    let wished = wire::limits::WishedLimits { limits, message: None };
    let (db, now) = (&shop.server.app.db, shop.server.app.now());
    store::containers::set_wished_limits(db, id, Some(&wished), now).await.unwrap();

    let shop = shop.restart_server().await;
    until_limits(&shop, &made["id"], 80 * MIB, 700_000_000, 70).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_renamed_and_nothing_else_changes() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"name": "before"})).await;
    let engine_id = shop.engine_id(&made["id"]).unwrap();
    let other = shop.run(json!({"name": "other"})).await;

    let renamed = change(&shop, &made["id"], json!({"name": "after", "display_name": "My box"})).await;
    assert_eq!((&renamed["name"], &renamed["display_name"]), (&json!("after"), &json!("My box")));
    shop.alice.get("/api/v1/containers/after").await.expect(200);
    shop.alice.get("/api/v1/containers/before").await.expect(404);
    assert_eq!(shop.engine_id(&made["id"]).unwrap(), engine_id);
    let path = format!("/api/v1/containers/{}", made["id"]);
    let taken = shop.alice.patch(&path, json!({"name": "other"})).await.expect(409);
    assert_eq!(taken.code(), "container_exists");
    assert_eq!(change(&shop, &made["id"], json!({"display_name": null})).await["display_name"], Value::Null);
    // The old name is free again.
    change(&shop, &other["id"], json!({"name": "before"})).await;

    let bob = shop.server.account("bob").await;
    for id in [made["id"].to_string(), "after".to_owned(), engine_id] {
        bob.patch(&format!("/api/v1/containers/{id}"), json!({"name": "mine"})).await.expect(404);
    }
    for (wrong, field) in [
        (json!({"name": "123"}), "name"),
        (json!({"display_name": "a\u{1b}[2J"}), "display_name"),
        (json!({"memory_bytes": 1}), "memory_bytes"),
        (json!({"memory_bytes": u64::MAX}), "memory_bytes"),
        (json!({"cpu_millis": 0}), "cpu_millis"),
        (json!({"cpu_millis": 1_000_000}), "cpu_millis"),
        (json!({"pids": 1_000_000}), "pids"),
    ] {
        let refused = shop.alice.patch(&path, wrong.clone()).await.expect(422);
        assert_eq!(refused.json()["violations"][0]["field"], field, "{wrong}: {}", refused.text);
    }
    for wrong in
        [json!({"name": "Ä"}), json!({"privileged": true}), json!({"image": "x"}), json!({"volumes": []})]
    {
        shop.alice.patch(&path, wrong).await.expect(422);
    }
    assert_eq!(shop.alice.get(&path).await.json()["name"], "after");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_memory_is_as_large_as_asked_for() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run_shell(json!({"memory_bytes": 256 * MIB, "shm_bytes": 100 * MIB})).await;

    assert_eq!(made["shm_bytes"], 100 * MIB);
    assert_eq!(shop.inspect(&made["id"])["HostConfig"]["ShmSize"], 100 * MIB);
    let usual = shop.run_of("shell:v1", json!({})).await;
    assert_eq!(
        (&usual["shm_bytes"], &shop.inspect(&usual["id"])["HostConfig"]["ShmSize"]),
        (&json!(64 * MIB), &json!(64 * MIB))
    );
    // It is memory, and bounded as such.
    let refused = shop.ask(json!({"memory_bytes": 64 * MIB, "shm_bytes": 65 * MIB})).await.expect(422);
    assert_eq!(refused.json()["violations"][0]["field"], "shm_bytes", "{}", refused.text);
    shop.ask(json!({"shm_bytes": 1})).await.expect(422);
    let path = format!("/api/v1/containers/{}", made["id"]);
    let refused = shop.alice.patch(&path, json!({"memory_bytes": 64 * MIB})).await.expect(422);
    assert_eq!(refused.json()["violations"][0]["field"], "shm_bytes", "{}", refused.text);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_goes_beyond_the_accounts_quota() {
    let settings = [("quotas.memory_bytes", "134217728"), ("quotas.cpu_millis", "1000")];
    let Some(shop) = Shop::open_with(&settings).await else { return };
    let made = shop.run(json!({"memory_bytes": 64 * MIB, "cpu_millis": 500})).await;
    let other = shop.run(json!({"memory_bytes": 32 * MIB, "cpu_millis": 100})).await;
    let path = format!("/api/v1/containers/{}", made["id"]);

    for wanted in [json!({"memory_bytes": 97 * MIB}), json!({"cpu_millis": 901})] {
        let refused = shop.alice.patch(&path, wanted.clone()).await.expect(409);
        assert_eq!(refused.code(), "over_quota", "{wanted}: {}", refused.text);
    }
    change(&shop, &made["id"], json!({"memory_bytes": 96 * MIB, "cpu_millis": 900})).await;
    until_limits(&shop, &made["id"], 96 * MIB, 900_000_000, 1024).await;
    // Room that is not there yet counts as taken, too.
    let refused = shop
        .alice
        .patch(&format!("/api/v1/containers/{}", other["id"]), json!({"memory_bytes": 33 * MIB}))
        .await;
    assert_eq!(refused.expect(409).code(), "over_quota");
    shop.close().await;
}
