//! Opening, migrating, and what happens when an engine does not want to.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use store::{Backend, Db, Error, accounts, settings};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{self, TestDb, account, db_test, within};

/// What a step of the schema leaves when it is cut off in the middle: the first tables, none of the last, no record.
const CUT_OFF: &[&str] = &[
    "DROP TABLE machine_keys",
    "DROP TABLE container_events",
    "ALTER TABLE machines DROP COLUMN label",
    "ALTER TABLE machines DROP COLUMN drain_reason",
    "DROP TABLE kept_logs",
    "ALTER TABLE builds DROP COLUMN note",
    "DROP TABLE container_volumes",
    "DROP TABLE collections",
    "DROP TABLE registry_events",
    "DROP TABLE gpu_leases",
    "DROP TABLE container_ports",
    "DROP TABLE containers",
    "DELETE FROM settings",
    "DELETE FROM schema_migrations",
];

db_test! {
    async fn a_migration_that_was_cut_off_completes(db: &TestDb) {
        account(db, "alice").await;
        db.execute(CUT_OFF).await;
        let drop_index = match db.backend() {
            Backend::MySql => "DROP INDEX jobs_target ON jobs",
            Backend::Sqlite | Backend::Postgres => "DROP INDEX jobs_target",
        };
        db.execute(&[drop_index]).await;

        let applied = db.migrate().await.unwrap();

        let all = db.migration_status().await.unwrap();
        assert_eq!(applied, all.iter().map(|step| step.name.clone()).collect::<Vec<_>>());
        assert_eq!(db.migrate().await.unwrap(), Vec::<String>::new());
        assert!(db.migration_status().await.unwrap().iter().all(|step| step.applied));
        assert!(accounts::by_name(&**db, &"alice".parse().unwrap()).await.unwrap().is_some());
        let tables = ["registry_events", "container_ports", "containers"];
        for table in tables {
            db.execute(&[&format!("DELETE FROM {table}")]).await;
        }
        let again = match db.backend() {
            Backend::MySql => "DROP INDEX jobs_target ON jobs",
            Backend::Sqlite | Backend::Postgres => "DROP INDEX jobs_target",
        };
        db.execute(&[again]).await;
        assert_eq!(settings::get(&**db, "jobs.lock").await.unwrap().as_deref(), Some(""));
    }
}

async fn empty_databases() -> Vec<TestDb> {
    let mut databases = Vec::new();
    for backend in [Backend::Sqlite, Backend::MySql, Backend::Postgres] {
        databases.extend(support::empty(backend).await);
    }
    databases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_migrate_once() {
    for db in empty_databases().await {
        assert!(db.migration_status().await.unwrap().iter().all(|step| !step.applied));
        let mut servers = JoinSet::new();
        for _ in 0..4 {
            let url = db.url().to_owned();
            servers.spawn(async move { Db::open(&url).await.unwrap().migrate().await.unwrap() });
        }

        let applied = servers.join_all().await;

        let count = applied.iter().filter(|steps| !steps.is_empty()).count();
        assert_eq!(count, 1, "{:?} {applied:?}", db.backend());
    }
}

db_test! {
    async fn a_newer_database_is_left_alone(db: &TestDb) {
        db.execute(&["INSERT INTO schema_migrations (version, applied_at) VALUES ('m9999_later', 0)"]).await;

        let status = db.migration_status().await;
        let migrate = db.migrate().await;

        assert!(matches!(status, Err(Error::TooNew(ref step)) if step == "m9999_later"), "{status:?}");
        assert!(matches!(migrate, Err(Error::TooNew(_))), "{migrate:?}");
        assert!(migrate.unwrap_err().to_string().contains("start a newer version"));
    }
}

db_test! {
    async fn a_row_locked_for_long_is_answered_as_locked(db: &TestDb) {
        let alice = account(db, "alice").await;
        let raw = db.raw().await;
        let holder = raw.begin().await.unwrap();
        holder.execute_unprepared("UPDATE accounts SET nickname = 'x'").await.unwrap();

        let begun = Instant::now();
        let refused = accounts::set_password(&**db, alice, "new", support::NOW);
        let refused = within(Duration::from_secs(20), refused).await;

        assert!(matches!(refused, Err(Error::Locked)), "{refused:?}");
        assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        assert!(accounts::get(&**db, alice).await.unwrap().is_some());
        holder.rollback().await.unwrap();
        accounts::set_password(&**db, alice, "new", support::NOW).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("db").display());
    let db = Db::open(&format!("{url}?max_page_count=240")).await.unwrap();
    db.migrate().await.unwrap();

    let mut stored = 0;
    let error = loop {
        match settings::set(&db, &format!("setting-{stored}"), &"x".repeat(3000)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000);
    };

    assert!(matches!(error, Error::Full), "{error:?}");
    assert!(db.migration_status().await.unwrap()[0].applied);
    db.close().await.unwrap();
    let db = Db::open(&url).await.unwrap();
    for number in 0..stored {
        assert!(settings::get(&db, &format!("setting-{number}")).await.unwrap().is_some(), "{number}");
    }
    settings::set(&db, "more", "space").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("sqlite://{}", folder.path().join("no/such/folder/db").display());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut urls = vec![
        missing,
        format!("mysql://root@127.0.0.1:{port}/x"),
        format!("postgres://x@127.0.0.1:{port}/x"),
        "oracle://h/d".to_owned(),
    ];
    for db in empty_databases().await.iter().filter(|db| db.backend() != Backend::Sqlite) {
        urls.push(format!("{}_missing", db.url()));
    }

    for url in urls {
        let error = within(Duration::from_secs(15), Db::open(&url)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("root"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    std::fs::write(&path, "this is a text and not a database, and it is longer than a header ".repeat(40))
        .unwrap();

    let error = Db::open(&format!("sqlite:{}", path.display())).await.unwrap_err();

    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn others_cannot_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let db = support::sqlite().await;
    let path = db.url().strip_prefix("sqlite://").unwrap();

    for suffix in ["", "-wal", "-shm"] {
        let mode = std::fs::metadata(format!("{path}{suffix}")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{suffix} {mode:o}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_other_languages_open_the_same_database() {
    let mut urls = vec![support::sqlite().await.url().replacen("sqlite://", "sqlite:", 1)];
    let mysql = support::mysql().await;
    let postgres = support::postgres().await;
    if let Some(db) = &mysql {
        // The seed's own form: a user with an empty password behind a colon.
        let user = format!("u{}", &Uuid::now_v7().simple().to_string()[..20]);
        let (name, server) = (db.url().rsplit('/').next().unwrap(), db.url().split('@').nth(1).unwrap());
        db.execute(&[
            &format!("CREATE USER '{user}'@'%' IDENTIFIED BY ''"),
            &format!("GRANT ALL ON {name}.* TO '{user}'@'%'"),
        ])
        .await;
        urls.push(format!("mysql+pymysql://{user}:@{server}"));
        urls.push(format!("mysql+pymysql://{user}:@{server}?charset=utf8"));
        urls.push(format!("mariadb://{user}@{server}"));
        for url in &urls[1..] {
            Db::open(url).await.unwrap().migration_status().await.unwrap();
        }
        db.execute(&[&format!("DROP USER '{user}'@'%'")]).await;
    }
    if let Some(db) = &postgres {
        for scheme in ["postgresql", "postgresql+psycopg2", "postgres"] {
            let url = db.url().replacen("postgres://", &format!("{scheme}://"), 1);
            assert!(Db::open(&url).await.unwrap().migration_status().await.unwrap()[0].applied);
        }
    }
}

db_test! {
    async fn a_closed_database_is_unavailable(db: &TestDb) {
        db.ping().await.unwrap();
        let second = Db::open(db.url()).await.unwrap();
        let copy = second.clone();

        second.close().await.unwrap();

        assert!(matches!(copy.ping().await, Err(Error::Unavailable(_))));
        db.ping().await.unwrap();
    }
}

/// However many runs and builds an account has had, and however much was done.
#[tokio::test]
async fn what_waits_is_counted_without_what_ended() {
    let db = support::empty(Backend::Sqlite).await.unwrap();
    db.migrate().await.unwrap();
    let raw = db.raw().await;

    for (query, index) in [
        ("SELECT COUNT(id) FROM runs WHERE account_id = 1 AND state = 'queued'", "runs_account_state"),
        (
            "SELECT COUNT(*) FROM builds WHERE state IN ('queued', 'running') AND account_id = 1",
            "builds_account_state",
        ),
        ("UPDATE audit SET acting_for_id = NULL WHERE acting_for_id = 1", "audit_acting"),
    ] {
        let plan = raw
            .query_one_raw(Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {query}")))
            .await
            .unwrap()
            .unwrap();
        let plan: String = plan.try_get("", "detail").unwrap();
        assert!(plan.starts_with("SEARCH") && plan.contains(&format!("INDEX {index} (")), "{query}: {plan}");
    }
}
