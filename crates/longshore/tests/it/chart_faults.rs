//! What servers of charts, and those who name them, may do to us: names that change where they lead, certificates of nobody, answers
//! that never end or lie, indexes that are far too large, texts that drive terminals and browsers.

use std::net::Ipv4Addr;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::charts::{ChartServer, Fault, hex_of, index, package};
use crate::support::names::NameServer;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

/// Loopback is where the tests' repositories are.
const LOOPBACK: (&str, &str) = ("outbound.allow", "127.0.0.0/8");

async fn add(api: &Api, name: &str, url: &str) -> Answer {
    api.post("/api/v1/chart-repos", json!({"name": name, "url": url, "sync_minutes": 0})).await
}

async fn sync(api: &Api, name: &str) -> Answer {
    api.send(api.request(Method::POST, &format!("/api/v1/chart-repos/{name}/sync"))).await
}

/// Why the last sync failed.
async fn reason(api: &Api, name: &str) -> Value {
    let syncs = api.get(&format!("/api/v1/chart-repos/{name}/syncs?limit=1")).await.expect(200).json();
    syncs["data"][0]["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_change_where_they_lead_reach_nothing_inside() {
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const INSIDE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    let names = NameServer::start(&[
        ("good.test", vec![vec![OUTSIDE]]),
        ("inside.test", vec![vec![INSIDE]]),
        ("both.test", vec![vec![OUTSIDE, INSIDE], vec![INSIDE, OUTSIDE]]),
        // What is looked up to be checked is another address than what is looked up to be connected to.
        ("rebinds.test", vec![vec![OUTSIDE], vec![INSIDE]]),
        ("rebinds-later.test", vec![vec![OUTSIDE], vec![OUTSIDE], vec![INSIDE]]),
    ])
    .await;
    let Some(names) = names else {
        eprintln!("left out: only root can be a name server");
        return;
    };
    let text =
        index(&[("web", &["1.0.0"])]).replace("web-1.0.0.tgz", "http://inside.test:PORT/web-1.0.0.tgz");
    let canary = ChartServer::start(&text).await;
    let port = canary.url.rsplit(':').next().unwrap().to_owned();
    let text = text.replace("PORT", &port);
    let outside = ChartServer::start_at(&text, &format!("{OUTSIDE}:{port}")).await;
    let settings = [("machine.enabled", "false"), ("outbound.allow", "127.0.0.2/32")];
    let Some(server) = ServerProcess::start_with_names(&names.address.to_string(), &settings).await else {
        return;
    };
    let (alice, admin) = (server.account("alice").await, server.admin().await);
    let url = |name: &str| format!("http://{name}.test:{port}");

    // The control: names are looked up there, and what is outside is reached.
    add(&alice, "good", &url("good")).await.expect(201);
    assert_eq!((names.asked("good.test"), outside.asked().len()), (1, 1));
    for (name, who) in [("inside", &alice), ("inside", &admin), ("both", &alice), ("both", &admin)] {
        let refused = add(who, name, &url(name)).await.expect(422).json();
        assert_eq!(refused["reason"], "address_refused", "{name}: {refused:#}");
    }
    for name in ["rebinds", "rebinds-later"] {
        add(&alice, name, &url(name)).await.expect(201);
        outside.set_index(&format!("{text}# {name}\n"));
        for _ in 0..5 {
            let synced = sync(&alice, name).await;
            assert!(
                synced.status == 200 || reason(&alice, name).await == "address_refused",
                "{name}: {}",
                synced.text
            );
        }
        assert!(names.asked(&format!("{name}.test")) >= 6, "each time once");
    }
    // Redirected to a name that leads inside, and a package at such a name.
    outside.change(|behaviour| {
        behaviour.fault = Some(Fault::Redirect(format!("{}/index.yaml", url("inside"))));
    });
    assert_eq!(sync(&alice, "good").await.expect(502).code(), "address_refused");
    let package = alice.get("/api/v1/charts/good/web/versions/1.0.0").await;
    assert_eq!(package.code(), "address_refused", "{}", package.text);
    assert!(canary.asked().is_empty(), "somebody inside was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_over_tls_is_believed_with_its_own_authority_alone() {
    let server = TestServer::without_engine(&[("outbound.allow", "127.0.0.0/8,::1/128")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&index(&[("web", &["1.0.0"])])).await;
    let (url, authority) = charts.over_tls("localhost").await;
    let (misnamed, authority_of_misnamed) = charts.over_tls("elsewhere.test").await;
    let new =
        |authority: Option<&str>, url: &str| json!({"name": "a", "url": url, "ca_certificate": authority});
    let refused = async |body: Value| {
        alice.post("/api/v1/chart-repos", body).await.expect(422).json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };

    assert_eq!(refused(new(None, &url)).await, "tls_failed");
    assert_eq!(refused(new(Some(&authority_of_misnamed), &url)).await, "tls_failed", "of another authority");
    assert_eq!(refused(new(Some(&authority_of_misnamed), &misnamed)).await, "tls_failed", "for another name");
    assert!(charts.asked().is_empty(), "nothing is said to whoever is not believed");
    for bad in ["no certificate", "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"] {
        alice.post("/api/v1/chart-repos", new(Some(bad), &url)).await.expect(422);
    }

    alice.post("/api/v1/chart-repos", new(Some(&authority), &url)).await.expect(201);
    assert_eq!(alice.get("/api/v1/charts/a/web").await.expect(200).json()["version"], "1.0.0");
    // From TLS nobody is led into the clear.
    charts.change(|behaviour| {
        behaviour.fault = Some(Fault::Redirect(format!("{}/index.yaml", charts.url)));
    });
    assert_eq!(sync(&alice, "a").await.expect(502).code(), "redirect_refused");
    alice.get("/api/v1/charts/a/web").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_a_few_times_and_answers_that_lie_change_nothing() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.fetch_secs", "3")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&index(&[("web", &["1.0.0"])])).await;
    let elsewhere = ChartServer::start(&index(&[("web", &["1.0.0"]), ("api", &["1.0.0"])])).await;
    add(&alice, "a", &charts.url).await.expect(201);
    let count = async || alice.get("/api/v1/chart-repos/a").await.expect(200).json()["chart_count"].clone();

    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/index.yaml", elsewhere.url);
        charts.change(|behaviour| behaviour.fault = Some(Fault::RedirectAs(status, to)));
        sync(&alice, "a").await.expect(200);
        assert_eq!(count().await, 2, "{status}");
    }
    for to in [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http+unix:///run/docker.sock",
        "//",
        "http://[::ffff:169.254.169.254]/",
    ] {
        charts.change(|behaviour| behaviour.fault = Some(Fault::RedirectAs(307, to.into())));
        let code = sync(&alice, "a").await.expect(502).code();
        assert!(
            matches!(code.as_str(), "redirect_refused" | "address_refused" | "invalid_url"),
            "{to}: {code}"
        );
    }
    charts.change(|behaviour| behaviour.fault = Some(Fault::RedirectAs(308, "/index.yaml".into())));
    assert_eq!(sync(&alice, "a").await.expect(502).code(), "redirect_refused", "in a circle");
    // A byte now and then is no answer in time.
    charts.change(|behaviour| behaviour.fault = Some(Fault::Slow));
    assert_eq!(sync(&alice, "a").await.expect(504).code(), "fetch_timed_out");
    assert_eq!(count().await, 2);

    // It says that it is the same and is another: what came counts.
    charts.change(|behaviour| behaviour.fault = Some(Fault::SameTag));
    sync(&alice, "a").await.expect(200);
    assert_eq!(count().await, 1);
    charts.set_index(&index(&[("web", &["1.0.0"]), ("b", &["1.0.0"]), ("c", &["1.0.0"])]));
    sync(&alice, "a").await.expect(200);
    assert_eq!(count().await, 3);
    // It says that nothing changed, though it did: as it was, until it says otherwise.
    charts.set_index(&index(&[("web", &["2.0.0"])]));
    charts.change(|behaviour| behaviour.fault = Some(Fault::NotModified));
    assert_eq!(sync(&alice, "a").await.expect(200).json()["not_modified"], true);
    assert_eq!(count().await, 3);
    charts.change(|behaviour| behaviour.fault = None);
    sync(&alice, "a").await.expect(200);
    assert_eq!(count().await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_200_mb_is_read_in_little_memory_and_a_larger_one_is_not_read() {
    const VERSIONS: usize = 2_000;
    fn part(number: usize) -> String {
        let line = format!("          {}\n", "x".repeat(1000));
        let begin = if number == 0 { "apiVersion: v1\nentries:\n  big:\n" } else { "" };
        let filling = line.repeat(105);
        format!(
            "{begin}  - annotations:\n      images: |\n{filling}    name: big\n    version: 1.0.{number}\n"
        )
    }
    let bytes: usize = (0..VERSIONS).map(|number| part(number).len()).sum();
    assert!(bytes > 200 << 20, "{bytes} bytes");
    let settings = [("machine.enabled", "false"), LOOPBACK];
    let server = ServerProcess::start_on(&settings).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&index(&[("web", &["1.0.0"])])).await;
    add(&alice, "a", &charts.url).await.expect(201);
    let before = server.memory_kib("VmHWM");

    charts.change(|behaviour| behaviour.fault = Some(Fault::Generated(VERSIONS, part)));
    let read = sync(&alice, "a").await.expect(200).json();
    assert_eq!((&read["version_count"], &read["index_bytes"]), (&json!(VERSIONS), &json!(bytes)), "{read:#}");
    let grown = server.memory_kib("VmHWM") - before;
    assert!(grown < 64 << 10, "{grown} KiB more");

    // The bound is 256 MiB.
    charts.change(|behaviour| behaviour.fault = Some(Fault::Generated(VERSIONS / 2 * 3, part)));
    assert_eq!(sync(&alice, "a").await.expect(502).code(), "index_too_large");
    assert_eq!(alice.get("/api/v1/charts/a/big").await.expect(200).json()["version_count"], VERSIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drives_terminals_and_browsers_is_harmless_in_every_field() {
    const EVIL: &str = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{9b}31m\u{202e}<img src=x onerror=alert(1)>";
    let server = TestServer::without_engine(&[LOOPBACK]).await;
    let alice = server.account("alice").await;
    let about = json!({
        "apiVersion": "v2", "name": "web", "version": "1.0.0", "appVersion": EVIL, "description": EVIL, "type": EVIL,
        "kubeVersion": EVIL, "keywords": [EVIL], "maintainers": [{"name": EVIL, "url": "javascript:alert(1)"}],
        "home": "javascript:alert(1)", "icon": "javascript:alert(1)", "sources": ["javascript:alert(1)", EVIL],
        "annotations": {"category": EVIL}, "dependencies": [{"name": EVIL, "version": EVIL, "repository": EVIL}],
    });
    let bytes = package(&[
        ("web/Chart.yaml", escaped(&about).as_bytes()),
        ("web/README.md", EVIL.as_bytes()),
        ("web/values.yaml", b"a: 1\n"),
    ]);
    let mut entry = about;
    entry["urls"] = json!(["web.tgz", "javascript:alert(1)"]);
    entry["digest"] = json!(hex_of(&bytes));
    let bad = json!({"name": EVIL, "version": EVIL});
    let index = json!({"entries": {"web": [entry, bad], EVIL: [bad]}});
    let charts = ChartServer::start(&escaped(&index)).await;
    charts.change(|behaviour| {
        behaviour.files.insert("/web.tgz".into(), bytes.clone());
    });
    add(&alice, "a", &charts.url).await.expect(201);

    let of_index = [
        "/api/v1/charts",
        "/api/v1/charts/a/web",
        "/api/v1/charts/a/web/versions",
        "/api/v1/chart-repos/a/syncs",
        "/api/charts?repo=a",
    ];
    for path in of_index {
        let answer = alice.get(path).await.expect(200);
        let texts = texts(&answer.json());
        assert!(texts.iter().any(|text| text.contains("<img")), "{path}: it is there, as a text");
        for text in texts {
            let is_harmful =
                |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!text.contains(is_harmful) && !text.starts_with("javascript:"), "{path}: {text:?}");
        }
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"), "{path}");
    }
    // In a terminal nothing of it but letters, whatever the command.
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(arguments)
            .env("LONGSHORE_URL", &server.url)
            .env("LONGSHORE_TOKEN", alice.token.as_deref().unwrap())
            .env("LONGSHORE_CONFIG_DIR", server.folder().join("config"))
            .env("LONGSHORE_LANG", "en")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for arguments in [
        &["chart", "list"][..],
        &["chart", "versions", "a/web"],
        &["chart", "show", "a/web"],
        &["chart", "show", "a/web", "--readme"],
        &["k8s-repo-list", "--details"],
    ] {
        let said = run(arguments);
        assert!(
            said.contains("web") || said.contains("<img") || said.contains(&charts.url),
            "{arguments:?}: {said}"
        );
        assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}']), "{arguments:?}: {said:?}");
    }
    server.stop().await;
}

/// A value as JSON that is YAML, too, which may not hold such characters as they are.
fn escaped(value: &Value) -> String {
    value.to_string().replace('\u{9b}', "\\u009b").replace('\u{202e}', "\\u202e")
}

/// All texts in a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_password_goes_to_no_place_that_only_an_answer_names() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.fetch_secs", "5")]).await;
    let alice = server.account("alice").await;
    let (registry, other) = (ChartServer::start("").await, ChartServer::start("").await);
    let token = json!({"token": "t"}).to_string().into_bytes();
    for one in [&registry, &other] {
        one.change(|behaviour| {
            behaviour.files.insert("/token".into(), token.clone());
        });
    }
    let host = registry.url.trim_start_matches("http://").to_owned();
    let refused = async |realm: &str| {
        registry.change(|behaviour| {
            behaviour.fault = Some(Fault::Challenge(format!("Bearer realm=\"{realm}\",service=\"s\"")));
        });
        let new = json!({"name": "a", "url": format!("oci://{host}/web"), "username": "robot", "password": "a secret"});
        alice.post("/api/v1/chart-repos", new).await.expect(422).json()["reason"].as_str().unwrap().to_owned()
    };

    let elsewhere = other.url.replace("127.0.0.1", "localhost");
    refused(&format!("{elsewhere}/token")).await;
    assert!(other.asked().is_empty(), "another host was asked in the clear");
    for inside in
        ["http://169.254.169.254/token", "https://169.254.169.254/token", "file:///etc/passwd", "nothing"]
    {
        refused(inside).await;
    }
    // The control: the registry's own host is asked, with the password.
    registry.asked();
    refused(&format!("{}/token", other.url)).await;
    let asked = other.asked();
    assert!(
        asked.iter().any(|asked| asked.path == "/token" && asked.headers.contains_key("authorization")),
        "{asked:?}"
    );
    assert!(registry.asked().iter().all(|asked| {
        let shown = asked.headers.get("authorization");
        shown.is_none_or(|value| value.as_bytes() == b"Bearer t")
    }));
    server.stop().await;
}
