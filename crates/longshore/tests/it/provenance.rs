//! Signed charts: what a stock Helm signs is verified with keys that were added, and with none that were not.

use std::path::{Path, PathBuf};
use std::process::Output;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::charts::{ChartServer, hex_of};
use crate::support::releases::{helm_at, helm_program};
use crate::support::server::TestServer;

/// Keys of the tests, which open nothing: one that signs, its public half, and a public half of another.
const SECRET: &[u8] = include_bytes!("support/signer/secret.gpg");
const PUBLIC: &str = include_str!("support/signer/public.asc");
const OTHER: &str = include_str!("support/signer/other.asc");

/// A chart that a stock Helm has packed and signed: its package, and the signature.
fn signed(
    helm: &impl Fn(&[&str]) -> Output,
    home: &Path,
    name: &str,
    version: &str,
) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let folder = home.join(name);
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: {version}\n"))
        .unwrap();
    std::fs::write(home.join("secret.gpg"), SECRET).unwrap();
    let output =
        helm(&["package", name, "--sign", "--key", "Longshore test signer", "--keyring", "secret.gpg"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let package = home.join(format!("{name}-{version}.tgz"));
    let signature = std::fs::read(home.join(format!("{name}-{version}.tgz.prov"))).unwrap();
    (package.clone(), std::fs::read(package).unwrap(), signature)
}

async fn seen(api: &Api, chart: &str, version: &str) -> Value {
    api.get(&format!("/api/v1/charts/{chart}/versions/{version}/provenance")).await.expect(200).json()
}

async fn add_key(api: &Api, key: &str, repo: Option<&str>) -> Answer {
    api.post("/api/v1/chart-keys", json!({"key": key, "repo": repo})).await
}

async fn server() -> Option<TestServer> {
    let helm = helm_program()?.display().to_string();
    Some(TestServer::without_engine(&[("charts.helm", &helm), ("outbound.allow", "127.0.0.0/8")]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_verified_with_the_keys_that_were_added_and_can_be_required() {
    let Some(server) = server().await else { return };
    let home = server.folder().to_owned();
    let Some(helm) = helm_at(&home) else { return server.stop().await };
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let (_, package, signature) = signed(&helm, &home, "web", "1.0.0");
    let (_, other_package, _) = signed(&helm, &home, "other", "1.0.0");
    let entry = |name: &str, bytes: &[u8]| {
        format!(
            "  {name}:\n  - {{apiVersion: v2, name: {name}, version: 1.0.0, digest: {}, urls: [{name}-1.0.0.tgz]}}\n",
            hex_of(bytes)
        )
    };
    let index =
        format!("apiVersion: v1\nentries:\n{}{}", entry("web", &package), entry("other", &other_package));
    let charts = ChartServer::start(&index).await;
    charts.change(|behaviour| {
        behaviour.files.insert("/web-1.0.0.tgz".into(), package.clone());
        behaviour.files.insert("/other-1.0.0.tgz".into(), other_package.clone());
        behaviour.files.insert("/web-1.0.0.tgz.prov".into(), signature.clone());
    });
    let made = alice
        .post("/api/v1/chart-repos", json!({"name": "signed", "url": charts.url}))
        .await
        .expect(201)
        .json();
    assert_eq!(made["requires_signature"], false);

    // Without a key, with another's, with the right one.
    assert_eq!(seen(&alice, "signed/other", "1.0.0").await["state"], "unsigned");
    assert_eq!(seen(&alice, "signed/web", "1.0.0").await["state"], "unknown_key");
    add_key(&alice, OTHER, Some("signed")).await.expect(201);
    let unknown = seen(&alice, "signed/web", "1.0.0").await;
    assert_eq!(unknown["state"], "unknown_key", "{unknown:#}");
    let key = add_key(&alice, PUBLIC, Some("signed")).await.expect(201).json();
    assert_eq!(key[0]["identity"], "Longshore test signer <signer@example.org>");
    assert_eq!(add_key(&alice, PUBLIC, Some("signed")).await.expect(409).code(), "exists");
    let verified = seen(&bob, "signed/web", "1.0.0").await;
    assert_eq!(
        (&verified["state"], &verified["fingerprint"], &verified["signed_by"][0]),
        (&json!("verified"), &key[0]["fingerprint"], &key[0]["identity"]),
        "{verified:#}"
    );

    // Required: what is not verified is neither handed out nor installed, whatever the reason.
    let package_of = |chart: &str| format!("/api/v1/charts/signed/{chart}/versions/1.0.0/package");
    bob.get(&package_of("other")).await.expect(200);
    bob.patch("/api/v1/chart-repos/signed", json!({"requires_signature": true})).await.expect(403);
    alice.patch("/api/v1/chart-repos/signed", json!({"requires_signature": true})).await.expect(200);
    bob.get(&package_of("web")).await.expect(200);
    let refused = bob.get(&package_of("other")).await.expect(422);
    assert_eq!(
        (refused.code(), &refused.json()["state"]),
        ("chart_not_verified".to_owned(), &json!("unsigned"))
    );
    let wish = json!({"name": "shop", "chart": "signed/other"});
    assert_eq!(alice.post("/api/releases", wish).await.expect(422).code(), "chart_not_verified");
    bob.get("/api/v1/charts/signed/other/versions/1.0.0").await.expect(200);
    let broken = String::from_utf8(signature.clone()).unwrap().replace("name: web", "name: wob").into_bytes();
    for bad in [broken, b"no signature".to_vec(), Vec::new()] {
        charts.change(|behaviour| {
            behaviour.files.insert("/web-1.0.0.tgz.prov".into(), bad.clone());
        });
        assert_eq!(seen(&alice, "signed/web", "1.0.0").await["state"], "bad");
        bob.get(&package_of("web")).await.expect(422);
    }
    // The signature of something else.
    charts.change(|behaviour| {
        behaviour.files.insert("/other-1.0.0.tgz.prov".into(), signature.clone());
        behaviour.files.insert("/web-1.0.0.tgz.prov".into(), signature.clone());
    });
    assert_eq!(seen(&alice, "signed/other", "1.0.0").await["state"], "bad");
    bob.get(&package_of("other")).await.expect(422);
    charts.change(|behaviour| behaviour.fault = Some(crate::support::charts::Fault::Status(500)));
    bob.get(&package_of("web")).await.expect(502);
    charts.change(|behaviour| behaviour.fault = None);
    bob.get(&package_of("web")).await.expect(200);

    // Whose keys they are, and who takes them away.
    add_key(&bob, PUBLIC, Some("signed")).await.expect(403);
    add_key(&bob, PUBLIC, None).await.expect(403);
    let path = format!("/api/v1/chart-keys/{}", key[0]["id"].as_str().unwrap());
    bob.delete(&path).await.expect(403);
    alice.delete(&path).await.expect(204);
    alice.delete(&path).await.expect(404);
    bob.get(&package_of("web")).await.expect(422);
    let everywhere = add_key(&admin, PUBLIC, None).await.expect(201).json();
    bob.get(&package_of("web")).await.expect(200);
    assert_eq!(bob.get("/api/v1/chart-keys?repo=signed").await.expect(200).json()["total"], 2);
    assert_eq!(bob.get("/api/v1/chart-keys").await.expect(200).json()["data"][0]["id"], everywhere[0]["id"]);
    alice.delete(&format!("/api/v1/chart-keys/{}", everywhere[0]["id"].as_str().unwrap())).await.expect(403);
    let secret = PUBLIC.replace("PUBLIC", "PRIVATE");
    for bad in ["", "no key", secret.as_str(), &PUBLIC[..200]] {
        add_key(&alice, bad, Some("signed")).await.expect(422);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_come_with_charts_of_ones_own_by_every_way() {
    let Some(server) = server().await else { return };
    let home = server.folder().to_owned();
    let Some(helm) = helm_at(&home) else { return server.stop().await };
    let alice = server.account("alice").await;
    let said =
        |output: Output| assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // Pushed: Helm brings the signature that lies beside the package.
    let (file, _, _) = signed(&helm, &home, "web", "1.0.0");
    let registry = &server.registry;
    said(helm(&["registry", "login", registry, "--plain-http", "-u", "alice", "-p", "alice password"]));
    said(helm(&["push", &file.display().to_string(), &format!("oci://{registry}/alice"), "--plain-http"]));
    // Uploaded, the signature later.
    let (_, package, signature) = signed(&helm, &home, "api", "1.0.0");
    let upload = async |form: Form| {
        alice.send(alice.request(Method::POST, "/charts/alice/api/charts").multipart(form)).await.expect(201)
    };
    let part = |bytes: &[u8]| Part::bytes(bytes.to_vec()).file_name("x");
    upload(Form::new().part("chart", part(&package))).await;
    assert_eq!(seen(&alice, "alice/api", "1.0.0").await["state"], "unsigned");
    upload(Form::new().part("prov", part(&signature)).part("chart", part(&package))).await;

    for chart in ["web", "api"] {
        assert_eq!(seen(&alice, &format!("alice/{chart}"), "1.0.0").await["state"], "unknown_key", "{chart}");
    }
    add_key(&alice, PUBLIC, Some("alice")).await.expect(201);
    for chart in ["web", "api"] {
        assert_eq!(seen(&alice, &format!("alice/{chart}"), "1.0.0").await["state"], "verified", "{chart}");
    }
    // And a stock Helm verifies by itself what it gets from here.
    let armor = PUBLIC.lines().skip(2).take_while(|line| !line.starts_with('=')).collect::<String>();
    let ring = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, armor).unwrap();
    std::fs::write(home.join("ring.gpg"), ring).unwrap();
    std::fs::create_dir(home.join("got")).unwrap();
    let url = format!("{}/charts/alice", server.url);
    said(helm(&["repo", "add", "own", &url, "--username", "alice", "--password", "alice password"]));
    said(helm(&["pull", "own/api", "--verify", "--keyring", "ring.gpg", "-d", "got"]));
    said(helm(&[
        "pull",
        &format!("oci://{registry}/alice/web"),
        "--verify",
        "--keyring",
        "ring.gpg",
        "--plain-http",
        "-d",
        "got",
    ]));

    // Required, whoever asks by whatever way gets only what is verified.
    let plain = crate::support::charts::package(&[(
        "plain/Chart.yaml",
        b"apiVersion: v2\nname: plain\nversion: 1.0.0\n",
    )]);
    upload(Form::new().part("chart", part(&plain))).await;
    alice.get("/charts/alice/plain-1.0.0.tgz").await.expect(200);
    alice.patch("/api/v1/chart-repos/alice", json!({"requires_signature": true})).await.expect(200);
    alice.get("/charts/alice/api-1.0.0.tgz").await.expect(200);
    alice.get("/charts/alice/api-1.0.0.tgz.prov").await.expect(200);
    assert_eq!(alice.get("/charts/alice/plain-1.0.0.tgz").await.expect(422).code(), "chart_not_verified");
    said(helm(&["repo", "update"]));
    assert!(!helm(&["pull", "own/plain", "-d", "got"]).status.success());
    alice.patch("/api/v1/chart-repos/alice", json!({"requires_signature": false})).await.expect(200);
    said(helm(&["pull", "own/plain", "-d", "got"]));

    // By the registry's own way as well: by tag, by digest, from where a public chart was mounted, and through a repository that is a place in it.
    std::fs::write(home.join("plain-1.0.0.tgz"), &plain).unwrap();
    said(helm(&["push", "plain-1.0.0.tgz", &format!("oci://{registry}/alice"), "--plain-http"]));
    let pull = |chart: &str| {
        let address = format!("oci://{registry}/alice/{chart}");
        helm(&["pull", &address, "--version", "1.0.0", "--plain-http", "-d", "got"])
    };
    said(pull("plain"));
    let bob = server.account("bob").await;
    alice
        .patch("/api/v1/chart-repos/alice", json!({"is_public": true, "requires_signature": true}))
        .await
        .expect(200);
    let refused = pull("plain");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("must be signed"), "{why}");
    said(pull("web"));
    let digest = format!("sha256:{}", hex_of(&plain));
    let place = format!("/v2/alice/plain/blobs/{digest}");
    let scopes = ["repository:alice/plain:pull", "repository:bob/plain:pull,push"];
    let theirs = server.door().with_token(server.token_of("bob", &scopes).await);
    assert_eq!(theirs.get(&place).await.expect(403).json()["errors"][0]["code"], "DENIED");
    assert_eq!(server.door().get(&place).await.status, 401, "first the rights");
    let mount = |query: &str| theirs.request(Method::POST, &format!("/v2/bob/plain/blobs/uploads/?{query}"));
    theirs.send(mount(&format!("mount={digest}&from=alice/plain"))).await.expect(403);
    theirs.send(mount(&format!("mount={digest}&from=alice/plain&from=bob/plain"))).await.expect(400);
    assert_ne!(theirs.get(&format!("/v2/bob/plain/blobs/{digest}")).await.status, 200);
    // What is there is not said to be gone: it can be pushed again.
    said(helm(&["push", "plain-1.0.0.tgz", &format!("oci://{registry}/alice"), "--plain-http"]));
    let through = json!({"name": "through", "url": format!("oci://{registry}/alice"), "is_public": false});
    bob.post("/api/v1/chart-repos", through).await.expect(201);
    let package = "/api/v1/charts/through/plain/versions/1.0.0/package";
    assert_eq!(bob.get(package).await.expect(422).code(), "chart_not_verified");
    bob.get("/api/v1/charts/through/web/versions/1.0.0/package").await.expect(200);
    alice.patch("/api/v1/chart-repos/alice", json!({"requires_signature": false})).await.expect(200);
    said(pull("plain"));
    bob.get(package).await.expect(200);
    theirs.get(&place).await.expect(200);
    theirs.send(mount(&format!("mount={digest}&from=alice/plain"))).await.expect(201);

    // The registry as a repository has them, too.
    let own = json!({"name": "own", "url": format!("oci://{registry}/alice"), "is_public": false, "requires_signature": true});
    alice.post("/api/v1/chart-repos", own).await.expect(201);
    assert_eq!(seen(&alice, "own/web", "1.0.0").await["state"], "unknown_key");
    add_key(&alice, PUBLIC, Some("own")).await.expect(201);
    alice.get("/api/v1/charts/own/web/versions/1.0.0/package").await.expect(200);
    alice.delete("/api/v1/charts/alice/web/versions/1.0.0").await.expect(204);
    server.stop().await;
}
