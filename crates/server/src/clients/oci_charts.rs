//! Reads charts of OCI registries, by lists of tags and by manifests. All connections are those of `http_out`, and logging in is
//! that of `foreign_registry`. Everything is bounded; what a registry says of a digest is checked.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Response, Url};
use serde::Deserialize;
use serde_json::Value;
use url::Host;
use wire::names::Digest;

use super::foreign_registry::{ForeignRegistry, Login, Target, is_repository};
use super::helm_repo::{self, Source};
use super::http_out::{self, Outbound};
use super::registry::client::digest_of;
use super::registry::manifest::{ChartManifest, Manifest};
use crate::blobs::Blobs;
use crate::error::{Error, ErrorKind, Result};

/// Names or tags in one page of a list.
const PAGE: usize = 1000;
/// Pages of one list.
const MAX_PAGES: usize = 10;
/// Longest page in bytes.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// Longest manifest or configuration in bytes.
const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Charts below one address.
const MAX_CHARTS: usize = 500;
/// What may be asked for as a manifest of a chart.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Where charts are in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The registry's address.
    pub base: Url,
    /// A chart's repository in it, or what the names of several begin with; empty for all of them.
    pub path: String,
}

/// Reads `oci://host[:port]/path`; none when it is no such address. Registries are spoken to over TLS, but for those on this machine
/// and those that are written `oci+http://`.
pub fn place_of(text: &str) -> Option<Result<Place>> {
    let (scheme, rest) = match text.split_once("://")? {
        (scheme, rest) if scheme.eq_ignore_ascii_case("oci") => ("https", rest),
        (scheme, rest) if scheme.eq_ignore_ascii_case("oci+http") => ("http", rest),
        _ => return None,
    };
    Some(read_place(scheme, rest))
}

fn read_place(scheme: &str, rest: &str) -> Result<Place> {
    let mut url = http_out::parse_url(&format!("{scheme}://{rest}"))?;
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if is_here && scheme == "https" {
        url = http_out::parse_url(&format!("http://{rest}"))?;
    }
    let path = url.path().trim_matches('/').to_owned();
    if url.query().is_some() || url.fragment().is_some() || !(path.is_empty() || is_repository(&path)) {
        let detail =
            "the address of charts in a registry is `oci://host[:port]/path`, without tag, `?` and `#`";
        return Err(Error { code: "invalid_url", ..Error::invalid("url", detail) });
    }
    url.set_path("/");
    Ok(Place { base: url, path })
}

/// What is known of a version by its manifest.
#[derive(Clone, Debug)]
pub struct Found {
    /// The manifest's digest.
    pub digest: Digest,
    /// What it names.
    pub chart: ChartManifest,
    /// When the chart was pushed in seconds since 1970, as its client says.
    pub created: Option<i64>,
}

/// Charts of a registry, to be read.
pub struct OciCharts<'a> {
    target: Target<'a>,
    path: &'a str,
    logins: tokio::sync::Mutex<BTreeMap<String, Login>>,
    fetched_bytes: AtomicU64,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalogue {
    repositories: Option<Vec<String>>,
}

impl<'a> OciCharts<'a> {
    /// The charts at a place.
    pub fn new(outbound: &'a Outbound, registry: &'a ForeignRegistry<'a>, path: &'a str) -> Self {
        Self {
            target: Target { outbound, registry },
            path,
            logins: tokio::sync::Mutex::default(),
            fetched_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes of documents that came.
    pub fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    async fn document(&self, answer: Response, limit: usize) -> Result<Vec<u8>> {
        let bytes = http_out::read(answer, limit).await?;
        self.fetched_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// The registry as `foreign_registry` knows it.
    pub fn registry<'s>(source: &'s Source, place: &Place) -> ForeignRegistry<'s> {
        ForeignRegistry {
            base: place.base.clone(),
            repository: place.path.clone(),
            credential: source.credential.clone(),
            authority: source.authorities.as_deref(),
            trust: source.trust,
        }
    }

    /// The charts that there are: repositories with their tags. The place is one chart when it has tags, or else the beginning of
    /// the names of several.
    pub async fn list(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut first = None;
        if !self.path.is_empty() {
            match self.tags(self.path).await {
                Ok(tags) if !tags.is_empty() => return Ok(BTreeMap::from([(self.path.to_owned(), tags)])),
                Ok(_) => {}
                Err(error) if error.code == "index_missing" => {}
                // Where there is no such repository, many registries say that one may not see it.
                Err(error) if error.code == "credentials_refused" => first = Some(error),
                Err(error) => return Err(error),
            }
        }
        let below = match self.below().await {
            Ok(names) => names,
            Err(error) if matches!(error.code, "index_missing" | "credentials_refused") => {
                return Err(first.unwrap_or_else(|| missing(&error)));
            }
            Err(error) => return Err(error),
        };
        if below.is_empty() {
            return Err(first.unwrap_or_else(|| {
                bad("index_missing", "there are no charts at this address")
                    .hint("the address is that of a chart, or of the folder of several")
            }));
        }
        let mut all = BTreeMap::new();
        for name in below {
            match self.tags(&name).await {
                Ok(tags) => drop(all.insert(name, tags)),
                // A repository whose last tag is gone, or that one may not see.
                Err(error) if matches!(error.code, "index_missing" | "credentials_refused") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Repositories below the path.
    async fn below(&self) -> Result<Vec<String>> {
        let prefix = if self.path.is_empty() { String::new() } else { format!("{}/", self.path) };
        let mut found = Vec::new();
        let first = format!("/v2/_catalog?n={PAGE}");
        self.pages("registry:catalog:*", first, |bytes| {
            let page: Catalogue = serde_json::from_slice(bytes).map_err(|_| nonsense())?;
            for name in page.repositories.unwrap_or_default() {
                if name.starts_with(&prefix) && is_repository(&name) {
                    if found.len() == MAX_CHARTS {
                        return Err(bad(
                            "index_too_large",
                            format!("there are more than {MAX_CHARTS} charts below this address"),
                        )
                        .hint("give the address of a smaller folder, or of one chart"));
                    }
                    found.push(name);
                }
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    async fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let first = format!("/v2/{repository}/tags/list?n={PAGE}");
        self.pages(&scope(repository), first, |bytes| {
            let page: TagList = serde_json::from_slice(bytes).map_err(|_| nonsense())?;
            found.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| is_tag(tag)));
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// Reads a list page by page, as far as the registry names the next one at its own address.
    async fn pages(
        &self,
        scope: &str,
        first: String,
        mut take: impl FnMut(&[u8]) -> Result<()> + Send,
    ) -> Result<()> {
        let mut path = first;
        for _ in 0..MAX_PAGES {
            let url = self.target.url(&path)?;
            let answer = self.ask(Method::GET, scope, &path, "application/json").await?;
            let link = answer.headers().get(header::LINK).and_then(|value| value.to_str().ok());
            let next = link.and_then(next_page).and_then(|next| url.join(next).ok());
            take(&self.document(answer, MAX_PAGE_BYTES).await?)?;
            match next {
                Some(next)
                    if http_out::same_origin(&next, &url) && next.path() == url.path() && next != url =>
                {
                    path = format!("{}?{}", next.path(), next.query().unwrap_or_default());
                }
                _ => return Ok(()),
            }
        }
        Err(bad(
            "index_too_large",
            format!("a list of the registry has more than {} entries", MAX_PAGES * PAGE),
        ))
    }

    /// The digest of the manifest that has a tag.
    pub async fn digest(&self, repository: &str, tag: &str) -> Result<Digest> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.ask(Method::HEAD, &scope(repository), &path, MANIFEST_TYPE).await?;
        let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(said) = said.and_then(|said| said.parse().ok()) {
            return Ok(said);
        }
        let answer = self.ask(Method::GET, &scope(repository), &path, MANIFEST_TYPE).await?;
        Ok(digest_of(&self.document(answer, MAX_DOCUMENT_BYTES).await?))
    }

    /// The chart that has a tag; none when it is something else.
    pub async fn chart(&self, repository: &str, tag: &str) -> Result<Option<Found>> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.ask(Method::GET, &scope(repository), &path, MANIFEST_TYPE).await?;
        let bytes = self.document(answer, MAX_DOCUMENT_BYTES).await?;
        let Ok(manifest) = Manifest::parse(&bytes) else { return Ok(None) };
        let Ok(Some(chart)) = ChartManifest::of(&manifest) else { return Ok(None) };
        let document: Value = serde_json::from_slice(&bytes).map_err(|_| nonsense())?;
        let created = document["annotations"]["org.opencontainers.image.created"].as_str();
        let created = created.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        Ok(Some(Found { digest: digest_of(&bytes), chart, created: created.map(|time| time.timestamp()) }))
    }

    /// What a chart says of itself.
    pub async fn config(&self, repository: &str, digest: &Digest) -> Result<Value> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let answer = self.ask(Method::GET, &scope(repository), &path, "*/*").await?;
        let bytes = self.document(answer, MAX_DOCUMENT_BYTES).await?;
        if digest_of(&bytes) != *digest {
            return Err(bad("digest_mismatch", "the registry sent something else than its manifest names"));
        }
        serde_json::from_slice(&bytes).map_err(|_| nonsense())
    }

    /// A package or its signature: the file from anywhere, its SHA-256 in hex, its length.
    pub async fn blob(
        &self,
        blobs: &Blobs,
        repository: &str,
        digest: &Digest,
        limit: u64,
        patience: Duration,
    ) -> Result<(File, String, u64)> {
        let fetched = async {
            let path = format!("/v2/{repository}/blobs/{digest}");
            let answer = self.ask(Method::GET, &scope(repository), &path, "*/*").await?;
            helm_repo::spool(blobs, answer, limit).await
        };
        let late = || http_out::timed_out("the file did not come in time");
        tokio::time::timeout(patience, fetched).await.unwrap_or_else(|_| Err(late()))
    }

    /// Asks, with what opens the scope; once more with a new token when the registry does not take it any more.
    async fn ask(&self, method: Method, scope: &str, path: &str, accept: &'static str) -> Result<Response> {
        let url = self.target.url(path)?;
        let mut is_again = false;
        loop {
            let login = self.login(scope, is_again).await?;
            let mut request = self.target.request(method.clone(), &url, &login)?;
            request.headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let answer = self.target.send(request).await?;
            match answer.status() {
                StatusCode::OK => return Ok(answer),
                StatusCode::UNAUTHORIZED if !is_again => is_again = true,
                status => return Err(bad_status(status)),
            }
        }
    }

    async fn login(&self, scope: &str, is_stale: bool) -> Result<Login> {
        let mut logins = self.logins.lock().await;
        if let Some(login) = logins.get(scope).filter(|_| !is_stale) {
            return Ok(login.clone());
        }
        let login = self.target.log_in(scope).await.map_err(refused)?;
        logins.insert(scope.to_owned(), login.clone());
        Ok(login)
    }
}

fn scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

/// Whether a text is a tag: it becomes part of addresses.
fn is_tag(text: &str) -> bool {
    text.parse::<wire::names::Tag>().is_ok()
}

/// The next page of `<address>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    (rest.contains("rel=\"next\"") || rest.contains("rel=next")).then_some(address)
}

/// What the registry says to our name and password, in the words of chart repositories.
fn refused(error: Error) -> Error {
    if error.code == "registry_refused" && error.kind == ErrorKind::Invalid {
        return credentials_refused();
    }
    if error.kind == ErrorKind::Unavailable {
        // Theirs, and not ours.
        return bad("bad_status", error.detail);
    }
    error
}

fn bad_status(status: StatusCode) -> Error {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => credentials_refused(),
        StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::BAD_REQUEST
        | StatusCode::METHOD_NOT_ALLOWED => bad("index_missing", "there is no chart at this address")
            .hint("the address is that of a chart, or of the folder of several"),
        StatusCode::TOO_MANY_REQUESTS => {
            bad("bad_status", "the registry has had too many requests from here")
                .hint("try again later, or give `username` and `password`")
        }
        status => bad("bad_status", format!("the registry answers with status {}", status.as_u16())),
    }
}

fn credentials_refused() -> Error {
    bad("credentials_refused", "the registry does not let us in, or not to these charts")
        .hint("give `username` and `password`, or check them")
}

/// A place with neither tags nor a list of what is below it.
fn missing(error: &Error) -> Error {
    bad("index_missing", "there is no chart at this address, and the registry does not list what it has")
        .hint("give the address of one chart, such as `oci://registry.example.org/charts/web`")
        .caused_by(error.detail.clone())
}

fn nonsense() -> Error {
    bad("index_malformed", "the registry's answer cannot be read")
}

fn bad(code: &'static str, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadGateway, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_registries_and_paths() {
        let place = |text: &str| place_of(text).unwrap().map(|place| (place.base.to_string(), place.path));

        assert_eq!(
            place("oci://ghcr.io/org/charts/web/").unwrap(),
            ("https://ghcr.io/".into(), "org/charts/web".into())
        );
        assert_eq!(
            place("OCI://r.example.org:5000").unwrap(),
            ("https://r.example.org:5000/".into(), String::new())
        );
        assert_eq!(place("oci://127.0.0.1:5000/a").unwrap().0, "http://127.0.0.1:5000/");
        assert_eq!(place("oci://localhost:5000/a").unwrap().0, "http://localhost:5000/");
        assert_eq!(place("oci+http://10.0.0.1:5000/a").unwrap().0, "http://10.0.0.1:5000/");
        assert!(place_of("https://a/b").is_none());
        assert!(place_of("a/b").is_none());
        for bad in [
            "oci://",
            "oci://h/A",
            "oci://h/a:1.0",
            "oci://h/a@b",
            "oci://u:p@h/a",
            "oci://h/a?x",
            "oci://h/a#x",
            "oci://h/a b",
            "oci://h/a//b",
        ] {
            assert!(place_of(bad).is_none_or(|place| place.is_err()), "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_named_by_a_link() {
        assert_eq!(next_page(r#"</v2/_catalog?last=b&n=2>; rel="next""#), Some("/v2/_catalog?last=b&n=2"));
        for none in ["", "/v2", "</v2", r#"</v2/x>; rel="prev""#] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
