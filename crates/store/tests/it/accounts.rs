//! Accounts, sessions, tokens, audit log, settings, registry events, machines.

use store::accounts::ProfileField::{Email, Nickname, Phone, Photo};
use store::{Error, accounts, audit, machines, registry_events, sessions, settings, tokens};
use tokio::task::JoinSet;
use uuid::Uuid;
use wire::accounts::{AccountState, Role};
use wire::ids::{AccountId, SessionId, TokenId};
use wire::machines::MachineState;
use wire::names::AccountName;

use crate::support::{NOW, account, db_test, facts, later, machine, page};

db_test! {
    async fn an_account_keeps_every_column(db: &TestDb) {
        let name: AccountName = "alice".parse().unwrap();
        let new = accounts::New {
            account: &name,
            password_hash: "$argon2id$v=19$…",
            role: Role::Admin,
            state: AccountState::Pending,
            now: NOW,
        };

        let made = accounts::insert(&**db, &new).await.unwrap();
        let c = &**db;
        accounts::set_profile(c, made.id, Nickname, Some("Älice 🚀 %_'\"\\"), later(1)).await.unwrap();
        accounts::set_profile(c, made.id, Email, Some("alice@example.org"), later(1)).await.unwrap();
        accounts::set_profile(c, made.id, Phone, Some("+86 138 0000 0000"), later(1)).await.unwrap();
        accounts::set_profile(c, made.id, Photo, Some("custom/1.png"), later(1)).await.unwrap();
        accounts::set_profile(c, made.id, Photo, None, later(2)).await.unwrap();
        accounts::set_password(c, made.id, "other", later(2)).await.unwrap();
        accounts::set_role(c, made.id, Role::User, later(2)).await.unwrap();
        accounts::set_state(c, made.id, AccountState::Disabled, later(3)).await.unwrap();

        let expected = accounts::Row {
            nickname: Some("Älice 🚀 %_'\"\\".to_owned()),
            email: Some("alice@example.org".to_owned()),
            phone: Some("+86 138 0000 0000".to_owned()),
            photo: None,
            password_hash: "other".to_owned(),
            role: Role::User,
            state: AccountState::Disabled,
            updated_at: later(3),
            ..made.clone()
        };
        assert_eq!(made.role, Role::Admin);
        assert_eq!(accounts::get(c, made.id).await.unwrap(), Some(expected.clone()));
        assert_eq!(accounts::by_name(c, &name).await.unwrap(), Some(expected));
        assert_eq!(accounts::get(c, AccountId(made.id.0 + 1)).await.unwrap(), None);
        let missing = accounts::set_password(c, AccountId(99), "x", NOW).await;
        assert!(matches!(missing, Err(Error::NotFound)));
    }
}

db_test! {
    async fn a_name_is_given_once(db: &TestDb) {
        let name: AccountName = "alice".parse().unwrap();
        let new = accounts::New {
            account: &name,
            password_hash: "x",
            role: Role::User,
            state: AccountState::Active,
            now: NOW,
        };

        accounts::insert(&**db, &new).await.unwrap();
        let second = accounts::insert(&**db, &new).await;

        assert!(matches!(second, Err(Error::Duplicate)), "{second:?}");
        assert_eq!(accounts::list(&**db, None, page(10, 0)).await.unwrap().total, 1);
    }
}

db_test! {
    async fn names_compare_exactly(db: &TestDb) {
        let alice = account(db, "alice").await;
        db.execute(&[
            "INSERT INTO settings (name, value) VALUES ('key', 'a')",
            "INSERT INTO settings (name, value) VALUES ('Key', 'b')",
            "INSERT INTO settings (name, value) VALUES ('key ', 'c')",
            "INSERT INTO settings (name, value) VALUES ('kéy', 'd')",
            "INSERT INTO accounts (account, password_hash, role, state, created_at, updated_at) \
             VALUES ('alice ', 'x', 'user', 'active', 0, 0)",
            "INSERT INTO accounts (account, password_hash, role, state, created_at, updated_at) \
             VALUES ('Alice', 'x', 'user', 'active', 0, 0)",
        ])
        .await;

        let c = &**db;
        for (name, value) in [("key", "a"), ("Key", "b"), ("key ", "c"), ("kéy", "d")] {
            assert_eq!(settings::get(c, name).await.unwrap().as_deref(), Some(value), "{name:?}");
        }
        assert_eq!(settings::get(c, "KEY").await.unwrap(), None);
        let found = accounts::by_name(c, &"alice".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(found.id, alice);
    }
}

db_test! {
    async fn a_value_that_does_not_parse_is_an_error(db: &TestDb) {
        let alice = account(db, "alice").await;
        db.execute(&["UPDATE accounts SET role = 'emperor'"]).await;

        let error = accounts::get(&**db, alice).await.unwrap_err();

        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        assert!(error.to_string().contains("`role`"), "{error}");
        assert!(!error.to_string().contains("SELECT"), "{error}");
    }
}

db_test! {
    async fn accounts_are_searched_without_regard_to_case(db: &TestDb) {
        for name in ["alice", "bob", "carol"] {
            account(db, name).await;
        }
        let c = &**db;
        let bob = accounts::by_name(c, &"bob".parse().unwrap()).await.unwrap().unwrap();
        accounts::set_profile(c, bob.id, Nickname, Some("100% Bob_the!Builder"), NOW).await.unwrap();

        for (search, expected) in
            [("ALI", 1), ("o", 2), ("%", 1), ("_", 1), ("!b", 1), ("b_b", 0), ("'; --", 0), ("", 3)]
        {
            let found = accounts::list(c, Some(search), page(10, 0)).await.unwrap();
            assert_eq!(found.total, expected, "{search:?}");
            assert_eq!(u64::try_from(found.rows.len()).unwrap(), expected, "{search:?}");
        }
    }
}

db_test! {
    async fn only_active_admins_count(db: &TestDb) {
        let c = &**db;
        let [a, b, d] = [account(c, "a").await, account(c, "b").await, account(c, "d").await];
        accounts::set_role(c, a, Role::Admin, NOW).await.unwrap();
        accounts::set_role(c, b, Role::Admin, NOW).await.unwrap();
        accounts::set_state(c, b, AccountState::Disabled, NOW).await.unwrap();
        accounts::set_state(c, d, AccountState::Disabled, NOW).await.unwrap();

        assert_eq!(accounts::count_active_admins(c).await.unwrap(), 1);
        let tx = db.begin().await.unwrap();
        assert_eq!(accounts::count_active_admins(&tx).await.unwrap(), 1);
    }
}

db_test! {
    async fn a_dropped_transaction_leaves_nothing(db: &TestDb) {
        let tx = db.begin().await.unwrap();
        let name: AccountName = "alice".parse().unwrap();
        let new = accounts::New {
            account: &name,
            password_hash: "x",
            role: Role::User,
            state: AccountState::Active,
            now: NOW,
        };
        accounts::insert(&tx, &new).await.unwrap();
        assert!(accounts::by_name(&tx, &name).await.unwrap().is_some());
        assert_eq!(accounts::list(&tx, None, page(10, 0)).await.unwrap().total, 1);

        drop(tx);

        assert_eq!(accounts::by_name(&**db, &name).await.unwrap(), None);
        assert_eq!(accounts::list(&**db, None, page(10, 0)).await.unwrap().total, 0);
        let tx = db.begin().await.unwrap();
        accounts::insert(&tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(accounts::list(&**db, None, page(10, 0)).await.unwrap().total, 1);
    }
}

db_test! {
    async fn sessions_end(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        let session = |account_id, secs| sessions::Row {
            id: SessionId(Uuid::now_v7()),
            account_id,
            logged_in_at: NOW,
            expires_at: later(secs),
        };
        let all = [session(alice, 10), session(alice, 20), session(alice, 30), session(bob, 10), session(bob, 40)];
        for session in &all {
            sessions::insert(c, session).await.unwrap();
        }

        assert_eq!(sessions::get(c, all[0].id).await.unwrap().as_ref(), Some(&all[0]));
        assert!(matches!(sessions::insert(c, &all[0]).await, Err(Error::Duplicate)));
        let orphan = sessions::Row { account_id: AccountId(99), ..session(alice, 1) };
        assert!(matches!(sessions::insert(c, &orphan).await, Err(Error::InUse)));
        assert_eq!(sessions::delete_of_account(c, alice, Some(all[1].id)).await.unwrap(), 2);
        assert_eq!(sessions::delete_expired(c, later(10)).await.unwrap(), 1);
        assert!(sessions::delete(c, all[1].id).await.unwrap());
        assert!(!sessions::delete(c, all[1].id).await.unwrap());
        assert_eq!(sessions::delete_of_account(c, bob, None).await.unwrap(), 1);
        assert_eq!(sessions::get(c, all[4].id).await.unwrap(), None);
    }
}

db_test! {
    async fn tokens_are_found_by_their_secret(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        let token = |number: u32, account_id| tokens::Row {
            id: TokenId(Uuid::now_v7()),
            account_id,
            name: format!("laptop {number}"),
            secret_hash: format!("{number:064x}"),
            created_at: NOW,
            expires_at: (number > 1).then(|| later(60)),
            last_used_at: None,
        };
        let all = [token(1, alice), token(2, alice), token(3, bob)];
        for token in &all {
            tokens::insert(c, token).await.unwrap();
        }

        tokens::touch(c, all[1].id, later(5)).await.unwrap();

        let used = tokens::Row { last_used_at: Some(later(5)), ..all[1].clone() };
        let hash = &all[1].secret_hash;
        assert_eq!(tokens::by_secret_hash(c, hash).await.unwrap(), Some(used.clone()));
        assert_eq!(tokens::by_secret_hash(c, "0").await.unwrap(), None);
        let list = tokens::list(c, alice, page(10, 0)).await.unwrap();
        assert_eq!((list.rows, list.total), (vec![used, all[0].clone()], 2));
        let twin = tokens::Row { id: TokenId(Uuid::now_v7()), ..all[0].clone() };
        assert!(matches!(tokens::insert(c, &twin).await, Err(Error::Duplicate)));
        assert!(!tokens::delete(c, bob, all[0].id).await.unwrap());
        assert!(tokens::delete(c, alice, all[0].id).await.unwrap());
        assert_eq!(tokens::delete_of_account(c, alice).await.unwrap(), 1);
        assert_eq!(tokens::list(c, alice, page(10, 0)).await.unwrap().total, 0);
        assert_eq!(tokens::list(c, bob, page(10, 0)).await.unwrap().total, 1);
    }
}

db_test! {
    async fn the_audit_log_names_accounts(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        let long = "ü".repeat(600);
        let row = audit::New {
            at: NOW,
            actor: Some(alice),
            acting_for: Some(bob),
            action: "image.delete",
            target: "alice/app:v1",
            result: "done",
            ip: Some("2001:db8::1"),
            request_id: Some("r-1"),
        };
        let denied = audit::New {
            at: later(1),
            actor: None,
            acting_for: None,
            action: "account.login",
            target: &long,
            result: "denied",
            ip: None,
            request_id: None,
        };

        audit::insert(c, &row).await.unwrap();
        audit::insert(c, &denied).await.unwrap();

        let all = audit::list(c, audit::Filter::default(), page(10, 0)).await.unwrap();
        assert_eq!(all.total, 2);
        let [newest, oldest] = all.rows.as_slice() else { panic!("two rows") };
        assert_eq!(newest.actor, None);
        assert_eq!(newest.target, "ü".repeat(500));
        assert_eq!(oldest.actor.as_ref().unwrap().as_str(), "alice");
        assert_eq!(oldest.acting_for.as_ref().unwrap().as_str(), "bob");
        assert_eq!((oldest.at, oldest.action.as_str(), oldest.target.as_str()), (NOW, "image.delete", "alice/app:v1"));
        assert_eq!((oldest.ip.as_deref(), oldest.request_id.as_deref()), (Some("2001:db8::1"), Some("r-1")));
        let filters = [
            audit::Filter { actor: Some(alice), ..Default::default() },
            audit::Filter { action: Some("account.login"), ..Default::default() },
            audit::Filter { target: Some("alice/app:v1"), ..Default::default() },
            audit::Filter { search: Some("LOGIN"), ..Default::default() },
            audit::Filter { search: Some("app:"), ..Default::default() },
            audit::Filter { result: Some("denied"), ..Default::default() },
            audit::Filter { since: Some(later(1)), ..Default::default() },
            audit::Filter { until: Some(later(1)), ..Default::default() },
        ];
        for filter in filters {
            assert_eq!(audit::list(c, filter, page(10, 0)).await.unwrap().total, 1, "{filter:?}");
        }
    }
}

db_test! {
    async fn a_setting_is_made_once_however_many_ask(db: &TestDb) {
        let mut askers = JoinSet::new();
        for number in 0..8 {
            let db = (**db).clone();
            askers.spawn(async move { settings::get_or_insert(&db, "instance", &number.to_string()).await.unwrap() });
        }

        let answers = askers.join_all().await;

        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        settings::set(&**db, "instance", "9").await.unwrap();
        settings::set(&**db, "other", "1").await.unwrap();
        assert_eq!(settings::get(&**db, "instance").await.unwrap().as_deref(), Some("9"));
        assert_eq!(settings::get_or_insert(&**db, "other", "2").await.unwrap(), "1");
        let tx = db.begin().await.unwrap();
        assert_eq!(settings::get_or_insert(&tx, "third", "3").await.unwrap(), "3");
    }
}

db_test! {
    async fn the_registry_may_report_twice(db: &TestDb) {
        let event = |number: u32| registry_events::New {
            at: later(i64::from(number)),
            event_id: format!("event-{number}"),
            action: "push".to_owned(),
            repository: "alice/app".to_owned(),
            tag: (number == 1).then(|| "v1".to_owned()),
            digest: Some(format!("sha256:{number:064x}")),
            actor: Some("alice".to_owned()),
            size_bytes: Some(1 << 40),
        };
        let c = &**db;

        registry_events::insert_many(c, &[event(1), event(2)]).await.unwrap();
        registry_events::insert_many(c, &[event(2), event(3)]).await.unwrap();
        registry_events::insert_many(c, &[]).await.unwrap();

        let list = registry_events::list(c, page(10, 0)).await.unwrap();
        let events: Vec<_> = list.rows.into_iter().map(|row| row.event).collect();
        assert_eq!(events, [event(3), event(2), event(1)]);
        assert_eq!(registry_events::delete_before(c, later(2)).await.unwrap(), 1);
        let too_large = registry_events::New { size_bytes: Some(u64::MAX), ..event(4) };
        assert!(registry_events::insert_many(c, &[event(5), too_large]).await.is_err());
        assert_eq!(registry_events::list(c, page(10, 0)).await.unwrap().total, 2);
    }
}

db_test! {
    async fn a_machine_keeps_what_its_agent_said(db: &TestDb) {
        let c = &**db;
        let id = machine(c, "m-1").await;
        let mut changed = facts("m-1");
        changed.engine_version = None;
        changed.memory.free = 1;

        machines::upsert(c, &changed, MachineState::EngineDown, later(5)).await.unwrap();
        machines::upsert(c, &facts("m-2"), MachineState::Online, later(6)).await.unwrap();

        let found = machines::get(c, &id).await.unwrap().unwrap();
        assert_eq!(found.facts, changed);
        assert_eq!((found.state, found.state_since, found.last_seen_at), (MachineState::EngineDown, later(5), later(5)));
        machines::upsert(c, &changed, MachineState::EngineDown, later(7)).await.unwrap();
        let found = machines::get(c, &id).await.unwrap().unwrap();
        assert_eq!((found.state_since, found.last_seen_at), (later(5), later(7)));
        assert!(machines::set_state(c, &id, MachineState::Unknown, later(8)).await.unwrap());
        assert!(!machines::set_state(c, &id, MachineState::Unknown, later(9)).await.unwrap());
        let states = [(id, MachineState::Unknown), ("m-2".parse().unwrap(), MachineState::Online)];
        assert_eq!(machines::states(c).await.unwrap(), states);
        let list = machines::list(c, page(10, 0)).await.unwrap();
        let ids: Vec<_> = list.rows.iter().map(|row| row.facts.machine_id.as_str()).collect();
        assert_eq!((ids, list.total), (vec!["m-1", "m-2"], 2));
        assert_eq!(list.rows[0].state_since, later(8));
    }
}
