//! Tidying up the registry, with the real one. Each of these waits until the tokens are too old that open a push; they live
//! shorter here than elsewhere.

use serde_json::{Value, json};
use server::domain::collections;

use crate::support::api::Api;
use crate::support::process::ServerProcess;
use crate::support::registry::{RawClient, RawImage};
use crate::support::server::{TestServer, client};
use crate::support::{Wait, eventually};

/// Longer than a token lives and the registry needs.
const PATIENCE: u64 = 240;

async fn collection(api: &Api, id: &str) -> Value {
    api.get(&format!("/api/v1/registry/collections/{id}")).await.expect(200).json()
}

async fn begin(admin: &Api) -> String {
    let begun = admin.post("/api/v1/registry/collections", json!({})).await.expect(202).json();
    begun["id"].as_str().unwrap().to_owned()
}

async fn until_phase(api: &Api, id: &str, phases: &[&str]) -> Value {
    let wait = Wait::new(format!("the collection is {phases:?}"));
    eventually(&wait, PATIENCE, || async {
        let seen = collection(api, id).await;
        wait.saw(&seen);
        phases.contains(&seen["phase"].as_str().unwrap()).then_some(seen)
    })
    .await
}

/// A layer that does not compress away.
fn noise(seed: &str, bytes: usize) -> String {
    (0_u64..)
        .flat_map(|i| {
            server::clients::registry::client::digest_of(format!("{seed}{i}").as_bytes())
                .to_string()
                .into_bytes()
        })
        .take(bytes)
        .map(char::from)
        .collect()
}

/// Whether a client gets the manifest and every blob that it names.
async fn pulls_whole(client: &RawClient, repository: &str, image: &RawImage) -> bool {
    if client.manifest(repository, &image.digest).await.status != 200 {
        return false;
    }
    for blob in &image.blobs {
        let digest = server::clients::registry::client::digest_of(blob);
        let answer = client.get(&format!("/v2/{repository}/blobs/{digest}")).await;
        if answer.status != 200 || answer.text.as_bytes() != blob.as_slice() {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_image_needs_is_removed_and_the_rest_stays() {
    let server = TestServer::without_engine(&[("registry.token_secs", "10")]).await;
    let alice = server.account("alice").await;
    let admin = server.admin().await;
    let shared = noise("shared", 100_000);
    let (kept, gone) = (noise("kept", 200_000), noise("gone", 300_000));
    let kept = RawImage::of(&[&shared, &kept], &json!({"Cmd": ["kept"]}));
    let gone = RawImage::of(&[&shared, &gone], &json!({"Cmd": ["gone"]}));
    server.door_of("alice", "alice/app").await.push("alice/app", "kept", &kept).await.expect(201);
    server.door_of("alice", "alice/app").await.push("alice/app", "gone", &gone).await.expect(201);
    // What a push left that never came to its end: a manifest that no tag ever had, and a layer without one.
    let stray = RawImage::of(&[&noise("stray", 50_000)], &json!({"Cmd": ["stray"]}));
    let door = server.door_of("alice", "alice/app").await;
    door.push("alice/app", &stray.digest, &stray).await.expect(201);
    door.put_blob("alice/app", noise("layer", 70_000).into_bytes()).await.expect(201);
    let images = alice.get("/api/v1/images?search=gone").await.json();
    alice.delete(&format!("/api/v1/images/{}", images["data"][0]["id"])).await.expect(204);

    alice.post("/api/v1/registry/collections", json!({})).await.expect(403);
    alice.get("/api/v1/registry/collections").await.expect(403);
    let id = begin(&admin).await;
    assert_eq!(
        admin.post("/api/v1/registry/collections", json!({})).await.expect(409).code(),
        "collection_runs"
    );
    let done = until_phase(&admin, &id, &["done"]).await;

    assert_eq!(done["state"], "succeeded", "{done:#}");
    let freed = done["freed_bytes"].as_u64().unwrap();
    assert!((420_000..430_000).contains(&freed), "{done:#}");
    assert_eq!(done["bytes_before"].as_u64().unwrap() - done["bytes_after"].as_u64().unwrap(), freed);
    let door = server.door_of("alice", "alice/app").await;
    assert!(pulls_whole(&door, "alice/app", &kept).await, "what an image needs stays");
    for image in [&gone, &stray] {
        assert_eq!(door.manifest("alice/app", &image.digest).await.status, 404);
        let digest = server::clients::registry::client::digest_of(&image.blobs[image.blobs.len() - 2]);
        assert_eq!(door.get(&format!("/v2/alice/app/blobs/{digest}")).await.status, 404);
    }
    // The same content comes again as if it had never been there.
    door.push("alice/app", "gone", &gone).await.expect(201);
    assert!(pulls_whole(&door, "alice/app", &gone).await);
    assert_eq!(admin.get("/api/v1/registry/collections").await.json()["total"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_at_the_same_time_lose_nothing() {
    // Long enough that somebody who comes while it is closed gives up waiting.
    let server = TestServer::without_engine(&[("registry.token_secs", "20")]).await;
    server.account("alice").await;
    let admin = server.admin().await;
    let begun = RawImage::of(&[&noise("begun", 100_000)], &json!({}));
    let door = server.door_of("alice", "alice/begun").await;
    // Its layers are there, and nothing names them yet.
    for blob in &begun.blobs {
        door.put_blob("alice/begun", blob.clone()).await.expect(201);
    }

    let id = begin(&admin).await;
    until_phase(&admin, &id, &["closing"]).await;
    // It goes on while others wait, with a new token if it must.
    let door = server.door_of("alice", "alice/begun").await;
    door.put_manifest("alice/begun", "v1", &begun).await.expect(201);

    // Others come all the time: each is refused in so many words or is whole.
    let mut pushed = Vec::new();
    let mut refused = 0;
    let mut number = 0;
    while collection(&admin, &id).await["phase"] != "done" {
        number += 1;
        let image =
            RawImage::of(&[&noise(&format!("n{number}"), 20_000)], &json!({"Cmd": [number.to_string()]}));
        let scope = format!("repository:alice/r{number}:pull,push");
        let token = server.ask_token(Some(("alice", "alice password")), &[&scope]).await;
        if token.status == 503 {
            assert!(token.text.contains("tidied up"), "{}", token.text);
            refused += 1;
            continue;
        }
        let token = token.expect(200).json()["token"].as_str().unwrap().to_owned();
        let door = server.door().with_token(token);
        door.push(&format!("alice/r{number}"), "v1", &image).await.expect(201);
        pushed.push((format!("alice/r{number}"), image));
    }

    assert!(refused > 0, "nobody came while it was closed");
    let done = collection(&admin, &id).await;
    assert_eq!(done["state"], "succeeded", "{done:#}");
    pushed.push(("alice/begun".to_owned(), begun));
    for (repository, image) in pushed {
        let door = server.door_of("alice", &repository).await;
        assert!(pulls_whole(&door, &repository, &image).await, "{repository}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_tidies_up_again_and_loses_nothing() {
    let Some(mut server) = ServerProcess::start(&[("registry.token_secs", "10")]).await else { return };
    let alice = server.account("alice").await;
    let admin = server.admin().await;
    let token = |server: &ServerProcess| {
        let url =
            format!("http://{}/api/registry/token?scope=repository:alice/app:pull,push", server.registry);
        let request = client().get(url).basic_auth("alice", Some("alice password"));
        async move {
            request.send().await.unwrap().json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
        }
    };
    let door = |server: &ServerProcess, token: String| RawClient {
        base: format!("http://{}", server.registry),
        token: Some(token),
        http: client(),
    };
    let image = |number: usize| {
        RawImage::of(&[&noise(&format!("k{number}"), 50_000)], &json!({"Cmd": [number.to_string()]}))
    };
    for number in 0..40 {
        let client = door(&server, token(&server).await);
        client.push("alice/app", &format!("v{number}"), &image(number)).await.expect(201);
    }
    for row in alice.get("/api/v1/images?limit=100").await.json()["data"].as_array().unwrap() {
        let number: usize = row["tag"].as_str().unwrap()[1..].parse().unwrap();
        if number.is_multiple_of(2) {
            alice.delete(&format!("/api/v1/images/{}", row["id"])).await.expect(204);
        }
    }

    let id = begin(&admin).await;
    let seen = until_phase(&admin, &id, &["sweeping", "done"]).await;
    server.kill();
    server.start_again().await;
    let done = until_phase(&admin, &id, &["done"]).await;

    assert_eq!(done["state"], "succeeded", "{done:#}");
    assert!(done["freed_bytes"].as_u64().unwrap() >= 20 * 50_000, "seen {seen:#}, done {done:#}");
    for number in 0..40 {
        let client = door(&server, token(&server).await);
        let is_kept = number % 2 == 1;
        assert_eq!(pulls_whole(&client, "alice/app", &image(number)).await, is_kept, "v{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_removes_nothing_yet_can_be_given_up_and_pushes_go_on() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, admin) = (server.account("alice").await, server.admin().await);
    let id = begin(&admin).await;
    until_phase(&admin, &id, &["closing"]).await;
    let path = format!("/api/v1/registry/collections/{id}/cancel");

    alice.post(&path, json!({})).await.expect(403);
    // Who waits to push is let in.
    let waiting = server.ask_token(Some(("alice", "alice password")), &["repository:alice/app:pull,push"]);
    let cancelling = async { admin.post(&path, json!({})).await.expect(200).json() };
    let (token, given_up) = tokio::join!(waiting, cancelling);
    token.expect(200);

    assert_eq!((&given_up["state"], &given_up["phase"]), (&json!("cancelled"), &json!("done")));
    assert_eq!(admin.post(&path, json!({})).await.expect(200).json(), given_up, "twice is once");
    let audited = admin.get("/api/v1/audit?action=registry.collect_cancel").await.json();
    assert_eq!(audited["total"], 1);
    begin(&admin).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_is_tidied_up_every_so_many_days() {
    let server = TestServer::without_engine(&[("registry.collect_days", "7")]).await;
    let is_due = || async { collections::create_due(&server.app).await.unwrap() };

    assert!(!is_due().await, "the installation is new");
    server.app.clock.advance_secs(7 * 24 * 3600);
    assert!(is_due().await);
    assert!(!is_due().await, "one goes on");

    let begun = server.admin().await.get("/api/v1/registry/collections").await.json();
    assert_eq!(begun["total"], 1);
    server.stop().await;
}
