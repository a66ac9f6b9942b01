//! Images on machines.

use store::machine_images::{self, Key, Row};
use wire::ids::AccountId;
use wire::machine_images::MachineImageState;

use crate::support::{NOW, db_test, later};

fn row(machine: &str, image: char, state: MachineImageState) -> Row {
    Row {
        machine_id: machine.parse().unwrap(),
        repository: "alice/app".into(),
        digest: format!("sha256:{}", image.to_string().repeat(64)).parse().unwrap(),
        state,
        size_bytes: Some(1 << 40),
        last_used_at: NOW,
        account_id: None,
        attempt: 0,
        message: None,
    }
}

db_test! {
    async fn images_on_machines_are_kept_by_last_use(db: &TestDb) {
        use MachineImageState::{Failed, Held, Pulling, Wanted};

        let c = &**db;
        let old = Row { last_used_at: later(1), ..row("m1", 'a', Held) };
        let new = Row { last_used_at: later(2), ..row("m1", 'b', Held) };
        let wanted = Row { account_id: Some(AccountId(3)), ..row("m2", 'a', Wanted) };
        let failed = Row { message: Some("x".repeat(2_000)), attempt: 5, ..row("m3", 'a', Failed) };
        for row in [&new, &old, &wanted, &failed] {
            machine_images::put(c, row).await.unwrap();
            machine_images::put(c, row).await.unwrap();
        }

        let machine = old.machine_id.clone();
        assert_eq!(machine_images::of_machine(c, &machine).await.unwrap(), [old.clone(), new.clone()]);
        let of_image = machine_images::of_image(c, "alice/app", &old.digest).await.unwrap();
        assert_eq!(of_image[..2], [old.clone(), wanted.clone()]);
        assert_eq!(of_image[2].message.as_ref().map(String::len), Some(1_000));
        assert_eq!(machine_images::to_fetch(c).await.unwrap(), std::slice::from_ref(&wanted));
        machine_images::put(c, &Row { state: Pulling, ..wanted.clone() }).await.unwrap();
        assert_eq!(machine_images::to_fetch(c).await.unwrap().len(), 1, "who fetched it may have died");
        // What is used becomes the newest; what is not there yet is not used.
        assert!(machine_images::touch(c, old.key(), later(9)).await.unwrap());
        assert!(!machine_images::touch(c, wanted.key(), later(9)).await.unwrap());
        let order = machine_images::of_machine(c, &machine).await.unwrap();
        assert_eq!((&order[0].digest, &order[1].digest), (&new.digest, &old.digest));
        let other = Key { repository: "alice/other", ..old.key() };
        assert_eq!(machine_images::get(c, other).await.unwrap(), None);
        assert!(!machine_images::delete(c, other).await.unwrap());
        assert!(machine_images::delete(c, new.key()).await.unwrap());
        machine_images::delete_of_machine(c, &machine).await.unwrap();
        assert_eq!(machine_images::of_machine(c, &machine).await.unwrap(), []);
        assert_eq!(machine_images::of_image(c, "alice/app", &old.digest).await.unwrap().len(), 2);
    }
}
