//! Machines, the keys by which they prove themselves, and the invitations by which they came.

use std::collections::BTreeMap;

use store::{Error, containers, images, invites, machine_keys, machines};
use uuid::Uuid;
use wire::gpus::{GPUS_MAX, INSTANCES_MAX, NAME_CHARS_MAX};
use wire::ids::InviteId;
use wire::machines::{CpuFacts, GpuFacts, GpuInstanceFacts, MachineFacts, MachineState};

use crate::support::{NOW, account, db_test, facts, later, machine, new_container, new_image, page};

fn key(machine: &str, public_key: &str) -> machine_keys::Row {
    machine_keys::Row {
        machine_id: machine.parse().unwrap(),
        public_key: public_key.repeat(64),
        account_id: None,
        joined_at: NOW,
        quarantined_at: None,
        quarantine_reason: None,
    }
}

db_test! {
    async fn a_key_belongs_to_one_machine_and_a_machine_has_one_key(db: &TestDb) {
        let (one, two) = ("m1".parse().unwrap(), "m2".parse().unwrap());
        machine_keys::insert(&**db, &key("m1", "a")).await.unwrap();

        for taken in [key("m1", "b"), key("m2", "a")] {
            assert!(matches!(machine_keys::insert(&**db, &taken).await, Err(Error::Duplicate)));
        }
        machine_keys::insert(&**db, &key("m2", "b")).await.unwrap();
        let found = machine_keys::by_public_key(&**db, &"b".repeat(64)).await.unwrap().unwrap();
        assert_eq!(found.machine_id, two);
        assert_eq!(machine_keys::of_machines(&**db, &[one, two.clone()]).await.unwrap().len(), 2);
        assert!(machine_keys::delete(&**db, &two).await.unwrap());
        assert!(!machine_keys::delete(&**db, &two).await.unwrap());
        assert_eq!(machine_keys::get(&**db, &two).await.unwrap(), None);
    }
}

db_test! {
    async fn a_key_is_quarantined_once_and_says_why(db: &TestDb) {
        let machine = "m1".parse().unwrap();
        machine_keys::insert(&**db, &key("m1", "a")).await.unwrap();

        assert!(machine_keys::quarantine(&**db, &machine, "two of them", later(1)).await.unwrap());
        assert!(!machine_keys::quarantine(&**db, &machine, "again", later(2)).await.unwrap());

        let found = machine_keys::get(&**db, &machine).await.unwrap().unwrap();
        assert_eq!((found.quarantined_at, found.quarantine_reason.as_deref()), (Some(later(1)), Some("two of them")));
    }
}

db_test! {
    async fn an_invitation_is_taken_by_one(db: &TestDb) {
        let admin = account(db, "admin").await;
        let row = |secret: &str, ends: i64| invites::Row {
            id: InviteId(Uuid::now_v7()),
            account_id: admin,
            secret_hash: secret.repeat(64),
            created_at: NOW,
            expires_at: later(ends),
        };
        let (first, second) = (row("a", 10), row("b", 20));
        invites::insert(&**db, &first).await.unwrap();
        invites::insert(&**db, &second).await.unwrap();

        assert_eq!(invites::by_secret_hash(&**db, &"a".repeat(64)).await.unwrap(), Some(first.clone()));
        let listed = invites::list(&**db, page(1, 0)).await.unwrap();
        assert_eq!((listed.total, listed.rows), (2, vec![second.clone()]));
        assert!(invites::delete(&**db, first.id).await.unwrap());
        assert!(!invites::delete(&**db, first.id).await.unwrap());
        assert_eq!(invites::delete_expired(&**db, later(19)).await.unwrap(), 0);
        assert_eq!(invites::delete_expired(&**db, later(20)).await.unwrap(), 1);
        assert_eq!(invites::count(&**db).await.unwrap(), 0);
    }
}

db_test! {
    async fn what_an_agent_reports_does_not_end_a_drain(db: &TestDb) {
        let id = machine(db, "m1").await;

        assert!(machines::set_drain(&**db, &id, Some(later(1)), Some("new disk")).await.unwrap());
        machines::upsert(&**db, &facts("m1"), MachineState::Online, later(2)).await.unwrap();
        let drained = machines::get(&**db, &id).await.unwrap().unwrap();
        assert!(machines::set_label(&**db, &id, Some("实验室 3")).await.unwrap());
        machines::upsert(&**db, &facts("m1"), MachineState::Online, later(3)).await.unwrap();
        machines::set_drain(&**db, &id, None, None).await.unwrap();
        let resumed = machines::get(&**db, &id).await.unwrap().unwrap();

        assert_eq!((drained.drained_at, drained.drain_reason.as_deref()), (Some(later(1)), Some("new disk")));
        assert_eq!((resumed.drained_at, resumed.drain_reason), (None, None));
        assert_eq!((drained.label, resumed.label.as_deref()), (None, Some("实验室 3")));
        assert!(!machines::set_label(&**db, &"nobody".parse().unwrap(), None).await.unwrap());
        assert!(!machines::set_drain(&**db, &"nobody".parse().unwrap(), None, None).await.unwrap());
    }
}

db_test! {
    async fn a_machine_with_containers_is_not_deleted(db: &TestDb) {
        let (alice, id) = (account(db, "alice").await, machine(db, "m1").await);
        let image = images::insert(&**db, &new_image("alice/app:v1", 1)).await.unwrap().id;
        let made = containers::insert(&**db, &new_container(alice, "box", &id, image, &[])).await.unwrap();

        assert!(matches!(machines::delete(&**db, &id).await, Err(Error::InUse)));
        containers::delete(&**db, made.id).await.unwrap();
        assert!(machines::delete(&**db, &id).await.unwrap());
        assert!(!machines::delete(&**db, &id).await.unwrap());
    }
}

db_test! {
    async fn graphics_processors_are_kept_with_all_that_is_known(db: &TestDb) {
        let c = &**db;
        let instance = GpuInstanceFacts { model: "A100 MIG 1g.5gb".to_owned(), memory: 4_864, uuid: "MIG-1".parse().unwrap() };
        let gpu = GpuFacts {
            model: "A100".to_owned(),
            memory: 40_960,
            uuid: Some("GPU-1".parse().unwrap()),
            instances: Some(vec![instance]),
            is_kept: true,
        };
        let told = MachineFacts { gpu: BTreeMap::from([("0".to_owned(), gpu)]), ..facts("m-1") };

        machines::upsert(c, &told, MachineState::Online, NOW).await.unwrap();

        assert_eq!(machines::get(c, &told.machine_id).await.unwrap().unwrap().facts, told);
    }
}

db_test! {
    async fn a_machine_that_says_too_much_is_cut_short(db: &TestDb) {
        let c = &**db;
        let long = "ä".repeat(2_000);
        let instance = GpuInstanceFacts { model: long.clone(), memory: 1, uuid: "MIG-1".parse().unwrap() };
        let gpu = GpuFacts { model: long.clone(), instances: Some(vec![instance; INSTANCES_MAX + 1]), ..GpuFacts::default() };
        let cpu = CpuFacts { model: long.clone(), cores: 1 };
        let numbered = |number: usize| format!("{number:05}{}", "0".repeat(1_000));
        let told = MachineFacts {
            hostname: long.clone(),
            cpu: (0..100).map(|number| (numbered(number), cpu.clone())).collect(),
            gpu: (0..=GPUS_MAX).map(|number| (numbered(number), gpu.clone())).collect(),
            ..facts("m-1")
        };

        machines::upsert(c, &told, MachineState::Online, NOW).await.unwrap();

        let kept = machines::list(c, page(10, 0)).await.unwrap().rows.remove(0).facts;
        assert_eq!((kept.hostname.chars().count(), kept.cpu.len(), kept.gpu.len()), (255, 64, GPUS_MAX));
        let (key, gpu) = kept.gpu.first_key_value().unwrap();
        assert_eq!((key.len(), gpu.model.chars().count()), (20, NAME_CHARS_MAX));
        let instances = gpu.instances.as_ref().unwrap();
        assert_eq!((instances.len(), instances[0].model.chars().count()), (INSTANCES_MAX, NAME_CHARS_MAX));
    }
}
