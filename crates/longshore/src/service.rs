//! The agent as a service of systemd: an account for it, the program where the unit looks for it, the unit itself, and starting
//! it. Every step can be taken again: installing a second time brings everything up to date.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent::membership::{self, MembershipError};
use anyhow::{Context as _, Result, bail};

/// Where the service keeps what it keeps.
pub const FOLDER: &str = "/var/lib/longshore-agent";
/// The unit, with the options that nobody changed.
const UNIT: &str = include_str!("../../../deploy/systemd/longshore-agent.service");
const UNIT_NAME: &str = "longshore-agent.service";
const UNIT_FILE: &str = "/etc/systemd/system/longshore-agent.service";
const PROGRAM: &str = "/usr/local/bin/longshore";
const ENVIRONMENT_FILE: &str = "/etc/longshore/agent.env";
const ACCOUNT: &str = "longshore-agent";
const ENGINE_GROUP: &str = "docker";
/// There while systemd is what manages the system.
const BOOTED: &str = "/run/systemd/system";

/// With what the service runs.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Where this machine's engine finds the registry.
    pub registry_listen: SocketAddr,
    /// The engine's socket; none = the usual one.
    pub docker: Option<String>,
    /// What containers may ask for on this machine.
    pub policy_file: Option<PathBuf>,
    /// The NVIDIA driver's library; none = the system's.
    pub nvml: Option<PathBuf>,
    /// How it gets out, `HTTPS_PROXY` and the like: the service does not see what is set where it is installed.
    pub variables: Vec<(&'static str, String)>,
}

/// Whether a service can be installed here; if not, why not and what to do. To be asked before an invitation is used up.
pub fn check() -> Result<()> {
    if !Path::new(BOOTED).is_dir() {
        bail!(
            "this machine does not run systemd, and so has nowhere to install the service; \
             let what starts services here run `longshore agent run`, which stays in the foreground"
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!("only root can install a service: run the same with `sudo`");
    }
    if !does(Command::new("getent").args(["group", ENGINE_GROUP])) {
        bail!(
            "there is no group `{ENGINE_GROUP}`: install Docker first, the agent calls it as a member of that group"
        );
    }
    Ok(())
}

/// Installs and starts the service of a machine that has joined; what was done, in words.
pub fn install(settings: &ServiceSettings) -> Result<Vec<String>> {
    check()?;
    let folder = Path::new(FOLDER);
    membership::load(folder)?;
    let is_active = does(Command::new("systemctl").args(["is-active", "--quiet", UNIT_NAME]));
    if let (false, Err(MembershipError::InUse(_))) = (is_active, membership::hold(folder)) {
        bail!("an agent runs here already and is no service: stop it first");
    }
    let mut done = Vec::new();
    if !does(Command::new("getent").args(["passwd", ACCOUNT])) {
        let words = ["--system", "--home-dir", FOLDER, "--no-create-home", "--shell", "/usr/sbin/nologin"];
        run(Command::new("useradd").args(words).args(["--groups", ENGINE_GROUP, "--user-group", ACCOUNT]))?;
        done.push(format!("account {ACCOUNT}"));
    }
    run(Command::new("chown").args(["-R", "-P", &format!("{ACCOUNT}:{ACCOUNT}"), FOLDER]))?;
    if let Some(program) = put_program()? {
        done.push(program);
    }
    if !settings.variables.is_empty() && !Path::new(ENVIRONMENT_FILE).exists() {
        let lines: Vec<String> = settings
            .variables
            .iter()
            .map(|(name, value)| Ok(format!("{name}={}\n", quoted(value)?)))
            .collect::<Result<_>>()?;
        // A proxy's address may hold a password.
        put(Path::new(ENVIRONMENT_FILE), lines.concat().as_bytes(), 0o600)?;
        done.push(ENVIRONMENT_FILE.to_owned());
    }
    put(Path::new(UNIT_FILE), unit(settings)?.as_bytes(), 0o644)?;
    done.push(UNIT_FILE.to_owned());
    run(Command::new("systemctl").arg("daemon-reload"))?;
    run(Command::new("systemctl").args(["enable", "--quiet", UNIT_NAME]))?;
    run(Command::new("systemctl").args(["restart", UNIT_NAME]))
        .with_context(|| format!("the service does not start; `journalctl -u {UNIT_NAME}` says why"))?;
    Ok(done)
}

/// The unit for these settings.
fn unit(settings: &ServiceSettings) -> Result<String> {
    let mut words =
        vec![PROGRAM.to_owned(), "agent".into(), "run".into(), "--data-dir".into(), FOLDER.into()];
    words.extend(["--registry-listen".into(), settings.registry_listen.to_string()]);
    for (option, value) in [
        ("--docker", settings.docker.clone()),
        ("--policy", settings.policy_file.as_ref().map(|path| path.display().to_string())),
        ("--nvml", settings.nvml.as_ref().map(|path| path.display().to_string())),
    ] {
        if let Some(value) = value {
            words.extend([option.to_owned(), argument(&value)?]);
        }
    }
    let start = format!("ExecStart={}", words.join(" "));
    let lines: Vec<&str> =
        UNIT.lines().map(|line| if line.starts_with("ExecStart=") { start.as_str() } else { line }).collect();
    Ok(lines.join("\n") + "\n")
}

/// A value as systemd reads it back: as a word of its own in `Environment` files.
fn quoted(value: &str) -> Result<String> {
    if value.chars().any(char::is_control) {
        bail!("`{}` cannot be an option of a service: it holds control characters", value.escape_debug());
    }
    Ok(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// The same in a command, where `%` and `$` mean something.
fn argument(value: &str) -> Result<String> {
    Ok(quoted(value)?.replace('%', "%%").replace('$', "$$"))
}

/// Puts this program where the unit looks for it.
fn put_program() -> Result<Option<String>> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let target = Path::new(PROGRAM);
    if fs::canonicalize(target).ok() == fs::canonicalize(&own).ok() {
        return Ok(None);
    }
    let mut bytes = fs::File::open(&own).with_context(|| format!("cannot read `{}`", own.display()))?;
    replace(target, 0o755, |file| std::io::copy(&mut bytes, file).map(drop))?;
    Ok(Some(PROGRAM.to_owned()))
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    replace(path, mode, |file| file.write_all(bytes))
}

/// Writes a file whole or not at all; a program that runs from it runs on.
fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut fs::File) -> std::io::Result<()>) -> Result<()> {
    let parent = path.parent().context("a file lies in a folder")?;
    let new = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(parent)?;
        fs::remove_file(&new).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        write(&mut file)?;
        // The mask of whoever runs this may be narrower.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().with_context(|| format!("cannot write `{}`", path.display()))
}

fn does(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program}` failed: {}", said.trim());
    }
    Ok(())
}
