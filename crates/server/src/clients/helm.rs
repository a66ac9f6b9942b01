//! How `helm` is started: with nothing of the server's environment, with folders of its own that go when it ends, with a
//! kubeconfig that opens one namespace in the name of its account, and within bounds of time, memory and output. What it is
//! given to install was rendered and checked before; see `domain/releases`.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use wire::ids::ReleaseId;
use wire::names::NamespaceName;
use wire::secret::Secret;

use crate::blobs::{Blobs, Folder, blocking, write_private};
use crate::error::{Error, ErrorKind, Result};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Helms that render or read at the same time; those of jobs have places of their own.
const PLACES: usize = 4;
/// Memory that one may take for data.
const MEMORY_BYTES: u64 = 1 << 30;
/// When it is to be careful with memory.
const MEMORY_LIMIT: &str = "512MiB";
/// Bytes of what it prints that are read.
const PRINTED_BYTES: u64 = 32 << 20;
/// Longest line of its log.
const LINE_BYTES: u64 = 8 << 10;
/// Characters of what it complains of that are passed on.
const COMPLAINT_CHARS: usize = 2_000;
/// How long it may take to end in order once it is asked to.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// How long a leftover may take to end once it is killed.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(10);
/// Says which release a process works on, for the server that comes after one that was killed.
const RELEASE_VARIABLE: &str = "LONGSHORE_RELEASE";

/// Helm on this host.
pub struct Helm {
    program: PathBuf,
    blobs: Blobs,
    places: Semaphore,
}

/// A private folder with everything that one or several calls need. It goes when this is dropped.
pub struct Workplace {
    folder: Folder,
    namespace: NamespaceName,
    release: ReleaseId,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether it did what it was asked for.
    pub is_success: bool,
    /// What it printed.
    pub printed: String,
    /// What it complains of, for people.
    pub complaint: String,
}

/// Why Helm could not be called, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// The program is missing.
    #[error("Helm is not installed on the server's host (`{0}` is missing)")]
    NotInstalled(String),
    /// The program cannot be started.
    #[error("Helm cannot be started: {0}")]
    NotStarted(String),
    /// It takes longer than allowed.
    #[error("Helm did not end within {0} seconds")]
    TimedOut(u64),
    /// It prints more than is read.
    #[error("Helm printed more than {0} MiB")]
    TooMuch(u64),
    /// Somebody asked for its end.
    #[error("Helm was stopped")]
    Cancelled,
}

impl From<std::io::Error> for HelmError {
    fn from(error: std::io::Error) -> Self {
        Self::NotStarted(error.to_string())
    }
}

impl From<HelmError> for Error {
    fn from(error: HelmError) -> Self {
        let detail = error.to_string();
        match error {
            HelmError::NotInstalled(_) => Self::unavailable("helm_missing", detail).hint(
                "an admin installs Helm 3 on the server's host (https://helm.sh), or sets `charts.helm` to where it is",
            ),
            HelmError::NotStarted(_) => Self::unavailable("helm_not_started", detail)
                .hint("an admin looks at `charts.helm` and at the rights of that file"),
            HelmError::TimedOut(_) => Self::new(ErrorKind::Invalid, "chart_too_slow", detail)
                .hint("the chart's templates take too long; tell its author"),
            HelmError::TooMuch(_) => Self::new(ErrorKind::Invalid, "chart_too_large", detail)
                .hint("the chart makes more than can be installed here"),
            HelmError::Cancelled => Self::conflict("cancelled", detail),
        }
    }
}

impl Helm {
    /// The Helm of this name or path.
    pub fn new(program: &Path, blobs: Blobs) -> Self {
        Self { program: program.to_owned(), blobs, places: Semaphore::new(PLACES) }
    }

    /// Makes a folder for calls about one release.
    pub async fn workplace(
        &self,
        release: ReleaseId,
        namespace: &NamespaceName,
        kubeconfig: Secret,
    ) -> Result<Workplace> {
        let (blobs, namespace) = (self.blobs.clone(), namespace.clone());
        blocking(move || {
            let folder = blobs.folder()?;
            let work = Workplace { folder, namespace, release };
            work.write("kubeconfig", kubeconfig.expose().as_bytes())?;
            Ok(work)
        })
        .await
    }

    /// Calls Helm to read or to render, at most `secs` long.
    pub async fn ask(&self, work: &Workplace, arguments: &[&str], secs: u64) -> Result<Ended, HelmError> {
        let _place = self.places.acquire().await.map_err(|error| HelmError::NotStarted(error.to_string()))?;
        self.run(work, arguments, secs, |_| {}, std::future::pending()).await
    }

    /// Calls Helm; each line that it says on the way goes to `listen`. It is asked to end when `cancelled` is done, and
    /// ends with everything that it started when the call is dropped.
    pub async fn run(
        &self,
        work: &Workplace,
        arguments: &[&str],
        secs: u64,
        mut listen: impl FnMut(&str),
        cancelled: impl Future<Output = ()>,
    ) -> Result<Ended, HelmError> {
        let mut running = self.spawn(work, arguments)?;
        let out = running.process.stdout.take().ok_or_else(no_pipe)?;
        let err = running.process.stderr.take().ok_or_else(no_pipe)?;
        let mut printed = Vec::new();
        let mut complaint = Complaint::default();
        let reading = async {
            out.take(PRINTED_BYTES + 1).read_to_end(&mut printed).await?;
            if printed.len() as u64 > PRINTED_BYTES {
                return Err(HelmError::TooMuch(PRINTED_BYTES >> 20));
            }
            Ok(())
        };
        let listening = async {
            let mut lines = BufReader::new(err);
            let mut line = Vec::new();
            loop {
                line.clear();
                if (&mut lines).take(LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
                    return Ok::<_, HelmError>(());
                }
                if let Some(text) = complaint.take(&String::from_utf8_lossy(&line)) {
                    listen(&text);
                }
            }
        };
        let stop = running.pid;
        let status = {
            let ended =
                async { tokio::try_join!(reading, listening, async { Ok(running.process.wait().await?) }) };
            let mut ended = std::pin::pin!(ended);
            tokio::select! {
                ended = &mut ended => ended.map(|((), (), status)| status),
                () = tokio::time::sleep(Duration::from_secs(secs)) => Err(HelmError::TimedOut(secs)),
                () = cancelled => {
                    signal(stop, Signal::TERM);
                    // In order it notes itself that it was cut off.
                    drop(tokio::time::timeout(END_PATIENCE, &mut ended).await);
                    Err(HelmError::Cancelled)
                }
            }
        }?;
        running.pid = None;
        let is_success = status.success();
        let complaint = match (is_success, std::os::unix::process::ExitStatusExt::signal(&status)) {
            (false, Some(_)) if complaint.text.is_empty() => {
                "Helm was ended by the system; perhaps it needed too much memory".to_owned()
            }
            (false, None) if complaint.text.is_empty() => "Helm failed and did not say why".to_owned(),
            _ => complaint.finish(),
        };
        Ok(Ended { is_success, printed: String::from_utf8_lossy(&printed).into_owned(), complaint })
    }

    fn spawn(&self, work: &Workplace, arguments: &[&str]) -> Result<Running, HelmError> {
        let folder = work.folder.path();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--namespace", work.namespace.as_str()])
            .current_dir(folder)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", folder)
            .env("LC_ALL", "C")
            .env("TMPDIR", folder)
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .env("HELM_CACHE_HOME", folder.join("cache"))
            .env("HELM_CONFIG_HOME", folder.join("config"))
            .env("HELM_DATA_HOME", folder.join("data"))
            .env("HELM_DRIVER", "secret")
            .env("GOMEMLIMIT", MEMORY_LIMIT)
            .env(RELEASE_VARIABLE, work.release.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that whatever it starts can be ended with it.
            .process_group(0)
            .kill_on_drop(true);
        let process = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => HelmError::NotInstalled(self.program.display().to_string()),
            _ => error.into(),
        })?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let bound = Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) };
        // It has begun already, but not to render: it needs longer than this to start.
        if let Err(error) = rustix::process::prlimit(pid, Resource::Data, bound) {
            tracing::debug!(%error, "cannot bound the memory of a Helm");
        }
        Ok(Running { process, pid })
    }

    /// Ends what an earlier server left running for a release; none is left when this returns well.
    pub async fn end_leftovers(&self, release: ReleaseId) -> Result<()> {
        blocking(move || {
            let wanted = format!("{RELEASE_VARIABLE}={release}");
            let deadline = std::time::Instant::now() + LEFTOVER_PATIENCE;
            loop {
                let found = leftovers(&wanted);
                if found.is_empty() {
                    return Ok(());
                }
                if std::time::Instant::now() > deadline {
                    return Err(std::io::Error::other("a Helm of an earlier server cannot be ended"));
                }
                for pid in found {
                    // The descriptor stands for this one process, even if its number is given to another meanwhile.
                    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
                    if !is_leftover(pid, &wanted) {
                        continue;
                    }
                    tracing::warn!(pid = pid.as_raw_nonzero().get(), %release, "ending a Helm that an earlier server left behind");
                    if let Err(error) = pidfd_send_signal(&process, Signal::KILL) {
                        tracing::debug!(%error, "cannot signal it");
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })
        .await
    }
}

fn leftovers(wanted: &str) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(Pid::from_raw).filter(|pid| is_leftover(*pid, wanted)).collect()
}

fn is_leftover(pid: Pid, wanted: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|text| text.split(|byte| *byte == 0).any(|line| line == wanted.as_bytes()))
}

fn no_pipe() -> std::io::Error {
    std::io::Error::other("it has no pipe")
}

/// A running Helm. Dropped, it ends with everything that it started.
struct Running {
    process: Child,
    pid: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.pid.take(), Signal::KILL);
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group
        && let Err(error) = rustix::process::kill_process_group(group, signal)
    {
        tracing::debug!(%error, "cannot signal a Helm");
    }
}

/// What Helm complains of at its end, taken out of what it says on the way.
#[derive(Default)]
struct Complaint {
    text: String,
    has_begun: bool,
    is_over: bool,
}

impl Complaint {
    /// A line of what it says, as it goes into a log; none for what nobody reads.
    fn take(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end();
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        if let Some(text) = line.strip_prefix("Error: ") {
            (self.has_begun, self.text) = (true, text.to_owned());
            return Some(line);
        }
        // The end of a Go program that was refused memory, or broke.
        if let (Some(text), false) = (line.strip_prefix("fatal error: "), self.has_begun) {
            (self.has_begun, self.is_over) = (true, true);
            self.text = if text.contains("out of memory") {
                format!("Helm needed more than the {} MiB of memory that it may have", MEMORY_BYTES >> 20)
            } else {
                text.to_owned()
            };
            return Some(line);
        }
        // Behind it come, when it is asked to be talkative, the places in its own code.
        self.is_over |= self.has_begun && line.starts_with("helm.go:");
        if self.is_over || line.is_empty() {
            return None;
        }
        if self.has_begun && self.text.len() < COMPLAINT_CHARS * 4 {
            self.text.push('\n');
            self.text.push_str(&line);
        }
        Some(match line.split_once("[debug] ") {
            Some((place, text)) if place.contains(".go:") => text.to_owned(),
            _ => line,
        })
    }

    fn finish(self) -> String {
        // The first words say which of its commands failed, which everybody knows here.
        let known = ["INSTALLATION FAILED: ", "UPGRADE FAILED: ", "execution error at "];
        let text = known.iter().find_map(|words| self.text.strip_prefix(words)).unwrap_or(&self.text);
        text.trim().chars().take(COMPLAINT_CHARS).collect()
    }
}

impl Workplace {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// In which namespace Helm works.
    pub fn namespace(&self) -> &NamespaceName {
        &self.namespace
    }

    /// Writes a file that only we read.
    pub fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        write_private(&self.folder.path().join(name), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_what_comes_after_the_word_error_and_before_the_places_in_the_code() {
        let mut complaint = Complaint::default();
        let mut said = Vec::new();
        for line in [
            "install.go:225: 2026-11-26 05:55:28 +0000 UTC m=+0.1 [debug] Original chart version: \"\"\n",
            "\n",
            "Error: INSTALLATION FAILED: values don't meet the specifications of the schema(s) in the following chart(s):\n",
            "web:\n",
            "- at '/replicas': got string, want integer\u{1b}[2J\n",
            "helm.go:92: 2026-11-26 05:55:36 +0000 UTC m=+8.4 [debug] context deadline exceeded\n",
            "main.newInstallCmd.func2\n",
        ] {
            said.extend(complaint.take(line));
        }

        assert_eq!(said.len(), 4);
        assert_eq!(said[0], "Original chart version: \"\"");
        assert_eq!(
            complaint.finish(),
            "values don't meet the specifications of the schema(s) in the following chart(s):\nweb:\n- at '/replicas': got string, want integer[2J"
        );
    }

    #[tokio::test]
    async fn a_helm_that_is_not_there_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let helm = Helm::new(Path::new("no-such-helm"), Blobs::open(folder.path()).unwrap());
        let namespace = "alice-test".parse().unwrap();
        let work = helm.workplace(ReleaseId(uuid::Uuid::now_v7()), &namespace, Secret::new("{}"));

        let error = Error::from(helm.ask(&work.await.unwrap(), &["version"], 5).await.unwrap_err());

        assert_eq!((error.kind, error.code), (ErrorKind::Unavailable, "helm_missing"));
        assert!(error.hint.unwrap().contains("charts.helm"));
    }

    #[tokio::test]
    async fn what_takes_too_long_or_is_not_wanted_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let helm = Helm::new(Path::new("/bin/sh"), Blobs::open(folder.path()).unwrap());
        let (release, namespace) = (ReleaseId(uuid::Uuid::now_v7()), "alice-test".parse().unwrap());
        let work = helm.workplace(release, &namespace, Secret::new("{}")).await.unwrap();
        let sleeping = ["-c", "sleep 600 & sleep 600"];

        let slow = helm.ask(&work, &sleeping, 1).await;
        let unwanted = helm.run(&work, &sleeping, 60, |_| {}, std::future::ready(())).await;

        assert!(matches!(slow, Err(HelmError::TimedOut(1))), "{slow:?}");
        assert!(matches!(unwanted, Err(HelmError::Cancelled)), "{unwanted:?}");
        helm.end_leftovers(release).await.unwrap();
        assert!(leftovers(&format!("{RELEASE_VARIABLE}={release}")).is_empty());
    }
}
