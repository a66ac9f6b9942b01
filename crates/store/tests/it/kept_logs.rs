//! Logs of containers that are gone: found by who they belonged to, and given up by age and by number.

use store::kept_logs::{self, Row};
use wire::ids::{AccountId, ContainerId};

use crate::support::{account, db_test, later, machine, page};

fn kept(account_id: AccountId, number: i64, name: &str) -> Row {
    Row {
        container_id: ContainerId(number),
        account_id,
        name: name.parse().unwrap(),
        image_name: "alice/app:v1".to_owned(),
        machine_id: "m-1".parse().unwrap(),
        bytes: 100,
        dropped_bytes: 7,
        removed_at: later(number),
    }
}

db_test! {
    async fn a_kept_log_is_found_by_whose_it_was(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        machine(db, "m-1").await;
        let all = [kept(alice, 1, "web"), kept(bob, 2, "web"), kept(alice, 3, "web"), kept(alice, 4, "job")];
        for row in &all {
            kept_logs::put(&**db, row).await.unwrap();
        }
        let longer = Row { bytes: 200, ..all[3].clone() };
        kept_logs::put(&**db, &longer).await.unwrap();

        assert_eq!(kept_logs::get(&**db, ContainerId(2)).await.unwrap().as_ref(), Some(&all[1]));
        assert_eq!(kept_logs::get(&**db, ContainerId(4)).await.unwrap(), Some(longer.clone()));
        let web = "web".parse().unwrap();
        assert_eq!(kept_logs::by_name(&**db, alice, &web).await.unwrap().as_ref(), Some(&all[2]));
        let mine = kept_logs::list(&**db, Some(alice), page(2, 0)).await.unwrap();
        assert_eq!(mine.total, 3);
        assert_eq!(mine.rows, [(longer, "alice".parse().unwrap()), (all[2].clone(), "alice".parse().unwrap())]);
        assert_eq!(kept_logs::list(&**db, None, page(9, 0)).await.unwrap().total, 4);
        assert!(kept_logs::delete(&**db, ContainerId(1)).await.unwrap());
        assert!(!kept_logs::delete(&**db, ContainerId(1)).await.unwrap());
        assert_eq!(kept_logs::list(&**db, Some(alice), page(9, 0)).await.unwrap().total, 2);
    }
}

db_test! {
    async fn what_is_old_or_too_much_is_given_up(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        machine(db, "m-1").await;
        for number in 1..=6 {
            let owner = if number == 2 { bob } else { alice };
            kept_logs::put(&**db, &kept(owner, number, "web")).await.unwrap();
        }
        let surplus = async |before: i64, per_account: u64| {
            let found = kept_logs::surplus(&**db, later(before), per_account).await.unwrap();
            found.into_iter().map(|id| id.0).collect::<Vec<_>>()
        };

        assert_eq!(surplus(0, 9).await, [0_i64; 0]);
        assert_eq!(surplus(3, 9).await, [1, 2]);
        assert_eq!(surplus(0, 3).await, [1, 3]);
        assert_eq!(surplus(3, 1).await, [1, 2, 3, 4, 5]);
        assert_eq!(surplus(0, 0).await, [1, 2, 3, 4, 5, 6]);
    }
}
