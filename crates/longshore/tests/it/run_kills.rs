//! Runs during which what they stand on is killed at moments that look like chance: the server, the engine, the cluster's API server.
//! Each run ends once, with one image that can be pulled, and nothing is left of it. `LONGSHORE_TEST_SOAK` makes it a hundred runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use wire::ids::InstanceId;

use crate::engine_secrets::steps_of;
use crate::support::api::Api;
use crate::support::archives::noise;
use crate::support::builds::{leftovers, pull};
use crate::support::cluster::{Cable, Cluster};
use crate::support::engine::PrivateEngine;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository};
use crate::support::machine::docker;
use crate::support::process::ServerProcess;
use crate::support::runs::{add, start, succeeded};
use crate::support::site::Site;

fn is_soak() -> bool {
    crate::support::setting("LONGSHORE_TEST_SOAK").is_some()
}

/// Numbers that look like chance and are the same each time.
fn chance(number: u64, below: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(29) % below
}

/// A run that has ended as it should: once, with one image of its commit, which is there.
async fn is_in_order(server: &ServerProcess, alice: &Api, run: &Value, commit: &str) {
    let run = succeeded(alice, run).await;
    let digest = run["digest"].as_str().unwrap();
    let image = run["image"].as_str().unwrap();
    pull(&server.registry, "alice", "alice password", image, digest).await.unwrap();
    let repo = image.rsplit('/').next().unwrap();
    let images = alice.get(&format!("/api/v1/images?repo={repo}&limit=2048")).await.expect(200).json();
    let of_commit: Vec<_> =
        images["data"].as_array().unwrap().iter().filter(|image| image["tag"] == commit[..12]).collect();
    assert_eq!(of_commit.len(), 1, "{images:#}");
    assert_eq!(of_commit[0]["digest"], digest);
    let uuid = run["uuid"].as_str().unwrap();
    let ends = alice.get(&format!("/log/?event_uuid={uuid}&search=succeeded")).await.expect(200).json();
    assert_eq!(ends.as_array().unwrap().len(), 1, "{ends:#}");
}

/// A final state stays.
async fn stays(alice: &Api, runs: &[(Value, String)]) {
    for (run, _) in runs {
        let path = format!("/api/v1/runs/{}", run["id"]);
        let now = alice.get(&path).await.expect(200).json();
        let build = alice.get(&format!("/api/v1/builds/{}", run["uuid"].as_str().unwrap())).await.json();
        assert_eq!((&now["state"], &build["state"]), (&json!("succeeded"), &json!("succeeded")), "{now:#}");
        assert_eq!(now["digest"], build["digest"]);
    }
}

async fn instance_of(server: &ServerProcess) -> InstanceId {
    let file = server.data_dir.join("longshore.db");
    let db = store::Db::open(&format!("sqlite://{}", file.display())).await.unwrap();
    store::settings::get(&db, "instance").await.unwrap().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_server_or_engine_is_killed_at_any_moment_ends_once() {
    let Some(engine) = PrivateEngine::start() else { return };
    let address = engine.address();
    let settings = [("machine.docker", address.as_str()), ("outbound.allow", "127.0.0.0/8")];
    let mut server = ServerProcess::start_on(&settings).await;
    let alice = server.account("alice").await;
    let steps = "RUN [\"/probe\", \"print\", \"one\"]\nRUN [\"/probe\", \"print\", \"two\"]\n";
    let code = Repository::hello(&format!("FROM scratch\nCOPY probe noise /\n{steps}"));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    // The engine has two builders: the second one is for steps that read secrets.
    let plain = add(&alice, "plain", &git_server, json!({})).await;
    let secret = add(&alice, "secret", &git_server, json!({})).await;
    let path = format!("/api/v1/git-repos/{}/secrets/token", secret["id"]);
    alice.put(&path, json!({"value": "s3cret"})).await.expect(200);

    let rounds: u64 = if is_soak() { 100 } else { 3 };
    let mut runs = Vec::new();
    for round in 0..rounds {
        let commit = code.commit(&[("noise", &noise(1 << 20, round))]);
        let repo = if round % 2 == 1 { &secret } else { &plain };
        let run = start(&alice, repo).await;
        tokio::time::sleep(Duration::from_millis(chance(round, 2_500))).await;
        let (kills_server, kills_engine) =
            [(true, false), (false, true), (true, true)][usize::try_from(round % 3).unwrap()];
        if kills_server {
            server.kill();
        }
        if kills_engine {
            engine.kill();
            engine.bring_up();
        }
        if kills_server {
            server.start_again().await;
        }
        is_in_order(&server, &alice, &run, &commit).await;
        runs.push((run, commit));
    }

    stays(&alice, &runs).await;
    let instance = instance_of(&server).await;
    eventually("nothing is left of the builds", 60, || async {
        let left = leftovers(&address, instance, &server.data_dir);
        let containers = docker(&address, &["ps", "-aq"]);
        let is_clean = left.is_empty() && containers.is_empty() && steps_of(instance) == 0;
        if !is_clean {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        is_clean.then_some(())
    })
    .await;
    server.stop();
}

/// The cluster's API server as a process of this host: what it was started with, and where it listens.
struct ApiServer {
    folder: PathBuf,
    words: Vec<String>,
    address: String,
}

impl ApiServer {
    /// The one whose kubeconfig the tests have.
    fn found(cluster: &Cluster) -> Self {
        let kubeconfig = PathBuf::from(crate::support::setting("LONGSHORE_TEST_KUBECONFIG").unwrap());
        let folder = kubeconfig.parent().unwrap().to_owned();
        let (_, words) = Self::process(&folder).expect("the API server runs on this host");
        Self { folder, words, address: cluster.server() }
    }

    fn process(folder: &std::path::Path) -> Option<(String, Vec<String>)> {
        let program = folder.join("bin/kube-apiserver").display().to_string();
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<String> =
                String::from_utf8_lossy(&line).split_terminator('\0').map(str::to_owned).collect();
            (words.first() == Some(&program))
                .then(|| (entry.file_name().to_string_lossy().into_owned(), words))
        })
    }

    /// Returns when nobody listens there any more: a process is gone a moment before what it held.
    async fn kill(&self) {
        let (pid, _) = Self::process(&self.folder).expect("it runs");
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        eventually("the API server is gone", 60, || async {
            TcpStream::connect(&self.address).await.is_err().then_some(())
        })
        .await;
    }

    /// Starts it again where it was: in the cluster's own namespaces.
    fn bring_up(&self) {
        let outer = std::fs::read_to_string(self.folder.join("namespaces.pid")).unwrap();
        let outer = outer.split_whitespace().next().unwrap().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
        let init = children.split_whitespace().next().unwrap();
        let log =
            std::fs::File::options().append(true).open(self.folder.join("logs/kube-apiserver.log")).unwrap();
        Command::new("setsid")
            .args(["--fork", "nsenter", "-t", init, "--net", "--mount", "--pid", "--"])
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_server_or_cluster_goes_away_at_any_moment_ends_once() {
    let Some(site) = Site::open().await else { return };
    // Other tests need the API server: it is killed when this one is alone, and else cannot be reached for a while.
    let api_server = is_soak().then(|| ApiServer::found(&site.cluster));
    let mut server = site.process_alone(&[]).await;
    let mut cable = Cable::to(&site.cluster).await;
    let kubeconfig = cable.through(site.cluster.least_kubeconfig()).to_string();
    let body = json!({"name": "test", "kubeconfig": kubeconfig, "pod_ranges": ["10.244.0.0/16"]});
    server.admin().await.post("/api/v1/clusters", body).await.expect(201);
    let alice = server.account("alice").await;
    let code = Repository::hello("FROM scratch\nCOPY probe noise /\nRUN [\"/probe\", \"print\", \"one\"]\n");
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server, json!({})).await;

    let rounds: u64 = if is_soak() { 100 } else { 2 };
    let mut runs = Vec::new();
    for round in 0..rounds {
        let commit = code.commit(&[("noise", &noise(1 << 20, round))]);
        let run = start(&alice, &repo).await;
        tokio::time::sleep(Duration::from_millis(chance(round, 6_000))).await;
        let (kills_server, kills_cluster) =
            [(true, true), (false, true), (true, false)][usize::try_from(round % 3).unwrap()];
        if kills_server {
            server.kill();
        }
        if kills_cluster {
            if let Some(api_server) = &api_server {
                api_server.kill().await;
                api_server.bring_up();
            } else {
                cable.cut();
            }
        }
        if kills_server {
            server.start_again().await;
        }
        if kills_cluster && api_server.is_none() {
            cable.mend().await;
        }
        is_in_order(&server, &alice, &run, &commit).await;
        runs.push((run, commit));
    }

    stays(&alice, &runs).await;
    site.close().await;
    for folder in ["contexts", "incoming"] {
        let files = std::fs::read_dir(server.data_dir.join("blobs").join(folder)).unwrap();
        assert_eq!(files.count(), 0, "{folder}");
    }
    server.stop();
}
