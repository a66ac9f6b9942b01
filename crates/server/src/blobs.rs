//! Files that the server keeps beside the database: build contexts, logs, pictures. Names are made by us (ids and
//! digests), never by users; a file is written aside, synced and renamed, so that what has a name is whole.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// How often what is left over is tried to be removed, and the pause between.
const LEFTOVER_TRIES: u32 = 250;
const LEFTOVER_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// The folders.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

/// What kind of file; each kind has a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobKind {
    /// Safe tars of build contexts, by build id; deleted when the build has ended.
    Context,
    /// The same of commits that were fetched, by what makes them; a cache of this process, because only it knows that they are whole.
    CommitContext,
    /// Logs of builds, by build id.
    BuildLog,
    /// Accounts' pictures, by digest.
    Picture,
    /// Logs of containers that are gone, by the container's number.
    ContainerLog,
    /// Packages of charts, by digest; a cache.
    ChartPackage,
    /// Pictures of charts, by the hash of where they are; a cache.
    ChartIcon,
    /// Packages of charts that accounts keep here, by digest.
    HostedChart,
}

impl BlobKind {
    fn folder(self) -> &'static str {
        match self {
            Self::Context => "contexts",
            Self::CommitContext => "commit-contexts",
            Self::BuildLog => "build-logs",
            Self::Picture => "pictures",
            Self::ContainerLog => "container-logs",
            Self::ChartPackage => "chart-packages",
            Self::ChartIcon => "chart-icons",
            Self::HostedChart => "hosted-charts",
        }
    }
}

impl Blobs {
    /// Makes the folders and clears what an earlier process left half-written.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        use BlobKind::{
            BuildLog, ChartIcon, ChartPackage, CommitContext, ContainerLog, Context, HostedChart, Picture,
        };

        let blobs = Self { root: root.to_owned() };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        remove_leftovers(&root.join(CommitContext.folder()))?;
        for kind in
            [Context, CommitContext, BuildLog, Picture, ContainerLog, ChartPackage, ChartIcon, HostedChart]
        {
            builder.create(root.join(kind.folder()))?;
        }
        let incoming = root.join("incoming");
        remove_leftovers(&incoming)?;
        builder.create(&incoming)?;
        Ok(blobs)
    }

    /// A new file without a name: it is gone when it is closed, also after a crash.
    pub fn scratch(&self) -> std::io::Result<File> {
        let path = self.root.join("incoming").join(uuid::Uuid::now_v7().to_string());
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    /// A new private folder to work in: it goes with what is returned, and after a crash with the next start.
    pub fn folder(&self) -> std::io::Result<Folder> {
        let path = self.root.join("incoming").join(uuid::Uuid::now_v7().to_string());
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path })
    }

    /// A new file that [`Self::keep`] gives its name.
    pub fn incoming(&self) -> std::io::Result<(File, PathBuf)> {
        let path = self.root.join("incoming").join(uuid::Uuid::now_v7().to_string());
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((file, path))
    }

    /// Puts a finished incoming file in its place. With `sync` it survives a power cut from here on.
    pub fn keep(
        &self,
        file: &File,
        from: &Path,
        kind: BlobKind,
        name: &str,
        sync: bool,
    ) -> std::io::Result<()> {
        if sync {
            file.sync_all()?;
        }
        std::fs::rename(from, self.path(kind, name))?;
        if sync {
            File::open(self.root.join(kind.folder()))?.sync_all()?;
        }
        Ok(())
    }

    /// Gives a file a second name, under another kind; it is one file, which nobody changes. False when it is not there. It survives a
    /// power cut from here on, if it did before.
    pub fn share(&self, from: (BlobKind, &str), to: (BlobKind, &str)) -> std::io::Result<bool> {
        match std::fs::hard_link(self.path(from.0, from.1), self.path(to.0, to.1)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::open(self.root.join(to.0.folder()))?.sync_all()?;
        Ok(true)
    }

    /// Stores bytes under their SHA-256 and returns it in hex.
    pub fn put(&self, kind: BlobKind, bytes: &[u8]) -> std::io::Result<String> {
        let name = hex::encode(Sha256::digest(bytes));
        if self.path(kind, &name).exists() {
            return Ok(name);
        }
        self.write(kind, &name, bytes).map(|()| name)
    }

    /// Stores bytes under a name; what was there is replaced.
    pub fn write(&self, kind: BlobKind, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let (mut file, path) = self.incoming()?;
        let written = file.write_all(bytes).and_then(|()| self.keep(&file, &path, kind, name, true));
        if written.is_err() {
            discard(&path);
        }
        written
    }

    /// Where a file is. `name` is an id or digest of ours.
    pub fn path(&self, kind: BlobKind, name: &str) -> PathBuf {
        debug_assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "blob names are ids and digests"
        );
        self.root.join(kind.folder()).join(name)
    }

    /// Deletes a file; without effect when it is gone.
    pub fn delete(&self, kind: BlobKind, name: &str) -> std::io::Result<()> {
        match std::fs::remove_file(self.path(kind, name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the oldest files of a kind that is a cache until they have at most so many bytes together.
    pub fn bound(&self, kind: BlobKind, limit: u64) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.root.join(kind.folder()))? {
            let entry = entry?;
            // Somebody else may have removed it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if bytes <= limit {
                break;
            }
            discard(&path);
            bytes -= length;
        }
        Ok(())
    }

    /// Names of all files of a kind, and how long each is.
    pub fn sizes(&self, kind: BlobKind) -> std::io::Result<Vec<(String, u64)>> {
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(self.root.join(kind.folder()))? {
            let entry = entry?;
            // Somebody else may have removed it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            if let Ok(name) = entry.file_name().into_string() {
                sizes.push((name, metadata.len()));
            }
        }
        Ok(sizes)
    }

    /// Names of all files of a kind.
    pub fn names(&self, kind: BlobKind) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join(kind.folder()))? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }
}

/// Removes what an earlier process left. A program that it had started may write there a moment longer.
fn remove_leftovers(folder: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && tries < LEFTOVER_TRIES => {
                tries += 1;
                std::thread::sleep(LEFTOVER_PAUSE);
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
    }
}

/// A private folder to work in; removed with everything in it when dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, "a working folder stays until the next start");
        }
    }
}

/// A file that came with a request, without a name on disk: it is gone when this is dropped.
#[derive(Debug)]
pub struct Upload {
    /// The content, positioned anywhere.
    pub file: File,
    /// Its length.
    pub bytes: u64,
}

/// Runs disk work off the async threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(Error::internal)??)
}

/// Writes a file that was not there and that only we read.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Removes a half-written file; that it cannot be removed is worth a warning, no more: the next start clears it.
pub fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot remove a half-written file");
    }
}
