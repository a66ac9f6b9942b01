//! Charts that a stock Helm pushes into our registry, and what somebody who is no Helm tries there.

use std::path::Path;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use server::clients::registry::client::digest_of;

use crate::support::api::{Answer, Api};
use crate::support::charts::{hex_of, package};
use crate::support::eventually;
use crate::support::registry::{RawClient, RawImage};
use crate::support::releases::helm_at;
use crate::support::server::TestServer;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const PACKAGE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

fn chart(name: &str, version: &str, text: &str) -> Vec<u8> {
    let about = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"7\"\ndescription: It serves\ndependencies:\n- name: base\n  version: 1.x\n  repository: https://charts.example.org\n  condition: base.enabled\n"
    );
    package(&[
        (&format!("{name}/Chart.yaml"), about.as_bytes()),
        (&format!("{name}/values.yaml"), format!("# What it says\ntext: {text}\n").as_bytes()),
        (&format!("{name}/values.schema.json"), br#"{"properties": {"text": {"type": "string"}}}"#),
        (&format!("{name}/README.md"), b"# Web"),
        (&format!("{name}/templates/map.yaml"), b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  text: {{ .Values.text }}\n"),
    ])
}

/// A chart as a manifest of our making names it.
fn pushed(package: &[u8], config: &Value) -> RawImage {
    let config = config.to_string().into_bytes();
    let descriptor = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "size": bytes.len(), "digest": digest_of(bytes)});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(&config, CONFIG),
        "layers": [descriptor(package, PACKAGE)],
    });
    of(&manifest, vec![package.to_vec(), config])
}

fn of(manifest: &Value, blobs: Vec<Vec<u8>>) -> RawImage {
    let manifest = manifest.to_string().into_bytes();
    let digest = digest_of(&manifest).to_string();
    RawImage { media_type: MANIFEST, manifest, digest, blobs }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_helm_pushes_pulls_and_others_see_what_is_public() {
    let server = TestServer::without_engine(&[]).await;
    let home = server.folder().to_owned();
    let Some(helm) = helm_at(&home) else { return server.stop().await };
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let (registry, package) = (server.registry.clone(), chart("web", "1.0.0+a", "hello"));
    let file = written(&home, "web.tgz", &package);
    let own = format!("oci://{registry}/alice");

    // Nobody pushes without a name; a password and a token both are one.
    assert!(complaint(&helm(&["push", &file, &own, "--plain-http"])).contains("401"));
    let login = |name: &str, secret: &str| {
        helm(&["registry", "login", &registry, "--plain-http", "-u", name, "-p", secret])
    };
    complaint(&login("alice", "wrong"));
    let token = alice.post("/api/v1/tokens", json!({"name": "helm"})).await.expect(201).json();
    said(&login("alice", token["token"].as_str().unwrap()));
    said(&helm(&["push", &file, &own, "--plain-http"]));
    said(&login("alice", "alice password"));
    said(&helm(&["push", &file, &own, "--plain-http"]));

    let content = alice.get("/api/v1/charts/alice/web/versions/1.0.0+a").await.expect(200).json();
    assert_eq!(
        (&content["readme"], &content["values"]),
        (&json!("# Web"), &json!("# What it says\ntext: hello\n"))
    );
    assert_eq!(content["schema"]["properties"]["text"]["type"], "string");
    assert_eq!(content["dependencies"][0]["name"], "base");
    assert_eq!(content["digest"], hex_of(&package));
    let listed = alice.get("/api/v1/images").await.expect(200).json();
    assert_eq!(
        (&listed["data"][0]["name"], &listed["data"][0]["source"], &listed["total"]),
        (&json!("alice/web:1.0.0_a"), &json!("chart"), &json!(1))
    );
    alice.get("/charts/alice/web-1.0.0+a.tgz").await.expect(200);

    // Another package under this version is refused, in words that Helm shows.
    let other = written(&home, "other.tgz", &chart("web", "1.0.0+a", "other"));
    let refused = complaint(&helm(&["push", &other, &own, "--plain-http"]));
    assert!(refused.contains("there is a version 1.0.0+a of `web` already"), "{refused}");
    said(&helm(&["push", &written(&home, "next.tgz", &chart("web", "1.1.0", "next")), &own, "--plain-http"]));
    let into = |folder: &str| home.join(folder).display().to_string();
    let pull = |folder: &str| {
        helm(&["pull", &format!("{own}/web"), "--version", "1.0.0+a", "--plain-http", "-d", &into(folder)])
    };
    said(&pull("."));
    assert_eq!(hex_of(&std::fs::read(home.join("web-1.0.0+a.tgz")).unwrap()), hex_of(&package));
    let shown = said(&helm(&["show", "values", &format!("{own}/web"), "--plain-http"]));
    assert!(shown.contains("text: next"), "the newest: {shown}");

    // Bob, and somebody without a name: not before it is public, and never by pushing.
    said(&login("bob", "bob password"));
    complaint(&pull("bob"));
    complaint(&helm(&["push", &file, &own, "--plain-http"]));
    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": true})).await.expect(200);
    said(&pull("."));
    complaint(&helm(&[
        "push",
        &written(&home, "evil.tgz", &chart("web", "6.6.6", "evil")),
        &own,
        "--plain-http",
    ]));
    said(&helm(&["registry", "logout", &registry]));
    said(&pull("."));
    bob.get("/api/v1/charts/alice/web/versions/6.6.6").await.expect(404);
    bob.get("/api/v1/charts/alice/web/versions/1.1.0").await.expect(200);
    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": false})).await.expect(200);
    complaint(&pull("."));

    // Deleted here or there, it is gone everywhere.
    said(&login("alice", "alice password"));
    alice.delete("/api/v1/charts/alice/web/versions/1.0.0+a").await.expect(204);
    complaint(&pull("."));
    let listed = alice.get("/api/v1/images").await.expect(200).json();
    assert_eq!(listed["total"], 1);
    alice.delete(&format!("/api/v1/images/{}", listed["data"][0]["id"])).await.expect(204);
    alice.get("/api/v1/charts/alice/web").await.expect(404);
    let distribution = server
        .distribution()
        .await
        .with_token(server.token_of("alice", &["repository:alice/web:pull"]).await);
    eventually("the registry has nothing of it", 60, || async {
        (distribution.manifest("alice/web", listed["data"][0]["digest"].as_str()?).await.status == 404)
            .then_some(())
    })
    .await;
    said(&helm(&["push", &other, &own, "--plain-http"]));
    alice.delete("/api/v1/chart-repos/alice").await.expect(204);
    assert_eq!(alice.get("/api/v1/images").await.expect(200).json()["total"], 0);
    server.stop().await;
}

/// What the door says to a chart that is pushed.
async fn push(door: &RawClient, name: &str, tag: &str, chart: &RawImage) -> Answer {
    door.push(&format!("alice/{name}"), tag, chart).await
}

async fn has_nothing(alice: &Api) -> bool {
    alice.get("/api/v1/charts").await.expect(200).json()["total"] == 0
        && alice.get("/api/v1/images").await.expect(200).json()["total"] == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_lies_brings_no_chart() {
    let server = TestServer::without_engine(&[("charts.package_bytes", "65536")]).await;
    let alice = server.account("alice").await;
    let door = server.door_of("alice", "alice/web").await;
    let good = chart("web", "1.0.0", "hello");
    let config = json!({"apiVersion": "v2", "name": "web", "version": "1.0.0"});
    let honest = pushed(&good, &config);
    let lying = |change: &dyn Fn(&mut Value)| {
        let mut manifest: Value = serde_json::from_slice(&honest.manifest).unwrap();
        change(&mut manifest);
        of(&manifest, honest.blobs.clone())
    };
    let cases: Vec<(&str, &str, RawImage, u16)> = vec![
        ("another version's tag", "1.0.1", honest.clone(), 400),
        ("no version as tag", "latest", honest.clone(), 400),
        (
            "another chart's name",
            "1.0.0",
            pushed(&chart("other", "1.0.0", ""), &json!({"name": "other", "version": "1.0.0"})),
            400,
        ),
        (
            "a name that leads out",
            "1.0.0",
            pushed(&package(&[("web/Chart.yaml", b"name: ../web\nversion: 1.0.0\n")]), &config),
            400,
        ),
        (
            "a configuration of another version",
            "1.0.0",
            pushed(&good, &json!({"name": "web", "version": "2.0.0"})),
            400,
        ),
        ("a configuration that is none", "1.0.0", pushed(&good, &json!([])), 400),
        ("no package", "1.0.0", pushed(b"no package", &config), 400),
        (
            "links and names that lead out",
            "1.0.0",
            pushed(&package(&[("web/Chart.yaml", b"name: web\nversion: 1.0.0\n"), ("../x", b"")]), &config),
            400,
        ),
        ("a huge layer", "1.0.0", pushed(&vec![7; 70_000], &config), 413),
        ("a size too small", "1.0.0", lying(&|manifest| manifest["layers"][0]["size"] = 7.into()), 400),
        ("a size too large", "1.0.0", lying(&|manifest| manifest["layers"][0]["size"] = 65_000.into()), 400),
        (
            "a size that is absurd",
            "1.0.0",
            lying(&|manifest| manifest["layers"][0]["size"] = u64::MAX.into()),
            400,
        ),
        (
            "two packages",
            "1.0.0",
            lying(&|manifest| {
                let layer = manifest["layers"][0].clone();
                manifest["layers"] = json!([layer, layer]);
            }),
            400,
        ),
        ("nothing", "1.0.0", lying(&|manifest| manifest["layers"] = json!([])), 400),
        (
            "a layer of an image",
            "1.0.0",
            lying(&|manifest| {
                manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
            }),
            400,
        ),
    ];
    for (what, tag, chart, status) in cases {
        let answer = push(&door, "web", tag, &chart).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(has_nothing(&alice).await, "{what}");
    }
    push(&door, "web", "1.0.0", &honest).await.expect(201);
    assert_eq!(alice.get("/api/v1/charts/alice/web").await.expect(200).json()["version"], "1.0.0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_chart_opens_nothing_else_and_images_stay_images() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let config = json!({"name": "web", "version": "1.0.0"});
    let (web, image) = (pushed(&chart("web", "1.0.0", "hello"), &config), RawImage::new("secret"));
    let door = server.door_of("alice", "alice/web").await;
    push(&door, "web", "1.0.0", &web).await.expect(201);
    push(&server.door_of("alice", "alice/app").await, "app", "v1", &image).await.expect(201);
    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": true})).await.expect(200);

    let scopes =
        ["repository:alice/web:pull,push", "repository:alice/app:pull", "repository:alice/none:pull"];
    for login in [None, Some(("bob", "bob password"))] {
        let answer = server.ask_token(login, &scopes).await.expect(200).json();
        assert_eq!(answer["scope"], "repository:alice/web:pull", "{login:?}");
        let stranger = server.door().with_token(answer["token"].as_str().unwrap());
        stranger.manifest("alice/app", "v1").await.expect(401);
        stranger.manifest("alice/app", &image.digest).await.expect(401);
        let found = stranger
            .send(stranger.request(Method::GET, "/v2/alice/web/manifests/1.0.0").header("accept", MANIFEST))
            .await;
        assert_eq!(found.status, 200, "{}", found.text);
        stranger.put_manifest("alice/web", "1.0.1", &web).await.expect(401);
    }

    // No image beside a chart, no chart beside an image: by push, and by another tag.
    let refused = push(&door, "web", "v1", &image).await.expect(409);
    assert!(refused.text.contains("holds a chart"), "{}", refused.text);
    let app = server.door_of("alice", "alice/app").await;
    let named = pushed(&chart("app", "1.0.0", ""), &json!({"name": "app", "version": "1.0.0"}));
    let refused = push(&app, "app", "1.0.0", &named).await.expect(409);
    assert!(refused.text.contains("holds images"), "{}", refused.text);
    alice.get("/api/v1/charts/alice/app").await.expect(404);
    let images = alice.get("/api/v1/images").await.expect(200).json();
    let number = |name: &str| {
        images["data"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["id"].clone()
    };
    let tag = async |id: &Value, name: &str| {
        alice.post(&format!("/api/v1/images/{id}/tags"), json!({"name": name})).await
    };
    tag(&number("alice/app:v1"), "alice/web:v1").await.expect(409);
    assert_eq!(tag(&number("alice/web:1.0.0"), "alice/web:2.0.0").await.expect(409).code(), "is_a_chart");
    let machine = json!({"image": "alice/web:1.0.0"});
    let refused = alice.post("/api/v1/containers", machine).await.expect(422);
    assert!(refused.text.contains("is a chart"), "{}", refused.text);

    // Charts belong to accounts.
    let token = server
        .ask_token(
            Some(("admin", crate::support::server::ADMIN_PASSWORD)),
            &["repository:public/web:pull,push"],
        )
        .await
        .expect(200)
        .json();
    let refused = server
        .door()
        .with_token(token["token"].as_str().unwrap())
        .push("public/web", "1.0.0", &web)
        .await
        .expect(400);
    assert!(refused.text.contains("charts belong to an account"), "{}", refused.text);
    admin.get("/api/v1/charts/public/web").await.expect(404);
    bob.delete("/api/v1/charts/alice/web/versions/1.0.0").await.expect(403);
    bob.delete(&format!("/api/v1/images/{}", number("alice/web:1.0.0"))).await.expect(404);
    server.stop().await;
}
