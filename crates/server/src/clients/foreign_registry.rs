//! Speaks to registries that somebody named: copies an image from ours to it, with what opens it there, and logs in for
//! whoever reads from it. All connections are those of
//! `http_out`: the address, and the one at which it hands out tokens, are held to what the account may reach.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Response, Url};
use serde::Deserialize;
use wire::names::{Digest, Tag};
use wire::secret::Secret;

use super::http_out::{self, Credential, Outbound, Request, Trust};
use super::registry::client::{self, StoredManifest};
use super::registry::manifest::Manifest;
use super::registry::{Repository, unavailable};
use crate::app::App;
use crate::error::{Error, ErrorKind, Result};

/// How long a registry may take to answer what is small.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes per second of an upload that is not given up.
const SLOWEST_BYTES: u64 = 64 << 10;
/// Bytes of an answer with a token.
const TOKEN_BYTES: usize = 64 << 10;

/// A registry that somebody named, and a repository in it.
#[derive(Clone, Debug)]
pub struct ForeignRegistry<'a> {
    /// `https://host:port`.
    pub base: Url,
    /// The repository's name in it.
    pub repository: String,
    /// Who is let in there.
    pub credential: Option<Credential>,
    /// Who signs its certificate, when it is not one that everybody trusts.
    pub authority: Option<&'a str>,
    /// On whose behalf.
    pub trust: Trust,
}

/// Reads the address of a registry: `host[:port]`, over TLS unless it says `http://`.
pub fn base_of(address: &str) -> Result<Url> {
    let text = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let url = http_out::parse_url(&text)?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        let detail = "the registry's address is `host` or `host:port`, and nothing behind it";
        return Err(Error::invalid("registry_address", detail).hint("the rest belongs to the image's name"));
    }
    Ok(url)
}

/// Whether a text is the name of a repository in a registry: parts in lower case between slashes.
pub fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        let inner = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        let ends = [part.bytes().next(), part.bytes().last()];
        inner && ends.iter().all(|end| end.is_some_and(|b| b.is_ascii_alphanumeric())) && !part.contains("..")
    };
    text.len() <= 255 && text.split('/').all(is_part)
}

/// Copies an image, and gives it tags there. What is there already is not sent again.
pub async fn copy(
    app: &App,
    from: &Repository,
    digest: &Digest,
    to: &ForeignRegistry<'_>,
    tags: &[Tag],
) -> Result<()> {
    let missing = || Error::internal("an image that was just pushed is not in the registry");
    let manifest = client::manifest(app, from, digest).await?.ok_or_else(missing)?;
    let parsed = Manifest::parse(&manifest.bytes).map_err(Error::internal)?;
    let Manifest::Image { config, layers } = parsed else {
        return Err(Error::internal("a build made an index of images"));
    };
    let target = Target { outbound: &app.outbound, registry: to };
    for blob in layers.iter().chain([&config]) {
        if !target.has_blob(&blob.digest).await? {
            target.send_blob(app, from, &blob.digest, blob.size_bytes).await?;
        }
    }
    for tag in tags {
        target.put_manifest(tag, &manifest, digest).await?;
    }
    Ok(())
}

/// A registry, to be spoken to.
pub(super) struct Target<'a> {
    pub(super) outbound: &'a Outbound,
    pub(super) registry: &'a ForeignRegistry<'a>,
}

/// What a registry wants to see.
#[derive(Clone)]
pub(super) enum Login {
    Nothing,
    Basic,
    Bearer(Secret),
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
}

impl Target<'_> {
    /// What opens the repository for writing.
    fn scope(&self) -> String {
        format!("repository:{}:pull,push", self.registry.repository)
    }

    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.registry.base.join(path).map_err(Error::internal)
    }

    /// A request without a body to the registry or to where it sends us. What opens the registry goes to the registry alone.
    pub(super) fn request<'a>(&'a self, method: Method, url: &'a Url, login: &Login) -> Result<Request<'a>> {
        let mut request = Request {
            method,
            authorities: self.registry.authority,
            ..Request::get(url, self.registry.trust)
        };
        if !http_out::same_origin(&self.registry.base, url) {
            return Ok(request);
        }
        match login {
            Login::Nothing => {}
            Login::Basic => request.credential = self.registry.credential.as_ref(),
            Login::Bearer(token) => {
                let text = format!("Bearer {}", token.expose());
                let mut value = HeaderValue::from_str(&text).map_err(|_| answered("a token that is none"))?;
                value.set_sensitive(true);
                request.headers.insert(header::AUTHORIZATION, value);
            }
        }
        Ok(request)
    }

    pub(super) async fn send(&self, request: Request<'_>) -> Result<Response> {
        let timed_out = |_| http_out::timed_out("the registry does not answer");
        tokio::time::timeout(PATIENCE, self.outbound.send(request)).await.map_err(timed_out)?
    }

    /// Asks what the registry wants to see, and gets it. Tokens live for minutes, so that each larger thing has one of its own.
    pub(super) async fn log_in(&self, scope: &str) -> Result<Login> {
        let url = self.url("/v2/")?;
        let answer = self.send(self.request(Method::GET, &url, &Login::Nothing)?).await?;
        match answer.status() {
            StatusCode::OK => return Ok(Login::Nothing),
            StatusCode::UNAUTHORIZED => {}
            StatusCode::NOT_FOUND => return Err(answered("as if it were no registry: check its address")),
            status => return Err(unexpected(status)),
        }
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default();
        if challenge.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic")) {
            return Ok(Login::Basic);
        }
        let realm = parameter(challenge, "realm").and_then(|realm| realm.parse::<Url>().ok());
        let realm =
            realm.filter(|_| challenge.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")));
        let mut realm =
            realm.ok_or_else(|| answered("that it wants to see something that we do not know"))?;
        // Registries may have their tokens handed out elsewhere, and name the place; in the clear that is nobody's to name.
        let base = &self.registry.base;
        let is_elsewhere = base.scheme() == "https" || realm.host() != base.host();
        if realm.scheme() != "https" && is_elsewhere {
            return Err(answered("that passwords go to an address in the clear"));
        }
        if let Some(service) = parameter(challenge, "service") {
            realm.query_pairs_mut().append_pair("service", &service);
        }
        realm.query_pairs_mut().append_pair("scope", scope);
        let mut request =
            Request { authorities: self.registry.authority, ..Request::get(&realm, self.registry.trust) };
        request.credential = self.registry.credential.as_ref();
        let answer = self.send(request).await?;
        if !answer.status().is_success() {
            return Err(unexpected(answer.status()));
        }
        let body = http_out::read(answer, TOKEN_BYTES).await?;
        let token: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| answered("a token that is none"))?;
        token.token.or(token.access_token).map(Login::Bearer).ok_or_else(|| answered("no token"))
    }

    async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let login = self.log_in(&self.scope()).await?;
        let url = self.url(&format!("/v2/{}/blobs/{digest}", self.registry.repository))?;
        let answer = self.send(self.request(Method::HEAD, &url, &login)?).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(unexpected(status)),
        }
    }

    async fn send_blob(&self, app: &App, from: &Repository, digest: &Digest, bytes: u64) -> Result<()> {
        let login = self.log_in(&self.scope()).await?;
        let url = self.url(&format!("/v2/{}/blobs/uploads/", self.registry.repository))?;
        let request = Request { body: Some(Bytes::new()), ..self.request(Method::POST, &url, &login)? };
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(unexpected(answer.status()));
        }
        let there = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let mut there = there
            .and_then(|there| url.join(there).ok())
            .ok_or_else(|| answered("not where an upload goes"))?;
        if url.scheme() == "https" && there.scheme() != "https" {
            return Err(answered("that the upload goes to an address in the clear"));
        }
        there.query_pairs_mut().append_pair("digest", digest.as_str());

        let content = client::blob(app, from, digest).await?;
        let content =
            content.ok_or_else(|| Error::internal("a layer that was just pushed is not in the registry"))?;
        let stream = content.bytes_stream().map_err(|error| std::io::Error::other(error.without_url()));
        let mut request = self.request(Method::PUT, &there, &login)?;
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        let patience = PATIENCE + Duration::from_secs(bytes / SLOWEST_BYTES);
        let body = reqwest::Body::wrap_stream(stream);
        let answer = self.outbound.upload(request, body, patience).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            status => Err(unexpected(status)),
        }
    }

    async fn put_manifest(&self, tag: &Tag, manifest: &StoredManifest, digest: &Digest) -> Result<()> {
        let login = self.log_in(&self.scope()).await?;
        let url = self.url(&format!("/v2/{}/manifests/{tag}", self.registry.repository))?;
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(&manifest.media_type).map_err(Error::internal)?;
        headers.insert(header::CONTENT_TYPE, media_type);
        let mut request = self.request(Method::PUT, &url, &login)?;
        request.headers.extend(headers);
        let answer = self.send(Request { body: Some(manifest.bytes.clone()), ..request }).await?;
        if answer.status() != StatusCode::CREATED {
            return Err(unexpected(answer.status()));
        }
        let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        if said.is_some_and(|said| said != digest.as_str()) {
            return Err(answered("that it keeps something else than it was sent"));
        }
        Ok(())
    }
}

/// A parameter of a challenge such as `Bearer realm="…",service="…"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let rest = challenge.split_once(' ')?.1;
    let mut rest = rest;
    while let Some((key, value)) = rest.split_once('=') {
        let (value, next) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        if key.trim().trim_start_matches(',').trim().eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

fn answered(what: &str) -> Error {
    Error::new(ErrorKind::BadGateway, "registry_refused", format!("the registry answered {what}"))
}

fn unexpected(status: StatusCode) -> Error {
    match status.as_u16() {
        401 | 403 => {
            let detail = "the registry does not let us in, or not into this repository";
            Error::new(ErrorKind::Invalid, "registry_refused", detail)
                .hint("check the runner's REGISTRY_NAME, REGISTRY_PASS and IMAGE_REPO")
        }
        429 | 500..=599 => {
            unavailable(format!("the other registry answered with status {}", status.as_u16()))
        }
        status => answered(&format!("with status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_challenges_are_found() {
        let text = r#"Bearer realm="https://auth.example.org/token?a=b,c",service="registry.example.org",scope="x:y:pull,push""#;
        assert_eq!(parameter(text, "realm").unwrap(), "https://auth.example.org/token?a=b,c");
        assert_eq!(parameter(text, "Service").unwrap(), "registry.example.org");
        assert_eq!(parameter(text, "scope").unwrap(), "x:y:pull,push");
        assert_eq!(parameter(text, "error"), None);
        assert_eq!(parameter("Bearer realm=plain, service=s", "service").unwrap(), "s");
        for bad in ["", "Bearer", "Bearer realm", "Bearer realm=\"open"] {
            assert_eq!(parameter(bad, "realm"), None, "{bad}");
        }
    }

    #[test]
    fn addresses_and_names_are_plain() {
        assert_eq!(
            base_of("registry.example.org:5000").unwrap().as_str(),
            "https://registry.example.org:5000/"
        );
        assert_eq!(base_of("http://10.0.0.1:5000/").unwrap().as_str(), "http://10.0.0.1:5000/");
        for bad in ["", "ftp://x", "h/path", "u:p@h", "h?x", "h#x", "h h"] {
            assert!(base_of(bad).is_err(), "{bad}");
        }
        for good in ["app", "team/app", "a/b/c.d_e-f"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "A", "a/../b", "..", "-a", "a:b", "a@b", "a b"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }
}
