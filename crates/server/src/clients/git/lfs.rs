//! Large files (Git LFS): where a commit has a pointer, an archive of it gets the file that the pointer stands for. It is asked for by
//! our own client, because the server that is asked says where each file lies: that place is held to the rule for addresses, which
//! the `git-lfs` program knows nothing of.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::fetch::Remote;
use super::program::{Bounds, GitError, Workplace};
use super::submodules::Reach;
use super::url::Scheme;
use crate::clients::http_out::{self, Credential, Request};
use crate::error::{Error, ErrorKind};

/// Bytes of a block of a tar.
const BLOCK: u64 = 512;
/// The longest pointer, as its specification says.
const POINTER_BYTES: u64 = 1024;
/// Large files of one commit.
const MAX_FILES: usize = 10_000;
/// Files that are asked for together.
const BATCH: usize = 100;
/// The longest answer to that.
const ANSWER_BYTES: usize = 4 << 20;
/// What an SSH server says of where they are.
const SSH_ANSWER_BYTES: u64 = 64 << 10;
/// Headers that a server may ask for with a file.
const MAX_HEADERS: usize = 20;
/// What such a server speaks.
const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// A file that is somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pointer {
    /// Where its entry begins in the archive.
    at: u64,
    path: String,
    oid: String,
    size_bytes: u64,
}

/// Where a file lies.
#[derive(Deserialize)]
struct Found {
    oid: String,
    actions: Option<Actions>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Download>,
}

#[derive(Deserialize)]
struct Download {
    href: String,
    #[serde(default)]
    header: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
}

#[derive(Deserialize)]
struct Answer {
    objects: Vec<Found>,
}

/// The archive with every large file in its place; the same one when it has none.
pub(super) async fn fill(
    archive: File,
    place: &Workplace<'_>,
    remote: &Remote,
    reach: Reach<'_>,
    bounds: Bounds,
    archive_bytes: u64,
) -> Result<File, GitError> {
    let looked_through = archive.try_clone()?;
    let pointers = tokio::task::spawn_blocking(move || pointers(looked_through));
    let pointers = pointers.await.map_err(std::io::Error::other)??;
    let Some(first) = pointers.first() else { return Ok(archive) };
    if pointers.len() > MAX_FILES {
        let why = format!("the commit has more than {MAX_FILES} large files");
        return Err(GitError::LargeFile(first.path.clone(), why));
    }
    let sum = pointers.iter().fold(0_u64, |sum, pointer| sum.saturating_add(pointer.size_bytes));
    if sum > bounds.bytes {
        return Err(GitError::TooLarge(bounds.bytes >> 20));
    }
    let length = archive.metadata()?.len();
    if length.saturating_add(sum) > archive_bytes {
        return Err(GitError::TooLarge(archive_bytes >> 20));
    }
    let path = place.folder.join("filled");
    let out = File::options().read(true).write(true).create_new(true).open(&path)?;
    // It is gone when it is closed.
    std::fs::remove_file(&path)?;
    let filling = match remote.url.scheme {
        Scheme::Ssh => by_ssh(place, remote, reach, bounds, first).await?,
        Scheme::Https | Scheme::Http => {
            Filling { remote, reach, base: base(remote)?, headers: HeaderMap::new() }
        }
    };
    let filled = filling.run(archive, out.try_clone()?, &pointers);
    match tokio::time::timeout_at(bounds.deadline, filled).await {
        Ok(filled) => filled?,
        Err(_) => return Err(GitError::TimedOut(bounds.secs)),
    }
    Ok(out)
}

/// Where large files are asked for.
fn base(remote: &Remote) -> Result<Url, GitError> {
    let url = remote.url.as_str().trim_end_matches('/');
    let stem = url.strip_suffix(".git").unwrap_or(url);
    let url = format!("{stem}.git/info/lfs/objects/batch");
    http_out::parse_url(&url).map_err(|error| GitError::Other(error.to_string()))
}

/// An SSH server says where large files are asked for, and with which headers.
async fn by_ssh<'a>(
    place: &Workplace<'_>,
    remote: &'a Remote,
    reach: Reach<'a>,
    bounds: Bounds,
    first: &Pointer,
) -> Result<Filling<'a>, GitError> {
    let broken = |why: &str| GitError::LargeFile(first.path.clone(), why.to_owned());
    let bounds = Bounds { bytes: SSH_ANSWER_BYTES, ..bounds };
    let said = place.ask_ssh("git-lfs-authenticate", "download", bounds).await.map_err(|error| match error {
        GitError::NoRepository | GitError::Other(_) => {
            broken("the git server does not say over SSH where it keeps large files (Git LFS); give the repository's https address")
        }
        error => error,
    })?;
    let found: Download = serde_json::from_slice(&said)
        .map_err(|_| broken("the git server says something else than where its large files are"))?;
    let url = format!("{}/objects/batch", found.href.trim_end_matches('/'));
    let base = http_out::parse_url(&url).map_err(|error| told(first, &error))?;
    let headers = headers(&found).ok_or_else(|| broken("the git server wants headers that are refused"))?;
    Ok(Filling { remote, reach, base, headers })
}

/// Pointers among the files of a tar.
fn pointers(mut archive: File) -> std::io::Result<Vec<Pointer>> {
    let length = archive.metadata()?.len();
    let (mut found, mut at) = (Vec::new(), 0);
    let mut block = [0_u8; 512];
    while at + BLOCK <= length {
        archive.seek(SeekFrom::Start(at))?;
        archive.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let header = tar::Header::from_byte_slice(&block);
        let size = header.entry_size()?;
        if header.entry_type().is_file() && size <= POINTER_BYTES {
            let mut text = Vec::new();
            archive.by_ref().take(size).read_to_end(&mut text)?;
            if let Some((oid, size_bytes)) = pointer(&text) {
                let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
                found.push(Pointer { at, path, oid, size_bytes });
            }
        }
        at += BLOCK + padded(size);
    }
    Ok(found)
}

fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}

/// The hash and the size of the file that a pointer stands for.
fn pointer(text: &[u8]) -> Option<(String, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.strip_prefix("version https://git-lfs.github.com/spec/v1\n")?.lines();
    let oid = lines.next()?.strip_prefix("oid sha256:")?;
    let size = lines.next()?.strip_prefix("size ")?.parse().ok()?;
    let is_hash = oid.len() == 64 && oid.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (is_hash && lines.next().is_none()).then(|| (oid.to_owned(), size))
}

struct Filling<'a> {
    remote: &'a Remote,
    reach: Reach<'a>,
    /// Where files are asked for.
    base: Url,
    /// With what else.
    headers: HeaderMap,
}

impl Filling<'_> {
    async fn run(&self, archive: File, out: File, pointers: &[Pointer]) -> Result<(), GitError> {
        let (mut archive, mut out) = (tokio::fs::File::from_std(archive), tokio::fs::File::from_std(out));
        let length = archive.metadata().await?.len();
        let mut done = 0;
        for batch in pointers.chunks(BATCH) {
            let places = self.places(batch).await?;
            for pointer in batch {
                copy(&mut archive, &mut out, done, pointer.at - done).await?;
                let mut block = [0_u8; 512];
                archive.seek(SeekFrom::Start(pointer.at)).await?;
                archive.read_exact(&mut block).await?;
                let mut header = tar::Header::from_byte_slice(&block).clone();
                done = pointer.at + BLOCK + padded(header.entry_size()?);
                header.set_size(pointer.size_bytes);
                header.set_cksum();
                out.write_all(header.as_bytes()).await?;
                let place = places.iter().find(|found| found.oid == pointer.oid);
                self.download(pointer, place, &mut out).await?;
                let padding = padded(pointer.size_bytes) - pointer.size_bytes;
                out.write_all(&vec![0; usize::try_from(padding).unwrap_or(0)]).await?;
            }
        }
        copy(&mut archive, &mut out, done, length - done).await?;
        Ok(out.flush().await?)
    }

    fn credential(&self) -> Option<Credential> {
        let known = self.remote.credential.as_ref()?;
        Some(Credential { username: known.user.clone(), password: known.password.clone() })
    }

    /// Where the files lie, as the git server says.
    async fn places(&self, batch: &[Pointer]) -> Result<Vec<Found>, GitError> {
        let broken = |why: &str| GitError::LargeFile(batch[0].path.clone(), why.to_owned());
        let objects: Vec<_> =
            batch.iter().map(|pointer| json!({"oid": pointer.oid, "size": pointer.size_bytes})).collect();
        let body = json!({"operation": "download", "transfers": ["basic"], "objects": objects});
        let mut headers = self.headers.clone();
        for name in [header::ACCEPT, header::CONTENT_TYPE] {
            headers.insert(name, HeaderValue::from_static(MEDIA_TYPE));
        }
        let credential = self.credential();
        let request = Request {
            method: Method::POST,
            headers,
            credential: credential.as_ref(),
            authorities: self.remote.ca_pem.as_deref(),
            body: Some(Bytes::from(body.to_string())),
            ..Request::get(&self.base, self.reach.trust)
        };
        let answer = self.reach.outbound.send(request).await.map_err(|error| told(&batch[0], &error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(GitError::Refused),
            StatusCode::NOT_FOUND => return Err(broken("the git server keeps no large files (Git LFS)")),
            status => return Err(broken(&format!("the git server answers {}", status.as_u16()))),
        }
        let bytes = http_out::read(answer, ANSWER_BYTES).await.map_err(|error| told(&batch[0], &error))?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| broken("the git server answers something else"))?;
        Ok(answer.objects)
    }

    /// Fetches a file to the end of the archive; what comes must be what the pointer says.
    async fn download(
        &self,
        pointer: &Pointer,
        place: Option<&Found>,
        out: &mut tokio::fs::File,
    ) -> Result<(), GitError> {
        let broken = |why: &str| GitError::LargeFile(pointer.path.clone(), why.to_owned());
        let place = place.ok_or_else(|| broken("the git server says nothing of it"))?;
        if let Some(error) = &place.error {
            return Err(broken(&format!("the git server does not have it (it answers {})", error.code)));
        }
        let download = place.actions.as_ref().and_then(|actions| actions.download.as_ref());
        let download = download.ok_or_else(|| broken("the git server does not say where it lies"))?;
        let url = http_out::parse_url(&download.href).map_err(|error| told(pointer, &error))?;
        let headers =
            headers(download).ok_or_else(|| broken("the git server wants headers that are refused"))?;
        // What opens the git server is for the git server.
        let is_same_place = http_out::same_origin(&self.base, &url);
        let credential =
            self.credential().filter(|_| is_same_place && !headers.contains_key(header::AUTHORIZATION));
        let request = Request {
            headers,
            credential: credential.as_ref(),
            authorities: self.remote.ca_pem.as_deref().filter(|_| is_same_place),
            ..Request::get(&url, self.reach.trust)
        };
        let mut answer = self.reach.outbound.send(request).await.map_err(|error| told(pointer, &error))?;
        if answer.status() != StatusCode::OK {
            return Err(broken(&format!("where it lies, {} is answered", answer.status().as_u16())));
        }
        let (mut hash, mut length) = (Sha256::new(), 0_u64);
        let failed = |error: reqwest::Error| told(pointer, &http_out::failed(&error));
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            length += chunk.len() as u64;
            if length > pointer.size_bytes {
                break;
            }
            hash.update(&chunk);
            out.write_all(&chunk).await?;
        }
        if length != pointer.size_bytes || hex::encode(hash.finalize()) != pointer.oid {
            return Err(broken("what came is another file than the pointer says"));
        }
        Ok(())
    }
}

/// Headers by which a file is let out; none when one is not for others to choose.
fn headers(download: &Download) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if download.header.len() > MAX_HEADERS {
        return None;
    }
    for (name, value) in &download.header {
        let name: HeaderName = name.parse().ok()?;
        let is_ours = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
        if is_ours.contains(&name) {
            return None;
        }
        let mut value: HeaderValue = value.parse().ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

/// Copies a part of a file to the end of another.
async fn copy(
    from: &mut tokio::fs::File,
    to: &mut tokio::fs::File,
    at: u64,
    length: u64,
) -> std::io::Result<()> {
    from.seek(SeekFrom::Start(at)).await?;
    tokio::io::copy(&mut from.take(length), to).await?;
    Ok(())
}

fn told(pointer: &Pointer, error: &Error) -> GitError {
    match error.kind {
        ErrorKind::BadGateway | ErrorKind::GatewayTimeout => GitError::Unreachable(error.to_string()),
        _ => GitError::LargeFile(pointer.path.clone(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_texts_that_look_like_one() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");

        assert_eq!(pointer(text.as_bytes()), Some((oid.to_owned(), 12_345)));
        for other in [
            text.replace("v1", "v2"),
            text.replace("sha256", "md5"),
            text.replace("4d7a", "4D7A"),
            text.replace("4d7a", "4d7"),
            text.replace("12345", "-1"),
            format!("{text}more\n"),
            format!("# {text}"),
        ] {
            assert_eq!(pointer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn headers_that_are_ours_are_not_for_others_to_choose() {
        let download = |name: &str| Download {
            href: String::new(),
            header: [(name.to_owned(), "value".to_owned())].into(),
        };
        assert!(headers(&download("Authorization")).is_some());
        for name in ["Host", "Content-Length", "transfer-encoding", "a b", "x\r\ny"] {
            assert!(headers(&download(name)).is_none(), "{name}");
        }
    }
}
