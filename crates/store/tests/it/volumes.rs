//! Volumes: one of a name per account and machine, and none goes that a container has.

use store::volumes::{self, Filter};
use store::{Error, containers, images};
use wire::limits::{Limits, WishedLimits};
use wire::volumes::VolumeState;

use crate::support::{NOW, account, db_test, later, machine, new_container, new_image, page};

db_test! {
    async fn a_volume_is_one_accounts_on_one_machine(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        let (here, there) = (machine(c, "m-1").await, machine(c, "m-2").await);
        let name = "data".parse().unwrap();
        let first = volumes::insert(c, alice, &here, &name, NOW).await.unwrap();
        let second = volumes::insert(c, alice, &there, &name, NOW).await.unwrap();
        let bobs = volumes::insert(c, bob, &here, &name, NOW).await.unwrap();
        assert!(matches!(volumes::insert(c, alice, &here, &name, NOW).await, Err(Error::Duplicate)));

        assert_eq!(volumes::by_name(c, alice, &name).await.unwrap(), [first.clone(), second.clone()]);
        assert_eq!(volumes::count_of_account(c, alice).await.unwrap(), 2);
        let mine = volumes::list(c, Filter { account: Some(bob), ..Filter::default() }, page(9, 0)).await.unwrap();
        assert_eq!((mine.total, mine.rows), (1, vec![(bobs, "bob".parse().unwrap())]));
        let there = Filter { machine: Some(&there), name: Some(&name), ..Filter::default() };
        assert_eq!(volumes::list(c, there, page(9, 0)).await.unwrap().rows[0].0, second);
        assert!(volumes::set_state(c, first.id, VolumeState::Deleting).await.unwrap());
        assert!(!volumes::set_state(c, first.id, VolumeState::Deleting).await.unwrap());
        assert_eq!(volumes::deleting(c).await.unwrap()[0].id, first.id);
        assert_eq!(volumes::delete_of_machine(c, &here).await.unwrap(), 2);
        assert_eq!(volumes::get(c, first.id).await.unwrap(), None);
    }
}

db_test! {
    async fn a_volume_stays_as_long_as_a_container_has_it(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let here = machine(c, "m-1").await;
        let image = images::insert(c, &new_image("alice/app:v1", 1)).await.unwrap().id;
        let row = containers::insert(c, &new_container(alice, "web", &here, image, &[])).await.unwrap();
        let volume = volumes::insert(c, alice, &here, &"data".parse().unwrap(), NOW).await.unwrap().id;
        volumes::attach(c, row.id, volume).await.unwrap();

        let users = volumes::users(c, &[volume]).await.unwrap();
        assert_eq!((users[&volume][0].id, users[&volume][0].name.as_str()), (row.id, "web"));
        assert!(matches!(volumes::delete(c, volume).await, Err(Error::InUse)));
        containers::delete(c, row.id).await.unwrap();
        assert!(volumes::users(c, &[volume]).await.unwrap().is_empty());
        assert!(volumes::delete(c, volume).await.unwrap());
    }
}

db_test! {
    async fn limits_are_a_wish_until_they_are_there(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let here = machine(c, "m-1").await;
        let image = images::insert(c, &new_image("alice/app:v1", 1)).await.unwrap().id;
        let row = containers::insert(c, &new_container(alice, "web", &here, image, &[20_001])).await.unwrap();
        containers::set_state(c, row.id, &row.change(wire::containers::ContainerState::Running), NOW).await.unwrap();
        assert!(containers::unsettled(c, std::slice::from_ref(&here)).await.unwrap().is_empty());
        let limits = Limits { memory_bytes: 64 << 20, cpu_millis: 250, pids: 7 };
        let wished = WishedLimits { limits, message: Some("it uses \u{1F680}".to_owned()) };

        assert!(containers::set_wished_limits(c, row.id, Some(&wished), later(1)).await.unwrap());
        let now = containers::unsettled(c, std::slice::from_ref(&here)).await.unwrap().remove(0);
        assert_eq!((now.wished_limits, &now.spec), (Some(wished), &row.spec));
        let tx = c.begin().await.unwrap();
        containers::set_limits(&tx, row.id, limits, later(2)).await.unwrap();
        tx.commit().await.unwrap();

        let now = containers::get(c, row.id).await.unwrap().unwrap();
        assert_eq!((now.wished_limits, now.spec.limits(), &now.spec.ports), (None, limits, &row.spec.ports));
        assert!(containers::unsettled(c, std::slice::from_ref(&here)).await.unwrap().is_empty());
    }
}
