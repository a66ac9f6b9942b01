//! `longshore doctor`: looks at everything between this command and a running container, and says what to do.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use reqwest::header;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::accounts::AccountView;
use wire::machines::{MachineState, MachineView};
use wire::page::Page;

use super::client::{Answer, Client};
use super::failure::Failure;
use super::printer::Printer;
use super::{Global, credentials, environment, human, words};

/// A difference of clocks that is told.
const SKEW_WARN_SECS: i64 = 5;
/// A difference of clocks that makes tokens invalid.
const SKEW_FAIL_SECS: i64 = 60;
/// Longest wait for a program on this machine.
const PROGRAM: Duration = Duration::from_secs(10);
/// A data folder or engine disk with less than one part in twenty free is told.
const DISK_PARTS: u64 = 20;

/// Options of `longshore doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Also look at a server's data folder on this machine
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Nothing to do.
    Ok,
    /// Works, but something should be looked at.
    Warn,
    /// Does not work.
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What was looked at, and how it was.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, name: &str, state: State, message: impl Into<String>, hint: Option<String>) {
        self.checks.push(Check { name: name.to_owned(), state, message: message.into(), hint });
    }

    pub(super) fn ok(&mut self, name: &str, message: impl Into<String>) {
        self.add(name, State::Ok, message, None);
    }

    pub(super) fn warn(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(name, State::Warn, message, Some(hint.into()));
    }

    pub(super) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        let hint = Failure::of(error).and_then(|failure| failure.hint.clone());
        self.add(name, State::Fail, format!("{error:#}"), hint);
    }

    /// What does not work, and what to do.
    pub(super) fn broken(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(name, State::Fail, message, Some(hint.into()));
    }

    fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    /// Shows it; a failed check makes the command fail.
    pub(super) fn finish(self, printer: &Printer) -> anyhow::Result<()> {
        if printer.is_json {
            printer.json(&serde_json::to_string(&self)?)?;
        } else {
            show(printer, &self)?;
        }
        match self.count(State::Fail) {
            0 => Ok(()),
            failed => {
                Err(Failure::new(printer.language.say(words::CHECKS_FAILED, &[&failed.to_string()])).into())
            }
        }
    }
}

/// Runs every check.
pub(crate) async fn run(args: DoctorArgs, global: &Global, printer: &Printer) -> anyhow::Result<()> {
    let mut report = Report::default();
    check_credentials(&mut report);
    match Client::from_settings(global.server.as_ref(), printer.language) {
        Ok(client) => check_server(&mut report, &client).await,
        Err(error) => report.fail("server", &error),
    }
    check_docker(&mut report).await;
    if let Some(folder) = args.data_dir.or_else(|| environment::path("LONGSHORE_DATA_DIR")) {
        check_data_folder(&mut report, &folder);
    }

    report.finish(printer)
}

fn show(printer: &Printer, report: &Report) -> anyhow::Result<()> {
    for check in &report.checks {
        let state = match check.state {
            State::Ok => "OK  ",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        printer.data(&format!("{state}  {}: {}", check.name, check.message))?;
        if let Some(hint) = &check.hint {
            printer.data(&format!("      {} {hint}", printer.language.pick(words::HINT)))?;
        }
    }
    Ok(())
}

fn check_credentials(report: &mut Report) {
    const NAME: &str = "credentials";
    let path = match credentials::file() {
        Ok(path) => path,
        Err(error) => return report.fail(NAME, &error),
    };
    let shown = path.display();
    if let Some(mode) = credentials::too_open(&path) {
        let message = format!("`{shown}` can be read by others (mode {mode:o})");
        return report.add(NAME, State::Fail, message, Some(format!("chmod 600 {shown}")));
    }
    match credentials::Credentials::load() {
        Ok(credentials) => report.ok(NAME, format!("{} logins in `{shown}`", credentials.servers.len())),
        Err(error) => report.fail(NAME, &error),
    }
}

async fn check_server(report: &mut Report, client: &Client) {
    let Some(health) = check_reachable(report, client).await else { return };
    match client.probe(&["readyz"]).await {
        Ok((_, answer)) => check_readiness(report, &answer),
        Err(error) => report.fail("ready", &error),
    }
    check_version(report, client, &health).await;
    check_login(report, client).await;
}

/// Whether the server answers, and its clock; what `/healthz` answered.
pub(super) async fn check_reachable(report: &mut Report, client: &Client) -> Option<Answer> {
    let health = match client.probe(&["healthz"]).await {
        Ok((status, answer)) if status.is_success() => answer,
        Ok((status, _)) => {
            report.broken(
                "server",
                format!("{} answers {status}", client.server()),
                "look at the server's log",
            );
            return None;
        }
        Err(error) => {
            let hint = "start it with `longshore server`, or check the address and what lies between";
            report.broken("server", error.to_string(), hint);
            return None;
        }
    };
    report.ok("server", format!("{} answers", client.server()));
    check_clock(report, &health);
    Some(health)
}

/// What `/readyz` answers.
#[derive(Debug, Default, Deserialize)]
struct Readiness {
    ready: bool,
    parts: Vec<Part>,
}

/// One part that the server needs.
#[derive(Debug, Deserialize)]
struct Part {
    name: String,
    ready: bool,
    message: Option<String>,
    hint: Option<String>,
}

fn check_readiness(report: &mut Report, answer: &Answer) {
    let log_hint = || "look at the server's log".to_owned();
    let Ok(readiness) = answer.view::<Readiness>() else {
        return report.warn("ready", "the server does not say what it needs", log_hint());
    };
    for part in &readiness.parts {
        let message = part.message.clone();
        if part.ready {
            report.ok(&part.name, message.unwrap_or_else(|| "usable".to_owned()));
        } else {
            let hint = part.hint.clone().unwrap_or_else(log_hint);
            let message = message.unwrap_or_else(|| "not usable".to_owned());
            report.add(&part.name, State::Fail, message, Some(hint));
        }
    }
    if readiness.ready {
        report.ok("ready", "the server takes requests");
    } else if readiness.parts.iter().all(|part| part.ready) {
        report.add("ready", State::Fail, "the server says that it is not ready", Some(log_hint()));
    }
}

fn check_clock(report: &mut Report, answer: &Answer) {
    const NAME: &str = "clock";
    let date = answer.headers.get(header::DATE).and_then(|value| value.to_str().ok());
    let Some(theirs) = date.and_then(|text| chrono::DateTime::parse_from_rfc2822(text).ok()) else {
        return report.warn(NAME, "the server does not say what time it has", "compare the clocks by hand");
    };
    let skew = environment::now().unix_secs() - theirs.timestamp();
    let message = format!("{} between this machine's clock and the server's", human::duration(skew.abs()));
    match skew.abs() {
        secs if secs > SKEW_FAIL_SECS => {
            let hint = Some("set the clocks by NTP: logins fail when they differ".to_owned());
            report.add(NAME, State::Fail, message, hint);
        }
        secs if secs > SKEW_WARN_SECS => report.warn(NAME, message, "set the clocks by NTP"),
        _ => report.ok(NAME, message),
    }
}

async fn check_version(report: &mut Report, client: &Client, health: &Answer) {
    const NAME: &str = "version";
    let ours = env!("CARGO_PKG_VERSION");
    let version = |text: &str, pointer: &str| {
        let value = serde_json::from_str::<Value>(text).ok()?;
        value.pointer(pointer)?.as_str().map(str::to_owned)
    };
    let theirs = match version(&health.text, "/version") {
        Some(version) => Some(version),
        None => match client.probe(&["api", "openapi.json"]).await {
            Ok((_, document)) => version(&document.text, "/info/version"),
            Err(_) => None,
        },
    };
    match theirs {
        Some(theirs) if theirs == ours => report.ok(NAME, format!("{ours} on both sides")),
        Some(theirs) => {
            report.warn(
                NAME,
                format!("{ours} here, {theirs} on the server"),
                "use the same version on both sides",
            );
        }
        None => report.warn(NAME, "the server does not say its version", "is it a Longshore server?"),
    }
}

async fn check_login(report: &mut Report, client: &Client) {
    const NAME: &str = "login";
    if !client.has_token() {
        return report.warn(NAME, "not logged in", client.login_hint());
    }
    let me = match client.get(&["api", "v1", "me"], &[]).await.and_then(|answer| answer.view::<AccountView>())
    {
        Ok(me) => me,
        Err(error) => return report.fail(NAME, &error),
    };
    report.ok(NAME, format!("logged in as `{}`", me.account));
    match client
        .get(&["api", "v1", "machines"], &[])
        .await
        .and_then(|answer| answer.view::<Page<MachineView>>())
    {
        Ok(machines) => check_machines(report, &machines.data),
        Err(error) => report.fail("machines", &error),
    }
}

fn check_machines(report: &mut Report, machines: &[MachineView]) {
    if machines.is_empty() {
        return report.warn(
            "machines",
            "there is no machine to run containers on",
            "invite one: `longshore machine invite`",
        );
    }
    for machine in machines {
        let name = format!("machine {}", machine.facts.hostname);
        let disk = machine.facts.disk;
        match machine.state {
            MachineState::EngineDown => {
                let hint = Some("look at `systemctl status docker` there".to_owned());
                report.add(&name, State::Fail, "its Docker engine does not answer", hint);
            }
            MachineState::Unknown => {
                let hint = "look at `systemctl status longshore-agent` there; its containers go on";
                report.warn(&name, "its agent is not connected", hint);
            }
            MachineState::Online if disk.total > 0 && disk.free < disk.total / DISK_PARTS => {
                let message = format!(
                    "{} of {} of its disk are free",
                    human::size(disk.free << 30),
                    human::size(disk.total << 30)
                );
                report.warn(&name, message, "delete images and containers that nobody needs");
            }
            MachineState::Online => report.ok(&name, "online"),
        }
    }
}

/// A Docker client is only needed to push and pull by hand, so its absence is no failure.
async fn check_docker(report: &mut Report) {
    const NAME: &str = "docker client";
    let mut command = tokio::process::Command::new("docker");
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PROGRAM, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            report.ok(NAME, String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            report.warn(NAME, "not installed here", "needed only to push and pull images by hand");
        }
        _ => report.warn(
            NAME,
            "`docker --version` does not work",
            "needed only to push and pull images by hand",
        ),
    }
}

fn check_data_folder(report: &mut Report, folder: &Path) {
    const NAME: &str = "data folder";
    let shown = folder.display();
    if !folder.is_dir() {
        let hint = Some("start `longshore server` once with this `--data-dir`".to_owned());
        return report.add(NAME, State::Fail, format!("`{shown}` does not exist"), hint);
    }
    if let Some(mode) = credentials::too_open(folder) {
        let message = format!("`{shown}` is open to others (mode {mode:o})");
        report.add(NAME, State::Fail, message, Some(format!("chmod 700 {shown}")));
    } else {
        report.ok(NAME, format!("`{shown}` is the server's own"));
    }
    let password = folder.join("admin-password");
    if let Some(mode) = credentials::too_open(&password) {
        let shown = password.display();
        let message = format!("`{shown}` can be read by others (mode {mode:o})");
        report.add("admin password", State::Fail, message, Some(format!("chmod 600 {shown}")));
    }
}
