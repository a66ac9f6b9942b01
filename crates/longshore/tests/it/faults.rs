//! Builds when what they stand on breaks: the server is killed, the engine is killed, the registry is away. Afterwards
//! every build is in exactly one final state, every image that is ready pulls by its digest, and nothing is left over.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wire::ids::InstanceId;

use crate::support::api::Api;
use crate::support::archives::{HELLO, noise, running, zip, zip_of};
use crate::support::builds::{leftovers, pull};
use crate::support::engine::PrivateEngine;
use crate::support::eventually;
use crate::support::machine::probe;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

/// The installation's id, from its database.
async fn instance_of(data_dir: &Path) -> InstanceId {
    let db = store::Db::open(&format!("sqlite://{}", data_dir.join("longshore.db").display())).await.unwrap();
    store::settings::get(&db, "instance").await.unwrap().unwrap().parse().unwrap()
}

/// Every row of a list.
async fn all(api: &Api, path: &str) -> Vec<Value> {
    api.get(&format!("{path}?limit=2048")).await.expect(200).json()["data"].as_array().unwrap().clone()
}

/// A context whose image has a layer of its own: what a push of it moves was never pushed before.
fn unique(number: u64) -> Vec<u8> {
    let dockerfile =
        "FROM scratch\nCOPY probe /probe\nCOPY noise /noise\nRUN [\"/probe\", \"print\", \"x\"]\n";
    let files = [
        ("Dockerfile", dockerfile.as_bytes()),
        ("probe", &std::fs::read(probe()).unwrap()),
        ("noise", &noise(2 << 20, number)),
    ];
    zip_of(&files.map(|(name, bytes)| (name, bytes)))
}

/// Uploads to a server that may be killed meanwhile; the build's id when that was promised.
async fn promised(api: &Api, image: String, archive: Vec<u8>) -> Option<String> {
    let request = api.request(reqwest::Method::POST, &format!("/api/v1/builds?image={image}")).body(archive);
    // Only what was answered whole was promised.
    let build: Value = request.send().await.ok()?.json().await.ok()?;
    build["id"].as_str().map(str::to_owned)
}

/// Numbers that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What must hold once everything has come to rest.
async fn is_in_order(server: &ServerProcess, alice: &Api, accepted: &[String], docker: &str) {
    for id in accepted {
        let build = alice.ended(id).await;
        match build["state"].as_str() {
            Some("succeeded") => {
                let digest = build["digest"].as_str().unwrap();
                let repository = build["image"].as_str().unwrap().split(':').next().unwrap();
                pull(&server.registry, "alice", "alice password", repository, digest).await.unwrap();
            }
            Some("failed") => {
                assert!(build["reason"].is_string() && build["message"].is_string(), "{build:#}");
            }
            state => panic!("nobody cancelled this build, and it is {state:?}"),
        }
        let again = alice.build_now(id).await;
        assert_eq!(
            (&again["state"], &again["ended_at"]),
            (&build["state"], &build["ended_at"]),
            "a final state stays"
        );
    }
    for image in all(alice, "/api/v1/images").await {
        let repository = format!("{}/{}", image["owner"].as_str().unwrap(), image["repo"].as_str().unwrap());
        pull(&server.registry, "alice", "alice password", &repository, image["digest"].as_str().unwrap())
            .await
            .unwrap();
    }
    let instance = instance_of(&server.data_dir).await;
    eventually("nothing is left of the builds", 30, || async {
        let left = leftovers(docker, instance, &server.data_dir);
        if !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        left.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_moment_ends_every_build_once() {
    let Some(mut server) = ServerProcess::start(&[]).await else { return };
    let docker = crate::support::engine().unwrap();
    let alice = server.account("alice").await;
    let is_soak = crate::support::setting("LONGSHORE_TEST_SOAK").is_some();
    let kills = if is_soak { 200 } else { 12 };
    let mut dice = Dice(20_261_121);
    let mut accepted: Vec<String> = Vec::new();

    for kill in 0..kills {
        let upload = promised(&alice, format!("app{}:v{kill}", kill % 2), unique(kill));
        let pause = Duration::from_millis(dice.roll(2_500));
        let killing = async {
            tokio::time::sleep(pause).await;
            server.kill();
        };
        let (promise, ()) = tokio::join!(upload, killing);
        accepted.extend(promise);
        server.start_again().await;
    }
    let known = all(&alice, "/api/v1/builds").await;
    for id in &accepted {
        assert!(known.iter().any(|build| build["id"] == json!(id)), "build {id} was promised and is gone");
    }
    let waiting = u64::try_from(known.len()).unwrap();
    eventually("the builds that were cut off end", 60 + 10 * waiting, || async {
        let unfinished = alice.get("/api/v1/builds?state=queued&limit=1").await.json()["total"].as_u64();
        if unfinished != Some(0) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        (unfinished == Some(0)).then_some(())
    })
    .await;
    let every: Vec<String> = known.iter().map(|build| build["id"].as_str().unwrap().to_owned()).collect();
    is_in_order(&server, &alice, &every, &docker).await;
    let ends = all(&alice, "/api/v1/builds").await;
    let succeeded = ends.iter().filter(|build| build["state"] == "succeeded").count();
    let reasons: Vec<&str> = ends.iter().filter_map(|build| build["reason"].as_str()).collect();
    eprintln!(
        "{kills} kills, {} builds promised, {} known, {succeeded} succeeded, {reasons:?}",
        accepted.len(),
        every.len()
    );
    // A build that was cut off thirty times is given up; fewer do it no harm.
    assert!(if is_soak { succeeded > 0 } else { succeeded == every.len() }, "{ends:#?}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_whose_engine_is_killed_is_built_again_when_it_is_back() {
    let Some(engine) = PrivateEngine::start() else { return };
    let server = TestServer::start_with(&[("machine.docker", &engine.address())]).await;
    let alice = server.account("alice").await;
    let id = alice.accepted("app", zip(&running(&["sleep"]))).await;
    alice.build_where(&id, "the step runs", |build| build["step"] == 3).await;

    engine.kill();
    let waits = alice.accepted("waits", zip(HELLO)).await;
    let given_up = alice.accepted("given-up", zip(HELLO)).await;
    eventually("the loss is noticed", 60, || async {
        let log = alice.get(&format!("/api/v1/builds/{id}/log")).await.text;
        log.contains("[cut off: ").then_some(())
    })
    .await;
    alice.post(&format!("/api/v1/builds/{given_up}/cancel"), json!({})).await;
    assert_eq!(alice.ended(&given_up).await["state"], "cancelled", "also without an engine");
    engine.bring_up();
    // Its step sleeps again, which shows that it began anew; then it is no longer needed.
    eventually("the build begins anew", 90, || async {
        let log = alice.get(&format!("/api/v1/builds/{id}/log")).await.text;
        (log.matches("Step 3/3").count() >= 2).then_some(())
    })
    .await;
    alice.post(&format!("/api/v1/builds/{id}/cancel"), json!({})).await;
    let build = alice.ended(&id).await;
    let after = alice.succeeded(&waits).await;

    assert_eq!(build["state"], "cancelled");
    pull(&server.registry, "alice", "alice password", "alice/waits", after["digest"].as_str().unwrap())
        .await
        .unwrap();
    let (instance, data_dir) = (server.app.instance, server.data_dir());
    eventually("nothing is left of the builds", 60, || async {
        let left = leftovers(&engine.address(), instance, &data_dir);
        if !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        left.is_empty().then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_away_is_waited_for_and_named_when_it_stays_away() {
    if crate::support::engine().is_none() {
        return;
    }
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let server = TestServer::start_with(&[("registry.url", &address), ("builds.timeout_secs", "6")]).await;
    let alice = server.account("alice").await;

    let build = alice.ended(&alice.accepted("app", zip(HELLO)).await).await;

    assert_eq!((&build["state"], &build["reason"]), (&json!("failed"), &json!("registry_down")), "{build:#}");
    assert_eq!(all(&alice, "/api/v1/images").await.len(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_its_job_stops_and_ends_nothing() {
    let Some(docker) = crate::support::engine() else { return };
    let server = TestServer::start().await;
    let alice = server.account("alice").await;
    let id = alice.accepted("app", zip(&running(&["sleep"]))).await;
    alice.build_where(&id, "the step runs", |build| build["step"] == 3).await;
    let steps = || async {
        let left = leftovers(&docker, server.app.instance, &server.data_dir());
        left.into_iter().filter(|name| name.contains(" in ")).count()
    };
    assert_eq!(steps().await, 1);

    // Somebody who is an hour ahead takes the job: its lease is over there.
    let later = server.app.now().plus_secs(3600);
    let kinds = [store::jobs::Kind::BuildImage];
    let taken =
        store::jobs::claim(&server.app.db, &kinds, "another", 3600, 9, &store::jobs::Turns::default(), later)
            .await
            .unwrap()
            .unwrap();
    eventually("the step is ended here", 60, || async { (steps().await == 0).then_some(()) }).await;
    let meanwhile = alice.build_now(&id).await;
    let now = server.app.now();
    assert!(store::jobs::retry(&server.app.db, taken.id, taken.epoch, now, "given back").await.unwrap());
    eventually("it is taken up again here", 60, || async { (steps().await == 1).then_some(()) }).await;
    alice.post(&format!("/api/v1/builds/{id}/cancel"), json!({})).await;

    assert_eq!((&meanwhile["state"], &meanwhile["ended_at"]), (&json!("running"), &json!(null)));
    assert_eq!(alice.ended(&id).await["state"], "cancelled");
    server.stop().await;
}
