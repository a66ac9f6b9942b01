//! Who sent a delivery, and whether it is signed with a secret. Comparisons take the same time whatever is wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use subtle::ConstantTimeEq as _;
use wire::secret::Secret;
use wire::time::Timestamp;

use super::Delivery;

/// How far the time of a signed delivery may be from ours, in seconds.
const WINDOW_SECS: i64 = 300;

/// Who sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    /// Gitea, and Forgejo, which speaks the same.
    Gitea,
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Bitbucket, Cloud and Data Center.
    Bitbucket,
}

impl Provider {
    /// By the headers. Gitea sends GitHub's headers too, so it is looked for first.
    pub(super) fn of(delivery: &Delivery<'_>) -> Option<Self> {
        let has = |name: &str| delivery.header(name).is_some();
        if has("x-gitea-event") || has("x-forgejo-event") {
            Some(Self::Gitea)
        } else if has("x-gitlab-event") {
            Some(Self::GitLab)
        } else if has("x-event-key") {
            Some(Self::Bitbucket)
        } else if has("x-github-event") {
            Some(Self::GitHub)
        } else {
            None
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gitea => "gitea",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Bitbucket => "bitbucket",
        }
    }

    /// The provider's name of the event.
    pub(super) fn event<'a>(self, delivery: &'a Delivery<'_>) -> &'a str {
        let names: &[&str] = match self {
            Self::Gitea => &["x-gitea-event", "x-forgejo-event"],
            Self::GitHub => &["x-github-event"],
            Self::GitLab => &["x-gitlab-event"],
            Self::Bitbucket => &["x-event-key"],
        };
        names.iter().find_map(|name| delivery.header(name)).unwrap_or_default()
    }

    /// Whether the body is signed with a secret.
    pub(super) fn is_signed(self, delivery: &Delivery<'_>, secret: &Secret, now: Timestamp) -> bool {
        let header = |name: &str| delivery.header(name);
        let is_hex = |text: Option<&str>| {
            text.is_some_and(|text| is_hex_signature(secret.expose().as_bytes(), delivery.body, text))
        };
        let is_prefixed = |name: &str| is_hex(header(name).and_then(|text| text.strip_prefix("sha256=")));
        match self {
            Self::Gitea => {
                is_hex(header("x-gitea-signature").or_else(|| header("x-forgejo-signature")))
                    || (header("x-gitea-signature").is_none() && is_prefixed("x-hub-signature-256"))
            }
            Self::GitHub => is_prefixed("x-hub-signature-256"),
            Self::Bitbucket => is_prefixed("x-hub-signature"),
            // A signature wins over the plain token: whoever sends one means it.
            Self::GitLab => match header("webhook-signature") {
                Some(signatures) => is_standard(delivery, secret, signatures, now),
                None => header("x-gitlab-token")
                    .is_some_and(|token| bool::from(token.as_bytes().ct_eq(secret.expose().as_bytes()))),
            },
        }
    }
}

fn is_hex_signature(key: &[u8], body: &[u8], text: &str) -> bool {
    let Ok(signature) = hex::decode(text.trim()) else { return false };
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), body, &signature).is_ok()
}

/// `v1,BASE64` over `id.timestamp.body`, several of them separated by blanks.
fn is_standard(delivery: &Delivery<'_>, secret: &Secret, signatures: &str, now: Timestamp) -> bool {
    let (Some(id), Some(timestamp)) = (delivery.header("webhook-id"), delivery.header("webhook-timestamp"))
    else {
        return false;
    };
    let is_now = timestamp
        .parse::<i64>()
        .is_ok_and(|then| then.abs_diff(now.unix_secs()) <= WINDOW_SECS.unsigned_abs());
    if !is_now {
        return false;
    }
    let text = secret.expose();
    let key = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_deref().unwrap_or(text.as_bytes()));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", delivery.body].concat();
    signatures
        .split(' ')
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|signature| hmac::verify(&key, &signed, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery<'a>(headers: &[(&str, &str)], body: &'a [u8]) -> Delivery<'a> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Delivery { headers, body }
    }

    #[test]
    fn a_known_signature_is_right_and_any_change_is_not() {
        // The example of GitHub's documentation.
        let secret = Secret::new("It's a Secret to Everybody");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-github-event", "push"), ("x-hub-signature-256", signature)];
        let now = Timestamp(0);

        assert!(Provider::GitHub.is_signed(&delivery(&headers, b"Hello, World!"), &secret, now));
        assert!(!Provider::GitHub.is_signed(&delivery(&headers, b"Hello, World?"), &secret, now));
        assert!(!Provider::GitHub.is_signed(&delivery(&headers, b"Hello, World!"), &Secret::new("x"), now));
        for wrong in ["", "sha256=", "757107ea", "sha1=757107ea", "sha256=zz"] {
            let headers = [("x-github-event", "push"), ("x-hub-signature-256", wrong)];
            assert!(
                !Provider::GitHub.is_signed(&delivery(&headers, b"Hello, World!"), &secret, now),
                "{wrong}"
            );
        }
        let plain = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "It's a Secret to Everybody")];
        assert!(Provider::GitLab.is_signed(&delivery(&plain, b""), &secret, now));
        assert!(!Provider::GitLab.is_signed(&delivery(&plain[..1], b""), &secret, now));
    }

    #[test]
    fn a_timed_signature_is_right_for_some_minutes() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key =
            hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signature = format!("v1,{}", STANDARD.encode(hmac::sign(&key, b"m1.1000.{}")));
        let headers = [
            ("x-gitlab-event", "Push Hook"),
            ("webhook-id", "m1"),
            ("webhook-timestamp", "1000"),
            ("webhook-signature", &signature),
        ];
        let at = |secs: i64| {
            Provider::GitLab.is_signed(&delivery(&headers, b"{}"), &secret, Timestamp(secs * 1_000_000))
        };

        assert!(at(1_000) && at(1_300) && at(700));
        assert!(!at(1_301) && !at(0));
    }

    #[test]
    fn gitea_is_told_from_github() {
        let both = [("x-github-event", "push"), ("x-gitea-event", "push")];

        assert_eq!(Provider::of(&delivery(&both, b"")), Some(Provider::Gitea));
        assert_eq!(Provider::of(&delivery(&[], b"")), None);
    }
}
