//! What admins have set for single accounts.

use store::{containers, images, quotas};
use wire::quotas::{AccountClass, QuotaLimits};

use crate::support::{account, db_test, later, machine, new_container, new_image};

db_test! {
    async fn a_quota_is_set_whole_and_orders_the_line(db: &TestDb) {
        let c = &**db;
        let (alice, bob, eve) = (account(db, "alice").await, account(db, "bob").await, account(db, "eve").await);
        let limits = QuotaLimits { gpus: Some(2), cpu_millis: Some(1 << 40), disk_bytes: Some(1 << 41), ..QuotaLimits::default() };
        let high = quotas::Row { account_id: bob, class: AccountClass::High, limits };
        let low = quotas::Row { account_id: alice, class: AccountClass::Low, limits: QuotaLimits::default() };

        quotas::set(c, &quotas::Row { limits: QuotaLimits::default(), ..high }).await.unwrap();
        quotas::set(c, &high).await.unwrap();
        quotas::set(c, &low).await.unwrap();

        assert_eq!(quotas::of_accounts(c, &[bob]).await.unwrap(), [high]);
        assert_eq!(quotas::of_accounts(c, &[eve]).await.unwrap(), []);
        assert_eq!(quotas::of_accounts(c, &[]).await.unwrap(), []);
        let machine = machine(db, "m-1").await;
        let image = images::insert(c, &new_image("alice/app:v1", 1)).await.unwrap().id;
        let mut ids = Vec::new();
        for (number, who) in [(1, alice), (2, eve), (3, bob), (4, eve)] {
            let row = containers::insert(c, &new_container(who, &format!("c{number}"), &machine, image, &[])).await.unwrap();
            containers::set_queued(c, row.id, Some(later(number))).await.unwrap();
            ids.push(row.id);
        }
        assert_eq!(containers::line_ids(c).await.unwrap(), [ids[2], ids[1], ids[3], ids[0]]);
        assert_eq!(containers::count_in_line(c, eve).await.unwrap(), 2);
        // Who waits uses nothing.
        assert_eq!(containers::in_use(c, &[alice, bob, eve]).await.unwrap(), []);
        containers::set_queued(c, ids[1], None).await.unwrap();
        let used: Vec<_> = containers::in_use(c, &[alice, eve]).await.unwrap().iter().map(|row| row.id).collect();
        assert_eq!(used, [ids[1]]);
        assert_eq!(containers::in_use(c, &[alice]).await.unwrap(), []);
    }
}
