//! The one client for addresses that people give us: chart repositories, git servers, webhooks. A name is resolved once, every
//! address that it has is checked, and the connection goes to one of those and no other; every redirect is checked again.
//! Without a proxy, because a proxy would resolve names by itself.
//!
//! - `addresses`: which addresses may be reached

mod addresses;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Host;
use wire::secret::Secret;

use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};
use addresses::Rule;

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Longest address in characters.
pub const MAX_URL_CHARS: usize = 2048;
/// Certificates of an own authority that are read.
const MAX_CERTIFICATES: usize = 20;

/// On whose behalf something is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// An account: public addresses, and those that the settings list.
    Account,
    /// An admin: private ones too.
    Admin,
}

impl From<&Caller> for Trust {
    fn from(caller: &Caller) -> Self {
        if caller.is_admin() { Self::Admin } else { Self::Account }
    }
}

/// A name and a password for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Where.
    pub url: &'a Url,
    /// On whose behalf.
    pub trust: Trust,
    /// Further headers.
    pub headers: HeaderMap,
    /// Sent to this address only: not to another scheme, host or port, whatever redirects there.
    pub credential: Option<&'a Credential>,
    /// Certificates (PEM) of authorities that are believed besides the system's.
    pub authorities: Option<&'a str>,
    /// The body.
    pub body: Option<Bytes>,
}

impl<'a> Request<'a> {
    /// A request without anything special.
    pub fn get(url: &'a Url, trust: Trust) -> Self {
        let headers = HeaderMap::new();
        Self { method: Method::GET, url, trust, headers, credential: None, authorities: None, body: None }
    }
}

/// The client.
pub struct Outbound {
    rule: Rule,
    own: Mutex<Vec<SocketAddr>>,
    /// Made when it is first needed: the system's authorities take some memory.
    tls: OnceLock<Arc<rustls::ClientConfig>>,
    /// Believes nobody, for addresses in the clear: the library would read the system's authorities for them, too, each time.
    clear: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Outbound {
    /// A client that may also reach these ranges, and never these listeners of ours.
    pub fn new(allowed: &[String], own: Vec<SocketAddr>) -> Self {
        Self { rule: Rule::new(allowed), own: Mutex::new(own), tls: OnceLock::new(), clear: OnceLock::new() }
    }

    /// Names a listener of ours that was opened later.
    pub fn add_own(&self, address: SocketAddr) {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// The addresses of an address's host, each of them allowed; for programs that connect by themselves, which must be held
    /// to them.
    pub async fn addresses(&self, url: &Url, trust: Trust) -> Result<Vec<SocketAddr>> {
        let host = url.host().ok_or_else(|| invalid("it names no host"))?;
        let port = url.port_or_known_default().or_else(|| default_port(url.scheme()));
        let port = port.ok_or_else(|| invalid("it names no port"))?;
        let found: Vec<SocketAddr> = match host {
            Host::Ipv4(address) => vec![(address, port).into()],
            Host::Ipv6(address) => vec![(address, port).into()],
            Host::Domain(name) => {
                let looked_up =
                    tokio::time::timeout(CONNECT_PATIENCE, tokio::net::lookup_host((name, port))).await;
                let unknown = || {
                    Error::new(
                        ErrorKind::BadGateway,
                        "host_unknown",
                        format!("the name `{name}` has no address"),
                    )
                    .hint("check how it is spelled")
                };
                match looked_up {
                    Err(_) => return Err(timed_out("looking up its name")),
                    Ok(Err(error)) => return Err(unknown().caused_by(error)),
                    Ok(Ok(addresses)) => addresses.collect(),
                }
            }
        };
        if found.is_empty() {
            return Err(Error::new(ErrorKind::BadGateway, "host_unknown", "the host has no address"));
        }
        // One bad address is enough: which of them is used would be the name server's choice.
        if found.iter().any(|address| !self.allows(*address, trust)) {
            return Err(refused(url, trust));
        }
        Ok(found)
    }

    fn allows(&self, address: SocketAddr, trust: Trust) -> bool {
        let is_own = || {
            let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.iter().any(|own| addresses::is_same_listener(*own, address))
        };
        self.rule.allows(address.ip(), trust) && !is_own()
    }

    /// Asks, follows redirects (of requests without a body), and answers whatever comes, its body unread. The caller bounds the
    /// body and the whole.
    pub async fn send(&self, request: Request<'_>) -> Result<Response> {
        check_url(request.url)?;
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.hop(&request, &url).await?;
            let is_followed = request.body.is_none() && matches!(request.method, Method::GET | Method::HEAD);
            let Some(next) = is_followed.then(|| redirect(&answer)).flatten() else { return Ok(answer) };
            let next = url.join(&next).map_err(|_| redirect_refused("to something that is no address"))?;
            check_url(&next)
                .map_err(|error| redirect_refused(&format!("to an address that is refused: {error}")))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(redirect_refused("from TLS to an address in the clear"));
            }
            url = next;
        }
        Err(redirect_refused(&format!("more than {MAX_REDIRECTS} times")))
    }

    /// Sends a body that is too large to hold, and follows nothing. `patience` is for the whole.
    pub async fn upload(
        &self,
        request: Request<'_>,
        body: reqwest::Body,
        patience: Duration,
    ) -> Result<Response> {
        check_url(request.url)?;
        let sent = self.exchange(&request, request.url, Some(body), patience);
        tokio::time::timeout(patience, sent).await.map_err(|_| timed_out("sending to the server"))?
    }

    async fn hop(&self, request: &Request<'_>, url: &Url) -> Result<Response> {
        let body = request.body.clone().map(reqwest::Body::from);
        self.exchange(request, url, body, SILENCE).await
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
        body: Option<reqwest::Body>,
        silence: Duration,
    ) -> Result<Response> {
        let addresses = self.addresses(url, request.trust).await?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .read_timeout(silence)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(0);
        if let Some(name) = url.domain() {
            builder = builder.resolve_to_addrs(name, &addresses);
        }
        let tls = match request.authorities {
            _ if url.scheme() != "https" => Arc::clone(self.clear()?),
            None => Arc::clone(self.tls()?),
            Some(pem) => Arc::new(tls_config(&certificates(pem)?)?),
        };
        builder = builder.tls_backend_preconfigured(Arc::unwrap_or_clone(tls));
        let client = builder.build().map_err(Error::internal)?;
        let mut out = client.request(request.method.clone(), url.clone());
        let is_same_place = same_origin(request.url, url);
        for (name, value) in &request.headers {
            if is_same_place || (name != header::AUTHORIZATION && name != header::COOKIE) {
                out = out.header(name, value);
            }
        }
        if let Some(credential) = request.credential.filter(|_| is_same_place) {
            out = out.basic_auth(&credential.username, Some(credential.password.expose()));
        }
        if let Some(body) = body {
            out = out.body(body);
        }
        out.send().await.map_err(|error| failed(&error))
    }

    fn tls(&self) -> Result<&Arc<rustls::ClientConfig>> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let made = Arc::new(tls_config(&[])?);
        Ok(self.tls.get_or_init(|| made))
    }

    fn clear(&self) -> Result<&Arc<rustls::ClientConfig>> {
        if let Some(clear) = self.clear.get() {
            return Ok(clear);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?;
        let config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        Ok(self.clear.get_or_init(|| Arc::new(config)))
    }
}

/// The beginning of an answer's body, at most so many bytes.
pub async fn read(mut answer: Response, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))?
    {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(bytes)
}

/// Whether the text is an address that we fetch from: `http` or `https`, a host, nothing secret in it.
pub fn parse_url(text: &str) -> Result<Url> {
    if text.chars().count() > MAX_URL_CHARS {
        return Err(invalid(&format!("it is longer than {MAX_URL_CHARS} characters")));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("it has spaces or control characters in it"));
    }
    let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    check_url(&url)?;
    Ok(url)
}

fn check_url(url: &Url) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("it must begin with `http://` or `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            invalid("it must not hold a name or a password").hint("give them as `username` and `password`")
        );
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no host"));
    }
    if url.as_str().len() > 2 * MAX_URL_CHARS {
        return Err(invalid("it is too long"));
    }
    Ok(())
}

/// Ports of schemes of which the library knows none.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "ssh" => Some(22),
        "git" => Some(9418),
        _ => None,
    }
}

/// Whether two addresses have scheme, host and port in common.
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

fn redirect(answer: &Response) -> Option<String> {
    use StatusCode as S;
    let is_redirect = matches!(
        answer.status(),
        S::MOVED_PERMANENTLY | S::FOUND | S::SEE_OTHER | S::TEMPORARY_REDIRECT | S::PERMANENT_REDIRECT
    );
    let target = answer.headers().get(header::LOCATION).filter(|_| is_redirect)?;
    Some(target.to_str().ok()?.chars().take(2 * MAX_URL_CHARS).collect())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_CERTIFICATES).collect();
    let wrong = || {
        Error::invalid("ca_certificate", "`ca_certificate` holds no certificate in PEM form")
            .hint("it begins with `-----BEGIN CERTIFICATE-----`")
    };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(wrong)
}

/// Whether a text holds certificates of an authority.
pub fn check_authorities(pem: &str) -> Result<()> {
    tls_config(&certificates(pem)?).map(drop)
}

fn tls_config(extra: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(extra.to_vec(), Arc::clone(&provider))
            .map_err(|error| {
                Error::invalid("ca_certificate", "the certificate cannot be an authority's").caused_by(error)
            })?;
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn invalid(why: &str) -> Error {
    Error { code: "invalid_url", ..Error::invalid("url", format!("the address is not valid: {why}")) }
}

/// Says nothing of the address behind a name, which an account could otherwise learn from us.
fn refused(url: &Url, trust: Trust) -> Error {
    let host = url.host_str().unwrap_or_default();
    let error = Error::new(
        ErrorKind::Invalid,
        "address_refused",
        format!("`{host}` is inside a network that this server does not fetch from"),
    );
    let error = Error { field: Some("url".to_owned()), ..error };
    match trust {
        Trust::Account => error.hint("an admin can use private addresses, or allow the range with `outbound.allow`"),
        Trust::Admin => error.hint("loopback and link-local addresses must be in `outbound.allow`; the server's own ports cannot be used"),
    }
}

fn redirect_refused(why: &str) -> Error {
    Error::new(ErrorKind::BadGateway, "redirect_refused", format!("the server redirects {why}"))
}

/// 504.
pub fn timed_out(doing: &str) -> Error {
    Error::new(ErrorKind::GatewayTimeout, "fetch_timed_out", format!("it took too long: {doing}"))
}

/// A connection that failed, in words that say what to do and nothing that the other side sent.
pub fn failed(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        return timed_out(if error.is_connect() {
            "the server does not take connections"
        } else {
            "the server is silent"
        });
    }
    let mut causes = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut is_tls = false;
    while let Some(cause) = next {
        is_tls |= is_of_tls(cause);
        write!(causes, "; {cause}").expect("a String takes every write");
        next = cause.source();
    }
    let error = if is_tls {
        Error::new(ErrorKind::BadGateway, "tls_failed", "the server's certificate is not one that this server trusts")
            .hint("give the authority's certificate as `ca_certificate`, or use the name that the certificate is for")
    } else if error.is_connect() {
        Error::new(ErrorKind::BadGateway, "connect_failed", "the server does not take connections")
            .hint("check host and port, and that it runs")
    } else {
        Error::new(ErrorKind::BadGateway, "connection_broken", "the server broke the connection off")
    };
    error.caused_by(causes.trim_start_matches("; ").to_owned())
}

/// Whether an error is one of TLS, in however many wrappings of input and output.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_fetched_are_taken() {
        for good in ["https://charts.example.org/stable", "http://127.0.0.1:8080", "https://[2606::1]/x?y=1"]
        {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "charts.example.org",
            "file:///etc/passwd",
            "ftp://a/b",
            "gopher://a",
            "oci://a/b",
            "javascript:alert(1)",
            "https://user:password@a/",
            "https://user@a/",
            "http://",
            "https://a b/",
            "https://a/\u{0}",
            "https://a/\nb",
        ] {
            assert_eq!(parse_url(bad).unwrap_err().code, "invalid_url", "{bad}");
        }
        assert!(parse_url(&format!("https://a/{}", "x".repeat(3000))).is_err());
    }

    #[tokio::test]
    async fn odd_spellings_of_internal_addresses_are_refused() {
        let outbound = Outbound::new(&[], Vec::new());
        for bad in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://localhost/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0.0.0.0/",
            "http://0/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://①②⑦.0.0.1/",
        ] {
            let url = parse_url(bad).unwrap();
            assert_eq!(
                outbound.addresses(&url, Trust::Admin).await.unwrap_err().code,
                "address_refused",
                "{bad}"
            );
        }
        for private in ["http://10.0.0.1/", "http://192.168.0.1/", "http://[fd00::1]/"] {
            let url = parse_url(private).unwrap();
            assert_eq!(
                outbound.addresses(&url, Trust::Account).await.unwrap_err().code,
                "address_refused",
                "{private}"
            );
            assert!(outbound.addresses(&url, Trust::Admin).await.is_ok(), "{private}");
        }
    }

    #[tokio::test]
    async fn our_own_listeners_are_never_fetched_from() {
        let outbound = Outbound::new(&["127.0.0.0/8".to_owned()], vec!["127.0.0.1:8080".parse().unwrap()]);
        outbound.add_own("0.0.0.0:5000".parse().unwrap());
        let addresses = |text: &'static str| {
            let outbound = &outbound;
            async move { outbound.addresses(&parse_url(text).unwrap(), Trust::Admin).await }
        };

        assert!(addresses("http://127.0.0.1:8081/").await.is_ok());
        assert!(addresses("http://127.0.0.1:8080/").await.is_err());
        assert!(addresses("http://127.0.0.9:5000/").await.is_err());
    }
}
