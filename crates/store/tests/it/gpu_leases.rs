//! Leases of graphics processors, and the line of those who wait.

use store::containers::{self, Desired, Placement};
use store::{Error, gpu_leases, images};
use tokio::task::JoinSet;
use wire::containers::{ContainerSpec, ContainerState};
use wire::gpus::GpuWish;
use wire::ids::{AccountId, ContainerId, GpuId, ImageId, MachineId};

use crate::support::{NOW, TestDb, account, db_test, later, machine, new_container, new_image, port};

async fn world(db: &TestDb) -> (AccountId, MachineId, ImageId) {
    let image = images::insert(&**db, &new_image("alice/app:v1", 1)).await.unwrap();
    (account(db, "alice").await, machine(db, "m-1").await, image.id)
}

fn gpus(names: &[&str]) -> Vec<GpuId> {
    names.iter().map(|name| format!("GPU-{name}").parse().unwrap()).collect()
}

db_test! {
    async fn a_graphics_processor_has_one_holder(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let other_machine = crate::support::machine(db, "m-2").await;
        let first = containers::insert(c, &new_container(alice, "first", &machine, image, &[])).await.unwrap();
        let second = containers::insert(c, &new_container(alice, "second", &machine, image, &[])).await.unwrap();
        let take = async |id, machine: &MachineId, names: &[&str]| {
            let tx = c.begin().await.unwrap();
            gpu_leases::lock(&tx).await.unwrap();
            let taken = gpu_leases::take(&tx, id, machine, &gpus(names), later(1)).await;
            if taken.is_ok() {
                tx.commit().await.unwrap();
            }
            taken
        };

        take(first.id, &machine, &["a", "b"]).await.unwrap();
        let twice = take(second.id, &machine, &["c", "b"]).await;
        take(second.id, &other_machine, &["a"]).await.unwrap();

        assert!(matches!(twice, Err(Error::Duplicate)), "{twice:?}");
        let held = gpu_leases::list(c, Some(&machine)).await.unwrap();
        assert_eq!(held.len(), 2, "what failed took nothing");
        assert_eq!((held[1].gpu.as_str(), held[1].container.as_str(), held[1].account.as_str()), ("GPU-b", "first", "alice"));
        assert_eq!((held[1].container_id, held[1].account_id, held[1].since), (first.id, alice, later(1)));
        assert_eq!(gpu_leases::list(c, None).await.unwrap().len(), 3);
        assert_eq!(containers::get(c, first.id).await.unwrap().unwrap().leased_at, Some(later(1)));

        let tx = c.begin().await.unwrap();
        assert!(gpu_leases::release(&tx, first.id).await.unwrap());
        assert!(!gpu_leases::release(&tx, first.id).await.unwrap());
        assert!(matches!(gpu_leases::release(&tx, ContainerId(99)).await, Err(Error::NotFound)));
        tx.commit().await.unwrap();
        assert_eq!(containers::get(c, first.id).await.unwrap().unwrap().leased_at, None);
        assert_eq!(gpu_leases::list(c, Some(&machine)).await.unwrap(), []);
        // With the container goes its lease.
        containers::delete(c, second.id).await.unwrap();
        assert_eq!(gpu_leases::list(c, None).await.unwrap(), []);
    }
}

db_test! {
    async fn one_after_another_gives_leases(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let mut takers = JoinSet::new();
        for number in 0..6 {
            let new = new_container(alice, &format!("c-{number}"), &machine, image, &[]);
            let row = containers::insert(c, &new).await.unwrap();
            let (db, machine) = ((**db).clone(), machine.clone());
            takers.spawn(async move {
                loop {
                    let tx = match db.begin().await {
                        Err(Error::Locked) => continue,
                        other => other.unwrap(),
                    };
                    gpu_leases::lock(&tx).await.unwrap();
                    // Read after the lock, so that it is what the one before has left.
                    let held = gpu_leases::list(&tx, None).await.unwrap().len();
                    let next = gpus(&[&held.to_string()]);
                    gpu_leases::take(&tx, row.id, &machine, &next, NOW).await.unwrap();
                    tx.commit().await.unwrap();
                    return held;
                }
            });
        }

        let mut given = takers.join_all().await;

        given.sort_unstable();
        assert_eq!(given, [0, 1, 2, 3, 4, 5]);
    }
}

db_test! {
    async fn the_line_is_first_come_first_served(db: &TestDb) {
        let c = &**db;
        let (alice, m1, image) = world(db).await;
        let m2 = machine(db, "m-2").await;
        let wish = GpuWish { count: 2, model: Some("a100".into()), memory_mib: Some(40_000) };
        let waiting = |name: &str, placement, now| containers::New {
            placement,
            now,
            gpu_wish: Some(wish.clone()),
            ..new_container(alice, name, &m1, image, &[20_000])
        };
        let late = containers::insert(c, &waiting("late", Placement::Any, later(2))).await.unwrap();
        let early = containers::insert(c, &waiting("early", Placement::Named, later(1))).await.unwrap();
        // Those who wait hold no ports: this one has the same.
        let holder = containers::insert(c, &new_container(alice, "holder", &m1, image, &[20_000])).await.unwrap();

        assert_eq!(containers::get(c, late.id).await.unwrap(), Some(late.clone()));
        assert_eq!((late.gpu_wish.as_ref(), late.queued_at, late.placement), (Some(&wish), Some(later(2)), Placement::Any));
        assert_eq!(containers::line_ids(c).await.unwrap(), [early.id, late.id]);
        assert_eq!(containers::line(c).await.unwrap(), [early.clone(), late.clone()]);
        assert!(containers::unsettled(c, std::slice::from_ref(&m1)).await.unwrap().iter().all(|row| row.id == holder.id));

        let place = async |row: &containers::Row, machine: &MachineId, host| {
            let spec = ContainerSpec { ports: vec![port(host)], gpus: gpus(&["a"]), ..row.spec.clone() };
            let tx = c.begin().await.unwrap();
            let placed = containers::place(&tx, row, machine, &spec, later(5)).await;
            if placed.is_ok() {
                tx.commit().await.unwrap();
            }
            placed
        };
        assert!(matches!(place(&early, &m1, 20_000).await, Err(Error::PortTaken(20_000))));
        assert!(place(&late, &m2, 20_001).await.unwrap());
        assert!(!place(&late, &m2, 20_002).await.unwrap(), "it is not in the line any more");
        let placed = containers::get(c, late.id).await.unwrap().unwrap();
        assert_eq!((placed.placement, placed.queued_at, &placed.machine_id), (Placement::Fixed, None, &m2));
        assert_eq!((placed.spec.ports[0].host, placed.spec.gpus), (20_001, gpus(&["a"])));
        assert_eq!(containers::line_ids(c).await.unwrap(), [early.id]);

        // One that starts again goes to the end, and keeps the ports that it has.
        assert!(containers::set_queued(c, holder.id, Some(later(9))).await.unwrap());
        assert_eq!(containers::line_ids(c).await.unwrap(), [early.id, holder.id]);
        let queued = containers::get(c, holder.id).await.unwrap().unwrap();
        assert!(place(&queued, &m1, 20_000).await.unwrap());
        assert!(containers::set_queued(c, early.id, None).await.unwrap());
        assert!(!containers::set_queued(c, ContainerId(99), None).await.unwrap());
        assert_eq!(containers::line_ids(c).await.unwrap(), []);
    }
}

db_test! {
    async fn who_has_stopped_and_still_holds_is_looked_at(db: &TestDb) {
        let c = &**db;
        let (alice, machine, image) = world(db).await;
        let new = containers::New { desired: Desired::Stopped, ..new_container(alice, "box", &machine, image, &[]) };
        let row = containers::insert(c, &new).await.unwrap();
        containers::set_state(c, row.id, &row.change(ContainerState::Stopped), later(1)).await.unwrap();
        assert_eq!(containers::unsettled(c, std::slice::from_ref(&machine)).await.unwrap(), []);

        let tx = c.begin().await.unwrap();
        gpu_leases::take(&tx, row.id, &machine, &gpus(&["a"]), later(2)).await.unwrap();
        tx.commit().await.unwrap();
        assert!(containers::set_copy_of(c, row.id, Some("0123abcd")).await.unwrap());

        let found = containers::unsettled(c, std::slice::from_ref(&machine)).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].copy_of.as_deref(), Some("0123abcd"));
        let behind = |ids: &'static [&'static str]| containers::behind(c, &machine, ids);
        assert_eq!(behind(&["0123abcd"]).await.unwrap(), [], "a copy is not the container");
        let change = containers::StateChange { engine_id: Some("feed"), ..row.change(ContainerState::Stopped) };
        containers::set_state(c, row.id, &change, later(3)).await.unwrap();
        let found = behind(&["feed", "0123abcd"]).await.unwrap();
        assert_eq!((found.len(), found[0].id, found[0].account.as_str()), (1, row.id, "alice"));
        assert_eq!(containers::behind(c, &"m-9".parse().unwrap(), &["feed"]).await.unwrap(), []);
        assert!(containers::set_copy_of(c, row.id, None).await.unwrap());
    }
}
