//! Chart repositories and charts: who sees which, names, pages of versions, and who is late.

use store::chart_repos::{self, Filter, Known, Outcome, Settings, Viewer};
use store::{Error, chart_keys, chart_syncs, charts};
use wire::builds::OperationState;
use wire::chart_repos::{ChartRepoBackend, ChartRepoKind, ChartRepoState, SyncCause};
use wire::ids::{AccountId, ChartKeyId, ChartRepoId, ChartSyncId};

use crate::support::{NOW, account, db_test, later, page};

fn settings(name: &str, is_public: bool) -> Settings {
    Settings {
        name: name.to_owned(),
        url: format!("https://{name}.example.org"),
        kind: ChartRepoKind::External,
        backend: ChartRepoBackend::Common,
        is_public,
        description: Some("ä chart repository".to_owned()),
        username: None,
        password: None,
        ca_certificate: None,
        sync_minutes: 60,
        requires_signature: false,
    }
}

fn id() -> ChartRepoId {
    ChartRepoId(uuid::Uuid::now_v7())
}

fn all(viewer: Viewer) -> Filter<'static> {
    Filter { viewer, kind: None, search: None, order_by: "name", ascending: true }
}

fn chart<'a>(name: &'a str, pages: &'a [String]) -> charts::New<'a> {
    charts::New {
        name,
        version: "1.0.0",
        app_version: None,
        description: "A database, 数据库",
        keywords: "sql relational",
        category: Some("Database"),
        published_at: Some(NOW),
        is_deprecated: false,
        version_count: 2,
        content_hash: "h",
        metadata: "{}",
        pages,
    }
}

db_test! {
    async fn lists_are_ordered_by_any_of_their_fields(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        let (of_bob, of_alice) = (id(), id());
        chart_repos::insert(&**db, of_bob, bob, &settings("a", true), NOW).await.unwrap();
        chart_repos::insert(&**db, of_alice, alice, &settings("b", true), later(1)).await.unwrap();

        for order_by in chart_repos::ORDERS {
            let ordered = async |ascending| {
                let filter = Filter { order_by, ascending, ..all(Viewer::Admin) };
                let found = chart_repos::list(&**db, filter, page(9, 0)).await.unwrap();
                found.rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
            };
            let mut turned = ordered(false).await;
            turned.reverse();
            assert_eq!(ordered(true).await, turned, "{order_by}");
            if *order_by == "owner" {
                assert_eq!(turned, [of_alice, of_bob]);
            }
        }
    }
}

db_test! {
    async fn names_are_unique_among_public_ones_and_for_each_account(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        let (one, two, three) = (id(), id(), id());
        chart_repos::insert(&**db, one, alice, &settings("a", true), NOW).await.unwrap();
        chart_repos::insert(&**db, two, bob, &settings("a", false), NOW).await.unwrap();
        chart_repos::insert(&**db, three, alice, &settings("b", false), NOW).await.unwrap();

        for (owner, name, is_public) in [(bob, "a", true), (bob, "a", false), (alice, "b", false)] {
            let taken = chart_repos::insert(&**db, id(), owner, &settings(name, is_public), NOW).await;
            assert!(matches!(taken, Err(Error::Duplicate)), "{name} {is_public}: {taken:?}");
        }
        let seen = async |viewer| {
            let found = chart_repos::list(&**db, all(viewer), page(9, 0)).await.unwrap();
            (found.total, found.rows.into_iter().map(|row| row.id).collect::<Vec<_>>())
        };
        assert_eq!(seen(Viewer::Account(alice)).await, (2, vec![one, three]));
        assert_eq!(seen(Viewer::Account(bob)).await, (2, vec![one, two]));
        assert_eq!(seen(Viewer::Admin).await.0, 3);
        let search = Filter { search: Some("B.EXAMPLE"), ..all(Viewer::Admin) };
        assert_eq!(chart_repos::list(&**db, search, page(9, 0)).await.unwrap().rows[0].id, three);
        assert_eq!(chart_repos::by_name(&**db, Viewer::Account(bob), "a").await.unwrap().len(), 2);
        assert!(chart_repos::has_name(&**db, alice, "a", None).await.unwrap());
        assert!(!chart_repos::has_name(&**db, alice, "a", Some(one)).await.unwrap());
        assert_eq!(chart_repos::count(&**db, alice).await.unwrap(), 2);
        assert!(chart_repos::delete(&**db, two).await.unwrap());
        assert!(!chart_repos::delete(&**db, two).await.unwrap());
    }
}

db_test! {
    async fn whoever_is_late_changes_nothing(db: &TestDb) {
        let alice = account(db, "alice").await;
        let repo = id();
        chart_repos::insert(&**db, repo, alice, &settings("a", true), NOW).await.unwrap();
        let row = chart_repos::get(&**db, repo).await.unwrap().unwrap();
        let known = Known { etag: Some("\"e\"".into()), body_hash: Some("f".repeat(64)), chart_count: 3, ..Known::default() };

        assert!(chart_repos::synced(&**db, &row, &Outcome::Read(&known), later(5)).await.unwrap());
        assert!(!chart_repos::synced(&**db, &row, &Outcome::Read(&Known::default()), later(6)).await.unwrap());
        assert!(!chart_repos::set(&**db, &row, &settings("b", true), true, later(6)).await.unwrap());
        let row = chart_repos::get(&**db, repo).await.unwrap().unwrap();
        assert_eq!((row.state, &row.known, row.last_sync_at), (ChartRepoState::Ready, &known, Some(later(5))));
        let failed = Outcome::Failed { code: "bad_status", message: "the repository answers with status 500" };
        assert!(chart_repos::synced(&**db, &row, &failed, later(7)).await.unwrap());
        let row = chart_repos::get(&**db, repo).await.unwrap().unwrap();
        assert_eq!((row.state, row.failures, &row.known), (ChartRepoState::Failed, 1, &known));
        assert!(chart_repos::set(&**db, &row, &settings("b", false), true, later(8)).await.unwrap());
        let row = chart_repos::get(&**db, repo).await.unwrap().unwrap();
        assert_eq!((row.state, row.known.etag, row.settings.name.as_str(), row.known.chart_count), (ChartRepoState::Syncing, None, "b", 3));
    }
}

db_test! {
    async fn charts_are_kept_with_their_versions_and_go_with_their_repository(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        let (hidden, public) = (id(), id());
        chart_repos::insert(&**db, hidden, alice, &settings("hidden", false), NOW).await.unwrap();
        chart_repos::insert(&**db, public, alice, &settings("public", true), NOW).await.unwrap();
        let pages = ["[1]".to_owned(), "[2]".to_owned()];
        charts::put(&**db, hidden, None, &chart("postgresql", &pages), NOW).await.unwrap();
        charts::put(&**db, public, None, &chart("mariadb", &pages), NOW).await.unwrap();
        let known = charts::hashes(&**db, public).await.unwrap()["mariadb"].0;

        charts::put(&**db, public, Some(known), &chart("mariadb", &pages[1..]), later(1)).await.unwrap();

        assert_eq!(charts::versions(&**db, known).await.unwrap(), ["[2]"]);
        let found = async |viewer, words: &[&str]| {
            let words: Vec<Vec<String>> = words.iter().map(|word| vec![(*word).to_owned()]).collect();
            let filter = charts::Filter { viewer, repos: None, name: None, words: &words, kind: None, category: None };
            let found = charts::list(&**db, filter, page(9, 0)).await.unwrap();
            found.rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(found(Viewer::Account(alice), &[]).await, ["mariadb", "postgresql"]);
        assert_eq!(found(Viewer::Account(bob), &[]).await, ["mariadb"]);
        // What has the first word in its name comes before what has it elsewhere.
        assert_eq!(found(Viewer::Admin, &["SQL", "数据"]).await, ["postgresql", "mariadb"]);
        assert_eq!(found(Viewer::Admin, &["sql", "maria"]).await, ["mariadb"]);
        assert_eq!(found(Viewer::Admin, &["%"]).await, [""; 0]);
        assert_eq!(charts::first_digest(&**db, public, "mariadb", "1.0.0", "d1", NOW).await.unwrap(), "d1");
        assert_eq!(charts::first_digest(&**db, public, "mariadb", "1.0.0", "d2", NOW).await.unwrap(), "d1");
        chart_repos::delete(&**db, public).await.unwrap();
        assert_eq!(found(Viewer::Admin, &[]).await, ["postgresql"]);
        assert!(charts::versions(&**db, known).await.unwrap().is_empty());
    }
}

db_test! {
    async fn syncs_are_kept_up_to_a_number(db: &TestDb) {
        let alice = account(db, "alice").await;
        let repo = id();
        chart_repos::insert(&**db, repo, alice, &settings("a", true), NOW).await.unwrap();
        let mut rows = Vec::new();
        for number in 0..5 {
            let row = chart_syncs::Row {
                id: ChartSyncId(uuid::Uuid::now_v7()),
                repo_id: repo,
                cause: SyncCause::Manual,
                state: OperationState::Queued,
                reason: None,
                message: None,
                started_at: later(number),
                ended_at: None,
                found: chart_syncs::Found { problems: vec!["`a`: b".into()], ..Default::default() },
            };
            chart_syncs::insert(&**db, &row).await.unwrap();
            rows.push(row);
        }
        assert_eq!(chart_syncs::open(&**db).await.unwrap().len(), 5);
        rows[4].state = OperationState::Succeeded;
        assert!(chart_syncs::set(&**db, &rows[4]).await.unwrap());
        assert_eq!(chart_syncs::get(&**db, rows[4].id).await.unwrap().as_ref(), Some(&rows[4]));

        chart_syncs::keep_newest(&**db, repo, 2).await.unwrap();

        let kept = chart_syncs::list(&**db, repo, page(9, 0)).await.unwrap();
        assert_eq!((kept.total, kept.rows), (2, vec![rows[4].clone(), rows[3].clone()]));
    }
}

fn key(owner: AccountId, repo: Option<ChartRepoId>) -> chart_keys::Row {
    chart_keys::Row {
        id: ChartKeyId(uuid::Uuid::now_v7()),
        repo_id: repo,
        account_id: owner,
        identity: "Sïgner <signer@example.org>".to_owned(),
        fingerprint: "AB".repeat(20),
        armored: "-----BEGIN\n".repeat(5_000),
        created_at: NOW,
    }
}

db_test! {
    async fn keys_count_for_their_repository_or_for_all_and_go_with_it(db: &TestDb) {
        let alice = account(db, "alice").await;
        let (one, other) = (id(), id());
        let signed = Settings { requires_signature: true, ..settings("one", false) };
        chart_repos::insert(&**db, one, alice, &signed, NOW).await.unwrap();
        chart_repos::insert(&**db, other, alice, &settings("other", false), NOW).await.unwrap();
        let (own, everywhere) = (key(alice, Some(one)), key(alice, None));
        chart_keys::insert(&**db, &own).await.unwrap();
        chart_keys::insert(&**db, &everywhere).await.unwrap();

        assert!(chart_repos::get(&**db, one).await.unwrap().unwrap().settings.requires_signature);
        assert!(!chart_repos::get(&**db, other).await.unwrap().unwrap().settings.requires_signature);
        assert_eq!(chart_keys::of_repo(&**db, Some(one)).await.unwrap(), [own.clone(), everywhere.clone()]);
        assert_eq!(chart_keys::of_repo(&**db, Some(other)).await.unwrap(), std::slice::from_ref(&everywhere));
        assert_eq!(chart_keys::of_repo(&**db, None).await.unwrap(), std::slice::from_ref(&everywhere));
        assert_eq!(chart_keys::count(&**db, Some(one)).await.unwrap(), 2);
        assert!(chart_repos::delete(&**db, one).await.unwrap());
        assert_eq!(chart_keys::get(&**db, own.id).await.unwrap(), None);
        assert!(chart_keys::delete(&**db, everywhere.id).await.unwrap());
        assert!(!chart_keys::delete(&**db, everywhere.id).await.unwrap());
    }
}
