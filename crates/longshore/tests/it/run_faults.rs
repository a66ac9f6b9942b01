//! Runs when what they stand on breaks, and when they say more than anybody reads.

use reqwest::Method;
use serde_json::json;

use crate::support::archives::{HELLO, noise, running};
use crate::support::disk::SmallDisk;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository};
use crate::support::registry::{breakable_registry, write_script};
use crate::support::runs::{LOOPBACK, RUN_SECS, add, cancel, ended, log_of, server_with, start};
use crate::support::server::TestServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_lines_and_a_line_of_a_mebibyte_are_kept_whole() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&running(&["lines", "1000000", "1048576"]));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server, json!({})).await;

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
    let repo = add(&alice, "app", &git_server, json!({})).await;
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
    let repo = add(&alice, "app", &git_server, json!({})).await;

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
    let repo = add(&alice, "app", &git_server, json!({})).await;
    let path = format!("/api/v1/git-repos/{}", repo["id"]);
    let run = start(&alice, &repo).await;
    eventually("the step runs", RUN_SECS, || async {
        log_of(&alice, &run).await.contains("Step 3/").then_some(())
    })
    .await;

    assert_eq!(alice.delete(&path).await.expect(409).code(), "runs_unfinished");
    // What is changed meanwhile is the next run's matter.
    alice.patch(&path, json!({"repo_name": "renamed", "image": "other"})).await.expect(200);
    cancel(&alice, &run).await;
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
    let repo = add(&alice, "app", &git_server, json!({})).await;
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
async fn runs_that_ended_long_ago_go_with_what_belongs_to_them() {
    const TEN_DAYS: i64 = 10 * 24 * 3600;
    let server = TestServer::without_engine(&[LOOPBACK, ("pipelines.keep_days", "7")]).await;
    let code = Repository::new(&[("README", b"no Dockerfile")]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    server.app.clock.advance_secs(-TEN_DAYS);
    let alice = server.account("alice").await;
    let repo = add(&alice, "app", &git_server, json!({})).await;
    let old = start(&alice, &repo).await;
    let old = ended(&alice, &old).await;
    server.app.clock.advance_secs(TEN_DAYS);
    let alice = server.login("alice", "alice password").await;
    let new = start(&alice, &repo).await;
    let new = ended(&alice, &new).await;
    let events_of = |run: &serde_json::Value| format!("/log/?event_uuid={}", run["uuid"].as_str().unwrap());
    assert_ne!(alice.get(&events_of(&old)).await.expect(200).json(), json!([]));

    // It is looked at the start.
    let server = server.restart().await;
    let alice = server.login("alice", "alice password").await;
    let kept = eventually("the old one is gone", RUN_SECS, || async {
        let runs = alice.get("/api/v1/runs").await.expect(200).json();
        (runs["total"] == 1).then(|| runs["data"][0]["id"].clone())
    })
    .await;

    assert_eq!(kept, new["id"]);
    assert_eq!(alice.get(&events_of(&old)).await.expect(200).json(), json!([]));
    assert_ne!(alice.get(&events_of(&new)).await.expect(200).json(), json!([]));
    assert_eq!(std::fs::read_dir(server.data_dir().join("blobs/build-logs")).unwrap().count(), 1);
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
    let repo = add(&alice, "large", &large, json!({})).await;
    let run = start(&alice, &repo).await;
    let run = ended(&alice, &run).await;
    assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("clone_failed")), "{run:#}");
    assert!(run["message"].as_str().unwrap().contains("disk is full"), "{run:#}");
    assert_eq!(std::fs::read_dir(data_dir.join("blobs/incoming")).unwrap().count(), 0);

    let repo = add(&alice, "small", &small, json!({})).await;
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
