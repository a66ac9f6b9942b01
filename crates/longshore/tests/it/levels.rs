//! Agents and servers of different ages: they go on together, or say which of them is to be upgraded.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::containers::ContainerSpec;
use wire::ids::{ContainerId, InstanceId};
use wire::link::{
    ContainerAction, ContainerActionDone, ContainerVerb, CreateContainer, LEVEL_HEADER, LINK_LEVEL,
    RegistryImage, RegistryReference, TransferEvent, Watch, WatchEvent,
};

use crate::support::machine::free_port;
use crate::support::remote::{Remote, invite, until_machine};
use crate::support::server::TestServer;

/// An agent that is kept out tries again every few seconds, and says so each time.
const PATIENCE: Duration = Duration::from_mins(1);

/// A way to a server on which an agent is made older or newer than it is, by this many levels; what else it says passes as it is.
async fn aged(server: &TestServer, stop: CancellationToken) -> (String, Arc<AtomicI64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = server.url.strip_prefix("http://").unwrap().to_owned();
    let levels = Arc::new(AtomicI64::new(0));
    let (by, tasks) = (Arc::clone(&levels), TaskTracker::new());
    let serving = tasks.clone();
    tasks.spawn(async move {
        loop {
            let mut client = tokio::select! {
                () = stop.cancelled() => return,
                client = listener.accept() => client.unwrap().0,
            };
            let (by, upstream) = (by.load(Ordering::SeqCst), upstream.clone());
            serving.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = client.read_u8().await else { return };
                    head.push(byte);
                }
                let level = |level: i64| format!("{LEVEL_HEADER}: {level}\r\n");
                let ours = i64::from(LINK_LEVEL);
                let head = String::from_utf8(head).unwrap().replace(&level(ours), &level(ours + by));
                let mut server = tokio::net::TcpStream::connect(upstream).await.unwrap();
                server.write_all(head.as_bytes()).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (url, levels)
}

/// A machine's agent, whose log is read.
struct Logged(Child);

impl Logged {
    fn run(remote: &Remote) -> Self {
        let door = format!("127.0.0.1:{}", free_port());
        let words =
            ["agent", "run", "--docker", "unix:///nonexistent/docker.sock", "--registry-listen", &door];
        let child = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(words)
            .args(["--data-dir", &remote.state()])
            .env("LONGSHORE_LANG", "en")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The first line of its log that says this.
    fn says(&mut self, text: &str) -> String {
        let log = BufReader::new(self.0.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok()
        });
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("it goes on to log until it has said it");
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_another_level_is_kept_out_and_both_say_which_side_to_upgrade() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let stop = CancellationToken::new();
    let (url, levels) = aged(&server, stop.clone()).await;
    let remote = Remote::new().joined(&url, &invite(&admin).await);

    for (by, side) in [(-1, "upgrade the agent"), (1, "upgrade the server")] {
        levels.store(by, Ordering::SeqCst);
        let mut agent = Logged::run(&remote);
        let said = tokio::task::block_in_place(|| agent.says("speaks level"));
        assert!(said.contains(side), "{by}: {said}");
        assert_eq!(server.app.hub.connected(), []);
    }

    // The same agent of the server's own level is taken: it was its level that kept it out.
    levels.store(0, Ordering::SeqCst);
    let agent = Logged::run(&remote);
    until_machine(&admin, &remote.machine, "engine_down").await;
    drop(agent);
    stop.cancel();
    server.stop().await;
}

/// What agents of level 2 said when it began. A change that breaks this test breaks machines whose agents are older than their server:
/// it needs a new level.
#[test]
fn what_the_first_agents_of_this_level_say_is_understood() {
    assert_eq!(LINK_LEVEL, 2, "a new level begins anew: write down here what its first agents say");
    let facts = json!({
        "machine_id": "m1", "hostname": "gpu1", "ip": "10.0.0.7", "cpu": {"0": {"type": "CPU", "cores": 8}}, "gpu": {},
        "memory": {"total": 64_000, "free": 32_000}, "disk": {"total": 1_000, "free": 500}, "agent_version": "0.1.0",
        "engine_version": "20.10.24", "registry": "127.0.0.1:5000", "os": "Debian 12", "architecture": "amd64",
    });
    let container = json!({
        "container": 7, "engine_id": "e".repeat(64), "state": "running", "exit_code": null, "is_oom_killed": false, "error": null,
        "look": 3,
    });

    for event in [
        json!({ "facts": facts }),
        json!({ "containers": [container] }),
        json!({ "changed": container }),
        json!({ "removed": {"container": 7, "engine_id": "e".repeat(64)} }),
        json!({ "engine_down": {"message": "it does not answer"} }),
        json!("alive"),
    ] {
        let read = serde_json::from_value::<WatchEvent>(event.clone());
        assert!(read.is_ok(), "{event}: {read:?}");
    }
    for event in [
        json!({ "progress": {"current_bytes": 1, "total_bytes": 2} }),
        json!({ "log": "pushed" }),
        json!({ "done": {"digest": format!("sha256:{}", "a".repeat(64))} }),
        json!({ "failed": {"code": "engine_down", "message": "it does not answer"} }),
    ] {
        let read = serde_json::from_value::<TransferEvent>(event.clone());
        assert!(read.is_ok(), "{event}: {read:?}");
    }
    serde_json::from_value::<ContainerActionDone>(json!({ "container": container })).unwrap();
}

/// The other way round: agents refuse what they do not know, so that what makes an ordinary container has nothing in it that the first
/// agents of the level did not know.
#[test]
fn what_the_first_agents_of_this_level_must_understand_says_nothing_new() {
    let instance = InstanceId("0198c000-0000-7000-8000-000000000000".parse().unwrap());
    let create = CreateContainer {
        instance,
        container: ContainerId(7),
        account: "alice".parse().unwrap(),
        image: RegistryImage {
            repository: "alice/app".into(),
            reference: RegistryReference::Tag("v1".parse().unwrap()),
        },
        spec: ContainerSpec {
            ports: Vec::new(),
            env: std::collections::BTreeMap::new(),
            command: None,
            entrypoint: None,
            working_dir: None,
            memory_bytes: 64 << 20,
            cpu_millis: 500,
            pids: 32,
            gpus: Vec::new(),
            shm_bytes: None,
            volumes: Vec::new(),
            tty: false,
        },
        is_from_copy: false,
    };
    let act = |verb| json!(ContainerAction { instance, container: ContainerId(7), verb });
    let acts = |verb: Value| json!({"instance": instance, "container": 7, "verb": verb});

    assert_eq!(json!(Watch { instance }), json!({ "instance": instance }));
    assert_eq!(
        json!(create),
        json!({
            "instance": instance, "container": 7, "account": "alice",
            "image": {"repository": "alice/app", "reference": {"tag": "v1"}},
            "spec": {
                "ports": [], "env": {}, "command": null, "entrypoint": null, "working_dir": null,
                "memory_bytes": 64 << 20, "cpu_millis": 500, "pids": 32,
            },
        })
    );
    assert_eq!(act(ContainerVerb::Start), acts(json!("start")));
    assert_eq!(act(ContainerVerb::Stop { timeout_secs: 10 }), acts(json!({"stop": {"timeout_secs": 10}})));
    let restart = ContainerVerb::Restart { timeout_secs: 10, of: None };
    assert_eq!(act(restart), acts(json!({"restart": {"timeout_secs": 10}})));
    assert_eq!(act(ContainerVerb::Remove), acts(json!("remove")));
}
