//! The control groups in which the steps of builds run. A build's labels do not reach the containers of its steps, but its
//! parent group does, so the group's name is how what a killed engine left behind is told from everything else.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use wire::ids::{BuildId, InstanceId};

/// Processes of all steps of one build; an engine has no such limit of its own for builds.
pub(super) const PIDS_MAX: &str = "4096";
pub(super) const ROOT: &str = "/sys/fs/cgroup";
const SLICE: &str = ".slice";

/// What the names of this installation's groups begin with.
fn prefix(instance: InstanceId) -> String {
    format!("longshore-b-{}-", instance.short())
}

/// The parent group to ask the engine for. systemd wants the name of a slice, the kernel's own file system a path.
pub(super) fn parent(instance: InstanceId, build: BuildId, is_systemd: bool) -> String {
    let name = format!("{}{}", prefix(instance), build.0.simple());
    if is_systemd { format!("{name}{SLICE}") } else { format!("/{name}") }
}

/// Which build of this installation a parent group belongs to.
pub(super) fn build_of(instance: InstanceId, parent: &str) -> Option<BuildId> {
    let name = parent.trim_start_matches('/').trim_end_matches(SLICE);
    name.strip_prefix(&prefix(instance))?.parse().ok()
}

/// Bounds the processes of a build, where the agent may: it needs to be root on the engine's own machine, and with systemd
/// the group is not ours to make. Memory bounds a fork bomb in any case.
pub(super) async fn limit(parent: &str) {
    if !parent.starts_with('/') {
        return;
    }
    let name = parent.trim_start_matches('/').to_owned();
    let work = move || {
        let controller = if is_unified() { PathBuf::from(ROOT) } else { Path::new(ROOT).join("pids") };
        let group = controller.join(name);
        if !controller.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&group)?;
        std::fs::write(group.join("pids.max"), PIDS_MAX)
    };
    if let Err(error) = blocking(work).await {
        tracing::debug!(cgroup = %parent, "processes of a build are not bounded: {error}");
    }
}

/// Whether all controllers share one hierarchy.
pub(super) fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Removes the groups that engines leave behind, of the builds that are over and whose containers are gone. An engine that
/// was killed may have lost sight of a process: what still runs in such a group is ended.
pub(super) async fn clear(instance: InstanceId, is_over: impl Fn(BuildId) -> bool + Send + 'static) {
    let work = move || {
        let mut folders = vec![PathBuf::from(ROOT)];
        folders.extend(folders_in(Path::new(ROOT)));
        for group in folders.iter().flat_map(|folder| folders_in(folder)) {
            let name = group.file_name().unwrap_or_default().to_string_lossy();
            if build_of(instance, &name).is_some_and(&is_over)
                && let Err(error) = remove(&group)
            {
                tracing::debug!(cgroup = %group.display(), "a build's control group stays: {error}");
            }
        }
    };
    blocking(work).await;
}

/// Removes a group after those within it. One whose processes are still ending stays, and so do those around it.
fn remove(group: &Path) -> std::io::Result<()> {
    for (_, process) in processes_of(group) {
        if let Err(error) = pidfd_send_signal(&process, Signal::KILL) {
            tracing::debug!(cgroup = %group.display(), "cannot end a process of a build: {error}");
        }
    }
    folders_in(group).iter().try_for_each(|inner| remove(inner))?;
    std::fs::remove_dir(group)
}

/// The processes of a group itself. The list is read again once they are held, so that none has taken another's number.
pub(super) fn processes_of(group: &Path) -> Vec<(Pid, OwnedFd)> {
    let list = || {
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect::<Vec<_>>()
    };
    let held = list().into_iter().filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    let held = held.collect::<Vec<_>>();
    let still = list();
    held.into_iter().filter(|(pid, _)| still.contains(pid)).collect()
}

pub(super) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_folder).map(|entry| entry.path()).collect()
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("work on control groups does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_group_names_its_build_to_its_own_installation_only() {
        let (ours, other) = (InstanceId(uuid::Uuid::now_v7()), InstanceId(uuid::Uuid::now_v7()));
        let build = BuildId(uuid::Uuid::now_v7());

        for is_systemd in [false, true] {
            let parent = parent(ours, build, is_systemd);

            assert_eq!(build_of(ours, &parent), Some(build));
            assert_eq!(build_of(other, &parent), None);
        }
        assert_eq!(build_of(ours, ""), None);
        assert_eq!(build_of(ours, "/docker"), None);
    }
}
