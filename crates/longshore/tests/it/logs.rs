//! Logs of containers through the API, on a real engine: followed, searched, and kept when their container is gone.

use reqwest::Method;
use serde_json::{Value, json};
use store::containers::{self, StateChange};
use tokio_tungstenite::tungstenite::Message;
use wire::containers::ContainerState;
use wire::ids::ContainerId;

use crate::support::api::Api;
use crate::support::eventually;
use crate::support::server::TestServer;
use crate::support::shop::Shop;
use crate::support::socket::Socket;

async fn text(api: &Api, id: &Value, query: &str) -> String {
    api.get(&format!("/api/v1/containers/{id}/log{query}")).await.expect(200).text
}

/// A container that printed some lines on both streams and has ended.
async fn printed(shop: &Shop, name: &str) -> Value {
    let script = "echo one; echo two >&2; echo 'Three 三'; echo four >&2; printf five";
    let options = json!({"name": name, "command": ["sh", "-c", script]});
    let made = shop.alice.post("/api/v1/containers", with_shell(options)).await.expect(201).json();
    shop.until(&made["id"], "stopped").await
}

fn with_shell(mut options: Value) -> Value {
    options["image"] = json!("shell:v1");
    options
}

/// The events of a WebSocket to its end.
async fn events(socket: &mut Socket) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    while let Some(Message::Text(text)) = socket.next().await {
        let event: Value = serde_json::from_str(&text).unwrap();
        events.push((event["event"].as_str().unwrap().to_owned(), event["data"].clone()));
    }
    events
}

fn joined(events: &[(String, Value)], source: &str) -> String {
    let of_source = events.iter().filter(|(_, data)| data["source"] == source);
    of_source.map(|(_, data)| data["text"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_searched_and_saved() {
    let Some(shop) = Shop::open().await else { return };
    shop.push_shell();
    let container = printed(&shop, "box").await;
    let id = &container["id"];

    let lines = async |query: &str| {
        let mut lines: Vec<String> = text(&shop.alice, id, query).await.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("").await, ["Three 三", "five", "four", "one", "two"]);
    assert_eq!(lines("?grep=t").await, ["two"]);
    assert_eq!(lines("?grep=T&ignore_case=true").await, ["Three 三", "two"]);
    assert_eq!(lines("?grep=%5E.%2A%E4%B8%89%24&regex=true").await, ["Three 三"]);
    assert_eq!(lines("?grep=.&regex=false").await, Vec::<String>::new(), "a text is no pattern");
    assert_eq!(lines("?grep=five").await, ["five"], "also a line without an end");
    let timed = text(&shop.alice, id, "?grep=two&timestamps=true").await;
    assert!(timed.ends_with("Z two\n") && timed.lines().count() == 1, "{timed}");
    let saved = shop.alice.get(&format!("/api/v1/containers/{id}/log?download=true")).await.expect(200);
    assert_eq!(saved.headers["content-disposition"], "attachment; filename=\"box.log\"");

    for grep in ["", &"x".repeat(257), "%28", "a%7B1000%7D%7B1000%7D"] {
        let answer = shop.alice.get(&format!("/api/v1/containers/{id}/log?regex=true&grep={grep}")).await;
        assert_eq!((answer.status, answer.json()["field"].clone()), (422, json!("grep")), "{}", answer.text);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_as_a_websocket_and_as_an_event_stream() {
    let Some(shop) = Shop::open().await else { return };
    shop.push_shell();
    let script = "echo begins; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo goes >&2; echo on";
    let container = shop.run_of("shell:v1", json!({"command": ["sh", "-c", script]})).await;
    let path = format!("/api/v1/containers/{}/log", container["id"]);

    let mut socket = Socket::open(&shop.alice, &path, &[]).await.unwrap();
    let Some(Message::Text(first)) = socket.next().await else { panic!("it begins") };
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first, json!({"event": "log", "data": {"source": "out", "text": "begins\n"}}));
    let stream = shop.alice.request(Method::GET, &path).header("accept", "text/event-stream");
    let stream = stream.send().await.unwrap();
    crate::support::machine::docker(
        &shop.docker,
        &["exec", &shop.engine_id(&container["id"]).unwrap(), "touch", "/tmp/go"],
    );

    let rest = events(&mut socket).await;
    assert_eq!((joined(&rest, "out").as_str(), joined(&rest, "err").as_str()), ("on\n", "goes\n"));
    assert_eq!(rest.last().unwrap(), &("end".to_owned(), json!({})));
    let stream = stream.text().await.unwrap();
    assert!(stream.contains("event: log\ndata: {\"source\":\"out\",\"text\":\"begins\\n\"}\n"), "{stream}");
    assert!(stream.ends_with("event: end\ndata: {}\n\n"), "{stream}");

    // What cannot be had is said before anything is opened.
    let bob = shop.server.account("bob").await;
    assert_eq!(Socket::open(&bob, &path, &[]).await.err().unwrap().status, 404);
    assert_eq!(Socket::open(&bob.anonymous(), &path, &[]).await.err().unwrap().status, 401);
    for origin in ["http://evil.test", "null"] {
        let refusal = Socket::open(&shop.alice, &path, &[("origin", origin)]).await.err().unwrap();
        assert_eq!(refusal.code(), "foreign_origin");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_counted() {
    let Some(shop) = Shop::open_with(&[("streams.per_account", "2")]).await else { return };
    let container = shop.run(json!({})).await;
    let path = format!("/api/v1/containers/{}/log", container["id"]);

    let first = Socket::open(&shop.alice, &path, &[]).await.unwrap();
    let _second = Socket::open(&shop.alice, &path, &[]).await.unwrap();
    assert_eq!(Socket::open(&shop.alice, &path, &[]).await.err().unwrap().code(), "too_many_streams");
    text(&shop.alice, &container["id"], "").await;
    drop(first);

    let again = || async { Socket::open(&shop.alice, &path, &[]).await.ok() };
    eventually("a place that was given back", 20, again).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_kept_when_its_container_is_gone() {
    let settings = [("containers.kept_log_bytes", "20000"), ("containers.kept_logs", "2")];
    let Some(shop) = Shop::open_with(&settings).await else { return };
    shop.push_shell();
    let container = printed(&shop, "box").await;
    let id = &container["id"];
    let before = text(&shop.alice, id, "?timestamps=true").await;

    shop.alice.delete("/api/v1/containers/box").await.expect(202);
    shop.until_gone(id).await;

    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&text(&shop.alice, id, "?timestamps=true").await), sorted(&before));
    assert_eq!(text(&shop.alice, id, "?grep=two").await, "two\n");
    let by_name = shop.alice.get("/api/v1/containers/box/log?tail=1").await.expect(200).text;
    assert_eq!(by_name.lines().count(), 1);
    let mut socket = Socket::open(&shop.alice, "/api/v1/containers/box/log", &[]).await.unwrap();
    let told = events(&mut socket).await;
    assert_eq!(joined(&told, "err"), "two\nfour\n");
    let listed = shop.alice.get("/api/v1/kept-logs").await.expect(200).json();
    assert_eq!((&listed["total"], &listed["data"][0]["name"]), (&json!(1), &json!("box")));
    assert_eq!(&listed["data"][0]["container_id"], id);

    // Nobody else's.
    let bob = shop.server.account("bob").await;
    for path in [format!("/api/v1/containers/{id}/log"), "/api/v1/containers/box/log".into()] {
        bob.get(&path).await.expect(404);
    }
    bob.delete(&format!("/api/v1/kept-logs/{id}")).await.expect(404);
    assert_eq!(bob.get("/api/v1/kept-logs").await.expect(200).json()["total"], 0);
    bob.get("/api/v1/kept-logs?all=true").await.expect(403);
    let admin = shop.server.admin().await;
    admin.get(&format!("/api/v1/containers/{id}/log")).await.expect(200);
    assert_eq!(admin.get("/api/v1/kept-logs?account=alice").await.expect(200).json()["total"], 1);

    // Bounded in size: the end of a long one, and how much is missing.
    let long = shop.run(json!({"name": "long", "command": ["flood", "100"]})).await;
    let all = || async {
        (text(&shop.alice, &long["id"], "?tail=1000").await.lines().count() == 100).then_some(())
    };
    eventually("it has printed everything", 30, all).await;
    shop.alice.delete("/api/v1/containers/long").await.expect(202);
    shop.until_gone(&long["id"]).await;
    let kept = text(&shop.alice, &long["id"], "").await;
    assert!(
        kept.starts_with('[') && kept.contains("earlier bytes of this log were not kept]\n"),
        "{}",
        &kept[..80]
    );
    assert!(kept.len() < 21_000 && kept.lines().count() > 15, "{}", kept.len());

    // Bounded in number and age.
    let third = printed(&shop, "third").await;
    shop.alice.delete("/api/v1/containers/third").await.expect(202);
    shop.until_gone(&third["id"]).await;
    let files = shop.server.data_dir().join("blobs/container-logs");
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 3);
    let shop = shop.restart_server().await;
    let only_two = || async { (std::fs::read_dir(&files).unwrap().count() == 2).then_some(()) };
    eventually("the oldest went", 30, only_two).await;
    shop.alice.get(&format!("/api/v1/containers/{id}/log")).await.expect(404);
    shop.alice.delete("/api/v1/kept-logs/third").await.expect(204);
    shop.alice.get("/api/v1/containers/third/log").await.expect(404);
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_whose_log_cannot_be_kept_goes_all_the_same() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.ask(json!({"command": ["print", "hello"]})).await.expect(201).json();
    shop.until(&made["id"], "stopped").await;
    let folder = shop.server.data_dir().join("blobs/container-logs");
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "no folder any more").unwrap();

    shop.alice.delete(&format!("/api/v1/containers/{}", made["id"])).await.expect(202);

    shop.until_gone(&made["id"]).await;
    shop.alice.get(&format!("/api/v1/containers/{}/log", made["id"])).await.expect(404);
    shop.close().await;
}

/// An engine ends the log of a container at once that it has made and not started yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_followed_waits_until_its_container_has_started() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let number = crate::authz::a_running_container(&server).await;
    let (db, id, engine_id) = (&server.app.db, ContainerId(number), "e".repeat(64));
    let row = containers::get(db, id).await.unwrap().unwrap();
    let made = StateChange { engine_id: Some(&engine_id), ..row.change(ContainerState::Starting) };
    containers::set_state(db, id, &made, server.app.now()).await.unwrap();
    let path = format!("/api/v1/containers/{number}/log");

    let followed = alice.request(Method::GET, &format!("{path}?follow=true")).send().await.unwrap();

    // Nobody can be asked for it now, and nobody was: its machine is not there.
    alice.get(&path).await.expect(503);
    assert_eq!(followed.status(), 200);
    server.stop().await;
}
