//! What the kernel says of a process: its program, whose it is, and in which container it runs.

use std::path::Path;

use wire::gpus::NAME_CHARS_MAX;

/// What is known of a process. All of it is the kernel's word but the name, which a process can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) user: Option<String>,
    /// The engine's id of its container.
    pub(crate) engine_id: Option<String>,
}

/// Looks at a process; one that has ended is told of as well as it can be.
pub(crate) fn look(pid: u32) -> Process {
    let folder = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let text = |name: &str| read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let user = text("status").and_then(|status| user_id(&status)).map(|id| {
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        user_name(&accounts, id).unwrap_or_else(|| id.to_string())
    });
    Process {
        name: shown(text("comm").unwrap_or_default().trim_end_matches('\n')),
        user,
        engine_id: text("cgroup").and_then(|cgroup| container_of(&cgroup).map(str::to_owned)),
    }
}

/// A name that whoever runs the process chose, made safe to show.
fn shown(name: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().take(NAME_CHARS_MAX).map(visible).collect()
}

/// The first number of the line `Uid:`, the real one.
fn user_id(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn user_name(accounts: &str, id: u32) -> Option<String> {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then(|| shown(name))
    };
    accounts.lines().find_map(named)
}

/// The engine's id in the path of a process's control group. Engines spell the group `/docker/<id>`,
/// `/system.slice/docker-<id>.scope` or, where another group was asked for, `/<group>/<id>`. A container that runs an engine of
/// its own has deeper groups with further ids; the outermost is the one that this machine's engine made.
pub(crate) fn container_of(cgroup: &str) -> Option<&str> {
    // Each line is `number:controllers:path`.
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find_map(|group| {
        let group = group.strip_suffix(".scope").unwrap_or(group);
        let id = group.rsplit('-').next().unwrap_or(group);
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (id.len() == 64 && id.bytes().all(is_hex)).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_followed_to_its_container_through_every_spelling() {
        let (id, inner) = ("0123456789abcdef".repeat(4), "f".repeat(64));
        let spellings = [
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/docker/{id}\n"),
            format!("12:pids:/docker/{id}\n11:memory:/docker/{id}\n0::/\n"),
            format!("12:pids:/\n11:name=systemd:/docker/{id}\n"),
            format!("0::/longshore-b-0123-4567/{id}\n"),
            format!("0::/docker/{id}/docker/{inner}\n"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"),
        ];

        for cgroup in spellings {
            assert_eq!(container_of(&cgroup), Some(id.as_str()), "{cgroup}");
        }
    }

    #[test]
    fn a_process_that_is_in_no_container_belongs_to_none() {
        let short = "a".repeat(63);
        for cgroup in [
            "",
            "0::/\n",
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "12:pids:/user.slice",
            &format!("0::/docker/{short}\n"),
            &format!("0::/docker/{short}g\n"),
            &format!("0::/docker/{}\n", "A".repeat(64)),
        ] {
            assert_eq!(container_of(cgroup), None, "{cgroup}");
        }
    }

    #[test]
    fn users_have_names_where_the_machine_knows_them() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";

        assert_eq!(user_id("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t1\n"), Some(1000));
        assert_eq!(user_name(accounts, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(accounts, 1001), None);
    }

    #[test]
    fn names_of_processes_hold_nothing_that_moves_a_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(shown(&"x".repeat(1_000)).len(), NAME_CHARS_MAX);
    }

    #[test]
    fn this_process_is_told_of() {
        let own = look(std::process::id());

        assert!(!own.name.is_empty());
        assert!(own.user.is_some());
        assert_eq!(look(u32::MAX), Process::default());
    }
}
