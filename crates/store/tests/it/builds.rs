//! Builds: each ends once.

use store::builds::{self, Filter, New, Outcome, Save, SaveOptions};
use store::images;
use tokio::task::JoinSet;
use uuid::Uuid;
use wire::builds::{BuildPhase, OperationState};
use wire::ids::{AccountId, BuildId, ContainerId};
use wire::images::CreateParameters;
use wire::names::ImageName;

use crate::support::{NOW, TestDb, account, db_test, digest, later, new_image, page};

async fn build(db: &TestDb, account_id: AccountId, secs: i64) -> BuildId {
    let id = BuildId(Uuid::now_v7());
    let image: ImageName = "alice/app:v1".parse().unwrap();
    let new = New {
        id,
        account_id,
        image: &image,
        dockerfile: "Dockerfile",
        context_blob: Some("contexts/1.tar"),
        context_bytes: 12_345,
        save: None,
        now: later(secs),
    };
    builds::insert(&**db, &new).await.unwrap();
    id
}

const FAILED: Outcome<'_> = Outcome {
    state: OperationState::Failed,
    reason: Some("build_failed"),
    message: Some("step 2 ended with 1"),
    image_id: None,
    digest: None,
    size_bytes: None,
};

db_test! {
    async fn a_build_keeps_every_column(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let id = build(db, alice, 0).await;
        let image = images::insert(c, &new_image("alice/app:v1", 5)).await.unwrap();
        let queued = builds::get(c, id).await.unwrap().unwrap();

        assert!(builds::set_running(c, id, Some(&"m-1".parse().unwrap()), later(1)).await.unwrap());
        assert!(builds::set_running(c, id, Some(&"m-2".parse().unwrap()), later(2)).await.unwrap());
        assert!(builds::set_phase(c, id, BuildPhase::Building, later(2)).await.unwrap());
        builds::set_step(c, id, 2, 5, &"RUN ü ".repeat(400)).await.unwrap();
        builds::set_push_progress(c, id, 10, 1 << 40).await.unwrap();
        builds::set_log_bytes(c, id, 77).await.unwrap();
        assert!(builds::request_cancel(c, id).await.unwrap());
        let running = builds::get(c, id).await.unwrap().unwrap();
        let digest = digest(5);
        let outcome = Outcome {
            state: OperationState::Succeeded,
            reason: None,
            message: None,
            image_id: Some(image.id),
            digest: Some(&digest),
            size_bytes: Some(4242),
        };
        assert!(builds::finish(c, id, &outcome, later(3)).await.unwrap());
        builds::clear_context(c, id).await.unwrap();
        let ended = builds::get(c, id).await.unwrap().unwrap();

        assert_eq!((queued.state, queued.phase, queued.account.as_str()), (OperationState::Queued, BuildPhase::Waiting, "alice"));
        assert_eq!((queued.image.to_string().as_str(), queued.context_bytes), ("alice/app:v1", 12_345));
        assert_eq!((queued.step, queued.machine_id.clone(), queued.started_at), (None, None, None));
        let expected = builds::Row {
            state: OperationState::Running,
            phase: BuildPhase::Building,
            machine_id: Some("m-2".parse().unwrap()),
            started_at: Some(later(1)),
            step: Some(2),
            steps: Some(5),
            step_text: Some("RUN ü ".repeat(400)),
            pushed_bytes: 10,
            push_total_bytes: 1 << 40,
            log_bytes: 77,
            cancel_requested: true,
            ..queued
        };
        assert_eq!(running, expected);
        let expected = builds::Row {
            state: OperationState::Succeeded,
            phase: BuildPhase::Done,
            image_id: Some(image.id),
            digest: Some(digest.clone()),
            size_bytes: Some(4242),
            context_blob: None,
            ended_at: Some(later(3)),
            ..running
        };
        assert_eq!(ended, expected);
        images::delete(c, image.id).await.unwrap();
        assert_eq!(builds::get(c, id).await.unwrap().unwrap().image_id, None);
    }
}

db_test! {
    async fn a_build_ends_once(db: &TestDb) {
        let alice = account(db, "alice").await;
        let id = build(db, alice, 0).await;
        let mut enders = JoinSet::new();
        for _ in 0..8 {
            let db = (**db).clone();
            enders.spawn(async move { builds::finish(&db, id, &FAILED, later(1)).await.unwrap() });
        }

        let ended = enders.join_all().await;

        let c = &**db;
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        assert!(!builds::set_running(c, id, Some(&"m-1".parse().unwrap()), NOW).await.unwrap());
        assert!(!builds::set_phase(c, id, BuildPhase::Pushing, NOW).await.unwrap());
        assert!(!builds::request_cancel(c, id).await.unwrap());
        let found = builds::get(c, id).await.unwrap().unwrap();
        assert_eq!((found.state, found.reason.as_deref()), (OperationState::Failed, Some("build_failed")));
        assert!(builds::finish(c, id, &Outcome { state: OperationState::Running, ..FAILED }, NOW).await.is_err());
    }
}

db_test! {
    async fn the_queue_is_in_order(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        let first = build(db, alice, 0).await;
        let second = build(db, bob, 1).await;
        let third = build(db, alice, 1).await;

        assert_eq!(builds::queue_position(c, first).await.unwrap(), Some(0));
        assert_eq!(builds::queue_position(c, second).await.unwrap(), Some(1));
        assert_eq!(builds::queue_position(c, third).await.unwrap(), Some(2));
        builds::set_running(c, first, Some(&"m-1".parse().unwrap()), later(2)).await.unwrap();
        assert_eq!(builds::queue_position(c, first).await.unwrap(), None);
        assert_eq!(builds::queue_position(c, third).await.unwrap(), Some(1));
        builds::finish(c, second, &FAILED, later(3)).await.unwrap();
        let unfinished: Vec<_> = builds::unfinished(c).await.unwrap().iter().map(|build| build.id).collect();
        assert_eq!(unfinished, [first, third]);
        assert_eq!(builds::count_unfinished(c, alice).await.unwrap(), 2);
        assert_eq!(builds::count_unfinished(c, bob).await.unwrap(), 0);
        let list = async |filter| {
            let found = builds::list(c, filter, page(10, 0)).await.unwrap();
            found.rows.iter().map(|build| build.id).collect::<Vec<_>>()
        };
        assert_eq!(list(Filter::default()).await, [third, second, first]);
        assert_eq!(list(Filter { account: Some(alice), ..Default::default() }).await, [third, first]);
        assert_eq!(list(Filter { state: Some(OperationState::Failed), ..Default::default() }).await, [second]);
        let repo = "other".parse().unwrap();
        assert_eq!(list(Filter { repo: Some(&repo), ..Default::default() }).await, []);
    }
}

db_test! {
    async fn what_is_saved_of_a_container_is_kept_with_its_build(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let built = build(db, alice, 0).await;
        let keep = CreateParameters { exposed_ports: vec!["80/tcp".into()], ..CreateParameters::default() };
        let save = Save {
            // Containers come and go; builds stay.
            container_id: ContainerId(4711),
            note: Some("with \u{1F680}\nand more".into()),
            options: SaveOptions { is_paused: false, keep: Some(keep) },
        };
        let id = BuildId(Uuid::now_v7());
        let image: ImageName = "alice/app:v2".parse().unwrap();
        let new = New {
            id,
            account_id: alice,
            image: &image,
            dockerfile: "",
            context_blob: None,
            context_bytes: 0,
            save: Some(&save),
            now: NOW,
        };
        builds::insert(c, &new).await.unwrap();

        assert_eq!(builds::get(c, id).await.unwrap().unwrap().save, Some(save));
        assert_eq!(builds::get(c, built).await.unwrap().unwrap().save, None);
    }
}
