//! Runs when what they stand on breaks, and when they say more than anybody reads.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::archives::{HELLO, noise, running};
use crate::support::disk::SmallDisk;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository};
use crate::support::registry::{breakable_registry, write_script};
use crate::support::server::TestServer;

const RUN_SECS: u64 = 90;
/// Git servers of tests are on loopback, which nobody reaches without this.
const LOOPBACK: (&str, &str) = ("outbound.allow", "127.0.0.0/8");

async fn server_with(settings: &[(&str, &str)]) -> Option<TestServer> {
    crate::support::engine()?;
    let settings: Vec<_> = [LOOPBACK].into_iter().chain(settings.iter().copied()).collect();
    Some(TestServer::start_with(&settings).await)
}

async fn add(api: &Api, name: &str, git_server: &HttpServer) -> Value {
    let body = json!({"repo_name": name, "url": format!("{}/app.git", git_server.url)});
    api.post("/api/v1/git-repos", body).await.expect(201).json()
}

async fn start(api: &Api, repo: &Value) -> Value {
    api.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await.expect(202).json()
}

async fn ended(api: &Api, run: &Value) -> Value {
    let path = format!("/api/v1/runs/{}", run["id"]);
    eventually("the run ends", RUN_SECS, || async {
        let run = api.get(&path).await.expect(200).json();
        (!matches!(run["state"].as_str(), Some("queued" | "running"))).then_some(run)
    })
    .await
}

async fn log_of(api: &Api, run: &Value) -> String {
    api.get(&format!("/api/v1/runs/{}/log", run["id"])).await.expect(200).text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_lines_and_a_line_of_a_mebibyte_are_kept_whole() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&running(&["lines", "1000000", "1048576"]));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server).await;

    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;

    let log = log_of(&alice, &run).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let mut next = 1;
    for number in log.lines().filter_map(|line| line.strip_prefix("line ")) {
        assert_eq!(number, next.to_string(), "every line, in its order");
        next += 1;
    }
    assert_eq!(next, 1_000_001);
    assert!(log.lines().any(|line| line.len() == 1 << 20 && line.bytes().all(|byte| byte == b'w')));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_refuses_the_push_fails_the_run_and_the_next_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let program = breakable_registry(folder.path());
    let Some(server) = server_with(&[("registry.program", program.to_str().unwrap())]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server).await;
    let restarted = async |line: &str| {
        write_script(&program, line);
        server.kill_registry().await;
        eventually("the registry is back", RUN_SECS, || async {
            (server.api.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    };

    // It answers, and takes nothing.
    restarted("REGISTRY_STORAGE_MAINTENANCE_READONLY='{enabled: true}' exec docker-registry \"$@\"").await;
    let refused = start(&alice, &repo).await;
    let refused = ended(&alice, &refused).await;
    assert_eq!(
        (&refused["state"], &refused["reason"]),
        (&json!("failed"), &json!("push_failed")),
        "{refused:#}"
    );
    let log = log_of(&alice, &refused).await;
    assert!(log.contains("the push failed") && log.contains("trying again"), "{log}");
    let steps = refused["steps"].as_array().unwrap();
    let last = steps.last().unwrap();
    assert_eq!((&last["name"], &last["state"]), (&json!("push"), &json!("failed")), "{steps:#?}");
    assert_eq!(alice.get("/api/v1/images").await.expect(200).json()["total"], 0);

    restarted("exec docker-registry \"$@\"").await;
    let retry = alice.request(Method::POST, &format!("/api/v1/runs/{}/retry", refused["id"]));
    let again = alice.send(retry).await.expect(202).json();
    let again = ended(&alice, &again).await;
    assert_eq!((&again["state"], &again["commit"]), (&json!("succeeded"), &refused["commit"]), "{again:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_never_ends_is_ended_and_the_run_says_so() {
    let Some(server) = server_with(&[("builds.timeout_secs", "6")]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&running(&["sleep"]));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server).await;

    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;

    assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("timeout")), "{run:#}");
    let last = run["steps"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["name"], &last["state"]), (&json!("build"), &json!("failed")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_stays_while_a_run_of_it_goes_on() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&running(&["sleep"]));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server).await;
    let path = format!("/api/v1/git-repos/{}", repo["id"]);
    let run = start(&alice, &repo).await;
    eventually("the step runs", RUN_SECS, || async {
        log_of(&alice, &run).await.contains("Step 3/").then_some(())
    })
    .await;

    assert_eq!(alice.delete(&path).await.expect(409).code(), "runs_unfinished");
    // What is changed meanwhile is the next run's matter.
    alice.patch(&path, json!({"repo_name": "renamed", "image": "other"})).await.expect(200);
    let cancel = alice.request(Method::POST, &format!("/api/v1/runs/{}/cancel", run["id"]));
    alice.send(cancel).await.expect(202);
    let run = ended(&alice, &run).await;
    assert_eq!(
        (&run["state"], &run["image"], &run["repo_name"]),
        (&json!("cancelled"), &json!("alice/app"), &json!("renamed"))
    );
    alice.delete(&path).await.expect(204);
    assert_eq!(alice.get("/api/v1/runs").await.json()["total"], 0);
    assert_eq!(alice.get("/log/").await.json(), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_runs_have_no_more_room_than_they_may() {
    let room = 1_000;
    let settings = [LOOPBACK, ("pipelines.keep_bytes", "1000")];
    let server = TestServer::without_engine(&settings).await;
    let alice = server.account("alice").await;
    let code = Repository::new(&[("README", b"no Dockerfile")]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server).await;
    let mut lengths = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..8 {
        let run = start(&alice, &repo).await;
        let run = ended(&alice, &run).await;
        assert_eq!(run["reason"], "build_failed", "{run:#}");
        lengths.push(log_of(&alice, &run).await.len());
        ids.push(run["id"].clone());
    }
    let mut sum = 0;
    let fitting = lengths.iter().rev().take_while(|length| {
        sum += **length;
        sum <= room
    });
    let fitting = fitting.count();
    assert!((1..8).contains(&fitting), "{lengths:?}");

    // It is looked at the start.
    let server = server.restart().await;
    let alice = server.login("alice", "alice password").await;
    let kept = eventually("the oldest are gone", RUN_SECS, || async {
        let runs = alice.get("/api/v1/runs").await.expect(200).json();
        (runs["total"] == fitting).then(|| runs["data"].as_array().unwrap().clone())
    })
    .await;

    let kept: Vec<_> = kept.iter().map(|run| run["id"].clone()).collect();
    let newest: Vec<_> = ids.into_iter().rev().take(fitting).collect();
    assert_eq!(kept, newest);
    assert_eq!(std::fs::read_dir(server.data_dir().join("blobs/build-logs")).unwrap().count(), fitting);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_leaves_nothing_behind() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let data_dir = disk.path().join("data");
    let server = TestServer::without_engine(&[LOOPBACK, ("data_dir", data_dir.to_str().unwrap())]).await;
    let alice = server.account("alice").await;
    let large = Repository::new(&[("Dockerfile", HELLO.as_bytes()), ("noise", &noise(18 << 20, 7))]);
    let small = Repository::hello(HELLO);
    let (large, small) = (
        HttpServer::start(large.root(), Access::default()).await,
        HttpServer::start(small.root(), Access::default()).await,
    );

    // It can be fetched, and not packed beside that.
    let repo = add(&alice, "large", &large).await;
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("clone_failed")), "{run:#}");
    assert!(run["message"].as_str().unwrap().contains("disk is full"), "{run:#}");
    assert_eq!(std::fs::read_dir(data_dir.join("blobs/incoming")).unwrap().count(), 0);

    let repo = add(&alice, "small", &small).await;
    let run = start(&alice, &repo).await;
    eventually("what fits goes on to be built", RUN_SECS, || async {
        alice
            .get(&format!("/api/v1/builds/{}", run["uuid"].as_str().unwrap()))
            .await
            .status
            .eq(&200)
            .then_some(())
    })
    .await;
    server.stop().await;
}
