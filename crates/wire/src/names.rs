//! Names that users choose, each a type that checks itself when parsed, so that everything behind the door can trust
//! what it holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{shown}` is not valid: use {rule}")]
pub struct NameError {
    what: &'static str,
    shown: String,
    rule: &'static str,
}

impl NameError {
    /// `text` is shown shortened and with control characters escaped.
    pub fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        let shown = text.chars().take(80).flat_map(char::escape_debug).collect();
        Self { what, shown, rule }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// An account's name: 1 to 31 of `a-z0-9` after NFKC and lower-casing; no hyphen, so that `account-namespace` can be
    /// read in one way only. Reserved names parse (they may exist already): see [`AccountName::is_reserved`].
    AccountName
);
name!(
    /// The owner part of an image name: an account's name, or `public`.
    Owner
);
name!(
    /// The repository part of an image name: one lower-case path segment, at most 128 bytes (the grammar of the
    /// distribution specification, without slashes).
    RepoName
);
name!(
    /// An image's tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    Tag
);
name!(
    /// A content digest: `sha256:` and 64 lower-case hex digits.
    Digest
);
name!(
    /// A container's name, unique per account: 1 to 63 of `a-z0-9._-`, beginning with a letter or digit.
    ContainerName
);
name!(
    /// A volume's name, unique per account and machine: 1 to 63 of `a-z0-9._-`, beginning with a letter or digit.
    VolumeName
);

name!(
    /// The name of a secret that a build may read: 1 to 64 of `A-Za-z0-9_.-`, beginning with a letter, a digit or `_`.
    SecretName
);
name!(
    /// A Kubernetes cluster's name here: 1 to 63 of `a-z0-9-`, beginning and ending with a letter or digit.
    ClusterName
);
name!(
    /// A namespace's name, with the account in front or without: a DNS label, 1 to 63 of `a-z0-9-`, beginning and ending
    /// with a letter or digit.
    NamespaceName
);

/// Names nobody may register: they stand for something else in images, namespaces or addresses.
const RESERVED: &[&str] = &[
    "admin",
    "administrator",
    "anonymous",
    "api",
    "default",
    "guest",
    "istio",
    "kube",
    "kubernetes",
    "library",
    "localhost",
    "longshore",
    "nobody",
    "null",
    "openshift",
    "operator",
    "public",
    "rancher",
    "registry",
    "root",
    "system",
    "undefined",
    "v1",
    "v2",
];

impl AccountName {
    /// The one built-in administrator, made at first start.
    pub fn admin() -> Self {
        Self("admin".to_owned())
    }

    /// Whether registration must refuse this name.
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.0.as_str())
    }
}

impl FromStr for AccountName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A long input is refused before it is normalised.
        let folded: String = if text.len() <= 256 {
            text.nfkc().flat_map(char::to_lowercase).collect()
        } else {
            String::new()
        };
        let is_valid = (1..=31).contains(&folded.len())
            && folded.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !is_valid {
            return Err(NameError::new("account", text, "1 to 31 letters `a-z` and digits"));
        }
        Ok(Self(folded))
    }
}

impl Owner {
    /// The owner of public images.
    pub const PUBLIC: &'static str = "public";

    /// The owner of public images.
    pub fn public() -> Self {
        Self(Self::PUBLIC.to_owned())
    }

    /// Whether this is `public`.
    pub fn is_public(&self) -> bool {
        self.0 == Self::PUBLIC
    }
}

impl From<&AccountName> for Owner {
    fn from(account: &AccountName) -> Self {
        Self(account.0.clone())
    }
}

impl FromStr for Owner {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = (1..=31).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !is_valid {
            return Err(NameError::new("owner", text, "an account's name or `public`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=128).contains(&text.len()) || !is_path_component(text) {
            let rule = "one lower-case name of `a-z`, `0-9` with `.`, `_`, `__` or `-` between";
            return Err(NameError::new("repository", text, rule));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the path component of the distribution specification.
fn is_path_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_word(first) || !is_word(last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|gap| !gap.is_empty())
        .all(|gap| gap == "." || gap == "_" || gap == "__" || gap.bytes().all(|b| b == b'-'))
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let is_valid = (1..=128).contains(&text.len())
            && text.bytes().enumerate().all(|(i, b)| is_word(b) || (i > 0 && (b == b'.' || b == b'-')));
        if !is_valid {
            let rule = "1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`";
            return Err(NameError::new("tag", text, rule));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let is_valid =
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_valid {
            return Err(NameError::new("digest", text, "`sha256:` and 64 lower-case hex digits"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ContainerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        short_name("container name", text).map(Self)
    }
}

impl FromStr for VolumeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        short_name("volume name", text).map(Self)
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let is_valid = (1..=64).contains(&text.len())
            && text.bytes().enumerate().all(|(i, b)| is_word(b) || (i > 0 && matches!(b, b'.' | b'-')));
        if !is_valid {
            let rule = "1 to 64 letters, digits, `_`, `.` and `-`, beginning with none of the last two";
            return Err(NameError::new("secret name", text, rule));
        }
        Ok(Self(text.to_owned()))
    }
}

fn short_name(what: &'static str, text: &str) -> Result<String, NameError> {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_valid = (1..=63).contains(&text.len())
        && text.bytes().enumerate().all(|(i, b)| is_word(b) || (i > 0 && matches!(b, b'.' | b'_' | b'-')));
    if !is_valid {
        let rule = "1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, beginning with a letter or digit";
        return Err(NameError::new(what, text, rule));
    }
    Ok(text.to_owned())
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_dns_label(text) {
            return Err(NameError::new("cluster name", text, DNS_LABEL));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for NamespaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_dns_label(text) {
            return Err(NameError::new("namespace", text, DNS_LABEL));
        }
        Ok(Self(text.to_owned()))
    }
}

impl NamespaceName {
    /// The name by which the cluster knows an account's namespace. Accounts have no hyphen in their names, so that no two
    /// of them can mean the same one.
    pub fn of_account(account: &AccountName, short: &Self) -> Result<Self, NameError> {
        format!("{account}-{short}").parse()
    }
}

const DNS_LABEL: &str = "1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit";

/// RFC 1123's label, which Kubernetes asks of most names.
fn is_dns_label(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= 63
        && is_word(first)
        && is_word(last)
        && bytes.iter().all(|&byte| is_word(byte) || byte == b'-')
}

/// A whole image name, `owner/repo:tag`. As a reference typed by a user the owner may be missing (the caller's own)
/// and so may the tag (`latest`): see [`ImageReference`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// Whose image it is.
    pub owner: Owner,
    /// The repository.
    pub repo: RepoName,
    /// The tag.
    pub tag: Tag,
}

impl ImageName {
    /// `owner/repo`, the name that the registry knows.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.repo)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.owner, self.repo, self.tag)
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/').and_then(|(owner, rest)| Some((owner, rest.split_once(':')?)));
        let Some((owner, (repo, tag))) = parts else {
            return Err(NameError::new("image", text, "`owner/repository:tag`"));
        };
        Ok(Self { owner: owner.parse()?, repo: repo.parse()?, tag: tag.parse()? })
    }
}

impl Serialize for ImageName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An image as a user types it: `[owner/]repo[:tag]`; what is missing is the caller's own name and `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Whose image; none means the caller's.
    pub owner: Option<Owner>,
    /// The repository.
    pub repo: RepoName,
    /// The tag, `latest` when none was typed.
    pub tag: Tag,
}

impl ImageReference {
    /// Fills in the caller as owner where none was typed.
    pub fn with_default_owner(self, owner: &Owner) -> ImageName {
        ImageName { owner: self.owner.unwrap_or_else(|| owner.clone()), repo: self.repo, tag: self.tag }
    }
}

impl FromStr for ImageReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (owner, rest) = match text.split_once('/') {
            Some((owner, rest)) => (Some(owner.parse()?), rest),
            None => (None, text),
        };
        let (repo, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
        Ok(Self { owner, repo: repo.parse()?, tag: tag.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_fold_to_one_spelling() {
        let same = ["alice", "Alice", "ALICE", "ａｌｉｃｅ"];

        for text in same {
            assert_eq!(text.parse::<AccountName>().unwrap().as_str(), "alice");
        }
    }

    #[test]
    fn account_names_that_could_be_mistaken_are_refused() {
        let long = "a".repeat(32);
        for text in ["", "a-b", "alice ", "аlice", "a/b", "a.b", "a_b", "用户", "a\u{0}", long.as_str()] {
            assert!(text.parse::<AccountName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn reserved_names_are_known() {
        for text in
            ["public", "Library", "kube", "default", "SYSTEM", "longshore", "registry", "root", "admin"]
        {
            assert!(text.parse::<AccountName>().unwrap().is_reserved(), "{text}");
        }
        assert!(!"alice".parse::<AccountName>().unwrap().is_reserved());
    }

    #[test]
    fn a_namespace_belongs_to_exactly_one_account() {
        let account = |text: &str| text.parse::<AccountName>().unwrap();
        let short = |text: &str| text.parse::<NamespaceName>().unwrap();

        let named = NamespaceName::of_account(&account("henry"), &short("test-a")).unwrap();

        assert_eq!(named.as_str(), "henry-test-a");
        assert!("henry-test".parse::<AccountName>().is_err(), "or it could be somebody else's `a`");
        assert!(NamespaceName::of_account(&account("henry"), &short(&"a".repeat(58))).is_err(), "never cut");
        for text in ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a/b", "a\n", "..", &"a".repeat(64)] {
            assert!(text.parse::<NamespaceName>().is_err(), "{text:?}");
            assert!(text.parse::<ClusterName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn repository_names_follow_the_distribution_grammar() {
        for text in ["a", "app", "my-app", "my--app", "a.b", "a_b", "a__b", "0"] {
            assert!(text.parse::<RepoName>().is_ok(), "{text}");
        }
        for text in ["", "A", "-a", "a-", "a..b", "a___b", "a.-b", "a/b", "a:b", "a b", "ä", "*", "a%2fb"] {
            assert!(text.parse::<RepoName>().is_err(), "{text}");
        }
    }

    #[test]
    fn image_names_round_trip() {
        let name: ImageName = "alice/app:v1.0-rc_1".parse().unwrap();

        assert_eq!(name.to_string(), "alice/app:v1.0-rc_1");
        assert_eq!(name.repository(), "alice/app");
        for text in [
            "app:v1",
            "alice/app",
            "alice/app:",
            "alice//app:v1",
            "alice/a/b:v1",
            "Alice/app:v1",
            "alice/app:-x",
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }

    #[test]
    fn references_take_the_caller_and_latest_by_default() {
        let own = Owner::from(&"bob".parse::<AccountName>().unwrap());

        let short = "app".parse::<ImageReference>().unwrap().with_default_owner(&own);
        let full = "public/base:1".parse::<ImageReference>().unwrap().with_default_owner(&own);

        assert_eq!(short.to_string(), "bob/app:latest");
        assert_eq!(full.to_string(), "public/base:1");
    }

    #[test]
    fn refused_names_are_shown_safely() {
        let error = "a\u{1b}[31m\n".parse::<Tag>().unwrap_err().to_string();

        assert!(error.contains("\\u{1b}"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }
}
