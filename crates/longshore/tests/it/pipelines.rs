//! Pipelines against real git servers and a real engine: from a commit to an image that can be pulled, with everything that
//! can go wrong on the way.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::archives::{HELLO, running};
use crate::support::builds::pull;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository, SshServer, git};
use crate::support::machine::{self, Registry};
use crate::support::process::{ProcessWatch, ServerProcess};
use crate::support::registry::MANIFEST;
use crate::support::runs::{LOOPBACK, server_with};
use crate::support::server::TestServer;
use crate::support::site::Site;
use crate::support::socket::Socket;

const RUN_SECS: u64 = 60;

async fn token_of(api: &Api) -> String {
    let made = api.post("/api/v1/tokens", json!({"name": "ci"})).await.expect(201).json();
    made["token"].as_str().unwrap().to_owned()
}

/// Waits for an event's end.
async fn ended(api: &Api, uuid: &Value) -> Value {
    let uuid = uuid.as_str().unwrap();
    eventually("the run ends", RUN_SECS, || async {
        let rows = api.get(&format!("/event/?uuid={uuid}")).await.expect(200).json();
        (rows[0]["status"] == "3" || rows[0]["status"] == "4").then(|| rows[0].clone())
    })
    .await
}

async fn log_of(api: &Api, event: &Value) -> String {
    api.get(&format!("/api/v1/runs/{}/log", event["id"])).await.expect(200).text
}

async fn succeeded(api: &Api, uuid: &Value) -> Value {
    let event = ended(api, uuid).await;
    assert_eq!(event["status"], "3", "{event:#}\n{}", log_of(api, &event).await);
    event
}

/// Starts a run by `/event/`; the event as it was accepted.
async fn start(api: &Api, repo: &str) -> Value {
    api.post("/event/", json!({"repo": repo})).await.expect(201).json()
}

/// Adds a repository as the seed's page does, checks it, and looks at everything that the seed shows of it.
async fn the_seeds_flow(server: &TestServer) {
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let commit = git(&code.work(), &["rev-parse", "HEAD"]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let form =
        [("repo_name", "my_app"), ("repo", &format!("{}/app.git", git_server.url)), ("branch", "main")];
    alice.send(alice.request(reqwest::Method::POST, "/repo/").form(&form)).await.expect(201);
    let token = token_of(&alice).await;
    let mut told = Socket::open(&alice, "/api/v1/events", &[]).await.unwrap();

    let body = json!({"repo": "my_app", "user": "alice", "token": token});
    let check = server.api.post("/check/", body).await.expect(201).json();
    assert_eq!((&check["status"], &check["commit"]), (&json!("1"), &json!(commit)));
    let event = succeeded(&alice, &check["event_uuid"]).await;

    // Whoever watches is told of every step of it, without asking.
    loop {
        let message = told.next().await.expect("it is told").into_text().unwrap();
        let message: Value = serde_json::from_str(&message).unwrap();
        if message["event"] == "run" && message["data"]["state"] == "succeeded" {
            assert_eq!(message["data"]["uuid"], check["event_uuid"]);
            break;
        }
    }
    assert_eq!((&event["name"], &event["job"]), (&check["event"], &check["job"]));
    assert_eq!((&event["image"], &event["Image_tag"]), (&json!("alice/my-app"), &check["Image_tag"]));
    pull(&server.registry, "alice", "alice password", "alice/my-app", event["digest"].as_str().unwrap())
        .await
        .unwrap();
    let images = alice.get("/api/v1/images").await.expect(200).json();
    let mut tags: Vec<_> =
        images["data"].as_array().unwrap().iter().map(|image| image["tag"].clone()).collect();
    tags.sort_by_key(ToString::to_string);
    assert_eq!(
        tags,
        [json!(commit[..12]), check["Image_tag"].clone()],
        "the image is tagged with its commit too"
    );
    let job = alice.get(&format!("/job/?uuid={}", check["Runner_uuid"].as_str().unwrap())).await.json();
    assert_eq!((&job[0]["status"], &job[0]["name"]), (&json!("3"), &check["job"]));
    let lines = alice
        .get(&format!("/log/?event_uuid={}&ordering=id", check["event_uuid"].as_str().unwrap()))
        .await
        .json();
    let said: Vec<&str> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["msg"].as_str().unwrap().split([':', ' ']).next().unwrap())
        .collect();
    assert_eq!(said, ["queued", "running", "building", "succeeded"]);
    assert!(lines.as_array().unwrap().iter().all(|line| line["Runner_uuid"] == check["Runner_uuid"]));

    let run = alice.get(&format!("/api/v1/runs/{}", event["id"])).await.expect(200).json();
    let steps: Vec<_> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["name"].as_str().unwrap(), step["state"].as_str().unwrap()))
        .collect();
    assert_eq!(steps, [("fetch", "succeeded"), ("build", "succeeded"), ("push", "succeeded")]);
    let log = log_of(&alice, &event).await;
    assert!(log.contains(&commit) && log.to_lowercase().contains("step 1/"), "{log}");
    assert_eq!(alice.get("/repo/?repo_name=my_app").await.json()[0]["user"], "alice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_flow_makes_an_image_that_can_be_pulled() {
    let Some(server) = server_with(&[]).await else { return };
    the_seeds_flow(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_flow_is_the_same_where_a_cluster_builds() {
    let Some(site) = Site::open().await else { return };
    let server = site.server(&[]).await;
    the_seeds_flow(&server).await;
    site.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_push_is_built_by_its_webhook_and_told_to_the_git_server() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let body = json!({
        "repo_name": "app", "url": format!("{}/app.git", git_server.url), "branch": "main", "webhook_secret": "s3cret",
        "status_token": "CANARY-status",
    });
    alice.post("/api/v1/git-repos", body).await.expect(201);

    let commit = code.commit(&[("Dockerfile", running(&["print", "pushed"]).as_bytes())]);
    let body =
        json!({"ref": "refs/heads/main", "after": commit, "repository": {"full_name": "app"}}).to_string();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let signature = hex::encode(ring::hmac::sign(&key, body.as_bytes()));
    let request = server.api.request(reqwest::Method::POST, "/hook/app/").body(body);
    let request = request.header("x-gitea-event", "push").header("x-gitea-signature", signature);
    let answer = server.api.send(request).await.expect(202).json();
    let event =
        alice.get(&format!("/event/?name={}", answer["event"].as_str().unwrap())).await.json()[0].clone();
    let event = succeeded(&alice, &event["uuid"]).await;

    assert_eq!(event["commit"], json!(commit));
    assert!(log_of(&alice, &event).await.contains("pushed"));
    let path = format!("/api/v1/repos/app/statuses/{commit}");
    let told = eventually("the git server hears how the commit fared", RUN_SECS, || async {
        let told = git_server.statuses.lock().unwrap().clone();
        told.last().is_some_and(|(_, _, state)| state == "success").then_some(told)
    })
    .await;
    assert!(
        told.iter().all(|(told, token, _)| *told == path && token.as_deref() == Some("token CANARY-status")),
        "{told:?}"
    );

    // A server of another kind does not take it, and the owner can read so.
    let bitbucket = json!({
        "repo_name": "other", "url": format!("{}/app.git", git_server.url), "status_token": "CANARY-status",
        "options": {"provider": "bitbucket"},
    });
    alice.post("/api/v1/git-repos", bitbucket).await.expect(201);
    let event = start(&alice, "other").await;
    succeeded(&alice, &event["uuid"]).await;
    eventually("the owner reads that it was not taken", RUN_SECS, || async {
        let lines = alice.get("/log/?Repo_name=other&search=did not reach the git server").await.expect(200);
        assert!(!lines.text.contains("CANARY"));
        (!lines.json().as_array().unwrap().is_empty()).then_some(())
    })
    .await;

    // Another server never hears the token of the first.
    let repo = alice.get("/api/v1/git-repos?repo_name=app").await.expect(200).json()["data"][0].clone();
    assert_eq!(repo["has_status_token"], true);
    let change = json!({"url": "https://other.example.org/app.git", "status_token": "***"});
    let repo = alice.patch(&format!("/api/v1/git-repos/{}", repo["id"]), change).await.expect(200).json();
    assert_eq!(repo["has_status_token"], false);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_opens_by_its_password_which_is_seen_nowhere() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&running(&["print", "built"]));
    let login = Some(("robot@x".to_owned(), "CANARY/p:w d".to_owned()));
    let git_server = HttpServer::start(code.root(), Access { login, ..Access::default() }).await;
    let address = git_server.url.trim_start_matches("http://").to_owned();
    let add = async |name: &str, user_info: &str| {
        let body = json!({"repo_name": name, "repo": format!("http://{user_info}{address}/app.git")});
        alice.post("/repo/", body).await.expect(201).json()
    };
    let good = add("good", "robot%40x:CANARY%2Fp%3Aw%20d@").await;
    add("bad", "robot%40x:CANARY-wrong@").await;
    add("none", "").await;

    let tested = alice
        .send(alice.request(reqwest::Method::POST, &format!("/api/v1/git-repos/{}/test", good["id"])))
        .await;
    assert_eq!(tested.expect(200).json()["git_ref"], "refs/heads/main");
    // Neither on a command line nor in an environment, at any moment.
    let watch = ProcessWatch::start(&["CANARY/p:w", "CANARY%2Fp"]);
    let event = start(&alice, "good").await;
    let event = succeeded(&alice, &event["uuid"]).await;
    assert_eq!(watch.end(), Vec::<String>::new());
    let log = log_of(&alice, &event).await;
    assert!(log.contains("built"), "{log}");
    for name in ["bad", "none"] {
        let event = start(&alice, name).await;
        let event = ended(&alice, &event["uuid"]).await;
        assert_eq!((&event["status"], &event["reason"]), (&json!("4"), &json!("clone_failed")), "{event:#}");
        assert!(event["message"].as_str().unwrap().contains("does not let us in"), "{event:#}");
    }

    let mut seen = log;
    let admin = server.admin().await;
    for path in [
        "/repo/",
        "/event/",
        "/job/",
        "/log/",
        "/api/v1/git-repos",
        "/api/v1/runs",
        "/api/v1/builds",
        "/api/v1/audit",
    ] {
        seen.push_str(&admin.get(path).await.expect(200).text);
    }
    for file in walk(&server.data_dir()) {
        seen.push_str(&String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()));
    }
    assert!(seen.contains("SQLite format"), "the database was looked at");
    let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    for canary in ["CANARY".to_owned(), base64("robot@x:CANARY/p:w d")] {
        let at = seen.find(&canary);
        assert!(
            at.is_none(),
            "{:?}",
            at.map(|at| seen[at.saturating_sub(80)..(at + 40).min(seen.len())].to_owned())
        );
    }
    server.stop().await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_tags_commits_folders_and_dockerfiles_are_found() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let dockerfile = |word: &str| running(&["print", &format!("built {word}")]);
    let code = Repository::hello(&dockerfile("first"));
    let first = git(&code.work(), &["rev-parse", "HEAD"]);
    git(&code.work(), &["tag", "-a", "v1", "-m", "one"]);
    let tag_object = git(&code.work(), &["rev-parse", "v1"]);
    let probe = std::fs::read(crate::support::machine::probe()).unwrap();
    code.commit(&[
        ("Dockerfile", dockerfile("second").as_bytes()),
        ("service/Dockerfile", dockerfile("service").as_bytes()),
        ("service/probe+x", &probe),
        ("docker/Other", dockerfile("outside").as_bytes()),
    ]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let url = format!("{}/app.git", git_server.url);
    let cases = [
        ("head", json!({}), "second"),
        ("branch", json!({"branch": "main"}), "second"),
        ("tag", json!({"branch": "v1"}), "first"),
        ("commit", json!({"branch": first}), "first"),
        // Git servers tell the id of a tag with words of its own where they mean its commit.
        ("object", json!({"branch": tag_object}), "first"),
        ("folder", json!({"build_path": "service"}), "service"),
        ("inside", json!({"build_path": "/service/", "dockerfile": "service/Dockerfile"}), "service"),
        ("outside", json!({"build_path": "service", "dockerfile": "docker/Other"}), "outside"),
    ];

    for (name, more, word) in cases {
        let mut body = json!({"repo_name": name, "repo": url, "tag": "stable"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        alice.post("/repo/", body).await.expect(201);
        let event = start(&alice, name).await;
        let event = succeeded(&alice, &event["uuid"]).await;
        let log = log_of(&alice, &event).await;
        assert!(log.contains(&format!("built {word}")), "{name}: {log}");
        assert_eq!(event["Image_tag"], "stable");
        assert_eq!(event["commit"] == first, word == "first", "{name}: {event:#}");
    }
    for (name, more, said) in [
        ("no-branch", json!({"branch": "nowhere"}), "no branch, tag or commit `nowhere`"),
        ("no-folder", json!({"build_path": "nowhere"}), "no folder `nowhere`"),
        ("no-file", json!({"dockerfile": "nowhere"}), "no `nowhere`"),
        ("no-commit", json!({"branch": "1".repeat(40)}), "no branch, tag or commit"),
    ] {
        let mut body = json!({"repo_name": name, "repo": url});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        alice.post("/repo/", body).await.expect(201);
        let event = start(&alice, name).await;
        let event = ended(&alice, &event["uuid"]).await;
        assert_eq!(event["status"], "4", "{event:#}");
        assert!(event["message"].as_str().unwrap().contains(said), "{event:#}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_is_trusted_when_it_is_given() {
    // `localhost` has an IPv6 address too.
    let allowed = ("outbound.allow", "127.0.0.0/8,::1/128");
    let Some(server) = server_with(&[allowed]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let (git_server, authority) = HttpServer::start_tls(code.root()).await;
    let url = format!("{}/app.git", git_server.url);
    let certificates = server.data_dir().join("certificates");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::write(certificates.join("ours.pem"), &authority).unwrap();
    for (name, secret) in [("none", ""), ("named", "ours"), ("unknown", "theirs")] {
        let body = json!({"repo_name": name, "repo": url, "ca_secret": secret});
        alice.post("/repo/", body).await.expect(201);
    }
    let given = json!({"repo_name": "given", "url": url, "ca_secret": authority});
    alice.post("/api/v1/git-repos", given).await.expect(201);

    for name in ["given", "named"] {
        let event = start(&alice, name).await;
        succeeded(&alice, &event["uuid"]).await;
    }
    for (name, said) in [("none", "certificate is not trusted"), ("unknown", "not on the server")] {
        let event = start(&alice, name).await;
        let event = ended(&alice, &event["uuid"]).await;
        assert_eq!(event["reason"], "clone_failed", "{event:#}");
        assert!(event["message"].as_str().unwrap().contains(said), "{event:#}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_copied_to_the_registry_that_its_runner_names() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let elsewhere = Registry::start().await;
    let code = Repository::hello(HELLO);
    let commit = git(&code.work(), &["rev-parse", "HEAD"]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let url = format!("{}/app.git", git_server.url);
    let address = format!("http://{}", elsewhere.address);
    for (name, address, password) in [
        ("good", address.as_str(), machine::PASSWORD),
        ("shut", address.as_str(), "CANARY-wrong"),
        ("inside", "http://169.254.169.254", "CANARY-inside"),
        ("nobody", "http://127.0.0.1:1", "CANARY-nobody"),
    ] {
        let job = json!({
            "name": name, "REGISTORY_ADD": address, "REGISTRY_NAME": machine::USER, "REGISTRY_PASS": password,
            "IMAGE_REPO": "team/web", "IMAGE_NAME": "app",
        });
        alice.post("/job/", job).await.expect(201);
        alice.post("/repo/", json!({"repo_name": name, "repo": url, "job": name})).await.expect(201);
    }

    let event = start(&alice, "good").await;
    let event = succeeded(&alice, &event["uuid"]).await;
    assert_eq!(event["image"], "alice/good", "ours has it as well");
    let job = alice.get(&format!("/job/?event={}", event["id"])).await.expect(200).json();
    assert_eq!(
        (&job[0]["REGISTORY_ADD"], &job[0]["IMAGE_REPO"], &job[0]["IMAGE_NAME"], &job[0]["REGISTRY_PASS"]),
        (&json!(address), &json!("team/web"), &json!("app"), &json!("***"))
    );
    let run = alice.get(&format!("/api/v1/runs/{}", event["id"])).await.expect(200).json();
    let steps: Vec<_> = run["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
    assert_eq!(steps, ["fetch", "build", "push", "copy"]);
    for tag in [event["Image_tag"].as_str().unwrap(), &commit[..12]] {
        let there = reqwest::Client::builder().no_proxy().build().unwrap();
        let there = there.get(format!("{address}/v2/team/web/app/manifests/{tag}"));
        let there = there.basic_auth(machine::USER, Some(machine::PASSWORD)).header("accept", MANIFEST);
        let there = there.send().await.unwrap();
        assert_eq!(there.status().as_u16(), 200, "{tag}");
        assert_eq!(
            there.headers()["docker-content-digest"].to_str().unwrap(),
            event["digest"].as_str().unwrap()
        );
    }

    // Once more: all of it is there already. Then what cannot be.
    let again = start(&alice, "good").await;
    succeeded(&alice, &again["uuid"]).await;
    for (name, said) in [
        ("shut", "does not let us in"),
        ("inside", "inside a network"),
        ("nobody", "does not take connections"),
    ] {
        let event = start(&alice, name).await;
        let event = ended(&alice, &event["uuid"]).await;
        assert_eq!((&event["status"], &event["reason"]), (&json!("4"), &json!("push_failed")), "{event:#}");
        assert!(event["message"].as_str().unwrap().contains(said), "{event:#}");
        let log = log_of(&alice, &event).await;
        assert!(!log.contains("CANARY") && !event.to_string().contains("CANARY"), "{log}");
    }
    // A password is for its registry: with another address it is gone.
    let moved = json!({"name": "good", "REGISTORY_ADD": "http://127.0.0.1:2", "REGISTRY_PASS": "***"});
    assert_eq!(alice.patch("/job/", moved).await.expect(200).json()["REGISTRY_PASS"], "");
    for bad in ["ftp://x", "h/path", "u:p@h"] {
        let job = json!({"name": bad, "REGISTORY_ADD": bad, "IMAGE_NAME": "app"});
        alice.post("/job/", job).await.expect(201);
        alice
            .post("/repo/", json!({"repo_name": format!("to {bad}"), "repo": url, "job": bad}))
            .await
            .expect(201);
        alice.post("/event/", json!({"repo": format!("to {bad}")})).await.expect(400);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_run_takes_what_the_first_one_made() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let dockerfile =
        format!("{}COPY word /word\nRUN [\"/probe\", \"print\", \"after\"]\n", running(&["print", "before"]));
    let code = Repository::hello(&dockerfile);
    code.commit(&[("word", b"one\n")]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let url = format!("{}/app.git", git_server.url);
    alice.post("/repo/", json!({"repo_name": "app", "repo": url})).await.expect(201);
    // How many steps were taken, and how many were done.
    let counted = async || {
        let event = start(&alice, "app").await;
        let event = succeeded(&alice, &event["uuid"]).await;
        let log = log_of(&alice, &event).await;
        let times = |text: &str| log.lines().filter(|line| line.trim() == text).count();
        (log.matches("Using cache").count(), times("before"), times("after"), event["digest"].clone())
    };

    let (taken, before, after, first) = counted().await;
    assert_eq!((taken, before, after), (0, 1, 1));
    let (taken, before, after, second) = counted().await;
    assert_eq!((taken, before, after), (4, 0, 0), "every step but FROM was taken");
    assert_eq!(second, first, "the same image");
    code.commit(&[("word", b"two\n")]);
    let (taken, before, after, third) = counted().await;
    assert_eq!((taken, before, after), (2, 0, 1), "what follows a change is done anew");
    assert_ne!(third, first);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_fetched_once_and_only_what_it_is_made_of_is_taken_for_it() {
    for (bytes, is_kept) in [("100000000", true), ("0", false)] {
        let Some(server) = server_with(&[("pipelines.commit_bytes", bytes)]).await else { return };
        let alice = server.account("alice").await;
        let code = Repository::hello(&running(&["print", "one"]));
        let other = running(&["print", "other"]);
        let commit = code.commit(&[("Other", other.as_bytes())]);
        let git_server = HttpServer::start(code.root(), Access::default()).await;
        let repo =
            json!({"repo_name": "app", "url": format!("{}/app.git", git_server.url), "branch": "main"});
        let repo = alice.post("/api/v1/git-repos", repo).await.expect(201).json()["id"].clone();
        let run = async |git_ref: &str| {
            let wish = json!({"git_repo_id": repo, "git_ref": git_ref});
            let run = alice.post("/api/v1/runs", wish).await.expect(202).json();
            ended(&alice, &run["uuid"]).await
        };
        let first = run("main").await;
        assert_eq!(first["status"], "3", "{}", log_of(&alice, &first).await);

        // The git server has nothing any more.
        std::fs::rename(code.root().join("app.git"), code.root().join("gone.git")).unwrap();
        let again = run(&commit).await;
        assert_eq!(again["status"], if is_kept { "3" } else { "4" }, "{}", log_of(&alice, &again).await);
        assert_eq!(again["digest"] == first["digest"], is_kept);
        assert_eq!(log_of(&alice, &again).await.contains("kept since it was fetched"), is_kept);
        // A branch is asked for at its git server each time, and so is a commit of which something else is wanted.
        assert_eq!(run("main").await["status"], "4");
        alice.patch(&format!("/api/v1/git-repos/{repo}"), json!({"dockerfile": "Other"})).await.expect(200);
        assert_eq!(run(&commit).await["status"], "4");
        std::fs::rename(code.root().join("gone.git"), code.root().join("app.git")).unwrap();
        let others = run(&commit).await;
        assert_eq!(others["status"], "3", "{}", log_of(&alice, &others).await);
        assert_ne!(others["digest"], first["digest"]);
        // Somebody else's repository at the same address is another one.
        let bob = server.account("bob").await;
        let theirs =
            json!({"repo_name": "app", "url": format!("{}/app.git", git_server.url), "branch": "main"});
        let theirs = bob.post("/api/v1/git-repos", theirs).await.expect(201).json()["id"].clone();
        let wish = json!({"git_repo_id": theirs, "git_ref": commit});
        let theirs = bob.post("/api/v1/runs", wish).await.expect(202).json();
        let theirs = ended(&bob, &theirs["uuid"]).await;
        assert_eq!(theirs["status"], "3");
        assert!(!log_of(&bob, &theirs).await.contains("kept since"));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_starts_runs_and_new_commits_are_found() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let url = format!("{}/app.git", git_server.url);
    let add = async |name: &str, options: Value| {
        alice.post("/api/v1/git-repos", json!({"repo_name": name, "url": url, "options": options})).await
    };
    for bad in ["every day", "* * * *", "0 0 30 2 *", "* * * * * *"] {
        let wrong = add("bad", json!({"schedule": bad})).await.expect(422).json();
        assert!(wrong["errors"]["options.schedule"].is_array(), "{wrong:#}");
    }
    let polled = add("polled", json!({"poll_minutes": 1})).await.expect(201).json();
    let nightly = add("nightly", json!({"schedule": "* * * * *"})).await.expect(201).json();
    let runs_of = async |repo: &Value| {
        let found = alice.get(&format!("/api/v1/runs?git_repo_id={}", repo["id"])).await.expect(200).json();
        found["data"].as_array().unwrap().clone()
    };
    let next_look = async |repo: &Value| {
        let id = wire::ids::GitRepoId(repo["id"].as_i64().unwrap());
        store::git_repos::get(&server.app.db, id).await.unwrap().unwrap().next_look_at
    };
    // Its time has come: the minute that goes on, or went on when it was asked for last.
    let is_due = async |repo: &Value| {
        let id = wire::ids::GitRepoId(repo["id"].as_i64().unwrap());
        let now = server.app.now().0;
        let minute = Some(wire::time::Timestamp(now - now.rem_euclid(60_000_000)));
        let planned = next_look(repo).await;
        assert!(planned > minute, "it is planned for later");
        assert!(store::git_repos::set_next_look(&server.app.db, id, planned, minute).await.unwrap());
        minute
    };
    let has_looked = async |repo: &Value, minute| {
        eventually("it has looked", RUN_SECS, || async { (next_look(repo).await > minute).then_some(()) })
            .await;
    };

    let minute = is_due(&polled).await;
    is_due(&nightly).await;
    let (first, scheduled) = eventually("both have started", RUN_SECS, || async {
        Some((runs_of(&polled).await.pop()?, runs_of(&nightly).await.pop()?))
    })
    .await;
    assert_eq!((&first["cause"], &scheduled["cause"]), (&json!("poll"), &json!("schedule")));
    alice.patch(&format!("/api/v1/git-repos/{}", nightly["id"]), json!({"options": {}})).await.expect(200);
    assert_eq!(next_look(&nightly).await, None);
    has_looked(&polled, minute).await;
    succeeded(&alice, &first["uuid"]).await;

    // Without anything new nothing starts.
    let minute = is_due(&polled).await;
    has_looked(&polled, minute).await;
    let commit = code.commit(&[("Dockerfile", running(&["print", "new"]).as_bytes())]);
    is_due(&polled).await;
    let second = eventually("the new commit is built", RUN_SECS, || async {
        runs_of(&polled).await.into_iter().find(|run| run["commit"] == json!(commit))
    })
    .await;
    let second = succeeded(&alice, &second["uuid"]).await;
    assert_eq!(second["commit"], json!(commit));
    assert_eq!(runs_of(&polled).await.len(), 2, "what was built already was not built again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submodules_come_along_when_they_are_wanted_and_only_from_where_they_may() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let library = Repository::new(&[("word", b"from the submodule\n"), ("deep/word", b"deeper\n")]);
    let dockerfile = "FROM scratch\nCOPY probe /probe\nCOPY lib/word lib/deep/word /\n";
    let code = Repository::hello(dockerfile);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    std::fs::rename(library.root().join("app.git"), code.root().join("lib.git")).unwrap();
    let add = |url: &str, path: &str| {
        let lib = code.root().join("lib.git").display().to_string();
        git(&code.work(), &["-c", "protocol.file.allow=always", "submodule", "add", "--quiet", &lib, path]);
        git(&code.work(), &["config", "-f", ".gitmodules", "--", &format!("submodule.{path}.url"), url]);
        code.push()
    };
    add("../lib.git", "lib");
    let url = format!("{}/app.git", git_server.url);
    for (name, submodules) in [("with", true), ("without", false)] {
        let body = json!({"repo_name": name, "url": url, "options": {"submodules": submodules}});
        alice.post("/api/v1/git-repos", body).await.expect(201);
    }

    let event = start(&alice, "with").await;
    succeeded(&alice, &event["uuid"]).await;
    let event = start(&alice, "without").await;
    let event = ended(&alice, &event["uuid"]).await;
    assert_eq!(event["reason"], "build_failed", "{event:#}");
    for (number, bad) in [
        "ext::sh -c 'touch /tmp/longshore-pwned'",
        "file:///etc",
        "http://169.254.169.254/x",
        "http://u:CANARY@127.0.0.1/x",
        "--upload-pack=touch /tmp/longshore-pwned",
        "ssh://-oProxyCommand=touch%20%2Ftmp%2Flongshore-pwned@127.0.0.1/x",
        "-oProxyCommand=touch:/tmp/longshore-pwned",
        "/etc",
    ]
    .iter()
    .enumerate()
    {
        add(bad, &format!("bad{number}"));
        let event = start(&alice, "with").await;
        let event = ended(&alice, &event["uuid"]).await;
        assert_eq!(
            (&event["status"], &event["reason"]),
            (&json!("4"), &json!("clone_failed")),
            "{bad}: {event:#}"
        );
        assert!(event["message"].as_str().unwrap().contains("submodule"), "{event:#}");
        git(&code.work(), &["rm", "--quiet", "--force", &format!("bad{number}")]);
    }
    assert!(!std::path::Path::new("/tmp/longshore-pwned").exists(), "nothing was run");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_key_opens_ssh_and_another_host_key_is_told() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let ssh = SshServer::start();
    let url = format!("{}{}/app.git", ssh.url, code.root().display());
    let body = json!({"repo_name": "app", "url": url, "ssh_key": ssh.key});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    assert_eq!((&repo["has_ssh_key"], &repo["has_credential"]), (&json!(true), &json!(false)));

    let event = start(&alice, "app").await;
    succeeded(&alice, &event["uuid"]).await;
    let without = json!({"repo_name": "without", "url": url});
    alice.post("/api/v1/git-repos", without).await.expect(201);
    let event = start(&alice, "without").await;
    let event = ended(&alice, &event["uuid"]).await;
    assert!(event["message"].as_str().unwrap().contains("does not let us in"), "{event:#}");

    ssh.change_host_key();
    let event = eventually("the other key is noticed", RUN_SECS, || async {
        let event = start(&alice, "app").await;
        let event = ended(&alice, &event["uuid"]).await;
        (event["status"] == "4").then_some(event)
    })
    .await;
    assert!(event["message"].as_str().unwrap().contains("another key"), "{event:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_inside_are_out_of_reach_and_redirects_are_not_followed() {
    if crate::support::engine().is_none() {
        return;
    }
    let server = TestServer::start_with(&[]).await;
    let alice = server.account("alice").await;
    let code = Repository::hello(HELLO);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let port = git_server.url.rsplit(':').next().unwrap().to_owned();
    for (number, host) in
        ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
            .iter()
            .enumerate()
    {
        let name = format!("inside-{number}");
        let body = json!({"repo_name": name, "repo": format!("http://{host}:{port}/app.git")});
        alice.post("/repo/", body).await.expect(201);
        let event = start(&alice, &name).await;
        let event = ended(&alice, &event["uuid"]).await;
        assert_eq!(
            (&event["status"], &event["reason"]),
            (&json!("4"), &json!("clone_failed")),
            "{host}: {event:#}"
        );
    }
    assert!(git_server.requests.lock().unwrap().is_empty(), "nothing was asked");
    server.stop().await;

    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let access = Access { redirect: Some(git_server.url.clone()), ..Access::default() };
    let redirecting = HttpServer::start(code.root(), access).await;
    let body = json!({"repo_name": "app", "repo": redirecting.url.replace("http://", "http://u:CANARY@") + "/app.git"});
    alice.post("/repo/", body).await.expect(201);
    let event = start(&alice, "app").await;
    let event = ended(&alice, &event["uuid"]).await;
    assert!(event["message"].as_str().unwrap().contains("another address"), "{event:#}");
    assert!(git_server.requests.lock().unwrap().is_empty(), "the redirect was not followed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_build_a_cancelled_one_and_a_retry_end_once_each() {
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let code =
        Repository::hello(&format!("{}RUN [\"/probe\", \"fail\", \"7\"]\n", running(&["print", "before"])));
    let failing = git(&code.work(), &["rev-parse", "HEAD"]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    alice
        .post("/repo/", json!({"repo_name": "app", "repo": format!("{}/app.git", git_server.url)}))
        .await
        .expect(201);

    let event = start(&alice, "app").await;
    let failed = ended(&alice, &event["uuid"]).await;
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("4"), &json!("build_failed")));
    assert!(failed["message"].as_str().unwrap().contains("step 4"), "{failed:#}");

    code.commit(&[("Dockerfile", running(&["sleep"]).as_bytes())]);
    let event = start(&alice, "app").await;
    eventually("the build runs", RUN_SECS, || async {
        log_of(&alice, &event).await.contains("Step 3/").then_some(())
    })
    .await;
    alice.patch("/event/", json!({"id": event["id"], "action": "cancel"})).await.expect(200);
    let cancelled = ended(&alice, &event["uuid"]).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["reason"], &cancelled["status_text"]),
        (&json!("4"), &json!("cancelled"), &json!("cancelled"))
    );

    // The same commit again, although the branch has moved on.
    let again = alice.post("/job/", json!({"event": failed["id"]})).await.expect(201).json();
    let again = alice.get(&format!("/event/{}/", again["event"])).await.expect(200).json();
    let again = ended(&alice, &again["uuid"]).await;
    assert_eq!((&again["commit"], &again["reason"]), (&json!(failing), &json!("build_failed")));
    let finals: Vec<_> = alice.get("/log/?search=failed (").await.json().as_array().unwrap().clone();
    assert_eq!(finals.len(), 2, "each failed run ended once: {finals:#?}");
    assert_eq!(alice.get("/api/v1/images").await.json()["total"], 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_too_large_or_never_comes_is_given_up() {
    let limits = [("pipelines.fetch_bytes", "2097152"), ("pipelines.fetch_secs", "3")];
    let Some(server) = server_with(&limits).await else { return };
    let alice = server.account("alice").await;
    let noise: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes())
        .collect();
    let code = Repository::new(&[("Dockerfile", HELLO.as_bytes()), ("noise", &noise)]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());

    alice
        .post("/repo/", json!({"repo_name": "large", "repo": format!("{}/app.git", git_server.url)}))
        .await
        .expect(201);
    alice
        .post("/repo/", json!({"repo_name": "silent", "repo": format!("{silent}/app.git")}))
        .await
        .expect(201);
    let large = start(&alice, "large").await;
    let silent = start(&alice, "silent").await;
    let large = ended(&alice, &large["uuid"]).await;
    let silent = ended(&alice, &silent["uuid"]).await;

    assert!(large["message"].as_str().unwrap().contains("larger than"), "{large:#}");
    assert_eq!(silent["status"], "4", "{silent:#}");
    assert!(
        std::fs::read_dir(server.data_dir().join("blobs/incoming")).unwrap().next().is_none(),
        "nothing stays on the disk"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_runs_ends_each_of_them_once() {
    let Some(mut server) = ServerProcess::start(&[LOOPBACK]).await else { return };
    let alice = server.account("alice").await;
    let code = Repository::hello(&running(&["print", "built"]));
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    alice
        .post("/repo/", json!({"repo_name": "app", "repo": format!("{}/app.git", git_server.url)}))
        .await
        .expect(201);

    let mut events = Vec::new();
    // Moments that look like chance and are the same each time.
    let more = if crate::support::setting("LONGSHORE_TEST_SOAK").is_some() { 96 } else { 0 };
    let chance = (1..=more).map(|n: u64| n.wrapping_mul(2_654_435_761) % 3_000);
    for (number, pause) in [0, 300, 900, 2_000].into_iter().chain(chance).enumerate() {
        events.push(start(&alice, "app").await);
        // The line has an end.
        if number % 16 == 15 {
            ended(&alice, &events[number]["uuid"]).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        server.kill();
        server.start_again().await;
    }

    for event in &events {
        let event = succeeded(&alice, &event["uuid"]).await;
        let lines = alice
            .get(&format!("/log/?event_uuid={}&search=succeeded", event["uuid"].as_str().unwrap()))
            .await
            .json();
        assert_eq!(lines.as_array().unwrap().len(), 1, "{lines:#}");
    }
}
