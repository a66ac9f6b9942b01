//! Containers saved as images, on a real engine and a real registry.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::builds::leftovers;
use crate::support::eventually;
use crate::support::machine::docker;
use crate::support::process::ServerProcess;
use crate::support::shop::{Shop, push_context};

const BASE: &str = "ENV MODE=a KEEP=b\nLABEL team=red\nEXPOSE 8000\nVOLUME /data\nWORKDIR /tmp\n";

/// Runs a command in a container from outside, past everything of ours; what it prints.
fn inside(shop: &Shop, container: &Value, script: &str) -> String {
    docker(&shop.docker, &["exec", &shop.engine_id(&container["id"]).unwrap(), "sh", "-c", script])
}

/// A container of an image with parameters of its own.
async fn container(shop: &Shop, options: Value) -> Value {
    let context = crate::support::shell::context(BASE);
    push_context(&shop.docker, &shop.server.registry, "alice/base:v1", &context);
    shop.run_of("base:v1", options).await
}

async fn save(api: &Api, container: &Value, wanted: Value) -> Value {
    let path = format!("/api/v1/containers/{}/save", container["id"]);
    let accepted = api.post(&path, wanted).await.expect(202).json();
    api.succeeded(accepted["id"].as_str().unwrap()).await
}

async fn image_of(api: &Api, build: &Value) -> Value {
    api.get(&format!("/api/v1/images/{}", build["image_id"])).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_saved_and_runs_again() {
    let Some(shop) = Shop::open().await else { return };
    let alice = &shop.alice;
    let secret = json!({"SECRET": "hunter22", "MODE": "changed"});
    let script = "echo started; while :; do sleep 1; done; : token-9";
    let options = json!({"name": "work", "env": secret, "command": ["sh", "-c", script]});
    let made = container(&shop, options).await;
    inside(
        &shop,
        &made,
        "mkdir -p /srv && echo kept > /srv/note && echo lost > /data/note && rm /etc/passwd",
    );

    let preview = alice.get(&format!("/api/v1/containers/{}/save", made["id"])).await.expect(200).json();
    let wanted = json!({"image": "work:saved", "message": "with a note\nand more"});
    let build = save(alice, &made, wanted).await;

    assert_eq!((&build["kind"], &build["container_id"]), (&json!("container"), &made["id"]));
    assert_eq!(build["note"], "with a note\nand more");
    let log = alice.get(&format!("/api/v1/builds/{}/log", build["id"].as_str().unwrap())).await.text;
    assert!(log.contains("Saving container `work`, made from alice/base:v1"), "{log}");
    assert_eq!(preview["parent_image_id"], made["image_id"]);
    let base = alice.get(&format!("/api/v1/images/{}", made["image_id"])).await.expect(200).json();
    let image = image_of(alice, &build).await;
    assert_eq!((&image["name"], &image["source"]), (&json!("alice/work:saved"), &json!("save")));
    assert_eq!(image["parent_image_id"], made["image_id"]);
    assert_eq!(image["create_parameters"], base["create_parameters"], "they are inherited");
    assert_eq!(image["create_parameters"], preview["parameters"]);
    let layers = |image: &Value| image["layers"].as_array().unwrap().clone();
    assert_eq!(layers(&image)[..layers(&base).len()], layers(&base)[..], "it is one layer on the image");
    assert_eq!(layers(&image).len() as u64, preview["layers"].as_u64().unwrap());

    // It runs, as the image that the container was made from does, with what the container changed.
    let again = shop.run_of("work:saved", json!({"name": "again"})).await;
    let script = "cat /srv/note; ls /data; [ -e /etc/passwd ] && echo there; echo $MODE-$KEEP-$SECRET; pwd";
    assert_eq!(inside(&shop, &again, script), "kept\na-b-\n/tmp");
    assert_eq!(shop.processes(&again["id"]), ["/bin/sleep 3600"]);
    assert_eq!(shop.inspect(&made["id"])["State"]["Paused"], false, "it goes on");

    // Nothing that the container's creator told it is in the image, nor left anywhere that can be asked for.
    let repository = "alice/work";
    let distribution = shop.server.door_of("alice", repository).await;
    let manifest =
        distribution.manifest(repository, image["digest"].as_str().unwrap()).await.expect(200).json();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let config = distribution.get(&format!("/v2/{repository}/blobs/{config}")).await.expect(200).text;
    for secret in ["hunter22", "token-9", "changed", "longshore.instance"] {
        assert!(!config.contains(secret), "{secret} is in {config}");
    }
    assert!(config.contains("with a note"));
    // The machine forgets its copy as soon as builds are cleaned.
    eventually("no image on the machine has it", 60, || async {
        let ids = docker(&shop.docker, &["images", "-aq", "--no-trunc"]);
        let tells = ids.lines().any(|id| {
            // Other tests remove theirs meanwhile.
            let words = ["-H", &shop.docker, "image", "inspect", id];
            let shown = std::process::Command::new("docker").args(words).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("hunter22")
        });
        (!tells).then_some(())
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_stays_as_long_as_another_was_saved_from_it() {
    let Some(shop) = Shop::open().await else { return };
    let alice = &shop.alice;
    let made = container(&shop, json!({})).await;
    inside(&shop, &made, "echo one > /one");
    let build = save(alice, &made, json!({"image": "work:1", "message": "one more file"})).await;
    let saved = shop.run_of("work:1", json!({})).await;
    inside(&shop, &saved, "echo two > /two");
    let second = save(alice, &saved, json!({"image": "work:2"})).await;
    assert_eq!(image_of(alice, &second).await["parent_image_id"], build["image_id"]);
    let [base, first, second] = [&made["image_id"], &build["image_id"], &second["image_id"]];
    let delete = async |image: &Value| alice.delete(&format!("/api/v1/images/{image}")).await;
    let tree = async |api: &Api, image: &Value| api.get(&format!("/api/v1/images/{image}/tree")).await;
    let shown = |tree: Value| {
        let of = |image: &Value| (image["id"].clone(), image["parent_image_id"].clone());
        tree["images"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };

    // The whole family, from wherever one looks.
    let family = [(base, &Value::Null), (first, base), (second, first)];
    let family: Vec<_> = family.iter().map(|(id, parent)| ((*id).clone(), (*parent).clone())).collect();
    for image in [base, first, second] {
        let seen = tree(alice, image).await.expect(200).json();
        assert_eq!((&seen["id"], &seen["is_complete"]), (image, &json!(true)));
        assert_eq!(shown(seen), family);
    }
    let seen = tree(alice, first).await.json();
    assert_eq!(seen["images"][1]["description"], "one more file");
    assert_eq!(seen["images"][1]["containers"], json!([{"id": saved["id"], "name": saved["name"]}]));
    let (added, whole) = (&seen["images"][1]["added_bytes"], &seen["images"][1]["size_bytes"]);
    assert!(added.as_u64().unwrap() > 0 && added.as_u64() < whole.as_u64(), "{seen}");
    let bob = shop.server.account("bob").await;
    tree(&bob, first).await.expect(404);

    // Of what others made of a public image only the number is told.
    let admin = shop.server.admin().await;
    admin.post(&format!("/api/v1/images/{base}/tags"), json!({"name": "public/base:v1"})).await.expect(201);
    let public = admin.get("/api/v1/images?owner=public").await.json()["data"][0]["id"].clone();
    let from_public = shop.run_of("public/base:v1", json!({"name": "from-public"})).await;
    let third = save(alice, &from_public, json!({"image": "work:3"})).await;
    let alices = tree(alice, &public).await.expect(200).json();
    assert_eq!(alices["images"][1]["id"], third["image_id"], "{alices}");
    assert_eq!(
        (&alices["images"][0]["others"], &alices["images"][0]["containers"][0]["name"]),
        (&json!(0), &json!("from-public"))
    );
    let bobs = tree(&bob, &public).await.expect(200);
    assert_eq!(shown(bobs.json()), [(public.clone(), Value::Null)]);
    assert_eq!(bobs.json()["images"][0]["others"], 2);
    assert!(!bobs.text.contains("work") && !bobs.text.contains("from-public"), "{}", bobs.text);

    for container in [&made, &saved] {
        alice.delete(&format!("/api/v1/containers/{}", container["id"])).await.expect(202);
        shop.until_gone(&container["id"]).await;
    }
    for (image, child) in [(base, first), (first, second)] {
        let refused = delete(image).await.expect(409);
        assert_eq!(refused.code(), "has_dependents");
        assert_eq!(&refused.json()["dependents"]["images"][0]["id"], child, "{}", refused.text);
    }
    for image in [second, first, base] {
        delete(image).await.expect(204);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_saving_would_make_is_shown_before() {
    let Some(shop) = Shop::open_with(&[("containers.save_bytes", "3000000")]).await else { return };
    let alice = &shop.alice;
    let made = container(&shop, json!({})).await;
    let path = format!("/api/v1/containers/{}/save", made["id"]);
    inside(
        &shop,
        &made,
        "head -c 2000000 /dev/zero > /big; head -c 100 /dev/zero > /small; ln -s /etc /link",
    );

    let preview = alice.get(&path).await.expect(200).json();
    assert!(preview["size_bytes"].as_u64().unwrap() >= 2_000_100, "{preview}");
    assert_eq!(preview["biggest"][0], json!({"path": "/big", "size_bytes": 2_000_000}));
    assert_eq!((&preview["is_complete"], &preview["max_bytes"]), (&json!(true), &json!(3_000_000)));
    assert_eq!(preview["warnings"], json!(["what is in the volume `/data` is not saved"]));

    // Many changes: the large ones are found all the same, and the rest is said to be passed over or not.
    inside(
        &shop,
        &made,
        "mkdir /many; cd /many; i=0; while [ $i -lt 500 ]; do : > f$i; i=$((i+1)); done; head -c 2500000 /dev/zero > /many/large",
    );
    let preview = alice.get(&path).await.expect(200).json();
    assert_eq!(preview["biggest"][0], json!({"path": "/many/large", "size_bytes": 2_500_000}));
    assert!(preview["changes"].as_u64().unwrap() > 500 && preview["is_complete"] == true, "{preview}");
    assert!(preview["warnings"][0].as_str().unwrap().contains("more than the 2 MiB"), "{preview}");

    // A stopped one can be saved, too, if it is not too large.
    let too_large = alice.post(&path, json!({"image": "work:1"})).await.expect(202).json();
    let failed = alice.ended(too_large["id"].as_str().unwrap()).await;
    assert_eq!((&failed["state"], &failed["reason"]), (&json!("failed"), &json!("too_large")), "{failed:#}");
    inside(&shop, &made, "rm /many/large /big");
    shop.act(&made["id"], "stop").await;
    shop.until(&made["id"], "stopped").await;
    save(alice, &made, json!({"image": "work:1", "pause": false})).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_saved_is_refused() {
    let Some(shop) = Shop::open().await else { return };
    let alice = &shop.alice;
    let made = container(&shop, json!({"name": "mine"})).await;
    let engine_id = shop.engine_id(&made["id"]).unwrap();
    let bob = shop.server.account("bob").await;

    for id in [made["id"].to_string(), "mine".to_owned(), engine_id[..12].to_owned(), engine_id] {
        let path = format!("/api/v1/containers/{id}/save");
        bob.get(&path).await.expect(404);
        bob.post(&path, json!({"image": "stolen:1"})).await.expect(404);
        bob.anonymous().post(&path, json!({"image": "stolen:1"})).await.expect(401);
    }
    let path = format!("/api/v1/containers/{}/save", made["id"]);
    let inherited = alice.get(&path).await.expect(200).json()["parameters"].clone();
    let with = |field: &str, value: Value| {
        let mut parameters = inherited.clone();
        parameters[field] = value;
        json!({"image": "work:1", "parameters": parameters})
    };
    let cases = [
        (json!({"image": "bob/work:1"}), 403, "not_yours"),
        (json!({"image": "public/work:1"}), 403, "public_admin_only"),
        (json!({"image": "../work"}), 422, "invalid_name"),
        (json!({"image": "work:1", "message": "x".repeat(501)}), 422, "invalid"),
        (json!({"image": "work:1", "message": "\u{1b}[2J"}), 422, "invalid"),
        (json!({"image": "work:1", "user": "root"}), 422, "invalid"),
        (with("exposed_ports", json!(["8000/tcp", "22/tcp"])), 422, "not_narrower"),
        (with("env", json!({"LD_PRELOAD": "/evil.so"})), 422, "not_narrower"),
        (with("labels", json!({"longshore.container": "1"})), 422, "not_narrower"),
        (with("command", json!(["evil"])), 422, "not_narrower"),
        (with("user", json!("root")), 422, "not_narrower"),
        (with("volumes", json!(["/"])), 422, "not_narrower"),
    ];
    for (wanted, status, code) in cases {
        let answer = alice.post(&path, wanted.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{wanted}: {}", answer.text);
    }
    assert_eq!(alice.get("/api/v1/builds").await.json()["total"], 0, "nothing was begun");

    // Narrower is fine.
    let mut narrower = inherited.clone();
    (narrower["env"], narrower["exposed_ports"]) = (json!({"KEEP": "b"}), json!([]));
    let build = save(alice, &made, json!({"image": "work:1", "parameters": narrower})).await;
    assert_eq!(image_of(alice, &build).await["create_parameters"], narrower);
    // What is not named is kept, as the documentation shows.
    let named = json!({"env": {"KEEP": "b"}, "exposed_ports": []});
    let build = save(alice, &made, json!({"image": "work:3", "parameters": named})).await;
    assert_eq!(image_of(alice, &build).await["create_parameters"], narrower);
    // An admin saves in the name of whose it is.
    let admin = shop.server.admin().await;
    let build = save(&admin, &made, json!({"image": "work:2"})).await;
    assert_eq!((&build["account"], &build["image"]), (&json!("alice"), &json!("alice/work:2")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saving_is_cancelled_and_ends_with_its_container() {
    let Some(shop) = Shop::open_with(&[("builds.workers", "1")]).await else { return };
    let alice = &shop.alice;
    let made = container(&shop, json!({})).await;
    let path = format!("/api/v1/containers/{}/save", made["id"]);
    // Something that runs before them.
    let runs = alice
        .accepted("app", crate::support::archives::zip(&crate::support::archives::running(&["sleep"])))
        .await;
    alice.build_where(&runs, "the step runs", |build| build["step"] == 3).await;
    let first = alice.post(&path, json!({"image": "work:1"})).await.expect(202).json();
    let second = alice.post(&path, json!({"image": "work:2"})).await.expect(202).json();
    assert_eq!((&first["state"], &first["kind"]), (&json!("queued"), &json!("container")));

    alice
        .post(&format!("/api/v1/builds/{}/cancel", first["id"].as_str().unwrap()), json!({}))
        .await
        .expect(200);
    alice.delete(&format!("/api/v1/containers/{}", made["id"])).await.expect(202);
    shop.until_gone(&made["id"]).await;
    alice.post(&format!("/api/v1/builds/{runs}/cancel"), json!({})).await;

    assert_eq!(alice.ended(first["id"].as_str().unwrap()).await["state"], "cancelled");
    let ended = alice.ended(second["id"].as_str().unwrap()).await;
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("failed"), &json!("container_gone")));
    alice.post(&path, json!({"image": "work:3"})).await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_goes_on_with_saving() {
    let Some(mut server) = ServerProcess::start(&[]).await else { return };
    let docker_host = crate::support::engine().unwrap();
    let alice = server.account("alice").await;
    push_context(&docker_host, &server.registry, "alice/shell:v1", &crate::support::shell::context(""));
    let made = alice.post("/api/v1/containers", json!({"image": "shell:v1"})).await.expect(201).json();
    let path = format!("/api/v1/containers/{}", made["id"]);
    let runs = || async { (alice.get(&path).await.json()["state"] == "running").then_some(()) };
    eventually("the container runs", 60, runs).await;
    let instance = alice_instance(&server).await;
    let name = format!("ls-{}-{}", instance.short(), made["id"]);
    let script = "head -c 30000000 /dev/urandom > /noise";
    docker(&docker_host, &["exec", &name, "sh", "-c", script]);

    let mut kills = 0;
    for (number, phase) in ["building", "pushing", "verifying"].into_iter().enumerate() {
        let wanted = json!({"image": format!("work:{number}")});
        let id = alice.post(&format!("{path}/save"), wanted).await.expect(202).json()["id"].clone();
        let id = id.as_str().unwrap();
        let is_there = |build: &Value| build["phase"] == phase || build["phase"] == "done";
        let seen = alice.build_where(id, phase, is_there).await;
        if seen["phase"] == phase {
            kills += 1;
            server.kill();
            server.start_again().await;
        }
        let build = alice.succeeded(id).await;
        let image = image_of(&alice, &build).await;
        assert_eq!((&image["parent_image_id"], &image["state"]), (&made["image_id"], &json!("ready")));
        let digest = image["digest"].as_str().unwrap();
        crate::support::builds::pull(&server.registry, "alice", "alice password", "alice/work", digest)
            .await
            .unwrap();
    }
    assert!(kills > 0, "it was never killed in time");
    let paused = docker(&docker_host, &["inspect", "-f", "{{.State.Paused}}", &name]);
    assert_eq!(paused, "false");
    eventually("nothing is left of them", 60, || async {
        leftovers(&docker_host, instance, &server.data_dir).is_empty().then_some(())
    })
    .await;
    docker(&docker_host, &["rm", "-f", &name]);
}

async fn alice_instance(server: &ServerProcess) -> wire::ids::InstanceId {
    let path = server.data_dir.join("longshore.db");
    let db = store::Db::open(&format!("sqlite://{}", path.display())).await.unwrap();
    store::settings::get(&db, "instance").await.unwrap().unwrap().parse().unwrap()
}
