//! The server on each kind of database, and `longshore db`: copies that can be taken any time and put back anywhere.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use store::sessions;
use uuid::Uuid;
use wire::ids::SessionId;

use crate::support::process::ServerProcess;
use crate::support::server::TestServer;
use crate::support::{eventually, is_skipped, setting};

/// A database of the test's own on one of the test servers; dropped with it.
struct Database {
    /// As the server is told.
    url: String,
    server: String,
    name: String,
}

impl Database {
    /// None when `part` is skipped.
    fn make(part: &str) -> Option<Self> {
        if is_skipped(part) {
            return None;
        }
        let server = setting(&format!("LONGSHORE_TEST_{}", part.to_uppercase())).unwrap();
        let name = format!("it_{}", Uuid::now_v7().simple());
        let database = Self { url: format!("{}/{name}", without_database(&server)), server, name };
        database.run(&format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    /// Runs one statement with the engine's own client.
    fn run(&self, statement: &str) {
        let done = if self.server.starts_with("mysql") {
            let rest = self.server.trim_start_matches("mysql://");
            let (user, place) = rest.split_once('@').unwrap();
            let (user, password) = user.split_once(':').unwrap();
            let (host, port) = place.split('/').next().unwrap().split_once(':').unwrap();
            Command::new("mariadb")
                .args([
                    "--no-defaults",
                    "--protocol=tcp",
                    "-h",
                    host,
                    "-P",
                    port,
                    "-u",
                    user,
                    "-e",
                    statement,
                ])
                .arg(format!("-p{password}"))
                .output()
        } else {
            Command::new("psql").args([self.server.as_str(), "-qc", statement]).output()
        };
        let done = done.unwrap();
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let force = if self.server.starts_with("mysql") { "" } else { " WITH (FORCE)" };
        self.run(&format!("DROP DATABASE {}{force}", self.name));
    }
}

/// `scheme://user:password@host:port` of an address.
fn without_database(url: &str) -> &str {
    let place = url.find("://").unwrap() + 3;
    url[place..].find('/').map_or(url, |end| &url[..place + end])
}

struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

/// `longshore db …` on a data folder.
fn db(data_dir: &Path, words: &[&str]) -> Done {
    db_in(Path::new("."), data_dir, words)
}

/// The same, started in a folder.
fn db_in(folder: &Path, data_dir: &Path, words: &[&str]) -> Done {
    let done = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .current_dir(folder)
        .arg("db")
        .args(words)
        .arg("--data-dir")
        .arg(data_dir)
        .env("LONGSHORE_LANG", "en")
        .output()
        .unwrap();
    Done {
        code: done.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

async fn knows(server: &ServerProcess, name: &str) -> bool {
    let credentials = json!({"account": name, "password": format!("{name} password")});
    match server.api.post("/api/auth/login", credentials).await.status {
        200 => true,
        404 => false,
        other => panic!("login answered {other}"),
    }
}

const WITHOUT_MACHINE: &[(&str, &str)] = &[("machine.enabled", "false")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_running_server_is_put_back_when_it_has_stopped() {
    let mut server = ServerProcess::start_on(WITHOUT_MACHINE).await;
    let data = server.data_dir.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy");
    let copy = file.to_str().unwrap();
    server.account("alice").await;

    let taken = db(&data, &["backup", copy]);
    server.account("bob").await;
    let refused = db(&data, &["restore", copy, "--yes"]);
    server.stop();
    let restored = db(&data, &["restore", copy, "--yes", "--json"]);
    server.start_again().await;

    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("a server runs on the data folder"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: stop it first"), "{}", refused.stderr);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    assert!(knows(&server, "alice").await);
    assert!(!knows(&server, "bob").await);
    // What was replaced can be put back in the same way as a file.
    let restored: Value = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!(restored["rows"]["accounts"], 2);
    let kept = restored["replaced"].as_str().unwrap();
    server.stop();
    std::fs::copy(kept, data.join("longshore.db")).unwrap();
    server.start_again().await;
    assert!(knows(&server, "bob").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_damaged_or_missing_changes_nothing() {
    let mut server = ServerProcess::start_on(WITHOUT_MACHINE).await;
    let data = server.data_dir.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy");
    let copy = file.to_str().unwrap();
    server.account("alice").await;
    assert_eq!(db(&data, &["backup", copy]).code, 0);
    server.stop();
    let bytes = std::fs::read(&file).unwrap();
    let before: Vec<_> = names_in(&data);

    for damaged in [&bytes[..bytes.len() / 2], b"not a copy at all", b""] {
        std::fs::write(&file, damaged).unwrap();
        let done = db(&data, &["restore", copy, "--yes"]);
        assert_eq!(done.code, 1);
        assert!(done.stderr.contains("damaged"), "{}", done.stderr);
    }
    let missing = db(&data, &["restore", "/nowhere/copy", "--yes"]);
    let nowhere = db(&folder.path().join("empty"), &["backup", copy]);
    let unwritable = db(&data, &["backup", "/nowhere/copy"]);

    assert!(missing.stderr.contains("cannot read `/nowhere/copy`"), "{}", missing.stderr);
    assert!(nowhere.stderr.contains("there is no database"), "{}", nowhere.stderr);
    assert!(unwritable.stderr.contains("cannot write `/nowhere/copy"), "{}", unwritable.stderr);
    assert_eq!([missing.code, nowhere.code, unwritable.code], [1, 1, 1]);
    assert!(!folder.path().join("empty").exists());
    assert_eq!(names_in(&data), before);
    server.start_again().await;
    assert!(knows(&server, "alice").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_has_one_server() {
    let server = ServerProcess::start_on(WITHOUT_MACHINE).await;

    let second = server.second();

    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(stderr.contains("a server runs on the data folder"), "{stderr}");
    assert_eq!(server.api.get("/healthz").await.status, 200, "the first goes on");
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_moves_from_one_kind_of_database_to_another() {
    let mut server = ServerProcess::start_on(WITHOUT_MACHINE).await;
    let data = server.data_dir.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy");
    server.account("alice").await;
    assert_eq!(db(&data, &["backup", file.to_str().unwrap()]).code, 0);
    server.stop();

    for part in ["mysql", "postgres"] {
        let Some(database) = Database::make(part) else { continue };
        let words = ["restore", file.to_str().unwrap(), "--yes", "--database-url", &database.url];
        let done = db(&folder.path().join(part), &words);
        assert_eq!(done.code, 0, "{part}: {}", done.stderr);
        let settings = [("machine.enabled", "false"), ("database_url", database.url.as_str())];
        let mut there = ServerProcess::start_in(folder.path().join(part), None, &settings).await;
        assert!(knows(&there, "alice").await);
        there.account("carol").await;
        there.stop();
        // What is not empty is not written over.
        let again = db(&folder.path().join(part), &words);
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("not empty"), "{part}: {}", again.stderr);
        drop(there);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_runs_on_each_kind_of_database() {
    for part in ["mysql", "postgres"] {
        let Some(database) = Database::make(part) else { continue };
        // As Python programs write it.
        let url = database
            .url
            .replace("mysql://", "mysql+pymysql://")
            .replace("postgres://", "postgresql+psycopg2://");
        let settings = [("machine.enabled", "false"), ("database_url", url.as_str())];
        let mut server = ServerProcess::start_on(&settings).await;
        let alice = server.account("alice").await;
        alice.post("/api/v1/tokens", json!({"name": "t"})).await.expect(201);
        server.kill();
        server.start_again().await;

        assert_eq!(alice.get("/api/v1/tokens").await.expect(200).json()["total"], 1, "{part}");
        let ready = server.api.get("/readyz").await.json();
        assert_eq!(ready["parts"][0]["ready"], true, "{part}: {ready}");
        server.stop();
        drop(server);
    }
}

#[test]
fn the_settings_of_a_ci_portal_are_heard_in_its_folder() {
    let portal = tempfile::tempdir().unwrap();
    let data = portal.path().join("data");
    std::fs::create_dir(portal.path().join("conf")).unwrap();
    let tell = |text: &str| std::fs::write(portal.path().join("conf/configure_server.json"), text).unwrap();
    tell("{\"port\": 99999}");
    let refused = db_in(portal.path(), &data, &["status"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("conf/configure_server.json"), "{}", refused.stderr);

    for part in ["mysql", "postgres"] {
        let Some(database) = Database::make(part) else { continue };
        let url: reqwest::Url = database.url.parse().unwrap();
        let section = json!({
            "host": url.host_str(), "PORT": url.port().unwrap().to_string(), "user": url.username(),
            "passwd": url.password(), "db": database.name,
        });
        tell(&json!({part: section}).to_string());
        let made = db_in(portal.path(), &data, &["migrate"]);
        assert_eq!(made.code, 0, "{part}: {}", made.stderr);
        let heard = db_in(portal.path(), &data, &["status", "--json"]);
        let named = db(&data, &["status", "--json", "--database-url", &database.url]);
        assert_eq!((heard.code, heard.stdout), (0, named.stdout), "{part}: {}", heard.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_have_ended_are_removed() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let id = alice.get("/api/v1/me").await.expect(200).json()["user_id"].as_i64().unwrap();
    let ended = sessions::Row {
        id: SessionId(Uuid::now_v7()),
        account_id: wire::ids::AccountId(id),
        logged_in_at: server.app.now().plus_secs(-10),
        expires_at: server.app.now().plus_secs(-1),
    };
    sessions::insert(&server.app.db, &ended).await.unwrap();

    let server = server.restart().await;

    let is_gone = || async { sessions::get(&server.app.db, ended.id).await.unwrap().is_none().then_some(()) };
    eventually("the session is removed", 10, is_gone).await;
    server.api.with_token(alice.token.clone().unwrap()).get("/api/v1/me").await.expect(200);
    server.stop().await;
}
