//! Kubernetes clusters: added with the least rights, looked at, and lost from sight.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::{Cable, cluster};
use crate::support::eventually;
use crate::support::meddler::Meddler;
use crate::support::room::Room;
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
    let mut cable = Cable::to(&cluster).await;
    let room = Room::by_way_of(cluster.clone(), &cable.through(cluster.least_kubeconfig())).await;
    let (admin, henry) = (room.server.admin().await, &room.henry);
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
    assert!(unknown[0]["message"].as_str().unwrap().contains("has not answered since 2"), "{}", unknown[0]);
    henry.get("/api/v1/namespaces/test/pods").await.expect(503);
    assert_eq!(henry.get("/api/v1/namespaces/test").await.expect(200).json()["state"], "ready");
    // Somebody deletes one meanwhile, and another one is changed: it is seen when the cluster is back.
    let full = &room.namespace;
    cluster.kubectl(&["-n", full, "delete", "service", "one"]);
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
    room.close().await;
}

/// A service of a name.
fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{a: b}}, ports: [{{port: 80}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_too_old_is_begun_anew_and_nothing_is_lost() {
    let Some(cluster) = cluster() else { return };
    let meddler = Meddler::before(&cluster).await;
    let room = Room::by_way_of(cluster.clone(), &meddler.through(cluster.least_kubeconfig())).await;
    let henry = &room.henry;
    let full = &room.namespace;
    let files = ["one", "two", "three"].map(service).join("---\n");
    henry.post("/api/v1/workloads", json!({"manifest": files})).await.expect(200);
    let states = async || {
        let rows = henry.get("/api/v1/workloads").await.expect(200).json();
        ["one", "two", "three"].map(|name| {
            let row = rows["data"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
            (
                row["state"].as_str().unwrap().to_owned(),
                row["message"].as_str().unwrap_or_default().to_owned(),
            )
        })
    };
    let lists = || meddler.asked("GET /api/v1/services?limit");
    eventually("services are watched", 40, || async {
        (meddler.asked("GET /api/v1/services?watch") > 0).then_some(())
    })
    .await;
    eventually("all are ready", 40, || async {
        states().await.iter().all(|(state, _)| state == "ready").then_some(())
    })
    .await;

    meddler.hold("/api/v1/services");
    cluster.kubectl(&["-n", full, "delete", "service", "one"]);
    cluster.kubectl(&["-n", full, "label", "service", "two", "longshore.io/workload-"]);
    assert_eq!(states().await[0].0, "ready", "nobody has told it");
    let listed = lists();
    meddler.expire();

    eventually("what happened meanwhile is seen, and never anything that is not known", 40, || async {
        let seen = states().await;
        assert!(seen.iter().all(|(state, _)| state != "unknown"), "{seen:?}");
        let is_seen = seen[0].0 == "missing" && seen[1].1.contains("label") && seen[2].0 == "ready";
        (is_seen && meddler.has_refused() && lists() >= listed + 2).then_some(())
    })
    .await;
    let listed = lists();
    cluster.kubectl(&["-n", full, "delete", "service", "three"]);
    eventually("the new watch goes on", 40, || async { (states().await[2].0 == "missing").then_some(()) })
        .await;
    assert_eq!(lists(), listed, "it was told, and did not ask");

    // One that is slow is waited for by those who change something, and not asked by those who look.
    let one = json!({"manifest": service("one")});
    henry.post("/api/v1/workloads", one.clone()).await.expect(200);
    eventually("it is known again", 40, || async { (states().await[0].0 == "ready").then_some(()) }).await;
    meddler.slow_down(Duration::from_secs(2));
    henry.post("/api/v1/workloads", one).await.expect(200);
    let asked = meddler.asked(&format!("GET /api/v1/namespaces/{full}/services/one"));
    assert_eq!(states().await[0].0, "ready");
    assert_eq!(meddler.asked(&format!("GET /api/v1/namespaces/{full}/services/one")), asked);
    meddler.slow_down(Duration::ZERO);

    // One that is upgraded while it answers is known by its new version when it is looked at next.
    meddler.change("/version", |status, mut body| {
        body["gitVersion"] = "v1.99.0".into();
        (status, body)
    });
    let admin = room.server.admin().await;
    let kubeconfig = meddler.through(cluster.least_kubeconfig()).to_string();
    let renewed = admin.patch("/api/v1/clusters/lab", json!({"kubeconfig": kubeconfig})).await.expect(200);
    assert_eq!(renewed.json()["version"], "v1.99.0", "{}", renewed.text);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lost_its_store_is_not_taken_for_an_empty_one() {
    let Some(cluster) = cluster() else { return };
    let meddler = Meddler::before(&cluster).await;
    let room = Room::by_way_of(cluster.clone(), &meddler.through(cluster.least_kubeconfig())).await;
    let henry = &room.henry;
    let file = ["one", "two"].map(service).join("---\n");
    henry.post("/api/v1/workloads", json!({"manifest": file})).await.expect(200);
    let all_are = async |wanted: &str| {
        let rows = henry.get("/api/v1/workloads").await.expect(200).json()["data"].clone();
        let rows = rows.as_array().unwrap().clone();
        (rows.len() == 2 && rows.iter().all(|row| row["state"] == wanted)).then_some(rows)
    };
    eventually("all are ready", 40, || all_are("ready")).await;

    meddler.lose_the_store(true);

    let unknown = eventually("nothing is said that is not known", 40, || all_are("unknown")).await;
    assert!(unknown[0]["message"].as_str().unwrap().contains("etcdserver"), "{}", unknown[0]);
    let refused = henry.post("/api/v1/workloads", json!({"manifest": service("three")})).await.expect(503);
    assert!(refused.text.contains("etcdserver"), "{}", refused.text);
    eventually("nothing is said of pods", 40, || async {
        (henry.get("/api/v1/namespaces/test/pods").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(henry.get("/api/v1/namespaces/test").await.expect(200).json()["state"], "ready");
    // A namespace that is wished for meanwhile is made when it can be.
    let wish = henry.post("/api/v1/namespaces", json!({"name": "later"})).await;
    assert!([201, 202].contains(&wish.status), "{}", wish.text);
    meddler.lose_the_store(false);
    eventually("all are ready again", 60, || all_are("ready")).await;
    eventually("the wish is fulfilled", 60, || async {
        let later = henry.get("/api/v1/namespaces/later").await.expect(200).json();
        (later["state"] == "ready").then_some(())
    })
    .await;
    henry.delete("/api/v1/namespaces/later").await;
    let full = &room.namespace;
    for service in ["one", "two"] {
        assert!(cluster.object(&["-n", full, "service", service]).is_some(), "`{service}` is there");
    }
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_get_no_kubeconfig_where_the_cluster_does_not_hold_them_to_the_rules() {
    let Some(cluster) = cluster() else { return };
    let meddler = Meddler::before(&cluster).await;
    let room = Room::by_way_of(cluster.clone(), &meddler.through(cluster.least_kubeconfig())).await;
    let henry = &room.henry;
    let ask =
        async |status: u16| henry.post("/api/v1/namespaces/test/kubeconfig", json!({})).await.expect(status);
    let binding = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/longshore-tenant";
    let said = |code: u16, reason: &str| json!({"kind": "Status", "code": code, "reason": reason, "message": reason});
    let tokens = || {
        meddler.asked(&format!("POST /api/v1/namespaces/{}/serviceaccounts/longshore/token", room.namespace))
    };

    let missing = said(404, "NotFound");
    meddler.change(binding, move |_, _| (404, missing.clone()));
    let refused = ask(409).await;
    assert_eq!(refused.code(), "no_tenant_policy");
    assert!(refused.text.contains("longshore cluster role"), "{}", refused.text);
    let hidden = said(403, "Forbidden");
    meddler.change(binding, move |_, _| (403, hidden.clone()));
    assert_eq!(ask(409).await.code(), "no_tenant_policy");
    // One that only notes what it sees holds nobody.
    meddler.change(binding, |status, mut body| {
        body["spec"]["validationActions"] = json!(["Audit"]);
        (status, body)
    });
    assert_eq!(ask(409).await.code(), "no_tenant_policy");
    assert_eq!(tokens(), 0, "none of them came to a token");
    meddler.change_nothing();
    let made = ask(201).await.json();
    assert!(made["kubeconfig"].as_str().unwrap().contains("\"token\""), "{made}");
    assert_eq!(tokens(), 1);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_has_just_begun_is_away_and_forbids_nothing() {
    let Some(cluster) = cluster() else { return };
    let meddler = Meddler::before(&cluster).await;
    let room = Room::by_way_of(cluster.clone(), &meddler.through(cluster.least_kubeconfig())).await;
    let try_out = async || {
        let body = json!({"manifest": service("one"), "namespace": "test", "dry_run": true});
        room.henry.post("/api/v1/workloads", body).await
    };
    try_out().await.expect(200);

    meddler.begin_anew(true);
    let refused = try_out().await.expect(503);
    assert_eq!(refused.code(), "cluster_unreachable");
    meddler.begin_anew(false);
    eventually("it has begun", 40, || async { (try_out().await.status == 200).then_some(()) }).await;

    // It was not ready when it was asked for something, and is when it is asked whether it is.
    meddler.forbid_once();
    try_out().await.expect(200);
    assert!(meddler.has_forbidden());
    room.close().await;
}
