//! Workloads when the server is killed in the middle: of a file there is everything or nothing, what was stored is in the
//! cluster in the end, and what was to go is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::{Cluster, cluster, unique};
use crate::support::eventually;
use crate::support::process::ServerProcess;
use crate::support::releases::CLUSTER_SECS;

/// Documents of one file.
const DOCUMENTS: usize = 8;

fn name(round: usize, document: usize) -> String {
    format!("conf-{round}-{document}")
}

fn file(round: usize) -> String {
    let document = |number| {
        let name = name(round, number);
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
    };
    (0..DOCUMENTS).map(document).collect::<Vec<_>>().join("---\n")
}

async fn rows(henry: &Api) -> Vec<Value> {
    let rows = henry.get("/api/v1/workloads?limit=200").await.expect(200).json();
    rows["data"].as_array().unwrap().clone()
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let name =
        |object: &Value| object["name"].as_str().or(object["metadata"]["name"].as_str()).map(str::to_owned);
    objects.iter().map(|object| name(object).unwrap()).collect()
}

/// What the cluster has that says it is a workload of ours.
fn there(cluster: &Cluster, namespace: &str) -> BTreeSet<String> {
    let found = cluster.object(&["-n", namespace, "configmaps", "-l", "longshore.io/workload"]).unwrap();
    names(found["items"].as_array().unwrap())
}

/// Waits until rows and cluster say the same, and nothing is half done; the names.
async fn settled(henry: &Api, cluster: &Cluster, namespace: &str) -> BTreeSet<String> {
    eventually("what is stored is in the cluster, and nothing else", CLUSTER_SECS, || async {
        let rows = rows(henry).await;
        let is_calm = rows.iter().all(|row| row["state"] == "ready" && row["uid"].is_string());
        (is_calm && names(&rows) == there(cluster, namespace)).then(|| names(&rows))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_of_applying_or_deleting_converges() {
    let Some(cluster) = cluster() else { return };
    let mut server = ServerProcess::start_on(&[("machine.enabled", "false")]).await;
    let admin = server.admin().await;
    cluster.add_to(&admin).await;
    let account = unique("henry");
    let henry = server.account(&account).await;
    henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201);
    let namespace = format!("{account}-test");
    let whole = |round: usize| (0..DOCUMENTS).map(move |number| name(round, number));

    // At any moment of applying a file, with pauses that are the same in every run.
    let pauses = [0_u64, 60, 150, 300];
    for (round, pause) in pauses.into_iter().enumerate() {
        let request =
            henry.request(Method::POST, "/api/v1/workloads").json(&json!({"manifest": file(round)}));
        let (answered, ()) = tokio::join!(request.send(), async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            server.kill();
        });
        server.start_again().await;
        let left = settled(&henry, &cluster, &namespace).await;
        let of_round = whole(round).filter(|name| left.contains(name)).count();
        assert!([0, DOCUMENTS].contains(&of_round), "{of_round} of a file's {DOCUMENTS} documents are there");
        if answered.is_ok_and(|answer| answer.status() == 200) {
            assert_eq!(of_round, DOCUMENTS, "what was acknowledged is there");
        }
    }

    // While all of it is deleted.
    for round in 0..pauses.len() {
        henry.post("/api/v1/workloads", json!({"manifest": file(round)})).await.expect(200);
    }
    for pause in [0_u64, 50, 120] {
        let (found, henry) = (rows(&henry).await, &henry);
        let deletions = found.iter().map(|row| async move {
            let path = format!("/api/v1/workloads/{}", row["id"].as_str().unwrap());
            let answer = henry.request(Method::DELETE, &path).send().await;
            answer
                .is_ok_and(|answer| answer.status() == 204)
                .then(|| row["name"].as_str().unwrap().to_owned())
        });
        let (gone, ()) = tokio::join!(join_all(deletions), async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            server.kill();
        });
        server.start_again().await;
        let left = settled(henry, &cluster, &namespace).await;
        for name in gone.into_iter().flatten() {
            assert!(!left.contains(&name), "`{name}` was acknowledged to be gone");
        }
    }

    // While the namespace with what is left in it is deleted.
    henry.post("/api/v1/workloads", json!({"manifest": file(0)})).await.expect(200);
    let request = henry.request(Method::DELETE, "/api/v1/namespaces/test");
    let (_, ()) = tokio::join!(request.send(), async {
        eventually("its deletion is noted", CLUSTER_SECS, || async {
            let found = henry.get("/api/v1/namespaces/test").await;
            (found.status == 404 || found.json()["state"] == "deleting").then_some(())
        })
        .await;
        server.kill();
    });
    server.start_again().await;
    eventually("the namespace is gone", CLUSTER_SECS, || async {
        let is_gone = henry.get("/api/v1/namespaces/test").await.status == 404;
        (is_gone && cluster.object(&["namespace", &namespace]).is_none()).then_some(())
    })
    .await;
}
