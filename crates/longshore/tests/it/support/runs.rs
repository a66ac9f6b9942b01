//! Runs of pipelines over the API: a repository of a git server, its run, and how that ends.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::eventually;
use super::git::HttpServer;
use super::server::TestServer;

/// Seconds that a run may take on a machine that has much else to do.
pub(crate) const RUN_SECS: u64 = 180;

/// Git servers of tests are on loopback, which nobody reaches without this.
pub(crate) const LOOPBACK: (&str, &str) = ("outbound.allow", "127.0.0.0/8");

/// A server on the test engine that reaches git servers on loopback; none when the engine is skipped.
pub(crate) async fn server_with(settings: &[(&str, &str)]) -> Option<TestServer> {
    super::engine()?;
    let settings: Vec<_> = [LOOPBACK].into_iter().chain(settings.iter().copied()).collect();
    Some(TestServer::start_with(&settings).await)
}

/// Adds the repository `app.git` of a git server.
pub(crate) async fn add(api: &Api, name: &str, git_server: &HttpServer, more: Value) -> Value {
    let mut body = json!({"repo_name": name, "url": format!("{}/app.git", git_server.url)});
    body.as_object_mut()
        .expect("it is an object")
        .extend(more.as_object().expect("more is an object").clone());
    api.post("/api/v1/git-repos", body).await.expect(201).json()
}

/// Starts a run.
pub(crate) async fn start(api: &Api, repo: &Value) -> Value {
    api.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await.expect(202).json()
}

/// Waits for a run's end.
pub(crate) async fn ended(api: &Api, run: &Value) -> Value {
    let path = format!("/api/v1/runs/{}", run["id"]);
    eventually("the run ends", RUN_SECS, || async {
        let run = api.get(&path).await.expect(200).json();
        (!matches!(run["state"].as_str(), Some("queued" | "running"))).then_some(run)
    })
    .await
}

/// Waits for a run that must succeed.
pub(crate) async fn succeeded(api: &Api, run: &Value) -> Value {
    let run = ended(api, run).await;
    assert_eq!(run["state"], "succeeded", "{run:#}\n{}", log_of(api, &run).await);
    run
}

/// What a run's log says now.
pub(crate) async fn log_of(api: &Api, run: &Value) -> String {
    api.get(&format!("/api/v1/runs/{}/log", run["id"])).await.expect(200).text
}

/// Gives a run up.
pub(crate) async fn cancel(api: &Api, run: &Value) {
    let request = api.request(Method::POST, &format!("/api/v1/runs/{}/cancel", run["id"]));
    let answer = api.send(request).await;
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text);
}
