//! Backups: from every engine into every engine, and never from a file that was touched.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use store::{
    Backend, Db, Error, accounts, audit, backup, builds, containers, images, jobs, machines, settings, tokens,
};
use uuid::Uuid;
use wire::ids::{AccountId, BuildId, TokenId};
use wire::images::ImageState;
use wire::machines::MachineState;

use crate::support::{self, NOW, TestDb, account, later, layers, machine, new_container, new_image, page};

const BACKENDS: [Backend; 3] = [Backend::Sqlite, Backend::MySql, Backend::Postgres];

/// Something in every table, and in every column that may be empty.
async fn fill(c: &Db) {
    let alice = account(c, "alice").await;
    let bob = account(c, "bob").await;
    let field = accounts::ProfileField::Nickname;
    accounts::set_profile(c, alice, field, Some("Älice 🚀\n\t\u{1}\"\\ 'x'"), later(1)).await.unwrap();
    settings::set(c, "instance", "0197").await.unwrap();
    for (account_id, used) in [(alice, None), (bob, Some(NOW))] {
        let id = TokenId(Uuid::now_v7());
        let secret_hash = format!("{:064x}", account_id.0);
        let name = "laptop".to_owned();
        let row = tokens::Row {
            id,
            account_id,
            name,
            secret_hash,
            created_at: NOW,
            expires_at: used,
            last_used_at: used,
        };
        tokens::insert(c, &row).await.unwrap();
        let id = wire::ids::SessionId(Uuid::now_v7());
        let row = store::sessions::Row { id, account_id, logged_in_at: NOW, expires_at: later(1) };
        store::sessions::insert(c, &row).await.unwrap();
    }
    let machine = machine(c, "m-1").await;
    machines::set_drain(c, &machine, Some(later(3)), Some("new disk")).await.unwrap();
    let invite = store::invites::Row {
        id: wire::ids::InviteId(Uuid::now_v7()),
        account_id: alice,
        secret_hash: "c".repeat(64),
        created_at: NOW,
        expires_at: later(1),
    };
    store::invites::insert(c, &invite).await.unwrap();
    let key = store::machine_keys::Row {
        machine_id: machine.clone(),
        public_key: "d".repeat(64),
        account_id: Some(alice),
        joined_at: NOW,
        quarantined_at: Some(later(2)),
        quarantine_reason: Some("zwei \u{1F680}".to_owned()),
    };
    store::machine_keys::insert(c, &key).await.unwrap();
    machines::upsert(c, &support::facts("m-2"), MachineState::Unknown, later(2)).await.unwrap();
    let base = images::insert(c, &new_image("public/base:1", 1)).await.unwrap();
    // More than one batch.
    let tx = c.begin().await.unwrap();
    for number in 0..450 {
        let new = images::New {
            parent_image_id: Some(base.id),
            account_id: Some(alice),
            layers: layers(&[1, number]),
            state: if number % 2 == 0 { ImageState::Ready } else { ImageState::Deleting },
            ..new_image(&format!("alice/app:v{number}"), number)
        };
        let made = images::insert(&tx, &new).await.unwrap();
        if number % 7 == 0 {
            images::untag(&tx, made.id, NOW).await.unwrap();
        }
    }
    for number in 0..205 {
        let name = format!("c-{number}");
        let new = new_container(alice, &name, &machine, base.id, &[20_000 + number, 30_000 + number]);
        containers::insert(&tx, &new).await.unwrap();
        let row = audit::New {
            at: NOW,
            actor: (number % 2 == 0).then_some(bob),
            acting_for: None,
            action: "container.create",
            target: &name,
            result: "done",
            ip: None,
            request_id: Some("r"),
        };
        audit::insert(&tx, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let image = "alice/app:v1".parse().unwrap();
    for secs in 0..3 {
        let new = builds::New {
            id: BuildId(Uuid::now_v7()),
            account_id: alice,
            image: &image,
            dockerfile: "Dockerfile",
            context_blob: None,
            context_bytes: u64::try_from(i64::MAX).unwrap(),
            save: None,
            now: later(secs),
        };
        builds::insert(c, &new).await.unwrap();
        let kind = jobs::Kind::BuildImage;
        let target = new.id.to_string();
        let new = jobs::New { kind, target: &target, account_id: Some(alice), run_at: NOW, now: later(secs) };
        jobs::enqueue(c, &new).await.unwrap();
    }
    jobs::claim(c, &[jobs::Kind::BuildImage], "worker", 30, 9, &jobs::Turns::default(), later(9))
        .await
        .unwrap()
        .unwrap();
    let event = store::registry_events::New {
        at: NOW,
        event_id: "e-1".to_owned(),
        action: "push".to_owned(),
        repository: "alice/app".to_owned(),
        tag: None,
        digest: None,
        actor: None,
        size_bytes: None,
    };
    store::registry_events::insert_many(c, &[event]).await.unwrap();
    let kept = store::kept_logs::Row {
        container_id: wire::ids::ContainerId(9_999),
        account_id: alice,
        name: "gone".parse().unwrap(),
        image_name: "alice/app:v1".to_owned(),
        machine_id: machine,
        bytes: 4096,
        dropped_bytes: 0,
        removed_at: NOW,
    };
    store::kept_logs::put(c, &kept).await.unwrap();
}

async fn export(db: &Db) -> Vec<u8> {
    let mut bytes = Vec::new();
    backup::export(db, &mut bytes).await.unwrap();
    bytes
}

/// The lines of a backup, without the packing, which may differ.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn packed(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

async fn empty(backend: Backend) -> Option<TestDb> {
    let db = support::empty(backend).await?;
    db.migrate().await.unwrap();
    Some(db)
}

async fn moves_everywhere(from: Backend) {
    let Some(source) = empty(from).await else { return };
    fill(&source).await;
    let archive = export(&source).await;
    let summary = backup::verify(archive.as_slice()).unwrap();
    assert_eq!(
        (summary.rows["images"], summary.rows["containers"], summary.rows["container_ports"]),
        (451, 205, 410)
    );

    for to in BACKENDS {
        let Some(target) = empty(to).await else { continue };

        let imported = backup::import(&target, Cursor::new(&archive)).await.unwrap();

        assert_eq!(imported, summary, "{to:?}");
        assert_eq!(text(&export(&target).await), text(&archive), "{from:?} to {to:?}");
        let again = backup::import(&target, Cursor::new(&archive)).await;
        assert!(again.unwrap_err().to_string().contains("not empty"));
        // The next numbers are new ones.
        assert_eq!(account(&target, "carol").await, AccountId(3), "{to:?}");
        let image = images::insert(&*target, &new_image("carol/app:v1", 9)).await.unwrap();
        assert_eq!(image.id.0, 452, "{to:?}");
        let alice = accounts::by_name(&*target, &"alice".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(alice.nickname.as_deref(), Some("Älice 🚀\n\t\u{1}\"\\ 'x'"));
        assert_eq!(images::list(&*target, images::Filter::default(), page(1, 0)).await.unwrap().total, 387);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_moves_everywhere() {
    moves_everywhere(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_mysql_moves_everywhere() {
    moves_everywhere(Backend::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgres_moves_everywhere() {
    moves_everywhere(Backend::Postgres).await;
}

/// Writes go on while a backup is made: what it holds is one moment, in which every container has its port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_shows_one_moment() {
    for backend in BACKENDS {
        let Some(db) = empty(backend).await else { continue };
        fill(&db).await;
        let alice = accounts::by_name(&*db, &"alice".parse().unwrap()).await.unwrap().unwrap().id;
        let base = images::by_name(&*db, &"public/base:1".parse().unwrap()).await.unwrap().unwrap().id;
        let writer = (*db).clone();
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(async move {
            for number in 0..u16::MAX - 40_000 {
                let machine = "m-1".parse().unwrap();
                let new = new_container(alice, &format!("d-{number}"), &machine, base, &[40_000 + number]);
                containers::insert(&writer, &new).await.unwrap();
            }
        });

        for _ in 0..5 {
            let summary = backup::verify(export(&db).await.as_slice()).unwrap();
            // 205 containers have two ports.
            assert_eq!(summary.rows["containers"] + 205, summary.rows["container_ports"], "{backend:?}");
        }
        writing.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_changes_nothing() {
    let source = support::sqlite().await;
    fill(&source).await;
    let good = export(&source).await;
    let lines = text(&good);
    let target = support::sqlite().await;
    let swap = |from: &str, to: &str| {
        assert!(lines.contains(from), "{from}");
        packed(&lines.replacen(from, to, 1))
    };
    let without_last = lines.trim_end().rsplit_once('\n').unwrap().0;
    let mut cases = vec![
        ("empty", Vec::new()),
        ("no gzip", b"hello, this is not a backup".to_vec()),
        ("gzip of nothing", packed("")),
        ("other JSON", packed("{\"a\":1}\n")),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("last byte missing", good[..good.len() - 1].to_vec()),
        ("last line missing", packed(&format!("{without_last}\n"))),
        ("last line end missing", packed(lines.trim_end())),
        ("something after", packed(&format!("{lines}[1]\n"))),
        ("twice", packed(&format!("{lines}{lines}"))),
        ("a role raised", swap("\"user\"", "\"admin\"")),
        ("a row removed", {
            let row = lines.lines().find(|line| line.contains("\"alice\"")).unwrap();
            packed(&lines.replacen(&format!("{row}\n"), "", 1))
        }),
        ("a count changed", swap("\"end\":\"accounts\",\"rows\":2", "\"end\":\"accounts\",\"rows\":3")),
        ("a table renamed", swap("\"name\":\"accounts\"", "\"name\":\"users\"")),
        ("a column renamed", swap("\"password_hash\"", "\"password_hash; DROP TABLE accounts\"")),
        ("a column twice", swap("\"password_hash\"", "\"account\"")),
        ("a field added", swap("\"version\":1,", "\"version\":1,\"x\":1,")),
        ("deep", packed(&format!("{}\n", "[".repeat(100_000)))),
        ("other format", swap("longshore-backup", "other")),
    ];
    for position in (0..good.len()).step_by(good.len() / 40) {
        let mut flipped = good.clone();
        flipped[position] ^= 0x10;
        if backup::verify(flipped.as_slice()).is_err() {
            cases.push(("a bit flipped", flipped));
        }
    }

    assert!(cases.len() > 50, "{}", cases.len());
    for (name, bytes) in cases {
        let error = backup::import(&target, Cursor::new(bytes)).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{name}: {error:?}");
    }
    assert_eq!(accounts::list(&*target, None, page(1, 0)).await.unwrap().total, 0);
    assert_eq!(settings::get(&*target, "jobs.lock").await.unwrap().as_deref(), Some(""));
    backup::import(&target, Cursor::new(good)).await.unwrap();
}

/// A backup whose hashes are right but whose rows contradict each other is refused by the database, and nothing stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_with_rows_that_do_not_fit_changes_nothing() {
    for backend in BACKENDS {
        let Some(source) = empty(backend).await else { continue };
        account(&source, "alice").await;
        account(&source, "bob").await;
        let rows: [(&str, &str); 3] =
            [("\"bob\"", "\"alice\""), ("[2,", "[1,"), ("\"bob\"", "\"bobbobbobbobbobbobbobbobbobbobbob\"")];
        for (from, to) in rows {
            let forged = forged(&text(&export(&source).await), "accounts", |row| row.replace(from, to));
            let target = empty(backend).await.unwrap();

            let error = backup::import(&target, Cursor::new(forged)).await.unwrap_err();

            assert!(matches!(error, Error::Corrupt(_)), "{backend:?} {to}: {error:?}");
            assert_eq!(accounts::list(&*target, None, page(1, 0)).await.unwrap().total, 0);
            assert!(settings::get(&*target, "jobs.lock").await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_newer_backup_is_refused() {
    let source = support::sqlite().await;
    let lines = text(&export(&source).await);
    let target = support::sqlite().await;

    for (from, to) in [
        ("\"version\":1", "\"later\":[],\"version\":2"),
        ("\"m0002_joining\"", "\"m0002_joining\",\"m9999_later\""),
    ] {
        let error =
            backup::import(&target, Cursor::new(packed(&lines.replacen(from, to, 1)))).await.unwrap_err();
        assert!(matches!(error, Error::TooNew(_)), "{to}: {error:?}");
    }
    let bare = support::empty(Backend::Sqlite).await.unwrap();
    let error = backup::import(&bare, Cursor::new(packed(&lines))).await.unwrap_err();
    assert!(error.to_string().contains("migrate it"), "{error}");
    assert!(backup::export(&bare, &mut Vec::new()).await.unwrap_err().to_string().contains("migrate it"));
}

#[tokio::test]
async fn a_backup_of_an_older_program_is_restored() {
    let source = support::sqlite().await;
    account(&source, "alice").await;
    let lines = text(&export(&source).await);
    let newer_tables =
        ["invites", "machine_keys", "kept_logs", "volumes", "container_volumes", "collections"];
    let newer_columns = ["drained_at", "drain_reason", "wished_limits", "container_id", "note", "parameters"];
    let is_newer =
        |line: &&str| newer_tables.iter().any(|table| line.contains(&format!("\"end\":\"{table}\"")));
    let header = lines.lines().next().unwrap();
    let mut older: serde_json::Value = serde_json::from_str(header).unwrap();
    let steps_of_today = older["migrations"].clone();
    older["migrations"] = serde_json::json!(["m0001_start"]);
    let tables = older["tables"].as_array_mut().unwrap();
    tables.retain(|table| newer_tables.iter().all(|name| table["name"] != *name));
    for table in tables.iter_mut().filter(|table| table["name"] != "container_ports") {
        let columns = table["columns"].as_array_mut().unwrap();
        columns.retain(|column| newer_columns.iter().all(|name| column != name));
    }
    let body: Vec<&str> = lines.lines().skip(1).filter(|line| !is_newer(line)).collect();
    let with_header = |header: &serde_json::Value| {
        let header = serde_json::to_string(header).unwrap();
        forged(&format!("{header}\n{}\n", body.join("\n")), "none", str::to_owned)
    };
    let of_before = with_header(&older);
    // The same tables with today's steps are not all that there should be.
    older["migrations"] = steps_of_today;
    let cut = with_header(&older);

    let target = support::sqlite().await;
    assert!(backup::import(&target, Cursor::new(cut)).await.is_err());
    let restored = backup::import(&target, Cursor::new(of_before)).await.unwrap();

    assert_eq!(restored.migrations, ["m0001_start"]);
    assert!(accounts::by_name(&*target, &"alice".parse().unwrap()).await.unwrap().is_some());
}

/// Changes the rows of a table and makes every hash right again.
fn forged(lines: &str, table: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    use sha2::{Digest, Sha256};

    let end_of = |name: &str| format!("{{\"end\":\"{name}\",");
    let mut out = String::new();
    let mut section = Sha256::new();
    let mut rows = Vec::new();
    let all: Vec<&str> = lines.lines().collect();
    let (last, body) = all.split_last().unwrap();
    let section_of = |index: usize| {
        all[index..].iter().find_map(|line| line.strip_prefix("{\"end\":\"")?.split('"').next())
    };
    for (index, line) in body.iter().enumerate() {
        if line.starts_with('[') {
            let line = if section_of(index) == Some(table) { change(line) } else { (*line).to_owned() };
            section.update(format!("{line}\n"));
            rows.push(line.clone());
            out.extend([format!("{line}\n")]);
        } else if line.starts_with(&end_of(section_of(index).unwrap_or_default())) {
            let hash = hex::encode(std::mem::take(&mut section).finalize());
            let name = section_of(index).unwrap();
            out.extend([format!("{{\"end\":\"{name}\",\"rows\":{},\"sha256\":\"{hash}\"}}\n", rows.len())]);
            rows.clear();
        } else {
            out.extend([format!("{line}\n")]);
        }
    }
    let count = last.split("\"rows\":").nth(1).unwrap().split(',').next().unwrap();
    let hash = hex::encode(Sha256::digest(out.as_bytes()));
    out.extend([format!("{{\"end\":\"longshore-backup\",\"rows\":{count},\"sha256\":\"{hash}\"}}\n")]);
    packed(&out)
}
