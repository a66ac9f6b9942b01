//! Chart repositories (seed 004): the seed's requests word for word, syncs, and everything that a repository may do wrong.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wire::time::Timestamp;

use crate::support::api::{Answer, Api};
use crate::support::charts::{ChartServer, Fault, index, packed};
use crate::support::eventually;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

/// Loopback is where the tests' repositories are.
const LOOPBACK: (&str, &str) = ("outbound.allow", "127.0.0.0/8");

async fn server() -> TestServer {
    TestServer::without_engine(&[LOOPBACK]).await
}

async fn put(api: &Api, path: &str, body: Value) -> Answer {
    api.send(api.request(Method::PUT, path).json(&body)).await
}

async fn sync(api: &Api, name: &str) -> Answer {
    api.send(api.request(Method::POST, &format!("/api/repos/{name}/sync"))).await
}

async fn add(api: &Api, name: &str, url: &str) -> Value {
    api.post("/api/repos", json!({"name": name, "url": url})).await.expect(200).json()
}

fn bitnami() -> String {
    index(&[("nginx", &["2.0.0", "1.1.0", "1.0.0"]), ("redis", &["7.0.0"])])
}

/// Their indexes are read at once, before any of them is there to be counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_no_more_repositories_than_it_may_however_they_are_made() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.repos_per_account", "2")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;

    let asked: Vec<_> = (0..6)
        .map(|number| {
            let repo = json!({"name": format!("r{number}"), "url": charts.url.clone()});
            alice.post("/api/repos", repo)
        })
        .collect();
    let answers = futures::future::join_all(asked).await;

    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 2, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert_eq!(alice.get("/api/repos").await.expect(200).json()["total"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_requests_work_word_for_word() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    charts.change(|behaviour| {
        let index = behaviour.files["/index.yaml"].clone();
        behaviour.files.insert("/bitnami/index.yaml".into(), index);
    });
    let url = format!("{}/bitnami", charts.url);

    let created = alice
        .post("/api/repos", json!({"name": "bitnami", "type": "external", "url": url}))
        .await
        .expect(200);
    let repo = created.json();
    let id = repo["id"].as_str().unwrap().to_owned();
    assert!(uuid::Uuid::parse_str(&id).is_ok());
    let seeds: Vec<_> = created.text.split(',').take(7).map(|part| part.split('"').nth(1).unwrap()).collect();
    assert_eq!(
        seeds,
        ["id", "is_public", "name", "project_domain", "release_count", "type", "url"],
        "{}",
        created.text
    );
    for (field, value) in [
        ("is_public", json!(true)),
        ("name", json!("bitnami")),
        ("project_domain", json!("Default")),
        ("release_count", json!(0)),
        ("type", json!("external")),
        ("url", json!(url)),
        ("chart_count", json!(2)),
        ("chart_version_count", json!(4)),
        ("status", json!("ready")),
    ] {
        assert_eq!(repo[field], value, "{field}");
    }

    let updated = put(&alice, "/api/repos/bitnami", json!({"name": "bitnami-new", "url": url}))
        .await
        .expect(200)
        .json();
    assert_eq!((updated["name"].as_str(), updated["id"].as_str()), (Some("bitnami-new"), Some(id.as_str())));
    let list = alice.get("/api/repos?details=false&limit=20&offset=0&type=external").await.expect(200).json();
    assert_eq!((&list["total"], &list["limit"], &list["offset"]), (&json!(1), &json!(20), &json!(0)));
    assert_eq!(list["data"][0]["name"], "bitnami-new");
    let listed = &list["data"][0];
    assert_eq!((&listed["project_domain"], &listed["release_count"]), (&json!("Default"), &json!(0)));
    assert!(listed.get("chart_count").is_none(), "only with details: {listed}");
    assert_eq!(alice.get("/api/repos?type=internal").await.expect(200).json()["total"], 0);
    let synced = sync(&alice, &id).await.expect(200).json();
    assert_eq!((&synced["name"], &synced["sync"]["not_modified"]), (&json!("bitnami-new"), &json!(true)));
    assert_eq!(alice.get(&format!("/api/repos/{id}")).await.expect(200).json()["name"], "bitnami-new");
    let deleted = alice.delete("/api/repos/bitnami-new").await.expect(200).json();
    assert_eq!(deleted["id"], json!(id));
    assert_eq!(
        alice.get(&format!("/api/repos/{id}/")).await.expect(404).json()["class"],
        "ResourceNotFoundError"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_may_be_wrapped_and_failures_have_the_seeds_shape() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    let url = charts.url.clone();

    let wrapped =
        alice.post("/api/repos", json!({"repo": {"name": "a", "url": url}})).await.expect(200).json();
    assert_eq!(wrapped["repo"]["name"], "a");
    let wrapped = put(&alice, "/api/repos/a", json!({"repo": {"name": "b"}})).await.expect(200).json();
    assert_eq!(wrapped["repo"]["name"], "b");
    assert_eq!(alice.get("/api/repos/b?envelope=1").await.json()["repo"]["name"], "b");
    assert_eq!(alice.get("/api/repos?envelope=1").await.json()["repos"][0]["name"], "b");

    let post = |body: Value| alice.post("/api/repos", body);
    let closed = "http://127.0.0.1:1/charts";
    let cases: Vec<(Answer, u16, &str)> = vec![
        (post(json!({"name": "x"})).await, 400, "InputParameterError"),
        (post(json!({"url": url})).await, 400, "InputParameterError"),
        (post(json!({"name": "x", "url": url, "type": "odd"})).await, 400, "InputParameterError"),
        (post(json!({"name": "x", "url": url, "is_pubic": false})).await, 400, "InputParameterError"),
        (post(json!({"name": "x", "url": url, "is_public": "yes"})).await, 400, "InputParameterError"),
        (post(json!({"repo": {"name": "x", "url": url}, "name": "y"})).await, 400, "InputParameterError"),
        (post(json!({"name": "a/b", "url": url})).await, 400, "InputParameterError"),
        (post(json!({"name": "x".repeat(129), "url": url})).await, 400, "InputParameterError"),
        (post(json!({"name": "b", "url": url})).await, 409, "DuplicateNameError"),
        (post(json!({"name": "x", "url": "not an address"})).await, 406, "NotAcceptableError"),
        (post(json!({"name": "x", "url": "ftp://127.0.0.1/"})).await, 406, "NotAcceptableError"),
        (post(json!({"name": "x", "url": closed})).await, 406, "NotAcceptableError"),
        (post(json!({"name": "x", "url": format!("{url}/nothing")})).await, 406, "NotAcceptableError"),
        (put(&alice, "/api/repos/b", json!({})).await, 400, "MissingParameterError"),
        (put(&alice, "/api/repos/b", json!({"name": ""})).await, 400, "InputParameterError"),
        (put(&alice, "/api/repos/none", json!({"name": "c"})).await, 404, "ResourceNotFoundError"),
        (sync(&alice, "none").await, 404, "ResourceNotFoundError"),
        (alice.delete("/api/repos/none").await, 404, "ResourceNotFoundError"),
        (alice.get("/api/repos?limit=-1").await, 400, "InputParameterError"),
        (alice.get("/api/repos?limit=many").await, 400, "InputParameterError"),
        (alice.get("/api/repos?type=odd").await, 400, "InputParameterError"),
        (alice.get("/api/repos?order=up").await, 400, "InputParameterError"),
        (alice.get("/api/repos?order_by=password").await, 400, "InputParameterError"),
        (alice.anonymous().get("/api/repos").await, 401, "UnauthorizedError"),
        (
            alice
                .send(
                    alice
                        .request(Method::POST, "/api/repos")
                        .body("{")
                        .header("content-type", "application/json"),
                )
                .await,
            400,
            "BadRequestError",
        ),
        (alice.send(alice.request(Method::PUT, "/api/repos")).await, 405, "UnsupportOperationError"),
        (alice.get("/api/repos/a/b/c").await, 404, "ResourceNotFoundError"),
    ];
    for (number, (answer, status, class)) in cases.into_iter().enumerate() {
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["code"], &body["class"]),
            (status, &json!(status), &json!(class)),
            "case {number}: {}",
            answer.text
        );
        assert!(!body["details"].as_str().unwrap().is_empty(), "case {number}");
    }
    let missing = alice.post("/api/repos", json!({"name": "x"})).await.json();
    assert!(missing["details"].as_str().unwrap().contains("Missing repo url"), "{missing}");
    assert_eq!(alice.get("/api/repos").await.json()["total"], 1, "what was refused is not there");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_searched_ordered_and_paged() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    for (name, kind) in [("beta", "external"), ("alpha", "internal"), ("gamma", "external")] {
        alice.post("/api/repos", json!({"name": name, "url": charts.url, "type": kind})).await.expect(200);
    }
    let names = |path: &'static str| {
        let alice = alice.clone();
        async move {
            let page = alice.get(path).await.expect(200).json();
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|repo| repo["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };

    assert_eq!(names("/api/repos").await, ["gamma", "alpha", "beta"]);
    assert_eq!(names("/api/repos?order_by=name&order=asc").await, ["alpha", "beta", "gamma"]);
    for field in ["id", "is_public", "project_domain", "release_count", "type", "url", "owner"] {
        let page = alice.get(&format!("/api/repos?order_by={field}&order=asc")).await.expect(200).json();
        assert_eq!(page["data"].as_array().unwrap().len(), 3, "{field}");
    }
    assert_eq!(names("/api/repos?order-by=name&order=desc&limit=1&offset=1").await, ["beta"]);
    assert_eq!(names("/api/repos?search=ALP").await, ["alpha"]);
    assert_eq!(names("/api/repos?search=%25").await, [] as [&str; 0]);
    assert_eq!(names("/api/repos?type=internal").await, ["alpha"]);
    assert_eq!(names("/api/repos?limit=0").await.len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_exists_for_its_owner_and_admins_only() {
    let server = server().await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let charts = ChartServer::start(&bitnami()).await;
    let hidden = alice
        .post("/api/repos", json!({"name": "own", "url": charts.url, "is_public": false}))
        .await
        .expect(200)
        .json();
    add(&alice, "all", &charts.url).await;
    let id = hidden["id"].as_str().unwrap();

    for path in [format!("/api/repos/{id}"), "/api/repos/own".to_owned(), format!("/api/v1/chart-repos/{id}")]
    {
        bob.get(&path).await.expect(404);
        alice.get(&path).await.expect(200);
        admin.get(&path).await.expect(200);
    }
    assert_eq!(bob.get("/api/repos").await.json()["total"], 1);
    assert_eq!(bob.get("/api/repos?search=own").await.json()["total"], 0);
    sync(&bob, id).await.expect(404);
    assert_eq!(sync(&bob, "all").await.expect(403).json()["class"], "ForbiddenError");
    put(&bob, "/api/repos/all", json!({"name": "mine"})).await.expect(403);
    bob.delete("/api/repos/all").await.expect(403);
    bob.post("/api/repos", json!({"name": "all", "url": charts.url})).await.expect(409);
    // What bob cannot see does not stand in his way.
    bob.post("/api/repos", json!({"name": "own", "url": charts.url, "is_public": false})).await.expect(200);
    assert_eq!(bob.get("/api/repos/own").await.json()["owner"], "bob");
    assert_eq!(admin.get("/api/repos/own").await.expect(409).json()["class"], "ConflictError");
    admin.delete("/api/repos/all").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_kept_sealed_and_sent_to_its_own_server_only() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    let thief = ChartServer::start(&bitnami()).await;
    charts.change(|behaviour| behaviour.login = Some(("robot".into(), "pass-word-4711".into())));

    alice.post("/api/repos", json!({"name": "a", "url": charts.url})).await.expect(406);
    let new = json!({"name": "a", "url": charts.url, "username": "robot", "password": "pass-word-4711"});
    let created = alice.post("/api/repos", new).await.expect(200);
    assert!(!created.text.contains("4711"));
    assert_eq!(created.json()["has_password"], true);
    sync(&alice, "a").await.expect(200);

    // Redirected elsewhere, to another port: without the password.
    charts.change(|behaviour| behaviour.fault = Some(Fault::Redirect(format!("{}/index.yaml", thief.url))));
    sync(&alice, "a").await.expect(200);
    let asked = thief.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| !asked.headers.contains_key("authorization")),
        "{asked:?}"
    );
    // Moved elsewhere: the password is forgotten.
    let moved = put(&alice, "/api/repos/a", json!({"url": thief.url})).await.expect(200).json();
    assert_eq!(moved["has_password"], false);
    assert!(thief.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    let stored = std::fs::read(server.data_dir().join("longshore.db")).unwrap();
    assert!(!stored.windows(14).any(|part| part == b"pass-word-4711"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_index_costs_one_question_and_nothing_is_written() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;
    assert_eq!(charts.asked()[0].headers["accept-encoding"], "gzip");
    let versions = || server.app.db.versions().borrow().clone();

    for (etag, last_modified) in
        [(true, None), (false, Some("Mon, 06 May 2024 07:08:09 GMT".to_owned())), (false, None)]
    {
        charts.change(|behaviour| (behaviour.etag, behaviour.last_modified) = (etag, last_modified.clone()));
        charts.set_index(&format!("{}# {etag} {last_modified:?}\n", bitnami()));
        let changed = sync(&alice, "a").await.expect(200).json();
        assert_eq!(
            (&changed["sync"]["not_modified"], &changed["sync"]["changed_count"]),
            (&json!(false), &json!(0))
        );
        charts.asked();
        let before = versions();

        let same = sync(&alice, "a").await.expect(200).json();

        assert_eq!(same["sync"]["not_modified"], true);
        assert_eq!(versions(), before, "nothing is written");
        assert_eq!(charts.asked().len(), 1);
        let is_sent = same["sync"]["fetched_bytes"].as_u64().unwrap() > 0;
        assert_eq!(is_sent, !etag && last_modified.is_none(), "{same}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_writes_what_changed_and_says_so() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;

    charts.set_index(&index(&[("nginx", &["2.1.0", "2.0.0", "1.1.0", "1.0.0"]), ("minio", &["1.0.0"])]));
    let synced = sync(&alice, "a").await.expect(200).json();

    let found = &synced["sync"];
    assert_eq!(
        (&found["changed_count"], &found["chart_count"], &found["version_count"]),
        (&json!(3), &json!(2), &json!(5)),
        "{found}"
    );
    assert_eq!(synced["chart_version_count"], 5);
    // Other bytes under a version that was there: an alarm.
    let text =
        String::from_utf8(index(&[("nginx", &["2.1.0"]), ("minio", &["1.0.0"])]).into_bytes()).unwrap();
    let digest = text.lines().find_map(|line| line.trim().strip_prefix("digest: ")).unwrap().to_owned();
    charts.set_index(&text.replace(&digest, &"0".repeat(64)));
    let replaced = sync(&alice, "a").await.expect(200).json();
    assert_eq!(replaced["sync"]["replaced_count"], 1, "{replaced}");
    assert!(replaced["sync"]["problems"][0].as_str().unwrap().contains("2.1.0"));
    let history = alice.get("/api/v1/chart-repos/a/syncs").await.expect(200).json();
    assert_eq!(history["total"], 3);
    assert_eq!(history["data"][0]["replaced_count"], 1);
    let causes: Vec<&Value> = history["data"].as_array().unwrap().iter().map(|sync| &sync["cause"]).collect();
    assert_eq!(causes, ["manual", "manual", "create"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_fails_keeps_its_charts_and_says_why() {
    let server = TestServer::without_engine(&[
        LOOPBACK,
        ("charts.fetch_secs", "2"),
        ("charts.index_bytes", "20971520"),
        ("charts.versions", "1000"),
    ])
    .await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;
    let bomb = packed(&vec![b'#'; 19 << 20]);
    let cases: Vec<(Fault, u16, &str)> = vec![
        (Fault::Status(500), 502, "bad_status"),
        (Fault::Status(503), 502, "bad_status"),
        (Fault::Status(404), 502, "index_missing"),
        (Fault::Status(401), 502, "credentials_refused"),
        (Fault::Status(204), 502, "bad_status"),
        (Fault::Stall, 504, "fetch_timed_out"),
        (Fault::Endless, 502, "index_too_large"),
        (Fault::WrongLength, 502, "connection_broken"),
        (Fault::Redirect("/index.yaml".into()), 502, "redirect_refused"),
        (Fault::Redirect("http://169.254.169.254/latest".into()), 502, "address_refused"),
        (Fault::Redirect("file:///etc/passwd".into()), 502, "redirect_refused"),
        (Fault::Redirect(format!("{}/api/v1/me", server.url)), 502, "address_refused"),
        (Fault::Encoding("br", b"x".to_vec()), 502, "bad_encoding"),
        (Fault::Encoding("gzip", b"not packed".to_vec()), 502, "bad_encoding"),
        (Fault::Encoding("gzip", packed(b"entries:\n")[..15].to_vec()), 502, "bad_encoding"),
        (Fault::Encoding("gzip", bomb), 502, "index_bomb"),
    ];
    for (fault, status, reason) in cases {
        let shown: String = format!("{fault:?}").chars().take(60).collect();
        charts.change(|behaviour| behaviour.fault = Some(fault.clone()));
        let answer = sync(&alice, "a").await;
        assert_eq!(answer.status, status, "{shown}: {}", answer.text);
        let repo = alice.get("/api/repos/a").await.expect(200).json();
        assert_eq!((&repo["status"], &repo["chart_count"]), (&json!("failed"), &json!(2)), "{shown}");
        assert!(!repo["last_sync_error"].as_str().unwrap().is_empty());
        let history = alice.get("/api/v1/chart-repos/a/syncs?limit=1").await.expect(200).json();
        assert_eq!(history["data"][0]["reason"], reason, "{shown}: {history}");
    }
    let many = format!("entries:\n  a:\n{}", "  - version: 1.0.0\n".repeat(1001));
    for (text, reason) in [
        ("<html>", "index_malformed"),
        ("", "index_malformed"),
        ("entries: [", "index_malformed"),
        ("x: 1", "index_malformed"),
        (many.as_str(), "index_too_large"),
    ] {
        charts.change(|behaviour| behaviour.fault = None);
        charts.set_index(text);
        sync(&alice, "a").await.expect(502);
        let history = alice.get("/api/v1/chart-repos/a/syncs?limit=1").await.expect(200).json();
        assert_eq!(history["data"][0]["reason"], reason, "{text}: {history}");
    }
    // A 304 that nobody asked for is no index.
    charts.change(|behaviour| behaviour.fault = Some(Fault::NotModified));
    alice.post("/api/repos", json!({"name": "b", "url": charts.url})).await.expect(406);

    charts.change(|behaviour| behaviour.fault = None);
    charts.set_index(&bitnami());
    let healed = sync(&alice, "a").await.expect(200).json();
    assert_eq!((&healed["status"], &healed["last_sync_error"]), (&json!("ready"), &Value::Null));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_entries_are_counted_and_do_not_keep_good_ones_out() {
    let server = server().await;
    let alice = server.account("alice").await;
    let text = bitnami().replace(
        "  redis:\n",
        "  ../../etc:\n  - name: x\n    version: 1.0.0\n  redis:\n  - name: redis\n    version: latest\n",
    );
    let charts = ChartServer::start(&text).await;

    let repo = add(&alice, "a", &charts.url).await;

    assert_eq!((&repo["chart_count"], &repo["skipped_count"]), (&json!(2), &json!(2)));
    let history = alice.get("/api/v1/chart-repos/a/syncs").await.expect(200).json();
    assert_eq!(history["data"][0]["problems"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_inside_are_refused_whatever_they_look_like() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, admin) = (server.account("alice").await, server.admin().await);
    let charts = ChartServer::start(&bitnami()).await;
    let port = charts.url.rsplit(':').next().unwrap().to_owned();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
        "[fe80::1]",
    ] {
        for api in [&alice, &admin] {
            let answer =
                api.post("/api/repos", json!({"name": "x", "url": format!("http://{host}:{port}")})).await;
            let answer = answer.expect(406);
            assert!(
                answer.json()["details"].as_str().unwrap().contains("inside a network"),
                "{host}: {}",
                answer.text
            );
        }
    }
    for host in ["10.0.0.1", "192.168.1.1", "[fd00::1]"] {
        alice
            .post("/api/repos", json!({"name": "x", "url": format!("http://{host}:{port}")}))
            .await
            .expect(406);
    }
    assert!(charts.asked().is_empty(), "nobody was asked");
    server.stop().await;

    // Our own ports are refused even where loopback is allowed.
    let server = self::server().await;
    let admin = server.admin().await;
    for url in [server.url.clone(), format!("http://{}", server.registry)] {
        let refused = admin.post("/api/repos", json!({"name": "x", "url": url})).await.expect(406);
        assert!(refused.json()["details"].as_str().unwrap().contains("inside a network"), "{}", refused.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_synced_every_hour_and_no_earlier() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;
    let off = json!({"name": "off", "url": charts.url, "sync_minutes": 0});
    assert_eq!(alice.post("/api/repos", off).await.expect(200).json()["next_sync_at"], Value::Null);
    charts.asked();
    charts.set_index(&index(&[("nginx", &["3.0.0"])]));
    let chart_count = async || alice.get("/api/repos/a").await.json()["chart_count"].clone();

    let repo = alice.get("/api/repos/a").await.json();
    let time = |field: &str| serde_json::from_value::<Timestamp>(repo[field].clone()).unwrap().unix_secs();
    let minutes = (time("next_sync_at") - time("last_sync_at")) / 60;
    assert!((54..=66).contains(&minutes), "an hour, and a tenth more or less: {minutes}");
    assert!(charts.asked().is_empty(), "nobody asks before");
    server.app.clock.advance_secs(67 * 60);
    server.app.signals.chart_repos.notify_one();

    eventually("the hourly sync", 10, async || (chart_count().await == 1).then_some(())).await;
    assert_eq!(alice.get("/api/v1/chart-repos/a/syncs?limit=1").await.json()["data"][0]["cause"], "timer");
    assert_eq!(alice.get("/api/repos/off").await.json()["chart_count"], 2);
    // Unchanged: asked once more an hour later, and nothing is kept of it.
    charts.asked();
    server.app.clock.advance_secs(67 * 60);
    server.app.signals.chart_repos.notify_one();
    eventually("the next one", 10, async || (!charts.asked().is_empty()).then_some(())).await;
    assert_eq!(alice.get("/api/v1/chart-repos/a/syncs").await.json()["total"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_is_done_after_a_restart() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.sync_minutes", "0")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;
    charts.change(|behaviour| behaviour.fault = Some(Fault::Stall));
    charts.asked();
    let asked = alice.post("/api/v1/chart-repos/a/sync?async=true", json!({})).await.expect(202).json();
    let id = asked["id"].as_str().unwrap().to_owned();
    assert_eq!(
        alice.post("/api/repos/a/sync?async=1", json!({})).await.expect(202).json()["id"],
        json!(id),
        "one at a time"
    );

    eventually("the sync has begun", 20, async || (!charts.asked().is_empty()).then_some(())).await;

    charts.change(|behaviour| behaviour.fault = None);
    charts.set_index(&index(&[("nginx", &["3.0.0"])]));
    let server = server.restart().await;

    let alice = server.login("alice", "alice password").await;
    eventually("the sync that was asked for", 20, async || {
        let history = alice.get("/api/v1/chart-repos/a/syncs").await.json();
        let sync =
            history["data"].as_array().unwrap().iter().find(|sync| sync["id"] == json!(id)).cloned().unwrap();
        (sync["state"] == "succeeded").then_some(())
    })
    .await;
    assert_eq!(alice.get("/api/repos/a").await.json()["chart_count"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_of_a_sync_keeps_the_old_charts() {
    let charts = ChartServer::start(&bitnami()).await;
    let settings = [("machine.enabled", "false"), LOOPBACK];
    let mut server = ServerProcess::start_on(&settings).await;
    let alice = server.account("alice").await;
    add(&alice, "a", &charts.url).await;
    charts.change(|behaviour| behaviour.fault = Some(Fault::Stall));
    charts.asked();
    let mut pending = tokio::task::JoinSet::new();
    let request = alice.request(Method::POST, "/api/repos/a/sync");
    pending.spawn(async move { request.send().await.is_ok() });
    eventually("the sync has begun", 20, async || (!charts.asked().is_empty()).then_some(())).await;

    server.kill();
    server.start_again().await;

    assert_eq!(pending.join_all().await, [false]);
    charts.change(|behaviour| behaviour.fault = None);
    let repo = alice.get("/api/repos/a").await.expect(200).json();
    assert_eq!((&repo["chart_count"], &repo["status"]), (&json!(2), &json!("ready")));
    sync(&alice, "a").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_get_one_fetch() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;
    charts.set_index(&index(&[("nginx", &["3.0.0"])]));
    charts.asked();

    // Nobody is answered before others have asked.
    let held = CancellationToken::new();
    charts.change(|behaviour| behaviour.held = Some(held.clone()));
    let all = futures::future::join_all((0..20).map(|_| sync(&alice, "a")));
    let others = async {
        eventually("one is under way", 20, async || (!charts.asked().is_empty()).then_some(())).await;
        alice.get("/api/repos/a").await.expect(200);
        held.cancel();
    };
    let (all, ()) = tokio::join!(all, others);

    assert!(
        all.iter().all(|answer| answer.status == 200),
        "{:?}",
        all.iter().map(|answer| &answer.text).collect::<Vec<_>>()
    );
    assert!(charts.asked().len() < 19, "those who came together were answered together");
    assert_eq!(alice.get("/api/repos/a").await.json()["chart_count"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_same_to_several_is_fetched_once_for_all() {
    let server = server().await;
    let charts = ChartServer::start(&bitnami()).await;
    let people = [server.account("alice").await, server.account("bob").await, server.account("carol").await];
    let repos = async |name: &str, secret: &str| {
        for (number, api) in people.iter().enumerate() {
            // The last of them has the password of another.
            let password = if number == 2 { "others" } else { "secret" };
            let new = json!({"name": name, "url": charts.url, "is_public": false, "username": "robot", "password": password});
            let open = json!({"name": name, "url": charts.url, "is_public": false});
            api.post("/api/repos", if secret.is_empty() { open } else { new }).await.expect(200);
        }
    };
    for secret in ["", "secret"] {
        let name = if secret.is_empty() { "open" } else { "locked" };
        repos(name, secret).await;
        charts.set_index(&index(&[("nginx", &["3.0.0"])]));
        charts.asked();

        server.app.clock.advance_secs(67 * 60);
        server.app.signals.chart_repos.notify_one();

        for api in &people {
            let path = format!("/api/repos/{name}");
            eventually("it is synced", 20, async || {
                (api.get(&path).await.json()["chart_count"] == 1).then_some(())
            })
            .await;
        }
        let asked = charts.asked();
        let count = |word: &str| {
            let is_it = |value: &reqwest::header::HeaderValue| value.as_bytes() == word.as_bytes();
            asked.iter().filter(|asked| asked.headers.get("authorization").is_some_and(is_it)).count()
        };
        let open = asked.iter().filter(|asked| !asked.headers.contains_key("authorization")).count();
        assert_eq!(open, 1, "{asked:?}");
        if !secret.is_empty() {
            assert_eq!(
                (count("Basic cm9ib3Q6c2VjcmV0"), count("Basic cm9ib3Q6b3RoZXJz")),
                (1, 1),
                "{asked:?}"
            );
        }
        charts.set_index(&bitnami());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_fails_is_asked_again_soon_and_then_less_and_less() {
    let server = server().await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    add(&alice, "a", &charts.url).await;
    charts.change(|behaviour| behaviour.fault = Some(Fault::Status(503)));

    let mut pauses = Vec::new();
    for _ in 0..8 {
        sync(&alice, "a").await.expect(502);
        let repo = alice.get("/api/repos/a").await.expect(200).json();
        let time =
            |field: &str| serde_json::from_value::<Timestamp>(repo[field].clone()).unwrap().unix_secs();
        pauses.push(time("next_sync_at") - time("last_sync_at"));
    }

    for (pause, expected) in pauses.iter().zip([60, 120, 240, 480, 960, 1920, 3600, 3600]) {
        assert!((expected * 9 / 10..=expected * 11 / 10).contains(pause), "{pauses:?}");
    }
    charts.change(|behaviour| behaviour.fault = None);
    sync(&alice, "a").await.expect(200);
    let repo = alice.get("/api/repos/a").await.expect(200).json();
    assert_eq!(repo["last_sync_error"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_repository_is_made_and_read_behind_the_scenes() {
    let server = TestServer::without_engine(&[LOOPBACK, ("charts.fetch_secs", "1")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    charts.change(|behaviour| behaviour.fault = Some(Fault::Stall));

    let repo = alice.post("/api/repos", json!({"name": "slow", "url": charts.url})).await.expect(200).json();
    assert_eq!(repo["status"], "syncing");
    charts.change(|behaviour| behaviour.fault = None);
    // The try that goes on ends, and its pause.
    eventually("the index is read", 60, async || {
        server.app.clock.advance_secs(120);
        server.app.signals.chart_repos.notify_one();
        (alice.get("/api/repos/slow").await.json()["chart_count"] == 2).then_some(())
    })
    .await;
    server.stop().await;
}
