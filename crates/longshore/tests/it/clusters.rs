//! Kubernetes clusters: added with the least rights, looked at, and lost from sight.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::{Cable, cluster, unique};
use crate::support::eventually;
use crate::support::server::TestServer;

#[tokio::test]
async fn a_cluster_is_added_with_the_least_rights_and_its_secrets_are_kept() {
    let Some(cluster) = cluster() else { return };
    let server = TestServer::without_engine(&[]).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    let addition = cluster.addition("lab");
    let kubeconfig: Value = serde_json::from_str(addition["kubeconfig"].as_str().unwrap()).unwrap();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap().to_owned();

    let added = admin.post("/api/v1/clusters", addition.clone()).await.expect(201);

    assert_eq!(added.json()["state"], "ready");
    assert_eq!(added.json()["is_default"], true, "the first one is the default one");
    assert!(added.json()["version"].as_str().unwrap().starts_with("v1."), "{}", added.text);
    assert!(!added.text.contains(&token));
    assert_eq!(admin.post("/api/v1/clusters", addition).await.expect(409).code(), "exists");
    let seen = alice.get("/api/v1/clusters/lab").await.expect(200);
    assert!(seen.json()["server"].is_null(), "where it is is for admins: {}", seen.text);
    for file in ["longshore.db", "longshore.db-wal"] {
        let bytes = std::fs::read(server.data_dir().join(file)).unwrap_or_default();
        let is_there = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!is_there, "the token stands in {file}");
    }

    let server = server.restart().await;
    let (admin, alice) = (server.admin().await, server.login("alice", "alice password").await);
    let for_admin = admin.get("/api/v1/nodes?cluster=lab").await.expect(200).json();
    let for_alice = alice.get("/api/v1/nodes").await.expect(200).json();
    assert_eq!(for_admin[0]["status"], "Ready", "{for_admin}");
    assert!(for_admin[0]["address"].is_string() && for_alice[0]["address"].is_null());
    assert!(for_alice[0]["cpu_millis"].as_u64().unwrap() >= 1_000, "{for_alice}");
    admin.delete("/api/v1/clusters/lab").await.expect(204);
    admin.get("/api/v1/clusters/lab").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn credentials_that_may_too_little_or_name_files_and_programs_are_refused() {
    let Some(cluster) = cluster() else { return };
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let good = cluster.kubeconfig_of("default", "default");
    let try_with = async |kubeconfig: &Value, status: u16| {
        let body = json!({"name": "lab", "kubeconfig": kubeconfig.to_string()});
        admin.post("/api/v1/clusters", body).await.expect(status)
    };

    let weak = try_with(&good, 409).await;
    assert_eq!(weak.code(), "cluster_forbids");
    assert!(weak.text.contains("impersonate serviceaccounts"), "{}", weak.text);
    assert!(weak.text.contains("longshore cluster role"), "{}", weak.text);

    let mut stranger = good.clone();
    stranger["users"][0]["user"]["token"] = "nobody's".into();
    assert_eq!(try_with(&stranger, 503).await.code(), "cluster_refused");
    let mut gone = good.clone();
    gone["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    assert_eq!(try_with(&gone, 503).await.code(), "cluster_unreachable");
    let mut other = good.clone();
    other["clusters"][0]["cluster"]["tls-server-name"] = "example.org".into();
    assert_eq!(try_with(&other, 503).await.code(), "cluster_unreachable");
    for (place, value) in [
        (
            "/users/0/user",
            json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh"}}),
        ),
        ("/users/0/user", json!({"tokenFile": "/etc/hostname"})),
        ("/users/0/user", json!({"client-certificate": "/etc/hostname", "client-key": "/etc/hostname"})),
        ("/clusters/0/cluster/certificate-authority", json!("/etc/hostname")),
        ("/clusters/0/cluster/insecure-skip-tls-verify", json!(true)),
    ] {
        let mut bad = good.clone();
        bad["clusters"][0]["cluster"]["certificate-authority"] = Value::Null;
        bad["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = Value::Null;
        *bad.pointer_mut(place).unwrap() = value;
        try_with(&bad, 422).await;
    }
    let clusters = admin.get("/api/v1/clusters").await.expect(200).json();
    assert_eq!(clusters["total"], 0);
    server.stop().await;
}

#[tokio::test]
async fn the_role_keeps_longshore_itself_out_of_namespaces_that_are_not_its_own() {
    let Some(cluster) = cluster() else { return };
    cluster.apply(server::clients::kube::role::ROLE);
    let own = "--as=system:serviceaccount:longshore-system:longshore";
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: longshore}\n";
    let foreign = "apiVersion: v1\nkind: Namespace\nmetadata: {name: taken-by-longshore}\n";

    // The policy takes a moment to be in force.
    let refusal = eventually("the cluster keeps us out of kube-system", 20, || async {
        let arguments = ["-n", "kube-system", "apply", "--server-side", "--dry-run=server", own, "-f", "-"];
        cluster.try_kubectl(&arguments, account).err()
    });
    assert!(refusal.await.contains("namespaces of its own"));
    let arguments = ["create", "--dry-run=server", own, "-f", "-"];
    assert!(cluster.try_kubectl(&arguments, foreign).unwrap_err().contains("namespaces of its own"));
    let arguments = ["delete", "namespace", "longshore-system", "--dry-run=server", own];
    assert!(cluster.try_kubectl(&arguments, "").unwrap_err().contains("namespaces of its own"));
    for arguments in [
        &["-n", "kube-system", "get", "secrets", own][..],
        &["-n", "kube-system", "get", "configmaps", own],
        &["-n", "kube-system", "create", "configmap", "x", own],
        &["create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=x", own],
    ] {
        assert!(cluster.try_kubectl(arguments, "").is_err(), "{arguments:?}");
    }
    // An administrator could.
    cluster
        .try_kubectl(&["-n", "kube-system", "apply", "--server-side", "--dry-run=server", "-f", "-"], account)
        .unwrap();
    cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], foreign).unwrap();
}

async fn state(api: &Api) -> Value {
    api.get("/api/v1/clusters/lab").await.expect(200).json()["state"].clone()
}

#[tokio::test]
async fn a_cluster_that_went_is_said_to_be_unreachable_and_found_again() {
    let Some(cluster) = cluster() else { return };
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let mut cable = Cable::to(&cluster).await;
    let kubeconfig = cable.through(cluster.least_kubeconfig());
    let body = json!({"name": "lab", "kubeconfig": kubeconfig.to_string()});
    admin.post("/api/v1/clusters", body).await.expect(201);

    cable.cut();

    eventually("it is unreachable", 40, || async { (state(&admin).await == "unreachable").then_some(()) })
        .await;
    assert_eq!(admin.get("/api/v1/nodes").await.expect(503).code(), "cluster_unreachable");
    cable.mend().await;
    eventually("it is found again", 40, || async { (state(&admin).await == "ready").then_some(()) }).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_keeps_nobody_waiting_and_loses_nothing() {
    let Some(cluster) = cluster() else { return };
    let server = TestServer::without_engine(&[]).await;
    let (admin, name) = (server.admin().await, unique("henry"));
    let henry = server.account(&name).await;
    let mut cable = Cable::to(&cluster).await;
    let kubeconfig = cable.through(cluster.least_kubeconfig());
    admin
        .post("/api/v1/clusters", json!({"name": "lab", "kubeconfig": kubeconfig.to_string()}))
        .await
        .expect(201);
    henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201);
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{a: b}}, ports: [{{port: 80}}]}}\n"
        )
    };
    let files = [service("one"), service("two"), service("three")].join("---\n");
    henry.post("/api/v1/workloads", json!({"manifest": files})).await.expect(200);
    let all_are = async |wanted: &str| {
        let rows = henry.get("/api/v1/workloads").await.expect(200).json();
        let rows = rows["data"].as_array().unwrap().clone();
        (rows.len() == 3 && rows.iter().all(|row| row["state"] == wanted)).then_some(rows)
    };
    eventually("all are ready", 40, || all_are("ready")).await;

    cable.hang().await;

    eventually("it is unreachable", 60, || async { (state(&admin).await == "unreachable").then_some(()) })
        .await;
    let unknown = eventually("nothing is said that is not known", 40, || all_are("unknown")).await;
    assert!(unknown[0]["message"].as_str().unwrap().contains("does not answer"), "{}", unknown[0]);
    henry.get("/api/v1/namespaces/test/pods").await.expect(503);
    assert_eq!(henry.get("/api/v1/namespaces/test").await.expect(200).json()["state"], "ready");
    // Somebody deletes one meanwhile, and another one is changed: it is seen when the cluster is back.
    let full = format!("{name}-test");
    cluster.kubectl(&["-n", &full, "delete", "service", "one"]);
    cable.mend().await;
    eventually("it is seen what happened meanwhile", 60, || async {
        let rows = henry.get("/api/v1/workloads").await.expect(200).json();
        let state = |name: &str| {
            let rows = rows["data"].as_array()?;
            Some(rows.iter().find(|row| row["name"] == name)?["state"].as_str()?.to_owned())
        };
        (state("one")? == "missing" && state("two")? == "ready").then_some(())
    })
    .await;
    henry.delete("/api/v1/namespaces/test").await;
    server.stop().await;
}
