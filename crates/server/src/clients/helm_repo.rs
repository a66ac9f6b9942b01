//! Fetches indexes of Helm repositories: conditionally, compressed, as a stream onto the disk, hashed on the way, and bounded in
//! bytes, in ratio and in time.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use futures::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use reqwest::{Response, Url};
use sha2::{Digest as _, Sha256};

use super::http_out::{self, Credential, Outbound, Request, Trust};
use super::oci_charts::Place;
use crate::blobs::{Blobs, blocking};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are gathered before they are unpacked and written.
const BATCH_BYTES: usize = 256 << 10;
/// An index may unpack to this many times its size …
const MAX_RATIO: u64 = 200;
/// … or to this many bytes, whatever its size.
const FREE_BYTES: u64 = 10 << 20;

/// Where an index is, or charts in a registry, and how to get there.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where its charts are when they are in a registry; then there is no index.
    pub place: Option<Place>,
    /// The repository's address, or its index's.
    pub url: Url,
    /// On whose behalf.
    pub trust: Trust,
    /// Who we are there.
    pub credential: Option<Credential>,
    /// Authorities to believe besides the system's.
    pub authorities: Option<String>,
}

/// What is known of the index.
#[derive(Clone, Debug, Default)]
pub struct Validators {
    /// Its server's mark for this state of it.
    pub etag: Option<String>,
    /// When its server last changed it.
    pub last_modified: Option<String>,
    /// The SHA-256 of it in hex.
    pub body_hash: Option<String>,
}

/// How much is taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes over the network.
    pub fetched_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// How long the whole may take.
    pub patience: Duration,
}

/// What came.
#[derive(Debug)]
pub enum Fetched {
    /// The index is the one that is known.
    Same {
        /// Bytes that came nevertheless.
        fetched_bytes: u64,
    },
    /// Another index.
    New(Box<Download>),
}

/// An index on the disk.
#[derive(Debug)]
pub struct Download {
    /// The index; gone when this is dropped.
    pub file: File,
    /// What to know it by.
    pub validators: Validators,
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
}

/// The address of the index of a repository.
pub fn index_url(repo: &Url) -> Url {
    if repo.path().ends_with("/index.yaml") {
        return repo.clone();
    }
    let mut url = repo.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("index.yaml");
    }
    url
}

/// Fetches an index, if it is another one than the one that is known.
pub async fn index(
    outbound: &Outbound,
    blobs: &Blobs,
    source: &Source,
    known: &Validators,
    bounds: Bounds,
) -> Result<Fetched> {
    tokio::time::timeout(bounds.patience, fetch(outbound, blobs, source, known, bounds))
        .await
        .unwrap_or_else(|_| Err(http_out::timed_out("the index did not come in time")))
}

async fn fetch(
    outbound: &Outbound,
    blobs: &Blobs,
    source: &Source,
    known: &Validators,
    bounds: Bounds,
) -> Result<Fetched> {
    let url = index_url(&source.url);
    let mut request = Request::get(&url, source.trust);
    request.credential = source.credential.as_ref();
    request.authorities = source.authorities.as_deref();
    request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let conditions =
        [(header::IF_NONE_MATCH, &known.etag), (header::IF_MODIFIED_SINCE, &known.last_modified)];
    let mut is_conditional = false;
    for (name, value) in conditions {
        if let Some(value) = value.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            request.headers.insert(name, value);
            is_conditional = true;
        }
    }
    let answer = outbound.send(request).await?;
    if answer.status() == StatusCode::NOT_MODIFIED && is_conditional {
        return Ok(Fetched::Same { fetched_bytes: 0 });
    }
    if answer.status() != StatusCode::OK {
        return Err(bad_status(answer.status()));
    }
    if answer.content_length().is_some_and(|bytes| bytes > bounds.index_bytes) {
        return Err(too_large(bounds.index_bytes));
    }
    let is_packed = is_packed(&answer)?;
    let text = |name: header::HeaderName, max: usize| {
        let value = answer.headers().get(name)?.to_str().ok()?;
        (value.len() <= max).then(|| value.to_owned())
    };
    let (etag, last_modified) = (text(header::ETAG, 512), text(header::LAST_MODIFIED, 128));

    let blobs = blobs.clone();
    let file = blocking(move || blobs.scratch()).await?;
    let fetched_limit = if is_packed { bounds.fetched_bytes } else { bounds.index_bytes };
    let plain = Sink { file, hash: Sha256::new(), bytes: 0, limit: bounds.index_bytes };
    let mut unpacker =
        if is_packed { Unpacker::Gzip(Box::new(MultiGzDecoder::new(plain))) } else { Unpacker::Plain(plain) };
    let mut fetched_bytes = 0_u64;
    let mut stream = answer.bytes_stream();
    let mut batch: Vec<u8> = Vec::with_capacity(BATCH_BYTES);
    loop {
        let chunk = stream.next().await.transpose().map_err(|error| http_out::failed(&error))?;
        let is_end = chunk.is_none();
        if let Some(chunk) = chunk {
            fetched_bytes += chunk.len() as u64;
            if fetched_bytes > fetched_limit {
                return Err(too_large(fetched_limit));
            }
            batch.extend_from_slice(&chunk);
        }
        if batch.len() >= BATCH_BYTES || (is_end && !batch.is_empty()) {
            let full =
                std::mem::replace(&mut batch, Vec::with_capacity(if is_end { 0 } else { BATCH_BYTES }));
            let so_far = fetched_bytes;
            unpacker = blocking(move || Ok(unpacker.take(&full, so_far).map(|()| unpacker))).await??;
        }
        if is_end {
            break;
        }
    }
    let sink = blocking(move || Ok(unpacker.finish())).await??;
    let body_hash = hex::encode(sink.hash.finalize());
    if known.body_hash.as_deref() == Some(&body_hash) {
        return Ok(Fetched::Same { fetched_bytes });
    }
    let validators = Validators { etag, last_modified, body_hash: Some(body_hash) };
    Ok(Fetched::New(Box::new(Download {
        file: sink.file,
        validators,
        fetched_bytes,
        index_bytes: sink.bytes,
    })))
}

/// Fetches a file, a package or a picture, as it is: the file from anywhere, its SHA-256 in hex, its length.
pub async fn file(
    outbound: &Outbound,
    blobs: &Blobs,
    source: &Source,
    limit: u64,
    patience: Duration,
) -> Result<(File, String, u64)> {
    let fetched = async {
        let mut request = Request::get(&source.url, source.trust);
        request.credential = source.credential.as_ref();
        request.authorities = source.authorities.as_deref();
        request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = outbound.send(request).await?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(bad("file_missing", "the server does not have the file"));
        }
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(bad("bad_status", format!("the server answers with status {status}")));
        }
        spool(blobs, answer, limit).await
    };
    let late = || http_out::timed_out("the file did not come in time");
    tokio::time::timeout(patience, fetched).await.unwrap_or_else(|_| Err(late()))
}

/// Writes an answer's body to the disk: the file from anywhere, its SHA-256 in hex, its length.
pub(super) async fn spool(blobs: &Blobs, answer: Response, limit: u64) -> Result<(File, String, u64)> {
    let blobs = blobs.clone();
    let file = blocking(move || blobs.scratch()).await?;
    let mut sink = Sink { file, hash: Sha256::new(), bytes: 0, limit };
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| http_out::failed(&error))?;
        if sink.bytes + chunk.len() as u64 > limit {
            return Err(bad("package_too_large", format!("the file is larger than {} MiB", limit >> 20)));
        }
        sink = blocking(move || sink.write_all(&chunk).map(|()| sink)).await?;
    }
    Ok((sink.file, hex::encode(sink.hash.finalize()), sink.bytes))
}

fn is_packed(answer: &Response) -> Result<bool> {
    let mut encodings = answer.headers().get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some(b"identity" | b"") => Ok(false),
        Some(b"gzip" | b"x-gzip") if encodings.next().is_none() => Ok(true),
        Some(_) => Err(bad("bad_encoding", "the server packed the index in a way that was not asked for")),
    }
}

/// What an answer that is no index means.
fn bad_status(status: StatusCode) -> Error {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            bad("credentials_refused", format!("the repository answers with status {}", status.as_u16()))
                .hint("give `username` and `password`, or check them")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            bad("index_missing", "there is no `index.yaml` at this address")
                .hint("the address is the folder in which `index.yaml` is")
        }
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => {
            http_out::timed_out("the repository's server says that it waits for another one")
        }
        status => bad("bad_status", format!("the repository answers with status {}", status.as_u16())),
    }
}

fn bad(code: &'static str, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadGateway, code, detail)
}

fn too_large(limit: u64) -> Error {
    bad("index_too_large", format!("the index is larger than {} MiB", limit >> 20))
        .hint("an admin can allow more with `charts.index_bytes` and `charts.index_compressed_bytes`")
}

/// Unpacks what comes.
enum Unpacker {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
}

impl Unpacker {
    fn take(&mut self, bytes: &[u8], fetched_bytes: u64) -> Result<()> {
        let (written, sink) = match self {
            Self::Plain(sink) => (sink.write_all(bytes), sink),
            Self::Gzip(decoder) => (decoder.write_all(bytes), decoder.get_mut()),
        };
        check(written, sink.limit)?;
        if sink.bytes > FREE_BYTES.max(fetched_bytes.saturating_mul(MAX_RATIO)) {
            return Err(bad(
                "index_bomb",
                format!("the index unpacks to more than {MAX_RATIO} times its size"),
            ));
        }
        Ok(())
    }

    fn finish(self) -> Result<Sink> {
        match self {
            Self::Plain(sink) => Ok(sink),
            Self::Gzip(decoder) => {
                let limit = decoder.get_ref().limit;
                let mut decoder = decoder;
                check(decoder.try_finish(), limit)?;
                decoder.finish().map_err(Error::from)
            }
        }
    }
}

/// Tells a full disk and an index that is too long from bytes that cannot be unpacked.
fn check(written: std::io::Result<()>, limit: u64) -> Result<()> {
    use std::io::ErrorKind as Io;
    written.map_err(|error| match error.kind() {
        Io::FileTooLarge => too_large(limit),
        Io::InvalidInput | Io::InvalidData | Io::UnexpectedEof | Io::WriteZero => {
            bad("bad_encoding", "what the server sent cannot be unpacked")
        }
        _ => error.into(),
    })
}

/// Writes to a file, hashes and counts.
struct Sink {
    file: File,
    hash: Sha256,
    bytes: u64,
    limit: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes + bytes.len() as u64 > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_below_its_repository_or_is_named() {
        for (repo, index) in [
            ("https://a", "https://a/index.yaml"),
            ("https://a/b/", "https://a/b/index.yaml"),
            ("https://a/b?x=1", "https://a/b/index.yaml?x=1"),
            ("https://a/b/index.yaml", "https://a/b/index.yaml"),
        ] {
            assert_eq!(index_url(&Url::parse(repo).unwrap()).as_str(), index);
        }
    }
}
