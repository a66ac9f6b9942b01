//! Charts that accounts keep here: uploaded, served to a stock Helm, and kept from those who may not have them.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::charts::{hex_of, package};
use crate::support::releases::helm_at;
use crate::support::server::TestServer;

fn chart(name: &str, version: &str, description: &str) -> Vec<u8> {
    let text = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"1\"\ndescription: \"{description}\"\n"
    );
    package(&[
        (&format!("{name}/Chart.yaml"), text.as_bytes()),
        (&format!("{name}/values.yaml"), b"text: hello\n"),
        (&format!("{name}/templates/map.yaml"), b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  text: {{ .Values.text }}\n"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogues_own_routes_keep_and_remove_charts_for_their_owner_alone() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let add = async |api: &Api, query: &str, bytes: Vec<u8>| {
        api.send(api.request(Method::POST, &format!("/api/v1/charts{query}")).body(bytes)).await
    };

    let kept = add(&alice, "", chart("web", "1.0.0", "pages")).await.expect(201).json();

    assert_eq!(
        (&kept["repo"], &kept["name"], &kept["version"]),
        (&json!("alice"), &json!("web"), &json!("1.0.0"))
    );
    assert_eq!(add(&alice, "", chart("web", "1.0.0", "other")).await.expect(409).code(), "exists");
    add(&alice, "", b"no chart".to_vec()).await.expect(422);
    add(&bob, "?account=alice", chart("evil", "1.0.0", "")).await.expect(403);
    add(&admin, "?account=alice", chart("base", "1.0.0", "")).await.expect(201);
    let id = kept["repo_id"].as_str().unwrap();
    let version = format!("/api/v1/charts/{id}/web/versions/1.0.0");
    bob.delete(&version).await.expect(404);
    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": true})).await.expect(200);
    bob.delete(&version).await.expect(403);
    alice.delete(&version).await.expect(204);
    alice.delete(&version).await.expect(404);
    alice.get("/api/v1/charts/alice/web").await.expect(404);
    alice.get("/api/v1/charts/alice/base").await.expect(200);
    server.stop().await;
}

async fn upload(api: &Api, owner: &str, bytes: Vec<u8>) -> Answer {
    api.send(api.request(Method::POST, &format!("/charts/{owner}/api/charts")).body(bytes)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_chart_is_in_the_index_the_catalogue_and_nobody_elses_hands() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let bytes = chart("web", "1.0.0", "It: serves # \\\"pages\\\" \\u4e2d");

    let saved = upload(&alice, "alice", bytes.clone()).await.expect(201).json();

    assert_eq!((&saved["saved"], &saved["digest"]), (&json!(true), &json!(hex_of(&bytes))));
    upload(&alice, "alice", bytes.clone()).await.expect(201);
    assert_eq!(upload(&alice, "alice", chart("web", "1.0.0", "another")).await.expect(409).code(), "exists");
    let form = reqwest::multipart::Form::new()
        .part("chart", reqwest::multipart::Part::bytes(chart("web", "1.1.0", "")).file_name("web.tgz"));
    alice.send(alice.request(Method::POST, "/charts/alice/api/charts").multipart(form)).await.expect(201);
    let index = alice.get("/charts/alice/index.yaml").await.expect(200);
    assert!(
        index.text.contains("web-1.0.0.tgz") && index.text.contains("\"version\":\"1.1.0\""),
        "{}",
        index.text
    );
    let fetched = alice
        .request(Method::GET, "/charts/alice/web-1.0.0.tgz")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(hex_of(&fetched), hex_of(&bytes));
    let content = alice.get("/api/v1/charts/alice/web/versions/1.0.0").await.expect(200).json();
    assert_eq!(content["description"], "It: serves # \"pages\" \u{4e2d}");
    let repo = alice.get("/api/repos/alice").await.expect(200).json();
    assert_eq!(
        (&repo["backend"], &repo["chart_version_count"], &repo["is_public"]),
        (&json!("hosted"), &json!(2), &json!(false))
    );
    alice.post("/api/v1/chart-repos/alice/sync", json!({})).await.expect(409);

    // Others: not by index, not by package, not by catalogue; and nobody puts anything in.
    for path in ["/charts/alice/index.yaml", "/charts/alice/web-1.0.0.tgz", "/api/v1/charts/alice/web"] {
        bob.get(path).await.expect(404);
        assert_eq!(bob.anonymous().get(path).await.status, 401, "{path}");
    }
    upload(&bob, "alice", chart("evil", "1.0.0", "")).await.expect(403);
    upload(&bob.anonymous(), "alice", chart("evil", "1.0.0", "")).await.expect(401);
    bob.delete("/charts/alice/api/charts/web/1.0.0").await.expect(403);
    upload(&admin, "alice", chart("base", "1.0.0", "")).await.expect(201);
    alice.get("/charts/alice/../../api/v1/me").await;
    alice.get("/charts/alice/..%2f..%2fkeys%2fsealing.key").await.expect(404);

    alice.patch("/api/v1/chart-repos/alice", json!({"is_public": true})).await.expect(200);
    bob.anonymous().get("/charts/alice/index.yaml").await.expect(200);
    alice.delete("/charts/alice/api/charts/web/1.0.0").await.expect(200);
    alice.get("/charts/alice/web-1.0.0.tgz").await.expect(404);
    alice.delete("/charts/alice/api/charts/web/1.0.0").await.expect(404);
    assert_eq!(alice.get("/api/v1/charts/alice/web").await.expect(200).json()["version_count"], 1);
    alice.delete("/charts/alice/api/charts/web/1.1.0").await.expect(200);
    alice.get("/api/v1/charts/alice/web").await.expect(404);
    assert_eq!(alice.get("/api/repos/alice").await.json()["chart_version_count"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_chart_is_not_taken() {
    let server = TestServer::without_engine(&[("charts.package_bytes", "65536")]).await;
    let alice = server.account("alice").await;
    let named = |text: &str| package(&[("web/Chart.yaml", text.as_bytes())]);
    let cases: Vec<(Vec<u8>, u16)> = vec![
        (Vec::new(), 422),
        (b"no package".to_vec(), 422),
        (named("name: ../../up\nversion: 1.0.0\n"), 422),
        (named("name: ..\nversion: 1.0.0\n"), 422),
        (named("name: web\nversion: latest\n"), 422),
        (named("name: web\n"), 422),
        (named("- a\n"), 422),
        (named("a: &a [*a]\n"), 422),
        (package(&[("web/values.yaml", b"")]), 422),
        (package(&[("web/Chart.yaml", b"name: web\nversion: 1.0.0\n"), ("../x", b"")]), 422),
        (vec![0; 2 << 20], 413),
    ];
    for (number, (bytes, status)) in cases.into_iter().enumerate() {
        let answer = upload(&alice, "alice", bytes).await;
        assert_eq!(answer.status, status, "case {number}: {}", answer.text);
    }
    assert_eq!(
        alice.get("/api/repos").await.json()["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|repo| repo["chart_count"] != 0)
            .count(),
        0
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_are_all_there() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;

    let all = futures::future::join_all((0..8).map(|number| {
        let alice = alice.clone();
        async move {
            let bytes = chart("web", &format!("1.0.{number}"), "");
            // Whoever is told that it is busy tries again, as the hint says.
            loop {
                let answer = upload(&alice, "alice", bytes.clone()).await;
                if answer.code() != "changed_meanwhile" {
                    return answer.status;
                }
            }
        }
    }))
    .await;

    assert_eq!(all, [201; 8]);
    assert_eq!(alice.get("/api/v1/charts/alice/web").await.expect(200).json()["version_count"], 8);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_go_with_what_names_them_and_what_nothing_names_goes_with_the_next_start() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let folder = server.data_dir().join("blobs/hosted-charts");
    let files = || {
        let names = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let (both, alices) = (chart("web", "1.0.0", "both have it"), chart("api", "1.0.0", "alice's"));
    for bytes in [&both, &alices] {
        upload(&alice, "alice", bytes.clone()).await.expect(201);
    }
    upload(&bob, "bob", both.clone()).await.expect(201);
    assert_eq!(files(), [hex_of(&both), hex_of(&alices)].into());

    alice.delete("/api/v1/chart-repos/alice").await.expect(204);

    assert_eq!(files(), [hex_of(&both)].into(), "bob's stays");
    bob.get("/charts/bob/web-1.0.0.tgz").await.expect(200);
    // What a server left that died between a file and its version.
    std::fs::write(folder.join(hex_of(&alices)), &alices).unwrap();
    let server = server.restart().await;
    crate::support::eventually("what nothing names is gone", 30, || async {
        (files() == [hex_of(&both)].into()).then_some(())
    })
    .await;
    server.login("bob", "bob password").await.get("/charts/bob/web-1.0.0.tgz").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_helm_adds_searches_pulls_and_renders() {
    let server = TestServer::without_engine(&[]).await;
    let Some(helm) = helm_at(server.folder()) else { return server.stop().await };
    let alice = server.account("alice").await;
    for version in ["1.0.0", "1.1.0"] {
        upload(&alice, "alice", chart("web", version, "It serves, 中")).await.expect(201);
    }
    let url = format!("{}/charts/alice", server.url);
    let said = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    let refused = helm(&["repo", "add", "own", &url]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("401"));
    said(helm(&["repo", "add", "own", &url, "--username", "alice", "--password", "alice password"]));
    said(helm(&["repo", "update"]));
    let found: Value =
        serde_json::from_str(&said(helm(&["search", "repo", "web", "--versions", "-o", "json"]))).unwrap();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["version"]), (2, &json!("1.1.0")));
    said(helm(&["pull", "own/web", "--version", "1.0.0"]));
    assert!(server.folder().join("web-1.0.0.tgz").exists());
    let rendered = said(helm(&["template", "mine", "own/web", "--set", "text=bye"]));
    assert!(rendered.contains("name: mine") && rendered.contains("text: bye"), "{rendered}");
    let shown = said(helm(&["show", "chart", "own/web"]));
    assert!(shown.contains("It serves, 中"), "{shown}");
    server.stop().await;
}
