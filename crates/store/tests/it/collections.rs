//! Collections: one at a time, and each ends once.

use store::collections::{self, Outcome};
use uuid::Uuid;
use wire::builds::OperationState;
use wire::ids::CollectionId;
use wire::registry::CollectionPhase;

use crate::support::{NOW, account, db_test, later, page};

db_test! {
    async fn a_collection_ends_once_and_keeps_what_there_was_before(db: &TestDb) {
        let c = &**db;
        let admin = account(c, "alice").await;
        let id = CollectionId(Uuid::now_v7());
        collections::insert(c, id, admin, NOW).await.unwrap();
        assert_eq!(collections::unfinished(c).await.unwrap().unwrap().state, OperationState::Queued);

        assert!(collections::set_phase(c, id, CollectionPhase::Sweeping).await.unwrap());
        collections::set_bytes_before(c, id, 1_000).await.unwrap();
        // A second attempt finds less.
        collections::set_bytes_before(c, id, 700).await.unwrap();
        assert!(collections::finish(c, id, Outcome::Succeeded(600), later(1)).await.unwrap());

        let row = collections::get(c, id).await.unwrap().unwrap();
        assert_eq!((row.state, row.phase), (OperationState::Succeeded, CollectionPhase::Done));
        assert_eq!((row.bytes_before, row.bytes_after, row.ended_at), (Some(1_000), Some(600), Some(later(1))));
        assert!(!collections::finish(c, id, Outcome::Failed("x", "y"), later(2)).await.unwrap());
        assert!(!collections::set_phase(c, id, CollectionPhase::Closing).await.unwrap());
        assert_eq!(collections::unfinished(c).await.unwrap(), None);

        let second = CollectionId(Uuid::now_v7());
        collections::insert(c, second, admin, later(3)).await.unwrap();
        collections::finish(c, second, Outcome::Failed("broken", &"é".repeat(3_000)), later(4)).await.unwrap();
        let list = collections::list(c, page(1, 0)).await.unwrap();
        assert_eq!((list.total, list.rows[0].id, list.rows[0].reason.as_deref()), (2, second, Some("broken")));
        assert_eq!(list.rows[0].message.as_ref().unwrap().chars().count(), 2_000);
        assert_eq!(collections::newest(c).await.unwrap().unwrap().id, second);
    }
}

db_test! {
    async fn a_collection_is_cancelled_only_before_it_removes_anything(db: &TestDb) {
        let c = &**db;
        let admin = account(c, "alice").await;
        for phase in [None, Some(CollectionPhase::Closing)] {
            let id = CollectionId(Uuid::now_v7());
            collections::insert(c, id, admin, NOW).await.unwrap();
            if let Some(phase) = phase {
                assert!(collections::set_phase(c, id, phase).await.unwrap());
            }
            assert!(collections::cancel(c, id, later(1)).await.unwrap());
            assert!(!collections::set_phase(c, id, CollectionPhase::Sweeping).await.unwrap(), "it has ended");
            assert!(!collections::cancel(c, id, later(2)).await.unwrap());
            let row = collections::get(c, id).await.unwrap().unwrap();
            assert_eq!((row.state, row.ended_at), (OperationState::Cancelled, Some(later(1))));
        }

        let id = CollectionId(Uuid::now_v7());
        collections::insert(c, id, admin, NOW).await.unwrap();
        assert!(collections::set_phase(c, id, CollectionPhase::Sweeping).await.unwrap());
        assert!(!collections::cancel(c, id, later(1)).await.unwrap());
    }
}
