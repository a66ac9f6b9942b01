//! Images on machines: who has which, fetching before somebody needs it, and making room.

use std::time::Duration;

use serde_json::{Value, json};
use wire::ids::MachineId;
use wire::link::{LinkErrorCode, RegistryImage, RegistryReference};
use wire::machine_images::{CleanImages, ListImages};

use crate::support::machine::{Machine, docker, refusal};
use crate::support::shop::{Shop, push_made};
use crate::support::{Wait, eventually};

/// An image that no other is like.
fn dockerfile(salt: &str) -> String {
    format!("FROM scratch\nCOPY probe /probe\nENV SALT={salt}\nENTRYPOINT [\"/probe\"]\nCMD [\"sleep\"]\n")
}

async fn image_of(shop: &Shop, name: &str) -> Value {
    let images = shop.alice.get("/api/v1/images?limit=100").await.expect(200).json();
    let found = images["data"].as_array().unwrap().iter().find(|image| image["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("{name} is not in {images}"))
}

fn local_name(shop: &Shop, image: &Value) -> String {
    format!(
        "{}/{}/{}@{}",
        shop.server.registry,
        image["owner"].as_str().unwrap(),
        image["repo"].as_str().unwrap(),
        image["digest"].as_str().unwrap()
    )
}

fn is_there(shop: &Shop, image: &Value) -> bool {
    let output = std::process::Command::new("docker")
        .args(["-H", &shop.docker, "image", "inspect", &local_name(shop, image)])
        .output()
        .unwrap();
    output.status.success()
}

async fn until_on_machine(shop: &Shop, image: &Value, state: Option<&str>) -> Value {
    let path = format!("/api/v1/images/{}/machines", image["id"]);
    let wait = Wait::new(format!("{} is {state:?} on the machine", image["name"]));
    eventually(&wait, 60, || async {
        let listed = shop.alice.get(&path).await.expect(200).json();
        wait.saw(&listed);
        match state {
            None => (listed["total"] == 0).then_some(Value::Null),
            Some(state) => {
                let held = listed["data"][0].clone();
                (held["state"] == state && !held["size_bytes"].is_null()).then_some(held)
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_has_an_image_fetched_before_it_is_needed() {
    let Some(shop) = Shop::open().await else { return };
    let (admin, bob) = (shop.server.admin().await, shop.server.account("bob").await);
    let image = image_of(&shop, "alice/app:v1").await;
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"].clone();
    let machine = machine.as_str().unwrap();
    let path = format!("/api/v1/images/{}/machines", image["id"]);
    assert!(!is_there(&shop, &image));
    assert_eq!(shop.alice.get(&path).await.expect(200).json()["total"], 0);

    bob.get(&path).await.expect(404);
    shop.alice.put(&format!("{path}/{machine}"), json!({})).await.expect(403);
    admin.put(&format!("{path}/nowhere"), json!({})).await.expect(404);
    admin.put(&format!("/api/v1/images/999999/machines/{machine}"), json!({})).await.expect(404);
    let wanted = admin.put(&format!("{path}/{machine}"), json!({})).await.expect(202).json();
    assert_eq!((&wanted["state"], &wanted["machine_id"]), (&json!("wanted"), &json!(machine)));
    let held = until_on_machine(&shop, &image, Some("held")).await;

    assert!(is_there(&shop, &image));
    assert!(held["size_bytes"].as_u64() > Some(1_000) && held["pull"].is_null(), "{held}");
    let again = admin.put(&format!("{path}/{machine}"), json!({})).await.expect(202).json();
    assert_eq!(again["state"], "held");
    let audit = admin.get("/api/v1/audit?action=image.prefetch").await.expect(200).json();
    assert_eq!(audit["total"], 2);
    // And what is used there is noted.
    shop.server.app.clock.advance_secs(100);
    shop.run(json!({})).await;
    let used = until_on_machine(&shop, &image, Some("held")).await;
    assert!(used["last_used_at"].as_str() > held["last_used_at"].as_str(), "{used}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_fetched_says_why() {
    let Some(shop) = Shop::open().await else { return };
    let admin = shop.server.admin().await;
    let image = image_of(&shop, "alice/app:v1").await;
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"].clone();
    let path = format!("/api/v1/images/{}/machines", image["id"]);
    // An admin that asks and is none any more before it comes to that.
    let db = &shop.server.app.db;
    let row = store::machine_images::Row {
        machine_id: machine.as_str().unwrap().parse().unwrap(),
        repository: "alice/app".into(),
        digest: image["digest"].as_str().unwrap().parse().unwrap(),
        state: wire::machine_images::MachineImageState::Wanted,
        size_bytes: Some(1),
        last_used_at: shop.server.app.now(),
        account_id: Some(wire::ids::AccountId(2)),
        attempt: 4,
        message: None,
    };

    store::machine_images::put(db, &row).await.unwrap();
    shop.server.app.signals.machine_images.notify_one();

    let failed = until_on_machine(&shop, &image, Some("failed")).await;
    assert!(failed["message"].as_str().unwrap().contains("no active admin"), "{failed}");
    assert!(!is_there(&shop, &image));
    admin.put(&format!("{path}/{}", machine.as_str().unwrap()), json!({})).await.expect(202);
    until_on_machine(&shop, &image, Some("held")).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_made_with_what_nobody_uses_and_the_registry_has() {
    let settings = [("images.disk_high_percent", "1"), ("images.disk_low_percent", "0")];
    let Some(shop) = Shop::open_with(&settings).await else { return };
    let engine = shop.docker.clone();
    let salts = [("unused", "1"), ("stopped", "2"), ("named", "3"), ("gone", "4"), ("last", "5")];
    for (name, salt) in salts {
        push_made(&engine, &shop.server.registry, &format!("alice/{name}:v1"), &dockerfile(salt));
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().display().to_string();
    let login = ["--config", &config, "login", "-u", "alice", "-p", "alice password", &shop.server.registry];
    docker(&engine, &login);
    let mut images = Vec::new();
    for name in ["unused", "stopped", "named", "gone"] {
        let image = image_of(&shop, &format!("alice/{name}:v1")).await;
        docker(&engine, &["--config", &config, "pull", "-q", &local_name(&shop, &image)]);
        images.push(image);
    }
    let [unused, stopped, named, gone] = &images[..] else { panic!("four images") };
    let made = shop.run_of("stopped:v1", json!({})).await;
    shop.act(&made["id"], "stop?timeout=0").await;
    shop.until(&made["id"], "stopped").await;
    let foreign = format!("somebody-elses-{}", shop.server.app.instance.short());
    docker(&engine, &["tag", &local_name(&shop, named), &foreign]);
    shop.alice.delete(&format!("/api/v1/images/{}", gone["id"])).await;
    let is_gone = || async {
        (shop.alice.get(&format!("/api/v1/images/{}", gone["id"])).await.status == 404).then_some(())
    };
    eventually("it is deleted from the registry", 60, is_gone).await;
    assert!(images.iter().all(|image| is_there(&shop, image)));

    // After a fetch a machine is looked at.
    let admin = shop.server.admin().await;
    let last = image_of(&shop, "alice/last:v1").await;
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"].clone();
    let path = format!("/api/v1/images/{}/machines/{}", last["id"], machine.as_str().unwrap());
    admin.put(&path, json!({})).await.expect(202);
    let is_removed = || async { (!is_there(&shop, unused)).then_some(()) };
    eventually("room is made", 90, is_removed).await;
    until_on_machine(&shop, unused, None).await;

    assert!(is_there(&shop, stopped), "a container, even a stopped one, needs it");
    assert!(is_there(&shop, named), "it has a name that is not ours");
    assert!(is_there(&shop, gone), "nobody could fetch it again");
    shop.act(&made["id"], "start").await;
    shop.until(&made["id"], "running").await;
    // What was removed is fetched again when somebody needs it.
    shop.run_of("unused:v1", json!({})).await;
    docker(&engine, &["rmi", &foreign]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_makes_no_more_room_than_is_needed_and_forces_nothing() {
    let Some(machine) = Machine::start().await else { return };
    let first = machine.image("alice/first", "FROM scratch\nCOPY salt probe /\n").await;
    let second = machine.image("alice/second", "FROM scratch\nCOPY salt probe /\nENV A=1\n").await;
    let used = machine.image("alice/used", "FROM scratch\nCOPY salt probe /\nENV B=1\n").await;
    machine.call(&wire::link::CleanBuilds { instance: machine.instance, keep: Vec::new() }).await.unwrap();
    machine.create(1, &used, &["sleep"]).await.unwrap();
    let held = async || {
        let listed = machine.call(&ListImages {}).await.unwrap();
        assert!(listed.disk_total_bytes > listed.disk_free_bytes && listed.disk_free_bytes > 0);
        let mut held: Vec<(String, bool)> = listed
            .images
            .into_iter()
            .inspect(|image| assert!(image.size_bytes > 1_000, "{image:?}"))
            .map(|image| (image.repository, image.is_used))
            .collect();
        held.sort();
        held
    };
    let clean = |candidates: &[&RegistryImage], bytes| CleanImages {
        candidates: candidates.iter().copied().cloned().collect(),
        bytes,
    };
    let all =
        [("alice/first".to_owned(), false), ("alice/second".into(), false), ("alice/used".into(), true)];
    assert_eq!(held().await, all);

    let nothing = machine.call(&clean(&[&first], 0)).await.unwrap();
    let one = machine.call(&clean(&[&used, &first, &second], 1)).await.unwrap();
    let again = machine.call(&clean(&[&first, &used], u64::MAX)).await.unwrap();

    assert_eq!((nothing.removed.len(), nothing.freed_bytes), (0, 0));
    assert_eq!(one.removed, std::slice::from_ref(&first), "the first that may go, and no more");
    assert!(one.freed_bytes > 1_000);
    assert_eq!(
        (again.removed, again.freed_bytes),
        (vec![first], 0),
        "what is gone is gone, and takes no room"
    );
    assert_eq!(held().await, all[1..]);
    for wrong in [
        RegistryImage { repository: "../etc".into(), reference: second.reference.clone() },
        RegistryImage {
            repository: "alice/second".into(),
            reference: RegistryReference::Tag("v1".parse().unwrap()),
        },
    ] {
        assert_eq!(refusal(machine.call(&clean(&[&wrong], 1)).await).code, LinkErrorCode::Invalid);
    }
    assert_eq!(held().await, all[1..]);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_removed_has_nothing_any_more() {
    let server = crate::support::server::TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let id: MachineId = "gone".parse().unwrap();
    let facts = wire::machines::MachineFacts {
        machine_id: id.clone(),
        hostname: "gone".into(),
        ip: "192.0.2.1".into(),
        cpu: std::collections::BTreeMap::new(),
        gpu: std::collections::BTreeMap::new(),
        memory: wire::machines::Capacity::default(),
        disk: wire::machines::Capacity::default(),
        engine_version: None,
        os: String::new(),
        architecture: "amd64".into(),
        registry: "127.0.0.1:5000".into(),
        agent_version: "0".into(),
        lan: None,
    };
    let db = &server.app.db;
    store::machines::upsert(db, &facts, wire::machines::MachineState::Unknown, server.app.now())
        .await
        .unwrap();
    let row = store::machine_images::Row {
        machine_id: id.clone(),
        repository: "alice/app".into(),
        digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
        state: wire::machine_images::MachineImageState::Held,
        size_bytes: None,
        last_used_at: server.app.now(),
        account_id: None,
        attempt: 0,
        message: None,
    };
    store::machine_images::put(db, &row).await.unwrap();

    admin.delete("/api/v1/machines/gone").await.expect(200);

    assert_eq!(store::machine_images::of_machine(db, &id).await.unwrap(), []);
    tokio::time::timeout(Duration::from_secs(30), server.stop()).await.unwrap();
}
