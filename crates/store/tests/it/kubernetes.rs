//! Clusters, namespaces and workloads: each name once where it has to be, and nothing that is used is removed.

use store::clusters::{self, Row as Cluster};
use store::namespaces::{self, New};
use store::workloads::{self, Desired, Revision, Row as Workload};
use store::{Error, Tx};
use wire::clusters::ClusterState;
use wire::ids::{AccountId, ClusterId, NamespaceId, WorkloadId};
use wire::namespaces::NamespaceState;
use wire::workloads::WorkloadKind;

use crate::support::{TestDb, account, db_test, later, page};

fn cluster(name: &str) -> Cluster {
    Cluster {
        id: ClusterId(uuid::Uuid::now_v7()),
        name: name.parse().unwrap(),
        server: "https://10.0.0.1:6443".to_owned(),
        credentials: Some("sealed1:AAAA".to_owned()),
        pod_ranges: vec!["10.244.0.0/16".to_owned()],
        is_default: false,
        state: ClusterState::Ready,
        state_since: later(0),
        message: None,
        version: Some("v1.34.4".to_owned()),
        created_at: later(0),
    }
}

async fn added(db: &TestDb, row: &Cluster) -> Result<(), Error> {
    let tx: Tx = db.begin().await?;
    clusters::insert(&tx, row).await?;
    tx.commit().await
}

async fn namespace(
    db: &TestDb,
    cluster: ClusterId,
    account_id: AccountId,
    name: &str,
) -> Result<NamespaceId, Error> {
    let id = NamespaceId(uuid::Uuid::now_v7());
    let (account, short) = name.split_once('-').unwrap();
    assert!(!account.is_empty());
    let new = New {
        id,
        cluster_id: cluster,
        account_id,
        name: &name.parse().unwrap(),
        short_name: &short.parse().unwrap(),
        created_at: later(1),
    };
    namespaces::insert(&**db, &new).await?;
    Ok(id)
}

db_test! {
    async fn one_cluster_is_the_default_one_and_one_in_use_stays(db: &TestDb) {
        let alice = account(db, "alice").await;
        let (lab, cloud) = (cluster("lab"), Cluster { is_default: true, ..cluster("cloud") });

        added(db, &lab).await.unwrap();
        assert_eq!(clusters::default_one(&**db).await.unwrap().unwrap().name, lab.name, "the first one");
        added(db, &cloud).await.unwrap();

        assert_eq!(clusters::default_one(&**db).await.unwrap().unwrap().name, cloud.name);
        assert!(matches!(added(db, &cluster("lab")).await, Err(Error::Duplicate)));
        assert_eq!(clusters::all(&**db).await.unwrap().len(), 2);
        let found = clusters::by_name(&**db, &lab.name).await.unwrap().unwrap();
        assert_eq!(found, Cluster { is_default: false, ..lab.clone() });
        assert!(clusters::set_state(&**db, lab.id, ClusterState::Refused, Some("no"), None, later(5)).await.unwrap());
        assert!(!clusters::set_state(&**db, lab.id, ClusterState::Refused, Some("no"), None, later(6)).await.unwrap());
        let found = clusters::get(&**db, lab.id).await.unwrap().unwrap();
        assert_eq!((found.state, found.state_since, found.version.as_deref()), (ClusterState::Refused, later(5), Some("v1.34.4")));
        clusters::set_version(&**db, lab.id, "v1.35.0").await.unwrap();
        let found = clusters::get(&**db, lab.id).await.unwrap().unwrap();
        assert_eq!((found.state_since, found.version.as_deref()), (later(5), Some("v1.35.0")));
        let id = namespace(db, lab.id, alice, "alice-test").await.unwrap();
        assert!(matches!(clusters::delete(&**db, lab.id).await, Err(Error::InUse)));
        assert!(namespaces::delete(&**db, id).await.unwrap());
        assert!(clusters::delete(&**db, lab.id).await.unwrap());
    }
}

db_test! {
    async fn a_namespace_has_one_owner_whatever_it_is_called(db: &TestDb) {
        let (alice, bob) = (account(db, "alice").await, account(db, "bob").await);
        let (lab, cloud) = (cluster("lab"), cluster("cloud"));
        added(db, &lab).await.unwrap();
        added(db, &cloud).await.unwrap();

        let id = namespace(db, lab.id, alice, "alice-test").await.unwrap();
        namespace(db, cloud.id, alice, "alice-test").await.unwrap();
        assert!(matches!(namespace(db, lab.id, bob, "alice-test").await, Err(Error::Duplicate)));
        namespace(db, lab.id, bob, "bob-test").await.unwrap();

        let named = async |account, name: &str, on| {
            let found = namespaces::named(&**db, account, &name.parse().unwrap(), on).await.unwrap();
            found.len()
        };
        assert_eq!((named(alice, "test", None).await, named(alice, "alice-test", Some(lab.id)).await), (2, 1));
        assert_eq!((named(bob, "alice-test", None).await, named(bob, "test", None).await), (0, 1));
        assert_eq!(namespaces::list(&**db, Some(alice), None, page(1, 0)).await.unwrap().total, 2);
        assert_eq!(namespaces::list(&**db, None, Some(lab.id), page(9, 0)).await.unwrap().rows.len(), 2);
        assert_eq!(namespaces::list(&**db, None, None, page(9, 0)).await.unwrap().total, 3);
        assert_eq!(namespaces::count_of_account(&**db, alice).await.unwrap(), 2);
        let set = async |state, at| namespaces::set_state(&**db, id, state, None, later(at)).await.unwrap();
        assert!(set(NamespaceState::Ready, 10).await && set(NamespaceState::Ready, 20).await);
        let found = namespaces::get(&**db, id).await.unwrap().unwrap();
        assert_eq!((found.state, found.state_since, found.account.as_str()), (NamespaceState::Ready, later(10), "alice"));
        assert!(set(NamespaceState::Deleting, 30).await);
        assert!(!set(NamespaceState::Ready, 40).await, "what is being deleted does not come back");
    }
}

db_test! {
    async fn revisions_follow_each_other_and_the_oldest_go(db: &TestDb) {
        let alice = account(db, "alice").await;
        let lab = cluster("lab");
        added(db, &lab).await.unwrap();
        let space = namespace(db, lab.id, alice, "alice-test").await.unwrap();
        let row = Workload {
            id: WorkloadId(uuid::Uuid::now_v7()),
            namespace_id: space,
            kind: WorkloadKind::Deployment,
            name: "web".to_owned(),
            file: "web.yaml".to_owned(),
            desired: Desired::Applied,
            revision: 1,
            uid: None,
            created_at: later(1),
            updated_at: later(1),
        };

        workloads::insert(&**db, &row).await.unwrap();
        let again = Workload { id: WorkloadId(uuid::Uuid::now_v7()), ..row.clone() };
        assert!(matches!(workloads::insert(&**db, &again).await, Err(Error::Duplicate)));
        for number in 1..=5_u64 {
            let at = later(i64::try_from(number).unwrap());
            let new = Revision {
                revision: number,
                account_id: alice,
                file: "web.yaml".to_owned(),
                content: format!("replicas: {number}"),
                created_at: at,
            };
            let tx = db.begin().await.unwrap();
            workloads::add_revision(&tx, row.id, &new, 3).await.unwrap();
            tx.commit().await.unwrap();
        }

        let kept = workloads::revisions(&**db, row.id).await.unwrap();
        assert_eq!(kept.iter().map(|kept| kept.revision).collect::<Vec<_>>(), [5, 4, 3]);
        let found = workloads::named(&**db, space, WorkloadKind::Deployment, "web").await.unwrap().unwrap();
        assert_eq!((found.revision, found.updated_at), (5, later(5)));
        assert_eq!(workloads::unfinished(&**db).await.unwrap().len(), 1);
        workloads::set_applied(&**db, row.id, 5, "uid").await.unwrap();
        assert!(workloads::unfinished(&**db).await.unwrap().is_empty());
        workloads::set_applied(&**db, row.id, 4, "uid").await.unwrap();
        assert_eq!(workloads::unfinished(&**db).await.unwrap().len(), 1, "an older one came late");
        workloads::set_applied(&**db, row.id, 5, "uid").await.unwrap();
        workloads::set_applied(&**db, row.id, 5, "uid").await.unwrap();
        assert!(workloads::unfinished(&**db).await.unwrap().is_empty());
        let other = namespace(db, lab.id, alice, "alice-other").await.unwrap();
        workloads::set_all_unapplied(&**db, other).await.unwrap();
        assert!(workloads::unfinished(&**db).await.unwrap().is_empty(), "those of another namespace stay");
        workloads::set_all_unapplied(&**db, space).await.unwrap();
        assert_eq!(workloads::unfinished(&**db).await.unwrap().len(), 1);
        workloads::set_applied(&**db, row.id, 5, "uid").await.unwrap();
        workloads::set_deleted(&**db, row.id).await.unwrap();
        assert_eq!(workloads::unfinished(&**db).await.unwrap().len(), 1);
        assert_eq!(workloads::of_namespaces(&**db, &[space]).await.unwrap().len(), 1);
        assert!(namespaces::delete(&**db, space).await.unwrap());
        assert!(workloads::get(&**db, row.id).await.unwrap().is_none(), "workloads go with their namespace");
        assert!(workloads::revisions(&**db, row.id).await.unwrap().is_empty());
    }
}
