//! Machines through the API: what is shown of them, how they connect, and what happens when they cannot be reached.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper_util::rt::TokioIo;
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wire::link::{
    Challenge, Channel, LEVEL_HEADER, LINK_LEVEL, MACHINE_HEADER, Proof, SOCKET_PATH, Verdict,
    proof_statement,
};

use crate::support::engine::Wire;
use crate::support::machine::docker;
use crate::support::remote::{Remote, invite, until_machine};
use crate::support::server::{ADMIN_PASSWORD, TestServer};
use crate::support::shop::{Shop, push, with_image};
use crate::support::{Wait, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_are_shown_to_every_account() {
    let Some(shop) = Shop::open().await else { return };

    let listed = shop.alice.get("/api/v1/machines").await.expect(200).json();
    let machine = &listed["data"][0];
    let path = format!("/api/v1/machines/{}", machine["machine_id"].as_str().unwrap());
    let shown = shop.alice.get(&path).await.expect(200).json();
    let info = shop.alice.get("/api/machine/info").await.expect(200).json();

    assert_eq!(listed["total"], 1);
    assert_eq!((&machine["state"], &machine["online"]), (&json!("online"), &json!(true)));
    assert_eq!((&machine["status"], &machine["url"]), (&json!(true), &machine["registry"]));
    // Whoever publishes a port has to know where.
    assert!(shown["ip"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok(), "{shown}");
    assert_eq!((&info[0]["ip"], info.as_array().unwrap().len()), (&shown["ip"], 1));
    assert!(info[0]["cpu"]["0"]["cores"].as_u64().unwrap() > 0);
    assert!(info[0]["memory"]["total"].as_u64().unwrap() > 0);
    assert!(info[0]["disk"]["total"].as_u64().unwrap() > 0);
    assert_eq!(info[0]["online"], true);
    shop.alice.get("/api/v1/machines/nowhere").await.expect(404);
    shop.alice.get("/api/v1/machines/No%20Where").await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_away_makes_its_containers_unknown_and_nothing_else() {
    let Some(engine) = crate::support::engine() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wire = Wire::new(&engine, folder.path());
    wire.connect();
    let Some(shop) = Shop::open_with(&[("machine.docker", &wire.url())]).await else { return };
    let kept = shop.run(json!({"name": "kept"})).await["id"].clone();
    let stopped = shop.run(json!({"name": "stopped"})).await["id"].clone();
    let deleted = shop.run(json!({"name": "deleted"})).await["id"].clone();
    let pid = shop.inspect(&kept)["State"]["Pid"].clone();

    wire.cut();
    for id in [&kept, &stopped, &deleted] {
        let unknown = shop.until(id, "unknown").await;
        assert_eq!(unknown["status"], false);
    }
    let machine = shop.alice.get("/api/v1/machines").await.json()["data"][0].clone();
    assert_eq!((&machine["state"], &machine["online"]), (&json!("engine_down"), &json!(false)));
    assert_eq!((&machine["status"], &machine["url"]), (&json!(false), &machine["registry"]));
    let ready = shop.alice.get("/readyz").await.expect(503).json();
    assert!(
        ready["parts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|part| part["name"] == "engine" && part["ready"] == false)
    );
    assert_eq!(shop.ask(json!({})).await.expect(503).code(), "no_machine");
    let named = json!({"machine": machine["machine_id"]});
    assert_eq!(shop.ask(named).await.expect(409).code(), "machine_offline");
    // What is wished meanwhile is done when it can be.
    shop.act(&stopped, "stop?timeout=0").await;
    shop.alice.delete(&format!("/api/v1/containers/{deleted}")).await.expect(202);
    assert_eq!(shop.inspect(&kept)["State"]["Pid"], pid, "nobody touched it");

    wire.connect();
    shop.until(&kept, "running").await;
    shop.until(&stopped, "stopped").await;
    shop.until_gone(&deleted).await;
    shop.is_online().await;
    shop.alice.get("/readyz").await.expect(200);
    assert_eq!(shop.inspect(&kept)["State"]["Pid"], pid, "and nobody touched it");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_by_an_invitation_and_runs_containers_from_the_registry_at_its_own_door() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::without_engine(&[]).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    push(&engine, &server.registry, "alice/app:v1");
    let token = invite(&admin).await;

    let mut remote = Remote::new().joined(&server.url, &token);
    let door = remote.run(&engine, &[]);
    let online = until_machine(&admin, &remote.machine, "online").await;
    let made =
        alice.post("/api/v1/containers", with_image(json!({"machine": remote.machine}))).await.expect(201);
    let container = format!("/api/v1/containers/{}", made.json()["id"]);
    let wait = Wait::new("the container runs");
    let runs = || async {
        let seen = alice.get(&container).await;
        wait.saw(&seen.text);
        (seen.json()["state"] == "running").then_some(())
    };
    eventually(&wait, 60, runs).await;

    assert_eq!(online["registry"], door);
    let state = remote.state();
    let agent = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.arg("agent").args(words).args(["--data-dir", &state, "--json"]).env("LONGSHORE_LANG", "en");
        let output = command.output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (_, status) = agent(&["status"]);
    assert_eq!((&status["machine_id"], &status["is_running"]), (&json!(remote.machine), &json!(true)));
    let (well, healthy) = agent(&["doctor", "--docker", &engine, "--registry-listen", &door]);
    assert_eq!(well, Some(0), "{healthy}");
    let (ill, broken) =
        agent(&["doctor", "--docker", "unix:///nowhere/docker.sock", "--registry-listen", &door]);
    assert!(ill == Some(1) && broken.to_string().contains("engine does not answer"), "{broken}");
    assert!(online["joined_at"].is_string() && online["engine_version"].is_string(), "{online}");
    // The engine knows the image by the machine's own door, and has it from there.
    let name = format!("{door}/alice/app");
    assert!(docker(&engine, &["images", "--digests", "--format", "{{.Repository}}"]).contains(&name));
    alice.delete(&container).await.expect(202);
    let is_gone = || async { (alice.get(&container).await.status == 404).then_some(()) };
    eventually("the container is gone", 60, is_gone).await;
    assert_eq!(remote.stop(), 0);
    assert_eq!(agent(&["status"]).1["is_running"], false);
    until_machine(&admin, &remote.machine, "unknown").await;
    // By name, because other tests may use the same image.
    let format = "{{.Repository}}@{{.Digest}}";
    for image in docker(&engine, &["images", "--digests", "--format", format, &name]).lines() {
        docker(&engine, &["rmi", "-f", image]);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_is_good_once_for_a_while_and_until_it_is_taken_back() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let refused = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("used, taken back, or has ended"), "{text}");
    };

    let used = invite(&admin).await;
    let remote = Remote::new().joined(&server.url, &used);
    refused(Remote::new().join(&server.url, &used));
    // Whose key it is already may ask again: it may not have heard the answer.
    assert!(remote.join(&server.url, &used).status.success());
    let made = admin.post("/api/v1/invites", json!({"expires_in": 60})).await.expect(201).json();
    let taken_back = made["token"].as_str().unwrap();
    let listed = admin.get("/api/v1/invites").await.expect(200).json();
    assert_eq!((&listed["total"], &listed["data"][0]["id"]), (&json!(1), &made["id"]));
    assert!(!listed.to_string().contains(taken_back));
    admin.delete(&format!("/api/v1/invites/{}", made["id"].as_str().unwrap())).await.expect(204);
    refused(Remote::new().join(&server.url, taken_back));
    let ended = invite(&admin).await;
    server.app.clock.advance_secs(3_601);
    refused(Remote::new().join(&server.url, &ended));
    for lifetime in [0, 59, 86_401, u64::MAX] {
        admin.post("/api/v1/invites", json!({"expires_in": lifetime})).await.expect(422);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_id_of_a_machine_that_has_joined() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let remote = Remote::new().joined(&server.url, &invite(&admin).await);

    let thief = Remote::named(&remote.machine);
    let token = invite(&admin).await;
    let output = thief.join(&server.url, &token);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("has joined already") && text.contains("machine release"), "{text}");
    let request = |signature: &str, key: &str| json!({"token": token, "machine_id": "x", "public_key": key, "signature": signature});
    for (signature, key) in
        [("", ""), ("00", "00"), (&"0".repeat(128), &"0".repeat(64)), (&"z".repeat(128), &"z".repeat(64))]
    {
        server.api.post("/api/v1/machines/join", request(signature, key)).await.expect(422);
    }

    // The invitation was not used up by what was refused.
    Remote::new().joined(&server.url, &token);
    server.stop().await;
}

/// Opens a connection of the link, answers the challenge and reads the verdict.
async fn knock(
    server: &TestServer,
    machine: &str,
    channel: Channel,
    answer: impl FnOnce(&Challenge) -> Vec<u8>,
) -> Option<Verdict> {
    enter(server, machine, channel, answer).await.map(|(verdict, _)| verdict)
}

/// The same; the verdict, and the socket to go on with.
async fn enter(
    server: &TestServer,
    machine: &str,
    channel: Channel,
    answer: impl FnOnce(&Challenge) -> Vec<u8>,
) -> Option<(Verdict, TokioIo<hyper::upgrade::Upgraded>)> {
    let address = server.url.strip_prefix("http://").unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, axum::body::Body>(TokioIo::new(stream)).await.unwrap();
    TaskTracker::new().spawn(async move { drop(connection.with_upgrades().await) });
    let request = axum::http::Request::get(format!("{SOCKET_PATH}?channel={}", channel.as_str()))
        .header("host", address)
        .header(MACHINE_HEADER, machine)
        .header(LEVEL_HEADER, LINK_LEVEL)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(axum::body::Body::empty())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let challenge = serde_json::from_slice(&read_frame(&mut socket).await?).unwrap();
    write_frame(&mut socket, &answer(&challenge)).await;
    let verdict = serde_json::from_slice(&read_frame(&mut socket).await?).ok()?;
    Some((verdict, socket))
}

/// The same as a machine that has joined; its socket.
async fn enter_as(server: &TestServer, remote: &Remote) -> TokioIo<hyper::upgrade::Upgraded> {
    let (_, key) = agent::membership::load(Path::new(&remote.state())).unwrap();
    let (machine, process) = (remote.machine.parse().unwrap(), wire::ids::AgentProcessId(Uuid::from_u128(7)));
    let entered = enter(server, &remote.machine, Channel::Control, |challenge| {
        let statement = proof_statement(&challenge.nonce, &machine, Channel::Control, process);
        serde_json::to_vec(&Proof { process, signature: key.sign(&statement) }).unwrap()
    });
    let (verdict, socket) = entered.await.unwrap();
    assert_eq!(code_of(Some(&verdict)), "welcome");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_sends_what_no_agent_sends_is_cut_off_and_nobody_else() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let quiet = Remote::new().joined(&server.url, &invite(&admin).await);
    let loud = Remote::new().joined(&server.url, &invite(&admin).await);
    let (quiet_machine, loud_machine) = (quiet.machine.parse().unwrap(), loud.machine.parse().unwrap());
    let is_connected = |machine: &wire::ids::MachineId| server.app.hub.connected().contains(machine);
    // A message of a client, masked with zeros; HTTP/2's frames come in such.
    let message = |payload: &[u8]| {
        let length = 0x80 | u8::try_from(payload.len()).unwrap();
        [&[0x82, length, 0, 0, 0, 0], payload].concat()
    };
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    for (what, bytes) in [
        ("text", vec![0x81, 0x80, 0, 0, 0, 0]),
        ("a message that is not masked", vec![0x82, 0x01, 0]),
        ("a message of two megabytes", vec![0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]),
        ("a message of an exabyte", vec![0x82, 0xff, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            "a frame of sixteen megabytes",
            message(&[&settings[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()),
        ),
        (
            "an answer to a call that was not made",
            message(&[&settings[..], &[0, 0, 1, 1, 5, 0, 0, 0, 99, 0x88]].concat()),
        ),
        ("something else than HTTP/2", message(b"GET / HTTP/1.1\r\n\r\n")),
    ] {
        // Who says nothing is cut off after a while, too; this one would be the first.
        let kept = enter_as(&server, &quiet).await;
        eventually("it is connected", 30, || async { is_connected(&quiet_machine).then_some(()) }).await;
        let mut socket = enter_as(&server, &loud).await;
        eventually("it is connected", 30, || async { is_connected(&loud_machine).then_some(()) }).await;

        socket.write_all(&bytes).await.unwrap();
        // How it ends, orderly or not, is the server's choice.
        drop(socket.read_to_end(&mut Vec::new()).await);

        eventually(what, 30, || async { (!is_connected(&loud_machine)).then_some(()) }).await;
        assert!(is_connected(&quiet_machine), "{what} ends only the connection that it comes by");
        drop(kept);
        eventually("it has gone", 30, || async { (!is_connected(&quiet_machine)).then_some(()) }).await;
    }
    server.stop().await;
}

/// One whole binary message of a server; none when it closes.
async fn read_frame(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let (first, length) = (socket.read_u8().await.ok()?, socket.read_u8().await.ok()?);
    if first != 0x82 {
        return None;
    }
    let length = match length {
        126 => usize::from(socket.read_u16().await.unwrap()),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).await.ok()?;
    Some(payload)
}

/// One binary message of a client, masked with zeros.
async fn write_frame(socket: &mut (impl tokio::io::AsyncWrite + Unpin), payload: &[u8]) {
    let mut frame = vec![0x82, 0xfe];
    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    socket.write_all(&frame).await.unwrap();
}

fn code_of(verdict: Option<&Verdict>) -> &str {
    match verdict {
        Some(Verdict::Refused { code, .. }) => code,
        Some(Verdict::Welcome) => "welcome",
        None => "closed",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_connects_as_a_machine_without_its_key() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let remote = Remote::new().joined(&server.url, &invite(&admin).await);
    let (_, key) = agent::membership::load(Path::new(&remote.state())).unwrap();
    let foreign = agent::MachineKey::make().unwrap();
    let machine: wire::ids::MachineId = remote.machine.parse().unwrap();
    let process = wire::ids::AgentProcessId(Uuid::now_v7());
    let prove = |key: &agent::MachineKey, statement: Vec<u8>| {
        serde_json::to_vec(&Proof { process, signature: key.sign(&statement) }).unwrap()
    };
    let right =
        |challenge: &Challenge| proof_statement(&challenge.nonce, &machine, Channel::Control, process);

    // The attack works with the right key: this shows that the rest is refused for its own reason.
    let welcome = knock(&server, &remote.machine, Channel::Control, |c| prove(&key, right(c))).await;
    assert_eq!(code_of(welcome.as_ref()), "welcome");
    let foreign_key = knock(&server, &remote.machine, Channel::Control, |c| prove(&foreign, right(c))).await;
    let other_nonce =
        |_: &Challenge| prove(&key, proof_statement("nonce", &machine, Channel::Control, process));
    let replayed = knock(&server, &remote.machine, Channel::Control, other_nonce).await;
    let other_channel = knock(&server, &remote.machine, Channel::Bulk, |c| prove(&key, right(c))).await;
    let registry = knock(&server, &remote.machine, Channel::Registry, |c| prove(&foreign, right(c))).await;
    let unknown = knock(&server, "nobody", Channel::Control, |c| prove(&key, right(c))).await;
    for verdict in [&foreign_key, &replayed, &other_channel, &registry, &unknown] {
        assert_eq!(code_of(verdict.as_ref()), "not_joined");
    }
    for garbage in [b"{}".to_vec(), b"x".to_vec(), vec![b'x'; 4_000], b"{\"process\":1}".to_vec()] {
        let verdict = knock(&server, &remote.machine, Channel::Control, |_| garbage).await;
        assert_eq!(code_of(verdict.as_ref()), "closed");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_links_door_says_what_is_wrong() {
    let server = TestServer::without_engine(&[]).await;
    let right = vec![
        (MACHINE_HEADER, "m1".to_owned()),
        (LEVEL_HEADER, LINK_LEVEL.to_string()),
        (CONNECTION.as_str(), "Upgrade".to_owned()),
        (UPGRADE.as_str(), "websocket".to_owned()),
        (SEC_WEBSOCKET_VERSION.as_str(), "13".to_owned()),
        (SEC_WEBSOCKET_KEY.as_str(), "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
    ];
    let try_with = async |name: &str, value: Option<&str>| {
        let mut request = server.api.request(reqwest::Method::GET, "/api/v1/link?channel=control");
        for (header, text) in &right {
            let text = if *header == name { value } else { Some(text.as_str()) };
            if let Some(text) = text {
                request = request.header(*header, text);
            }
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = if status == 101 { String::new() } else { answer.text().await.unwrap() };
        (status, text)
    };

    for (level, word) in
        [((LINK_LEVEL + 1).to_string(), "upgrade the server"), ("0".to_owned(), "upgrade the agent")]
    {
        let (status, text) = try_with(LEVEL_HEADER, Some(&level)).await;
        assert_eq!(status, 409);
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(try_with(LEVEL_HEADER, None).await.0, 409);
    assert_eq!(try_with(MACHINE_HEADER, Some("../m")).await.0, 422);
    assert_eq!(try_with(MACHINE_HEADER, None).await.0, 422);
    assert_eq!(try_with(UPGRADE.as_str(), None).await.0, 400);
    assert_eq!(try_with("", None).await.0, 101);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_with_one_key_are_both_shut_out_until_an_admin_has_looked() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let mut remote = Remote::new().joined(&server.url, &invite(&admin).await);
    remote.run(&engine, &[]);
    until_machine(&admin, &remote.machine, "online").await;

    let mut copy = remote.copy();
    copy.run(&engine, &[]);
    let shut_out = until_machine(&admin, &remote.machine, "unknown").await;
    assert!(shut_out["quarantine_reason"].as_str().unwrap().contains("two machines"), "{shut_out}");
    let noted = admin.get("/api/v1/audit?action=machine.quarantine").await.expect(200).json();
    assert_eq!(noted["data"][0]["target"], remote.machine.as_str());
    // Neither comes back by itself.
    assert_eq!(server.app.hub.connected(), []);
    copy.stop();
    remote.stop();
    let path = format!("/api/v1/machines/{}", remote.machine);
    let (_, key) = agent::membership::load(Path::new(&remote.state())).unwrap();
    let process = wire::ids::AgentProcessId(Uuid::now_v7());
    let machine = remote.machine.parse().unwrap();
    let alone = knock(&server, &remote.machine, Channel::Control, |challenge| {
        let statement = proof_statement(&challenge.nonce, &machine, Channel::Control, process);
        serde_json::to_vec(&Proof { process, signature: key.sign(&statement) }).unwrap()
    });
    assert_eq!(code_of(alone.await.as_ref()), "machine_quarantined");

    admin.post(&format!("{path}/release"), json!({})).await.expect(204);
    admin.post(&format!("{path}/release"), json!({})).await.expect(409);
    let mut again = Remote::named(&remote.machine).joined(&server.url, &invite(&admin).await);
    again.run(&engine, &[]);
    let online = until_machine(&admin, &again.machine, "online").await;
    assert_eq!(online["quarantine_reason"], Value::Null);
    again.stop();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_takes_its_place_again() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let mut remote = Remote::new().joined(&server.url, &invite(&admin).await);
    remote.run(&engine, &[]);
    let mut last = until_machine(&admin, &remote.machine, "online").await;

    for _ in 0..2 {
        let machine = remote.machine.parse().unwrap();
        let before = server.app.hub.process(&machine);
        remote.kill();
        remote.run(&engine, &[]);
        let is_new = || async {
            let now = server.app.hub.process(&machine);
            (now.is_some() && now != before).then_some(())
        };
        eventually("the new process is connected", 60, is_new).await;
        last = until_machine(&admin, &remote.machine, "online").await;
    }

    assert_eq!(last["quarantine_reason"], Value::Null);
    // Two agents on one folder would be two machines with one key: the second says so and ends.
    let mut second = remote.twin();
    second.run(&engine, &[]);
    let ended = eventually("the second one ends", 30, || {
        let ended = second.agent.as_mut().unwrap().try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert_eq!(ended.code(), Some(1));
    remote.stop();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_machine_gets_no_new_work_and_keeps_what_it_has() {
    let Some(shop) = Shop::open().await else { return };
    let admin = shop.server.admin().await;
    let kept = shop.run(json!({"name": "kept"})).await;
    let path = format!("/api/v1/machines/{}", kept["machine_id"].as_str().unwrap());

    let drained =
        admin.patch(&path, json!({"is_drained": true, "reason": "new disk"})).await.expect(200).json();
    assert_eq!((&drained["drain_reason"], drained["drained_at"].is_string()), (&json!("new disk"), true));
    assert_eq!(shop.ask(json!({})).await.expect(503).code(), "no_machine");
    let named = shop.ask(json!({"machine": kept["machine_id"]})).await.expect(409);
    assert!(named.text.contains("takes no new work"), "{}", named.text);
    assert_eq!(shop.alice.get("/api/v1/containers/kept").await.json()["state"], "running");
    shop.act(&kept["id"], "restart?timeout=0").await;
    shop.until(&kept["id"], "running").await;
    for bad in [
        json!({"reason": "x"}),
        json!({"is_drained": false, "reason": "x"}),
        json!({"is_drained": true, "reason": "a\nb"}),
        json!({"is_drained": true, "reason": "x".repeat(201)}),
        json!({"drained": true}),
        json!({"label": "a\nb"}),
        json!({"label": "x".repeat(61)}),
    ] {
        admin.patch(&path, bad).await.expect(422);
    }

    let labelled = admin.patch(&path, json!({"label": " 实验室 3 "})).await.expect(200).json();
    assert_eq!((&labelled["label"], &labelled["drain_reason"]), (&json!("实验室 3"), &json!("new disk")));
    shop.alice.patch(&path, json!({"label": "mine"})).await.expect(403);
    let resumed = admin.patch(&path, json!({"is_drained": false})).await.expect(200).json();
    assert_eq!(resumed["label"], "实验室 3");
    assert_eq!(admin.patch(&path, json!({"label": ""})).await.expect(200).json()["label"], Value::Null);
    assert_eq!((&resumed["drain_reason"], &resumed["drained_at"]), (&Value::Null, &Value::Null));
    shop.run(json!({"name": "new"})).await;
    // The server's own machine can be neither forgotten nor removed.
    assert_eq!(admin.post(&format!("{path}/release"), json!({})).await.expect(409).code(), "no_key");
    assert_eq!(admin.delete(&path).await.expect(409).code(), "own_machine");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_removed_when_no_container_is_left_on_it() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::without_engine(&[]).await;
    let (admin, alice) = (server.admin().await, server.account("alice").await);
    push(&engine, &server.registry, "alice/app:v1");
    let mut remote = Remote::new().joined(&server.url, &invite(&admin).await);
    remote.run(&engine, &[]);
    until_machine(&admin, &remote.machine, "online").await;
    let made = alice.post("/api/v1/containers", with_image(json!({}))).await.expect(201).json();
    let (machine, container) =
        (format!("/api/v1/machines/{}", remote.machine), format!("/api/v1/containers/{}", made["id"]));

    assert_eq!(admin.delete(&machine).await.expect(409).code(), "has_containers");
    alice.delete(&container).await.expect(202);
    let is_gone = || async { (alice.get(&container).await.status == 404).then_some(()) };
    eventually("the container is gone", 60, is_gone).await;
    let gone = admin.delete(&machine).await.expect(200).json();
    assert!(gone["stays"].as_str().unwrap().contains("images"), "{gone}");
    admin.get(&machine).await.expect(404);
    // Its agent is shut out at once and does not come back under its old key.
    let is_out = || async { server.app.hub.connected().is_empty().then_some(()) };
    eventually("the agent is shut out", 60, is_out).await;
    remote.stop();
    server.stop().await;
}

/// A proxy that lets through what asks for it by `CONNECT`, and counts.
async fn proxy(stop: CancellationToken) -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let tasks = TaskTracker::new();
    let serving = tasks.clone();
    tasks.spawn(async move {
        loop {
            let mut client = tokio::select! {
                () = stop.cancelled() => return,
                client = listener.accept() => client.unwrap().0,
            };
            let counted = Arc::clone(&counted);
            serving.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
                let mut upstream = tokio::net::TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                drop(tokio::io::copy_bidirectional(&mut client, &mut upstream).await);
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_recognises_a_server_with_a_certificate_of_its_own_and_passes_a_proxy() {
    let Some(engine) = crate::support::engine() else { return };
    let server = TestServer::without_engine(&[("tls.mode", "on")]).await;
    let url = server.url.clone();
    let fingerprint = server.app.tls.fingerprint().unwrap().to_owned();
    let password = server.folder().join("password");
    std::fs::write(&password, ADMIN_PASSWORD).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(words).env("LONGSHORE_LANG", "en").env("LONGSHORE_CONFIG_DIR", server.folder());
        let output = command.stdin(std::fs::File::open(&password).unwrap()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };

    let login = ["login", url.as_str(), "--account", "admin", "--password-stdin"];
    let (status, _, unknown) = run(&login);
    assert!(status == 1 && unknown.contains("--fingerprint"), "{unknown}");
    let wrong = "0".repeat(64);
    let (status, _, text) = run(&[&login[..], &["--fingerprint", &wrong]].concat());
    assert!(status == 1 && text.contains("certificate"), "{text}");
    let (status, _, text) = run(&[&login[..], &["--fingerprint", &fingerprint]].concat());
    assert_eq!(status, 0, "{text}");
    let (status, line, text) = run(&["machine", "invite"]);
    assert_eq!(status, 0, "{text}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let token = words[4];
    assert_eq!(words[..4], ["longshore", "agent", "join", url.as_str()]);
    assert!(token.ends_with(&fingerprint), "{line}");

    let mut remote = Remote::new();
    let forged = token.replace(&fingerprint, &wrong);
    let output = remote.join(&url, &forged);
    assert_eq!(output.status.code(), Some(1), "another server's certificate is not believed");
    remote = remote.joined(&url, token);
    let stop = CancellationToken::new();
    let (proxy, count) = proxy(stop.clone()).await;
    remote.run(&engine, &[("HTTPS_PROXY", proxy.as_str())]);
    let connected = || async { (!server.app.hub.connected().is_empty()).then_some(()) };
    eventually("the machine is connected", 60, connected).await;

    assert!(count.load(Ordering::SeqCst) >= 1, "its connection went through the proxy");
    remote.stop();
    stop.cancel();
    server.stop().await;
}
