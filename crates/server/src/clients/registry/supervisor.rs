//! Runs Distribution on a private port of this machine: writes its configuration, waits until it answers, starts it
//! again when it dies, ends it after the last request when the server ends. One that a killed server left behind is
//! ended first: two would write into one folder.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ring::rand::SecureRandom as _;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{OwnRegistry, REPORTS_PATH, Upstream, derived};
use crate::app::App;
use crate::keys;

/// How long Distribution may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long requests may keep it up when the server ends; the door gives them 10 seconds.
const USERS_PATIENCE: Duration = Duration::from_secs(12);
/// Shortest and longest wait before another start.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(30);
/// After this time a run counts as a good one and the waits begin anew.
const GOOD_RUN: Duration = Duration::from_mins(1);
/// Carries a number made at each start, so that nobody else's program on the same port is taken for ours.
const START_HEADER: &str = "X-Longshore-Start";
/// Lines of Distribution's log that are kept to explain its end, and their longest length in bytes.
const LAST_LINES: usize = 5;
const LINE_BYTES: u64 = 2048;

type Result<T, E = String> = std::result::Result<T, E>;

/// Runs the registry until the server ends.
pub(super) async fn run(app: App, own: OwnRegistry, reports: SocketAddr) {
    let Some(_lock) = lock_folder(&app, &own).await else { return };
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        let Err(reason) = run_once(&app, &own, reports).await else { return };
        if started.elapsed() >= GOOD_RUN {
            delay = FIRST_DELAY;
        }
        tracing::error!(reason, "the registry is down; it is started again");
        app.registry.set(Upstream::Down(reason.into()));
        let wait = jittered(&app, delay);
        delay = (delay * 2).min(LAST_DELAY);
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Half the delay and up to as much again.
fn jittered(app: &App, delay: Duration) -> Duration {
    let mut byte = [128];
    // Without random numbers the middle will do.
    if app.random.fill(&mut byte).is_err() {
        byte = [128];
    }
    delay / 2 + delay * u32::from(byte[0]) / 512
}

/// Makes the folder and takes it for this server alone; none when the server ends meanwhile.
async fn lock_folder(app: &App, own: &OwnRegistry) -> Option<std::fs::File> {
    let mut delay = FIRST_DELAY;
    loop {
        let reason = match open_lock(&own.folder) {
            Ok(file) => match file.try_lock() {
                Ok(()) => return Some(file),
                Err(_) => "another server uses the registry's folder".to_owned(),
            },
            Err(error) => format!("cannot use the registry's folder `{}`: {error}", own.folder.display()),
        };
        tracing::warn!(reason, "the registry waits");
        app.registry.set(Upstream::Down(reason.into()));
        tokio::select! {
            () = app.shutdown.cancelled() => return None,
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(Duration::from_secs(2));
    }
}

fn open_lock(folder: &Path) -> std::io::Result<std::fs::File> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("data"))?;
    std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join("lock"))
}

/// One life of the registry. Ok: the server ends. Otherwise why it is down.
async fn run_once(app: &App, own: &OwnRegistry, reports: SocketAddr) -> Result<()> {
    let folder =
        own.folder.canonicalize().map_err(|error| format!("cannot use the registry's folder: {error}"))?;
    let config_file = folder.join("config.yml");
    end_leftovers(&config_file).await?;

    let port = free_port()?;
    let start = uuid::Uuid::now_v7().to_string();
    write_config(own, &folder, &config_file, (port, reports), &start)
        .map_err(|e| format!("cannot write the registry's configuration: {e}"))?;
    let mut child = spawn(own, &folder, &config_file)?;
    let lines = follow_log(app, &mut child);
    app.outbound.add_own((std::net::Ipv4Addr::LOCALHOST, port).into());
    let base: Arc<str> = format!("http://127.0.0.1:{port}").into();
    tokio::select! {
        () = app.shutdown.cancelled() => return end(child).await,
        status = child.wait() => return Err(explain(status, &lines)),
        ready = wait_until_ready(app, &base, &start) => ready?,
    }
    tracing::info!(port, "the registry is up");
    app.registry.set(Upstream::Up(base));
    tokio::select! {
        status = child.wait() => Err(explain(status, &lines)),
        () = app.shutdown.cancelled() => {
            app.registry.users.close();
            if tokio::time::timeout(USERS_PATIENCE, app.registry.users.wait()).await.is_err() {
                tracing::debug!("the registry ends under requests that did not");
            }
            end(child).await
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| format!("there is no free port for the registry: {error}"))
}

/// Writes the configuration. It is JSON, which YAML includes: no quoting of ours can go wrong.
fn write_config(
    own: &OwnRegistry,
    folder: &Path,
    file: &Path,
    (port, reports): (u16, SocketAddr),
    start: &str,
) -> std::io::Result<()> {
    let config = json!({
        "version": "0.1",
        // The highest there is; even so every 401 and 404, both everyday answers, is a line.
        "log": {"level": "error", "accesslog": {"disabled": true}, "formatter": "text"},
        "storage": {
            "filesystem": {"rootdirectory": folder.join("data"), "maxthreads": 100},
            "delete": {"enabled": true},
            "redirect": {"disable": true},
            "maintenance": {"uploadpurging": {"enabled": true, "age": "168h", "interval": "24h", "dryrun": false}},
            // No blob cache: it outlives deletion and then acknowledges pushes whose blobs are gone.
        },
        "http": {
            "addr": format!("127.0.0.1:{port}"),
            "secret": derived(&own.events_secret, "registry http secret"),
            "relativeurls": true,
            "headers": {"X-Content-Type-Options": ["nosniff"], START_HEADER: [start]},
        },
        "auth": {"token": {
            // The door puts the address by which it was called in its place.
            "realm": "http://registry.invalid/api/registry/token",
            "service": keys::REGISTRY_SERVICE,
            "issuer": keys::ISSUER,
            "rootcertbundle": own.certificate,
        }},
        "notifications": {"endpoints": [{
            "name": "longshore",
            "url": format!("http://{reports}{REPORTS_PATH}"),
            "headers": {"Authorization": [format!("Bearer {}", own.events_secret.expose())]},
            "timeout": "3s",
            "threshold": 3,
            "backoff": "2s",
            "ignoredmediatypes": ["application/octet-stream"],
        }]},
    });
    let aside = file.with_extension("new");
    let mut out =
        std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
    out.write_all(serde_json::to_string_pretty(&config)?.as_bytes())?;
    std::fs::rename(&aside, file)
}

fn spawn(own: &OwnRegistry, folder: &Path, config_file: &Path) -> Result<Child> {
    let mut command = Command::new(&own.program);
    command.arg("serve").arg(config_file).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Ctrl-C in a terminal goes to the whole group; the registry is ended by us, after the last request.
    command.process_group(0).kill_on_drop(true);
    without_settings(&mut command);
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "the registry's program `{}` is not installed: `sudo apt-get install docker-registry`, \
             or name another with the setting `registry.program`, or use a registry elsewhere with `registry.url`",
            own.program
        ),
        _ => format!("cannot start the registry's program `{}`: {error}", own.program),
    })
}

/// Distribution takes these over its configuration file.
pub(super) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("REGISTRY_") || text.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
}

/// Passes the log on and keeps its last lines.
fn follow_log(app: &App, child: &mut Child) -> Arc<Mutex<VecDeque<String>>> {
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    if let Some(output) = child.stderr.take() {
        let lines = Arc::clone(&lines);
        app.spawn(async move {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            let mut is_usage = false;
            loop {
                line.clear();
                match (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                let text: String = String::from_utf8_lossy(&line).trim_end().chars().map(printable).collect();
                tracing::debug!(line = text, "registry");
                // It prints how it is called after what is wrong with its configuration.
                is_usage |= text.starts_with("Usage:");
                if is_usage {
                    continue;
                }
                let mut lines = lines.lock().expect("no code panics while it holds this lock");
                if lines.len() == LAST_LINES {
                    lines.pop_front();
                }
                lines.push_back(text);
            }
        });
    }
    lines
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

fn explain(status: std::io::Result<ExitStatus>, lines: &Mutex<VecDeque<String>>) -> String {
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let lines = lines.lock().expect("no code panics while it holds this lock");
    let last: Vec<&str> = lines.iter().map(String::as_str).collect();
    if last.is_empty() {
        format!("the registry ended ({how})")
    } else {
        format!("the registry ended ({how}): {}", last.join(" / "))
    }
}

async fn wait_until_ready(app: &App, base: &str, start: &str) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let answer =
            app.registry.http.get(format!("{base}/v2/")).timeout(Duration::from_secs(2)).send().await;
        if let Ok(answer) = answer
            && answer.headers().get(START_HEADER).is_some_and(|value| value.as_bytes() == start.as_bytes())
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the registry did not answer within {} seconds", START_PATIENCE.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends our own child: politely, then not.
async fn end(mut child: Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
        && let Err(error) = rustix::process::kill_process(pid, Signal::TERM)
    {
        tracing::debug!(%error, "cannot signal the registry");
    }
    if tokio::time::timeout(END_PATIENCE, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::warn!(%error, "cannot end the registry");
    }
    Ok(())
}

/// Ends every registry that was started with our configuration file. They are found by their command lines and not
/// by a file with a process id: that could be missing (killed in between) or stale (the id given to somebody else).
async fn end_leftovers(config_file: &Path) -> Result<()> {
    let config_file = config_file.to_owned();
    let ended = tokio::task::spawn_blocking(move || end_leftovers_blocking(&config_file)).await;
    ended.map_err(|error| format!("cannot look for earlier registries: {error}"))?
}

fn end_leftovers_blocking(config_file: &Path) -> Result<()> {
    let deadline = Instant::now() + END_PATIENCE;
    loop {
        let found = leftovers(config_file);
        if found.is_empty() {
            return Ok(());
        }
        let is_late = Instant::now() > deadline;
        if is_late && Instant::now() > deadline + END_PATIENCE {
            return Err("a registry of an earlier server cannot be ended".to_owned());
        }
        for pid in found {
            // The descriptor stands for this one process: what is checked through /proc after it was opened is what
            // gets the signal, even if the number is given to another process meanwhile.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if !is_leftover(pid, config_file) {
                continue;
            }
            tracing::warn!(
                pid = pid.as_raw_nonzero().get(),
                "ending a registry that an earlier server left behind"
            );
            let signal = if is_late { Signal::KILL } else { Signal::TERM };
            if let Err(error) = pidfd_send_signal(&process, signal) {
                tracing::debug!(%error, "cannot signal it");
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn leftovers(config_file: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(Pid::from_raw).filter(|pid| is_leftover(*pid, config_file)).collect()
}

/// Whether the process was started as `… serve CONFIG_FILE`, or to tidy up: while that one goes on, nobody may push. An
/// editor that has the file open was not.
fn is_leftover(pid: Pid, config_file: &Path) -> bool {
    let path = PathBuf::from(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let Ok(line) = std::fs::read(path) else { return false };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let wanted = config_file.as_os_str().as_encoded_bytes();
    let is_ours = |word: &[u8]| word == b"serve" || word == b"garbage-collect";
    words.windows(2).any(|pair| is_ours(pair[0]) && pair[1] == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registry_with_our_configuration_is_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let config_file = folder.path().join("config.yml");
        let other = folder.path().join("other.yml");
        // `sh -c SCRIPT NAME ARGS…` has the arguments in its command line and looks at none of them.
        let start = |words: &[&str]| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "read line", "registry"]).args(words).stdin(Stdio::piped()).spawn().unwrap()
        };
        let mut ours = start(&["serve", config_file.to_str().unwrap()]);
        let mut tidies_up = start(&["garbage-collect", config_file.to_str().unwrap()]);
        let mut editor = start(&["edit", config_file.to_str().unwrap()]);
        let mut foreign = start(&["serve", other.to_str().unwrap()]);

        let inputs = [ours.stdin.take(), tidies_up.stdin.take()];
        let reapers = [ours, tidies_up].map(|mut child| std::thread::spawn(move || child.wait().unwrap()));
        end_leftovers_blocking(&config_file).unwrap();

        for reaper in reapers {
            assert!(!reaper.join().unwrap().success());
        }
        drop(inputs);
        assert!(editor.try_wait().unwrap().is_none());
        assert!(foreign.try_wait().unwrap().is_none());
        for mut child in [editor, foreign] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
