//! What a repository may contain to reach further than its own image, and whether what is secret about a pipeline is seen anywhere.

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cluster_builds::Site;
use crate::support::api::Api;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository, git};
use crate::support::machine::{self, Registry};
use crate::support::process::{ProcessWatch, ServerProcess};
use crate::support::server::TestServer;

const RUN_SECS: u64 = 180;

async fn ended(api: &Api, repo: &Value) -> (Value, String) {
    let run = api.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await.expect(202).json();
    let path = format!("/api/v1/runs/{}", run["id"]);
    let run = eventually("the run ends", RUN_SECS, || async {
        let run = api.get(&path).await.expect(200).json();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        (!matches!(run["state"].as_str(), Some("queued" | "running"))).then_some(run)
    })
    .await;
    let log = api.get(&format!("{path}/log")).await.expect(200).text;
    (run, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_runs_nothing_and_reads_nothing_where_it_is_fetched() {
    if crate::support::engine().is_none() {
        return;
    }
    let server = TestServer::start_with(&[("outbound.allow", "127.0.0.0/8")]).await;
    let alice = server.account("alice").await;
    let proof = PathBuf::from(format!("/tmp/longshore-ran-{}", Uuid::now_v7().simple()));
    let touch = format!("touch {}", proof.display());
    let code = Repository::hello("FROM scratch\nCOPY probe word /\nRUN [\"/probe\", \"cat\", \"/word\"]\n");
    let settings = format!(
        "[filter \"evil\"]\n\tsmudge = {touch}\n\tclean = {touch}\n[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\
         [credential]\n\thelper = \"!{touch}\"\n[include]\n\tpath = .gitconfig\n"
    );
    let lfs = "[lfs]\n\turl = http://169.254.169.254/lfs\n";
    code.commit(&[
        (".gitattributes", b"* filter=evil diff=evil merge=evil export-subst ident\nword export-ignore\n"),
        (".gitconfig", settings.as_bytes()),
        (".lfsconfig", lfs.as_bytes()),
        ("word", b"$Format:%H$ $Id$ as it is\n"),
        ("hooks/post-checkout+x", format!("#!/bin/sh\n{touch}\n").as_bytes()),
        (".githooks/reference-transaction+x", format!("#!/bin/sh\n{touch}\n").as_bytes()),
    ]);
    // What the server's own repository would run.
    let hooks = code.root().join("app.git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    std::fs::copy(code.work().join("hooks/post-checkout"), hooks.join("post-upload-pack")).unwrap();
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let url = format!("{}/app.git", git_server.url);
    let add = async |name: &str, more: Value| {
        let mut body = json!({"repo_name": name, "url": url, "options": {"lfs": true, "submodules": true}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        alice.post("/api/v1/git-repos", body).await.expect(201).json()
    };

    let repo = add("app", json!({})).await;
    let (run, log) = ended(&alice, &repo).await;
    assert_eq!(run["state"], "succeeded", "{run:#}\n{log}");
    // As a checkout has it: what archives alone would put in is not there.
    assert!(log.contains("$Format:%H$ $Id"), "{log}");
    assert!(!proof.exists(), "nothing of it was run");

    // Links that lead out: as the Dockerfile, as the folder, and as something to copy.
    for (name, target) in [("shadow", "/etc/shadow"), ("etc", "/etc"), ("up", "../../../../../../etc/passwd")]
    {
        symlink(target, code.work().join(name)).unwrap();
    }
    code.push();
    let cases = [
        ("dockerfile", json!({"dockerfile": "shadow"})),
        ("folder", json!({"build_path": "etc"})),
        ("inside", json!({"build_path": "etc/..", "dockerfile": "up"})),
    ];
    for (name, more) in cases {
        let repo = add(name, more).await;
        let (run, log) = ended(&alice, &repo).await;
        assert_eq!(run["state"], "failed", "{name}: {run:#}");
        let seen = format!("{run} {log}");
        assert!(!seen.contains("root:"), "{name}: {seen}");
        assert!(matches!(run["reason"].as_str(), Some("clone_failed" | "build_failed")), "{name}: {run:#}");
    }
    let images = alice.get("/api/v1/images?repo=dockerfile").await.expect(200).json();
    assert_eq!(images["total"], 0);
    assert!(!proof.exists(), "nothing of it was run");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_puts_nothing_in_place_of_what_looks_like_its_variables() {
    let Some(site) = Site::open().await else { return };
    let server = site.server(&[]).await;
    let alice = server.account("alice").await;
    let dockerfile = "FROM scratch\nCOPY probe /\nRUN [\"/probe\", \"print\", \"the right one\"]\n";
    let code = Repository::hello("FROM scratch\n");
    code.commit(&[("$(HOME)/$$x", dockerfile.as_bytes())]);
    let git_server = HttpServer::start(code.root(), Access::default()).await;
    let body = json!({"repo_name": "app", "url": format!("{}/app.git", git_server.url), "dockerfile": "$(HOME)/$$x"});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();

    let (run, log) = ended(&alice, &repo).await;

    assert_eq!(run["state"], "succeeded", "{run:#}\n{log}");
    assert!(log.contains("the right one"), "{log}");
    site.close().await;
    server.stop().await;
}

/// A word as it is, in hexadecimal, and in base64 wherever it begins in what is encoded.
fn spellings(word: &str) -> Vec<String> {
    let hex = word.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let within = (0..3).map(|before| {
        let encoded = BASE64_STANDARD.encode(format!("{}{word}...", "x".repeat(before)));
        // What is mixed with what stands around it is left out.
        encoded[4 * usize::from(before > 0)..encoded.len() - 8].to_owned()
    });
    [word.to_owned(), hex].into_iter().chain(within).collect()
}

/// Every file below a folder, what is compressed in it too.
fn everything_in(folder: &Path, seen: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            everything_in(&path, seen);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut content = Vec::new();
            flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut content).ok();
            seen.push((format!("in {}", path.display()), content));
        }
        seen.push((path.display().to_string(), bytes));
    }
}

/// Everything that an admin can read without naming a thing, and the things of these runs.
async fn everything_shown(admin: &Api, of: &[String], seen: &mut Vec<(String, Vec<u8>)>) {
    let document = admin.get("/api/openapi.json").await.expect(200).json();
    let paths = document["paths"].as_object().unwrap();
    let plain = paths.iter().filter(|(path, verbs)| {
        // A stream of events has no end.
        !path.contains('{') && verbs["get"].is_object() && !path.ends_with("/events")
    });
    let mut count = 0;
    for path in plain.map(|(path, _)| path.clone()).chain(of.iter().cloned()) {
        let answer = admin.get(&path).await;
        count += usize::from(answer.status == 200);
        seen.push((path, answer.text.into_bytes()));
    }
    assert!(count > 20, "much was read: {count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_secret_about_a_pipeline_is_seen_nowhere() {
    let settings = [("outbound.allow", "127.0.0.0/8,::1/128"), ("log.filter", "debug")];
    let Some(server) = ServerProcess::start(&settings).await else { return };
    let docker = crate::support::engine().unwrap();
    let alice = server.account("alice").await;
    let word = |what: &str| format!("CANARY{what}{}", &Uuid::now_v7().simple().to_string()[20..]);
    let (of_url, of_build, of_hook, of_status) = (word("url"), word("build"), word("hook"), word("status"));
    let reading = "RUN --mount=type=secret,id=token,required=true [\"/probe\", \"print\", \"had it\"]\n";
    let code = Repository::hello(&format!("FROM scratch\nCOPY probe /\n{reading}"));
    let login = Some(("robot".to_owned(), of_url.clone()));
    let (git_server, authority) =
        HttpServer::start_tls_with(code.root(), Access { login, ..Access::default() }).await;
    let elsewhere = Registry::start().await;
    let url = format!("{}/app.git", git_server.url.replace("https://", &format!("https://robot:{of_url}@")));
    let job = json!({
        "name": "job", "REGISTORY_ADD": format!("http://{}", elsewhere.address), "REGISTRY_NAME": machine::USER,
        "REGISTRY_PASS": machine::PASSWORD, "IMAGE_REPO": "team/web", "IMAGE_NAME": "app",
    });
    alice.post("/job/", job).await.expect(201);
    let repo = json!({"repo_name": "app", "repo": url, "job": "job", "ca_secret": ""});
    let repo = alice.post("/repo/", repo).await.expect(201).json();
    let path = format!("/api/v1/git-repos/{}", repo["id"]);
    let more = json!({"ca_secret": authority, "webhook_secret": of_hook, "status_token": of_status,
                      "options": {"provider": "gitea"}});
    alice.patch(&path, more).await.expect(200);
    alice.put(&format!("{path}/secrets/token"), json!({"value": of_build})).await.expect(200);

    let words = [of_url.as_str(), &of_build, &of_hook, &of_status];
    let spelt: Vec<String> = words.iter().flat_map(|word| spellings(word)).collect();
    let watched: Vec<&str> = spelt.iter().map(String::as_str).collect();
    let watch = ProcessWatch::start(&watched);
    let (run, log) = ended(&alice, &repo).await;
    // Once more, to fail: what goes wrong is told at length.
    let bad = git_server.url.replace("https://", &format!("https://robot:{of_build}@"));
    alice.patch(&path, json!({"url": format!("{bad}/app.git"), "ca_secret": authority})).await.expect(200);
    let (failed, _) = ended(&alice, &repo).await;
    assert_eq!(watch.end(), Vec::<String>::new());
    assert_eq!(run["state"], "succeeded", "{run:#}\n{log}");
    assert!(log.contains("had it"), "{log}");
    assert_eq!(failed["reason"], "clone_failed", "{failed:#}");
    eventually("the git server is told", 60, || async {
        let told = git_server.statuses.lock().unwrap().clone();
        told.iter()
            .any(|(_, token, _)| token.as_ref().is_some_and(|token| token.contains(&of_status)))
            .then_some(())
    })
    .await;

    let mut seen = Vec::new();
    let of = [&run, &failed].map(|run| {
        let (id, uuid) = (&run["id"], run["uuid"].as_str().unwrap());
        [format!("/api/v1/runs/{id}"), format!("/api/v1/runs/{id}/log"), format!("/api/v1/builds/{uuid}/log")]
    });
    let of: Vec<_> = of.into_iter().flatten().chain([path.clone(), format!("{path}/deliveries")]).collect();
    let admin = server.admin().await;
    everything_shown(&admin, &of, &mut seen).await;
    everything_in(&server.data_dir, &mut seen);
    let images = machine::docker(&docker, &["images", "-q", "--no-trunc"]);
    for image in images.lines() {
        // Other tests remove theirs meanwhile.
        for words in [["history", "--no-trunc", image], ["inspect", "--type=image", image]] {
            let output =
                std::process::Command::new("docker").args(["-H", &docker]).args(words).output().unwrap();
            seen.push((words.join(" "), output.stdout));
        }
    }
    seen.push(("what the server says".to_owned(), std::fs::read(server.log_file()).unwrap()));
    let has = |name: &str| seen.iter().any(|(what, content)| what.ends_with(name) && !content.is_empty());
    assert!(has("longshore.db") && has("what the server says"));
    let said = String::from_utf8_lossy(&seen.last().unwrap().1).into_owned();
    assert!(said.contains("DEBUG"), "it says all that it can: {said}");

    // The authority's certificate is nobody's business either; its middle is in nothing else.
    let of_authority = authority.lines().nth(4).unwrap().to_owned();
    let password = spellings(machine::PASSWORD);
    for canary in spelt.iter().chain(&password).chain([&of_authority]) {
        for (what, content) in &seen {
            let at = memchr::memmem::find(content, canary.as_bytes());
            let around = at.map(|at| {
                String::from_utf8_lossy(&content[at.saturating_sub(120)..(at + 60).min(content.len())])
                    .into_owned()
            });
            assert!(at.is_none(), "`{canary}` is in {what}: {around:?}");
        }
    }
    // The control: what is looked for so is found where it may be.
    let hidden = BASE64_STANDARD.encode(format!("robot:{of_url}"));
    assert!(spellings(&of_url).iter().any(|spelling| hidden.contains(spelling.as_str())));
    assert_eq!(git(&code.work(), &["log", "-1", "--format=%H"]), run["commit"]);
}
