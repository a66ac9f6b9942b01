//! Accounts, logins, tokens, pictures: seeds 000 and 001 as their documents spell them, and what must not work.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::api::Api;
use crate::support::server::{ADMIN_PASSWORD, TestServer};

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

async fn user_id(api: &Api) -> i64 {
    api.get("/api/v1/me").await.expect(200).json()["user_id"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_hashing_clients_reach_one_account() {
    let server = TestServer::without_engine(&[]).await;
    let form = [("username", "henry"), ("password", "hunter22")];

    // Seed 000 registers with the plain password in a form …
    server
        .api
        .send(server.api.request(reqwest::Method::POST, "/user/register").form(&form))
        .await
        .expect(200);
    // … and seed 001 logs in with its hash.
    let login = json!({"account": "henry", "password": sha256("hunter22")});
    let token = server.api.post("/api/auth/login", login).await.expect(200).json()["access_token"].clone();
    let henry = server.api.with_token(token.as_str().unwrap());

    assert_eq!(token.as_str().unwrap().split('.').count(), 3);
    let user = henry.get("/api/user/get_user/henry").await.expect(200).json();
    let keys: Vec<_> = user.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["account", "email", "nickname", "phone", "photo", "user_id"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_000_takes_its_parameters_in_every_form() {
    let server = TestServer::without_engine(&[]).await;
    let api = &server.api;
    let post = |path: &str| api.request(reqwest::Method::POST, path);

    api.post("/user/register", json!({"username": "a1", "password": "p"})).await.expect(200);
    api.send(post("/user/register/").form(&[("username", "a2"), ("password", "p")])).await.expect(200);
    let multipart = reqwest::multipart::Form::new().text("username", "a3").text("password", "p");
    api.send(post("/user/register").multipart(multipart)).await.expect(200);
    let login = api.post("/user/login", json!({"username": "a2", "password": "p"})).await.expect(200);

    let cookie = login.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    api.with_token(token).get("/api/v1/me/").await.expect(200);
    api.get("/user/login").await.expect(405);
    api.post("/user/login", json!({"username": "a2", "password": "x"})).await.expect(401);
    api.post("/user/login", json!({"username": "zz", "password": "x"})).await.expect(404);
    api.post("/user/register", json!({"username": "a1", "password": "q"})).await.expect(409);
    api.post("/user/register", json!({"username": "a9"})).await.expect(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_answer_as_seed_001_says() {
    let server = TestServer::without_engine(&[]).await;
    server.account("alice").await;
    let login = |account: &str, password: &str| {
        server.api.post("/api/auth/login", json!({"account": account, "password": password}))
    };

    assert_eq!(login("alice", "alice password").await.status, 200);
    assert_eq!(login("ALICE", &sha256("alice password").to_uppercase()).await.status, 200);
    assert_eq!(login("alice", "wrong").await.expect(401).code(), "wrong_password");
    assert_eq!(login("nobody", "wrong").await.expect(404).code(), "no_such_account");
    assert_eq!(login("no such name!", "wrong").await.status, 404);
    let again = json!({"account": "Alice", "password": "other"});
    assert_eq!(server.api.post("/api/auth/register", again).await.expect(409).code(), "account_exists");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_stand_for_something_else_cannot_be_registered() {
    let server = TestServer::without_engine(&[]).await;

    for name in [
        "public",
        "Library",
        "kube",
        "default",
        "system",
        "longshore",
        "registry",
        "root",
        "admin",
        "a-b",
        "a/b",
        "a b",
        "",
        "аlice",
        "用户",
    ] {
        let answer = server.api.post("/api/auth/register", json!({"account": name, "password": "p"})).await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.text);
    }
    let long = "a".repeat(32);
    server.api.post("/api/auth/register", json!({"account": long, "password": "p"})).await.expect(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_as_admin() {
    let server = TestServer::without_engine(&[]).await;

    for extra in
        [json!({"role": "admin"}), json!({"is_admin": true}), json!({"id": 1}), json!({"state": "active"})]
    {
        let mut body = json!({"account": "mallory", "password": "p"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.api.post("/api/auth/register", body).await.expect(422);
    }
    let mallory = server.account("mallory").await;
    assert_eq!(mallory.get("/api/v1/me").await.json()["role"], "user");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_modes_hold() {
    let closed = TestServer::without_engine(&[("auth.registration", "closed")]).await;
    for name in ["alice", "admin", "x y"] {
        let answer = closed.api.post("/api/auth/register", json!({"account": name, "password": "p"})).await;
        assert_eq!((answer.status, answer.code()), (403, "registration_closed".to_owned()));
    }
    closed.stop().await;

    let approval = TestServer::without_engine(&[("auth.registration", "approval")]).await;
    let credentials = json!({"account": "alice", "password": "p"});
    approval.api.post("/api/auth/register", credentials.clone()).await.expect(200);
    assert_eq!(
        approval.api.post("/api/auth/login", credentials.clone()).await.expect(403).code(),
        "account_pending"
    );
    approval.admin().await.patch("/api/v1/accounts/alice", json!({"state": "active"})).await.expect(200);
    approval.api.post("/api/auth/login", credentials).await.expect(200);
    approval.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_limited_per_account_and_the_right_one_works_again_later() {
    let server = TestServer::without_engine(&[("auth.failures_per_minute", "5")]).await;
    server.account("alice").await;
    server.account("bob").await;
    let login = |account: &'static str, password: &'static str| {
        let (api, body) = (server.api.clone(), json!({"account": account, "password": password}));
        async move { api.post("/api/auth/login", body).await }
    };

    let answers = futures::future::join_all((0..20).map(|_| login("alice", "guess"))).await;

    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!(refused, 15, "five guesses pass, also when they come all at once");
    assert!(answers.iter().find(|a| a.status == 429).unwrap().headers.contains_key("retry-after"));
    login("bob", "bob password").await.expect(200);
    login("alice", "alice password").await.expect(429);
    server.app.clock.advance_secs(60);
    login("alice", "alice password").await.expect(200);
    for _ in 0..20 {
        login("alice", "alice password").await.expect(200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_private_where_they_should_be() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);

    alice.post("/api/user/set_profile", json!({"field": "nickname", "value": "爱丽丝"})).await.expect(200);
    alice
        .post("/api/user/set_profile", json!({"field": "email", "value": "alice@example.org"}))
        .await
        .expect(200);
    alice.post("/api/user/set_profile", json!({"field": "role", "value": "admin"})).await.expect(422);
    alice.post("/api/user/set_profile", json!({"field": "password", "value": "x"})).await.expect(422);
    alice
        .post("/api/user/set_profile", json!({"field": "email", "value": "not an address"}))
        .await
        .expect(422);

    let own = alice.get("/api/user/get_user/alice").await.json();
    let seen = bob.get("/api/user/get_user/alice").await.json();
    let by_admin = server.admin().await.get("/api/user/get_user/alice").await.json();
    assert_eq!((&own["nickname"], &own["email"]), (&json!("爱丽丝"), &json!("alice@example.org")));
    assert_eq!((&seen["nickname"], &seen["email"]), (&json!("爱丽丝"), &Value::Null));
    assert_eq!(by_admin["email"], "alice@example.org");
    bob.get("/api/user/get_user/nobody").await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_changes_only_for_oneself_and_only_fresh() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let other_session = server.login("alice", "alice password").await;
    let id = user_id(&alice).await;
    let change = |extra: Value| {
        let mut body = json!({"user_id": id, "new_password": "new"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };

    bob.post("/api/user/set_password", change(json!({}))).await.expect(403);
    let empty = alice.post("/api/user/set_password", change(json!({"new_password": ""}))).await.expect(422);
    assert_eq!(empty.json()["field"], "new_password");
    alice.post("/api/user/set_password", change(json!({}))).await.expect(200);

    alice.get("/api/v1/me").await.expect(200);
    other_session.get("/api/v1/me").await.expect(401);
    server.login("alice", "new").await;
    server.app.clock.advance_secs(11 * 60);
    assert_eq!(
        alice.post("/api/user/set_password", change(json!({}))).await.expect(403).code(),
        "reauth_required"
    );
    assert_eq!(
        alice.post("/api/user/set_password", change(json!({"password": "x"}))).await.expect(403).code(),
        "wrong_password"
    );
    alice.post("/api/user/set_password", change(json!({"password": "new"}))).await.expect(200);
    let token = alice.post("/api/v1/tokens", json!({"name": "t"})).await.expect(201).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    alice.with_token(token).post("/api/user/set_password", change(json!({}))).await.expect(403);
    server.admin().await.post("/api/user/set_password", change(json!({}))).await.expect(200);
    alice.get("/api/v1/me").await.expect(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_no_more_tokens_than_it_may_however_they_are_made() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    for number in 0..198 {
        alice.post("/api/v1/tokens", json!({"name": format!("t{number}")})).await.expect(201);
    }

    let asked = (0..8).map(|_| alice.post("/api/v1/tokens", json!({"name": "last"})));
    let answers = futures::future::join_all(asked).await;

    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 2);
    assert!(refused.iter().all(|answer| answer.code() == "too_many_tokens"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_tokens_live_until_deleted_or_ended() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;

    let created =
        alice.post("/api/v1/tokens", json!({"name": "ci", "expires_in": 60})).await.expect(201).json();
    let secret = created["token"].as_str().unwrap();
    let by_token = alice.with_token(secret);

    assert!(secret.starts_with("ls_"));
    by_token.get("/api/v1/me").await.expect(200);
    let listed = alice.get("/api/v1/tokens").await.expect(200);
    assert!(!listed.text.contains(secret) && !listed.text.contains("secret_hash"), "{}", listed.text);
    assert_eq!(listed.json()["data"][0]["name"], "ci");
    server.app.clock.advance_secs(61);
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    by_token.get("/api/v1/me").await.expect(401);

    let forever = alice.post("/api/v1/tokens", json!({"name": "x"})).await.expect(201).json();
    let by_token = alice.with_token(forever["token"].as_str().unwrap());
    by_token.get("/api/v1/me").await.expect(200);
    alice.delete(&format!("/api/v1/tokens/{}", forever["id"].as_str().unwrap())).await.expect(204);
    by_token.get("/api/v1/me").await.expect(401);
    for bad in [
        json!({"name": ""}),
        json!({"name": "x", "expires_in": 0}),
        json!({"name": "x", "expires_in": 1e18}),
        json!({"name": "x", "scope": "all"}),
    ] {
        assert_eq!(alice.post("/api/v1/tokens", bad.clone()).await.status, 422, "{bad}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_out_at_once() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let token =
        alice.post("/api/v1/tokens", json!({"name": "t"})).await.json()["token"].as_str().unwrap().to_owned();
    let by_token = alice.with_token(token);
    by_token.get("/api/v1/me").await.expect(200);
    let admin = server.admin().await;

    admin.patch("/api/v1/accounts/alice", json!({"state": "disabled"})).await.expect(200);

    alice.get("/api/v1/me").await.expect(401);
    by_token.get("/api/v1/me").await.expect(401);
    let login = json!({"account": "alice", "password": "alice password"});
    assert_eq!(
        server.api.post("/api/auth/login", login.clone()).await.expect(403).code(),
        "account_disabled"
    );
    admin.patch("/api/v1/accounts/alice", json!({"state": "active"})).await.expect(200);
    by_token.get("/api/v1/me").await.expect(200);
    alice.get("/api/v1/me").await.expect(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;

    for change in [json!({"role": "user"}), json!({"state": "disabled"})] {
        assert_eq!(admin.patch("/api/v1/accounts/admin", change).await.expect(409).code(), "last_admin");
    }
    admin.get("/api/v1/accounts").await.expect(200);
    admin
        .post("/api/v1/accounts", json!({"account": "second", "password": "p", "role": "admin"}))
        .await
        .expect(201);
    admin.patch("/api/v1/accounts/admin", json!({"role": "user"})).await.expect(200);
    admin.get("/api/v1/accounts").await.expect(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_encoded_anew() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let id = user_id(&alice).await;
    let built_in = alice.get("/api/user/photo/abc.png").await.expect(200);
    assert_eq!(built_in.headers["content-type"], "image/png");
    let png = alice
        .request(reqwest::Method::GET, "/api/user/photo/abc.png")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let upload = |bytes: Vec<u8>, name: &'static str| {
        let part = reqwest::multipart::Part::bytes(bytes).file_name(name);
        let form = reqwest::multipart::Form::new().part("photo", part);
        let request = alice.request(reqwest::Method::POST, "/api/user/set_photo/custom").multipart(form);
        request.header("user_id", id).header("account", "alice")
    };

    alice.send(upload(png.to_vec(), "../../x.png")).await.expect(200);

    let photo = alice.get("/api/v1/me").await.json()["photo"].as_str().unwrap().to_owned();
    let stored = alice.request(reqwest::Method::GET, &photo).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&stored[..8], b"\x89PNG\r\n\x1a\n");
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec();
    for (bytes, name) in [
        (svg, "x.png"),
        (b"<html>".to_vec(), "a.png"),
        (Vec::new(), "a.png"),
        (png[..png.len() / 2].to_vec(), "a.png"),
    ] {
        assert_eq!(alice.send(upload(bytes, name)).await.status, 422);
    }
    alice.send(upload(vec![0; (5 << 20) + 1], "big.png")).await.expect(413);
    let form = reqwest::multipart::Form::new()
        .part("photo", reqwest::multipart::Part::bytes(png.to_vec()).file_name("a.png"));
    let foreign = alice
        .request(reqwest::Method::POST, "/api/user/set_photo/custom")
        .header("account", "bob")
        .multipart(form);
    alice.send(foreign).await.expect(403);
    alice.post("/api/user/set_photo/default", json!({"user_id": id, "photo": "abc.png"})).await.expect(200);
    alice
        .post("/api/user/set_photo/default", json!({"user_id": id, "photo": "../../etc/passwd"}))
        .await
        .expect(422);
    alice.get("/api/user/photo/..%2f..%2fadmin-password").await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_in_the_audit_log_without_their_secrets() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    alice.post("/api/v1/tokens", json!({"name": "t"})).await.expect(201);
    alice.post("/api/user/set_password", json!({"new_password": "CANARY password"})).await.expect(200);
    let admin = server.admin().await;
    let bob = server.account("bob").await;
    let bob_id = user_id(&bob).await;
    admin.post("/api/user/set_password", json!({"user_id": bob_id, "new_password": "x"})).await.expect(200);

    let log = admin.get("/api/v1/audit?limit=100").await.expect(200);

    let actions: Vec<_> = log.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap().to_owned())
        .collect();
    for action in ["account.register", "token.create", "account.password"] {
        assert!(actions.iter().any(|a| a == action), "{actions:?}");
    }
    let newest = &log.json()["data"][0];
    assert_eq!((&newest["actor"], &newest["acting_for"]), (&json!("admin"), &json!("bob")));
    assert!(!log.text.contains("CANARY") && !log.text.contains("ls_"), "{}", log.text);
    alice.get("/api/v1/audit").await.expect(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_is_made_once_and_its_password_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = || async {
        let settings = [
            ("data_dir", data.display().to_string()),
            ("listen", "127.0.0.1:0".to_owned()),
            ("registry_listen", "127.0.0.1:0".to_owned()),
            ("machine.enabled", "false".to_owned()),
        ];
        let layer = settings.map(|(key, value)| (key.to_owned(), value)).into();
        longshore::run::start(server::config::load(None, |_| None, &layer).unwrap().config).await.unwrap()
    };

    let first = start().await;
    let (password, file) = first.new_admin.as_ref().unwrap().generated.as_ref().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), password.expose());
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let password = password.expose().to_owned();
    first.stop().await.unwrap();
    let second = start().await;
    assert!(second.new_admin.is_none());
    let login = json!({"account": "admin", "password": password});
    let url = format!("http://{}/api/auth/login", second.address);
    assert_eq!(crate::support::server::client().post(url).json(&login).send().await.unwrap().status(), 200);
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_cannot_use_the_cookie() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let cookie = format!("longshore_session={}", alice.token.clone().unwrap());
    let host = server.url.strip_prefix("http://").unwrap().to_owned();
    let change = |headers: &[(&str, &str)]| {
        let mut request =
            server.api.request(reqwest::Method::POST, "/api/user/set_profile").header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.api.send(request.json(&json!({"field": "nickname", "value": "x"})))
    };

    let own = format!("http://{host}");
    assert_eq!(change(&[("origin", &own)]).await.status, 200);
    assert_eq!(change(&[]).await.status, 200, "a program that keeps cookies");
    assert_eq!(change(&[("sec-fetch-site", "same-origin")]).await.status, 200);
    let (port, sub) = (format!("http://{host}0"), format!("http://evil.{host}"));
    for origin in ["http://evil.test", "null", &port, &sub, "", "file://"] {
        assert_eq!(change(&[("origin", origin)]).await.status, 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(change(&[("sec-fetch-site", site)]).await.status, 403, "{site}");
    }
    // Old browsers say only from which page they come.
    assert_eq!(change(&[("referer", &format!("{own}/ui/account?x=1"))]).await.status, 200);
    for page in ["http://evil.test/", &format!("{own}0/"), &format!("http://evil.test/{own}/"), "", "x"] {
        assert_eq!(change(&[("referer", page)]).await.status, 403, "{page}");
    }
    let read = server
        .api
        .request(reqwest::Method::GET, "/api/v1/me")
        .header("cookie", &cookie)
        .header("origin", "http://evil.test");
    assert_eq!(
        server.api.send(read).await.status,
        200,
        "reading changes nothing, and no CORS header lets a page see it"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_ours_are_refused() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let token = alice.token.clone().unwrap();
    let (header, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    let flipped: String = payload.chars().rev().collect();
    let registry_token =
        server.app.keys.registry.sign("1", json!({}), server.app.now().unix_secs(), 60).unwrap();
    let credential =
        server.app.keys.credential.sign("1", json!({}), server.app.now().unix_secs(), 60).unwrap();

    for bad in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{header}.{flipped}.{signature}"),
        format!("{header}.{payload}.{}", &signature[1..]),
        registry_token,
        credential,
        "ls_".to_owned(),
        "ls_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        "x".repeat(7_000),
    ] {
        alice.with_token(bad).get("/api/v1/me").await.expect(401);
    }
    alice.get("/api/v1/me").await.expect(200);
    for value in ["", "Bearer", "Bearer ", "Basic YWxpY2U6eA==", "Bearer a b"] {
        let request = server.api.request(reqwest::Method::GET, "/api/v1/me").header("authorization", value);
        assert_eq!(server.api.send(request).await.status, 401, "{value:?}");
    }
    let twice = server
        .api
        .request(reqwest::Method::GET, "/api/v1/me")
        .header("authorization", format!("Bearer {token}"));
    let twice = twice.header("authorization", "Bearer other");
    assert_eq!(server.api.send(twice).await.status, 401);
    for header in ["x-webauth-user", "x-forwarded-user", "x-remote-user", "user_id", "account"] {
        let request = server
            .api
            .request(reqwest::Method::GET, "/api/v1/accounts")
            .header(header, "admin")
            .header("x-forwarded-for", "127.0.0.1");
        assert_eq!(server.api.send(request).await.status, 401, "{header}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_session() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let other = server.login("alice", "alice password").await;

    alice.post("/api/auth/logout", json!({})).await.expect(200);

    alice.get("/api/v1/me").await.expect(401);
    other.get("/api/v1/me").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_accounts_survive_a_restart() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let token = alice.token.clone().unwrap();

    let server = server.restart().await;

    server.api.with_token(token).get("/api/v1/me").await.expect(200);
    server.login("admin", ADMIN_PASSWORD).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problems_with_a_request_id() {
    let server = TestServer::without_engine(&[]).await;

    for (answer, status, code) in [
        (server.api.get("/nothing/here").await, 404, "no_such_route"),
        (server.api.get("/api/auth/login").await, 405, "method_not_allowed"),
        (server.api.get("/api/v1/me").await, 401, "unauthenticated"),
        (server.api.post("/api/auth/login", json!([])).await, 422, "invalid"),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    }
    let broken = server
        .api
        .request(reqwest::Method::POST, "/api/auth/login")
        .header("content-type", "application/json")
        .body("{");
    assert_eq!(server.api.send(broken).await.expect(400).code(), "not_json");
    let huge = json!({"account": "x".repeat(2 << 20), "password": "p"});
    assert_eq!(server.api.post("/api/auth/login", huge).await.status, 413);
    server.stop().await;
}
