//! The connections of a machine: what a quiet one says, and which are ended when: those that nobody needs, those that are silent, and
//! those of a process that has a successor.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::{Agent, membership};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use futures::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use server::link::{CallError, EventStream, Hub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wire::ids::{AgentProcessId, InstanceId};
use wire::link::{Channel, ContainerLogs, GetFacts, LogEvent, StreamCall as _, Watch, WatchEvent};

use crate::link::{agent_without_engine, logs_call, machine_id};
use crate::support::eventually;
use crate::support::machine::{dial, serve_link_at};
use crate::support::remote::{Remote, invite};
use crate::support::server::TestServer;

const PATIENCE: Duration = Duration::from_mins(2);
/// After so long nobody needs a connection any more.
const UNUSED: Duration = Duration::from_mins(5);
/// After so long a machine is silent.
const SILENCE: Duration = Duration::from_secs(15);
const MOMENT: Duration = Duration::from_millis(1);

/// A way to a port that counts who comes and what they send, and can cut them off.
pub(crate) struct Passage {
    pub(crate) port: u16,
    carried: Arc<Mutex<Vec<AbortHandle>>>,
    is_closed: Arc<AtomicBool>,
    /// Pieces that were sent, to the port and back.
    sent: Arc<[AtomicU64; 2]>,
}

impl Passage {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port_here = listener.local_addr().unwrap().port();
        let passage = Self {
            port: port_here,
            carried: Arc::default(),
            is_closed: Arc::default(),
            sent: Arc::new([AtomicU64::new(0), AtomicU64::new(0)]),
        };
        let (carried, is_closed) = (Arc::clone(&passage.carried), Arc::clone(&passage.is_closed));
        let sent = Arc::clone(&passage.sent);
        TaskTracker::new().spawn(async move {
            loop {
                let client = listener.accept().await.unwrap().0;
                if is_closed.load(Ordering::SeqCst) {
                    continue;
                }
                let counting = |way: usize| {
                    let sent = Arc::clone(&sent);
                    move |bytes: &[u8]| {
                        sent[way].fetch_add(u64::from(!bytes.is_empty()), Ordering::SeqCst);
                    }
                };
                let (to, back) = (counting(0), counting(1));
                let carrying = TaskTracker::new().spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (mut client, mut server) =
                        (InspectReader::new(client, to), InspectReader::new(server, back));
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                });
                carried.lock().unwrap().push(carrying.abort_handle());
            }
        });
        passage
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many have come.
    pub(crate) fn count(&self) -> usize {
        self.carried.lock().unwrap().len()
    }

    /// Cuts off the one with this number.
    pub(crate) fn cut(&self, number: usize) {
        self.carried.lock().unwrap()[number].abort();
    }

    /// Whether both sides have let go of the one with this number.
    fn has_ended(&self, number: usize) -> bool {
        self.carried.lock().unwrap()[number].is_finished()
    }

    async fn until_ended(&self, number: usize) {
        let has_ended = || async { self.has_ended(number).then_some(()) };
        eventually(format!("both sides have let go of connection {number}"), 60, has_ended).await;
    }

    /// Lets nobody through any more who comes from now on.
    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    fn sent(&self) -> [u64; 2] {
        [self.sent[0].load(Ordering::SeqCst), self.sent[1].load(Ordering::SeqCst)]
    }
}

async fn until_connected(hub: &Hub, is_connected: bool) {
    let is_so = || async { (hub.connected().is_empty() != is_connected).then_some(()) };
    eventually(format!("whether the machine is connected: {is_connected}"), 60, is_so).await;
}

/// A machine with the real agent's code, on a way to a hub.
struct Scene {
    hub: Hub,
    passage: Passage,
    agent: Agent,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn open() -> Self {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let agent = agent_without_engine(folder.path(), &stop);
        let hub = Hub::new(TaskTracker::new(), stop.clone());
        let passage = Passage::to(serve_link_at(0, hub.clone(), stop.clone()).await).await;
        dial(&agent, passage.url()).await;
        until_connected(&hub, true).await;
        Self { hub, passage, agent, stop, _folder: folder }
    }

    /// Asks for what goes by the bulk connection; of an engine that is not there.
    async fn use_bulk(&self) {
        self.hub.stream(&machine_id(), &logs_call(), None).await.map(drop).unwrap();
    }

    async fn close(self) {
        self.stop.cancel();
        self.agent.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_connection_that_nobody_needs_for_five_minutes_is_let_go_of_and_opened_again() {
    let scene = Scene::open().await;
    let passage = &scene.passage;

    let before = Instant::now();
    scene.use_bulk().await;
    scene.hub.let_go_of_unused(before + UNUSED - MOMENT);
    scene.use_bulk().await;
    assert_eq!(passage.count(), 2, "it is the one that was there");
    scene.hub.let_go_of_unused(Instant::now() + UNUSED);

    passage.until_ended(1).await;
    assert!(!passage.has_ended(0), "control stays, however long nobody calls");
    scene.use_bulk().await;
    assert_eq!(passage.count(), 3);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_silent_for_fifteen_seconds_is_cut_off_and_comes_back() {
    let scene = Scene::open().await;

    let before = Instant::now();
    scene.hub.call(&machine_id(), &GetFacts {}, PATIENCE).await.unwrap();
    scene.hub.end_silent(before + SILENCE - MOMENT);
    assert_eq!(scene.hub.connected(), [machine_id()], "its answer was heard");
    scene.hub.end_silent(Instant::now() + SILENCE);

    assert_eq!(scene.hub.connected(), []);
    scene.passage.until_ended(0).await;
    until_connected(&scene.hub, true).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_machine_says_one_thing_every_six_seconds_and_is_answered_once() {
    let scene = Scene::open().await;
    let instance = InstanceId(Uuid::now_v7());
    let mut watch = scene.hub.watch(&machine_id(), &Watch { instance }).await.unwrap();
    // It tells what there is, and that its engine does not answer.
    loop {
        if let WatchEvent::EngineDown { .. } = watch.next().await.unwrap().unwrap() {
            break;
        }
    }
    let last = Mutex::new(scene.passage.sent());
    eventually("what was said is said", 60, || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = scene.passage.sent();
        let before = std::mem::replace(&mut *last.lock().unwrap(), now);
        (before == now).then_some(())
    })
    .await;

    let (began, before) = (Instant::now(), scene.passage.sent());
    let is_said = || async { (scene.passage.sent()[1] >= before[1] + 2).then_some(()) };
    eventually("it was answered twice", 30, is_said).await;
    let after = scene.passage.sent();

    // One more may have been begun before, and be on its way.
    let most = began.elapsed().as_secs() / 6 + 2;
    for way in [0, 1] {
        let sent = after[way] - before[way];
        assert!((1..=most).contains(&sent), "{sent} pieces in {:?}, at most {most}", began.elapsed());
    }
    assert!(began.elapsed() >= Duration::from_secs(5), "two answers in {:?}", began.elapsed());
    assert_eq!(scene.passage.count(), 1, "it is the connection that was there");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_to_be_told_that_a_machine_lives_is_told() {
    let scene = Scene::open().await;
    let instance = InstanceId(Uuid::now_v7());
    // So watched the servers that came with the first agents of this level.
    let mut watch = scene.hub.stream(&machine_id(), &Watch { instance }, None).await.unwrap();
    let mut told = Vec::new();

    while told.len() < 3 {
        if watch.next().await.unwrap().unwrap() == WatchEvent::Alive {
            told.push(Instant::now());
        }
    }

    let waited = told[2] - told[0];
    assert!(waited >= Duration::from_secs(9), "not all the time: {waited:?}");
    scene.close().await;
}

/// A connection of an agent that answers logs with what it is given; the hub's task.
fn connect(hub: &Hub, channel: Channel, process: AgentProcessId, logs: &Logs) -> JoinHandle<()> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let hub = hub.clone();
    let attached = TaskTracker::new().spawn(async move {
        hub.attach_process(machine_id(), channel, Some(process), ours).await.unwrap();
    });
    let routes = Router::new().route(ContainerLogs::PATH, post(logs.handler()));
    TaskTracker::new().spawn(async move {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // Its sign of life.
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(6));
        drop(builder.serve_connection(TokioIo::new(theirs), TowerToHyperService::new(routes)).await);
    });
    attached
}

/// What logs say is said here; each that is asked for gets the next of them.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<mpsc::UnboundedReceiver<&'static str>>>>);

impl Logs {
    fn add(&self) -> mpsc::UnboundedSender<&'static str> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap().push(receiver);
        sender
    }

    fn handler(&self) -> impl FnOnce() -> std::future::Ready<Body> + Clone + Send + Sync + use<> {
        let logs = self.0.clone();
        move || {
            let said = logs.lock().unwrap().pop().expect("there is a log");
            let line = |text: &str| Bytes::from(json!(LogEvent::Out(text.into())).to_string() + "\n");
            let lines = futures::stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
            std::future::ready(Body::from_stream(lines.map(move |text| Ok::<_, Infallible>(line(text)))))
        }
    }
}

async fn says(logs: &mut EventStream<LogEvent>, text: &str) {
    assert_eq!(logs.next().await.unwrap().unwrap(), LogEvent::Out(text.into()));
}

async fn until_over(task: &JoinHandle<()>, what: &str) {
    eventually(what, 60, || async { task.is_finished().then_some(()) }).await;
}

#[tokio::test]
async fn what_is_under_way_on_a_connection_that_is_let_go_of_comes_to_its_end() {
    let hub = Hub::new(TaskTracker::new(), CancellationToken::new());
    let (process, logs) = (AgentProcessId(Uuid::now_v7()), Logs::default());
    let log = logs.add();
    connect(&hub, Channel::Control, process, &logs);
    until_connected(&hub, true).await;
    let bulk = connect(&hub, Channel::Bulk, process, &logs);
    let opened = || async { hub.stream(&machine_id(), &logs_call(), None).await.ok() };
    let mut read = eventually("there is a bulk connection", 60, opened).await;

    hub.let_go_of_unused(Instant::now() + UNUSED);
    log.send("after it").unwrap();
    says(&mut read, "after it").await;
    assert!(!bulk.is_finished());
    drop(log);

    assert!(read.next().await.is_none(), "it ended as it should");
    drop(read);
    until_over(&bulk, "nothing is left of it").await;
}

#[tokio::test]
async fn another_process_of_a_machine_ends_all_that_the_former_one_held() {
    let hub = Hub::new(TaskTracker::new(), CancellationToken::new());
    let [first, second] = [AgentProcessId(Uuid::now_v7()), AgentProcessId(Uuid::now_v7())];
    let logs = Logs::default();
    let registry = |process| {
        let hub = hub.clone();
        TaskTracker::new().spawn(async move {
            hub.attach_registry(&machine_id(), process, std::future::pending()).await;
        })
    };
    let read = || async { hub.stream(&machine_id(), &logs_call(), None).await.ok() };
    let control = connect(&hub, Channel::Control, first, &logs);
    until_connected(&hub, true).await;
    let (log, held) = (logs.add(), registry(first));
    let bulk = connect(&hub, Channel::Bulk, first, &logs);
    let mut reading = eventually("there is a bulk connection", 60, read).await;

    // The same process connects anew: what it has under way comes to its end.
    let renewed = connect(&hub, Channel::Control, first, &logs);
    until_over(&control, "the newer one replaces the older").await;
    log.send("still there").unwrap();
    says(&mut reading, "still there").await;
    assert!(!held.is_finished() && !bulk.is_finished());
    let newer_log = logs.add();
    let newer_bulk = connect(&hub, Channel::Bulk, first, &logs);
    let mut newer_reading = eventually("there is another bulk connection", 60, read).await;
    newer_log.send("new").unwrap();
    says(&mut newer_reading, "new").await;

    // Another one does.
    connect(&hub, Channel::Control, second, &logs);
    for (task, what) in
        [(&renewed, "control"), (&bulk, "bulk"), (&newer_bulk, "newer bulk"), (&held, "registry")]
    {
        until_over(task, what).await;
    }
    for reading in [&mut reading, &mut newer_reading] {
        let ended = reading.next().await;
        assert!(matches!(ended, Some(Err(CallError::Broken(_)))), "{ended:?}");
    }

    // What the former one had on its way is not taken.
    until_over(&connect(&hub, Channel::Bulk, first, &logs), "a late bulk connection").await;
    until_over(&registry(first), "a late registry connection").await;
    let (log, held) = (logs.add(), registry(second));
    connect(&hub, Channel::Bulk, second, &logs);
    let mut reading = eventually("the other one has a bulk connection", 60, read).await;
    log.send("its own").unwrap();
    says(&mut reading, "its own").await;
    assert!(!held.is_finished());
}

/// An agent of a machine that has joined, in this process; where its engine finds the registry.
async fn run_here(remote: &Remote, url: &str, stop: &CancellationToken) -> (Agent, SocketAddr) {
    let state = PathBuf::from(remote.state());
    let (_, key) = membership::load(&state).unwrap();
    let agent = agent_without_engine(&state, stop);
    let server = agent::Server { url: url.to_owned(), fingerprint: None, key };
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let dialing = agent.clone();
    agent.spawn(async move { dialing.dial(&server, door).await.unwrap() });
    (agent, address)
}

/// Asks the registry's door as an engine does that keeps its connection; what the door answers.
async fn ask(engine: &mut TcpStream) -> String {
    engine.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(engine.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_registry_is_let_go_of_when_nobody_needs_it_and_cut_when_another_process_comes() {
    let server = TestServer::without_engine(&[]).await;
    let hub = &server.app.hub;
    let stop = CancellationToken::new();
    let invitation = invite(&server.admin().await).await;
    let remote = Remote::named(machine_id().as_str()).joined(&server.url, &invitation);
    let passage = Passage::to(server.url.rsplit(':').next().unwrap().parse().unwrap()).await;
    let (agent, door) = run_here(&remote, &passage.url(), &stop).await;
    until_connected(hub, true).await;
    let once = || async {
        let mut engine = TcpStream::connect(door).await.unwrap();
        let answer = ask(&mut engine).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    };

    let before = Instant::now();
    once().await;
    assert_eq!(passage.count(), 2, "control, and one for the registry");
    agent.let_go_of_unused(before + UNUSED - MOMENT);
    once().await;
    assert_eq!(passage.count(), 2, "it is the one that was there");
    agent.let_go_of_unused(Instant::now() + UNUSED);
    passage.until_ended(1).await;
    let mut engine = TcpStream::connect(door).await.unwrap();
    assert!(ask(&mut engine).await.starts_with("HTTP/1.1 401"));
    assert_eq!(passage.count(), 3);

    // Its process loses its way to the server, but for this connection, and another one comes with the machine's key.
    passage.close();
    passage.cut(0);
    until_connected(hub, false).await;
    assert!(!passage.has_ended(2));
    let other_stop = CancellationToken::new();
    let (other, _) = run_here(&remote, &server.url, &other_stop).await;
    until_connected(hub, true).await;

    passage.until_ended(2).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, engine.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the engine's connection ends with it");
    for (agent, stop) in [(agent, stop), (other, other_stop)] {
        stop.cancel();
        agent.stopped().await;
    }
    server.stop().await;
}
