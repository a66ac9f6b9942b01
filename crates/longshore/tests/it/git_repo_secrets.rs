//! Secrets of git repositories: whose they are, and that nobody reads them back. What becomes of them in a build is in
//! `engine_secrets.rs` and `cluster_builds.rs`.

use serde_json::{Value, json};

use crate::support::server::TestServer;

const CANARY: &str = "CANARY-build-secret";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_set_listed_and_forgotten_and_never_read_back() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob, admin) =
        (server.account("alice").await, server.account("bob").await, server.admin().await);
    let body = json!({"repo_name": "app", "url": "https://git.example.org/team/app.git"});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    let path = |name: &str| format!("/api/v1/git-repos/{}/secrets/{name}", repo["id"]);
    let list = format!("/api/v1/git-repos/{}/secrets", repo["id"]);
    let names = async || -> Vec<Value> {
        let listed = alice.get(&list).await.expect(200).json();
        listed.as_array().unwrap().iter().map(|secret| secret["name"].clone()).collect()
    };

    let first = alice.put(&path("token"), json!({"value": CANARY})).await.expect(200).json();
    alice.put(&path("Token.2"), json!({"value": "two\nlines"})).await.expect(200);
    let again = alice.put(&path("token"), json!({"value": format!("{CANARY}-2")})).await.expect(200).json();
    assert_eq!(first["created_at"], again["created_at"]);
    assert_eq!(names().await, ["Token.2", "token"]);

    // Nobody else's.
    for (answer, what) in [
        (bob.get(&list).await, "list"),
        (bob.put(&path("token"), json!({"value": "stolen"})).await, "set"),
        (bob.delete(&path("token")).await, "delete"),
    ] {
        assert_eq!(answer.status, 404, "{what}: {}", answer.text);
    }

    for (name, value, said) in [
        ("token", String::new(), "1 to"),
        ("token", "x".repeat((48 << 10) + 1), "1 to"),
        ("-token", "x".to_owned(), "secret name"),
        ("a,src=%2Fetc", "x".to_owned(), "secret name"),
        ("..", "x".to_owned(), ""),
    ] {
        let refused = alice.put(&path(name), json!({"value": value})).await;
        assert!(matches!(refused.status, 404 | 405 | 422), "{name}: {}", refused.text);
        assert!(refused.text.contains(said), "{name}: {}", refused.text);
    }
    alice.put(&path("token"), json!({"value": "x", "more": 1})).await.expect(422);
    for number in 2..50 {
        alice.put(&path(&format!("n{number}")), json!({"value": "value"})).await.expect(200);
    }
    assert_eq!(
        alice.put(&path("surplus"), json!({"value": "x"})).await.expect(409).code(),
        "too_many_secrets"
    );
    alice.put(&path("token"), json!({"value": CANARY})).await.expect(200);

    let mut seen = String::new();
    for path in [list.as_str(), "/api/v1/git-repos", "/repo/", "/log/", "/api/v1/audit", "/api/v1/runs"] {
        seen.push_str(&admin.get(path).await.expect(200).text);
    }
    for name in ["longshore.db", "longshore.db-wal"] {
        let bytes = std::fs::read(server.data_dir().join(name)).unwrap_or_default();
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(seen.contains("SQLite format") && seen.contains("git_repo_secret.set"), "it was looked at");
    assert!(!seen.contains("CANARY"), "it is sealed wherever it is");

    alice.delete(&path("token")).await.expect(204);
    assert_eq!(alice.delete(&path("token")).await.expect(404).code(), "not_found");
    assert!(!names().await.contains(&json!("token")));
    for name in names().await {
        alice.delete(&path(name.as_str().unwrap())).await.expect(204);
    }
    server.stop().await;
}
