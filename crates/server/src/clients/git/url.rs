//! Addresses of git repositories: `https://`, `http://` and `ssh://` (also written `user@host:path`), and nothing else. What
//! git would take for a path of this machine, a helper program or an option is refused here.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use wire::git_repos::MASK;
use wire::secret::Secret;

/// How a git server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// HTTP in the clear.
    Http,
    /// SSH.
    Ssh,
}

impl Scheme {
    /// The word, as git spells it too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Ssh => 22,
        }
    }
}

/// Where a repository is, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitUrl {
    /// How.
    pub scheme: Scheme,
    /// The host's name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The account at an SSH server.
    ssh_user: Option<String>,
    /// With its slash at the beginning.
    path: String,
    /// As it is given to git.
    text: String,
}

/// What opens a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// The user; a token alone stands here too.
    pub user: String,
    /// The password.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub password: Secret,
}

/// What stands for user and password in an address.
#[derive(Clone, Debug)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// The mask: what is kept is meant.
    Kept,
    /// A user and a password.
    New(Credential),
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, a path, a helper …
    #[error("use `https://…`, `http://…`, `ssh://…` or `user@host:path`; nothing else is fetched")]
    Scheme,
    /// Not an address.
    #[error("this is not an address such as `https://git.example.org/team/app.git`")]
    Malformed,
    /// A query or a fragment.
    #[error("an address of a repository has no `?` and no `#`")]
    Query,
    /// A password for SSH.
    #[error("a password does not open `ssh://`; give an SSH key instead")]
    SshPassword,
}

impl GitUrl {
    /// Takes an address apart.
    pub fn parse(text: &str) -> Result<(Self, Given), UrlError> {
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '\\';
        if text.is_empty() || !text.chars().all(is_plain) || text.starts_with('-') {
            return Err(UrlError::Malformed);
        }
        match text.split_once("://") {
            Some((scheme, _)) => Self::parse_url(text, scheme),
            None => Self::parse_short(text),
        }
    }

    fn parse_url(text: &str, scheme: &str) -> Result<(Self, Given), UrlError> {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            "ssh" | "git+ssh" | "ssh+git" => Scheme::Ssh,
            _ => return Err(UrlError::Scheme),
        };
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let url = Url::parse(&format!("{}://{rest}", scheme.as_str())).map_err(|_| UrlError::Malformed)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Query);
        }
        let host = url.host_str().ok_or(UrlError::Malformed)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let path = url.path().to_owned();
        if !is_host(&host) || path.len() < 2 {
            return Err(UrlError::Malformed);
        }
        let decoded = |text: &str| percent_decoded(text).ok_or(UrlError::Malformed);
        let (user, password) = (decoded(url.username())?, url.password().map(decoded).transpose()?);
        let port = url.port().unwrap_or(scheme.port());
        if scheme == Scheme::Ssh {
            if password.is_some() {
                return Err(UrlError::SshPassword);
            }
            let ssh_user = (!user.is_empty()).then_some(user);
            if ssh_user.as_deref().is_some_and(|user| !is_ssh_user(user)) {
                return Err(UrlError::Malformed);
            }
            return Ok((Self::new(scheme, host, port, ssh_user, path), Given::Nothing));
        }
        let given = match (user.as_str(), password.as_deref()) {
            ("", None | Some("")) => Given::Nothing,
            (MASK, None | Some("" | MASK)) => Given::Kept,
            (_, password) => {
                let password = Secret::new(password.unwrap_or_default());
                Given::New(Credential { user, password })
            }
        };
        Ok((Self::new(scheme, host, port, None, path), given))
    }

    /// `user@host:path`
    fn parse_short(text: &str) -> Result<(Self, Given), UrlError> {
        let (who, path) = text.split_once(':').ok_or(UrlError::Scheme)?;
        let (user, host) = who.split_once('@').ok_or(UrlError::Scheme)?;
        // `ext::`, and whatever else git has helpers for.
        if path.starts_with(':') {
            return Err(UrlError::Scheme);
        }
        let host = host.to_ascii_lowercase();
        let is_clean = !path.is_empty() && !path.starts_with('-') && !path.contains(['?', '#']);
        if !is_ssh_user(user) || !is_host(&host) || !is_clean {
            return Err(UrlError::Malformed);
        }
        let text = format!("{user}@{host}:{path}");
        let path = format!("/{}", path.trim_start_matches('/'));
        let port = Scheme::Ssh.port();
        let url = Self { scheme: Scheme::Ssh, host, port, ssh_user: Some(user.to_owned()), path, text };
        Ok((url, Given::Nothing))
    }

    fn new(scheme: Scheme, host: String, port: u16, ssh_user: Option<String>, path: String) -> Self {
        let user = ssh_user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        let shown_port = if port == scheme.port() { String::new() } else { format!(":{port}") };
        let name = bracketed(&host);
        let text = format!("{}://{user}{name}{shown_port}{path}", scheme.as_str());
        Self { scheme, host, port, ssh_user, path, text }
    }

    /// As git takes it, without user and password.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a credential is for: it goes nowhere else.
    pub fn origin(&self) -> (Scheme, &str, u16) {
        (self.scheme, &self.host, self.port)
    }

    /// For SSH: `user@host`, and the repository's path as git would ask for it.
    pub(super) fn ssh_target(&self) -> (String, String) {
        let user = self.ssh_user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        let path = if self.text.contains("://") {
            let path = percent_decoded(&self.path).unwrap_or_else(|| self.path.clone());
            // A home folder.
            if path.starts_with("/~") { path[1..].to_owned() } else { path }
        } else {
            self.text.split_once(':').map_or("", |(_, path)| path).to_owned()
        };
        (format!("{user}{}", self.host), path)
    }

    /// `scheme://host[:port]`, where the server's API would be.
    pub fn base(&self) -> String {
        let port = if self.port == self.scheme.port() { String::new() } else { format!(":{}", self.port) };
        format!("{}://{}{port}", self.scheme.as_str(), bracketed(&self.host))
    }

    /// Where the server's own interface is looked for: that of a repository over SSH is at the same host.
    pub fn web_base(&self) -> String {
        match self.scheme {
            Scheme::Ssh => format!("https://{}", bracketed(&self.host)),
            Scheme::Https | Scheme::Http => self.base(),
        }
    }

    /// Where connections go, for the rule that says which may be made. Numbers are read as HTTP reads them.
    pub fn endpoint(&self) -> crate::error::Result<Url> {
        let text = format!("http://{}:{}/", bracketed(&self.host), self.port);
        text.parse().map_err(|_| crate::error::Error::invalid("url", UrlError::Malformed))
    }

    /// `team/app`, without `.git`.
    pub fn project(&self) -> &str {
        let path = self.path.trim_matches('/');
        path.strip_suffix(".git").unwrap_or(path)
    }

    /// For people: with the mask where a credential is kept.
    pub fn shown(&self, has_credential: bool) -> String {
        match self.text.split_once("://") {
            Some((scheme, rest)) if has_credential => format!("{scheme}://{MASK}@{rest}"),
            _ => self.text.clone(),
        }
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl FromStr for GitUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).map(|(url, _)| url)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn is_host(host: &str) -> bool {
    if host.contains(':') {
        return host.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=253).contains(&host.len()) && host.bytes().all(is_letter) && !host.starts_with(['-', '.'])
}

fn is_ssh_user(user: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=64).contains(&user.len()) && user.bytes().all(is_letter) && !user.starts_with('-')
}

fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = text.get(at + 1..at + 3)?;
            decoded.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    let text = String::from_utf8(decoded).ok()?;
    // A line break would begin another line of the file that git reads it from.
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_taken_out() {
        let (url, given) =
            GitUrl::parse("https://username:p%40ss@bitbucket.org/8labteam/prometh_exporter.git").unwrap();

        let Given::New(credential) = given else { panic!("{given:?}") };
        assert_eq!((credential.user.as_str(), credential.password.expose()), ("username", "p@ss"));
        assert_eq!(url.as_str(), "https://bitbucket.org/8labteam/prometh_exporter.git");
        assert_eq!(url.shown(true), "https://***@bitbucket.org/8labteam/prometh_exporter.git");
        assert_eq!(url.project(), "8labteam/prometh_exporter");
        for masked in ["https://***@h/x", "https://***:***@h/x"] {
            assert!(matches!(GitUrl::parse(masked).unwrap().1, Given::Kept), "{masked}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_repository_is_refused() {
        for text in [
            "",
            "-",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "a@b::c",
            "file:///etc",
            "/etc",
            "../x",
            "git://h/x",
            "ftp://h/x",
            "gopher://h/x",
            "https://",
            "https://h",
            "https://h/",
            "https://h/x?y",
            "https://h/x#y",
            "https://h/x y",
            "https://h/x\ny",
            "https://h\\x/y",
            "https://a:b%0ac@h/x",
            "ssh://-oProxyCommand=x/y",
            "ssh://-oProxyCommand=x@h/y",
            "ssh://a:b@h/y",
            "ssh://a%20b@h/y",
            "-oProxyCommand=x@h:y",
            "a@-oProxyCommand=x:y",
            "a@h:-x",
            "a@h:",
            "h:x",
            "unix:/x",
        ] {
            assert!(GitUrl::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_written_in_one_way() {
        for (text, written, host, port) in [
            ("HTTPS://Git.Example.org:443/a/b", "https://git.example.org/a/b", "git.example.org", 443),
            ("http://127.1:8080/a", "http://127.0.0.1:8080/a", "127.0.0.1", 8080),
            ("http://0x7f.1/a", "http://127.0.0.1/a", "127.0.0.1", 80),
            ("http://[::1]:3000/a", "http://[::1]:3000/a", "::1", 3000),
            ("ssh://git@h:2222/a/b.git", "ssh://git@h:2222/a/b.git", "h", 2222),
            ("git+ssh://git@h/a", "ssh://git@h/a", "h", 22),
            ("git@h:a/b.git", "git@h:a/b.git", "h", 22),
        ] {
            let (url, _) = GitUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.host.as_str(), url.port), (written, host, port));
            assert_eq!(written.parse::<GitUrl>().unwrap(), url, "what is stored reads the same");
        }
    }
}
