//! The catalogue: lists and searches, what is in a version, and packages that are not what they should be.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::json;

use crate::support::api::Api;
use crate::support::charts::{ChartServer, Fault, hex_of, index, package};
use crate::support::server::TestServer;

const LOOPBACK: (&str, &str) = ("outbound.allow", "127.0.0.0/8");

async fn add(api: &Api, name: &str, url: &str, is_public: bool) {
    let new = json!({"name": name, "url": url, "is_public": is_public});
    api.post("/api/v1/chart-repos", new).await.expect(201);
}

/// An index of one chart whose package has this digest, or none.
fn one(name: &str, version: &str, digest: Option<&str>, url: &str) -> String {
    let digest = digest.map(|digest| format!("    digest: {digest}\n")).unwrap_or_default();
    format!(
        "apiVersion: v1\nentries:\n  {name}:\n  - apiVersion: v2\n    description: A chart\n{digest}    icon: icon.png\n    name: {name}\n    urls:\n    - {url}\n    version: {version}\n"
    )
}

fn whole_chart(name: &str, version: &str) -> Vec<u8> {
    let chart = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"3.1\"\ndescription: It serves\ntype: application\ndependencies:\n- name: common\n  version: 2.x.x\n  repository: https://example.org\n"
    );
    package(&[
        (&format!("{name}/Chart.yaml"), chart.as_bytes()),
        (&format!("{name}/values.yaml"), b"# How many\nreplicas: 1\n"),
        (
            &format!("{name}/values.schema.json"),
            br#"{"type":"object","properties":{"replicas":{"type":"integer"}}}"#,
        ),
        (&format!("{name}/README.md"), "# It serves \u{4e2d}\n".as_bytes()),
        (&format!("{name}/templates/service.yaml"), b"kind: Service\n"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_are_listed_searched_and_kept_from_those_who_may_not_see_them() {
    let server = TestServer::without_engine(&[LOOPBACK]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let text = index(&[
        ("nginx", &["2.0.0-rc.1", "1.1.0", "1.0.0"]),
        ("postgresql", &["16.0.0"]),
        ("redis", &["7.0.0"]),
    ]);
    let text = text.replace("The chart postgresql", "A relational database");
    let charts = ChartServer::start(&text).await;
    add(&alice, "all", &charts.url, true).await;
    add(&alice, "own", &charts.url, false).await;
    let names = async |api: &Api, query: &str| {
        let page = api.get(&format!("/api/v1/charts{query}")).await.expect(200).json();
        let charts = page["data"].as_array().unwrap();
        charts
            .iter()
            .map(|chart| format!("{}/{}", chart["repo"].as_str().unwrap(), chart["name"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };

    assert_eq!(names(&bob, "").await, ["all/nginx", "all/postgresql", "all/redis"]);
    assert_eq!(names(&alice, "").await.len(), 6);
    assert_eq!(names(&bob, "?search=NGINX-word").await, ["all/nginx"]);
    assert_eq!(names(&bob, "?search=%E6%95%B0%E6%8D%AE%E5%BA%93").await, ["all/postgresql"], "in Chinese");
    assert_eq!(names(&bob, "?search=chart%20redis").await, ["all/redis"]);
    assert_eq!(names(&bob, "?search=%25").await, [] as [&str; 0]);
    assert_eq!(names(&alice, "?repo=own&limit=1&offset=1").await, ["own/postgresql"]);
    assert_eq!(names(&alice, "?type=internal").await, [] as [&str; 0]);
    for path in [
        "/api/v1/charts?repo=own",
        "/api/v1/charts/own/nginx",
        "/api/v1/charts/own/nginx/versions",
        "/api/v1/charts/all/none",
        "/api/charts?repo=own",
    ] {
        bob.get(path).await.expect(404);
    }
    let nginx = bob.get("/api/v1/charts/all/nginx").await.expect(200).json();
    assert_eq!(
        (&nginx["version"], &nginx["version_count"]),
        (&json!("1.1.0"), &json!(3)),
        "the best is no pre-release"
    );
    let versions = async |query: &str| {
        let page = bob.get(&format!("/api/v1/charts/all/nginx/versions{query}")).await.expect(200).json();
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["version"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(versions("").await, ["2.0.0-rc.1", "1.1.0", "1.0.0"]);
    assert_eq!(versions("?range=%5E1").await, ["1.1.0", "1.0.0"]);
    assert_eq!(versions("?range=%3E%3D1.0.1&limit=5").await, ["1.1.0"]);
    bob.get("/api/v1/charts/all/nginx/versions?range=nonsense").await.expect(422);
    // As the older system has them.
    assert_eq!(bob.get("/api/charts").await.expect(406).json()["class"], "NotEmptyError");
    let compat = bob.get("/api/charts?repo=all&name=nginx&all_version=true").await.expect(200).json();
    assert_eq!(
        (compat["total"].as_u64(), &compat["charts"][0]["chart"]["version"]),
        (Some(3), &json!("2.0.0-rc.1"))
    );
    assert_eq!(
        bob.get("/api/charts?repo=all&keyword=redis").await.expect(200).json()["charts"][0]["name"],
        "redis"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_shows_what_is_in_it_and_is_fetched_once() {
    let server = TestServer::without_engine(&[LOOPBACK]).await;
    let alice = server.account("alice").await;
    let bytes = whole_chart("web", "1.0.0");
    let charts = ChartServer::start(&one("web", "1.0.0", Some(&hex_of(&bytes)), "pkg/web-1.0.0.tgz")).await;
    charts.change(|behaviour| {
        behaviour.files.insert("/pkg/web-1.0.0.tgz".into(), bytes.clone());
    });
    add(&alice, "a", &charts.url, true).await;
    charts.asked();

    let content = alice.get("/api/v1/charts/a/web/versions/latest").await.expect(200).json();

    assert_eq!(
        (&content["version"], &content["app_version"], &content["digest_check"]),
        (&json!("1.0.0"), &json!("3.1"), &json!("index"))
    );
    assert_eq!(content["readme"], "# It serves \u{4e2d}\n");
    assert!(content["values"].as_str().unwrap().contains("# How many"));
    assert_eq!(content["schema"]["properties"]["replicas"]["type"], "integer");
    assert_eq!(content["dependencies"][0]["name"], "common");
    assert_eq!(content["files"].as_array().unwrap().len(), 5);
    let file =
        alice.get("/api/v1/charts/a/web/versions/1.0.0/file?path=templates/service.yaml").await.expect(200);
    assert_eq!(file.text, "kind: Service\n");
    alice.get("/api/v1/charts/a/web/versions/1.0.0/file?path=../../etc/passwd").await.expect(404);
    let form = alice.get("/api/v1/charts/a/web/versions/1.0.0/values-form").await.expect(200).json();
    let field = &form["sections"][0]["fields"][0];
    assert_eq!(
        (&field["path"], &field["type"], &field["default"]),
        (&json!(["replicas"]), &json!("integer"), &json!(1)),
        "{form:#}"
    );
    assert!(field["description"].as_str().unwrap().starts_with("How many"), "{form:#}");
    alice.get("/api/v1/charts/a/web/versions/9.9.9/values-form").await.expect(404);
    alice.get("/api/v1/charts/a/web/versions/9.9.9").await.expect(404);
    let whole = alice
        .request(Method::GET, "/api/v1/charts/a/web/versions/1.0.0/package")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(hex_of(&whole), hex_of(&bytes));
    let compat = alice.get("/api/charts/web?repo=a").await.expect(200).json();
    assert_eq!(compat["chart"]["chart"]["version"], "1.0.0");
    assert_eq!(charts.asked().len(), 1, "it is kept");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_another_one_is_refused() {
    let server = TestServer::without_engine(&[LOOPBACK]).await;
    let alice = server.account("alice").await;
    let (good, other) = (whole_chart("web", "1.0.0"), whole_chart("web", "1.0.0 "));
    let charts = ChartServer::start(&one("web", "1.0.0", Some(&hex_of(&good)), "web.tgz")).await;
    let serve = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        charts.change(move |behaviour| {
            behaviour.fault = None;
            behaviour.files.insert("/web.tgz".into(), bytes);
        });
    };
    add(&alice, "a", &charts.url, true).await;
    let content = async || alice.get("/api/v1/charts/a/web/versions/1.0.0").await;

    serve(&other);
    assert_eq!(content().await.expect(502).code(), "digest_mismatch");
    for (bytes, code) in [
        (package(&[("other/Chart.yaml", b"name: other\nversion: 1.0.0\n")]), "package_malformed"),
        (package(&[("web/values.yaml", b"a: 1\n")]), "package_malformed"),
        (
            package(&[("web/Chart.yaml", b"name: web\nversion: 1.0.0\n"), ("../../etc/cron.d/x", b"x")]),
            "package_malformed",
        ),
        (b"no package at all".to_vec(), "package_malformed"),
        (package(&[("web/Chart.yaml", b"name: [&a [*a]]\n")]), "package_malformed"),
    ] {
        charts.set_index(&one("web", "1.0.0", Some(&hex_of(&bytes)), "web.tgz"));
        alice.post("/api/v1/chart-repos/a/sync", json!({})).await.expect(200);
        serve(&bytes);
        assert_eq!(content().await.expect(502).code(), code);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_digest_the_first_package_is_the_right_one() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.cache_bytes", "1")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&one("web", "1.0.0", None, "web.tgz")).await;
    let serve = |bytes: Vec<u8>| {
        charts.change(|behaviour| {
            behaviour.files.insert("/web.tgz".into(), bytes);
        });
    };
    add(&alice, "a", &charts.url, true).await;
    serve(whole_chart("web", "1.0.0"));

    let first = alice.get("/api/v1/charts/a/web/versions/1.0.0").await.expect(200).json();
    assert_eq!(first["digest_check"], "first_use");
    let changed = package(&[("web/Chart.yaml", b"name: web\nversion: 1.0.0\ndescription: evil\n")]);
    serve(changed.clone());
    assert_eq!(alice.get("/api/v1/charts/a/web/versions/1.0.0").await.expect(502).code(), "package_changed");
    // An index that vouches for the new one is believed, and it is said that it changed.
    charts.set_index(&one("web", "1.0.0", Some(&hex_of(&changed)), "web.tgz"));
    alice.post("/api/v1/chart-repos/a/sync", json!({})).await.expect(200);
    let vouched = alice.get("/api/v1/charts/a/web/versions/1.0.0").await.expect(200).json();
    assert_eq!((&vouched["digest_check"], &vouched["digest_changed"]), (&json!("index"), &json!(true)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_and_pictures_elsewhere_get_no_password_and_reach_nothing_inside() {
    let server = TestServer::without_engine(&[("outbound.allow", "127.0.0.1")]).await;
    let alice = server.account("alice").await;
    let elsewhere = ChartServer::start("").await;
    let bytes = whole_chart("web", "1.0.0");
    elsewhere.change(|behaviour| {
        behaviour.files.insert("/web.tgz".into(), bytes.clone());
    });
    let charts = ChartServer::start(&one(
        "web",
        "1.0.0",
        Some(&hex_of(&bytes)),
        &format!("{}/web.tgz", elsewhere.url),
    ))
    .await;
    charts.change(|behaviour| behaviour.login = Some(("robot".into(), "secret".into())));
    let new = json!({"name": "a", "url": charts.url, "username": "robot", "password": "secret"});
    alice.post("/api/v1/chart-repos", new).await.expect(201);

    alice.get("/api/v1/charts/a/web/versions/1.0.0").await.expect(200);
    assert!(elsewhere.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    for url in [
        "http://127.0.0.2:1/web.tgz",
        "http://169.254.169.254/x.tgz",
        "file:///etc/passwd",
        &format!("{}/api/v1/me", server.url),
    ] {
        charts.set_index(&one("web", "2.0.0", None, url).replace("icon.png", url));
        alice.post("/api/v1/chart-repos/a/sync", json!({})).await.expect(200);
        let refused = alice.get("/api/v1/charts/a/web/versions/2.0.0").await;
        assert!(
            matches!(refused.code().as_str(), "address_refused" | "invalid_url" | "package_malformed"),
            "{url}: {}",
            refused.text
        );
        assert!(alice.get("/api/v1/charts/a/web/icon").await.status >= 400, "{url}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_drawn_again_and_drawings_run_nothing() {
    let server = TestServer::without_engine(&[LOOPBACK]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&index(&[])).await;
    let png = server::picture::draw_default("abc.png").expect("one of our own pictures");
    let drawing = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>".to_vec();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("png", png.clone(), 200, "image/png"),
        ("svg", drawing, 200, "image/svg+xml"),
        ("html", b"<html><script>alert(1)</script></html>".to_vec(), 502, ""),
        ("bomb", [&png[..40], &[0; 100]].concat(), 502, ""),
    ];
    let mut text = String::from("entries:\n");
    for (name, bytes, ..) in &cases {
        writeln!(text, "  {name}:\n  - name: {name}\n    version: 1.0.0\n    icon: {name}.bin").unwrap();
        charts.change(|behaviour| {
            behaviour.files.insert(format!("/{name}.bin"), bytes.clone());
        });
    }
    charts.set_index(&text);
    add(&alice, "a", &charts.url, true).await;

    for (name, _, status, kind) in &cases {
        let answer =
            alice.request(Method::GET, &format!("/api/v1/charts/a/{name}/icon")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), *status, "{name}");
        if *status == 200 {
            assert_eq!(answer.headers()["content-type"], *kind);
            assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
        }
    }
    charts.change(|behaviour| behaviour.fault = Some(Fault::Status(500)));
    alice.get("/api/v1/charts/a/html/icon").await.expect(502);
    let kept = alice.request(Method::GET, "/api/v1/charts/a/png/icon").send().await.unwrap();
    assert_eq!(kept.status().as_u16(), 200, "what was drawn is kept");
    alice.get("/api/v1/charts/a/png").await.expect(200);
    server.stop().await;
}
