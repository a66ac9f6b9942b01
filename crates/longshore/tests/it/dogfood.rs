//! Longshore builds itself: its own repository, served by a real git server, becomes its own image, and that runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::archives::zip_of;
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, git};
use crate::support::server::TestServer;

const RUN_SECS: u64 = 180;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The libraries that this program needs, as a folder of an image, with the user that the image names. The base image cannot be
/// pulled everywhere.
fn base_image(program: &Path) -> Vec<u8> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries: Vec<&str> = listed.split_whitespace().filter(|word| word.starts_with('/')).collect();
    let named: Vec<(String, Vec<u8>)> = libraries
        .into_iter()
        .map(|path| (format!("root{path}"), std::fs::read(path).unwrap()))
        .chain([
            ("Dockerfile".to_owned(), b"FROM scratch\nCOPY root /\n".to_vec()),
            (
                "root/etc/passwd".to_owned(),
                b"longshore:x:10001:10001::/var/lib/longshore:/bin/false\n".to_vec(),
            ),
            ("root/etc/group".to_owned(), b"longshore:x:10001:\n".to_vec()),
        ])
        .collect();
    let files: Vec<(&str, &[u8])> =
        named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    zip_of(&files)
}

/// The part of our Dockerfile that makes an image of a binary at hand, on another base.
fn dockerfile() -> String {
    let ours = std::fs::read_to_string(root().join("deploy/docker/Dockerfile")).unwrap();
    let begin = ours.find("USER longshore").expect("the image does not run as root");
    let end = ours.find("FROM node:").expect("the stages that compile come last");
    format!(
        "ARG LONGSHORE_REGISTRY\nFROM ${{LONGSHORE_REGISTRY}}/public/base:1 AS base\n{}",
        &ours[begin..end]
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn longshore_builds_its_own_repository_into_its_own_image_which_runs() {
    if crate::support::engine().is_none() {
        return;
    }
    let server = TestServer::start_with(&[("outbound.allow", "127.0.0.0/8")]).await;
    let (alice, admin) = (server.account("alice").await, server.admin().await);
    let program = Path::new(env!("CARGO_BIN_EXE_longshore"));
    let base = admin.accepted("public/base:1", base_image(program)).await;
    admin.succeeded(&base).await;

    // A clone of this very repository, with the program that was just compiled in a commit on top.
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    if root().join(".git").exists() {
        let here = format!("file://{}", root().display());
        git(folder.path(), &["clone", "--quiet", "--depth=1", &here, "work"]);
    } else {
        git(folder.path(), &["init", "--quiet", "work"]);
        let (tree, repository) = (root().display().to_string(), work.join(".git").display().to_string());
        git(folder.path(), &["--git-dir", &repository, "--work-tree", &tree, "add", "--all"]);
        git(
            folder.path(),
            &["--git-dir", &repository, "--work-tree", &tree, "commit", "--quiet", "-m", "all"],
        );
        git(&work, &["checkout", "--quiet", "--force", "HEAD"]);
    }
    assert!(work.join("crates/longshore/tests/it/dogfood.rs").exists(), "it is this repository");
    let stripped = Command::new("strip").arg("-o").arg(work.join("longshore")).arg(program).status().unwrap();
    assert!(stripped.success());
    std::fs::write(work.join("deploy/docker/Dockerfile"), dockerfile()).unwrap();
    git(&work, &["-c", "core.compression=1", "add", "--all", "--force", "longshore", "deploy"]);
    git(&work, &["commit", "--quiet", "-m", "Hand the program in"]);
    git(folder.path(), &["clone", "--quiet", "--bare", "work", "app.git"]);
    let git_server = HttpServer::start(folder.path(), Access::default()).await;
    let body = json!({
        "repo_name": "longshore", "url": format!("{}/app.git", git_server.url), "tag": "own",
        "dockerfile": "deploy/docker/Dockerfile",
    });
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();

    let run = alice.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await.expect(202).json();
    let path = format!("/api/v1/runs/{}", run["id"]);
    let run = eventually("the run ends", RUN_SECS, || async {
        let run = alice.get(&path).await.expect(200).json();
        (!matches!(run["state"].as_str(), Some("queued" | "running"))).then_some(run)
    })
    .await;
    let log = alice.get(&format!("{path}/log")).await.expect(200).text;
    assert_eq!(run["state"], "succeeded", "{run:#}\n{log}");
    assert_eq!(run["commit"], json!(git(&work, &["rev-parse", "HEAD"])));

    let new = json!({"name": "own", "image": "alice/longshore:own", "command": ["--version"]});
    alice.post("/api/v1/containers", new).await.expect(201);
    let said = eventually("it says its version", RUN_SECS, || async {
        let said = alice.get("/api/v1/containers/own/log").await;
        (said.status == 200 && !said.text.trim().is_empty()).then_some(said.text)
    })
    .await;
    assert!(said.contains(concat!("longshore ", env!("CARGO_PKG_VERSION"))), "{said}");
    let own: Value = alice.get("/api/v1/containers/own").await.expect(200).json();
    assert_eq!(own["image"], "alice/longshore:own");
    server.stop().await;
}
