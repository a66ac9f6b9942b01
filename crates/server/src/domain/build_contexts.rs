//! From an uploaded archive to the context of a build: written beside, checked on the way, and kept when it is whole.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::ids::BuildId;

use super::builds::Source;
use crate::app::App;
use crate::archive::{self, ArchiveError};
use crate::blobs::{BlobKind, Blobs, discard};
use crate::error::{Error, ErrorKind, Result};

/// Bytes gathered before they are written to a context.
const WRITE_BYTES: usize = 256 << 10;

/// Turns the archive into a context under the build's id. Ends early when the request does.
pub(super) async fn transcode(
    app: &App,
    id: BuildId,
    source: Source<'_>,
    is_durable: bool,
) -> Result<(archive::Context, File)> {
    let limits = archive::Limits {
        unpacked_bytes: app.config.uploads.unpacked_bytes,
        entries: app.config.uploads.entries,
        ..archive::Limits::default()
    };
    let (blobs, dockerfile) = (app.blobs.clone(), source.dockerfile.map(str::to_owned));
    let upload = source.upload;
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancels = cancel_on_drop(&cancelled);
    let work = move || -> Result<(archive::Context, File)> {
        let incoming = Incoming::new(&blobs)?;
        let mut out = std::io::BufWriter::with_capacity(WRITE_BYTES, &incoming.file);
        let context = archive::transcode(&upload.file, dockerfile.as_deref(), &mut out, &limits, &cancelled)
            .map_err(bad_archive)?;
        out.flush()?;
        drop(out);
        let file = incoming.file.try_clone()?;
        if cancelled.load(Ordering::Relaxed) {
            return Err(bad_archive(ArchiveError::Cancelled));
        }
        incoming.keep(&blobs, id, is_durable)?;
        Ok((context, file))
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// What is wrong with an archive, for whoever sent it.
pub(super) fn bad_archive(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Read(error) | ArchiveError::Write(error) => error.into(),
        ArchiveError::Cancelled => Error::new(ErrorKind::Malformed, "upload_broken", "the upload broke off"),
        ArchiveError::TooLarge { .. } | ArchiveError::TooManyEntries { .. } => Error {
            field: Some("file".into()),
            ..Error::new(ErrorKind::TooLarge, error.code(), error.to_string())
        }
        .hint("a `.dockerignore` does not help here: pack less, or ask an admin for more"),
        error => {
            // The sentence of an archive's error says what to do behind its semicolon.
            let text = error.to_string();
            let (detail, hint) =
                text.rsplit_once("; ").map_or((text.as_str(), None), |(what, hint)| (what, Some(hint)));
            let refused = Error::new(ErrorKind::Invalid, error.code(), detail);
            let refused = match hint {
                Some(hint) => refused.hint(hint),
                None => refused,
            };
            let field = if error.code() == "dockerfile_outside" { "dockerfile" } else { "file" };
            Error { field: Some(field.into()), ..refused }
        }
    }
}

/// Sets it when what is given is dropped.
pub(super) fn cancel_on_drop(cancelled: &Arc<AtomicBool>) -> impl Drop + use<> {
    CancelOnDrop(Arc::clone(cancelled))
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A half-written file that goes away unless it is kept.
struct Incoming {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Incoming {
    fn new(blobs: &Blobs) -> std::io::Result<Self> {
        let (file, path) = blobs.incoming()?;
        Ok(Self { file, path, is_kept: false })
    }

    fn keep(mut self, blobs: &Blobs, id: BuildId, is_durable: bool) -> std::io::Result<()> {
        blobs.keep(&self.file, &self.path, BlobKind::Context, &id.to_string(), is_durable)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_kept {
            discard(Path::new(&self.path));
        }
    }
}
