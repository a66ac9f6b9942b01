//! `longshore container cp` and `longshore container file`: files in containers. What comes out of a container was made by
//! somebody else: it is written where it was asked for and nowhere else, and carries no rights of its own.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reqwest::{Method, Response};
use tokio::sync::mpsc;
use wire::files::{FileKind, FilePath, FileView, FolderView};

use super::client::Route;
use super::container::ContainerArg;
use super::failure::Failure;
use super::ignore::Ignore;
use super::list::name_of;
use super::session::Session;
use super::upload::Source;
use super::{environment, human, pack, words};

/// How long a download may stand still.
const SILENCE: Duration = Duration::from_mins(2);
/// Pieces that may wait for the disk.
const PIECES: usize = 8;
/// Rows of a folder that are asked for together.
const PAGE_ROWS: u64 = 500;

/// Verbs of `longshore container file`.
#[derive(Debug, Subcommand)]
pub(crate) enum FileCommand {
    /// List a folder
    #[command(visible_alias = "ls")]
    List {
        /// Its name or number
        container: ContainerArg,
        /// Which folder
        #[arg(default_value = "/")]
        path: FilePath,
    },
    /// Make a folder, and those that it is in
    Mkdir {
        /// Its name or number
        container: ContainerArg,
        /// Which folder
        path: FilePath,
    },
    /// Delete a file or a folder
    #[command(alias = "rm")]
    Delete {
        /// Its name or number
        container: ContainerArg,
        /// What
        path: FilePath,
        /// Also a folder that is not empty
        #[arg(long, short)]
        recursive: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// From where, and to where.
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// A path here, or `CONTAINER:/PATH`
    from: String,
    /// A path here, or `CONTAINER:/PATH`
    to: String,
}

/// Runs a verb.
pub(crate) async fn run(session: &Session, command: FileCommand) -> anyhow::Result<()> {
    match command {
        FileCommand::List { container, path } => list(session, &container.0, &path).await,
        FileCommand::Mkdir { container, path } => {
            let answer = mkdir(session, &container.0, &path).await?;
            session.done(&answer, words::FOLDER_MADE, &[path.as_str()])
        }
        FileCommand::Delete { container, path, recursive, yes } => {
            session.ask(yes, words::DELETE_FILE, &[path.as_str(), &container.0])?;
            let mut query = vec![("path", path.to_string())];
            query.extend(recursive.then(|| ("recursive", "true".to_owned())));
            let route = ["api", "v1", "containers", &container.0, "files"];
            let route = Route { method: Method::DELETE, path: &route, query: &query };
            let answer = session.client.ask(&route).await?;
            session.done(&answer, words::FILE_DELETED, &[path.as_str()])
        }
    }
}

async fn mkdir(session: &Session, container: &str, path: &FilePath) -> anyhow::Result<super::client::Answer> {
    let query = [("path", path.to_string())];
    let route = ["api", "v1", "containers", container, "files", "folders"];
    session.client.ask(&Route { method: Method::POST, path: &route, query: &query }).await
}

async fn look(
    session: &Session,
    container: &str,
    path: &FilePath,
    offset: u64,
) -> anyhow::Result<FolderView> {
    let query =
        [("path", path.to_string()), ("limit", PAGE_ROWS.to_string()), ("offset", offset.to_string())];
    session.client.get(&["api", "v1", "containers", container, "files"], &query).await?.view()
}

async fn list(session: &Session, container: &str, path: &FilePath) -> anyhow::Result<()> {
    let printer = &session.printer;
    let mut folder = look(session, container, path, 0).await?;
    while (folder.data.len() as u64) < folder.total {
        let more = look(session, container, path, folder.data.len() as u64).await?.data;
        if more.is_empty() {
            break;
        }
        folder.data.extend(more);
    }
    if printer.is_json {
        return printer.json(&serde_json::to_string(&folder)?);
    }
    let now = environment::now();
    let row = |file: &FileView| {
        let name = match (&file.target, file.kind) {
            (Some(target), _) => format!("{} -> {target}", file.name),
            (None, FileKind::Folder) => format!("{}/", file.name),
            _ => file.name.clone(),
        };
        let size = if file.kind == FileKind::File { human::size(file.size_bytes) } else { String::new() };
        let changed = file.modified_at.map(|time| human::ago(time, now, printer.language));
        [name_of(&file.kind), file.mode.clone(), size, changed.unwrap_or_default(), name]
    };
    let rows: Vec<_> = match folder.file.kind {
        FileKind::Folder => folder.data.iter().map(row).collect(),
        _ => vec![row(&folder.file)],
    };
    printer.table(["KIND", "MODE", "SIZE", "CHANGED", "NAME"], &rows)?;
    if !folder.is_complete {
        printer.warn(words::LIST_CUT_OFF, &[path.as_str()]);
    }
    Ok(())
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Here(PathBuf),
    There(String, FilePath),
}

/// What stands before a `:` that comes before any `/` is a container.
fn end(text: &str) -> anyhow::Result<End> {
    match text.split_once(':') {
        Some((container, path)) if !container.is_empty() && !container.contains('/') => {
            let container: ContainerArg =
                container.parse().map_err(|error| Failure::usage(format!("{error}")))?;
            let path = path.parse().map_err(|error| Failure::usage(format!("`{text}`: {error}")))?;
            Ok(End::There(container.0, path))
        }
        _ => Ok(End::Here(PathBuf::from(text))),
    }
}

/// Copies a file or a folder into a container, or out of one.
pub(crate) async fn copy(session: &Session, args: &CopyArgs) -> anyhow::Result<()> {
    match (end(&args.from)?, end(&args.to)?) {
        (End::Here(from), End::There(container, to)) => {
            // `FOLDER/.` means what is in it, as everywhere.
            let is_content = args.from.ends_with("/.");
            let is_into = args.to.ends_with('/');
            copy_in(session, &from, &container, &to, is_content, is_into).await
        }
        (End::There(container, from), End::Here(to)) => {
            let is_content = args.from.ends_with("/.");
            copy_out(session, &container, &from, &to, is_content).await
        }
        _ => {
            let language = session.printer.language;
            let hint = language.pick(words::COPY_ENDS_HINT);
            Err(Failure::usage(language.pick(words::COPY_ENDS)).hint(hint).into())
        }
    }
}

async fn copy_in(
    session: &Session,
    from: &Path,
    container: &str,
    to: &FilePath,
    is_content: bool,
    is_into: bool,
) -> anyhow::Result<()> {
    let is_folder = pack::is_folder(from)?;
    let there = match look(session, container, to, 0).await {
        Ok(found) => Some(found.file.kind),
        Err(error) if Failure::of(&error).is_some_and(|failure| failure.status == Some(404)) => None,
        Err(error) => return Err(error),
    };
    let is_there = there == Some(FileKind::Folder);
    let target = if (is_there || is_into) && !is_content {
        let name = fs::canonicalize(from)?;
        let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        to.join(&name).map_err(|error| Failure::new(error.to_string()))?
    } else {
        to.clone()
    };
    let answer = if is_folder {
        let source = Source::folder(session, from.to_owned(), Ignore::nothing())?;
        mkdir(session, container, &target).await?;
        let query = [("path", target.to_string())];
        let route = ["api", "v1", "containers", container, "files", "archive"];
        source.send(session, Method::POST, &route, &query).await?
    } else {
        let mode = fs::metadata(from)?.permissions().mode();
        let query = [("path", target.to_string()), ("executable", (mode & 0o111 != 0).to_string())];
        let route = ["api", "v1", "containers", container, "files", "content"];
        Source::file(from.to_owned())?.send(session, Method::PUT, &route, &query).await?
    };
    session.done(&answer, words::COPIED_TO, &[&format!("{container}:{target}")])
}

async fn copy_out(
    session: &Session,
    container: &str,
    from: &FilePath,
    to: &Path,
    is_content: bool,
) -> anyhow::Result<()> {
    let found = look(session, container, from, 0).await?.file;
    let query = [("path", from.to_string())];
    let path = ["api", "v1", "containers", container, "files", "content"];
    let response = session.client.stream(&path, &query, "*/*").await?;
    let bar = session.printer.bytes_bar(response.content_length().unwrap_or_default());
    bar.set_message(session.printer.language.pick(words::DOWNLOADING));
    let pieces = Arriving { session, response, bar: bar.clone() };
    let name = if from.is_root() { "root" } else { from.name() };
    let target = if to.is_dir() && !is_content { to.join(name) } else { to.to_owned() };
    let copied = if found.kind == FileKind::Folder {
        unpacked(pieces, target.clone(), !from.is_root()).await
    } else {
        written(pieces, &target, found.is_executable()).await
    };
    bar.finish_and_clear();
    let copied = copied?;
    for left_out in &copied.left_out {
        session.printer.warn(words::LEFT_OUT, &[left_out]);
    }
    let shown = target.display().to_string();
    if session.printer.is_json {
        let done = serde_json::json!({ "path": shown, "files": copied.files, "bytes": copied.bytes });
        return session.printer.json(&done.to_string());
    }
    session.printer.say(words::COPIED_HERE, &[&shown, &copied.files.to_string(), &human::size(copied.bytes)]);
    Ok(())
}

/// What was written here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Copied {
    files: u64,
    bytes: u64,
    left_out: Vec<String>,
}

/// A download.
struct Arriving<'a> {
    session: &'a Session,
    response: Response,
    bar: indicatif::ProgressBar,
}

impl Arriving<'_> {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let client = &self.session.client;
        let piece = tokio::time::timeout(SILENCE, self.response.chunk()).await;
        let piece = piece.map_err(|_| client.no_answer())?.map_err(|error| client.unreachable(&error))?;
        self.bar.inc(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        Ok(piece.map(Into::into))
    }
}

/// Writes one file, aside first: what has the name is whole.
async fn written(mut pieces: Arriving<'_>, target: &Path, is_executable: bool) -> anyhow::Result<Copied> {
    let cannot = || format!("cannot write `{}`", target.display());
    let name = target.file_name().with_context(cannot)?.to_string_lossy();
    let aside = Aside(target.with_file_name(format!(".{name}.longshore-part")));
    fs::remove_file(&aside.0).ok();
    let mode = if is_executable { 0o755 } else { 0o644 };
    let mut file =
        File::options().write(true).create_new(true).mode(mode).open(&aside.0).with_context(cannot)?;
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await? {
        bytes += piece.len() as u64;
        file.write_all(&piece).with_context(cannot)?;
    }
    fs::rename(&aside.0, target).with_context(cannot)?;
    Ok(Copied { files: 1, bytes, left_out: Vec::new() })
}

/// A file that goes unless it was renamed.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

async fn unpacked(mut pieces: Arriving<'_>, target: PathBuf, has_base: bool) -> anyhow::Result<Copied> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(PIECES);
    let work = tokio::task::spawn_blocking(move || unpack(Waiting::new(receiver), &target, has_base));
    let mut failed = None;
    loop {
        match pieces.next().await {
            Ok(Some(piece)) => {
                if sender.send(piece).await.is_err() {
                    // The reason is the other side's.
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let copied = work.await.context("unpacking ended badly")?;
    failed.map_or(copied, Err)
}

/// Pieces that arrive, as something to read.
struct Waiting {
    receiver: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Waiting {
    fn new(receiver: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { receiver, piece: Vec::new(), at: 0 }
    }
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Some(piece) = self.receiver.blocking_recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let length = (self.piece.len() - self.at).min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// Unpacks a tar below a folder, which is made. Nothing is written outside it and nothing through a link; what is neither a
/// file, a folder nor a link that stays inside is left out.
fn unpack(tar: impl Read, target: &Path, has_base: bool) -> anyhow::Result<Copied> {
    let cannot = |path: &Path| format!("cannot write `{}`", path.display());
    fs::create_dir_all(target).with_context(|| cannot(target))?;
    let mut copied = Copied::default();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry.context("what arrived is cut off or damaged")?;
        let Some(inside) = inside(&entry.path()?, has_base) else {
            anyhow::bail!("`{}` leads out of the folder", entry.path()?.display());
        };
        if inside.as_os_str().is_empty() {
            continue;
        }
        let path = target.join(&inside);
        make_parents(target, &inside).with_context(|| cannot(&path))?;
        let header = entry.header().clone();
        let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
        let folder = inside.parent().unwrap_or(Path::new(""));
        match (header.entry_type(), link) {
            (tar::EntryType::Directory, _) => make_folder(&path).with_context(|| cannot(&path))?,
            (tar::EntryType::Regular, _) => {
                clear(&path).with_context(|| cannot(&path))?;
                let mode = header.mode().unwrap_or(0o644) & 0o777 | 0o600;
                let file = File::options().write(true).create_new(true).mode(mode).open(&path);
                let mut file = file.with_context(|| cannot(&path))?;
                copied.bytes += io::copy(&mut entry, &mut file).with_context(|| cannot(&path))?;
                copied.files += 1;
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or_default());
                file.set_modified(time).ok();
            }
            (tar::EntryType::Symlink, Some(link)) if pack::stays_inside(folder, &link) => {
                clear(&path).with_context(|| cannot(&path))?;
                std::os::unix::fs::symlink(&link, &path).with_context(|| cannot(&path))?;
            }
            // A second name of a file that came before.
            (tar::EntryType::Link, Some(link)) if is_file_below(target, self::inside(&link, has_base)) => {
                let first = target.join(self::inside(&link, has_base).unwrap_or_default());
                clear(&path).with_context(|| cannot(&path))?;
                copied.bytes += fs::copy(first, &path).with_context(|| cannot(&path))?;
                copied.files += 1;
            }
            _ => copied.left_out.push(inside.display().to_string()),
        }
    }
    Ok(copied)
}

/// The path below the folder that was asked for; none when it leads out.
fn inside(path: &Path, has_base: bool) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    let mut components = path
        .components()
        .filter(|component| !matches!(component, Component::CurDir))
        // Of the root the engine writes names that begin there.
        .skip_while(|component| !has_base && *component == Component::RootDir);
    if has_base && !matches!(components.next(), Some(Component::Normal(_)) | None) {
        return None;
    }
    for component in components {
        let Component::Normal(name) = component else { return None };
        inside.push(name);
    }
    Some(inside)
}

/// Makes the folders on the way; a link or a file there is an error.
fn make_parents(target: &Path, inside: &Path) -> io::Result<()> {
    let mut path = target.to_owned();
    for component in inside.parent().into_iter().flat_map(Path::components) {
        path.push(component);
        make_folder(&path)?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::other("there is something else, which is no folder")),
        Err(_) => fs::create_dir(path),
    }
}

/// Removes a file or a link that is in the way.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(io::Error::other("there is a folder of this name")),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Whether an ordinary file is there, with nothing but folders on the way.
fn is_file_below(target: &Path, inside: Option<PathBuf>) -> bool {
    let Some(inside) = inside else { return false };
    let mut path = target.to_owned();
    for component in inside.components() {
        path.push(component);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return false;
        }
    }
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_from_paths() {
        let there = |container: &str, path: &str| End::There(container.to_owned(), path.parse().unwrap());

        assert_eq!(end("web:/srv/app").unwrap(), there("web", "/srv/app"));
        assert_eq!(end("31:/").unwrap(), there("31", "/"));
        for path in ["app", "./web:/srv", "/web:/srv", "a/b:c", ".", ""] {
            assert_eq!(end(path).unwrap(), End::Here(path.into()), "{path}");
        }
        for wrong in ["web:srv", "web:", "Web Site:/srv", "web:/../etc"] {
            assert!(end(wrong).is_err(), "{wrong}");
        }
    }

    /// A tar whose names and links are as they are given.
    fn tar_of(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, name, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_mtime(1_700_000_000);
            let is_file = kind.is_file();
            header.set_size(if is_file { text.len() as u64 } else { 0 });
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if !is_file {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            if is_file {
                bytes.extend_from_slice(text.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(512), 0);
            }
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    #[test]
    fn a_folder_is_unpacked_where_it_was_asked_for() {
        use tar::EntryType::{Directory, Fifo, Link, Regular, Symlink};
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let tar = tar_of(&[
            (Directory, "app/", ""),
            (Regular, "app/run", "#!/bin/sh\n"),
            (Directory, "app/data/", ""),
            (Symlink, "app/data/link", "../run"),
            (Symlink, "app/away", "/etc/passwd"),
            (Link, "app/twin", "app/run"),
            (Fifo, "app/pipe", ""),
        ]);

        for _ in 0..2 {
            let copied = unpack(tar.as_slice(), &target, true).unwrap();
            assert_eq!((copied.files, copied.bytes), (2, 20));
            assert_eq!(copied.left_out, ["away", "pipe"]);
        }

        assert_eq!(fs::read_to_string(target.join("data/link")).unwrap(), "#!/bin/sh\n");
        assert_eq!(fs::read_to_string(target.join("twin")).unwrap(), "#!/bin/sh\n");
        let mode = fs::metadata(target.join("run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "no set-uid bit: {mode:o}");
        assert!(fs::symlink_metadata(target.join("away")).is_err());
        let root = folder.path().join("root");
        unpack(tar_of(&[(Regular, "/etc/note", "x")]).as_slice(), &root, false).unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/note")).unwrap(), "x");
    }

    #[test]
    fn nothing_is_written_outside_and_nothing_through_a_link() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "mine").unwrap();
        let attempts: &[&[(tar::EntryType, &str, &str)]] = &[
            &[(Regular, "app/../../outside/secret", "evil")],
            &[(Regular, "../outside/secret", "evil")],
            &[(Regular, "/outside/secret", "evil")],
            &[(Symlink, "app/x", "../outside"), (Regular, "app/x/secret", "evil")],
            &[(Symlink, "app/x", "y"), (Directory, "app/y/", ""), (Regular, "app/x/secret", "evil")],
            &[(Directory, "app/x/", ""), (Symlink, "app/x", "y"), (Regular, "app/x/z", "evil")],
            &[(Regular, "app/secret", "evil"), (Link, "app/hard", "app/../../outside/secret")],
        ];

        for (number, attempt) in attempts.iter().enumerate() {
            let target = folder.path().join(format!("out{number}"));
            // What was there before may lead out, too.
            fs::create_dir(&target).unwrap();
            std::os::unix::fs::symlink(&outside, target.join("old")).unwrap();
            unpack(tar_of(attempt).as_slice(), &target, true).ok();
            let through = tar_of(&[(Regular, "app/old/secret", "evil")]);
            assert!(unpack(through.as_slice(), &target, true).is_err());
            assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "mine", "{attempt:?}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{attempt:?}");
        }
        let cut = tar_of(&[(Regular, "app/a", "some text")]);
        assert!(unpack(&cut[..515], &folder.path().join("cut"), true).is_err());
    }
}
