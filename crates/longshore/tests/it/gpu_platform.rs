//! Seed 001, walked from end to end by its own words: accounts, a public image, and the eight functions of Docker that it
//! lists. One story: an admin builds a public image, alice makes a container of it, saves it, and deletes in order.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::api::Api;
use crate::support::builds::pull;
use crate::support::eventually;
use crate::support::machine::docker;
use crate::support::server::ADMIN_PASSWORD;
use crate::support::shop::Shop;

/// What the seed calls the hash of the password.
fn hash(password: &str) -> String {
    hex::encode(Sha256::digest(password))
}

async fn login(api: &Api, account: &str, password: &str) -> Api {
    let answer = api.post("/api/auth/login", json!({"account": account, "password": hash(password)})).await;
    let token = answer.expect(200).json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3, "x.x.x");
    api.with_token(token)
}

/// Whether an object has these fields, whatever they hold.
fn has(object: &Value, fields: &[&str]) -> bool {
    fields.iter().all(|field| object.get(field).is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_eight_functions_of_docker_are_there() {
    let Some(mut shop) = Shop::open().await else { return };
    let anonymous = shop.alice.anonymous();
    let registry = shop.server.registry.clone();

    // Accounts, with the hash as the password.
    let account = json!({"account": "carol", "password": hash("carol's own")});
    anonymous.post("/api/auth/register", account.clone()).await.expect(200);
    anonymous.post("/api/auth/register", account).await.expect(409);
    anonymous
        .post("/api/auth/login", json!({"account": "carol", "password": hash("wrong")}))
        .await
        .expect(401);
    anonymous.post("/api/auth/login", json!({"account": "nobody1", "password": hash("x")})).await.expect(404);
    let carol = login(&anonymous, "carol", "carol's own").await;
    let admin = login(&anonymous, "admin", ADMIN_PASSWORD).await;
    let user = carol.get("/api/user/get_user/carol").await.expect(200).json();
    assert!(has(&user, &["user_id", "account", "nickname", "email", "phone", "photo"]), "{user}");
    let machines = carol.get("/api/machine/info").await.expect(200).json();
    let fields = ["machine_id", "ip", "gpu", "cpu", "disk", "memory", "online"];
    assert!(has(&machines[0], &fields) && machines[0]["online"] == true, "{machines}");

    // 6. Build an image on the main node; 4. it is in the registry then. A public one is the admin's.
    let context = crate::support::shell::context("ENV MODE=a\nEXPOSE 8000\nWORKDIR /tmp\n");
    carol.build("public/base:v1", context.clone()).await.expect(403);
    let build = admin.accepted("public/base:v1", context).await;
    let build = admin.succeeded(&build).await;
    let digest = build["digest"].as_str().unwrap();
    pull(&registry, "carol", "carol's own", "public/base", digest).await.unwrap();

    // 8. Query images, with the seed's fields and names.
    let images = carol.get("/api/v1/images").await.expect(200).json();
    let public = images["data"][0].clone();
    assert!(has(&public, &["id", "name", "description", "display_name", "create_parameters"]), "{public}");
    assert_eq!(
        (&public["name"], &public["pull"]),
        (&json!("public/base:v1"), &json!(format!("{registry}/public/base:v1")))
    );

    // 1. Create a container with parameters. 5. Its machine pulls the image when it is first used there.
    let reference = format!("{registry}/public/base@{digest}");
    let is_there = |docker_host: &str| docker(docker_host, &["images", "-q", "--no-trunc", &reference]);
    // The main node is a machine, too, and keeps what it has built; without that it has to be pulled.
    eventually("the main node has forgotten what it built", 60, || async {
        let words = ["-H", &shop.docker, "rmi", "-f", &reference];
        // Cleaning up behind the build may have been faster.
        std::process::Command::new("docker").args(words).output().unwrap();
        is_there(&shop.docker).is_empty().then_some(())
    })
    .await;
    shop.alice = carol.clone();
    let wanted = json!({
        "name": "box", "display_name": "My box", "env": {"A": "b"}, "ports": [{"container": 8000}],
        "memory_bytes": 128 << 20, "cpu_millis": 500,
    });
    let made = shop.run_of("public/base:v1", wanted).await;
    assert_ne!(is_there(&shop.docker), "");
    let fields = ["id", "name", "display_name", "machine_id", "image_id", "port", "user_id", "status"];
    assert!(has(&made, &fields), "{made}");
    assert_eq!(
        (&made["status"], &made["image_id"], &made["user_id"]),
        (&json!(true), &public["id"], &user["user_id"])
    );

    // 2. Stop and start; 8. query containers.
    shop.act(&made["id"], "stop").await;
    assert_eq!(shop.until(&made["id"], "stopped").await["status"], false);
    shop.act(&made["id"], "start").await;
    shop.until(&made["id"], "running").await;
    let listed = carol.get("/api/v1/containers").await.expect(200).json();
    assert_eq!((&listed["total"], &listed["data"][0]["id"]), (&json!(1), &made["id"]));

    // 3. The container becomes an image, which 4. goes to the registry and inherits the base image's parameters.
    let engine_id = shop.engine_id(&made["id"]).unwrap();
    docker(&shop.docker, &["exec", &engine_id, "sh", "-c", "echo mine > /srv-note"]);
    let path = format!("/api/v1/containers/{}/save", made["id"]);
    carol.post(&path, json!({"image": "public/mine:v1"})).await.expect(403);
    let saved = carol.post(&path, json!({"image": "mine:v1"})).await.expect(202).json();
    let saved = carol.succeeded(saved["id"].as_str().unwrap()).await;
    let custom = carol.get(&format!("/api/v1/images/{}", saved["image_id"])).await.expect(200).json();
    assert_eq!((&custom["name"], &custom["parent_image_id"]), (&json!("carol/mine:v1"), &public["id"]));
    assert_eq!(custom["create_parameters"], public["create_parameters"]);
    let again = shop.run_of("mine:v1", json!({})).await;
    let engine_id = shop.engine_id(&again["id"]).unwrap();
    assert_eq!(docker(&shop.docker, &["exec", &engine_id, "cat", "/srv-note"]), "mine");

    // 7. Delete images: public ones by an admin alone, and none before what depends on it.
    let image = |row: &Value| format!("/api/v1/images/{}", row["id"]);
    carol.delete(&image(&public)).await.expect(403);
    for (api, row, dependents) in [(&admin, &public, [1, 1]), (&carol, &custom, [0, 1])] {
        let refused = api.delete(&image(row)).await.expect(409).json();
        let count = |kind: &str| refused["dependents"][kind].as_array().unwrap().len();
        assert_eq!([count("images"), count("containers")], dependents, "{refused}");
    }
    for container in [&made, &again] {
        carol.delete(&format!("/api/v1/containers/{}", container["id"])).await.expect(202);
        shop.until_gone(&container["id"]).await;
    }
    carol.delete(&image(&custom)).await.expect(204);
    admin.delete(&image(&public)).await.expect(204);
    assert_eq!(carol.get("/api/v1/images").await.json()["total"], 0);
    shop.close().await;
}
