//! What a repository may contain to reach further than its own image.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::git::{Access, HttpServer, Repository};
use crate::support::runs::{self, log_of, server_with, start};
use crate::support::site::Site;

async fn ended(api: &Api, repo: &Value) -> (Value, String) {
    let run = start(api, repo).await;
    let run = runs::ended(api, &run).await;
    let log = log_of(api, &run).await;
    (run, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_runs_nothing_and_reads_nothing_where_it_is_fetched() {
    let Some(server) = server_with(&[]).await else { return };
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
