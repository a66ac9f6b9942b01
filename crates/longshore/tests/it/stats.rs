//! What containers use, through the API, on a real engine.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::shop::Shop;
use crate::support::socket::Socket;
use crate::support::{Wait, eventually};

async fn event(socket: &mut Socket) -> Option<(String, Value)> {
    let Message::Text(text) = socket.next().await? else { panic!("events are text") };
    let event: Value = serde_json::from_str(&text).unwrap();
    Some((event["event"].as_str().unwrap().to_owned(), event["data"].clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_uses_is_shown_each_second_and_remembered() {
    let Some(shop) = Shop::open().await else { return };
    let options = json!({"command": ["sh", "-c", "while :; do :; done"], "memory_bytes": 64 << 20});
    let container = shop.run_shell(options).await;
    let path = format!("/api/v1/containers/{}/stats", container["id"]);

    let view = shop.alice.get(&path).await.expect(200).json();
    assert_eq!(view["state"], "running");
    let now = &view["current"];
    assert!(now["cpu_millis"].as_u64().unwrap() > 100, "{view}");
    assert_eq!(now["memory_limit_bytes"], 64 << 20);
    let memory = now["memory_bytes"].as_u64().unwrap();
    assert!(memory > 0 && memory < 64 << 20, "{view}");
    assert_eq!(now["pids"], 1);

    let mut socket = Socket::open(&shop.alice, &path, &[]).await.unwrap();
    let (name, history) = event(&mut socket).await.unwrap();
    assert!(name == "history" && history.is_array(), "{name} {history}");
    let mut times = Vec::new();
    for _ in 0..3 {
        let (name, sample) = event(&mut socket).await.unwrap();
        assert_eq!(name, "sample");
        times.push(sample["at"].as_str().unwrap().to_owned());
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let stream = shop.alice.request(Method::GET, &path).header("accept", "text/event-stream");
    let mut stream = stream.send().await.unwrap();
    let first = stream.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: history\ndata: ["), "{first:?}");

    // The agent looks by itself, too.
    let wait = Wait::new("a past");
    let has_past = || async {
        let view = shop.alice.get(&path).await.expect(200).json();
        wait.saw(&view);
        let first = view["history"].get(0)?;
        (first["cpu_millis"].as_u64()? > 100).then_some(())
    };
    eventually(&wait, 60, has_past).await;
    // A list asks for all at once.
    let uses = shop.alice.get("/api/v1/container-uses").await.expect(200).json();
    assert_eq!((&uses[0]["container_id"], &uses[1]), (&container["id"], &Value::Null));
    assert!(uses[0]["sample"]["cpu_millis"].as_u64().unwrap() > 100, "{uses}");
    assert_eq!(uses[0]["name"], container["name"]);
    let bob = shop.server.account("bob").await;
    assert_eq!(
        bob.get("/api/v1/container-uses").await.expect(200).json(),
        json!([]),
        "what is foreign is not there"
    );
    assert_eq!(bob.get("/api/v1/container-uses?all=true").await.expect(403).code(), "admin_only");
    let all = shop.server.admin().await.get("/api/v1/container-uses?all=true").await.expect(200).json();
    assert_eq!(all[0]["container_id"], container["id"]);

    shop.act(&container["id"], "stop").await;
    shop.until(&container["id"], "stopped").await;
    let view = shop.alice.get(&path).await.expect(200).json();
    assert_eq!((&view["state"], &view["current"]), (&json!("stopped"), &Value::Null));
    assert_eq!(shop.alice.get("/api/v1/container-uses").await.expect(200).json(), json!([]));
    assert!(!view["history"].as_array().unwrap().is_empty(), "what it used is known when it has ended");

    // Looking on ends with the container.
    shop.alice.delete(&format!("/api/v1/containers/{}", container["id"])).await.expect(202);
    let mut last = None;
    while let Some((name, _)) = event(&mut socket).await {
        last = Some(name);
    }
    assert_eq!(last.as_deref(), Some("end"));
    assert!(String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()).contains("event: "));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_peoples_statistics_are_not_there() {
    let Some(shop) = Shop::open_with(&[("streams.per_account", "1")]).await else { return };
    let container = shop.run(json!({"name": "mine"})).await;
    let bob = shop.server.account("bob").await;
    let engine_id = shop.engine_id(&container["id"]).unwrap();

    for id in [container["id"].to_string(), "mine".to_owned(), engine_id[..12].to_owned(), engine_id] {
        let path = format!("/api/v1/containers/{id}/stats");
        bob.get(&path).await.expect(404);
        assert_eq!(Socket::open(&bob, &path, &[]).await.err().unwrap().status, 404);
    }
    let path = format!("/api/v1/containers/{}/stats", container["id"]);
    assert_eq!(Socket::open(&bob.anonymous(), &path, &[]).await.err().unwrap().status, 401);
    let foreign = Socket::open(&shop.alice, &path, &[("origin", "http://evil.test")]).await;
    assert_eq!(foreign.err().unwrap().code(), "foreign_origin");
    let _open = Socket::open(&shop.alice, &path, &[]).await.unwrap();
    assert_eq!(Socket::open(&shop.alice, &path, &[]).await.err().unwrap().code(), "too_many_streams");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_on_ends_when_its_reader_may_not_look_any_more() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run(json!({})).await;
    let path = format!("/api/v1/containers/{}/stats", container["id"]);
    let mut socket = Socket::open(&shop.alice, &path, &[]).await.unwrap();
    event(&mut socket).await.unwrap();

    shop.server.admin().await.patch("/api/v1/accounts/alice", json!({"state": "disabled"})).await.expect(200);

    let mut last = None;
    while let Some((name, _)) = event(&mut socket).await {
        last = Some(name);
    }
    assert_eq!(last.as_deref(), Some("end"));
    shop.close().await;
}
