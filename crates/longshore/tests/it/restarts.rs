//! Containers whose process ends by itself: the server starts them again where their policy says so, never the engine.

use serde_json::{Value, json};

use crate::support::gpus::{Driver, gpu};
use crate::support::shop::Shop;
use crate::support::{Wait, eventually};

fn of(policy: &str, command: &[&str]) -> Value {
    json!({"restart_policy": policy, "command": command, "memory_bytes": 16 << 20})
}

/// Waits until a container was started again so often; then the container.
async fn until_restarts(shop: &Shop, id: &Value, count: u64) -> Value {
    let wait = Wait::new(format!("container {id} was started again {count} times"));
    eventually(&wait, 90, || async {
        let container = shop.alice.get(&format!("/api/v1/containers/{id}")).await.json();
        wait.saw(&container);
        (container["restarts"].as_u64() >= Some(count)).then_some(container)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_is_started_again_as_its_policy_says() {
    let Some(shop) = Shop::open().await else { return };
    let refused = shop.ask(json!({"restart_policy": "unless-stopped"})).await;
    assert_eq!(refused.status, 422, "{}", refused.text);

    let fails = shop.ask(of("on_failure", &["fail", "3"])).await.expect(201).json();
    let works = shop.ask(of("on_failure", &["print", "done"])).await.expect(201).json();
    let always = shop.ask(of("always", &["print", "done"])).await.expect(201).json();

    for id in [&fails["id"], &always["id"]] {
        let again = until_restarts(&shop, id, 3).await;
        assert_ne!(again["state"], "failed");
        assert_eq!(shop.inspect(id)["HostConfig"]["RestartPolicy"]["Name"], "no", "never the engine");
        assert_eq!(shop.inspect(id)["RestartCount"], 0);
    }
    let done = shop.until(&works["id"], "stopped").await;
    assert_eq!(
        (&done["exit_code"], &done["restarts"], &done["reason"]),
        (&json!(0), &json!(0), &Value::Null)
    );
    // Its owner has the last word, also between two lives.
    shop.act(&always["id"], "stop?timeout=0").await;
    shop.until(&always["id"], "stopped").await;
    // What always fails is given up and says so.
    let given_up = shop.until(&fails["id"], "stopped").await;
    assert_eq!((&given_up["reason"], &given_up["exit_code"]), (&json!("restarts_too_often"), &json!(3)));
    assert!(given_up["message"].as_str().unwrap().contains("ended with code 3"), "{given_up}");
    assert_eq!(
        shop.alice.get(&format!("/api/v1/containers/{}", always["id"])).await.json()["state"],
        "stopped"
    );
    // A new start has all its tries again.
    shop.act(&fails["id"], "start").await;
    let again = until_restarts(&shop, &fails["id"], 1).await;
    assert!(again["restarts"].as_u64().unwrap() < 10, "{again}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_started_again_keeps_its_gpu_and_one_that_is_not_gives_it_back() {
    let driver = Driver::with(&[gpu("GPU-restart-0", "NVIDIA T4", 15_360)]);
    let nvml = driver.setting();
    let Some(shop) = Shop::open_with(&[("machine.nvml", &nvml)]).await else { return };
    shop.has_gpus().await;

    let kept = shop.run(json!({"name": "kept", "gpus": {"count": 1}, "restart_policy": "always"})).await;
    let waiting = shop.ask(json!({"name": "waiting", "gpus": {"count": 1}})).await.expect(201).json();
    let started = || shop.inspect(&kept["id"])["State"]["StartedAt"].clone();
    let before = started();
    crate::support::machine::docker(&shop.docker, &["kill", &shop.engine_id(&kept["id"]).unwrap()]);
    eventually("it lives again", 60, || async { (started() != before).then_some(()) }).await;
    let again = shop.until(&kept["id"], "running").await;

    assert_eq!((&again["gpu_ids"], &again["restarts"]), (&kept["gpu_ids"], &json!(1)));
    let path = format!("/api/v1/containers/{}", waiting["id"]);
    assert_eq!(shop.alice.get(&path).await.json()["state"], "pending", "nobody got it in between");
    shop.act(&kept["id"], "stop?timeout=0").await;
    shop.until(&waiting["id"], "running").await;
    shop.close().await;
}
