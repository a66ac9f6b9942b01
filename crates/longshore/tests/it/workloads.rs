//! Workloads on a real cluster: from a zip to a page that answers, and everything that is tried to get further than that.

use futures::future::join_all;
use serde_json::json;

use crate::support::cluster::{Cable, unique};
use crate::support::eventually;
use crate::support::room::{POD_SECS, Room, SERVICE, deployment, page, send};
use crate::support::socket::{Socket, Terminal};

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_from_a_zip_to_a_page_a_new_version_and_back() {
    let Some(room) = Room::whole().await else { return };
    let (henry, name) = (&room.henry, room.name.as_str());
    room.upload("v1", "the first page").await;

    let made =
        send(henry, "/deploy/create_deployment", &[("username", name)], "web.yaml", &room.deployment("v1"))
            .await;
    let made = made.expect(200).json();

    assert_eq!(made["namespace"], room.namespace.as_str());
    assert_eq!(
        (made["name"].as_str(), made["kind"].as_str(), made["file"].as_str()),
        (Some("web"), Some("Deployment"), Some("web.yaml"))
    );
    assert_eq!(
        (made["revision"].as_u64(), made["replicas"].as_u64(), made["status"].as_str()),
        (Some(1), Some(1), Some("created"))
    );
    assert!(made["uid"].is_string() && made["warnings"].is_array());
    assert!(made["images"][0].as_str().unwrap().contains(&format!("/{name}/app:v1@sha256:")), "{made}");
    // What was answered can be written into the file again; what nobody has cannot.
    let image = made["images"][0].as_str().unwrap();
    for (image, status) in [
        (image.to_owned(), 200),
        (format!("{}/{name}/app:v1", room.server.registry), 200),
        (format!("{}@sha256:{}", image.split('@').next().unwrap(), "0".repeat(64)), 422),
        (image.replace(&format!("/{name}/"), "/nobody/"), 422),
    ] {
        let body = json!({"manifest": deployment(&image, ""), "dry_run": true});
        let tried = henry.post("/api/v1/workloads", body).await;
        assert_eq!(tried.status, status, "{image}: {}", tried.text);
    }
    let kept = room.server.data_dir().join("manifests").join(name).join("web.yaml");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), room.deployment("v1"));
    room.rolled_out().await;
    let service = send(
        henry,
        "/deploy/create_service",
        &[("username", name), ("namespace", "test")],
        "service.yaml",
        SERVICE,
    )
    .await;
    assert_eq!(service.expect(200).json()["kind"], "Service");
    let object = room.cluster.object(&["-n", &room.namespace, "service", "web"]).unwrap();
    let url =
        format!("http://10.240.{}.1:{}/", room.cluster.number(), object["spec"]["ports"][0]["nodePort"]);
    eventually("the page answers", POD_SECS, || async {
        (page(&url).await? == "the first page").then_some(())
    })
    .await;

    // The same for whoever has no way to the nodes.
    assert_eq!(henry.get("/app/test/web/80/").await.expect(200).text, "the first page");

    room.upload("v2", "the second page").await;
    let pods = henry
        .get(&format!("/deploy/list_all_pods?username={name}&namespace={}", room.namespace))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (pods[0]["status"].as_str(), pods[0]["ready"].as_str()),
        (Some("Running"), Some("1/1")),
        "{pods}"
    );
    let beyond = henry.get("/deploy/list_all_developments?namespace=test&limit=5&offset=1").await;
    assert_eq!(beyond.expect(200).json(), json!([]));
    henry.get("/deploy/list_all_pods?namespace=test&limit=x").await.expect(422);
    let updated =
        send(henry, "/deploy/update_deployment", &[("username", name)], "web.yaml", &room.deployment("v2"))
            .await;
    assert_eq!(updated.expect(200).json()["revision"], 2);
    eventually("the new page answers", POD_SECS, || async {
        (page(&url).await? == "the second page").then_some(())
    })
    .await;
    room.rolled_out().await;
    let workloads = henry.get("/api/v1/workloads").await.expect(200).json();
    let web = workloads["data"].as_array().unwrap().iter().find(|row| row["kind"] == "Deployment").unwrap();
    let id = web["id"].as_str().unwrap();
    assert_eq!(web["state"], "ready", "{web}");
    let back = henry.post(&format!("/api/v1/workloads/{id}/rollback"), json!({})).await.expect(200).json();
    assert_eq!(back["revision"], 3);
    eventually("the first page answers again", POD_SECS, || async {
        (page(&url).await? == "the first page").then_some(())
    })
    .await;
    let revisions = henry.get(&format!("/api/v1/workloads/{id}/revisions")).await.expect(200).json();
    assert_eq!(revisions.as_array().unwrap().len(), 3);
    let scaled =
        henry.post(&format!("/api/v1/workloads/{id}/scale"), json!({"replicas": 2})).await.expect(200).json();
    assert_eq!(scaled["replicas"]["desired"], 2, "{scaled}");
    henry.post(&format!("/api/v1/workloads/{id}/restart"), json!({})).await.expect(200);
    let pod = room.rolled_out().await;
    assert_eq!(pod["ready_replicas"], 2);

    let pods = henry.get("/api/v1/namespaces/test/pods").await.expect(200).json();
    let log = format!("/api/v1/namespaces/test/pods/{}/log", pods[0]["name"].as_str().unwrap());
    assert_eq!(henry.get(&log).await.expect(200).headers["content-type"], "text/plain; charset=utf-8");
    let gone = henry
        .post("/deploy/delete_service", json!({"username": name, "namespace": "test", "service": "web"}))
        .await;
    assert_eq!(gone.expect(200).json()["deleted"], true);
    let gone = henry
        .post(
            "/deploy/delete_deployment",
            json!({"username": name, "namespace": room.namespace, "deployment": "web"}),
        )
        .await;
    assert_eq!(gone.expect(200).json()["deleted"], true);
    eventually("nothing is left", POD_SECS, || async {
        let pods = henry.get("/deploy/list_all_pods?namespace=test").await.expect(200).json();
        (pods == json!([])).then_some(())
    })
    .await;
    eventually("nothing answers there", 20, || async { page(&url).await.is_none().then_some(()) }).await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_in_a_pod_is_like_one_in_a_container() {
    let Some(room) = Room::whole().await else { return };
    room.upload("v1", "a page").await;
    send(&room.henry, "/deploy/create_deployment", &[], "web.yaml", &room.deployment("v1")).await.expect(200);
    room.rolled_out().await;
    let pods = room.henry.get("/api/v1/namespaces/test/pods").await.expect(200).json();
    let pod = pods[0]["name"].as_str().unwrap();

    let mut plain = Terminal::in_pod(&room.henry, "test", pod, "tty=false&input=false&command=/bin/busybox&command=sh&command=-c&command=echo%20out;echo%20err%20%3E%262;exit%203").await;
    let ended = plain.ended().await;
    assert_eq!((ended["reason"].as_str(), ended["exit_code"].as_i64()), (Some("exited"), Some(3)), "{ended}");
    assert_eq!((plain.out.as_slice(), plain.err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    let mut shell = Terminal::in_pod(
        &room.henry,
        &room.namespace,
        pod,
        "columns=100&rows=30&command=/bin/busybox&command=sh",
    )
    .await;
    shell.write("/bin/busybox stty size; exit 7\n").await;
    shell.shows("30 100").await;
    assert_eq!(shell.ended().await["exit_code"], 7);
    let path = "/api/v1/namespaces/test/pods/nowhere/terminal?command=/bin/busybox";
    let mut missing = Socket::open(&room.henry, path, &[]).await.ok().unwrap();
    let said = missing.next().await.unwrap().into_text().unwrap();
    assert!(said.contains("failed") && said.contains("nowhere"), "{said}");

    let mallory = room.server.account(&unique("mallory")).await;
    let path = format!("/api/v1/namespaces/{}/pods/{pod}", room.namespace);
    mallory.post(&format!("{path}/terminal-tickets"), json!({})).await.expect(404);
    let refusal = Socket::open(&mallory, &format!("{path}/terminal"), &[]).await.err().unwrap();
    assert_eq!(refusal.status, 404);
    let ticket = room
        .henry
        .post(&format!("{path}/terminal-tickets"), json!({"command": ["/bin/busybox", "true"]}))
        .await
        .expect(201)
        .json();
    let elsewhere = ticket["path"].as_str().unwrap().replace(pod, "another");
    assert_eq!(Socket::open(&mallory.anonymous(), &elsewhere, &[]).await.err().unwrap().status, 404);

    let mut cable = Cable::to(&room.cluster).await;
    let kubeconfig = cable.through(room.cluster.least_kubeconfig()).to_string();
    let admin = room.server.admin().await;
    admin.patch("/api/v1/clusters/test", json!({"kubeconfig": kubeconfig})).await.expect(200);
    let mut shell = Terminal::in_pod(&room.henry, "test", pod, "command=/bin/busybox&command=sh").await;
    shell.write("/bin/busybox expr 40 + 2\n").await;
    shell.shows("42").await;
    cable.cut();
    let ended = shell.ended().await;
    assert_eq!(ended["reason"], "failed", "{ended}");
    assert!(ended["message"].as_str().unwrap().contains("the connection to the cluster broke"), "{ended}");
    cable.mend().await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_two_accounts_do_not_reach_each_other() {
    let Some(room) = Room::whole().await else { return };
    room.upload("v1", "henry's page").await;
    let stranger_name = unique("sue");
    let sue = room.server.account(&stranger_name).await;
    sue.post("/deploy/create_namespace", json!({"namespace": "test"})).await.expect(200);
    let public = format!("{}/app:v1", room.name);
    let theirs = send(&sue, "/deploy/create_deployment", &[], "web.yaml", &deployment(&public, "")).await;
    // Henry's image is none of sue's: it is taken for one of elsewhere, and her pull secret opens nothing of his.
    assert!(!theirs.text.contains("@sha256:"), "{}", theirs.text);
    send(&room.henry, "/deploy/create_deployment", &[], "web.yaml", &room.deployment("v1")).await.expect(200);
    room.rolled_out().await;
    let pods = room.henry.get("/deploy/list_all_pods?namespace=test").await.expect(200).json();
    let (henrys, image) =
        (pods[0]["name"].as_str().unwrap().to_owned(), pods[0]["images"][0].as_str().unwrap().to_owned());
    let address = format!("http://{}:8000/", pods[0]["ip"].as_str().unwrap());
    // The administrator puts a pod into sue's namespace, with the secret that opens henry's image.
    let secret = room.cluster.object(&["-n", &room.namespace, "secret", "longshore-pull"]).unwrap();
    let sues = format!("{stranger_name}-test");
    let copy = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "henrys", "namespace": sues}, "type": secret["type"], "data": secret["data"]});
    room.cluster.apply(&copy.to_string());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": sues},
        "spec": {"imagePullSecrets": [{"name": "henrys"}], "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "client", "image": image, "resources": {"limits": {"cpu": "100m", "memory": "32Mi"}}}]}});
    room.cluster.apply(&pod.to_string());
    eventually("sue's pod runs", POD_SECS, || async {
        let pod = room.cluster.object(&["-n", &sues, "pod", "client"])?;
        (pod["status"]["containerStatuses"][0]["ready"] == true).then_some(())
    })
    .await;
    let reaches = |namespace: &str, pod: &str| {
        let words = [
            "-n",
            namespace,
            "exec",
            pod,
            "--",
            "/bin/busybox",
            "timeout",
            "3",
            "/bin/busybox",
            "wget",
            "-q",
            "-O",
            "-",
            &address,
        ];
        room.cluster.try_kubectl(&words, "").is_ok_and(|page| page == "henry's page")
    };

    assert!(reaches(&room.namespace, &henrys), "in the same namespace it answers");
    assert!(!reaches(&sues, "client"), "from another account's it does not");
    // Without the wall it would: what keeps them apart is the policy.
    let open = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "open"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}});
    for namespace in [&room.namespace, &sues] {
        let mut open = open.clone();
        open["metadata"]["namespace"] = namespace.as_str().into();
        room.cluster.apply(&open.to_string());
    }
    eventually("it answers without the wall", 20, || async { reaches(&sues, "client").then_some(()) }).await;
    sue.post("/deploy/delete_namespace", json!({"namespace": "test"})).await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_workload_does_not_start_is_said_in_plain_words() {
    let Some(room) = Room::small().await else { return };
    let why = async |text: &str, wanted: &str| {
        let applied =
            room.henry.post("/api/v1/workloads", json!({"manifest": text})).await.expect(200).json();
        let name = applied[0]["name"].as_str().unwrap().to_owned();
        eventually(format!("{name} says why"), POD_SECS, || async {
            let rows = room.henry.get("/api/v1/workloads?namespace=test&limit=100").await.expect(200).json();
            let row = rows["data"].as_array()?.iter().find(|row| row["name"] == name.as_str())?.clone();
            row["message"].as_str().filter(|text| text.contains(wanted)).map(str::to_owned)
        })
        .await
    };
    let named = |name: &str, text: String| {
        text.replace("name: web, labels", &format!("name: {name}, labels"))
            .replace("app: web", &format!("app: {name}"))
    };

    let pull = why(&named("pull", deployment("10.241.0.1:1/nobody/nothing:1", "")), "cannot be pulled").await;
    let gpus = deployment("nowhere.invalid/x:1", "")
        .replace("        ports:", "        resources: {limits: {nvidia.com/gpu: 1}}\n        ports:");
    let quota = why(&named("quota", gpus), "quota is used up").await;
    let large = deployment("nowhere.invalid/x:1", "").replace(
        "        ports:",
        "        resources: {requests: {cpu: 7900m, memory: 1Mi}, limits: {cpu: 7900m}}\n        ports:",
    );
    let room_for = why(&named("large", large), "no node has room for it").await;

    assert!(pull.contains("10.241.0.1:1/nobody/nothing:1"), "{pull}");
    assert!(quota.contains("requests.nvidia.com/gpu"), "{quota}");
    assert!(room_for.contains("Insufficient cpu"), "{room_for}");
    // The cluster's own words are there as well.
    let events = room.henry.get("/api/v1/namespaces/test/events").await.expect(200).json();
    let told = |reason: &str| {
        events.as_array().unwrap().iter().any(|it| it["reason"] == reason && it["is_warning"] == true)
    };
    assert!(told("FailedScheduling") && told("FailedCreate"), "{events}");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_anothers_workloads_by_any_route() {
    let Some(room) = Room::small().await else { return };
    let mallory = room.server.account(&unique("mallory")).await;
    mallory.post("/deploy/create_namespace", json!({"namespace": "own"})).await.expect(200);
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {secret: henrys}\n";
    room.henry.post("/api/v1/workloads", json!({"manifest": map})).await.expect(200);
    send(&room.henry, "/deploy/create_service", &[], "s.yaml", SERVICE).await.expect(200);
    let rows = room.henry.get("/api/v1/workloads").await.expect(200).json();
    let id = rows["data"][0]["id"].as_str().unwrap();
    let (full, as_henry) = (room.namespace.as_str(), room.name.as_str());

    for path in [
        format!("/api/v1/workloads/{id}"),
        format!("/api/v1/workloads/{id}/revisions"),
        format!("/api/v1/namespaces/{full}/pods"),
        format!("/api/v1/namespaces/{full}/pods/web/log"),
        format!("/api/v1/workloads?namespace={full}"),
        format!("/deploy/list_all_pods?namespace={full}"),
        format!("/deploy/list_all_developments?namespace={full}"),
    ] {
        mallory.get(&path).await.expect(404);
    }
    for path in ["scale", "restart", "rollback"] {
        mallory.post(&format!("/api/v1/workloads/{id}/{path}"), json!({"replicas": 0})).await;
    }
    mallory.delete(&format!("/api/v1/workloads/{id}")).await.expect(404);
    for (namespace, username, status) in
        [(full, None, 404), ("test", None, 404), (full, Some(as_henry), 403), ("test", Some(as_henry), 403)]
    {
        let mut fields = vec![("namespace", namespace)];
        fields.extend(username.map(|name| ("username", name)));
        send(&mallory, "/deploy/create_service", &fields, "s.yaml", SERVICE).await.expect(status);
        send(&mallory, "/deploy/update_service", &fields, "s.yaml", SERVICE).await.expect(status);
        let mut body = json!({"namespace": namespace, "service": "web"});
        if let Some(name) = username {
            body["username"] = name.into();
        }
        mallory.post("/deploy/delete_service", body).await.expect(status);
    }
    let written =
        SERVICE.replace("metadata: {name: web}", &format!("metadata: {{name: web, namespace: {full}}}"));
    send(&mallory, "/deploy/create_service", &[], "s.yaml", &written).await.expect(422);
    assert!(room.cluster.object(&["-n", full, "service", "web"]).is_some());
    assert_eq!(room.cluster.object(&["-n", full, "configmap", "conf"]).unwrap()["data"]["secret"], "henrys");
    mallory.post("/deploy/delete_namespace", json!({"namespace": "own"})).await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_what_is_there_and_changing_what_is_not_say_so() {
    let Some(room) = Room::small().await else { return };
    let henry = &room.henry;

    let missing = send(henry, "/deploy/update_service", &[], "s.yaml", SERVICE).await.expect(404);
    assert!(missing.text.contains("create it first"), "{}", missing.text);
    let first = send(henry, "/deploy/create_service", &[("namespace", &room.namespace)], "s.yaml", SERVICE)
        .await
        .expect(200)
        .json();
    send(henry, "/deploy/create_service", &[], "s.yaml", SERVICE).await.expect(409);
    let again =
        send(henry, "/deploy/update_service", &[], "s.yaml", &SERVICE.replace("port: 80,", "port: 81,"))
            .await
            .expect(200)
            .json();
    assert_eq!((first["uid"].as_str(), again["revision"].as_u64()), (again["uid"].as_str(), Some(2)));
    // Made in the cluster by somebody else: not ours to create over, and not ours to delete.
    room.cluster.kubectl(&["-n", &room.namespace, "create", "service", "clusterip", "other", "--tcp=80"]);
    send(henry, "/deploy/create_service", &[], "s.yaml", &SERVICE.replace("name: web", "name: other"))
        .await
        .expect(409);
    henry.post("/deploy/delete_service", json!({"namespace": "test", "service": "other"})).await.expect(404);
    // A label that was taken away makes it nobody's.
    room.cluster.kubectl(&["-n", &room.namespace, "label", "service", "web", "longshore.io/workload-"]);
    let drifted = henry
        .post("/deploy/delete_service", json!({"namespace": "test", "service": "web"}))
        .await
        .expect(409);
    assert_eq!(drifted.code(), "not_ours");
    send(henry, "/deploy/update_service", &[], "s.yaml", SERVICE).await.expect(200);
    henry.post("/deploy/delete_service", json!({"namespace": "test", "service": "web"})).await.expect(200);
    henry.post("/deploy/delete_service", json!({"namespace": "test", "service": "web"})).await.expect(404);
    // Where it is not said in which namespace, it must be clear.
    henry.post("/deploy/create_namespace", json!({"namespace": "more"})).await.expect(200);
    let unclear = send(henry, "/deploy/create_service", &[], "s.yaml", SERVICE).await.expect(422);
    assert!(unclear.text.contains(&room.namespace) && unclear.text.contains("-more"), "{}", unclear.text);
    let written = SERVICE.replace("metadata: {name: web}", "metadata: {name: web, namespace: more}");
    send(henry, "/deploy/create_service", &[("namespace", "test")], "s.yaml", &written).await.expect(422);
    assert!(
        send(henry, "/deploy/create_service", &[], "s.yaml", &written)
            .await
            .expect(200)
            .text
            .contains("-more")
    );
    send(henry, "/deploy/create_service", &[("namespace", "test")], "../../etc/passwd", SERVICE)
        .await
        .expect(422);
    let names = send(
        henry,
        "/deploy/create_service",
        &[("namespace", "test")],
        "a.yaml",
        &SERVICE.replace("name: web", "name: longshore"),
    )
    .await;
    names.expect(422);
    henry.post("/deploy/delete_namespace", json!({"namespace": "more"})).await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_ours_that_are_not_there_are_missed_before_the_cluster_is_asked() {
    let Some(room) = Room::small().await else { return };
    let tried = async |image: &str| {
        let manifest = deployment(image, "");
        room.henry.post("/api/v1/workloads", json!({"manifest": manifest, "dry_run": true})).await
    };

    let missing = tried(&format!("{}/nothing:v1", room.name)).await.expect(422);
    assert!(
        missing.json()["violations"][0]["path"].as_str().unwrap().ends_with("containers[0].image"),
        "{}",
        missing.text
    );
    tried("public/nothing:v1").await.expect(422);
    tried(&format!("{}/bob/app:v1", room.server.registry)).await.expect(422);
    tried(&format!("{}/a/b/c:v1", room.server.registry)).await.expect(422);
    let elsewhere = tried("docker.io/library/nginx:1.27").await.expect(200).json();
    assert_eq!(elsewhere[0]["images"], json!(["docker.io/library/nginx:1.27"]), "it is not ours to find");
    assert_eq!((elsewhere[0]["status"].as_str(), elsewhere[0]["revision"].as_u64()), (Some("created"), None));
    assert!(
        room.cluster.object(&["-n", &room.namespace, "deployment", "web"]).is_none(),
        "it was only tried"
    );
    assert_eq!(room.henry.get("/api/v1/workloads").await.expect(200).json()["total"], 0);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_had_stored_is_applied_by_the_next() {
    let Some(room) = Room::small().await else { return };
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {a: b}\n";
    room.henry.post("/api/v1/workloads", json!({"manifest": map})).await.expect(200);
    let rows = room.henry.get("/api/v1/workloads").await.expect(200).json();
    let id: wire::ids::WorkloadId = rows["data"][0]["id"].as_str().unwrap().parse().unwrap();
    // As if the server had died between the commit and the cluster.
    store::workloads::set_unapplied(&room.server.app.db, id).await.unwrap();
    room.cluster.kubectl(&["-n", &room.namespace, "delete", "configmap", "conf"]);
    room.server.app.clock.advance_secs(120);
    let there = || room.cluster.object(&["-n", &room.namespace, "configmap", "conf"]);

    eventually("it is applied again", 60, || async { there().map(drop) }).await;
    store::workloads::set_deleted(&room.server.app.db, id).await.unwrap();
    eventually("it is taken away", 60, || async { there().is_none().then_some(()) }).await;
    eventually("its row is gone", 20, || async {
        (room.henry.get("/api/v1/workloads").await.expect(200).json()["total"] == 0).then_some(())
    })
    .await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_at_once_the_cluster_has_the_one_that_was_stored_last() {
    let Some(room) = Room::small().await else { return };
    let map = |value: usize| {
        let data = format!("data: {{value: 'v{value}'}}\n");
        json!({"manifest": format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: conf}}\n{data}")})
    };
    room.henry.post("/api/v1/workloads", map(0)).await.expect(200);

    let answers = join_all((1..=8).map(|value| room.henry.post("/api/v1/workloads", map(value)))).await;

    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.code().as_str()), (409, "changed_meanwhile"), "{}", answer.text);
    }
    let row = room.henry.get("/api/v1/workloads").await.expect(200).json()["data"][0].clone();
    let path = format!("/api/v1/workloads/{}", row["id"].as_str().unwrap());
    room.server.app.clock.advance_secs(120);
    eventually("they agree", 60, || async {
        let newest = room.henry.get(&format!("{path}/revisions")).await.expect(200).json()[0].clone();
        let there = room.cluster.object(&["-n", &room.namespace, "configmap", "conf"])?;
        let value = format!("'{}'", there["data"]["value"].as_str()?);
        let is_settled = room.henry.get(&path).await.expect(200).json()["uid"].is_string();
        (is_settled && newest["manifest"].as_str()?.contains(&value)).then_some(())
    })
    .await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_kubectl_reaches_ones_own_namespace_alone() {
    let Some(room) = Room::small().await else { return };
    let path = "/api/v1/namespaces/test/kubeconfig";
    for wrong in [0, 599, 86_401] {
        room.henry.post(path, json!({"expires_in": wrong})).await.expect(422);
    }

    let made = room.henry.post(path, json!({"expires_in": 600})).await.expect(201).json();

    let file = room.server.folder().join("kubeconfig");
    std::fs::write(&file, made["kubeconfig"].as_str().unwrap()).unwrap();
    let file = file.display().to_string();
    let kubectl =
        |arguments: &[&str]| room.cluster.try_kubectl(&[&["--kubeconfig", &file], arguments].concat(), "");
    assert!(kubectl(&["get", "pods"]).is_ok(), "{:?}", kubectl(&["get", "pods"]));
    kubectl(&["create", "configmap", "mine", "--from-literal=a=b"]).unwrap();
    for arguments in [
        &["-n", "kube-system", "get", "secrets"][..],
        &["-n", "default", "get", "pods"],
        &["get", "nodes"],
        &["delete", "networkpolicy", "longshore"],
        &["create", "serviceaccount", "x"],
    ] {
        assert!(kubectl(arguments).unwrap_err().contains("forbidden"), "{arguments:?}");
    }
    let mallory = room.server.account(&unique("mallory")).await;
    mallory.post(&format!("/api/v1/namespaces/{}/kubeconfig", room.namespace), json!({})).await.expect(404);

    // What reaches the cluster past us is held to the rules by the cluster. An administrator is not.
    let dry = ["create", "--dry-run=server", "-f", "-"];
    let own = |text: &str| room.cluster.try_kubectl(&[&["--kubeconfig", &file], &dry[..]].concat(), text);
    let admins =
        |text: &str| room.cluster.try_kubectl(&[&["-n", room.namespace.as_str()], &dry[..]].concat(), text);
    let asks_always = deployment("nowhere.invalid/x:1", "")
        .replace("        ports:", "        imagePullPolicy: Always\n        ports:");
    own(&asks_always).unwrap();
    own(SERVICE).unwrap();
    let with_pod = |more: &str| {
        asks_always.replace("      terminationGrace", &format!("      {more}\n      terminationGrace"))
    };
    let with_service = |more: &str| SERVICE.replace("  type: NodePort", &format!("  {more}"));
    for (what, text) in [
        ("others' images", deployment("nowhere.invalid/x:1", "")),
        ("nodes", with_pod("nodeName: here")),
        ("schedulers", with_pod("schedulerName: mine")),
        ("tolerations", with_pod("tolerations: [{operator: Exists}]")),
        ("priorities", with_pod("priorityClassName: system-node-critical")),
        ("runtimes", with_pod("runtimeClassName: mine")),
        ("accounts", with_pod("serviceAccountName: longshore")),
        ("nodes' files", with_pod("volumes: [{name: a, hostPath: {path: /}}]")),
        ("foreign disks", with_pod("volumes: [{name: a, nfs: {server: 192.0.2.1, path: /}}]")),
        ("tokens", with_pod("volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: a}}]}}]")),
        ("annotations", asks_always.replace("metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {k8s.v1.cni.cncf.io/networks: a}}")),
        ("addresses", with_service("externalIPs: [192.0.2.1]")),
        ("names", with_service("type: ExternalName\n  externalName: example.org")),
        ("balancers", with_service("type: LoadBalancer")),
        ("volumes", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {volumeName: b, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n".to_owned()),
        ("hosts", ingress("example.org")),
    ] {
        let refusal = own(&text).expect_err(what);
        assert!(refusal.contains("longshore-tenant"), "{what}: {refusal}");
        if what != "balancers" {
            admins(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    room.close().await;
}

fn ingress(host: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\nspec:\n  rules:\n  - host: {host}\n    \
         http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_has_hosts_below_its_accounts_own_domain() {
    let settings = [
        ("kubernetes.ingress_domain", "apps.example.org"),
        ("kubernetes.ingress_class", "inner"),
        ("kubernetes.ingress_namespace", "ingress"),
    ];
    let Some(room) = Room::small_with(&settings).await else { return };
    let apply =
        async |host: &str| room.henry.post("/api/v1/workloads", json!({"manifest": ingress(host)})).await;
    let own = format!("web.{}.apps.example.org", room.name);

    let refused = apply("web.mallory.apps.example.org").await.expect(422).json();
    apply(&own).await.expect(200);

    assert_eq!(refused["violations"][0]["path"], "spec.rules[0].host");
    let there = room.cluster.object(&["-n", &room.namespace, "ingress", "web"]).unwrap();
    assert_eq!(there["spec"]["ingressClassName"], "inner");
    let row = room.henry.get("/api/v1/workloads").await.expect(200).json()["data"][0].clone();
    assert_eq!((&row["kind"], &row["state"]), (&json!("Ingress"), &json!("ready")));
    assert_eq!(row["message"], format!("answers as {own}"));
    let wall = room.cluster.object(&["-n", &room.namespace, "networkpolicy", "longshore"]).unwrap();
    assert!(
        wall["spec"]["ingress"].to_string().contains(r#""kubernetes.io/metadata.name":"ingress""#),
        "{wall}"
    );
    // The same by one's own `kubectl`.
    let path = "/api/v1/namespaces/test/kubeconfig";
    let made = room.henry.post(path, json!({})).await.expect(201).json();
    let file = room.server.folder().join("kubeconfig");
    std::fs::write(&file, made["kubeconfig"].as_str().unwrap()).unwrap();
    let kubectl = |text: &str| {
        let file = file.display().to_string();
        room.cluster.try_kubectl(&["--kubeconfig", &file, "create", "--dry-run=server", "-f", "-"], text)
    };
    let with_class = |host: &str, class: &str| {
        ingress(host)
            .replace("name: web}\nspec:", "name: other}\nspec:")
            .replace("  rules:", &format!("  ingressClassName: {class}\n  rules:"))
    };
    kubectl(&with_class(&own, "inner")).unwrap();
    for (host, class) in
        [("web.mallory.apps.example.org", "inner"), ("'*.apps.example.org'", "inner"), (&own, "outer")]
    {
        let refusal = kubectl(&with_class(host, class)).unwrap_err();
        assert!(refusal.contains("longshore-tenant"), "{host} {class}: {refusal}");
    }
    let id = row["id"].as_str().unwrap();
    room.henry.delete(&format!("/api/v1/workloads/{id}")).await;
    eventually("it is gone", 60, || async {
        room.cluster.object(&["-n", &room.namespace, "ingress", "web"]).is_none().then_some(())
    })
    .await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_shows_what_it_printed_and_a_change_is_told_before_it_is_made() {
    let Some(room) = Room::whole().await else { return };
    let henry = &room.henry;
    room.upload("v1", "a page").await;
    let apply = async |text: &str, dry_run: bool| {
        let body = json!({"manifest": text, "dry_run": dry_run});
        henry.post("/api/v1/workloads", body).await.expect(200).json()[0].clone()
    };
    let good = room.deployment("v1");
    let bad = good.replace(
        "        ports:",
        "        command: [/bin/busybox, sh, -c, \"echo the reason; exit 3\"]\n        ports:",
    );
    apply(&bad, false).await;
    let rows = henry.get("/api/v1/workloads").await.expect(200).json();
    let path = format!("/api/v1/workloads/{}", rows["data"][0]["id"].as_str().unwrap());

    let failed = eventually("it shows what it printed", POD_SECS, || async {
        let seen = henry.get(&path).await.expect(200).json();
        (seen["log_tail"] == "the reason" && seen["state"] == "failed").then_some(seen)
    })
    .await;
    assert!(failed["message"].as_str().unwrap().contains("exit code 3"), "{failed}");

    let tried = apply(&good.replace("replicas: 1", "replicas: 2"), true).await;
    let changes: Vec<_> =
        tried["changes"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(changes, ["spec.replicas", "spec.template.spec.containers[web].command"], "{tried}");
    assert_eq!(
        (tried["changes"][0]["before"].as_str(), tried["changes"][0]["after"].as_str()),
        (Some("1"), Some("2"))
    );
    assert_eq!(henry.get(&path).await.expect(200).json()["replicas"]["desired"], 1, "it was only tried");
    let made = apply(&good, false).await;
    assert_eq!(made["changes"].as_array().unwrap().len(), 1, "{made}");
    assert_eq!(apply(&good, false).await["changes"], json!([]));
    eventually("it is ready", POD_SECS, || async {
        let seen = henry.get(&path).await.expect(200).json();
        (seen["state"] == "ready" && seen["log_tail"].is_null()).then_some(())
    })
    .await;
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\nstringData: {{password: {value}}}\n")
    };
    apply(&secret("first"), false).await;
    let tried = apply(&secret("second"), true).await;
    assert!(tried["changes"][0]["path"].as_str().unwrap().starts_with("data"), "{tried}");
    assert_eq!(tried["changes"][0]["after"], "***", "{tried}");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_workloads_is_told_to_their_account_alone() {
    let Some(room) = Room::small().await else { return };
    let mallory = room.server.account(&unique("mallory")).await;
    let listen = async |api: &crate::support::api::Api| {
        let mut socket = Socket::open(api, "/api/v1/events", &[]).await.unwrap();
        loop {
            let message: serde_json::Value =
                serde_json::from_str(&socket.next().await.unwrap().into_text().unwrap()).unwrap();
            if message["event"] == "listed" {
                return socket;
            }
        }
    };
    let (mut henrys, mut mallorys) = (listen(&room.henry).await, listen(&mallory).await);
    send(&room.henry, "/deploy/create_deployment", &[], "web.yaml", &deployment("nowhere.invalid/x:1", ""))
        .await
        .expect(200);

    // What the cluster does by itself is told as well: the pod, whose image is nowhere.
    loop {
        let text = henrys.next().await.expect("it is told").into_text().unwrap();
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        if message["event"] == "workload" && message["data"]["state"] == "failed" {
            assert_eq!(message["data"]["name"], "web");
            assert!(message["data"]["message"].as_str().unwrap().contains("cannot be pulled"), "{message}");
            break;
        }
    }
    mallory.post("/deploy/create_namespace", json!({"namespace": "own"})).await.expect(200);
    loop {
        let text = mallorys.next().await.expect("it is told").into_text().unwrap();
        assert!(!text.contains(&room.namespace), "{text}");
        if text.contains("-own") && text.contains("ready") {
            break;
        }
    }
    mallory.post("/deploy/delete_namespace", json!({"namespace": "own"})).await;
    room.close().await;
}
