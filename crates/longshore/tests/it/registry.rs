//! The registry, its door and its token server, with the real Distribution behind.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use server::clients::registry::Repository;
use server::clients::registry::access::{self, Access, Action};
use server::clients::registry::client::digest_of;
use server::domain::registry;
use server::keys::Keys;
use sha2::{Digest as _, Sha256};
use store::{accounts, images, registry_events};
use wire::names::ImageName;
use wire::page::PageQuery;

use crate::support::eventually;
use crate::support::registry::{Docker, MANIFEST, RawImage, breakable_registry, write_script};
use crate::support::server::TestServer;

/// Wrong passwords are part of these tests.
const NO_LIMITS: [(&str, &str); 2] =
    [("auth.failures_per_minute", "1000"), ("auth.failures_per_minute_address", "1000")];

async fn row(server: &TestServer, name: &str) -> Option<images::Row> {
    images::by_name(&server.app.db, &name.parse::<ImageName>().unwrap()).await.unwrap()
}

async fn registry_is_up(server: &TestServer) {
    let is_up = || async { server.app.registry.ping(&server.app).await.ok() };
    eventually("the registry answers", 30, is_up).await;
}

/// A token with any claims at all, signed with the installation's own key.
fn signed(server: &TestServer, access: &Value) -> String {
    let now = server.app.now().unix_secs();
    let claims = json!({"access": access, "nbf": now, "jti": "test"});
    server.app.keys.registry.sign("alice", claims, now, 60).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_logs_in_pushes_and_pulls() {
    let Some(docker) = Docker::new() else { return };
    let server = TestServer::start_with(&NO_LIMITS).await;
    let alice = server.account("alice").await;
    let token = alice.post("/api/v1/tokens", json!({"name": "docker"})).await.expect(201).json();
    let hashed = hex::encode(Sha256::digest("alice password"));
    let changes = ["EXPOSE 8000/tcp", "ENTRYPOINT [\"/content\"]", "ENV GREETING=hello", "LABEL a=b"];

    for (i, secret) in ["alice password", &hashed, token["token"].as_str().unwrap()].into_iter().enumerate() {
        let name = format!("{}/alice/app:v{i}", server.registry);
        docker.fails(&["login", "-u", "alice", "--password-stdin", &server.registry], b"wrong").await;
        docker.login(&server.registry, "alice", secret).await;
        docker.import(&name, &format!("content {i}"), &changes).await;

        docker.ok(&["push", &name], b"").await;
        let pushed = docker.ok(&["inspect", "-f", "{{.Id}}", &name], b"").await;
        docker.ok(&["rmi", &name], b"").await;
        docker.ok(&["pull", &name], b"").await;

        assert_eq!(docker.ok(&["inspect", "-f", "{{.Id}}", &name], b"").await, pushed);
        docker.ok(&["rmi", &name], b"").await;
        docker.ok(&["logout", &server.registry], b"").await;
        docker.fails(&["pull", &name], b"").await;
    }

    let view = alice.get("/api/v1/images?repo=app&search=v0").await.expect(200).json()["data"][0].clone();
    assert_eq!(view["name"], "alice/app:v0");
    assert_eq!(view["source"], "push");
    assert_eq!(view["create_parameters"]["exposed_ports"], json!(["8000/tcp"]));
    assert_eq!(view["create_parameters"]["entrypoint"], json!(["/content"]));
    assert_eq!(view["create_parameters"]["env"]["GREETING"], "hello");
    assert_eq!(view["create_parameters"]["labels"], json!({"a": "b"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_recorded_before_it_is_acknowledged_and_only_when_it_is_whole() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let (image, broken) = (RawImage::new("whole"), RawImage::new("broken"));

    let refused = door.put_manifest("alice/app", "broken", &broken).await;
    let pushed = door.push("alice/app", "v1", &image).await.expect(201);

    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(row(&server, "alice/app:broken").await, None);
    assert_eq!(pushed.headers["docker-content-digest"], image.digest.as_str());
    let found = row(&server, "alice/app:v1").await.unwrap();
    assert_eq!(found.digest.as_str(), image.digest);
    assert_eq!(found.size_bytes, image.size_bytes());
    assert_eq!(found.layers.len(), 1);
    assert_eq!(found.create_parameters.command, ["whole"]);
    let audit = server.admin().await.get("/api/v1/audit?action=image.push").await.json();
    assert_eq!((&audit["total"], &audit["data"][0]["target"]), (&json!(1), &json!("alice/app:v1")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_lies_about_a_size_is_not_recorded() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let mut image = RawImage::new("some content");
    let text = String::from_utf8(image.manifest).unwrap().replace("\"size\":12", "\"size\":13");
    assert!(text.contains("\"size\":13"));
    image.manifest = text.into_bytes();

    let refused = door.push("alice/app", "v1", &image).await;

    assert_eq!(refused.status, 400);
    assert!(
        refused.text.contains("MANIFEST_INVALID") && refused.text.contains("12 bytes"),
        "{}",
        refused.text
    );
    assert_eq!(row(&server, "alice/app:v1").await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_but_never_recorded_is_pushed_again_without_harm() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let image = RawImage::new("cut off");
    // As a server leaves it that was killed between the registry's answer and the record.
    door.push("alice/app", &image.digest, &image).await.expect(201);

    let before = door.manifest("alice/app", "v1").await.status;
    let again = door.push("alice/app", "v1", &image).await.status;
    let twice = door.push("alice/app", "v1", &image).await.status;

    assert_eq!((before, again, twice), (404, 201, 201));
    assert_eq!(door.manifest("alice/app", "v1").await.expect(200).text.as_bytes(), image.manifest);
    let page = PageQuery::default();
    assert_eq!(images::list(&server.app.db, images::Filter::default(), page).await.unwrap().total, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staging_tags_are_pushed_by_content_and_never_recorded() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let image = RawImage::new("staged");

    door.push("alice/app", "ls-stage-1", &image).await.expect(201);

    assert_eq!(door.manifest("alice/app", "ls-stage-1").await.status, 404);
    assert_eq!(row(&server, "alice/app:ls-stage-1").await, None);
    door.manifest("alice/app", &image.digest).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_speaks_for_the_registry() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let nobody = server.door();
    let door = server.door_of("alice", "alice/app").await;
    for tag in ["v1", "v2", "v3"] {
        door.push("alice/app", tag, &RawImage::new(tag)).await.expect(201);
    }
    let image = RawImage::new("v1");

    // Whoever has no token is sent for one, to the address by which it called.
    for path in
        ["/v2/", "/v2/alice/app/manifests/v1", "/v2/alice/app/tags/list", "/v2/alice/app/blobs/uploads/"]
    {
        let method = if path.ends_with("uploads/") { Method::POST } else { Method::GET };
        let request = nobody.request(method, path).header("host", "registry.example:5000");
        let answer = nobody.send(request.header("x-forwarded-proto", "https")).await.expect(401);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        let realm =
            "Bearer realm=\"http://registry.example:5000/api/registry/token\",service=\"longshore-registry\"";
        assert!(challenge.starts_with(realm), "{path}: {challenge}");
        assert_eq!(answer.json()["errors"][0]["code"], "UNAUTHORIZED");
    }
    // Names are understood before anything is passed on.
    for (path, status) in [
        ("/v2/alice%2Fapp/manifests/v1", 400),
        ("/v2/alice/app/manif%65sts/v1", 404),
        ("/v2/alice/more/app/manifests/v1", 400),
        ("/v2/Alice/app/manifests/v1", 400),
        ("/debug/vars", 404),
        ("/metrics", 404),
    ] {
        assert_eq!(door.get(path).await.status, status, "{path}");
    }
    // Reading by tag, by digest, and only the head.
    let by_tag = door.manifest("alice/app", "v1").await.expect(200);
    assert_eq!(by_tag.headers["docker-content-digest"], image.digest.as_str());
    assert_eq!(by_tag.headers["content-type"], MANIFEST);
    let head = door.request(Method::HEAD, "/v2/alice/app/manifests/v1").header("accept", MANIFEST);
    let head = door.send(head).await.expect(200);
    assert_eq!(head.headers["content-length"], image.manifest.len().to_string().as_str());
    assert!(head.text.is_empty());
    let unknown = door.manifest("alice/app", "v9").await.expect(404);
    assert_eq!(unknown.json()["errors"][0]["code"], "MANIFEST_UNKNOWN");
    // Tags, whole and in pages.
    let all = door.get("/v2/alice/app/tags/list").await.expect(200);
    assert_eq!(all.json(), json!({"name": "alice/app", "tags": ["v1", "v2", "v3"]}));
    let first = door.get("/v2/alice/app/tags/list?n=2").await.expect(200);
    assert_eq!(first.json()["tags"], json!(["v1", "v2"]));
    assert_eq!(first.headers["link"], "</v2/alice/app/tags/list?n=2&last=v2>; rel=\"next\"");
    let second = door.get("/v2/alice/app/tags/list?n=2&last=v2").await.expect(200);
    assert_eq!((second.json()["tags"].clone(), second.headers.get("link")), (json!(["v3"]), None));
    // A manifest has a bound.
    let huge = RawImage { manifest: vec![b' '; (4 << 20) + 1], ..image.clone() };
    assert_eq!(door.put_manifest("alice/app", "huge", &huge).await.status, 413);
    let other = RawImage { manifest: b"{}".to_vec(), ..image.clone() };
    assert_eq!(door.put_manifest("alice/app", &image.digest, &other).await.status, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_decides_how_clients_reach_the_token_server() {
    let server = TestServer::without_engine(&[("trusted_proxies", "127.0.0.0/8")]).await;
    let door = server.door();

    let request = door.request(Method::GET, "/v2/").header("host", "registry.example");
    let answer = door.send(request.header("x-forwarded-proto", "https")).await.expect(401);

    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("realm=\"https://registry.example/api/registry/token\""), "{challenge}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_passes_unchanged_in_pieces_and_whole() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let piece: Vec<u8> = (0..1_u32 << 20).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let whole = piece.repeat(4);

    // As Docker does: begin, send pieces of unknown length, close with the digest.
    let begun = door.send(door.request(Method::POST, "/v2/alice/app/blobs/uploads/")).await.expect(202);
    let mut location = begun.headers["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("/v2/alice/app/blobs/uploads/"), "{location}");
    for part in whole.chunks(piece.len() * 2) {
        let parts: Vec<_> =
            part.chunks(100_000).map(|bytes| Ok::<_, std::io::Error>(bytes.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
        let request =
            door.request(Method::PATCH, &location).header("content-type", "application/octet-stream");
        let answer = door.send(request.body(body)).await.expect(202);
        location = answer.headers["location"].to_str().unwrap().to_owned();
    }
    let digest = digest_of(&whole);
    door.send(door.request(Method::PUT, &format!("{location}&digest={digest}"))).await.expect(201);

    let request = door.request(Method::GET, &format!("/v2/alice/app/blobs/{digest}"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.content_length(), Some(whole.len() as u64));
    assert!(answer.bytes().await.unwrap() == whole);
    let part =
        door.request(Method::GET, &format!("/v2/alice/app/blobs/{digest}")).header("range", "bytes=10-19");
    assert_eq!(part.send().await.unwrap().bytes().await.unwrap(), whole[10..20]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_what_the_account_may_do_and_no_more() {
    let server = TestServer::without_engine(&NO_LIMITS).await;
    for name in ["alice", "alicex", "bob"] {
        server.account(name).await;
    }
    let secret = RawImage::new("a secret of alicex");
    let theirs = server.door_of("alicex", "alicex/app").await;
    theirs.push("alicex/app", "v1", &secret).await.expect(201);
    let blob = digest_of(&secret.blobs[0]);
    let distribution = server.distribution().await;

    for scope in [
        "repository:alicex/app:pull,push",
        "repository:alice/../alicex/app:pull",
        "repository:alicex/app:*",
        "repository:*:pull",
        "repository:*/*:*",
        "repository:ALICEX/app:pull",
        "repository:alice*/app:pull",
        "repository(plugin):alicex/app:pull",
        "repository:alice/app:pull repository:alicex/app:pull",
        "repository:alice/app:pull,repository:alicex/app:pull",
        "registry:catalog:*",
        "",
    ] {
        let token = server.token_of("alice", &[scope]).await;
        for access in TestServer::access_in(&token).as_array().unwrap() {
            assert_eq!(access["name"], "alice/app", "{scope}");
        }
        for client in [server.door(), distribution.clone()] {
            let client = client.with_token(token.clone());
            for path in [
                format!("/v2/alicex/app/manifests/{}", secret.digest),
                format!("/v2/alicex/app/blobs/{blob}"),
                "/v2/alicex/app/tags/list".to_owned(),
                "/v2/_catalog".to_owned(),
            ] {
                assert_eq!(client.get(&path).await.status, 401, "{scope} {path}");
            }
            assert_eq!(client.put_blob("alicex/app", b"x".to_vec()).await.status, 401, "{scope}");
            assert_eq!(client.put_manifest("alicex/app", "v1", &secret).await.status, 401, "{scope}");
        }
    }
    // The same requests work for whoever may, so that the refusals above mean something.
    theirs.get(&format!("/v2/alicex/app/blobs/{blob}")).await.expect(200);
    theirs.get("/v2/alicex/app/tags/list").await.expect(200);
    let catalog = signed(&server, &json!([{"type": "registry", "name": "catalog", "actions": ["*"]}]));
    distribution.with_token(catalog).get("/v2/_catalog").await.expect(200);

    for many in [1_000, 10_000] {
        let scopes = vec!["repository:alice/app:pull"; many].join(" ");
        let pairs = [
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "alice password"),
            ("scope", &scopes),
        ];
        let request =
            server.api.http.post(format!("http://{}/api/registry/token", server.registry)).form(&pairs);
        let refused = server.api.send(request).await.status;
        assert_eq!(refused, if many == 1_000 { 400 } else { 413 });
    }
    let request = server.api.http.get(format!("http://{}/api/registry/token?service=other", server.registry));
    assert_eq!(server.api.send(request).await.status, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_of_other_repositories_stays_out_of_reach() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    server.account("bob").await;
    let theirs = RawImage::new("bob's own");
    let bob = server.door_of("bob", "bob/app").await;
    bob.push("bob/app", "v1", &theirs).await.expect(201);
    let digest = digest_of(&theirs.blobs[0]);
    let scopes =
        ["repository:alice/app:pull,push", "repository:bob/app:pull", "repository:alice/other:pull,push"];
    let alice = server.door().with_token(server.token_of("alice", &scopes).await);
    let mount = |to: &str, from: &str, digest: &str| {
        alice.request(Method::POST, &format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}"))
    };

    // By digest through one's own repository.
    assert_eq!(alice.get(&format!("/v2/alice/app/blobs/{digest}")).await.status, 404);
    assert_eq!(alice.manifest("alice/app", &theirs.digest).await.status, 404);
    // By mounting, and by naming it in a manifest of one's own.
    let mounted = alice.send(mount("alice/app", "bob/app", digest.as_str())).await.status;
    assert_ne!(mounted, 201);
    assert_eq!(alice.get(&format!("/v2/alice/app/blobs/{digest}")).await.status, 404);
    assert_eq!(alice.put_manifest("alice/app", "stolen", &theirs).await.status, 400);
    assert_eq!(row(&server, "alice/app:stolen").await, None);

    // The same between one's own repositories works.
    let own = RawImage::new("alice's own");
    alice.push("alice/app", "v1", &own).await.expect(201);
    let digest = digest_of(&own.blobs[0]);
    assert_eq!(alice.send(mount("alice/other", "alice/app", digest.as_str())).await.status, 201);
    alice.get(&format!("/v2/alice/other/blobs/{digest}")).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_images_are_pulled_by_all_and_pushed_by_admins() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let scope = "repository:public/base:pull,push,delete";
    let admin = server.ask_token(Some(("admin", crate::support::server::ADMIN_PASSWORD)), &[scope]).await;
    let admin = server.door().with_token(admin.expect(200).json()["token"].as_str().unwrap());
    let (good, evil) = (RawImage::new("good"), RawImage::new("evil"));
    admin.push("public/base", "v1", &good).await.expect(201);

    let alice = server.door_of("alice", "public/base").await;
    let overwritten = alice.put_manifest("public/base", "v1", &evil).await.status;
    let uploaded = alice.put_blob("public/base", b"evil".to_vec()).await.status;
    let pulled = alice.manifest("public/base", "v1").await.expect(200);
    let anonymous = server.ask_token(None, &[scope]).await.expect(200).json();
    let nobody = server.door().with_token(anonymous["token"].as_str().unwrap());

    assert_eq!((overwritten, uploaded), (401, 401));
    assert_eq!(pulled.text.as_bytes(), good.manifest);
    assert_eq!(TestServer::access_in(anonymous["token"].as_str().unwrap()), json!([]));
    assert_eq!(nobody.manifest("public/base", "v1").await.status, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_to_push_deletes_nothing() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let token = server.token_of("alice", &["repository:alice/app:pull,push,delete,*"]).await;
    let door = server.door().with_token(token.clone());
    let image = RawImage::new("kept");
    door.push("alice/app", "v1", &image).await.expect(201);
    let distribution = server.distribution().await;
    let path = format!("/v2/alice/app/manifests/{}", image.digest);
    let blob = format!("/v2/alice/app/blobs/{}", digest_of(&image.blobs[0]));

    for client in [door.clone(), distribution.with_token(token)] {
        for path in [&path, &blob] {
            assert_eq!(client.send(client.request(Method::DELETE, path)).await.status, 401, "{path}");
        }
    }
    assert_eq!(door.send(door.request(Method::DELETE, "/v2/alice/app/manifests/v1")).await.status, 405);
    door.manifest("alice/app", "v1").await.expect(200);

    let deleting =
        signed(&server, &json!([{"type": "repository", "name": "alice/app", "actions": ["delete"]}]));
    let deleting = distribution.with_token(deleting);
    deleting.send(deleting.request(Method::DELETE, &path)).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_expired_and_foreign_tokens_are_refused() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let image = RawImage::new("wanted");
    door.push("alice/app", "v1", &image).await.expect(201);
    let distribution = server.distribution().await;
    let app = &server.app;
    let now = app.now().unix_secs();
    let repository: Repository = "alice/app".parse().unwrap();
    let access = || vec![Access::new(&repository, vec![Action::Pull, Action::Push])];
    let good = access::sign(&app.keys, "alice", access(), now, 60).unwrap();
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let certificate = std::fs::read(&app.keys.registry_certificate).unwrap();
    let hmac = |header: &str| {
        let signed = format!("{}.{payload}", encode(header));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &certificate);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())))
    };
    let folder = tempfile::tempdir().unwrap();
    let foreign = Keys::open(&folder.path().join("keys")).unwrap();
    let claims = || json!({"access": access(), "nbf": now, "jti": "j"});
    let wider =
        String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap().replace("alice/app", "bob/app");

    let bad = [
        ("expired", access::sign(&app.keys, "alice", access(), now - 3600, 60).unwrap()),
        ("another installation's", access::sign(&foreign, "alice", access(), now, 60).unwrap()),
        ("a session", alice.token.clone().unwrap()),
        ("signed as a session", app.keys.session.sign("alice", claims(), now, 60).unwrap()),
        ("an engine's credential", app.keys.credential.sign("alice", claims(), now, 60).unwrap()),
        ("without a signature", format!("{}.{payload}.", encode(r#"{"typ":"JWT","alg":"none"}"#))),
        ("signed with the certificate as a secret", hmac(r#"{"typ":"JWT","alg":"HS256"}"#)),
        ("with its own key", hmac(r#"{"typ":"JWT","alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#)),
        ("changed", format!("{header}.{}.{signature}", encode(&wider))),
        ("cut off", good[..good.len() - 4].to_owned()),
    ];
    let paths = [
        "/v2/alice/app/manifests/v1",
        "/v2/alice/app/tags/list",
        &format!("/v2/alice/app/manifests/{}", image.digest),
    ];
    for (what, token) in &bad {
        for path in paths {
            assert_eq!(server.door().with_token(token.clone()).get(path).await.status, 401, "{what} {path}");
        }
        let client = distribution.with_token(token.clone());
        assert_eq!(client.manifest("alice/app", &image.digest).await.status, 401, "{what}");
        assert_eq!(client.put_blob("alice/app", b"x".to_vec()).await.status, 401, "{what}");
    }
    for path in paths {
        server.door().with_token(good.clone()).get(path).await.expect(200);
    }
    distribution.with_token(good.clone()).manifest("alice/app", &image.digest).await.expect(200);
    // And the registry's token opens nothing else.
    assert_eq!(server.api.with_token(good).get("/api/v1/me").await.status, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_shut_out_gets_no_token_and_records_no_push() {
    let server = TestServer::without_engine(&NO_LIMITS).await;
    let alice = server.account("alice").await;
    let api_token =
        alice.post("/api/v1/tokens", json!({"name": "t"})).await.json()["token"].as_str().unwrap().to_owned();
    let door = server.door_of("alice", "alice/app").await;
    let image = RawImage::new("late");
    for blob in &image.blobs {
        door.put_blob("alice/app", blob.clone()).await.expect(201);
    }
    server.ask_token(Some(("alice", &api_token)), &[]).await.expect(200);

    server.admin().await.patch("/api/v1/accounts/alice", json!({"state": "disabled"})).await.expect(200);

    for secret in ["alice password", &api_token] {
        let refused =
            server.ask_token(Some(("alice", secret)), &["repository:alice/app:pull"]).await.expect(401);
        assert_eq!(refused.json()["errors"][0]["code"], "UNAUTHORIZED");
    }
    // A token from before opens the registry for its last seconds, but makes no image any more.
    assert_eq!(door.put_manifest("alice/app", "v1", &image).await.status, 403);
    assert_eq!(row(&server, "alice/app:v1").await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_one_answer() {
    let server = TestServer::without_engine(&NO_LIMITS).await;
    let alice = server.account("alice").await;
    server.account("bob").await;
    let token =
        alice.post("/api/v1/tokens", json!({"name": "t"})).await.json()["token"].as_str().unwrap().to_owned();
    let session = alice.token.clone().unwrap();

    let mut answers = Vec::new();
    for (name, secret) in [
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("not a name", "wrong"),
        ("bob", &token),
        ("alice", "ls_wrong"),
        ("alice", &session),
        ("", "x"),
    ] {
        let answer = server.ask_token(Some((name, secret)), &["repository:alice/app:pull"]).await.expect(401);
        assert!(answer.headers.contains_key("www-authenticate"));
        answers.push(answer.text);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    server.ask_token(Some(("ALICE", "alice password")), &[]).await.expect(200);
    server.ask_token(Some(("alice", &token)), &[]).await.expect(200);

    let form = |grant: &str, password: &str| {
        let pairs = [
            ("grant_type", grant),
            ("username", "alice"),
            ("password", password),
            ("service", "longshore-registry"),
            ("scope", "repository:alice/app:pull,push"),
        ];
        server.api.http.post(format!("http://{}/api/registry/token", server.registry)).form(&pairs)
    };
    let granted = server.api.send(form("password", "alice password")).await.expect(200).json();
    assert_eq!(granted["scope"], "repository:alice/app:pull,push");
    assert_eq!(granted["expires_in"], 60);
    assert!(granted.get("refresh_token").is_none());
    server.api.send(form("password", "wrong")).await.expect(401);
    server.api.send(form("refresh_token", "alice password")).await.expect(400);

    alice.post("/api/user/set_password", json!({"user_id": 2, "new_password": "another"})).await.expect(200);
    server.ask_token(Some(("alice", "alice password")), &[]).await.expect(401);
    server.ask_token(Some(("alice", "another")), &[]).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_at_the_registry_run_out_but_old_engine_credentials_lock_nobody_out() {
    let server = TestServer::without_engine(&[("auth.failures_per_minute", "3")]).await;
    server.account("alice").await;
    let name = "alice".parse().unwrap();
    let account = accounts::by_name(&server.app.db, &name).await.unwrap().unwrap().id;
    let old = registry::build_credential(&server.app, account, &name, 1).unwrap();
    server.app.clock.advance_secs(5);

    for _ in 0..10 {
        server.ask_token(Some(("alice", old.password.expose())), &[]).await.expect(401);
    }
    server.ask_token(Some(("alice", "alice password")), &[]).await.expect(200);
    for _ in 0..3 {
        server.ask_token(Some(("alice", "wrong")), &[]).await.expect(401);
    }
    let refused = server.ask_token(Some(("alice", "wrong")), &[]).await.expect(429);
    assert!(refused.headers.contains_key("retry-after"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engines_credential_only_narrows_its_account() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    server.account("bob").await;
    let name = "alice".parse().unwrap();
    let account = accounts::by_name(&server.app.db, &name).await.unwrap().unwrap().id;
    let wanted = [
        "repository:alice/app:pull,push",
        "repository:alice/other:pull,push",
        "repository:bob/app:pull,push",
    ];
    let image: ImageName = "alice/app:v1".parse().unwrap();
    let foreign: ImageName = "bob/app:v1".parse().unwrap();

    let mut opened = Vec::new();
    for credential in [
        registry::pull_credential(&server.app, account, &name, "alice/app").unwrap(),
        registry::push_credential(&server.app, account, &name, &image, 60).unwrap(),
        registry::build_credential(&server.app, account, &name, 60).unwrap(),
        registry::push_credential(&server.app, account, &name, &foreign, 60).unwrap(),
    ] {
        assert_eq!(credential.username, "alice");
        let login = Some((credential.username.as_str(), credential.password.expose()));
        let answer = server.ask_token(login, &wanted).await.expect(200).json();
        opened.push(answer["scope"].as_str().unwrap().to_owned());
        server.ask_token(Some(("bob", credential.password.expose())), &wanted).await.expect(401);
    }

    assert_eq!(opened[0], "repository:alice/app:pull");
    assert_eq!(opened[1], "repository:alice/app:pull,push");
    assert_eq!(opened[2], "repository:alice/app:pull repository:alice/other:pull");
    assert_eq!(opened[3], "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_registry_reports_is_recorded_once() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let door = server.door_of("alice", "alice/app").await;
    let image = RawImage::new("reported");
    door.push("alice/app", "v1", &image).await.expect(201);
    let page = PageQuery::default();
    let events = || async { registry_events::list(&server.app.db, page).await.unwrap().rows };

    let pushed = eventually("the push is reported", 30, || async {
        let rows = events().await;
        assert!(
            rows.iter().all(|row| row.event.actor.as_deref() == Some("alice")),
            "what we do ourselves is no news"
        );
        rows.into_iter().find(|row| row.event.digest.as_deref() == Some(&image.digest))
    });
    let pushed = pushed.await.event;
    assert_eq!((pushed.action.as_str(), pushed.repository.as_str()), ("push", "alice/app"));
    assert_eq!(pushed.actor.as_deref(), Some("alice"));

    let event = |id: &str| {
        json!({
            "id": id, "timestamp": "2026-01-02T03:04:05.678901234Z", "action": "delete",
            "target": {"repository": "alice/app", "digest": image.digest}, "request": {"host": "x"}, "actor": {},
        })
    };
    let report = |secret: &str, events: Vec<Value>| {
        let request = server.api.http.post(format!("{}/api/registry/events", server.url));
        server.api.send(request.bearer_auth(secret).json(&json!({"events": events})))
    };
    let secret = server.app.keys.registry_events.expose().to_owned();
    let long = event(&"x".repeat(500));
    report(&secret, vec![event("one"), json!({"id": "broken"}), long, event("two")]).await.expect(200);
    report(&secret, vec![event("one"), event("two")]).await.expect(200);
    report("wrong", vec![event("three")]).await.expect(401);
    report("", vec![event("three")]).await.expect(401);

    let mut ids: Vec<String> = events().await.into_iter().map(|row| row.event.event_id).collect();
    ids.retain(|id| ["one", "two", "three", "broken"].contains(&id.as_str()) || id.len() > 100);
    ids.sort();
    assert_eq!(ids, ["one", "two"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_registry_comes_back_with_everything_in_it() {
    let server = TestServer::start().await;
    server.account("alice").await;
    let before = RawImage::new("before");
    server.door_of("alice", "alice/app").await.push("alice/app", "before", &before).await.expect(201);

    let killed = server.kill_registry().await;
    let is_restarted = || async { server.registry_process().filter(|id| *id != killed) };
    eventually("the registry is started again", 30, is_restarted).await;
    registry_is_up(&server).await;

    let door = server.door_of("alice", "alice/app").await;
    assert_eq!(door.manifest("alice/app", "before").await.expect(200).text.as_bytes(), before.manifest);
    door.push("alice/app", "after", &RawImage::new("after")).await.expect(201);
    server.api.get("/readyz").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_is_said_and_nothing_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let program = breakable_registry(folder.path());
    let server = TestServer::without_engine(&[("registry.program", program.to_str().unwrap())]).await;
    server.account("alice").await;
    registry_is_up(&server).await;
    let door = server.door_of("alice", "alice/app").await;
    let image = RawImage::new("image");
    door.push("alice/app", "v1", &image).await.expect(201);

    write_script(&program, "echo out of order >&2; exit 1");
    server.kill_registry().await;
    let refused = door.put_manifest("alice/app", "v2", &image).await;
    let unread = door.manifest("alice/app", "v1").await;
    let message = eventually("the readiness says why", 30, || async {
        let text = server.api.get("/readyz").await.text;
        text.contains("out of order").then_some(text)
    });
    let message = message.await;

    assert_eq!((refused.status, unread.status), (503, 503), "{} {}", refused.text, unread.text);
    assert_eq!(refused.json()["errors"][0]["code"], "UNAVAILABLE");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(row(&server, "alice/app:v2").await, None);
    assert!(message.contains("the registry ended"), "{message}");

    write_script(&program, "exec docker-registry \"$@\"");
    registry_is_up(&server).await;
    let door = server.door_of("alice", "alice/app").await;
    door.put_manifest("alice/app", "v2", &image).await.expect(201);
    assert!(row(&server, "alice/app:v2").await.is_some());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_registry_program_is_explained() {
    let server = TestServer::without_engine(&[("registry.program", "/nowhere/docker-registry")]).await;

    let message = eventually("the readiness says why", 30, || async {
        let text = server.api.get("/readyz").await.text;
        text.contains("not installed").then_some(text)
    });

    assert!(message.await.contains("sudo apt-get install docker-registry"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_finds_its_content_and_ends_what_was_left_behind() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let image = RawImage::new("kept");
    server.door_of("alice", "alice/app").await.push("alice/app", "v1", &image).await.expect(201);
    let config = server.data_dir().join("registry/config.yml").canonicalize().unwrap();

    let server = server.restart().await;
    registry_is_up(&server).await;
    let found = server.door_of("alice", "alice/app").await.manifest("alice/app", "v1").await;
    assert_eq!(found.expect(200).text.as_bytes(), image.manifest);

    // As a server leaves it that was killed: the registry runs on. The supervisor's is killed first, so that the one
    // left behind can have the port in the configuration.
    server.kill_registry().await;
    let left = std::process::Command::new("sh")
        .args(["-c", "read line", "docker-registry", "serve"])
        .arg(&config)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let server = server.restart().await;
    registry_is_up(&server).await;
    let left = std::sync::Mutex::new(left);
    let has_ended = || async { left.lock().unwrap().try_wait().unwrap() };
    let ended = eventually("the registry that was left behind is ended", 30, has_ended).await;

    assert!(!ended.success());
    server.door_of("alice", "alice/app").await.manifest("alice/app", "v1").await.expect(200);
    let config = std::fs::metadata(server.folder().join("data/registry/config.yml")).unwrap();
    assert_eq!(config.permissions().mode() & 0o777, 0o600, "it holds secrets");
    let id = server.registry_process().unwrap();
    server.stop().await;
    assert!(
        std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default().is_empty(),
        "it ends with its server"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_have_two_registries() {
    let (one, two) = tokio::join!(TestServer::without_engine(&[]), TestServer::without_engine(&[]));
    one.account("alice").await;
    two.account("alice").await;
    let image = RawImage::new("in one");
    let (door_one, door_two) =
        (one.door_of("alice", "alice/app").await, two.door_of("alice", "alice/app").await);

    door_one.push("alice/app", "v1", &image).await.expect(201);
    let crossed = two.door().with_token(door_one.token.clone().unwrap());

    door_one.manifest("alice/app", &image.digest).await.expect(200);
    assert_eq!(door_two.manifest("alice/app", &image.digest).await.status, 404);
    assert_eq!(crossed.manifest("alice/app", &image.digest).await.status, 401);
    one.stop().await;
    door_two.push("alice/app", "v1", &image).await.expect(201);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_elsewhere_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let server = TestServer::without_engine(&[("registry.url", &url)]).await;
    server.account("alice").await;
    let before = server.api.get("/readyz").await;
    assert_eq!(before.status, 503);
    assert!(before.text.contains("the registry does not answer"), "{}", before.text);

    // As its operator would run it: with our certificate, a realm of its own and absolute addresses.
    let config = json!({
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": folder.path().join("data")}, "delete": {"enabled": true}},
        "http": {"addr": format!("127.0.0.1:{port}")},
        "auth": {"token": {
            "realm": "https://cloud.example/api/registry/token",
            "service": "longshore-registry",
            "issuer": "longshore",
            "rootcertbundle": server.app.keys.registry_certificate,
        }},
    });
    let file = folder.path().join("config.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = tokio::process::Command::new("docker-registry");
    let elsewhere = command.arg("serve").arg(&file).stdout(std::process::Stdio::null());
    let _elsewhere = elsewhere.stderr(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
    registry_is_up(&server).await;

    let door = server.door_of("alice", "alice/app").await;
    let begun = door.send(door.request(Method::POST, "/v2/alice/app/blobs/uploads/")).await.expect(202);
    let location = begun.headers["location"].to_str().unwrap();
    assert!(location.starts_with("/v2/alice/app/blobs/uploads/"), "{location}");
    let image = RawImage::new("elsewhere");
    door.push("alice/app", "v1", &image).await.expect(201);
    assert_eq!(door.manifest("alice/app", "v1").await.expect(200).text.as_bytes(), image.manifest);
    let challenge = server.door().get("/v2/").await.expect(401);
    let challenge = challenge.headers["www-authenticate"].to_str().unwrap().to_owned();
    let realm = format!("realm=\"http://{}/api/registry/token\"", server.registry);
    assert!(challenge.contains(&realm), "{challenge}");
    server.stop().await;
}
