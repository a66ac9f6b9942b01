//! The agent link: what crosses it, and what happens when one side is slow, gone or of another age.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::convert::Infallible;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agent::{Agent, Config};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use futures::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use server::link::{CallError, Hub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wire::ids::{ContainerId, InstanceId, MachineId};
use wire::link::{
    BuildImage, ByteCall, Call, Channel, CleanBuilds, ContainerLogs, CreateContainer, Exec, GetFacts,
    LEVEL_HEADER, LINE_BYTES_MAX, LINK_LEVEL, LinkError, LinkErrorCode, LogEvent, ObservedContainer,
    ObservedState, PullImage, StreamCall, TransferEvent, Watch, WatchEvent,
};
use wire::machines::MachineFacts;
use wire::terminals::{ExecSpec, TerminalSize};

use crate::connections::Passage;
use crate::support::machine::{Machine, dial, free_port, refusal, serve_link_at};
use crate::support::server::TestServer;
use crate::support::{Wait, eventually};

const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn machine_id() -> MachineId {
    "m1".parse().unwrap()
}

fn hub() -> Hub {
    Hub::new(TaskTracker::new(), CancellationToken::new())
}

/// An agent whose engine does not exist: the link works all the same.
pub(crate) fn agent_without_engine(folder: &Path, stop: &CancellationToken) -> Agent {
    let config = Config {
        docker: Some("unix:///nonexistent/docker.sock".into()),
        registry: "127.0.0.1:5000".into(),
        policy_file: None,
        machine_id: Some(machine_id()),
        nvml: None,
        state_dir: folder.to_owned(),
    };
    Agent::new(config, stop.clone()).unwrap()
}

/// Serves some routes as an agent would, on both connections of `m1`.
async fn fake_agent(hub: &Hub, routes: Router) {
    let changes = hub.subscribe();
    let before = *changes.borrow();
    for channel in [Channel::Control, Channel::Bulk] {
        connect_fake(hub, &machine_id(), channel, routes.clone());
    }
    // Both, or a call finds that there is no way yet.
    let are_connected = || async { (*changes.borrow() >= before + 2).then_some(()) };
    eventually("the fake agent is connected", 10, are_connected).await;
}

fn connect_fake(hub: &Hub, machine: &MachineId, channel: Channel, routes: Router) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (hub, machine) = (hub.clone(), machine.clone());
    TaskTracker::new().spawn(async move { hub.attach(machine, channel, ours).await });
    let serving = async move {
        let service = TowerToHyperService::new(routes);
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(TokioIo::new(theirs), service).await);
    };
    TaskTracker::new().spawn(serving);
}

pub(crate) fn logs_call() -> ContainerLogs {
    ContainerLogs {
        instance: InstanceId(Uuid::now_v7()),
        container: ContainerId(1),
        follow: true,
        tail: None,
        since: None,
        timestamps: false,
    }
}

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn is_set(what: &str, flag: &AtomicBool) {
    eventually(what, 60, || async { flag.load(Ordering::SeqCst).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stand_still_do_not_hold_up_others_on_the_same_connection() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let endless = move || {
        let counted = counted.clone();
        let line = serde_json::to_string(&LogEvent::Out("x".repeat(8 << 10))).unwrap() + "\n";
        let lines = stream::repeat(Bytes::from(line)).map(move |line| {
            counted.fetch_add(line.len() as u64, Ordering::SeqCst);
            Ok::<_, Infallible>(line)
        });
        async move { Body::from_stream(lines) }
    };
    let hub = hub();
    fake_agent(&hub, Router::new().route(ContainerLogs::PATH, post(endless))).await;

    let mut stalled = Vec::new();
    for _ in 0..48 {
        stalled.push(hub.stream(&machine_id(), &logs_call(), None).await.unwrap());
    }
    let all_windows_are_full = || async { (sent.load(Ordering::SeqCst) >= 48 * (256 << 10)).then_some(()) };
    eventually("the agent has sent all that it may", 30, all_windows_are_full).await;
    let mut quick = hub.stream(&machine_id(), &logs_call(), None).await.unwrap();
    let read = async {
        for _ in 0..1_000 {
            quick.next().await.unwrap().unwrap();
        }
    };

    tokio::time::timeout(PATIENCE, read).await.expect("eight mebibytes pass beside 48 stalled readers");
    drop(stalled);
}

#[tokio::test]
async fn dropping_a_stream_ends_the_work_behind_it() {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let flag = is_dropped.clone();
    let waiting = move || {
        let guard = Flag(flag.clone());
        let line = stream::once(async { Ok::<_, Infallible>(Bytes::from("{\"out\":\"x\"}\n")) });
        let silence = stream::once(async move {
            let _guard = guard;
            std::future::pending().await
        });
        async move { Body::from_stream(line.chain(silence)) }
    };
    let hub = hub();
    fake_agent(&hub, Router::new().route(ContainerLogs::PATH, post(waiting))).await;

    let mut events = hub.stream(&machine_id(), &logs_call(), None).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), LogEvent::Out("x".into()));
    assert!(!is_dropped.load(Ordering::SeqCst));
    drop(events);

    is_set("the agent's stream is dropped", &is_dropped).await;
}

#[tokio::test]
async fn frames_that_mean_nothing_break_a_command_and_nothing_else() {
    let too_long = [0_u8, 0x7f, 0xff, 0xff, 0xff];
    let unknown = [9_u8, 0, 0, 0, 0];
    let hub = hub();
    let answers = Arc::new(AtomicU64::new(0));
    let nonsense = move || {
        let count = answers.fetch_add(1, Ordering::SeqCst);
        let bytes = if count == 0 { too_long } else { unknown };
        let frames = stream::once(async move { Ok::<_, Infallible>(Bytes::copy_from_slice(&bytes)) });
        async move { Body::from_stream(frames.chain(stream::pending())) }
    };
    fake_agent(&hub, Router::new().route(Exec::PATH, post(nonsense))).await;
    let exec = ExecSpec {
        command: vec!["x".into()],
        is_tty: true,
        has_input: true,
        env: std::collections::BTreeMap::new(),
        working_dir: None,
        size: TerminalSize::default(),
    };
    let call = Exec { instance: InstanceId(Uuid::now_v7()), container: ContainerId(1), exec };

    for what in ["a frame of", "a frame of kind 9"] {
        let (_input, mut output) = hub.exec(&machine_id(), &call).await.unwrap();
        let Some(Err(CallError::Broken(reason))) = output.next().await else { panic!("it is believed") };
        assert!(reason.starts_with(what), "{reason}");
    }
    assert_eq!(hub.connected(), [machine_id()]);
}

#[tokio::test]
async fn dropping_a_stream_ends_an_upload_that_is_not_finished() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let flag = is_broken.clone();
    let upload = move |body: Body| {
        let flag = flag.clone();
        async move {
            let lines = stream::once(async { Ok::<_, Infallible>(Bytes::from("{\"log\":\"x\"}\n")) });
            TaskTracker::new().spawn(async move {
                let mut parts = body.into_data_stream();
                while let Some(part) = parts.next().await {
                    if part.is_err() {
                        flag.store(true, Ordering::SeqCst);
                        return;
                    }
                }
            });
            Body::from_stream(lines.chain(stream::pending()))
        }
    };
    let hub = hub();
    fake_agent(&hub, Router::new().route(BuildImage::PATH, post(upload))).await;
    let endless = stream::once(async { Ok::<_, Infallible>(Bytes::from("tar")) }).chain(stream::pending());
    let call = BuildImage {
        instance: InstanceId(Uuid::now_v7()),
        build: wire::ids::BuildId(Uuid::now_v7()),
        dockerfile: "Dockerfile".into(),
        cache_from: Vec::new(),
        credential: Machine::credential(),
        build_args: std::collections::BTreeMap::new(),
        memory_bytes: 1 << 30,
        cpu_millis: 1_000,
        timeout_secs: 60,
        secrets: None,
    };

    let mut events = hub.stream(&machine_id(), &call, Some(Body::from_stream(endless))).await.unwrap();
    events.next().await.unwrap().unwrap();
    drop(events);

    is_set("the upload breaks off with an error", &is_broken).await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up_on_both_sides() {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let flag = is_dropped.clone();
    let never = move || {
        let guard = Flag(flag.clone());
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        }
    };
    let hub = hub();
    fake_agent(&hub, Router::new().route(GetFacts::PATH, post(never))).await;

    let answer = hub.call(&machine_id(), &GetFacts {}, Duration::from_millis(100)).await;

    assert!(matches!(answer, Err(CallError::TimedOut)), "{answer:?}");
    is_set("the agent's handler is dropped", &is_dropped).await;
}

#[tokio::test]
async fn an_event_longer_than_the_bound_is_refused() {
    let long = || async {
        let pieces = stream::repeat(Bytes::from("x".repeat(64 << 10))).map(Ok::<_, Infallible>);
        Body::from_stream(pieces)
    };
    let hub = hub();
    fake_agent(&hub, Router::new().route(ContainerLogs::PATH, post(long))).await;

    let mut events = hub.stream(&machine_id(), &logs_call(), None).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();

    assert!(error.to_string().contains(&LINE_BYTES_MAX.to_string()), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_not_taken_for_a_whole_one() {
    let cut = || async { Body::from("{\"out\":\"a\"}\n{\"out\":\"b") };
    let hub = hub();
    fake_agent(&hub, Router::new().route(ContainerLogs::PATH, post(cut))).await;

    let mut events = hub.stream(&machine_id(), &logs_call(), None).await.unwrap();

    assert_eq!(events.next().await.unwrap().unwrap(), LogEvent::Out("a".into()));
    assert!(matches!(events.next().await, Some(Err(CallError::Broken(_)))));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_machine_that_never_came_is_not_connected() {
    let hub = hub();

    let answer = hub.call(&machine_id(), &GetFacts {}, PATIENCE).await;

    assert!(matches!(answer, Err(CallError::NotConnected)), "{answer:?}");
    assert!(hub.connected().is_empty());
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let never = || async { std::future::pending::<()>().await };
    let refuse = || async {
        let error = LinkError::new(LinkErrorCode::Engine, "the new one");
        (axum::http::StatusCode::BAD_GATEWAY, axum::Json(error))
    };
    let hub = hub();
    fake_agent(&hub, Router::new().route(GetFacts::PATH, post(never))).await;
    let mut changes = hub.subscribe();
    let pending = {
        let hub = hub.clone();
        async move { hub.call(&machine_id(), &GetFacts {}, PATIENCE).await }
    };
    let mut pending = pin!(pending);
    // Polled once, so that it is under way on the old connection.
    assert!(tokio::time::timeout(Duration::from_millis(50), pending.as_mut()).await.is_err());

    connect_fake(&hub, &machine_id(), Channel::Control, Router::new().route(GetFacts::PATH, post(refuse)));
    changes.changed().await.unwrap();

    let interrupted = pending.await;
    assert!(matches!(interrupted, Err(CallError::Broken(_))), "{interrupted:?}");
    let answer = refusal(hub.call(&machine_id(), &GetFacts {}, PATIENCE).await);
    assert_eq!(answer.message, "the new one");
    assert_eq!(hub.connected(), [machine_id()]);
}

#[tokio::test]
async fn another_level_of_the_protocol_is_refused() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let agent = agent_without_engine(folder.path(), &stop);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    agent.spawn({
        let agent = agent.clone();
        async move { agent.serve_pipe(Channel::Control, theirs).await }
    });
    let mut client = raw_client(ours).await;

    let mut messages = Vec::new();
    for level in [LINK_LEVEL - 1, LINK_LEVEL + 1] {
        let request = axum::http::Request::post(format!("http://agent{}", GetFacts::PATH))
            .header(LEVEL_HEADER, level)
            .body(Body::from("{}"))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 400);
        let body = axum::body::to_bytes(Body::new(response.into_body()), 4_096).await.unwrap();
        let error: LinkError = serde_json::from_slice(&body).unwrap();
        assert_eq!(error.code, LinkErrorCode::WrongLevel);
        messages.push(error.message);
    }

    assert!(messages[0].ends_with("upgrade the server"), "{messages:?}");
    assert!(messages[1].ends_with("upgrade the agent on this machine"), "{messages:?}");
    stop.cancel();
    agent.stopped().await;
}

async fn raw_client(io: DuplexStream) -> hyper::client::conn::http2::SendRequest<Body> {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
    TaskTracker::new().spawn(connection);
    sender
}

#[tokio::test]
async fn a_call_with_fields_that_the_agent_does_not_know_is_refused() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let agent = agent_without_engine(folder.path(), &stop);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    agent.spawn({
        let agent = agent.clone();
        async move { agent.serve_pipe(Channel::Control, theirs).await }
    });
    let mut client = raw_client(ours).await;
    let bodies = [
        (GetFacts::PATH, r#"{"privileged":true}"#.to_owned(), true),
        (CleanBuilds::PATH, format!(r#"{{"instance":"{}","keep":[],"all":true}}"#, Uuid::now_v7()), true),
        ("/link/v2/containers/levitate", "{}".to_owned(), true),
        ("/containers/json", "{}".to_owned(), true),
        (GetFacts::PATH, "{".to_owned(), false),
        ("/link/v2/containers/exec", "{}".to_owned(), false),
    ];

    for (path, body, is_newer) in bodies {
        let request = axum::http::Request::post(format!("http://agent{path}"))
            .header(LEVEL_HEADER, LINK_LEVEL)
            .body(Body::from(body))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 400, "{path}");
        let body = axum::body::to_bytes(Body::new(response.into_body()), 4_096).await.unwrap();
        let error: LinkError = serde_json::from_slice(&body).unwrap();
        assert_eq!(error.code, LinkErrorCode::Invalid);
        // One side is newer than the other, most likely: it is said which one to upgrade.
        assert_eq!(error.message.ends_with("upgrade the agent on this machine"), is_newer, "{path}: {error}");
    }

    stop.cancel();
    agent.stopped().await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_and_the_link_stays() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let agent = agent_without_engine(folder.path(), &stop);
    let hub = Hub::new(TaskTracker::new(), stop.clone());
    longshore::in_process::connect(&hub, &agent);
    eventually("connected", 10, || async { (!hub.connected().is_empty()).then_some(()) }).await;

    let facts = hub.call(&machine_id(), &GetFacts {}, PATIENCE).await.unwrap();
    let clean = CleanBuilds { instance: InstanceId(Uuid::now_v7()), keep: Vec::new() };
    let error = refusal(hub.call(&machine_id(), &clean, PATIENCE).await);
    let mut watch = hub.stream(&machine_id(), &Watch { instance: clean.instance }, None).await.unwrap();

    assert_eq!((facts.machine_id, facts.engine_version), (machine_id(), None));
    assert!(!facts.hostname.is_empty() && facts.memory.total > 0 && !facts.cpu.is_empty());
    assert_eq!(error.code, LinkErrorCode::EngineDown);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = serde_json::to_value(watch.next().await.unwrap().unwrap()).unwrap();
        seen.push(
            event
                .as_str()
                .map_or_else(|| event.as_object().unwrap().keys().next().unwrap().clone(), str::to_owned),
        );
    }
    seen.sort();
    assert_eq!(seen, ["alive", "engine_down", "facts"]);
    stop.cancel();
    agent.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_comes_back_after_its_server_was_away() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let agent = agent_without_engine(folder.path(), &stop);
    let hub = hub();
    let port = free_port();
    dial(&agent, format!("http://127.0.0.1:{port}")).await;

    for _ in 0..2 {
        let server_stop = CancellationToken::new();
        let first = Hub::new(TaskTracker::new(), server_stop.clone());
        serve_link_at(port, first.clone(), server_stop.clone()).await;
        eventually("the agent is there", 60, || async { (!first.connected().is_empty()).then_some(()) })
            .await;
        let facts = first.call(&machine_id(), &GetFacts {}, PATIENCE).await.unwrap();
        assert_eq!(facts.machine_id, machine_id());
        server_stop.cancel();
        eventually("the agent is gone", 30, || async { first.connected().is_empty().then_some(()) }).await;
    }

    assert!(hub.connected().is_empty());
    stop.cancel();
    agent.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_machine_has_one_connection_and_opens_another_when_it_is_needed_and_once() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let agent = agent_without_engine(folder.path(), &stop);
    let hub = Hub::new(TaskTracker::new(), stop.clone());
    let way = Passage::to(serve_link_at(0, hub.clone(), stop.clone()).await).await;
    dial(&agent, format!("http://127.0.0.1:{}", way.port)).await;
    let is_there = || async { (!hub.connected().is_empty()).then_some(()) };
    // What moves much, of an engine that is not there; whether the agent was reached.
    let call = || async {
        let logs = ContainerLogs {
            instance: InstanceId(Uuid::now_v7()),
            container: ContainerId(1),
            follow: false,
            tail: Some(1),
            since: None,
            timestamps: false,
        };
        hub.stream(&machine_id(), &logs, None).await.map(drop)
    };
    eventually("the agent is there", 60, is_there).await;
    hub.call(&machine_id(), &GetFacts {}, PATIENCE).await.unwrap();
    assert_eq!(way.count(), 1);

    let (one, two, three) = tokio::join!(call(), call(), call());
    for reached in [one, two, three, call().await] {
        reached.unwrap();
    }
    assert_eq!(way.count(), 2, "it is opened once, however many need it");

    way.cut(1);
    eventually("it is opened again", 60, || async { call().await.ok() }).await;
    assert_eq!(way.count(), 3);

    // What was there before goes with what was there before it.
    way.cut(0);
    eventually("the agent has gone", 60, || async { hub.connected().is_empty().then_some(()) }).await;
    eventually("the agent is back", 60, is_there).await;
    assert_eq!(way.count(), 4);
    call().await.unwrap();
    assert_eq!(way.count(), 5);
    stop.cancel();
    agent.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_asks_for_the_registry_while_the_server_is_away_hears_so_at_once() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let agent = agent_without_engine(folder.path(), &stop);
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let server = agent::Server {
        url: format!("http://127.0.0.1:{}", free_port()),
        fingerprint: None,
        key: agent::MachineKey::make().unwrap(),
    };
    let dialing = agent.clone();
    agent.spawn(async move { dialing.dial(&server, door).await.unwrap() });

    let ask = || async {
        let mut engine = TcpStream::connect(address).await.unwrap();
        engine.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        engine.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for answer in [ask().await, ask().await] {
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("not connected to its server"),
            "{answer}"
        );
    }
    stop.cancel();
    agent.stopped().await;
}

/// Events as they travel.
fn lines<E: serde::Serialize + Send + 'static>(
    events: impl futures::Stream<Item = E> + Send + 'static,
) -> Body {
    let line = |event| Ok::<_, Infallible>(Bytes::from(serde_json::to_string(&event).unwrap() + "\n"));
    Body::from_stream(events.map(line))
}

/// A machine that says this as often as it is asked, and then tells of ever more containers. True when nobody listens any more.
fn connect_liar(hub: &Hub, machine: &MachineId, told: Vec<WatchEvent>) -> Arc<AtomicBool> {
    let is_cut_off = Arc::new(AtomicBool::new(false));
    let flag = is_cut_off.clone();
    let says = move || {
        let guard = Flag(flag.clone());
        let flood = (1_000_000..).map(|id| WatchEvent::Changed(ended(ContainerId(id))));
        let lines = stream::iter(told.clone().into_iter().chain(flood)).map(move |event| {
            let _held = &guard;
            Ok::<_, Infallible>(Bytes::from(serde_json::to_string(&event).unwrap() + "\n"))
        });
        async move { Body::from_stream(lines) }
    };
    let routes = Router::new().route(Watch::PATH, post(says));
    for channel in [Channel::Control, Channel::Bulk] {
        connect_fake(hub, machine, channel, routes.clone());
    }
    is_cut_off
}

fn ended(container: ContainerId) -> ObservedContainer {
    ObservedContainer {
        container,
        engine_id: "e".repeat(64),
        state: ObservedState::Exited,
        exit_code: Some(66),
        is_oom_killed: false,
        error: None,
        look: u64::MAX,
        gpus: Vec::new(),
        started_at: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_lies_speaks_for_itself_alone_and_is_not_listened_to_for_ever() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let container = crate::authz::a_running_container(&server).await;
    let victim = ContainerId(container);
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let honest = agent_without_engine(folder.path(), &stop).facts().await;
    let facts = |machine: &MachineId, hostname: &str| {
        let facts = honest.clone();
        WatchEvent::Facts(Box::new(MachineFacts {
            machine_id: machine.clone(),
            hostname: hostname.into(),
            ..facts
        }))
    };
    let machines = || async { alice.get("/api/v1/machines").await.expect(200).text };

    // One tells of a container that another machine has, and then of more than it can have.
    let liar: MachineId = "liar".parse().unwrap();
    let told = vec![
        facts(&liar, "its-own-name"),
        WatchEvent::Containers(vec![ended(victim)]),
        WatchEvent::Changed(ended(victim)),
    ];
    let is_cut_off = connect_liar(&server.app.hub, &liar, told);
    is_set("the flood is cut off", &is_cut_off).await;
    assert!(machines().await.contains("its-own-name"), "what it says of itself is taken");
    // Another claims to be the machine that has it; a third has ids that lead elsewhere.
    let (impostor, forger) = ("impostor".parse().unwrap(), "forger".parse().unwrap());
    let is_cut_off = connect_liar(&server.app.hub, &impostor, vec![facts(&machine_id(), "stolen-name")]);
    is_set("who claims to be another is cut off", &is_cut_off).await;
    let made_up = ObservedContainer { engine_id: "../../x".into(), ..ended(victim) };
    let is_cut_off = connect_liar(&server.app.hub, &forger, vec![WatchEvent::Containers(vec![made_up])]);
    is_set("who makes up ids is cut off", &is_cut_off).await;

    // A fourth answers about another container than it was asked about.
    let twister: MachineId = "twister".parse().unwrap();
    let told = facts(&twister, "twister");
    let watch = move || {
        let first = [told.clone(), WatchEvent::Containers(Vec::new())];
        let later = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Some((WatchEvent::Alive, ()))
        });
        async move { lines(stream::iter(first).chain(later)) }
    };
    let pull = || async { lines(stream::iter([TransferEvent::Done { digest: None }])) };
    let create = move || async move { axum::Json(ended(victim)) };
    let routes = Router::new()
        .route(Watch::PATH, post(watch))
        .route(PullImage::PATH, post(pull))
        .route(CreateContainer::PATH, post(create));
    for channel in [Channel::Control, Channel::Bulk] {
        connect_fake(&server.app.hub, &twister, channel, routes.clone());
    }
    let is_there = || async { machines().await.contains("twister").then_some(()) };
    eventually("it is listed", 30, is_there).await;
    let wish = serde_json::json!({"image": "app:v1", "machine": twister, "name": "asked-for"});
    alice.post("/api/v1/containers", wish).await.expect(201);
    let wait = Wait::new("the answer is not believed");
    eventually(&wait, 30, || async {
        let seen = alice.get("/api/v1/containers/asked-for").await.expect(200).json();
        wait.saw(&seen);
        (seen["state"] == "failed" && seen["reason"] == "machine_lies").then_some(())
    })
    .await;

    assert!(!machines().await.contains("stolen-name"));
    let seen = alice.get(&format!("/api/v1/containers/{container}")).await.expect(200).json();
    assert!(seen["state"] == "running" || seen["state"] == "unknown", "{seen}");
    assert_eq!(seen["exit_code"], serde_json::Value::Null);
    server.stop().await;
}
