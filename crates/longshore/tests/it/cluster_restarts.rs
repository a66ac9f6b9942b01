//! An API server that is killed, and one that comes back with nothing: what is not known is said, nothing is lost, and what was going
//! on comes to its end.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::Cluster;
use crate::support::control_plane::ControlPlane;
use crate::support::room::{Room, deployment};
use crate::support::{Wait, eventually};

/// Documents of the file that is being applied when the API server is killed.
const DOCUMENTS: usize = 20;
/// Seconds in which an API server that is back is caught up with.
const CATCHING_UP_SECS: u64 = 30;

fn config(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
    )
}

async fn rows(henry: &Api) -> Vec<Value> {
    let rows = henry.get("/api/v1/workloads?limit=200").await.expect(200).json();
    rows["data"].as_array().unwrap().clone()
}

/// What of each row must outlive everything.
fn kept(rows: &[Value]) -> BTreeSet<String> {
    rows.iter()
        .map(|row| format!("{} {} {} {}", row["id"], row["kind"], row["name"], row["revision"]))
        .collect()
}

async fn lab(admin: &Api) -> Value {
    admin.get("/api/v1/clusters/lab").await.expect(200).json()
}

/// Waits until nothing is known, and it is said since when and why.
async fn until_unknown(admin: &Api, henry: &Api, state: &str, why: &str) {
    let wait = Wait::new(format!("the cluster is {state}, and nothing is said that is not known"));
    eventually(&wait, CATCHING_UP_SECS, || async {
        let (lab, rows) = (lab(admin).await, rows(henry).await);
        wait.saw(&json!([lab, rows]));
        let said = format!("{why} since {}", lab["state_since"].as_str().unwrap());
        let is_unknown =
            |row: &Value| row["state"] == "unknown" && row["message"].as_str().unwrap().contains(&said);
        (lab["state"] == state && rows.iter().all(is_unknown)).then_some(())
    })
    .await;
}

/// Waits until the cluster has all that is stored, and says so; the names of its configuration.
async fn until_settled(henry: &Api, cluster: &Cluster, namespace: &str) -> BTreeSet<String> {
    let wait = Wait::new("what is stored is in the cluster");
    eventually(&wait, CATCHING_UP_SECS, || async {
        let rows = rows(henry).await;
        wait.saw(&json!(rows));
        // Without nodes no pod of a deployment runs.
        let is_calm = |row: &Value| {
            let wanted = if row["kind"] == "Deployment" { "progressing" } else { "ready" };
            row["state"] == wanted && row["uid"].is_string()
        };
        if !rows.iter().all(is_calm) {
            return None;
        }
        let found = cluster.object(&["-n", namespace, "configmaps", "-l", "longshore.io/workload"])?;
        let names = found["items"].as_array()?.iter();
        Some(names.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_killed_or_loses_its_store_is_waited_for_and_caught_up_with() {
    let Some(mut plane) = ControlPlane::start().await else { return };
    let cluster = plane.cluster.clone();
    let room = Room::by_way_of(cluster.clone(), &cluster.least_kubeconfig()).await;
    let (admin, henry, namespace) = (room.server.admin().await, &room.henry, room.namespace.as_str());
    let file = [deployment("nowhere.invalid/x:1", ""), service("web"), config("first")].join("---\n");
    henry.post("/api/v1/workloads", json!({"manifest": file})).await.expect(200);
    until_settled(henry, &cluster, namespace).await;

    // Killed while it takes a file.
    let file =
        (0..DOCUMENTS).map(|number| config(&format!("conf-{number:02}"))).collect::<Vec<_>>().join("---\n");
    let request = henry.request(Method::POST, "/api/v1/workloads").json(&json!({"manifest": file}));
    let (answered, ()) = tokio::join!(henry.send(request.timeout(Duration::from_mins(2))), async {
        eventually("the first document is in the cluster", CATCHING_UP_SECS, || async {
            cluster.object(&["-n", namespace, "configmap", "conf-00"])
        })
        .await;
        plane.kill_api_server();
    });

    if answered.status != 200 {
        let refused = answered.expect(503);
        assert!(refused.text.contains("applied as soon as the cluster answers"), "{}", refused.text);
    }
    until_unknown(&admin, henry, "unreachable", "has not answered").await;
    let before = kept(&rows(henry).await);
    assert_eq!(before.len(), 3 + DOCUMENTS, "of a file everything is stored");
    henry.post("/api/v1/workloads", json!({"manifest": config("late")})).await.expect(503);
    henry.get("/api/v1/namespaces/test/pods").await.expect(503);
    assert_eq!(henry.get("/api/v1/namespaces/test").await.expect(200).json()["state"], "ready");
    let wish = henry.post("/api/v1/namespaces", json!({"name": "later"})).await;
    assert!([201, 202].contains(&wish.status), "{}", wish.text);

    plane.start_api_server().await;

    let names = until_settled(henry, &cluster, namespace).await;
    assert_eq!(names.len(), 1 + DOCUMENTS, "{names:?}");
    assert_eq!(kept(&rows(henry).await), before, "nothing is lost, and nothing is there that was refused");
    assert_eq!(lab(&admin).await["state"], "ready");
    let wait = Wait::new("what was wished meanwhile is made");
    eventually(&wait, CATCHING_UP_SECS, || async {
        let later = henry.get("/api/v1/namespaces/later").await.expect(200).json();
        wait.saw(&later);
        (later["state"] == "ready").then_some(())
    })
    .await;

    // It comes back with nothing: also without what let us in.
    plane.lose_everything();
    plane.start_api_server().await;

    until_unknown(&admin, henry, "refused", "has not taken our credentials").await;
    assert_eq!(kept(&rows(henry).await), before);
    let renewed = json!({"kubeconfig": cluster.least_kubeconfig().to_string()});
    admin.patch("/api/v1/clusters/lab", renewed).await.expect(200);
    let names = until_settled(henry, &cluster, namespace).await;
    assert_eq!(names.len(), 1 + DOCUMENTS, "{names:?}");
    assert_eq!(kept(&rows(henry).await), before, "nothing is lost");
    for wall in ["resourcequota", "networkpolicy", "serviceaccount", "limitrange"] {
        assert!(cluster.object(&["-n", namespace, wall, "longshore"]).is_some(), "the {wall} stands again");
    }
    henry
        .post("/api/v1/workloads", json!({"manifest": config("late"), "namespace": "test"}))
        .await
        .expect(200);
    room.server.stop().await;
}
