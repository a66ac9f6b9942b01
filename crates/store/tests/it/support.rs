//! A fresh database per test, and rows to begin with.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use store::{Backend, Db};
use uuid::Uuid;
use wire::accounts::{AccountState, Role};
use wire::containers::{Bind, ContainerSpec, Port, Protocol};
use wire::ids::{AccountId, ImageId, MachineId};
use wire::images::{CreateParameters, ImageSource, ImageState, LayerView};
use wire::machines::{Capacity, CpuFacts, GpuFacts, MachineFacts, MachineState};
use wire::names::Digest;
use wire::page::PageQuery;
use wire::time::Timestamp;

/// The time at which tests begin.
pub(crate) const NOW: Timestamp = Timestamp(1_763_694_000_123_456);

/// Makes three tests of one: on SQLite, on MySQL or MariaDB, on PostgreSQL.
macro_rules! db_test {
    ($(#[$attribute:meta])* async fn $name:ident($db:ident: &TestDb) $body:block) => {
        $(#[$attribute])*
        mod $name {
            use super::*;

            async fn body($db: &$crate::support::TestDb) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body(&$crate::support::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                if let Some(db) = $crate::support::mysql().await {
                    body(&db).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(db) = $crate::support::postgres().await {
                    body(&db).await;
                }
            }
        }
    };
}
pub(crate) use db_test;

/// A migrated database that goes with the test.
pub(crate) struct TestDb {
    db: Db,
    url: String,
    // Last, so that the connections end first.
    place: Place,
}

enum Place {
    Folder { _folder: tempfile::TempDir },
    Server { admin_url: String, name: String },
}

impl std::ops::Deref for TestDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl TestDb {
    /// The address, for a second connection.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A connection beside the store's.
    pub(crate) async fn raw(&self) -> DatabaseConnection {
        let url = match &self.place {
            Place::Folder { .. } => format!("{}?mode=rw", self.url),
            Place::Server { .. } => self.url.clone(),
        };
        Database::connect(url).await.unwrap()
    }

    /// Runs statements beside the store.
    pub(crate) async fn execute(&self, statements: &[&str]) {
        let raw = self.raw().await;
        for statement in statements {
            raw.execute_unprepared(statement).await.unwrap();
        }
        raw.close().await.unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Server { admin_url, name } = self else { return };
        let statement = if admin_url.starts_with("postgres") {
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        } else {
            format!("DROP DATABASE IF EXISTS {name}")
        };
        let url = admin_url.clone();
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { Database::connect(url).await?.execute_unprepared(&statement).await })?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        if !matches!(dropped.join(), Ok(Ok(()))) {
            eprintln!("the test database `{name}` was left behind");
        }
    }
}

/// A database that nothing was done to yet.
pub(crate) async fn empty(backend: Backend) -> Option<TestDb> {
    match backend {
        Backend::Sqlite => {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("db").display());
            Some(TestDb { db: Db::open(&url).await.unwrap(), url, place: Place::Folder { _folder: folder } })
        }
        Backend::MySql => on_server("LONGSHORE_TEST_MYSQL", "mysql").await,
        Backend::Postgres => on_server("LONGSHORE_TEST_POSTGRES", "postgres").await,
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no `Config`")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn on_server(variable_name: &str, skip: &str) -> Option<TestDb> {
    let Some(admin_url) = variable(variable_name) else {
        let skipped = variable("LONGSHORE_TEST_SKIP").unwrap_or_default();
        assert!(
            skipped.split(',').any(|part| part.trim() == skip),
            "set `{variable_name}` to a server's address, or name `{skip}` in `LONGSHORE_TEST_SKIP`"
        );
        return None;
    };
    let name = format!("longshore_test_{}", Uuid::now_v7().simple());
    let admin = Database::connect(&admin_url).await.unwrap();
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    admin.close().await.unwrap();
    let (scheme, rest) = admin_url.split_once("://").unwrap();
    let (server, options) = rest.split_once('?').map_or((rest, ""), |(server, options)| (server, options));
    let server = server.split('/').next().unwrap();
    let options = if options.is_empty() { String::new() } else { format!("?{options}") };
    let url = format!("{scheme}://{server}/{name}{options}");
    Some(TestDb { db: Db::open(&url).await.unwrap(), url, place: Place::Server { admin_url, name } })
}

async fn migrated(backend: Backend) -> Option<TestDb> {
    let db = empty(backend).await?;
    db.migrate().await.unwrap();
    Some(db)
}

pub(crate) async fn sqlite() -> TestDb {
    migrated(Backend::Sqlite).await.unwrap()
}

pub(crate) async fn mysql() -> Option<TestDb> {
    migrated(Backend::MySql).await
}

pub(crate) async fn postgres() -> Option<TestDb> {
    migrated(Backend::Postgres).await
}

/// A page of a list.
pub(crate) fn page(limit: u64, offset: u64) -> PageQuery {
    PageQuery { limit: Some(limit), offset: Some(offset) }
}

/// The time some seconds after the tests began.
pub(crate) fn later(secs: i64) -> Timestamp {
    NOW.plus_secs(secs)
}

/// A digest that is different for every number.
pub(crate) fn digest(number: u64) -> Digest {
    format!("sha256:{number:064x}").parse().unwrap()
}

/// Layers with these digests.
pub(crate) fn layers(numbers: &[u64]) -> Vec<LayerView> {
    numbers.iter().map(|number| LayerView { digest: digest(*number), size_bytes: 10 + number }).collect()
}

/// A new account's number.
pub(crate) async fn account(db: &Db, name: &str) -> AccountId {
    let new = store::accounts::New {
        account: &name.parse().unwrap(),
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        role: Role::User,
        state: AccountState::Active,
        now: NOW,
    };
    store::accounts::insert(db, &new).await.unwrap().id
}

/// What makes an image `name` (`owner/repo:tag`) with a digest.
pub(crate) fn new_image(name: &str, number: u64) -> store::images::New {
    let name: wire::names::ImageName = name.parse().unwrap();
    store::images::New {
        account_id: None,
        owner: name.owner,
        repo: name.repo,
        tag: Some(name.tag),
        digest: digest(number),
        size_bytes: 1000 + number,
        layers: layers(&[number]),
        parent_image_id: None,
        display_name: None,
        description: None,
        create_parameters: CreateParameters::default(),
        source: ImageSource::Build,
        build_id: None,
        state: ImageState::Ready,
        now: NOW,
    }
}

/// A machine's facts.
pub(crate) fn facts(id: &str) -> MachineFacts {
    MachineFacts {
        machine_id: id.parse().unwrap(),
        hostname: "gpu-01".to_owned(),
        ip: "192.0.2.7".to_owned(),
        cpu: BTreeMap::from([("0".to_owned(), CpuFacts { model: "EPYC \"7763\"".to_owned(), cores: 64 })]),
        gpu: BTreeMap::from([(
            "0".to_owned(),
            GpuFacts { model: "A100".to_owned(), memory: 81_920, ..Default::default() },
        )]),
        memory: Capacity { total: 515_000, free: 400_000 },
        disk: Capacity { total: 3_500, free: 1_200 },
        engine_version: Some("28.1.1".to_owned()),
        os: "Debian GNU/Linux 12".to_owned(),
        architecture: "amd64".to_owned(),
        registry: "127.0.0.1:5000".to_owned(),
        agent_version: "0.1.0".to_owned(),
        lan: None,
    }
}

/// A machine that is there.
pub(crate) async fn machine(db: &Db, id: &str) -> MachineId {
    store::machines::upsert(db, &facts(id), MachineState::Online, NOW).await.unwrap();
    id.parse().unwrap()
}

/// A published port.
pub(crate) fn port(host: u16) -> Port {
    Port { container: 8000, protocol: Protocol::Tcp, host, bind: Bind::Loopback, is_pooled: false }
}

/// What makes a container with these ports.
pub(crate) fn new_container(
    account: AccountId,
    name: &str,
    machine: &MachineId,
    image: ImageId,
    ports: &[u16],
) -> store::containers::New {
    store::containers::New {
        account_id: account,
        name: name.parse().unwrap(),
        display_name: None,
        machine_id: machine.clone(),
        image_id: image,
        image_name: "alice/app:v1".to_owned(),
        image_repository: "alice/app".to_owned(),
        image_digest: digest(1),
        spec: ContainerSpec {
            ports: ports.iter().copied().map(port).collect(),
            env: BTreeMap::from([("GREETING".to_owned(), "grüße \u{1F680} '\"\\".to_owned())]),
            command: Some(vec!["serve".to_owned(), "--all".to_owned()]),
            entrypoint: None,
            working_dir: Some("/srv".to_owned()),
            memory_bytes: 512 << 20,
            cpu_millis: 1500,
            pids: 256,
            gpus: Vec::new(),
            shm_bytes: None,
            volumes: Vec::new(),
            tty: false,
        },
        desired: store::containers::Desired::Running,
        now: NOW,
        gpu_wish: None,
        max_duration_secs: None,
        restart_policy: wire::containers::RestartPolicy::No,
        placement: store::containers::Placement::Fixed,
    }
}

/// Fails the test when something takes longer than it may.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.expect("it takes too long")
}
