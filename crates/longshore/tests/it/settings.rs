//! Settings: what admins see of them, and what holds at once when they choose otherwise.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::server::TestServer;

async fn setting(api: &Api, name: &str) -> Value {
    let all = api.get("/api/v1/settings").await.expect(200).json();
    let found = all.as_array().unwrap().iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("`{name}` is not listed")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_chooses_who_may_register_and_it_holds_at_once_and_after_a_restart() {
    let server = TestServer::without_engine(&[("auth.registration", "approval")]).await;
    let admin = server.admin().await;
    let path = "/api/v1/settings/auth.registration";
    let register = |name: &'static str| {
        let api = server.api.clone();
        async move { api.post("/api/auth/register", json!({"account": name, "password": "p"})).await }
    };
    let before = setting(&admin, "auth.registration").await;
    assert_eq!((&before["value"], &before["source"]), (&json!("approval"), &json!("command_line")));
    assert_eq!(before["choices"], json!(["open", "approval", "closed"]));

    let chosen = admin.put(path, json!({"value": "closed"})).await.expect(200).json();
    assert_eq!((&chosen["value"], &chosen["source"]), (&json!("closed"), &json!("admin")));
    assert_eq!(register("alice").await.expect(403).code(), "registration_closed");
    let params = server.api.get("/api/auth/params").await.expect(200).json();
    assert_eq!(params["registration"], "closed");

    let server = server.restart().await;
    let admin = server.admin().await;
    let params = server.api.get("/api/auth/params").await.expect(200).json();
    assert_eq!(params["registration"], "closed", "it is kept");

    admin.put(path, json!({"value": "open"})).await.expect(200);
    let alice = server.account("alice").await;
    let back = admin.delete(path).await.expect(200).json();
    assert_eq!((&back["value"], &back["source"]), (&json!("approval"), &json!("command_line")));
    admin.delete(path).await.expect(200);
    let params = server.api.get("/api/auth/params").await.expect(200).json();
    assert_eq!(params["registration"], "approval");
    let audit = admin.get("/api/v1/audit?action=setting.set").await.expect(200).json();
    let targets: Vec<_> = audit["data"].as_array().unwrap().iter().map(|row| &row["target"]).collect();
    assert_eq!(targets, ["auth.registration = open", "auth.registration = closed"]);
    let audit = admin.get("/api/v1/audit?action=setting.reset").await.expect(200).json();
    assert_eq!(audit["total"], 1, "what changes nothing is not noted");

    // For all others there are no settings.
    for answer in [
        alice.get("/api/v1/settings").await,
        alice.put(path, json!({"value": "open"})).await,
        alice.delete(path).await,
    ] {
        assert_eq!(answer.expect(403).code(), "admin_only");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_without_their_secrets_and_only_choices_can_be_chosen() {
    let mail = [("mail.url", "smtp://u:hunter22@127.0.0.1:25"), ("mail.from", "Longshore <ci@example.org>")];
    let server = TestServer::without_engine(&mail).await;
    let admin = server.admin().await;

    let text = admin.get("/api/v1/settings").await.expect(200).json().to_string();
    assert!(!text.contains("hunter22"), "{text}");
    let secret = setting(&admin, "mail.url").await;
    assert_eq!((&secret["value"], &secret["is_secret"]), (&Value::Null, &json!(true)));
    assert_eq!(secret["source"], "command_line");

    let put = |name: &str, value: Value| {
        let (api, path) = (admin.clone(), format!("/api/v1/settings/{name}"));
        async move { api.put(&path, value).await }
    };
    let fixed = put("listen", json!({"value": "0.0.0.0:80"})).await.expect(409);
    assert_eq!(fixed.code(), "setting_fixed");
    assert!(fixed.json()["hint"].as_str().unwrap().contains("LONGSHORE_LISTEN"), "{}", fixed.json());
    put("auth.registrations", json!({"value": "open"})).await.expect(404);
    put("instance", json!({"value": "open"})).await.expect(404);
    for value in ["", "Open", "anybody", &"x".repeat(5000)] {
        put("auth.registration", json!({"value": value})).await.expect(422);
    }
    put("auth.registration", json!({"value": "open", "more": 1})).await.expect(422);
    assert_eq!(setting(&admin, "auth.registration").await["source"], "default");
    server.stop().await;
}
