//! Webhooks from a real Gitea: a push with real git becomes a run, and Gitea shows how its commit fares.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::archives::HELLO;
use crate::support::eventually;
use crate::support::git::{Repository, git};
use crate::support::gitea::{Gitea, push};
use crate::support::runs::{RUN_SECS, server_with, succeeded};

/// Runs of all repositories, the newest first.
async fn runs(api: &Api) -> Vec<Value> {
    api.get("/api/v1/runs").await.expect(200).json()["data"].as_array().unwrap().clone()
}

/// Waits until there are so many runs; the newest.
async fn newest(api: &Api, count: usize) -> Value {
    eventually(format!("run {count} was started"), RUN_SECS, || async {
        let runs = runs(api).await;
        (runs.len() == count).then(|| runs[0].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_real_gitea_becomes_a_run_and_gitea_shows_how_its_commit_fares() {
    let Some(gitea) = Gitea::start().await else { return };
    let Some(server) = server_with(&[]).await else { return };
    let alice = server.account("alice").await;
    let url = gitea.repository("app").await;
    let body = json!({
        "repo_name": "app", "url": url, "webhook_secret": "right", "status_token": gitea.api.token,
        "options": {"branches": ["main", "refs/tags/v*"]},
    });
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    let hook = gitea.webhook("app", &format!("{}/hook/app/", server.url), "right").await;
    let answers_are = async |hook: &Value, expected: &[u16]| {
        eventually(format!("Gitea was answered {expected:?}"), RUN_SECS, || async {
            (gitea.answers("app", hook).await == expected).then_some(())
        })
        .await;
    };
    let shows = async |commit: &str, state: &str| {
        eventually(format!("Gitea shows `{state}`"), RUN_SECS, || async {
            let status = gitea.status_of("app", commit).await;
            let is_ours = status["statuses"][0]["context"] == "longshore";
            (is_ours && status["state"] == state).then_some(())
        })
        .await;
    };
    let code = Repository::hello(HELLO);
    let work = code.work();

    // A push of a branch.
    let commit = git(&work, &["rev-parse", "HEAD"]);
    push(&work, &url, &["HEAD:refs/heads/main"]);
    let run = newest(&alice, 1).await;
    assert_eq!(
        (&run["cause"], &run["git_ref"], &run["commit"]),
        (&json!("webhook"), &json!("refs/heads/main"), &json!(commit))
    );
    succeeded(&alice, &run).await;
    shows(&commit, "success").await;
    // That it is new is told besides, and starts nothing.
    answers_are(&hook, &[200, 202]).await;

    // A tag that is an object of its own: what is built, and told of, is its commit.
    let commit = code.commit(&[("word", b"tagged")]);
    git(&work, &["tag", "-a", "-m", "a release", "v1"]);
    assert_ne!(git(&work, &["rev-parse", "v1"]), commit);
    push(&work, &url, &["v1"]);
    let run = newest(&alice, 2).await;
    let run = succeeded(&alice, &run).await;
    assert_eq!((&run["git_ref"], &run["commit"]), (&json!("refs/tags/v1"), &json!(commit)));
    shows(&commit, "success").await;
    answers_are(&hook, &[200, 200, 202, 202]).await;

    // Nothing to build: another branch, its end, and a commit that says so.
    push(&work, &url, &["HEAD:refs/heads/other"]);
    answers_are(&hook, &[200, 200, 200, 200, 202, 202]).await;
    push(&work, &url, &[":refs/heads/other"]);
    git(&work, &["commit", "--quiet", "--allow-empty", "-m", "words only [skip ci]"]);
    push(&work, &url, &["HEAD:refs/heads/main"]);
    eventually("the end of the branch and the skipped commit were told", RUN_SECS, || async {
        let answers = gitea.answers("app", &hook).await;
        (answers.len() >= 8 && answers.iter().filter(|status| **status == 202).count() == 2).then_some(())
    })
    .await;
    let deliveries =
        alice.get(&format!("/api/v1/git-repos/{}/deliveries", repo["id"])).await.expect(200).json();
    let deliveries = deliveries.as_array().unwrap();
    assert!(deliveries.iter().all(|delivery| delivery["provider"] == "gitea"), "{deliveries:#?}");
    for said in ["`delete` is no push", "`other`", "skipped"] {
        let is_said = |delivery: &Value| delivery["answer"].as_str().unwrap().contains(said);
        assert!(deliveries.iter().any(is_said), "{said}: {deliveries:#?}");
    }
    assert_eq!(runs(&alice).await.len(), 2);

    // Whoever does not know the secret is refused, and Gitea shows that.
    let wrong = gitea.webhook("app", &format!("{}/hook/app/", server.url), "wrong").await;
    git(&work, &["commit", "--quiet", "--allow-empty", "-m", "once more"]);
    push(&work, &url, &["HEAD:refs/heads/main"]);
    answers_are(&wrong, &[401]).await;
    let run = newest(&alice, 3).await;
    assert_eq!(succeeded(&alice, &run).await["commit"], git(&work, &["rev-parse", "HEAD"]));
    server.stop().await;
}
