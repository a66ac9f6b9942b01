//! Ends a command as the closing of a terminal window would: everything in its session is told to hang up, and the command
//! itself is ended if it does not. What ignores that (`nohup`) goes on.
//!
//! Engines have no call for it. Where the agent may send signals to the engine's processes, the engine says which process
//! it is, and that it really is that one is made sure of before and after it is held by a descriptor, so that a number that
//! was given anew is never hit. Elsewhere a shell inside the container finds the processes by their mark. No number ever
//! comes from outside.

use std::fs;
use std::time::Duration;

use bollard::exec::CreateExecOptions;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt;
use wire::link::{LinkError, LinkErrorCode};

use super::exec::{self, Command, MARK};
use super::{CALL_TIMEOUT, Engine, within};

/// How long a command is given to end by itself.
const GRACE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
/// How long the shell that sends signals may take.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the signal `$2` to everything that has the mark `$1`; the last signal of all only to what began the session.
const SCRIPT: &str = r#"
for d in /proc/[0-9]*; do
  p=${d#/proc/}
  case "$(cat "$d/environ" 2>/dev/null)" in *"$1"*) ;; *) continue ;; esac
  if [ "$2" = KILL ]; then
    { read -r line <"$d/stat"; } 2>/dev/null || continue
    set -- "$1" "$2" ${line##*) }
    [ "$6" = "$p" ] || continue
  fi
  kill -s "$2" "$p" 2>/dev/null
done
exit 0
"#;

/// Returns when the command has ended; an error when it goes on.
pub(super) async fn end(engine: &Engine, command: &Command) -> Result<(), LinkError> {
    let Some(pid) = running(engine, command).await? else { return Ok(()) };
    match hold(engine, command, pid).await? {
        Some(session) if session.hang_up() => {
            if has_ended(engine, command).await? {
                return Ok(());
            }
            session.kill();
        }
        _ => {
            signal_inside(engine, command, "HUP").await?;
            if has_ended(engine, command).await? {
                return Ok(());
            }
            signal_inside(engine, command, "KILL").await?;
        }
    }
    if has_ended(engine, command).await? {
        return Ok(());
    }
    Err(LinkError::new(
        LinkErrorCode::Timeout,
        "it could be ended neither from this machine (the agent may not send signals to containers) nor from inside (the image has no shell)",
    ))
}

/// The command's process, as the engine numbers it; none when it does not run.
async fn running(engine: &Engine, command: &Command) -> Result<Option<Pid>, LinkError> {
    let found = exec::inspect(engine, &command.exec).await?.filter(|found| found.running == Some(true));
    Ok(found.and_then(|found| Pid::from_raw(i32::try_from(found.pid?).ok()?)))
}

async fn has_ended(engine: &Engine, command: &Command) -> Result<bool, LinkError> {
    let deadline = tokio::time::Instant::now() + GRACE;
    loop {
        let found = exec::inspect(engine, &command.exec).await?;
        if found.is_none_or(|found| found.running != Some(true)) {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A command and what else belongs to its session, held so that they cannot be mistaken for others.
struct Session {
    leader: OwnedFd,
    members: Vec<OwnedFd>,
}

/// Holds a command's session; none when this agent sees other processes than the engine.
async fn hold(engine: &Engine, command: &Command, pid: Pid) -> Result<Option<Session>, LinkError> {
    let Ok(leader) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    if !is_of(pid, &command.container) {
        return Ok(None);
    }
    let session = Session { leader, members: members_of(pid) };
    // The number was the command's before it was opened and is so still: then it was all the time, and so was that of
    // its session.
    Ok((running(engine, command).await? == Some(pid)).then_some(session))
}

impl Session {
    /// Whether the agent may.
    fn hang_up(&self) -> bool {
        if let Err(error) = pidfd_send_signal(&self.leader, Signal::HUP) {
            return error == Errno::SRCH;
        }
        for member in &self.members {
            match pidfd_send_signal(member, Signal::HUP) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => tracing::debug!("cannot hang up a process: {error}"),
            }
        }
        true
    }

    fn kill(&self) {
        if let Err(error) = pidfd_send_signal(&self.leader, Signal::KILL) {
            tracing::debug!("cannot end a command: {error}");
        }
    }
}

/// Whether a process belongs to a container: its control group is named after it.
fn is_of(pid: Pid, container: &str) -> bool {
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    fs::read_to_string(path).is_ok_and(|groups| groups.contains(container))
}

/// The processes of a leader's session besides itself. Each is looked at again once it is held.
fn members_of(leader: Pid) -> Vec<OwnedFd> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let session = Some(leader.as_raw_nonzero().get());
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut members = Vec::new();
    for pid in numbers.filter_map(Pid::from_raw).filter(|pid| *pid != leader) {
        if session_of(pid) == session
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && session_of(pid) == session
        {
            members.push(process);
        }
    }
    members
}

fn session_of(pid: Pid) -> Option<i32> {
    session_in(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// The name of a process stands in brackets and may hold anything, brackets too.
fn session_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(3)?.parse().ok()
}

/// Sends a signal from inside the container, as the image's user, with the image's own shell. Without one this does
/// nothing.
async fn signal_inside(engine: &Engine, command: &Command, signal: &str) -> Result<(), LinkError> {
    let mark = format!("{MARK}={}", command.mark);
    let words = ["/bin/sh", "-c", SCRIPT, "longshore", mark.as_str(), signal];
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        privileged: Some(false),
        cmd: Some(words.map(str::to_owned).to_vec()),
        ..Default::default()
    };
    let docker = engine.docker().await?;
    let made = within(CALL_TIMEOUT, docker.create_exec(&command.container, options)).await?;
    let mut output = engine.start_exec(&made.id, false).await?;
    let read_to_the_end = async {
        let mut buffer = [0; 1024];
        while output.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    if tokio::time::timeout(SCRIPT_TIMEOUT, read_to_the_end).await.is_err() {
        tracing::debug!(exec.id = command.exec, "the shell that ends a command does not end itself");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_whatever_a_process_calls_itself() {
        assert_eq!(session_in("42 (sh) S 1 42 40 34816 50 4194304 1 0"), Some(40));
        assert_eq!(session_in("42 (a) b) S 9 9 9) R 1 42 41 0 -1 0"), Some(41));
        assert_eq!(session_in("42 (sh"), None);
    }

    #[test]
    fn this_process_is_in_no_container() {
        let own = rustix::process::getpid();

        assert!(!is_of(own, &"f".repeat(64)));
        assert!(session_of(own).is_some());
    }
}
