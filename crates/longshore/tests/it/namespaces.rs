//! Namespaces in a real cluster: made with their walls, kept as they should be, taken away; and nothing that is not ours.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::{Cluster, cluster, unique};
use crate::support::server::TestServer;
use crate::support::{Wait, eventually};

/// A server with the cluster, its admin, and an account of its own.
async fn start() -> Option<(Cluster, TestServer, Api, Api, String)> {
    let cluster = cluster()?;
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    cluster.add_to(&admin).await;
    let name = unique("henry");
    let henry = server.account(&name).await;
    Some((cluster, server, admin, henry, name))
}

#[tokio::test]
async fn a_namespace_is_made_with_all_of_its_walls_and_deleted_with_all_that_is_in_it() {
    let Some((cluster, server, _, henry, name)) = start().await else { return };
    let full = format!("{name}-test");

    let made = henry
        .post("/deploy/create_namespace", json!({"username": name, "namespace": "test"}))
        .await
        .expect(200)
        .json();

    assert_eq!(
        (made["namespace"].as_str(), made["status"].as_str()),
        (Some(full.as_str()), Some("ready")),
        "{made}"
    );
    let object = cluster.object(&["namespace", &full]).unwrap();
    let labels = &object["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/managed-by"], "longshore");
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
    let there = |kind: &str, name: &str| {
        cluster.object(&["-n", &full, kind, name]).unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    assert_eq!(there("resourcequota", "longshore")["spec"]["hard"]["services.loadbalancers"], "0");
    assert_eq!(there("limitrange", "longshore")["spec"]["limits"][0]["default"]["cpu"], "500m");
    assert_eq!(there("networkpolicy", "longshore")["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(there("serviceaccount", "default")["automountServiceAccountToken"], false);
    assert_eq!(there("secret", "longshore-pull")["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(there("rolebinding", "longshore")["roleRef"]["name"], "longshore-tenant");

    let again = henry.post("/deploy/create_namespace", json!({"namespace": "test"})).await.expect(409);
    assert_eq!(again.code(), "exists");
    let listed =
        henry.get(&format!("/deploy/list_all_my_namespace?username={name}")).await.expect(200).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["namespace"], full.as_str());
    let nodes = henry.get("/deploy/list_all_nodes").await.expect(200).json();
    assert_eq!(nodes[0]["status"], "Ready", "{nodes}");
    assert_eq!(henry.get("/deploy/list_all_nodes?limit=0").await.expect(200).json(), json!([]));
    cluster.kubectl(&["-n", &full, "create", "deployment", "left", "--image=nowhere.invalid/x:1"]);
    let deleted =
        henry.post("/deploy/delete_namespace", json!({"username": name, "namespace": "test"})).await;
    assert!([200, 202].contains(&deleted.status), "{}", deleted.text);
    eventually("the namespace is gone", 60, || async {
        cluster.object(&["namespace", &full]).is_none().then_some(())
    })
    .await;
    eventually("its row is gone", 30, || async {
        (henry.get("/deploy/list_all_my_namespace").await.json() == json!([])).then_some(())
    })
    .await;
    henry.post("/deploy/delete_namespace", json!({"namespace": "test"})).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn what_keeps_a_namespace_from_going_is_said() {
    let Some((cluster, server, _, henry, name)) = start().await else { return };
    henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201);
    let full = format!("{name}-test");
    // Somebody in the cluster holds on to something in it.
    let hold = |by: Value| {
        let change = json!({"metadata": {"finalizers": by}}).to_string();
        cluster.kubectl(&["-n", &full, "patch", "configmap", "held", "--type=merge", "-p", &change]);
    };
    cluster.kubectl(&["-n", &full, "create", "configmap", "held"]);
    hold(json!(["example.org/hold"]));

    henry.delete("/api/v1/namespaces/test").await;

    let wait = Wait::new("it is said what it waits for");
    eventually(&wait, 60, || async {
        let found = henry.get("/api/v1/namespaces/test").await.expect(200).json();
        wait.saw(&found);
        let says = |word: &str| found["message"].as_str().is_some_and(|message| message.contains(word));
        (found["state"] == "deleting" && says("the cluster waits") && says("example.org/hold")).then_some(())
    })
    .await;
    hold(json!([]));
    eventually("it is gone", 60, || async {
        let is_gone = henry.get("/api/v1/namespaces/test").await.status == 404;
        (is_gone && cluster.object(&["namespace", &full]).is_none()).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_in_the_cluster_without_our_labels_is_never_taken_over_or_deleted() {
    let Some((cluster, server, admin, henry, name)) = start().await else { return };
    let full = format!("{name}-taken");
    cluster.kubectl(&["create", "namespace", &full]);
    let before = cluster.object(&["namespace", &full]).unwrap();
    let system = cluster.object(&["namespace", "kube-system"]).unwrap();

    let refused = henry.post("/deploy/create_namespace", json!({"namespace": "taken"})).await.expect(409);

    assert!(refused.text.contains("is not Longshore's"), "{}", refused.text);
    assert_eq!(henry.get("/deploy/list_all_my_namespace").await.expect(200).json(), json!([]));
    for foreign in ["kube-system", "default", "taken", &full] {
        henry.post("/deploy/delete_namespace", json!({"namespace": foreign})).await.expect(404);
        henry.delete(&format!("/api/v1/namespaces/{foreign}")).await.expect(404);
        admin.delete(&format!("/api/v1/namespaces/{foreign}")).await.expect(404);
    }
    // Labels that somebody copied from elsewhere name another row.
    let labels = [
        "longshore.io/namespace=0195b1a0-0000-7000-8000-000000000000",
        "app.kubernetes.io/managed-by=longshore",
    ];
    cluster.kubectl(&["label", "namespace", &full, labels[0], labels[1]]);
    henry.post("/deploy/create_namespace", json!({"namespace": "taken"})).await.expect(409);
    let after = cluster.object(&["namespace", &full]).unwrap();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert!(after["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].is_null(), "{after}");
    assert_eq!(
        cluster.object(&["namespace", "kube-system"]).unwrap()["metadata"]["resourceVersion"],
        system["metadata"]["resourceVersion"]
    );
    cluster.kubectl(&["delete", "namespace", &full, "--wait=false"]);
    server.stop().await;
}

#[tokio::test]
async fn nobody_reaches_anothers_namespace_by_any_name() {
    let Some((_cluster, server, admin, henry, name)) = start().await else { return };
    let mallory = server.account(&unique("mallory")).await;
    let made = henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201).json();
    let id = made["id"].as_str().unwrap();
    let short = "test";
    let full = made["name"].as_str().unwrap();

    for named in [id, full, short] {
        mallory.get(&format!("/api/v1/namespaces/{named}")).await.expect(404);
        for part in ["quota", "events"] {
            mallory.get(&format!("/api/v1/namespaces/{named}/{part}")).await.expect(404);
        }
        mallory.delete(&format!("/api/v1/namespaces/{named}")).await.expect(404);
        mallory.post("/deploy/delete_namespace", json!({"namespace": named})).await.expect(404);
        let as_henry = json!({"username": name, "namespace": named});
        mallory.post("/deploy/delete_namespace", as_henry.clone()).await.expect(403);
        mallory.post("/deploy/create_namespace", as_henry).await.expect(403);
    }
    mallory.get(&format!("/deploy/list_all_my_namespace?username={name}")).await.expect(403);
    mallory.get("/api/v1/namespaces?all=true").await.expect(403);
    assert_eq!(mallory.get("/api/v1/namespaces").await.expect(200).json()["total"], 0);
    henry.get(&format!("/api/v1/namespaces/{full}")).await.expect(200);
    let quota = henry.get(&format!("/api/v1/namespaces/{full}/quota")).await.expect(200).json();
    let pods = quota.as_array().unwrap().iter().find(|row| row["resource"] == "pods");
    assert!(pods.is_some_and(|row| row["limit"].as_str().is_some_and(|limit| limit != "0")), "{quota}");
    admin.get(&format!("/api/v1/namespaces/{id}")).await.expect(200);
    let acted = admin.get(&format!("/deploy/list_all_my_namespace?username={name}")).await.expect(200).json();
    assert_eq!(acted[0]["namespace"], full);
    // By the short name, which only means something with the account; and in the admin's own name.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";
    let service = json!({"username": name, "namespace": short, "file": service});
    admin.post("/deploy/create_service", service).await.expect(200);
    let gone = json!({"username": name, "namespace": short, "service": "web"});
    admin.post("/deploy/delete_service", gone).await.expect(200);
    admin.post("/deploy/delete_namespace", json!({"username": name, "namespace": short})).await;
    let audit = admin.get("/api/v1/audit").await.expect(200).json();
    for (row, action) in audit["data"].as_array().unwrap().iter().zip(["namespace.delete", "workload.delete"])
    {
        assert_eq!(
            (&row["action"], &row["actor"], &row["acting_for"]),
            (&json!(action), &json!("admin"), &json!(name)),
            "{row}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn names_that_would_be_cut_or_mean_something_else_are_refused() {
    let Some((_cluster, server, _, henry, _)) = start().await else { return };
    let long = "a".repeat(60);

    for name in [long.as_str(), "", "-a", "a-", "A", "a.b", "a_b", "../x", "a/b", "ä", "a b"] {
        let answer = henry.post("/api/v1/namespaces", json!({"name": name})).await.expect(422);
        assert!(answer.json()["detail"].is_string(), "{}", answer.text);
        henry.post("/deploy/create_namespace", json!({"namespace": name})).await.expect(422);
    }
    let answer =
        henry.post("/api/v1/namespaces", json!({"name": "a", "cluster": "nowhere"})).await.expect(422);
    assert!(answer.text.contains("nowhere"), "{}", answer.text);
    server.stop().await;
}

#[tokio::test]
async fn what_somebody_changed_in_the_walls_is_put_right() {
    let Some((cluster, server, _, henry, _)) = start().await else { return };
    let made = henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201).json();
    let full = made["name"].as_str().unwrap().to_owned();
    let is_right = |object: &Value| object["spec"]["hard"]["services.loadbalancers"] == "0";

    cluster.kubectl(&[
        "label",
        "namespace",
        &full,
        "--overwrite",
        "pod-security.kubernetes.io/enforce=privileged",
    ]);
    cluster.kubectl(&["-n", &full, "delete", "networkpolicy", "longshore"]);
    cluster.kubectl(&["-n", &full, "delete", "secret", "longshore-pull"]);
    let open = r#"{"spec":{"hard":{"services.loadbalancers":"9"}}}"#;
    cluster.kubectl(&["-n", &full, "patch", "resourcequota", "longshore", "--type=merge", "-p", open]);
    let server = server.restart().await;

    eventually("all of it is as it was", 30, || async {
        let namespace = cluster.object(&["namespace", &full])?;
        let is_closed = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline";
        let quota = cluster.object(&["-n", &full, "resourcequota", "longshore"])?;
        cluster.object(&["-n", &full, "networkpolicy", "longshore"])?;
        cluster.object(&["-n", &full, "secret", "longshore-pull"])?;
        (is_closed && is_right(&quota)).then_some(())
    })
    .await;
    let henry = server
        .login(made["account"].as_str().unwrap(), &format!("{} password", made["account"].as_str().unwrap()))
        .await;
    henry.delete(&format!("/api/v1/namespaces/{full}")).await;
    server.stop().await;
}

#[tokio::test]
async fn the_secret_by_which_pods_pull_is_renewed_before_it_ends_and_opens_ones_own_images_alone() {
    let Some((cluster, server, _, henry, name)) = start().await else { return };
    let made = henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201).json();
    let full = made["name"].as_str().unwrap().to_owned();
    let secret = || {
        let secret = cluster.object(&["-n", &full, "secret", "longshore-pull"])?;
        Some(secret["data"][".dockerconfigjson"].as_str()?.to_owned())
    };
    let first = secret().unwrap();
    let id = made["id"].as_str().unwrap().parse().unwrap();

    store::namespaces::set_pull_secret_until(&server.app.db, id, server.app.now()).await.unwrap();
    let server = server.restart().await;

    let renewed =
        eventually("it is another one", 30, || async { secret().filter(|now| *now != first) }).await;
    let base64 = &base64::engine::general_purpose::STANDARD;
    let config: Value = serde_json::from_slice(&base64.decode(renewed).unwrap()).unwrap();
    let (_, login) = config["auths"].as_object().unwrap().iter().next().unwrap();
    let login = base64.decode(login["auth"].as_str().unwrap()).unwrap();
    let login = String::from_utf8(login).unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let own = format!("repository:{name}/app:pull,push");
    let answer = server.ask_token(Some((user, password)), &[&own, "repository:mallory/app:pull"]).await;
    let token = answer.expect(200).json();
    let access = TestServer::access_in(token["token"].as_str().unwrap());
    assert_eq!(access, json!([{"type": "repository", "name": format!("{name}/app"), "actions": ["pull"]}]));
    let henry = server.login(&name, &format!("{name} password")).await;
    henry.delete(&format!("/api/v1/namespaces/{full}")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_wish_that_a_killed_server_left_is_fulfilled_by_the_next() {
    let Some((cluster, server, _, _, name)) = start().await else { return };
    let db = &server.app.db;
    let account = store::accounts::by_name(db, &name.parse().unwrap()).await.unwrap().unwrap().id;
    let on = store::clusters::default_one(db).await.unwrap().unwrap();
    let full = format!("{name}-left");
    let wish = store::namespaces::New {
        id: wire::ids::NamespaceId(uuid::Uuid::now_v7()),
        cluster_id: on.id,
        account_id: account,
        name: &full.parse().unwrap(),
        short_name: &"left".parse().unwrap(),
        created_at: server.app.now(),
    };
    store::namespaces::insert(db, &wish).await.unwrap();

    let server = server.restart().await;
    let henry = server.login(&name, &format!("{name} password")).await;

    eventually("it is made", 30, || async {
        let found = henry.get("/api/v1/namespaces/left").await.expect(200).json();
        (found["state"] == "ready").then_some(())
    })
    .await;
    assert!(cluster.object(&["-n", &full, "networkpolicy", "longshore"]).is_some());
    store::namespaces::set_state(
        &server.app.db,
        wish.id,
        wire::namespaces::NamespaceState::Deleting,
        None,
        server.app.now(),
    )
    .await
    .unwrap();
    let server = server.restart().await;
    eventually("it is gone", 60, || async { cluster.object(&["namespace", &full]).is_none().then_some(()) })
        .await;
    server.stop().await;
}
