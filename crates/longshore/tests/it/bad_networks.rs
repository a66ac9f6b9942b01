//! Machines behind lines that lose three packets in ten, let little through, or come and go: what is asked for is done once, people
//! can go on working, and what is true is known soon after the line is mended.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::networks::{heal, join, server_on, until_container, was_known_soon};
use crate::support::api::Api;
use crate::support::machine::docker;
use crate::support::network::Network;
use crate::support::remote::{Remote, until_machine};
use crate::support::server::TestServer;
use crate::support::socket::{PROMPT, Terminal};
use crate::support::{Wait, eventually, shell};

const HOST: &str = "gpu1";

/// A machine that a shell's image was built on, while its line was good.
struct Scene {
    network: Arc<Network>,
    server: TestServer,
    admin: Api,
    alice: Api,
    remote: Remote,
}

impl Scene {
    async fn open() -> Option<Self> {
        let network = Arc::new(Network::start(&[HOST])?);
        let server = server_on(&network).await;
        let (admin, alice) = (server.admin().await, server.account("alice").await);
        let remote = join(&network, &server, &admin, HOST).await;
        let upload =
            alice.request(reqwest::Method::POST, "/api/v1/builds?image=box:1").body(shell::context(""));
        let build = alice.send(upload).await.expect(202).json();
        let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
        let wait = Wait::new("the build succeeds");
        eventually(&wait, 120, || async {
            let seen = alice.get(&path).await;
            wait.saw(&seen.text);
            (seen.json()["state"] == "succeeded").then_some(())
        })
        .await;
        Some(Self { network, server, admin, alice, remote })
    }

    async fn make(&self, name: &str) -> Value {
        self.alice
            .post("/api/v1/containers", json!({"image": "box:1", "name": name}))
            .await
            .expect(201)
            .json()
    }

    async fn act(&self, id: &Value, verb: &str) {
        self.alice.post(&format!("/api/v1/containers/{id}/{verb}"), json!({})).await.expect(202);
    }

    fn docker(&self, words: &[&str]) -> String {
        docker(&self.network.engine(HOST), words)
    }

    /// What the engine has of a container of ours.
    fn engine_ids(&self, id: &Value) -> Vec<String> {
        let filter = format!("label=longshore.container={id}");
        let listed = self.docker(&["ps", "-a", "-q", "--no-trunc", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    /// How often the engine did this to a container of ours since then, by its own notes.
    fn count(&self, verb: &str, id: &Value, since: i64) -> usize {
        let until = self.server.app.clock.now().unix_secs() + 1;
        let (label, event) = (format!("label=longshore.container={id}"), format!("event={verb}"));
        let (since, until) = (since.to_string(), until.to_string());
        let words = ["events", "--since", &since, "--until", &until, "--filter", &label, "--filter", &event];
        self.docker(&words).lines().count()
    }

    /// Makes containers, stops one and starts another again; then the engine has done each of it once.
    async fn each_command_has_one_effect(&self, names: [&str; 2]) {
        let since = self.server.app.clock.now().unix_secs();
        let [kept, stopped] =
            [self.make(names[0]).await["id"].clone(), self.make(names[1]).await["id"].clone()];
        for id in [&kept, &stopped] {
            until_container(&self.alice, id, "running").await;
        }
        self.act(&stopped, "stop?timeout=0").await;
        self.act(&kept, "restart?timeout=0").await;
        until_container(&self.alice, &stopped, "stopped").await;
        let wait = Wait::new("the restart is done");
        eventually(&wait, 90, || async {
            let starts = self.count("start", &kept, since);
            wait.saw(&starts);
            (starts == 2).then_some(())
        })
        .await;
        until_container(&self.alice, &kept, "running").await;

        for id in [&kept, &stopped] {
            assert_eq!(self.engine_ids(id).len(), 1, "container {id} was made once");
            assert_eq!(self.count("create", id, since), 1, "container {id} was made once");
        }
        assert_eq!(self.count("start", &stopped, since), 1, "it was started once");
        assert_eq!(self.count("start", &kept, since), 2, "it was started, and started again");
    }

    /// Ends a process behind the server's back, mends the line, and waits until that is known.
    async fn what_is_true_is_known_again(&self, id: &Value) {
        let [engine_id] = &self.engine_ids(id)[..] else { panic!("container {id} is there once") };
        self.docker(&["kill", engine_id]);
        let healed = heal(&self.network, &self.server, HOST);
        let wait = Wait::new(format!("the end of container {id} is known"));
        let ended = eventually(&wait, 90, || async {
            let seen = self.alice.get(&format!("/api/v1/containers/{id}")).await.json();
            wait.saw(&seen);
            matches!(seen["state"].as_str(), Some("stopped" | "failed")).then_some(seen)
        })
        .await;
        let machine = until_machine(&self.admin, &self.remote.machine, "online").await;
        was_known_soon("the line", healed, &[&machine, &ended]);
    }

    async fn close(mut self) {
        self.remote.stop();
        self.server.stop().await;
    }
}

/// A terminal in a container. On a line this bad a connection may break, and its terminals with it: then another is opened, as a person
/// would.
async fn types(scene: &Scene, container: &Value, number: u32) {
    let wait = Wait::new("a terminal answers");
    eventually(&wait, 120, || async {
        let opened = tokio::time::timeout(Duration::from_secs(30), async {
            let mut terminal = Terminal::try_open(&scene.alice, container).await?;
            terminal.try_shows(PROMPT).await?;
            let typed = format!("echo $(({number} + 1))\n");
            terminal.socket.pen.write(typed).await.then_some(())?;
            terminal.try_shows(&format!("\r\n{}\r\n", number + 1)).await
        });
        opened.await.ok().flatten()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_loses_three_packets_in_ten_is_one_to_work_on() {
    let Some(scene) = Scene::open().await else { return };
    let box_ = scene.make("box").await;
    until_container(&scene.alice, &box_["id"], "running").await;

    scene.network.change("lose", HOST);
    scene.each_command_has_one_effect(["kept", "stopped"]).await;
    for number in [41, 65] {
        types(&scene, &box_, number).await;
    }
    scene.what_is_true_is_known_again(&box_["id"]).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_256_kbit_is_one_to_work_on_while_it_is_full() {
    let Some(scene) = Scene::open().await else { return };
    let box_ = scene.make("box").await;
    until_container(&scene.alice, &box_["id"], "running").await;

    scene.network.change("slow", HOST);
    // Somebody reads far more than fits, all the time.
    let query = "tty=false&command=cat&command=/dev/zero";
    let mut flood = Terminal::open(&scene.alice, &box_, query).await;
    let read = async {
        while flood.take().await {
            flood.out.clear();
        }
        panic!("the line broke while it was only slow: {:?}", flood.told);
    };
    let work = async {
        scene.each_command_has_one_effect(["kept", "stopped"]).await;
        for number in [41, 65] {
            types(&scene, &box_, number).await;
        }
    };
    tokio::select! {
        () = read => {}
        () = work => {}
    }
    drop(flood);
    scene.what_is_true_is_known_again(&box_["id"]).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_comes_and_goes_is_one_to_work_on() {
    let Some(scene) = Scene::open().await else { return };
    let box_ = scene.make("box").await;
    until_container(&scene.alice, &box_["id"], "running").await;

    // Sometimes long enough away that a connection is given up, sometimes not.
    let flap = async {
        for round in 0_u64.. {
            scene.network.change("cut", HOST);
            tokio::time::sleep(Duration::from_millis(500 + round * 2_300 % 8_000)).await;
            scene.network.change("heal", HOST);
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
    };
    let work = async {
        scene.each_command_has_one_effect(["kept", "stopped"]).await;
        types(&scene, &box_, 41).await;
    };
    tokio::select! {
        () = flap => {}
        () = work => {}
    }
    scene.what_is_true_is_known_again(&box_["id"]).await;
    scene.close().await;
}
