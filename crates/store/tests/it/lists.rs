//! Pages: whatever is remembered, they show what is there.

use store::images::{self, Filter};
use wire::ids::ImageId;
use wire::names::Owner;
use wire::page::{MAX_LIMIT, PageQuery};

use crate::support::{NOW, TestDb, db_test, new_image, page};

async fn fill(db: &TestDb, count: u64) {
    let tx = db.begin().await.unwrap();
    for number in 0..count {
        let owner = ["alice", "bob", "public"][usize::try_from(number % 3).unwrap()];
        images::insert(&tx, &new_image(&format!("{owner}/app:v{number}"), number)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn ids(db: &TestDb, filter: Filter<'_>, page: PageQuery) -> (Vec<ImageId>, u64) {
    let found = images::list(&**db, filter, page).await.unwrap();
    (found.rows.iter().map(|row| row.id).collect(), found.total)
}

db_test! {
    async fn pages_in_any_order_are_pieces_of_the_whole(db: &TestDb) {
        fill(db, 100).await;
        let owners: Vec<Owner> = ["alice", "public"].map(|owner| owner.parse().unwrap()).to_vec();
        let mine = Filter { owners: Some(&owners), ..Default::default() };

        for filter in [Filter::default(), mine] {
            let (whole, total) = ids(db, filter, page(MAX_LIMIT, 0)).await;
            assert_eq!(u64::try_from(whole.len()).unwrap(), total);
            assert!(whole.is_sorted_by(|a, b| a > b));
            // Forward, backward, at random, across the end, empty.
            let offsets = [0, 7, 14, 21, 90, 60, 30, 0, 65, 66, 67, 99, 100, 1000, 13, 50, 51, 49, 7];
            for offset in offsets {
                for limit in [7, 1, 0, 3] {
                    let (part, counted) = ids(db, filter, page(limit, offset)).await;
                    let expected: Vec<_> = whole
                        .iter()
                        .skip(usize::try_from(offset).unwrap())
                        .take(usize::try_from(limit).unwrap())
                        .copied()
                        .collect();
                    assert_eq!((part, counted), (expected, total), "limit {limit} offset {offset}");
                }
            }
        }
    }
}

db_test! {
    async fn a_change_shows_at_once(db: &TestDb) {
        fill(db, 30).await;
        let (before, _) = ids(db, Filter::default(), page(10, 10)).await;
        ids(db, Filter::default(), page(10, 20)).await;

        let made = images::insert(&**db, &new_image("alice/new:1", 99)).await.unwrap();
        let (first, total) = ids(db, Filter::default(), page(1, 0)).await;
        assert_eq!((first, total), (vec![made.id], 31));
        let (after, _) = ids(db, Filter::default(), page(10, 11)).await;
        assert_eq!(after, before);

        images::delete(&**db, made.id).await.unwrap();
        let (after, total) = ids(db, Filter::default(), page(10, 10)).await;
        assert_eq!((after, total), (before.clone(), 30));

        images::untag(&**db, before[0], NOW).await.unwrap();
        let (after, total) = ids(db, Filter::default(), page(9, 10)).await;
        assert_eq!((after, total), (before[1..].to_vec(), 29));
    }
}

db_test! {
    async fn odd_pages_are_answered(db: &TestDb) {
        fill(db, 3).await;

        let default = ids(db, Filter::default(), PageQuery::default()).await;
        let beyond = ids(db, Filter::default(), page(u64::MAX, u64::MAX)).await;
        let all = ids(db, Filter::default(), page(u64::MAX, 0)).await;

        assert_eq!((default.0.len(), default.1), (3, 3));
        assert_eq!((beyond.0.len(), beyond.1), (0, 3));
        assert_eq!((all.0.len(), all.1), (3, 3));
        let tx = db.begin().await.unwrap();
        let inside = images::list(&tx, Filter::default(), page(2, 1)).await.unwrap();
        assert_eq!((inside.rows.len(), inside.total), (2, 3));
        let beyond = images::list(&tx, Filter::default(), page(u64::MAX, u64::MAX)).await.unwrap();
        assert_eq!(beyond.rows.len(), 0);
    }
}

db_test! {
    async fn changes_are_told_when_they_can_be_read(db: &TestDb) {
        let versions = db.versions();
        let told = || versions.borrow().get("images").copied().unwrap_or(0);

        let tx = db.begin().await.unwrap();
        let made = images::insert(&tx, &new_image("alice/app:1", 1)).await.unwrap();
        images::insert(&tx, &new_image("alice/app:2", 2)).await.unwrap();
        assert_eq!(told(), 0, "nobody can read it yet");
        tx.commit().await.unwrap();
        assert_eq!(told(), 1);
        images::get(&**db, made.id).await.unwrap();
        assert_eq!(told(), 1, "reading changes nothing");
        images::delete(&**db, made.id).await.unwrap();
        assert!(told() > 1);
    }
}
