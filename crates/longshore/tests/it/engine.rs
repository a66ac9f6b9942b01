//! The agent on a real engine. What the agent says is compared with what the stock client says.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::process::Command;

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::Value;
use server::link::EventStream;
use uuid::Uuid;
use wire::containers::{Bind, ContainerSpec, Port, Protocol};
use wire::ids::{ContainerId, InstanceId};
use wire::link::{
    BuildEvent, BuildImage, CleanBuilds, CleanBuildsDone, ContainerLogs, ContainerVerb, CreateContainer,
    Exec, ExecInput, ExecOutput, GetFacts, LinkErrorCode, LogEvent, ObservedContainer, ObservedState,
    PullImage, PushBuild, RegistryCredential, RegistryImage, RegistryReference, RemoveImage, TransferEvent,
    Watch, WatchEvent,
};
use wire::secret::Secret;
use wire::terminals::{ExecSpec, TerminalSize};

use crate::support::engine::PrivateEngine;
use crate::support::eventually;
use crate::support::machine::{Machine, PATIENCE, Way, all, by_digest, context, free_port, log, refusal};

const HELLO: &str = "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\nCMD [\"print\", \"hello\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_becomes_a_running_container() {
    for way in [Way::Memory, Way::WebSocket] {
        let Some(machine) = Machine::start_by(way).await else { return };

        let facts = machine.call(&GetFacts {}).await.unwrap();
        let image = machine.image("alice/app", HELLO).await;
        let created = machine.create(1, &image, &["sleep"]).await.unwrap();
        let started = machine.act(1, ContainerVerb::Start).await.unwrap().container.unwrap();
        let stopped =
            machine.act(1, ContainerVerb::Stop { timeout_secs: 0 }).await.unwrap().container.unwrap();
        let removed = machine.act(1, ContainerVerb::Remove).await.unwrap().container;

        assert_eq!(facts.registry, machine.registry.address);
        assert!(facts.engine_version.is_some_and(|version| !version.is_empty()));
        assert_eq!(created.state, ObservedState::Created);
        assert_eq!(started.state, ObservedState::Running);
        assert_eq!((stopped.state, stopped.exit_code), (ObservedState::Exited, Some(137)));
        assert_eq!(removed, None);
        machine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_step_is_the_builders_fault_and_leaves_nothing() {
    let Some(machine) = Machine::start().await else { return };

    let (call, events) =
        machine.build("FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"fail\", \"7\"]\n").await;

    let Some(BuildEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.code, LinkErrorCode::BuildFailed);
    assert!(error.message.contains("returned a non-zero code: 7"), "{error}");
    assert!(log(&events).contains("Step 3/3 : RUN"), "{}", log(&events));
    assert_eq!(machine.leftovers(&call), Vec::<String>::new());
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn making_a_container_twice_finds_the_first() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;

    let first = machine.create(1, &image, &["print", "once"]).await.unwrap();
    let second = machine.create(1, &image, &["print", "once"]).await.unwrap();

    assert_eq!(first.engine_id, second.engine_id);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_container_of_the_same_name_is_never_adopted() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let name = machine.container_name(1);
    machine.docker(&["create", "--name", &name, &machine.local_image(&image), "sleep"]);

    let error = refusal(machine.create(1, &image, &["sleep"]).await);
    let removed = machine.act(1, ContainerVerb::Remove).await.unwrap();

    assert_eq!(error.code, LinkErrorCode::Conflict);
    assert!(error.message.contains(&name), "{error}");
    assert_eq!(removed.container, None);
    assert_eq!(machine.docker(&["ps", "-aq", "--filter", &format!("name={name}")]).lines().count(), 1);
    machine.docker(&["rm", &name]);
    machine.stop().await;
}

// Builds

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_tells_its_steps_and_what_they_print() {
    let Some(machine) = Machine::start().await else { return };

    let (call, events) =
        machine.build("FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"print\", \"hi there\"]\n").await;

    let steps: Vec<_> = events.iter().filter(|event| matches!(event, BuildEvent::Step { .. })).collect();
    assert_eq!(steps.len(), 3, "{events:?}");
    assert!(log(&events).contains("hi there\n"), "{}", log(&events));
    // Nothing that is asked of the engine makes it warn. Whether this machine forwards is not ours: the private engine
    // leaves that as it is.
    let warnings = log(&events);
    let warnings = warnings.lines().filter(|line| line.contains("[Warning]"));
    let ours: Vec<_> = warnings.filter(|line| !line.contains("IPv4 forwarding is disabled")).collect();
    assert_eq!(ours, Vec::<&str>::new());
    let Some(BuildEvent::Built { engine_image_id }) = events.last() else { panic!("{events:?}") };
    let tag = format!("ls-b/{}:{}", machine.instance.short(), call.build.0.simple());
    assert_eq!(&machine.docker(&["inspect", "--format", "{{.Id}}", &tag]), engine_image_id);
    assert_eq!(machine.leftovers(&call), [tag]);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_built_is_the_builders_fault() {
    let Some(machine) = Machine::start().await else { return };
    let missing = format!("FROM {}/alice/nothing:1\n", machine.registry.address);
    let cases = [
        ("", "empty"),
        ("FROM scratch\nFLY away\n", "unknown instruction"),
        ("FROM scratch\nCOPY nothing /\n", "nothing"),
        (missing.as_str(), "alice/nothing"),
    ];

    for (dockerfile, words) in cases {
        let (call, events) = machine.build(dockerfile).await;

        let Some(BuildEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
        assert_eq!(error.code, LinkErrorCode::BuildFailed, "{error}");
        assert!(error.message.contains(words), "{error}");
        assert_eq!(machine.leftovers(&call), Vec::<String>::new());
    }
    for dockerfile in ["../Dockerfile", "/etc/passwd", "a/../../b", ""] {
        let call = BuildImage { dockerfile: dockerfile.into(), ..machine.build_call() };
        let events = machine.build_with(&call, "FROM scratch\n").await;
        let Some(BuildEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
        assert_eq!(error.code, LinkErrorCode::Invalid, "{error}");
    }
    machine.stop().await;
}

/// Begins a build of which the last step does not end, and waits until it runs.
async fn begin_endless(machine: &Machine, call: &BuildImage) -> EventStream<BuildEvent> {
    let dockerfile = "FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"flood\", \"3\"]\n";
    let body = Some(Body::from(context(dockerfile)));
    let mut events = machine.hub.stream(&machine.id, call, body).await.unwrap();
    let runs = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if matches!(&event, BuildEvent::Log(text) if text.starts_with("xxx")) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, runs).await.expect("the step runs");
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_leave_no_unnamed_images() {
    let Some(machine) = Machine::start().await else { return };
    let marker = Uuid::now_v7().to_string();
    let begin = format!("FROM scratch AS one\nLABEL marker={marker}\nCOPY probe /a\nCOPY probe /b\n");
    let failing = format!("{begin}RUN [\"/a\", \"fail\", \"1\"]\n");
    let staged = format!("{begin}FROM scratch\nCOPY --from=one /b /probe\n");
    let unnamed = || machine.docker(&["images", "-aq", "--filter", &format!("label=marker={marker}")]);

    let (_, failed) = machine.build(&failing).await;
    let after_failed = unnamed();
    let (_, built) = machine.build(&staged).await;
    let after_built = unnamed();

    assert!(matches!(failed.last(), Some(BuildEvent::Failed(_))), "{failed:?}");
    assert_eq!(after_failed, "");
    assert!(matches!(built.last(), Some(BuildEvent::Built { .. })), "{built:?}");
    assert_eq!(after_built, "");
    machine.stop().await;
}

async fn nothing_is_left(machine: &Machine, call: &BuildImage) {
    let nothing = || async { machine.leftovers(call).is_empty().then_some(()) };
    eventually("nothing is left of the build", 60, nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_dropped_ends_and_leaves_nothing() {
    for way in [Way::Memory, Way::WebSocket] {
        let Some(machine) = Machine::start_by(way).await else { return };
        let call = machine.build_call();

        let events = begin_endless(&machine, &call).await;
        assert!(
            machine.leftovers(&call).iter().any(|name| name.contains("longshore-b-")),
            "the step's group"
        );
        drop(events);

        nothing_is_left(&machine, &call).await;
        machine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_takes_too_long_is_ended() {
    let Some(machine) = Machine::start().await else { return };
    let call = BuildImage { timeout_secs: 3, ..machine.build_call() };

    let events = machine.build_with(&call, "FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"sleep\"]\n").await;

    let Some(BuildEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.code, LinkErrorCode::Timeout);
    nothing_is_left(&machine, &call).await;
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_breaks_off_builds_nothing() {
    let Some(machine) = Machine::start().await else { return };
    let call = machine.build_call();
    let bytes = context("FROM scratch\nCOPY probe /\n");
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let parts = [Ok(half), Err(std::io::Error::other("the upload broke off"))];

    let body = Some(Body::from_stream(stream::iter(parts)));
    let mut built = false;
    // The break may come before the answer begins.
    if let Ok(mut events) = machine.hub.stream(&machine.id, &call, body).await {
        while let Some(Ok(event)) = tokio::time::timeout(PATIENCE, events.next()).await.unwrap() {
            built |= matches!(event, BuildEvent::Built { .. });
        }
    }

    assert!(!built);
    nothing_is_left(&machine, &call).await;
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_run_within_the_builds_bounds() {
    let Some(machine) = Machine::start().await else { return };
    let call = machine.build_call();

    let events = begin_endless(&machine, &call).await;
    let group = format!("/longshore-b-{}-{}", machine.instance.short(), call.build.0.simple());
    // Its output may be there before the engine says that it runs.
    let container = eventually("a step's container", 30, async || {
        let running = machine.docker(&["ps", "-q"]);
        let is_step = |id: &&str| inspect(&machine, id)["HostConfig"]["CgroupParent"] == group.as_str();
        running.lines().find(is_step).map(str::to_owned)
    })
    .await;
    let limits = inspect(&machine, &container)["HostConfig"].clone();

    assert_eq!(limits["Memory"], 256 << 20);
    assert_eq!(limits["MemorySwap"], 256 << 20);
    assert_eq!((&limits["CpuPeriod"], &limits["CpuQuota"]), (&100_000.into(), &100_000.into()));
    assert_eq!(limits["Privileged"], false);
    let pids = [format!("/sys/fs/cgroup/pids{group}/pids.max"), format!("/sys/fs/cgroup{group}/pids.max")];
    let bounds: Vec<String> = pids.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    assert_eq!(bounds, ["4096\n"]);
    drop(events);
    nothing_is_left(&machine, &call).await;
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_image_is_fetched_with_the_builders_rights_even_when_the_machine_has_it() {
    let Some(machine) = Machine::start().await else { return };
    let base = machine.image("alice/base", HELLO).await;
    let RegistryReference::Digest(digest) = &base.reference else { panic!("{base:?}") };
    let id = machine.docker(&["inspect", "--format", "{{.Id}}", &machine.local_image(&base)]);
    let by_name = format!("ARG LONGSHORE_REGISTRY\nFROM ${{LONGSHORE_REGISTRY}}/alice/base@{digest}\n");
    let by_copy =
        format!("FROM scratch\nCOPY --from={}/alice/base@{digest} /probe /\n", machine.registry.address);
    let by_id = format!("FROM {}\n", &id["sha256:".len()..][..12]);
    let stranger = RegistryCredential { username: "bob".into(), password: Secret::new("wrong") };
    // Another registry's word for the same content, which the engine would believe without asking.
    let Some(other) = Machine::start().await else { return };
    let by_other = format!("FROM {}/bob/base@{digest}\n", other.registry.address);

    for dockerfile in [&by_name, &by_copy] {
        let allowed = machine.build_with(&machine.build_call(), dockerfile).await;
        assert!(matches!(allowed.last(), Some(BuildEvent::Built { .. })), "{allowed:?}");
    }
    for dockerfile in [&by_name, &by_copy, &by_id, &by_other] {
        let call = BuildImage { credential: stranger.clone(), ..machine.build_call() };
        let refused = machine.build_with(&call, dockerfile).await;
        let Some(BuildEvent::Failed(error)) = refused.last() else { panic!("{dockerfile}: {refused:?}") };
        assert_eq!(error.code, LinkErrorCode::BuildFailed, "{error}");
    }
    other.stop().await;
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_taken_from_the_given_images_and_from_no_other() {
    let Some(machine) = Machine::start().await else { return };
    let dockerfile =
        format!("FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"print\", \"{}\"]\n", Uuid::now_v7());
    let image = machine.image("alice/app", &dockerfile).await;
    let unknown = by_digest("alice/app", format!("sha256:{}", "0".repeat(64)).parse().unwrap());
    let mut uses_cache = Vec::new();

    for cache_from in [vec![], vec![unknown.clone()], vec![image.clone()], vec![unknown, image]] {
        let call = BuildImage { cache_from, ..machine.build_call() };
        let events = machine.build_with(&call, &dockerfile).await;
        assert!(matches!(events.last(), Some(BuildEvent::Built { .. })), "{events:?}");
        uses_cache.push(log(&events).contains("Using cache"));
    }

    assert_eq!(uses_cache, [false, false, true, true]);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleaning_takes_what_is_old_and_ours_and_nothing_else() {
    let Some(machine) = Machine::start().await else { return };
    let kept = machine.build_call();
    let old = machine.build_call();
    let foreign = BuildImage { instance: InstanceId(Uuid::now_v7()), ..machine.build_call() };
    for call in [&kept, &old, &foreign] {
        machine.build_with(call, HELLO).await;
    }
    let tag = |call: &BuildImage| format!("ls-b/{}:{}", call.instance.short(), call.build.0.simple());
    // As an engine leaves them that was killed in the middle of a step, or an agent in the middle of a push.
    let step = |call: &BuildImage| {
        let parent = format!("/longshore-b-{}-{}", call.instance.short(), call.build.0.simple());
        machine.docker(&["create", "--cgroup-parent", &parent, &tag(&kept), "sleep"])
    };
    let (kept_step, old_step, foreign_step) = (step(&kept), step(&old), step(&foreign));
    let bystander = machine.docker(&["create", &tag(&kept), "sleep"]);
    let staged = format!(
        "{}/alice/app:ls-stage-{}-{}",
        machine.registry.address,
        machine.instance.short(),
        old.build.0.simple()
    );
    machine.docker(&["tag", &tag(&old), &staged]);

    let clean = CleanBuilds { instance: machine.instance, keep: vec![kept.build] };
    let first = machine.call(&clean).await.unwrap();
    let second = machine.call(&clean).await.unwrap();

    assert_eq!(first, CleanBuildsDone { containers: 1, tags: 2 });
    assert_eq!(second, CleanBuildsDone::default());
    let containers = machine.docker(&["ps", "-aq", "--no-trunc"]);
    assert!(!containers.contains(&old_step));
    for container in [&kept_step, &foreign_step, &bystander] {
        assert!(containers.contains(container.as_str()));
        machine.docker(&["rm", container]);
    }
    let tags = machine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!tags.contains(&tag(&old)) && !tags.contains(&staged));
    assert!(tags.contains(&tag(&kept)) && tags.contains(&tag(&foreign)));
    machine.docker(&["rmi", &tag(&foreign)]);
    machine.stop().await;
}

// Images

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_image_stays_on_the_machine_by_digest_without_its_tags() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;

    machine.call(&CleanBuilds { instance: machine.instance, keep: Vec::new() }).await.unwrap();
    let tags = machine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let created = machine.create(1, &image, &["print", "x"]).await.unwrap();
    let pulled = pull(&machine, &image, Machine::credential()).await;

    assert!(!tags.contains(&format!("{}/alice/app:ls-stage-", machine.registry.address)), "{tags}");
    assert!(!tags.contains(&format!("ls-b/{}", machine.instance.short())), "{tags}");
    assert_eq!(created.state, ObservedState::Created);
    assert_eq!(pulled, [TransferEvent::Done { digest: None }]);
    machine.stop().await;
}

async fn pull(
    machine: &Machine,
    image: &RegistryImage,
    credential: RegistryCredential,
) -> Vec<TransferEvent> {
    let call = PullImage { image: image.clone(), credential };
    all(machine.hub.stream(&machine.id, &call, None).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_forgotten_and_pulled_again() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", "FROM scratch\nCOPY salt probe /\n").await;
    machine.call(&CleanBuilds { instance: machine.instance, keep: Vec::new() }).await.unwrap();
    let forget = RemoveImage { image: image.clone() };

    let first = machine.call(&forget).await.unwrap();
    let second = machine.call(&forget).await.unwrap();
    let missing = refusal(machine.create(1, &image, &["sleep"]).await);
    let pulled = pull(&machine, &image, Machine::credential()).await;
    let created = machine.create(1, &image, &["sleep"]).await;

    assert!(first.was_there && !second.was_there);
    assert_eq!(missing.code, LinkErrorCode::ImageUnavailable);
    let (RegistryReference::Digest(digest), Some(TransferEvent::Done { digest: Some(pulled_digest) })) =
        (&image.reference, pulled.last())
    else {
        panic!("{pulled:?}")
    };
    assert_eq!(digest, pulled_digest);
    let Some(TransferEvent::Progress { current_bytes, total_bytes, .. }) = pulled.iter().rev().nth(1) else {
        panic!("{pulled:?}")
    };
    assert!(current_bytes == total_bytes && *total_bytes > 10_000, "{pulled:?}");
    assert!(created.is_ok());
    let in_use = refusal(machine.call(&forget).await);
    assert_eq!(in_use.code, LinkErrorCode::Conflict);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_registry_refuses_is_unavailable_and_not_broken() {
    let Some(machine) = Machine::start().await else { return };
    let unknown = by_digest("alice/app", format!("sha256:{}", "0".repeat(64)).parse().unwrap());
    let untagged = RegistryImage {
        repository: "alice/app".into(),
        reference: RegistryReference::Tag("v1".parse().unwrap()),
    };
    let stranger = RegistryCredential { username: "bob".into(), password: Secret::new("wrong") };
    let (built, _) = machine.build(HELLO).await;

    for (image, credential) in
        [(&unknown, Machine::credential()), (&untagged, Machine::credential()), (&unknown, stranger.clone())]
    {
        let events = pull(&machine, image, credential).await;
        let Some(TransferEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
        assert_eq!(error.code, LinkErrorCode::ImageUnavailable, "{error}");
    }
    let push = PushBuild {
        instance: machine.instance,
        build: built.build,
        repository: "alice/app".into(),
        credential: stranger,
    };
    let events = all(machine.hub.stream(&machine.id, &push, None).await.unwrap()).await;

    let Some(TransferEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.code, LinkErrorCode::ImageUnavailable, "{error}");
    let tags = machine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!tags.contains(&machine.registry.address), "a refused push leaves its staging tag: {tags}");
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_gone_cannot_be_pushed() {
    let Some(machine) = Machine::start().await else { return };

    let events = machine.push(&machine.build_call(), "alice/app").await;

    let Some(TransferEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.code, LinkErrorCode::NotFound);
    machine.stop().await;
}

// Containers

fn inspect(machine: &Machine, container: &str) -> Value {
    let output = machine.docker(&["inspect", container]);
    serde_json::from_str::<Vec<Value>>(&output).unwrap().remove(0)
}

/// That all containers are told as they were seen before, by another look.
fn assert_lists(event: &WatchEvent, expected: &[&ObservedContainer]) {
    let WatchEvent::Containers(listed) = event else { panic!("{event:?}") };
    let is_same = listed.len() == expected.len() && listed.iter().zip(expected).all(|(a, b)| a.is_as(b));
    assert!(is_same, "{listed:?} instead of {expected:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_has_what_its_specification_says_and_no_more() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let port = free_port();
    let mut call = machine.create_call(7, &image, &["serve", "8080", "answer"]);
    call.spec.env.insert("GREETING".into(), "hi=there".into());
    call.spec.working_dir = Some("/work".into());
    call.spec.ports = vec![published(8080, in_pool(port), Bind::Loopback)];

    let created = machine.call(&call).await.unwrap();
    let seen = inspect(&machine, &created.engine_id);
    let host = &seen["HostConfig"];

    assert_eq!(seen["Name"], format!("/{}", machine.container_name(7)));
    assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges"]));
    assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]));
    assert_eq!(host["CapAdd"].as_array().unwrap().len(), 9);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["PidsLimit"], 32);
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&(64 << 20).into(), &(64 << 20).into()));
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(host["LogConfig"]["Type"], "json-file");
    assert_eq!(host["LogConfig"]["Config"]["max-size"], "10m");
    assert_eq!(host["PortBindings"]["8080/tcp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(host["Binds"], Value::Null);
    assert!(host["Devices"].as_array().is_none_or(Vec::is_empty));
    assert_eq!(host["PidMode"], "");
    assert_eq!(host["NetworkMode"], "default");
    assert_eq!(seen["Mounts"], serde_json::json!([]));
    assert_eq!(seen["Config"]["WorkingDir"], "/work");
    assert!(seen["Config"]["Env"].as_array().unwrap().contains(&"GREETING=hi=there".into()));
    assert_eq!(seen["Config"]["Labels"]["longshore.account"], "alice");
    assert_eq!(seen["Config"]["Labels"]["longshore.container"], "7");
    assert_eq!(seen["Config"]["Labels"]["longshore.instance"], machine.instance.to_string());
    machine.stop().await;
}

fn published(container: u16, host: u16, bind: Bind) -> Port {
    Port { container, protocol: Protocol::Tcp, host, bind, is_pooled: false }
}

/// A port of the default policy's pool, spread over the tests that run at the same time.
fn in_pool(port: u16) -> u16 {
    20_000 + port % 10_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_in_a_container_has_lost_its_powers() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;

    machine.create(1, &image, &["cat", "/proc/self/status"]).await.unwrap();
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let status = text(&all(logs(&machine, 1, true).await).await);

    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect(key);
        line.trim().to_owned()
    };
    assert_eq!(value("NoNewPrivs:"), "1");
    // Bits of the nine capabilities, in the bounding set and so in every process ever started there.
    let powers: u64 = [0, 1, 3, 4, 5, 6, 7, 10, 18].into_iter().map(|bit: u32| 1 << bit).sum();
    assert_eq!(u64::from_str_radix(&value("CapBnd:"), 16).unwrap(), powers);
    assert_eq!(u64::from_str_radix(&value("CapEff:"), 16).unwrap(), powers);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_port_answers_and_one_that_is_taken_is_told_apart() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, taken) = (in_pool(free_port()), in_pool(taken));
    let listener = std::net::TcpListener::bind(("127.0.0.1", taken));
    for (container, host) in [(1, port), (2, taken)] {
        let mut call = machine.create_call(container, &image, &["serve", "8080", "answer"]);
        call.spec.ports = vec![published(8080, host, Bind::Loopback)];
        machine.call(&call).await.unwrap();
    }

    machine.act(1, ContainerVerb::Start).await.unwrap();
    let answers = || async {
        let output =
            Command::new("curl").args(["-s", &format!("http://127.0.0.1:{port}/")]).output().unwrap();
        (output.stdout == b"answer").then_some(())
    };
    eventually("the published port answers", 30, answers).await;
    let error = refusal(machine.act(2, ContainerVerb::Start).await);

    assert_eq!(error.code, LinkErrorCode::PortTaken, "{error}");
    drop(listener);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_already_is_fine() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    machine.create(1, &image, &["sleep"]).await.unwrap();
    let stop = ContainerVerb::Stop { timeout_secs: 0 };

    for _ in 0..2 {
        let started = machine.act(1, ContainerVerb::Start).await.unwrap().container.unwrap();
        assert_eq!(started.state, ObservedState::Running);
    }
    let restarted = machine
        .act(1, ContainerVerb::Restart { timeout_secs: 0, of: None })
        .await
        .unwrap()
        .container
        .unwrap();
    assert_eq!(restarted.state, ObservedState::Running);
    let looked = machine.act(1, ContainerVerb::Look).await.unwrap().container.unwrap();
    assert!(looked.is_as(&restarted), "{looked:?}");
    // The restart of a process that is not there any more has been done; that of the one that is there has not.
    let again = |of| ContainerVerb::Restart { timeout_secs: 0, of };
    let before = machine.act(1, again(restarted.started_at)).await.unwrap().container.unwrap();
    assert_ne!(before.started_at, restarted.started_at);
    let after = machine.act(1, again(restarted.started_at)).await.unwrap().container.unwrap();
    assert_eq!(after.started_at, before.started_at);
    assert!(after.started_at.is_some());
    for _ in 0..2 {
        let stopped = machine.act(1, stop).await.unwrap().container.unwrap();
        assert_eq!(stopped.state, ObservedState::Exited);
    }
    for _ in 0..2 {
        assert_eq!(machine.act(1, ContainerVerb::Remove).await.unwrap().container, None);
    }
    for verb in [stop, ContainerVerb::Look] {
        assert_eq!(machine.act(1, verb).await.unwrap().container, None);
    }
    for verb in [ContainerVerb::Start, ContainerVerb::Restart { timeout_secs: 0, of: None }] {
        assert_eq!(refusal(machine.act(1, verb).await).code, LinkErrorCode::NotFound);
    }
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_is_told() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let mut call = machine.create_call(1, &image, &[]);
    call.spec.entrypoint = Some(vec!["/missing".into()]);
    machine.call(&call).await.unwrap();

    let error = refusal(machine.act(1, ContainerVerb::Start).await);

    assert!(error.message.contains("/missing"), "{error}");
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_a_user_wrote_into_an_image_are_not_believed() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let labels =
        format!("longshore.instance={} longshore.container=1 longshore.account=bob", machine.instance);
    let forged = machine.image("bob/app", &format!("{HELLO}LABEL {labels}\n")).await;
    let ours = machine.create(1, &image, &["sleep"]).await.unwrap();

    let step = machine.docker(&["create", &machine.local_image(&forged), "sleep"]);
    let mut watch = watch(&machine).await;
    let listed = next(&mut watch).await;
    machine.docker(&["start", &step]);
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let changed = next(&mut watch).await;
    machine.act(1, ContainerVerb::Remove).await.unwrap();
    let again = machine.act(1, ContainerVerb::Remove).await;

    assert_lists(&listed, &[&ours]);
    assert!(matches!(&changed, WatchEvent::Changed(seen) if seen.engine_id == ours.engine_id), "{changed:?}");
    assert!(again.is_ok());
    assert_eq!(inspect(&machine, &step)["State"]["Running"], true);
    machine.docker(&["rm", "-f", &step]);
    machine.stop().await;
}

type Change = Box<dyn Fn(&mut ContainerSpec)>;

/// What a server that was taken over might send: the agent's own policy refuses it and the engine never hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_policy_holds_against_its_server() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let port = |host, bind| vec![published(80, host, bind)];
    let changes: Vec<(&str, Change)> = vec![
        ("ports[0].host", Box::new(move |spec| spec.ports = port(22, Bind::Loopback))),
        ("ports[0].bind", Box::new(move |spec| spec.ports = port(20_000, Bind::Lan))),
        ("memory_bytes", Box::new(|spec| spec.memory_bytes = 0)),
        ("memory_bytes", Box::new(|spec| spec.memory_bytes = u64::MAX)),
        ("cpu_millis", Box::new(|spec| spec.cpu_millis = 0)),
        ("pids", Box::new(|spec| spec.pids = 0)),
        ("pids", Box::new(|spec| spec.pids = u32::MAX)),
        ("env", Box::new(|spec| drop(spec.env.insert("A=B".into(), "c".into())))),
        ("env", Box::new(|spec| drop(spec.env.insert("BIG".into(), "x".repeat(200_000))))),
        ("working_dir", Box::new(|spec| spec.working_dir = Some("../..".into()))),
    ];

    for (number, (field, change)) in changes.iter().enumerate() {
        let mut call = machine.create_call(number.try_into().unwrap(), &image, &["touch", "/canary"]);
        change(&mut call.spec);
        let error = refusal(machine.call(&call).await);
        assert_eq!(error.code, LinkErrorCode::Denied, "{error}");
        assert!(error.message.contains(&format!("`{field}`")), "{error}");
    }
    let by_tag = CreateContainer {
        image: RegistryImage {
            repository: "alice/app".into(),
            reference: RegistryReference::Tag("v1".parse().unwrap()),
        },
        ..machine.create_call(1, &image, &["sleep"])
    };
    let sideways = CreateContainer {
        image: RegistryImage { repository: "alice/../bob/app".into(), ..image.clone() },
        ..machine.create_call(1, &image, &["sleep"])
    };
    for call in [by_tag, sideways] {
        assert_eq!(refusal(machine.call(&call).await).code, LinkErrorCode::Invalid);
    }

    let ours = format!("label=longshore.instance={}", machine.instance);
    assert_eq!(machine.docker(&["ps", "-aq", "--filter", &ours]), "");
    // Without any of that the same is done: each was refused for what it asked.
    machine.call(&machine.create_call(1, &image, &["touch", "/canary"])).await.unwrap();
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_own_policy_file_counts() {
    let Some(docker) = crate::support::engine() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent-policy.toml");
    std::fs::write(&file, "pids_max = 16\n").unwrap();
    let machine = Machine::start_on(docker, Way::Memory, Some(file)).await;
    let image = machine.image("alice/app", HELLO).await;

    let error = refusal(machine.create(1, &image, &["sleep"]).await);

    assert!(error.message.contains("`pids` must be 1 to 16"), "{error}");
    machine.stop().await;
}

// Logs

fn exec_call(machine: &Machine, container: i64, command: &[&str]) -> Exec {
    let exec = ExecSpec {
        command: command.iter().map(ToString::to_string).collect(),
        is_tty: false,
        has_input: false,
        env: std::collections::BTreeMap::new(),
        working_dir: None,
        size: TerminalSize::default(),
    };
    Exec { instance: machine.instance, container: ContainerId(container), exec }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_a_container_lives_as_long_as_it_is_held() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    machine.create(1, &image, &["sleep"]).await.unwrap();
    let name = machine.container_name(1);
    let idle =
        refusal(machine.hub.exec(&machine.id, &exec_call(&machine, 1, &["/probe", "sleep"])).await.map(drop));
    assert_eq!(idle.code, LinkErrorCode::Conflict, "it does not run yet: {idle}");
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let count = || machine.docker(&["top", &name, "-eo", "pid,args"]).lines().count() - 1;

    let (input, mut output) =
        machine.hub.exec(&machine.id, &exec_call(&machine, 1, &["/probe", "print", "hi"])).await.unwrap();
    let mut said = Vec::new();
    while let Some(Ok(one)) = output.next().await {
        said.push(one);
    }
    assert_eq!(said, [ExecOutput::Out(b"hi\n".as_slice().into()), ExecOutput::Exited(0)]);
    drop((input, output));

    // Either half that is let go of ends it.
    for is_input in [true, false] {
        let (input, output) =
            machine.hub.exec(&machine.id, &exec_call(&machine, 1, &["/probe", "sleep"])).await.unwrap();
        eventually("the command runs", 20, || async { (count() == 2).then_some(()) }).await;
        let kept: Box<dyn std::any::Any> = if is_input {
            drop(input);
            Box::new(output)
        } else {
            drop(output);
            Box::new(input)
        };
        eventually("the command has ended", 20, || async { (count() == 1).then_some(()) }).await;
        drop(kept);
    }

    // Input that cannot be read ends it, too: nothing is passed on that was not understood.
    let (input, _output) =
        machine.hub.exec(&machine.id, &exec_call(&machine, 1, &["/probe", "sleep"])).await.unwrap();
    eventually("the command runs", 20, || async { (count() == 2).then_some(()) }).await;
    assert!(
        input.send(ExecInput::Resize(TerminalSize { columns: 0, rows: 0 })).await,
        "a size that is none is passed over"
    );
    assert_eq!(count(), 2);
    drop(input);
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_only_containers_of_ours_and_only_within_the_policy() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    machine.create(1, &image, &["sleep"]).await.unwrap();
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let ours = exec_call(&machine, 1, &["/probe", "sleep"]);
    let refused = async |call: Exec| refusal(machine.hub.exec(&machine.id, &call).await.map(drop)).code;

    let other = Exec { instance: InstanceId(Uuid::now_v7()), ..ours.clone() };
    assert_eq!(refused(other).await, LinkErrorCode::NotFound, "of another installation");
    assert_eq!(refused(Exec { container: ContainerId(2), ..ours.clone() }).await, LinkErrorCode::NotFound);
    let changed = |change: fn(&mut ExecSpec)| {
        let mut call = ours.clone();
        change(&mut call.exec);
        call
    };
    for call in [
        changed(|exec| exec.command.clear()),
        changed(|exec| exec.command = vec!["a\0b".into()]),
        changed(|exec| drop(exec.env.insert("A=B".into(), String::new()))),
        changed(|exec| exec.working_dir = Some("../..".into())),
        changed(|exec| exec.size.columns = 0),
    ] {
        assert_eq!(refused(call).await, LinkErrorCode::Denied);
    }
    let name = machine.container_name(1);
    assert_eq!(machine.docker(&["inspect", "--format", "{{json .ExecIDs}}", &name]), "null");
    machine.stop().await;
}

async fn logs(machine: &Machine, container: i64, follow: bool) -> EventStream<LogEvent> {
    logs_with(machine, ContainerLogs { follow, ..logs_call(machine, container) }).await
}

fn logs_call(machine: &Machine, container: i64) -> ContainerLogs {
    ContainerLogs {
        instance: machine.instance,
        container: ContainerId(container),
        follow: false,
        tail: None,
        since: None,
        timestamps: false,
    }
}

async fn logs_with(machine: &Machine, call: ContainerLogs) -> EventStream<LogEvent> {
    machine.hub.stream(&machine.id, &call, None).await.unwrap()
}

fn text(events: &[LogEvent]) -> String {
    let text = |event: &LogEvent| match event {
        LogEvent::Out(text) | LogEvent::Err(text) => text.clone(),
        LogEvent::Failed(error) => panic!("{error}"),
    };
    events.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_whole_in_part_and_as_it_grows() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    machine.create(1, &image, &["flood", "500"]).await.unwrap();
    machine.create(2, &image, &["complain", "größe"]).await.unwrap();

    machine.act(1, ContainerVerb::Start).await.unwrap();
    let mut following = logs(&machine, 1, true).await;
    let mut grown = 0;
    while grown < 500_000 {
        let event = tokio::time::timeout(PATIENCE, following.next()).await.unwrap().unwrap().unwrap();
        let LogEvent::Out(text) = event else { panic!("{event:?}") };
        assert!(text.len() <= 64 << 10);
        grown += text.len();
    }
    machine.act(1, ContainerVerb::Stop { timeout_secs: 0 }).await.unwrap();
    let rest = all(following).await;
    machine.act(2, ContainerVerb::Start).await.unwrap();
    let complaint = all(logs(&machine, 2, true).await).await;

    assert_eq!((grown, rest.len()), (500_000, 0));
    assert_eq!(complaint, [LogEvent::Err("größe\n".into())]);
    let whole = text(&all(logs(&machine, 1, false).await).await);
    assert_eq!((whole.len(), whole.lines().count()), (500_000, 500));
    let tail =
        all(logs_with(&machine, ContainerLogs { tail: Some(2), ..logs_call(&machine, 1) }).await).await;
    assert_eq!(text(&tail).lines().count(), 2);
    let stamped =
        all(logs_with(&machine, ContainerLogs { timestamps: true, tail: Some(1), ..logs_call(&machine, 1) })
            .await)
        .await;
    assert!(text(&stamped).starts_with("20") && text(&stamped).contains("Z xxx"), "{stamped:?}");
    for seconds in [4_000_000_000, i64::MAX] {
        let future = ContainerLogs { since: Some(seconds), ..logs_call(&machine, 1) };
        assert_eq!(all(logs_with(&machine, future).await).await, [], "{seconds}");
    }
    let missing = all(logs(&machine, 9, false).await).await;
    assert!(matches!(&missing[..], [LogEvent::Failed(error)] if error.code == LinkErrorCode::NotFound));
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_a_log_hold_up_neither_calls_nor_builds() {
    let Some(machine) = Machine::start_by(Way::WebSocket).await else { return };
    let image = machine.image("alice/app", HELLO).await;
    machine.create(1, &image, &["flood", "4000"]).await.unwrap();
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let written =
        || async { (text(&all(logs(&machine, 1, false).await).await).len() >= 4_000_000).then_some(()) };
    eventually("the log is there", 60, written).await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        stalled.push(logs(&machine, 1, true).await);
    }

    let facts = machine.call(&GetFacts {}).await;
    let (_, events) = machine.build(HELLO).await;

    assert!(facts.is_ok());
    assert!(matches!(events.last(), Some(BuildEvent::Built { .. })), "{events:?}");
    drop(stalled);
    machine.stop().await;
}

// The watch

async fn watch(machine: &Machine) -> EventStream<WatchEvent> {
    machine.hub.stream(&machine.id, &Watch { instance: machine.instance }, None).await.unwrap()
}

/// The next event that says something.
async fn next(watch: &mut EventStream<WatchEvent>) -> WatchEvent {
    let event = async {
        loop {
            match watch.next().await.unwrap().unwrap() {
                WatchEvent::Alive | WatchEvent::Facts(_) => {}
                event => return event,
            }
        }
    };
    tokio::time::timeout(PATIENCE, event).await.expect("the watch tells something")
}

async fn until_changed(
    watch: &mut EventStream<WatchEvent>,
    wanted: impl Fn(&ObservedContainer) -> bool,
) -> ObservedContainer {
    loop {
        match next(watch).await {
            WatchEvent::Changed(container) if wanted(&container) => return container,
            WatchEvent::Changed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_lists_and_then_tells_changes() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let first = machine.create(1, &image, &["fail", "3"]).await.unwrap();

    let mut watch = watch(&machine).await;
    let facts = watch.next().await.unwrap().unwrap();
    let listed = next(&mut watch).await;
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let ended = until_changed(&mut watch, |container| container.state == ObservedState::Exited).await;
    let second = machine.create(2, &image, &["sleep"]).await.unwrap();
    let appeared = until_changed(&mut watch, |container| container.container == ContainerId(2)).await;
    // Behind our back: what counts is the engine, not what was asked for.
    machine.docker(&["start", &second.engine_id]);
    until_changed(&mut watch, |container| container.state == ObservedState::Running).await;
    machine.docker(&["rm", "-f", &second.engine_id]);
    let removed = loop {
        match next(&mut watch).await {
            WatchEvent::Changed(_) => {}
            other => break other,
        }
    };

    let WatchEvent::Facts(facts) = facts else { panic!("{facts:?}") };
    assert_eq!((&facts.machine_id, &facts.registry), (&machine.id, &machine.registry.address));
    assert_lists(&listed, &[&first]);
    assert_eq!(ended.exit_code, Some(3));
    assert_eq!(appeared.state, ObservedState::Created);
    assert_eq!(removed, WatchEvent::Removed { container: ContainerId(2), engine_id: second.engine_id });
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_what_it_sees_whenever_something_happened() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let made = machine.create(1, &image, &["sleep"]).await.unwrap();
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let mut watch = watch(&machine).await;
    let listed = next(&mut watch).await;
    assert!(matches!(listed, WatchEvent::Containers(_)), "{listed:?}");

    // Its process ends, and then it has stopped: two events, one sight.
    machine.docker(&["stop", "-t", "0", &made.engine_id]);
    let ended = until_changed(&mut watch, |container| container.state == ObservedState::Exited).await;
    let stopped = until_changed(&mut watch, |_| true).await;

    assert!(stopped.is_as(&ended), "{stopped:?}");
    assert!(stopped.look > ended.look, "only the newest look is believed");
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_who_was_killed_for_memory() {
    let Some(machine) = Machine::start().await else { return };
    let image = machine.image("alice/app", HELLO).await;
    let mut call = machine.create_call(1, &image, &["eat"]);
    call.spec.memory_bytes = 16 << 20;
    machine.call(&call).await.unwrap();

    let mut watch = watch(&machine).await;
    machine.act(1, ContainerVerb::Start).await.unwrap();
    let listed = next(&mut watch).await;
    // The engine says why a moment after it is seen that it ended.
    let wanted =
        |container: &ObservedContainer| container.state == ObservedState::Exited && container.is_oom_killed;
    let ended = until_changed(&mut watch, wanted).await;

    assert!(matches!(listed, WatchEvent::Containers(_)), "{listed:?}");
    assert_eq!(ended.exit_code, Some(137));
    machine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_engine_is_told_and_everything_is_told_again_when_it_is_back() {
    let Some(engine) = PrivateEngine::start() else { return };
    let machine = Machine::start_on(engine.address(), Way::Memory, None).await;
    let image = machine.image("alice/app", HELLO).await;
    machine.create(1, &image, &["print", "x"]).await.unwrap();
    let mut watch = watch(&machine).await;
    let listed = next(&mut watch).await;
    let build = machine.build_call();
    let mut building = begin_endless(&machine, &build).await;

    engine.kill();
    let down = next(&mut watch).await;
    let mut last = None;
    while let Some(event) = tokio::time::timeout(PATIENCE, building.next()).await.unwrap() {
        last = Some(event.unwrap());
    }
    let refused = refusal(machine.act(1, ContainerVerb::Start).await);
    engine.bring_up();
    let again = next(&mut watch).await;
    let clean = CleanBuilds { instance: machine.instance, keep: Vec::new() };
    // The killed engine's processes may take a moment to end; their group is left to a later cleaning.
    let cleaned = || async {
        machine.call(&clean).await.unwrap();
        eprintln!("DBG {:?} {}", machine.leftovers(&build), machine.docker(&["ps", "-a"]));
        machine.leftovers(&build).is_empty().then_some(())
    };
    eventually("nothing is left of the build", 60, cleaned).await;

    let WatchEvent::Containers(before) = &listed else { panic!("{listed:?}") };
    assert!(matches!(down, WatchEvent::EngineDown { .. }), "{down:?}");
    assert!(
        matches!(&last, Some(BuildEvent::Failed(error)) if error.code == LinkErrorCode::EngineDown),
        "{last:?}"
    );
    assert_eq!(refused.code, LinkErrorCode::EngineDown);
    assert_lists(&again, &before.iter().collect::<Vec<_>>());
    machine.stop().await;
}
