//! Webhooks in the shapes of every provider, signed for real; and what must not start a run.

use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::server::TestServer;

const SECRET: &str = "correct horse";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, body.as_bytes()))
}

fn push(git_ref: &str, commit: &str) -> Value {
    json!({
        "ref": git_ref, "after": commit, "head_commit": {"message": "a change"},
        "commits": [{"id": commit, "added": ["src/a.rs"], "modified": [], "removed": []}],
        "repository": {"full_name": "team/app", "default_branch": "main"},
    })
}

async fn send(server: &TestServer, repo: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = server.api.request(Method::POST, &format!("/hook/{repo}/")).body(body.to_owned());
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.api.send(request).await
}

async fn send_github(server: &TestServer, repo: &str, event: &str, body: &str) -> Answer {
    let signature = format!("sha256={}", signature(SECRET, body));
    send(server, repo, &[("x-github-event", event), ("x-hub-signature-256", &signature)], body).await
}

/// A server, and a repository whose git server takes connections and never answers: runs are started and go on.
async fn prepared() -> (TestServer, Api, std::net::TcpListener, Value) {
    prepared_with(&[("builds.queued_per_account", "500")]).await
}

async fn prepared_with(settings: &[(&str, &str)]) -> (TestServer, Api, std::net::TcpListener, Value) {
    let settings = [&[("outbound.allow", "127.0.0.0/8")], settings].concat();
    let server = TestServer::without_engine(&settings).await;
    let alice = server.account("alice").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/team/app.git", silent.local_addr().unwrap());
    let body = json!({"repo_name": "app", "url": url, "webhook_secret": SECRET});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    (server, alice, silent, repo)
}

async fn events(api: &Api) -> Vec<Value> {
    api.get("/event/").await.expect(200).json().as_array().unwrap().clone()
}

/// Provider, headers, body.
type Case<'a> = (&'a str, Vec<(&'a str, String)>, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_starts_a_run_of_what_was_pushed() {
    let (server, alice, _silent, repo) = prepared().await;
    assert_eq!((&repo["webhook_path"], &repo["has_webhook_secret"]), (&json!("/hook/app"), &json!(true)));
    let commit = |number: u8| format!("{number:02x}{}", &COMMIT[2..]);
    let github = push("refs/heads/main", &commit(1)).to_string();
    let gitea = push("refs/heads/main", &commit(2)).to_string();
    let gitlab = json!({
        "object_kind": "push", "ref": "refs/heads/main", "after": commit(3), "checkout_sha": commit(3),
        "project": {"path_with_namespace": "team/app", "default_branch": "main"}, "commits": [], "total_commits_count": 0,
    })
    .to_string();
    let timed = gitlab.replace(&commit(3), &commit(4));
    let cloud = json!({
        "push": {"changes": [{"old": null, "new": {"type": "branch", "name": "main", "target": {"hash": commit(5), "message": "m"}}}]},
        "repository": {"full_name": "team/app", "mainbranch": {"name": "main"}},
    })
    .to_string();
    let center = json!({
        "eventKey": "repo:refs_changed", "repository": {"slug": "app", "project": {"key": "TEAM"}},
        "changes": [{"ref": {"id": "refs/heads/main"}, "toHash": commit(6), "type": "UPDATE"}],
    })
    .to_string();
    let now = server.app.now().unix_secs().to_string();
    let standard = {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signed = hmac::sign(&key, format!("d4.{now}.{timed}").as_bytes());
        format!("v1,{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signed))
    };
    let prefixed = |body: &str| format!("sha256={}", signature(SECRET, body));
    let cases: Vec<Case<'_>> = vec![
        (
            "github",
            vec![("x-github-event", "push".into()), ("x-hub-signature-256", prefixed(&github))],
            &github,
        ),
        (
            "gitea",
            vec![
                ("x-gitea-event", "push".into()),
                ("x-github-event", "push".into()),
                ("x-gitea-signature", signature(SECRET, &gitea)),
                ("x-hub-signature-256", prefixed(&gitea)),
            ],
            &gitea,
        ),
        ("gitlab", vec![("x-gitlab-event", "Push Hook".into()), ("x-gitlab-token", SECRET.into())], &gitlab),
        (
            "gitlab",
            vec![
                ("x-gitlab-event", "Push Hook".into()),
                ("webhook-id", "d4".into()),
                ("webhook-timestamp", now.clone()),
                ("webhook-signature", standard),
            ],
            &timed,
        ),
        (
            "bitbucket",
            vec![("x-event-key", "repo:push".into()), ("x-hub-signature", prefixed(&cloud))],
            &cloud,
        ),
        (
            "bitbucket",
            vec![("x-event-key", "repo:refs_changed".into()), ("x-hub-signature", prefixed(&center))],
            &center,
        ),
    ];

    // Bitbucket's server does not say which branch is the default branch.
    let (_, headers, body) = &cases[5];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let unknown = format!("{body} ");
    let signature = prefixed(&unknown);
    let headers = [headers[0], ("x-hub-signature", signature.as_str())];
    let answer = send(&server, "app", &headers, &unknown).await.expect(200).json();
    assert!(answer["ignored"].as_str().unwrap().contains("default branch"), "{answer}");
    assert_eq!(events(&alice).await.len(), 0);

    for (number, (provider, headers, body)) in (1..).zip(&cases) {
        if number == 6 {
            alice
                .patch(&format!("/api/v1/git-repos/{}", repo["id"]), json!({"branch": "main"}))
                .await
                .expect(200);
        }
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = send(&server, "app", &headers, body).await.expect(202).json();
        let newest = &events(&alice).await[0];
        assert_eq!(
            (&newest["name"], &newest["commit"]),
            (&answer["event"], &json!(commit(number))),
            "{provider}"
        );
        let deliveries =
            alice.get(&format!("/api/v1/git-repos/{}/deliveries", repo["id"])).await.expect(200).json();
        assert_eq!((&deliveries[0]["provider"], &deliveries[0]["status"]), (&json!(provider), &json!(202)));
        assert_eq!(deliveries[0]["run_id"], newest["id"]);
    }
    let run = alice.get(&format!("/api/v1/runs/{}", events(&alice).await[0]["id"])).await.json();
    assert_eq!((&run["cause"], &run["git_ref"]), (&json!("webhook"), &json!("refs/heads/main")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_delivery_sent_fifty_times_at_once_starts_one_run() {
    let (server, alice, _silent, repo) = prepared().await;
    let body = push("refs/heads/main", COMMIT).to_string();

    let sent = (0..50).map(|_| send_github(&server, "app", "push", &body));
    let answers = futures_all(sent).await;

    let started = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(started, 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 202)), "{answers:?}");
    assert_eq!(events(&alice).await.len(), 1);

    // Another delivery of the same commit while that is built, and one with a byte flipped.
    let mut again = push("refs/heads/main", COMMIT);
    again["pushed_again"] = json!(true);
    let again = send_github(&server, "app", "push", &again.to_string()).await.expect(200).json();
    assert_eq!(again["event"], events(&alice).await[0]["name"]);
    let signed = format!("sha256={}", signature(SECRET, &body));
    let flipped = body.replace("main", "mbin");
    let headers = [("x-github-event", "push"), ("x-hub-signature-256", signed.as_str())];
    send(&server, "app", &headers, &flipped).await.expect(401);
    assert_eq!(events(&alice).await.len(), 1);
    assert_eq!(
        alice
            .get(&format!("/api/v1/git-repos/{}/deliveries", repo["id"]))
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_several_branches_starts_a_run_for_each() {
    let (server, alice, _silent, repo) = prepared().await;
    let options = json!({"branches": ["*"]});
    alice.patch(&format!("/api/v1/git-repos/{}", repo["id"]), json!({"options": options})).await.expect(200);
    let change = |name: &str, number: u8| {
        let commit = format!("{number:02x}{}", &COMMIT[2..]);
        json!({"old": null, "new": {"type": "branch", "name": name, "target": {"hash": commit, "message": "m"}}})
    };
    let deliver = async |changes: Vec<Value>| {
        let body = json!({"push": {"changes": changes}, "repository": {"full_name": "team/app"}}).to_string();
        let signature = format!("sha256={}", signature(SECRET, &body));
        send(&server, "app", &[("x-event-key", "repo:push"), ("x-hub-signature", &signature)], &body).await
    };
    let newest_delivery = async || {
        let path = format!("/api/v1/git-repos/{}/deliveries", repo["id"]);
        alice.get(&path).await.expect(200).json()[0].clone()
    };

    let both = deliver(vec![change("one", 1), change("two", 2)]).await.expect(202).json();
    let rows = events(&alice).await;
    assert_eq!(both["events"], json!([rows[1]["name"], rows[0]["name"]]));
    assert_eq!((&both["event"], rows.len()), (&rows[1]["name"], 2));
    let delivery = newest_delivery().await;
    assert_eq!((&delivery["run_id"], &delivery["status"]), (&rows[1]["id"], &json!(202)));
    assert_eq!(delivery["answer"], "runs of refs/heads/one, refs/heads/two were started");
    let again = deliver(vec![change("one", 1), change("two", 2)]).await.expect(200).json();
    assert_eq!(again, json!({"ignored": "this delivery was handled already"}));

    // One of them is built already, also as the last.
    let mixed = deliver(vec![change("three", 3), change("one", 1)]).await.expect(202).json();
    let rows = events(&alice).await;
    assert_eq!(mixed["event"], rows[0]["name"]);
    assert_eq!(mixed["events"], json!([rows[0]["name"], both["event"]]));
    assert!(mixed["ignored"].as_str().unwrap().contains("builds this commit already"), "{mixed}");
    let delivery = newest_delivery().await;
    assert_eq!(
        (&delivery["run_id"], &delivery["answer"]),
        (&rows[0]["id"], &json!("a run of refs/heads/three was started"))
    );
    let known = deliver(vec![change("again", 2)]).await.expect(200).json();
    assert_eq!((&known["event"], &known["events"]), (&both["events"][1], &Value::Null));

    let many = deliver((10..32).map(|number| change(&format!("b{number}"), number)).collect()).await;
    let many = many.expect(202).json();
    assert_eq!(many["events"].as_array().unwrap().len(), 20);
    assert_eq!(many["ignored"], "only the first 20 of 22 changes start runs");
    assert_eq!(events(&alice).await.len(), 23);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_place_in_the_line_is_told_beside_what_was_started() {
    let (server, alice, _silent, repo) = prepared_with(&[("builds.queued_per_account", "3")]).await;
    let options = json!({"branches": ["*"]});
    alice.patch(&format!("/api/v1/git-repos/{}", repo["id"]), json!({"options": options})).await.expect(200);
    let changes: Vec<Value> = (10..30)
        .map(|number| {
            let commit = format!("{number:02x}{}", &COMMIT[2..]);
            json!({"new": {"type": "branch", "name": format!("b{number}"), "target": {"hash": commit}}})
        })
        .collect();
    let body = json!({"push": {"changes": changes}, "repository": {"full_name": "team/app"}}).to_string();
    let signature = format!("sha256={}", signature(SECRET, &body));
    let headers = [("x-event-key", "repo:push"), ("x-hub-signature", signature.as_str())];

    let some = send(&server, "app", &headers, &body).await.expect(202).json();
    let started = some["events"].as_array().unwrap().len();
    assert!((3..20).contains(&started), "{some}");
    let why = format!("no run of refs/heads/b{} was started: ", 10 + started);
    assert!(some["ignored"].as_str().unwrap().starts_with(&why), "{some}");
    assert_eq!(events(&alice).await.len(), started);
    send(&server, "app", &headers, &body).await.expect(200);
    assert_eq!(events(&alice).await.len(), started);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_whose_name_is_too_long_to_be_kept_is_no_failure() {
    let (server, alice, _silent, repo) = prepared().await;
    let options = json!({"branches": ["*"]});
    alice.patch(&format!("/api/v1/git-repos/{}", repo["id"]), json!({"options": options})).await.expect(200);

    let body = push(&format!("refs/heads/{}", "b".repeat(300)), COMMIT).to_string();
    let answer = send_github(&server, "app", "push", &body).await.expect(200).json();
    assert!(answer["ignored"].as_str().unwrap().contains("more than 300 characters"), "{answer}");
    let run = json!({"git_repo_id": repo["id"], "git_ref": "a".repeat(301)});
    let refused = alice.post("/api/v1/runs", run).await.expect(422).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid"), &json!("git_ref")));
    assert_eq!(events(&alice).await.len(), 0);

    let run = json!({"git_repo_id": repo["id"], "git_ref": "a".repeat(300)});
    alice.post("/api/v1/runs", run).await.expect(202);
    server.stop().await;
}

async fn futures_all(requests: impl Iterator<Item = impl Future<Output = Answer>>) -> Vec<Answer> {
    futures::future::join_all(requests).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_with_the_repositorys_own_secret_is_refused_alike() {
    let (server, alice, _silent, repo) = prepared().await;
    let body = push("refs/heads/main", COMMIT).to_string();
    let right = format!("sha256={}", signature(SECRET, &body));
    let wrong = format!("sha256={}", signature("wrong", &body));
    alice
        .post("/api/v1/git-repos", json!({"repo_name": "open", "url": "https://h.example.org/team/app"}))
        .await
        .expect(201);
    let empty = format!("sha256={}", signature("", &body));

    let mut bodies = Vec::new();
    for (name, headers) in [
        ("app", vec![("x-github-event", "push")]),
        ("app", vec![("x-github-event", "push"), ("x-hub-signature-256", wrong.as_str())]),
        ("app", vec![("x-github-event", "push"), ("x-hub-signature", right.as_str())]),
        ("app", vec![("x-hub-signature-256", right.as_str())]),
        ("app", vec![("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "wrong")]),
        ("app", vec![("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "")]),
        ("nowhere", vec![("x-github-event", "push"), ("x-hub-signature-256", right.as_str())]),
        ("999", vec![("x-github-event", "push"), ("x-hub-signature-256", right.as_str())]),
        // No secret is no secret, and not an empty one.
        ("open", vec![("x-github-event", "push"), ("x-hub-signature-256", empty.as_str())]),
    ] {
        let mut answer = send(&server, name, &headers, &body).await.expect(401).json();
        answer["request_id"] = Value::Null;
        bodies.push(answer);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
    // What is not signed is not even read.
    send(&server, "app", &[("x-github-event", "push")], "{{{{").await.expect(401);
    let old = (server.app.now().unix_secs() - 3_600).to_string();
    let headers = [
        ("x-gitlab-event", "Push Hook"),
        ("x-gitlab-token", SECRET),
        ("webhook-id", "1"),
        ("webhook-timestamp", old.as_str()),
        ("webhook-signature", "v1,AAAA"),
    ];
    send(&server, "app", &headers, &body).await.expect(401);
    assert_eq!(events(&alice).await, Vec::<Value>::new());
    // By its number it is found too.
    send_github(&server, &repo["id"].to_string(), "push", &body).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_marks_decide_what_is_built() {
    let (server, alice, _silent, repo) = prepared().await;
    let commit = |number: u8| format!("{number:02x}{}", &COMMIT[2..]);
    let ignored = async |body: &Value| {
        let answer = send_github(&server, "app", "push", &body.to_string()).await.expect(200).json();
        answer["ignored"].as_str().unwrap_or_default().to_owned()
    };

    assert!(send_github(&server, "app", "ping", "{}").await.expect(200).json()["ignored"].is_string());
    assert!(ignored(&push("refs/heads/other", &commit(1))).await.contains("`other`"));
    assert!(ignored(&push("refs/tags/v1", &commit(2))).await.contains("`v1`"));
    assert!(ignored(&push("refs/heads/main", &"0".repeat(40))).await.contains("deleted"));
    let mut skipped = push("refs/heads/main", &commit(3));
    skipped["head_commit"]["message"] = json!("docs [Skip CI]");
    assert!(ignored(&skipped).await.contains("skipped"));
    let mut foreign = push("refs/heads/main", &commit(4));
    foreign["repository"]["full_name"] = json!("team/other");
    assert!(ignored(&foreign).await.contains("another repository"));
    for nonsense in ["", "[]", "null", "{\"ref\": {}}", "x"] {
        send_github(&server, "app", "push", nonsense).await.expect(200);
    }
    assert_eq!(events(&alice).await.len(), 0);

    let options = json!({"branches": ["release/*", "refs/tags/v*"], "paths": ["src", "*.toml"]});
    alice.patch(&format!("/api/v1/git-repos/{}", repo["id"]), json!({"options": options})).await.expect(200);
    assert!(ignored(&push("refs/heads/main", &commit(5))).await.contains("`main`"));
    let mut docs = push("refs/heads/release/1", &commit(6));
    docs["commits"][0]["added"] = json!(["docs/a.md"]);
    assert!(ignored(&docs).await.contains("no file changed"));
    // Moved to another owner, or reached through a mirror, it is the same by its name: that of its address or the one it has here.
    for (git_ref, number, project) in [
        ("refs/heads/release/1", 7, "team/app"),
        ("refs/tags/v2", 8, "team/app"),
        ("refs/tags/v3", 9, "new-owner/App"),
    ] {
        let mut body = push(git_ref, &commit(number));
        body["repository"]["full_name"] = json!(project);
        send_github(&server, "app", "push", &body.to_string()).await.expect(202);
    }
    let path = format!("/api/v1/git-repos/{}", repo["id"]);
    alice.patch(&path, json!({"repo_name": "app-here"})).await.expect(200);
    let mut here = push("refs/tags/v4", &commit(10));
    here["repository"]["full_name"] = json!("any/App-Here");
    send_github(&server, "app-here", "push", &here.to_string()).await.expect(202);
    assert_eq!(events(&alice).await.len(), 4);
    let deliveries = alice.get(&format!("/api/v1/git-repos/{}/deliveries", repo["id"])).await.json();
    assert!(deliveries.as_array().unwrap().len() > 10);
    assert!(!deliveries.to_string().contains(SECRET));
    server.stop().await;
}
