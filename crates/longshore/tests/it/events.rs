//! What happens, as it is told to those who watch.

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use server::caller::{Caller, Proof};
use server::domain::events;
use tokio_tungstenite::tungstenite::Message;
use wire::accounts::Role;
use wire::ids::AccountId;

use crate::support::api::Api;
use crate::support::server::TestServer;
use crate::support::shop::Shop;
use crate::support::socket::Socket;

/// Somebody who watches, and what was told.
struct Watcher {
    socket: Socket,
    told: Vec<(String, Value)>,
}

impl Watcher {
    /// Opens it and reads what is there already.
    async fn open(api: &Api, query: &str) -> Self {
        let socket = Socket::open(api, &format!("/api/v1/events{query}"), &[]).await.unwrap();
        let mut watcher = Self { socket, told: Vec::new() };
        watcher.until(|name, _| name == "listed").await;
        watcher
    }

    async fn next(&mut self) -> Option<(String, Value)> {
        let Message::Text(text) = self.socket.next().await? else { panic!("events are text") };
        let event: Value = serde_json::from_str(&text).unwrap();
        let event = (event["event"].as_str().unwrap().to_owned(), event["data"].clone());
        self.told.push(event.clone());
        Some(event)
    }

    /// Reads until something like this is told.
    async fn until(&mut self, is_it: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().await.unwrap_or_else(|| panic!("it ended after {:?}", self.told));
            if is_it(&name, &data) {
                return data;
            }
        }
    }

    /// The names of everything of a kind that was told.
    fn names(&self, kind: &str) -> Vec<&str> {
        let of_kind = self.told.iter().filter(|(name, _)| name == kind);
        of_kind.map(|(_, data)| data["name"].as_str().unwrap_or_default()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_told_first_and_then_what_changes() {
    let Some(shop) = Shop::open().await else { return };
    let first = shop.run(json!({"name": "first"})).await;
    let mut watcher = Watcher::open(&shop.alice, "").await;
    assert_eq!(watcher.names("container"), ["first"]);
    assert_eq!(watcher.names("image"), ["alice/app:v1"]);
    let machine = watcher.told.iter().find(|(name, _)| name == "machine").unwrap();
    assert_eq!(machine.1["state"], "online");
    let shown = shop.alice.get(&format!("/api/v1/containers/{}", first["id"])).await.json();
    let told = watcher.told.iter().find(|(name, _)| name == "container").unwrap();
    assert_eq!(told.1, shown, "it is told as its own route shows it");

    let second = shop.ask(json!({"name": "second"})).await.expect(201).json();
    let is_second = |state: &'static str| {
        move |name: &str, data: &Value| {
            name == "container" && data["name"] == "second" && data["state"] == state
        }
    };
    watcher.until(is_second("running")).await;
    shop.act(&second["id"], "stop").await;
    watcher.until(is_second("stopped")).await;
    shop.alice.delete(&format!("/api/v1/containers/{}", second["id"])).await.expect(202);
    let gone = watcher.until(|name, _| name == "removed").await;
    assert_eq!(gone, json!({"kind": "container", "id": second["id"].to_string()}));
    let image = shop.alice.get("/api/v1/images").await.json()["data"][0].clone();
    let change = json!({"description": "new words"});
    shop.alice.patch(&format!("/api/v1/images/{}", image["id"]), change).await.expect(200);
    watcher.until(|name, data| name == "image" && data["description"] == "new words").await;
    assert!(!watcher.names("container")[1..].contains(&"first"), "what did not change is not told again");

    // The same as an event stream.
    let stream = shop.alice.request(Method::GET, "/api/v1/events").header("accept", "text/event-stream");
    let mut stream = stream.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains("event: listed\ndata: {}\n\n") {
        text += &String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap());
    }
    assert!(text.contains("event: machine\ndata: {"), "{text}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_of_what_they_may_not_see() {
    let Some(shop) = Shop::open().await else { return };
    let bob = shop.server.account("bob").await;
    let mut bobs = Watcher::open(&bob, "").await;
    let admin = shop.server.admin().await;
    let mut admins = Watcher::open(&admin, "?all=true").await;

    let secret = json!({"name": "secret", "env": {"PASSWORD": "hunter22"}});
    shop.run(secret).await;
    admins.until(|name, data| name == "container" && data["state"] == "running").await;
    // Something that bob may see, after it.
    let change = json!({"is_drained": true, "reason": "for bob"});
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0]["machine_id"].clone();
    let path = format!("/api/v1/machines/{}", machine.as_str().unwrap());
    admin.patch(&path, change).await.expect(200);
    bobs.until(|name, data| name == "machine" && data["drain_reason"] == "for bob").await;

    assert!(!format!("{:?}", bobs.told).contains("alice"), "{:?}", bobs.told);
    assert_eq!((bobs.names("container").len(), bobs.names("image").len()), (0, 0));
    let refused = Socket::open(&bob, "/api/v1/events?all=true", &[]).await.err().unwrap();
    assert_eq!((refused.status, refused.code()), (403, "admin_only"));
    assert_eq!(Socket::open(&bob.anonymous(), "/api/v1/events", &[]).await.err().unwrap().status, 401);
    let foreign = Socket::open(&bob, "/api/v1/events", &[("origin", "http://evil.test")]).await;
    assert_eq!(foreign.err().unwrap().code(), "foreign_origin");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_ends_with_the_right_to_it_and_is_counted() {
    let server = TestServer::without_engine(&[("streams.per_account", "1")]).await;
    let bob = server.account("bob").await;
    let mut watcher = Watcher::open(&bob, "").await;
    assert_eq!(Socket::open(&bob, "/api/v1/events", &[]).await.err().unwrap().code(), "too_many_streams");

    server.admin().await.patch("/api/v1/accounts/bob", json!({"state": "disabled"})).await.expect(200);

    let mut last = None;
    while let Some((name, _)) = watcher.next().await {
        last = Some(name);
    }
    assert_eq!(last.as_deref(), Some("end"));
    server.stop().await;
}

/// Nothing is gathered for whoever does not read: what it gets then is how things are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_gets_the_newest_state() {
    let Some(shop) = Shop::open().await else { return };
    let first = shop.run(json!({"name": "first"})).await;
    let caller = Caller {
        account: AccountId(first["user_id"].as_i64().unwrap()),
        name: "alice".parse().unwrap(),
        role: Role::User,
        proof: Proof::Job,
        ip: None,
        request_id: None,
    };
    let app = &shop.server.app;
    let mut happenings = Box::pin(events::open(app, &caller, false).unwrap().happenings(app));
    while happenings.next().await.unwrap().unwrap().name != "listed" {}

    let second = shop.run(json!({"name": "second"})).await;
    shop.act(&second["id"], "stop").await;
    shop.until(&second["id"], "stopped").await;
    shop.alice.delete(&format!("/api/v1/containers/{}", first["id"])).await.expect(202);
    shop.until_gone(&first["id"]).await;

    let mut told = Vec::new();
    while told.len() < 2 {
        let happening = happenings.next().await.unwrap().unwrap();
        // Other tests use the machine, too.
        if happening.name != "machine" {
            told.push(format!("{} {} {}", happening.name, happening.data["id"], happening.data["state"]));
        }
    }
    let newest =
        [format!("container {} \"stopped\"", second["id"]), format!("removed \"{}\" null", first["id"])];
    assert_eq!(told, newest, "the states before are passed over");
    drop(happenings);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_are_told_of_to_whoever_may_list_them() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let me = alice.get("/api/v1/me").await.expect(200).json();
    let release = store::releases::Row {
        id: wire::ids::ReleaseId(uuid::Uuid::now_v7()),
        account_id: AccountId(me["user_id"].as_i64().unwrap()),
        place: store::releases::Place {
            cluster: "test".parse().unwrap(),
            namespace: "alice-test".parse().unwrap(),
            name: "shop".to_owned(),
        },
        chart: store::releases::Chart {
            kind: wire::chart_repos::ChartRepoKind::External,
            repo_id: None,
            repo_name: "own".to_owned(),
            name: "web".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: None,
        },
        revision: 1,
        state: wire::releases::ReleaseState::Deployed,
        reason: None,
        message: None,
        resources: None,
        operation_id: None,
        created_at: server.app.now(),
        updated_at: server.app.now(),
    };
    store::releases::insert(&server.app.db, &release).await.unwrap();
    let foreign = Watcher::open(&bob, "").await;
    let mut watcher = Watcher::open(&alice, "").await;
    assert_eq!(watcher.names("release"), ["shop"]);
    assert_eq!(foreign.names("release"), [""; 0]);

    store::releases::delete(&server.app.db, release.id).await.unwrap();
    let gone = watcher.until(|name, _| name == "removed").await;
    assert_eq!(gone, json!({"kind": "release", "id": release.id}));
    let second = store::releases::Row { id: wire::ids::ReleaseId(uuid::Uuid::now_v7()), ..release };
    store::releases::insert(&server.app.db, &second).await.unwrap();
    let told = watcher.until(|name, _| name == "release").await;
    let shown = alice.get("/api/releases").await.expect(200).json();
    assert_eq!(told, shown["data"][0], "it is told as its own route lists it");
    server.stop().await;
}
