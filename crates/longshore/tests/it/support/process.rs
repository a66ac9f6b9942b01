//! The server as a process of its own, for what only a process can suffer: being killed, its memory being measured.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::api::Api;
use super::server::ADMIN_PASSWORD;

/// A server process and its data folder. Killed when dropped.
pub(crate) struct ServerProcess {
    pub(crate) api: Api,
    /// `host:port` of the registry's door.
    pub(crate) registry: String,
    pub(crate) data_dir: PathBuf,
    settings: Vec<(String, String)>,
    program: Program,
    child: Child,
    _folder: Option<TempDir>,
}

impl ServerProcess {
    /// A server on the test engine with these settings (`key`, `value`); none when the engine is skipped.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let engine = super::engine()?;
        let settings: Vec<_> =
            [("machine.docker", engine.as_str())].iter().chain(settings).copied().collect();
        Some(Self::start_on(&settings).await)
    }

    /// A server on the test engine that may do nothing on this machine but call the engine, as the systemd unit has it; none
    /// when the engine is skipped, or when this is not root, who alone can become somebody else.
    pub(crate) async fn start_unprivileged(settings: &[(&str, &str)]) -> Option<Self> {
        let engine = super::engine()?;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("longshore");
        std::fs::copy(env!("CARGO_BIN_EXE_longshore"), &program).unwrap();
        let is_given = std::os::unix::fs::chown(folder.path(), Some(NOBODY), None).is_ok();
        if !is_given {
            return None;
        }
        let data_dir = folder.path().join("data");
        let settings: Vec<_> =
            [("machine.docker", engine.as_str())].iter().chain(settings).copied().collect();
        Some(Self::start_program(Program::Nobody(program), data_dir, Some(folder), &settings).await)
    }

    /// A server with these settings alone, to which a name server of the test's says what names mean; none when this is not root, who
    /// alone can give a process a `/etc/resolv.conf` of its own.
    pub(crate) async fn start_with_names(names: &str, settings: &[(&str, &str)]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out: only root can choose a process's name server");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let resolver = folder.path().join("resolv.conf");
        std::fs::write(&resolver, format!("nameserver {names}\noptions timeout:2 attempts:2\n")).unwrap();
        let data_dir = folder.path().join("data");
        Some(Self::start_program(Program::Resolving(resolver), data_dir, Some(folder), settings).await)
    }

    /// A server with these settings alone.
    pub(crate) async fn start_on(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        Self::start_in(data_dir, Some(folder), settings).await
    }

    /// A server in this data folder.
    pub(crate) async fn start_in(
        data_dir: PathBuf,
        folder: Option<TempDir>,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::start_program(Program::Ours, data_dir, folder, settings).await
    }

    async fn start_program(
        program: Program,
        data_dir: PathBuf,
        folder: Option<TempDir>,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut settings: Vec<(String, String)> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        // A server that comes back must be where it was: machines know images by the door's address.
        settings.push(("listen".into(), free_address()));
        settings.push(("registry_listen".into(), free_address()));
        settings.push(("admin_password".into(), ADMIN_PASSWORD.into()));
        let child = spawn(&program, &data_dir, &settings);
        let value = |key: &str| settings.iter().find(|(name, _)| name == key).unwrap().1.clone();
        // Fails only if another test was first.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let api = Api { url: format!("http://{}", value("listen")), token: None, http };
        let registry = value("registry_listen");
        let mut process = Self { api, registry, data_dir, settings, program, child, _folder: folder };
        process.is_up().await;
        process
    }

    /// Waits until it answers.
    async fn is_up(&mut self) {
        let url = format!("{}/healthz", self.api.url);
        let http = self.api.http.clone();
        for _ in 0..6_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}");
            }
            if http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server does not answer");
    }

    /// What it says to whoever keeps its log.
    pub(crate) fn log_file(&self) -> PathBuf {
        log_file(&self.data_dir)
    }

    /// Ends it at once, in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same folder.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.data_dir, &self.settings);
        self.is_up().await;
    }

    /// How a second server on the same folder, with ports of its own, ends. One that goes on is ended after a minute.
    pub(crate) fn second(&self) -> Output {
        let mut command = Command::new("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_longshore"), "server", "--data-dir"]).arg(&self.data_dir);
        command.env("LONGSHORE_LANG", "en");
        for (key, value) in &self.settings {
            let value = if key.ends_with("listen") { free_address() } else { value.clone() };
            command.env(variable(key), value);
        }
        command.output().unwrap()
    }

    /// Asks it to end, as a service manager does.
    pub(crate) fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap();
    }

    /// Registers an account with the password `<name> password` and logs it in.
    pub(crate) async fn account(&self, name: &str) -> Api {
        let credentials = json!({"account": name, "password": format!("{name} password")});
        self.api.post("/api/auth/register", credentials.clone()).await.expect(200);
        let answer = self.api.post("/api/auth/login", credentials).await.expect(200);
        self.api.with_token(answer.json()["access_token"].as_str().unwrap())
    }

    /// The admin, logged in.
    pub(crate) async fn admin(&self) -> Api {
        let credentials = json!({"account": "admin", "password": ADMIN_PASSWORD});
        let answer = self.api.post("/api/auth/login", credentials).await.expect(200);
        self.api.with_token(answer.json()["access_token"].as_str().unwrap())
    }

    /// A line of `/proc/<pid>/status` in KiB.
    pub(crate) fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        found.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Beside the data, so that it is no part of it.
fn log_file(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

/// The environment variable of a setting.
fn variable(key: &str) -> String {
    format!("LONGSHORE_{}", key.replace('.', "_").to_uppercase())
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The account that may do nothing.
const NOBODY: u32 = 65_534;

/// Which program is started, and as whom.
enum Program {
    Ours,
    Nobody(PathBuf),
    /// Ours, with this as its `/etc/resolv.conf`.
    Resolving(PathBuf),
}

fn spawn(program: &Program, data_dir: &Path, settings: &[(String, String)]) -> Child {
    let mut command = match program {
        Program::Ours => Command::new(env!("CARGO_BIN_EXE_longshore")),
        Program::Resolving(resolver) => {
            let mut command = Command::new("unshare");
            let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
            command.args(["--mount", "sh", "-c", script]).arg(resolver).arg(env!("CARGO_BIN_EXE_longshore"));
            command
        }
        Program::Nobody(path) => {
            let mut command = Command::new("setpriv");
            // The group that may call the engine is the one that the tests run in.
            command
                .args(["--reuid", &NOBODY.to_string(), "--clear-groups", "--inh-caps=-all", "--"])
                .arg(path);
            command
        }
    };
    command.args(["server", "--data-dir"]).arg(data_dir);
    for (key, value) in settings {
        command.env(variable(key), value);
    }
    let is_loud = super::setting("LONGSHORE_TEST_LOUD").is_some();
    std::fs::create_dir_all(data_dir.parent().unwrap()).unwrap();
    let log = std::fs::File::options().create(true).append(true).open(log_file(data_dir)).unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(if is_loud { Stdio::inherit() } else { log.into() })
        .spawn()
        .unwrap();
    // What it announces is of no interest, but a pipe that nobody reads would stop it.
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(drop));
    child
}

/// What every process on this host was started with, and its environment.
pub(crate) fn process_lists() -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            // It may be gone by now.
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text
}

/// Looks at all processes again and again; ends with what was seen of some texts.
pub(crate) struct ProcessWatch {
    is_over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    looking: std::thread::JoinHandle<(u64, Vec<String>)>,
}

impl ProcessWatch {
    /// For these texts.
    pub(crate) fn start(texts: &[&str]) -> Self {
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (texts, ends) =
            (texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), is_over.clone());
        let looking = std::thread::spawn(move || {
            let (mut looks, mut seen) = (0, Vec::new());
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                let lists = process_lists();
                seen.extend(texts.iter().filter(|text| lists.contains(text.as_str())).cloned());
                looks += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            (looks, seen)
        });
        Self { is_over, looking }
    }

    /// What was seen, after at least one look.
    pub(crate) fn end(self) -> Vec<String> {
        self.is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        let (looks, seen) = self.looking.join().unwrap();
        assert!(looks > 0, "nobody looked");
        seen
    }
}
