//! Secrets of git repositories: one of a name per repository, and none outlives it.

use store::git_repo_secrets::{self as secrets, Row};
use store::git_repos::{self, Content, New};

use crate::support::{NOW, account, db_test, later};

db_test! {
    async fn a_secret_has_one_value_and_goes_with_its_repository(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let mut repos = Vec::new();
        for name in ["one", "two"] {
            let content = Content { repo_name: name.to_owned(), ..Content::default() };
            let new = New { uuid: name, account_id: alice, content: &content, now: NOW };
            repos.push(git_repos::insert(c, &new).await.unwrap());
        }
        let row = |repo: usize, name: &str, value: &str, secs| Row {
            uuid: format!("{value} of {name}"),
            git_repo_id: repos[repo],
            name: name.parse().unwrap(),
            value: value.to_owned(),
            created_at: NOW,
            updated_at: later(secs),
        };

        let tx = c.begin().await.unwrap();
        for row in [row(0, "token", "a", 0), row(0, "Token", "b", 0), row(1, "token", "c", 0), row(0, "token", "d", 9)] {
            secrets::put(&tx, &row).await.unwrap();
        }
        tx.commit().await.unwrap();

        let mut of_one = secrets::of_repo(c, repos[0]).await.unwrap();
        of_one.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(of_one, [row(0, "Token", "b", 0), row(0, "token", "d", 9)]);
        assert!(secrets::delete(c, repos[0], &"Token".parse().unwrap()).await.unwrap());
        assert!(!secrets::delete(c, repos[0], &"Token".parse().unwrap()).await.unwrap());
        assert_eq!(secrets::of_repo(c, repos[0]).await.unwrap().len(), 1);
        assert!(git_repos::delete(c, repos[1]).await.unwrap());
        assert!(secrets::of_repo(c, repos[1]).await.unwrap().is_empty());
    }
}
