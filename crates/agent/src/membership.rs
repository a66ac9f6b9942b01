//! To which server this machine belongs, and the key by which it proves itself there: files in the agent's folder, made
//! when it joins. The key never leaves the machine.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use wire::ids::{InstanceId, MachineId};

const KEY_FILE: &str = "machine.key";
const SERVER_FILE: &str = "server.json";
const LOCK_FILE: &str = "lock";

/// Why the agent's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The machine has not joined a server.
    #[error("`{0}` holds no membership: join a server first, with `longshore agent join URL TOKEN`")]
    NotJoined(PathBuf),
    /// Another agent works with this folder.
    #[error("another agent already works with `{0}`")]
    InUse(PathBuf),
    /// A file is not what it should be.
    #[error("`{path}` cannot be used: {problem}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The server that a machine has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Where it is, `https://host:port`.
    pub url: String,
    /// The SHA-256 of the authority that signs the server's certificate, 64 hex digits; none when the system's
    /// authorities vouch for it, or there is no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Which installation it is.
    pub instance: InstanceId,
    /// Under which id this machine has joined.
    pub machine_id: MachineId,
}

/// The key of this machine.
pub struct MachineKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl std::fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MachineKey").field(&self.public_key()).finish()
    }
}

impl MachineKey {
    /// A new key, which nobody else has.
    pub fn make() -> Result<Self, MembershipError> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let pkcs8 = made.map_err(|_| unusable(Path::new(KEY_FILE), &"the system gives no random numbers"))?;
        Self::of(pkcs8.as_ref().to_vec(), Path::new(KEY_FILE))
    }

    fn of(pkcs8: Vec<u8>, path: &Path) -> Result<Self, MembershipError> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| unusable(path, &error))?;
        Ok(Self { pair, pkcs8 })
    }

    /// What others may know of it: 64 hex digits.
    pub fn public_key(&self) -> String {
        hex::encode(self.pair.public_key())
    }

    /// Signs a statement: 128 hex digits.
    pub fn sign(&self, statement: &[u8]) -> String {
        hex::encode(self.pair.sign(statement))
    }
}

/// Holds the agent's folder: two agents on one would look like two machines with one key.
pub fn hold(folder: &Path) -> Result<File, MembershipError> {
    let path = folder.join(LOCK_FILE);
    make_folder(folder).map_err(|error| unusable(folder, &error))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(MembershipError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// Keeps a membership and its key; the key first, so that a membership without one does not exist.
pub fn save(folder: &Path, membership: &Membership, key: &MachineKey) -> Result<(), MembershipError> {
    make_folder(folder).map_err(|error| unusable(folder, &error))?;
    write(&folder.join(KEY_FILE), &key.pkcs8)?;
    let text = serde_json::to_vec_pretty(membership).map_err(|error| unusable(folder, &error))?;
    write(&folder.join(SERVER_FILE), &text)
}

/// Reads what [`save`] has kept.
pub fn load(folder: &Path) -> Result<(Membership, MachineKey), MembershipError> {
    let (server, key) = (folder.join(SERVER_FILE), folder.join(KEY_FILE));
    let text = match std::fs::read(&server) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(MembershipError::NotJoined(folder.to_owned()));
        }
        Err(error) => return Err(unusable(&server, &error)),
    };
    let membership = serde_json::from_slice(&text).map_err(|error| unusable(&server, &error))?;
    let pkcs8 = std::fs::read(&key).map_err(|error| unusable(&key, &error))?;
    Ok((membership, MachineKey::of(pkcs8, &key)?))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whole or not at all: a machine that loses power while it joins has joined or has not.
fn write(path: &Path, bytes: &[u8]) -> Result<(), MembershipError> {
    let aside = path.with_extension("new");
    let work = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    };
    work().map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, problem: &impl ToString) -> MembershipError {
    MembershipError::Unusable { path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn membership() -> Membership {
        Membership {
            url: "https://example.org".into(),
            fingerprint: Some("f".repeat(64)),
            instance: InstanceId(uuid::Uuid::now_v7()),
            machine_id: "m1".parse().unwrap(),
        }
    }

    #[test]
    fn a_membership_is_kept_with_its_key_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, key) = (membership(), MachineKey::make().unwrap());

        save(folder.path(), &kept, &key).unwrap();
        let (read, same) = load(folder.path()).unwrap();

        assert_eq!((&read, same.public_key()), (&kept, key.public_key()));
        assert_eq!(same.sign(b"x"), key.sign(b"x"));
        for name in [KEY_FILE, SERVER_FILE] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_is_not_a_membership_is_said_so() {
        let folder = tempfile::tempdir().unwrap();

        assert!(matches!(load(folder.path()), Err(MembershipError::NotJoined(_))));
        save(folder.path(), &membership(), &MachineKey::make().unwrap()).unwrap();
        std::fs::write(folder.path().join(KEY_FILE), "x").unwrap();
        assert!(matches!(load(folder.path()), Err(MembershipError::Unusable { .. })));
    }

    #[test]
    fn a_folder_serves_one_agent_at_a_time() {
        let folder = tempfile::tempdir().unwrap();

        let held = hold(folder.path()).unwrap();

        assert!(matches!(hold(folder.path()), Err(MembershipError::InUse(_))));
        drop(held);
        assert!(hold(folder.path()).is_ok());
    }
}
