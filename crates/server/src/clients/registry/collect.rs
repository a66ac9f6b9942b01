//! Removes from the registry's folder what no manifest names: Distribution's own `garbage-collect`, as a process beside it.
//! It may be ended at any moment: what it has removed by then nothing needed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::{OwnRegistry, Registry};
use crate::blobs::blocking;
use crate::error::{Error, Result};

/// Bytes of what it prints that are kept to explain a failure.
const OUTPUT_BYTES: usize = 2048;
/// Folders within each other below the registry's; there are six.
const DEPTH_MAX: usize = 16;

impl Registry {
    /// Whether this is our own, which can be tidied up.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Bytes of content in the registry.
    pub async fn content_bytes(&self) -> Result<u64> {
        let folder = blobs_of(self.own()?);
        blocking(move || bytes_in(&folder, 0)).await
    }

    /// The manifests in the registry, as `owner/repository@digest`.
    pub async fn manifests(&self) -> Result<Vec<String>> {
        let folder = self.own()?.folder.join("data/docker/registry/v2/repositories");
        blocking(move || {
            let mut found = Vec::new();
            for owner in names_in(&folder)? {
                for repo in names_in(&folder.join(&owner))? {
                    let revisions = folder.join(&owner).join(&repo).join("_manifests/revisions/sha256");
                    for digest in names_in(&revisions)? {
                        // What was deleted leaves an empty folder.
                        if revisions.join(&digest).join("link").exists() {
                            found.push(format!("{owner}/{repo}@sha256:{digest}"));
                        }
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Removes what no manifest names. The caller has closed the gate.
    pub async fn collect(&self) -> Result<()> {
        let own = self.own()?;
        let config_file = own.folder.canonicalize().map_err(Error::internal)?.join("config.yml");
        let mut command = Command::new(&own.program);
        command.arg("garbage-collect").arg(&config_file).current_dir(&own.folder);
        // What it says of each blob goes to stdout: megabytes.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        super::supervisor::without_settings(&mut command);
        let mut child = command.spawn().map_err(|error| {
            Error::internal(format!("cannot start `{} garbage-collect`: {error}", own.program))
        })?;
        let mut kept = Vec::new();
        if let Some(mut output) = child.stderr.take() {
            let mut piece = [0; 4096];
            loop {
                let count = output.read(&mut piece).await.map_err(Error::internal)?;
                if count == 0 {
                    break;
                }
                kept.extend_from_slice(&piece[..count]);
                let surplus = kept.len().saturating_sub(OUTPUT_BYTES);
                kept.drain(..surplus);
            }
        }
        let status = child.wait().await.map_err(Error::internal)?;
        if status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&kept);
        Err(Error::internal(format!("the registry's garbage-collect ended ({status}): {}", words.trim())))
    }

    fn own(&self) -> Result<&OwnRegistry> {
        self.own.as_ref().ok_or_else(|| {
            Error::conflict("external_registry", "the registry is somebody else's: tidy it up where it runs")
        })
    }
}

fn blobs_of(own: &OwnRegistry) -> PathBuf {
    own.folder.join("data/docker/registry/v2/blobs")
}

/// Names in a folder; none when it is not there.
fn names_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// What the files in a folder hold. What goes meanwhile counts as nothing.
fn bytes_in(folder: &Path, depth: usize) -> std::io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut bytes = 0_u64;
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if metadata.is_file() {
            bytes = bytes.saturating_add(metadata.len());
        } else if metadata.is_dir() && depth < DEPTH_MAX {
            bytes = bytes.saturating_add(bytes_in(&entry.path(), depth + 1)?);
        }
    }
    Ok(bytes)
}
