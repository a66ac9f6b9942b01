//! Images and their relations.

use std::collections::BTreeMap;

use store::{Error, containers, images};
use uuid::Uuid;
use wire::ids::{BuildId, ImageId};
use wire::images::{CreateParameters, ImageSource, ImageState};
use wire::names::{ImageName, Owner, Tag};

use crate::support::{NOW, account, db_test, digest, later, layers, machine, new_container, new_image, page};

db_test! {
    async fn an_image_keeps_every_column(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let base = images::insert(c, &new_image("public/base:1", 1)).await.unwrap();
        let new = images::New {
            account_id: Some(alice),
            layers: layers(&[1, 2, 3]),
            parent_image_id: Some(base.id),
            display_name: Some("My app".to_owned()),
            description: Some("数据 \u{1F680}".to_owned()),
            create_parameters: CreateParameters {
                exposed_ports: vec!["8000/tcp".to_owned()],
                env: BTreeMap::from([("A".to_owned(), "b=\"c\"".to_owned())]),
                working_dir: Some("/srv".to_owned()),
                ..CreateParameters::default()
            },
            source: ImageSource::Save,
            build_id: Some(BuildId(Uuid::now_v7())),
            size_bytes: u64::try_from(i64::MAX).unwrap(),
            ..new_image("alice/app:v1", 7)
        };

        let made = images::insert(c, &new).await.unwrap();

        let found = images::get(c, made.id).await.unwrap().unwrap();
        assert_eq!(found, made);
        assert_eq!((found.layers, found.create_parameters), (new.layers.clone(), new.create_parameters.clone()));
        assert_eq!((found.parent_image_id, found.account_id, found.build_id), (Some(base.id), Some(alice), new.build_id));
        let name: ImageName = "alice/app:v1".parse().unwrap();
        assert_eq!(images::by_name(c, &name).await.unwrap(), Some(made.clone()));
        assert!(matches!(images::insert(c, &new).await, Err(Error::Duplicate)));
        let too_large = images::New { size_bytes: u64::MAX, ..new_image("alice/app:v9", 9) };
        assert!(images::insert(c, &too_large).await.is_err());

        assert!(images::update_texts(c, made.id, Some(None), None, later(1)).await.unwrap());
        assert!(images::update_texts(c, made.id, None, Some(Some("new")), later(2)).await.unwrap());
        assert!(images::set_state(c, made.id, ImageState::Deleting, later(3)).await.unwrap());
        assert!(!images::set_state(c, made.id, ImageState::Deleting, later(4)).await.unwrap());
        let expected = images::Row {
            display_name: None,
            description: Some("new".to_owned()),
            state: ImageState::Deleting,
            updated_at: later(3),
            ..made
        };
        assert_eq!(images::get(c, expected.id).await.unwrap(), Some(expected));
        assert!(!images::update_texts(c, ImageId(99), None, None, NOW).await.unwrap());
    }
}

db_test! {
    async fn a_tag_moves_to_a_newer_image(db: &TestDb) {
        let c = &**db;
        let name: ImageName = "alice/app:latest".parse().unwrap();
        let old = images::insert(c, &new_image("alice/app:latest", 1)).await.unwrap();

        for number in [2, 1] {
            let tx = db.begin().await.unwrap();
            let present = images::by_name(&tx, &name).await.unwrap().unwrap();
            assert!(images::untag(&tx, present.id, later(1)).await.unwrap());
            images::insert(&tx, &new_image("alice/app:latest", number)).await.unwrap();
            tx.commit().await.unwrap();
        }

        let (owner, repo) = (&name.owner, &name.repo);
        let tags = images::tags(c, owner, repo).await.unwrap();
        assert_eq!(tags, [("latest".parse::<Tag>().unwrap(), digest(1))]);
        assert_eq!(images::get(c, old.id).await.unwrap().unwrap().tag, None);
        assert!(!images::untag(c, old.id, NOW).await.unwrap());
        assert!(!images::untag(c, ImageId(99), NOW).await.unwrap());
        assert_eq!(images::count_by_digest(c, owner, repo, &digest(1)).await.unwrap(), 2);
        assert_eq!(images::count_by_digest(c, owner, repo, &digest(3)).await.unwrap(), 0);
        let owners = [owner.clone()];
        let filter = images::Filter { owners: Some(&owners), ..Default::default() };
        assert_eq!(images::list(c, filter, page(10, 0)).await.unwrap().total, 1);
        let all = images::list(c, images::Filter { untagged: true, ..filter }, page(10, 0)).await.unwrap();
        assert_eq!((all.total, all.rows.len()), (3, 3));
    }
}

db_test! {
    async fn images_are_listed_by_owner_and_name(db: &TestDb) {
        let c = &**db;
        for (number, name) in
            ["alice/app:v1", "alice/app:v2", "alice/Web-1:x", "bob/app:v1", "public/base:1"].iter().enumerate()
        {
            let name = name.to_ascii_lowercase();
            images::insert(c, &new_image(&name, u64::try_from(number).unwrap())).await.unwrap();
        }
        let owners: Vec<Owner> = ["public", "alice", "alice"].map(|owner| owner.parse().unwrap()).to_vec();
        let app = "app".parse().unwrap();
        let name = "bob/app:v1".parse().unwrap();
        let list = async |filter| {
            let found = images::list(c, filter, page(10, 0)).await.unwrap();
            assert_eq!(usize::try_from(found.total).unwrap(), found.rows.len());
            found
                .rows
                .iter()
                .map(|row| format!("{}/{}:{}", row.owner, row.repo, row.tag.as_ref().unwrap()))
                .collect::<Vec<_>>()
        };
        let mine = images::Filter { owners: Some(&owners), ..Default::default() };

        assert_eq!(list(images::Filter::default()).await.len(), 5);
        assert_eq!(list(mine).await, ["public/base:1", "alice/web-1:x", "alice/app:v2", "alice/app:v1"]);
        assert_eq!(list(images::Filter { owners: Some(&[]), ..mine }).await.len(), 0);
        assert_eq!(list(images::Filter { repo: Some(&app), ..mine }).await, ["alice/app:v2", "alice/app:v1"]);
        assert_eq!(list(images::Filter { name: Some(&name), ..mine }).await.len(), 0);
        assert_eq!(list(images::Filter { owners: None, name: Some(&name), ..mine }).await, ["bob/app:v1"]);
        assert_eq!(list(images::Filter { search: Some("WEB"), ..mine }).await, ["alice/web-1:x"]);
        assert_eq!(list(images::Filter { search: Some("ice/app:v_"), ..mine }).await.len(), 0);
        assert_eq!(list(images::Filter { state: Some(ImageState::Deleting), ..mine }).await.len(), 0);
        let repositories = images::repositories(c, Some(&owners), page(2, 0)).await.unwrap();
        let names: Vec<_> =
            repositories.rows.iter().map(|view| format!("{}/{} {}", view.owner, view.repo, view.tags)).collect();
        assert_eq!((names, repositories.total), (vec!["alice/app 2".to_owned(), "alice/web-1 1".to_owned()], 3));
        assert_eq!(images::repositories(c, None, page(10, 3)).await.unwrap().rows.len(), 1);
    }
}

db_test! {
    async fn an_image_in_use_stays(db: &TestDb) {
        let c = &**db;
        let alice = account(c, "alice").await;
        let machine = machine(c, "m-1").await;
        let base = images::insert(c, &new_image("alice/base:1", 1)).await.unwrap();
        let child = images::New { parent_image_id: Some(base.id), ..new_image("alice/app:1", 2) };
        let child = images::insert(c, &child).await.unwrap();
        let new = new_container(alice, "web", &machine, base.id, &[]);
        let container = containers::insert(c, &new).await.unwrap();

        let (images, containers) = images::dependents(c, base.id).await.unwrap();

        assert_eq!((images, containers), (vec![child.clone()], vec![container.clone()]));
        assert!(matches!(images::delete(c, base.id).await, Err(Error::InUse)));
        assert!(images::delete(c, child.id).await.unwrap());
        assert!(matches!(images::delete(c, base.id).await, Err(Error::InUse)));
        assert!(containers::delete(c, container.id).await.unwrap());
        assert!(images::delete(c, base.id).await.unwrap());
        assert!(!images::delete(c, base.id).await.unwrap());
    }
}

db_test! {
    async fn the_parent_has_the_longest_beginning_of_the_layers(db: &TestDb) {
        let c = &**db;
        let insert = async |name: &str, numbers: &[u64], state| {
            let new = images::New { layers: layers(numbers), state, ..new_image(name, 1) };
            images::insert(c, &new).await.unwrap().id
        };
        let ready = ImageState::Ready;
        insert("public/empty:1", &[], ready).await;
        let short = insert("public/base:1", &[1], ready).await;
        let long = insert("public/base:2", &[1, 2], ready).await;
        insert("public/other:1", &[2, 1], ready).await;
        insert("bob/secret:1", &[1, 2, 3], ready).await;
        insert("alice/gone:1", &[1, 2, 3], ImageState::Deleting).await;
        insert("alice/same:1", &[1, 2, 3, 4], ready).await;
        let owners: Vec<Owner> = ["alice", "public"].map(|owner| owner.parse().unwrap()).to_vec();

        let parent = async |numbers: &[u64]| images::parent_of_layers(c, &owners, &layers(numbers)).await.unwrap();

        assert_eq!(parent(&[1, 2, 3, 4]).await, Some(long));
        assert_eq!(parent(&[1, 3]).await, Some(short));
        assert_eq!(parent(&[1]).await, None);
        assert_eq!(parent(&[3, 1, 2]).await, None);
        assert_eq!(parent(&[]).await, None);
        assert_eq!(images::parent_of_layers(c, &[], &layers(&[1, 2])).await.unwrap(), None);
        assert_eq!(parent(&[1, 2, 9]).await, Some(long));
    }
}
