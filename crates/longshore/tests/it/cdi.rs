//! GPUs that an engine knows by the names of the Container Device Interface: it is asked for them by those.

use serde_json::{Value, json};

use crate::support::engine::PrivateEngine;
use crate::support::gpus::{Driver, gpu};
use crate::support::machine::docker;
use crate::support::shop::Shop;

const NAME: &str = "nvidia.com/gpu=GPU-described";

/// What NVIDIA's toolkit writes for each GPU of a machine; this one's are a variable and the device that takes everything.
fn description() -> Value {
    json!({
        "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu",
        "devices": [{"name": "GPU-described", "containerEdits": {
            "env": ["GIVEN_BY=description"], "deviceNodes": [{"path": "/dev/described", "hostPath": "/dev/null"}],
        }}],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_that_the_engine_has_a_description_of_is_given_by_it() {
    let Some(engine) = PrivateEngine::start() else { return };
    engine.describe_devices(&description());
    let address = engine.address();
    // Only then Longshore asks by name; engines before 28.2 do not say what they have found, or know nothing of it.
    let found = docker(&address, &["info", "--format", "{{json .DiscoveredDevices}}"]);
    if !found.contains(NAME) {
        eprintln!("left out: this engine tells of no described devices ({found})");
        return;
    }
    let driver = Driver::with(&[gpu("GPU-described", "NVIDIA A100", 40_960)]);
    let Some(shop) = Shop::open_on(&address, &[("machine.nvml", &driver.setting())]).await else { return };
    shop.has_gpus().await;
    let seen_in = |container: &Value| {
        let id = shop.engine_id(&container["id"]).unwrap();
        docker(&address, &["exec", &id, "/bin/sh", "-c", "ls /dev; cat /proc/1/environ"])
    };

    let given = shop.run_shell(json!({"gpus": {"count": 1}})).await;
    let without = shop.run_shell(json!({})).await;

    let asked = &shop.inspect(&given["id"])["HostConfig"]["DeviceRequests"][0];
    assert_eq!((&asked["Driver"], &asked["DeviceIDs"]), (&json!("cdi"), &json!([NAME])));
    let seen = seen_in(&given);
    assert!(seen.contains("described\n") && seen.contains("GIVEN_BY=description"), "{seen}");
    let seen = seen_in(&without);
    assert!(!seen.contains("described") && !seen.contains("GIVEN_BY"), "{seen}");
    assert_eq!(given["gpu_ids"], json!(["GPU-described"]));
    shop.close().await;
}
