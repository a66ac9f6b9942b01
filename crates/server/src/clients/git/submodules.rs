//! Submodules: repositories that a repository names in `.gitmodules`. Each is held to the same rules as the repository that
//! names it, gets its credential only when it lies at the same place, and brings no further ones.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::fetch::{self, Commit, Remote, inner_path};
use super::program::{Bounds, GitError, Workplace};
use super::url::{GitUrl, Given};
use crate::clients::http_out::{Outbound, Trust};

/// Submodules of one repository.
const MAX_SUBMODULES: usize = 50;
/// Bytes of a block of a tar.
const BLOCK: u64 = 512;

/// How submodules are reached.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// Says which addresses may be spoken to.
    pub outbound: &'a Outbound,
    /// On whose behalf.
    pub trust: Trust,
}

/// A repository whose submodules are wanted.
pub(super) struct Parent<'a> {
    pub(super) place: &'a Workplace<'a>,
    pub(super) remote: &'a Remote,
    pub(super) commit: &'a str,
    /// The folder that is built: submodules elsewhere are not needed.
    pub(super) build_path: &'a str,
}

/// A submodule of a folder.
pub(super) struct Submodule {
    path: String,
    url: String,
    /// Its path from the folder that is built.
    pub(super) inside: String,
    commit: String,
}

/// Finds the submodules under the folder that is built.
pub(super) async fn find(parent: &Parent<'_>, bounds: Bounds) -> Result<Vec<Submodule>, GitError> {
    let mut found = Vec::new();
    for (path, url) in listed(parent, bounds).await? {
        let Some(inside) = under(parent.build_path, &path) else { continue };
        let entry = fetch::entry(parent.place, parent.commit, &path, bounds).await?;
        let Some(entry) = entry.filter(|entry| entry.kind == "commit") else { continue };
        found.push(Submodule { path, url, inside, commit: entry.id });
    }
    Ok(found)
}

/// Adds submodules to an archive of the folder.
pub(super) async fn add(
    parent: &Parent<'_>,
    modules: Vec<Submodule>,
    archive: &mut File,
    reach: Reach<'_>,
    fetch_bounds: Bounds,
    archive_bytes: u64,
) -> Result<(), GitError> {
    for (number, module) in modules.into_iter().enumerate() {
        let broken = |why: &str| GitError::Submodule(module.path.clone(), why.to_owned());
        let small = Bounds { bytes: 1 << 20, ..fetch_bounds };
        let (url, given) =
            resolved(&parent.remote.url, &module.url).ok_or_else(|| broken("its address is refused"))?;
        if !matches!(given, Given::Nothing) {
            return Err(broken(
                "its address has a user and password in it, which do not belong into a repository",
            ));
        }
        let endpoint = url.endpoint().map_err(|error| broken(&error.to_string()))?;
        let addresses = reach.outbound.addresses(&endpoint, reach.trust).await;
        let addresses = addresses.map_err(|error| broken(&error.to_string()))?;
        let is_same_place = url.origin() == parent.remote.url.origin();
        let remote = Remote {
            addresses: addresses.into_iter().map(|address| address.ip()).collect(),
            credential: parent.remote.credential.clone().filter(|_| is_same_place),
            ssh_key: parent.remote.ssh_key.clone().filter(|_| is_same_place),
            ca_pem: parent.remote.ca_pem.clone().filter(|_| is_same_place),
            known_hosts: parent.remote.known_hosts.clone().filter(|_| is_same_place),
            url,
        };
        let folder = parent.place.folder.join(format!("submodule-{number}"));
        std::fs::create_dir(&folder)?;
        let place = Workplace::prepare(&folder, &remote)?;
        fetch::init(&place, small).await?;
        let commit = Commit { id: module.commit.clone(), git_ref: String::new() };
        let id = fetch::fetch_commit(&place, &remote, &commit, fetch_bounds)
            .await
            .map_err(|error| broken(&error.to_string()))?;
        let end = end_of_entries(archive)?;
        archive.set_len(end)?;
        archive.seek(SeekFrom::Start(end))?;
        let prefix = format!("--prefix={}/", module.inside);
        let (out, measured) = (archive.try_clone()?, std::sync::Arc::new(archive.try_clone()?));
        let bounds = Bounds { bytes: archive_bytes, ..fetch_bounds };
        let tree = format!("{id}:");
        let measure = move || Ok(measured.metadata()?.len());
        place.run_measured(&["archive", "--format=tar", &prefix, &tree], Some(out), bounds, measure).await?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Paths and addresses that `.gitmodules` names, as far as they make sense.
async fn listed(parent: &Parent<'_>, bounds: Bounds) -> Result<Vec<(String, String)>, GitError> {
    let small = Bounds { bytes: 1 << 20, ..bounds };
    let Some(file) = fetch::entry(parent.place, parent.commit, ".gitmodules", small).await? else {
        return Ok(Vec::new());
    };
    let printed =
        parent.place.run(&["config", "--blob", &file.id, "--no-includes", "--list", "-z"], small).await?;
    let printed = String::from_utf8_lossy(&printed);
    let mut found: Vec<(String, Option<String>, Option<String>)> = Vec::new();
    for line in printed.split('\0') {
        let Some((key, value)) = line.split_once('\n') else { continue };
        let Some((name, variable)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let at = found.iter().position(|(known, _, _)| known == name).unwrap_or_else(|| {
            found.push((name.to_owned(), None, None));
            found.len() - 1
        });
        match variable {
            "path" => found[at].1 = inner_path(value).filter(|path| !path.is_empty()),
            "url" => found[at].2 = Some(value.to_owned()),
            _ => {}
        }
    }
    if found.len() > MAX_SUBMODULES {
        let why = format!("there are more than {MAX_SUBMODULES}");
        return Err(GitError::Submodule(".gitmodules".to_owned(), why));
    }
    Ok(found.into_iter().filter_map(|(_, path, url)| Some((path?, url?))).collect())
}

fn under(folder: &str, path: &str) -> Option<String> {
    match folder {
        "" => Some(path.to_owned()),
        folder => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
    }
}

/// An address may be relative to that of the repository.
fn resolved(parent: &GitUrl, text: &str) -> Option<(GitUrl, Given)> {
    if !text.starts_with("./") && !text.starts_with("../") {
        return GitUrl::parse(text).ok();
    }
    let whole = parent.as_str();
    let root = match whole.find("://") {
        Some(at) => at + 3 + whole[at + 3..].find('/')?,
        None => whole.find(':')?,
    };
    let (before, path) = whole.split_at(root + 1);
    let mut parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    GitUrl::parse(&format!("{before}{}", parts.join("/"))).ok()
}

/// Where the entries of a tar end: what follows is padding.
fn end_of_entries(archive: &mut File) -> std::io::Result<u64> {
    let length = archive.metadata()?.len();
    let mut at = 0;
    let mut header = [0_u8; 512];
    while at + BLOCK <= length {
        archive.seek(SeekFrom::Start(at))?;
        archive.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let size = tar::Header::from_byte_slice(&header).entry_size()?;
        at += BLOCK + size.div_ceil(BLOCK) * BLOCK;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_addresses_stay_on_their_server() {
        let parent: GitUrl = "https://h.example.org/team/app.git".parse().unwrap();
        for (text, whole) in [
            ("../lib.git", "https://h.example.org/team/lib.git"),
            ("../../other/lib", "https://h.example.org/other/lib"),
            ("./x", "https://h.example.org/team/app.git/x"),
            ("https://g.example.org/y", "https://g.example.org/y"),
        ] {
            assert_eq!(resolved(&parent, text).unwrap().0.as_str(), whole);
        }
        for text in ["../../../../x", "ext::sh", "file:///etc", "/etc", "--upload-pack=x", "x"] {
            assert!(resolved(&parent, text).is_none(), "{text}");
        }
        let short: GitUrl = "git@h:team/app.git".parse().unwrap();
        assert_eq!(resolved(&short, "../lib.git").unwrap().0.as_str(), "git@h:team/lib.git");
    }
}
