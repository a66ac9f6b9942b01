//! Signed tokens (JWT, RFC 7519). We only ever verify what we signed ourselves, so the first part of a token must be
//! byte for byte the header that this key writes: every confusion of algorithms, keys and key ids ends there, before
//! anything is parsed. That is also why no general JWT library is used: there is nothing general to do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use ring::{hmac, rand};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Seconds by which another server's clock may run ahead of ours.
const CLOCK_SKEW_SECS: i64 = 60;

/// A key with the one header that its tokens carry.
pub struct TokenKey {
    header: String,
    issuer: String,
    audience: String,
    kind: KeyKind,
    random: SystemRandom,
}

enum KeyKind {
    /// HMAC-SHA-256: we sign and we verify.
    Shared(hmac::Key),
    /// ECDSA on P-256: others verify too.
    Pair(Box<EcdsaKeyPair>),
}

/// The claims that every token has; `T` adds its own.
#[derive(Debug, Serialize, Deserialize)]
struct Claims<T> {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
    #[serde(flatten)]
    rest: T,
}

/// What a verified token says.
#[derive(Debug)]
pub struct Verified<T> {
    /// Who it is about.
    pub subject: String,
    /// When it was made, in seconds since 1970.
    pub issued_at: i64,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// Its own claims.
    pub claims: T,
}

impl TokenKey {
    /// A key that only servers of this installation hold.
    pub fn shared(secret: &[u8], issuer: &str, audience: &str) -> Self {
        let kind = KeyKind::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Self::new(r#"{"typ":"JWT","alg":"HS256"}"#, issuer, audience, kind)
    }

    /// A key pair; `certificate` (DER) goes along in `x5c`, which CNCF Distribution 2.8 asks for.
    pub fn pair(pkcs8: &[u8], certificate: &[u8], issuer: &str, audience: &str) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|e| Error::internal(format!("the registry's key cannot be read: {e}")))?;
        let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
        let header = format!(r#"{{"typ":"JWT","alg":"ES256","x5c":["{certificate}"]}}"#);
        Ok(Self::new(&header, issuer, audience, KeyKind::Pair(Box::new(pair))))
    }

    fn new(header: &str, issuer: &str, audience: &str, kind: KeyKind) -> Self {
        Self {
            header: URL_SAFE_NO_PAD.encode(header),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            kind,
            random: SystemRandom::new(),
        }
    }

    /// Signs a token that lives `lifetime_secs` from `now` (seconds since 1970).
    pub fn sign<T: Serialize>(
        &self,
        subject: &str,
        claims: T,
        now: i64,
        lifetime_secs: i64,
    ) -> Result<String, Error> {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: subject.to_owned(),
            iat: now,
            exp: now.saturating_add(lifetime_secs),
            rest: claims,
        };
        let payload = serde_json::to_vec(&claims).map_err(Error::internal)?;
        let mut token = String::with_capacity(self.header.len() + payload.len() * 4 / 3 + 100);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = match &self.kind {
            KeyKind::Shared(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, token.as_bytes())),
            KeyKind::Pair(pair) => {
                let signature = pair.sign(&self.random, token.as_bytes());
                URL_SAFE_NO_PAD.encode(signature.map_err(|e| Error::internal(e.to_string()))?)
            }
        };
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// Verifies a token of ours; none for every token that is not, whatever is wrong with it.
    pub fn verify<T: DeserializeOwned>(&self, token: &str, now: i64) -> Option<Verified<T>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if header != self.header {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        match &self.kind {
            KeyKind::Shared(key) => hmac::verify(key, signed.as_bytes(), &signature).ok()?,
            KeyKind::Pair(pair) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
                key.verify(signed.as_bytes(), &signature).ok()?;
            }
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims<T> = serde_json::from_slice(&payload).ok()?;
        let is_ours = claims.iss == self.issuer && claims.aud == self.audience;
        let is_current = claims.exp > now && claims.iat <= now.saturating_add(CLOCK_SKEW_SECS);
        (is_ours && is_current).then_some(Verified {
            subject: claims.sub,
            issued_at: claims.iat,
            expires_at: claims.exp,
            claims: claims.rest,
        })
    }
}

/// 32 random bytes in base64url: 43 characters.
pub fn random_text(random: &dyn rand::SecureRandom) -> Result<String, Error> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Own {
        sid: String,
    }

    fn key() -> TokenKey {
        TokenKey::shared(&[7; 32], "longshore", "api")
    }

    fn token() -> String {
        key().sign("1", Own { sid: "s".into() }, 1_000, 100).unwrap()
    }

    fn is_accepted(token: &str) -> bool {
        key().verify::<Own>(token, 1_000).is_some()
    }

    fn resigned(header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn a_token_comes_back_with_its_claims() {
        let verified = key().verify::<Own>(&token(), 1_050).unwrap();

        assert_eq!((verified.subject.as_str(), verified.issued_at, verified.expires_at), ("1", 1_000, 1_100));
        assert_eq!(verified.claims, Own { sid: "s".into() });
    }

    #[test]
    fn an_expired_token_is_refused() {
        assert!(key().verify::<Own>(&token(), 1_099).is_some());
        assert!(key().verify::<Own>(&token(), 1_100).is_none());
    }

    #[test]
    fn a_token_from_the_future_is_refused() {
        assert!(key().verify::<Own>(&token(), 1_000 - CLOCK_SKEW_SECS - 1).is_none());
    }

    #[test]
    fn another_key_issuer_or_audience_is_refused() {
        for other in [
            TokenKey::shared(&[8; 32], "longshore", "api"),
            TokenKey::shared(&[7; 32], "other", "api"),
            TokenKey::shared(&[7; 32], "longshore", "registry"),
        ] {
            assert!(!is_accepted(&other.sign("1", Own { sid: "s".into() }, 1_000, 100).unwrap()));
        }
    }

    #[test]
    fn a_header_that_is_not_exactly_ours_is_refused_even_when_signed_with_our_key() {
        let payload = r#"{"iss":"longshore","aud":"api","sub":"1","iat":1000,"exp":1100,"sid":"s"}"#;

        assert!(is_accepted(&resigned(r#"{"typ":"JWT","alg":"HS256"}"#, payload)));
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"typ":"JWT","alg":"None"}"#,
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"typ":"JWT","alg":"ES256"}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"../../etc/passwd"}"#,
            r#"{"typ":"JWT","alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#,
        ] {
            assert!(!is_accepted(&resigned(header, payload)), "{header}");
        }
    }

    #[test]
    fn claims_that_are_missing_or_of_the_wrong_type_are_refused() {
        let header = r#"{"typ":"JWT","alg":"HS256"}"#;
        for payload in [
            r#"{"aud":"api","sub":"1","iat":1000,"exp":1100,"sid":"s"}"#,
            r#"{"iss":"longshore","sub":"1","iat":1000,"exp":1100,"sid":"s"}"#,
            r#"{"iss":"longshore","aud":"api","iat":1000,"exp":1100,"sid":"s"}"#,
            r#"{"iss":"longshore","aud":"api","sub":"1","exp":1100,"sid":"s"}"#,
            r#"{"iss":"longshore","aud":"api","sub":"1","iat":1000,"sid":"s"}"#,
            r#"{"iss":"longshore","aud":"api","sub":"1","iat":1000,"exp":"9999999999","sid":"s"}"#,
            r#"{"iss":"longshore","aud":"api","sub":"1","iat":1000,"exp":1100.5,"sid":"s"}"#,
            r#"{"iss":"longshore","aud":"api","sub":"1","iat":1000,"exp":-1,"sid":"s"}"#,
            r#"{"iss":"longshore","aud":["api"],"sub":"1","iat":1000,"exp":1100,"sid":"s"}"#,
        ] {
            assert!(!is_accepted(&resigned(header, payload)), "{payload}");
        }
    }

    #[test]
    fn damaged_tokens_are_refused() {
        let token = token();
        let mut padded = token.clone();
        padded.push('=');

        for damaged in
            ["", ".", "..", "a.b.c", &token[..token.len() - 1], &token[1..], &padded, &"x".repeat(1 << 20)]
        {
            assert!(!is_accepted(damaged));
        }
    }
}
