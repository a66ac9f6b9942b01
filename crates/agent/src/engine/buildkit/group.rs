//! The control group under which an engine runs all steps of BuildKit. BuildKit bounds none of them, and none has a group that we could
//! name; so one build at a time, of all installations on this machine, has this group, and bounds it while it does.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::super::cgroup::{PIDS_MAX, ROOT, blocking, folders_in, is_unified, processes_of};

/// How often it is asked whether another build is done with the group.
pub(super) const TAKE_EVERY: Duration = Duration::from_millis(200);
/// Where engines that make control groups themselves put BuildKit's steps.
const NAME: &str = "docker/buildkit";
const CPU_PERIOD_MICROS: u64 = 100_000;

/// The group, held. Dropping it takes the bounds away and lets the next one have it; so does the end of this process.
pub(in crate::engine) struct Group {
    folders: Vec<PathBuf>,
    _lock: File,
}

/// Its folder in each hierarchy that counts here.
fn folders() -> Vec<PathBuf> {
    if is_unified() {
        return vec![Path::new(ROOT).join(NAME)];
    }
    ["memory", "pids", "cpu"].map(|controller| Path::new(ROOT).join(controller).join(NAME)).into()
}

impl Group {
    /// Takes the group and bounds it; none while somebody else has it.
    pub(super) async fn take(memory_bytes: u64, cpu_millis: u32) -> io::Result<Option<Self>> {
        blocking(move || {
            for folder in folders() {
                fs::create_dir_all(folder)?;
            }
            let Some(group) = Self::lock()? else { return Ok(None) };
            group.bound(memory_bytes, cpu_millis)?;
            Ok(Some(group))
        })
        .await
    }

    /// The group without bounds, to look into; none while somebody has it, and where no engine has made it.
    pub(super) async fn take_unbounded() -> io::Result<Option<Self>> {
        blocking(|| if folders().iter().all(|folder| folder.is_dir()) { Self::lock() } else { Ok(None) })
            .await
    }

    /// Ends the steps that know a host whose name begins so, and lets the group go. No build that goes on can lose one by it: it
    /// would have the group.
    pub(super) async fn end_steps(self, host_prefix: String) {
        blocking(move || {
            for step in folders_in(&self.folders[0]) {
                end_step(&step, &host_prefix);
            }
        })
        .await;
    }

    fn lock() -> io::Result<Option<Self>> {
        let folders = folders();
        let lock = File::open(&folders[0])?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { folders, _lock: lock })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn bound(&self, memory_bytes: u64, cpu_millis: u32) -> io::Result<()> {
        // What a killed agent has left would be in the way.
        self.unbound();
        let quota = u64::from(cpu_millis) * CPU_PERIOD_MICROS / 1_000;
        let memory = memory_bytes.to_string();
        if let [folder] = &self.folders[..] {
            for parent in [Path::new(ROOT), folder.parent().unwrap_or(folder)] {
                // Where they are on already, or cannot be put on, the next lines say so.
                fs::write(parent.join("cgroup.subtree_control"), "+memory +pids +cpu").ok();
            }
            fs::write(folder.join("memory.max"), memory)?;
            write_if_there(&folder.join("memory.swap.max"), "0")?;
            fs::write(folder.join("pids.max"), PIDS_MAX)?;
            return fs::write(folder.join("cpu.max"), format!("{quota} {CPU_PERIOD_MICROS}"));
        }
        let [of_memory, of_pids, of_cpu] = &self.folders[..] else {
            return Err(io::ErrorKind::NotFound.into());
        };
        fs::write(of_memory.join("memory.limit_in_bytes"), &memory)?;
        write_if_there(&of_memory.join("memory.memsw.limit_in_bytes"), &memory)?;
        fs::write(of_pids.join("pids.max"), PIDS_MAX)?;
        fs::write(of_cpu.join("cpu.cfs_period_us"), CPU_PERIOD_MICROS.to_string())?;
        fs::write(of_cpu.join("cpu.cfs_quota_us"), quota.to_string())
    }

    /// As it is before anybody bounds it.
    fn unbound(&self) {
        const ALL: [(&str, &str); 8] = [
            ("memory.memsw.limit_in_bytes", "-1"),
            ("memory.limit_in_bytes", "-1"),
            ("cpu.cfs_quota_us", "-1"),
            ("pids.max", "max"),
            ("memory.max", "max"),
            ("memory.swap.max", "max"),
            ("cpu.max", "max"),
            ("cpu.cfs_period_us", "100000"),
        ];
        for (folder, (file, value)) in self.folders.iter().flat_map(|folder| ALL.map(|file| (folder, file))) {
            if let Err(error) = write_if_there(&folder.join(file), value) {
                tracing::debug!(cgroup = %folder.display(), file, "a bound stays: {error}");
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.unbound();
    }
}

fn write_if_there(file: &Path, value: &str) -> io::Result<()> {
    if file.exists() { fs::write(file, value) } else { Ok(()) }
}

fn end_step(group: &Path, host_prefix: &str) {
    for (pid, process) in processes_of(group) {
        // A step cannot write this file: it is mounted for reading alone.
        let hosts = fs::read_to_string(format!("/proc/{}/root/etc/hosts", pid.as_raw_nonzero()));
        if hosts.is_ok_and(|hosts| hosts.contains(host_prefix))
            && let Err(error) = pidfd_send_signal(&process, Signal::KILL)
        {
            tracing::debug!(cgroup = %group.display(), "cannot end a process of a build: {error}");
        }
    }
}
