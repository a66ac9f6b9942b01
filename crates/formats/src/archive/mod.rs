//! Turns an uploaded archive into a tar stream that an engine may be given: a build context, or files for a container.
//!
//! An upload is a zip, a tar or a tar.gz, recognised by what is in it. It is read entry by entry and written
//! again from scratch: no name that a user gave ever reaches a file system of ours, and whatever has no place
//! in a build context is refused with a code and a sentence. What comes out holds only plain files, folders
//! and symbolic links that stay inside, each name once.
//!
//! - `error.rs`: everything that can be wrong, with its stable code
//! - `rules.rs`: which names and link targets are allowed, and the tree that finds clashes between them
//! - `meter.rs`: what has been unpacked so far, held against the limits
//! - `root.rs`: whether the context is the whole archive or its only folder
//! - `window.rs`: buffered positional reads of the upload
//! - `emit.rs`: the tar that is written; the one place that every entry passes
//! - `single.rs`: one file as a tar, and the first file of a tar, as it comes from an engine
//! - `zip.rs`, `tar.rs`: the two readers
//!
//! The work is synchronous and belongs on a blocking thread. It holds no more than a few MiB whatever the
//! archive says: names are remembered as hashes, contents pass through one buffer.

mod emit;
mod error;
mod meter;
mod root;
mod rules;
mod single;
mod tar;
mod window;
mod zip;

#[cfg(test)]
mod tests;

use std::{fs::File, io::Write, sync::atomic::AtomicBool};

pub use self::{
    error::{ArchiveError, Shown},
    single::{FirstFile, Found, Frame, folders, frame},
};
use self::{
    rules::clean_name,
    window::{Reader, Window},
};

/// The file that describes a build when the caller names no other.
const DEFAULT_DOCKERFILE: &str = "Dockerfile";

/// Bounds on one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes all contents together may have once unpacked.
    pub unpacked_bytes: u64,
    /// How many files, links and folders there may be; folders that are only implied by a name count.
    pub entries: u32,
    /// How many times larger than its packed form the content may be.
    pub ratio: u32,
    /// The unpacked size from which `ratio` counts, so that a small file of zeros stays possible.
    pub ratio_after_bytes: u64,
    /// How long a whole name, or the target of a link, may be.
    pub name_bytes: usize,
    /// How many components a name may have.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 4 << 30,
            entries: 50_000,
            ratio: 100,
            ratio_after_bytes: 16 << 20,
            name_bytes: 1024,
            depth: 64,
        }
    }
}

/// To whom everything in the tar belongs, as numbers of the machine where it is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The path of the Dockerfile inside the tar; empty when none was looked for.
    pub dockerfile: String,
    /// The number of entries in the tar.
    pub entries: u32,
    /// The size of all contents in the tar, without headers and padding.
    pub unpacked_bytes: u64,
    /// The only top-level folder of the upload, when it became the root of the context.
    pub top_folder: Option<String>,
}

/// What an upload was recognised as.
enum Format {
    Zip,
    Tar,
    TarGz,
}

/// Reads `upload` and writes the build context in it to `out` as a tar.
///
/// `dockerfile` is a path inside the context, `Dockerfile` if none is given. It is looked for at the root of
/// the archive and then in its only top-level folder, which then becomes the root.
///
/// The upload is read by position, so its cursor does not matter; it must not change meanwhile. After an error
/// `out` may hold a beginning, always without the end-of-archive marker: throw it away.
pub fn transcode(
    upload: &File,
    dockerfile: Option<&str>,
    out: &mut dyn Write,
    limits: &Limits,
    cancelled: &AtomicBool,
) -> Result<Context, ArchiveError> {
    let dockerfile = clean_dockerfile(dockerfile.unwrap_or(DEFAULT_DOCKERFILE), limits)?;
    let job = Job { upload, dockerfile: Some(dockerfile), owner: Owner::default(), limits, cancelled };
    job.run(out)
}

/// Reads `upload` and writes everything in it to `out` as a tar, for a folder that is there already. The same rules hold
/// as for a build context, but for the Dockerfile.
pub fn transcode_files(
    upload: &File,
    owner: Owner,
    out: &mut dyn Write,
    limits: &Limits,
    cancelled: &AtomicBool,
) -> Result<Context, ArchiveError> {
    Job { upload, dockerfile: None, owner, limits, cancelled }.run(out)
}

/// What every part needs to know about the work at hand.
struct Job<'a> {
    upload: &'a File,
    /// None: whatever is in it is wanted.
    dockerfile: Option<&'a str>,
    owner: Owner,
    limits: &'a Limits,
    cancelled: &'a AtomicBool,
}

impl<'a> Job<'a> {
    fn run(&self, out: &'a mut dyn Write) -> Result<Context, ArchiveError> {
        let upload = self.upload;
        let mut window = Window::new(upload)?;
        match recognise(&mut window)? {
            Format::Zip => zip::transcode(self, window, out),
            Format::Tar => {
                tar::transcode(self, || Ok(tar::Source::Plain(Reader::new(Window::new(upload)?))), out)
            }
            Format::TarGz => {
                tar::transcode(self, || Ok(tar::Source::gzip(Reader::new(Window::new(upload)?))), out)
            }
        }
    }
}

/// Checks the path that the caller gave for the Dockerfile.
fn clean_dockerfile<'a>(given: &'a str, limits: &Limits) -> Result<&'a str, ArchiveError> {
    let outside = || ArchiveError::DockerfileOutside { path: Shown::new(given) };
    let clean = clean_name(given, limits).map_err(|_| outside())?;
    if clean.is_folder { Err(outside()) } else { Ok(clean.path) }
}

/// Decides by the first bytes what an upload is.
fn recognise(window: &mut Window<'_>) -> Result<Format, ArchiveError> {
    if window.len() == 0 {
        return Err(ArchiveError::UploadEmpty);
    }

    let start = window.chunk(0, tar::BLOCK as u64)?;
    match start {
        [b'P', b'K', 3, 4, ..] => return Ok(Format::Zip),
        [b'P', b'K', 5, 6, ..] => return Err(ArchiveError::Empty),
        [b'P', b'K', 7, 8, ..] => return Err(ArchiveError::Split),
        [0x1f, 0x8b, ..] => return Ok(Format::TarGz),
        _ => {}
    }
    if tar::looks_like_tar(start) {
        return Ok(Format::Tar);
    }

    let unsupported = |format| Err(ArchiveError::FormatUnsupported { format });
    match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("an xz file"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unsupported("a zstd file"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => unsupported("a bzip2 file"),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => unsupported("a 7z archive"),
        [b'R', b'a', b'r', b'!', ..] => unsupported("a rar archive"),
        _ => Err(ArchiveError::NotAnArchive { found: describe(start) }),
    }
}

/// Says in words what something that is no archive seems to be.
fn describe(start: &[u8]) -> &'static str {
    let text = start.trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with));
    if begins(b"<!doctype html") || begins(b"<html") {
        "an HTML page"
    } else if begins(b"<?xml") || begins(b"<svg") {
        "an XML document"
    } else if begins(b"{") || begins(b"[") {
        "a JSON document"
    } else if begins(b"FROM ") || begins(b"# syntax=") {
        "a single Dockerfile"
    } else {
        "something else"
    }
}
