//! Secrets of builds on a machine's engine: they reach the step that names them and nothing else, and what builds with them is held as
//! closely as what builds without.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use axum::body::Body;
use serde_json::{Value, json};
use server::link::EventStream;
use uuid::Uuid;
use wire::ids::InstanceId;
use wire::link::{
    BuildEvent, BuildImage, BuildSecrets, LinkError, LinkErrorCode, RegistryCredential, RegistryReference,
};
use wire::secret::Secret;

use crate::support::archives::HELLO;
use crate::support::canaries::Sweep;
use crate::support::charts::hex_of;
use crate::support::engine::PrivateEngine;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository};
use crate::support::machine::{Machine, PATIENCE, Way, all, by_digest, context, log};
use crate::support::process::{ServerProcess, process_lists};
use crate::support::runs::{LOOPBACK, RUN_SECS, add, ended, log_of, server_with, start, succeeded};

/// A build with secrets, on a machine without a server.
struct WithSecrets<'a> {
    machine: &'a Machine,
    call: BuildImage,
    values: Value,
}

impl<'a> WithSecrets<'a> {
    fn new(machine: &'a Machine, scope: &str) -> Self {
        let secrets = Some(BuildSecrets { bytes: 0, scope: scope.to_owned(), may_be_unbounded: false });
        // With images named, steps may come from the cache.
        let unknown = by_digest("alice/app", format!("sha256:{}", "0".repeat(64)).parse().unwrap());
        let call = BuildImage { secrets, cache_from: vec![unknown], ..machine.build_call() };
        Self { machine, call, values: json!({"token": "s3cret"}) }
    }

    async fn begin(&mut self, dockerfile: &str) -> EventStream<BuildEvent> {
        let mut body = self.values.to_string().into_bytes();
        self.call.secrets.as_mut().unwrap().bytes = body.len() as u64;
        body.extend(context(dockerfile));
        self.machine.hub.stream(&self.machine.id, &self.call, Some(Body::from(body))).await.unwrap()
    }

    async fn build(&mut self, dockerfile: &str) -> Vec<BuildEvent> {
        all(self.begin(dockerfile).await).await
    }

    async fn refused(&mut self, dockerfile: &str) -> LinkError {
        let events = self.build(dockerfile).await;
        let Some(BuildEvent::Failed(error)) = events.last() else { panic!("{dockerfile}: {events:?}") };
        error.clone()
    }
}

fn built(events: &[BuildEvent]) -> String {
    assert!(matches!(events.last(), Some(BuildEvent::Built { .. })), "{events:?}");
    log(events)
}

/// Waits for a word in the log.
async fn hear(events: &mut EventStream<BuildEvent>, word: &str) {
    let heard = async {
        loop {
            match events.next().await.unwrap().unwrap() {
                BuildEvent::Log(text) if text.contains(word) => return,
                BuildEvent::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("it is said");
}

/// Builds until it is ended.
const FLOOD: &str = "FROM scratch\nCOPY probe salt /\nRUN [\"/probe\", \"flood\", \"1\"]\n";

/// The control groups of BuildKit's steps, in the hierarchy that counts this.
fn group(controller: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers").exists();
    (if unified { root.to_owned() } else { root.join(controller) }).join("docker/buildkit")
}

/// Processes of steps of this installation's builds with secrets.
pub(crate) fn steps_of(instance: InstanceId) -> usize {
    let ours = format!("longshore-b-{}-", instance.short());
    let groups = std::fs::read_dir(group("pids")).into_iter().flatten().flatten();
    let processes =
        groups.filter_map(|group| std::fs::read_to_string(group.path().join("cgroup.procs")).ok());
    let knows_us = |pid: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/root/etc/hosts"))
            .is_ok_and(|hosts| hosts.contains(&ours))
    };
    processes.map(|pids| pids.lines().filter(|pid| knows_us(pid)).count()).sum()
}

fn bound(unified: &str, controller: &str, file: &str) -> String {
    let group = group("pids");
    let path = group.join(unified);
    let path = if path.exists() && !group.starts_with("/sys/fs/cgroup/pids") {
        path
    } else {
        Path::new("/sys/fs/cgroup").join(controller).join("docker/buildkit").join(file)
    };
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_bounded_and_end_with_their_build_and_one_build_waits_for_another() {
    let Some(machine) = Machine::start().await else { return };
    let mut first = WithSecrets::new(&machine, "aa");
    let mut second = WithSecrets::new(&machine, "bb");

    let mut events = first.begin(FLOOD).await;
    hear(&mut events, "xxx").await;
    assert_eq!(bound("memory.max", "memory", "memory.limit_in_bytes"), (256 << 20).to_string());
    assert_eq!(bound("pids.max", "pids", "pids.max"), "4096");
    let quota = bound("cpu.max", "cpu", "cpu.cfs_quota_us");
    assert_eq!(quota.split(' ').next(), Some("100000"));
    assert_eq!(steps_of(machine.instance), 1);
    let mut waiting =
        second.begin("FROM scratch\nCOPY probe salt /\nRUN [\"/probe\", \"print\", \"after it\"]\n").await;
    hear(&mut waiting, "waiting for another build").await;
    // Nobody reads the contexts of those that wait; the link has room for many.
    let mut more = Vec::new();
    for _ in 0..7 {
        let mut waiting = WithSecrets::new(&machine, "cc").begin(FLOOD).await;
        hear(&mut waiting, "waiting for another build").await;
        more.push(waiting);
    }
    drop(more);
    drop(events);

    built(&all(waiting).await);
    eventually("its step has ended", 60, || async { (steps_of(machine.instance) == 0).then_some(()) }).await;
    for call in [&first.call, &second.call] {
        machine
            .call(&wire::link::CleanBuilds { instance: machine.instance, keep: Vec::new() })
            .await
            .unwrap();
        assert_eq!(machine.leftovers(call), Vec::<String>::new());
    }
    // What eats memory is stopped by the group's bound.
    let mut greedy = WithSecrets::new(&machine, "aa");
    greedy.call.memory_bytes = 64 << 20;
    let error = greedy.refused("FROM scratch\nCOPY probe salt /\nRUN [\"/probe\", \"eat\"]\n").await;
    assert_eq!(error.code, LinkErrorCode::BuildFailed, "{error}");
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_read_with_the_builders_rights_whatever_the_engine_has() {
    let Some(machine) = Machine::start().await else { return };
    let base = machine.image("alice/base", HELLO).await;
    let RegistryReference::Digest(digest) = &base.reference else { panic!("{base:?}") };
    let address = &machine.registry.address;
    let by_name =
        format!("ARG LONGSHORE_REGISTRY\nFROM ${{LONGSHORE_REGISTRY}}/alice/base@{digest}\nCOPY salt /\n");
    let by_copy = format!("FROM scratch\nCOPY --from={address}/alice/base@{digest} /probe /\n");
    let by_mount = format!(
        "FROM scratch\nCOPY probe /\nRUN --mount=type=bind,from={address}/alice/base@{digest},target=/base [\"/probe\", \"print\", \"x\"]\n"
    );
    let stranger = RegistryCredential { username: "bob".into(), password: Secret::new("wrong") };

    for dockerfile in [&by_name, &by_copy, &by_mount] {
        built(&WithSecrets::new(&machine, "aa").build(dockerfile).await);
        let mut of_stranger = WithSecrets::new(&machine, "bb");
        of_stranger.call.credential = stranger.clone();
        let error = of_stranger.refused(dockerfile).await;
        assert_eq!(error.code, LinkErrorCode::BuildFailed, "{dockerfile}: {error}");
        assert!(
            error.message.contains("yours to use") || error.message.contains("cannot be pulled"),
            "{error}"
        );
    }
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_reaches_neither_the_host_nor_programs_that_read_dockerfiles() {
    let Some(machine) = Machine::start().await else { return };
    machine.image("alice/front", HELLO).await;
    let run = |options: &str| {
        format!("FROM scratch\nCOPY probe /\nRUN {options} [\"/probe\", \"print\", \"got through\"]\n")
    };

    for dockerfile in [
        format!("# syntax={}/alice/front:1\nFROM scratch\n", machine.registry.address),
        run("--network=host"),
        run("--security=insecure"),
        run("--mount=type=ssh,required=true"),
        run("--mount=type=secret,id=other,required=true"),
        run("--mount=type=bind,source=/etc,from=/,target=/host"),
    ] {
        let error = WithSecrets::new(&machine, "aa").refused(&dockerfile).await;
        assert_eq!(error.code, LinkErrorCode::BuildFailed, "{dockerfile}: {error}");
    }
    // The control.
    built(&WithSecrets::new(&machine, "aa").build(&run("--mount=type=secret,id=token,required=true")).await);

    let mut broken = WithSecrets::new(&machine, "aa");
    broken.values = json!(["CANARY"]);
    let error = broken.refused("FROM scratch\n").await;
    assert_eq!(error.code, LinkErrorCode::Invalid);
    assert!(!error.message.contains("CANARY"), "{error}");
    for scope in ["", "a,b", "a b:1.2.3.4", &"a".repeat(41)] {
        let error = WithSecrets::new(&machine, scope).refused("FROM scratch\n").await;
        assert_eq!(error.code, LinkErrorCode::Invalid, "{scope}");
    }
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_scope_leaves_another_does_not_find() {
    let Some(machine) = Machine::start().await else { return };
    let (one, other) = (hex_of(Uuid::now_v7().as_bytes()), hex_of(Uuid::now_v7().as_bytes()));
    let (one, other) = (&one[..32], &other[..32]);
    let with_folder = |words: &str| {
        format!(
            "FROM scratch\nCOPY probe /\nCOPY salt /\nRUN --mount=type=cache,target=/kept [\"/probe\", {words}]\n"
        )
    };
    let step = format!("FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"print\", \"{}\"]\n", Uuid::now_v7());

    built(&WithSecrets::new(&machine, one).build(&with_folder("\"touch\", \"/kept/x\"")).await);
    let error = WithSecrets::new(&machine, other).refused(&with_folder("\"cat\", \"/kept/x\"")).await;
    assert_eq!(error.code, LinkErrorCode::BuildFailed, "{error}");
    let log = built(&WithSecrets::new(&machine, one).build(&with_folder("\"cat\", \"/kept/x\"")).await);
    assert!(log.contains("touched"), "{log}");

    let mut cached = Vec::new();
    for scope in [one, other, one] {
        let log = built(&WithSecrets::new(&machine, scope).build(&step).await);
        // The step itself, which comes last.
        cached.push(log.trim_end().ends_with("Using cache"));
    }
    assert_eq!(cached, [false, false, true]);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reaches_the_step_that_names_it_and_nothing_else() {
    let Some(docker) = crate::support::engine() else { return };
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let base = Repository::new(&[
        ("Dockerfile", b"FROM scratch\nCOPY busybox /bin/busybox\n"),
        ("busybox+x", &busybox),
    ]);
    let base_server = HttpServer::start(base.root(), Access::default()).await;
    let base = add(&alice, "base", &base_server, json!({"tag": "1"})).await;
    let run = start(&alice, &base).await;
    succeeded(&alice, &run).await;

    let reading = "/bin/busybox sha256sum /run/secrets/token; /bin/busybox cat /run/secrets/token; /bin/busybox base64 /run/secrets/token; /bin/busybox sleep 2";
    let looking = "/bin/busybox cat /run/secrets/* || /bin/busybox echo nothing there";
    let dockerfile = format!(
        "# syntax=docker/dockerfile:1\nARG LONGSHORE_REGISTRY\nFROM ${{LONGSHORE_REGISTRY}}/alice/base:1\n\
         RUN --mount=type=secret,id=token [\"/bin/busybox\", \"sh\", \"-c\", \"{reading}\"]\n\
         RUN [\"/bin/busybox\", \"sh\", \"-c\", \"{looking}\"]\n"
    );
    let code = Repository::new(&[("Dockerfile", dockerfile.as_bytes())]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let repo = add(&alice, "app", &git_server, json!({"tag": "1"})).await;
    let secret = format!("CANARY-one {}\nand CANARY-two", Uuid::now_v7());
    let path = |name: &str| format!("/api/v1/git-repos/{}/secrets/{name}", repo["id"]);
    for (name, value) in [("token", secret.as_str()), ("other", "CANARY-other")] {
        alice.put(&path(name), json!({"value": value})).await.expect(200);
    }

    let run = start(&alice, &repo).await;
    let hash = hex_of(secret.as_bytes());
    eventually("the step has read it", RUN_SECS, || async {
        let state = alice.get(&format!("/api/v1/runs/{}", run["id"])).await.json()["state"].clone();
        let log = log_of(&alice, &run).await;
        assert!(state == "queued" || state == "running", "{state}: {log}");
        log.contains(&hash).then_some(())
    })
    .await;
    let mut sweep = Sweep::default();
    sweep.take("processes", process_lists());
    let run = succeeded(&alice, &run).await;
    let log = log_of(&alice, &run).await;
    // Its words are in the instruction, too.
    let is_printed = |log: &str| log.lines().any(|line| line == "nothing there");
    assert!(log.contains("**********") && is_printed(&log), "{log}");
    assert!(!log.contains("Q0FOQVJZ"), "neither in base64: {log}");
    sweep.take("the log", log);
    sweep.shown(&server.admin().await, &[]).await;
    sweep.folder(&server.data_dir());
    // What the engine knows of what it did, and what it keeps as results of steps.
    for words in [&["images", "--no-trunc", "--all"][..], &["system", "df", "--verbose"]] {
        sweep.take(words.join(" "), crate::support::machine::docker(&docker, words));
    }
    let images = alice.get("/api/v1/images?repo=app").await.expect(200).json();
    let image = images["data"].as_array().unwrap().iter().find(|image| image["tag"] == "1").unwrap().clone();
    assert_eq!(image["digest"], run["digest"]);
    let door = server.door_of("alice", "alice/app").await;
    let config = sweep.image(&door, "alice/app", run["digest"].as_str().unwrap()).await;
    assert!(config.contains("/run/secrets/token"), "{config}");
    sweep.is_without(["CANARY"]);

    // Nothing has changed: nothing is done. A secret has: whoever reads it runs again.
    let mut ran = String::new();
    for value in [None, Some("another one")] {
        if let Some(value) = value {
            alice.put(&path("token"), json!({"value": value})).await.expect(200);
        }
        let run = start(&alice, &repo).await;
        let run = succeeded(&alice, &run).await;
        let is_cached = !is_printed(&log_of(&alice, &run).await);
        write!(ran, "{value:?} {is_cached} ").unwrap();
    }
    assert_eq!(ran, "None true Some(\"another one\") false ");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_steps_cannot_be_bounded_secrets_are_refused_unless_the_settings_allow_it() {
    let dockerfile = "FROM scratch\nCOPY probe /\nRUN --mount=type=secret,id=token,required=true [\"/probe\", \"print\", \"read\"]\n";
    let code = Repository::hello(dockerfile);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    for is_allowed in ["false", "true"] {
        let settings = [LOOPBACK, ("builds.unbounded_secrets", is_allowed)];
        let Some(mut server) = ServerProcess::start_unprivileged(&settings).await else { return };
        let alice = server.account("alice").await;
        let repo = add(&alice, "app", &git_server, json!({})).await;
        let path = format!("/api/v1/git-repos/{}/secrets/token", repo["id"]);
        alice.put(&path, json!({"value": "s3cret"})).await.expect(200);

        let run = start(&alice, &repo).await;
        let run = ended(&alice, &run).await;

        let log = log_of(&alice, &run).await;
        if is_allowed == "true" {
            assert_eq!(run["state"], "succeeded", "{run:#}\n{log}");
            assert!(log.contains("[without bounds, as the server's settings allow: "), "{log}");
        } else {
            assert_eq!(
                (&run["state"], &run["reason"]),
                (&json!("failed"), &json!("no_build_secrets")),
                "{log}"
            );
            assert!(run["message"].as_str().unwrap().contains("builds.unbounded_secrets"), "{run:#}");
        }
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_an_engine_that_was_killed_end_too() {
    let Some(engine) = PrivateEngine::start() else { return };
    let machine = Machine::start_on(engine.address(), Way::Memory, None).await;
    let mut build = WithSecrets::new(&machine, "aa");
    let mut events = build.begin(FLOOD).await;
    hear(&mut events, "xxx").await;
    assert_eq!(steps_of(machine.instance), 1);
    // Somebody else's build has the group as soon as this one lets it go. Its lock is on the first hierarchy.
    let next = tokio::task::spawn_blocking(|| {
        let group = File::open(group("memory")).unwrap();
        while group.try_lock().is_err() {
            std::hint::spin_loop();
        }
        group
    });

    engine.kill();
    let last = all(events).await.pop();

    let Some(BuildEvent::Failed(error)) = last else { panic!("{last:?}") };
    assert_eq!(error.code, LinkErrorCode::EngineDown, "{error}");
    let held = next.await.unwrap();
    eventually("its step has ended", 60, || async { (steps_of(machine.instance) == 0).then_some(()) }).await;
    drop(held);
    engine.bring_up();
    built(&WithSecrets::new(&machine, "aa").build("FROM scratch\nCOPY salt /\n").await);
    machine.stop().await;
}
