//! The machine's own bounds. They hold even against a server that was taken over: the file must be root's and writable by
//! root alone, and every container is checked against it again before the engine hears of it.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wire::containers::ContainerSpec;
use wire::limits::Limits;
use wire::link::{LinkError, LinkErrorCode};
use wire::policy::{Policy, Violation};
use wire::terminals::ExecSpec;

use crate::Error;

/// A policy is a page of numbers; what is longer is not one.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads the file; no file is named = the defaults.
pub(crate) fn load(path: Option<&Path>) -> Result<Policy, Error> {
    let Some(path) = path else { return Ok(Policy::default()) };
    read(path).map_err(|problem| Error::Policy { path: path.to_owned(), problem })
}

fn read(path: &Path) -> Result<Policy, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    // Of the open file and not of the path, which could point elsewhere a moment later.
    let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    if metadata.uid() != 0 {
        return Err(format!("belongs to user {}, but must be root's: `chown root` it", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("can be written by others than root: `chmod go-w` it".into());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    toml::from_str(&text).map_err(|error| format!("is not a policy: {}", error.to_string().trim()))
}

/// Refuses what the policy does not allow, naming every violation.
pub(crate) fn check(policy: &Policy, spec: &ContainerSpec) -> Result<(), LinkError> {
    refuse("the container", &policy.check(spec))
}

/// The same for limits that a container is to have.
pub(crate) fn check_limits(policy: &Policy, limits: &Limits) -> Result<(), LinkError> {
    refuse("these limits", &policy.check_limits(limits))
}

/// The same for a command in a container.
pub(crate) fn check_exec(policy: &Policy, exec: &ExecSpec) -> Result<(), LinkError> {
    refuse("the command", &policy.check_exec(exec))
}

fn refuse(what: &str, violations: &[Violation]) -> Result<(), LinkError> {
    if violations.is_empty() {
        return Ok(());
    }
    let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let message = format!("this machine's policy refuses {what}: {}", listed.join("; "));
    Err(LinkError::new(LinkErrorCode::Denied, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wire::policy::LanPorts;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    /// The owner can be checked only where the tests may make root's files.
    fn is_root() -> bool {
        file("", 0o644).as_file().metadata().unwrap().uid() == 0
    }

    #[test]
    fn a_policy_is_read_and_the_rest_is_default() {
        if !is_root() {
            return;
        }
        let file = file(
            "pids_max = 64\n[lan]\naddress = \"192.0.2.1\"\nport_first = 30000\nport_last = 30099\n",
            0o644,
        );

        let policy = load(Some(file.path())).unwrap();

        let lan = LanPorts { address: [192, 0, 2, 1].into(), port_first: 30_000, port_last: 30_099 };
        assert_eq!(policy, Policy { pids_max: 64, lan: Some(lan), ..Policy::default() });
    }

    #[test]
    fn a_policy_that_others_may_write_is_refused() {
        for mode in [0o664, 0o646, 0o666] {
            let error = load(Some(file("", mode).path())).unwrap_err().to_string();
            assert!(error.contains("root"), "{error}");
        }
    }

    #[test]
    fn a_policy_with_unknown_words_is_refused() {
        let error = load(Some(file("pids_maximum = 64\n", 0o644).path())).unwrap_err().to_string();

        assert!(!is_root() || error.contains("pids_maximum"), "{error}");
    }

    #[test]
    fn a_policy_file_that_is_named_but_missing_is_refused() {
        assert!(load(Some(Path::new("/nonexistent/agent-policy.toml"))).is_err());
    }
}
