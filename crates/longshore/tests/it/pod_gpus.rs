//! One ledger of graphics processors: what pods have and what containers lease count against the same quota.

use serde_json::json;

use crate::support::cluster::{cluster, unique};
use crate::support::eventually;
use crate::support::gpus::{Driver, gpu};
use crate::support::room::{POD_SECS, deployment};
use crate::support::shop::Shop;

/// A deployment whose pod holds graphics processors; that its image is nowhere changes nothing about that.
fn holding(name: &str, count: u32) -> String {
    let limits = format!("        resources: {{limits: {{nvidia.com/gpu: {count}}}}}\n        ports:");
    deployment("nowhere.invalid/x:1", "")
        .replace("        ports:", &limits)
        .replace("name: web, labels", &format!("name: {name}, labels"))
        .replace("app: web", &format!("app: {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_containers_share_one_quota_of_gpus() {
    let Some(cluster) = cluster() else { return };
    let driver =
        Driver::with(&[0, 1, 2].map(|n| gpu(&format!("GPU-ledger-{n}"), "NVIDIA GeForce RTX 3060", 12_288)));
    let nvml = driver.setting();
    let settings = [("machine.nvml", nvml.as_str()), ("kubernetes.gpus", "4"), ("quotas.gpus", "2")];
    let Some(shop) = Shop::open_with(&settings).await else { return };
    shop.has_gpus().await;
    let admin = shop.server.admin().await;
    let capacity =
        json!({"status": {"capacity": {"nvidia.com/gpu": "4"}, "allocatable": {"nvidia.com/gpu": "4"}}});
    let nodes = cluster.object(&["nodes"]).unwrap();
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
    cluster.kubectl(&[
        "patch",
        "node",
        node,
        "--subresource=status",
        "--type=merge",
        "-p",
        &capacity.to_string(),
    ]);
    cluster.add_to(&admin).await;
    let made = shop.alice.post("/api/v1/namespaces", json!({"name": unique("gpu")})).await.expect(201).json();
    let namespace = made["name"].as_str().unwrap();
    let apply = async |text: String| {
        shop.alice.post("/api/v1/workloads", json!({"manifest": text})).await.expect(200).json()
    };
    let allowed = async |wanted: &str| {
        eventually(format!("the cluster lets the namespace have {wanted}"), POD_SECS, || async {
            let quota = cluster.object(&["-n", namespace, "resourcequota", "longshore"])?;
            let hard = &quota["spec"]["hard"];
            (hard["requests.nvidia.com/gpu"] == wanted && hard["requests.amd.com/gpu"] == wanted)
                .then_some(())
        })
        .await;
    };
    let uses = async |gpus: u64, pods: u64| {
        eventually(format!("{gpus} are in use, {pods} by pods"), POD_SECS, || async {
            let quota = shop.alice.get("/api/v1/accounts/alice/quota").await.expect(200).json();
            (quota["used"]["gpus"] == gpus && quota["pod_gpus"] == pods).then_some(())
        })
        .await;
    };

    allowed("2").await;
    apply(holding("trains", 1)).await;
    uses(1, 1).await;
    let seen = eventually("the node shows what it has and what is in use", POD_SECS, || async {
        let nodes = shop.alice.get("/api/v1/nodes").await.expect(200).json();
        (nodes[0]["gpus"]["nvidia.com/gpu"] == 4 && nodes[0]["gpus_used"]["nvidia.com/gpu"] == 1)
            .then_some(nodes)
    })
    .await;
    assert_eq!(seen.as_array().unwrap().len(), 1, "{seen}");

    // Two are not left for a container while the pod has one.
    let asked = shop
        .ask(json!({"name": "both", "memory_bytes": 16 << 20, "gpus": {"count": 2}}))
        .await
        .expect(201)
        .json();
    let waiting = eventually("the container waits for the quota", POD_SECS, || async {
        let seen = shop.alice.get("/api/v1/containers/both").await.expect(200).json();
        (seen["reason"] == "waits_for_quota").then_some(seen)
    })
    .await;
    assert!(
        waiting["message"].as_str().unwrap().contains("quota is 2 GPUs, it uses 1 and this needs 2"),
        "{waiting}"
    );
    let workloads = shop.alice.get("/api/v1/workloads").await.expect(200).json();
    shop.alice
        .delete(&format!("/api/v1/workloads/{}", workloads["data"][0]["id"].as_str().unwrap()))
        .await
        .expect(204);
    shop.until(&asked["id"], "running").await;
    uses(2, 0).await;

    // And none for a pod while the container has both.
    allowed("0").await;
    apply(holding("late", 1)).await;
    let refused = eventually("the pod is refused", POD_SECS, || async {
        let rows = shop.alice.get("/api/v1/workloads").await.expect(200).json();
        let message = rows["data"][0]["message"].as_str()?.to_owned();
        message.contains("quota is used up").then_some(message)
    })
    .await;
    assert!(refused.contains("requests.nvidia.com/gpu"), "{refused}");
    shop.act(&asked["id"], "stop").await;
    allowed("2").await;
    shop.alice.delete(&format!("/api/v1/namespaces/{namespace}")).await;
    shop.close().await;
}
