//! Files in containers, through the engine's own archives: the engine follows names and links inside the container's root,
//! where nothing of the machine is, so that no path leads out. Two things engines cannot do: a list of one folder without
//! everything below it, and a removal. Both are asked of the container's own programs, and the first is done the long way
//! where there are none.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use bollard::container::PathStatResponse;
use bollard::query_parameters::{ContainerArchiveInfoOptions, InspectContainerOptions};
use futures::future::join_all;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::files::{
    FileKind, FileOwner, FilePath, FileView, FolderListing, GetFileOwner, LISTED_MAX, ListFolder, ReadFiles,
    RemoveFile, RemoveFileDone, StatFile, StatFileDone, WriteFiles,
};
use wire::ids::{ContainerId, InstanceId};
use wire::link::{LinkError, LinkErrorCode};
use wire::time::Timestamp;

use super::exec::run_helper;
use super::{CALL_TIMEOUT, Engine, containers, engine_down, is_not_found, within};
use crate::Agent;

/// Prints the names in the folder `$1`, each ended by a NUL.
const LIST: &str = r#"
cd -- "$1" || exit 1
for f in .[!.]* ..?* *; do
  if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\0' "$f"; fi
done
"#;
/// Bytes of names that are read of one folder.
const NAMES_BYTES_MAX: usize = 2 << 20;
/// How long the engine may take to look at one file.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Entries looked at together.
const LOOKED_AT_TOGETHER: usize = 8;
/// A longer target is not shown in a list.
const TARGET_BYTES_MAX: usize = 512;
/// What is read of a folder at most when it can only be read with everything below it.
const SCAN_BYTES_MAX: u64 = 256 << 20;
const SCAN_NAMES_MAX: usize = 20_000;
const SCAN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pieces of an archive that wait to be looked through.
const PIECES_WAITING: usize = 8;
/// Lists of users are shorter.
const USERS_BYTES_MAX: usize = 1 << 20;
/// How long the engine may be busy with a container's files, on this machine's disk.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const WRITE_TIMEOUT: Duration = Duration::from_mins(5);
const TOO_LARGE: &str =
    "the engine needs longer than a minute to read it, and holds the container meanwhile; read less at once";
/// Of a program's words on why it could not do something.
const WORDS_MAX: usize = 300;

/// The engine's words for what a file is are those of its language.
const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_OTHER: u32 = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;
const RIGHTS: u32 = 0o777;

/// What is at a path.
pub(crate) async fn stat(engine: &Engine, call: StatFile) -> Result<StatFileDone, LinkError> {
    let id = find(engine, call.instance, call.container).await?;
    Ok(StatFileDone { file: look(engine, &id, &call.path).await? })
}

/// The engine's id of a container that must be there.
pub(super) async fn find(
    engine: &Engine,
    instance: InstanceId,
    container: ContainerId,
) -> Result<String, LinkError> {
    containers::find(engine, instance, container).await?.ok_or_else(|| {
        let message = format!("container {container} is not on the machine");
        LinkError::new(LinkErrorCode::NotFound, message)
    })
}

/// What is at a path; none when there is nothing, or nothing that the engine can look at.
pub(super) async fn look(engine: &Engine, id: &str, path: &FilePath) -> Result<Option<FileView>, LinkError> {
    Ok(match ask(engine, id, path).await? {
        Seen::File(file) => Some(file),
        // A file on the way that is no folder, links that go round in circles.
        Seen::Nothing | Seen::Unknown => None,
    })
}

enum Seen {
    File(FileView),
    Nothing,
    /// The engine cannot look at it.
    Unknown,
}

async fn ask(engine: &Engine, id: &str, path: &FilePath) -> Result<Seen, LinkError> {
    let docker = engine.docker().await?;
    let options = ContainerArchiveInfoOptions { path: path.to_string() };
    match within(LOOK_TIMEOUT, docker.get_container_archive_info(id, Some(options))).await {
        Ok(found) => Ok(Seen::File(view(path.name().to_owned(), found))),
        Err(error) if is_not_found(&error) => Ok(Seen::Nothing),
        Err(error) if matches!(error.code, LinkErrorCode::EngineDown | LinkErrorCode::Timeout) => Err(error),
        // To this question it says nothing but its status.
        Err(_) => Ok(Seen::Unknown),
    }
}

fn view(name: String, found: PathStatResponse) -> FileView {
    let mode = found.file_mode;
    let kind = match mode {
        _ if mode & GO_FOLDER != 0 => FileKind::Folder,
        _ if mode & GO_LINK != 0 => FileKind::Link,
        _ if mode & GO_OTHER != 0 => FileKind::Other,
        _ => FileKind::File,
    };
    let is_file = kind == FileKind::File;
    FileView {
        name,
        kind,
        size_bytes: if is_file { u64::try_from(found.size).unwrap_or_default() } else { 0 },
        mode: format!("{:o}", mode & RIGHTS),
        modified_at: found.modification_time.and_then(|time| serde_json::from_value(time.into()).ok()),
        target: Some(found.link_target).filter(|target| kind == FileKind::Link && !target.is_empty()),
    }
}

/// Lists a folder.
pub(crate) async fn list(agent: &Agent, call: ListFolder) -> Result<FolderListing, LinkError> {
    let engine = agent.engine();
    let id = find(engine, call.instance, call.container).await?;
    let from = usize::try_from(call.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(call.limit.min(LISTED_MAX)).unwrap_or_default();
    let command = ["/bin/sh", "-c", LIST, "sh", call.path.as_str()].map(str::to_owned).to_vec();
    let asked = run_helper(agent, &id, command, NAMES_BYTES_MAX).await;
    let Some(outcome) = asked.ok().filter(|outcome| outcome.code == Some(0) || outcome.is_cut) else {
        return Ok(scan(engine, &id, &call.path).await?.page(from, limit));
    };
    let whole = up_to_the_last_nul(&outcome.out);
    let mut names: Vec<String> =
        whole.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.retain(|name| !name.is_empty());
    names.sort();

    let mut files = Vec::new();
    let page: Vec<&String> = names.iter().skip(from).take(limit).collect();
    for some in page.chunks(LOOKED_AT_TOGETHER) {
        let looks = some.iter().map(|name| look_in(engine, &id, &call.path, name));
        for file in join_all(looks).await {
            files.extend(file?);
        }
    }
    Ok(FolderListing { files, total: names.len() as u64, is_complete: !outcome.is_cut })
}

/// None when it has gone meanwhile.
async fn look_in(
    engine: &Engine,
    id: &str,
    folder: &FilePath,
    name: &str,
) -> Result<Option<FileView>, LinkError> {
    // A program in the container may print what it likes, also no names.
    if name.contains('/') {
        return Ok(None);
    }
    let Ok(path) = folder.join(name) else { return Ok(Some(unknown(name))) };
    Ok(match ask(engine, id, &path).await? {
        Seen::File(file) => {
            let target = file.target.filter(|target| target.len() <= TARGET_BYTES_MAX);
            Some(FileView { target, ..file })
        }
        Seen::Unknown => Some(unknown(name)),
        Seen::Nothing => None,
    })
}

/// Something that is there and cannot be named.
fn unknown(name: &str) -> FileView {
    FileView {
        name: name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect(),
        kind: FileKind::Other,
        size_bytes: 0,
        mode: "0".to_owned(),
        modified_at: None,
        target: None,
    }
}

/// A name that was cut off is none.
fn up_to_the_last_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == 0).unwrap_or_default();
    &bytes[..end]
}

/// What was found of a folder.
struct Scan {
    files: BTreeMap<String, FileView>,
    is_complete: bool,
}

impl Scan {
    fn page(self, from: usize, limit: usize) -> FolderListing {
        let total = self.files.len() as u64;
        let files = self.files.into_values().skip(from).take(limit).collect();
        FolderListing { files, total, is_complete: self.is_complete }
    }
}

/// Finds what is in a folder by reading all of it, as far as that goes.
async fn scan(engine: &Engine, id: &str, folder: &FilePath) -> Result<Scan, LinkError> {
    let pieces = archive(engine, id, folder).await?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_WAITING);
    let is_root = folder.is_root();
    let work = tokio::task::spawn_blocking(move || scan_archive(Pieces::new(receiver), is_root));
    let feed = async {
        let mut pieces = std::pin::pin!(pieces);
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            let is_enough = bytes > SCAN_BYTES_MAX || piece.is_err();
            if sender.send(piece.map_err(io::Error::other)).await.is_err() || is_enough {
                return;
            }
        }
    };
    // Whatever was read by then counts.
    drop(tokio::time::timeout(SCAN_TIMEOUT, feed).await);
    drop(sender);
    work.await.map_err(engine_down)
}

fn scan_archive(pieces: Pieces, is_root: bool) -> Scan {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(pieces);
    let Ok(entries) = archive.entries() else { return Scan { files, is_complete: false } };
    for entry in entries {
        let Ok(entry) = entry else { return Scan { files, is_complete: false } };
        let path = entry.path_bytes();
        let mut components =
            path.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b"."));
        if !is_root && components.next().is_none() {
            continue;
        }
        let (Some(name), None) = (components.next(), components.next()) else { continue };
        let name = String::from_utf8_lossy(name).into_owned();
        let file = of_header(&name, &entry);
        files.insert(name, file);
        if files.len() >= SCAN_NAMES_MAX {
            return Scan { files, is_complete: false };
        }
    }
    Scan { files, is_complete: true }
}

fn of_header<R: Read>(name: &str, entry: &tar::Entry<'_, R>) -> FileView {
    let header = entry.header();
    let kind = match header.entry_type() {
        // A second name of a file that came before; its length is told there.
        tar::EntryType::Regular | tar::EntryType::Link => FileKind::File,
        tar::EntryType::Directory => FileKind::Folder,
        tar::EntryType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    };
    let time = header.mtime().ok().and_then(|secs| i64::try_from(secs).ok());
    let target = entry.link_name_bytes().filter(|_| kind == FileKind::Link);
    FileView {
        size_bytes: if kind == FileKind::File { entry.size() } else { 0 },
        mode: format!("{:o}", header.mode().unwrap_or_default() & RIGHTS),
        modified_at: time.map(|secs| Timestamp(0).plus_secs(secs)),
        target: target
            .map(|target| String::from_utf8_lossy(&target).into_owned())
            .filter(|target| target.len() <= TARGET_BYTES_MAX),
        kind,
        ..unknown(name)
    }
}

/// Pieces that arrive elsewhere, as something to read.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, rest: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece?,
                // Not the end of the archive, which ends with a mark of its own.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

async fn archive(
    engine: &Engine,
    id: &str,
    path: &FilePath,
) -> Result<impl Stream<Item = Result<Bytes, LinkError>> + Send + use<>, LinkError> {
    engine.get(&format!("/containers/{id}/archive"), &[("path", path.to_string())]).await
}

/// A file, or a folder with everything in it, as a tar.
pub(crate) async fn read(agent: &Agent, call: ReadFiles) -> Result<Body, LinkError> {
    let id = find(agent.engine(), call.instance, call.container).await?;
    let pieces = archive(agent.engine(), &id, &call.path).await?;
    // Ends itself, with an error, when the engine holds the container for too long.
    let bounded = async_stream::try_stream! {
        let mut pieces = std::pin::pin!(pieces);
        let deadline = Instant::now() + READ_TIMEOUT;
        loop {
            let too_long = |_| LinkError::new(LinkErrorCode::Timeout, TOO_LARGE);
            let piece = tokio::time::timeout_at(deadline, pieces.try_next()).await.map_err(too_long)?;
            let Some(piece) = piece? else { return };
            yield piece;
        }
    };
    Ok(Body::from_stream(agent.spool().pass_on(agent.tasks(), bounded).await?))
}

/// Unpacks a tar into a folder that is there.
pub(crate) async fn write(agent: &Agent, call: WriteFiles, content: Body) -> Result<(), LinkError> {
    let engine = agent.engine();
    let id = find(engine, call.instance, call.container).await?;
    let broken = |error| LinkError::new(LinkErrorCode::Invalid, format!("it did not arrive: {error}"));
    let content = agent.spool().keep(content.into_data_stream().map_err(broken)).await?;
    // A folder stays a folder, also when the tar has something else of its name.
    let query = [("path", call.path.to_string()), ("noOverwriteDirNonDir", "1".to_owned())];
    let address = format!("/containers/{id}/archive");
    let put = engine.put(&address, &query, Body::from_stream(content.stream()));
    tokio::time::timeout(WRITE_TIMEOUT, put).await.map_err(|_| super::timed_out(WRITE_TIMEOUT))?
}

/// Removes a file, or a folder.
pub(crate) async fn remove(agent: &Agent, call: RemoveFile) -> Result<RemoveFileDone, LinkError> {
    let engine = agent.engine();
    let id = find(engine, call.instance, call.container).await?;
    if call.path.is_root() {
        return Err(LinkError::new(LinkErrorCode::Invalid, "a container's root cannot be removed"));
    }
    let Some(file) = look(engine, &id, &call.path).await? else {
        return Err(LinkError::new(LinkErrorCode::NotFound, format!("there is no `{}`", call.path)));
    };
    let words: &[&str] = match file.kind {
        FileKind::Folder if call.is_recursive => &["rm", "-rf", "--"],
        FileKind::Folder => &["rmdir", "--"],
        _ => &["rm", "-f", "--"],
    };
    let command = words.iter().copied().chain([call.path.as_str()]).map(str::to_owned).collect();
    let outcome = run_helper(agent, &id, command, WORDS_MAX).await?;
    match outcome.code {
        Some(0) => Ok(RemoveFileDone {}),
        Some(126 | 127) => {
            let message =
                format!("the image has no `{}`, and the engine cannot remove files itself", words[0]);
            Err(LinkError::new(LinkErrorCode::Conflict, message))
        }
        _ => {
            let said = String::from_utf8_lossy(&outcome.err);
            let said: String = said.trim().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
            Err(LinkError::new(LinkErrorCode::Conflict, format!("it was not removed: {said}")))
        }
    }
}

/// To whom files should belong that are given to a container's programs: to the user that they run as.
pub(crate) async fn owner(engine: &Engine, call: GetFileOwner) -> Result<FileOwner, LinkError> {
    let id = find(engine, call.instance, call.container).await?;
    let docker = engine.docker().await?;
    let found = within(CALL_TIMEOUT, docker.inspect_container(&id, None::<InspectContainerOptions>)).await?;
    let user = found.config.and_then(|config| config.user).unwrap_or_default();
    let (user, group) =
        user.split_once(':').map_or((user.as_str(), None), |(user, group)| (user, Some(group)));
    let users = async {
        if user.is_empty() || user == "0" {
            Ok(String::new())
        } else {
            small(engine, &id, "/etc/passwd").await
        }
    };
    let groups = async {
        let is_named = group.is_some_and(|group| group.parse::<u32>().is_err());
        if is_named { small(engine, &id, "/etc/group").await } else { Ok(String::new()) }
    };
    Ok(owner_of(user, group, &users.await?, &groups.await?))
}

/// As engines read it; somebody who is not in the lists is root, who can be read by everybody.
fn owner_of(user: &str, group: Option<&str>, users: &str, groups: &str) -> FileOwner {
    let line = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|cells| {
        cells.first() == Some(&user) || (cells.get(2) == Some(&user) && user.parse::<u32>().is_ok())
    });
    let number = |cells: &[&str], at: usize| cells.get(at).and_then(|cell| cell.parse::<u32>().ok());
    let uid = user.parse().ok().or_else(|| number(line.as_deref()?, 2));
    let named = |group: &str| {
        let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|cells| cells.first() == Some(&group)).and_then(|cells| number(&cells, 2))
    };
    let gid = match group {
        Some(group) => group.parse().ok().or_else(|| named(group)),
        None => number(line.as_deref().unwrap_or_default(), 3),
    };
    FileOwner { uid: uid.unwrap_or_default(), gid: gid.unwrap_or_default() }
}

/// The text of a small file; empty when there is none, or when it is no small file.
async fn small(engine: &Engine, id: &str, path: &str) -> Result<String, LinkError> {
    let path: FilePath = path.parse().map_err(engine_down)?;
    let pieces = match archive(engine, id, &path).await {
        Ok(pieces) => pieces,
        Err(error) if is_not_found(&error) => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut pieces = std::pin::pin!(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > USERS_BYTES_MAX {
            return Ok(String::new());
        }
    }
    let mut archive = tar::Archive::new(bytes.as_slice());
    let first = archive.entries().ok().and_then(|mut entries| entries.next()?.ok());
    let Some(mut file) = first.filter(|file| file.header().entry_type().is_file()) else {
        return Ok(String::new());
    };
    let mut text = Vec::new();
    Ok(file.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_as_engines_find_them() {
        let users = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken\nodd:x:many:1::/:\n";
        let groups = "root:x:0:\nstaff:x:50:app\n";
        let of = |user, group| {
            let FileOwner { uid, gid } = owner_of(user, group, users, groups);
            (uid, gid)
        };

        assert_eq!(of("", None), (0, 0));
        assert_eq!(of("app", None), (1000, 1001));
        assert_eq!(of("1000", None), (1000, 1001));
        assert_eq!(of("4242", None), (4242, 0));
        assert_eq!(of("4242", Some("7")), (4242, 7));
        assert_eq!(of("app", Some("staff")), (1000, 50));
        assert_eq!(of("nobody", Some("nothing")), (0, 0));
        assert_eq!(of("odd", None), (0, 1));
    }

    #[test]
    fn only_what_is_in_the_folder_itself_is_listed() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, size: u64, target: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(size);
            header.set_mode(0o4755);
            header.set_mtime(10);
            if kind == tar::EntryType::Symlink {
                builder.append_link(&mut header, name, target).unwrap();
            } else {
                builder.append_data(&mut header, name, io::repeat(0).take(size)).unwrap();
            }
        };
        add("srv/", tar::EntryType::Directory, 0, "");
        add("srv/file", tar::EntryType::Regular, 700, "");
        add("srv/folder/", tar::EntryType::Directory, 0, "");
        add("srv/folder/deep", tar::EntryType::Regular, 5, "");
        add("srv/link", tar::EntryType::Symlink, 0, "../etc");
        add("srv/fifo", tar::EntryType::Fifo, 0, "");
        let bytes = builder.into_inner().unwrap();
        let scan = |bytes: Vec<u8>, is_root| {
            let (sender, receiver) = mpsc::channel(PIECES_WAITING);
            sender.try_send(Ok(bytes.into())).unwrap();
            drop(sender);
            scan_archive(Pieces::new(receiver), is_root)
        };

        let found = scan(bytes.clone(), false);

        assert!(found.is_complete);
        assert_eq!(found.files.keys().collect::<Vec<_>>(), ["fifo", "file", "folder", "link"]);
        let file = &found.files["file"];
        assert_eq!((file.kind, file.size_bytes, file.mode.as_str()), (FileKind::File, 700, "755"));
        assert_eq!(found.files["link"].target.as_deref(), Some("../etc"));
        assert_eq!(found.files["fifo"].kind, FileKind::Other);
        assert_eq!(scan(bytes.clone(), true).files.keys().collect::<Vec<_>>(), ["srv"]);
        let cut = scan(bytes[..1500].to_vec(), false);
        assert!(!cut.is_complete, "what is cut off is said to be");
        let page = cut.page(0, 1);
        assert_eq!((page.files.len(), page.total), (1, 1));
    }

    #[test]
    fn kinds_are_read_from_the_engines_bits() {
        let kind = |mode: u32| {
            let stat = PathStatResponse {
                name: "x".into(),
                size: 4096,
                file_mode: mode,
                modification_time: Some("2026-01-01T00:00:00Z".into()),
                link_target: "/etc".into(),
            };
            let file = view("x".into(), stat);
            (file.kind, file.size_bytes, file.mode, file.target.is_some())
        };

        assert_eq!(kind(0o644), (FileKind::File, 4096, "644".into(), false));
        assert_eq!(kind(GO_FOLDER | 1 << 20 | 0o777), (FileKind::Folder, 0, "777".into(), false));
        assert_eq!(kind(GO_LINK | 0o777), (FileKind::Link, 0, "777".into(), true));
        assert_eq!(kind(1 << 26 | 1 << 21 | 0o660), (FileKind::Other, 0, "660".into(), false));
    }
}
