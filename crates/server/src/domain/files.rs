//! Files in containers. Paths are looked up on the machine, inside the container, by its engine; here it is decided who may
//! ask, and what is given to a container is made safe before it is sent.

use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use store::containers::{Desired, Row};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;
use wire::files::{
    FileKind, FileOwner, FilePath, FileView, FolderView, GetFileOwner, LISTED_MAX, ListFolder,
    NAME_BYTES_MAX, ReadFiles, RemoveFile, StatFile, UnpackedView, WriteFiles, WriteFilesEvent,
};

use super::audit::{self, Event};
use super::build_contexts::{bad_archive, cancel_on_drop};
use super::containers::{find, may_still_read};
use crate::app::App;
use crate::archive::{self, FirstFile, Found, Frame};
use crate::blobs::{Upload, blocking};
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};
use crate::link::pipe::FilePieces;
use crate::streams::{Place, TooMany};

/// How long a machine may take to look at a file, and to list a folder or remove one.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
const WORK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an unpacking may take after the last byte was sent.
const WRITE_TIMEOUT: Duration = Duration::from_mins(30);
/// Entries of a folder that are shown when nothing else is said.
const LISTED: u64 = 100;
/// The engine says where a link leads in the end; whatever still is a link then is changed all the time.
const LINKS_MAX: u32 = 5;
/// Bytes that are read together of what is sent.
const READ_BYTES: usize = 128 << 10;
const WRITE_BYTES: usize = 1 << 20;
/// Pieces that wait for a slow reader, and how long it may take none.
const PIECES_WAITING: usize = 4;
const STALL: Duration = Duration::from_mins(1);
/// How often it is looked whether somebody who reads may still read.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Of a path in the audit log.
const TARGET_CHARS: usize = 300;

/// A container whose files the caller may reach.
async fn admit(app: &App, caller: &Caller, id: &str) -> Result<Row> {
    let row = find(app, caller, id).await?;
    if row.desired == Desired::Deleted {
        return Err(Error::conflict("being_deleted", format!("container `{}` is being deleted", row.name)));
    }
    if row.engine_id.is_none() {
        let detail = format!("container `{}` has not been made yet, so that it has no files", row.name);
        return Err(Error::conflict("not_running", detail));
    }
    Ok(row)
}

/// A place for one more transfer of the caller's.
fn enter(app: &App, caller: &Caller) -> Result<Place> {
    app.transfers.enter(caller.account).map_err(|TooMany(limit)| {
        let detail = format!("an account reads and writes at most {limit} files at the same time");
        Error::new(ErrorKind::TooMany(10), "too_many_transfers", detail).hint("wait until one has ended")
    })
}

async fn record(app: &App, caller: &Caller, row: &Row, action: &str, path: &FilePath) -> Result<()> {
    let target: String = format!("{}:{path}", row.name).chars().take(TARGET_CHARS).collect();
    let event = Event { action, target: &target, acting_for: Some(row.account_id) };
    audit::record(app, caller, &app.db, event).await
}

async fn stat(app: &App, row: &Row, path: &FilePath) -> Result<Option<FileView>> {
    let call = StatFile { instance: app.instance, container: row.id, path: path.clone() };
    Ok(app.hub.call(&row.machine_id, &call, LOOK_TIMEOUT).await?.file)
}

/// What is at a path in the end, and where that is.
async fn resolve(app: &App, row: &Row, path: &FilePath) -> Result<(FilePath, Option<FileView>)> {
    let mut at = path.clone();
    for _ in 0..LINKS_MAX {
        let Some(file) = stat(app, row, &at).await? else { return Ok((at, None)) };
        let Some(target) = file.target.as_deref().filter(|_| file.kind == FileKind::Link) else {
            return Ok((at, Some(file)));
        };
        at = target.parse().map_err(|_| no_file(path))?;
    }
    Err(Error::conflict("file_changes", format!("`{path}` is a link that leads somewhere else each time")))
}

fn no_file(path: &FilePath) -> Error {
    Error::not_found("file", path)
}

/// A folder's entries, or one file.
pub async fn list(
    app: &App,
    caller: &Caller,
    id: &str,
    path: &FilePath,
    limit: Option<u64>,
    offset: Option<u64>,
) -> Result<FolderView> {
    let row = admit(app, caller, id).await?;
    let (at, found) = resolve(app, &row, path).await?;
    let file = found.ok_or_else(|| no_file(path))?;
    let (limit, offset) = (limit.unwrap_or(LISTED).min(LISTED_MAX), offset.unwrap_or(0));
    let path = path.clone();
    if file.kind != FileKind::Folder {
        return Ok(FolderView { path, file, data: Vec::new(), total: 0, limit, offset, is_complete: true });
    }
    let call = ListFolder { instance: app.instance, container: row.id, path: at, limit, offset };
    let found = app.hub.call(&row.machine_id, &call, WORK_TIMEOUT).await?;
    let (data, total, is_complete) = (found.files, found.total, found.is_complete);
    Ok(FolderView { path, file, data, total, limit, offset, is_complete })
}

/// Files that somebody reads.
pub struct Download {
    /// The name of what was asked for; empty for the container's root.
    pub name: String,
    /// The length of the one file; none for a tar.
    pub bytes: Option<u64>,
    row: Row,
    caller: Caller,
    first: Bytes,
    pieces: FilePieces,
    place: Place,
}

/// Opens a file, or a folder with everything in it as a tar, which `is_archive` asks of a file, too.
pub async fn read(
    app: &App,
    caller: &Caller,
    id: &str,
    path: &FilePath,
    is_archive: bool,
) -> Result<Download> {
    let row = admit(app, caller, id).await?;
    let (at, found) = resolve(app, &row, path).await?;
    let file = found.ok_or_else(|| no_file(path))?;
    let place = enter(app, caller)?;
    if !is_archive && file.kind == FileKind::Other {
        let detail = format!("`{path}` is a device, a pipe or a socket, which has no content");
        return Err(Error::conflict("not_a_file", detail));
    }
    if caller.account != row.account_id {
        record(app, caller, &row, "container.file_read", path).await?;
    }
    let call = ReadFiles { instance: app.instance, container: row.id, path: at };
    let pieces = app.hub.read_files(&row.machine_id, &call).await?;
    let (name, caller) = (path.name().to_owned(), caller.clone());
    let mut download = Download { name, bytes: None, row, caller, first: Bytes::new(), pieces, place };
    if !is_archive && file.kind == FileKind::File {
        download.find_file(path).await?;
    }
    Ok(download)
}

impl Download {
    /// Reads to the beginning of the one file's content.
    async fn find_file(&mut self, path: &FilePath) -> Result<()> {
        let mut first = FirstFile::default();
        while let Some(piece) = self.pieces.next().await {
            match first.push(&piece?) {
                Found::Nothing => {}
                Found::File { bytes, mut rest } => {
                    rest.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
                    (self.bytes, self.first) = (Some(bytes), rest);
                    return Ok(());
                }
                Found::Other => break,
            }
        }
        Err(Error::conflict("file_changes", format!("`{path}` became something else while it was looked at")))
    }

    /// The bytes, as fast as they are read and no faster. A file that is cut off ends with an error, as does one that nobody
    /// goes on reading.
    pub fn pieces(self, app: &App) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let (sender, mut receiver) = mpsc::channel(PIECES_WAITING);
        // In a task of its own: what is not read any more is not polled any more either.
        app.spawn(self.pass_on(app.clone(), sender));
        async_stream::try_stream! {
            loop {
                match receiver.recv().await {
                    Some(Piece::Bytes(piece)) => yield piece,
                    Some(Piece::End) => return,
                    Some(Piece::Broken(error)) => Err(error)?,
                    None => Err(std::io::Error::from(std::io::ErrorKind::TimedOut))?,
                }
            }
        }
    }

    async fn pass_on(self, app: App, sender: mpsc::Sender<Piece>) {
        let Self { bytes, row, caller, first, mut pieces, place: _place, .. } = self;
        let broken = |why: &str| Piece::Broken(std::io::Error::other(why.to_owned()));
        let mut left = bytes.map(|bytes| bytes - first.len() as u64);
        let mut next = Piece::Bytes(first);
        let mut looked_at = Instant::now();
        loop {
            let is_last = !matches!(next, Piece::Bytes(_));
            let sent = tokio::time::timeout(STALL, sender.send(next)).await;
            if is_last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
            if looked_at.elapsed() >= LOOK_INTERVAL {
                looked_at = Instant::now();
                if !may_still_read(&app, &caller, &row).await {
                    next = broken("it may not be read any more");
                    continue;
                }
            }
            if left == Some(0) {
                next = Piece::End;
                continue;
            }
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = sender.closed() => return,
                () = app.shutdown.cancelled() => {
                    next = broken("the server is stopping");
                    continue;
                }
            };
            next = match (piece, &mut left) {
                (Some(Ok(mut piece)), left) => {
                    if let Some(left) = left {
                        piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= piece.len() as u64;
                    }
                    Piece::Bytes(piece)
                }
                (Some(Err(error)), _) => Piece::Broken(std::io::Error::other(error)),
                (None, None) => Piece::End,
                (None, Some(_)) => broken("the file was cut off"),
            };
        }
    }
}

/// What is passed on of a file.
enum Piece {
    Bytes(Bytes),
    End,
    Broken(std::io::Error),
}

/// Where something is to be written; decided before a byte of it is read.
pub struct Destination {
    row: Row,
    asked: FilePath,
    /// The folder, as it is in the end.
    folder: FilePath,
    /// The file in it; none when the folder itself is meant.
    name: Option<String>,
    is_executable: bool,
    _place: Place,
}

/// Decides about writing one file. Its folder must be there; a file that is there is replaced, through a link, too.
pub async fn admit_file(
    app: &App,
    caller: &Caller,
    id: &str,
    path: &FilePath,
    is_executable: Option<bool>,
) -> Result<Destination> {
    let row = admit(app, caller, id).await?;
    let place = enter(app, caller)?;
    let (at, found) = resolve(app, &row, path).await?;
    if at.is_root() || found.as_ref().is_some_and(|file| file.kind == FileKind::Folder) {
        let detail = format!("`{path}` is a folder");
        return Err(Error::conflict("is_a_folder", detail).hint("name the file in it"));
    }
    if found.as_ref().is_some_and(|file| file.kind == FileKind::Other) {
        let detail = format!("`{path}` is a device, a pipe or a socket, which cannot be replaced");
        return Err(Error::conflict("not_a_file", detail));
    }
    let parent = at.parent().unwrap_or_else(FilePath::root);
    let folder = existing_folder(app, &row, &parent).await?;
    let is_executable = is_executable.or(found.map(|file| file.is_executable())).unwrap_or(false);
    let name = Some(at.name().to_owned());
    Ok(Destination { row, asked: path.clone(), folder, name, is_executable, _place: place })
}

/// Decides about unpacking an archive into a folder that is there.
pub async fn admit_archive(app: &App, caller: &Caller, id: &str, path: &FilePath) -> Result<Destination> {
    let row = admit(app, caller, id).await?;
    let place = enter(app, caller)?;
    let folder = existing_folder(app, &row, path).await?;
    Ok(Destination { row, asked: path.clone(), folder, name: None, is_executable: false, _place: place })
}

async fn existing_folder(app: &App, row: &Row, path: &FilePath) -> Result<FilePath> {
    let (at, found) = resolve(app, row, path).await?;
    match found {
        Some(file) if file.kind == FileKind::Folder => Ok(at),
        Some(_) => Err(Error::conflict("not_a_folder", format!("`{path}` is no folder"))),
        None => Err(Error::not_found("folder", path).hint("make it first")),
    }
}

async fn owner(app: &App, row: &Row) -> Result<archive::Owner> {
    let call = GetFileOwner { instance: app.instance, container: row.id };
    let FileOwner { uid, gid } = app.hub.call(&row.machine_id, &call, LOOK_TIMEOUT).await?;
    Ok(archive::Owner { uid, gid })
}

/// Writes one file. It belongs to the user as whom the container's programs run.
pub async fn write(app: &App, caller: &Caller, to: &Destination, upload: Upload) -> Result<FileView> {
    let owner = owner(app, &to.row).await?;
    let name = to.name.as_deref().unwrap_or_default();
    let Frame { head, tail } =
        archive::frame(name, upload.bytes, to.is_executable, owner, app.now().unix_secs());
    let Upload { mut file, bytes } = upload;
    let file = blocking(move || file.rewind().map(|()| file)).await?;
    // It has no name on disk and is nobody else's, so that it is as long as it was.
    let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(bytes), READ_BYTES);
    let one = |bytes: Vec<u8>| stream::iter([Ok(Bytes::from(bytes))]);
    record(app, caller, &to.row, "container.file_write", &to.asked).await?;
    send(app, &to.row, &to.folder, one(head).chain(content).chain(one(tail))).await?;
    let written = to.folder.join(name).map_err(Error::internal)?;
    stat(app, &to.row, &written).await?.ok_or_else(|| no_file(&to.asked))
}

/// Unpacks an archive. Everything in it is checked before anything is sent.
pub async fn unpack(app: &App, caller: &Caller, to: &Destination, upload: Upload) -> Result<UnpackedView> {
    let owner = owner(app, &to.row).await?;
    let limits = archive::Limits {
        unpacked_bytes: app.config.uploads.unpacked_bytes,
        entries: app.config.uploads.entries,
        ..archive::Limits::default()
    };
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancels = cancel_on_drop(&cancelled);
    let blobs = app.blobs.clone();
    let work = move || -> Result<(archive::Context, std::fs::File)> {
        let file = blobs.scratch()?;
        let mut out = std::io::BufWriter::with_capacity(WRITE_BYTES, &file);
        let context = archive::transcode_files(&upload.file, owner, &mut out, &limits, &cancelled)
            .map_err(bad_archive)?;
        out.flush()?;
        drop(out);
        (&file).rewind()?;
        Ok((context, file))
    };
    let (context, file) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
    let tar = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_BYTES);
    record(app, caller, &to.row, "container.file_write", &to.asked).await?;
    send(app, &to.row, &to.folder, tar).await?;
    Ok(UnpackedView { entries: context.entries, bytes: context.unpacked_bytes })
}

/// Sends a tar to a folder that is there.
async fn send(
    app: &App,
    row: &Row,
    folder: &FilePath,
    tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Result<()> {
    let call = WriteFiles { instance: app.instance, container: row.id, path: folder.clone() };
    let mut events = app.hub.write_files(&row.machine_id, &call, tar).await?;
    let event = tokio::select! {
        event = tokio::time::timeout(WRITE_TIMEOUT, events.next()) => event,
        () = app.shutdown.cancelled() => {
            return Err(Error::unavailable("server_stopping", "the server is stopping; some of it may be there"));
        }
    };
    let slow = |_| Error::unavailable("machine_slow", "the machine did not unpack it in time");
    match event.map_err(slow)?.transpose()? {
        Some(WriteFilesEvent::Done) => Ok(()),
        Some(WriteFilesEvent::Failed(error)) => Err(error.into()),
        None => Err(Error::unavailable("machine_unreachable", "the connection to the machine broke")),
    }
}

/// Makes a folder and those that it is in; whether it was there already.
pub async fn make_folder(app: &App, caller: &Caller, id: &str, path: &FilePath) -> Result<(FileView, bool)> {
    let row = admit(app, caller, id).await?;
    let (mut at, mut found) = resolve(app, &row, path).await?;
    let mut missing = Vec::new();
    let base = loop {
        match found {
            Some(file) if file.kind == FileKind::Folder && missing.is_empty() => return Ok((file, true)),
            Some(file) if file.kind == FileKind::Folder => break at,
            Some(_) => return Err(Error::conflict("not_a_folder", format!("`{at}` is no folder"))),
            None => {}
        }
        missing.push(at.name().to_owned());
        let parent = at.parent().ok_or_else(|| no_file(path))?;
        (at, found) = resolve(app, &row, &parent).await?;
    };
    let mut paths: Vec<String> = Vec::new();
    for name in missing.iter().rev() {
        debug_assert!(name.len() <= NAME_BYTES_MAX, "components are bounded");
        let path = paths.last().map_or_else(|| name.clone(), |parent| format!("{parent}/{name}"));
        paths.push(path);
    }
    let made = paths.last().map(|last| base.join(last)).transpose().map_err(Error::internal)?;
    let made = made.unwrap_or(base.clone());
    let owner = owner(app, &row).await?;
    record(app, caller, &row, "container.folder_create", path).await?;
    let tar = archive::folders(&paths, owner, app.now().unix_secs());
    send(app, &row, &base, stream::iter([Ok(Bytes::from(tar))])).await?;
    let file = stat(app, &row, &made).await?.ok_or_else(|| no_file(path))?;
    Ok((file, false))
}

/// Removes a file or an empty folder, or with `is_recursive` a folder with everything in it. A link goes, and not what it
/// leads to.
pub async fn remove(app: &App, caller: &Caller, id: &str, path: &FilePath, is_recursive: bool) -> Result<()> {
    let row = admit(app, caller, id).await?;
    if path.is_root() {
        return Err(
            Error::invalid("path", "a container's root cannot be removed").hint("delete the container")
        );
    }
    if !row.state.is_running() {
        let detail = "files can be removed only while the container runs: its own `rm` does it";
        let state = serde_json::to_value(row.state).map_err(Error::internal)?;
        return Err(Error::conflict("not_running", detail).with("state", state));
    }
    if stat(app, &row, path).await?.is_none() {
        return Err(no_file(path));
    }
    record(app, caller, &row, "container.file_delete", path).await?;
    let call = RemoveFile { instance: app.instance, container: row.id, path: path.clone(), is_recursive };
    match app.hub.call(&row.machine_id, &call, WORK_TIMEOUT).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match Error::from(error) {
            error if error.kind == ErrorKind::Conflict => Error { code: "not_removed", ..error },
            error => error,
        }),
    }
}
