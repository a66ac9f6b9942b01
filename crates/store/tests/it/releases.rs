//! Releases: one place has one, one operation at a time, and what was done outlives it.

use store::{Error, chart_repos, release_operations, releases};
use wire::builds::OperationState;
use wire::chart_repos::{ChartRepoBackend, ChartRepoKind};
use wire::ids::{AccountId, ChartRepoId, ReleaseId, ReleaseOperationId};
use wire::releases::{ReleaseAction, ReleaseState};

use crate::support::{NOW, TestDb, account, db_test, later, page};

async fn repo(db: &TestDb, owner: AccountId) -> ChartRepoId {
    let id = ChartRepoId(uuid::Uuid::now_v7());
    let settings = chart_repos::Settings {
        name: "own".to_owned(),
        url: "https://example.org".to_owned(),
        kind: ChartRepoKind::External,
        backend: ChartRepoBackend::Common,
        is_public: false,
        description: None,
        username: None,
        password: None,
        ca_certificate: None,
        sync_minutes: 60,
        requires_signature: false,
    };
    chart_repos::insert(&**db, id, owner, &settings, NOW).await.unwrap();
    id
}

fn release(owner: AccountId, repo: ChartRepoId, name: &str) -> releases::Row {
    releases::Row {
        id: ReleaseId(uuid::Uuid::now_v7()),
        account_id: owner,
        place: releases::Place {
            cluster: "test".parse().unwrap(),
            namespace: "alice-test".parse().unwrap(),
            name: name.to_owned(),
        },
        chart: releases::Chart {
            kind: ChartRepoKind::External,
            repo_id: Some(repo),
            repo_name: "own".to_owned(),
            name: "web".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: None,
        },
        revision: 0,
        state: ReleaseState::PendingInstall,
        reason: None,
        message: None,
        resources: Some("[]".to_owned()),
        operation_id: Some(ReleaseOperationId(uuid::Uuid::now_v7())),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn operation(release: &releases::Row, id: ReleaseOperationId) -> release_operations::Row {
    release_operations::Row {
        id,
        release_id: release.id,
        account_id: release.account_id,
        place: release.place.clone(),
        action: ReleaseAction::Install,
        chart: "web-1.0.0".to_owned(),
        state: OperationState::Queued,
        reason: None,
        message: None,
        payload: Some("sealed".to_owned()),
        base_revision: 0,
        revision: None,
        cancel_requested: false,
        created_at: NOW,
        started_at: None,
        ended_at: None,
    }
}

db_test! {
    async fn a_release_has_its_place_alone_and_one_operation_at_a_time(db: &TestDb) {
        let alice = account(db, "alice").await;
        let repo = repo(db, alice).await;
        let web = release(alice, repo, "web");
        releases::insert(&**db, &web).await.unwrap();

        assert!(matches!(releases::insert(&**db, &release(alice, repo, "web")).await, Err(Error::Duplicate)));
        assert_eq!(releases::get(&**db, web.id).await.unwrap().as_ref(), Some(&web));
        assert_eq!(chart_repos::release_counts(&**db, &[repo]).await.unwrap()[&repo], 1);
        assert!(chart_repos::delete(&**db, repo).await.is_err(), "a used repository stays");
        let (first, second) = (web.operation_id.unwrap(), ReleaseOperationId(uuid::Uuid::now_v7()));
        assert!(!releases::begin(&**db, web.id, second, ReleaseState::PendingUpgrade, later(1)).await.unwrap());
        let chart = releases::Chart { version: "1.1.0".to_owned(), ..web.chart.clone() };
        let outcome = releases::Outcome { state: ReleaseState::Deployed, revision: 1, chart: &chart, resources: None, reason: None, message: Some("m") };
        assert!(!releases::finish(&**db, web.id, second, &outcome, later(2)).await.unwrap());
        assert!(releases::finish(&**db, web.id, first, &outcome, later(2)).await.unwrap());
        let found = releases::get(&**db, web.id).await.unwrap().unwrap();
        assert_eq!((found.revision, found.state, found.chart.version.as_str(), found.operation_id), (1, ReleaseState::Deployed, "1.1.0", None));
        assert!(releases::begin(&**db, web.id, second, ReleaseState::Uninstalling, later(3)).await.unwrap());
        assert!(releases::delete(&**db, web.id).await.unwrap());
        assert!(chart_repos::delete(&**db, repo).await.unwrap());
    }
}

db_test! {
    async fn releases_are_listed_by_whose_where_and_what(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        let repo = repo(db, alice).await;
        let (one, two) = (release(alice, repo, "web"), release(alice, repo, "data_base"));
        let mut three = release(bob, repo, "web");
        three.place.namespace = "bob-test".parse().unwrap();
        three.chart.repo_id = None;
        for row in [&one, &two, &three] {
            releases::insert(&**db, row).await.unwrap();
        }
        let ids = async |filter| {
            let found = releases::list(&**db, filter, page(9, 0)).await.unwrap();
            (found.total, found.rows.into_iter().map(|row| row.id).collect::<Vec<_>>())
        };

        assert_eq!(ids(releases::Filter::default()).await, (3, vec![three.id, two.id, one.id]));
        assert_eq!(ids(releases::Filter { account: Some(bob), ..Default::default() }).await, (1, vec![three.id]));
        assert_eq!(ids(releases::Filter { repo: Some(repo), search: Some("A_B"), ..Default::default() }).await, (1, vec![two.id]));
        let place = Some((&one.place.cluster, &one.place.namespace));
        assert_eq!(ids(releases::Filter { place, ..Default::default() }).await.0, 2);
        assert_eq!(ids(releases::Filter { kind: Some(ChartRepoKind::Internal), ..Default::default() }).await.0, 0);
        assert_eq!(releases::named(&**db, Some(alice), "web").await.unwrap(), std::slice::from_ref(&one));
        assert_eq!(releases::named(&**db, None, "web").await.unwrap().len(), 2);
        assert_eq!(releases::count_in(&**db, &one.place.cluster, &one.place.namespace).await.unwrap(), 2);
        assert_eq!(releases::delete_in(&**db, &one.place.cluster, &one.place.namespace).await.unwrap(), 2);
        assert_eq!(ids(releases::Filter::default()).await, (1, vec![three.id]));
    }
}

db_test! {
    async fn an_operation_ends_once_and_forgets_what_was_to_be_done(db: &TestDb) {
        let alice = account(db, "alice").await;
        let repo = repo(db, alice).await;
        let web = release(alice, repo, "web");
        let first = operation(&web, web.operation_id.unwrap());
        release_operations::insert(&**db, &first).await.unwrap();
        assert_eq!(release_operations::get(&**db, first.id).await.unwrap().as_ref(), Some(&first));

        assert!(release_operations::set_running(&**db, first.id, later(1)).await.unwrap());
        assert!(release_operations::set_running(&**db, first.id, later(2)).await.unwrap());
        assert!(release_operations::request_cancel(&**db, first.id).await.unwrap());
        let why = Some(("timeout", "it took too long"));
        assert!(release_operations::finish(&**db, first.id, OperationState::Failed, why, Some(1), later(3)).await.unwrap());
        assert!(!release_operations::finish(&**db, first.id, OperationState::Succeeded, None, Some(2), later(4)).await.unwrap());
        assert!(!release_operations::set_running(&**db, first.id, later(5)).await.unwrap());
        assert!(!release_operations::request_cancel(&**db, first.id).await.unwrap());
        let found = release_operations::get(&**db, first.id).await.unwrap().unwrap();
        assert_eq!((found.state, found.started_at, found.ended_at, found.revision), (OperationState::Failed, Some(later(1)), Some(later(3)), Some(1)));
        assert_eq!((found.payload, found.reason.as_deref(), found.cancel_requested), (None, Some("timeout"), true));

        let second = operation(&web, ReleaseOperationId(uuid::Uuid::now_v7()));
        release_operations::insert(&**db, &second).await.unwrap();
        let newest = release_operations::newest_of(&**db, &[web.id]).await.unwrap();
        assert_eq!(newest, std::slice::from_ref(&second));
        let listed = release_operations::list(&**db, Some(alice), Some(web.id), page(1, 1)).await.unwrap();
        assert_eq!((listed.total, listed.rows[0].id), (2, first.id));
        assert_eq!(release_operations::ended_before(&**db, later(9), 9).await.unwrap(), [first.id]);
        assert!(release_operations::delete(&**db, first.id).await.unwrap());
    }
}
