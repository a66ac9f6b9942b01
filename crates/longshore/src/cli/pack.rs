//! Turns a folder into a tar.gz that is sent while it is made: memory stays bounded whatever the folder's size.
//!
//! Packed are folders, regular files and links that stay inside, less `.git` and what `.dockerignore` names. Anything
//! else (links that lead out, sockets, devices) is left out and named.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure::Failure;
use super::ignore::Ignore;

/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that may wait for the network.
const PIECES: usize = 8;

/// What a folder holds, counted before it is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Regular files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What is left out, relative to the folder.
    pub(crate) left_out: Vec<PathBuf>,
}

/// One thing in a folder.
enum Entry {
    Folder,
    File { size_bytes: u64 },
    Link { target: PathBuf },
    LeftOut,
}

/// Counts what would be packed.
pub(crate) fn survey(root: &Path, ignore: &Ignore) -> anyhow::Result<Survey> {
    let mut survey = Survey::default();
    walk(root, Path::new(""), ignore, &mut |relative, entry, _| {
        match entry {
            Entry::File { size_bytes } => {
                survey.files += 1;
                survey.bytes += size_bytes;
            }
            Entry::LeftOut => survey.left_out.push(relative.to_owned()),
            Entry::Folder | Entry::Link { .. } => {}
        }
        Ok(())
    })?;
    Ok(survey)
}

/// Pieces of the archive, and the thread that makes them; `read` counts the bytes of files as they are read.
pub(crate) fn stream(
    root: PathBuf,
    ignore: Ignore,
    read: Arc<AtomicU64>,
) -> (mpsc::Receiver<io::Result<Vec<u8>>>, JoinHandle<anyhow::Result<()>>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let packing = tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE_BYTES) };
        let packed = pack(&root, &ignore, &mut pieces, &read).and_then(|()| Ok(pieces.flush()?));
        if packed.is_err() {
            // The request must break off: a body that merely ends would look whole.
            sender.blocking_send(Err(io::Error::other("packing failed"))).ok();
        }
        packed
    });
    (receiver, packing)
}

/// Writes the folder as tar.gz. Names are sorted and owners left out, so that equal folders give equal archives.
fn pack(root: &Path, ignore: &Ignore, out: impl Write, read: &AtomicU64) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
    walk(root, Path::new(""), ignore, &mut |relative, entry, metadata| {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(modified(metadata));
        let is_program = metadata.permissions().mode() & 0o111 != 0;
        header.set_mode(if is_program { 0o755 } else { 0o644 });
        match entry {
            Entry::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, relative, io::empty())?;
            }
            Entry::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, relative, target)?;
            }
            Entry::File { size_bytes } => {
                let path = root.join(relative);
                let file = File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                header.set_size(size_bytes);
                let mut counted = Counted { inner: file.take(size_bytes), read, count: 0 };
                archive.append_data(&mut header, relative, &mut counted)?;
                anyhow::ensure!(
                    counted.count == size_bytes,
                    "`{}` became shorter while it was read",
                    path.display()
                );
            }
            Entry::LeftOut => {}
        }
        Ok(())
    })?;
    archive.into_inner()?.finish()?;
    Ok(())
}

type Visit<'a> = dyn FnMut(&Path, Entry, &fs::Metadata) -> anyhow::Result<()> + 'a;

/// Visits everything below a folder, parents first, names sorted. Only one folder's names are held at a time per
/// level, never the whole tree.
fn walk(root: &Path, folder: &Path, ignore: &Ignore, visit: &mut Visit<'_>) -> anyhow::Result<()> {
    let path = root.join(folder);
    let unreadable = || format!("cannot read the folder `{}`", path.display());
    let mut names = fs::read_dir(&path)
        .with_context(unreadable)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .with_context(unreadable)?;
    names.sort();
    for name in names.iter().filter(|name| ignore.keeps_git() || name.as_os_str() != OsStr::new(".git")) {
        let relative = folder.join(name);
        let path = root.join(&relative);
        let unreadable = || format!("cannot read `{}`", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(unreadable)?;
        let kind = metadata.file_type();
        if ignore.leaves_out(&relative) {
            if kind.is_dir() && ignore.may_take_in_below(&relative) {
                walk(root, &relative, ignore, visit)?;
            }
        } else if kind.is_dir() {
            visit(&relative, Entry::Folder, &metadata)?;
            walk(root, &relative, ignore, visit)?;
        } else if kind.is_file() {
            visit(&relative, Entry::File { size_bytes: metadata.len() }, &metadata)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(unreadable)?;
            let entry = if stays_inside(folder, &target) { Entry::Link { target } } else { Entry::LeftOut };
            visit(&relative, entry, &metadata)?;
        } else {
            visit(&relative, Entry::LeftOut, &metadata)?;
        }
    }
    Ok(())
}

/// Whether a link in `folder` (relative to the root) leads to somewhere below the root.
pub(crate) fn stays_inside(folder: &Path, target: &Path) -> bool {
    let mut depth = folder.components().count();
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

fn modified(metadata: &fs::Metadata) -> u64 {
    let since_epoch =
        metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since_epoch.unwrap_or_default().as_secs()
}

/// What a path is, as far as an upload is concerned.
pub(crate) fn is_folder(path: &Path) -> anyhow::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(metadata) if metadata.is_file() => Ok(false),
        Ok(_) => Err(Failure::new(format!("`{}` is neither a folder nor a file", path.display())).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(format!("`{}` does not exist", path.display())).into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Counts what is read through it.
struct Counted<'a, R> {
    inner: R,
    read: &'a AtomicU64,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Hands bytes to the network in pieces; waits while too many of them wait.
struct Pieces {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (PIECE_BYTES - self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(&bytes[..room]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use flate2::read::GzDecoder;

    use super::*;

    fn names_in(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                format!("{:?} {:o} {path}", header.entry_type(), header.mode().unwrap())
            })
            .collect()
    }

    fn packed(root: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ignore = Ignore::load(root, "Dockerfile").unwrap();
        pack(root, &ignore, &mut bytes, &AtomicU64::new(0)).unwrap();
        bytes
    }

    #[test]
    fn a_folder_is_packed_without_git_and_without_ways_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join(".git/objects")).unwrap();
        fs::create_dir_all(root.join("src")).unwrap();
        fs::write(root.join("Dockerfile"), "FROM scratch\n").unwrap();
        fs::write(root.join("src/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("src/run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(root.join("中文.txt"), "x").unwrap();
        fs::write(root.join("x".repeat(180)), "long").unwrap();
        symlink("../Dockerfile", root.join("src/inside")).unwrap();
        symlink("../../outside", root.join("src/outside")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();

        let survey = survey(root, &Ignore::default()).unwrap();
        let names = names_in(&packed(root));

        assert_eq!(survey.left_out, [Path::new("absolute"), Path::new("src/outside")]);
        assert_eq!((survey.files, survey.bytes), (4, 28));
        assert_eq!(
            names,
            [
                "Regular 644 Dockerfile".to_owned(),
                "Directory 755 src".to_owned(),
                "Symlink 755 src/inside".to_owned(),
                "Regular 755 src/run.sh".to_owned(),
                format!("Regular 644 {}", "x".repeat(180)),
                "Regular 644 中文.txt".to_owned(),
            ]
        );
    }

    #[test]
    fn what_dockerignore_names_is_not_packed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["Dockerfile", ".env", "node_modules/x/y", "docs/a.md", "docs/keep.md"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "x").unwrap();
        }
        fs::write(root.join(".dockerignore"), "*\n!docs/keep.md\n").unwrap();

        let names = names_in(&packed(root));

        assert_eq!(
            names,
            ["Regular 644 .dockerignore", "Regular 644 Dockerfile", "Regular 644 docs/keep.md"]
        );
    }

    #[test]
    fn equal_folders_give_equal_archives() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        fs::write(folder.path().join("b"), "2").unwrap();

        assert_eq!(packed(folder.path()), packed(folder.path()));
    }

    #[test]
    fn links_are_followed_on_paper_only() {
        let inside = |folder, target| stays_inside(Path::new(folder), Path::new(target));

        assert!(inside("", "a/../b"));
        assert!(inside("a/b", "../../c"));
        assert!(!inside("a/b", "../../../c"));
        assert!(!inside("", "a/../../b"));
        assert!(!inside("a", "/a"));
    }
}
