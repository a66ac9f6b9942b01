//! The servers that somebody is logged in to, kept in one file that only they can read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use wire::secret::Secret;

use super::environment;
use super::failure::Failure;

/// Name of the file inside the folder.
const FILE: &str = "credentials.json";

/// One server somebody is logged in to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The account's name.
    pub(crate) account: String,
    /// What goes into `Authorization`.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub(crate) token: Secret,
    /// Fingerprint of the server's own authority, when it is recognised by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
}

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Credentials {
    /// Address of the server that commands talk to unless another is named.
    pub(crate) current: Option<String>,
    /// Logins by the server's address.
    pub(crate) servers: BTreeMap<String, Login>,
}

/// The folder for everything the command line keeps.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = environment::path("LONGSHORE_CONFIG_DIR") {
        return Ok(folder);
    }
    if let Some(folder) = environment::path("XDG_CONFIG_HOME") {
        return Ok(folder.join("longshore"));
    }
    let home = environment::path("HOME").ok_or_else(|| {
        Failure::new("neither HOME nor LONGSHORE_CONFIG_DIR is set")
            .hint("set LONGSHORE_CONFIG_DIR to a folder of your own")
    })?;
    Ok(home.join(".config/longshore"))
}

/// The file itself.
pub(crate) fn file() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join(FILE))
}

/// The permissions of a path that others could read, if they could.
pub(crate) fn too_open(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

impl Credentials {
    /// Reads the file; nothing there means that nobody is logged in.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let path = file()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(format!("`{}` is damaged: {error}", path.display()))
                .hint("delete that file and log in again")
                .into()
        })
    }

    /// Writes the file: whole or not at all, readable by its owner only from its first byte on.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let folder = folder()?;
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self)?;
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            if too_open(&folder).is_some() {
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            }
            let beside = folder.join(format!("{FILE}.{}", std::process::id()));
            // A name left over by a killed process is not reused: its permissions are not ours to trust.
            if let Err(error) = fs::remove_file(&beside)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().with_context(|| format!("cannot write `{}`", path.display()))
    }
}
