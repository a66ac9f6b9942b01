//! Images: what can be seen, named, changed and deleted, and what stays as long as something needs it.

use reqwest::Method;
use serde_json::{Value, json};
use server::clients::registry::client;
use server::domain::images::delete_content;
use store::{containers, images, machines};
use wire::containers::ContainerSpec;
use wire::ids::ImageId;
use wire::machines::{Capacity, MachineFacts, MachineState};
use wire::names::ImageName;

use crate::support::api::Api;
use crate::support::registry::RawImage;
use crate::support::server::{ADMIN_PASSWORD, TestServer};

async fn push(server: &TestServer, account: &str, name: &str, image: &RawImage) -> i64 {
    let name: ImageName = name.parse().unwrap();
    let password = if account == "admin" { ADMIN_PASSWORD.to_owned() } else { format!("{account} password") };
    let scope = format!("repository:{}:pull,push", name.repository());
    let token = server.ask_token(Some((account, &password)), &[&scope]).await.expect(200).json();
    let door = server.door().with_token(token["token"].as_str().unwrap());
    door.push(&name.repository(), name.tag.as_str(), image).await.expect(201);
    images::by_name(&server.app.db, &name).await.unwrap().unwrap().id.0
}

/// Whether the registry itself has a manifest, after the work that deletions left behind was done.
async fn has_content(server: &TestServer, repository: &str, digest: &str) -> bool {
    delete_content(&server.app, &format!("{repository}@{digest}")).await.unwrap();
    let found = client::manifest(&server.app, &repository.parse().unwrap(), &digest.parse().unwrap()).await;
    found.unwrap().is_some()
}

async fn names(api: &Api, query: &str) -> Vec<String> {
    let answer = api.get(&format!("/api/v1/images{query}")).await.expect(200).json();
    answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A container of an image, as its row is.
async fn container_of(server: &TestServer, image: i64, name: &str) -> i64 {
    let (db, now) = (&server.app.db, server.app.now());
    let facts = MachineFacts {
        machine_id: "m1".parse().unwrap(),
        hostname: "m1".into(),
        ip: "10.9.8.7".into(),
        cpu: std::collections::BTreeMap::new(),
        gpu: std::collections::BTreeMap::new(),
        memory: Capacity::default(),
        disk: Capacity::default(),
        engine_version: None,
        os: "Linux".into(),
        architecture: "amd64".into(),
        registry: "127.0.0.1:5000".into(),
        agent_version: "0".into(),
        lan: None,
    };
    machines::upsert(db, &facts, MachineState::Unknown, now).await.unwrap();
    let row = images::get(db, ImageId(image)).await.unwrap().unwrap();
    let container = containers::New {
        account_id: row.account_id.unwrap(),
        name: name.parse().unwrap(),
        display_name: None,
        machine_id: "m1".parse().unwrap(),
        image_id: row.id,
        image_name: "alice/app:v1".into(),
        image_repository: format!("{}/{}", row.owner, row.repo),
        image_digest: row.digest,
        spec: ContainerSpec {
            ports: Vec::new(),
            env: std::collections::BTreeMap::new(),
            command: None,
            entrypoint: None,
            working_dir: None,
            memory_bytes: 64 << 20,
            cpu_millis: 100,
            pids: 10,
            gpus: Vec::new(),
            shm_bytes: None,
            volumes: Vec::new(),
            tty: false,
        },
        desired: containers::Desired::Stopped,
        now,
        gpu_wish: None,
        max_duration_secs: None,
        restart_policy: wire::containers::RestartPolicy::No,
        placement: containers::Placement::Fixed,
    };
    containers::insert(db, &container).await.unwrap().id.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_their_own_and_the_public_images() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let own = push(&server, "alice", "alice/app:v1", &RawImage::new("a")).await;
    push(&server, "alice", "alice/web:v1", &RawImage::new("b")).await;
    push(&server, "bob", "bob/app:v1", &RawImage::new("c")).await;
    push(&server, "admin", "public/base:v1", &RawImage::new("d")).await;

    assert_eq!(names(&alice, "").await, ["public/base:v1", "alice/web:v1", "alice/app:v1"]);
    assert_eq!(names(&bob, "").await, ["public/base:v1", "bob/app:v1"]);
    assert_eq!(names(&admin, "").await.len(), 4);
    assert_eq!(names(&admin, "?account=bob").await, ["bob/app:v1"]);
    assert_eq!(names(&alice, "?account=alice").await, ["alice/web:v1", "alice/app:v1"]);
    assert_eq!(names(&alice, "?owner=public").await, ["public/base:v1"]);
    assert_eq!(names(&alice, "?owner=bob").await, Vec::<String>::new());
    assert_eq!(names(&alice, "?repo=app").await, ["alice/app:v1"]);
    assert_eq!(names(&alice, "?search=web").await, ["alice/web:v1"]);
    assert_eq!(names(&alice, "?limit=1&offset=1").await, ["alice/web:v1"]);
    assert_eq!(alice.get("/api/v1/images?account=bob").await.status, 403);
    assert_eq!(alice.anonymous().get("/api/v1/images").await.status, 401);
    assert_eq!(alice.get("/api/v1/images?repo=A/b").await.status, 422);
    let repositories = |answer: Value| {
        let rows = answer["data"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| format!("{}/{}", row["owner"].as_str().unwrap(), row["repo"].as_str().unwrap()))
            .collect()
    };
    let seen: Vec<String> = repositories(alice.get("/api/v1/repositories").await.expect(200).json());
    assert_eq!(seen, ["alice/app", "alice/web", "public/base"]);
    let seen: Vec<String> =
        repositories(admin.get("/api/v1/repositories?account=bob").await.expect(200).json());
    assert_eq!(seen, ["bob/app"]);

    let view = alice.get(&format!("/api/v1/images/{own}")).await.expect(200).json();
    assert_eq!(view["pull"], format!("{}/alice/app:v1", server.registry));
    for (method, path) in [
        (Method::GET, format!("/api/v1/images/{own}")),
        (Method::DELETE, format!("/api/v1/images/{own}")),
        (Method::GET, format!("/api/v1/images/{own}/dependents")),
        (Method::GET, "/api/v1/images/999999".to_owned()),
    ] {
        assert_eq!(bob.send(bob.request(method, &path)).await.status, 404, "{path}");
    }
    assert_eq!(bob.patch(&format!("/api/v1/images/{own}"), json!({"description": "d"})).await.status, 404);
    let stolen = bob.post(&format!("/api/v1/images/{own}/tags"), json!({"name": "bob/stolen:v1"})).await;
    assert_eq!(stolen.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_an_image_are_edited_and_follow_its_name() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, admin) = (server.account("alice").await, server.admin().await);
    let image = push(&server, "alice", "alice/app:v1", &RawImage::new("one")).await;
    let public = push(&server, "admin", "public/base:v1", &RawImage::new("base")).await;
    let path = format!("/api/v1/images/{image}");

    let change = json!({"display_name": "我的应用", "description": "line\nline"});
    let view = alice.patch(&path, change).await.expect(200).json();
    assert_eq!((&view["display_name"], &view["description"]), (&json!("我的应用"), &json!("line\nline")));
    let view = alice.patch(&path, json!({"description": null})).await.expect(200).json();
    assert_eq!((&view["display_name"], &view["description"]), (&json!("我的应用"), &Value::Null));
    assert_eq!(alice.patch(&path, json!({"display_name": "x".repeat(101)})).await.status, 422);
    assert_eq!(alice.patch(&path, json!({"owner": "bob"})).await.status, 422);
    let change = json!({"description": "mine now"});
    assert_eq!(alice.patch(&format!("/api/v1/images/{public}"), change.clone()).await.status, 403);
    admin.patch(&format!("/api/v1/images/{public}"), change).await.expect(200);

    let newer = push(&server, "alice", "alice/app:v1", &RawImage::new("two")).await;
    let view = alice.get(&format!("/api/v1/images/{newer}")).await.expect(200).json();
    assert_ne!(newer, image);
    assert_eq!(view["display_name"], "我的应用");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_moves_and_the_old_image_goes_when_nothing_needs_it() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let (one, two) = (RawImage::new("one"), RawImage::new("two"));
    let old = push(&server, "alice", "alice/app:v1", &one).await;

    let new = push(&server, "alice", "alice/app:v1", &two).await;

    let door = server.door_of("alice", "alice/app").await;
    assert_eq!(door.manifest("alice/app", "v1").await.expect(200).text.as_bytes(), two.manifest);
    assert_eq!(alice.get(&format!("/api/v1/images/{old}")).await.status, 404);
    assert_eq!(names(&alice, "?untagged=true").await, ["alice/app:v1"]);
    assert!(!has_content(&server, "alice/app", &one.digest).await);
    assert!(has_content(&server, "alice/app", &two.digest).await);
    // The same content again is the same image.
    assert_eq!(push(&server, "alice", "alice/app:v1", &two).await, new);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_needed_stays_when_its_tag_moves() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let (one, two) = (RawImage::new("one"), RawImage::new("two"));
    let old = push(&server, "alice", "alice/app:v1", &one).await;
    let container = container_of(&server, old, "box").await;

    push(&server, "alice", "alice/app:v1", &two).await;

    let view = alice.get(&format!("/api/v1/images/{old}")).await.expect(200).json();
    assert_eq!((&view["tag"], &view["name"]), (&Value::Null, &json!(format!("alice/app@{}", one.digest))));
    assert_eq!(names(&alice, "").await, ["alice/app:v1"]);
    assert!(has_content(&server, "alice/app", &one.digest).await);
    let door = server.door_of("alice", "alice/app").await;
    assert_eq!(door.manifest("alice/app", &one.digest).await.expect(200).text.as_bytes(), one.manifest);

    // The last dependent takes it along.
    let tx = server.app.db.begin().await.unwrap();
    containers::delete(&tx, wire::ids::ContainerId(container)).await.unwrap();
    server::domain::images::release(&server.app, &tx, ImageId(old)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(alice.get(&format!("/api/v1/images/{old}")).await.status, 404);
    assert!(!has_content(&server, "alice/app", &one.digest).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_with_dependents_is_not_deleted_and_says_who_they_are() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let base = push(&server, "admin", "public/base:v1", &RawImage::of(&["base"], &json!({}))).await;
    let child = push(&server, "alice", "alice/app:v1", &RawImage::of(&["base", "app"], &json!({}))).await;
    let container = container_of(&server, child, "box").await;

    let view = alice.get(&format!("/api/v1/images/{child}")).await.expect(200).json();
    assert_eq!(view["parent_image_id"], base);
    let path = format!("/api/v1/images/{base}");
    assert_eq!(bob.delete(&path).await.status, 403);
    let refused = admin.delete(&path).await.expect(409).json();
    assert_eq!(refused["code"], "has_dependents");
    assert_eq!(
        refused["dependents"],
        json!({"images": [{"id": child, "name": "alice/app:v1"}], "containers": []})
    );
    let seen = bob.get(&format!("{path}/dependents")).await.expect(200).json();
    assert_eq!(seen["images"], json!([{"id": child, "name": null}]), "somebody else's name stays hidden");
    let refused = alice.delete(&format!("/api/v1/images/{child}")).await.expect(409).json();
    assert_eq!(refused["dependents"]["containers"], json!([{"id": container, "name": "box"}]));
    assert!(refused["detail"].as_str().unwrap().contains("1 container was made from it"));

    containers::delete(&server.app.db, wire::ids::ContainerId(container)).await.unwrap();
    alice.delete(&format!("/api/v1/images/{child}")).await.expect(204);
    admin.delete(&path).await.expect(204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_image_is_gone_and_can_be_pushed_again() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let image = RawImage::new("again");
    let id = push(&server, "alice", "alice/app:v1", &image).await;
    let second = alice.post(&format!("/api/v1/images/{id}/tags"), json!({"name": "alice/app:v2"})).await;
    let second = second.expect(201).json()["id"].as_i64().unwrap();
    let door = server.door_of("alice", "alice/app").await;

    alice.delete(&format!("/api/v1/images/{id}")).await.expect(204);
    assert_eq!(door.manifest("alice/app", "v1").await.status, 404);
    assert!(has_content(&server, "alice/app", &image.digest).await, "another tag still uses it");
    alice.delete(&format!("/api/v1/images/{second}")).await.expect(204);
    assert!(!has_content(&server, "alice/app", &image.digest).await);
    assert_eq!(door.manifest("alice/app", &image.digest).await.status, 404);
    assert_eq!(alice.delete(&format!("/api/v1/images/{id}")).await.status, 404);

    push(&server, "alice", "alice/app:v1", &image).await;
    assert!(has_content(&server, "alice/app", &image.digest).await);
    let blob = client::digest_of(&image.blobs[0]);
    assert_eq!(
        door.get(&format!("/v2/alice/app/blobs/{blob}")).await.expect(200).text.as_bytes(),
        image.blobs[0]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_gets_other_names_without_moving_a_byte() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let image = RawImage::new("named");
    let id = push(&server, "alice", "alice/app:v1", &image).await;
    let tag = |api: Api, name: &'static str| async move {
        api.post(&format!("/api/v1/images/{id}/tags"), json!({"name": name})).await
    };

    let same = tag(alice.clone(), "alice/app:v2").await.expect(201).json();
    let other = tag(alice.clone(), "alice/web:v1").await.expect(201).json();
    let public = tag(admin.clone(), "public/app:v1").await.expect(201).json();

    assert_eq!((&same["source"], &same["digest"]), (&json!("tag"), &json!(image.digest)));
    assert_eq!(other["name"], "alice/web:v1");
    assert_eq!(public["create_parameters"]["command"], json!(["named"]));
    let scopes = ["repository:alice/web:pull", "repository:public/app:pull", "repository:alice/app:pull"];
    let door = server.door().with_token(server.token_of("alice", &scopes).await);
    for (repository, reference) in [("alice/app", "v2"), ("alice/web", "v1"), ("public/app", "v1")] {
        assert_eq!(door.manifest(repository, reference).await.expect(200).text.as_bytes(), image.manifest);
        let layer = client::digest_of(&image.blobs[0]);
        door.get(&format!("/v2/{repository}/blobs/{layer}")).await.expect(200);
    }
    // A tag that exists moves.
    let newer = push(&server, "alice", "alice/app:newer", &RawImage::new("newer")).await;
    let moved = alice
        .post(&format!("/api/v1/images/{newer}/tags"), json!({"name": "alice/app:v2"}))
        .await
        .expect(201);
    assert_eq!(moved.json()["digest"], json!(RawImage::new("newer").digest));
    assert_eq!(tag(alice.clone(), "bob/app:v1").await.status, 403);
    assert_eq!(tag(alice.clone(), "public/app:v2").await.status, 403);
    assert_eq!(tag(bob.clone(), "bob/app:v1").await.status, 404);
    assert_eq!(tag(admin.clone(), "ghost/app:v1").await.status, 404);
    assert_eq!(tag(alice.clone(), "alice/app").await.status, 422);
    assert_eq!(tag(alice.clone(), "alice/app:v2").await.status, 201);
    server.stop().await;
}

/// The registry writes in place, so that a reader may find half of what it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_gets_many_names_in_one_repository_at_once() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let id = push(&server, "alice", "alice/app:v1", &RawImage::new("named")).await;
    let path = format!("/api/v1/images/{id}/tags");

    for round in 0..3 {
        let names: Vec<_> = (0..12).map(|number| format!("alice/copy{round}:v{number}")).collect();
        let made = names.iter().map(|name| alice.post(&path, json!({"name": name})));
        for (name, made) in names.iter().zip(futures::future::join_all(made).await) {
            assert_eq!(made.status, 201, "{name}: {}", made.text);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_for_several_platforms_are_whole_or_nothing() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let (amd, arm) =
        (RawImage::of(&["amd"], &json!({"Cmd": ["amd"]})), RawImage::of(&["arm"], &json!({"Cmd": ["arm"]})));
    let index = RawImage::index(&[(&amd, "amd64"), (&arm, "arm64")]);
    let child = push(&server, "alice", "alice/app:amd", &amd).await;
    let door = server.door_of("alice", "alice/app").await;
    door.put_manifest("alice/app", "latest", &index).await.expect(400);
    let other = push(&server, "alice", "alice/app:arm", &arm).await;

    let id = push(&server, "alice", "alice/app:latest", &index).await;

    let view = alice.get(&format!("/api/v1/images/{id}")).await.expect(200).json();
    assert_eq!(view["size_bytes"], amd.size_bytes() + arm.size_bytes());
    let ours = if std::env::consts::ARCH == "aarch64" { "arm" } else { "amd" };
    assert_eq!(view["create_parameters"]["command"], json!([ours]));
    // Deleting the images that it is made of leaves it whole.
    for image in [child, other] {
        alice.delete(&format!("/api/v1/images/{image}")).await.expect(204);
    }
    assert!(has_content(&server, "alice/app", &amd.digest).await);
    assert!(has_content(&server, "alice/app", &arm.digest).await);
    let copied =
        alice.post(&format!("/api/v1/images/{id}/tags"), json!({"name": "alice/copy:v1"})).await.expect(201);
    assert_eq!(copied.json()["size_bytes"], view["size_bytes"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_pushes_into_an_account_that_exists_and_the_image_is_its_owners() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let id = push(&server, "admin", "alice/app:v1", &RawImage::new("from the admin")).await;

    let row = images::get(&server.app.db, ImageId(id)).await.unwrap().unwrap();
    let me = alice.get("/api/v1/me").await.json()["user_id"].as_i64();
    assert_eq!(row.account_id.map(|id| id.0), me);
    let scope = "repository:ghost/app:pull,push";
    let token = server.ask_token(Some(("admin", ADMIN_PASSWORD)), &[scope]).await.expect(200).json();
    let door = server.door().with_token(token["token"].as_str().unwrap());
    assert_eq!(door.push("ghost/app", "v1", &RawImage::new("nobody's")).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_meets_a_deletion_leaves_a_whole_image_or_none() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let image = RawImage::new("contested");
    let door = server.door_of("alice", "alice/app").await;
    door.push("alice/app", "v1", &image).await.expect(201);
    let name: ImageName = "alice/app:v1".parse().unwrap();
    let target = format!("alice/app@{}", image.digest);

    for round in 0..30 {
        let id = images::by_name(&server.app.db, &name).await.unwrap().unwrap().id;
        alice.delete(&format!("/api/v1/images/{id}")).await.expect(204);
        let removing = async {
            for _ in 0..5 {
                delete_content(&server.app, &target).await.unwrap();
            }
        };
        let (pushed, ()) = tokio::join!(door.put_manifest("alice/app", "v1", &image), removing);

        assert_eq!(pushed.status, 201, "{}", pushed.text);
        let found = door.manifest("alice/app", "v1").await;
        assert_eq!(found.status, 200, "round {round}: the push was acknowledged, so it must be there");
    }
    server.stop().await;
}
