//! Charts in registries as chart repositories: CNCF Distribution elsewhere, and our own.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use server::clients::registry::client::digest_of;

use crate::support::api::Api;
use crate::support::charts::{ChartServer, Fault, hex_of, package};
use crate::support::machine::{PASSWORD, Registry, USER};
use crate::support::process::ServerProcess;
use crate::support::releases::{helm_at, upload};
use crate::support::server::TestServer;

const LOOPBACK: (&str, &str) = ("outbound.allow", "127.0.0.0/8");

fn chart(name: &str, version: &str, text: &str) -> Vec<u8> {
    let about = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"9\"\ndescription: {text}\nkeywords: [{name}-word]\n"
    );
    package(&[
        (&format!("{name}/Chart.yaml"), about.as_bytes()),
        (&format!("{name}/values.yaml"), format!("text: {text}\n").as_bytes()),
        (
            &format!("{name}/templates/map.yaml"),
            b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n",
        ),
    ])
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pushes a chart by a stock Helm; the package.
fn push(helm: &impl Fn(&[&str]) -> Output, home: &Path, into: &str, bytes: Vec<u8>) -> Vec<u8> {
    let path = home.join("pushed.tgz");
    std::fs::write(&path, &bytes).unwrap();
    said(&helm(&["push", &path.display().to_string(), into, "--plain-http"]));
    bytes
}

async fn sync(api: &Api, name: &str) -> Value {
    api.send(api.request(Method::POST, &format!("/api/v1/chart-repos/{name}/sync"))).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_elsewhere_is_synced_by_its_tags_and_its_packages_are_checked() {
    let server = TestServer::without_engine(&[LOOPBACK]).await;
    let home = server.folder().to_owned();
    let Some(helm) = helm_at(&home) else { return server.stop().await };
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let registry = Registry::start().await;
    let into = format!("oci://{}/team/charts", registry.address);
    said(&helm(&["registry", "login", &registry.address, "--plain-http", "-u", USER, "-p", PASSWORD]));
    let first = push(&helm, &home, &into, chart("web", "1.0.0", "first"));
    push(&helm, &home, &into, chart("web", "1.1.0+b", "second"));
    push(&helm, &home, &into, chart("api", "0.1.0", "api"));

    // Sealed, sent to the registry, and asked for when it is missing.
    let new = |url: &str| json!({"name": "team", "url": url, "is_public": false});
    let refused = alice.post("/api/v1/chart-repos", new(&into)).await.expect(422).json();
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!("chart_repo_unusable"), &json!("credentials_refused")),
        "{refused:#}"
    );
    let mut with_login = new(&into);
    with_login["username"] = USER.into();
    with_login["password"] = PASSWORD.into();
    let made = alice.post("/api/v1/chart-repos", with_login).await.expect(201);
    assert!(!made.text.contains(PASSWORD));
    let made = made.json();
    assert_eq!(
        (&made["chart_count"], &made["chart_version_count"], &made["url"]),
        (&json!(2), &json!(3), &json!(into)),
        "{made:#}"
    );
    let web = alice.get("/api/v1/charts/team/web").await.expect(200).json();
    assert_eq!(
        (&web["version"], &web["app_version"], &web["description"]),
        (&json!("1.1.0+b"), &json!("9"), &json!("second"))
    );
    let versions = alice.get("/api/v1/charts/team/web/versions").await.expect(200).json();
    assert_eq!(versions["data"][1]["digest"], hex_of(&first));
    let content = alice.get("/api/v1/charts/team/web/versions/1.0.0").await.expect(200).json();
    assert_eq!((&content["values"], &content["digest_check"]), (&json!("text: first\n"), &json!("index")));
    bob.get("/api/v1/charts/team/web").await.expect(404);

    // Nothing new: nothing written. A new version alone is read; a tag that was moved is told of.
    let again = sync(&alice, "team").await;
    assert_eq!((&again["not_modified"], &again["changed_count"]), (&json!(true), &json!(0)), "{again:#}");
    push(&helm, &home, &into, chart("web", "1.2.0", "third"));
    push(&helm, &home, &into, chart("web", "1.0.0", "moved"));
    let moved = sync(&alice, "team").await;
    assert_eq!(
        (&moved["not_modified"], &moved["changed_count"], &moved["replaced_count"]),
        (&json!(false), &json!(1), &json!(1)),
        "{moved:#}"
    );
    assert!(moved["problems"].to_string().contains("1.0.0"), "{moved:#}");
    let content = alice.get("/api/v1/charts/team/web/versions/1.0.0").await.expect(200).json();
    assert_eq!((&content["values"], &content["digest_changed"]), (&json!("text: moved\n"), &json!(true)));
    assert_eq!(sync(&alice, "team").await["not_modified"], true);

    // What is no chart is left out; one chart is a repository, too.
    let one = json!({"name": "one", "url": format!("{into}/api"), "username": USER, "password": PASSWORD, "is_public": false});
    let one = alice.post("/api/v1/chart-repos", one).await.expect(201).json();
    assert_eq!((&one["chart_count"], &one["chart_version_count"]), (&json!(1), &json!(1)));
    let none = json!({"name": "none", "url": format!("oci://{}/other", registry.address), "username": USER, "password": PASSWORD});
    let refused = alice.post("/api/v1/chart-repos", none).await.expect(422).json();
    assert_eq!(refused["reason"], "index_missing");

    // Gone for a while: the charts stay, and why is said.
    drop(registry);
    let failed = alice.send(alice.request(Method::POST, "/api/v1/chart-repos/team/sync")).await;
    assert_eq!((failed.status, failed.code()), (502, "connect_failed".to_owned()), "{}", failed.text);
    let repo = alice.get("/api/v1/chart-repos/team").await.expect(200).json();
    assert_eq!((&repo["status"], &repo["chart_count"]), (&json!("failed"), &json!(2)));
    let syncs = alice.get("/api/v1/chart-repos/team/syncs").await.expect(200).json();
    assert_eq!(
        (&syncs["data"][0]["state"], &syncs["data"][0]["reason"]),
        (&json!("failed"), &json!("connect_failed"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_registry_is_a_repository_for_those_who_may_see_its_charts() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let first = chart("web", "1.0.0", "first");
    upload(&alice, "alice", first.clone()).await.expect(201);
    upload(&alice, "alice", chart("api", "1.0.0", "api")).await.expect(201);
    let url = format!("oci://{}/alice", server.registry);

    let made = alice
        .post("/api/v1/chart-repos", json!({"name": "own", "url": url, "is_public": false}))
        .await
        .expect(201)
        .json();
    assert_eq!((&made["chart_count"], &made["chart_version_count"]), (&json!(2), &json!(2)));
    let content = alice.get("/api/v1/charts/own/web/versions/1.0.0").await.expect(200).json();
    assert_eq!((&content["values"], &content["digest"]), (&json!("text: first\n"), &json!(hex_of(&first))));

    // Whoever may not see them has nothing: not at once, not later, not what was there before.
    let theirs = json!({"name": "theirs", "url": format!("{url}/web"), "is_public": false});
    let refused = bob.post("/api/v1/chart-repos", theirs.clone()).await.expect(422).json();
    assert_eq!(refused["reason"], "index_missing");
    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": true})).await.expect(200);
    let made = bob.post("/api/v1/chart-repos", theirs).await.expect(201).json();
    assert_eq!(made["chart_count"], 1);
    bob.get("/api/v1/charts/theirs/web/versions/1.0.0").await.expect(200);
    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": false})).await.expect(200);
    bob.get("/api/v1/charts/theirs/web/versions/1.0.0").await.expect(502);
    bob.send(bob.request(Method::POST, "/api/v1/chart-repos/theirs/sync")).await.expect(502);
    upload(&alice, "alice", chart("web", "1.1.0", "second")).await.expect(201);
    assert_eq!(sync(&alice, "own").await["changed_count"], 1);
    assert_eq!(sync(&alice, "own").await["not_modified"], true);
    for bad in ["oci://", "oci://h/A", "oci://h/a:1", "oci://u:p@h/a", "oci://h/a?x=1"] {
        assert_eq!(
            alice.post("/api/v1/chart-repos", json!({"name": "bad", "url": bad})).await.expect(422).code(),
            "invalid_url",
            "{bad}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_means_ill_gets_no_password_and_leads_nowhere() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.fetch_secs", "5")]).await;
    let alice = server.account("alice").await;
    let other = ChartServer::start("").await;
    let registry = ChartServer::start("").await;
    let host = registry.url.trim_start_matches("http://").to_owned();
    let add = async |name: &str| {
        let new = json!({"name": name, "url": format!("oci://{host}/web"), "username": "somebody", "password": "a secret"});
        alice.post("/api/v1/chart-repos", new).await
    };
    let reason = async |name: &str| add(name).await.expect(422).json()["reason"].as_str().unwrap().to_owned();

    registry.change(|behaviour| behaviour.fault = Some(Fault::Redirect(format!("{}/v2/", other.url))));
    reason("redirects").await;
    assert!(
        other.asked().iter().all(|asked| !asked.headers.contains_key("authorization")),
        "the password went elsewhere"
    );
    registry.change(|behaviour| behaviour.fault = Some(Fault::Redirect("http://169.254.169.254/v2/".into())));
    assert_eq!(reason("metadata").await, "address_refused");
    registry.change(|behaviour| behaviour.fault = Some(Fault::Status(500)));
    reason("broken").await;
    registry.change(|behaviour| {
        behaviour.fault = None;
        behaviour.files.insert("/v2/".into(), b"{}".to_vec());
        behaviour.files.insert("/v2/web/tags/list".into(), vec![b'['; 5 << 20]);
    });
    assert_eq!(reason("long").await, "index_malformed");
    registry.change(|behaviour| {
        let tags = json!({"tags": ["1.0.0", "../../x", "latest", "1.0.0"]}).to_string();
        behaviour.files.insert("/v2/web/tags/list".into(), tags.into_bytes());
        behaviour.files.insert("/v2/web/manifests/1.0.0".into(), b"{\"schemaVersion\": 2}".to_vec());
    });
    let made = add("nothing").await.expect(201).json();
    assert_eq!((&made["chart_count"], &made["skipped_count"]), (&json!(0), &json!(2)), "{made:#}");
    server.stop().await;
}

/// Puts a chart into a registry as Helm does, without a process for each.
async fn put(api: &Api, registry: &Registry, repository: &str, version: &str) {
    let name = repository.rsplit('/').next().unwrap();
    let base = format!("http://{}/v2/{repository}", registry.address);
    let package = chart(name, version, "put");
    let config = json!({"apiVersion": "v2", "name": name, "version": version}).to_string().into_bytes();
    let ask = async |method: Method, url: &str, kind: &str, body: Vec<u8>| {
        let request =
            api.http.request(method, url).basic_auth(USER, Some(PASSWORD)).header("content-type", kind);
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.headers().clone()
    };
    for blob in [&package, &config] {
        let begun = ask(Method::POST, &format!("{base}/blobs/uploads/"), "text/plain", Vec::new()).await;
        let place = begun["location"].to_str().unwrap();
        let url = format!("{place}&digest={}", digest_of(blob));
        ask(Method::PUT, &url, "application/octet-stream", blob.clone()).await;
    }
    let descriptor = |bytes: &[u8], kind: &str| json!({"mediaType": format!("application/vnd.cncf.helm.{kind}"), "size": bytes.len(), "digest": digest_of(bytes)});
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": descriptor(&config, "config.v1+json"),
        "layers": [descriptor(&package, "chart.content.v1.tar+gzip")]});
    ask(Method::PUT, &format!("{base}/manifests/{version}"), kind, manifest.to_string().into_bytes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_of_a_sync_has_the_old_charts_or_the_new_ones() {
    let mut server = ServerProcess::start_on(&[("machine.enabled", "false"), LOOPBACK]).await;
    let alice = server.account("alice").await;
    let registry = Registry::start().await;
    let versions = async || {
        let found = alice.get("/api/v1/charts/team/web/versions?limit=100").await.expect(200).json();
        let page = found["data"].as_array().unwrap().len();
        assert_eq!(found["total"], page, "what is counted is there: {found:#}");
        page
    };
    put(&alice, &registry, "team/web", "1.0.0").await;
    let new = json!({"name": "team", "url": format!("oci://{}/team/web", registry.address), "username": USER,
        "password": PASSWORD, "is_public": false, "sync_minutes": 0});
    alice.post("/api/v1/chart-repos", new).await.expect(201);

    // At any moment of a sync, with pauses that are the same in every run.
    let mut pushed = 1;
    for (round, pause) in [10_u64, 60, 150].into_iter().enumerate() {
        let before = versions().await;
        for number in 0..8 {
            put(&alice, &registry, "team/web", &format!("1.{}.{number}", round + 1)).await;
        }
        pushed += 8;
        let request = alice.request(Method::POST, "/api/v1/chart-repos/team/sync");
        let (answered, ()) = tokio::join!(request.send(), async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            server.kill();
        });
        server.start_again().await;
        let found = versions().await;
        assert!(
            [before, pushed].contains(&found),
            "{found} versions: neither the {before} old ones nor all {pushed}"
        );
        if answered.is_ok_and(|answer| answer.status() == 200) {
            assert_eq!(found, pushed, "what was acknowledged is there");
        }
        alice.get("/api/v1/charts/team/web/versions/1.0.0/package").await.expect(200);
    }

    sync(&alice, "team").await;
    assert_eq!(versions().await, pushed);
    assert_eq!(sync(&alice, "team").await["not_modified"], true);
}
