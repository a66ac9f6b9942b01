//! Jobs: claimed by one worker at a time.

use std::collections::HashSet;
use std::time::Duration;

use store::jobs::{self, Kind, New, Row, State, Turns};
use store::{Db, Error};
use tokio::task::JoinSet;
use wire::ids::{AccountId, JobId};

use crate::support::{NOW, account, db_test, later, within};

async fn enqueue(db: &Db, target: &str, account_id: Option<AccountId>, secs: i64) -> JobId {
    let new = New { kind: Kind::BuildImage, target, account_id, run_at: later(secs), now: NOW };
    jobs::enqueue(db, &new).await.unwrap()
}

async fn claim(db: &Db, owner: &str, limit: u32, secs: i64) -> Option<Row> {
    claim_in_turn(db, owner, limit, &Turns::default(), secs).await
}

async fn claim_in_turn(db: &Db, owner: &str, limit: u32, turns: &Turns, secs: i64) -> Option<Row> {
    jobs::claim(db, &[Kind::BuildImage], owner, 30, limit, turns, later(secs)).await.unwrap()
}

db_test! {
    async fn a_job_lives_through_its_states(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let id = enqueue(c, "b-1", Some(alice), 10).await;

        let due = async |secs| jobs::due(c, &[Kind::Notify, Kind::BuildImage], later(secs)).await.unwrap();
        assert_eq!(claim(c, "w", 1, 9).await, None);
        assert_eq!((due(9).await, due(10).await), (vec![], vec![Kind::BuildImage]));
        assert_eq!(jobs::due(c, &[Kind::Notify], later(10)).await.unwrap(), []);
        assert!(jobs::is_pending(c, Kind::BuildImage, "b-1").await.unwrap());
        let first = claim(c, "w", 1, 10).await.unwrap();
        assert_eq!(jobs::get(c, id).await.unwrap(), Some(first.clone()));
        assert_eq!((first.state, first.attempt, first.epoch), (State::Running, 1, 1));
        assert_eq!((first.lease_owner.as_deref(), first.lease_until), (Some("w"), Some(later(40))));
        assert_eq!(claim(c, "w", 1, 11).await, None);
        assert_eq!((due(39).await, due(41).await), (vec![], vec![Kind::BuildImage]), "its lease has ended");
        assert!(jobs::renew(c, id, 1, later(100)).await.unwrap());
        assert_eq!(claim(c, "w", 1, 50).await, None);
        assert!(jobs::retry(c, id, 1, later(60), "engine lost").await.unwrap());
        assert!(!jobs::renew(c, id, 1, later(200)).await.unwrap());
        assert_eq!(claim(c, "w", 1, 59).await, None);
        let second = claim(c, "w", 1, 60).await.unwrap();
        assert_eq!((second.attempt, second.epoch, second.last_error.as_deref()), (2, 2, Some("engine lost")));
        assert!(!jobs::done(c, id, 1).await.unwrap());
        assert!(jobs::done(c, id, 2).await.unwrap());
        assert!(!jobs::done(c, id, 2).await.unwrap());
        assert!(!jobs::is_pending(c, Kind::BuildImage, "b-1").await.unwrap());
        let parked = enqueue(c, "b-2", None, 0).await;
        let claimed = claim(c, "w", 1, 70).await.unwrap();
        assert_eq!(claimed.id, parked);
        assert!(jobs::park(c, parked, claimed.epoch, "poison").await.unwrap());
        assert_eq!(jobs::count(c, State::Parked).await.unwrap(), 1);
        assert_eq!(claim(c, "w", 1, 9999).await, None);
        assert_eq!(jobs::delete_done(c, later(1)).await.unwrap(), 1);
        assert_eq!(jobs::get(c, id).await.unwrap(), None);
    }
}

db_test! {
    async fn an_expired_lease_is_taken_over_and_the_old_worker_refused(db: &TestDb) {
        let c = &**db;
        let id = enqueue(c, "b-1", None, 0).await;
        let old = claim(c, "old", 1, 0).await.unwrap();

        assert_eq!(claim(c, "new", 1, 30).await, None);
        let new = claim(c, "new", 1, 31).await.unwrap();

        assert_eq!((new.id, new.epoch, new.attempt), (id, old.epoch + 1, 2));
        assert!(!jobs::renew(c, id, old.epoch, later(100)).await.unwrap());
        assert!(!jobs::done(c, id, old.epoch).await.unwrap());
        assert!(!jobs::retry(c, id, old.epoch, NOW, "x").await.unwrap());
        assert!(!jobs::park(c, id, old.epoch, "x").await.unwrap());
        assert_eq!(jobs::requeue_running(c, later(40)).await.unwrap(), 1);
        assert!(!jobs::done(c, id, new.epoch).await.unwrap());
        let third = claim(c, "third", 1, 40).await.unwrap();
        assert_eq!(third.epoch, new.epoch + 1);
        assert!(jobs::done(c, id, third.epoch).await.unwrap());
    }
}

db_test! {
    async fn accounts_at_their_limit_are_passed_over(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        for number in 0..4 {
            enqueue(c, &format!("a-{number}"), Some(alice), 0).await;
        }
        enqueue(c, "b-0", Some(bob), 0).await;
        enqueue(c, "none-0", None, 0).await;
        enqueue(c, "none-1", None, 0).await;

        let mut taken = Vec::new();
        while let Some(job) = claim(c, "w", 2, 1).await {
            taken.push(job);
        }

        let of = |account: Option<AccountId>| taken.iter().filter(|job| job.account_id == account).count();
        assert_eq!((of(Some(alice)), of(Some(bob)), of(None)), (2, 1, 2));
        let first = taken.iter().find(|job| job.account_id == Some(alice)).unwrap();
        assert!(jobs::done(c, first.id, first.epoch).await.unwrap());
        assert_eq!(claim(c, "w", 2, 1).await.unwrap().account_id, Some(alice));
        assert_eq!(claim(c, "w", 2, 1).await, None);
        assert_eq!(claim(c, "w", 0, 1).await, None);
        assert_eq!(jobs::claim(c, &[Kind::DeleteImage], "w", 30, 9, &Turns::default(), later(1)).await.unwrap(), None);
        assert_eq!(jobs::claim(c, &[], "w", 30, 9, &Turns::default(), later(1)).await.unwrap(), None);
    }
}

db_test! {
    async fn accounts_take_turns_however_much_one_asked_for_first(db: &TestDb) {
        let c = &**db;
        let (alice, bob) = (account(c, "alice").await, account(c, "bob").await);
        for number in 0..5 {
            enqueue(c, &format!("a-{number}"), Some(alice), 0).await;
        }
        for number in 0..2 {
            enqueue(c, &format!("b-{number}"), Some(bob), 0).await;
        }
        let mut turns = Turns::default();

        // One place: each job ends before the next one begins.
        let mut taken = Vec::new();
        while let Some(job) = claim_in_turn(c, "w", 1, &turns, 1).await {
            turns.note(job.account_id);
            taken.push(job.account_id);
            assert!(jobs::done(c, job.id, job.epoch).await.unwrap());
        }

        assert_eq!(taken.len(), 7);
        assert_eq!(taken[..4].iter().filter(|account| **account == Some(bob)).count(), 2, "{taken:?}");
    }
}

db_test! {
    async fn eight_workers_take_each_of_two_hundred_jobs_once(db: &TestDb) {
        let tx = db.begin().await.unwrap();
        for number in 0..200 {
            let new = New {
                kind: Kind::BuildImage,
                target: &number.to_string(),
                account_id: None,
                run_at: NOW,
                now: NOW,
            };
            jobs::enqueue(&tx, &new).await.unwrap();
        }
        tx.commit().await.unwrap();

        let mut workers = JoinSet::new();
        for worker in 0..8 {
            let db = (**db).clone();
            workers.spawn(async move {
                let mut taken = Vec::new();
                loop {
                    let (who, none) = (worker.to_string(), Turns::default());
                    match jobs::claim(&db, &[Kind::BuildImage], &who, 30, 1, &none, NOW).await {
                        Ok(Some(job)) => {
                            assert!(jobs::done(&db, job.id, job.epoch).await.unwrap());
                            taken.push(job.id);
                        }
                        Ok(None) if jobs::count(&db, State::Queued).await.unwrap() == 0 => return taken,
                        Ok(None) | Err(Error::Locked) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
        let taken = within(Duration::from_mins(2), workers.join_all()).await;
        let taken: Vec<JobId> = taken.into_iter().flatten().collect();

        assert_eq!(taken.len(), 200);
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 200);
        assert_eq!(jobs::count(&**db, State::Done).await.unwrap(), 200);
    }
}

db_test! {
    async fn an_accounts_limit_holds_among_workers(db: &TestDb) {
        let alice = account(db, "alice").await;
        for number in 0..20 {
            enqueue(db, &number.to_string(), Some(alice), 0).await;
        }

        let mut workers = JoinSet::new();
        for worker in 0..8 {
            let db = (**db).clone();
            workers.spawn(async move {
                let mut taken = 0;
                for _ in 0..4 {
                    taken += usize::from(claim(&db, &worker.to_string(), 3, 1).await.is_some());
                }
                taken
            });
        }
        let taken: usize = workers.join_all().await.into_iter().sum();

        assert_eq!(taken, 3);
        assert_eq!(jobs::count(&**db, State::Running).await.unwrap(), 3);
    }
}
