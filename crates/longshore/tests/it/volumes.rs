//! Volumes that outlive containers, on a real engine.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::eventually;
use crate::support::machine::docker;
use crate::support::shop::Shop;

/// Runs a command in a container from outside, past everything of ours; what it prints.
fn inside(shop: &Shop, container: &Value, script: &str) -> String {
    docker(&shop.docker, &["exec", &shop.engine_id(&container["id"]).unwrap(), "sh", "-c", script])
}

async fn list(api: &Api) -> Vec<Value> {
    api.get("/api/v1/volumes").await.expect(200).json()["data"].as_array().unwrap().clone()
}

/// The volumes of this installation that the engine has.
fn on_engine(shop: &Shop) -> Vec<String> {
    let label = format!("label=longshore.instance={}", shop.server.app.instance);
    let listed = docker(&shop.docker, &["volume", "ls", "-q", "--filter", &label]);
    listed.lines().map(str::to_owned).collect()
}

async fn delete_container(shop: &Shop, container: &Value) {
    shop.alice.delete(&format!("/api/v1/containers/{}", container["id"])).await.expect(202);
    shop.until_gone(&container["id"]).await;
}

async fn delete_volumes(shop: &Shop) {
    for volume in list(&shop.alice).await {
        shop.alice.delete(&format!("/api/v1/volumes/{}", volume["id"])).await.expect(202);
    }
    eventually("the volumes are gone", 60, || async { on_engine(shop).is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_outlives_its_containers_and_goes_when_nobody_has_it() {
    let Some(shop) = Shop::open().await else { return };
    let volumes = json!([{"name": "data", "target": "/data"}]);
    let first = shop.run_shell(json!({"name": "first", "volumes": volumes})).await;
    inside(&shop, &first, "echo kept > /data/note");
    assert_eq!(first["volumes"][0]["name"], "data");
    delete_container(&shop, &first).await;

    let read_only = json!([{"name": "data", "target": "/mnt/data", "is_read_only": true}]);
    let second = shop.run_of("shell:v1", json!({"name": "second", "volumes": read_only})).await;
    let script = "cat /mnt/data/note; echo x > /mnt/data/x 2>/dev/null || echo read-only";
    assert_eq!(inside(&shop, &second, script), "kept\nread-only");
    let listed = list(&shop.alice).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["containers"], json!([{"id": second["id"], "name": "second"}]));
    assert_eq!((&listed[0]["state"], &listed[0]["machine_id"]), (&json!("ready"), &second["machine_id"]));

    let path = format!("/api/v1/volumes/{}", listed[0]["id"]);
    let refused = shop.alice.delete(&path).await.expect(409);
    assert_eq!(refused.code(), "volume_in_use");
    assert_eq!(refused.json()["containers"][0]["name"], "second");
    delete_container(&shop, &second).await;
    assert_eq!(on_engine(&shop).len(), 1, "it outlives its last container");
    shop.alice.delete(&path).await.expect(202);
    eventually("the volume is gone", 60, || async {
        (shop.alice.get(&path).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(on_engine(&shop), Vec::<String>::new());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_keeps_what_is_written_in_the_working_directory() {
    let Some(shop) = Shop::open().await else { return };
    let first = shop.run_shell(json!({"home": true})).await;
    assert_eq!((&first["volumes"][0]["name"], &first["working_dir"]), (&json!("home"), &json!("/workspace")));
    assert_eq!(inside(&shop, &first, "pwd"), "/workspace");
    inside(&shop, &first, "echo mine > note");
    delete_container(&shop, &first).await;

    let elsewhere = shop.run_of("shell:v1", json!({"home": true, "working_dir": "/home/me"})).await;
    assert_eq!(elsewhere["volumes"][0]["target"], "/home/me");
    assert_eq!(inside(&shop, &elsewhere, "cat /home/me/note"), "mine");
    delete_container(&shop, &elsewhere).await;
    delete_volumes(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_a_volume_of_somebody_else() {
    let Some(shop) = Shop::open().await else { return };
    let volumes = json!([{"name": "data", "target": "/data"}]);
    let alices = shop.run_shell(json!({"volumes": volumes})).await;
    inside(&shop, &alices, "echo secret > /data/note");
    let id = list(&shop.alice).await[0]["id"].clone();
    let engine_name = on_engine(&shop)[0].clone();
    let admin = shop.server.admin().await;
    let image = shop.alice.get("/api/v1/images?search=shell").await.json()["data"][0]["id"].clone();
    admin.post(&format!("/api/v1/images/{image}/tags"), json!({"name": "public/shell:v1"})).await.expect(201);
    let bob = shop.server.account("bob").await;

    // He gets one of his own under the same name, and every other way to name hers is refused.
    let ask =
        |name: &str| json!({"image": "public/shell:v1", "volumes": [{"name": name, "target": "/data"}]});
    let bobs = bob.post("/api/v1/containers", ask("data")).await.expect(201).json();
    let path = format!("/api/v1/containers/{}", bobs["id"]);
    eventually("bob's container runs", 60, || async {
        (bob.get(&path).await.json()["state"] == "running").then_some(())
    })
    .await;
    assert_eq!(inside(&shop, &bobs, "ls /data"), "");
    assert_ne!(bobs["volumes"][0]["volume"], id);
    let taken = bob.post("/api/v1/containers", ask(&engine_name)).await;
    if taken.status == 201 {
        // It is only a name, and the engine knows his under another.
        assert_ne!(taken.json()["volumes"][0]["volume"], id);
        bob.delete(&format!("/api/v1/containers/{}", taken.json()["id"])).await.expect(202);
    }
    for name in ["/", "/etc", "../data", "alice/data", "DATA", "a:b", ""] {
        bob.post("/api/v1/containers", ask(name)).await.expect(422);
    }
    let by_number =
        json!({"image": "public/shell:v1", "volumes": [{"volume": id, "name": "data", "target": "/data"}]});
    bob.post("/api/v1/containers", by_number).await.expect(422);
    bob.get(&format!("/api/v1/volumes/{id}")).await.expect(404);
    bob.delete(&format!("/api/v1/volumes/{id}")).await.expect(404);
    bob.get("/api/v1/volumes?account=alice").await.expect(403);
    bob.get("/api/v1/volumes?all=true").await.expect(403);
    assert!(list(&bob).await.iter().all(|volume| volume["account"] == "bob"));
    assert_eq!(inside(&shop, &alices, "cat /data/note"), "secret");

    // Positive control: whoever may speak to the engine himself reaches it by its name.
    let stolen = docker(
        &shop.docker,
        &[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &format!("{engine_name}:/data"),
            "--entrypoint",
            "/bin/sh",
            shop.inspect(&alices["id"])["Image"].as_str().unwrap(),
            "-c",
            "cat /data/note",
        ],
    );
    assert_eq!(stolen, "secret");
    for path in [path, format!("/api/v1/containers/{}", alices["id"])] {
        admin.delete(&path).await.expect(202);
        eventually("it is gone", 60, || async { (admin.get(&path).await.status == 404).then_some(()) }).await;
    }
    eventually("nothing holds a volume", 60, || async {
        let all = admin.get("/api/v1/volumes?all=true").await.json();
        all["data"].as_array().unwrap().iter().all(|volume| volume["containers"] == json!([])).then_some(())
    })
    .await;
    for volume in admin.get("/api/v1/volumes?all=true").await.json()["data"].as_array().unwrap() {
        admin.delete(&format!("/api/v1/volumes/{}", volume["id"])).await.expect(202);
    }
    eventually("the volumes are gone", 60, || async { on_engine(&shop).is_empty().then_some(()) }).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_held_to_bounds_and_places() {
    let Some(shop) = Shop::open_with(&[("containers.volumes_per_account", "2")]).await else { return };
    let ask = |volumes: Value| json!({"volumes": volumes});
    for target in ["data", "/", "/a/../b", "/proc", "/sys/x", "/dev", "/a\u{0}b", "//data", "/etc/hosts"] {
        let refused = shop.ask(ask(json!([{"name": "a", "target": target}]))).await.expect(422);
        assert_eq!(refused.code(), "not_allowed", "{target}: {}", refused.text);
    }
    // Nobody can say yet on which machine the GPUs will be.
    let gpus = json!({"gpus": {"count": 1}, "volumes": [{"name": "a", "target": "/a"}]});
    assert_eq!(shop.ask(gpus).await.expect(422).code(), "machine_needed");
    let twice = json!([{"name": "a", "target": "/a"}, {"name": "b", "target": "/a"}]);
    shop.ask(ask(twice)).await.expect(422);
    shop.ask(ask(json!([{"name": "a", "target": "/a", "driver": "nfs"}]))).await.expect(422);
    let many: Vec<_> = (0..40).map(|i| json!({"name": "a", "target": format!("/t{i}")})).collect();
    shop.ask(ask(json!(many))).await.expect(422);
    assert_eq!(list(&shop.alice).await.len(), 0, "what is refused makes nothing");

    let three: Vec<_> =
        ["a", "b", "c"].iter().map(|name| json!({"name": name, "target": format!("/{name}")})).collect();
    let refused = shop.ask(ask(json!(three))).await.expect(409);
    assert_eq!(refused.code(), "too_many_volumes");
    assert_eq!(list(&shop.alice).await.len(), 0, "all or nothing");
    // The same volume twice counts once.
    let one = json!([{"name": "a", "target": "/a"}, {"name": "a", "target": "/again"}, {"name": "b", "target": "/b"}]);
    let made = shop.run(ask(one)).await;
    assert_eq!(list(&shop.alice).await.len(), 2);
    delete_container(&shop, &made).await;
    delete_volumes(&shop).await;
    shop.close().await;
}
