//! Runs of working copies: what somebody has at hand, uploaded without git, and built as a commit is.

use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::archives::{HELLO, running, tar};
use crate::support::builds::pull;
use crate::support::eventually;
use crate::support::machine::probe;
use crate::support::process::ServerProcess;
use crate::support::runs::{RUN_SECS, ended};
use crate::support::server::TestServer;

async fn add(api: &Api, name: &str, more: Value) -> Value {
    let mut body = json!({"repo_name": name, "url": "https://git.example.org/team/app.git"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.post("/api/v1/git-repos", body).await.expect(201).json()
}

async fn send(api: &Api, repo: &Value, archive: Vec<u8>) -> Answer {
    let path = format!("/api/v1/runs/upload?git_repo_id={}&description=mine", repo["id"]);
    api.send(api.request(Method::POST, &path).body(archive)).await
}

fn contexts(data_dir: &std::path::Path) -> usize {
    std::fs::read_dir(data_dir.join("blobs/contexts")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_copy_is_a_run_like_any_other() {
    let Some(server) = crate::support::engine() else { return };
    let server = TestServer::start_with(&[("machine.docker", &server)]).await;
    let alice = server.account("alice").await;
    let repo = add(&alice, "app", json!({"tag": "mine"})).await;

    let run = send(&alice, &repo, tar(&running(&["print", "from my disk"]))).await.expect(202).json();
    assert_eq!((&run["cause"], &run["description"]), (&json!("upload"), &json!("mine")));
    let run = ended(&alice, &run).await;

    let log = alice.get(&format!("/api/v1/runs/{}/log", run["id"])).await.expect(200).text;
    assert_eq!(run["state"], "succeeded", "{run:#}\n{log}");
    assert!(log.contains("working copy") && log.contains("from my disk"), "{log}");
    let steps: Vec<_> = run["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
    assert_eq!(steps, ["fetch", "build", "push"]);
    assert_eq!((&run["commit"], &run["image_tag"]), (&json!(null), &json!("mine")));
    let digest = run["digest"].as_str().unwrap();
    pull(&server.registry, "alice", "alice password", "alice/app", digest).await.unwrap();
    let lines =
        alice.get(&format!("/log/?event_uuid={}&ordering=id", run["uuid"].as_str().unwrap())).await.json();
    let said: Vec<&str> =
        lines.as_array().unwrap().iter().map(|line| line["msg"].as_str().unwrap()).collect();
    assert!(said[0].starts_with("queued") && said[2] == "building a working copy", "{said:?}");
    assert!(said[3].starts_with("succeeded") && said.len() == 4, "{said:?}");
    assert_eq!(contexts(&server.data_dir()), 0, "what was sent is gone");

    // It is not kept, so there is nothing to repeat.
    let again = alice.send(alice.request(Method::POST, &format!("/api/v1/runs/{}/retry", run["id"]))).await;
    assert_eq!(again.expect(409).code(), "not_kept");

    // What is wrong is said at once, and nothing stays of it.
    let refused = send(&alice, &repo, b"no archive".to_vec()).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let bob = server.account("bob").await;
    assert_eq!(send(&bob, &repo, tar(HELLO)).await.status, 404);
    assert_eq!(alice.get("/api/v1/runs").await.json()["total"], 1);
    assert_eq!(contexts(&server.data_dir()), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_copy_that_is_given_up_leaves_nothing_behind() {
    let server = TestServer::without_engine(&[("builds.per_account", "1")]).await;
    let alice = server.account("alice").await;
    let repo = add(&alice, "app", json!({})).await;

    // Nobody can build the first; the second waits for its place.
    let first = send(&alice, &repo, tar(HELLO)).await.expect(202).json();
    let second = send(&alice, &repo, tar(HELLO)).await.expect(202).json();
    assert_eq!(contexts(&server.data_dir()), 2);
    for run in [&second, &first] {
        let cancel = alice.request(Method::POST, &format!("/api/v1/runs/{}/cancel", run["id"]));
        assert!(matches!(alice.send(cancel).await.status, 200 | 202));
        assert_eq!(ended(&alice, run).await["state"], "cancelled");
    }

    eventually("nothing is left of them", RUN_SECS, || async {
        (contexts(&server.data_dir()) == 0).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_copy_that_was_accepted_survives_a_killed_server() {
    let Some(mut server) = ServerProcess::start(&[]).await else { return };
    let alice = server.account("alice").await;
    let repo = add(&alice, "app", json!({})).await;

    let mut runs = Vec::new();
    for pause in [0, 150, 700] {
        runs.push(send(&alice, &repo, tar(&running(&["print", "built"]))).await.expect(202).json());
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        server.kill();
        server.start_again().await;
    }

    for run in &runs {
        let run = ended(&alice, run).await;
        assert_eq!(run["state"], "succeeded", "{run:#}");
        let path = format!("/log/?event_uuid={}&search=succeeded", run["uuid"].as_str().unwrap());
        assert_eq!(alice.get(&path).await.json().as_array().unwrap().len(), 1);
        let digest = run["digest"].as_str().unwrap();
        pull(&server.registry, "alice", "alice password", "alice/app", digest).await.unwrap();
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_sends_the_part_of_a_working_copy_that_is_built() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::start_with(&[("machine.docker", &engine), ("tls.mode", "off")]).await;
    let alice = server.account("alice").await;
    add(&alice, "app", json!({"build_path": "service", "dockerfile": "service/docker/File"})).await;
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("app");
    std::fs::create_dir_all(work.join("service/docker")).unwrap();
    std::fs::write(work.join("service/docker/File"), running(&["print", "from the folder"])).unwrap();
    std::fs::copy(probe(), work.join("service/probe")).unwrap();
    std::fs::write(work.join("secret"), "not in the folder").unwrap();
    let token = alice.post("/api/v1/tokens", json!({"name": "cli"})).await.expect(201).json();
    let longshore = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(words).env("LONGSHORE_CONFIG_DIR", folder.path()).env("LONGSHORE_LANG", "en");
        command.env("LONGSHORE_URL", &server.url).env("LONGSHORE_TOKEN", token["token"].as_str().unwrap());
        let done = command.current_dir(&work).stdin(Stdio::null()).output().unwrap();
        let text =
            [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (done.status.code(), text)
    };

    let words = async |words: &'static [&'static str]| {
        // The server is in this process too.
        tokio::task::block_in_place(|| longshore(words))
    };
    let (code, said) = words(&["run", "start", ".", "--follow", "--description", "by hand"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("from the folder") && said.contains("alice/app:"), "{said}");
    let runs = alice.get("/api/v1/runs").await.expect(200).json();
    assert_eq!(
        (&runs["data"][0]["cause"], &runs["data"][0]["description"]),
        (&json!("upload"), &json!("by hand"))
    );

    let (code, said) = words(&["run", "start", "./service"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no git repository `service`") && said.contains("--repo"), "{said}");
    let (code, said) = words(&["run", "start", "./service", "--repo", "app"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Dockerfile") || said.contains("docker/File"), "{said}");
    server.stop().await;
}
