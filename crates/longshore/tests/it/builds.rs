//! Builds, from an upload to an image that can be pulled: through both interfaces, with everything that can go wrong on
//! the way.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::archives::{HELLO, running, tar, tar_gz, zip, zip_of};
use crate::support::builds::pull;
use crate::support::eventually;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

/// A server with a machine; none when the engine is skipped.
async fn server_with(settings: &[(&str, &str)]) -> Option<TestServer> {
    crate::support::engine()?;
    Some(TestServer::start_with(settings).await)
}

async fn pulls(server: &TestServer, account: &str, build: &Value) -> Result<(), String> {
    let repository = build["image"].as_str().unwrap().split(':').next().unwrap();
    pull(
        &server.registry,
        account,
        &format!("{account} password"),
        repository,
        build["digest"].as_str().unwrap(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_archive_becomes_an_image_that_pulls_by_digest() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let archives = [("zip", zip(HELLO)), ("tar", tar(HELLO)), ("targz", tar_gz(HELLO))];

    for (kind, archive) in archives {
        let id = alice.accepted(&format!("{kind}:v1"), archive).await;
        let build = alice.succeeded(&id).await;

        assert_eq!(build["image"], format!("alice/{kind}:v1"));
        assert_eq!((build["phase"].as_str(), build["steps"].as_u64()), (Some("done"), Some(4)));
        pulls(&server, "alice", &build).await.unwrap();
        let image = alice.get(&format!("/api/v1/images/{}", build["image_id"])).await.expect(200).json();
        assert_eq!(image["digest"], build["digest"]);
        assert_eq!(image["source"], "build");
        assert_eq!(image["create_parameters"]["entrypoint"], json!(["/probe"]));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_000_uploads_wait_for_the_image_or_for_nothing() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;

    let name = [("username", "alice"), ("repo", "app"), ("tag", "v1")];
    let done = alice.upload_image(&name, zip(HELLO)).await.expect(200).json();
    let queued = alice
        .upload_image(&[("repo", "app"), ("tag", "v2"), ("wait", "false")], zip(HELLO))
        .await
        .expect(202)
        .json();
    alice.succeeded(queued["build_id"].as_str().unwrap()).await;

    assert_eq!(done["image"], "alice/app:v1");
    assert!(done["size"].as_u64().unwrap() > 0);
    pulls(&server, "alice", &done).await.unwrap();
    for prefix in ["/image", "/images"] {
        let repos = alice.get(&format!("{prefix}/list_all_my_repo?username=alice")).await.expect(200).json();
        let images = alice
            .post(&format!("{prefix}/list_all_my_images/"), json!({"repo": "app"}))
            .await
            .expect(200)
            .json();
        assert_eq!(repos, json!(["app"]));
        let rows: Vec<_> = images
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["user_name"].clone(), row["image_tag"].clone()))
            .collect();
        assert_eq!(rows, [(json!("alice"), json!("v2")), (json!("alice"), json!("v1"))]);
        assert!(images[0]["id"].is_i64() && images[0]["image_repo"] == "app", "{images}");
    }

    let tag = json!({"oldrepo": "app", "oldtag": "v1", "newrepo": "other", "newtag": "stable"});
    let tagged = alice.post("/images/tag_image", tag).await.expect(200).json();
    let gone =
        alice.post("/images/delete_image", json!({"repo": "app", "tag": "v1"})).await.expect(200).json();
    assert_eq!((&tagged["image"], &tagged["digest"]), (&json!("alice/other:stable"), &done["digest"]));
    assert_eq!(gone, json!({"image": "alice/app:v1", "deleted": true}));
    pulls(&server, "alice", &tagged).await.unwrap();
    alice.post("/images/delete_image", json!({"repo": "app", "tag": "v1"})).await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_step_is_told_with_its_number_its_text_and_the_end_of_the_log() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let dockerfile = format!("{}RUN [\"/probe\", \"fail\", \"7\"]\n", running(&["print", "just before"]));

    let refused =
        alice.upload_image(&[("repo", "app"), ("tag", "v1")], zip(&dockerfile)).await.expect(422).json();

    assert_eq!(refused["code"], "build_failed");
    assert_eq!(refused["reason"], "build_failed");
    assert_eq!(refused["step"], 4);
    assert_eq!(refused["step_text"], "RUN [\"/probe\", \"fail\", \"7\"]");
    assert!(refused["log_tail"].as_str().unwrap().contains("just before"), "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains("non-zero code: 7"), "{refused:#}");
    let build = alice.build_now(refused["build_id"].as_str().unwrap()).await;
    assert_eq!(
        (&build["state"], &build["reason"], &build["image_id"]),
        (&json!("failed"), &json!("build_failed"), &json!(null))
    );
    assert_eq!(alice.get("/api/v1/images").await.json()["total"], 0);
    leaves_nothing(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_may_have_another_name_and_the_archive_one_folder() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let probe = std::fs::read(crate::support::machine::probe()).unwrap();
    let archive = zip_of(&[("project/build/Other", HELLO.as_bytes()), ("project/probe", &probe)]);

    let request =
        alice.request(Method::POST, "/api/v1/builds?image=app&dockerfile=build/Other").body(archive);
    let id = alice.send(request).await.expect(202).json()["id"].as_str().unwrap().to_owned();
    let build = alice.succeeded(&id).await;

    assert_eq!(build["image"], "alice/app:latest");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_exists_is_moved_to_the_new_image() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;

    let first = alice.succeeded(&alice.accepted("app:v1", zip(HELLO)).await).await;
    let second = alice.succeeded(&alice.accepted("app:v1", zip(&running(&["touch", "/new"]))).await).await;

    let images = alice.get("/api/v1/images").await.expect(200).json();
    assert_ne!(first["digest"], second["digest"]);
    assert_eq!((&images["total"], &images["data"][0]["digest"]), (&json!(1), &second["digest"]));
    pulls(&server, "alice", &second).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_others_are_out_of_reach_for_a_build() {
    let Some(server) = server_with(&[]).await else { return };
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let secret = zip(&running(&["touch", "/secret"]));
    let private = alice.succeeded(&alice.accepted("private:1", secret).await).await;
    let docker = server.app.config.machine.docker.clone().unwrap();
    let named = format!("{}/alice/private", server.registry);
    let ids = crate::support::machine::docker(&docker, &["images", "-q", "--no-trunc", &named]);
    let id = ids.lines().next().unwrap().trim_start_matches("sha256:");

    let ways = |registry: &str| {
        [
            "ARG LONGSHORE_REGISTRY\nFROM ${LONGSHORE_REGISTRY}/alice/private:1\n".to_owned(),
            format!("FROM {registry}/alice/private:1\n"),
            format!("FROM {registry}/alice/private@{}\n", private["digest"].as_str().unwrap()),
            format!("FROM scratch\nCOPY --from={registry}/alice/private:1 /secret /stolen\n"),
        ]
    };
    for dockerfile in
        ways(&server.registry).iter().chain(&[format!("FROM {id}\n"), format!("FROM {}\n", &id[..12])])
    {
        let build = bob.ended(&bob.accepted("stolen", zip(dockerfile)).await).await;
        assert_eq!(build["state"], "failed", "{dockerfile}{build:#}");
    }
    // The control: her own image is in reach for alice.
    for (number, dockerfile) in ways(&server.registry).iter().enumerate() {
        let id = alice.accepted(&format!("own:{number}"), zip(dockerfile)).await;
        alice.succeeded(&id).await;
    }
    assert_eq!(bob.get("/api/v1/images").await.json()["total"], 0);
    assert_eq!(bob.get(&format!("/api/v1/builds/{}", private["id"].as_str().unwrap())).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_adds_only_a_label_still_needs_its_base() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let base = alice.succeeded(&alice.accepted("base:1", zip(HELLO)).await).await;
    let labelled = "ARG LONGSHORE_REGISTRY\nFROM ${LONGSHORE_REGISTRY}/alice/base:1\nLABEL a=b\n";

    let child = alice.succeeded(&alice.accepted("child:1", zip(labelled)).await).await;

    let image = alice.get(&format!("/api/v1/images/{}", child["image_id"])).await.expect(200).json();
    assert_eq!(image["parent_image_id"], base["image_id"]);
    let refused = alice.delete(&format!("/api/v1/images/{}", base["image_id"])).await.expect(409);
    assert_eq!(refused.code(), "has_dependents");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_images_are_built_by_admins_and_used_by_everybody() {
    let Some(server) = server_with(&[]).await else { return };
    let (admin, bob) = (server.admin().await, server.account("bob").await);

    let refused = bob.build("public/base:1", zip(HELLO)).await.expect(403);
    let base = admin.succeeded(&admin.accepted("public/base:1", zip(HELLO)).await).await;
    let from = format!("FROM {}/public/base:1\nRUN [\"/probe\", \"touch\", \"/mine\"]\n", server.registry);
    let own = bob.succeeded(&bob.accepted("app:1", zip(&from)).await).await;

    assert_eq!(refused.code(), "public_admin_only");
    let image = bob.get(&format!("/api/v1/images/{}", own["image_id"])).await.expect(200).json();
    assert_eq!(image["parent_image_id"], base["image_id"]);
    bob.build("alice/app", zip(HELLO)).await.expect(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_and_running_builds_can_be_cancelled_and_the_queue_is_fair() {
    let settings = [("builds.workers", "1"), ("builds.per_account", "1"), ("builds.queued_per_account", "2")];
    let Some(server) = server_with(&settings).await else { return };
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let sleeper = || zip(&running(&["sleep"]));

    let runs = alice.accepted("a:1", sleeper()).await;
    alice.build_where(&runs, "the build runs its step", |build| build["step"] == 3).await;
    let waits = alice.accepted("a:2", sleeper()).await;
    let last = bob.accepted("b:1", zip(HELLO)).await;
    assert_eq!(alice.build_now(&waits).await["queue_position"], 0);
    assert_eq!(bob.build_now(&last).await["queue_position"], 1);
    assert_eq!(bob.get("/api/v1/builds?state=queued").await.json()["data"][0]["queue_position"], 1);
    let third = alice.accepted("a:3", zip(HELLO)).await;
    assert_eq!(alice.build("a:4", zip(HELLO)).await.expect(429).code(), "too_many_builds");
    let repo = json!({"repo_name": "app", "url": "https://git.example.org/app.git"});
    let repo = alice.post("/api/v1/git-repos", repo).await.expect(201).json();
    let run = alice.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await;
    assert_eq!(run.expect(429).code(), "too_many_builds", "a run waits in the same line");
    assert_eq!(bob.post(&format!("/api/v1/builds/{waits}/cancel"), json!({})).await.status, 404);

    let waiting = alice.post(&format!("/api/v1/builds/{waits}/cancel"), json!({})).await.expect(200).json();
    let running = alice.post(&format!("/api/v1/builds/{runs}/cancel"), json!({})).await;
    let ended = alice.ended(&runs).await;
    bob.succeeded(&last).await;
    alice.succeeded(&third).await;

    assert_eq!(waiting["state"], "cancelled");
    assert!(matches!(running.status, 200 | 202), "{}", running.text);
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("cancelled"), &json!("cancelled")));
    assert_eq!(
        alice.post(&format!("/api/v1/builds/{third}/cancel"), json!({})).await.expect(409).code(),
        "build_ended"
    );
    leaves_nothing(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_account_has_more_builds_at_once_than_it_may() {
    let settings = [("builds.workers", "3"), ("builds.per_account", "1")];
    let Some(server) = server_with(&settings).await else { return };
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);

    let first = alice.accepted("a:1", zip(&running(&["sleep"]))).await;
    let second = alice.accepted("a:2", zip(HELLO)).await;
    let other = bob.accepted("b:1", zip(HELLO)).await;
    bob.succeeded(&other).await;

    assert_eq!(alice.build_now(&second).await["state"], "queued");
    alice.post(&format!("/api/v1/builds/{first}/cancel"), json!({})).await;
    alice.succeeded(&second).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_takes_too_long_is_ended() {
    let Some(server) = server_with(&[("builds.timeout_secs", "3")]).await else { return };
    let alice = server.account("alice").await;

    let build = alice.ended(&alice.accepted("a", zip(&running(&["sleep"]))).await).await;

    assert_eq!((&build["state"], &build["reason"]), (&json!("failed"), &json!("timeout")));
    leaves_nothing(&server).await;
    server.stop().await;
}

/// An event stream, read as it comes.
struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(api: &Api, id: &str, last_event_id: Option<u64>) -> Self {
        let mut request = api
            .request(Method::GET, &format!("/api/v1/builds/{id}/log"))
            .header("accept", "text/event-stream");
        if let Some(last) = last_event_id {
            request = request.header("last-event-id", last.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The next event: its name, data and id; none at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value, Option<u64>)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let lines: Vec<(String, String)> = event
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                let rest = rest.len();
                self.text.drain(..self.text.len() - rest);
                let field = |wanted: &str| {
                    lines.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
                };
                let Some(name) = field("event") else { continue };
                let id = field("id").map(|id| id.parse().unwrap());
                return Some((name, serde_json::from_str(&field("data").unwrap()).unwrap(), id));
            }
            let chunk = self.answer.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_can_be_followed_from_any_offset_and_taken_up_again() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let id = alice.accepted("app", zip(&running(&["print", "一二三 in the log"]))).await;

    let mut events = Events::open(&alice, &id, None).await;
    let (mut text, mut offsets, mut states, mut last) = (String::new(), vec![0], Vec::new(), String::new());
    while let Some((name, data, event_id)) = events.next().await {
        match name.as_str() {
            "log" => {
                assert_eq!(data["offset"].as_u64(), offsets.last().copied(), "no gap and nothing twice");
                text.push_str(data["text"].as_str().unwrap());
                offsets.push(event_id.unwrap());
            }
            "state" => states.push(data["phase"].as_str().unwrap().to_owned()),
            _ => assert_eq!(data["state"], "succeeded"),
        }
        last = name;
    }
    let plain = alice.get(&format!("/api/v1/builds/{id}/log")).await.expect(200);

    assert_eq!(last, "end");
    assert_eq!(text, plain.text);
    assert!(text.contains("Step 3/3 : RUN") && text.contains("一二三 in the log"), "{text}");
    assert_eq!(offsets.last().copied(), Some(text.len() as u64));
    states.dedup();
    assert_eq!(states.last().map(String::as_str), Some("done"));
    for offset in [1, 7, text.len() / 2, text.len(), text.len() + 100] {
        let from = (offset..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let rest = alice.get(&format!("/api/v1/builds/{id}/log?offset={from}")).await.expect(200).text;
        assert_eq!(rest, text[from..], "from {from}");
        let mut events = Events::open(&alice, &id, Some(from as u64)).await;
        let mut again = String::new();
        while let Some((name, data, _)) = events.next().await {
            if name == "log" {
                again.push_str(data["text"].as_str().unwrap());
            }
        }
        assert_eq!(again, text[from..], "followed from {from}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_grows_while_it_is_followed_and_ends_with_the_build() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let id = alice.accepted("app", zip(&running(&["flood", "300"]))).await;

    let mut events = Events::open(&alice, &id, None).await;
    let mut bytes = 0;
    while bytes < 300_000 {
        let (name, data, _) = events.next().await.expect("the stream goes on while the build does");
        if name == "log" {
            bytes += data["text"].as_str().unwrap().len();
        }
    }
    alice.post(&format!("/api/v1/builds/{id}/cancel"), json!({})).await;
    let mut last = None;
    while let Some((name, data, _)) = events.next().await {
        last = Some((name, data["state"].clone()));
    }

    assert_eq!(last, Some(("end".to_owned(), json!("cancelled"))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_bounded_and_says_what_it_left_out() {
    let Some(server) = server_with(&[("builds.log_bytes", "20000"), ("builds.timeout_secs", "300")]).await
    else {
        return;
    };
    let alice = server.account("alice").await;

    let first = running(&["print", &"x".repeat(15_000)]);
    let dockerfile = format!("{first}RUN [\"/probe\", \"print\", \"{}\"]\n", "y".repeat(15_000));
    let id = alice.accepted("app", zip(&dockerfile)).await;
    alice.succeeded(&id).await;

    let log = alice.get(&format!("/api/v1/builds/{id}/log")).await.expect(200).text;
    assert!(log.len() < 21_000, "{}", log.len());
    assert!(log.contains("more bytes of log were dropped"), "{log}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_in_order_takes_its_builds_up_again() {
    let Some(server) = server_with(&[("builds.workers", "1")]).await else { return };
    let alice = server.account("alice").await;
    let running_one = alice.accepted("a:1", zip(&running(&["print", "again"]))).await;
    let waiting = alice.accepted("a:2", zip(HELLO)).await;
    alice.build_where(&running_one, "the build has begun", |build| build["state"] != "queued").await;

    let server = server.restart().await;
    let alice = server.login("alice", "alice password").await;

    for id in [running_one, waiting] {
        let build = alice.succeeded(&id).await;
        pulls(&server, "alice", &build).await.unwrap();
    }
    leaves_nothing(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_who_read_nothing_hold_next_to_nothing() {
    let Some(server) = ServerProcess::start(&[]).await else { return };
    let alice = server.account("alice").await;
    let id = alice.accepted("app", zip(&running(&["flood", "16000"]))).await;
    alice.build_where(&id, "the log is long", |build| build["log_bytes"].as_u64() > Some(16_000_000)).await;
    let before = server.memory_kib("VmHWM");

    let mut followers = Vec::new();
    for _ in 0..100 {
        let mut events = Events::open(&alice, &id, None).await;
        events.next().await.expect("it begins");
        followers.push(events);
    }
    // Whoever reads is served meanwhile.
    let mut reader = Events::open(&alice, &id, Some(15_000_000)).await;
    let mut bytes = 0;
    while bytes < 1_000_000 {
        let (name, data, _) = reader.next().await.expect("the stream goes on");
        if name == "log" {
            bytes += data["text"].as_str().unwrap().len();
        }
    }
    let growth = server.memory_kib("VmHWM") - before;
    alice.post(&format!("/api/v1/builds/{id}/cancel"), json!({})).await;
    alice.ended(&id).await;

    assert!(growth < 64 << 10, "{growth} KiB for {} followers of 16 MB", followers.len());
}

/// Nothing of any build of this server is left: no step's container, no tag of its own, no context.
async fn leaves_nothing(server: &TestServer) {
    let Some(docker) = server.app.config.machine.docker.clone() else { return };
    let instance = server.app.instance;
    eventually("nothing is left of the builds", 30, || async {
        let left = crate::support::builds::leftovers(&docker, instance, &server.data_dir());
        if !left.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        left.is_empty().then_some(())
    })
    .await;
}
