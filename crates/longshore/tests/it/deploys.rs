//! Deploys on a real cluster: what a pipeline makes is rolled out, and taken back when it does not come up.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository};
use crate::support::process::ServerProcess;
use crate::support::room::{POD_SECS, Room, deployment};
use crate::support::runs::{RUN_SECS, ended, start};
use crate::support::server::TestServer;

/// A web server that shows a word.
fn good(word: &str) -> String {
    format!(
        "FROM scratch\nCOPY busybox /bin/busybox\nLABEL word={word}\nCOPY Dockerfile /www/index.html\n\
         CMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/www\"]\n"
    )
}

/// A program that ends at once.
const BROKEN: &str = "FROM scratch\nCOPY busybox /bin/busybox\nCMD [\"/bin/busybox\", \"false\"]\n";
/// A program that runs and never answers.
const SILENT: &str =
    "FROM scratch\nCOPY busybox /bin/busybox\nCMD [\"/bin/busybox\", \"sleep\", \"100000\"]\n";

fn deploy_step(run: &Value) -> Option<Value> {
    run["steps"].as_array().unwrap().iter().find(|step| step["name"] == "deploy").cloned()
}

/// The image of the deployment, as the cluster has it.
fn image(room: &Room) -> String {
    let object = room.cluster.object(&["-n", &room.namespace, "deployment", "web"]).unwrap();
    object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_made_is_rolled_out_and_taken_back_when_it_does_not_come_up() {
    let Some(room) = Room::whole_with(&[("outbound.allow", "127.0.0.0/8")]).await else { return };
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let code = Repository::new(&[("Dockerfile", good("first").as_bytes()), ("busybox+x", &busybox)]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let options = json!({"deploy": {"workload": "deployment/web", "namespace": "test", "timeout_secs": 60}});
    let body = json!({"repo_name": "app", "url": format!("{}/app.git", git_server.url), "options": options});
    let repo = room.henry.post("/api/v1/git-repos", body).await.expect(201).json();
    for deploy in
        [json!({"workload": "service/web", "namespace": "test"}), json!({"workload": "deployment/web"})]
    {
        let change = json!({"options": {"deploy": deploy}});
        room.henry.patch(&format!("/api/v1/git-repos/{}", repo["id"]), change).await.expect(422);
    }

    // There is nothing to bring up to date yet: the image is made all the same.
    let run = start(&room.henry, &repo).await;
    let run = ended(&room.henry, &run).await;
    assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("deploy_failed")), "{run:#}");
    assert!(run["message"].as_str().unwrap().contains("there is no deployment `web`"), "{run:#}");
    let first = format!("{}:{}", run["image"].as_str().unwrap(), run["image_tag"].as_str().unwrap());
    let manifest = deployment(&first, "");
    room.henry
        .post("/api/v1/workloads", json!({"manifest": manifest, "namespace": "test"}))
        .await
        .expect(200);
    room.rolled_out().await;
    let before = image(&room);

    code.commit(&[("Dockerfile", good("second").as_bytes())]);
    let run = start(&room.henry, &repo).await;
    let run = ended(&room.henry, &run).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let second = image(&room);
    assert!(second.ends_with(run["digest"].as_str().unwrap()), "{second}");
    let step = deploy_step(&run).unwrap();
    assert_eq!((&step["state"], &step["deploy"]["before"]), (&json!("succeeded"), &json!(before)));
    assert_eq!(step["deploy"]["target"]["pod_container"], "web");
    room.rolled_out().await;

    code.commit(&[("Dockerfile", BROKEN.as_bytes())]);
    let run = start(&room.henry, &repo).await;
    let run = ended(&room.henry, &run).await;
    assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("deploy_failed")), "{run:#}");
    let message = run["message"].as_str().unwrap();
    assert!(message.contains("exit code 1") && message.contains("again"), "{run:#}");
    assert_eq!(image(&room), second);
    room.rolled_out().await;

    // A server that stops while pods are on their way goes on with them, and a run that is given up goes back.
    code.commit(&[("Dockerfile", SILENT.as_bytes())]);
    let run = start(&room.henry, &repo).await;
    let path = format!("/api/v1/runs/{}", run["id"]);
    eventually("the new pod is on its way", POD_SECS, || async {
        let run = room.henry.get(&path).await.expect(200).json();
        (deploy_step(&run).is_some() && image(&room) != second).then_some(())
    })
    .await;
    let room = room.restarted().await;
    let run_now = room.henry.get(&path).await.expect(200).json();
    assert_eq!(run_now["state"], "running", "{run_now:#}");
    room.henry.post(&format!("{path}/cancel"), json!({})).await;
    let run = ended(&room.henry, &run).await;
    assert_eq!(run["state"], "cancelled", "{run:#}");
    assert_eq!(image(&room), second);
    let ends =
        room.henry.get(&format!("/log/?event_uuid={}&search=cancelled", run["uuid"].as_str().unwrap())).await;
    assert_eq!(ends.expect(200).json().as_array().unwrap().len(), 1, "it ended once");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_reaches_ones_own_workloads_only() {
    let Some(room) = Room::whole_with(&[("outbound.allow", "127.0.0.0/8")]).await else { return };
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let code = Repository::new(&[("Dockerfile", good("evil").as_bytes()), ("busybox+x", &busybox)]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    room.henry
        .post("/api/v1/workloads", json!({"manifest": deployment("busybox", ""), "namespace": "test"}))
        .await
        .expect(200);
    let before = image(&room);
    let mallory = room.server.account(&crate::support::cluster::unique("mallory")).await;

    for namespace in [room.namespace.as_str(), "test", "kube-system"] {
        let options = json!({"deploy": {"workload": "deployment/web", "namespace": namespace}});
        let name = format!("to-{namespace}");
        let body =
            json!({"repo_name": name, "url": format!("{}/app.git", git_server.url), "options": options});
        let repo = mallory.post("/api/v1/git-repos", body).await.expect(201).json();
        let run = start(&mallory, &repo).await;
        let run = ended(&mallory, &run).await;
        assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("deploy_failed")), "{run:#}");
        assert!(run["message"].as_str().unwrap().contains("there is no namespace"), "{run:#}");
    }
    assert_eq!(image(&room), before);
    room.close().await;
}

/// A program that runs for good, told from others by a word.
fn sleeping(word: &str) -> String {
    format!("FROM scratch\nCOPY probe /probe\nLABEL word={word}\nCMD [\"/probe\", \"sleep\"]\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_made_anew_from_what_a_run_made_and_back() {
    if crate::support::engine().is_none() {
        return;
    }
    let server = TestServer::start_with(&[("outbound.allow", "127.0.0.0/8")]).await;
    let alice = server.account("alice").await;
    let code = Repository::hello(&sleeping("first"));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let options = json!({"deploy": {"container": "web", "timeout_secs": 60}});
    let body = json!({"repo_name": "app", "url": format!("{}/app.git", git_server.url), "options": options});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    assert!(run["message"].as_str().unwrap().contains("there is no container `web`"), "{run:#}");
    let first = format!("{}:{}", run["image"].as_str().unwrap(), run["image_tag"].as_str().unwrap());
    let new = json!({"name": "web", "image": first, "env": {"MODE": "kept"}});
    let made = alice.post("/api/v1/containers", new).await.expect(201).json();
    let running = async || {
        eventually("the container runs", RUN_SECS, || async {
            let web = alice.get("/api/v1/containers/web").await.expect(200).json();
            (web["state"] == "running").then_some(web)
        })
        .await
    };
    running().await;

    code.commit(&[("Dockerfile", sleeping("second").as_bytes())]);
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let web = running().await;
    assert_eq!((&web["id"], &web["env"]["MODE"]), (&made["id"], &json!("kept")));
    let second = format!("{}:{}", run["image"].as_str().unwrap(), run["image_tag"].as_str().unwrap());
    assert_eq!(web["image"], second.as_str());
    let address = crate::support::engine().unwrap();
    let label = |wanted: &str| {
        let words = ["ps", "--filter", &format!("label=word={wanted}"), "--format", "{{.ID}}"];
        crate::support::machine::docker(&address, &words)
    };
    assert_ne!(label("second"), "", "the engine runs the new one");

    code.commit(&[("Dockerfile", b"FROM scratch\nCOPY probe /probe\nCMD [\"/probe\", \"fail\", \"7\"]\n")]);
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("deploy_failed")), "{run:#}");
    let message = run["message"].as_str().unwrap();
    assert!(message.contains("exit code 7") && message.contains("again"), "{run:#}");
    let web = running().await;
    assert!(web["image"].as_str().unwrap().starts_with("alice/app:"), "{web:#}");
    assert_ne!(label("second"), "", "the engine runs the one before");

    // Who stopped it wants it stopped.
    alice.post("/api/v1/containers/web/stop", json!({})).await.expect(202);
    eventually("it is stopped", RUN_SECS, || async {
        let web = alice.get("/api/v1/containers/web").await.expect(200).json();
        (web["state"] == "stopped").then_some(())
    })
    .await;
    code.commit(&[("Dockerfile", sleeping("third").as_bytes())]);
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    assert!(run["message"].as_str().unwrap().contains("is stopped"), "{run:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_a_deploy_goes_on_with_it() {
    let Some(mut server) = ServerProcess::start(&[("outbound.allow", "127.0.0.0/8")]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&sleeping("zero"));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let body = json!({"repo_name": "app", "url": format!("{}/app.git", git_server.url)});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    let image = format!("{}:{}", run["image"].as_str().unwrap(), run["image_tag"].as_str().unwrap());
    alice.post("/api/v1/containers", json!({"name": "web", "image": image})).await.expect(201);
    let change = json!({"options": {"deploy": {"container": "web"}}});
    alice.patch(&format!("/api/v1/git-repos/{}", repo["id"]), change).await.expect(200);

    for phase in ["pulling", "starting", "running"] {
        code.commit(&[("Dockerfile", sleeping(phase).as_bytes())]);
        let run = start(&alice, &repo).await;
        // Killed as soon as it is seen there, or when that has passed unseen.
        let path = format!("/api/v1/runs/{}", run["id"]);
        eventually("the deploy has come so far", RUN_SECS, || async {
            let run = alice.get(&path).await.expect(200).json();
            let step = deploy_step(&run)?;
            let web = alice.get("/api/v1/containers/web").await.expect(200).json();
            (web["state"] == phase || step["state"] != "running").then_some(())
        })
        .await;
        server.kill();
        server.start_again().await;
        let run = ended(&alice, &run).await;
        assert_eq!(run["state"], "succeeded", "{phase}: {run:#}");
        let web = alice.get("/api/v1/containers/web").await.expect(200).json();
        let image = format!("{}:{}", run["image"].as_str().unwrap(), run["image_tag"].as_str().unwrap());
        assert_eq!((&web["state"], &web["image"]), (&json!("running"), &json!(image)), "{phase}");
        let uuid = run["uuid"].as_str().unwrap();
        let ends = alice.get(&format!("/log/?event_uuid={uuid}&search=succeeded")).await.expect(200).json();
        assert_eq!(ends.as_array().unwrap().len(), 1, "{ends:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_deploy_to_one_target_do_so_one_after_the_other() {
    let Some(room) = Room::whole_with(&[("outbound.allow", "127.0.0.0/8")]).await else { return };
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    room.upload("first", "first").await;
    let manifest = room.deployment("first");
    let body = json!({"manifest": manifest, "namespace": "test"});
    room.henry.post("/api/v1/workloads", body).await.expect(200);
    room.rolled_out().await;
    let options = json!({"deploy": {
        "workload": "deployment/web", "namespace": "test", "pod_container": "web", "timeout_secs": 60,
    }});
    let mut runs = Vec::new();
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        let code = Repository::new(&[("Dockerfile", good(name).as_bytes()), ("busybox+x", &busybox)]);
        let git_server = HttpServer::start(code.root(), Access::default()).await;
        let url = format!("{}/app.git", git_server.url);
        let body = json!({"repo_name": name, "url": url, "options": options});
        let repo = room.henry.post("/api/v1/git-repos", body).await.expect(201).json();
        servers.push((code, git_server));
        runs.push(start(&room.henry, &repo).await);
    }

    let (first, second) = tokio::join!(ended(&room.henry, &runs[0]), ended(&room.henry, &runs[1]));

    assert_eq!(
        (&first["state"], &second["state"]),
        (&json!("succeeded"), &json!("succeeded")),
        "{first:#} {second:#}"
    );
    let step = |run: &Value| deploy_step(run).unwrap();
    let (earlier, later) = if step(&first)["ended_at"].as_str() < step(&second)["ended_at"].as_str() {
        (first, second)
    } else {
        (second, first)
    };
    // What the later one would go back to is what the earlier one left, and what runs is the later one's.
    let digest = |run: &Value| run["digest"].as_str().unwrap().to_owned();
    assert!(step(&later)["deploy"]["before"].as_str().unwrap().ends_with(&digest(&earlier)), "{later:#}");
    assert!(image(&room).ends_with(&digest(&later)), "{later:#}");
    room.close().await;
}
