//! Containers through the API, on a real engine.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::api::Api;
use crate::support::machine::{docker, free_port};
use crate::support::process::ServerProcess;
use crate::support::shop::{Shop, push, with_image};
use crate::support::{Wait, eventually};

/// What a container answers over HTTP on a port of the machine.
async fn fetch(port: &Value) -> String {
    let url = format!("http://127.0.0.1:{port}/");
    let http = crate::support::server::client();
    let answer = || async { http.get(&url).send().await.ok()?.text().await.ok() };
    eventually("the container answers", 30, answer).await
}

async fn log_of(shop: &Shop, id: &Value, query: &str) -> String {
    shop.alice.get(&format!("/api/v1/containers/{id}/log{query}")).await.expect(200).text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_lives_its_whole_life() {
    let Some(shop) = Shop::open().await else { return };

    let options = json!({
        "name": "web", "display_name": "My web", "command": ["serve", "8000", "hello from inside"],
        "ports": [{"container": 8000}], "env": {"A": "b"},
        "memory_bytes": 64 << 20, "cpu_millis": 500, "pids": 64,
    });
    let running = shop.run(options).await;
    let id = &running["id"];
    assert_eq!(fetch(&running["port"]).await, "hello from inside");
    assert_eq!(running["status"], true);
    assert_eq!(running["ports"][0]["bind"], "loopback");
    assert_eq!(running["image"], "alice/app:v1");
    assert_eq!(running["account"], "alice");
    assert_eq!(log_of(&shop, id, "").await, "listening\n");
    let first = shop.engine_id(id);

    shop.act(id, "stop?timeout=0").await;
    let stopped = shop.until(id, "stopped").await;
    assert_eq!((&stopped["exit_code"], &stopped["status"]), (&json!(137), &json!(false)));

    shop.act(id, "start").await;
    let again = shop.until(id, "running").await;
    assert_eq!(again["exit_code"], Value::Null);
    assert_eq!(again["port"], running["port"]);
    assert_eq!(fetch(&again["port"]).await, "hello from inside");

    let started_at = shop.inspect(id)["State"]["StartedAt"].clone();
    shop.act(id, "restart?timeout=0").await;
    let restarted = || async { (shop.inspect(id)["State"]["StartedAt"] != started_at).then_some(()) };
    eventually("the process is a new one", 60, restarted).await;
    shop.until(id, "running").await;
    assert_eq!(shop.engine_id(id), first, "it is the same container with the same disk");
    assert_eq!(log_of(&shop, id, "?tail=1").await, "listening\n");

    let events = shop.alice.get("/api/v1/containers/web/events").await.expect(200).json();
    let states: Vec<_> =
        events.as_array().unwrap().iter().map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!((states.first(), states.last()), (Some(&"running"), Some(&"pending")), "{events}");
    let stopped = states.iter().position(|state| *state == "stopped").expect("it was stopped once");
    assert_eq!(events[stopped]["exit_code"], 137);
    let bob = shop.server.account("bob").await;
    bob.get(&format!("/api/v1/containers/{id}/events")).await.expect(404);

    shop.alice.delete("/api/v1/containers/web").await.expect(202);
    shop.until_gone(id).await;
    shop.alice.delete(&format!("/api/v1/containers/{id}")).await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_is_asked_for_a_locked_down_container() {
    let Some(shop) = Shop::open().await else { return };

    let running = shop
        .run(json!({"ports": [{"container": 8000}], "memory_bytes": 64 << 20, "cpu_millis": 250, "pids": 77}))
        .await;

    let seen = shop.inspect(&running["id"]);
    let host = &seen["HostConfig"];
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["CgroupnsMode"], "private");
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(64 << 20), &json!(64 << 20)));
    assert_eq!(host["NanoCpus"], 250_000_000);
    assert_eq!(host["PidsLimit"], 77);
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(host["Binds"], Value::Null);
    assert_eq!(seen["Mounts"], json!([]));
    let port = running["port"].to_string();
    assert_eq!(
        seen["NetworkSettings"]["Ports"]["8000/tcp"],
        json!([{"HostIp": "127.0.0.1", "HostPort": port}])
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_wrong_is_listed_at_once() {
    let Some(shop) = Shop::open().await else { return };

    let answer =
        shop.ask(json!({"pids": 0, "memory_bytes": 1, "ports": [{"container": 0}]})).await.expect(422);

    let violations = answer.json()["violations"].clone();
    let fields: Vec<&str> =
        violations.as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["ports[0].container", "memory_bytes", "pids"]);
    assert_eq!(answer.code(), "not_allowed");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_ports_belong_to_one_container() {
    let Some(shop) = Shop::open_with(&[("containers.per_account", "4")]).await else { return };
    let first = shop.run(json!({"name": "box", "ports": [{"container": 80}]})).await;
    let port = first["port"].clone();

    let same_name = shop.ask(json!({"name": "box"})).await.expect(409);
    let same_port = shop.ask(json!({"ports": [{"container": 80, "host": port}]})).await.expect(409);
    let other_transport =
        shop.ask(json!({"ports": [{"container": 80, "host": port, "protocol": "udp"}]})).await;
    let made_up = shop.ask(json!({})).await.expect(201).json();
    let offline = shop.ask(json!({"machine": "nowhere"})).await.expect(422);
    shop.ask(json!({})).await.expect(201);
    let too_many = shop.ask(json!({})).await.expect(409);

    assert_eq!(
        (same_name.code(), same_name.json()["field"].clone()),
        ("container_exists".into(), json!("name"))
    );
    assert_eq!(
        (same_port.code(), same_port.json()["field"].clone()),
        ("port_taken".into(), json!("ports[0].host"))
    );
    assert_eq!(other_transport.status, 201, "{}", other_transport.text);
    assert!(made_up["name"].as_str().unwrap().contains('-'));
    assert_eq!(made_up["ports"], json!([]), "no port is published that was not asked for");
    assert_eq!(offline.json()["field"], "machine");
    assert_eq!(too_many.code(), "too_many_containers");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_by_itself_is_stopped_and_not_started_again() {
    let Some(shop) = Shop::open().await else { return };

    let failed = shop.ask(json!({"command": ["fail", "7"]})).await.expect(201).json();
    let printed = shop.ask(json!({"command": ["print", "done"]})).await.expect(201).json();
    let failed = shop.until(&failed["id"], "stopped").await;
    let printed = shop.until(&printed["id"], "stopped").await;

    assert_eq!(failed["exit_code"], 7);
    assert_eq!((&printed["exit_code"], &printed["reason"]), (&json!(0), &Value::Null));
    assert_eq!(log_of(&shop, &printed["id"], "").await, "done\n");
    let started_at = shop.inspect(&printed["id"])["State"]["StartedAt"].clone();
    shop.act(&printed["id"], "start").await;
    let again = || async { (log_of(&shop, &printed["id"], "").await == "done\ndone\n").then_some(()) };
    eventually("it ran a second time", 60, again).await;
    assert_ne!(shop.inspect(&printed["id"])["State"]["StartedAt"], started_at);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_does_on_the_engine_itself_is_seen() {
    let Some(shop) = Shop::open().await else { return };
    let killed = shop.run(json!({})).await["id"].clone();
    let removed = shop.run(json!({})).await["id"].clone();
    let canary = docker(
        &shop.docker,
        &[
            "create",
            "--label",
            "longshore.container=999999",
            shop.inspect(&killed)["Image"].as_str().unwrap(),
            "sleep",
        ],
    );

    docker(&shop.docker, &["kill", &shop.engine_id(&killed).unwrap()]);
    docker(&shop.docker, &["rm", "-f", &shop.engine_id(&removed).unwrap()]);
    let stopped = shop.until(&killed, "stopped").await;
    let gone = shop.until(&removed, "failed").await;

    assert_eq!(stopped["exit_code"], 137);
    assert_eq!(gone["reason"], "gone");
    assert_eq!(shop.engine_id(&removed), None, "nothing is made anew unasked");
    shop.act(&removed, "start").await;
    shop.until(&removed, "running").await;
    assert!(
        docker(&shop.docker, &["ps", "-aq", "--no-trunc"]).contains(&canary),
        "what is not ours is left alone"
    );
    docker(&shop.docker, &["rm", &canary]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_something_else_uses_is_not_insisted_on() {
    let Some(shop) = Shop::open().await else { return };
    // Two listeners of our own: one on a port that is asked for by number, one where the pool would go.
    let (listener, fixed) = loop {
        let port = 20_000 + free_port() % 10_000;
        if let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            break (listener, port);
        }
    };

    let asked = shop.ask(json!({"ports": [{"container": 80, "host": fixed}]})).await.expect(201).json();
    let failed = shop.until(&asked["id"], "failed").await;
    assert_eq!(failed["reason"], "port_taken");
    assert!(failed["message"].as_str().unwrap().contains(&fixed.to_string()), "{failed}");
    drop(listener);
    shop.act(&asked["id"], "start").await;
    shop.until(&asked["id"], "running").await;

    // A pooled port that is taken between the choice and the start: made so by stopping before the engine is asked.
    let chosen = shop
        .ask(json!({"ports": [{"container": 80}], "command": ["serve", "80", "moved"]}))
        .await
        .expect(201)
        .json();
    let port = u16::try_from(chosen["port"].as_u64().unwrap()).unwrap();
    let _squatter = std::net::TcpListener::bind(("127.0.0.1", port));
    let running = shop.until(&chosen["id"], "running").await;
    assert_eq!(fetch(&running["port"]).await, "moved");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_until_its_container_ends() {
    let Some(shop) = Shop::open().await else { return };

    let made = shop.ask(json!({"command": ["serve", "80", "x"]})).await.expect(201).json();
    // Asked for before there is a container: the log waits for it.
    let path = format!("/api/v1/containers/{}/log?follow=true&timestamps=true", made["id"]);
    let mut log = shop.alice.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(log.headers()["content-type"], "text/plain; charset=utf-8");
    let first = tokio::time::timeout(Duration::from_mins(1), log.chunk()).await.unwrap().unwrap().unwrap();
    shop.alice.delete(&format!("/api/v1/containers/{}", made["id"])).await.expect(202);
    let end = tokio::time::timeout(Duration::from_mins(1), log.chunk()).await.expect("the log ends");

    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.ends_with("Z listening\n"), "{first}");
    assert!(matches!(end, Ok(None)), "{end:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_ends_when_its_reader_may_not_read_it_any_more() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"command": ["serve", "80", "x"]})).await;
    let path = format!("/api/v1/containers/{}/log?follow=true", made["id"]);
    let mut log = shop.alice.request(Method::GET, &path).send().await.unwrap();
    log.chunk().await.unwrap().unwrap();

    shop.alice.post("/api/auth/logout", json!({})).await.expect(200);

    let end = tokio::time::timeout(Duration::from_mins(2), log.chunk()).await.expect("the log ends");
    assert!(matches!(end, Ok(None)), "{end:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_stand_still_hold_nobody_up() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"command": ["flood", "20000"]})).await;
    let path = format!("/api/v1/containers/{}/log?follow=true", made["id"]);
    let mut stalled = Vec::new();
    for _ in 0..16 {
        stalled.push(shop.alice.request(Method::GET, &path).send().await.unwrap());
    }

    let last = log_of(&shop, &made["id"], "?tail=1").await;
    shop.act(&made["id"], "stop?timeout=0").await;
    shop.until(&made["id"], "stopped").await;

    assert_eq!(last.len(), 1_000);
    drop(stalled);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_outlive_the_server_and_are_found_again() {
    let Some(shop) = Shop::open().await else { return };
    let running =
        shop.run(json!({"ports": [{"container": 80}], "command": ["serve", "80", "still here"]})).await;
    let ended = shop.run(json!({"command": ["sleep"]})).await;
    let (engine_id, pid) =
        (shop.engine_id(&running["id"]), shop.inspect(&running["id"])["State"]["Pid"].clone());
    let ends = shop.engine_id(&ended["id"]).unwrap();

    let shop = shop.restart_server().await;
    let found = shop.until(&running["id"], "running").await;
    assert_eq!(shop.engine_id(&running["id"]), engine_id);
    assert_eq!(shop.inspect(&running["id"])["State"]["Pid"], pid, "the process was not touched");
    assert_eq!(fetch(&found["port"]).await, "still here");

    docker(&shop.docker, &["kill", &ends]);
    shop.until(&ended["id"], "stopped").await;
    shop.alice.delete(&format!("/api/v1/containers/{}", running["id"])).await.expect(202);
    shop.until_gone(&running["id"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_own_policy_has_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("agent-policy.toml");
    std::fs::write(&policy, "pids_max = 16\npids_default = 16\n").unwrap();
    std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let Some(shop) = Shop::open_with(&[("machine.policy_file", &policy.display().to_string())]).await else {
        return;
    };

    let refused = shop.ask(json!({"pids": 17})).await.expect(201).json();
    let allowed = shop.ask(json!({"pids": 16})).await.expect(201).json();
    let failed = shop.until(&refused["id"], "failed").await;
    shop.until(&allowed["id"], "running").await;

    assert_eq!(failed["reason"], "denied_by_machine");
    assert!(failed["message"].as_str().unwrap().contains("`pids`"), "{failed}");
    assert_eq!(shop.engine_id(&refused["id"]), None);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_reach_the_network_only_where_the_machines_policy_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("agent-policy.toml");
    let text = "[lan]\naddress = \"127.0.0.2\"\nport_first = 31000\nport_last = 31999\n";
    std::fs::write(&policy, text).unwrap();
    std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let Some(shop) = Shop::open_with(&[("machine.policy_file", &policy.display().to_string())]).await else {
        return;
    };
    let machines = shop.alice.get("/api/v1/machines").await.json();
    let lan = json!({"address": "127.0.0.2", "port_first": 31_000, "port_last": 31_999});
    assert_eq!(machines["data"][0]["lan"], lan);

    for (port, field) in [
        (json!({"container": 80, "bind": "lan", "host": 20_000}), "ports[0].host"),
        (json!({"container": 80, "bind": "lan", "host": 22}), "ports[0].host"),
        (json!({"container": 80, "host": 31_000}), "ports[0].host"),
    ] {
        let refused = shop.ask(json!({"ports": [port]})).await.expect(422);
        assert_eq!(refused.json()["violations"][0]["field"], field, "{port}");
    }
    let ports = json!([{"container": 80, "bind": "lan"}, {"container": 81}]);
    let made = shop.run(json!({"ports": ports})).await;

    let host = |number: usize| made["ports"][number]["host"].as_u64().unwrap();
    assert!((31_000..=31_999).contains(&host(0)) && (20_000..=29_999).contains(&host(1)), "{made}");
    let bound = shop.inspect(&made["id"])["HostConfig"]["PortBindings"].clone();
    let binding = |address: &str, host: u64| json!([{"HostIp": address, "HostPort": host.to_string()}]);
    assert_eq!(bound["80/tcp"], binding("127.0.0.2", host(0)));
    assert_eq!(bound["81/tcp"], binding("127.0.0.1", host(1)));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_uses_too_much_memory_is_said_to() {
    let Some(shop) = Shop::open().await else { return };

    let made = shop.ask(json!({"command": ["eat"], "memory_bytes": 16 << 20})).await.expect(201).json();
    shop.until(&made["id"], "stopped").await;
    // The engine may say why only after it has said that.
    let path = format!("/api/v1/containers/{}", made["id"]);
    let with_reason = || async {
        let shown = shop.alice.get(&path).await.expect(200).json();
        (!shown["reason"].is_null()).then_some(shown)
    };
    let stopped = eventually("the reason", 10, with_reason).await;

    assert_eq!(stopped["reason"], "out_of_memory", "{stopped}");
    assert!(stopped["message"].as_str().unwrap().contains("16 MiB"), "{stopped}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_cannot_start_says_why() {
    let Some(shop) = Shop::open().await else { return };

    let made = shop.ask(json!({"entrypoint": ["/nothing-here"]})).await.expect(201).json();
    let failed = shop.until(&made["id"], "failed").await;

    assert_eq!(failed["reason"], "refused_by_engine");
    assert!(failed["message"].as_str().unwrap().contains("/nothing-here"), "{failed}");
    shop.alice.delete(&format!("/api/v1/containers/{}", made["id"])).await.expect(202);
    shop.until_gone(&made["id"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_that_come_fast_end_in_the_last_one() {
    let Some(shop) = Shop::open().await else { return };

    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(shop.ask(json!({})).await.expect(201).json()["id"].clone());
    }
    for id in &made {
        for verb in ["stop?timeout=0", "start", "restart?timeout=0", "stop?timeout=0", "start"] {
            shop.act(id, verb).await;
        }
    }
    for id in &made[..2] {
        shop.act(id, "stop?timeout=0").await;
    }
    for id in &made[2..4] {
        shop.alice.delete(&format!("/api/v1/containers/{id}")).await.expect(202);
        shop.alice.post(&format!("/api/v1/containers/{id}/start"), json!({})).await;
    }

    for id in &made[..2] {
        shop.until(id, "stopped").await;
    }
    for id in &made[2..4] {
        shop.until_gone(id).await;
    }
    for id in &made[4..] {
        shop.until(id, "running").await;
        assert_eq!(shop.inspect(id)["State"]["Running"], true);
    }
    for id in made[..2].iter().filter(|id| shop.engine_id(id).is_some()) {
        assert_eq!(shop.inspect(id)["State"]["Running"], false);
    }
    shop.close().await;
}

/// What the owner of a container may find after the server was killed: what was promised last, or what was asked for
/// when it died.
#[derive(Clone, Debug)]
struct Promise {
    id: Value,
    allowed: Vec<&'static str>,
}

/// Asks for something that a dying server may not answer; whether it was promised.
async fn try_to(alice: &Api, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
    let request = alice.request(method, path).timeout(Duration::from_secs(20));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.ok()?;
    assert!(answer.status().as_u16() != 500, "{path}");
    let is_promised = answer.status().is_success();
    let body = answer.json().await.ok()?;
    is_promised.then_some(body)
}

/// Makes wishes for its containers, one after another, until told to stop.
async fn wish(alice: Api, mut seed: u64, stop: CancellationToken) -> Vec<Promise> {
    let mut promises: Vec<Promise> = Vec::new();
    while !stop.is_cancelled() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (which, what) = ((seed >> 33) as usize, (seed >> 60) as usize);
        let there: Vec<usize> =
            (0..promises.len()).filter(|one| !promises[*one].allowed.contains(&"gone")).collect();
        if there.len() < 3 {
            let asked = with_image(json!({"memory_bytes": 16 << 20, "ports": [{"container": 80}]}));
            if let Some(made) = try_to(&alice, Method::POST, "/api/v1/containers", Some(asked)).await {
                promises.push(Promise { id: made["id"].clone(), allowed: vec!["running"] });
            }
            continue;
        }
        let (method, verb, state) = [
            (Method::POST, "/stop?timeout=0", "stopped"),
            (Method::POST, "/start", "running"),
            (Method::POST, "/restart?timeout=0", "running"),
            (Method::DELETE, "", "gone"),
        ][if what == 15 { 3 } else { what % 3 }]
        .clone();
        let promise = &mut promises[there[which % there.len()]];
        let path = format!("/api/v1/containers/{}{verb}", promise.id);
        match try_to(&alice, method, &path, None).await {
            Some(_) => promise.allowed = vec![state],
            None => promise.allowed.push(state),
        }
    }
    promises
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_moment_keeps_every_promise() {
    let Some(mut server) = ServerProcess::start(&[]).await else { return };
    let engine = crate::support::engine().unwrap();
    let alice = server.account("alice").await;
    let ready = || async { (alice.get("/readyz").await.status == 200).then_some(()) };
    eventually("the server is ready", 60, ready).await;
    push(&engine, &server.registry, "alice/app:v1");
    let mut promises = Vec::new();

    let kills: u64 = if crate::support::setting("LONGSHORE_TEST_SOAK").is_some() { 100 } else { 6 };
    for kill in 0..kills {
        let stop = CancellationToken::new();
        let wishing = (1..=2).map(|one| wish(alice.clone(), kill * 7 + one, stop.clone()));
        let killing = async {
            tokio::time::sleep(Duration::from_millis(400 + kill * 377 % 2_000)).await;
            server.kill();
            stop.cancel();
        };
        let (made, ()) = tokio::join!(futures::future::join_all(wishing), killing);
        promises.extend(made.into_iter().flatten());
        server.start_again().await;
    }

    let mut kept = 0;
    for Promise { id, allowed } in &promises {
        let wait = Wait::new(format!("container {id} is one of {allowed:?}"));
        let settled = || async {
            let answer = alice.get(&format!("/api/v1/containers/{id}")).await;
            wait.saw(&answer.text);
            let state = if answer.status == 404 { json!("gone") } else { answer.json()["state"].clone() };
            allowed.iter().any(|allowed| state == *allowed).then_some(state)
        };
        let state = eventually(&wait, 90, settled).await;
        kept += usize::from(state != "gone");
    }
    let listed = || async { Some(alice.get("/api/v1/containers?limit=2048").await.expect(200).json()) };
    let listed = eventually("the list", 10, listed).await;
    let rows = listed["data"].as_array().unwrap();
    // Those of requests that were not answered but done are there too, and each is what the engine has.
    assert!(rows.len() >= kept);
    let instance = instance_of(&server).await;
    for row in rows {
        let running = docker(&engine, &["ps", "-q", "--filter", &label(&instance, &row["id"])]);
        assert_eq!(!running.is_empty(), row["status"] == true, "{row}");
    }
    let numbers = docker(
        &engine,
        &[
            "ps",
            "-a",
            "--filter",
            &format!("label=longshore.instance={instance}"),
            "--format",
            "{{.Label \"longshore.container\"}}",
        ],
    );
    let known: Vec<String> = rows.iter().map(|row| row["id"].to_string()).collect();
    let unknown: Vec<&str> =
        numbers.lines().filter(|number| !known.contains(&(*number).to_owned())).collect();
    assert!(unknown.is_empty(), "the engine has containers without a row: {unknown:?}");

    for id in
        docker(&engine, &["ps", "-aq", "--filter", &format!("label=longshore.instance={instance}")]).lines()
    {
        docker(&engine, &["rm", "-fv", id]);
    }
}

fn label(instance: &str, id: &Value) -> String {
    format!("name=^ls-{}-{id}$", &instance.replace('-', "")[20..])
}

/// The installation's id: the server is another process, and its database tells.
async fn instance_of(server: &ServerProcess) -> String {
    let file = server.data_dir.join("longshore.db");
    let db = store::Db::open(&format!("sqlite://{}", file.display())).await.unwrap();
    store::settings::get(&db, "instance").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_a_container_uses_is_not_deleted() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"name": "box"})).await;
    let image = format!("/api/v1/images/{}", made["image_id"]);

    let refused = shop.alice.delete(&image).await.expect(409).json();
    shop.alice.delete("/api/v1/containers/box").await.expect(202);
    shop.until_gone(&made["id"]).await;
    let deleted = shop.alice.delete(&image).await;

    assert_eq!(refused["dependents"]["containers"], json!([{"id": made["id"], "name": "box"}]));
    assert!((200..300).contains(&deleted.status), "{}", deleted.text);
    shop.ask(json!({})).await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_in_the_audit_log() {
    let Some(shop) = Shop::open().await else { return };
    let made = shop.run(json!({"name": "box"})).await;

    shop.act(&made["id"], "stop?timeout=0").await;
    shop.until(&made["id"], "stopped").await;
    shop.alice.delete("/api/v1/containers/box").await.expect(202);
    shop.until_gone(&made["id"]).await;

    let admin = shop.server.admin().await;
    let rows = admin.get("/api/v1/audit?target=box").await.expect(200).json();
    let actions: Vec<&str> =
        rows["data"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["container.delete", "container.stop", "container.create"]);
    shop.close().await;
}
