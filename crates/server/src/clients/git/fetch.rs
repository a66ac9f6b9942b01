//! Asking a git server for a ref, fetching one commit without its history, and packing a folder of it as a tar. Nothing is
//! ever checked out: a name in a repository becomes a name in an archive and never one on this disk.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use wire::secret::Secret;

use super::lfs;
use super::program::{Bounds, GitError, Workplace};
use super::submodules::{self, Parent, Reach};
use super::url::{Credential, GitUrl};

/// Bytes of refs that a server may tell.
const REFS_BYTES: u64 = 1 << 20;
/// The largest Dockerfile outside of the folder that is built.
const DOCKERFILE_BYTES: u64 = 1 << 20;
/// Commits of a branch that are fetched when a server does not give one by its id.
const DEPTH: &str = "--depth=500";
/// The name of a Dockerfile that lies outside of the folder that is built.
const OUTSIDE: &str = ".longshore.Dockerfile";

/// A git server's repository and how it is reached.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it is.
    pub url: GitUrl,
    /// The addresses of its host that were checked: no others are spoken to.
    pub addresses: Vec<IpAddr>,
    /// What opens it.
    pub credential: Option<Credential>,
    /// Who signs its certificate.
    pub ca_pem: Option<String>,
    /// What opens it over SSH.
    pub ssh_key: Option<Secret>,
    /// Keys of SSH servers that were met before.
    pub known_hosts: Option<String>,
}

/// Bounds on what is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest that a git server may take.
    pub time: Duration,
    /// The largest pack.
    pub fetched_bytes: u64,
    /// The largest archive of a folder.
    pub packed_bytes: u64,
}

/// A commit that a git server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// The branch or tag by which it was found; empty when it was asked for by its id.
    pub git_ref: String,
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The commit.
    pub commit: String,
    /// A tar of the folder to build.
    pub archive: File,
    /// Its size.
    pub bytes: u64,
    /// The Dockerfile's path in it.
    pub dockerfile: String,
    /// The SSH server's key, when it was met for the first time.
    pub known_hosts: Option<String>,
}

/// What to take from a repository.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The folder to build, from the root.
    pub build_path: &'a str,
    /// The Dockerfile, from the root or from the folder; `Dockerfile` in the folder when empty.
    pub dockerfile: &'a str,
    /// How submodules are reached; none when they are not wanted.
    pub submodules: Option<Reach<'a>>,
    /// How large files are reached that Git LFS keeps; none when they are not wanted.
    pub lfs: Option<Reach<'a>>,
}

/// Whether a text is a commit's whole id.
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a text can name a branch, a tag or a commit: git's own rules for refs, and nothing that looks like an option.
pub fn is_ref(text: &str) -> bool {
    let has_bad = text.contains("..") || text.contains("@{") || text.contains("//");
    let is_bad =
        |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}');
    // Not a file's extension: git refuses this spelling alone.
    let is_bad_part =
        |part: &str| part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some();
    !text.is_empty()
        && text != "@"
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !has_bad
        && !text.chars().any(is_bad)
        && !text.split('/').any(is_bad_part)
}

/// A path inside a repository in its shortest form, empty for the root; none when it leads out.
pub fn inner_path(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part if part.chars().any(char::is_control) || part.contains('\\') => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Finds the commit of a branch, tag or id; of the default branch when the name is empty.
pub async fn resolve(folder: &Path, remote: &Remote, name: &str, time: Duration) -> Result<Commit, GitError> {
    if is_commit_id(name) {
        return Ok(Commit { id: name.to_ascii_lowercase(), git_ref: String::new() });
    }
    let place = Workplace::prepare(folder, remote)?;
    let bounds = Bounds { deadline: Instant::now() + time, secs: time.as_secs(), bytes: REFS_BYTES };
    let candidates = candidates(name);
    let peeled: Vec<String> = candidates.iter().map(|name| format!("{name}^{{}}")).collect();
    let mut arguments = vec!["ls-remote", "--symref", "--", remote.url.as_str()];
    arguments.extend(candidates.iter().map(String::as_str));
    arguments.extend(peeled.iter().map(String::as_str));
    let printed = place.run(&arguments, bounds).await?;
    let printed = String::from_utf8_lossy(&printed);
    let head = printed.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
    let ids = || printed.lines().filter_map(|line| line.split_once('\t')).filter(|(id, _)| is_commit_id(id));
    let id_of = |wanted: &str| ids().find(|(_, name)| *name == wanted).map(|(id, _)| id.to_owned());
    for (name, peeled) in candidates.iter().zip(&peeled) {
        if let Some(id) = id_of(peeled).or_else(|| id_of(name)) {
            let git_ref = if name == "HEAD" { head.unwrap_or("HEAD") } else { name };
            return Ok(Commit { id, git_ref: git_ref.to_owned() });
        }
    }
    Err(if name.is_empty() { GitError::Empty } else { GitError::NoRef(name.to_owned()) })
}

fn candidates(name: &str) -> Vec<String> {
    match name {
        "" | "HEAD" => vec!["HEAD".to_owned()],
        name if name.starts_with("refs/") => vec![name.to_owned()],
        name => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
    }
}

/// Fetches one commit and packs a folder of it. `folder` is empty, private and thrown away by the caller afterwards.
pub async fn fetch(
    folder: &Path,
    remote: &Remote,
    commit: &Commit,
    wanted: Wanted<'_>,
    archive: File,
    limits: &Limits,
) -> Result<Fetched, GitError> {
    let place = Workplace::prepare(folder, remote)?;
    let secs = limits.time.as_secs();
    let deadline = Instant::now() + limits.time;
    let small = Bounds { deadline, secs, bytes: REFS_BYTES };
    init(&place, small).await?;
    let id = fetch_commit(&place, remote, commit, Bounds { bytes: limits.fetched_bytes, ..small }).await?;
    let build_path = inner_path(wanted.build_path)
        .ok_or_else(|| GitError::NoPath("`build_path` leads out of the repository".to_owned()))?;
    if !build_path.is_empty() {
        let kind = entry(&place, &id, &build_path, small).await?;
        if kind.as_ref().map(|entry| entry.kind.as_str()) != Some("tree") {
            let detail = format!("the repository has no folder `{build_path}` (`build_path`)");
            return Err(GitError::NoPath(detail));
        }
    }
    let found = find_dockerfile(&place, &id, &build_path, wanted.dockerfile, small).await?;
    let mut archive = archive;
    let dockerfile = match found {
        Dockerfile::Inside(path) => path,
        Dockerfile::Outside(blob) => {
            let bounds = Bounds { bytes: DOCKERFILE_BYTES, ..small };
            let content = place.run(&["cat-file", "blob", &blob], bounds).await?;
            write_entry(&mut archive, OUTSIDE, &content)?;
            OUTSIDE.to_owned()
        }
    };
    let out = archive.try_clone()?;
    let measured = std::sync::Arc::new(archive.try_clone()?);
    let bounds = Bounds { bytes: limits.packed_bytes, ..small };
    let tree = format!("{id}:{build_path}");
    let parent = Parent { place: &place, remote, commit: &id, build_path: &build_path };
    let modules = match wanted.submodules {
        Some(_) => submodules::find(&parent, small).await?,
        None => Vec::new(),
    };
    // Their empty folders come with them.
    let without: Vec<String> =
        modules.iter().map(|module| format!(":(top,literal,exclude){}", module.inside)).collect();
    // Paths are literal elsewhere; here each says so itself.
    let mut arguments = vec!["--no-literal-pathspecs", "archive", "--format=tar", &tree];
    if !without.is_empty() {
        arguments.extend(["--", ":(top)"]);
        arguments.extend(without.iter().map(String::as_str));
    }
    place.run_measured(&arguments, Some(out), bounds, move || Ok(measured.metadata()?.len())).await?;
    if let Some(reach) = wanted.lfs {
        let bounds = Bounds { bytes: limits.fetched_bytes, ..small };
        archive = lfs::fill(archive, &place, remote, reach, bounds, limits.packed_bytes).await?;
    }
    if let Some(reach) = wanted.submodules {
        let bounds = Bounds { bytes: limits.fetched_bytes, ..small };
        submodules::add(&parent, modules, &mut archive, reach, bounds, limits.packed_bytes).await?;
    }
    let known_hosts = std::fs::read_to_string(folder.join("known_hosts")).unwrap_or_default();
    let is_new = !known_hosts.is_empty() && remote.known_hosts.as_deref() != Some(known_hosts.as_str());
    let bytes = archive.metadata()?.len();
    Ok(Fetched { commit: id, archive, bytes, dockerfile, known_hosts: is_new.then_some(known_hosts) })
}

/// Makes the repository that a commit is fetched into.
pub(super) async fn init(place: &Workplace<'_>, bounds: Bounds) -> Result<(), GitError> {
    place.run(&["init", "--quiet", "--bare", "--template=", "repository"], bounds).await?;
    // What lies in the repository, whatever it says about archives of itself.
    let info = place.folder.join("repository/info");
    std::fs::create_dir_all(&info)?;
    std::fs::write(info.join("attributes"), "* -export-ignore -export-subst\n")?;
    Ok(())
}

/// By its id alone where the server allows that, else by its ref, and the commit that is there now is looked for in it.
pub(super) async fn fetch_commit(
    place: &Workplace<'_>,
    remote: &Remote,
    commit: &Commit,
    bounds: Bounds,
) -> Result<String, GitError> {
    let packs = place.folder.join("repository/objects/pack");
    let url = remote.url.as_str();
    let by_id = format!("{}:refs/longshore/fetched", commit.id);
    let arguments =
        ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--", url, &by_id];
    let measure = move || folder_bytes(&packs);
    let small = Bounds { bytes: REFS_BYTES, ..bounds };
    match place.run_measured(&arguments, None, bounds, measure.clone()).await {
        Ok(()) => return peel(place, &commit.id, small).await,
        Err(error @ (GitError::NotInstalled | GitError::TooLarge(_) | GitError::TimedOut(_))) => {
            return Err(error);
        }
        Err(error) if error.is_passing() => return Err(error),
        Err(error) => tracing::debug!(%error, "the git server does not give a commit by its id"),
    }
    let by_ref = match commit.git_ref.as_str() {
        "" => "+refs/heads/*:refs/longshore/heads/*".to_owned(),
        name => format!("+{name}:refs/longshore/fetched"),
    };
    let arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", DEPTH, "--", url, &by_ref];
    place.run_measured(&arguments, None, bounds, measure).await?;
    peel(place, &commit.id, small).await
}

/// The commit that an id stands for: a tag with words of its own is an object before its commit, and git servers tell that one's id.
async fn peel(place: &Workplace<'_>, id: &str, bounds: Bounds) -> Result<String, GitError> {
    let object = format!("{id}^{{commit}}");
    match place.run(&["rev-parse", "--verify", &object], bounds).await {
        Ok(printed) => Ok(String::from_utf8_lossy(&printed).trim().to_owned()),
        Err(GitError::Other(_) | GitError::NoRepository) => Err(GitError::NoRef(id.to_owned())),
        Err(error) => Err(error),
    }
}

fn folder_bytes(folder: &PathBuf) -> std::io::Result<u64> {
    let mut bytes = 0;
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    for entry in entries {
        // A temporary file may have got its name meanwhile.
        bytes += entry?.metadata().map_or(0, |found| found.len());
    }
    Ok(bytes)
}

pub(super) struct Entry {
    mode: String,
    pub(super) kind: String,
    pub(super) id: String,
}

/// What a commit has at a path; a link is not followed.
pub(super) async fn entry(
    place: &Workplace<'_>,
    commit: &str,
    path: &str,
    bounds: Bounds,
) -> Result<Option<Entry>, GitError> {
    let printed = place.run(&["ls-tree", "-z", "--full-tree", commit, "--", path], bounds).await?;
    let printed = String::from_utf8_lossy(&printed);
    let Some((facts, _)) = printed.split('\0').next().and_then(|line| line.split_once('\t')) else {
        return Ok(None);
    };
    let mut facts = facts.split(' ');
    let mut next = || facts.next().unwrap_or_default().to_owned();
    Ok(Some(Entry { mode: next(), kind: next(), id: next() }))
}

enum Dockerfile {
    /// In the folder that is built; its path from there.
    Inside(String),
    /// Elsewhere in the repository; its content's id.
    Outside(String),
}

/// Docker reads `-f` from where it is started, the root; people also mean the folder.
async fn find_dockerfile(
    place: &Workplace<'_>,
    commit: &str,
    build_path: &str,
    given: &str,
    bounds: Bounds,
) -> Result<Dockerfile, GitError> {
    let inside = |path: &str| match build_path {
        "" => Some(path.to_owned()),
        folder => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
    };
    let in_folder =
        |path: &str| if build_path.is_empty() { path.to_owned() } else { format!("{build_path}/{path}") };
    let leads_out = || GitError::NoPath("`dockerfile` leads out of the repository".to_owned());
    let mut paths = Vec::new();
    if given.is_empty() {
        paths.push(in_folder("Dockerfile"));
    } else {
        let from_root = inner_path(given).filter(|path| !path.is_empty());
        let from_folder = inner_path(&in_folder(given));
        if from_root.is_none() && from_folder.is_none() {
            return Err(leads_out());
        }
        paths.extend(from_root);
        paths.extend(from_folder.filter(|path| !path.is_empty()));
    }
    for path in &paths {
        let Some(entry) = entry(place, commit, path, bounds).await? else { continue };
        if entry.kind != "blob" {
            continue;
        }
        // A link inside of the context is the archive's to follow and to refuse.
        if let Some(path) = inside(path) {
            return Ok(Dockerfile::Inside(path));
        }
        if entry.mode == "120000" {
            let detail = format!("`{path}` is a link; name the file that it leads to as `dockerfile`");
            return Err(GitError::NoPath(detail));
        }
        return Ok(Dockerfile::Outside(entry.id));
    }
    let shown = paths.first().map_or("Dockerfile", String::as_str);
    Err(GitError::NoPath(format!("the repository has no `{shown}` (`dockerfile`)")))
}

/// One file of a tar, before the rest of it.
fn write_entry(out: &mut File, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(content)?;
    out.write_all(&vec![0; (512 - content.len() % 512) % 512])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_that_git_would_not_take_are_refused() {
        for name in ["main", "feature/x", "v1.0", "refs/heads/main", "中文", "a@b"] {
            assert!(is_ref(name), "{name}");
        }
        for name in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "[a",
            "a\\b",
            "@",
            "a@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.",
            "a\nb",
            "a\0b",
        ] {
            assert!(!is_ref(name), "{name:?}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (path, inner) in
            [("", ""), (".", ""), ("/", ""), ("./a/", "a"), ("/a//b", "a/b"), ("a/../b", "b")]
        {
            assert_eq!(inner_path(path).as_deref(), Some(inner), "{path}");
        }
        for path in ["..", "../../", "a/../../b", "a\\b", "a\nb"] {
            assert_eq!(inner_path(path), None, "{path:?}");
        }
    }
}
