//! Writes the build context: every entry of every format passes here, so here the rules are kept.

use std::io::Write;

use super::{
    Context, Job, Limits, Owner,
    error::{ArchiveError, Shown},
    meter::Sink,
    root::NearMiss,
    rules::{NameTree, NodeKind, check_link, is_clutter},
    tar::BLOCK,
};

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Less room than this is not worth a call of a decompressor.
const MIN_SPACE: usize = 16 * 1024;
/// 1980-01-01, the earliest time that a zip can hold.
const EARLIEST_MTIME: i64 = 315_532_800;
/// 2100-01-01.
const LATEST_MTIME: i64 = 4_102_444_800;

/// An entry whose name passed `clean_name`.
pub(super) struct Entry<'a> {
    /// Relative to the archive's root.
    pub(super) path: &'a str,
    pub(super) content: Content<'a>,
    /// Seconds since 1970.
    pub(super) mtime: i64,
}

/// What an entry is.
pub(super) enum Content<'a> {
    Folder,
    File { size: u64, is_executable: bool },
    Link { target: &'a str },
}

impl Content<'_> {
    pub(super) fn kind(&self) -> NodeKind {
        match self {
            Content::Folder => NodeKind::Folder,
            Content::File { .. } => NodeKind::File,
            Content::Link { .. } => NodeKind::Link,
        }
    }
}

/// Writes a tar in GNU format, which every engine reads.
pub(super) struct Emitter<'a> {
    out: &'a mut dyn Write,
    buffer: Box<[u8]>,
    used: usize,
    limits: &'a Limits,
    tree: NameTree,
    /// The folder that is the context's root.
    folder: Option<String>,
    owner: Owner,
    /// What is looked for, and what was found.
    dockerfile: Option<Wanted<'a>>,
    /// What is still to come of the current file, and its name.
    remaining: u64,
    padding: usize,
    current: String,
    entries: u32,
    unpacked_bytes: u64,
}

struct Wanted<'a> {
    path: &'a str,
    kind: Option<NodeKind>,
    near_miss: NearMiss<'a>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(job: &Job<'a>, folder: Option<String>, out: &'a mut dyn Write) -> Self {
        Self {
            out,
            buffer: vec![0; BUFFER_BYTES].into(),
            used: 0,
            limits: job.limits,
            tree: NameTree::new(job.limits),
            folder,
            owner: job.owner,
            dockerfile: job.dockerfile.map(|path| Wanted {
                path,
                kind: None,
                near_miss: NearMiss::new(path),
            }),
            remaining: 0,
            padding: 0,
            current: String::new(),
            entries: 0,
            unpacked_bytes: 0,
        }
    }

    /// Checks an entry and writes its header. For a file the answer says whether its content is wanted;
    /// if so it must follow, then `end`.
    pub(super) fn begin(&mut self, entry: &Entry<'_>) -> Result<bool, ArchiveError> {
        if entry.path.is_empty() || is_clutter(entry.path) {
            return Ok(false);
        }
        let kind = entry.content.kind();
        self.tree.add(entry.path, kind)?;
        let Some(path) = inside(entry.path, self.folder.as_deref()) else { return Ok(false) };
        if let Some(dockerfile) = &mut self.dockerfile {
            if path == dockerfile.path {
                dockerfile.kind = Some(kind);
            }
            dockerfile.near_miss.see(entry.path, kind);
        }

        match entry.content {
            Content::Folder => {
                let mut name = String::with_capacity(path.len() + 1);
                name.push_str(path);
                name.push('/');
                self.header(&name, ::tar::EntryType::Directory, 0o755, 0, entry.mtime)?;
            }
            Content::Link { target } => {
                check_link(path, target, self.limits)?;
                self.link_header(path, target, entry.mtime)?;
            }
            Content::File { size, is_executable } => {
                let mode = if is_executable { 0o755 } else { 0o644 };
                self.header(path, ::tar::EntryType::Regular, mode, size, entry.mtime)?;
                self.remaining = size;
                self.padding = padding(size);
                self.current.clear();
                self.current.push_str(entry.path);
                self.unpacked_bytes += size;
            }
        }
        self.entries += 1;
        Ok(kind == NodeKind::File)
    }

    /// Ends the content of a file.
    pub(super) fn end(&mut self) -> Result<(), ArchiveError> {
        if self.remaining > 0 {
            return Err(self.size_mismatch());
        }
        self.put(&[0; BLOCK][..self.padding])
    }

    /// Checks that the context is whole and ends the tar.
    pub(super) fn finish(mut self) -> Result<Context, ArchiveError> {
        match &mut self.dockerfile {
            None if self.entries == 0 => return Err(ArchiveError::Empty),
            None | Some(Wanted { kind: Some(NodeKind::File), .. }) => {}
            Some(Wanted { kind: None, near_miss, .. }) => return Err(near_miss.missing()),
            Some(Wanted { path, .. }) => {
                return Err(ArchiveError::DockerfileNotAFile { path: Shown::new(path) });
            }
        }
        self.put(&[0; 2 * BLOCK])?;
        self.flush()?;
        self.out.flush().map_err(ArchiveError::Write)?;
        Ok(Context {
            dockerfile: self.dockerfile.map_or("", |dockerfile| dockerfile.path).to_owned(),
            entries: self.entries,
            unpacked_bytes: self.unpacked_bytes,
            top_folder: self.folder,
        })
    }

    fn link_header(&mut self, path: &str, target: &str, mtime: i64) -> Result<(), ArchiveError> {
        let mut header = self.named(path, ::tar::EntryType::Symlink, 0o777, 0, mtime)?;
        let slot = &mut header.as_old_mut().linkname;
        let count = target.len().min(slot.len());
        slot[..count].copy_from_slice(&target.as_bytes()[..count]);
        if target.len() > count {
            self.put(&extension(::tar::EntryType::GNULongLink, target))?;
        }
        self.put_header(&mut header)
    }

    fn header(
        &mut self,
        path: &str,
        kind: ::tar::EntryType,
        mode: u32,
        size: u64,
        mtime: i64,
    ) -> Result<(), ArchiveError> {
        let mut header = self.named(path, kind, mode, size, mtime)?;
        self.put_header(&mut header)
    }

    /// Makes a header, after the extension that a long name needs.
    fn named(
        &mut self,
        path: &str,
        kind: ::tar::EntryType,
        mode: u32,
        size: u64,
        mtime: i64,
    ) -> Result<::tar::Header, ArchiveError> {
        let (extension, header) = named(path, kind, mode, size, mtime, self.owner);
        self.put(&extension)?;
        Ok(header)
    }

    fn put_header(&mut self, header: &mut ::tar::Header) -> Result<(), ArchiveError> {
        header.set_cksum();
        self.put(header.as_bytes())
    }

    /// Adds bytes other than content.
    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.buffer.len() - self.used < bytes.len() {
            self.flush()?;
        }
        if self.buffer.len() < bytes.len() {
            return self.out.write_all(bytes).map_err(ArchiveError::Write);
        }
        self.buffer[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        self.out.write_all(&self.buffer[..self.used]).map_err(ArchiveError::Write)?;
        self.used = 0;
        Ok(())
    }

    fn size_mismatch(&self) -> ArchiveError {
        ArchiveError::SizeMismatch { name: Shown::new(&self.current) }
    }
}

impl Sink for Emitter<'_> {
    fn space(&mut self) -> Result<&mut [u8], ArchiveError> {
        if self.buffer.len() - self.used < MIN_SPACE {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.used..])
    }

    fn advance(&mut self, count: usize) -> Result<(), ArchiveError> {
        // Beyond the announced size the bytes would be read as headers.
        self.remaining = self.remaining.checked_sub(count as u64).ok_or_else(|| self.size_mismatch())?;
        self.used += count;
        Ok(())
    }
}

/// The path inside the context, or nothing for what lies outside or is its root.
fn inside<'p>(path: &'p str, folder: Option<&str>) -> Option<&'p str> {
    match folder {
        None => Some(path),
        Some(folder) => path.strip_prefix(folder)?.strip_prefix('/'),
    }
}

/// A header without its checksum, and the extension that a long name needs before it. Everything that is not named here
/// (extended attributes, other modes, device numbers) is the same for all: what is written says nothing about the sender's
/// machine and cannot carry a set-uid bit.
pub(super) fn named(
    path: &str,
    kind: ::tar::EntryType,
    mode: u32,
    size: u64,
    mtime: i64,
    owner: Owner,
) -> (Vec<u8>, ::tar::Header) {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_size(size);
    header.set_mtime(sane_mtime(mtime));
    let slot = &mut header.as_old_mut().name;
    let count = path.len().min(slot.len());
    slot[..count].copy_from_slice(&path.as_bytes()[..count]);
    let is_long = path.len() > count;
    (if is_long { extension(::tar::EntryType::GNULongName, path) } else { Vec::new() }, header)
}

/// The GNU extension for a name that does not fit into a header.
fn extension(kind: ::tar::EntryType, name: &str) -> Vec<u8> {
    let mut header = ::tar::Header::new_gnu();
    let title = b"././@LongLink";
    header.as_old_mut().name[..title.len()].copy_from_slice(title);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let size = name.len() as u64 + 1;
    header.set_size(size);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(bytes.len() + 1 + padding(size), 0);
    bytes
}

/// How many zeros follow `size` bytes.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}

/// Keeps times between 1980 and 2100. `COPY` hands them on into the image, where make and the like compare
/// them, so they are not dropped; times before 1980 break tools that pack zips, and the engine's build cache
/// ignores them all.
fn sane_mtime(mtime: i64) -> u64 {
    let kept = if mtime < LATEST_MTIME { mtime } else { EARLIEST_MTIME };
    kept.max(EARLIEST_MTIME).unsigned_abs()
}
