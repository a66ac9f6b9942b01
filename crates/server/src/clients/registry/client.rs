//! What the server itself asks the registry, with tokens that it signs for itself. Everything is bounded and has a
//! time-out.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use wire::names::Digest;

use super::access::{self, Access, Action, OWN_SUBJECT};
use super::manifest::{MANIFEST_TYPES, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use super::{Repository, unavailable};
use crate::app::App;
use crate::blobs::{Upload, blocking};
use crate::error::{Error, Result};

/// How long the registry may take for one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one blob may take that is handed on.
const TRANSFER_PATIENCE: Duration = Duration::from_hours(6);

/// A manifest as the registry keeps it.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// Its content type.
    pub media_type: String,
    /// Its bytes, whose digest was checked.
    pub bytes: Bytes,
}

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes))).parse().expect("this is how a digest is written")
}

/// A request to one repository, with a token that opens just this.
async fn request(
    app: &App,
    method: Method,
    path: &str,
    access: Vec<Access>,
) -> Result<reqwest::RequestBuilder> {
    let base = app.registry.base().await?;
    let token =
        access::sign(&app.keys, OWN_SUBJECT, access, app.now().unix_secs(), app.config.registry.token_secs)?;
    Ok(app.registry.http.request(method, format!("{base}{path}")).bearer_auth(token).timeout(PATIENCE))
}

async fn send(request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
    let answer =
        request.send().await.map_err(|error| unavailable("the registry does not answer").caused_by(error))?;
    if answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS {
        let status = answer.status().as_u16();
        return Err(unavailable(format!("the registry answered with status {status}")));
    }
    Ok(answer)
}

fn unexpected(answer: &reqwest::Response) -> Error {
    // Never the body: it is somebody else's text.
    Error::internal(format!(
        "the registry answered `{}` with status {}",
        answer.url().path(),
        answer.status().as_u16()
    ))
}

fn one(repository: &Repository, actions: &[Action]) -> Vec<Access> {
    vec![Access::new(repository, actions.to_vec())]
}

/// Reads a body of at most `limit` bytes; none when it is longer.
async fn read(answer: reqwest::Response, limit: usize) -> Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| unavailable("the registry broke off").caused_by(error))?;
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes.into()))
}

/// A manifest; none when the registry does not have it (whole, under this digest).
pub async fn manifest(app: &App, repository: &Repository, digest: &Digest) -> Result<Option<StoredManifest>> {
    let path = format!("/v2/{repository}/manifests/{digest}");
    let request = request(app, Method::GET, &path, one(repository, &[Action::Pull])).await?;
    let answer = send(request.header(header::ACCEPT, MANIFEST_TYPES)).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        _ => return Err(unexpected(&answer)),
    }
    let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_owned();
    let bytes = read(answer, MAX_MANIFEST_BYTES).await?;
    Ok(bytes.filter(|bytes| digest_of(bytes) == *digest).map(|bytes| StoredManifest { media_type, bytes }))
}

/// Stores a manifest under its digest. What it names must be in the repository already; otherwise false.
pub async fn put_manifest(app: &App, repository: &Repository, manifest: &StoredManifest) -> Result<bool> {
    let path = format!("/v2/{repository}/manifests/{}", digest_of(&manifest.bytes));
    let request = request(app, Method::PUT, &path, one(repository, &[Action::Pull, Action::Push])).await?;
    let request = request.header(header::CONTENT_TYPE, &manifest.media_type).body(manifest.bytes.clone());
    let answer = send(request).await?;
    match answer.status() {
        StatusCode::CREATED => Ok(true),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Ok(false),
        _ => Err(unexpected(&answer)),
    }
}

/// Removes a manifest; without effect when it is gone.
pub async fn delete_manifest(app: &App, repository: &Repository, digest: &Digest) -> Result<()> {
    let path = format!("/v2/{repository}/manifests/{digest}");
    let request = request(app, Method::DELETE, &path, one(repository, &[Action::Delete])).await?;
    let answer = send(request).await?;
    match answer.status() {
        StatusCode::ACCEPTED | StatusCode::NOT_FOUND => Ok(()),
        _ => Err(unexpected(&answer)),
    }
}

/// The size of a blob in bytes; none when the repository does not have it.
pub async fn blob_size(app: &App, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let request = request(app, Method::HEAD, &path, one(repository, &[Action::Pull])).await?;
    let answer = send(request).await?;
    match answer.status() {
        StatusCode::OK => {
            let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            Ok(length.and_then(|text| text.parse().ok()))
        }
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(unexpected(&answer)),
    }
}

/// An image's configuration; none when the repository does not have it or it is too long.
pub async fn config(app: &App, repository: &Repository, digest: &Digest) -> Result<Option<Bytes>> {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let request = request(app, Method::GET, &path, one(repository, &[Action::Pull])).await?;
    let answer = elsewhere(app, send(request).await?, PATIENCE).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        _ => return Err(unexpected(&answer)),
    }
    Ok(read(answer, MAX_CONFIG_BYTES).await?.filter(|bytes| digest_of(bytes) == *digest))
}

/// Follows a registry with its content elsewhere (S3); its operator chose that address.
async fn elsewhere(app: &App, answer: reqwest::Response, patience: Duration) -> Result<reqwest::Response> {
    let there = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    match there.filter(|_| answer.status().is_redirection()).map(|there| answer.url().join(there)) {
        Some(Ok(there)) => send(app.registry.http.get(there).timeout(patience)).await,
        _ => Ok(answer),
    }
}

/// A blob's content, to be read on; none when the repository does not have it.
pub async fn blob(app: &App, repository: &Repository, digest: &Digest) -> Result<Option<reqwest::Response>> {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let request = request(app, Method::GET, &path, one(repository, &[Action::Pull])).await?;
    let answer = send(request.timeout(TRANSFER_PATIENCE)).await?;
    let answer = elsewhere(app, answer, TRANSFER_PATIENCE).await?;
    match answer.status() {
        StatusCode::OK => Ok(Some(answer)),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(unexpected(&answer)),
    }
}

/// A blob of at most so many bytes, on the disk; none when the repository does not have it or it is longer.
pub async fn blob_file(
    app: &App,
    repository: &Repository,
    digest: &Digest,
    limit: u64,
) -> Result<Option<Upload>> {
    let Some(answer) = blob(app, repository, digest).await? else { return Ok(None) };
    let blobs = app.blobs.clone();
    let mut file = blocking(move || blobs.scratch()).await?;
    let mut bytes = 0_u64;
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| unavailable("the registry broke off").caused_by(error))?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Ok(None);
        }
        file = blocking(move || file.write_all(&chunk).map(|()| file)).await?;
    }
    Ok(Some(Upload { file, bytes }))
}

/// Stores a blob; its digest.
pub async fn put_blob(app: &App, repository: &Repository, bytes: Bytes) -> Result<Digest> {
    let digest = digest_of(&bytes);
    let path = format!("/v2/{repository}/blobs/uploads/");
    let access = one(repository, &[Action::Pull, Action::Push]);
    let answer = send(request(app, Method::POST, &path, access.clone()).await?).await?;
    if answer.status() != StatusCode::ACCEPTED {
        return Err(unexpected(&answer));
    }
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let there = location.and_then(|location| answer.url().join(location).ok());
    let Some(mut there) = there else { return Err(unexpected(&answer)) };
    there.query_pairs_mut().append_pair("digest", digest.as_str());
    let path = format!("{}?{}", there.path(), there.query().unwrap_or_default());
    let request = request(app, Method::PUT, &path, access).await?;
    let answer = send(request.header(header::CONTENT_TYPE, "application/octet-stream").body(bytes)).await?;
    if answer.status() == StatusCode::CREATED { Ok(digest) } else { Err(unexpected(&answer)) }
}

/// Takes a blob out of a repository; without effect when it is not in it.
pub async fn delete_blob(app: &App, repository: &Repository, digest: &Digest) -> Result<()> {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let request = request(app, Method::DELETE, &path, one(repository, &[Action::Delete])).await?;
    let answer = send(request).await?;
    match answer.status() {
        StatusCode::ACCEPTED | StatusCode::NOT_FOUND => Ok(()),
        _ => Err(unexpected(&answer)),
    }
}

/// Makes a blob of one repository part of another without moving it; false when the source does not have it.
pub async fn mount(app: &App, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool> {
    let path = format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}");
    let access =
        vec![Access::new(to, vec![Action::Pull, Action::Push]), Access::new(from, vec![Action::Pull])];
    let answer = send(request(app, Method::POST, &path, access).await?).await?;
    match answer.status() {
        StatusCode::CREATED => Ok(true),
        StatusCode::ACCEPTED => {
            // An upload was begun instead, since there is nothing to mount; it would lie around for a week.
            let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            if let Some(path) = location.and_then(|text| answer.url().join(text).ok()) {
                let path = path.path().to_owned()
                    + path.query().map(|query| format!("?{query}")).as_deref().unwrap_or("");
                let access = one(to, &[Action::Pull, Action::Push, Action::Delete]);
                if let Err(error) = send(request(app, Method::DELETE, &path, access).await?).await {
                    tracing::debug!(%error, "cannot give up an upload");
                }
            }
            Ok(false)
        }
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(unexpected(&answer)),
    }
}
