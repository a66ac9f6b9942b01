//! Terminals, on a real engine: what they do for their owner, and what they do not for anybody else.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::api::Api;
use crate::support::engine::Bare;
use crate::support::eventually;
use crate::support::machine::docker;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;
use crate::support::shop::{Shop, push_context};
use crate::support::socket::{PROMPT, Refusal, Socket, Terminal};

async fn refused(api: &Api, id: &str, query: &str, headers: &[(&'static str, &str)]) -> Refusal {
    match Socket::open(api, &format!("/api/v1/containers/{id}/terminal?{query}"), headers).await {
        Ok(_) => panic!("{id} {query} {headers:?} was opened"),
        Err(refusal) => refusal,
    }
}

async fn ticket(api: &Api, id: &Value, wanted: Value) -> String {
    let path = format!("/api/v1/containers/{id}/terminal-tickets");
    api.post(&path, wanted).await.expect(201).json()["ticket"].as_str().unwrap().to_owned()
}

/// The commands that run in a container, by the engine's word.
fn commands_made(shop: &Shop, id: &Value) -> usize {
    shop.inspect(id)["ExecIDs"].as_array().map_or(0, Vec::len)
}

/// A shell that waits for a command.
async fn shell(api: &Api, container: &Value) -> Terminal {
    let mut terminal = Terminal::open(api, container, "").await;
    terminal.shows(PROMPT).await;
    terminal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_a_shell_with_a_size_and_an_exit_code() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;

    let mut terminal = Terminal::open(&shop.alice, &container, "columns=100&rows=30").await;
    terminal.shows(PROMPT).await;
    has_size(&mut terminal, "30 100\r\n").await;
    terminal.resize(132, 50).await;
    has_size(&mut terminal, "50 132\r\n").await;
    assert!(terminal.run("echo \"$TERM\"; id -u").await.contains("\r\nxterm-256color\r\n0\r\n"));
    terminal.write("exit 7\n").await;
    let ended = terminal.ended().await;

    assert_eq!((&ended["reason"], &ended["exit_code"]), (&json!("exited"), &json!(7)));
    let resized = terminal.told.iter().find(|message| message["type"] == "resized").unwrap();
    assert_eq!((&resized["columns"], &resized["rows"]), (&json!(132), &json!(50)));
    assert_eq!(shop.until(&container["id"], "running").await["status"], true, "the container goes on");
    let audited = shop.server.admin().await.get("/api/v1/audit?action=terminal.open").await.json();
    assert_eq!((&audited["total"], &audited["data"][0]["actor"]), (&json!(1), &json!("alice")));
    shop.close().await;
}

/// The size follows a moment after it was asked for.
async fn has_size(terminal: &mut Terminal, text: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let shown = terminal.run("stty size").await;
        if shown.ends_with(text) {
            return;
        }
        assert!(Instant::now() < deadline, "{text:?} was never shown, but {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_without_a_terminal_has_two_streams_and_loses_nothing() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let run = async |command: &str| {
        let command: String = url_encoded(command);
        let query = format!("tty=false&input=false&command=sh&command=-c&command={command}");
        let mut terminal = Terminal::open(&shop.alice, &container, &query).await;
        let ended = terminal.ended().await;
        (terminal, ended)
    };

    let (both, ended) = run("echo out; echo err >&2; exit 44").await;
    assert_eq!((both.text().as_str(), both.err.as_slice()), ("out\n", &b"err\n"[..]));
    assert_eq!(ended["exit_code"], 44);
    let (_, ended) = run("exec /nothing/here").await;
    assert_eq!(ended["exit_code"], 127);
    let mut absent = Terminal::open(&shop.alice, &container, "tty=false&command=nothing-here").await;
    let ended = absent.ended().await;
    assert!(ended["exit_code"] == 126 || ended["exit_code"] == 127, "{ended}");
    assert!(absent.text().contains("nothing-here"), "{}", absent.text());

    // Far more than is ever kept, both ways, with a reader that begins late.
    let mut echo = Terminal::open(&shop.alice, &container, "tty=false&command=cat").await;
    let sent: Vec<u8> = (0..3_u32 << 20).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let (pen, typed) = (echo.socket.pen.clone(), sent.clone());
    let typing = async move {
        for piece in typed.chunks(60_000) {
            assert!(pen.write(piece).await);
        }
        pen.say(json!({"type": "end_of_input"})).await;
    };
    let reading = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        echo.ended().await
    };
    let ((), ended) = tokio::join!(typing, reading);
    assert_eq!((&ended["exit_code"], echo.dropped), (&json!(0), 0));
    assert!(echo.out == sent, "{} of {} bytes", echo.out.len(), sent.len());
    shop.close().await;
}

fn url_encoded(text: &str) -> String {
    reqwest::Url::parse_with_params("http://host", [("", text)]).unwrap().query().unwrap()[1..].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_one_terminal_once_and_nothing_else() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({"name": "box"})).await;
    let other = shop.run_of("shell:v1", json!({"name": "other"})).await;
    let (id, other_id) = (container["id"].to_string(), other["id"].to_string());
    let nobody = shop.alice.anonymous();
    let echo = json!({"command": ["sh", "-c", "echo \"$A\""], "tty": false, "env": {"A": "from the ticket"}});

    let mut terminal = Terminal::with_ticket(&shop.alice, &container, echo.clone()).await;
    terminal.ended().await;
    assert_eq!(terminal.text(), "from the ticket\n");

    let used = ticket(&shop.alice, &container["id"], echo.clone()).await;
    let query = format!("ticket={used}");
    let path = format!("/api/v1/containers/{id}/terminal?{query}");
    let mut first = Socket::open(&nobody, &path, &[]).await.unwrap();
    while first.next().await.is_some() {}
    let none = || async { (commands_made(&shop, &container["id"]) == 0).then_some(()) };
    eventually("its command has ended", 30, none).await;
    assert_eq!(refused(&nobody, &id, &query, &[]).await.code(), "bad_ticket", "a second time");
    assert_eq!(refused(&shop.alice, &id, &query, &[]).await.status, 401, "also beside a good token");
    for wrong in ["", "x", "ls_token", &"a".repeat(4_000)] {
        assert_eq!(refused(&nobody, &id, &format!("ticket={wrong}"), &[]).await.status, 401, "{wrong}");
    }

    // For another container than it was given for; that uses it up, too.
    let moved = format!("ticket={}", ticket(&shop.alice, &container["id"], echo.clone()).await);
    assert_eq!(refused(&nobody, &other_id, &moved, &[]).await.status, 404);
    assert_eq!(refused(&nobody, &id, &moved, &[]).await.status, 401);

    // With something beside it that could widen it.
    for beside in ["&command=id", "&tty=true", "&session=0198c000-0000-7000-8000-000000000000", "&ticket=x"] {
        let wide = format!("ticket={}{beside}", ticket(&shop.alice, &container["id"], echo.clone()).await);
        assert_eq!(refused(&nobody, &id, &wide, &[]).await.status, 422, "{beside}");
    }

    // Too late, and after what proved who asked for it has ended.
    let late = format!("ticket={}", ticket(&shop.alice, &container["id"], echo.clone()).await);
    shop.server.app.clock.advance_secs(31);
    assert_eq!(refused(&nobody, &id, &late, &[]).await.status, 401);
    let again = shop.server.login("alice", "alice password").await;
    let orphan = format!("ticket={}", ticket(&again, &container["id"], echo.clone()).await);
    again.post("/api/auth/logout", json!({})).await.expect(200);
    assert_eq!(refused(&nobody, &id, &orphan, &[]).await.status, 401);

    assert_eq!(commands_made(&shop, &container["id"]), 0, "the engine heard nothing of all that");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_open_no_terminal() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let id = container["id"].to_string();
    let own = shop.server.url.clone();
    let cookie = format!("longshore_session={}", shop.alice.token.as_ref().unwrap());
    let nobody = shop.alice.anonymous();

    let own_port_differs = own.replace("127.0.0.1", "localhost");
    for origin in
        ["http://evil.test", "null", "https://127.0.0.1", &format!("{own}.evil.test"), &own_port_differs]
    {
        let headers = [("origin", origin), ("cookie", cookie.as_str())];
        assert_eq!(
            refused(&nobody, &id, "", &headers).await.code(),
            "foreign_origin",
            "cookie from {origin}"
        );
        let headers = [("origin", origin)];
        assert_eq!(refused(&shop.alice, &id, "", &headers).await.status, 403, "token from {origin}");
        let with_ticket = format!("ticket={}", ticket(&shop.alice, &container["id"], json!({})).await);
        assert_eq!(refused(&nobody, &id, &with_ticket, &headers).await.status, 403, "ticket from {origin}");
    }
    assert_eq!(
        refused(&nobody, &id, "", &[("cookie", &cookie), ("sec-fetch-site", "cross-site")]).await.status,
        403
    );
    assert_eq!(commands_made(&shop, &container["id"]), 0, "the engine heard nothing of all that");

    // Our own page, with the cookie and with a ticket.
    let path = format!("/api/v1/containers/{id}/terminal");
    let headers = [("origin", own.as_str()), ("cookie", cookie.as_str())];
    Socket::open(&nobody, &path, &headers).await.unwrap();
    let with_ticket = format!("{path}?ticket={}", ticket(&shop.alice, &container["id"], json!({})).await);
    Socket::open(&nobody, &with_ticket, &[("origin", &own)]).await.unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_peoples_containers_and_terminals_do_not_exist() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({"name": "box"})).await;
    let engine_id = shop.engine_id(&container["id"]).unwrap();
    let mut terminal = shell(&shop.alice, &container).await;
    let session = terminal.session.clone();
    let bob = shop.server.account("bob").await;
    push_context(&shop.docker, &shop.server.registry, "bob/shell:v1", &crate::support::shell::context(""));
    let bobs =
        bob.post("/api/v1/containers", json!({"image": "shell:v1", "name": "bobs"})).await.expect(201).json();
    let running = || async {
        let now = bob.get(&format!("/api/v1/containers/{}", bobs["id"])).await.json();
        (now["state"] == "running").then_some(())
    };
    eventually("bob's container runs", 60, running).await;

    // The engine lets whoever knows a command's id change it, whosever container it is in.
    let exec = shop.inspect(&container["id"])["ExecIDs"][0].as_str().unwrap().to_owned();
    let bare = Bare::at(&shop.docker);
    assert_eq!(bare.get(&format!("/exec/{exec}/json"))["ContainerID"], engine_id.as_str());
    bare.post(&format!("/exec/{exec}/resize?h=24&w=80"));

    for id in [container["id"].to_string(), "box".into(), engine_id.clone(), engine_id[..12].to_owned()] {
        for query in ["", "command=id", &format!("session={session}"), "read_only=true"] {
            let refusal = refused(&bob, &id, query, &[]).await;
            assert_eq!(refusal.status, 404, "{id} {query}: {:?}", refusal.body);
        }
        for exec in [&exec, &exec[..12]] {
            let refusal = refused(&bob, &id, &format!("session={exec}"), &[]).await;
            assert!([404, 422].contains(&refusal.status), "{exec}: {:?}", refusal.body);
            bob.delete(&format!("/api/v1/containers/{id}/terminals/{exec}")).await.expect(404);
        }
        bob.post(&format!("/api/v1/containers/{id}/terminal-tickets"), json!({})).await.expect(404);
        bob.get(&format!("/api/v1/containers/{id}/terminals")).await.expect(404);
        bob.delete(&format!("/api/v1/containers/{id}/terminals/{session}")).await.expect(404);
    }
    // Alice's session through a container that is bob's.
    let through = refused(&bob, "bobs", &format!("session={session}"), &[]).await;
    assert_eq!(through.status, 404);
    bob.delete(&format!("/api/v1/containers/bobs/terminals/{session}")).await.expect(404);
    let absent = refused(&bob, "bobs", "session=0198c000-0000-7000-8000-000000000000", &[]).await;
    let plain = |refusal: &Refusal, id: &str| {
        let mut body = refusal.body.clone();
        body["request_id"] = Value::Null;
        body.to_string().replace(id, "ID")
    };
    assert_eq!(plain(&through, &session), plain(&absent, "0198c000-0000-7000-8000-000000000000"));

    assert!(terminal.run("echo undisturbed").await.ends_with("undisturbed\r\n"));
    assert_eq!(terminal.told, Vec::<Value>::new(), "nobody came, nobody went");
    assert_eq!(commands_made(&shop, &container["id"]), 1);

    // An admin may, and it is written down.
    let admin = shop.server.admin().await;
    let mut watched = Terminal::open(&admin, &container, &format!("session={session}&read_only=true")).await;
    watched.shows("undisturbed").await;
    let audited = admin.get("/api/v1/audit?action=terminal.watch").await.json();
    assert_eq!((&audited["total"], &audited["data"][0]["acting_for"]), (&json!(1), &json!("alice")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_a_terminal_does_not_have_are_refused() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let id = container["id"].to_string();
    let tickets = format!("/api/v1/containers/{id}/terminal-tickets");

    for wanted in [
        json!({"Privileged": true}),
        json!({"privileged": true}),
        json!({"user": "0"}),
        json!({"User": "root"}),
        json!({"detach_keys": "a"}),
        json!({"command": []}),
        json!({"command": [""]}),
        json!({"command": ["a\u{0}b"]}),
        json!({"command": ["x".repeat(200_000)]}),
        json!({"env": {"A=B": "c"}}),
        json!({"env": ["A=b"]}),
        json!({"working_dir": "../.."}),
        json!({"columns": 0}),
        json!({"rows": 1001}),
        json!({"columns": -1}),
        json!({"from": 5}),
        json!({"session": "1"}),
    ] {
        let answer = shop.alice.post(&tickets, wanted.clone()).await;
        assert_eq!(answer.status, 422, "{wanted}: {}", answer.text);
    }
    for query in
        ["user=0", "privileged=true", "tty=true&tty=false", "columns=0", "from=1", "env=A", "command="]
    {
        assert_eq!(refused(&shop.alice, &id, query, &[]).await.status, 422, "{query}");
    }
    assert_eq!(commands_made(&shop, &container["id"]), 0);
    shop.alice.get(&format!("/api/v1/containers/{id}/terminal")).await.expect(400);

    shop.act(&container["id"], "stop?timeout=0").await;
    shop.until(&container["id"], "stopped").await;
    assert_eq!(refused(&shop.alice, &id, "", &[]).await.code(), "not_running");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_viewer_sends_wrongly_is_refused_and_the_terminal_goes_on() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let mut terminal = shell(&shop.alice, &container).await;

    for text in [
        "",
        "{}",
        "[]",
        r#"{"type":"exec"}"#,
        r#"{"type":"resize","columns":1}"#,
        r#"{"type":"resize","columns":0,"rows":5}"#,
    ] {
        assert!(terminal.socket.pen.send(Message::Text(text.into())).await);
        terminal.told("refused").await;
    }
    for bytes in [&[][..], &[1, b'x'], &[255]] {
        assert!(terminal.socket.pen.send(Message::Binary(bytes.to_vec().into())).await);
        terminal.told("refused").await;
    }
    assert!(terminal.run("echo still").await.ends_with("still\r\n"));

    let session = terminal.session.clone();
    let mut looking =
        Terminal::open(&shop.alice, &container, &format!("session={session}&read_only=true")).await;
    looking.write("exit\n").await;
    looking.told("refused").await;
    looking.resize(10, 10).await;
    looking.told("refused").await;
    looking.say(json!({"type": "end"})).await;
    looking.told("refused").await;
    assert!(terminal.run("echo here").await.ends_with("here\r\n"));

    // Longer than any message may be: this viewer is let go, the terminal stays.
    terminal.socket.pen.write(vec![b'x'; 70_000]).await;
    while terminal.take().await {}
    looking.told("viewers").await;
    let mut back = Terminal::open(&shop.alice, &container, &format!("session={session}")).await;
    back.shows("here\r\n# ").await;
    assert!(back.run("echo again").await.ends_with("again\r\n"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_look_at_one_terminal_and_come_back_to_it() {
    let Some(shop) = Shop::open_with(&[("terminals.keep_secs", "60")]).await else { return };
    let container = shop.run_shell(json!({})).await;
    let mut first = shell(&shop.alice, &container).await;
    first.run("echo one").await;
    let session = first.session.clone();

    let mut second = Terminal::open(&shop.alice, &container, &format!("session={session}")).await;
    assert_eq!((first.live_offset, second.offset), (0, 0));
    // Until there it is a repetition, of all that the first has seen.
    assert_eq!(second.live_offset, first.offset);
    second.shows("one\r\n").await;
    assert_eq!(first.told("viewers").await["count"], 2);
    // A program that asks where the cursor is gets one answer, of the one who typed last.
    second.write("\x1b[9;9R").await;
    second.write("echo two\n").await;
    let shown = first.shows("\r\ntwo\r\n").await;
    assert!(!shown.contains("[9;9R"), "{shown:?}");
    second.shows("\r\ntwo\r\n").await;
    second.write("\x1b[8;8R").await;
    first.shows("[8;8R").await;
    second.write("\x03").await;
    first.shows(PROMPT).await;
    let listed = shop.alice.get(&format!("/api/v1/containers/{}/terminals", container["id"])).await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["viewers"]), (&json!(session), &json!(2)));

    // Both go; what happens meanwhile is shown to the one who comes back, from where it was.
    first.write("sleep 1; echo three\n").await;
    first.shows("echo three\r\n").await;
    let seen = first.offset;
    drop((first, second));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut back = Terminal::open(&shop.alice, &container, &format!("session={session}&from={seen}")).await;
    assert_eq!(back.offset, seen);
    assert!(back.live_offset >= seen + "three\r\n".len() as u64, "{} {seen}", back.live_offset);
    let shown = back.shows("three\r\n").await;
    assert_eq!((shown.as_str(), back.dropped), ("", 0), "nothing twice, nothing missing");

    // More than is kept has passed: the last 256 KiB are shown, and how much is missing is said.
    back.write("head -c 600000 /dev/zero; echo; echo end\n").await;
    back.shows("\r\nend\r\n").await;
    let end = back.offset;
    drop(back);
    let mut late = Terminal::open(&shop.alice, &container, &format!("session={session}&from={seen}")).await;
    late.shows("\r\nend\r\n").await;
    assert!(late.dropped >= end - seen - (256 << 10) - 1_000, "{}", late.dropped);
    assert!(late.dropped <= end - seen - (256 << 10) + 1_000, "{}", late.dropped);

    late.say(json!({"type": "end"})).await;
    assert_eq!(late.ended().await["reason"], "closed");
    shop.until_no_process(&container["id"], "sh").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_viewer_is_told_what_it_missed_and_holds_nobody_up() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let mut quick = shell(&shop.alice, &container).await;
    let session = quick.session.clone();
    let mut slow = Terminal::open(&shop.alice, &container, &format!("session={session}")).await;

    // More than the socket's buffers and the terminal's own together; `slow` reads nothing meanwhile.
    let flood = 24 << 20;
    quick.write(format!("head -c {flood} /dev/zero; echo; echo end\n")).await;
    let reading = async {
        loop {
            assert!(quick.take().await);
            let kept = quick.out.len().saturating_sub(64);
            quick.out.drain(..kept);
            if quick.text().contains("\r\nend\r\n") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(3), reading).await.expect("the quick one is not held up");
    let total = quick.offset;
    slow.shows("\r\nend\r\n").await;

    assert!(quick.dropped < slow.dropped, "{} {}", quick.dropped, slow.dropped);
    assert!(slow.dropped > 1 << 20, "{}", slow.dropped);
    slow.run("echo").await;
    quick.run("echo").await;
    assert_eq!(slow.offset - quick.offset.min(slow.offset), 0, "{} {}", slow.offset, quick.offset);
    assert!(quick.offset >= total, "what was shown and what was left out add up to the same");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_nobody_looks_at_ends_with_what_was_started_in_it() {
    let Some(shop) = Shop::open_with(&[("terminals.keep_secs", "1")]).await else { return };
    let container = shop.run_shell(json!({})).await;
    let id = &container["id"];
    let mut terminal = shell(&shop.alice, &container).await;
    terminal.run("sleep 1001 &").await;
    terminal.run("nohup sleep 1002 >/dev/null 2>&1 &").await;
    terminal.write("sleep 1003\n").await;
    terminal.shows("1003\r\n").await;
    let there = || async { shop.processes(id).iter().any(|line| line == "sleep 1003").then_some(()) };
    eventually("the foreground runs", 20, there).await;

    drop(terminal);

    shop.until_no_process(id, "sleep 1003").await;
    shop.until_no_process(id, "sleep 1001").await;
    shop.until_no_process(id, "sh").await;
    let left = shop.processes(id);
    assert!(left.iter().any(|line| line == "sleep 1002"), "what ignores a hang-up goes on: {left:?}");
    assert!(left.iter().any(|line| line == "/bin/sleep 3600"), "{left:?}");
    let gone = || async {
        let listed = shop.alice.get(&format!("/api/v1/containers/{id}/terminals")).await.json();
        listed[0]["viewers"].as_u64().is_none_or(|count| count == 0).then_some(())
    };
    eventually("nobody looks", 10, gone).await;

    // One that ignores the hang-up itself, and one without a terminal, which ends with its viewer.
    let mut stubborn = Terminal::open(
        &shop.alice,
        &container,
        "command=sh&command=-c&command=trap+''+HUP;+echo+set;+while+:;do+sleep+1;done",
    )
    .await;
    stubborn.shows("set").await;
    drop(stubborn);
    shop.until_no_process(id, "trap").await;
    let piped = Terminal::open(&shop.alice, &container, "tty=false&command=sleep&command=1004").await;
    let there = || async { shop.processes(id).iter().any(|line| line == "sleep 1004").then_some(()) };
    eventually("the command runs", 20, there).await;
    drop(piped);
    shop.until_no_process(id, "sleep 1004").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_ends_when_its_viewer_may_not_look_any_more() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let id = &container["id"];
    let admin = shop.server.admin().await;
    let path = format!("/api/v1/containers/{id}/terminals");

    // A log-out ends the look of that login only.
    let other_login = shop.server.login("alice", "alice password").await;
    let mut leaving = shell(&other_login, &container).await;
    let session = leaving.session.clone();
    let mut staying = Terminal::open(&shop.alice, &container, &format!("session={session}")).await;
    other_login.post("/api/auth/logout", json!({})).await.expect(200);
    let since = Instant::now();
    assert_eq!(leaving.ended().await["reason"], "revoked");
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    staying.shows(PROMPT).await;
    assert!(staying.run("echo still").await.ends_with("still\r\n"));

    // An API token that is deleted.
    let token = shop.alice.post("/api/v1/tokens", json!({"name": "t"})).await.expect(201).json();
    let by_token = shop.alice.with_token(token["token"].as_str().unwrap());
    let mut of_token = Terminal::open(&by_token, &container, &format!("session={session}")).await;
    shop.alice.delete(&format!("/api/v1/tokens/{}", token["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(of_token.ended().await["reason"], "revoked");

    // A new password ends every open terminal of the account, at once and with its command.
    let change = json!({"user_id": container["user_id"], "new_password": "another password"});
    shop.alice.post("/api/user/set_password", change).await.expect(200);
    assert_eq!(staying.ended().await["reason"], "revoked");
    shop.until_no_process(id, "sh").await;
    assert_eq!(shop.alice.get(&path).await.expect(200).json()[0]["viewers"].as_u64().unwrap_or(0), 0);

    // So does an admin who shuts the account out; a ticket that waits goes with it.
    let mut shut_out = shell(&shop.alice, &container).await;
    let waiting = format!("ticket={}", ticket(&shop.alice, id, json!({})).await);
    admin.patch("/api/v1/accounts/alice", json!({"state": "disabled"})).await.expect(200);
    assert_eq!(shut_out.ended().await["reason"], "revoked");
    shop.until_no_process(id, "sh").await;
    admin.patch("/api/v1/accounts/alice", json!({"state": "active"})).await.expect(200);
    assert_eq!(refused(&shop.alice.anonymous(), &id.to_string(), &waiting, &[]).await.status, 401);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_are_bounded_in_time_and_number() {
    let settings =
        [("terminals.idle_secs", "2"), ("terminals.longest_secs", "6"), ("terminals.per_account", "2")];
    let Some(shop) = Shop::open_with(&settings).await else { return };
    let container = shop.run_shell(json!({})).await;

    let mut idle = shell(&shop.alice, &container).await;
    let mut busy = shell(&shop.alice, &container).await;
    assert_eq!(
        refused(&shop.alice, &container["id"].to_string(), "", &[]).await.code(),
        "too_many_terminals"
    );
    busy.write("while :; do echo x; sleep 1; done\n").await;

    assert_eq!(idle.ended().await["reason"], "idle");
    assert_eq!(busy.ended().await["reason"], "time_limit");
    shop.until_no_process(&container["id"], "sh").await;
    drop(shell(&shop.alice, &container).await);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_ends_with_its_container_and_a_command_that_never_was() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let mut terminal = shell(&shop.alice, &container).await;

    shop.act(&container["id"], "stop?timeout=0").await;

    assert_eq!(terminal.ended().await["reason"], "exited");
    shop.until(&container["id"], "stopped").await;

    // FROM scratch: there is no shell to open.
    let bare = shop.run(json!({})).await;
    let mut none = Terminal::open(&shop.alice, &bare, "").await;
    let ended = none.ended().await;
    assert!(ended["exit_code"] == 126 || ended["exit_code"] == 127, "{ended}");
    assert!(none.text().contains("/bin/sh"), "{}", none.text());
    let mut probe =
        Terminal::open(&shop.alice, &bare, "tty=false&command=/probe&command=print&command=hello").await;
    assert_eq!(probe.ended().await["exit_code"], 0);
    assert_eq!(probe.text(), "hello\n");
    shop.close().await;
}

/// Runs a container with a shell on a server that is a process of its own.
async fn run_shell_on(server: &ServerProcess, alice: &Api) -> (Value, String) {
    let engine = crate::support::engine().unwrap();
    let ready = || async { (alice.get("/readyz").await.status == 200).then_some(()) };
    eventually("the server is ready", 60, ready).await;
    push_context(&engine, &server.registry, "alice/shell:v1", &crate::support::shell::context(""));
    let made = alice.post("/api/v1/containers", json!({"image": "shell:v1"})).await.expect(201).json();
    let running = || async {
        let now = alice.get(&format!("/api/v1/containers/{}", made["id"])).await.json();
        (now["state"] == "running").then_some(())
    };
    eventually("the container runs", 60, running).await;
    let names = docker(
        &engine,
        &[
            "ps",
            "--format",
            "{{.Names}} {{.ID}}",
            "--filter",
            &format!("ancestor={}", image_of(&made, server)),
        ],
    );
    let name = names.lines().find_map(|line| line.split_once(' ')).expect("the engine runs it").0.to_owned();
    (made, name)
}

fn image_of(container: &Value, server: &ServerProcess) -> String {
    let engine = crate::support::engine().unwrap();
    let repository = format!("{}/alice/shell", server.registry);
    assert_eq!(container["image"], "alice/shell:v1");
    docker(&engine, &["images", "-q", "--no-trunc", &repository]).lines().next().unwrap().to_owned()
}

/// The command lines in a container, by the engine's name of it.
fn commands_in(name: &str) -> Vec<String> {
    let engine = crate::support::engine().unwrap();
    let listed = docker(&engine, &["top", name, "-eo", "pid,args"]);
    let words = |line: &str| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    listed.lines().skip(1).map(words).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_leaves_no_shell_behind() {
    let Some(mut server) = ServerProcess::start(&[]).await else { return };
    let alice = server.account("alice").await;
    let (container, name) = run_shell_on(&server, &alice).await;
    let terminal = shell(&alice, &container).await;
    let notes = server.data_dir.join("agent/execs");
    assert_eq!(std::fs::read_dir(&notes).unwrap().count(), 1);
    assert_eq!(commands_in(&name).len(), 2);

    server.kill();
    server.start_again().await;

    let ended = || async { (std::fs::read_dir(&notes).unwrap().count() == 0).then_some(()) };
    eventually("what was left open is ended", 60, ended).await;
    assert_eq!(commands_in(&name), ["/bin/sleep 3600"]);
    drop(terminal);
    docker(&crate::support::engine().unwrap(), &["rm", "-f", &name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_may_signal_nothing_ends_terminals_from_inside() {
    let Some(server) = ServerProcess::start_unprivileged(&[]).await else { return };
    let alice = server.account("alice").await;
    let (container, name) = run_shell_on(&server, &alice).await;
    let mut terminal = shell(&alice, &container).await;
    terminal.run("sleep 1001 &").await;
    terminal.run("nohup sleep 1002 >/dev/null 2>&1 &").await;
    terminal.write("trap '' HUP; echo set\n").await;
    terminal.shows("\r\nset\r\n").await;
    let mut plain = shell(&alice, &container).await;
    plain.write("sleep 1003\n").await;
    plain.shows("1003\r\n").await;

    for session in [&terminal, &plain] {
        session.say(json!({"type": "end"})).await;
    }

    let left = || async {
        let mut left = commands_in(&name);
        left.sort();
        (left == ["/bin/sleep 3600", "sleep 1002"]).then_some(())
    };
    eventually("only what ignores a hang-up is left", 40, left).await;
    docker(&crate::support::engine().unwrap(), &["rm", "-f", &name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_is_a_terminal_and_a_pipe() {
    let Some(shop) = Shop::open().await else { return };
    shop.run_shell(json!({"name": "box"})).await;
    let token = shop.alice.token.clone().unwrap();
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(words).env("LONGSHORE_URL", &shop.server.url).env("LONGSHORE_TOKEN", &token);
        command
            .env("LONGSHORE_LANG", "en")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let run = |words: &[&str]| tokio::task::block_in_place(|| command(words).output().unwrap());

    let done = run(&["container", "exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (done.status.code(), &done.stdout[..], &done.stderr[..]),
        (Some(7), &b"out\n"[..], &b"err\n"[..])
    );

    let sent = vec![b'y'; 1 << 20];
    let mut child =
        command(&["container", "exec", "-i", "box", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let typed = sent.clone();
    let typing = std::thread::spawn(move || stdin.write_all(&typed).unwrap());
    let done = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    typing.join().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stdout == sent);

    let json = run(&["container", "exec", "box", "--json", "-e", "A=b c", "--", "sh", "-c", "echo $A"]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document, json!({"exit_code": 0, "stdout": "b c\n", "stderr": "", "is_cut": false}));

    let no_terminal = run(&["container", "exec", "-it", "box"]);
    assert_eq!(no_terminal.status.code(), Some(2), "{}", String::from_utf8_lossy(&no_terminal.stderr));

    // `script` gives it a terminal of its own.
    let longshore = env!("CARGO_BIN_EXE_longshore");
    let mut terminal = Command::new("script")
        .args(["-qec", &format!("stty rows 33 columns 111; {longshore} container exec -it box"), "/dev/null"])
        .env("LONGSHORE_URL", &shop.server.url)
        .env("LONGSHORE_TOKEN", &token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let typing = std::thread::spawn(move || {
        // A person waits for the prompt.
        for line in ["stty size\n", "stty size\n", "stty size\n", "exit 9\n"] {
            std::thread::sleep(Duration::from_secs(2));
            keys.write_all(line.as_bytes()).unwrap();
        }
        keys
    });
    let done = tokio::task::block_in_place(|| terminal.wait_with_output().unwrap());
    drop(typing.join());
    let shown = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(9), "{shown}");
    assert!(shown.contains("33 111"), "{shown}");
    shop.close().await;
}

/// An image whose command is a shell, as those of distributions are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_only_a_shell_waits_at_a_terminal_and_is_entered_from_the_command_line() {
    let Some(shop) = Shop::open().await else { return };
    let context = crate::support::shell::context("CMD [\"/bin/sh\"]\n");
    push_context(&shop.docker, &shop.server.registry, "alice/only-a-shell:v1", &context);
    let wish = json!({"image": "only-a-shell:v1"});
    let made = shop.alice.post("/api/v1/containers", wish).await.expect(201).json();
    let ended = shop.until(&made["id"], "stopped").await;
    assert_eq!((&ended["exit_code"], &ended["tty"]), (&json!(0), &json!(false)), "nobody speaks to it");

    let token = shop.alice.token.clone().unwrap();
    let longshore = env!("CARGO_BIN_EXE_longshore");
    let line = format!("{longshore} container run -it --name desk only-a-shell:v1");
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("LONGSHORE_URL", &shop.server.url)
        .env("LONGSHORE_TOKEN", &token)
        .env("LONGSHORE_LANG", "en")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // What is typed before the shell is there waits for it.
    let mut keys = terminal.stdin.take().unwrap();
    keys.write_all(b"echo typed-$((40 + 2)); exit 9\n").unwrap();
    let done = tokio::task::block_in_place(|| terminal.wait_with_output().unwrap());
    drop(keys);
    let shown = String::from_utf8_lossy(&done.stdout);

    assert!(shown.contains("typed-42\r\n"), "{shown}");
    assert!(shown.contains("goes on"), "{shown}");
    assert_eq!(done.status.code(), Some(9), "{shown}");
    let desk = shop.alice.get("/api/v1/containers/desk").await.expect(200).json();
    assert_eq!((&desk["state"], &desk["tty"]), (&json!("running"), &json!(true)));
    let seen = shop.inspect(&desk["id"]);
    assert_eq!((&seen["Config"]["Tty"], &seen["Config"]["OpenStdin"]), (&json!(true), &json!(true)));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_of_a_machine_that_is_not_there_says_so() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let container = crate::authz::a_running_container(&server).await;

    let mut terminal =
        Socket::open(&alice, &format!("/api/v1/containers/{container}/terminal"), &[]).await.unwrap();
    let Some(Message::Text(text)) = terminal.next().await else { panic!("it says why") };

    let ended: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&ended["type"], &ended["reason"]), (&json!("ended"), &json!("failed")));
    assert!(ended["message"].as_str().unwrap().contains("not connected"), "{ended}");
    server.stop().await;
}
