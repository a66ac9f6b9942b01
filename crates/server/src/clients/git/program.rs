//! How `git` is started. Its whole configuration is a file that we write into a folder of its own: one protocol, no hooks, no
//! redirects, no prompts, no system or user settings, no environment. Users and passwords are in a file there and never on
//! the command line. It speaks to the one address that was checked, and what it starts ends with it.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use form_urlencoded::byte_serialize;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::Instant;

use super::fetch::Remote;
use super::url::Scheme;

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of what git says that are kept.
const SAID_BYTES: usize = 16 << 10;
/// How often it is looked how much came.
const MEASURE_EVERY: Duration = Duration::from_millis(200);

/// Why git did not do what it should, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The program is missing.
    #[error("`git` is not installed on the server's host; ask an admin to install it")]
    NotInstalled,
    /// Nobody answers there.
    #[error("the git server does not answer: {0}")]
    Unreachable(String),
    /// Its certificate is not trusted.
    #[error(
        "the git server's certificate is not trusted; if it signs its own, give its authority as `ca_secret`"
    )]
    Certificate,
    /// It lets nobody in, or not this user.
    #[error("the git server does not let us in; check the user and the password, token or key")]
    Refused,
    /// It has no such repository, or does not show it.
    #[error("the git server has no repository at this address, or does not show it to this user")]
    NoRepository,
    /// It sends us elsewhere.
    #[error("the git server sends us to another address; give the address where the repository is now")]
    Moved,
    /// Another key than the last time.
    #[error(
        "the git server showed another key than the last time; if that is right, enter its address again"
    )]
    HostKey,
    /// There is no such branch.
    #[error("the repository has no branch, tag or commit `{0}`")]
    NoRef(String),
    /// It has no commit at all.
    #[error("the repository is empty: push a commit first")]
    Empty,
    /// A submodule cannot be had.
    #[error("the submodule `{0}` cannot be fetched: {1}")]
    Submodule(String, String),
    /// A large file cannot be had.
    #[error("the large file `{0}` cannot be fetched: {1}")]
    LargeFile(String, String),
    /// There is no such file or folder.
    #[error("{0}")]
    NoPath(String),
    /// It is larger than allowed.
    #[error("the repository is larger than the {0} MiB that this server fetches")]
    TooLarge(u64),
    /// It takes longer than allowed.
    #[error("the git server did not send everything within {0} seconds")]
    TimedOut(u64),
    /// There is no room for it here.
    #[error("the server's disk is full; ask an admin to free some space")]
    NoSpace,
    /// Something else, with git's own last words.
    #[error("git failed: {0}")]
    Other(String),
}

impl GitError {
    /// Whether another try may do better without anybody changing anything.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<std::io::Error> for GitError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::NoSpace,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The folder in which git works, and nothing outside of it.
pub(super) struct Workplace<'a> {
    pub(super) folder: &'a Path,
    remote: &'a Remote,
}

/// Bounds on one call.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// When it must be done.
    pub(super) deadline: Instant,
    /// How long that is, for people.
    pub(super) secs: u64,
    /// How much may come.
    pub(super) bytes: u64,
}

impl<'a> Workplace<'a> {
    /// Writes down what git may know.
    pub(super) fn prepare(folder: &'a Path, remote: &'a Remote) -> std::io::Result<Self> {
        let write = |name: &str, text: &str| -> std::io::Result<()> {
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(folder.join(name))?;
            file.write_all(text.as_bytes())
        };
        if let Some(pem) = &remote.ca_pem {
            write("ca.pem", pem)?;
        }
        if let Some(credential) = &remote.credential {
            let encoded =
                |text: &str| byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
            let (user, password) = (encoded(&credential.user), encoded(credential.password.expose()));
            let base = remote.url.base();
            let host = base.split_once("://").map_or("", |(_, host)| host);
            write("credentials", &format!("{}://{user}:{password}@{host}\n", remote.url.scheme.as_str()))?;
        }
        if let Some(key) = &remote.ssh_key {
            write("key", &format!("{}\n", key.expose().trim_end()))?;
        }
        write("known_hosts", remote.known_hosts.as_deref().unwrap_or_default())?;
        write("config", &configuration(remote))?;
        Ok(Self { folder, remote })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("git");
        command.args(arguments);
        if self.remote.url.scheme == Scheme::Ssh {
            command.env("GIT_SSH_COMMAND", ssh_command(self.remote)).env("GIT_SSH_VARIANT", "ssh");
        }
        command
    }

    /// A program that knows nothing but its folder.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .current_dir(self.folder)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.folder)
            .env("LC_ALL", "C")
            .env("GIT_DIR", "repository")
            .env("GIT_CONFIG_GLOBAL", self.folder.join("config"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", self.remote.url.scheme.as_str())
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            // So that what git starts can be ended with it.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Runs git and gives what it printed, at most `bounds.bytes` of it.
    pub(super) async fn run(&self, arguments: &[&str], bounds: Bounds) -> Result<Vec<u8>, GitError> {
        Self::printed(self.command(arguments), bounds).await
    }

    /// Asks an SSH server for something about the repository that git does not ask for: `verb`, its path, `rest`. What it prints.
    pub(super) async fn ask_ssh(&self, verb: &str, rest: &str, bounds: Bounds) -> Result<Vec<u8>, GitError> {
        let (target, path) = self.remote.url.ssh_target();
        let mut command = self.program("ssh");
        command.args(ssh_command(self.remote).split_whitespace().skip(1));
        command.args(["-p", &self.remote.url.port.to_string(), "--", &target]);
        // A shell there reads it.
        command.arg(format!("{verb} '{}' {rest}", path.replace('\'', r"'\''")));
        Self::printed(command, bounds).await
    }

    async fn printed(mut command: Command, bounds: Bounds) -> Result<Vec<u8>, GitError> {
        command.stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let mut out = child.process.stdout.take().ok_or_else(no_pipe)?.take(bounds.bytes + 1);
        let mut printed = Vec::new();
        let said = child.wait(bounds, async {
            out.read_to_end(&mut printed).await?;
            Ok(())
        });
        said.await?;
        if printed.len() as u64 > bounds.bytes {
            return Err(GitError::TooLarge(bounds.bytes >> 20));
        }
        Ok(printed)
    }

    /// Runs git while something grows that may have `bounds.bytes`: a file that it prints to, or a folder.
    pub(super) async fn run_measured(
        &self,
        arguments: &[&str],
        out: Option<File>,
        bounds: Bounds,
        measure: impl Fn() -> std::io::Result<u64> + Clone + Send + 'static,
    ) -> Result<(), GitError> {
        let mut command = self.command(arguments);
        command.stdout(out.map_or_else(Stdio::null, Stdio::from));
        let mut child = spawn(&mut command)?;
        drop(command);
        let measured = measure.clone();
        let grows = async {
            loop {
                tokio::time::sleep(MEASURE_EVERY).await;
                let measure = measured.clone();
                let bytes = tokio::task::spawn_blocking(measure).await.map_err(std::io::Error::other)??;
                if bytes > bounds.bytes {
                    return Err::<(), _>(GitError::TooLarge(bounds.bytes >> 20));
                }
            }
        };
        tokio::select! {
            error = grows => error?,
            said = child.wait(bounds, async { Ok(()) }) => said?,
        }
        // What came in its last moment counts too.
        let bytes = tokio::task::spawn_blocking(measure).await.map_err(std::io::Error::other)??;
        if bytes > bounds.bytes {
            return Err(GitError::TooLarge(bounds.bytes >> 20));
        }
        Ok(())
    }
}

fn no_pipe() -> std::io::Error {
    std::io::Error::other("git has no pipe")
}

/// A running git. Dropped, it ends with everything that it started.
struct Running {
    process: tokio::process::Child,
    group: Option<Pid>,
}

fn spawn(command: &mut Command) -> Result<Running, GitError> {
    let process = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => GitError::NotInstalled,
        _ => error.into(),
    })?;
    let group = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(Running { process, group })
}

impl Running {
    async fn wait(
        &mut self,
        bounds: Bounds,
        reading: impl Future<Output = std::io::Result<()>>,
    ) -> Result<(), GitError> {
        let mut stderr = self.process.stderr.take().ok_or_else(no_pipe)?;
        let mut said = Vec::new();
        let listening = async {
            let mut chunk = [0; 4096];
            loop {
                match stderr.read(&mut chunk).await? {
                    0 => return Ok::<(), std::io::Error>(()),
                    count => {
                        said.extend_from_slice(&chunk[..count]);
                        // The last words say what went wrong.
                        let surplus = said.len().saturating_sub(SAID_BYTES);
                        said.drain(..surplus);
                    }
                }
            }
        };
        let ended = tokio::select! {
            ended = async { tokio::try_join!(reading, listening, self.process.wait()) } => ended?,
            () = tokio::time::sleep_until(bounds.deadline) => return Err(GitError::TimedOut(bounds.secs)),
        };
        self.group = None;
        if ended.2.success() {
            return Ok(());
        }
        Err(explained(&String::from_utf8_lossy(&said)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group.take()
            && let Err(error) = rustix::process::kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "cannot end a git that is not needed any more");
        }
    }
}

fn configuration(remote: &Remote) -> String {
    let scheme = remote.url.scheme.as_str();
    let mut text = String::from(
        "[core]\n\thooksPath = /dev/null\n\tbigFileThreshold = 1m\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
         [fetch]\n\tunpackLimit = 1\n\trecurseSubmodules = false\n[submodule]\n\trecurse = false\n[transfer]\n\tbundleURI = false\n\
         [pack]\n\tthreads = 1\n[protocol]\n\tversion = 2\n\tallow = never\n",
    );
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line(&format!("[protocol \"{scheme}\"]\n\tallow = always"));
    line("[credential]\n\thelper =");
    if remote.credential.is_some() {
        line("\thelper = store --file=credentials");
    }
    line(
        "[http]\n\tfollowRedirects = false\n\tproxy =\n\tlowSpeedLimit = 1\n\tlowSpeedTime = 60\n\tsslVerify = true",
    );
    if remote.ca_pem.is_some() {
        line("\tsslCAInfo = ca.pem");
    }
    let (host, port) = (&remote.url.host, remote.url.port);
    if host.parse::<IpAddr>().is_err() {
        let addresses: Vec<String> = remote.addresses.iter().map(|ip| shown(*ip)).collect();
        line(&format!("\tcurloptResolve = {host}:{port}:{}", addresses.join(",")));
    }
    text
}

fn shown(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A shell reads it: every word is ours, a checked name or an address.
fn ssh_command(remote: &Remote) -> String {
    let mut words = String::from(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=known_hosts \
         -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no -o HashKnownHosts=no -o CheckHostIP=no -o IdentitiesOnly=yes \
         -o IdentityAgent=none -o ForwardAgent=no -o ClearAllForwardings=yes -o PermitLocalCommand=no -o ProxyCommand=none \
         -o PreferredAuthentications=publickey -o ConnectTimeout=15 -o ServerAliveInterval=15 -o LogLevel=ERROR",
    );
    words.push_str(" -o HostKeyAlias=");
    words.push_str(&remote.url.host);
    if let Some(ip) = remote.addresses.first() {
        words.push_str(" -o HostName=");
        words.push_str(&ip.to_string());
    }
    words.push_str(if remote.ssh_key.is_some() { " -i key" } else { " -o IdentityFile=none" });
    words
}

/// What git said, in words for people. Git has one exit status for everything, so that only its words tell.
fn explained(said: &str) -> GitError {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["No space left on device"]) {
        return GitError::NoSpace;
    }
    if has(&["Could not resolve host", "Couldn't resolve host", "Name or service not known"]) {
        return GitError::Unreachable("its name is not known".to_owned());
    }
    if has(&["Connection refused", "Failed to connect", "Couldn't connect", "No route to host"]) {
        return GitError::Unreachable("nobody listens there, or the way is blocked".to_owned());
    }
    if has(&["timed out", "Operation too slow", "Connection reset", "early EOF", "Empty reply"]) {
        return GitError::Unreachable("the connection broke off".to_owned());
    }
    if has(&["certificate", "SSL certificate problem", "server certificate verification failed"]) {
        return GitError::Certificate;
    }
    if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        return GitError::HostKey;
    }
    if has(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "error: 401",
        "error: 403",
    ]) {
        return GitError::Refused;
    }
    if has(&["error: 301", "error: 302", "error: 307", "error: 308", "unable to update url base"]) {
        return GitError::Moved;
    }
    if has(&["not found", "does not appear to be a git repository", "error: 404", "not valid: is this a git"])
    {
        return GitError::NoRepository;
    }
    let last: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = last.last().copied().unwrap_or("it said nothing");
    GitError::Other(last.chars().filter(|c| !c.is_control()).take(300).collect())
}
