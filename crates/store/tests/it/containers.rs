//! Containers and their ports.

use store::containers::{self, Desired, Filter, StateChange};
use store::{Error, container_events, images};
use tokio::task::JoinSet;
use wire::containers::{ContainerState, Protocol};
use wire::ids::{AccountId, ContainerId, ImageId, MachineId};

use crate::support::{NOW, TestDb, account, db_test, later, machine, new_container, new_image, page, port};

async fn world(db: &TestDb) -> (AccountId, MachineId, ImageId) {
    let image = images::insert(&**db, &new_image("alice/app:v1", 1)).await.unwrap();
    (account(db, "alice").await, machine(db, "m-1").await, image.id)
}

db_test! {
    async fn a_container_that_gets_another_image_knows_what_it_was_made_from(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let made = containers::insert(c, &new_container(alice, "web", &machine, image, &[])).await.unwrap();
        let change = StateChange { engine_id: Some("0123abcd"), ..made.change(ContainerState::Running) };
        containers::set_state(c, made.id, &change, later(1)).await.unwrap();
        containers::set_copy_of(c, made.id, Some("0123abcd")).await.unwrap();
        let row = async || containers::get(c, made.id).await.unwrap().unwrap();
        let other = images::insert(c, &new_image("alice/app:v2", 2)).await.unwrap();
        let second = containers::NewImage {
            id: other.id,
            name: "alice/app:v2",
            repository: "alice/app",
            digest: &other.digest,
        };

        let before = row().await;
        assert!(!before.is_outdated());
        assert!(containers::set_image(c, &before, second, later(2)).await.unwrap());
        let outdated = row().await;
        assert!(outdated.is_outdated());
        assert_eq!((outdated.image_id, outdated.image_name.as_str()), (other.id, "alice/app:v2"));
        assert_eq!((outdated.made_from, outdated.copy_of), (Some(before.image_digest.clone()), None));
        // A third one before the second was made: what the engine has is still of the first.
        let back = containers::NewImage { id: image, name: "alice/app:v1", digest: &before.image_digest, ..second };
        assert!(containers::set_image(c, &row().await, back, later(3)).await.unwrap());
        assert!(!row().await.is_outdated());
        assert!(containers::set_made_from(c, made.id, &other.digest).await.unwrap());
        assert!(row().await.is_outdated());
        assert_eq!(images::by_digest(c, &other.owner, &other.repo, &other.digest).await.unwrap().unwrap().id, other.id);
        assert_eq!(images::by_digest(c, &other.owner, &"none".parse().unwrap(), &other.digest).await.unwrap(), None);
    }
}

db_test! {
    async fn what_happened_to_a_container_is_kept_and_bounded(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let made = containers::insert(c, &new_container(alice, "web", &machine, image, &[])).await.unwrap();
        let other = containers::insert(c, &new_container(alice, "box", &machine, image, &[])).await.unwrap();
        let running = StateChange { engine_id: Some("0123abcd"), ..made.change(ContainerState::Running) };
        let failed = StateChange {
            reason: Some("exited"),
            message: Some("it ended"),
            exit_code: Some(137),
            ..made.change(ContainerState::Failed)
        };
        containers::set_state(c, made.id, &running, later(1)).await.unwrap();
        // Another try of the same is no news.
        containers::set_state(c, made.id, &StateChange { attempt: 7, ..running.clone() }, later(2)).await.unwrap();
        assert_eq!(containers::mark_unknown(c, &machine, later(3)).await.unwrap(), 1);
        containers::set_state(c, made.id, &failed, later(4)).await.unwrap();

        let events = container_events::of_container(c, made.id).await.unwrap();
        let states: Vec<_> = events.iter().map(|event| (event.state, event.at)).collect();
        let expected = [
            (ContainerState::Failed, later(4)),
            (ContainerState::Unknown, later(3)),
            (ContainerState::Running, later(1)),
            (ContainerState::Pending, NOW),
        ];
        assert_eq!(states, expected);
        let last = &events[0];
        assert_eq!((last.reason.as_deref(), last.message.as_deref()), (Some("exited"), Some("it ended")));
        assert_eq!(last.exit_code, Some(137));

        for round in 0..60 {
            containers::set_state(c, made.id, &running, later(10 + 2 * round)).await.unwrap();
            containers::set_state(c, made.id, &failed, later(11 + 2 * round)).await.unwrap();
        }
        let events = container_events::of_container(c, made.id).await.unwrap();
        assert_eq!(events.len() as u64, container_events::EVENTS_KEPT);
        assert_eq!((events[0].at, events[99].at), (later(129), later(30)));
        assert_eq!(container_events::of_container(c, other.id).await.unwrap().len(), 1);
        assert!(containers::delete(c, made.id).await.unwrap());
        assert_eq!(container_events::of_container(c, made.id).await.unwrap(), []);
    }
}

db_test! {
    async fn a_container_keeps_every_column(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let new = containers::New {
            display_name: Some("My web".to_owned()),
            ..new_container(alice, "web", &machine, image, &[20_001, 20_002])
        };

        let made = containers::insert(c, &new).await.unwrap();

        assert_eq!(containers::get(c, made.id).await.unwrap(), Some(made.clone()));
        assert_eq!(containers::by_name(c, alice, &new.name).await.unwrap(), Some(made.clone()));
        assert_eq!(containers::by_name(c, AccountId(99), &new.name).await.unwrap(), None);
        assert_eq!(made.spec, new.spec);
        let change = StateChange {
            state: ContainerState::Failed,
            reason: Some("port_taken"),
            message: Some("port 20001 is in use"),
            exit_code: Some(-1),
            engine_id: Some("0123abcd"),
            attempt: 3,
        };
        assert!(containers::set_state(c, made.id, &change, later(1)).await.unwrap());
        assert!(!containers::set_state(c, made.id, &change, later(2)).await.unwrap());
        assert!(containers::set_desired(c, made.id, Desired::Stopped, later(3)).await.unwrap());
        assert!(!containers::set_restart_of(c, made.id, later(1)).await.unwrap(), "no restart is asked for");
        assert!(containers::set_restart(c, made.id, true).await.unwrap());
        assert!(containers::set_restart_of(c, made.id, later(2)).await.unwrap());
        assert!(!containers::set_restart_of(c, made.id, later(3)).await.unwrap(), "it has begun");
        assert!(containers::set_display_name(c, made.id, None, later(4)).await.unwrap());
        assert!(containers::rename(c, made.id, &"web-2".parse().unwrap(), later(4)).await.unwrap());
        containers::set_ports(c, made.id, &[port(20_002), port(20_003)], later(5)).await.unwrap();
        let expected = containers::Row {
            name: "web-2".parse().unwrap(),
            display_name: None,
            spec: wire::containers::ContainerSpec { ports: vec![port(20_002), port(20_003)], ..made.spec.clone() },
            desired: Desired::Stopped,
            restart_requested: true,
            restart_of: Some(later(2)),
            state: ContainerState::Failed,
            state_since: later(1),
            reason: Some("port_taken".to_owned()),
            message: Some("port 20001 is in use".to_owned()),
            exit_code: Some(-1),
            engine_id: Some("0123abcd".to_owned()),
            attempt: 3,
            updated_at: later(5),
            ..made.clone()
        };
        assert_eq!(containers::get(c, made.id).await.unwrap(), Some(expected.clone()));

        let again = StateChange { attempt: 4, ..expected.change(ContainerState::Failed) };
        assert!(containers::set_state(c, made.id, &again, later(6)).await.unwrap());
        let found = containers::get(c, made.id).await.unwrap().unwrap();
        assert_eq!((found.state_since, found.reason, found.exit_code), (later(1), None, Some(-1)));
        assert!(containers::set_state(c, made.id, &expected.change(ContainerState::Running), later(7)).await.unwrap());
        assert_eq!(containers::get(c, made.id).await.unwrap().unwrap().state_since, later(7));
        assert!(containers::set_restart(c, made.id, true).await.unwrap());
        assert_eq!(containers::get(c, made.id).await.unwrap().unwrap().restart_of, None, "another is asked for");
        assert!(containers::set_desired(c, made.id, Desired::Deleted, later(8)).await.unwrap());
        assert!(!containers::set_desired(c, made.id, Desired::Running, later(9)).await.unwrap());
        assert!(!containers::set_state(c, ContainerId(99), &again, NOW).await.unwrap());
        assert!(containers::delete(c, made.id).await.unwrap());
        assert!(!containers::delete(c, made.id).await.unwrap());
    }
}

db_test! {
    async fn names_and_ports_are_told_apart(db: &TestDb) {
        let c = &**db;
        let (alice, m1, image) = world(db).await;
        let (bob, m2) = (account(db, "bob").await, machine(db, "m-2").await);
        containers::insert(c, &new_container(alice, "web", &m1, image, &[20_000, 20_001])).await.unwrap();

        let same_name = containers::insert(c, &new_container(alice, "web", &m1, image, &[20_002])).await;
        let same_port = containers::insert(c, &new_container(bob, "web", &m1, image, &[20_002, 20_001])).await;
        let other_machine = containers::insert(c, &new_container(bob, "web", &m2, image, &[20_001])).await;

        assert!(matches!(same_name, Err(Error::Duplicate)), "{same_name:?}");
        assert!(matches!(same_port, Err(Error::PortTaken(20_001))), "{same_port:?}");
        let other = other_machine.unwrap();
        assert_eq!(containers::list(c, Filter::default(), page(10, 0)).await.unwrap().total, 2);
        let free = async |machine, count| {
            containers::free_ports(c, machine, Protocol::Tcp, 20_000..=20_003, count).await.unwrap()
        };
        assert_eq!(free(&m1, 9).await, [20_002, 20_003]);
        assert_eq!(free(&m1, 1).await, [20_002]);
        assert_eq!(free(&m2, 9).await, [20_000, 20_002, 20_003]);
        let udp = containers::free_ports(c, &m1, Protocol::Udp, 20_000..=20_000, 1).await.unwrap();
        assert_eq!(udp, [20_000]);
        containers::insert(c, &new_container(bob, "db", &m2, image, &[20_003])).await.unwrap();
        let moved = containers::set_ports(c, other.id, &[port(20_000), port(20_003)], NOW).await;
        assert!(matches!(moved, Err(Error::PortTaken(20_003))), "{moved:?}");
        assert_eq!(containers::get(c, other.id).await.unwrap().unwrap().spec.ports, [port(20_001)]);
        containers::delete(c, other.id).await.unwrap();
        assert_eq!(free(&m2, 9).await, [20_000, 20_001, 20_002]);
    }
}

db_test! {
    async fn a_port_is_given_once_however_many_ask(db: &TestDb) {
        let (alice, machine, image) = world(db).await;
        let mut askers = JoinSet::new();
        for number in 0..8 {
            let (db, machine) = ((**db).clone(), machine.clone());
            askers.spawn(async move {
                loop {
                    let range = 20_000..=20_007;
                    let free = containers::free_ports(&db, &machine, Protocol::Tcp, range, 1).await.unwrap();
                    let new = new_container(alice, &format!("c-{number}"), &machine, image, &free);
                    match containers::insert(&db, &new).await {
                        Ok(row) => return row.spec.ports[0].host,
                        Err(Error::PortTaken(_) | Error::Locked) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }

        let mut ports = askers.join_all().await;

        ports.sort_unstable();
        assert_eq!(ports, (20_000..=20_007).collect::<Vec<_>>());
    }
}

db_test! {
    async fn what_is_not_as_wanted_is_found(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let insert = async |name: &str, desired, state| {
            let new = containers::New { desired, ..new_container(alice, name, &machine, image, &[]) };
            let row = containers::insert(c, &new).await.unwrap();
            containers::set_state(c, row.id, &row.change(state), later(1)).await.unwrap();
            row.id
        };
        let new = insert("new", Desired::Running, ContainerState::Pending).await;
        let running = insert("running", Desired::Running, ContainerState::Running).await;
        let failed = insert("failed", Desired::Running, ContainerState::Failed).await;
        let to_stop = insert("to-stop", Desired::Stopped, ContainerState::Running).await;
        let stopped = insert("stopped", Desired::Stopped, ContainerState::Stopped).await;
        let to_delete = insert("to-delete", Desired::Deleted, ContainerState::Stopped).await;
        let to_restart = insert("to-restart", Desired::Running, ContainerState::Running).await;
        containers::set_restart(c, to_restart, true).await.unwrap();

        let ids = async || {
            let rows = containers::unsettled(c, std::slice::from_ref(&machine)).await.unwrap();
            rows.iter().map(|row| row.id).collect::<Vec<_>>()
        };

        assert_eq!(ids().await, [new, to_stop, to_delete, to_restart]);
        assert_eq!(containers::unsettled(c, &["m-9".parse().unwrap()]).await.unwrap(), []);
        assert_eq!(containers::unsettled(c, &[]).await.unwrap(), []);
        assert!(containers::set_stop_timeout(c, to_stop, 30).await.unwrap());
        let tx = db.begin().await.unwrap();
        let locked = containers::locked(&tx, to_stop).await.unwrap().unwrap();
        assert_eq!((locked.id, locked.stop_timeout_secs), (to_stop, 30));
        assert!(store::accounts::locked(&tx, alice).await.unwrap().is_some());
        drop(tx);
        assert_eq!(containers::known_machines(c).await.unwrap(), std::slice::from_ref(&machine));
        assert_eq!(containers::mark_unknown(c, &machine, later(2)).await.unwrap(), 3);
        assert_eq!(containers::known_machines(c).await.unwrap(), []);
        assert_eq!(containers::mark_unknown(c, &"m-9".parse().unwrap(), later(2)).await.unwrap(), 0);
        assert_eq!(ids().await, [new, running, to_stop, to_delete, to_restart]);
        let found = containers::get(c, running).await.unwrap().unwrap();
        assert_eq!((found.state, found.state_since), (ContainerState::Unknown, later(2)));
        let all = containers::all_of_machine(c, &machine).await.unwrap();
        assert_eq!(all.len(), 7);
        assert_eq!(all[2].id, failed);
        assert_eq!(containers::get(c, stopped).await.unwrap().unwrap().state, ContainerState::Stopped);
        assert_eq!(containers::count_of_account(c, alice).await.unwrap(), 7);
        let list = async |filter| {
            let found = containers::list(c, filter, page(10, 0)).await.unwrap();
            assert!(found.rows.iter().all(|(_, account)| account.as_str() == "alice"));
            found.rows.iter().map(|(row, _)| row.id).collect::<Vec<_>>()
        };
        assert_eq!(list(Filter { state: Some(ContainerState::Failed), ..Default::default() }).await, [failed]);
        assert_eq!(list(Filter { search: Some("TO-"), ..Default::default() }).await, [to_restart, to_delete, to_stop]);
        assert_eq!(list(Filter { account: Some(AccountId(99)), ..Default::default() }).await, []);
        assert_eq!(list(Filter { image: Some(image), machine: Some(&machine), ..Default::default() }).await.len(), 7);
    }
}
