//! Runs, and what is stored together with them.

use std::pin::pin;
use std::time::Duration;

use store::filtered::{By, Filter};
use store::git_repos::{self, Content};
use store::runs::{self, Line, New};
use store::{Backend, Db, Error, jobs, run_log, runners};
use tokio::time::timeout;
use uuid::Uuid;
use wire::builds::OperationState;
use wire::ids::{AccountId, BuildId, GitRepoId, RunId, RunnerUuid};
use wire::runs::{RunCause, RunExecutor};

use crate::support::{NOW, account, db_test};

fn new(account_id: AccountId, git_repo_id: GitRepoId, retry_of: Option<RunId>) -> New<'static> {
    New {
        uuid: BuildId(Uuid::now_v7()),
        account_id,
        git_repo_id,
        name: if retry_of.is_some() { "again" } else { "first" },
        repo_name: "app",
        job: "app-buildv1",
        kind: "nightly",
        image: "alice/app",
        image_tag: "v1",
        git_ref: "main",
        commit: retry_of.map(|_| "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"),
        description: "什么都不做",
        cause: if retry_of.is_some() { RunCause::Retry } else { RunCause::Manual },
        executor: RunExecutor::Kubernetes,
        retry_of,
        now: NOW,
    }
}

async fn repo_of(db: &Db, account_id: AccountId) -> GitRepoId {
    let content = Content { repo_name: "app".to_owned(), ..Content::default() };
    git_repos::insert(db, &git_repos::New { uuid: "app", account_id, content: &content, now: NOW })
        .await
        .unwrap()
}

db_test! {
    async fn a_run_is_stored_as_its_maker_is_told(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let repo = repo_of(c, alice).await;

        let first = new(alice, repo, None);
        let id = runs::insert(c, &first).await.unwrap();
        let again = new(alice, repo, Some(id));
        let again_id = runs::insert(c, &again).await.unwrap();

        assert_eq!(runs::get(c, id).await.unwrap(), Some(first.stored(id)));
        assert_eq!(runs::get(c, again_id).await.unwrap(), Some(again.stored(again_id)));
        let twin = runs::insert(c, &New { uuid: BuildId(Uuid::now_v7()), ..first }).await;
        assert!(matches!(twin, Err(Error::Duplicate)), "{twin:?}");
    }
}

db_test! {
    async fn runs_of_a_repository_are_accepted_one_after_the_other(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let repo = repo_of(c, alice).await;

        let ask = async || {
            let tx = c.begin().await.unwrap();
            let line = runs::line(&tx, alice, repo).await.unwrap();
            (tx, line)
        };
        let (first, line) = ask().await;
        assert_eq!(line, Some(Line { queued: 0, queued_builds: 0, latest_name: None }));
        let mut second = pin!(ask());
        assert!(timeout(Duration::from_millis(300), &mut second).await.is_err(), "two were asked for at once");

        runs::insert(&first, &new(alice, repo, None)).await.unwrap();
        first.commit().await.unwrap();
        let (second, line) = second.await;
        assert_eq!(line, Some(Line { queued: 1, queued_builds: 0, latest_name: Some("first".to_owned()) }));
        second.commit().await.unwrap();

        git_repos::delete(c, repo).await.unwrap();
        let tx = c.begin().await.unwrap();
        assert_eq!(runs::line(&tx, alice, repo).await.unwrap(), None);
    }
}

db_test! {
    async fn what_is_stored_later_is_there_for_the_next_statement_and_stays_with_the_commit(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let repo = repo_of(c, alice).await;
        let content = runners::Content { name: "it's; a `name` with ? in it".to_owned(), ..runners::Content::default() };

        for is_kept in [false, true] {
            let tx = c.begin().await.unwrap();
            let run = New { name: "r", ..new(alice, repo, None) };
            let id = runs::insert(&tx, &run).await.unwrap();
            let runner = runners::New {
                uuid: RunnerUuid(Uuid::now_v7()), account_id: alice, run_id: Some(id), content: &content, now: NOW,
            };
            runners::insert_later(&tx, &runner).await.unwrap();
            let line = |msg: &'static str| run_log::New {
                account_id: alice,
                git_repo_id: repo,
                run_id: Some(id),
                repo_name: "app",
                event_uuid: "e",
                runner_uuid: "r",
                msg,
                now: NOW,
            };
            run_log::insert_later(&tx, &line("one; two")).await.unwrap();
            let number = run_log::insert(&tx, &line("three")).await.unwrap();
            let job = jobs::New {
                kind: jobs::Kind::RunPipeline, target: "t", account_id: Some(alice), run_at: NOW, now: NOW,
            };
            let job = jobs::enqueue(&tx, &job).await.unwrap();

            assert_eq!(run_log::get(&tx, number).await.unwrap().unwrap().msg, "three");
            assert!(jobs::get(&tx, job).await.unwrap().is_some());
            let many = jobs::New {
                kind: jobs::Kind::DeleteImage,
                target: "many",
                account_id: None,
                run_at: NOW,
                now: NOW,
            };
            for _ in 0..100 {
                jobs::enqueue(&tx, &many).await.unwrap();
            }
            let last = jobs::New {
                kind: jobs::Kind::Notify, target: "u", account_id: None, run_at: NOW, now: NOW,
            };
            let last = jobs::enqueue(&tx, &last).await.unwrap();
            if is_kept {
                tx.commit().await.unwrap();
            } else {
                drop(tx);
            }

            let queued = jobs::count(c, jobs::State::Queued).await.unwrap();
            assert_eq!(queued, if is_kept { 102 } else { 0 });
            let stored = runners::of_run(c, id).await.unwrap();
            assert_eq!(stored.map(|row| row.content), is_kept.then(|| content.clone()));
            let lines = run_log::list(c, &Filter::default()).await.unwrap();
            let lines: Vec<_> = lines.rows.into_iter().map(|row| row.msg).collect();
            assert_eq!(lines.len(), if is_kept { 2 } else { 0 }, "{lines:?}");
            for job in [job, last] {
                assert_eq!(jobs::get(c, job).await.unwrap().is_some(), is_kept);
            }
        }
    }
}

db_test! {
    async fn rows_are_ordered_by_what_a_word_stands_for(db: &TestDb) {
        const NUMBERS: &[(&str, i32)] = &[("queued", 1), ("running", 2), ("cancelled", 4)];
        let c = &**db;
        let alice = account(c, "alice").await;
        let repo = repo_of(c, alice).await;
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            let run = New { name, uuid: BuildId(Uuid::now_v7()), ..new(alice, repo, None) };
            ids.push(runs::insert(c, &run).await.unwrap());
        }
        let tx = c.begin().await.unwrap();
        let outcome = runs::Outcome {
            state: OperationState::Cancelled, reason: None, message: None, digest: None, steps: &[],
        };
        runs::finish(&tx, ids[0], &outcome, NOW).await.unwrap();
        runs::set_running(&tx, ids[1], NOW).await.unwrap();
        tx.commit().await.unwrap();

        let names = async |by, is_descending| {
            let filter = Filter { order: vec![(by, is_descending)], ..Filter::default() };
            let rows = runs::list(c, &filter).await.unwrap().rows;
            rows.iter().map(|row| row.name.as_str()).collect::<String>()
        };
        assert_eq!(names(By::Number("state", NUMBERS), false).await, "cba");
        assert_eq!(names(By::Number("state", NUMBERS), true).await, "abc");
        assert_eq!(names(By::Column("state"), false).await, "acb");
    }
}

db_test! {
    async fn a_search_has_a_bound(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        repo_of(c, alice).await;
        let search = async |text: String| {
            let columns = ["repo_name", "url", "branch", "image", "description"].as_slice();
            let filter = Filter { search: Some((columns, text)), ..Filter::default() };
            git_repos::list(c, &filter).await.map(|found| found.total)
        };

        assert_eq!(search("app, ".repeat(32)).await.unwrap(), 1);
        for count in [33, 1_000, 20_000] {
            let refused = search("app, ".repeat(count)).await;
            assert!(matches!(refused, Err(Error::TooManyWords(32))), "{refused:?}");
        }
        assert_eq!(search("a".repeat(60_000)).await.unwrap(), 0);
    }
}

db_test! {
    async fn what_cannot_be_stored_later_fails_the_transaction(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let content = runners::Content::default();
        let nobodys = runners::New {
            uuid: RunnerUuid(Uuid::now_v7()), account_id: AccountId(4711), run_id: None, content: &content, now: NOW,
        };
        let job = jobs::New { kind: jobs::Kind::Notify, target: "t", account_id: Some(alice), run_at: NOW, now: NOW };

        let tx = c.begin().await.unwrap();
        let job = jobs::enqueue(&tx, &job).await.unwrap();
        let stored = runners::insert_later(&tx, &nobodys).await;

        // SQLite is asked at the end.
        assert_eq!(stored.is_ok(), c.backend() == Backend::Sqlite);
        if stored.is_ok() {
            assert!(tx.commit().await.is_err());
        } else {
            drop(tx);
        }
        assert_eq!(jobs::get(c, job).await.unwrap(), None);
    }
}
